"""Many dry runs out of one, where make is slow to read a Makefile: each target's lines, put together for every goal.

``make -n --debug=b`` says for which target the next lines are. Starts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from imgmake.migrate.dryrun import TIMES
from imgmake.migrate.model import Database

# From before a recipe is expanded to after its last line: what `--trace` says comes after what `$(info …)` says in it.
# https://git.savannah.gnu.org/cgit/make.git/tree/src/remake.c (update_file_1)
_BEGINS = re.compile(r"^ *Must remake target [`'](.+)'\.$")
_ENDS = re.compile(r"^ *(?:Successfully remade|Failed to remake) target file [`'](.+)'\.$")

Run = tuple[int, list[str], str]  # exit code, lines, complaint

# What `-k` goes on from: a line that runs even in a dry run and fails, a name that nothing makes.
_UNMADE = re.compile(r"\[(?:[^\]]*: )?([^\]:]+)\] Error \d+|No rule to make target '([^']+)'(?:, needed by '[^']+')?\.")


def remade(said: str) -> dict[str, list[str]]:
    """The lines that each target would run.

    >>> remade(" Must remake target 'a'.\\necho a\\n Successfully remade target file 'a'.\\n File 'b' does not exist.")
    {'a': ['echo a']}

    What make removes again, since only patterns name it, is nobody's.
    """
    found: dict[str, list[str]] = {}
    into: list[str] | None = None
    for line in said.split("\n"):
        if match := _BEGINS.match(line):
            into = found.setdefault(match[1], [])
        elif _ENDS.match(line):
            into = None
        elif into is not None and not re.match(r"make(\[\d+\])?: ", line):
            into.append(line)
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
    goal: str,
    database: Database,
    lines: Mapping[str, Sequence[str]],
    stopped: Mapping[str, str],
    named: Collection[str] = (),
    there: Callable[[str], Path] = Path("/nowhere").joinpath,
) -> Run | None:
    """The dry run of one goal, in make's order; None where only a make for that goal alone can tell.

    stopped: by `unmade`. What comes before such a target is printed, then its complaint, unless that is about another
             goal's way to it.
    named:   what the Makefile itself names: what only patterns do is made last, and removed again.
    there:   where a file would be.
    """
    if sets(goal, database):
        return None
    passing = _passing(goal, database, named)
    order = list(_order(goal, database, passing, set()))
    every = [database.targets[name] for name in order if name in database.targets]
    if passing and any(made.recipe and not made.phony and there(made.name).exists() for made in every):
        return None  # what only patterns name is not made for what is there
    end = next((at for at, name in enumerate(order) if name in stopped), len(order))
    said = [line for name in order[: end + 1] for line in lines.get(name, ())]
    if end == len(order):
        return 0, [*said, *([f"rm {' '.join(name for name in order if name in passing)}"] if passing else [])], ""
    complaint = stopped[order[end]]
    needed_by = re.search(r"needed by '([^']+)'", complaint)
    return (2, said, complaint) if needed_by is None or needed_by[1] in order else None


def sets(goal: str, database: Database) -> bool:
    """Whether a goal, or what it needs, sets variables: what it needs is then made with these, also for other goals."""
    order = _order(goal, database, (), set())
    return any(made.specific for name in order if (made := database.targets.get(name)) is not None)


def alike(one: Run, other: Run) -> bool:
    """Whether two dry runs come to the same, but for what make says of itself."""
    return _told(one) == _told(other)


def _told(run: Run) -> tuple[int, list[str], list[str], str]:
    code, every, complaint = run
    lines = [TIMES.sub("@time", line) for line in every if line.strip() and not re.match(r"make(\[\d+\])?: ", line)]
    removed = sorted(lines.pop().split()) if lines and lines[-1].startswith("rm ") else []
    return code, lines, removed, complaint


def _passing(goal: str, database: Database, named: Collection[str]) -> set[str]:
    """The files that a pattern makes for another pattern, and that nothing names."""
    order = _order(goal, database, (), set())
    made = [database.targets[name] for name in order if name in database.targets]
    stems = [each for each in made if each.stem and not each.phony]
    needed = {name for each in stems for name in each.prerequisites}
    return {each.name for each in stems} & needed - {goal, *named}


def _order(name: str, database: Database, passing: Collection[str], done: set[str]) -> Iterator[str]:
    """A target and what it needs, as make comes to them: to what is `passing` when it knows all the rest.

    https://git.savannah.gnu.org/cgit/make.git/tree/src/remake.c (check_dep)
    """
    if name in done:
        return
    done.add(name)
    needs = database.needs(name)
    for each in needs:
        for one in database.needs(each) if each in passing else (each,):
            yield from _order(one, database, passing, done)
    for each in needs:
        yield from _order(each, database, passing, done)
    yield name
