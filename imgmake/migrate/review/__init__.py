"""The defects of a Makefile that builds images: the line, what follows from it, what the Pipefile does.

A finding has to be certain: to be accused falsely is worse than not to be told. Each look knows one defect.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from imgmake.migrate.model import Database, Finding, Statement
from imgmake.migrate.review import images, order, recipes, rules, variables
from imgmake.migrate.review.seen import Seen, look_at
from imgmake.migrate.review.written import Written
from imgmake.migrate.values import Values

__all__ = ["Written", "review"]

_LOOKS: tuple[Callable[[Seen], Iterator[Finding]], ...] = (
    rules.unread,
    rules.not_phony,
    rules.misspelt,
    rules.patterns,
    rules.defaults,
    images.unskipped,
    images.stamps,
    order.by_position,
    order.taken,
    order.pushes,
    order.promotions,
    images.latest,
    recipes.terminals,
    recipes.passwords,
    recipes.shells,
    recipes.lost,
    recipes.endless,
    recipes.outside,
    variables.dates,
    variables.again,
    variables.early,
    variables.without_shell,
    variables.emptied,
)

# What is as wrong in a justfile or a Taskfile.
_ANYWHERE = (
    images.unskipped,
    order.taken,
    order.pushes,
    order.promotions,
    images.latest,
    recipes.terminals,
    recipes.passwords,
    recipes.lost,
    recipes.endless,
    recipes.outside,
    variables.dates,
)


def review(
    statements: Sequence[Statement],
    database: Database,
    values: Values,
    folder: Path,
    written: Written,
    tool: str = "",
) -> tuple[Finding, ...]:
    """Every defect seen, by line.

    statements: those of the Makefile itself; what it includes is somebody else's to review.
    written:    the Pipefile that stands beside it: what is said of it has to be true.
    tool:       another tool than make, whose file was read as a Makefile: what is make's alone is no defect of it.
    """
    seen = look_at(statements, database, values, folder, written)
    found = [finding for look in (_ANYWHERE if tool else _LOOKS) for finding in look(seen)]
    found = [_of(tool, finding) for finding in found] if tool else found
    return tuple(_joined(sorted(dict.fromkeys(found), key=lambda finding: finding.line)))


def _of(tool: str, finding: Finding) -> Finding:
    """A finding as one of another tool's."""
    texts = (finding.what, finding.consequence, finding.instead)
    texts_of = (re.sub(r"\bmake\b(?= (?:puts|goes|cannot|prints))", tool, text.replace("\\:", ":")) for text in texts)
    return Finding(finding.line, *texts_of)


def _joined(found: Sequence[Finding]) -> Iterator[Finding]:
    """What is the same but for its line is told once, with the other lines."""
    lines: dict[Finding, list[int]] = {}
    for each in found:
        lines.setdefault(replace(each, line=0), []).append(each.line)
    for each, (first, *others) in lines.items():
        more = f" (also in line{'s' if others[1:] else ''} {', '.join(map(str, others))})" if others else ""
        yield replace(each, line=first, what=each.what + more)
