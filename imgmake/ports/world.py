"""Files, build contexts, git, the clock, and the records of what succeeded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from imgmake.dockerfile import ContextRead
from imgmake.model import Field
from imgmake.ports.evidence import Evidence


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

    def time(self) -> int | None:
        """When the commit was made, in seconds since the epoch; None when there is none."""

    def url(self) -> str:
        """The remote, without credentials or query."""

    def branch(self) -> str: ...

    def tag(self) -> str:
        """The tag that names this very commit."""

    def describe(self) -> str: ...

    def dirty(self) -> bool:
        """Whether tracked files differ, in the index or in the work tree."""

    def differing(self) -> Sequence[str]:
        """Tracked files that differ, in the index or in the work tree, from the top of the repository, sorted."""

    def untracked(self, folders: Collection[str] = ("",)) -> Sequence[str]:
        """Untracked files that are not ignored, submodules' too, in these folders; both from the root, sorted."""

    def is_ancestor(self, older: str, newer: str) -> bool | None:
        """Whether the commit `newer` comes after `older`, or is it; None when this clone cannot tell."""

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

    def begin(self, target: str, inputs: str = "") -> None:
        """Say durably that the recipe starts; the old record no longer counts, nor a check's pass on these inputs."""

    def commit(self, target: str, record: Record, inputs: str = "") -> None:
        """A success; with a digest of its inputs also the newest of a check's last passes."""

    def passes(self, target: str) -> Mapping[str, float]:
        """The inputs on which a check passed last, by their digest, with the time of each; a few of them."""

    def abandon(self, target: str) -> None:
        """The recipe failed and its outputs are gone: no record, nothing unfinished."""

    def builds(self, image_id: str) -> Mapping[str, float]:
        """BUILD_IDs given to an image, with the time of each."""

    def add_build(self, image_id: str, build_id: str, time: float) -> None: ...

    def evidence(self, target: str) -> Sequence[Evidence]:
        """What the last passes of a check showed, newest first."""

    def add_evidence(self, evidence: Evidence) -> None: ...

    def order(self, key: str) -> tuple[str, ...] | None:
        """A remembered topological order of the graph with this digest."""

    def set_order(self, key: str, order: Sequence[str]) -> None: ...

    def close(self) -> None: ...
