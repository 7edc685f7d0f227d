"""Definitions of variables, looked at one by one: defaults, macros, branches, what Python says instead. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from imgmake.migrate.expand import calls, mentioned
from imgmake.migrate.model import Assign, Cond, Rule

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
    varies: bool = False  # whether it may differ from run to run
    dollar: bool = False  # whether its text is a shell's to expand
    leaves: tuple[str, ...] = ()  # of a text with late values in it: make's value of each today


@dataclass(frozen=True)
class Source:
    """The right side of a definition in Python, and the variables that have to stand before it."""

    text: str
    needs: tuple[str, ...]
    late: bool = False
    declares: bool = False  # it is var(…)
    varies: bool = False  # it asks the world
    dollar: bool = False
    leaves: tuple[str, ...] = ()


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


def is_macro(text: str) -> bool:
    """Whether a value is for the place where it is used: it names what only a rule knows, or does something."""
    return doing(text) or any(
        name in AUTOMATIC or re.fullmatch(r"[1-9]|[@<^?*+|%][DF]", name) for name in mentioned(text)
    )


def doing(text: str) -> bool:
    """Whether expanding a text does more than give another: it stops make, says something, sets a variable."""
    return any(name in ("error", "info", "warning", "eval") for name in calls(text))


def tests_itself(each: Assign, around: tuple[Cond, ...]) -> bool:
    """``ifndef X``, or ``ifeq ($(X),)``, around the one definition of X: a default."""
    if len(around) != 1 or each not in around[0].then:
        return False
    return asks_if_unset(around[0], each.name)


def asks_if_unset(cond: Cond, name: str) -> bool:
    """``ifndef X`` or ``ifeq ($(X),)``."""
    own = re.fullmatch(rf"\$[({{](?:strip \$[({{])?{re.escape(name)}[)}}]+", cond.left)
    return (cond.test == "ifndef" and cond.left == name) or (cond.test == "ifeq" and bool(own) and not cond.right)


def branches(each: Assign, around: tuple[Cond, ...]) -> Iterator[tuple[Cond, bool]]:
    """The conditions around a definition, each with whether the definition is in its first branch."""
    inside: tuple[object, ...] = (*around[1:], each)
    for cond, inner in zip(around, inside, strict=False):
        yield cond, inner in cond.then
