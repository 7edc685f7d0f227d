"""From rules to edges: what each written part means, and which prerequisites follow from what rules read.

The file system is asked through `Look` only; whatever it says, the same rules and the same files give
the same edges in the same order.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from imgmake import dockerfile, graph
from imgmake.commands.base import Action
from imgmake.dockerfile import Analysis
from imgmake.errors import GraphError, ImgmakeError, InvalidReference, raise_all
from imgmake.ignore import copies
from imgmake.imagerule import (
    candidate_arguments,
    context_folder,
    dockerfile_path,
    join,
    names_image,
    node_for,
    platforms,
    secret_path,
)
from imgmake.metadata import NAMES
from imgmake.model import CheckRule, Edge, FileRule, ImageRule, PhonyRule, Pipeline, PublishRule, Rule
from imgmake.references import normalise

GLOB = frozenset("*?[")


class Look(Protocol):
    """What inference may ask of the file system; paths are from the root."""

    def kind(self, path: str) -> Literal["file", "folder", "other"] | None: ...

    def read_text(self, path: str) -> str: ...

    def glob(self, pattern: str) -> Sequence[str]: ...

    def matches(self, pattern: str, path: str) -> bool: ...

    def ignored(self, context: str, dockerfile: str, family: str) -> Callable[[str], bool]:
        """Whether a path of the context is kept out of it by the ignore file that counts."""


@dataclass(frozen=True)
class Resolved:
    """The graph, and the problems of single targets: they matter only when the target is asked for."""

    graph: graph.Graph
    problems: Mapping[str, ImgmakeError]
    native: str


@dataclass
class _Draft:
    """Edges and errors as they are found."""

    pipeline: Pipeline
    look: Look
    native: str
    family: str
    targets: dict[str, Rule] = field(default_factory=dict)
    tags: dict[str, ImageRule] = field(default_factory=dict)
    firm: list[Edge] = field(default_factory=list)
    weak: list[Edge] = field(default_factory=list)
    inputs: dict[str, graph.Inputs] = field(default_factory=dict)
    errors: list[ImgmakeError] = field(default_factory=list)
    problems: dict[str, ImgmakeError] = field(default_factory=dict)

    def edge(self, node: str, rule: Rule, why: str, *, platform: str | None = None, order_only: bool = False) -> None:
        """A firm edge from `node` to the node of `rule` that serves it."""
        name = node_for(rule, platform, self.native) if isinstance(rule, ImageRule) else rule.target
        self.firm.append(Edge(node, name, why, order_only))


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
    draft = _Draft(pipeline, look, native, family)
    _index(draft)
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


# --- names ----------------------------------------------------------------------------------------------------


def _index(draft: _Draft) -> None:
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


def _index_tags(draft: _Draft, rule: ImageRule) -> None:
    for tag in rule.tags:
        name = _normal(tag)
        first = draft.tags.setdefault(name, rule)
        if first is not rule:
            draft.errors.append(
                GraphError(
                    f"images {first.target!r} and {rule.target!r} claim one tag, {tag}",
                    place=rule.place,
                    hint=f"the first is at {first.place}; give each a tag of its own",
                )
            )


def _normal(reference: str) -> str:
    """A reference spelt in full; one that holds late values, or is none, stays as it is."""
    try:
        return normalise(reference)
    except InvalidReference:
        head, _, _ = reference.partition("/")
        return reference if "." in head or ":" in head or head == "localhost" else f"docker.io/{reference}"


def _nodes(draft: _Draft) -> Iterator[graph.Node]:
    for rule in draft.pipeline.rules:
        if isinstance(rule, ImageRule):
            for name, platform in platforms(rule, draft.native):
                yield graph.Node(name, rule, platform)
        else:
            yield graph.Node(rule.target, rule)


# --- written parts --------------------------------------------------------------------------------------------


def _written(draft: _Draft, node: graph.Node) -> None:
    rule, files, folders, patterns = node.rule, list[str](), list[str](), list[str]()
    for order_only, parts in ((False, rule.parts), (True, rule.after)):
        why = "after" if order_only else "written"
        for part in parts:
            if isinstance(part, Rule):
                draft.edge(node.id, part, why, platform=node.platform, order_only=order_only)
                continue
            name = part[2:] if part.startswith("//") else join(rule.base, part)
            found = draft.targets.get(name)
            if found is not None and not part.endswith("/"):
                draft.edge(node.id, found, why, platform=node.platform, order_only=order_only)
                if isinstance(found, FileRule) and not order_only:
                    files.append(name)
            elif GLOB & set(part):
                _pattern(draft, node, name, why, order_only, patterns)
            else:
                _path(draft, node, part, name, order_only, files, folders)
    draft.inputs[node.id] = graph.Inputs(tuple(files), tuple(folders), tuple(patterns))


def _pattern(draft: _Draft, node: graph.Node, name: str, why: str, order_only: bool, patterns: list[str]) -> None:
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


def _nothing(draft: _Draft, rule: Rule, name: str) -> GraphError:
    return GraphError(
        f"{rule.target!r} needs {name!r}, which matches no target and no file",
        place=rule.place,
        hint=_did_you_mean(name, draft.targets),
    )


def _path(
    draft: _Draft, node: graph.Node, part: str, name: str, order_only: bool, files: list[str], folders: list[str]
) -> None:
    kind = draft.look.kind(name)
    inside = _made_inside(draft, node, name) if kind == "folder" or part.endswith("/") else []
    if kind == "folder" or (part.endswith("/") and inside):
        draft.weak += [Edge(node.id, rule.target, f"written {part!r}", order_only) for rule in inside]
        if not order_only:
            folders.append(name)
    elif kind is None:
        draft.errors.append(
            GraphError(
                f"{node.rule.target!r} needs {part!r}: there is no such file, and no rule makes it",
                place=node.rule.place,
                hint=_did_you_mean(name, [*draft.targets, *_neighbours(draft.look, name)]),
            )
        )
    elif not order_only:
        files.append(name)


def _made_inside(draft: _Draft, node: graph.Node, folder: str) -> list[FileRule]:
    """Other rules that make a file below the folder."""
    made = [(t, r) for t, r in draft.targets.items() if isinstance(r, FileRule) and r is not node.rule]
    return [rule for target, rule in made if target.startswith(f"{folder}/" if folder else "")]


def _neighbours(look: Look, name: str) -> Sequence[str]:
    return look.glob("/".join([*name.split("/")[:-1], "*"]))


def _did_you_mean(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


# --- inferred prerequisites -----------------------------------------------------------------------------------


def _inferred(draft: _Draft, node: graph.Node) -> None:
    for command in node.rule.recipe:
        if isinstance(command, Action):
            _command_reads(draft, node, command)
    try:
        if isinstance(node.rule, ImageRule):
            _image_reads(draft, node, node.rule)
        elif isinstance(node.rule, PublishRule):
            _publish_reads(draft, node, node.rule)
    except ImgmakeError as error:
        draft.problems[node.id] = error


def _command_reads(draft: _Draft, node: graph.Node, command: Action) -> None:
    files, folders = list(draft.inputs[node.id].files), list(draft.inputs[node.id].folders)
    for read in command.reads():
        if isinstance(read.what, ImageRule):
            draft.edge(node.id, read.what, read.why, platform=node.platform)
        elif read.kind == "image":
            if (rule := draft.tags.get(_normal(read.what))) is not None:
                draft.edge(node.id, rule, read.why, platform=node.platform)
        else:
            _file_read(draft, node, join(node.rule.base, read.what), read.why, files, folders)
    old = draft.inputs[node.id]
    draft.inputs[node.id] = graph.Inputs(tuple(dict.fromkeys(files)), tuple(dict.fromkeys(folders)), old.patterns)


def _file_read(draft: _Draft, node: graph.Node, name: str, why: str, files: list[str], folders: list[str]) -> None:
    made, inside = draft.targets.get(name), _made_inside(draft, node, name)
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
            hint=_did_you_mean(name, [*draft.targets, *_neighbours(draft.look, name)]),
        )
    files.append(name)


def _publish_reads(draft: _Draft, node: graph.Node, rule: PublishRule) -> None:
    named = [image for image in rule.images if isinstance(image, ImageRule)]
    named += [draft.tags[_normal(i)] for i in rule.images if isinstance(i, str) and _normal(i) in draft.tags]
    for image in named:
        for name, _ in platforms(image, draft.native):
            draft.firm.append(Edge(node.id, name, "image"))
    checks = rule.checks if rule.checks is not None else _checks_of(draft, named)
    for check in checks:
        found = check if isinstance(check, Rule) else draft.targets.get(join(rule.base, check))
        if found is None:
            raise GraphError(
                f"{rule.target!r} needs the check {check!r}, which is no target",
                place=rule.place,
                hint=_did_you_mean(str(check), draft.targets),
            )
        draft.edge(node.id, found, "checks its image" if rule.checks is None else "checks=")


def _checks_of(draft: _Draft, images: Sequence[ImageRule]) -> list[Rule]:
    rules = [rule for rule in draft.pipeline.rules if isinstance(rule, CheckRule)]
    return [rule for rule in rules if any(_names(draft, rule, image) for image in images)]


def _names(draft: _Draft, rule: Rule, image: ImageRule) -> bool:
    reads = [read for command in rule.recipe if isinstance(command, Action) for read in command.reads()]
    named = [read.what for read in reads if read.kind == "image" and isinstance(read.what, str)]
    handles = any(read.what is image for read in reads) or names_image(rule, image)
    return handles or any(draft.tags.get(_normal(name)) is image for name in named)


def _image_reads(draft: _Draft, node: graph.Node, rule: ImageRule) -> None:
    for word, given in (("build_args", rule.build_args), ("contexts", rule.contexts)):
        for name, image in given.items():
            if isinstance(image, ImageRule):
                draft.edge(node.id, image, f"{word} {name}", platform=node.platform)
    for secret in rule.secrets:
        if (path := secret_path(secret)) is not None and join(rule.base, path) in draft.targets:
            draft.edge(node.id, draft.targets[join(rule.base, path)], "secret")
    where = dockerfile_path(rule)
    if (made := draft.targets.get(where)) is not None:
        draft.edge(node.id, made, "Dockerfile")
    _context_exists(draft, rule)
    if draft.look.kind(where) == "file":
        _dockerfile_reads(draft, node, rule, _analyse(draft, node, rule, where), where)
    elif made is None:
        raise _no_dockerfile(draft, rule, where)


def _context_exists(draft: _Draft, rule: ImageRule) -> None:
    folder = context_folder(rule)
    makes_inside = any(target.startswith(f"{folder}/") for target in draft.targets)
    if folder and draft.look.kind(folder) != "folder" and not makes_inside:
        raise GraphError(
            f"image {rule.target!r}: its build context {rule.context!r} is no folder",
            place=rule.place,
            hint=_did_you_mean(folder, sorted({path.rpartition("/")[0] for path in draft.look.glob("**/Dockerfile")})),
        )


def _no_dockerfile(draft: _Draft, rule: ImageRule, where: str) -> GraphError:
    others = [*draft.look.glob("**/*Dockerfile*"), *draft.look.glob("**/*.df")]
    close = _did_you_mean(where, others) or (f"there is {', '.join(others[:3])}" if others else "")
    return GraphError(f"image {rule.target!r}: there is no Dockerfile {where!r}", place=rule.place, hint=close)


def _analyse(draft: _Draft, node: graph.Node, rule: ImageRule, where: str) -> Analysis:
    known = (*NAMES, *(name for name, v in draft.pipeline.variables.items() if not v.secret))
    late = {name: v.value for name, v in draft.pipeline.variables.items() if v.value is not None}

    def value(text: str) -> str:
        return late.get(text[2:-1], text) if text.startswith("${") and text.endswith("}") else text

    return dockerfile.analyse(
        dockerfile.parse(draft.look.read_text(where), where),
        stage=value(rule.stage) if rule.stage else None,
        family="classic" if rule.builder == "classic" else draft.family,
        args=candidate_arguments(rule, known, value, lambda image: image.tags[0]),
        platform=node.platform or draft.native,
        contexts=tuple(rule.contexts),
        build_platform=draft.native,
    )


def _dockerfile_reads(draft: _Draft, node: graph.Node, rule: ImageRule, analysis: Analysis, where: str) -> None:
    for use in analysis.images:
        found = draft.tags.get(_normal(use.reference))
        if found is not None and found is not rule:
            draft.edge(node.id, found, f"{where}:{use.line} {use.instruction}", platform=node.platform)
    folder = context_folder(rule)
    ignored = draft.look.ignored(folder, where, "classic" if rule.builder == "classic" else draft.family)
    prefix = f"{folder}/" if folder else ""
    for target, made in draft.targets.items():
        path = target.removeprefix(prefix)
        if isinstance(made, FileRule) and target.startswith(prefix) and not ignored(path):
            taken = next((read for read in analysis.reads if copies(read.pattern, path, deep=read.deep)), None)
            if taken is not None:
                draft.weak.append(Edge(node.id, made.target, f"{where}:{taken.line} {taken.instruction}"))
            elif analysis.whole_context:
                draft.weak.append(Edge(node.id, made.target, f"{where}: {analysis.whole_context}"))
