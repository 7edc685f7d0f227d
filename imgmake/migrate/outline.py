"""Questions about statements of a Makefile and lines of a Pipefile that need nothing but themselves. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from imgmake.migrate.model import Assign, Cond, Include, Other, Rule
from imgmake.migrate.python import names_in


def named_by(statement: object) -> list[str]:
    return statement.targets.split() if isinstance(statement, Rule) and statement.recipe else []


def has_rules(cond: Cond) -> bool:
    every = (*cond.then, *cond.otherwise)
    return any(
        isinstance(each, Rule | Include | Other) or (isinstance(each, Cond) and has_rules(each)) for each in every
    )


def assigns(cond: Cond) -> Iterator[Assign]:
    for each in (*cond.then, *cond.otherwise):
        if isinstance(each, Assign):
            yield each
        elif isinstance(each, Cond):
            yield from assigns(each)


def without(lines: list[str], python: str) -> list[str]:
    """The lines without the statement that assigns to a name; it stays where another statement needs it."""
    starts = [at for at, line in enumerate(lines) if line.startswith(f"{python} = ")]
    if len(starts) != 1:
        return lines
    end = starts[0] + 1
    while (end < len(lines) and lines[end - 1].endswith(("(", ","))) or (
        end < len(lines) and lines[end].startswith(")")
    ):
        end += 1
    rest = lines[: starts[0]] + lines[end:]
    text = "\n".join(rest)
    return lines if re.search(rf"\b{python}\b", text) and python in names_in([text]) else rest


def code(body: str) -> str:
    return "\n".join(line for line in body.split("\n") if not line.lstrip().startswith("#"))


def exports(statements: Sequence[object]) -> Iterator[str]:
    """The names that a Makefile exports; an empty one when it exports all."""
    for each in statements:
        if isinstance(each, Cond):
            yield from exports((*each.then, *each.otherwise))
        elif isinstance(each, Assign) and each.export:
            yield from each.name.split() or [""]
        elif isinstance(each, Rule) and each.targets.strip() == ".EXPORT_ALL_VARIABLES":
            yield ""
