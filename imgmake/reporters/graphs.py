"""What `--graph` draws, as DOT or Mermaid text: arrows lead from a prerequisite to what is made of it. Runs nothing."""

from __future__ import annotations

from collections.abc import Sequence

from imgmake.model import Edge, Kind
from imgmake.reporters.style import one_line

Nodes = Sequence[tuple[str, Kind]]

SHAPES = {
    Kind.FILE: ("note", "[{}]"),
    Kind.PHONY: ("ellipse", "([{}])"),
    Kind.CHECK: ("hexagon", "{{{{{}}}}}"),
    Kind.IMAGE: ("box3d", "[[{}]]"),
    Kind.PUBLISH: ("cds", "[/{}/]"),
}
SOURCE = ("plaintext", "({})")  # a file that no rule makes


def dot(nodes: Nodes, edges: Sequence[Edge]) -> str:
    """Graphviz' language (graphviz.org/doc/info/lang.html)."""
    lines = ["digraph imgmake {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    for name, kind in _all(nodes, edges):
        shape = SHAPES[kind][0] if kind else SOURCE[0]
        lines.append(f"  {_quoted(name)} [shape={shape}];")
    for edge in edges:
        style = ["style=dashed"] if edge.order_only else []
        label = [f"label={_quoted(edge.why)}"] if edge.why not in ("", "written") else []
        attributes = f" [{', '.join(style + label)}]" if style or label else ""
        lines.append(f"  {_quoted(edge.prerequisite)} -> {_quoted(edge.target)}{attributes};")
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(nodes: Nodes, edges: Sequence[Edge]) -> str:
    """Mermaid's flowchart (mermaid.js.org/syntax/flowchart.html), as Markdown pages show it."""
    every = _all(nodes, edges)
    ids = {name: f"n{number}" for number, (name, _) in enumerate(every)}
    lines = ["flowchart LR"]
    for name, kind in every:
        shape = SHAPES[kind][1] if kind else SOURCE[1]
        lines.append(f"  {ids[name]}{shape.format(_label(name))}")
    for edge in edges:
        arrow = "-.->" if edge.order_only else "-->"
        label = f"|{_label(edge.why)}|" if edge.why not in ("", "written") else ""
        lines.append(f"  {ids[edge.prerequisite]} {arrow}{label} {ids[edge.target]}")
    return "\n".join(lines) + "\n"


def _all(nodes: Nodes, edges: Sequence[Edge]) -> list[tuple[str, Kind | None]]:
    """The nodes, then whatever else an edge names."""
    every: dict[str, Kind | None] = dict(nodes)
    for edge in edges:
        every.setdefault(edge.target, None)
        every.setdefault(edge.prerequisite, None)
    return list(every.items())


def _quoted(text: str) -> str:
    return '"' + one_line(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _label(text: str) -> str:
    return '"' + one_line(text).replace("#", "#35;").replace('"', "#quot;") + '"'
