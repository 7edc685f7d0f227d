"""In-memory twins of the engine, the builder and the registry; they touch no network."""

from __future__ import annotations

import io
import json
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from imgmake.errors import EngineError, RegistryError, TagMoved
from imgmake.fingerprint import digest
from imgmake.model import Field
from imgmake.ports import (
    Artifact,
    BuildRequest,
    Cancel,
    ContainerSpec,
    Engine,
    EngineInfo,
    Image,
    Output,
    Referrer,
    Remote,
)

Event = tuple[Any, ...]


def _passes(spec: ContainerSpec, output: Output) -> int:
    return 0


class FakeEngine:
    """Images by ID, with tags that move as the engine's do; containers are scripted by `run_effect`."""

    def __init__(self, *, store: str = "overlay2") -> None:
        self.by_id: dict[str, Image] = {}
        self.names: dict[str, str] = {}  # full reference -> ID
        self.upstream: dict[str, Image] = {}  # what `pull` finds
        self.files: defaultdict[str, dict[str, bytes]] = defaultdict(dict)  # ID -> path -> content
        self.in_use: set[str] = set()
        self.specs: list[ContainerSpec] = []
        self.run_effect: Callable[[ContainerSpec, Output], int] = _passes
        self.log: list[Event] = []
        self._store = store

    def commit_image(
        self,
        *tags: str,
        labels: Mapping[str, str] | None = None,
        layers: Sequence[str] = ("sha256:base",),
        config: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
        platform: str = "linux/amd64",
    ) -> Image:
        """Add an image as a build would, under its tags; equal content gives an equal ID. Not logged."""
        system, architecture, *variant = platform.split("/")
        image = Image("", system, architecture, "".join(variant), tuple(layers), {**(config or {})})
        image = self._keep(_with_labels(image, labels or image.labels))
        self.files[image.id].update(files or {})
        for tag in tags:
            self.names[full_name(tag)] = image.id
        return self._shown(image.id)

    def info(self) -> EngineInfo:
        self.log.append(("info",))
        return EngineInfo("28.0", "linux", "amd64", self._store)

    def image(self, reference: str) -> Image | None:
        self.log.append(("image", reference))
        image_id = reference if reference in self.by_id else self.names.get(full_name(reference))
        return None if image_id is None else self._shown(image_id)

    def images(self, repositories: Iterable[str]) -> Sequence[Image]:
        wanted = {full_name(repository).removesuffix(":latest") for repository in repositories}
        self.log.append(("images", tuple(sorted(wanted))))
        found = {image_id for name, image_id in self.names.items() if name.rpartition(":")[0] in wanted}
        return tuple(self._shown(image_id) for image_id in sorted(found))

    def labelled(self, key: str) -> Sequence[Image]:
        self.log.append(("labelled", key))
        return tuple(self._shown(image_id) for image_id, image in sorted(self.by_id.items()) if key in image.labels)

    def tag(self, image_id: str, reference: str) -> None:
        self.log.append(("tag", image_id, reference))
        if image_id not in self.by_id:
            raise EngineError(f"no such image: {image_id}")
        self.names[full_name(reference)] = image_id

    def untag(self, reference: str) -> None:
        self.log.append(("untag", reference))
        if self.names.pop(full_name(reference), None) is None:
            raise EngineError(f"no such image: {reference}")

    def remove(self, image_id: str) -> None:
        self.log.append(("remove", image_id))
        if image_id not in self.names.values() and image_id not in self.in_use:
            self.by_id.pop(image_id, None)

    def pull(self, reference: str, *, platform: str | None, output: Output, cancel: Cancel) -> Image:
        self.log.append(("pull", reference, platform))
        image = self.upstream.get(full_name(reference))
        if image is None:
            raise EngineError(f"{reference} cannot be pulled: not found")
        kept = self._keep(image)
        self.names[full_name(reference)] = kept.id
        return self._shown(kept.id)

    def relabel(self, image: Image, *, labels: Mapping[str, str], remove: Iterable[str] = ()) -> Image:
        self.log.append(("relabel", image.id))
        gone = set(remove)
        kept = {name: value for name, value in image.labels.items() if name not in gone}
        made = self._keep(_with_labels(image, {**kept, **labels}))
        self.files[made.id].update(self.files[image.id])
        return self._shown(made.id)

    def redate(
        self, image: Image, *, bases: Sequence[Image], seconds: int, labels: Mapping[str, str], cancel: Cancel
    ) -> Image:
        self.log.append(("redate", image.id, [base.id for base in bases], seconds))
        return image

    def export(self, image_id: str) -> AbstractContextManager[BinaryIO]:
        self.log.append(("export", image_id))
        return _tar(self.files[image_id])

    def run(self, spec: ContainerSpec, *, output: Output, cancel: Cancel, stdout: Path | None = None) -> int:
        self.log.append(("run", spec.image))
        self.specs.append(spec)
        if stdout is None:
            return self.run_effect(spec, output)
        taken = _Taken()
        code = self.run_effect(spec, taken)
        stdout.write_bytes(taken.data)
        return code

    def extract(self, image_id: str, path: str, to: Path) -> None:
        self.log.append(("extract", image_id, path))
        if path not in self.files[image_id]:
            raise EngineError(f"{path} is not in {image_id}")
        to.write_bytes(self.files[image_id][path])

    def sweep(self, owner: str) -> None:
        self.log.append(("sweep", owner))
        mine = [i for i, image in self.by_id.items() if image.labels.get("io.imgmake.run") == owner]
        for image_id in set(mine) - set(self.names.values()):
            del self.by_id[image_id]

    def _keep(self, image: Image) -> Image:
        if not image.id:
            image = replace(image, id=f"sha256:{digest(_identity(image))}")
        self.by_id[image.id] = image
        return image

    def _shown(self, image_id: str) -> Image:
        return replace(self.by_id[image_id], tags=tuple(sorted(n for n, i in self.names.items() if i == image_id)))


def full_name(reference: str) -> str:
    """``app`` is ``app:latest``: as much of Docker's rules as the fakes need."""
    name = reference.removeprefix("docker.io/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"


def _with_labels(image: Image, labels: Mapping[str, str]) -> Image:
    return replace(image, id="", tags=(), digests=(), config={**image.config, "Labels": dict(labels)})


def _identity(image: Image) -> Iterator[Field]:
    yield Field("platform", "", f"{image.os}/{image.architecture}/{image.variant}")
    yield Field("layers", "", json.dumps(image.layers))
    yield Field("config", "", json.dumps(image.config, sort_keys=True, default=str))


@contextmanager
def _tar(files: Mapping[str, bytes]) -> Iterator[BinaryIO]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, data in sorted(files.items()):
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    buffer.seek(0)
    yield buffer


class FakeBuilder:
    """Builds by adding an image to a `FakeEngine`; its layers follow from what the request holds.

    Set `result` to make the content otherwise, or `error` to let the next builds fail.
    """

    def __init__(self, engine: FakeEngine, *, name: str = "buildx") -> None:
        self.engine = engine
        self.requests: list[BuildRequest] = []
        self.result: Callable[[BuildRequest], Sequence[str]] = _layers
        self.error: Exception | None = None
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def family(self) -> str:
        return "classic" if self._name == "classic" else "buildkit"

    def build(self, request: BuildRequest, *, output: Output, cancel: Cancel) -> str:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        platform = request.platform or "linux/amd64"
        image = self.engine.commit_image(labels=request.labels, layers=self.result(request), platform=platform)
        return image.id

    def line(self, request: BuildRequest) -> str:
        words = ["docker", "buildx", "build"] if self._name == "buildx" else ["docker", "build"]
        words += [f"--tag={tag}" for tag in request.tags]
        words += [f"--target={request.stage}"] if request.stage else []
        words += [f"--build-arg={name}={value}" for name, value in request.build_args.items()]
        return " ".join([*words, *request.options, request.context_dir])


def _layers(request: BuildRequest) -> Sequence[str]:
    with request.context() as stream:
        context = stream.read()
    parts = [Field("text", "", request.dockerfile), Field("stage", "", request.stage or "")]
    parts += [Field("argument", name, value) for name, value in sorted(request.build_args.items())]
    parts += [Field("context", "", context.decode("utf-8", "surrogateescape"))]
    return ("sha256:base", f"sha256:{digest(parts)}")


class FakeRegistry:
    """Manifests by digest in repositories, tags on them, and what refers to them; all by full reference.

    `remotes` holds tags (``docker.io/app:1`` is ``app:1``) and manifests (``app@sha256:…``) alike.
    """

    def __init__(self) -> None:
        self.remotes: dict[str, Remote] = {}  # full reference -> what it holds
        self.attached: defaultdict[str, dict[str, Artifact]] = defaultdict(dict)  # repository@subject -> by digest
        self.refuses: set[str] = set()  # references and repositories to which every write is denied
        self.removes_tags = True
        self.log: list[Event] = []

    def resolve(self, reference: str) -> Remote | None:
        self.log.append(("resolve", reference))
        held = self.remotes.get(full_name(reference))
        return held and replace(held, reference=reference)

    def tags(self, repository: str) -> Sequence[str]:
        self.log.append(("tags", repository))
        names = [name.rpartition(":") for name in self.remotes if "@" not in name]
        return tuple(sorted(tag for repo, _, tag in names if repo == _repository(repository)))

    def digest(self, reference: str, *, cancel: Cancel | None = None) -> str | None:
        self.log.append(("digest", reference))
        held = self.remotes.get(full_name(reference))
        return held.digest if held else None

    # --- by digest --------------------------------------------------------------------------------------------

    def send(
        self,
        engine: Engine,
        images: Sequence[Image],
        repositories: Sequence[str],
        *,
        near: Sequence[str] = (),
        output: Output,
        cancel: Cancel | None = None,
    ) -> str:
        self.log.append(("send", tuple(image.id for image in images), tuple(repositories)))
        self._check(repositories)
        held = _manifest(images)
        self._hold(held, repositories)
        return held.digest

    def copy(
        self,
        source: Remote,
        repositories: Sequence[str],
        *,
        referrers: bool = False,
        output: Output,
        cancel: Cancel | None = None,
    ) -> None:
        self.log.append(("copy", source.digest, tuple(repositories)))
        self._check(repositories)
        origin = _by_digest(source.reference, source.digest)
        if origin not in self.remotes:
            raise RegistryError(f"{origin} is gone")
        self._hold(source, repositories)
        for repository in repositories if referrers else ():
            self.attached[_by_digest(repository, source.digest)].update(self.attached[origin])

    def _check(self, repositories: Sequence[str]) -> None:
        for repository in repositories:
            if repository in self.refuses:
                raise RegistryError(f"{repository}: denied")

    def _hold(self, held: Remote, repositories: Sequence[str]) -> None:
        for repository in repositories:
            name = _by_digest(repository, held.digest)
            self.remotes[name] = replace(held, reference=name)

    # --- tags -------------------------------------------------------------------------------------------------

    def set_tag(self, reference: str, digest: str, *, before: str | None, cancel: Cancel | None = None) -> bool:
        self.log.append(("set_tag", reference, digest))
        self._check([reference, _repository(reference)])
        if not self._must_hold(reference, before, digest):
            return False
        held = self.remotes.get(_by_digest(reference, digest))
        if held is None:
            raise RegistryError(f"{_repository(reference)} has no manifest {digest}")
        self.remotes[full_name(reference)] = replace(held, reference=full_name(reference))
        return True

    def _must_hold(self, reference: str, before: str | None, after: str | None) -> bool:
        """Whether a tag holds `before`, and not `after` already."""
        held = self.remotes.get(full_name(reference))
        found = held.digest if held else None
        if found not in (before, after):
            raise TagMoved(f"{reference} holds {found or 'nothing'}, not {before or 'nothing'}")
        return found != after

    def remove_tag(self, reference: str, *, holds: str, cancel: Cancel | None = None) -> bool:
        self.log.append(("remove_tag", reference))
        self._check([reference, _repository(reference)])
        if self._must_hold(reference, holds, None) and self.removes_tags:
            del self.remotes[full_name(reference)]
        return full_name(reference) not in self.remotes

    # --- what refers to a manifest ----------------------------------------------------------------------------

    def attach(self, repository: str, subject: str, artifact: Artifact, *, cancel: Cancel | None = None) -> str:
        self.log.append(("attach", repository, subject, artifact.artifact_type))
        self._check([repository])
        if _by_digest(repository, subject) not in self.remotes:
            raise RegistryError(f"{repository} has no manifest {subject}")
        parts = [Field("artifact", artifact.artifact_type, artifact.data.hex())]
        parts += [Field("annotation", key, value) for key, value in sorted(artifact.annotations.items())]
        name = f"sha256:{digest([*parts, Field('subject', '', subject)])}"
        self.attached[_by_digest(repository, subject)][name] = artifact
        return name

    def referrers(self, repository: str, subject: str, *, cancel: Cancel | None = None) -> Sequence[Referrer]:
        self.log.append(("referrers", repository, subject))
        found = self.attached[_by_digest(repository, subject)]
        return tuple(Referrer(name, one.artifact_type, one.annotations) for name, one in found.items())

    def artifact(self, repository: str, referrer: Referrer, *, cancel: Cancel | None = None) -> Artifact:
        self.log.append(("artifact", repository, referrer.digest))
        for subject, found in self.attached.items():
            if subject.startswith(f"{_repository(repository)}@") and referrer.digest in found:
                return found[referrer.digest]
        raise RegistryError(f"{repository} has no manifest {referrer.digest}")

    # --- for tests --------------------------------------------------------------------------------------------

    def put(self, images: Sequence[Image], *references: str) -> str:
        """What somebody else pushed, under tags; the digest. Not logged."""
        held = _manifest(images)
        self._hold(held, [_repository(one) for one in references])
        for reference in references:
            self.remotes[full_name(reference)] = replace(held, reference=full_name(reference))
        return held.digest


def _manifest(images: Sequence[Image]) -> Remote:
    manifest = f"sha256:{digest([Field('image', '', image.id) for image in images])}"
    kind = "index" if len(images) > 1 else "manifest"
    return Remote("", manifest, f"application/vnd.oci.image.{kind}.v1+json", tuple(images))


def _repository(reference: str) -> str:
    """The repository of a reference with or without a tag or digest, as the keys of `FakeRegistry` spell it."""
    return full_name(reference.partition("@")[0]).rpartition(":")[0]


def _by_digest(reference: str, manifest: str) -> str:
    return f"{_repository(reference)}@{manifest}"


class _Taken:
    """An output that keeps what is written, for `stdout=`."""

    tty = False

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def note(self, text: str) -> None: ...

    def command(self, line: str) -> None: ...
