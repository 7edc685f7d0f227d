"""Publishing as one transaction: images of every publish rule by digest first, then the tags of all of them.

A tag is written only when every publication of the group is in its registries whole. The journal is written before
the first tag and removed after the last, so that the next run (`resuming`) finishes or undoes what a crash cut off.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from imgmake.errors import ImgmakeError, Interrupted, RegistryError, StateError, TagMoved
from imgmake.executor import signing
from imgmake.executor.publication import Publication
from imgmake.executor.resuming import Resuming
from imgmake.executor.run import Run
from imgmake.executor.tagging import Tagging, progress
from imgmake.freshness import short
from imgmake.model import PublishRule, State
from imgmake.ports import Artifact, Cancel, Output, TagWrite, Unfinished
from imgmake.references import repository
from imgmake.tags import TagAction, TagChange

FINISH = "the next imgmake that publishes finishes or undoes this: run it again"


class Attesting(Protocol):
    """Knows what is to be said of an image that is published."""

    def artifacts(self, publication: Publication, digest: str) -> Sequence[Artifact]:
        """Statements about the image `digest`, to be pushed beside it."""

    def renew(self, publication: Publication) -> Sequence[str]:
        """Push what is new to say of images whose tags all stay; by digest, what that was."""


class End(NamedTuple):
    """What became of a publication that was sent; `note` says why it has no tags, or not all."""

    state: State
    error: Exception | None = None
    note: str = ""


class _Sent(NamedTuple):
    publication: Publication
    digest: str


class Transaction:
    """The publications of one run: `send` each, from any thread; `commit` those that belong together."""

    def __init__(self, run: Run, attesting: Attesting, resuming: Resuming) -> None:
        self._run = run
        self._attesting = attesting
        self._resuming = resuming
        self._sent: dict[str, _Sent] = {}
        # While tags are set, one stop is not enough: half of them is the worst of all ends, and the rest takes
        # moments. A second one ends even that; then the journal stays.
        self._firm = Cancel()
        self.setting = False  # whether tags are being written just now

    # --- by digest ------------------------------------------------------------------------------------------

    def send(self, publication: Publication, output: Output) -> str:
        """Bring a publication to all its repositories with what refers to it; no tag is written. Its digest.

        Where every tag stays, only what is new to say of the image is sent, and the digest is empty.
        Raises RegistryError, EngineError, CommandFailed from cosign, Interrupted.
        """
        rule = publication.node.rule
        assert isinstance(rule, PublishRule)
        signing.ready(self._run, rule)
        if not publication.written:
            signing.sign(self._run, rule, self._attesting.renew(publication), output)
            return ""
        repositories = tuple(dict.fromkeys(repository(change.reference) for change in publication.written))
        digest = self._bring(publication, repositories, output)
        signing.sign(self._run, rule, self._attach(publication, repositories, digest), output)
        with self._run.signals.lock:
            self._sent[publication.node.id] = _Sent(publication, digest)
        return digest

    def _attach(self, publication: Publication, repositories: Sequence[str], digest: str) -> list[str]:
        """Push what refers to it; the image and all of that, by digest."""
        registry, cancel = self._run.world.registry(), self._run.signals.cancel
        names = [f"{name}@{digest}" for name in repositories]
        for artifact in self._attesting.artifacts(publication, digest):
            names += [f"{name}@{registry.attach(name, digest, artifact, cancel=cancel)}" for name in repositories]
        return names

    def _bring(self, publication: Publication, repositories: Sequence[str], output: Output) -> str:
        registry, cancel = self._run.world.registry(), self._run.signals.cancel
        if publication.source is not None:
            referrers = publication.referrers
            registry.copy(publication.source, repositories, referrers=referrers, output=output, cancel=cancel)
            return publication.source.digest
        near = tuple(change.reference for change in publication.changes if change.before)
        engine = self._run.world.engine()
        return registry.send(engine, publication.images, repositories, near=near, output=output, cancel=cancel)

    # --- the tags -------------------------------------------------------------------------------------------

    def commit(self, targets: Sequence[str]) -> Mapping[str, End]:
        """Set every tag of what was sent for these targets, or none; says what became of each. Raises nothing."""
        writes = _writes([self._sent.pop(target) for target in targets if target in self._sent])
        if not writes:
            return dict.fromkeys(targets, End(State.DONE))
        tagging = self._tagging(writes)
        try:
            self._commit(tagging)
        except Exception as error:  # noqa: BLE001 - whatever it is, each target of the group must come to its end
            if isinstance(error, Interrupted) and tagging.publication.left != tagging.publication.tags:
                self._run.world.reporter.warning(f"{progress(tagging.publication)}; {FINISH}")
            return _ends(targets, tagging, error)
        return dict.fromkeys(targets, End(State.DONE))

    def hurry(self) -> None:
        """A second stop: give up even while tags are set."""
        self._firm.stop()

    def _tagging(self, writes: tuple[TagWrite, ...]) -> Tagging:
        world = self._run.world
        return Tagging(world.registry(), world.journal, Unfinished(world.clock.now(), writes), self._tell)

    def _tell(self, tag: TagWrite) -> None:
        was = f" (was {short(tag.before)})" if tag.before else ""
        self._run.output(tag.target).note(f"tag {tag.reference} -> {short(tag.after)}{was}")

    def _commit(self, tagging: Tagging) -> None:
        stop = self._run.signals.cancel
        repositories = tagging.publication.repositories
        with self._resuming.hold(repositories):
            held = tagging.read(stop)
            tagging.compare(held)
            # What holds the image already was not set by us, and must not be lost if the rest is undone.
            left = tuple(tag for tag, digest in held.items() if digest != tag.after)
            if not left:
                return
            tagging.publication = Unfinished(tagging.publication.time, left)
            self._run.signals.check()
            self._run.world.journal.write(tagging.publication)
            self._set(tagging)
            self.setting = False

    def _set(self, tagging: Tagging) -> None:
        self.setting = True
        try:
            tagging.forward(self._firm)
        except TagMoved as error:
            raise self._undone(tagging, error) from error
        except (RegistryError, StateError) as error:
            if not self._is_untouched(tagging):
                raise _with(error, f"{error.message}; {progress(tagging.publication)}", FINISH) from error
            self._run.world.journal.remove(tagging.publication)
            raise _with(error, f"{error.message}; no tag was written", error.hint) from error

    def _undone(self, tagging: Tagging, error: TagMoved) -> ImgmakeError:
        """Another publish was faster at one tag: ours cannot be whole, so it is taken back at once."""
        if not tagging.publication.left:
            return error
        at = tagging.at
        try:
            return _with(error, f"{error.message}; {tagging.back(self._firm)}", error.hint)
        except ImgmakeError as second:
            told = f"{error.message}; {progress(tagging.publication)}, and {second.message}"
            return _with(error, told, FINISH)
        finally:
            tagging.at = at

    def _is_untouched(self, tagging: Tagging) -> bool:
        """Whether the registries still answer, and every tag is as it was."""
        at = tagging.at
        try:
            return all(digest == tag.before for tag, digest in tagging.read(self._firm).items())
        except ImgmakeError:
            return False
        finally:
            tagging.at = at


def _writes(group: Iterable[_Sent]) -> tuple[TagWrite, ...]:
    """The tags to write, in the order in which that is done.

    Those that never move come first, so that who follows a moving tag finds the version that it stands for.
    """
    found = [(change, sent) for sent in group for change in sent.publication.written]
    found.sort(key=lambda pair: _rank(pair[0]))
    return tuple(
        TagWrite(sent.publication.node.id, change.reference, change.before, sent.digest) for change, sent in found
    )


def _rank(change: TagChange) -> int:
    return 0 if change.fixed else 1 if change.action is TagAction.CREATE else 2


def _ends(targets: Sequence[str], tagging: Tagging, error: Exception) -> dict[str, End]:
    """The target at hand failed, unless the user stopped it; of the others it is said how far they came."""
    stopped = isinstance(error, Interrupted)
    failed = "" if stopped else tagging.at.target
    why = "interrupted" if stopped else f"{failed} failed"
    ends = {target: _other(tagging.publication, target, why) for target in targets}
    return ends if stopped else {**ends, failed: End(State.FAILED, error)}


def _other(publication: Unfinished, target: str, why: str) -> End:
    mine = [tag for tag in publication.tags if tag.target == target]
    if not publication.left or not mine:  # its tags hold the image already
        return End(State.DONE)
    if not any(tag.done for tag in publication.tags):
        return End(State.CANCELLED, None, f"sent, not tagged: {why}")
    return End(State.CANCELLED, None, f"sent, {sum(tag.done for tag in mine)} of {len(mine)} tagged: {why}")


def _with(error: ImgmakeError, message: str, hint: str) -> ImgmakeError:
    told = copy.copy(error)
    told.message, told.hint = message, hint
    told.args = (message,)
    return told
