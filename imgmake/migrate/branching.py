"""The definitions of one variable in their order, as the choices that they come to. Pure.

https://www.gnu.org/software/make/manual/html_node/Setting.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from imgmake.migrate.model import Assign, Cond

Path = tuple[tuple[Cond, bool], ...]  # the conditions around a definition, each with whether it holds


@dataclass(frozen=True)
class Choice:
    """``ifeq`` and its kin as one variable sees them; None where nothing is set."""

    cond: Cond
    then: Node
    otherwise: Node


Node = Assign | Choice | None


def sequence(found: Sequence[tuple[Assign, Path]], changes: Callable[[Assign], bool]) -> list[Node]:
    """What sets a variable, one after the other: the first sets it in any case, or in some; the others change it.

    changes: whether a definition is made of the variable's value before it.
    """
    steps: list[Node] = []
    for each, path in found:
        if not steps or (not whole(steps[-1]) and len(steps) == 1 and not changes(each)):
            steps[:] = [_set(steps[0] if steps else None, each, path)]
        elif each.op == "?=":
            continue  # it is set already
        elif not path and not changes(each):
            steps[:] = [each]
        else:
            _change(steps, each, path)
    return steps


def _set(node: Node, each: Assign, path: Path) -> Node:
    """A node with a definition in it; ``?=`` goes only where nothing is set."""
    if not path:
        return _filled(node, each) if each.op == "?=" else each
    cond, holds = path[0]
    if isinstance(node, Choice) and node.cond == cond:
        if holds:
            return Choice(cond, _set(node.then, each, path[1:]), node.otherwise)
        return Choice(cond, node.then, _set(node.otherwise, each, path[1:]))
    if isinstance(node, Choice) and node.then is not None and whole(node.then) and each.op == "?=":
        return Choice(node.cond, node.then, _set(node.otherwise, each, path))
    inner = _set(node, each, path[1:])
    return Choice(cond, inner if holds else node, node if holds else inner)


def _filled(node: Node, each: Assign) -> Node:
    if node is None:
        return each
    if isinstance(node, Choice):
        return Choice(node.cond, _filled(node.then, each), _filled(node.otherwise, each))
    return node


def _change(steps: list[Node], each: Assign, path: Path) -> None:
    last = steps[-1]
    if len(steps) > 1 and isinstance(last, Choice) and path and last.cond == path[0][0] and not _sets(last, path):
        steps[-1] = _set(last, each, path)
    else:
        steps.append(_set(None, each, path))


def _sets(node: Node, path: Path) -> bool:
    """Whether something is set already where a path leads."""
    for cond, holds in path:
        if not isinstance(node, Choice):
            return node is not None
        if node.cond != cond:
            return True
        node = node.then if holds else node.otherwise
    return node is not None


def whole(node: Node) -> bool:
    """Whether a variable is set whatever holds."""
    if isinstance(node, Choice):
        return whole(node.then) and whole(node.otherwise)
    return node is not None


def leaves(node: Node) -> Iterator[Assign]:
    """The definitions in a node."""
    if isinstance(node, Choice):
        yield from leaves(node.then)
        yield from leaves(node.otherwise)
    elif node is not None:
        yield node


def conditions(node: Node) -> Iterator[Cond]:
    """The conditions in a node."""
    if isinstance(node, Choice):
        yield node.cond
        yield from conditions(node.then)
        yield from conditions(node.otherwise)
