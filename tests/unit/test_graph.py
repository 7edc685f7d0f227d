"""Rules to a graph: order, cycles, inferred edges that give way."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake.errors import GraphError, Place, Problems
from imgmake.graph import Graph, Memory, Node, build
from imgmake.model import Edge, PhonyRule


def node(name: str, line: int = 1) -> Node:
    return Node(name, PhonyRule(target=name, place=Place("Pipefile.py", line)))


def edges(text: str) -> list[Edge]:
    """``"a>b"``: a needs b."""
    return [Edge(target, need, "written") for target, _, need in (pair.partition(">") for pair in text.split())]


def graph(names: str, firm: str = "", weak: str = "", memory: Memory | None = None) -> Graph:
    nodes = [node(name, line) for line, name in enumerate(names.split(), 1)]
    return build(nodes, edges(firm), edges(weak), {}, memory)


def test_prerequisites_come_first_and_ties_keep_the_order_written() -> None:
    assert graph("all c b a", "all>c all>a c>b").order == ("b", "c", "a", "all")


def test_a_cycle_names_its_path_and_its_rules() -> None:
    with pytest.raises(GraphError) as caught:
        graph("a b c", "a>b b>c c>a")
    assert "dependency cycle: a -> b -> c -> a" in str(caught.value)
    assert "Pipefile.py:2: b" in str(caught.value)


def test_every_cycle_is_reported_at_once() -> None:
    with pytest.raises(Problems) as caught:
        graph("a b c d e", "a>b b>a c>d d>c e>a")
    assert sorted(str(error.message) for error in caught.value.errors) == [
        "dependency cycle: a -> b -> a",
        "dependency cycle: c -> d -> c",
    ]


def test_a_target_that_needs_itself_is_a_cycle() -> None:
    with pytest.raises(GraphError, match="a -> a"):
        graph("a", "a>a")


def test_an_inferred_edge_that_would_close_a_cycle_is_dropped() -> None:
    """`COPY . .` over a report that is made from the image."""
    found = graph("image report", "report>image", "image>report")
    assert found.order == ("image", "report")
    assert [(edge.target, edge.prerequisite) for edge in found.dropped] == [("image", "report")]


def test_only_the_edge_that_closes_the_cycle_is_dropped() -> None:
    found = graph("image jar report", "report>image", "image>jar image>report")
    assert found.prerequisites("image") == ("jar",)


def test_an_order_once_found_is_remembered_with_what_was_dropped() -> None:
    known: dict[str, tuple[str, ...]] = {}
    memory = Memory(known.get, lambda key, order: known.__setitem__(key, tuple(order)))
    first = graph("image report", "report>image", "image>report", memory)
    assert len(known) == 1
    again = graph("image report", "report>image", "image>report", memory)
    assert again.order == first.order
    assert again.dropped == first.dropped
    graph("image report", "report>image", "", memory)
    assert len(known) == 2, "another graph must not be taken for the one that is known"


def test_a_remembered_graph_needs_no_networkx() -> None:
    code = (
        "import sys\n"
        "from imgmake.graph import Memory, Node, build\n"
        "from imgmake.model import PhonyRule\n"
        "from imgmake.errors import Place\n"
        "node = Node('a', PhonyRule(target='a', place=Place('P', 1)))\n"
        "assert build([node], [], [], {}, Memory(lambda _: ('a',))).order == ('a',)\n"
        "assert 'networkx' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_closure_of_a_goal_is_what_it_needs() -> None:
    found = graph("all app jar other", "all>app app>jar")
    assert found.closure(["all"]) == ("jar", "app", "all")
    assert found.closure(["all"], lambda name: name != "app") == ("app", "all")


@given(st.data())
def test_every_order_puts_prerequisites_first(data: st.DataObject) -> None:
    names = [f"t{i}" for i in range(data.draw(st.integers(1, 7)))]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[:i] if data.draw(st.booleans())]
    loose = data.draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=6, unique=True))
    found = build([node(n) for n in names], [Edge(*p, "w") for p in pairs], [Edge(*p, "c") for p in loose], {})
    place = {name: i for i, name in enumerate(found.order)}
    assert set(place) == set(names)
    for name in names:
        assert all(place[need] < place[name] for need in found.prerequisites(name))
    kept = {(edge.target, edge.prerequisite) for name in names for edge in found.edges[name]}
    assert kept >= set(pairs)
