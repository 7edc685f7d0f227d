"""From rules to edges: what each written part means, and which prerequisites follow from what rules read.

The file system is asked through `Look` only; whatever it says, the same rules and the same files give
the same edges in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from imgmake import graph
from imgmake.commands.base import Action
from imgmake.errors import GraphError, ImgmakeError, raise_all
from imgmake.imagerule import join, names_image, platforms
from imgmake.inference.draft import Draft, Look, did_you_mean, index, made_inside, neighbours, normal
from imgmake.inference.images import image_reads
from imgmake.model import CheckRule, Edge, FileRule, ImageRule, PhonyRule, Pipeline, PublishRule, Rule

__all__ = ["CHECKS", "GLOB", "Look", "Resolved", "resolve"]

GLOB = frozenset("*?[")
CHECKS = "checks its image"  # why a publish rule needs a check that nobody wrote


@dataclass(frozen=True)
class Resolved:
    """The graph, and the problems of single targets: they matter only when the target is asked for."""

    graph: graph.Graph
    problems: Mapping[str, ImgmakeError]
    native: str


def resolve(
    pipeline: Pipeline,
    look: Look,
    *,
    native: str = "linux/amd64",
    family: str = "buildkit",
    memory: graph.Memory | None = None,
) -> Resolved:
    """Settle every prerequisite of every rule and order the graph.

    `native` is the platform of the engine, `family` the kind of builder whose ignore rules count.
    Raises GraphError, or Problems with all of them: unknown prerequisites, duplicate targets or tags,
    and cycles, each with its places.
    """
    draft = Draft(pipeline, look, native, family)
    index(draft)
    nodes = list(_nodes(draft))
    for node in nodes:
        _written(draft, node)
    for node in nodes:
        _inferred(draft, node)
    try:
        found = graph.build(nodes, _unique(draft.firm), _unique(draft.weak), draft.inputs, memory)
    except ImgmakeError as error:
        draft.errors.append(error)
    raise_all(draft.errors)
    return Resolved(found, draft.problems, native)


def _unique(edges: Iterable[Edge]) -> list[Edge]:
    """The first edge between two nodes stays, and one that is not order-only wins over one that is."""
    chosen: dict[tuple[str, str], Edge] = {}
    for edge in edges:
        key = (edge.target, edge.prerequisite)
        if key not in chosen or (chosen[key].order_only and not edge.order_only):
            chosen[key] = edge
    return list(chosen.values())


def _nodes(draft: Draft) -> Iterator[graph.Node]:
    for rule in draft.pipeline.rules:
        if isinstance(rule, ImageRule):
            for name, platform in platforms(rule, draft.native):
                yield graph.Node(name, rule, platform)
        else:
            yield graph.Node(rule.target, rule)


# --- written parts --------------------------------------------------------------------------------------------


def _written(draft: Draft, node: graph.Node) -> None:
    rule, files, folders, patterns = node.rule, list[str](), list[str](), list[str]()
    for order_only, parts in ((False, rule.parts), (True, rule.after)):
        why = "after" if order_only else "written"
        for part in parts:
            if isinstance(part, Rule):
                draft.edge(node.id, part, why, platform=node.platform, order_only=order_only)
                continue
            name = _target_name(rule, part)
            found = draft.targets.get(name)
            if found is rule and not isinstance(rule, FileRule) and draft.look.kind(name) is not None:
                found = None  # called like a file that it reads: that file is meant, as it is on disk
            if found is not None and not part.endswith("/"):
                draft.edge(node.id, found, why, platform=node.platform, order_only=order_only)
                if isinstance(found, FileRule) and not order_only:
                    files.append(name)
            elif GLOB & set(part):
                _pattern(draft, node, name, why, order_only, patterns)
            else:
                _path(draft, node, part, name, order_only, files, folders)
    draft.inputs[node.id] = graph.Inputs(tuple(files), tuple(folders), tuple(patterns))


def _target_name(rule: Rule, part: str) -> str:
    return part[2:] if part.startswith("//") else join(rule.base, part)


def _pattern(draft: Draft, node: graph.Node, name: str, why: str, order_only: bool, patterns: list[str]) -> None:
    """Files that match, and for a phony also targets: ``test/*`` is every target below ``test/``, however deep."""
    picks_names = isinstance(node.rule, PhonyRule) or order_only
    taken = [name, f"{name[:-1]}**"] if picks_names and name.endswith("/*") else [name]
    made = [r for t, r in draft.targets.items() if r is not node.rule and any(draft.look.matches(p, t) for p in taken)]
    for rule in made:
        if picks_names or isinstance(rule, FileRule):
            edge = Edge(node.id, rule.target, f"{why} {name!r}", order_only)
            (draft.firm if picks_names else draft.weak).append(edge)
    if picks_names and not made and not draft.look.glob(name):
        draft.errors.append(_nothing(draft, node.rule, name))
    if not order_only:
        patterns.append(name)


def _nothing(draft: Draft, rule: Rule, name: str) -> GraphError:
    return GraphError(
        f"{rule.target!r} needs {name!r}, which matches no target and no file",
        place=rule.place,
        hint=did_you_mean(name, draft.targets),
    )


def _path(
    draft: Draft, node: graph.Node, part: str, name: str, order_only: bool, files: list[str], folders: list[str]
) -> None:
    kind = draft.look.kind(name)
    inside = made_inside(draft, node, name) if kind == "folder" or part.endswith("/") else []
    if kind == "folder" or (part.endswith("/") and inside):
        draft.weak += [Edge(node.id, rule.target, f"written {part!r}", order_only) for rule in inside]
        if not order_only:
            folders.append(name)
    elif kind is None:
        draft.errors.append(
            GraphError(
                f"{node.rule.target!r} needs {part!r}: there is no such file, and no rule makes it",
                place=node.rule.place,
                hint=did_you_mean(name, [*draft.targets, *neighbours(draft.look, name)]),
            )
        )
    elif not order_only:
        files.append(name)


# --- inferred prerequisites -----------------------------------------------------------------------------------


def _inferred(draft: Draft, node: graph.Node) -> None:
    for command in node.rule.recipe:
        if isinstance(command, Action):
            _command_reads(draft, node, command)
    try:
        if isinstance(node.rule, ImageRule):
            image_reads(draft, node, node.rule)
        elif isinstance(node.rule, PublishRule):
            _publish_reads(draft, node, node.rule)
    except ImgmakeError as error:
        draft.problems[node.id] = error


def _command_reads(draft: Draft, node: graph.Node, command: Action) -> None:
    files, folders = list(draft.inputs[node.id].files), list(draft.inputs[node.id].folders)
    for read in command.reads():
        if isinstance(read.what, ImageRule):
            draft.edge(node.id, read.what, read.why, platform=node.platform)
        elif read.kind == "image":
            if (rule := draft.tags.get(normal(read.what))) is not None:
                draft.edge(node.id, rule, read.why, platform=node.platform)
        else:
            _file_read(draft, node, join(node.rule.base, read.what), read.why, files, folders)
    old = draft.inputs[node.id]
    draft.inputs[node.id] = graph.Inputs(tuple(dict.fromkeys(files)), tuple(dict.fromkeys(folders)), old.patterns)


def _file_read(draft: Draft, node: graph.Node, name: str, why: str, files: list[str], folders: list[str]) -> None:
    made, inside = draft.targets.get(name), made_inside(draft, node, name)
    if isinstance(made, FileRule) and made is not node.rule:
        draft.edge(node.id, made, why)
    elif inside or draft.look.kind(name) == "folder":
        draft.weak += [Edge(node.id, rule.target, why) for rule in inside]
        folders.append(name)
        return
    elif draft.look.kind(name) is None:
        draft.problems[node.id] = GraphError(
            f"{node.rule.target!r} reads {name!r} ({why}): there is no such file, and no rule makes it",
            place=node.rule.place,
            hint=did_you_mean(name, [*draft.targets, *neighbours(draft.look, name)]),
        )
    files.append(name)


def _publish_reads(draft: Draft, node: graph.Node, rule: PublishRule) -> None:
    named = [image for image in rule.images if isinstance(image, ImageRule)]
    named += [draft.tags[normal(i)] for i in rule.images if isinstance(i, str) and normal(i) in draft.tags]
    if named or len(rule.images) > 1:
        _all_made(draft, rule)
        for one in rule.requires:  # what a run makes, it also checks; for promotion the registry has to show it
            draft.edge(node.id, _required(draft, rule, one), "requires=")
    for image in named:
        draft.firm += [Edge(node.id, made, "image") for made, _ in platforms(image, draft.native)]
    checks = rule.checks if rule.checks is not None else _checks_of(draft, named)
    for check in checks:
        found = check if isinstance(check, Rule) else _check(draft, rule, check)
        if rule.checks is None:  # one that needs the publication itself, as a test of what is deployed, comes after it
            draft.weak.append(Edge(node.id, found.target, CHECKS))
        else:
            draft.edge(node.id, found, "checks=")


def _required(draft: Draft, rule: PublishRule, one: str | CheckRule) -> Rule:
    found = _check(draft, rule, one) if isinstance(one, str) else one
    if not isinstance(found, CheckRule):
        raise GraphError(
            f"{rule.target!r} requires {found.target!r}, which is no check but of kind {found.kind}", place=rule.place
        )
    return found


def _check(draft: Draft, rule: PublishRule, name: str) -> Rule:
    found = draft.targets.get(join(rule.base, name))
    if found is None:
        raise GraphError(
            f"{rule.target!r} needs the check {name!r}, which is no target",
            place=rule.place,
            hint=did_you_mean(name, draft.targets),
        )
    return found


def _all_made(draft: Draft, rule: PublishRule) -> None:
    """An index is made of images of this Pipefile; one that is in a registry is a single reference."""
    for image in rule.images:
        if isinstance(image, str) and normal(image) not in draft.tags:
            raise GraphError(
                f"{rule.target!r}: no rule makes the image {image!r}, and an index is made of such images only",
                place=rule.place,
                hint="promote each reference by a rule of its own; an index in a registry is one reference",
            )


def _checks_of(draft: Draft, images: Sequence[ImageRule]) -> list[Rule]:
    rules = [rule for rule in draft.pipeline.rules if isinstance(rule, CheckRule)]
    return [rule for rule in rules if any(_names(draft, rule, image) for image in images)]


def _names(draft: Draft, rule: Rule, image: ImageRule) -> bool:
    """Whether a rule names an image: in a command, by a tag, or as a prerequisite, for a script that knows its name."""
    reads = [read for command in rule.recipe if isinstance(command, Action) for read in command.reads()]
    named = [read.what for read in reads if read.kind == "image" and isinstance(read.what, str)]
    handles = any(read.what is image for read in reads) or names_image(rule, image)
    written = any(part is image or _target(draft, rule, part) is image for part in rule.parts)
    return handles or written or any(draft.tags.get(normal(name)) is image for name in named)


def _target(draft: Draft, rule: Rule, part: object) -> Rule | None:
    """The rule that a written part names by its target."""
    return draft.targets.get(_target_name(rule, part)) if isinstance(part, str) else None
