"""A Pipefile is believed when it loads and its dry runs are make's; what is not is written again, with less trust.

First a target's commands are kept as the text that they are; where that does not help it fails, and says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imgmake.app.options import Options
from imgmake.app.planning import Planner
from imgmake.errors import ImgmakeError
from imgmake.migrate.check import Checker
from imgmake.migrate.expand import calls, mentioned
from imgmake.migrate.migration import Migration
from imgmake.migrate.model import MARK, Compared, Cond, Doubt, Left, Other
from imgmake.migrate.overriding import OVERRIDDEN
from imgmake.migrate.python import quoted
from imgmake.migrate.scratch import Make
from imgmake.pipefile.loader import NAME

_ROUNDS = 10  # times that a Makefile is written down; most are once
_ASSIGNED = re.compile(r"( *)(\w+) = (?!=)")
_FAILS, _LEFT_OUT, _WIDTH = 2, 3, 118
# The target that a message is about, whatever others it names.
_SUBJECTS = re.compile(r"'([^']*)' needs '|\b(?:check|file|image|phony|publish) '([^']*)': ")
_PLACES = re.compile(r"^Pipefile\.py:(\d+): ", re.MULTILINE)


@dataclass
class Doubts:
    """What was found wrong: targets, how far each is doubted; statements of the Pipefile, what stands instead."""

    targets: dict[str, Doubt] = field(default_factory=dict)
    statements: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, set[str]] = field(default_factory=dict)  # targets, and what has to come before them
    last: Mapping[str, str] = field(default_factory=dict)  # who was blamed last, and for what
    early: frozenset[str] = frozenset()  # variables that the Pipefile looks into while it is loaded
    at_once: Sequence[str] = ()  # variables that were tried with another value only all at once

    def noted(self, migration: Migration) -> Migration:
        """A migration whose notes say what was not tried."""
        if not self.at_once:
            return migration
        why = f"make is slow to read this Makefile: compared with other values of {', '.join(self.at_once)} all at once"
        pipefile = migration.pipefile
        return replace(migration, pipefile=replace(pipefile, notes=(*pipefile.notes, Left(0, "", why))))

    def wait(self, waiting: Mapping[str, set[str]]) -> bool:
        """Have targets wait for others; whether that is new."""
        new = {(name, each) for name, first in waiting.items() for each in first - self.waiting.get(name, set())}
        for name, each in new:
            self.waiting.setdefault(name, set()).add(each)
        if new:
            self.last = {}
        return bool(new)

    def blame(self, found: Mapping[str, str]) -> bool:
        """Trust some targets less; whether anything was left to take from them."""
        before, self.last = dict(self.targets), found
        for target, why in found.items():
            level = before[target].level + 1 if target in before else 1
            if level <= _LEFT_OUT:
                self.targets[target] = Doubt(level, why)
        return self.targets != before

    def settle(self, statement: str, name: str, value: str, why: str) -> bool:
        """Have a variable as it is today; whether that is new."""
        pad = " " * (len(statement) - len(statement.lstrip()))
        told = f"{pad}# {MARK}: {' '.join(why.split())}"[:_WIDTH]
        new = statement not in self.statements
        self.statements[statement] = f"{told}\n{pad}{name} = {quoted(value)}"
        return new

    def applied(self, migration: Migration) -> Migration:
        """A migration whose Pipefile has what stands instead."""
        pipefile = migration.pipefile
        text, notes = pipefile.text, list(pipefile.notes)
        for statement, instead in self.statements.items():
            if statement in text:
                text = text.replace(statement, instead)
                first, _, after = instead.partition("\n")
                notes.append(Left(0, after.strip(), f"this is its value today; {first.partition(': ')[2]}"))
        return replace(migration, pipefile=replace(pipefile, text=text, notes=tuple(notes)))


def prove(
    options: Options, scratch: Path, make: Make, write: Callable[[Doubts], Migration]
) -> tuple[Migration, tuple[Compared, ...]]:
    """The migration to be trusted, and its comparison.

    scratch: a copy of the folder, in which make runs and the Pipefile may stand.
    write:   the migration, given what is doubted.
    """
    doubts, text = Doubts({name: Doubt(_FAILS, why) for name, why in make.failing.items()}), ""
    for _ in range(_ROUNDS - 1):
        migration = doubts.applied(write(doubts))
        doubts.early = migration.values.early
        if migration.pipefile.text == text and doubts.blame(doubts.last):
            continue  # less trust has changed nothing: it is as wrong as before
        text = migration.pipefile.text
        found = _tried(options, scratch, make, migration, doubts)
        if found is not None:
            return doubts.noted(migration), found
    migration = doubts.applied(write(doubts))
    return migration, compare(options, scratch, make, migration)


def compare(options: Options, scratch: Path, make: Make, migration: Migration) -> tuple[Compared, ...]:
    """Every target in both dry runs, with and without variables overridden."""
    with _planner(options, scratch, migration) as planner:
        checker = _checker(options, make, migration, planner)
        found = checker.plain()
        return (*found, *checker.overridden(found))


def _tried(
    options: Options, scratch: Path, make: Make, migration: Migration, doubts: Doubts
) -> tuple[Compared, ...] | None:
    """The whole comparison; None when something is doubted more than before, and worth another try."""
    with _planner(options, scratch, migration) as planner:
        try:
            planner.session(given(make, migration))
        except ImgmakeError as error:
            if _guards(error, make):
                why = f"fails in both: {error.message.partition(chr(10))[0]}"
                return tuple(Compared(target, "same", (why,)) for target in migration.pipefile.targets)
            if _settled(error, migration, doubts) or doubts.blame(_blamed(error, migration, scratch)):
                return None
        checker = _checker(options, make, migration, planner)
        found = checker.plain()
        if doubts.wait(checker.waiting) or doubts.blame(_wrong(checker, found, doubts.targets)):
            return None
        overridden = checker.overridden(found)
        doubts.at_once = checker.at_once
        return (*found, *overridden)


def given(make: Make, migration: Migration) -> dict[str, str]:
    """Values without which nothing runs, or that guards ask for that make was spared: with them both sides go on."""
    if not any(each.guard for each in make.mended):
        return {name: value for name, value in make.assumed.items() if name in migration.pipefile.overridable}
    asked = {name for cond in _guarding(migration.statements) for text in cond for name in mentioned(text)}
    asked |= {text for cond in _guarding(migration.statements) for text in cond}
    empty = [name for name, value in migration.pipefile.overridable.items() if not value]
    return {name: OVERRIDDEN for name in empty if name in asked}


def _guarding(statements: Sequence[object]) -> Iterator[tuple[str, str]]:
    """Both sides of every condition with an `$(error …)` under it."""
    for each in statements:
        if isinstance(each, Cond):
            inside = (*each.then, *each.otherwise)
            if any("error" in calls(one.text) for one in inside if isinstance(one, Other)):
                yield each.left.strip(), each.right.strip()
            yield from _guarding(inside)


def _guards(error: ImgmakeError, make: Make) -> bool:
    """Whether the Pipefile stops at a guard that make stops at, too."""
    return any(each.guard and each.guard in error.message for each in make.mended)


def _settled(error: ImgmakeError, migration: Migration, doubts: Doubts) -> bool:
    """Take the variables that an error points to as they are today; whether that is something new."""
    new = False
    values = migration.values
    for line in _lines(error):
        statement = _statement(migration.pipefile.text, line)
        if match := _ASSIGNED.match(statement):
            named = (name for name in values.definitions if values.python(name) == match[2])
            value = next((values.today.get(name, "") for name in named), "")
            new |= doubts.settle(statement, match[2], value, error.message)
    return new


def _lines(error: ImgmakeError) -> list[int]:
    """The lines of the Pipefile that an error is about."""
    found = [int(line) for line in _PLACES.findall(str(error))]
    return found or ([error.place.line] if error.place else [])


def _planner(options: Options, scratch: Path, migration: Migration) -> Planner:
    (scratch / NAME).write_text(migration.pipefile.text)
    return Planner(replace(options, directory=scratch, file=None, overrides={}, goals=()))


def _checker(options: Options, make: Make, migration: Migration, planner: Planner) -> Checker:
    """The comparison, by the Makefile's names."""
    here = migration.pipefile.called
    there = {name: target for target, name in here.items()}

    def planned(targets: Sequence[str], overrides: Mapping[str, str]) -> Sequence[tuple[str, str, str]]:
        lines = planner.lines([here.get(target, target) for target in targets], overrides)
        return [(there.get(name, name), kind, line) for name, kind, line in lines]

    def needs(target: str, overrides: Mapping[str, str]) -> Collection[str]:
        return {there.get(name, name) for name in planner.needs(here.get(target, target), overrides)}

    return Checker(make, migration, planned, options.environ, needs, given(make, migration), loads=planner.seconds)


def _wrong(checker: Checker, found: Sequence[Compared], doubted: Mapping[str, Doubt]) -> dict[str, str]:
    """The targets that differ by themselves, and not for what they need, or that what differs complains of."""
    bad = {each.target: "; ".join(each.why) for each in found if each.verdict == "different" and not each.said}
    own = {target: why for target, why in bad.items() if not (checker.closure(target) - {target}) & bad.keys()}
    return {_meant(target, why, doubted): why for target, why in (own or bad).items()}


def _meant(target: str, why: str, doubted: Mapping[str, Doubt]) -> str:
    """The target that a complaint is about, as long as there is something to take from it."""
    named = [name for pair in _SUBJECTS.findall(why) for name in pair if name]
    open_ = (name for name in named if name not in doubted or doubted[name].level < _FAILS)
    return next(open_, target) if why.startswith("imgmake: ") else target


def _blamed(error: ImgmakeError, migration: Migration, folder: Path) -> dict[str, str]:
    """The targets that stand where a message points to, or that it names; all of them when neither is known."""
    targets = migration.pipefile.targets
    text = "".join(_statement(migration.pipefile.text, line) for line in _lines(error))
    named = set(re.findall(r"'([^']*)'", error.message))
    needing = {name for pair in _SUBJECTS.findall(error.message) for name in pair if name}
    found = [each for each in targets if each in needing]
    found = found or [each for each in targets if f'"{each}"' in text] or [each for each in targets if each in named]
    if "there is no such file" in error.message:
        found += [each for each in targets if each not in found and _lacks(each, migration, folder)]
    found += [each for each in targets if each not in found and _kin(each, found, migration)]
    why = error.message.partition("\n")[0]
    return dict.fromkeys(found or targets, f"what it becomes does not load: {_PLACES.sub('', why)}")


def _kin(target: str, found: Sequence[str], migration: Migration) -> bool:
    """Whether a target has its recipe from the rule that one of these has it from."""
    every = migration.database.targets
    made = every.get(target)
    rules = {(every[each].file, every[each].line) for each in found if each in every and every[each].line}
    return made is not None and (made.file, made.line) in rules


def _lacks(target: str, migration: Migration, folder: Path) -> bool:
    """Whether a target needs what is neither a file nor a target of the Pipefile."""
    made = migration.database.targets.get(target)
    names = (*made.prerequisites, *made.order_only) if made is not None else ()
    return any(name not in migration.pipefile.targets and not (folder / name).exists() for name in names)


def _statement(text: str, number: int) -> str:
    """The statement of a Pipefile around a line: down from one that is indented no more than what follows it.

    >>> _statement("a = (\\n    1\\n)\\nif b:\\n    c = 2\\n    d()", 2), _statement("if b:\\n    c = 2\\n    d()", 2)
    ('a = (\\n    1\\n)', '    c = 2')
    """
    lines = text.split("\n")
    first = last = min(number, len(lines)) - 1
    if _ASSIGNED.match(lines[first]) and lines[first][-1] not in "([{":
        return lines[first]
    while first > 0 and (not lines[first] or lines[first][0] in " \t)#]}"):
        first -= 1
    while last + 1 < len(lines) and (not lines[last + 1] or lines[last + 1][0] in " \t)]}"):
        last += 1
    return "\n".join(lines[first : last + 1]).rstrip("\n")
