"""Rules to a directed acyclic graph with a stable order; the only module that knows networkx.

What a rule's strings mean (a target, a file, a folder, a pattern) is settled by `imgmake.inference`;
here are the nodes, the edges and their order. Importing networkx takes longer than everything else in
a run that finds all up to date, so a graph that was ordered once is recognised by its digest and its
order is remembered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from imgmake.errors import GraphError, ImgmakeError, raise_all
from imgmake.model import Edge, Rule

_DROPPED = "dropped "


@dataclass(frozen=True)
class Node:
    """A rule to be judged and run once; an image for several platforms has one node a platform."""

    id: str
    rule: Rule
    platform: str | None = None


@dataclass(frozen=True)
class Inputs:
    """What a node's written parts came to, besides other nodes."""

    files: tuple[str, ...] = ()  # from the root
    folders: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Nodes with their prerequisites, frozen; `order` lists every node after its prerequisites.

    `dropped` are inferred edges that would have closed a cycle, each with the files it stood for.
    """

    nodes: Mapping[str, Node]
    edges: Mapping[str, tuple[Edge, ...]]
    order: tuple[str, ...]
    inputs: Mapping[str, Inputs] = field(default_factory=dict)
    dropped: tuple[Edge, ...] = ()

    def prerequisites(self, node: str) -> tuple[str, ...]:
        """The nodes that must be done before `node`, each once, in the order written."""
        return tuple(dict.fromkeys(edge.prerequisite for edge in self.edges.get(node, ())))

    def closure(self, goals: Iterable[str], follow: Callable[[str], bool] = lambda _: True) -> tuple[str, ...]:
        """The goals and all that they need, in order; a node that `follow` refuses is taken without its own."""
        wanted: set[str] = set()
        queue = list(goals)
        while queue:
            node = queue.pop()
            if node not in wanted:
                wanted.add(node)
                queue += self.prerequisites(node) if follow(node) else ()
        return tuple(node for node in self.order if node in wanted)


@dataclass(frozen=True)
class Memory:
    """Where orders are remembered between runs; the default forgets."""

    get: Callable[[str], tuple[str, ...] | None] = lambda _: None
    put: Callable[[str, Sequence[str]], None] = lambda *_: None


def build(
    nodes: Sequence[Node],
    firm: Sequence[Edge],
    weak: Sequence[Edge],
    inputs: Mapping[str, Inputs],
    memory: Memory | None = None,
) -> Graph:
    """Order the nodes.

    `firm` edges are written, or inferred from a command or a FROM; a cycle among them is an error that
    names the path and every rule on it. `weak` edges (a file that a COPY or a pattern may take) are
    added one by one in their order, and dropped where they would close a cycle.

    Raises GraphError for a cycle.
    """
    memory = memory or Memory()
    key = _key(nodes, firm, weak)
    remembered = memory.get(key)
    if remembered is None:
        remembered = tuple(_resolve(nodes, firm, weak))
        memory.put(key, remembered)
    dropped = {int(word.removeprefix(_DROPPED)) for word in remembered if word.startswith(_DROPPED)}
    edges: dict[str, list[Edge]] = {node.id: [] for node in nodes}
    for edge in (*firm, *(edge for i, edge in enumerate(weak) if i not in dropped)):
        edges[edge.target].append(edge)
    return Graph(
        nodes={node.id: node for node in nodes},
        edges={node: tuple(found) for node, found in edges.items()},
        order=tuple(word for word in remembered if not word.startswith(_DROPPED)),
        inputs=inputs,
        dropped=tuple(edge for i, edge in enumerate(weak) if i in dropped),
    )


def _key(nodes: Sequence[Node], firm: Sequence[Edge], weak: Sequence[Edge]) -> str:
    parts = [node.id for node in nodes]
    parts += [f"{len(edge.target)}:{edge.target}{edge.prerequisite}" for edge in firm]
    parts += [f"weak {len(edge.target)}:{edge.target}{edge.prerequisite}" for edge in weak]
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _resolve(nodes: Sequence[Node], firm: Sequence[Edge], weak: Sequence[Edge]) -> list[str]:
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(node.id for node in nodes)
    graph.add_edges_from((edge.prerequisite, edge.target) for edge in firm)
    if not networkx.is_directed_acyclic_graph(graph):
        knots = (graph.subgraph(knot) for knot in networkx.strongly_connected_components(graph))
        raise_all(_cycle(networkx.find_cycle(knot), nodes) for knot in knots if knot.edges)
    dropped: list[int] = []
    trial = graph.copy()
    trial.add_edges_from((edge.prerequisite, edge.target) for edge in weak)
    if networkx.is_directed_acyclic_graph(trial):
        graph = trial
    else:
        for i, edge in enumerate(weak):
            if networkx.has_path(graph, edge.target, edge.prerequisite):
                dropped.append(i)
            else:
                graph.add_edge(edge.prerequisite, edge.target)
    position = {node.id: i for i, node in enumerate(nodes)}
    order = list(networkx.lexicographical_topological_sort(graph, key=position.__getitem__))
    return [*order, *(f"{_DROPPED}{i}" for i in dropped)]


def _cycle(found: Iterable[tuple[str, str]], nodes: Sequence[Node]) -> ImgmakeError:
    # An edge runs from prerequisite to target; people read "a needs b", so the path is turned round.
    path = [target for _, target in found][::-1]
    start = min(range(len(path)), key=lambda i: path[i])
    path = path[start:] + path[:start]
    rules = {node.id: node.rule for node in nodes}
    places = "\n  ".join(f"{rules[name].place}: {name}" for name in path)
    return GraphError(
        f"dependency cycle: {' -> '.join([*path, path[0]])}",
        place=rules[path[0]].place,
        hint=f"the rules on it:\n  {places}\n  remove one of these prerequisites, or use after=[…] the other way round",
    )
