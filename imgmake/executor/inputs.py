"""What a file or check is judged by: its recipe, and the content of each prerequisite, as fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from imgmake.commands.python import Python
from imgmake.errors import SourceError
from imgmake.executor.run import ABSENT, Run, join, targets_of
from imgmake.graph import Node
from imgmake.inference import GLOB
from imgmake.metadata import CLOCK
from imgmake.model import CheckRule, Field, FileRule, ImageRule, PhonyRule, Rule
from imgmake.ports import Record
from imgmake.variables import token

MISSING = "missing"
_TIMELESS = {name: token(name) for name in CLOCK}


def written(run: Run, node: Node) -> tuple[str, ...]:
    """`$in`: the files, folders and matches of the written prerequisites, in their order, each once."""
    found = [path for part in node.rule.parts for path in _part(run, node, part)]
    own = _own(node.rule) | dropped(run, node)
    return tuple(dict.fromkeys(path for path in found if path not in own))


def _own(rule: Rule) -> set[str]:
    """The files that a rule makes; a check called like a file that it reads makes none."""
    return set(rule.targets) if isinstance(rule, FileRule) else set()


def _part(run: Run, node: Node, part: str | Rule) -> Iterable[str]:
    if isinstance(part, Rule):
        return targets_of(part) if isinstance(part, FileRule) else ()
    name = part[2:] if part.startswith("//") else join(node.rule.base, part)
    made = run.makers.get(name)
    if made is not None and made is not node.rule and not part.endswith("/"):
        return (name,) if isinstance(made, FileRule) else ()
    if GLOB & set(part):
        return matches(run, node, name)
    return (name,)


def matches(run: Run, node: Node, pattern: str) -> Sequence[str]:
    """Files that a pattern matches now, generated ones too. Raises SourceError when there is none."""
    found = run.world.sources.glob(pattern)
    if not found and not run.settings.dry and not isinstance(node.rule, PhonyRule):
        raise SourceError(f"{node.rule.target!r} needs {pattern!r}, which matches no file", place=node.rule.place)
    return found


def dropped(run: Run, node: Node) -> set[str]:
    """Files that inference had to leave out, since they are made from this very target."""
    edges = [edge for edge in run.graph.dropped if edge.target == node.id]
    made = {path for edge in edges for path in targets_of(run.node(edge.prerequisite).rule)}
    return made | set(_reports_on(run, node)) if isinstance(node.rule, ImageRule) else made


def _reports_on(run: Run, node: Node) -> Iterator[str]:
    """What commands leave behind that need this image: in its context it would make the image stale each time.

    And the reports of checks that this image does not need: whether they are there yet hangs on what ran first.
    """
    needed = set(run.graph.closure([node.id]))
    for rule in run.pipeline.rules:
        written = [path for step in run.recipe(rule) for path in step.writes() if "$" not in path]
        if not written or rule.target in needed:
            continue
        if isinstance(rule, CheckRule) or node.id in run.graph.closure([rule.target]):
            yield from (join(rule.base, path) for path in written)


def fields(run: Run, node: Node, record: Record | None) -> tuple[Field, ...]:
    """All that counts: the recipe's own fields, then files, folders and images, sorted by name.

    An image that the engine does not hold is unknown, so its recorded value stands for it. What a clock decides
    counts by its name: a build's ID and its dates make nothing stale, and the ID hangs on what is stale.
    """
    view = run.view(node, content=lambda what: content(run, node, what), inputs=written(run, node))
    view = replace(view, value=lambda name: run.values.get(name, target=node.rule.target, extra=_TIMELESS))
    own = [
        field._replace(name=f"{i}: {field.name}" if i else field.name)
        for i, step in enumerate(run.recipe(node.rule))
        for field in step.fields(view)
    ]
    found = sorted(set(file_fields(run, node)) | set(_image_fields(run, node)) | set(_module_fields(run, node)))
    return tuple(_unknown_as_recorded([*own, *found], record))


def _module_fields(run: Run, node: Node) -> Iterator[Field]:
    """A function may call anything that the repository's modules hold."""
    if any(isinstance(step, Python) for step in run.recipe(node.rule)):
        yield from (Field("file", path, _digest(run, path)) for path in run.pipeline.modules)


def _unknown_as_recorded(found: Sequence[Field], record: Record | None) -> Iterator[Field]:
    before = {(f.kind, f.name): f.value for f in record.fields} if record else {}
    for field in found:
        if field.kind == "image" and field.value == ABSENT:
            yield field._replace(value=before.get((field.kind, field.name), ABSENT))
        else:
            yield field


def file_fields(run: Run, node: Node) -> Iterator[Field]:
    """The content of every file that is a prerequisite, by pattern and folder too, but never of an own output."""
    inputs = run.graph.inputs[node.id]
    out = _own(node.rule) | dropped(run, node)
    paths = [*inputs.files, *(p for pattern in inputs.patterns for p in matches(run, node, pattern))]
    paths += [p for folder in inputs.folders for p in run.world.sources.tree(folder)]
    # A target made by a rule among our prerequisites counts by all the files of that rule.
    paths += [p for name in _content_prerequisites(run, node) for p in targets_of(run.node(name).rule)]
    for path in dict.fromkeys(paths):
        if path not in out:
            yield Field("file", path, _digest(run, path))


def _content_prerequisites(run: Run, node: Node) -> Iterator[str]:
    for edge in run.graph.edges[node.id]:
        if edge.why == "written" and not edge.order_only:
            yield from (name for name in behind(run, edge.prerequisite) if isinstance(run.node(name).rule, FileRule))


def behind(run: Run, name: str) -> Iterator[str]:
    """The node itself, or what a recipe-free phony groups: such a phony is transparent."""
    rule = run.node(name).rule
    if isinstance(rule, PhonyRule) and not rule.recipe:
        for edge in run.graph.edges[name]:
            if not edge.order_only:
                yield from behind(run, edge.prerequisite)
    else:
        yield name


def _digest(run: Run, path: str) -> str:
    # In a dry run a prerequisite that would be made may not be there yet: no error, and certainly a change.
    if run.world.sources.stat(path) is None and (run.settings.dry or run.predicting):
        return MISSING
    return run.world.sources.digest(path)


def _image_fields(run: Run, node: Node) -> Iterator[Field]:
    """Images named as written prerequisites; those that commands read are in the commands' own fields or here."""
    for edge in run.graph.edges[node.id]:
        for name in behind(run, edge.prerequisite) if not edge.order_only else ():
            rule = run.node(name).rule
            if isinstance(rule, ImageRule):
                yield Field("image", name, content(run, node, rule))
    for step in run.recipe(node.rule):
        for read in step.reads():
            if read.kind == "image" and isinstance(read.what, str) and run.rule_of(read.what) is None:
                name = run.values.expand(read.what)
                yield Field("image", name, content(run, node, read.what))


def content(run: Run, node: Node, what: str | ImageRule) -> str:
    """What stands for an image when signing: the content ID of a rule's image, the ID of another, or ABSENT."""
    rule = what if isinstance(what, ImageRule) else run.rule_of(what)
    if rule is not None:
        found = run.images.get(run.image_node(rule, node.platform))
        return _content_id(found) if found else ABSENT
    image = run.external(run.values.expand(str(what)))
    return image.id if image else ABSENT


def _content_id(found: tuple[object, ...]) -> str:
    image, stamp = found
    return stamp.content if stamp is not None else image.id  # type: ignore[attr-defined,no-any-return]


def phonies(run: Run, node: Node) -> tuple[str, ...]:
    """Prerequisites that are phony and have a recipe, also behind recipe-free phonies: make's "always ran"."""
    edges = [edge for edge in run.graph.edges[node.id] if not edge.order_only]
    found = (name for edge in edges for name in behind(run, edge.prerequisite))
    return tuple(dict.fromkeys(name for name in found if isinstance(run.node(name).rule, PhonyRule)))
