"""What an earlier run left with half its tags set: finished where that is still true, else undone. Knows no rule.

A tag that holds what it held before, or what it was to hold, can go forward. One that somebody else moved since
cannot; then what was set is taken back, so that no half of that publication stays.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from imgmake.errors import ImgmakeError, RegistryError, StateError, TagMoved
from imgmake.executor.tagging import Tagging, progress
from imgmake.executor.world import Signals, World
from imgmake.model import Reason
from imgmake.ports import Damaged, TagWrite, Unfinished
from imgmake.references import repository


class Outlook(NamedTuple):
    """What the next run that publishes would do first: for which target, why, and the docker lines of it.

    tags:  what each tag holds then; empty for one that is gone.
    error: what the run would stop at.
    """

    target: str
    why: Reason
    lines: tuple[str, ...]
    tags: Mapping[str, str] = MappingProxyType({})
    error: ImgmakeError | None = None


class Resuming:
    """Looks after unfinished publications in the repositories that it is asked about."""

    def __init__(self, world: World, signals: Signals) -> None:
        self._world = world
        self._signals = signals

    def waiting(self, repositories: Collection[str]) -> list[Unfinished | Damaged]:
        """Unfinished publications that touch these repositories; also a damaged one that says not what it touches."""
        found = self._world.journal.unfinished()
        return [one for one in found if not one.repositories or one.repositories & set(repositories)]

    # --- doing ----------------------------------------------------------------------------------------------

    def resume(self, repositories: Collection[str]) -> None:
        """Finish or undo each of them, and say so.

        Raises StateError for a damaged journal, RegistryError when a registry does not answer: then it stays.
        """
        for one in self.waiting(repositories):
            if isinstance(one, Damaged):
                raise damaged(one)
            with self._lock(one.repositories):
                # Whoever held the lock may have been at work on just this.
                if one in self._world.journal.unfinished():
                    self._settle(one)

    @contextlib.contextmanager
    def hold(self, repositories: Collection[str]) -> Iterator[None]:
        """Keep others from setting tags in these repositories; nothing in them is unfinished then."""
        while True:
            self.resume(repositories)
            with self._lock(repositories):
                if not self.waiting(repositories):
                    yield
                    return

    def _lock(self, repositories: Collection[str]) -> contextlib.AbstractContextManager[None]:
        return self._world.journal.lock(repositories, cancel=self._signals.cancel, waiting=self._wait)

    def _wait(self, name: str, pid: int) -> None:
        self._world.reporter.note(f"waiting for another imgmake (process {pid}) that sets tags in {name}")

    def _settle(self, publication: Unfinished) -> None:
        tagging = Tagging(self._world.registry(), self._world.journal, publication)
        cause = self._obstacle(tagging)
        if cause is None:
            done = f"finished {_name(publication)}: {_count(publication)} still to be set"
            self._world.reporter.note(done)
            return
        try:
            undone = tagging.back(self._signals.cancel)
        except RegistryError as error:
            raise _stuck(publication, error) from error
        self._world.reporter.warning(f"undid {_name(publication)}: {undone} ({cause.message})")

    def _obstacle(self, tagging: Tagging) -> ImgmakeError | None:
        """Go forward; what makes that impossible for good. A registry that does not answer now is no such thing."""
        cancel = self._signals.cancel
        try:
            tagging.compare(tagging.read(cancel))
        except TagMoved as moved:
            return moved
        except RegistryError as error:
            raise _stuck(tagging.publication, error) from error
        try:
            tagging.forward(cancel)
        except RegistryError as refused:
            return self._unless_silent(tagging, refused)
        return None

    def _unless_silent(self, tagging: Tagging, refused: RegistryError) -> RegistryError:
        """The refusal, if the registries answer otherwise. Raises RegistryError when they do not."""
        try:
            tagging.read(self._signals.cancel)
        except RegistryError as error:
            raise _stuck(tagging.publication, error) from error
        return refused

    # --- telling --------------------------------------------------------------------------------------------

    def outlook(self, repositories: Collection[str]) -> list[Outlook]:
        """What `resume` would do; nothing is written. Raises RegistryError."""
        return [self._outlook(one) for one in self.waiting(repositories)]

    def _outlook(self, one: Unfinished | Damaged) -> Outlook:
        if isinstance(one, Damaged):  # what the registries hold is to be looked at: the rest is told as well
            error = damaged(one)
            return Outlook(one.path, Reason(error.message, "interrupted"), (), error=error)
        tagging = Tagging(self._world.registry(), self._world.journal, one)
        held = tagging.read(self._signals.cancel)
        try:
            tagging.compare(held)
        except TagMoved as moved:
            back = [tag for tag in reversed(one.tags) if tag.done and held[tag] == tag.after]
            then = {tag.reference: tag.before for tag in back}
            return _outlook(one, f"is undone first: {moved.message}", tuple(map(_back, back)), then)
        lines = tuple(_line(tag.reference, tag.after) for tag in one.left if held[tag] != tag.after)
        then = {tag.reference: tag.after for tag in one.tags}
        return _outlook(one, f"is finished first: {progress(one)}", lines, then)

    def told(self, repositories: Collection[str]) -> Iterator[str]:
        """A line for each, for runs that publish nothing."""
        for one in self.waiting(repositories):
            if isinstance(one, Damaged):
                yield str(damaged(one))
            else:
                yield f"{_name(one)} waits: {progress(one)}; `imgmake {one.tags[0].target}` finishes or undoes it"


def _outlook(one: Unfinished, what: str, lines: tuple[str, ...], tags: Mapping[str, str]) -> Outlook:
    return Outlook(one.tags[0].target, Reason(f"{_name(one)} {what}", "interrupted"), lines, tags)


def damaged(found: Damaged) -> StateError:
    """The error for a journal that says no more what was being done."""
    about = f", among them {', '.join(found.mentions)}" if found.mentions else ""
    return StateError(
        f"{found.path} tells of a publication that was cut off, and cannot be read: {found.why}; "
        f"of its tags{about}, some may be set and others not",
        hint="see with `imgmake --plan` what the registries hold, then remove that file and publish again",
    )


def _stuck(publication: Unfinished, error: RegistryError) -> RegistryError:
    return RegistryError(
        f"{_name(publication)} can be neither finished nor undone now ({progress(publication)}): {error.message}",
        hint=f"run imgmake again when that registry answers; if it never will, remove {publication.path}",
    )


def _name(publication: Unfinished) -> str:
    targets = ", ".join(dict.fromkeys(tag.target for tag in publication.tags))
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(publication.time))
    return f"the publication of {targets} that was cut off at {when} UTC"


def _count(publication: Unfinished) -> str:
    left = len(publication.left)
    return f"{left} of its {len(publication.tags)} tags {'was' if left == 1 else 'were'}"


def _back(tag: TagWrite) -> str:
    return _line(tag.reference, tag.before) if tag.before else f"# remove {tag.reference}"


def _line(reference: str, digest: str) -> str:
    return f"docker buildx imagetools create --prefer-index=false -t {reference} {repository(reference)}@{digest}"
