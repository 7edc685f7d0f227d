"""The variables of a Pipefile: each definition once, after those that it needs, under its conditions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from imgmake.migrate import blocks, layout
from imgmake.migrate.branching import Choice, Node, conditions, leaves, whole
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.model import (
    EVERYWHERE,
    MARK,
    Assign,
    Database,
    Left,
    Rule,
    Statement,
)
from imgmake.migrate.python import expression, names_in, negated, quoted
from imgmake.migrate.recipes import Recipes
from imgmake.migrate.rules import Rules
from imgmake.migrate.values import Values
from imgmake.variables import LATE, NAME


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
    export_texts: dict[str, str] = field(default_factory=dict)  # of `define`, each as Python
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
        names += [n for n in self.values.definitions if n in EVERYWHERE and n not in names]
        plain = [n for n in names if self.values.known(n).kind in ("constant", "variable", "late", "metadata")]
        self.export_names = [n for n in plain if self.values.known(n).python]
        self.export_texts = dict(self._texts([n for n in names if self.values.known(n).kind == "macro"]))
        # What goes into an environment is looked into by no shell.
        self.values.hastened |= {n for n in self.export_names if self.values.known(n).dollar} - self.values.early
        self.recipes.exports = self.values.exported = frozenset([*self.export_names, *self.export_texts])

    def _texts(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Exported texts of several lines, each as Python."""
        for name in names:
            first = self.values.definitions[name][-1][0]
            try:
                yield name, self._text_of(first.value)
            except Uncovered as error:
                self.recipes.lost[name] = str(error)
                self._later(first.line, f"export {name}", f"no recipe is given it: {error}", 0, file=first.file)

    def _text_of(self, text: str) -> str:
        """What make would put into an environment, as Python. Raises Uncovered."""
        parts = [replace(part, dollar=bool(part.leaves)) for part in self.values.at_load(text)]
        declared = {self.values.variable(name) for name in self.values.definitions} | set(LATE)
        for name in re.findall(r"\$\{?(\w+)", "".join(part.text for part in parts if not part.name)):
            if name in declared:
                raise Uncovered(f"${name} in it would be given its value")
        return expression(parts)

    def _exports(self) -> None:
        """Written before the first rule that has a recipe."""
        if self.recipes.exports and "EXPORTED" not in self.written:
            self.written.add("EXPORTED")
            for name in self.export_names:
                self._variable(name)
            self._needed(names_in(self.export_texts.values()))
            pairs = [f"{quoted(n)}: {self.values.known(n).python}" for n in self.export_names]
            pairs += [f"{quoted(name)}: {text}" for name, text in self.export_texts.items()]
            self.lines += layout.call(f"EXPORTED = {{{', '.join(pairs)}}}")

    def _assign(self, each: Assign, indent: int) -> None:
        if each.target:
            return  # its value goes into the rule itself
        if each.op == "unexport":
            self._later(each.line, f"unexport {each.name}", "nothing is taken from a recipe's environment", indent)
        elif each.op != "export" and each.name not in (".DEFAULT_GOAL", "SHELL", ".SHELLFLAGS", "MAKEFLAGS"):
            self._variable(each.name)

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
            self._input(name)
            return
        self._definitions(name)

    def _unset(self, name: str) -> str:
        value = self.database.variables.get(name)
        return value.text if value is not None and value.origin == "default" else ""

    def _definitions(self, name: str) -> None:
        known, found = self.values.known(name), self.values.definitions[name]
        first = found[0][0]
        text = f"{name} {first.op} {first.value}"
        if known.kind == "odd":
            self._later(first.line, text, known.why, 0, file=first.file)
        elif fixed := self.values.why_fixed.get(name):
            if name in self.values.settled_today:
                self._later(first.line, text, f"{fixed}: this is its value today", 0, file=first.file)
            self.lines += layout.call(f"{known.python} = {quoted(known.value)}")
        elif name in self.values.steps:
            self._steps(name, known.python)
        else:
            self._input(name)

    def _input(self, name: str) -> None:
        known = self.values.known(name)
        default = "" if name in self.values.make.required else f", {quoted(self._unset(name))}"
        self.lines.append(f"{known.python} = var({quoted(known.exported)}{default})")

    def _steps(self, name: str, python: str) -> None:
        """The definitions one after the other, each under its conditions."""
        for at, step in enumerate(self.values.steps[name]):
            for cond in conditions(step):
                self._needed(names_in([str(self.values.asked_of(name, cond))]))
            given = f'var({quoted(self.values.variable(name))}, "")' if NAME.fullmatch(name) else '""'
            unset = f"{python} = {given}" if not at else ""
            if not at and (self.values.builds_on_itself(name) or not (whole(step) or self._may_declare(name, step))):
                self.lines.append(unset)
                unset = ""
            self.lines = blocks.joined(self.lines, self._step(name, step, unset, 0))

    def _may_declare(self, name: str, step: Node) -> bool:
        """Whether a branch that sets nothing may declare the variable: the environment gives it then."""
        return all(self.values.sources[name][each].declares for each in leaves(step))

    def _step(self, name: str, step: Node, unset: str, indent: int) -> list[str]:
        """One choice as ``if``, ``elif`` and ``else``; `unset` for a branch that sets nothing, which may be empty."""
        pad = " " * indent
        if step is None:
            return [pad + unset] if unset else []
        if isinstance(step, Assign):
            python = self.values.python(name)
            return layout.call(f"{python} = {self.values.sources[name][step].text}", indent)
        test = str(self.values.asked_of(name, step.cond))
        then = self._step(name, step.then, unset, indent + 4)
        other = self._step(name, step.otherwise, unset, indent + 4)
        if not then:
            then, other, test = other, then, negated(test)
        if not other:
            return [f"{pad}if {test}:", *then]
        if isinstance(step.otherwise, Choice) and other[0].startswith(f"{pad}    if ") and then is not other:
            chained = self._step(name, step.otherwise, unset, indent)
            return [f"{pad}if {test}:", *then, chained[0].replace("if ", "elif ", 1), *chained[1:]]
        return [f"{pad}if {test}:", *then, f"{pad}else:", *other]

    def _needed(self, names: Iterable[str]) -> None:
        by_python = {self.values.python(n): n for n in (*self.values.inputs, *self.values.definitions)}
        for name in sorted(names):
            if name in by_python and self.values.known(by_python[name]).kind != "odd":
                self._variable(by_python[name])
