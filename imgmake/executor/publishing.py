"""Publishing, judged: what each tag of a rule holds, what becomes of it, and whether anything forbids that.

Images are recognised in a registry by the configuration that a tag leads to. Nothing is written here.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from imgmake import stamp, tags
from imgmake.errors import Refused
from imgmake.executor.attesting import Attesting
from imgmake.executor.images import Images
from imgmake.executor.promotion import Promotion
from imgmake.executor.publication import Publication
from imgmake.executor.reading import Reader
from imgmake.executor.remotely import Remotely
from imgmake.executor.requirements import Requirements
from imgmake.executor.run import Judgement, Run
from imgmake.executor.signing import COSIGN
from imgmake.executor.tagplan import Asked, Held, TagPlan
from imgmake.fingerprint import digest
from imgmake.freshness import FORCED, short
from imgmake.graph import Node
from imgmake.imagerule import platforms
from imgmake.model import ImageRule, PublishRule, Reason, Rule, Verdict
from imgmake.ports import Image, Remote
from imgmake.references import repository as repository_of
from imgmake.stamp import Stamp
from imgmake.tags import Origin, Ours, TagAction, TagChange, Wanted

_NAMED = 3  # files of a dirty tree, or tags that are refused like the first one, that are named
_INDEX = "index"  # in the media type of an index, and `manifest.list` in Docker's
_COMMIT = "commit first, or publish a commit with --commit REV; --allow-dirty publishes it as it is"


class Local(NamedTuple):
    """An image of the engine that is to be published."""

    image: Image
    seal: Stamp


class Publishing:
    """Judges publish rules."""

    def __init__(self, run: Run, reader: Reader, images: Images) -> None:
        self._run = run
        self._reader = reader
        self._images = images
        self._attesting = Attesting(run)
        self._requirements = Requirements(run)
        self._promotion = Promotion(run)
        self.tags = TagPlan(run)
        self._remotely = Remotely(run, reader, images, self.tags)

    # --- judging --------------------------------------------------------------------------------------------

    def judge(self, node: Node) -> Judgement:
        """What becomes of each tag, with the images that this run settled; refusals are among the changes."""
        rule = _rule(node)
        reference = self._promotion.reference(rule)
        if reference is not None:
            return self._judgement(self._promoted(node, reference))
        local = [self._local(name) for name in self._names(rule)]
        asked = self.tags.asked(rule)
        held = self.tags.held(asked)
        same = self._comparer(local)
        source = self._source(asked, held, local, same)
        ours = Ours(source.digest if source else _ids(local), self._origin(rule, local))

        def holds(remote: Remote, wanted: Wanted) -> bool:
            return (source is not None and remote.digest == source.digest) or same(remote, wanted)

        changes = self.tags.changes(asked, held, ours, holds)
        images = () if source else tuple(one.image for one in local)
        return self._judgement(self._guarded(Publication(node, images, source, changes), local))

    def _names(self, rule: PublishRule) -> Iterator[str]:
        """The nodes of the rule's images; none for a promotion."""
        for image in rule.images if self._promotion.reference(rule) is None else ():
            made = image if isinstance(image, ImageRule) else self._run.rule_of(image)
            assert made is not None
            yield from (name for name, _ in platforms(made, self._run.native))

    def _nodes(self, rule: PublishRule) -> list[Node]:
        return [self._run.node(name) for name in self._names(rule)]

    def _local(self, name: str) -> Local:
        image, seal = self._run.images[name]
        return Local(image, seal or Stamp(fingerprint="", content=stamp.content_id(image)))

    def _comparer(self, local: Sequence[Local]) -> Callable[[Remote, Wanted], bool]:
        """Whether what a registry holds is this image: its very configuration, or another build of the same.

        With -B another build of the same counts only where a tag never moves.
        """
        anew = self._run.settings.wish.always
        return lambda remote, wanted: (
            _is_exact(remote, local) or (bool(wanted.fixed or not anew) and _is_equal(remote, local))
        )

    def _source(
        self, asked: Asked, held: Held, local: Sequence[Local], same: Callable[[Remote, Wanted], bool]
    ) -> Remote | None:
        """What a registry has of this image already, so that every tag of the rule comes to name one manifest."""
        pairs = ((one, held[reference]) for reference, one in asked.items())
        found = [(one, remote) for one, remote in pairs if remote is not None and same(remote, one)]
        found.sort(key=lambda pair: (not pair[0].fixed, not _is_exact(pair[1], local)))
        return found[0][1] if found else None

    def _origin(self, rule: PublishRule, local: Iterable[Local]) -> Origin:
        """The commit that vouches for the images: today's, unless one was taken as it is under a given BUILD_ID."""
        found = tags.origin(one.image for one in local)
        if any(name in self._run.pinned for name in self._names(rule)):
            return found
        return Origin(self._run.world.git.revision() or found.revision, found.time)

    def _judgement(self, publication: Publication) -> Judgement:
        """Stale when a tag is to be written; when all stay, a newer result of a check may still be to be told."""
        changes = [change for change in publication.changes if change.action is not TagAction.LEAVE]
        reasons = [FORCED] if changes and self._run.settings.wish.always else []
        reasons += [_reason(change, publication) for change in changes] or self._attesting.news(publication)
        return Judgement(Verdict(tuple(reasons)), (), publication)

    # --- promotion ------------------------------------------------------------------------------------------

    def promotes(self, rule: Rule) -> bool:
        """Whether the rule takes its image from a registry."""
        return isinstance(rule, PublishRule) and self._promotion.reference(rule) is not None

    def _promoted(self, node: Node, reference: str) -> Publication:
        rule = _rule(node)
        source = self._promotion.source(node, reference)
        asked = self.tags.asked(rule)
        ids = {image.id for image in source.images}

        def same(remote: Remote, wanted: Wanted) -> bool:
            exact = remote.digest == source.digest
            return exact or bool(wanted.fixed and ids and ids == {image.id for image in remote.images})

        ours = Ours(source.digest, tags.origin(source.images))
        changes = self.tags.changes(asked, self.tags.held(asked), ours, same)
        return self._required(rule, Publication(node, (), source, changes, referrers=True))

    def _required(self, rule: PublishRule, found: Publication) -> Publication:
        """With `requires`, refuse what the registry does not show to have passed."""
        missing = self._missing(rule, found.source) if found.written and found.source else ()
        if not missing or found.source is None:
            return found
        why = f"requires what {_at(found.source)} does not show: {'; '.join(missing)}"
        return _refused(found, why, "results go along when the rule that publishes it needs these checks")

    def _missing(self, rule: PublishRule, subject: Remote) -> Sequence[str]:
        return self._requirements.missing(rule, subject) if rule.requires else ()

    # --- what forbids it ------------------------------------------------------------------------------------

    def _guarded(self, found: Publication, local: Iterable[Local] = ()) -> Publication:
        """Refuse to publish from a dirty tree, and images that were built from one."""
        if self._run.settings.allow_dirty or not found.written:
            return found
        if self._run.dirty():
            return _refused(found, self._dirt(), _COMMIT)
        dirty = next((one.seal for one in local if one.seal.dirty or _build_id(one.seal).endswith("-dirty")), None)
        if dirty is None:
            return found
        return _refused(found, f"would hold an image that was built from a dirty tree, as {_build_id(dirty)}", _COMMIT)

    def _dirt(self) -> str:
        files = self._run.dirt()
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        verb = "differs" if len(files) == 1 else "differ"
        commit = self._run.world.git.short()
        return f"would come from a dirty tree: {', '.join(files[:_NAMED])}{more} {verb} from commit {commit}"

    # --- before the images are built ------------------------------------------------------------------------

    def ahead(self, node: Node, pending: Collection[str], *, early: bool) -> Publication:
        """What becomes of each tag once images that are not up to date are built, as far as that is certain.

        pending: images of which it is open whether they are built: a prerequisite comes first.
        early:   leave out what needs a BUILD_ID that nobody decided yet.
        """
        rule = _rule(node)
        names = list(self._names(rule))
        asked = self.tags.asked(rule, early=early)
        certain = not pending
        now = Origin(self._run.world.git.revision(), self._run.world.clock.now()) if certain else Origin()

        def same(remote: Remote, _: Wanted) -> bool | None:
            return False if self._will_differ(remote, names, pending) else None

        changes = self.tags.changes(asked, self.tags.held(asked), Ours("", now), same)
        found = Publication(node, (), None, changes)
        if early and certain and not found.written and self.tags.undecided(rule):
            # A new image gets a new BUILD_ID: its tag will be written, though nobody knows it yet.
            to = self._run.template(rule.to[0])
            found = replace(found, changes=(*changes, TagChange(f"{to}:$BUILD_ID", TagAction.CREATE, "", "", "")))
        return self._guarded(found) if certain else found

    def _will_differ(self, remote: Remote, names: Sequence[str], pending: Collection[str]) -> bool:
        """Whether no build of today's inputs can give what the registry holds."""
        seals = [(image, stamp.read(image)) for image in remote.images]
        if len(seals) != len(names) or any(seal is None for _, seal in seals):
            return True  # an image of a rule always bears a stamp
        return any(
            all(seal is not None and self._differs(name, image, seal) for image, seal in seals)
            for name in names
            if name not in pending
        )

    def _differs(self, name: str, image: Image, seal: Stamp) -> bool:
        """Whether one image, up to date here or to be built, is another than the registry's."""
        if name in self._run.images:
            mine = self._local(name)
            return mine.image.id != image.id and _identity(mine.seal) != _identity(seal)
        node = self._run.node(name)
        if self._reader.platform(node).split("/")[:2] != [image.os, image.architecture]:
            return True
        reading = self._reader.read(node, dict(seal.metadata), self._images.family(node, seal), seal.triggers)
        return digest(reading.fields) != seal.fingerprint

    # --- without an engine ----------------------------------------------------------------------------------

    def detached(self, node: Node) -> Judgement | None:
        """The verdict from the registry alone, where nothing is built here; None when that takes an image.

        A stamp in the registry with the origin of today's sources is the image that a build would make.
        """
        rule = _rule(node)
        nodes = self._nodes(rule)
        origins = self._remotely.origins(nodes)
        if not origins or self._run.settings.wish.always:
            return None
        asked = self.tags.asked(rule)
        held = self.tags.held(asked)

        def same(remote: Remote, _: Wanted) -> bool:
            return self._remotely.holds(nodes, remote, origins)

        source = next((remote for ref, remote in held.items() if remote is not None and same(remote, asked[ref])), None)
        source = source or self._remotely.search(rule, nodes, origins)
        if source is None:
            return None
        origin = tags.origin(source.images)
        ours = Ours(source.digest, Origin(self._run.world.git.revision() or origin.revision, origin.time))
        changes = self.tags.changes(asked, held, ours, same)
        if self._missing(rule, source):
            return None  # what is required can be shown by a run
        return self._judgement(self._guarded(Publication(node, (), source, changes, referrers=True)))

    def build_ids(self, node: Node) -> dict[str, float]:
        """BUILD_IDs under which the registry holds the image of today's sources."""
        rule = _rule(node)
        return dict(self._remotely.build_ids(rule, self._nodes(rule)))

    def local(self, node: Node) -> bool:
        """Whether every image of the rule is up to date in the engine."""
        return all(name in self._run.images for name in self._names(_rule(node)))

    # --- telling --------------------------------------------------------------------------------------------

    def lines(self, publication: Publication) -> tuple[str, ...]:
        """The docker lines that the publication comes to; of what a registry has already, only the tags."""
        return (*self._docker_lines(publication), *self._signed(publication))

    def _signed(self, publication: Publication) -> tuple[str, ...]:
        """What signs it, by the digest where that is known; a run does so before it sets the tags."""
        if not _rule(publication.node).sign or not publication.written:
            return ()
        first = {repository_of(change.reference): change.reference for change in reversed(publication.written)}
        source = publication.source
        names = [f"{name}@{source.digest}" if source else ref for name, ref in reversed(first.items())]
        return (shlex.join([COSIGN, "sign", "--yes", *names]),)

    def _docker_lines(self, publication: Publication) -> tuple[str, ...]:
        written = [change.reference for change in publication.written]
        if (source := publication.source) is not None:
            # By default buildx wraps a single manifest in a new index, which has another digest.
            flag = "" if _INDEX in source.media_type or "list" in source.media_type else " --prefer-index=false"
            return tuple(f"docker buildx imagetools create{flag} -t {ref} {_at(source)}" for ref in written)
        rule = _rule(publication.node)
        if (reference := self._promotion.reference(rule)) is not None:  # of what another rule is yet to publish
            names, flag = [self._run.values.expand(reference)], " --prefer-index=false"
        else:
            names, flag = list(self._local_tags(rule)), ""
            if len(names) == 1:
                return tuple(line for ref in written for line in (f"docker tag {names[0]} {ref}", f"docker push {ref}"))
        return tuple(f"docker buildx imagetools create{flag} -t {ref} {' '.join(names)}" for ref in written)

    def _local_tags(self, rule: PublishRule) -> Iterator[str]:
        """A tag in the engine for each image, those of an image's platforms too."""
        for image in rule.images:
            made = image if isinstance(image, ImageRule) else self._run.rule_of(image)
            assert made is not None
            for _, platform in platforms(made, self._run.native):
                yield self._run.first_tag(made, platform)


def refusals(publications: Iterable[Publication]) -> list[Refused]:
    """An error for each thing that is refused, with its place; what many tags share is said once."""
    found: dict[tuple[str, str], list[tuple[Publication, TagChange]]] = {}
    for publication in publications:
        for change in publication.refused:
            found.setdefault((change.why, change.hint), []).append((publication, change))
    return [_refusal(why, hint, changes) for (why, hint), changes in found.items()]


def _refusal(why: str, hint: str, changes: Sequence[tuple[Publication, TagChange]]) -> Refused:
    named = [(change.reference, publication.node.rule.place) for publication, change in changes]
    reference, place = named[0]
    others = [f"{other} ({at})" if at != place else other for other, at in dict.fromkeys(named[1:])]
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    also = f"so it is with {', '.join(others[:_NAMED])}{more}\n" if others else ""
    return Refused(f"{reference} {why}", place=place, hint=also + hint)


def _refused(found: Publication, why: str, hint: str) -> Publication:
    """The same with each write refused."""
    written = set(found.written)
    changes = tuple(
        change._replace(action=TagAction.REFUSE, after=change.before, why=why, hint=hint)
        if change in written
        else change
        for change in found.changes
    )
    return replace(found, changes=changes)


def _reason(change: TagChange, publication: Publication) -> Reason:
    if change.action is TagAction.REFUSE:
        return Reason(f"{change.reference} {change.why}", "moved")
    if change.action is TagAction.MOVE:
        return Reason(f"{change.reference} holds another image ({short(change.before)})", "moved")
    if publication.source is not None:
        return Reason(f"{change.reference} is not there; {publication.source.reference} is the same image", "tag")
    return Reason(f"{change.reference} is not there", "missing")


def _rule(node: Node) -> PublishRule:
    assert isinstance(node.rule, PublishRule)
    return node.rule


def _is_exact(remote: Remote, local: Sequence[Local]) -> bool:
    """Two images are the same when their configurations are: manifests of one image differ between stores."""
    return {image.id for image in remote.images} == {one.image.id for one in local}


def _is_equal(remote: Remote, local: Sequence[Local]) -> bool:
    """Whether the registry holds another build of the same inputs that gave the same content."""
    seals = {_identity(seal) for image in remote.images if (seal := stamp.read(image)) is not None}
    mine = {_identity(one.seal) for one in local}
    return len(seals) == len(local) == len(remote.images) and seals == mine


def _identity(seal: Stamp) -> tuple[str, str]:
    return seal.fingerprint, seal.content


def _build_id(seal: Stamp) -> str:
    return seal.metadata.get("BUILD_ID", "")


def _ids(local: Sequence[Local]) -> str:
    return " ".join(one.image.id for one in local)


def _at(source: Remote) -> str:
    return f"{repository_of(source.reference)}@{source.digest}"
