"""Many dry runs out of one, where make is slow to read a Makefile: each target's lines, put together for every goal.

``make -n --trace`` says for which target the next lines are. Starts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from imgmake.migrate.model import Database

# Up to 4.3 two wordings, then one: https://git.savannah.gnu.org/cgit/make.git/tree/src/remake.c
_TRACED = re.compile(r"^[^\s:]+:\d+: (?:update target|target) '([^']+)' (?:due to: |does not exist)")


def traced(said: str) -> dict[str, list[str]]:
    """The lines that each target would run.

    >>> traced("Makefile:2: target 'a' does not exist\\necho a\\nM:4: update target 'b' due to: a\\necho b\\necho c")
    {'a': ['echo a'], 'b': ['echo b', 'echo c']}
    """
    found: dict[str, list[str]] = {}
    into: list[str] = []
    for line in said.split("\n"):
        if match := _TRACED.match(line):
            into = found.setdefault(match[1], [])
        elif not re.match(r"make(\[\d+\])?: ", line):
            into.append(line)
    return found


def together(goal: str, database: Database, lines: Mapping[str, Sequence[str]]) -> list[str] | None:
    """What a dry run of one goal prints, in make's order; None where a target's lines depend on who needs it."""
    order = list(_order(goal, database, set()))
    if any(made.specific for name in order if (made := database.targets.get(name)) is not None):
        return None
    return [line for name in order for line in lines.get(name, ())]


def _order(name: str, database: Database, done: set[str]) -> Iterator[str]:
    if name in done:
        return
    done.add(name)
    made = database.targets.get(name)
    for each in (*made.prerequisites, *made.order_only) if made is not None else ():
        yield from _order(each, database, done)
    yield name
