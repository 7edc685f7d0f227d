"""What imgmake built for this repository and nobody needs any more: tags of old builds, and images without a tag.

An image counts as this repository's by its labels alone: a stamp that is its own (an inherited one is not), and the
same source. A tag without BUILD_ID or FINGERPRINT (``1.0.0``, ``latest``) was set by somebody on purpose, and stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from imgmake import stamp
from imgmake.errors import EngineError
from imgmake.executor.run import BUILD_ID, FINGERPRINT, Run
from imgmake.imagerule import platforms, tag_on
from imgmake.metadata import timestamp_of
from imgmake.model import ImageRule, Removal
from imgmake.ports import Engine, Image
from imgmake.references import match_build_id
from imgmake.stamp import Stamp

Build = tuple[float, Removal]  # when, and what its removal would be


class Collecting:
    """Finds and removes what is old; `engine` of the run raises EngineUnavailable."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def old(self, keep: int) -> list[Removal]:
        """All but the `keep` newest builds of each target on each platform, the oldest last."""
        builds: defaultdict[tuple[str, str], list[Build]] = defaultdict(list)
        for image, seal in self._ours():
            platform = f"{image.os}/{image.architecture}/{image.variant}"
            builds[seal.target, platform] += self._builds(image, seal)
        return [removal for _, found in sorted(builds.items()) for removal in _beyond(found, keep)]

    def remove(self, removals: Iterable[Removal]) -> Iterator[tuple[Removal, str]]:
        """Remove each; with why not, where the engine refused: a container may use it."""
        engine = self._run.world.engine()
        for removal in removals:
            why = ""
            try:
                why = self._remove(removal, engine)
            except EngineError as error:
                why = error.message
            yield removal, why.rpartition(" - ")[2]  # the engine's words: what it did not do, and then why

    def _remove(self, removal: Removal, engine: Engine) -> str:
        """Why it stays; nothing when it is gone."""
        if removal.tag:
            found = engine.image(removal.tag)
            if found is not None and found.id != removal.image:
                return "it is another image now"
            engine.untag(removal.tag)
        engine.remove(removal.image)
        return "something uses it" if not removal.tag and engine.image(removal.image) is not None else ""

    def _ours(self) -> Iterator[tuple[Image, Stamp]]:
        source = stamp.public_url(self._run.world.git.url())
        for image in self._run.world.engine().labelled(stamp.LABEL):
            seal = stamp.read(image)
            if seal is not None and self._is_here(image, seal, source):
                yield image, seal

    def _is_here(self, image: Image, seal: Stamp, source: str) -> bool:
        """By the remote; where neither names one, by a tag that a rule of ours gives."""
        theirs = stamp.public_url(seal.metadata.get("VCS_URL", ""))
        if theirs or source:
            return theirs == source
        return any(match_build_id(template, tag) for tag in image.tags for template in self._templates())

    def _builds(self, image: Image, seal: Stamp) -> Iterator[Build]:
        if not image.tags:
            yield seal.time, Removal("", image.id, seal.target, seal.time)
        times = self._run.world.state.builds(image.id)
        own = seal.metadata.get("BUILD_ID", "")
        for tag in image.tags:
            build_id = self._build_id(tag, own, times)
            if build_id or tag in self._tags_of(seal.fingerprint):
                time = times.get(build_id) or timestamp_of(build_id) or seal.time
                yield time, Removal(tag, image.id, seal.target, time)

    def _build_id(self, tag: str, own: str, known: Collection[str]) -> str:
        """The BUILD_ID that a tag holds; of a rule that is gone by the image's own. Any other tag is somebody's."""
        if self._fixed(tag):
            return ""
        for template in self._templates():
            found = match_build_id(template, tag)  # of "shop:$BUILD_ID" any tag of the repository: 1.0.0 is none
            if found is not None and (found == own or found in known or timestamp_of(found) is not None):
                return found
        name = tag.rpartition(":")[2]
        if timestamp_of(own) is not None:
            return own if own in name else ""
        return own if own and (name == own or name.startswith(f"{own}-")) else ""  # "1" is no part of 1.0.0

    def _fixed(self, tag: str) -> bool:
        """Whether a rule gives this very tag without a BUILD_ID, as ``app:latest`` beside ``app:$BUILD_ID``."""
        rules = [rule for rule in self._run.pipeline.rules if isinstance(rule, ImageRule)]
        named = {self._run.template(one) for rule in rules for one in rule.tags if BUILD_ID not in one}
        return tag in named

    def _tags_of(self, fingerprint: str) -> Collection[str]:
        return {tag.replace(FINGERPRINT, fingerprint[:12]) for tag in self._templates(FINGERPRINT)}

    def _templates(self, mention: str = BUILD_ID) -> Sequence[str]:
        found: dict[str, None] = {}
        for rule in self._run.pipeline.rules:
            if isinstance(rule, ImageRule):
                for name, platform in platforms(rule, self._run.native):
                    other = None if name == rule.target else platform
                    found |= {tag_on(self._run.template(tag), other): None for tag in rule.tags if mention in tag}
        return tuple(found)


def _beyond(builds: Iterable[Build], keep: int) -> list[Removal]:
    ordered = sorted(builds, key=lambda build: (-build[0], build[1].tag, build[1].image))
    return [removal for _, removal in ordered[keep:]]
