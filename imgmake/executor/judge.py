"""One answer for every kind: is it up to date? Asked late in a run, or ahead of time as a forecast."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

from imgmake.errors import (
    EngineUnavailable,
    GraphError,
    ImgmakeError,
    InvalidReference,
    Refused,
    RegistryError,
    UsageError,
    placed,
    raise_all,
)
from imgmake.executor import inputs
from imgmake.executor.images import Found, Images
from imgmake.executor.publication import Publication
from imgmake.executor.publishing import Publishing, refusals
from imgmake.executor.reading import Reader
from imgmake.executor.recipes import Recipes
from imgmake.executor.run import Judgement, Run
from imgmake.freshness import duration, summary
from imgmake.graph import Node
from imgmake.model import FileRule, ImageRule, PhonyRule, PublishRule, Reason, Verdict

_MISTAKES = (GraphError, InvalidReference, Refused, UsageError)
OLD = "taken as up to date (-o)"


class Forecast(NamedTuple):
    """What would become of a target if it were asked for now.

    `maybe`: it is up to date as things are, but a prerequisite will be made anew and may come out different.
    """

    judgement: Judgement
    maybe: bool = False
    error: ImgmakeError | None = None

    @property
    def stale(self) -> bool:
        return self.judgement.verdict.stale or self.error is not None


class Judge:
    """Judges nodes; remembers verdicts until a recipe runs, as nothing else can change them."""

    def __init__(self, run: Run, reader: Reader) -> None:
        self._run = run
        self.recipes = Recipes(run)
        self.images = Images(run, reader)
        self.publishing = Publishing(run, reader, self.images)
        self._memory: dict[tuple[str, int], Judgement] = {}
        self._forecasts: dict[tuple[str, int], Forecast] = {}

    def judge(self, node: Node) -> Judgement:
        """The verdict now; the prerequisites must be settled. Raises Refused for what would break a promise."""
        key = (node.id, self._run.epoch)
        if key not in self._memory:
            self._memory[key] = self._judge(node)
        found = self._memory[key]
        if isinstance(found.detail, Publication) and not self._run.predicting:
            raise_all(refusals([found.detail]))
        return found

    def _judge(self, node: Node) -> Judgement:
        if node.id in self._run.settings.wish.old:
            return self._old(node)
        if isinstance(node.rule, ImageRule):
            return self.images.judge(node)
        if isinstance(node.rule, PublishRule):
            return self.publishing.judge(node)
        return self.recipes.judge(node)

    def _old(self, node: Node) -> Judgement:
        """-o: taken as it is; an image that is not there at all cannot be."""
        if isinstance(node.rule, ImageRule):
            found = self.images.judge(node)
            if found.detail.newest is None:
                return found
            return Judgement(Verdict((), OLD), found.fields, Found(found.detail.newest, found.detail.newest))
        return Judgement(Verdict((), OLD))

    # --- ahead of time --------------------------------------------------------------------------------------

    def forecast(self, node: Node) -> Forecast:
        """Judge a node whose prerequisites may not be settled yet: a stale one makes it stale, perhaps."""
        key = (node.id, self._run.epoch)
        if key not in self._forecasts:
            before, self._run.predicting = self._run.predicting, True
            try:
                self._forecasts[key] = self._forecast(node)
            finally:
                self._run.predicting = before
        return self._forecasts[key]

    def _forecast(self, node: Node) -> Forecast:
        pending = [name for name in self._content_prerequisites(node) if self._pending(name)]
        alone = isinstance(node.rule, PublishRule) and not self._all_settled(node)
        unknown = [found for name in pending if (found := self.forecast(self._run.node(name))).error is not None]
        if unknown and not alone:  # nothing is known of a target whose prerequisite cannot be judged
            return unknown[0]
        try:
            return self._forecast_publish(node, pending) if alone else self._ahead(node, pending)
        except EngineUnavailable as error:
            return Forecast(Judgement(Verdict((Reason("no container engine answers", "unknown"),))), error=error)
        except ImgmakeError as error:
            if pending:  # what is missing may well come with them
                return Forecast(Judgement(Verdict(self._will_be_made(pending))))
            verdict = Verdict((Reason(error.message, "unknown"),))
            return Forecast(Judgement(verdict), error=placed(error, node.rule.place))

    def _ahead(self, node: Node, pending: Sequence[str]) -> Forecast:
        judgement = self.judge(node)
        if isinstance(node.rule, ImageRule) and judgement.detail and judgement.detail.fresh:
            self._run.images.setdefault(node.id, judgement.detail.fresh)
        if pending and not judgement.verdict.stale:
            return Forecast(judgement._replace(verdict=Verdict(self._will_be_made(pending))), maybe=True)
        return Forecast(judgement)

    def _forecast_publish(self, node: Node, pending: Iterable[str]) -> Forecast:
        found = self.publishing.detached(node)
        return Forecast(found) if found else Forecast(Judgement(Verdict(self._will_be_made(pending))))

    def detached(self, names: Iterable[str]) -> Mapping[str, Forecast]:
        """`apart`, before anything runs: raises what is certain to forbid a publication, see `guard`."""
        names = list(names)
        self.guard(names)
        return self.apart(names)

    def apart(self, names: Iterable[str]) -> Mapping[str, Forecast]:
        """Publish rules among `names` that the registry alone answers: their images are not here, and need not be."""
        found = {node.id: self.forecast(node) for node in self._published(names)}
        return {
            name: forecast
            for name, forecast in found.items()
            if forecast.judgement.detail is not None and not self.publishing.local(self._run.node(name))
        }

    def _published(self, names: Iterable[str]) -> list[Node]:
        """The publish rules among `names` that are still to be judged."""
        nodes = (self._run.node(name) for name in names)
        over = {*self._run.settled, *self._run.settings.wish.old}
        return [node for node in nodes if isinstance(node.rule, PublishRule) and node.id not in over]

    def guard(self, names: Iterable[str]) -> None:
        """Before anything runs: what is certain to forbid a publication, told of all of them at once.

        Raises GraphError for a tag that two rules claim, Refused, UsageError; what is not certain yet is judged when
        the images are there.
        """
        nodes = self._published(names)
        self._claims(nodes)
        publications, errors, silent = [], list[ImgmakeError](), list[ImgmakeError]()
        for node in nodes:
            try:
                publications.append(self._ahead_of(node, early=True))
            except _MISTAKES as error:
                errors.append(placed(error, node.rule.place))
            except ImgmakeError as error:
                # An engine or a registry may answer by then, and a recipe make what is missing, or log in.
                silent += [error] if isinstance(error, RegistryError) and self._is_far(node) else []
        raise_all([*errors, *refusals(publications)])
        for first in silent[:1]:
            self._run.world.reporter.warning(f"{first}\n  it is asked again before anything is sent")

    def _is_far(self, node: Node) -> bool:
        """Whether something is made first, so that an error would be heard of late."""
        return not self._run.settings.dry and any(map(self._pending, self._content_prerequisites(node)))

    def _claims(self, nodes: Iterable[Node]) -> None:
        rules = [node.rule for node in nodes]
        raise_all(self.publishing.tags.claims(rule for rule in rules if isinstance(rule, PublishRule)))

    def publications(self, names: Iterable[str]) -> Mapping[str, Publication | ImgmakeError]:
        """What a run would do to the tags of each publish rule, or why that cannot be told. Raises GraphError."""
        nodes = self._published(names)
        self._claims(nodes)
        found: dict[str, Publication | ImgmakeError] = {}
        for node in nodes:
            try:
                found[node.id] = self._ahead_of(node, early=False)
            except ImgmakeError as error:
                found[node.id] = placed(error, node.rule.place)
        return found

    def _ahead_of(self, node: Node, *, early: bool) -> Publication:
        """What becomes of a rule's tags: as it is, or when images have to be built first, as far as is certain."""
        forecast = self.forecast(node)
        left = [name for name in self._content_prerequisites(node) if self._pending(name)]
        if forecast.judgement.detail is not None and not (left and self.publishing.local(node)):
            return cast(Publication, forecast.judgement.detail)
        if forecast.error is not None and not isinstance(forecast.error, EngineUnavailable):
            raise forecast.error
        return self.publishing.ahead(node, [n for n in left if self._is_open(self._run.node(n))], early=early)

    def _is_open(self, node: Node) -> bool:
        """Whether it is not certain that an image has to be built, or of what."""
        return isinstance(node.rule, PublishRule) or any(map(self._pending, self._content_prerequisites(node)))

    def _all_settled(self, node: Node) -> bool:
        rules = [(name, self._run.node(name).rule) for name in self._run.graph.prerequisites(node.id)]
        images = [name for name, rule in rules if isinstance(rule, ImageRule)]
        for name in images:
            self.forecast(self._run.node(name))
        return all(name in self._run.images for name in images)

    def _pending(self, name: str) -> bool:
        state = self._run.settled.get(name)
        if state is not None or name in self._run.pinned:
            return False
        return self.forecast(self._run.node(name)).stale

    def _will_be_made(self, pending: Iterable[str]) -> tuple[Reason, ...]:
        """What comes first, with its own reason: through a chain of prerequisites the one at its start."""
        found = [reason for name in dict.fromkeys(pending) for reason in self._first_of(name)]
        return tuple(dict.fromkeys(found))

    def _first_of(self, name: str) -> tuple[Reason, ...]:
        reasons = self.forecast(self._run.node(name)).judgement.verdict.reasons
        if reasons and all(reason.code == "prerequisite" for reason in reasons):
            return reasons
        why = f": {summary(reasons)}" if reasons else ""
        return (Reason(f"{name} will be made first{why}", "prerequisite"),)

    def _content_prerequisites(self, node: Node) -> Iterator[str]:
        """Prerequisites whose outcome can change this node: files and images, and for a file also phonies."""
        for edge in self._run.graph.edges[node.id]:
            for name in inputs.behind(self._run, edge.prerequisite):
                rule = self._run.node(name).rule
                phony = isinstance(node.rule, FileRule) and isinstance(rule, PhonyRule)
                promoted = isinstance(rule, PublishRule) and self.publishing.promotes(node.rule)
                needed = promoted or isinstance(rule, ImageRule)
                if needed or (not edge.order_only and (phony or isinstance(rule, FileRule))):
                    yield name

    def identity(self, node: Node) -> str:
        """What the target is now, in one line, for ``--why``."""
        if isinstance(node.rule, ImageRule) and node.id in self._run.images:
            image, seal = self._run.images[node.id]
            names = ", ".join(sorted(image.tags)) or "no tag"
            return f"{image.id[:19]} ({names})" + (f", built as {seal.metadata.get('BUILD_ID', '?')}" if seal else "")
        record = self._run.world.state.record(node.id)
        if record is None:
            return ""
        return f"last succeeded {duration(max(0.0, self._run.world.clock.now() - record.time))} ago"
