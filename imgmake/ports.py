"""The world, as small Protocols: what the drive may ask of it. No implementation lives here.

Every implementation maps foreign errors to those of `imgmake.errors`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from imgmake.dockerfile import ContextRead
from imgmake.model import Field, Outcome, Verdict

# --- running things -------------------------------------------------------------------------------------------


class Cancel:
    """A stop that reaches every running command: set once, it calls each registered `on_stop` once."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}

    @property
    def stopped(self) -> bool:
        return self._event.is_set()

    def stop(self) -> None:
        with self._lock:
            self._event.set()
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        for callback in callbacks:
            callback()

    def on_stop(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` on stop (at once when already stopped); the result unregisters it."""
        with self._lock:
            if not self._event.is_set():
                key = id(callback)
                self._callbacks[key] = callback
                return lambda: self._callbacks.pop(key, None) and None
        callback()
        return lambda: None

    def wait(self, seconds: float) -> bool:
        """Sleep up to `seconds`; True when stopped meanwhile."""
        return self._event.wait(seconds)


class Output(Protocol):
    """Where one target's output goes; lines of several targets never mix."""

    def write(self, data: bytes) -> None:
        """Take a chunk of a command's stdout or stderr, as it comes."""

    def note(self, text: str) -> None:
        """Say one line of imgmake's own about this target."""

    def command(self, line: str) -> None:
        """Say the command about to run (make's echo); shown unless silent."""

    @property
    def tty(self) -> bool:
        """Whether the user's own terminal is connected to this target (one job, a terminal)."""


class Shell(Protocol):
    """Runs processes; the only way to one."""

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        output: Output,
        cancel: Cancel,
        tty: bool = False,
        stdin: BinaryIO | None = None,
    ) -> int:
        """Run to the end, in a process group of its own that a stop kills; return the exit code (128+n on signal n)."""

    def capture(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> tuple[int, str, str]:
        """Run a short command; return its exit code, stdout and stderr."""


# --- images and containers ------------------------------------------------------------------------------------


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

    def tag(self, image_id: str, reference: str) -> None: ...

    def untag(self, reference: str) -> None: ...

    def remove(self, image_id: str) -> None:
        """Remove an image that has no tags left, if nothing uses it; never an error."""

    def pull(self, reference: str, *, platform: str | None, output: Output, cancel: Cancel) -> Image: ...

    def relabel(self, image: Image, *, labels: Mapping[str, str], remove: Iterable[str] = ()) -> Image:
        """Load the same layers under a configuration with other labels; no builder runs, nothing is tagged."""

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


# --- registries -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Remote:
    """What a registry holds under a tag."""

    reference: str
    digest: str  # of the manifest or index
    media_type: str
    images: tuple[Image, ...]  # one per platform; `Image.id` is the configuration's digest


class Registry(Protocol):
    """Container registries, by reference; credentials as docker has them."""

    def resolve(self, reference: str) -> Remote | None:
        """What the tag or digest names; None when the registry answers that there is no such thing."""

    def tags(self, repository: str) -> Sequence[str]: ...

    def push(
        self,
        engine: Engine,
        images: Sequence[Image],
        references: Sequence[str],
        *,
        output: Output,
        cancel: Cancel | None = None,
    ) -> str:
        """Send layers, configurations and manifests by digest, then set the tags; several images make one index."""

    def retag(
        self, source: Remote, references: Sequence[str], *, output: Output, cancel: Cancel | None = None
    ) -> None:
        """Set further tags, in the same repository, on a manifest that the registry has."""


# --- files, git, records --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A file, folder or link as seen: `path` is from the root of the listing, with ``/``."""

    path: str
    type: str  # "file", "dir", "link", "fifo", "other"
    mode: int = 0  # permission bits
    size: int = 0
    mtime_ns: int = 0
    link: str = ""  # the text of a link


class Sources(Protocol):
    """The files of the repository, and git. Paths are from the root; absolute ones are taken as they are."""

    @property
    def root(self) -> Path: ...

    def stat(self, path: str) -> Entry | None:
        """Without following a link; None when nothing is there."""

    def digest(self, path: str) -> str:
        """Content of a file, or of what a link leads to; a folder: its whole tree. Raises SourceError."""

    def glob(self, pattern: str) -> Sequence[str]:
        """Files that match, sorted; ``**`` spans folders; hidden and ignored folders (.git, .imgmake) are left out."""

    def tree(self, folder: str) -> Sequence[str]:
        """Every file below a folder, sorted; never .git or .imgmake."""

    def read_text(self, path: str) -> str: ...

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all below it; nothing there is no error."""

    def make_parent(self, path: str) -> None: ...

    def forget(self) -> None:
        """Files may have changed: drop what is cached for this run only (not the stat cache)."""


class Remembered(NamedTuple):
    """The digest of a file's content, with the stat it had and the time at which it was read."""

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int
    digest: str
    read_ns: int  # since the epoch, just before the content was read


class DigestCache(Protocol):
    """Digests of files by path, kept from run to run: the fast path only, never the truth."""

    def recall(self, path: str) -> Remembered | None: ...

    def remember(self, path: str, seen: Remembered) -> None: ...


@dataclass(frozen=True)
class ContextFile:
    """One entry of a build context, as a builder is sent it; `path` is from the context, with ``/``."""

    path: str
    type: str  # "file", "dir", "link", "fifo"
    mode: int  # permission bits, set-user-ID and the like among them
    size: int
    link: str  # the text of a link
    real: Path
    mtime_ns: int = 0


class Context(Protocol):
    """The files of one folder that a build may read; `reads` None means all that the ignore file leaves."""

    def files(self, reads: Sequence[ContextRead] | None) -> Sequence[ContextFile]:
        """What the builder needs to be sent, parents first. Raises SourceError when a source is not there."""

    def fields(self, reads: Sequence[ContextRead] | None, digest: Callable[[Path], str]) -> Sequence[Field]:
        """What counts of all that the reads take; a source that is not there is no error here."""

    def tar(self, files: Sequence[ContextFile]) -> AbstractContextManager[BinaryIO]:
        """The files as a tar stream, owned by root."""

    def hints(self, reads: Sequence[ContextRead] | None) -> Sequence[str]:
        """What is taken along and seldom should be, such as ``.git``: a line for each."""


class Git(Protocol):
    """The repository's version control; each question costs something only when asked.

    Every answer is empty or False without git, without a repository, and before the first commit.
    """

    def revision(self) -> str:
        """The full commit."""

    def short(self) -> str:
        """The commit as git abbreviates it."""

    def url(self) -> str:
        """The remote, without credentials or query."""

    def branch(self) -> str: ...

    def tag(self) -> str:
        """The tag that names this very commit."""

    def describe(self) -> str: ...

    def dirty(self) -> bool:
        """Whether tracked files differ, in the index or in the work tree."""

    def untracked(self) -> Sequence[str]:
        """Untracked files that are not ignored, from the root, sorted."""

    def warning(self) -> str:
        """Why a repository that is there could not be read, for a person; empty when all is well."""


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""


@dataclass(frozen=True)
class Record:
    """The last success of a target."""

    fields: tuple[Field, ...]
    outputs: tuple[Field, ...] = ()  # ("output", path, digest); for an image ("image", "id", sha256:…)
    time: float = 0.0


class StateStore(Protocol):
    """Records of successful runs; transactional. Reading never writes; a read-only store takes no writes at all."""

    @property
    def read_only(self) -> bool: ...

    def record(self, target: str) -> Record | None: ...

    def unfinished(self, target: str) -> bool:
        """Whether the target's recipe was started and never ended (a crash)."""

    def begin(self, target: str) -> None:
        """Say durably that the recipe starts; the old record no longer counts."""

    def commit(self, target: str, record: Record) -> None: ...

    def abandon(self, target: str) -> None:
        """The recipe failed and its outputs are gone: no record, nothing unfinished."""

    def builds(self, image_id: str) -> Mapping[str, float]:
        """BUILD_IDs given to an image, with the time of each."""

    def add_build(self, image_id: str, build_id: str, time: float) -> None: ...

    def order(self, key: str) -> tuple[str, ...] | None:
        """A remembered topological order of the graph with this digest."""

    def set_order(self, key: str, order: Sequence[str]) -> None: ...

    def close(self) -> None: ...


# --- telling --------------------------------------------------------------------------------------------------


class Reporter(Protocol):
    """Hears what happens, as events; the only one that prints."""

    def output(self, target: str) -> Output: ...

    def planned(self, targets: Sequence[str]) -> None: ...

    def started(self, target: str, verdict: Verdict) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...

    def would_run(self, target: str, verdict: Verdict, lines: Sequence[str]) -> None:
        """Dry run: the target is stale, and these lines would run."""

    def note(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def summary(self, outcomes: Sequence[Outcome], *, interrupted: bool = False) -> None: ...


Lines = Iterator[str]
