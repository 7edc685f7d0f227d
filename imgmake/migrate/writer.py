"""The Pipefile of a Makefile: its statements in their order, variables before what uses them, comments kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from imgmake.migrate import layout
from imgmake.migrate.expand import Uncovered, Use, pieces
from imgmake.migrate.model import (
    MARK,
    Assign,
    Comment,
    Cond,
    Database,
    Include,
    Left,
    Other,
    Pipefile,
    Rule,
    Statement,
)
from imgmake.migrate.python import Part, Parts, quoted
from imgmake.migrate.recipes import Recipes
from imgmake.migrate.rules import Declared, Rules, names_in
from imgmake.migrate.values import Values, tests_itself

_WORDS = frozenset(
    [
        "check",
        "default",
        "file",
        "glob",
        "image",
        "lint",
        "phony",
        "publish",
        "run",
        "sh",
        "structure_test",
        "tag",
        "var",
    ]
)
_QUIET = {".PHONY", ".DEFAULT_GOAL", ".SUFFIXES", ".DELETE_ON_ERROR", ".SILENT", ".ONESHELL", ".EXPORT_ALL_VARIABLES",
          ".INTERMEDIATE", ".SECONDARY", ".POSIX"}  # fmt: skip


@dataclass
class Writer:
    """Writes one Pipefile."""

    statements: Sequence[Statement]
    database: Database
    values: Values
    rules: Rules
    recipes: Recipes
    lines: list[str] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)  # variables
    declared: list[Declared] = field(default_factory=list)
    done: set[str] = field(default_factory=set)  # targets
    used: set[str] = field(default_factory=set)  # Python names that something mentions

    def write(self) -> Pipefile:
        """The text, and what has to be said of it."""
        self._exported()
        self._block(self.statements, 0)
        self._unread()
        default = self.database.default
        if default and self.declared and default != self.declared[0].target and default in self.done:
            self.imports.add("default")
            self.lines += ["", f"default({quoted(default)})"]
        text = self._text()
        overridable = {n: k.value for n in [*self.values.definitions, *self.values.inputs]
                       if (k := self.values.known(n)).exported and k.kind in ("variable", "late")
                       and k.exported == n and n in self.written}  # fmt: skip
        return Pipefile(text, tuple(self.rules.left), tuple(self.rules.notes), tuple(self.done), overridable)

    def _text(self) -> str:
        named = {each.name for each in self.declared if each.name and each.name in self.used}
        lines = self._used_only(list(self._named(named)))
        body = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
        names = {name for name in names_in([_code(body)]) if name in _WORDS} & (self.imports | {"var", "glob", "sh"})
        names |= names_in([_code(body)]) & _LATE
        return "\n".join([*layout.imports(names), "", body, ""]).lstrip("\n")

    def _used_only(self, lines: list[str]) -> list[str]:
        """Without the constants whose words went into the rules themselves."""
        gone = self.values.taken_apart - self.used
        for name in gone:
            lines = _without(lines, self.values.python(name))
        return lines

    def _named(self, named: set[str]) -> Iterator[str]:
        for line in self.lines:
            match = re.match(r"\s*\x01(\w+) = ", line)
            if match is None:
                yield line
            elif match[1] in named:
                yield line.replace("\x01", "")
            else:
                yield line.replace(f"\x01{match[1]} = ", "")

    def _block(self, statements: Iterable[object], indent: int) -> None:
        for each in statements:
            if isinstance(each, Comment):
                self._comment(each, indent)
            elif isinstance(each, Assign):
                self._assign(each, indent)
            elif isinstance(each, Cond):
                self._cond(each, indent)
            elif isinstance(each, Rule):
                self._rule(each, indent)
            elif isinstance(each, Include | Other):
                self._other(each, indent)

    def _comment(self, each: Comment, indent: int) -> None:
        text = each.text.lstrip("#").strip()
        self.lines.append(" " * indent + f"# {text}" if text else "#" if each.text else "")

    def _later(self, line: int, text: str, why: str, indent: int, target: str = "") -> None:
        """A comment where a person has to decide, and a line in the report."""
        first = " ".join(text.split())
        shown = first if len(first) <= 80 else f"{first[:77]}..."
        self.lines.append(f"{' ' * indent}# {MARK} {self.values.make.makefile}:{line}: {shown}")
        self.lines.append(f"{' ' * indent}#   {why}"[: layout.WIDTH])
        self.rules.notes.append(Left(line, shown, why, target))

    # --- variables ------------------------------------------------------------------------------------------

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
        self._export_names = [n for n in plain if self.values.known(n).python]
        self.recipes.exports = bool(self._export_names)

    def _exports(self) -> None:
        """Written before the first rule that has a recipe."""
        if self.recipes.exports and "EXPORTED" not in self.written:
            self.written.add("EXPORTED")
            for name in self._export_names:
                self._variable(name)
            pairs = [f"{quoted(n)}: {self.values.known(n).python}" for n in self._export_names]
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
        elif fixed := self.values.fixed(name):
            if name in self.values.settled_today:
                self._later(first.line, f"{name} {first.op} {first.value}", f"{fixed}: this is its value today", 0)
            self.lines += layout.call(f"{known.python} = {quoted(known.value)}")
        else:
            self._sequence(name, known.python)

    def _sequence(self, name: str, python: str) -> None:
        """The definitions one after the other, each under its conditions."""
        found = self.values.effective(name)
        alone = len(found) == 1 and tests_itself(*found[0])
        if alone:
            self.lines += layout.call(f"{python} = {self.values.definition(*found[0]).text}")
            return
        if all(around for _, around in found) and not _exhaustive(found):
            self.lines.append(f'{python} = var({quoted(self.values.variable(name))}, "")')
        before: tuple[Cond, ...] = ()
        for each, around in found:
            source = self.values.definition(each, around)
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
                tests.append((at, "else" if other else f"if {test if inside in cond.then else _negated(test)}"))
        for at, head in tests:
            self.lines.append(f"{' ' * 4 * at}{head}:")
        self.lines += layout.call(source, 4 * len(around))

    # --- conditions -----------------------------------------------------------------------------------------

    def _cond(self, cond: Cond, indent: int) -> None:
        if not _has_rules(cond):
            for each in _assigns(cond):
                self._assign(each, indent)
            return
        try:
            test = self.values.condition(cond)
        except Uncovered as error:
            self._today(cond, str(error), indent)
            return
        if isinstance(test, bool):
            self._block(cond.then if test else cond.otherwise, indent)
            return
        self._needed(names_in([test]))
        self._branch(f"if {test}:", cond.then, indent)
        if cond.otherwise:
            self._branch("else:", cond.otherwise, indent)

    def _branch(self, head: str, statements: Sequence[object], indent: int) -> None:
        """The rules of a branch; a target may stand in the other one, too. Variables come before both."""
        for each in statements:
            if isinstance(each, Assign):
                self._assign(each, 0)
        start, done = len(self.lines), set(self.done)
        self.lines.append(" " * indent + head)
        self._block([each for each in statements if not isinstance(each, Assign)], indent + 4)
        if not any(line.strip() and not line.strip().startswith("#") for line in self.lines[start + 1 :]):
            self.lines.append(" " * (indent + 4) + "pass")
        self.done = done if head != "else:" else self.done

    def _today(self, cond: Cond, why: str, indent: int) -> None:
        self._later(cond.line, f"{cond.test} ({cond.left},{cond.right})", f"{why}: this is what holds today", indent)
        left, right = self.values.make.values([f"$({cond.left})" if "def" in cond.test else cond.left, cond.right])
        answer = bool(left) if "def" in cond.test else left == right
        self._block(cond.then if answer is not (cond.test in ("ifneq", "ifndef")) else cond.otherwise, indent)

    # --- rules ----------------------------------------------------------------------------------------------

    def _rule(self, rule: Rule, indent: int) -> None:
        if rule.targets.split()[:1] and rule.targets.split()[0] in _QUIET:
            return
        if re.fullmatch(r"\.[A-Z_]{4,}", rule.targets.split()[0]):
            text = f"{rule.targets}: {rule.prerequisites}"
            self._later(rule.line, text, f"{rule.targets.split()[0]} has no equal", indent)
            return
        targets = self._targets(rule)
        if "%" in rule.targets or rule.pattern:
            self._family(rule, targets, indent)
            return
        declared = [self._declare(target, rule, indent, spelt=spelt) for target, spelt in targets
                    if self._stands_here(target, rule)]  # fmt: skip
        self._write_all(declared, [each.target for each in declared], rule, indent)

    def _targets(self, rule: Rule) -> list[tuple[str, Parts]]:
        """Each target's name, and how it is spelt."""
        whole = list(pieces(rule.targets.strip()))
        try:
            parts = self.values.parts(rule.targets)
            if len(whole) == 1 and isinstance(whole[0], Use) and len(parts) == 1 and parts[0].name:
                if " " not in parts[0].value and not parts[0].late:
                    return [(parts[0].value, parts)]
        except Uncovered:
            pass
        names = self.values.make.values([rule.targets])[0].split()
        return [(name.replace("\\:", ":"), [Part(name.replace("\\:", ":"))]) for name in names]

    def _stands_here(self, target: str, rule: Rule) -> bool:
        """Of several rules for one target, the one with the recipe; make has the prerequisites of all."""
        if target in self.done:
            return False
        made = self.database.targets.get(target)
        return bool(rule.recipe) or made is None or not made.recipe

    def _declare(self, target: str, rule: Rule, indent: int, stem: str = "", spelt: Parts = ()) -> Declared:
        self.done.add(target)
        found = self.rules.declare(target, rule, stem, spelt)
        if "sh" in found.imports:
            self._exports()
        help = rule.comment.lstrip("#").strip() if rule.comment.startswith("#") else ""
        if help:
            found.source = f"{found.source[:-1]}, help={quoted(help)})"
        self._needed(found.needs)
        self.used |= found.needs
        self.imports |= found.imports
        for tag in found.tags if not indent else ():
            self.recipes.images.setdefault(tag, found.name)
        for note in found.notes:
            self.rules.notes.append(Left(found.line, "", note, ""))
        self.declared.append(found)
        return found

    def _needed(self, names: Iterable[str]) -> None:
        by_python = {self.values.python(n): n for n in (*self.values.inputs, *self.values.definitions)}
        for name in sorted(names):
            if name in by_python and self.values.known(by_python[name]).kind != "odd":
                self._variable(by_python[name])

    def _family(self, rule: Rule, targets: Sequence[tuple[str, Parts]], indent: int) -> None:
        pattern = rule.pattern or rule.targets.strip()
        names = [name for name, _ in targets] if rule.pattern else self._instances(pattern)
        stems = [(name, stem) for name in names if (stem := _stem(pattern, name)) is not None]
        if not stems:
            why = "make finds no target for this pattern: write a loop over the names that you use"
            self._later(rule.line, f"{rule.targets}: {rule.prerequisites}", why, indent)
            return
        declared = [self._declare(name, rule, 4, stem=stem) for name, stem in stems if name not in self.done]
        if not rule.pattern:
            why = "a pattern makes any target; the loop makes those that the Makefile names"
            self.rules.notes.append(Left(rule.line, rule.targets, why))
        self._write_all(declared, [stem for _, stem in stems], rule, indent)

    def _instances(self, pattern: str) -> list[str]:
        """The targets that the Makefile names and that only this pattern makes."""
        every = self.database.targets
        asked: list[str] = [p for made in every.values() for p in (*made.prerequisites, *made.order_only)]
        phony = self.database.targets.get(".PHONY")
        names = dict.fromkeys([*asked, *(phony.prerequisites if phony else ())])
        own = {name for each in self.statements for name in _named_by(each)}
        never = {name for name, made in every.items() if made.phony}  # make looks for no pattern for these
        return [n for n in names if _stem(pattern, n) and n not in own | never and n not in self.rules.files]

    def _write_all(self, declared: Sequence[Declared], stems: Sequence[str], rule: Rule, indent: int) -> None:
        pad = " " * indent
        if len(declared) == len(stems) > 1:
            if template := layout.family([each.source for each in declared], stems, "name"):
                listed = ", ".join(map(quoted, stems))
                self.lines += layout.call(f"for name in ({listed}):", indent) if len(listed) < 90 else [
                    f"{pad}for name in (", *(f"{pad}    {quoted(stem)}," for stem in stems), f"{pad}):"]  # fmt: skip
                self.lines += "\n".join(layout.call(template, indent + 4)).split("\n")
                return
        for each in declared:
            self._write(each, indent)

    def _write(self, each: Declared, indent: int) -> None:
        pad = " " * indent
        if each.todo:
            left = self.rules.left[-1] if self.rules.left else None
            text = " ".join((left.text if left else each.target).split())
            self.lines.append(
                f"{pad}# {MARK} {self.values.make.makefile}:{left.line if left else each.line}: {text}"[:118]
            )
            self.lines.append(f"{pad}#   {each.todo}"[: layout.WIDTH])
        name = f"\x01{each.name} = " if each.name and not indent else ""
        self.lines += layout.call(f"{name}{each.source}", indent)

    # --- what is neither ------------------------------------------------------------------------------------

    def _other(self, each: Include | Other, indent: int) -> None:
        if isinstance(each, Include):
            word = "-include" if each.optional else "include"
            self._later(each.line, f"{word} {each.files}", "what is included is not translated", indent)
        elif re.match(r"\$[({](info|warning)\b", each.text):
            self._later(each.line, each.text, "a message while the Makefile is read", indent)
        else:
            self._later(each.line, each.text, "make's own language: no Pipefile has it", indent)

    def _unread(self) -> None:
        """Targets that make knows and no rule that was read makes: from ``eval``, or a file that is included."""
        for name, made in self.database.targets.items():
            known = (
                made.target_file
                and not re.match(r"\.[A-Z_]{4,}|\.\w+(\.\w+)?$", name)
                and (made.file or (made.phony and made.prerequisites))
            )
            if known and name not in self.done and "%" not in name:
                self.done.add(name)
                rule = Rule(made.line, name, "")
                why = f"its rule comes from {made.file or 'eval'}, line {made.line}, or from eval"
                found = self.rules._todo(name, rule, why, made)
                self.imports |= found.imports
                self.declared.append(found)
                self._write(found, 0)


_LATE = frozenset(["BUILD_ID", "BUILD_DATE", "VCS_REF", "VCS_URL", "VCS_BRANCH", "VCS_TAG", "VCS_DESCRIBE", "BUILD_TIME_EPOCH", "BUILD_TIME_RFC_3339", "BUILD_TIME_UTC"])  # fmt: skip


def _named_by(statement: object) -> list[str]:
    return statement.targets.split() if isinstance(statement, Rule) and statement.recipe else []


def _stem(pattern: str, name: str) -> str | None:
    before, percent, after = pattern.partition("%")
    if not percent or not name.startswith(before) or not name.endswith(after) or len(name) <= len(before) + len(after):
        return None
    return name[len(before) : len(name) - len(after) or None]


def _has_rules(cond: Cond) -> bool:
    every = (*cond.then, *cond.otherwise)
    return any(
        isinstance(each, Rule | Include | Other) or (isinstance(each, Cond) and _has_rules(each)) for each in every
    )


def _assigns(cond: Cond) -> Iterator[Assign]:
    for each in (*cond.then, *cond.otherwise):
        if isinstance(each, Assign):
            yield each
        elif isinstance(each, Cond):
            yield from _assigns(each)


def _without(lines: list[str], python: str) -> list[str]:
    """The lines without the statement that assigns to a name; it stays where another statement needs it."""
    starts = [at for at, line in enumerate(lines) if line.startswith(f"{python} = ")]
    if len(starts) != 1:
        return lines
    end = starts[0] + 1
    while (end < len(lines) and lines[end - 1].endswith(("(", ","))) or (
        end < len(lines) and lines[end].startswith(")")
    ):
        end += 1
    rest = lines[: starts[0]] + lines[end:]
    return lines if python in names_in(["\n".join(rest)]) else rest


def _exhaustive(found: Sequence[tuple[Assign, tuple[Cond, ...]]]) -> bool:
    """Whether one condition sets a variable in both of its branches."""
    cond = found[0][1][-1]
    both = [each in cond.then for each, around in found if around == found[0][1]]
    return len(found[0][1]) == 1 and True in both and False in both


def _negated(test: str) -> str:
    if test.startswith("not "):
        return test[4:]
    if " == " in test:
        return test.replace(" == ", " != ", 1)
    return test.replace(" != ", " == ", 1) if " != " in test else f"not {test}"


def _code(body: str) -> str:
    return "\n".join(line for line in body.split("\n") if not line.lstrip().startswith("#"))
