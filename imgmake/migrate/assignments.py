"""The variables of a Pipefile: each definition once, after those that it needs, under its conditions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from imgmake.migrate import layout
from imgmake.migrate.definitions import tests_itself
from imgmake.migrate.model import (
    MARK,
    Assign,
    Cond,
    Database,
    Left,
    Rule,
    Statement,
)
from imgmake.migrate.outline import exhaustive, negated
from imgmake.migrate.python import quoted
from imgmake.migrate.recipes import Recipes
from imgmake.migrate.rules import Rules, names_in
from imgmake.migrate.values import Values


@dataclass
class VariableWriter:
    """The part of the writer that writes variables."""

    statements: Sequence[Statement]
    database: Database
    values: Values
    rules: Rules
    recipes: Recipes
    lines: list[str] = field(default_factory=list)
    written: set[str] = field(default_factory=set)  # variables
    export_names: list[str] = field(default_factory=list)
    branch: list[str] | None = None  # the lines of a branch that is being written; variables come before it

    @property
    def body(self) -> list[str]:
        """Where a rule is written now."""
        return self.lines if self.branch is None else self.branch

    def _later(self, line: int, text: str, why: str, indent: int, target: str = "", file: str = "") -> None:
        """A comment where a person has to decide, and a line in the report."""
        lines, place = self.body if indent else self.lines, f"{file or self.values.make.makefile}:{line}"
        first = " ".join(text.split())
        shown = first if len(first) <= 80 else f"{first[:77]}..."
        lines.append(f"{' ' * indent}# {MARK} {place}: {shown}")
        lines.append(f"{' ' * indent}#   {' '.join(why.split())}"[: layout.WIDTH])
        self.rules.notes.append(Left(line, shown, why, target, file))

    def _exported(self) -> None:
        """What ``export`` gives to every recipe."""
        every = any(isinstance(s, Assign) and s.op == "export" and not s.name for s in self.statements)
        every |= any(isinstance(s, Rule) and s.targets == ".EXPORT_ALL_VARIABLES" for s in self.statements)
        names = [
            n for s in self.statements if isinstance(s, Assign) and s.export and not s.target for n in s.name.split()
        ]
        names += list(self.values.definitions) if every else []
        names = [n for n in dict.fromkeys(names) if re.fullmatch(r"[A-Za-z_]\w*", n) and n not in ("SHELL",)]
        plain = [n for n in names if self.values.known(n).kind in ("constant", "variable", "late", "metadata")]
        self.export_names = [n for n in plain if self.values.known(n).python]
        self.recipes.exports = frozenset(self.export_names)

    def _exports(self) -> None:
        """Written before the first rule that has a recipe."""
        if self.recipes.exports and "EXPORTED" not in self.written:
            self.written.add("EXPORTED")
            for name in self.export_names:
                self._variable(name)
            pairs = [f"{quoted(n)}: {self.values.known(n).python}" for n in self.export_names]
            self.lines += layout.call(f"EXPORTED = {{{', '.join(pairs)}}}")

    def _assign(self, each: Assign, indent: int) -> None:
        if each.target:
            self._target_specific(each, indent)
        elif each.op == "unexport":
            self._later(each.line, f"unexport {each.name}", "nothing is taken from a recipe's environment", indent)
        elif each.op != "export" and each.name not in (".DEFAULT_GOAL", "SHELL", ".SHELLFLAGS", "MAKEFLAGS"):
            self._variable(each.name)

    def _target_specific(self, each: Assign, indent: int) -> None:
        text = f"{each.target}: {each.name} {each.op} {each.value}"
        self._later(each.line, text, "a variable of one target: put its value into the rule", indent)

    def _variable(self, name: str) -> None:
        """Every definition of a variable, and before it those that it needs; once."""
        if name in self.written:
            return
        self.written.add(name)
        known = self.values.known(name)
        for need in known.needs if known.kind != "macro" else ():
            self._variable(need)
        if known.kind in ("metadata", "macro") or not known.python:
            return
        if name not in self.values.definitions:
            self.lines.append(f"{known.python} = var({quoted(known.exported)}, {quoted(self._unset(name))})")
            return
        self._definitions(name)

    def _unset(self, name: str) -> str:
        value = self.database.variables.get(name)
        return value.text if value is not None and value.origin == "default" else ""

    def _definitions(self, name: str) -> None:
        known, found = self.values.known(name), self.values.definitions[name]
        first = found[0][0]
        if known.kind == "odd":
            self._later(first.line, f"{name} {first.op} {first.value}", known.why, 0)
        elif fixed := self.values.why_fixed[name]:
            if name in self.values.settled_today:
                self._later(first.line, f"{name} {first.op} {first.value}", f"{fixed}: this is its value today", 0)
            self.lines += layout.call(f"{known.python} = {quoted(known.value)}")
        else:
            self._sequence(name, known.python)

    def _sequence(self, name: str, python: str) -> None:
        """The definitions one after the other, each under its conditions."""
        found = self.values.sources[name]
        around_each = [(each, around) for each, around, _ in found]
        if len(found) == 1 and tests_itself(*around_each[0]):
            self.lines += layout.call(f"{python} = {found[0][2].text}")
            return
        if all(around for _, around in around_each) and not exhaustive(around_each):
            self.lines.append(f'{python} = var({quoted(self.values.variable(name))}, "")')
        before: tuple[Cond, ...] = ()
        for each, around, source in found:
            self._under(each, around, before, f"{python} = {source.text}")
            before = around

    def _under(self, each: Assign, around: tuple[Cond, ...], before: tuple[Cond, ...], source: str) -> None:
        """A definition under its conditions; the other branch of the one before is its ``else``."""
        tests: list[tuple[int, str]] = []
        for at, cond in enumerate(around):
            inside: object = around[at + 1] if at + 1 < len(around) else each
            test = str(self.values.condition(cond))
            self._needed(names_in([test]))
            last = at == len(around) - 1
            other = last and before == around and inside not in cond.then
            if before[: at + 1] != around[: at + 1] or last:
                tests.append((at, "else" if other else f"if {test if inside in cond.then else negated(test)}"))
        for at, head in tests:
            self.lines.append(f"{' ' * 4 * at}{head}:")
        self.lines += layout.call(source, 4 * len(around))

    def _needed(self, names: Iterable[str]) -> None:
        by_python = {self.values.python(n): n for n in (*self.values.inputs, *self.values.definitions)}
        for name in sorted(names):
            if name in by_python and self.values.known(by_python[name]).kind != "odd":
                self._variable(by_python[name])
