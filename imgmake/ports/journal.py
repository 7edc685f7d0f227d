"""What is written down while tags are set, so that the next run can finish or undo what a crash cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from imgmake.ports.running import Cancel
from imgmake.references import repository


class TagWrite(NamedTuple):
    """One tag that a publication sets: what it held before (empty: no such tag) and is to hold, as digests."""

    target: str  # the publish rule
    reference: str
    before: str
    after: str
    done: bool = False  # written, and read back


@dataclass(frozen=True)
class Unfinished:
    """A publication whose images are in their registries and whose tags are being set, in this order."""

    time: float  # seconds since the epoch
    tags: tuple[TagWrite, ...]
    path: str = field(default="", compare=False)  # where it is written down

    @property
    def repositories(self) -> frozenset[str]:
        return frozenset(repository(tag.reference) for tag in self.tags)

    @property
    def left(self) -> tuple[TagWrite, ...]:
        """The tags that are not known to be set."""
        return tuple(tag for tag in self.tags if not tag.done)

    def marked(self, tag: TagWrite) -> Unfinished:
        """The same, with this tag set."""
        return replace(self, tags=tuple(one._replace(done=True) if one == tag else one for one in self.tags))

    def unmarked(self) -> Unfinished:
        """The same, with no tag set."""
        return replace(self, tags=tuple(one._replace(done=False) for one in self.tags))


@dataclass(frozen=True)
class Damaged:
    """A journal that cannot be read: where it is, why, and the tags that can still be made out in it."""

    path: str
    why: str
    mentions: tuple[str, ...] = ()

    @property
    def repositories(self) -> frozenset[str]:
        return frozenset(repository(reference) for reference in self.mentions)


class Journal(Protocol):
    """Publications whose tags are being set; outlives a killed process, and the clone that it ran in."""

    def unfinished(self) -> Sequence[Unfinished | Damaged]:
        """Every publication that is written down, oldest first; reading writes nothing."""

    def write(self, publication: Unfinished) -> None:
        """Write down how far it has come, on the disk when this returns. Raises StateError."""

    def remove(self, publication: Unfinished) -> None:
        """It is over: every tag is set, or none."""

    def lock(
        self, repositories: Iterable[str], *, cancel: Cancel, waiting: Callable[[str, int], None]
    ) -> AbstractContextManager[None]:
        """Keep other processes of this user from setting tags in these repositories meanwhile.

        `waiting` hears, once, the repository that another process (its ID, 0 when unknown) holds. Raises Interrupted.
        """
