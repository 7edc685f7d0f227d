"""The BUILD_ID of a run: given, kept while every asked image is up to date, or new; decided once, when first needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from imgmake import metadata
from imgmake.errors import EngineUnavailable, ImgmakeError
from imgmake.executor.judge import Judge
from imgmake.executor.run import FINGERPRINT, Run
from imgmake.graph import Node
from imgmake.model import ImageRule, PublishRule


class BuildIds:
    """Decides the BUILD_ID, and says where it came from."""

    def __init__(self, run: Run, judge: Judge) -> None:
        self._run = run
        self._judge = judge
        self.decided: str | None = None
        self.how = ""

    def get(self) -> str:
        """The BUILD_ID of this run."""
        with self._run.signals.lock:
            if self.decided is None:
                self.decided, self.how = self._decide()
                self._run.world.reporter.note(f"BUILD_ID {self.decided} ({self.how})")
                if warning := self._run.world.git.warning():
                    self._run.world.reporter.warning(warning)
            return self.decided

    def tell_given(self) -> None:
        """Say where a BUILD_ID that was given comes from: an environment may hold one that nobody thought of."""
        if self._run.settings.build_id is not None:
            came = self._run.values.origin("BUILD_ID").removeprefix("BUILD_ID ")
            self._run.world.reporter.note(f"BUILD_ID {self._run.settings.build_id} ({came})")

    def _decide(self) -> tuple[str, str]:
        known = [self._known(node) for node in self._asked()]
        if known and all(known):
            kept = metadata.shared([found for found in known if found])
            if kept is not None:
                return kept, "as before"
        return self._new(), "new"

    def _asked(self) -> list[Node]:
        """The images among what was asked; where none is (`imgmake metadata`), those of the default goal."""
        asked = self._images(self._run.wanted) or self._images(self._run.usual)
        return [node for node in asked if node.id not in self._run.pinned]

    def _images(self, names: Collection[str]) -> list[Node]:
        nodes = [self._run.node(name) for name in self._run.graph.order if name in names]
        return [node for node in nodes if isinstance(node.rule, ImageRule) and node.id == node.rule.target]

    def _known(self, node: Node) -> Mapping[str, float] | None:
        """BUILD_IDs of an up-to-date image, here or in the registry that it is published to; None when stale."""
        settled = self._run.images.get(node.id) if node.id in self._run.settled else None
        if settled is None:
            forecast = self._judge.forecast(node)
            if forecast.stale or not forecast.judgement.detail:
                return self._published(node)
            settled = forecast.judgement.detail.fresh
        image, seal = settled
        return self._judge.images.build_ids(node, image, seal) if seal else {}

    def _published(self, node: Node) -> Mapping[str, float] | None:
        for name in self._run.wanted:
            rule = self._run.node(name).rule
            if isinstance(rule, PublishRule) and any(image is node.rule for image in rule.images):
                try:
                    return self._judge.publishing.build_ids(self._run.node(name)) or None
                except ImgmakeError:
                    return None
        return None

    def _new(self) -> str:
        run = self._run
        short = run.world.git.short() or "unknown"
        return metadata.unused(run.moment(), short, run.dirty(), self._in_use)

    def _in_use(self, build_id: str) -> bool:
        try:
            engine = self._run.world.engine()
            for node in self._asked():
                assert isinstance(node.rule, ImageRule)
                for tag in node.rule.tags:
                    known = {"BUILD_ID": build_id, "FINGERPRINT": FINGERPRINT}
                    name = self._run.values.expand(tag, extra=known) if "${BUILD_ID}" in tag else FINGERPRINT
                    if FINGERPRINT not in name and engine.image(name) is not None:
                        return True
        except EngineUnavailable:
            return False
        return False
