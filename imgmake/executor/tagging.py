"""The tags of one publication, set in their order or taken back, and the journal kept meanwhile; knows no rule.

The one way in which tags are written, by a run that publishes as by one that finishes what a crash cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from imgmake.errors import TagMoved
from imgmake.freshness import short
from imgmake.ports import Cancel, Journal, Registry, TagWrite, Unfinished


class Undone(NamedTuple):
    """What became of tags that were taken back: how many, and those that could not be."""

    back: int = 0
    removed: int = 0
    stuck: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [f"{_tags(self.back)} set back"] if self.back else []
        words += [f"{_tags(self.removed)} removed"] if self.removed else []
        if self.stuck:
            whose = "its registry" if len(self.stuck) == 1 else "their registries"
            words.append(f"not removed, as {whose} cannot: {', '.join(self.stuck)}")
        return ", ".join(words) or "no tag was written"


class Tagging:
    """Sets the tags of `publication`, or takes them back; the caller holds the lock of its repositories.

    said: hears each tag that was written.
    """

    def __init__(
        self,
        registry: Registry,
        journal: Journal,
        publication: Unfinished,
        said: Callable[[TagWrite], None] = lambda tag: None,  # noqa: ARG005
    ) -> None:
        self._registry = registry
        self._journal = journal
        self._said = said
        self.publication = publication
        self.at = publication.tags[0]  # the tag at hand, which an error is about

    def read(self, cancel: Cancel) -> dict[TagWrite, str]:
        """What each tag holds now; empty for one that is not there. Raises RegistryError."""
        held = {}
        for tag in self.publication.tags:
            self.at = tag
            held[tag] = self._registry.digest(tag.reference, cancel=cancel) or ""
        return held

    def compare(self, held: Mapping[TagWrite, str]) -> None:
        """Raise TagMoved for a tag that holds neither what it held before nor what it is to hold."""
        for tag, digest in held.items():
            if digest != tag.after and (tag.done or digest != tag.before):
                self.at = tag
                raise _moved(tag, digest)

    def forward(self, cancel: Cancel) -> None:
        """Write what is not written yet, each tag compared just before; at the end all are read once more.

        Raises RegistryError, TagMoved, StateError and Interrupted, all of which leave the journal as far as it came.
        """
        for tag in self.publication.left:
            self.at = tag
            self._registry.set_tag(tag.reference, tag.after, before=tag.before or None, cancel=cancel)
            self.publication = self.publication.marked(tag)
            self._journal.write(self.publication)
            self._said(tag)
        held = self.read(cancel)
        self._journal.remove(self.publication)
        self.compare(held)

    def back(self, cancel: Cancel) -> Undone:
        """Give each tag back what it held, the last one first; what somebody else moved meanwhile stays.

        Only what this publication wrote: the marked ones, and the next, which a crash may have left unmarked.
        """
        undone = Undone()
        ours = [tag for tag in self.publication.tags if tag.done or tag in self.publication.left[:1]]
        for tag in reversed(ours):
            self.at = tag
            if self._registry.digest(tag.reference, cancel=cancel) == tag.after:
                undone = self._take_back(tag, undone, cancel)
        self._journal.remove(self.publication)
        self.publication = self.publication.unmarked()
        return undone

    def _take_back(self, tag: TagWrite, undone: Undone, cancel: Cancel) -> Undone:
        try:
            if tag.before:
                self._registry.set_tag(tag.reference, tag.before, before=tag.after, cancel=cancel)
                return undone._replace(back=undone.back + 1)
            if self._registry.remove_tag(tag.reference, holds=tag.after, cancel=cancel):
                return undone._replace(removed=undone.removed + 1)
        except TagMoved:
            return undone
        return undone._replace(stuck=(*undone.stuck, tag.reference))


def _moved(tag: TagWrite, held: str) -> TagMoved:
    before = f"it held {short(tag.before)}" if tag.before else "it was not there"
    expected = "it was set" if tag.done else f"{before} when this was planned"
    return TagMoved(
        f"{tag.reference} was moved by another publish: {expected}, and now {_holds(held)}",
        hint="run imgmake again: it plans anew, from what the registries hold now",
    )


def _holds(digest: str) -> str:
    return f"it holds {short(digest)}" if digest else "it is gone"


def _tags(count: int) -> str:
    return f"{count} tag" if count == 1 else f"{count} tags"


def progress(publication: Unfinished) -> str:
    """``2 of 5 tags are set``."""
    done, total = len(publication.tags) - len(publication.left), len(publication.tags)
    return f"{done} of {_tags(total)} {'is' if total == 1 else 'are'} set"
