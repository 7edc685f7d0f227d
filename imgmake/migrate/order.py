"""Lists whose order make keeps and that nothing else in a Makefile says: what is cleaned, logged in or pushed first.

make without -j runs prerequisites one after the other; imgmake runs at the same time what does not need each other.
"""

from __future__ import annotations

import re

from imgmake.migrate.model import Database, Made

_JOINS = re.compile(r"\bdocker[- ]manifest\b|\bimagetools create\b")
_PUSHES = re.compile(r"\bpush\b")
_LOGS_IN = re.compile(r"\blogin\b")
_CLEANS = re.compile(r"(?:^|[;&@\s])-?rm -|\brmi\b|\bprune\b|\bgit clean\b|\bdown\b")


class Order:
    """Answers for one Makefile."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._closures: dict[str, frozenset[str]] = {}

    def counted_on(self, made: Made) -> bool:
        """Whether what a target needs is right only in the order in which its list has it."""
        names = [name for name in made.prerequisites if self._text(name)]
        pairs = ((one, then) for at, one in enumerate(names) for then in names[at + 1 :])
        return any(self._apart(one, then) and _matters(self._text(one), self._text(then)) for one, then in pairs)

    def _text(self, name: str) -> str:
        made = self._database.targets.get(name)
        return "\n".join(made.recipe) if made is not None and made.target_file else ""

    def _apart(self, one: str, other: str) -> bool:
        """Whether neither of two targets needs the other."""
        return one != other and one not in self._closure(other) and other not in self._closure(one)

    def _closure(self, target: str) -> frozenset[str]:
        if target not in self._closures:
            found, todo = set[str](), [target]
            while todo:
                name = todo.pop()
                if name not in found:
                    found.add(name)
                    made = self._database.targets.get(name)
                    todo += [*made.prerequisites, *made.order_only] if made is not None else []
            self._closures[target] = frozenset(found)
        return self._closures[target]


def _matters(one: str, then: str) -> bool:
    if _CLEANS.search(one) or (_LOGS_IN.search(one) and _PUSHES.search(then)):
        return True
    return bool(_JOINS.search(then) and _PUSHES.search(one) and not _JOINS.search(one))
