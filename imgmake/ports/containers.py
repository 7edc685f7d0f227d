"""Images, containers, and the builders of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from imgmake.ports.running import Cancel, Output


@dataclass(frozen=True)
class Image:
    """What the engine tells of one image (``docker image inspect``)."""

    id: str  # sha256:…
    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""
    layers: tuple[str, ...] = ()  # diff IDs
    config: Mapping[str, Any] = field(default_factory=dict)  # OCI/Docker names: Env, Cmd, Labels, …
    tags: tuple[str, ...] = ()  # RepoTags, as the engine spells them
    digests: tuple[str, ...] = ()  # RepoDigests
    created: str = ""

    @property
    def labels(self) -> Mapping[str, str]:
        return self.config.get("Labels") or {}


@dataclass(frozen=True)
class EngineInfo:
    """What the engine says of itself."""

    version: str
    os: str
    architecture: str  # Go's names: amd64, arm64
    store: str  # "overlay2", …; "containerd" for the containerd image store
    environ: Mapping[str, str] = field(default_factory=dict)  # DOCKER_HOST and the like, for tools that reach it too

    @property
    def platform(self) -> str:
        return f"{self.os}/{self.architecture}"


@dataclass(frozen=True)
class Mount:
    """A mount of a container: a host path, a named volume, or the files of an image."""

    target: str
    path: Path | None = None
    volume: str | None = None
    image: str | None = None  # image ID or reference
    read_only: bool = False


@dataclass(frozen=True)
class ContainerSpec:
    """One container to run to its end, or to serve."""

    image: str
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    mounts: tuple[Mount, ...] = ()
    workdir: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    caller: bool = False  # as the user who runs imgmake, with a passwd entry and a writable HOME
    network: str | None = None
    ports: tuple[str, ...] = ()
    tty: bool = False
    options: tuple[str, ...] = ()  # further flags of ``docker run``
    services: Mapping[str, ContainerSpec] = field(default_factory=dict)


class Engine(Protocol):
    """The container engine: images by reference or ID, containers to their end."""

    def info(self) -> EngineInfo: ...

    def image(self, reference: str) -> Image | None:
        """The image under a tag, digest or ID; None when the engine has none."""

    def images(self, repositories: Iterable[str]) -> Sequence[Image]:
        """Every image with a tag in one of the repositories, each once."""

    def labelled(self, key: str) -> Sequence[Image]:
        """Every image with this label, tagged or not, each once; its own or inherited."""

    def tag(self, image_id: str, reference: str) -> None: ...

    def untag(self, reference: str) -> None: ...

    def remove(self, image_id: str) -> None:
        """Remove an image that has no tags left, if nothing uses it; never an error."""

    def pull(self, reference: str, *, platform: str | None, output: Output, cancel: Cancel) -> Image: ...

    def relabel(self, image: Image, *, labels: Mapping[str, str], remove: Iterable[str] = ()) -> Image:
        """Load the same layers under a configuration with other labels; no builder runs, nothing is tagged."""

    def redate(
        self, image: Image, *, bases: Sequence[Image], seconds: int, labels: Mapping[str, str], cancel: Cancel
    ) -> Image:
        """Load the image again with the times of its build set to `seconds`, in layers that no base has; tags nothing.

        What is loaded has `labels`, too; the image itself is returned when there is nothing to change.
        """

    def export(self, image_id: str) -> AbstractContextManager[BinaryIO]:
        """``docker save`` of one image, as a tar stream."""

    def run(self, spec: ContainerSpec, *, output: Output, cancel: Cancel, stdout: Path | None = None) -> int:
        """Run a container (and its services) to its end and remove all of it; return its exit code."""

    def extract(self, image_id: str, path: str, to: Path) -> None:
        """Copy a file or folder out of an image, through a container that is never started."""

    def sweep(self, owner: str) -> None:
        """Remove all that bears the label ``io.imgmake.run=owner``: containers, volumes, networks, untagged images."""


@dataclass(frozen=True)
class BuildRequest:
    """One image to build, with everything resolved: no late value, no rule, no pattern is left."""

    context: Callable[[], AbstractContextManager[BinaryIO]]  # a tar of exactly the files that the build may read
    context_dir: str  # for the printed line only
    dockerfile: str  # the text
    dockerfile_name: str  # for messages and the printed line
    stage: str | None
    build_args: Mapping[str, str]
    platform: str | None
    labels: Mapping[str, str]
    secrets: Mapping[str, str]  # id -> "src=PATH" or "env=NAME"
    contexts: Mapping[str, str]  # name -> docker-image://…, oci-layout://…, URL or absolute folder
    options: tuple[str, ...]
    no_cache: bool = False
    tags: tuple[str, ...] = ()  # for the printed line only: tags are set by imgmake


class Builder(Protocol):
    """Builds content; never tags."""

    @property
    def name(self) -> str:
        """``buildx``, ``buildkit`` or ``classic``."""

    @property
    def family(self) -> str:
        """``buildkit`` or ``classic``: what may differ in the result."""

    def build(self, request: BuildRequest, *, output: Output, cancel: Cancel) -> str:
        """Build, and return the ID of the untagged image in the engine."""

    def line(self, request: BuildRequest) -> str:
        """The equal ``docker build`` command."""
