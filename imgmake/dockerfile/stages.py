"""Which stages a build needs, and what each FROM and ``from=`` means; expands nothing but FROM."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from imgmake.dockerfile import mounts
from imgmake.dockerfile.lex import WordError
from imgmake.dockerfile.parser import Dockerfile, Instruction, Stage, triggers
from imgmake.dockerfile.scope import Names, Scope, Variable
from imgmake.errors import DockerfileError

Onbuild = Callable[[str], Sequence[str]]


@dataclass
class Built:
    """One stage as it is built: where it starts, and its instructions with those that ONBUILD adds."""

    stage: Stage
    parent: Built | None = None
    image: str | None = None  # the reference after FROM; None for a stage, scratch or a named context
    context: str | None = None
    hangs_on: Names = frozenset()
    instructions: tuple[Instruction, ...] = ()
    triggered: int = 0  # how many of them, from the first, ONBUILD added
    platform: str = ""
    replaced: bool = False  # by a named context of the stage's own name: nothing of it is built
    problem: str = ""


@dataclass
class Plan:
    """The stages of one file under one set of arguments."""

    file: Dockerfile
    outer: Mapping[str, Variable]
    contexts: Collection[str]
    onbuild: Onbuild | None
    built: dict[int, Built] = field(default_factory=dict)

    def get(self, index: int) -> Built:
        if index not in self.built:
            self.built[index] = self._build(self.file.stages[index])
        return self.built[index]

    def named(self, name: str, before: int, *, by_number: bool = True) -> Built | None:
        """The stage of that name or number, among those before stage `before`; the last of several."""
        stages = self.file.stages[:before]
        if by_number and name.isdecimal():
            return self.get(int(name)) if int(name) < len(stages) else None
        found = next((stage for stage in reversed(stages) if stage.name and stage.name == name.lower()), None)
        return self.get(found.index) if found else None

    def context(self, name: str) -> str | None:
        """The named context that stands for this image or stage name (BuildKit's `dockerui.NamedContext`)."""
        return next((key for key in self.contexts if familiar(key) == familiar(name)), None)

    def _build(self, stage: Stage) -> Built:
        if stage.name and (context := self.context(stage.name)) is not None:
            return Built(stage, context=context, replaced=True)
        scope = Scope(self.file.escape, True, dict(self.outer))
        try:
            word, platform = scope.word(stage.base), scope.word(stage.platform)
        except WordError as error:
            raise self.file.error(str(error), stage.line) from None
        built = Built(stage, hangs_on=word.hangs_on | platform.hangs_on, platform=platform.text)
        inherited: Sequence[str] = ()
        if not word.text:
            built.problem = f"FROM {stage.base} names no image, as its arguments have no value"
        elif (parent := self.named(word.text, stage.index, by_number=False)) is not None:
            built.parent = parent
            inherited = [one.trigger for one in parent.stage.instructions if one.name == "ONBUILD"]
        elif (context := self.context(word.text)) is not None:
            built.context = context
        elif word.text != "scratch":
            built.image = word.text
            inherited = self.onbuild(word.text) if self.onbuild else ()
        added = triggers(inherited, stage.start, self.file.name)
        built.instructions, built.triggered = (*added, *stage.instructions), len(added)
        return built


def familiar(reference: str) -> str:
    """A name as named contexts are looked up: without Docker Hub's prefix and ``:latest``.

    >>> familiar("docker.io/library/alpine:latest")
    'alpine'
    """
    return reference.removeprefix("docker.io/").removeprefix("library/").removesuffix(":latest").lower()


def sources(built: Built) -> Iterator[tuple[Instruction, str, bool]]:
    """Every ``from=`` of a stage: the instruction, the name, and whether it may be a stage's number."""
    for one in built.instructions:
        if one.name == "COPY" and (origin := one.flag("from")):
            yield one, origin, True
        elif one.name == "RUN":
            for mount in map(mounts.read, one.all_flags("mount")):
                if mount.origin and mount.reads_files:
                    yield one, mount.origin, False


def needed(plan: Plan, target: Stage, *, all_before: bool) -> list[Built]:
    """The stages that a build of `target` builds, in order; `all_before` as the classic builder does it."""
    if all_before:
        return [plan.get(i) for i in range(target.index + 1)]
    found: dict[int, Built] = {}
    pending = [plan.get(target.index)]
    while pending:
        built = pending.pop()
        if built.stage.index in found:
            continue
        found[built.stage.index] = built
        pending += [built.parent] if built.parent else []
        for _, name, by_number in sources(built):
            stage = plan.named(name, built.stage.index, by_number=by_number)
            pending += [stage] if stage else []
    return [found[i] for i in sorted(found)]


def find(file: Dockerfile, name: str | None) -> Stage:
    """The stage of that name (in any case) or number; the last one for None. Raises DockerfileError."""
    if name is None:
        return file.stages[-1]
    named = [stage for stage in file.stages if stage.name and stage.name == name.lower()]
    if named:
        return named[-1]
    if name.isdecimal() and int(name) < len(file.stages):
        return file.stages[int(name)]
    names = [stage.name for stage in file.stages if stage.name]
    close = difflib.get_close_matches(name.lower(), names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"its stages: {', '.join(names) or 'none has a name'}"
    raise DockerfileError(f"there is no stage {name!r}", place=file.place(0), hint=hint)
