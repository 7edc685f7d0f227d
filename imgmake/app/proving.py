"""A Pipefile is believed when it loads and its dry runs are make's; what is not is written again, with less trust.

First a target's commands are kept as the text that they are; where that does not help it fails, and says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from imgmake.app.options import Options
from imgmake.app.planning import Planner
from imgmake.errors import ImgmakeError
from imgmake.migrate.check import Checker
from imgmake.migrate.migration import Migration
from imgmake.migrate.model import Compared
from imgmake.migrate.scratch import Make
from imgmake.pipefile.loader import NAME

_ROUNDS = 6  # times that a Makefile is written down; most are once


def prove(
    options: Options, scratch: Path, make: Make, write: Callable[[Mapping[str, str]], Migration]
) -> tuple[Migration, tuple[Compared, ...]]:
    """The migration to be trusted, and its comparison.

    scratch: a copy of the folder, in which make runs and the Pipefile may stand.
    write:   the migration, given the targets that are doubted: an empty text where it may still be a list of
             commands, else why nothing can be said.
    """
    doubted: dict[str, str] = {}
    for _ in range(_ROUNDS - 1):
        migration = write(doubted)
        blamed, found = _tried(options, scratch, make, migration)
        if not _doubt(doubted, blamed):
            return migration, found
    migration = write(doubted)
    return migration, compare(options, scratch, make, migration)


def compare(options: Options, scratch: Path, make: Make, migration: Migration) -> tuple[Compared, ...]:
    """Every target in both dry runs, with and without variables overridden."""
    with _planner(options, scratch, migration) as planner:
        checker = Checker(make, migration, _planned(planner), options.environ)
        found = checker.plain()
        return (*found, *checker.overridden(found))


def _tried(
    options: Options, scratch: Path, make: Make, migration: Migration
) -> tuple[Mapping[str, str], tuple[Compared, ...]]:
    """The targets to be doubted, with why; where there is none, the whole comparison."""
    with _planner(options, scratch, migration) as planner:
        try:
            planner.session({})
        except ImgmakeError as error:
            return _blamed(error, migration), ()
        checker = Checker(make, migration, _planned(planner), options.environ)
        found = checker.plain()
        wrong = _wrong(checker, found)
        return wrong, (*found, *checker.overridden(found)) if not wrong else found


def _doubt(doubted: dict[str, str], blamed: Mapping[str, str]) -> bool:
    """Trust the blamed less; whether anything was left to take from them."""
    before = dict(doubted)
    for target, why in blamed.items():
        doubted[target] = why if target in doubted else ""
    return doubted != before


def _planner(options: Options, scratch: Path, migration: Migration) -> Planner:
    (scratch / NAME).write_text(migration.pipefile.text)
    return Planner(replace(options, directory=scratch, file=None, overrides={}, goals=()))


def _planned(planner: Planner) -> Callable[[str, Mapping[str, str]], Sequence[tuple[str, str, str]]]:
    return lambda target, overrides: planner.lines((target,), overrides)


def _wrong(checker: Checker, found: Sequence[Compared]) -> dict[str, str]:
    """The targets that differ by themselves, and not for what they need."""
    bad = {each.target: "; ".join(each.why) for each in found if each.verdict == "different" and not each.said}
    own = {target: why for target, why in bad.items() if not (checker.closure(target) - {target}) & bad.keys()}
    return own or bad


def _blamed(error: ImgmakeError, migration: Migration) -> dict[str, str]:
    """The targets that a message names or that stand where it points to; all of them when neither is known."""
    targets = migration.pipefile.targets
    named = set(re.findall(r"'([^']*)'", error.message))
    text = _statement(migration.pipefile.text, error.place.line) if error.place else ""
    found = [each for each in targets if each in named] or [each for each in targets if f'"{each}"' in text]
    return dict.fromkeys(found or targets, f"what it becomes does not load: {error.message}")


def _statement(text: str, line: int) -> str:
    """The lines of a Pipefile around a line, from one that begins at the margin to the next."""
    lines = text.split("\n")
    first = last = min(line, len(lines)) - 1
    while first > 0 and (not lines[first] or lines[first][0] in " \t)#]}"):
        first -= 1
    while last + 1 < len(lines) and (not lines[last + 1] or lines[last + 1][0] in " \t)]}"):
        last += 1
    return "\n".join(lines[first : last + 1])
