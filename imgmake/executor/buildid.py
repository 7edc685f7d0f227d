"""The BUILD_ID of a run: given, kept while every asked image is up to date, or new; decided once, when first needed."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence

from imgmake import metadata
from imgmake.errors import EngineUnavailable, ImgmakeError
from imgmake.executor.judge import Judge
from imgmake.executor.run import FINGERPRINT, Run
from imgmake.graph import Node
from imgmake.imagerule import platforms
from imgmake.model import ImageRule, PublishRule
from imgmake.ports import Image
from imgmake.stamp import Stamp


class BuildIds:
    """Decides the BUILD_ID, and says where it came from."""

    def __init__(self, run: Run, judge: Judge) -> None:
        self._run = run
        self._judge = judge
        self.decided: str | None = None
        self.how = ""
        self._remote: Mapping[str, Mapping[str, float]] = {}

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
        self._remote = dict(self._held_remotely())
        kept = self._kept([*map(self._known, self._asked()), *self._remote.values()])
        return (kept, "as before") if kept is not None else (self._new(), "new")

    def _kept(self, known: Sequence[Mapping[str, float] | None]) -> str | None:
        """The BUILD_ID that all of it shares; that of a dirty tree only while that tree, on that commit, is dirty."""
        held = [one for one in known if one]
        if not held or len(held) < len(known):
            return None
        found = metadata.shared(held)
        clean = [_without(one, "") for one in held]
        if all(clean) and metadata.shared(clean) == found:
            return found  # git takes longer to ask than all the rest of a run that has nothing to do
        mine = f"-{self._run.world.git.short()}-dirty" if self._run.dirty() else ""
        usable = [_without(one, mine) for one in held]
        return metadata.shared(usable) if all(usable) else None

    def _asked(self) -> list[Node]:
        """The images among what was asked; where none is (`imgmake metadata`), those of the default goal."""
        apart = {*self._run.pinned, *self._remote}
        asked = self._images(self._run.graph.closure(self._run.goals, lambda name: name not in apart))
        usual = () if asked or self._remote else self._images(self._run.usual)
        return [node for node in asked or usual if node.id not in self._run.pinned]

    def _held_remotely(self) -> Iterator[tuple[str, Mapping[str, float]]]:
        """Publish rules of which the registry has all, with its BUILD_IDs: their images need not be here."""
        for name in self._run.wanted:
            node = self._run.node(name)
            if isinstance(node.rule, PublishRule) and not all(self._fresh(image) for image in self._published_by(node)):
                try:
                    found = self._judge.publishing.build_ids(node)
                except ImgmakeError:
                    found = {}
                if found:
                    yield name, found

    def _published_by(self, node: Node) -> Iterator[Node]:
        nodes = (self._run.node(name) for name in self._run.graph.prerequisites(node.id))
        return (one for one in nodes if isinstance(one.rule, ImageRule))

    def _images(self, names: Collection[str]) -> list[Node]:
        nodes = [self._run.node(name) for name in self._run.graph.order if name in names]
        return [node for node in nodes if isinstance(node.rule, ImageRule) and node.id == node.rule.target]

    def _known(self, node: Node) -> Mapping[str, float] | None:
        """BUILD_IDs of an up-to-date image, here or in the registry that it is published to; None when stale."""
        assert isinstance(node.rule, ImageRule)
        found = [self._fresh(self._run.node(name)) for name, _ in platforms(node.rule, self._run.native)]
        settled = self._fresh(node)
        if settled is None or not all(found):
            return self._published(node)
        image, seal = settled
        return self._judge.images.build_ids(node, image, seal) if seal else {}

    def _fresh(self, node: Node) -> tuple[Image, Stamp | None] | None:
        """The up-to-date image of a node, one platform's, if the engine has it."""
        if node.id in self._run.settled and node.id in self._run.images:
            return self._run.images[node.id]
        forecast = self._judge.forecast(node)
        return forecast.judgement.detail.fresh if not forecast.stale and forecast.judgement.detail else None

    def _published(self, node: Node) -> Mapping[str, float] | None:
        for name in self._run.graph.order:
            rule = self._run.node(name).rule
            published = isinstance(rule, PublishRule) and any(image is node.rule for image in rule.images)
            with contextlib.suppress(ImgmakeError):
                if published and name in self._run.wanted and (found := self._build_ids(name)):
                    return found
        return None

    def _build_ids(self, name: str) -> Mapping[str, float]:
        return self._judge.publishing.build_ids(self._run.node(name))

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


def _without(known: Mapping[str, float], mine: str) -> Mapping[str, float]:
    """The BUILD_IDs without those of dirty trees, but for those that end in `mine`."""
    return {name: time for name, time in known.items() if not name.endswith("-dirty") or (mine and name.endswith(mine))}
