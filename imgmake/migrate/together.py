"""Many dry runs out of one, where make is slow to read a Makefile: each target's lines, put together for every goal.

``make -n --trace`` says for which target the next lines are. Starts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from imgmake.migrate.model import Database

# Up to 4.3 two wordings, then one: https://git.savannah.gnu.org/cgit/make.git/tree/src/remake.c
_TRACED = re.compile(r"^[^\s:]+:\d+: (?:update target|target) '([^']+)' (?:due to: |does not exist)")

Run = tuple[int, list[str], str]  # exit code, lines, complaint

# What `-k` goes on from: a line that runs even in a dry run and fails, a name that nothing makes.
_UNMADE = re.compile(r"\[(?:[^\]]*: )?([^\]:]+)\] Error \d+|No rule to make target '([^']+)'(?:, needed by '[^']+')?\.")


def traced(said: str) -> dict[str, list[str]]:
    """The lines that each target would run.

    >>> traced("Makefile:2: target 'a' does not exist\\necho a\\nM:4: update target 'b' due to: a\\necho b\\necho c")
    {'a': ['echo a'], 'b': ['echo b', 'echo c']}

    What make removes again, since only patterns name it, stands at the end, and is nobody's.
    """
    found: dict[str, list[str]] = {}
    into: list[str] = []
    for line in said.split("\n"):
        if match := _TRACED.match(line):
            into = found.setdefault(match[1], [])
        elif not re.match(r"make(\[\d+\])?: ", line):
            into.append(line)
    last = into[-1].split() if into else []
    if last[:1] == ["rm"] and last[1:] and all(name in found for name in last[1:]):
        into.pop()
    return found


def unmade(complaints: str) -> dict[str, str] | None:
    """What ``make -k`` went on from, by the target it was about; None where it stopped for something else.

    >>> unmade("make: *** [Makefile:7: k3d] Error 1\\nmake: *** No rule to make target 'a', needed by 'b'.")
    {'k3d': 'make: *** [Makefile:7: k3d] Error 1', 'a': "make: *** No rule to make target 'a', needed by 'b'.  Stop."}
    >>> unmade("Makefile:3: *** TAG is not set.  Stop.")
    """
    found: dict[str, str] = {}
    for line in complaints.split("\n"):
        if "*** " in line:
            match = _UNMADE.fullmatch(line.partition("*** ")[2])
            if match is None:
                return None
            found[match[1] or match[2]] = line if match[1] else f"{line}  Stop."
    return found


def together(
    goal: str, database: Database, lines: Mapping[str, Sequence[str]], stopped: Mapping[str, str]
) -> Run | None:
    """The dry run of one goal, in make's order; None where only a make for that goal alone can tell.

    stopped: by `unmade`. What comes before such a target is printed, then its complaint, unless that is about another
             goal's way to it.
    """
    order = list(_order(goal, database, set()))
    if any(made.specific for name in order if (made := database.targets.get(name)) is not None):
        return None
    if _by_patterns(order, database):
        return None
    end = next((at for at, name in enumerate(order) if name in stopped), len(order))
    said = [line for name in order[: end + 1] for line in lines.get(name, ())]
    if end == len(order):
        return 0, said, ""
    complaint = stopped[order[end]]
    needed_by = re.search(r"needed by '([^']+)'", complaint)
    return (2, said, complaint) if needed_by is None or needed_by[1] in order else None


def _by_patterns(order: Sequence[str], database: Database) -> bool:
    """Whether a pattern makes a file that another pattern needs: for one goal make removes that again."""
    every = {name: database.targets[name] for name in order if name in database.targets}
    stems = {name for name, made in every.items() if made.stem and not made.phony}
    return any(stems.intersection(database.targets[name].prerequisites) for name in stems)


def _order(name: str, database: Database, done: set[str]) -> Iterator[str]:
    if name in done:
        return
    done.add(name)
    made = database.targets.get(name)
    for each in (*made.prerequisites, *made.order_only) if made is not None else ():
        yield from _order(each, database, done)
    yield name
