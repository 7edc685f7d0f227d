"""One migration from end to end: make's database, our reading of the text, the Pipefile."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from imgmake.migrate.circles import opened, told
from imgmake.migrate.handed import handed
from imgmake.migrate.includes import spliced
from imgmake.migrate.model import Database, Doubt, Finding, Pipefile, Rule, Statement
from imgmake.migrate.recipes import Recipes
from imgmake.migrate.rules import Rules
from imgmake.migrate.scratch import Make
from imgmake.migrate.stated import Stated
from imgmake.migrate.unfreezing import unfrozen
from imgmake.migrate.values import Values
from imgmake.migrate.waiting import first
from imgmake.migrate.writer import Writer

Waiting = Mapping[str, Collection[str]]

_NOTHING: Mapping[str, Doubt] = MappingProxyType({})
_NOBODY: Waiting = MappingProxyType({})


@dataclass(frozen=True)
class Migration:
    """A Makefile understood: what it says, what became of it, and what is wrong with it."""

    makefile: str
    statements: tuple[Statement, ...]
    database: Database
    values: Values
    pipefile: Pipefile
    own: tuple[Statement, ...]  # those of the Makefile itself, without what it includes
    findings: tuple[Finding, ...] = ()  # the review's, which asks the Pipefile as well


def migrate(
    makefile: str,
    text: str,
    make: Make,
    *,
    literal: bool = False,
    doubted: Mapping[str, Doubt] = _NOTHING,
    waiting: Waiting = _NOBODY,
    early: frozenset[str] = frozenset(),
) -> Migration:
    """The Pipefile of a Makefile's text. Raises MakeFailed when make cannot read it.

    literal: keep every command as the text that it is.
    doubted: targets whose declaration was found wrong before.
    waiting: targets, and others that were found to have to come first.
    early:   variables that a Pipefile was found to look into while it is loaded.
    """
    database = opened(read := make.database())
    own = make.statements(text)
    statements = spliced(own, make)
    asked: dict[str, str] = {}
    stated = Stated(statements, make)
    database = unfrozen(database, statements, Values(statements, database, make, early, asked))
    here = frozenset(path.name for path in make.folder.iterdir())
    values = Values(statements, database, make, early, asked)
    ordered = {} if literal else first(own, database, values, make.folder)
    while True:
        shell, before, stops, whole = _shell(statements, database)
        recipes = Recipes(values, whole=whole, literal=literal, shell=shell, before=before, stops=stops)
        rules = Rules(
            values=values,
            recipes=recipes,
            database=database,
            stated=stated,
            patterns=_patterns(stated),
            files=here,
            doubted=doubted,
            first=_also(ordered, waiting),
            found={name: sorted(each) for name, each in waiting.items()},
        )
        pipefile = Writer(statements, database, values, rules, recipes).write()
        if values.hastened <= early:
            notes = handed(database, make.folder, pipefile.overridable, recipes.exports)
            pipefile = replace(pipefile, notes=(*pipefile.notes, *make.notes, *told(read), *notes))
            return Migration(makefile, statements, database, values, pipefile, own)
        early |= values.hastened  # a Pipefile looks into these while it is loaded: once more, with them known then
        values = Values(statements, database, make, early, asked)


def _also(first: Mapping[str, tuple[str, ...]], waiting: Waiting) -> dict[str, tuple[str, ...]]:
    names = dict.fromkeys([*first, *waiting])
    return {name: tuple(dict.fromkeys((*first.get(name, ()), *sorted(waiting.get(name, ()))))) for name in names}


def _patterns(stated: Stated) -> tuple[str, ...]:
    """The pattern rules, which may make what nothing names."""
    rules = [rule for rule, _ in stated.rules() if rule.recipe and not rule.pattern]
    return tuple(name for rule in rules for name in stated.targets(rule) if "%" in name and len(name) > 1)


def _shell(statements: Sequence[Statement], database: Database) -> tuple[str, str, bool, bool]:
    """SHELL, its options and .SHELLFLAGS as a first command, whether it stops at what fails, whether .ONESHELL."""
    given, flags = database.variables.get("SHELL"), database.variables.get(".SHELLFLAGS")
    words = (given.text.removeprefix("/usr/bin/env ") if given is not None else "").split()
    shell, told = words[0] if words else "/bin/sh", " ".join(words[1:])
    asked = re.sub(r"(?<=-)([a-z]*)c([a-z]*)", r"\1\2", flags.text) if flags is not None else ""
    stops = bool(re.search(r"(?<!\S)-[a-z]*e|\berrexit\b", f"{told} {asked}"))
    asked = re.sub(r"(^|\s)-(?=\s|$)|(?<!\S)-o errexit\b", " ", f"{told} {asked}")
    asked = " ".join(word for word in asked.split() if word not in ("-e", "--"))
    whole = any(isinstance(each, Rule) and each.targets.split()[:1] == [".ONESHELL"] for each in statements)
    return "/bin/sh" if shell == "sh" else shell, f"set {asked}" if asked else "", stops, whole
