"""One migration from end to end: make's database, our reading of the text, the Pipefile, the review."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from imgmake.migrate import reader
from imgmake.migrate.model import Database, Finding, Pipefile, Rule, Statement
from imgmake.migrate.recipes import Recipes
from imgmake.migrate.review import review
from imgmake.migrate.rules import Rules
from imgmake.migrate.scratch import Make
from imgmake.migrate.values import Values
from imgmake.migrate.writer import Writer


@dataclass(frozen=True)
class Migration:
    """A Makefile understood: what it says, what became of it, and what is wrong with it."""

    makefile: str
    statements: tuple[Statement, ...]
    database: Database
    values: Values
    pipefile: Pipefile
    findings: tuple[Finding, ...]


def migrate(makefile: str, text: str, make: Make, *, literal: bool) -> Migration:
    """The Pipefile of a Makefile's text. Raises MakeFailed when make cannot read it."""
    database = make.database()
    statements = reader.read(text)
    values = Values(statements, database, make)
    recipes = Recipes(values, literal=literal, **_shell(statements, database))
    here = frozenset(os.listdir(make.folder))
    rules = Rules(values, recipes, database, here)
    pipefile = Writer(statements, database, values, rules, recipes).write()
    return Migration(makefile, statements, database, values, pipefile, review(statements, database, values, here))


def _shell(statements: Sequence[Statement], database: Database) -> dict[str, object]:
    """SHELL and .SHELLFLAGS as an interpreter and its first command; .ONESHELL."""
    shell, flags = database.variables.get("SHELL"), database.variables.get(".SHELLFLAGS")
    found: dict[str, object] = {}
    if shell is not None and shell.text not in ("/bin/sh", "sh"):
        found["shell"] = shell.text.removeprefix("/usr/bin/env ")
    asked = re.sub(r"-c\b|(?<=-)([a-z]*)c([a-z]*)", r"\1\2", flags.text).strip() if flags is not None else ""
    asked = re.sub(r"(^|\s)-(?=\s|$)", " ", asked).strip()
    if asked and asked not in ("-e", "-"):
        found["before"] = f"set {asked}"
    if any(isinstance(each, Rule) and each.targets.split()[:1] == [".ONESHELL"] for each in statements):
        found["whole"] = True
    return found
