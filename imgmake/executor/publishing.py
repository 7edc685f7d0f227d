"""Publishing: asked of each registry by the stamp that a tag's configuration holds; pushed only where it differs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from imgmake import stamp, versions
from imgmake.errors import Refused, SourceError
from imgmake.executor.images import Images
from imgmake.executor.origins import Origins
from imgmake.executor.reading import Reader
from imgmake.executor.run import BUILD_ID, Judgement, Run
from imgmake.freshness import FORCED, short
from imgmake.graph import Node
from imgmake.imagerule import platforms
from imgmake.metadata import timestamp_of
from imgmake.model import ImageRule, PublishRule, Reason, Semver, Verdict
from imgmake.ports import Image, Output, Remote
from imgmake.references import match_build_id
from imgmake.references import repository as repository_of
from imgmake.stamp import Stamp

_SEARCHED = 20  # newest BUILD_ID tags of a repository that are looked into for an image not in the engine


@dataclass(frozen=True)
class Wanted:
    """What is to be published, and which references do not hold it yet."""

    images: tuple[Image, ...]
    missing: tuple[str, ...]
    source: Remote | None = None  # an image that the registry has already, under another tag


class Publishing:
    """Judges and carries out publish rules."""

    def __init__(self, run: Run, reader: Reader, images: Images) -> None:
        self._run = run
        self._images = images
        self._origins = Origins(reader)

    # --- judging --------------------------------------------------------------------------------------------

    def judge(self, node: Node) -> Judgement:
        """Compare what each tag holds with the images that this run settled."""
        rule = node.rule
        assert isinstance(rule, PublishRule)
        local = [self._local(image) for image in self._image_nodes(rule)]
        references = self.references(rule)
        held = {reference: self._run.world.registry().resolve(reference) for reference in references}
        reasons = [FORCED] if self._run.settings.wish.always else []
        missing = []
        for reference, remote in held.items():
            reason = _difference(reference, remote, local)
            if reason is not None:
                reasons.append(reason)
                missing.append(reference)
        self._guard(rule, held, missing)
        wanted = references if self._run.settings.wish.always else tuple(missing)
        return Judgement(Verdict(tuple(reasons)), (), Wanted(tuple(image for image, _ in local), wanted))

    def _image_nodes(self, rule: PublishRule) -> Iterator[str]:
        for image in rule.images:
            made = image if isinstance(image, ImageRule) else self._run.rule_of(image)
            if made is None:
                raise SourceError(
                    f"{rule.target!r}: {image!r} is no image of this Pipefile",
                    place=rule.place,
                    hint="promotion of an image by reference is not there yet; name a rule's image",
                )
            yield from (name for name, _ in platforms(made, self._run.native))

    def _local(self, name: str) -> tuple[Image, Stamp]:
        image, seal = self._run.images[name]
        return image, seal or Stamp(fingerprint="", content=stamp.content_id(image))

    def references(self, rule: PublishRule) -> tuple[str, ...]:
        """Every tag in every registry, expanded; a semantic version fans out by what each registry holds."""
        found: list[str] = []
        for to, tag in itertools.product(rule.to, rule.tags):
            repository = self._run.values.expand(to)
            names = self._semver(repository, tag) if isinstance(tag, Semver) else (self._run.values.expand(tag),)
            found += [f"{repository}:{name}" for name in names]
        return tuple(dict.fromkeys(found))

    def _semver(self, repository: str, tag: Semver) -> tuple[str, ...]:
        expand = self._run.values.expand
        held = self._run.world.registry().tags(repository)
        return versions.plain_tags(expand(tag.version), expand(tag.suffix), tag.latest, held)

    def _guard(self, rule: PublishRule, held: Mapping[str, Remote | None], missing: Sequence[str]) -> None:
        """A tag that holds a BUILD_ID never moves, in a registry either."""
        if self._run.settings.wish.always:
            return
        fixed = self._fixed(rule)
        for reference in missing:
            remote = held[reference]
            if remote is not None and reference not in fixed and self._build_id(rule, reference):
                raise Refused(
                    f"{reference} holds another image ({short(remote.digest)}): a tag with a BUILD_ID never moves",
                    place=rule.place,
                    hint="publish under another BUILD_ID, or with -B over it",
                )

    def _fixed(self, rule: PublishRule) -> frozenset[str]:
        """References that the rule asks for without a BUILD_ID, as ``latest`` beside one: these may move."""
        found: list[str] = []
        for to, tag in itertools.product(rule.to, rule.tags):
            repository = self._run.values.expand_known(to)
            if isinstance(tag, Semver):
                names = self._semver(repository, tag) if BUILD_ID not in tag.version + tag.suffix else ()
            else:
                names = () if BUILD_ID in tag else (self._run.values.expand(tag),)
            found += [f"{repository}:{name}" for name in names]
        return frozenset(found)

    def _build_id(self, rule: PublishRule, reference: str) -> str | None:
        templates = [
            f"{self._run.template(to)}:{self._run.template(tag)}"
            for to, tag in itertools.product(rule.to, rule.tags)
            if isinstance(tag, str) and "${BUILD_ID}" in tag
        ]
        return next((found for t in templates if (found := match_build_id(t, reference)) is not None), None)

    # --- without an engine ----------------------------------------------------------------------------------

    def detached(self, node: Node) -> Judgement | None:
        """The verdict from the registry alone, where nothing is built here; None when that takes an image.

        A stamp in the registry with the origin of today's sources is the image that a build would make.
        """
        rule = node.rule
        assert isinstance(rule, PublishRule)
        origins = [self._origins.of(name) for name in self._image_nodes(rule)]
        if not all(origins) or self._run.settings.wish.always:
            return None
        held = {reference: self._run.world.registry().resolve(reference) for reference in self.references(rule)}
        missing = tuple(ref for ref, remote in held.items() if not self._holds(rule, remote, origins))
        if not missing:
            return Judgement(Verdict())
        source = next((remote for remote in held.values() if self._holds(rule, remote, origins)), None)
        source = source or self._search(rule, origins)
        if source is None:
            return None
        self._guard(rule, held, missing)
        reasons = tuple(Reason(f"{ref} is not there; {source.reference} is the same image", "tag") for ref in missing)
        return Judgement(Verdict(reasons), (), Wanted((), missing, source))

    def build_ids(self, node: Node) -> Mapping[str, float]:
        """BUILD_IDs under which the registry holds the image of today's sources."""
        rule = node.rule
        assert isinstance(rule, PublishRule)
        origins = [self._origins.of(name) for name in self._image_nodes(rule)]
        if not all(origins):
            return {}
        found = {}
        for build_id, remote in self._builds(rule):
            if self._holds(rule, remote, origins):
                found[build_id] = timestamp_of(build_id) or 0.0
        return found

    def _search(self, rule: PublishRule, origins: Sequence[str]) -> Remote | None:
        return next((remote for _, remote in self._builds(rule) if self._holds(rule, remote, origins)), None)

    def _holds(self, rule: PublishRule, remote: Remote | None, origins: Sequence[str]) -> bool:
        """Whether the registry's image is what a build of today's sources would make."""
        seals = [stamp.read(image) for image in remote.images] if remote is not None else []
        found = [seal for seal in seals if seal is not None]
        made = [self._run.node(name).rule for name in self._image_nodes(rule)]
        return sorted(seal.origin for seal in found) == sorted(origins) and all(
            self._images.still_holds(one, seal) for one in made if isinstance(one, ImageRule) for seal in found
        )

    def _builds(self, rule: PublishRule) -> Iterator[tuple[str, Remote]]:
        """What the newest BUILD_ID tags of the rule's repositories hold."""
        registry, fixed = self._run.world.registry(), self._fixed(rule)
        for to in rule.to:
            repository = self._run.values.expand(to)
            names = [tag for tag in registry.tags(repository) if f"{repository}:{tag}" not in fixed]
            tags = [(b, tag) for tag in names if (b := self._build_id(rule, f"{repository}:{tag}"))]
            tags.sort(key=lambda pair: timestamp_of(pair[0]) or 0.0, reverse=True)
            for build_id, tag in tags[:_SEARCHED]:
                if (remote := registry.resolve(f"{repository}:{tag}")) is not None:
                    yield build_id, remote

    def local(self, node: Node) -> bool:
        """Whether every image of the rule is up to date in the engine."""
        rule = node.rule
        assert isinstance(rule, PublishRule)
        return all(name in self._run.images for name in self._image_nodes(rule))

    # --- doing ----------------------------------------------------------------------------------------------

    def lines(self, node: Node, judgement: Judgement) -> tuple[str, ...]:
        """The docker lines that a push comes to; of what a registry has already, only the tags."""
        rule = node.rule
        assert isinstance(rule, PublishRule)
        if judgement.detail and judgement.detail.source is not None:
            held = f"{repository_of(judgement.detail.source.reference)}@{judgement.detail.source.digest}"
            return tuple(f"docker buildx imagetools create -t {ref} {held}" for ref in judgement.detail.missing)
        found = judgement.detail.missing if judgement.detail else self.references(rule)
        names = [self._run.values.expand(name) for name in self._first_tags(rule)]
        if len(names) > 1:
            return tuple(f"docker buildx imagetools create -t {ref} {' '.join(names)}" for ref in found)
        return tuple(line for ref in found for line in (f"docker tag {names[0]} {ref}", f"docker push {ref}"))

    def _first_tags(self, rule: PublishRule) -> Iterator[str]:
        for image in rule.images:
            made = image if isinstance(image, ImageRule) else self._run.rule_of(image)
            yield made.tags[0] if made is not None else str(image)

    def perform(self, node: Node, judgement: Judgement, output: Output) -> None:
        """Push what is missing. Raises RegistryError; a failed push leaves no tag moved."""
        registry = self._run.world.registry()
        wanted = judgement.detail
        for line in self.lines(node, judgement):
            output.command(line)
        if wanted.source is not None:
            registry.retag(wanted.source, wanted.missing, output=output, cancel=self._run.signals.cancel)
            return
        cancel = self._run.signals.cancel
        registry.push(self._run.world.engine(), wanted.images, wanted.missing, output=output, cancel=cancel)


def _difference(reference: str, remote: Remote | None, local: Sequence[tuple[Image, Stamp]]) -> Reason | None:
    if remote is None:
        return Reason(f"{reference} is not there", "missing")
    theirs = {image.id for image in remote.images}
    if theirs == {image.id for image, _ in local}:
        return None
    seals = {(seal.fingerprint, seal.content) for image in remote.images if (seal := stamp.read(image)) is not None}
    if len(seals) == len(local) == len(remote.images) and seals == {(s.fingerprint, s.content) for _, s in local}:
        return None
    return Reason(f"{reference} holds another image ({short(remote.digest)})", "moved")
