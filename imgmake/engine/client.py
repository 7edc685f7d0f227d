"""The container engine behind the `Engine` port: questions and names by hand, the rest through the docker SDK.

Joins the parts of this package; builds nothing, and decides nothing.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from imgmake.engine import hosts, images
from imgmake.engine.wire import SdkWire, UnixWire, Wire, expect, send, url
from imgmake.errors import EngineError, RegistryError
from imgmake.ports import Cancel, ContainerSpec, EngineInfo, Image, Output
from imgmake.references import parse

Login = Callable[[str, Cancel], Mapping[str, str]]


class DockerEngine:
    """Docker, or what speaks its API (Podman's socket does); implements `imgmake.ports.Engine`.

    host:    a URL; by default what DOCKER_HOST, DOCKER_CONTEXT and docker's configuration say.
    environ: the environment to read those from.
    login:   who the user is at a registry, as the engine's API has it (AuthConfig); raises RegistryError. Without it
             all is pulled as nobody.
    Making one connects to nothing; every method raises EngineUnavailable when no engine answers.
    """

    def __init__(
        self, host: str | None = None, *, environ: Mapping[str, str] | None = None, login: Login | None = None
    ) -> None:
        self._login = login
        self._environ = os.environ if environ is None else environ
        self._host = hosts.resolve(host, self._environ)
        self._lock = threading.Lock()
        self._sdk: Any = None
        self._wire: Wire = UnixWire(self._host) if self._host.socket else SdkWire(self._host, self.client)

    @property
    def host(self) -> str:
        """The URL that was resolved."""
        return self._host.url

    @property
    def environ(self) -> Mapping[str, str]:
        """What makes the docker CLI and other tools use this engine: DOCKER_HOST, or DOCKER_CONTEXT."""
        return self._host.environ

    def client(self) -> Any:
        """The SDK's client (``docker.DockerClient``), made once, on first need."""
        from imgmake.engine import sdk

        with self._lock:
            if self._sdk is None:
                self._sdk = sdk.connect(self._host)
            return self._sdk

    def close(self) -> None:
        """Let go of the SDK's connections."""
        if self._sdk is not None:
            self._sdk.close()
            self._sdk = None

    def __enter__(self) -> DockerEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- questions ---------------------------------------------------------------------------------------------

    def info(self) -> EngineInfo:
        """Version, platform and image store; asked once."""
        return self._info

    @cached_property
    def _info(self) -> EngineInfo:
        return images.parse_info(expect(send(self._wire, "GET", "/info"), "tell what it is").json(), self.environ)

    def image(self, reference: str) -> Image | None:
        return images.inspect(self._wire, reference)

    def images(self, repositories: Iterable[str]) -> Sequence[Image]:
        return images.within(self._wire, repositories)

    def labelled(self, key: str) -> Sequence[Image]:
        return images.labelled(self._wire, key)

    # --- names -------------------------------------------------------------------------------------------------

    def tag(self, image_id: str, reference: str) -> None:
        """Name an image. A name without a tag gets ``latest``, as with docker."""
        repository, tag = images.split(reference)
        reply = send(self._wire, "POST", f"/images/{image_id}/tag", repo=repository, tag=tag)
        images.refuse_name(reply, reference)
        expect(reply, f"tag {image_id} as {reference}")

    def untag(self, reference: str) -> None:
        """``docker image rm NAME``: an image goes with its last name. No such name is no error."""
        reply = send(self._wire, "DELETE", f"/images/{reference}", noprune="1")
        if reply.status != 404:
            expect(reply, f"remove the name {reference}")

    def remove(self, image_id: str) -> None:
        """Parents stay: with the classic builder they are its cache."""
        with contextlib.suppress(EngineError):
            image = self.image(image_id)
            if image is not None and not image.tags:
                send(self._wire, "DELETE", f"/images/{image.id}", noprune="1")

    # --- content -----------------------------------------------------------------------------------------------

    def pull(self, reference: str, *, platform: str | None, output: Output, cancel: Cancel) -> Image:
        """Pull with the credentials that ``docker login`` stored; a line for each layer that arrived."""
        from imgmake.engine import sdk

        login = self._who(reference, output, cancel)
        sdk.pull(self.client(), reference, login=login, platform=platform, output=output, cancel=cancel)
        found = self.image(reference)
        if found is None:
            raise EngineError(f"{reference} was pulled, but the engine does not have it")
        return found

    def _who(self, reference: str, output: Output, cancel: Cancel) -> Mapping[str, str]:
        """Nobody where a helper fails, as docker has it: what everybody may pull needs none."""
        try:
            return self._login(parse(reference).domain, cancel) if self._login else {}
        except RegistryError as error:
            output.note(f"{error}\nit is pulled without a login")
            return {}

    def relabel(self, image: Image, *, labels: Mapping[str, str], remove: Iterable[str] = ()) -> Image:
        from imgmake.engine import relabel

        containerd = self.info().store == "containerd"
        return relabel.relabel(self._wire, image, labels=labels, remove=remove, containerd=containerd)

    def redate(
        self, image: Image, *, bases: Sequence[Image], seconds: int, labels: Mapping[str, str], cancel: Cancel
    ) -> Image:
        from imgmake.engine import redate

        containerd = self.info().store == "containerd"
        return redate.redate(
            self._wire, image, bases=bases, seconds=seconds, labels=labels, containerd=containerd, cancel=cancel
        )

    @contextlib.contextmanager
    def export(self, image_id: str) -> Iterator[BinaryIO]:
        with self._wire.stream("GET", url(f"/images/{image_id}/get")) as (status, stream):
            if status >= 400:
                raise EngineError(f"the container engine could not export {image_id}: {_text(stream)}")
            yield stream

    # --- containers --------------------------------------------------------------------------------------------

    def run(self, spec: ContainerSpec, *, output: Output, cancel: Cancel, stdout: Path | None = None) -> int:
        from imgmake.engine import containers, sdk

        with sdk.mapped(self._host):
            return containers.run(self.client(), spec, output=output, cancel=cancel, stdout=stdout)

    def extract(self, image_id: str, path: str, to: Path) -> None:
        from imgmake.engine import containers, sdk

        with sdk.mapped(self._host):
            containers.extract(self.client(), image_id, path, to)

    def sweep(self, owner: str) -> None:
        from imgmake.engine import containers, sdk

        with sdk.mapped(self._host):
            containers.sweep(self.client(), owner)


def _text(stream: BinaryIO) -> str:
    return stream.read().decode("utf-8", "replace").strip()
