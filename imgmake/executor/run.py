"""One run: what has been settled so far, and the answers that every kind of target shares."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from imgmake.commands.base import Action, Job, View
from imgmake.commands.python import python
from imgmake.errors import EngineUnavailable, InvalidReference
from imgmake.executor.masking import Masked
from imgmake.executor.world import Settings, Signals, World
from imgmake.graph import Graph, Node
from imgmake.imagerule import context_folder, join, node_for, tag_on
from imgmake.model import Field, FileRule, ImageRule, PhonyRule, Pipeline, Rule, State, Verdict
from imgmake.ports import Image, Output
from imgmake.references import normalise
from imgmake.stamp import Stamp
from imgmake.variables import Values

ABSENT = ""  # the content of an image that the engine does not hold: unknown, so never a change


BUILD_ID = "${BUILD_ID}"
FINGERPRINT = "${FINGERPRINT}"


class BuildIdSource(Protocol):
    """Decides the BUILD_ID when it is first needed."""

    decided: str | None

    def get(self) -> str: ...


class Judgement(NamedTuple):
    """A verdict, the fields it was judged by, and what the kind's own handler needs to go on."""

    verdict: Verdict
    fields: tuple[Field, ...] = ()
    detail: Any = None


@dataclass
class Run:
    """The state of one run. Only the drive's handlers use it, under the run's lock or from one job."""

    pipeline: Pipeline
    graph: Graph
    world: World
    settings: Settings
    values: Values
    native: str
    signals: Signals = field(default_factory=Signals)
    settled: dict[str, State] = field(default_factory=dict)
    images: dict[str, tuple[Image, Stamp | None]] = field(default_factory=dict)  # node -> the rule's image
    passes: dict[str, tuple[Field, ...]] = field(default_factory=dict)  # check -> what its pass is judged by
    pinned: set[str] = field(default_factory=set)  # image nodes taken as they are, under a given BUILD_ID
    predicting: bool = False  # judging ahead of time: what is not made yet is no error
    epoch: int = 0  # counts recipes that ran: what was judged in an earlier epoch may no longer hold
    goals: set[str] = field(default_factory=set)  # asked by name, or through recipe-free phonies
    wanted: set[str] = field(default_factory=set)
    usual: frozenset[str] = frozenset()  # what the default goal needs
    _external: dict[str, Image | None] = field(default_factory=dict)
    _tags: dict[str, ImageRule] | None = None
    _build_id: BuildIdSource | None = None
    _dirty: bool | None = None
    _moment: float | None = None

    def node(self, target: str) -> Node:
        return self.graph.nodes[target]

    @functools.cached_property
    def makers(self) -> Mapping[str, Rule]:
        """Every rule by each name that it has: its targets, or its one name."""
        return {name: rule for rule in self.pipeline.rules for name in targets_of(rule)}

    def recipe(self, rule: Rule) -> tuple[Action, ...]:
        return tuple(step if isinstance(step, Action) else python(step) for step in rule.recipe)

    def batches(self, goals: Sequence[str]) -> Iterator[list[str]]:
        """A phony goal with a recipe may change anything (`clean`): what comes after it is judged after it."""
        batch: list[str] = []
        for goal in dict.fromkeys(goals):
            rule = self.node(goal).rule
            if isinstance(rule, PhonyRule) and rule.recipe and len(goals) > 1:
                yield from ([batch] if batch else [])
                yield [goal]
                batch = []
            else:
                batch.append(goal)
        yield from ([batch] if batch else [])

    def path(self, path: str) -> Path:
        return self.world.sources.root / path

    def changed(self) -> None:
        """A recipe ran: nothing judged or listed before counts any more."""
        self.epoch += 1
        self.world.sources.forget()

    # --- the build's own metadata ---------------------------------------------------------------------------

    def ask_build_id(self, source: BuildIdSource) -> None:
        """Who decides the BUILD_ID of this run."""
        self._build_id = source

    def decide_build_id(self) -> str:
        """The BUILD_ID, decided now if nobody needed one before."""
        assert self._build_id is not None
        return self._build_id.get()

    def build_id_if_known(self) -> str:
        """The BUILD_ID if it was given or has been decided; empty as long as nobody needed one."""
        if self.settings.build_id is not None:
            return self.settings.build_id
        return (self._build_id.decided if self._build_id else None) or ""

    def moment(self) -> float:
        """The time that this build bears, in seconds: one and the same in its BUILD_ID and its dates."""
        if self._moment is None:
            self._moment = self.world.clock.now()
        return self._moment

    def dirty(self) -> bool:
        """Whether tracked files differ, or untracked, unignored files lie in a build context; asked once."""
        if self._dirty is None:
            self._dirty = self._ask_dirty()
        return self._dirty

    def dirt(self) -> tuple[str, ...]:
        """The files for which the tree is dirty."""
        return tuple(self.world.git.differing()) or self._untracked()

    def _ask_dirty(self) -> bool:
        return self.world.git.dirty() or bool(self._untracked())

    def _untracked(self) -> tuple[str, ...]:
        rules = [rule for rule in self.pipeline.rules if isinstance(rule, ImageRule)]
        folders = {folder for rule in rules for folder in (context_folder(rule), *self._named_contexts(rule))}
        return tuple(self.world.git.untracked(folders)) if folders else ()

    def _named_contexts(self, rule: ImageRule) -> Iterator[str]:
        """The folders among them; what is none holds no files."""
        for given in rule.contexts.values():
            if isinstance(given, str) and "://" not in given:
                yield join(rule.base, self.values.expand_known(given))

    def passable(self) -> tuple[str, ...]:
        """Names that a build is given unasked: not secrets, nor what is required but was not given."""
        variables = self.pipeline.variables
        hidden = {n for n, v in variables.items() if v.secret or (v.value is None and v.default is None)}
        return tuple(sorted(self.values.declared() - hidden - {"FINGERPRINT"}))

    def template(self, text: str) -> str:
        """A tag with all put in that is known, but ``${BUILD_ID}`` left as it is."""
        return BUILD_ID.join(self.values.expand_known(part) for part in text.split(BUILD_ID))

    # --- images ---------------------------------------------------------------------------------------------

    def image_node(self, rule: ImageRule, platform: str | None = None) -> str:
        return node_for(rule, platform, self.native)

    def rule_of(self, reference: str) -> ImageRule | None:
        """The image rule that a written reference names, by its full tag."""
        if self._tags is None:
            rules = [rule for rule in self.pipeline.rules if isinstance(rule, ImageRule)]
            self._tags = {_normal(self.values.expand_known(tag)): rule for rule in rules for tag in rule.tags}
        return self._tags.get(_normal(self.values.expand_known(reference)))

    def external(self, reference: str) -> Image | None:
        """An image that no rule makes, resolved once a run and then used by ID; None when absent or without engine."""
        if self._external.get(reference) is None:
            try:
                self._external[reference] = self.world.engine().image(reference)
            except EngineUnavailable:
                return None
        return self._external[reference]

    def learn(self, reference: str, image: Image) -> None:
        """A pulled image is from now on what the reference means."""
        self._external[reference] = image

    def image_id(self, what: str | ImageRule, platform: str | None = None) -> str | None:
        """The ID behind a rule or reference, as resolved in this run."""
        rule = what if isinstance(what, ImageRule) else self.rule_of(what)
        if rule is not None:
            found = self.images.get(self.image_node(rule, platform))
            return found[0].id if found else None
        image = self.external(self.values.expand(str(what)))
        return image.id if image else None

    def first_tag(self, rule: ImageRule, platform: str | None = None) -> str:
        """The name of a rule's image in this run; its fingerprint stays a name until the image is known."""
        node = self.image_node(rule, platform)
        found = self.images.get(node)
        seal = found[1] if found else None
        name = self.values.expand(rule.tags[0], extra={"FINGERPRINT": seal.fingerprint[:12] if seal else FINGERPRINT})
        return tag_on(name, None if node == rule.target else platform)

    # --- views ----------------------------------------------------------------------------------------------

    def view(
        self,
        node: Node,
        *,
        content: Callable[[str | ImageRule], str],
        inputs: Sequence[str] = (),
        showing: bool = False,
    ) -> View:
        """What a command sees; `showing` names images as a person writes them, otherwise by the ID they have."""
        rule = node.rule
        outputs = rule.targets if isinstance(rule, FileRule) else ()
        return View(
            expand=self.values.expand,
            names=self.values.names,
            value=self.values.get,
            secret=self.values.is_secret,
            image=self._image_name(node, showing or self.settings.dry),
            content=content,
            root=self.world.sources.root,
            base=rule.base,
            target=rule.target,
            inputs=tuple(relative(rule.base, path) for path in inputs),
            outputs=tuple(relative(rule.base, path) for path in outputs),
        )

    def _image_name(self, node: Node, showing: bool) -> Callable[[str | ImageRule], str]:
        def name(what: str | ImageRule) -> str:
            found = None if showing else self.image_id(what, node.platform)
            if found is not None:
                return found
            return self.first_tag(what) if isinstance(what, ImageRule) else self.values.expand(what)

        return name

    def job(self, view: View, output: Output) -> Job:
        return Job(
            view=view,
            engine=self.world.engine,
            shell=self.world.shell,
            output=output,
            cancel=self.signals.cancel,
            environ=self.world.environ,
        )

    def output(self, target: str) -> Output:
        """Where a target's output goes, secrets masked."""
        if not self.values.has_secrets:
            return self.world.reporter.output(target)
        return Masked(self.world.reporter.output(target), self.values.mask)


def _normal(reference: str) -> str:
    try:
        return normalise(reference)
    except InvalidReference:
        return reference


def relative(base: str, path: str) -> str:
    """A path from the root, as the Pipefile in `base` writes it."""
    if not base or path.startswith("/"):
        return path
    prefix = f"{base}/"
    return path.removeprefix(prefix) if path.startswith(prefix) else "../" * (base.count("/") + 1) + path


def targets_of(rule: Rule) -> tuple[str, ...]:
    """The files that a rule makes, or its one name."""
    return rule.targets if isinstance(rule, FileRule) else (rule.target,)


__all__ = ["ABSENT", "Judgement", "Run", "join", "relative", "targets_of"]
