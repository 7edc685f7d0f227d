"""Promotion: an image that no rule makes, named by a reference in a registry, and resolved once a run to a digest."""

from __future__ import annotations

from imgmake.errors import RegistryError
from imgmake.executor.nearby import nearest
from imgmake.executor.run import Run
from imgmake.graph import Node
from imgmake.model import ImageRule, PublishRule
from imgmake.ports import Remote
from imgmake.references import normalise, parse


class Promotion:
    """Finds what promotions start from."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._found: dict[str, Remote] = {}

    def reference(self, rule: PublishRule) -> str | None:
        """The reference that the rule promotes, unexpanded; None where rules make its images."""
        return next(
            (str(i) for i in rule.images if not isinstance(i, ImageRule) and self._run.rule_of(i) is None), None
        )

    def source(self, node: Node, reference: str) -> Remote:
        """What the reference named when it was first asked for: a tag that moves later changes nothing.

        Raises RegistryError, with tags that may be meant, when there is no such image.
        """
        rule = node.rule
        assert isinstance(rule, PublishRule)
        name = self._run.values.expand(reference)
        if name not in self._found:
            if name in self._run.graph.nodes:
                raise self._absent(rule, name)  # a registry of that name may well not even answer
            remote = self._run.world.registry().resolve(_by_digest(normalise(name)))
            if remote is None:
                raise self._absent(rule, name)
            if self._run.predicting and self._made_here(node):
                return remote  # another rule of this run may yet publish what is meant
            self._found[name] = remote
        return self._found[name]

    def _made_here(self, node: Node) -> bool:
        names = self._run.graph.prerequisites(node.id)
        return any(isinstance(self._run.node(name).rule, PublishRule) for name in names)

    def _absent(self, rule: PublishRule, name: str) -> RegistryError:
        if name in self._run.graph.nodes:
            hint = f"{name!r} is a target of this Pipefile: give its rule, or its name in full"
        else:
            hint = nearest(self._run.world.registry(), name)
        return RegistryError(f"{rule.target!r}: there is no {name} to promote", place=rule.place, hint=hint)


def _by_digest(reference: str) -> str:
    """A reference that holds both a tag and a digest means the digest."""
    found = parse(reference)
    return f"{found.repository}@{found.digest}" if found.digest else reference
