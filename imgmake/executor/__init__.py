"""The drive: brings goals up to date, or says what it would do. Knows the world only through ports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from imgmake.errors import ImgmakeError, InvalidReference, RegistryError
from imgmake.executor.attesting import Attesting
from imgmake.executor.buildid import BuildIds
from imgmake.executor.building import Building
from imgmake.executor.collecting import Collecting
from imgmake.executor.foreseen import foreseen
from imgmake.executor.judge import Forecast, Judge
from imgmake.executor.loop import Loop
from imgmake.executor.publication import Publication
from imgmake.executor.reading import Reader
from imgmake.executor.resuming import Outlook, Resuming
from imgmake.executor.run import Run
from imgmake.executor.transaction import Transaction
from imgmake.executor.world import Settings, Signals, World
from imgmake.graph import Node
from imgmake.model import Edge, Field, ImageRule, Outcome, PhonyRule, PublishRule, Verdict
from imgmake.references import repository


class Prospect(NamedTuple):
    """A target in a dry run: what it would do and why; the lines that would run, when it is stale.

    publication: where lines are asked, of a publish rule: what becomes of its tags, or why that is not known.
    """

    node: Node
    forecast: Forecast
    lines: tuple[str, ...] = ()
    publication: Publication | ImgmakeError | None = None


class Executor:
    """One run over one graph: `build` does, `prospects` tells."""

    def __init__(self, run: Run) -> None:
        self._run = run
        reader = Reader(run)
        self._judge = Judge(run, reader)
        self._building = Building(run, reader, self._judge.images)
        self.build_ids = BuildIds(run, self._judge)
        run.ask_build_id(self.build_ids)
        self._resuming = Resuming(run.world, run.signals)
        self._transaction = Transaction(run, Attesting(run), self._resuming)

    def build(self, goals: Sequence[str]) -> list[Outcome]:
        """Bring the goals up to date. Raises Interrupted when the user stops it.

        What an earlier publication left half done comes first. Raises RegistryError or StateError when that cannot be.
        """
        self._want(goals)
        self._resume(goals)
        loop = Loop(self._run, self._judge, self._building, self._transaction)
        self._run.world.reporter.planned(self._run.graph.closure(goals))
        try:
            loop.build(goals)
        finally:
            self.outcomes = loop.outcomes
        return loop.outcomes

    def _want(self, goals: Sequence[str]) -> None:
        run = self._run
        run.goals = self._asked(goals)
        if run.settings.build_id is not None:
            self._pin(goals)
        if any(isinstance(run.node(name).rule, ImageRule) for name in run.graph.closure(goals)):
            self.build_ids.tell_given()
        run.wanted = set(run.graph.closure(goals, lambda name: name not in run.pinned))

    def _asked(self, goals: Sequence[str]) -> set[str]:
        """The goals themselves, and what recipe-free phonies among them group."""
        found: set[str] = set()
        queue = list(goals)
        while queue:
            name = queue.pop()
            rule = self._run.node(name).rule
            found.add(name)
            if isinstance(rule, PhonyRule) and not rule.recipe:
                queue += [n for n in self._run.graph.prerequisites(name) if n not in found]
        return found

    def _pin(self, goals: Sequence[str]) -> None:
        """Under a given BUILD_ID an image that is only a prerequisite is taken as the engine has it."""
        for name in self._run.graph.closure(goals):
            node = self._run.node(name)
            if isinstance(node.rule, ImageRule) and name not in self._run.goals:
                found = self._judge.images.under_build_id(node)
                if found is not None:
                    self._run.images[name] = found
                    self._run.pinned.add(name)

    # --- unfinished publications ----------------------------------------------------------------------------

    def _resume(self, goals: Sequence[str]) -> None:
        if repositories := self._repositories(self._run.graph.closure(goals)):
            self._resuming.resume(repositories)
        else:
            self.tell_unfinished(goals)

    def unfinished(self, goals: Sequence[str]) -> list[Outlook]:
        """What a run would finish or undo before anything else; nothing, unless it publishes."""
        return self._resuming.outlook(self._repositories(self._run.graph.closure(goals)))

    def tell_unfinished(self, goals: Sequence[str]) -> None:
        """In a run that publishes nothing: a note that half-set tags wait."""
        if not self._repositories(self._run.graph.closure(goals)):
            for line in self._resuming.told(self._repositories(self._run.graph.order)):
                self._run.world.reporter.note(line)

    def _repositories(self, names: Iterable[str]) -> set[str]:
        """Where the publish rules among them publish to, as far as that is known yet."""
        found = set()
        for rule in (self._run.node(name).rule for name in names):
            for to in rule.to if isinstance(rule, PublishRule) else ():
                with contextlib.suppress(InvalidReference):
                    found.add(repository(self._run.values.expand_known(to)))
        return found

    def _foresee(self, goals: Sequence[str]) -> None:
        """Plan upon what the registries hold once that is finished or undone, as a run does."""
        try:
            tags = {reference: digest for one in self.unfinished(goals) for reference, digest in one.tags.items()}
        except RegistryError:
            return  # who asks what is unfinished hears of it
        if tags:
            world = self._run.world
            self._run.world = replace(world, registry=lambda: foreseen(world.registry(), tags))
            self._run.changed()

    # --- telling --------------------------------------------------------------------------------------------

    def prospects(self, goals: Sequence[str], *, lines: bool = False) -> list[Prospect]:
        """What a run would do with each target that the goals need, in order; nothing is run or written."""
        self._want(goals)
        if lines:
            self._foresee(goals)
        run = self._run
        every = run.graph.closure(goals)
        alone = {*run.pinned, *run.settings.wish.old, *self._judge.apart(every)}
        publications = self._judge.publications(every) if lines else {}
        batches = [run.graph.closure(batch, lambda name: name not in alone) for batch in run.batches(goals)]
        order = dict.fromkeys(name for batch in batches for name in batch)
        found = []
        for name in order:
            node = run.node(name)
            forecast = self._judge.forecast(node)
            publication = publications.get(name)
            found.append(
                Prospect(node, forecast, self._lines(node, forecast, publication) if lines else (), publication)
            )
        return found

    def _lines(self, node: Node, forecast: Forecast, publication: Publication | ImgmakeError | None) -> tuple[str, ...]:
        if forecast.error is not None:
            return ()
        try:
            if isinstance(node.rule, ImageRule):
                return self._image_lines(node, forecast)
            if not forecast.stale:
                return ()
            if isinstance(publication, ImgmakeError):
                raise publication
            if publication is not None:
                return self._judge.publishing.lines(publication)
            return self._judge.recipes.lines(node, forecast.judgement)
        except ImgmakeError as error:
            return (f"# {error.message}",)

    def _image_lines(self, node: Node, forecast: Forecast) -> tuple[str, ...]:
        if forecast.stale:
            return self._building.lines(node)
        found = forecast.judgement.detail
        if found is None or found.fresh is None:
            return ()
        image, seal = found.fresh
        return tuple(f"docker tag {image.id[:19]} {tag}" for tag, _ in self._judge.images.untagged(node, image, seal))

    def identity(self, node: Node) -> str:
        """What a target is now, in one line."""
        return self._judge.identity(node)

    def edges(self, node: Node) -> tuple[Edge, ...]:
        """A node's prerequisites, each with where it comes from."""
        return self._run.graph.edges[node.id]

    def inputs(self, name: str) -> tuple[Field, ...]:
        """The fields by which a target is judged."""
        return self._judge.forecast(self._run.node(name)).judgement.fields

    def remove_images(self, name: str) -> list[str]:
        """Remove the rule's own images, those with a stamp of ours, and their tags in the rule's repositories."""
        return self._judge.images.remove(self._run.node(name))

    def collecting(self) -> Collecting:
        """Finds and removes old builds."""
        return Collecting(self._run)

    def forecast(self, name: str) -> Verdict:
        """The verdict on one target as things are."""
        return self._judge.forecast(self._run.node(name)).judgement.verdict


__all__ = ["Executor", "Outlook", "Prospect", "Run", "Settings", "Signals", "World"]
