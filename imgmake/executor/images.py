"""Images: judged by the stamp of the rule's image in the engine; stale, stamped and tagged are three questions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from imgmake import freshness, stamp
from imgmake.errors import EngineUnavailable, Refused
from imgmake.executor.reading import Reader, Reading
from imgmake.executor.run import BUILD_ID, FINGERPRINT, Judgement, Run
from imgmake.fingerprint import differences, digest
from imgmake.freshness import FORCED, Candidate, Wish, judge_image
from imgmake.graph import Node
from imgmake.imagerule import context_folder, dockerfile_path, tag_on
from imgmake.model import Field, ImageRule, Reason, Verdict
from imgmake.ports import Image
from imgmake.references import match_build_id, normalise, repository
from imgmake.stamp import Stamp

Stamped = tuple[Image, Stamp]
_TITLE = "org.opencontainers.image.title"


@dataclass(frozen=True)
class Found:
    """What judging an image found: the rule's image when it is up to date, and the newest one in any case."""

    fresh: Stamped | None = None
    newest: Stamped | None = None


class Images:
    """Judges image rules and moves their tags; `imgmake.executor.building` builds."""

    def __init__(self, run: Run, reader: Reader) -> None:
        self._run = run
        self._reader = reader

    # --- judging --------------------------------------------------------------------------------------------

    def judge(self, node: Node) -> Judgement:
        """Whether a build would give anything else than what is there. Asks the engine; never builds, never tags."""
        rule = node.rule
        assert isinstance(rule, ImageRule)
        readings: dict[str, Reading] = {}
        rejected: list[tuple[Reason, ...]] = []
        newest: Stamped | None = None
        for image, seal in self._candidates(node, rule):
            newest = newest or (image, seal)
            reading = self._reading(readings, node, seal)
            reasons = self._reasons(node, rule, seal, reading)
            if not reasons:
                return Judgement(self._wished(rule, reading.fields), reading.fields, Found((image, seal), newest))
            rejected.append(reasons)
        reading = self._reading(readings, node, newest[1] if newest else None)
        verdict = Verdict(self._explain(node, newest, reading, rejected))
        return Judgement(verdict, reading.fields, Found(None, newest))

    def _wished(self, rule: ImageRule, fields: Sequence[Field]) -> Verdict:
        return Verdict((FORCED,) if self._run.settings.wish.always else self._what_if(rule, fields))

    def _what_if(self, rule: ImageRule, fields: Sequence[Field]) -> tuple[Reason, ...]:
        wish = self._run.settings.wish
        text = [Field("file", name, "") for name in (dockerfile_path(rule),) if name in wish.changed]
        return (*wish.what_if(text), *self._wish(rule).what_if(fields))

    def _wish(self, rule: ImageRule) -> Wish:
        """What the command line asks, with paths as the fields of this image name them: from its context."""
        wish, folder = self._run.settings.wish, context_folder(rule)
        if not folder:
            return wish

        def inside(names: Iterable[str]) -> frozenset[str]:
            return frozenset(name.removeprefix(f"{folder}/") for name in names if name.startswith(f"{folder}/"))

        return replace(wish, changed=inside(wish.changed), old=inside(wish.old))

    def _reading(self, known: dict[str, Reading], node: Node, seal: Stamp | None) -> Reading:
        family = self.family(node, seal)
        metadata = dict(seal.metadata) if seal else {}
        key = repr((sorted(metadata.items()), family, seal and sorted(seal.triggers.items())))
        if key not in known:
            known[key] = self._reader.read(node, metadata, family, seal.triggers if seal else {})
        return known[key]

    def family(self, node: Node, seal: Stamp | None) -> str:
        """The kind of builder to judge by: the forced one, else the one that built the image.

        An image is not stale because the machine could now choose another builder; one that the user
        forces is another matter.
        """
        rule = node.rule
        forced = (rule.builder if isinstance(rule, ImageRule) else None) or self._run.settings.forced_builder
        if forced:
            return "classic" if forced == "classic" else "buildkit"
        return (seal.groups.get("builder") if seal else None) or "buildkit"

    def _candidates(self, node: Node, rule: ImageRule, *, whole: bool = False) -> Iterator[Stamped]:
        """Images that could be the rule's, the likeliest first: stamped, and recorded or in its repositories.

        The recorded one comes before the engine is asked for the others: mostly it is the answer. `whole`: for
        every platform.
        """
        engine = self._run.world.engine()
        recorded = self._recorded(node)
        first = engine.image(recorded) if recorded else None
        yield from self._sealed(node, [first] if first else [], whole=whole)
        others = [image for image in engine.images(sorted(self._repositories(rule))) if image.id != recorded]
        yield from sorted(self._sealed(node, others, whole=whole), key=lambda one: one[1].time, reverse=True)

    def _sealed(self, node: Node, images: Iterable[Image], *, whole: bool) -> Iterator[Stamped]:
        platform = self._reader.platform(node).split("/")
        for image in images:
            seal = stamp.read(image)
            if seal is not None and (whole or [image.os, image.architecture] == platform[:2]):
                yield image, seal

    def _recorded(self, node: Node) -> str:
        record = self._run.world.state.record(node.id)
        return next((f.value for f in record.outputs if f.kind == "image"), "") if record else ""

    def _repositories(self, rule: ImageRule) -> set[str]:
        # Whatever the BUILD_ID will be, it stands in the tag: nothing is decided to know the repository.
        known = {"BUILD_ID": "x", "FINGERPRINT": "x"}
        return {repository(self._run.values.expand(tag, extra=known)) for tag in rule.tags}

    def _reasons(self, node: Node, rule: ImageRule, seal: Stamp, reading: Reading) -> tuple[Reason, ...]:
        run = self._run
        dirty = seal.metadata.get("BUILD_ID", "").endswith("-dirty")
        fingerprint = seal.fingerprint if self._as_old(node, rule, reading, seal) else digest(reading.fields)
        return judge_image(
            Candidate(
                fingerprint=seal.fingerprint,
                time=seal.time,
                build_id=seal.metadata.get("BUILD_ID", ""),
                revision=seal.metadata.get("VCS_REF", ""),
                moved=tuple(self._moved(rule, seal)),
            ),
            fingerprint=fingerprint,
            now=run.world.clock.now(),
            max_age=rule.max_age,
            clean=dirty and not run.dirty(),
            revision=run.world.git.revision() if dirty else "",
        )

    def still_holds(self, rule: ImageRule, seal: Stamp) -> bool:
        """Whether an image that only a registry holds is not too old, from a moved base, or from another dirty tree."""
        aged = freshness.aged(self._run.world.clock.now(), seal.time, rule.max_age)
        dirty = seal.metadata.get("BUILD_ID", "").endswith("-dirty")
        kept = (
            self._run.dirty() and seal.metadata.get("VCS_REF", "") == self._run.world.git.revision() if dirty else True
        )
        return kept and not aged and not (rule.pull and any(self._moved(rule, seal)))

    def _as_old(self, node: Node, rule: ImageRule, reading: Reading, seal: Stamp) -> bool:
        """Whether -o disregards something that this image reads, and all else agrees.

        Without the record of this very image the stamp tells; of a large context it tells no files apart, and all
        are disregarded.
        """
        wish, record = self._wish(rule), self._run.world.state.record(node.id)
        if not any(field.name in wish.old for field in reading.fields):
            return False
        if record is not None and digest(record.fields) == seal.fingerprint:
            then, now = (
                [f for f in wish.relevant(fields) if f.kind != "image"] for fields in (record.fields, reading.fields)
            )
            return then == now
        return not (stamp.changed_groups(seal, reading.fields) - {"file", "image"}) and (
            not seal.files or stamp.same_files(seal, reading.fields, apart_from=wish.old)
        )

    def _moved(self, rule: ImageRule, seal: Stamp) -> Iterator[tuple[str, str, str]]:
        for reference, then in seal.bases:
            now = self._base_now(rule, reference, then)
            if then and now and now != then:
                yield reference, then, now

    def _base_now(self, rule: ImageRule, reference: str, then: str) -> str:
        """The image that the engine (with ``pull=True`` the registry) holds under the name; empty: unknown."""
        if rule.pull:
            remote = self._run.world.registry().resolve(reference)
            ids = [image.id for image in remote.images] if remote else []
            # An engine may name an image by its configuration, its manifest or its index.
            digests = [
                digest.rpartition("@")[2] for image in (remote.images if remote else ()) for digest in image.digests
            ]
            return then if remote and then in (*ids, *digests, remote.digest) else next(iter(ids), "")
        image = self._run.external(reference)
        return image.id if image else ""

    def _explain(
        self, node: Node, newest: Stamped | None, reading: Reading, rejected: Sequence[tuple[Reason, ...]]
    ) -> tuple[Reason, ...]:
        """Every reason that can be told: from the record, else from the stamp's groups, else that it is missing."""
        assert isinstance(node.rule, ImageRule)
        reasons: list[Reason] = [FORCED] if self._run.settings.wish.always else []
        record = self._run.world.state.record(node.id)
        if record is None and newest is not None and newest[0].labels.get(_TITLE, node.id) != node.id:
            newest = None  # a sibling's image in the same repository tells nothing of this one
        if newest is None:
            text = "the image is missing from the engine" if record else "it has not been built here before"
            reasons.append(Reason(text, "missing" if record else "new"))
        reasons += self._what_if(node.rule, reading.fields)
        if record is not None:
            reasons += differences(record.fields, reading.fields)
        elif newest is not None and rejected and "changed" in freshness.codes(rejected[0]):
            reasons += stamp.changes(newest[1], reading.fields)
        for found in rejected[:1] if newest is not None else ():
            reasons += [reason for reason in found if reason.code != "changed"]
        return tuple(reasons) or (rejected[0] if rejected else (Reason("its inputs changed"),))

    # --- tagging --------------------------------------------------------------------------------------------

    def tags(self, node: Node, seal: Stamp | None, fingerprint: str = "") -> tuple[str, ...]:
        """The node's tags, expanded with the present BUILD_ID; another platform's image has them with its platform."""
        rule = node.rule
        assert isinstance(rule, ImageRule)
        known = {"FINGERPRINT": (fingerprint or (seal.fingerprint if seal else ""))[:12]}
        return tuple(_own(node, self._run.values.expand(tag, extra=known)) for tag in rule.tags)

    def untagged(self, node: Node, image: Image, seal: Stamp | None) -> tuple[tuple[str, str], ...]:
        """Tags that do not name `image` yet, each with the ID of its present holder or nothing."""
        names = set(image.tags)
        wanted = [tag for tag in self.tags(node, seal) if _familiar_in(tag, names) is None]
        found = [(tag, self._run.world.engine().image(tag)) for tag in wanted]
        holders = [(tag, holder.id if holder else "") for tag, holder in found]
        return tuple((tag, holder) for tag, holder in holders if holder != image.id)

    def guard(self, node: Node, moves: Iterable[tuple[str, str]]) -> None:
        """A tag that holds a BUILD_ID never moves to other content. Raises Refused."""
        rule = node.rule
        assert isinstance(rule, ImageRule)
        if self._run.settings.wish.always:
            return
        for tag, holder in moves:
            if holder and self._holds_build_id(node, rule, tag):
                raise Refused(
                    f"{tag} is {freshness.short(holder)}, and {node.id!r} is another image now: "
                    "a tag with a BUILD_ID never moves",
                    place=rule.place,
                    hint="give another BUILD_ID (or none), or build it anew under this one with -B",
                )

    def _holds_build_id(self, node: Node, rule: ImageRule, tag: str) -> bool:
        templates = [_own(node, self._run.template(t)) for t in rule.tags if "${BUILD_ID}" in t]
        return not self._fixed(node, rule, tag) and any(match_build_id(template, tag) for template in templates)

    def _fixed(self, node: Node, rule: ImageRule, tag: str) -> bool:
        """Whether the rule names this very tag without a BUILD_ID, as ``latest`` beside one."""
        known = {"FINGERPRINT": FINGERPRINT}
        names = [_spelt(_own(node, self._run.values.expand(t, extra=known))) for t in rule.tags if BUILD_ID not in t]
        return normalise(tag) in names or any(_fits(name, normalise(tag)) for name in names)

    def settle(self, node: Node, judgement: Judgement) -> tuple[str, ...]:
        """The image is up to date: give it the present tags, remember it. Returns the tags that were set."""
        run = self._run
        image, seal = judgement.detail.fresh
        run.images[node.id] = (image, seal)
        moves = self.untagged(node, image, seal)
        self.guard(node, moves)
        if run.settings.dry:
            return tuple(tag for tag, _ in moves)
        for tag, _ in moves:
            run.world.engine().tag(image.id, tag)
        self.remember(node, image, seal, judgement.fields)
        return tuple(tag for tag, _ in moves)

    def remember(self, node: Node, image: Image, seal: Stamp, fields: Sequence[Field]) -> None:
        """Record the image, and under which BUILD_ID it goes now."""
        from imgmake.ports import Record

        state = self._run.world.state
        if state.read_only:
            return
        record = state.record(node.id)
        outputs = (Field("image", "id", image.id),)
        news = record is None or record.outputs != outputs or record.fields != tuple(fields)
        if news and digest(fields) == seal.fingerprint:  # what -o took as it is must not pass for what was built
            state.commit(node.id, Record(tuple(fields), outputs, seal.time))
        if (build_id := self._run.build_id_if_known()) and build_id not in state.builds(image.id):
            state.add_build(image.id, build_id, self._run.world.clock.now())

    def remove(self, node: Node) -> list[str]:
        """Untag and remove what this rule built, or only name it in a dry run; without a valid stamp it is not ours.

        By the rule's own name every platform's image goes, also one that the rule has no more.
        """
        rule = node.rule
        assert isinstance(rule, ImageRule)
        engine, removed = self._run.world.engine(), []
        repositories = {normalise(name) for name in self._repositories(rule)}
        siblings = {one.target for one in self._run.pipeline.rules if isinstance(one, ImageRule) and one is not rule}
        for image, _ in self._candidates(node, rule, whole=node.id == rule.target):
            if image.labels.get(_TITLE) in siblings:
                continue
            for tag in image.tags:
                if normalise(repository(tag)) in repositories:
                    removed.append(tag)
                    if not self._run.settings.dry:
                        engine.untag(tag)
            if not self._run.settings.dry:
                engine.remove(image.id)
        return removed

    # --- BUILD_IDs ------------------------------------------------------------------------------------------

    def build_ids(self, node: Node, image: Image, seal: Stamp) -> Mapping[str, float]:
        """BUILD_IDs under which an image is known, with the time of each where it is known."""
        rule = node.rule
        assert isinstance(rule, ImageRule)
        times = self._run.world.state.builds(image.id)
        known = [_own(node, self._run.template(tag)) for tag in rule.tags]
        names = [tag for tag in image.tags if not self._fixed(node, rule, tag)]
        found = {b for tag in names for template in known if (b := match_build_id(template, tag)) is not None}
        own = seal.metadata.get("BUILD_ID")
        if not found and own and not self._held_by_another(node, rule, own, image):
            found = {own}
        return {name: times.get(name, seal.time if name == own else 0.0) for name in found}

    def _held_by_another(self, node: Node, rule: ImageRule, build_id: str, image: Image) -> bool:
        """Whether another image bears the tag of this BUILD_ID: a clone may have built at the same second."""
        known = {"BUILD_ID": build_id, "FINGERPRINT": "x"}
        names = (_own(node, self._run.values.expand(tag, extra=known)) for tag in rule.tags if "${BUILD_ID}" in tag)
        holders = (self._run.world.engine().image(name) for name in names)
        return any(holder is not None and holder.id != image.id for holder in holders)

    def under_build_id(self, node: Node) -> Stamped | None:
        """The image that bears this rule's tag with the present BUILD_ID, if the engine has one."""
        rule = node.rule
        assert isinstance(rule, ImageRule)
        try:
            for tag in rule.tags:
                if BUILD_ID not in tag or FINGERPRINT in tag:
                    continue
                image = self._run.world.engine().image(_own(node, self._run.values.expand(tag)))
                if image is not None:
                    return image, stamp.read(image) or Stamp(fingerprint="", content=image.id)
        except EngineUnavailable:
            return None
        return None


def _own(node: Node, tag: str) -> str:
    """A tag of the rule, as the node's image bears it."""
    return tag_on(tag, None if node.id == node.rule.target else node.platform)


def _familiar_in(tag: str, names: set[str]) -> str | None:
    wanted = normalise(tag)
    return next((name for name in names if normalise(name) == wanted), None)


def _spelt(name: str) -> str:
    mark = "zzfingerprintzz"
    return normalise(name.replace(FINGERPRINT, mark)).replace(mark, FINGERPRINT)


def _fits(name: str, tag: str) -> bool:
    """Whether a tag is `name` with some fingerprint in it."""
    return FINGERPRINT in name and bool(
        re.fullmatch(re.escape(name).replace(re.escape(FINGERPRINT), "[0-9a-f]{12}"), tag)
    )
