"""The Pipefile of a Makefile: its statements in their order, variables before what uses them, comments kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from imgmake.migrate import layout
from imgmake.migrate.assignments import VariableWriter
from imgmake.migrate.expand import Uncovered, Use, pieces
from imgmake.migrate.model import (
    MARK,
    Assign,
    Comment,
    Cond,
    Include,
    Left,
    Other,
    Pipefile,
    Rule,
)
from imgmake.migrate.outline import assigns, code, has_rules, named_by, without
from imgmake.migrate.python import Part, Parts, quoted
from imgmake.migrate.rules import Declared, names_in
from imgmake.variables import LATE

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
_QUIET = {
    ".PHONY",
    ".DEFAULT_GOAL",
    ".SUFFIXES",
    ".DELETE_ON_ERROR",
    ".SILENT",
    ".ONESHELL",
    ".EXPORT_ALL_VARIABLES",
    ".INTERMEDIATE",
    ".SECONDARY",
    ".POSIX",
}

_SHORT = 90  # characters that the names of a loop may take on its line


@dataclass
class Writer(VariableWriter):
    """Writes one Pipefile."""

    imports: set[str] = field(default_factory=set)
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
        overridable = {
            n: k.value
            for n in [*self.values.definitions, *self.values.inputs]
            if (k := self.values.known(n)).exported
            and k.kind in ("variable", "late")
            and k.exported == n
            and n in self.written
        }
        return Pipefile(
            text,
            tuple(self.rules.left),
            tuple(self.rules.notes),
            tuple(dict.fromkeys(each.target for each in self.declared)),
            overridable,
        )

    def _text(self) -> str:
        named = {each.name for each in self.declared if each.name and each.name in self.used}
        lines = self._used_only(list(self._named(named)))
        body = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
        names = {name for name in names_in([code(body)]) if name in _WORDS} & (self.imports | {"var", "glob", "sh"})
        names |= names_in([code(body)]) & frozenset(LATE)
        return "\n".join([*layout.imports(names), "", body, ""]).lstrip("\n")

    def _used_only(self, lines: list[str]) -> list[str]:
        """Without the constants whose words went into the rules themselves."""
        gone = self.values.taken_apart - self.used
        for name in gone:
            lines = without(lines, self.values.python(name))
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

    # --- conditions -----------------------------------------------------------------------------------------

    def _cond(self, cond: Cond, indent: int) -> None:
        if not has_rules(cond):
            for each in assigns(cond):
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
        declared = [
            self._declare(target, rule, indent, spelt=spelt)
            for target, spelt in targets
            if self._stands_here(target, rule)
        ]
        self._write_all(declared, [each.target for each in declared], indent)

    def _targets(self, rule: Rule) -> list[tuple[str, Parts]]:
        """Each target's name, and how it is spelt."""
        whole = list(pieces(rule.targets.strip()))
        try:
            parts = self.values.parts(rule.targets)
            one = len(whole) == 1 and isinstance(whole[0], Use) and len(parts) == 1 and parts[0].name
            if one and " " not in parts[0].value and not parts[0].late:
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

    def _family(self, rule: Rule, targets: Sequence[tuple[str, Parts]], indent: int) -> None:
        pattern = rule.pattern or rule.targets.strip()
        names = [name for name, _ in targets] if rule.pattern else self._instances(pattern)
        stems = [(name, stem) for name in names if (stem := layout.stem_of(pattern, name)) is not None]
        if not stems:
            why = "make finds no target for this pattern: write a loop over the names that you use"
            self._later(rule.line, f"{rule.targets}: {rule.prerequisites}", why, indent)
            return
        declared = [self._declare(name, rule, 4, stem=stem) for name, stem in stems if name not in self.done]
        if not rule.pattern:
            why = "a pattern makes any target; the loop makes those that the Makefile names"
            self.rules.notes.append(Left(rule.line, rule.targets, why))
        self._write_all(declared, [stem for _, stem in stems], indent)

    def _instances(self, pattern: str) -> list[str]:
        """The targets that the Makefile names and that only this pattern makes."""
        every = self.database.targets
        asked: list[str] = [
            p
            for made in every.values()
            if made.target_file and not made.name.startswith(".")
            for p in (*made.prerequisites, *made.order_only)
        ]
        phony = self.database.targets.get(".PHONY")
        names = dict.fromkeys([*asked, *(phony.prerequisites if phony else ())])
        own = {name for each in self.statements for name in named_by(each)}
        never = {name for name, made in every.items() if made.phony}  # make looks for no pattern for these
        return [n for n in names if layout.stem_of(pattern, n) and n not in own | never and n not in self.rules.files]

    def _write_all(self, declared: Sequence[Declared], stems: Sequence[str], indent: int) -> None:
        pad = " " * indent
        template = (
            layout.family([each.source for each in declared], stems, "name") if len(declared) == len(stems) else None
        )
        if template:
            listed = ", ".join(map(quoted, stems))
            one_each = [f"{pad}for name in (", *(f"{pad}    {quoted(stem)}," for stem in stems), f"{pad}):"]
            self.lines += [f"{pad}for name in ({listed}):"] if len(listed) < _SHORT else one_each
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
            self._later(each.line, f"{word} {each.files}", "it is not here: what it would set or add is not in this Pipefile", indent)
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
                found = self.rules.fails(name, rule, why, made)
                self.imports |= found.imports
                self.declared.append(found)
                self._write(found, 0)
