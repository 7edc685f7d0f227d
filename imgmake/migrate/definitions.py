"""Definitions of variables, looked at one by one: defaults, macros, branches, what Python says instead. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from imgmake.migrate import reader
from imgmake.migrate.expand import Call, calls, mentioned, pieces
from imgmake.migrate.model import Assign, Cond, Line, Rule

AUTOMATIC = frozenset("@<^?*+|%")
SETS = ("=", ":=", "::=", "?=", "!=")  # the operators that give a variable a value


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


def of_place(each: Assign) -> bool:
    """Whether a value depends on which files make had read by then."""
    return each.op in (":=", "::=") and "MAKEFILE_LIST" in mentioned(each.value)


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


def hoisted(statements: Iterable[object], defined: Collection[str]) -> dict[str, Assign]:
    """Variables that one ``$(eval …)`` of one recipe sets, whatever its target: they are like those of the Makefile."""
    found: dict[str, list[Assign]] = {}
    for line in _recipe_lines(statements):
        for text in _evaluated(line.text):
            each = reader.read(text.replace("$$", "$"))[:1]
            if each and isinstance(each[0], Assign):
                found.setdefault(each[0].name, []).append(replace(each[0], line=line.line))
    return {
        name: every[0]
        for name, every in found.items()
        if len(every) == 1
        and name not in defined
        and re.fullmatch(r"\w+", name)
        and every[0].op in ("=", ":=")
        and not (every[0].export or every[0].target or is_macro(every[0].value))
    }


def shared(statements: Iterable[object], defined: Collection[str], beside: Callable[[str], bool]) -> dict[str, Assign]:
    """Variables with one default, the same in all targets that say it: they are like those of the Makefile.

    beside: whether other targets read a variable, too, and have it empty.
    """
    ways: dict[str, set[tuple[str, str, bool]]] = {}
    first: dict[str, Assign] = {}
    for each in statements:
        if isinstance(each, Assign) and each.target and each.name not in defined:
            ways.setdefault(each.name, set()).add((each.op, each.value, each.export))
            first.setdefault(each.name, replace(each, target=""))
    found: dict[str, Assign] = {}
    for name, each in first.items():
        plain = len(ways[name]) == 1 and each.op == "?=" and not (each.export or is_macro(each.value))
        if plain and first.keys() & mentioned(each.value) <= found.keys() and not beside(name):
            found[name] = each
    return found


def _evaluated(text: str) -> Iterator[str]:
    for piece in pieces(text):
        if isinstance(piece, Call) and piece.function == "eval":
            yield piece.arguments.strip()


def _recipe_lines(statements: Iterable[object], *, guarded: bool = False) -> Iterator[Line]:
    """The lines of all recipes that no condition guards."""
    for each in statements:
        if isinstance(each, Rule):
            yield from _recipe_lines(each.recipe, guarded=True)
        elif isinstance(each, Cond) and not guarded:
            yield from _recipe_lines((*each.then, *each.otherwise))
        elif isinstance(each, Line):
            yield each


def tested(cond: Cond) -> str:
    """The text that a condition looks at."""
    return f"$({cond.left})" if "def" in cond.test else cond.left + cond.right


def as_default(each: Assign) -> Assign:
    """A definition under ``ifndef`` of its own name is what ``?=`` says."""
    return replace(each, op="?=") if each.op in SETS else each


def program(name: str) -> str:
    """The shell that $(SHELL) names."""
    name = next(iter(name.removeprefix("/usr/bin/env ").split()), "/bin/sh")
    return "/bin/sh" if name == "sh" else name
