"""Images of today's sources, recognised in a registry by their origin where nothing has been built at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from imgmake import stamp
from imgmake.executor.images import Images
from imgmake.executor.origins import Origins
from imgmake.executor.reading import Reader
from imgmake.executor.run import Run
from imgmake.executor.tagplan import TagPlan
from imgmake.graph import Node
from imgmake.metadata import timestamp_of
from imgmake.model import ImageRule, PublishRule
from imgmake.ports import Remote
from imgmake.references import match_build_id

_SEARCHED = 20  # newest BUILD_ID tags of a repository that are looked into for an image not in the engine


class Remotely:
    """Knows whether a registry's image is what a build of today's sources would make."""

    def __init__(self, run: Run, reader: Reader, images: Images, tags: TagPlan) -> None:
        self._run = run
        self._images = images
        self._tags = tags
        self._origins = Origins(reader)

    def origins(self, nodes: Sequence[Node]) -> tuple[str, ...]:
        """The origin of each image; nothing at all when that of one cannot be known."""
        found = tuple(self._origins.of(node.id) for node in nodes)
        return found if all(found) else ()

    def holds(self, nodes: Sequence[Node], remote: Remote | None, origins: Sequence[str]) -> bool:
        """Whether the registry's image is one of these origins that need not be built again."""
        seals = [stamp.read(image) for image in remote.images] if remote is not None else []
        found = [seal for seal in seals if seal is not None]
        return sorted(seal.origin for seal in found) == sorted(origins) and all(
            self._images.still_holds(node.rule, seal)
            for node in nodes
            if isinstance(node.rule, ImageRule)
            for seal in found
        )

    def search(self, rule: PublishRule, nodes: Sequence[Node], origins: Sequence[str]) -> Remote | None:
        """Such an image under one of the newest BUILD_IDs of the rule's repositories."""
        return next((remote for _, remote in self._builds(rule) if self.holds(nodes, remote, origins)), None)

    def build_ids(self, rule: PublishRule, nodes: Sequence[Node]) -> Mapping[str, float]:
        """BUILD_IDs under which the registry holds the image of today's sources, with the time of each."""
        origins = self.origins(nodes)
        builds = self._builds(rule) if origins else ()
        return {b: timestamp_of(b) or 0.0 for b, remote in builds if self.holds(nodes, remote, origins)}

    def _builds(self, rule: PublishRule) -> Iterator[tuple[str, Remote]]:
        """What the newest BUILD_ID tags of the rule's repositories hold."""
        registry, fixed = self._run.world.registry(), self._fixed(rule)
        for to in rule.to:
            repository = self._run.values.expand(to)
            names = [tag for tag in registry.tags(repository) if tag not in fixed]
            tags = [(b, tag) for tag in names if (b := self._build_id(rule, f"{repository}:{tag}"))]
            tags.sort(key=lambda pair: timestamp_of(pair[0]) or 0.0, reverse=True)
            for build_id, tag in tags[:_SEARCHED]:
                if (remote := registry.resolve(f"{repository}:{tag}")) is not None:
                    yield build_id, remote

    def _fixed(self, rule: PublishRule) -> frozenset[str]:
        """Tags that the rule asks for without a BUILD_ID, as ``latest`` beside one, which match its pattern too."""
        return frozenset(name for tag in rule.tags if not self._tags.is_unique(tag) for name in self._tags.names(tag))

    def _build_id(self, rule: PublishRule, reference: str) -> str | None:
        templates = [
            f"{self._run.template(to)}:{self._run.template(tag)}"
            for to in rule.to
            for tag in rule.tags
            if isinstance(tag, str) and self._tags.is_unique(tag)
        ]
        return next((found for t in templates if (found := match_build_id(t, reference)) is not None), None)
