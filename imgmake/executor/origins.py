"""Origins: what a target is made from, down to the sources, without looking at anything that a rule makes.

An origin is equal in a fresh clone and in a tree where everything is built; so a registry's stamp can be
recognised where nothing has been built at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from imgmake.executor import inputs
from imgmake.executor.reading import Reader
from imgmake.executor.run import targets_of
from imgmake.fingerprint import digest
from imgmake.graph import Node
from imgmake.imagerule import context_folder
from imgmake.model import Field, FileRule, ImageRule


@dataclass
class Origins:
    """Digests of targets by their sources alone, worked out once each; empty where it cannot be known."""

    reader: Reader
    known: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """The origin of a node; empty for a check or phony, whose recipes may do anything."""
        if name not in self.known:
            node = self.reader.run.node(name)
            if isinstance(node.rule, ImageRule):
                self.known[name] = self._image(node, node.rule)
            elif isinstance(node.rule, FileRule):
                self.known[name] = self._file(node)
            else:
                self.known[name] = ""
        return self.known[name]

    def _image(self, node: Node, rule: ImageRule) -> str:
        reading = self.reader.read(node, {}, "buildkit")
        folder = context_folder(rule)
        made = {path.removeprefix(f"{folder}/") if folder else path for path in self._made(node)}
        made |= {parent for path in made for parent in _parents(path)}
        sources = [f for f in reading.fields if f.kind != "image" and not (f.kind in _PATHS and f.name in made)]
        return self._with_made(node, [_as_git_keeps(f) if f.kind in _PATHS else f for f in sources])

    def _file(self, node: Node) -> str:
        run = self.reader.run
        if inputs.phonies(run, node):
            return ""
        made = self._made(node)
        view = run.view(node, content=lambda what: what if isinstance(what, str) else what.target)
        sources = [f for step in run.recipe(node.rule) for f in step.fields(view)]
        sources += [f for f in inputs.file_fields(run, node) if f.name not in made]
        return self._with_made(node, sources)

    def _made(self, node: Node) -> set[str]:
        """Files that prerequisites with a rule make."""
        run = self.reader.run
        names = [name for edge in run.graph.edges[node.id] for name in inputs.behind(run, edge.prerequisite)]
        rules = [run.node(name).rule for name in names]
        return {path for rule in rules if isinstance(rule, FileRule) for path in targets_of(rule)}

    def _with_made(self, node: Node, sources: list[Field]) -> str:
        run = self.reader.run
        edges = [edge for edge in run.graph.edges[node.id] if not edge.order_only]
        names = [name for edge in edges for name in inputs.behind(run, edge.prerequisite)]
        content = [name for name in names if isinstance(run.node(name).rule, (FileRule, ImageRule))]
        parts = [Field("made", name, self.of(name)) for name in sorted(set(content))]
        if any(not part.value for part in parts):
            return ""
        return digest(sorted([*sources, *parts]))


_PATHS = frozenset({"file", "folder", "link"})


def _as_git_keeps(field: Field) -> Field:
    """A path's field with as much of its mode as git keeps: a clone's other bits come from its umask."""
    mode, colon, rest = field.value.partition(":")
    if not colon or not mode.isdecimal():
        return field
    bits = int(mode, 8)
    kept = bits & 0o7000 | (0 if field.kind == "folder" else bits & 0o100)
    return field._replace(value=f"{kept:04o}:{rest}")


def _parents(path: str) -> Iterable[str]:
    parts = path.split("/")[:-1]
    return ("/".join(parts[: i + 1]) for i in range(len(parts)))
