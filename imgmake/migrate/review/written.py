"""The Pipefile beside the Makefile, as the review asks it: what became of a target, and what it needs there.

What a report says of the Pipefile has to be true of the one that stands there, also after a person edited it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from imgmake.graph import Graph
from imgmake.model import Pipeline, PublishRule, Rule
from imgmake.variables import texts_in


@dataclass(frozen=True)
class Written:
    """A loaded Pipefile with its graph; without them, when it cannot be loaded, nothing is said to be better."""

    pipeline: Pipeline | None = None
    graph: Graph | None = None

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        return self.pipeline.rules if self.pipeline is not None else ()

    def named(self, target: str) -> tuple[Rule, ...]:
        """The rules of a target; of all that a pattern's name fits."""
        if "%" not in target:
            return self._by_name.get(target.removeprefix("./"), ())
        pattern = re.compile(re.escape(target.removeprefix("./")).replace("%", ".+"))
        return tuple(rule for rule in self.rules if any(pattern.fullmatch(each) for each in _names(rule)))

    @cached_property
    def _by_name(self) -> Mapping[str, tuple[Rule, ...]]:
        found: dict[str, tuple[Rule, ...]] = {}
        for rule in self.rules:
            for name in _names(rule):
                found[name] = (*found.get(name, ()), rule)
        return found

    def kinds(self, target: str) -> frozenset[str]:
        """What kinds of rule a target became; empty when it is not there."""
        return frozenset(rule.kind.value for rule in self.named(target))

    def is_only(self, kind: str, target: str) -> bool:
        return self.kinds(target) == {kind}

    def left(self, target: str) -> bool:
        """Whether a target is not there, or fails since it is not translated."""
        return not self.named(target) or "is not translated:" in self.shell(target)

    def words(self, target: str) -> frozenset[str]:
        """The commands of its recipe by name: ``sh``, ``run``, ``lint``, ``structuretest``, ``tag``."""
        return frozenset(type(step).__name__.lower() for rule in self.named(target) for step in rule.recipe)

    def shell(self, target: str) -> str:
        """What its recipe gives to shells."""
        return "\n".join(text for rule in self.named(target) for text in _shells(rule))

    def hands_on(self, target: str, name: str) -> bool:
        """Whether commands of a target are given a variable's value, as text, by name or as a build argument."""
        variable = self.pipeline.variables.get(name) if self.pipeline is not None else None
        unasked = variable is not None and not variable.secret and "image" in self.kinds(target)
        texts = [text for rule in self.named(target) for step in rule.recipe for text in texts_in(step)]
        return unasked or any(re.search(rf"\b{name}\b", text) for text in [*texts, self.shell(target)])

    @cached_property
    def shells(self) -> str:
        """What all recipes, and all variables with a command, give to shells."""
        variables = self.pipeline.variables.values() if self.pipeline is not None else ()
        asked = [text for each in variables for text in texts_in(each.default)]
        return "\n".join([*(text for rule in self.rules for text in _shells(rule)), *asked])

    def tags(self, target: str) -> tuple[str, ...]:
        """The tags of the images that a target became."""
        return tuple(tag for rule in self.named(target) for tag in getattr(rule, "tags", ()))

    def needs(self, target: str, other: str) -> bool:
        """Whether every rule of a target needs some rule of another, written or inferred."""
        wanted = {rule.target for rule in self.named(other)}
        found = self.named(target)
        return bool(found) and all(wanted & self._closure(rule.target) for rule in found)

    def tested(self, target: str) -> bool:
        """Whether a target needs a check."""
        kinds = {rule.target: rule.kind.value for rule in self.rules}
        return any(kinds[each] == "check" for rule in self.named(target) for each in self._closure(rule.target))

    def publishes(self, target: str) -> bool:
        """Whether a target is a publication, or only groups some."""
        found = self.named(target)
        return bool(found) and all(
            isinstance(rule, PublishRule) or (not rule.recipe and self._groups(rule.target)) for rule in found
        )

    def _groups(self, target: str) -> bool:
        kinds = {rule.target: rule.kind.value for rule in self.rules}
        return any(kinds[each] == "publish" for each in self._closure(target))

    def reads(self, target: str) -> tuple[str, ...]:
        """The files, folders and patterns that a target names, and the targets that it needs."""
        if self.graph is None:
            return ()
        found: list[str] = []
        for node in self._nodes(target):
            inputs = self.graph.inputs.get(node)
            found += [*inputs.files, *(f"{each}/" for each in inputs.folders), *inputs.patterns] if inputs else []
            found += self.graph.prerequisites(node)
        return tuple(dict.fromkeys(found))

    def asked(self, name: str) -> bool:
        """Whether a variable is found out by a command, once a run, or is metadata of imgmake's own."""
        variable = self.pipeline.variables.get(name) if self.pipeline is not None else None
        return variable is not None and not isinstance(variable.default, str | None)

    def declared(self, name: str) -> bool:
        """Whether a variable is declared; its text then gets the value from its environment."""
        return self.pipeline is not None and name in self.pipeline.variables

    def _nodes(self, target: str) -> Iterator[str]:
        rules = {rule.target for rule in self.named(target)}
        assert self.graph is not None
        yield from (name for name, node in self.graph.nodes.items() if node.rule.target in rules)

    def _closure(self, target: str) -> set[str]:
        if self.graph is None:
            return {target}
        nodes = [name for name, node in self.graph.nodes.items() if node.rule.target == target]
        return {self.graph.nodes[each].rule.target for each in self.graph.closure(nodes)}


def _shells(rule: Rule) -> Iterator[str]:
    return (step.text for step in rule.recipe if type(step).__name__ == "Sh")


def _names(rule: Rule) -> Sequence[str]:
    return getattr(rule, "targets", None) or [rule.target]
