"""What inference finds, while it is found: names and tags of rules, edges, and the mistakes to tell together."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from imgmake import graph
from imgmake.errors import GraphError, ImgmakeError, InvalidReference
from imgmake.imagerule import node_for, platforms, tag_on
from imgmake.model import Edge, FileRule, ImageRule, Pipeline, Rule
from imgmake.references import normalise


class Look(Protocol):
    """What inference may ask of the file system; paths are from the root."""

    def kind(self, path: str) -> Literal["file", "folder", "other"] | None: ...

    def read_text(self, path: str) -> str: ...

    def glob(self, pattern: str) -> Sequence[str]: ...

    def matches(self, pattern: str, path: str) -> bool: ...

    def ignored(self, context: str, dockerfile: str, family: str) -> Callable[[str], bool]:
        """Whether a path of the context is kept out of it by the ignore file that counts."""


@dataclass
class Draft:
    """Edges and errors as they are found."""

    pipeline: Pipeline
    look: Look
    native: str
    family: str
    targets: dict[str, Rule] = field(default_factory=dict)
    tags: dict[str, ImageRule] = field(default_factory=dict)
    claims: dict[str, tuple[ImageRule, str]] = field(default_factory=dict)  # also other platforms' tags: rule and node
    firm: list[Edge] = field(default_factory=list)
    weak: list[Edge] = field(default_factory=list)
    inputs: dict[str, graph.Inputs] = field(default_factory=dict)
    errors: list[ImgmakeError] = field(default_factory=list)
    problems: dict[str, ImgmakeError] = field(default_factory=dict)

    def edge(self, node: str, rule: Rule, why: str, *, platform: str | None = None, order_only: bool = False) -> None:
        """A firm edge from `node` to the node of `rule` that serves it."""
        name = node_for(rule, platform, self.native) if isinstance(rule, ImageRule) else rule.target
        self.firm.append(Edge(node, name, why, order_only))


def index(draft: Draft) -> None:
    """Every rule by its targets, every image by its tags; what two rules claim is an error."""
    for rule in draft.pipeline.rules:
        for name in rule.targets if isinstance(rule, FileRule) else (rule.target,):
            if (first := draft.targets.get(name)) is not None:
                draft.errors.append(
                    GraphError(
                        f"target {name!r} is declared twice; the first is at {first.place}",
                        place=rule.place,
                        hint="rename one of them, or make both from one recipe",
                    )
                )
            draft.targets.setdefault(name, rule)
        if isinstance(rule, ImageRule):
            _index_tags(draft, rule)


def _index_tags(draft: Draft, rule: ImageRule) -> None:
    for tag in rule.tags:
        draft.tags.setdefault(normal(tag), rule)
    nodes = platforms(rule, draft.native)
    for (node, platform), tag in itertools.product(nodes, rule.tags):
        claimed = tag if node == rule.target else tag_on(tag, platform)
        first, other = draft.claims.setdefault(normal(claimed), (rule, node))
        if first is not rule or other != node:
            draft.errors.append(_claimed_twice(claimed, rule, node, first, other))


def _claimed_twice(tag: str, rule: ImageRule, node: str, first: ImageRule, other: str) -> GraphError:
    by_platform = [name for name in (other, node) if "@" in name and name not in (rule.target, first.target)]
    why = f"{tag} is what the image {by_platform[0]} is called, beside the rule's own tags; " if by_platform else ""
    return GraphError(
        f"images {other!r} and {node!r} claim one tag, {tag}",
        place=rule.place,
        hint=f"{why}the first is at {first.place}; give each a tag of its own",
    )


def normal(reference: str) -> str:
    """A reference spelt in full; one that holds late values, or is none, stays as it is."""
    try:
        return normalise(reference)
    except InvalidReference:
        head, _, _ = reference.partition("/")
        return reference if "." in head or ":" in head or head == "localhost" else f"docker.io/{reference}"


def made_inside(draft: Draft, node: graph.Node, folder: str) -> list[FileRule]:
    """Other rules that make a file below the folder."""
    made = [(t, r) for t, r in draft.targets.items() if isinstance(r, FileRule) and r is not node.rule]
    return [rule for target, rule in made if target.startswith(f"{folder}/" if folder else "")]


def neighbours(look: Look, name: str) -> Sequence[str]:
    """Files of the same folder, one of which may be meant."""
    return look.glob("/".join([*name.split("/")[:-1], "*"]))


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The hint that names the closest of `known`; empty when none is close."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""
