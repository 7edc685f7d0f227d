"""Definitions of variables, looked at one by one: defaults, macros, branches, what Python says instead. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from imgmake.migrate.expand import Call, Dollar, calls, mentioned, pieces
from imgmake.migrate.model import Assign, Cond, Rule
from imgmake.migrate.python import quoted

AUTOMATIC = frozenset("@<^?*+|%")


@dataclass(frozen=True)
class Known:
    """One variable: its Python name and what it is.

    kind: constant, variable (``var`` with a default), late (its default is a command), metadata, macro (its text
          goes in where it is used) or odd (`why` tells why it cannot be translated).
    """

    name: str
    python: str
    kind: str
    value: str = ""
    needs: tuple[str, ...] = ()
    late: bool = False
    why: str = ""
    exported: str = ""  # the name under which imgmake gives it to a shell


@dataclass(frozen=True)
class Source:
    """The right side of a definition in Python, and the variables that have to stand before it."""

    text: str
    needs: tuple[str, ...]
    late: bool = False
    declares: bool = False  # it is var(…)


def used(statements: Iterable[object]) -> Iterator[str]:
    """Every variable that any text of a Makefile mentions."""
    for each in statements:
        if isinstance(each, Assign):
            yield from mentioned(each.value)
        elif isinstance(each, Cond):
            yield from mentioned(each.left if each.test.startswith("ife") else f"$({each.left})")
            yield from mentioned(each.right)
            yield from used((*each.then, *each.otherwise))
        elif isinstance(each, Rule):
            yield from mentioned(f"{each.targets} {each.prerequisites} {each.order_only}")
            yield from used(each.recipe)
        elif hasattr(each, "text"):
            yield from mentioned(each.text)


def calls_any(text: str) -> bool:
    """Whether a text calls a function of make's."""
    return next(calls(text), None) is not None


def is_macro(text: str) -> bool:
    """Whether a value means something else at each place: it names automatic variables or parameters, or a shell's."""
    if any(isinstance(piece, Dollar) for piece in pieces(text)) and not calls_any(text):
        return True
    return any(name in AUTOMATIC or re.fullmatch(r"[1-9]|[@<^?*+|%][DF]", name) for name in mentioned(text))


def tests_itself(each: Assign, around: tuple[Cond, ...]) -> bool:
    """``ifndef X``, or ``ifeq ($(X),)``, around the one definition of X: a default."""
    if len(around) != 1 or each not in around[0].then:
        return False
    cond = around[0]
    own = re.fullmatch(rf"\$[({{](?:strip \$[({{])?{re.escape(each.name)}[)}}]+", cond.left)
    return (cond.test == "ifndef" and cond.left == each.name) or (cond.test == "ifeq" and bool(own) and not cond.right)


def exclusive(arounds: Sequence[tuple[Cond, ...]]) -> bool:
    return all(arounds) and len({around[0] for around in arounds}) == 1


def branches(each: Assign, around: tuple[Cond, ...]) -> Iterator[tuple[Cond, bool]]:
    """The conditions around a definition, each with whether the definition is in its first branch."""
    inside: tuple[object, ...] = (*around[1:], each)
    for cond, inner in zip(around, inside, strict=False):
        yield cond, inner in cond.then


def wildcard(text: str) -> str:
    found = list(pieces(text.strip()))
    if len(found) == 1 and isinstance(found[0], Call) and found[0].function == "wildcard":
        return found[0].arguments.strip()
    return ""


def in_python(function: str, given: Sequence[str]) -> str:
    if function == "subst" and len(given) == 3:
        return f"{given[2]}.replace({given[0]}, {given[1]})"
    if function == "strip":
        return f'" ".join({given[0]}.split())'
    if function == "if" and len(given) in (2, 3):
        return f"{given[1]} if {given[0]} else {given[2] if len(given) == 3 else quoted('')}"
    if function == "or":
        return " or ".join(given)
    return ""
