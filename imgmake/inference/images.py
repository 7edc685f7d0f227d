"""What an image rule reads: its Dockerfile, what that takes of the context, and the images that it is built from."""

from __future__ import annotations

from collections.abc import Iterator

from imgmake import dockerfile, graph
from imgmake.commands.base import Action
from imgmake.dockerfile import Analysis
from imgmake.dockerfile.patterns import has_wildcards
from imgmake.errors import DockerfileError, GraphError, Place
from imgmake.ignore import copies
from imgmake.imagerule import candidate_arguments, context_folder, context_reference, dockerfile_path, join, secret_path
from imgmake.inference.draft import Draft, did_you_mean, normal
from imgmake.metadata import NAMES
from imgmake.model import CheckRule, Edge, FileRule, ImageRule, PhonyRule, Rule


def image_reads(draft: Draft, node: graph.Node, rule: ImageRule) -> None:
    """Add the prerequisites of an image. Raises GraphError without a Dockerfile or context, DockerfileError."""
    _given_images(draft, node, rule)
    for secret in rule.secrets:
        if (path := secret_path(secret)) is not None and (made := _maker(draft, join(rule.base, path))) is not None:
            draft.edge(node.id, made, "secret")
    where = dockerfile_path(rule)
    if (made := _maker(draft, where)) is not None:
        draft.edge(node.id, made, "Dockerfile")
    _context_exists(draft, rule)
    if draft.look.kind(where) == "file":
        _dockerfile_reads(draft, node, rule, _analyse(draft, node, rule, where), where)
    elif made is None:
        raise _no_dockerfile(draft, rule, where)


def _given_images(draft: Draft, node: graph.Node, rule: ImageRule) -> None:
    for name, given in rule.build_args.items():
        if isinstance(given, ImageRule):
            draft.edge(node.id, given, f"build_args {name}", platform=node.platform)
    for name, given in rule.contexts.items():
        made = given if isinstance(given, ImageRule) else None
        if (reference := context_reference(given)) is not None:
            _refuse_itself(draft, node, rule, reference, f"contexts {name}", rule.place)
            made = draft.tags.get(normal(reference))
        if made is not None:
            draft.edge(node.id, made, f"contexts {name}", platform=node.platform)


def _refuse_itself(
    draft: Draft, node: graph.Node, rule: ImageRule, reference: str, instruction: str, place: Place
) -> None:
    """A build that starts from what it made before adds to it each time, and nothing is ever up to date."""
    own = draft.tags.get(normal(reference)) is rule or draft.claims.get(normal(reference), (rule, ""))[1] == node.id
    if own:
        raise DockerfileError(
            f"{instruction} {reference}: that is a tag of the image {rule.target!r} itself",
            place=place,
            hint=f"a build moves the tag, so the next one would start from this one: give the base another name "
            f"(docker tag {reference} NAME), or the rule at {rule.place} another tag",
        )


def _maker(draft: Draft, path: str) -> Rule | None:
    """The rule that makes a file; an image or a check that is only called like one makes none."""
    made = draft.targets.get(path)
    return made if isinstance(made, (FileRule, PhonyRule)) else None


def _context_exists(draft: Draft, rule: ImageRule) -> None:
    folder = context_folder(rule)
    makes_inside = any(target.startswith(f"{folder}/") for target in draft.targets)
    if folder and draft.look.kind(folder) != "folder" and not makes_inside:
        raise GraphError(
            f"image {rule.target!r}: its build context {rule.context!r} is no folder",
            place=rule.place,
            hint=did_you_mean(folder, sorted({path.rpartition("/")[0] for path in draft.look.glob("**/Dockerfile")})),
        )


def _no_dockerfile(draft: Draft, rule: ImageRule, where: str) -> GraphError:
    others = [*draft.look.glob("**/*Dockerfile*"), *draft.look.glob("**/*.df")]
    close = did_you_mean(where, others) or (f"there is {', '.join(others[:3])}" if others else "")
    return GraphError(f"image {rule.target!r}: there is no Dockerfile {where!r}", place=rule.place, hint=close)


def _analyse(draft: Draft, node: graph.Node, rule: ImageRule, where: str) -> Analysis:
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


def _dockerfile_reads(draft: Draft, node: graph.Node, rule: ImageRule, analysis: Analysis, where: str) -> None:
    for use in analysis.images:
        found, place = draft.tags.get(normal(use.reference)), Place(where, use.line)
        _refuse_itself(draft, node, rule, use.reference, use.instruction, place)
        if found is not None:
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
    for path, check in _reports(draft):
        inside = path.removeprefix(prefix)
        if path.startswith(prefix) and not ignored(inside):
            named = (read for read in analysis.reads if read.pattern != "." and not has_wildcards(read.pattern))
            taken = next((read for read in named if copies(read.pattern, inside, deep=read.deep)), None)
            if taken is not None:
                draft.weak.append(Edge(node.id, check.target, f"{where}:{taken.line} {taken.instruction}"))


def _reports(draft: Draft) -> Iterator[tuple[str, CheckRule]]:
    """What checks write. One that is named by a COPY is needed; what ``COPY . .`` would sweep in is left out."""
    for rule in draft.pipeline.rules:
        if isinstance(rule, CheckRule):
            steps = (step for step in rule.recipe if isinstance(step, Action))
            yield from ((join(rule.base, path), rule) for step in steps for path in step.writes() if "$" not in path)
