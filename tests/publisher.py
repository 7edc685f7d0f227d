"""A repository that publishes to real registries with neither engine nor builder: its images are made by hand."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from imgmake.ports import BuildRequest, Image
from imgmake.registry import RegistryClient
from imgmake.state import FileJournal
from tests.fakes import FakeEngine, FakeRegistry
from tests.registries import PASSWORD, USER
from tests.unit.runs import Ran, Repo, Session


class SavingEngine(FakeEngine):
    """Images with real layers and configurations, which it can export as ``docker save`` does."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: dict[str, bytes] = {}  # diff ID -> tar

    def layer(self, data: bytes) -> str:
        """Keep a layer; its diff ID."""
        name = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.layers[name] = data
        return name

    def _keep(self, image: Image) -> Image:
        return super()._keep(replace(image, id=f"sha256:{hashlib.sha256(_config(image)).hexdigest()}"))

    @contextlib.contextmanager
    def export(self, image_id: str) -> Iterator[BinaryIO]:
        image = self.by_id[image_id]
        members = {f"{image_id[7:]}.json": _config(image)}
        members |= {f"{name[7:]}/layer.tar": self.layers[name] for name in image.layers}
        yield io.BytesIO(_tar(members))


def _config(image: Image) -> bytes:
    content = {"os": image.os, "architecture": image.architecture, "config": image.config}
    content["rootfs"] = {"type": "layers", "diff_ids": list(image.layers)}
    return json.dumps(content, sort_keys=True).encode()


def _tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@dataclass
class Publisher(Repo):
    """A `Repo` whose registries are real; each run has connections of its own."""

    engine: SavingEngine = field(default_factory=SavingEngine)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.path.mkdir(parents=True, exist_ok=True)
        self.environ.setdefault("HOME", str(self.path.parent / "home"))
        self.builder.result = self._build

    def _build(self, request: BuildRequest) -> Sequence[str]:
        with request.context() as stream:
            return [self.engine.layer(stream.read())]

    def log_in(self, *hosts: str, ca: Path | None = None) -> None:
        """As ``docker login`` leaves it."""
        folder = Path(self.environ["HOME"], ".docker")
        folder.mkdir(parents=True, exist_ok=True)
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth} for host in hosts}}))
        if ca is not None:
            self.environ["SSL_CERT_FILE"] = str(ca)

    def client(self) -> contextlib.closing[RegistryClient]:
        return contextlib.closing(RegistryClient(self.environ, pause=0.001))

    def run(self, *goals: str, **options: Any) -> Ran:
        with self._connected():
            return super().run(*goals, **options)

    @contextlib.contextmanager
    def open(self, **options: Any) -> Iterator[Session]:
        """A session, to ask what a run would do."""
        with self._connected(), self.session(**options) as (session, _):
            yield session

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        with self.client() as client:
            self.registry = cast(FakeRegistry, client)
            try:
                yield
            finally:  # neither a client nor what was asked of the builder can be sent to another process
                self.registry = FakeRegistry()
                self.builder.requests.clear()

    @property
    def journal(self) -> FileJournal:
        return FileJournal([self.user_folder])
