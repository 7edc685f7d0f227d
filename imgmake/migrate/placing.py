"""Where each target is declared: of several rules the one that counts, in conditions a declaration for each branch.

make's database says what holds: today's, and for another branch the one of a Makefile read with that branch's values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from imgmake.migrate import families, layout
from imgmake.migrate.assignments import VariableWriter
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.model import MARK, Assign, Cond, Left, Made, Rule
from imgmake.migrate.outline import assigns, has_rules
from imgmake.migrate.python import Part, Parts, names_in, negated, quoted
from imgmake.migrate.rules import Declared

_SHORT = 90  # characters that the names of a loop may take on its line
# make's own, for which nothing is made.
QUIET = frozenset(
    [
        ".DEFAULT_GOAL",
        ".DELETE_ON_ERROR",
        ".EXPORT_ALL_VARIABLES",
        ".IGNORE",
        ".INTERMEDIATE",
        ".LOW_RESOLUTION_TIME",
        ".ONESHELL",
        ".PHONY",
        ".POSIX",
        ".PRECIOUS",
        ".SECONDARY",
        ".SECONDEXPANSION",
        ".SILENT",
        ".SUFFIXES",
    ]
)
SPECIAL = QUIET | {".DEFAULT", ".NOTPARALLEL", ".NOTINTERMEDIATE", ".WAIT"}


@dataclass
class RuleWriter(VariableWriter):
    """The part of the writer that writes rules."""

    imports: set[str] = field(default_factory=set)
    declared: list[Declared] = field(default_factory=list)
    done: set[str] = field(default_factory=set)  # targets
    used: set[str] = field(default_factory=set)  # Python names that something mentions
    _words: families.Lists | None = None

    def _block(self, statements: Iterable[object], indent: int) -> None:
        raise NotImplementedError

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
        for each in assigns(cond):  # variables come before both branches
            self._assign(each, 0)
        self._needed(names_in([test]))
        self._both(cond, test, indent)

    def _both(self, cond: Cond, test: str, indent: int) -> None:
        """Rules of a condition; what one branch declares, the other has as make has it there."""
        start = set(self.done)
        sides = []
        for taken, statements in ((True, cond.then), (False, cond.otherwise)):
            self.done = set(start)
            sides.append((taken, self._side(cond, taken, statements, indent + 4), self.done - start))
        (_, _, here), (_, _, there) = sides
        for at, lacking in ((0, there - here), (1, here - there)):
            self.done = start | sides[at][2]
            sides[at][1].extend(self._rest(cond, sides[at][0], sorted(lacking), indent + 4))
        self.done = start | here | there
        heads = [f"if {test}:", "else:"]
        if not _said(sides[0][1]) and _said(sides[1][1]):
            sides, heads = sides[1:], [f"if {negated(test)}:"]
        for head, (_, lines, _) in zip(heads, sides, strict=False):
            if _said(lines):
                self.body.extend([" " * indent + head, *lines])

    def _side(self, cond: Cond, taken: bool, statements: Sequence[object], indent: int) -> list[str]:
        """The lines of one branch."""
        with self.rules.within(cond, taken):
            outer, self.branch = self.branch, []
            self._block([each for each in statements if not isinstance(each, Assign)], indent)
            lines, self.branch = self.branch, outer
        return lines

    def _rest(self, cond: Cond, taken: bool, targets: Sequence[str], indent: int) -> list[str]:
        """Declarations, for one branch, of targets that a rule of the other one makes."""
        with self.rules.within(cond, taken):
            outer, self.branch = self.branch, []
            for target in targets:
                made = self.rules.database.targets.get(target)
                mention = self.rules.counting(target)
                if mention is not None and target not in self.done:
                    self._write_all([self._declare(target, mention.rule)], [], indent)
                elif made is not None and made.target_file and target not in self.done:
                    self._write_all([self._declare(target, Rule(made.line, target, ""))], [], indent)
            lines, self.branch = self.branch, outer
        return lines

    def _today(self, cond: Cond, why: str, indent: int) -> None:
        self._later(cond.line, f"{cond.test} ({cond.left},{cond.right})", f"{why}: this is what holds today", indent)
        self._block(cond.then if self.rules.holds(cond) else cond.otherwise, indent)

    # --- rules ----------------------------------------------------------------------------------------------

    def _rule(self, rule: Rule, indent: int) -> None:
        first = next(iter(rule.targets.split()), "")
        if first in QUIET or (first == ".DEFAULT" and not rule.recipe):
            return
        if first == ".NOTPARALLEL":
            self._later(rule.line, f"{rule.targets}:", "run it as `imgmake -j1`: one target at a time", indent)
            return
        if first in SPECIAL:
            text = f"{rule.targets}: {rule.prerequisites}"
            self._later(rule.line, text, f"{first} has no equal", indent)
            return
        targets = self._targets(rule)
        if rule.pattern or any("%" in name for name, _ in targets):
            self._family(rule, targets, indent)
            return
        for target, _ in targets:
            self._counted_on(target, rule, indent)
        declared = [
            self._declare(target, rule, spelt=spelt) for target, spelt in targets if self._stands_here(target, rule)
        ]
        self._write_all(declared, [each.target for each in declared], indent)

    def _counted_on(self, target: str, rule: Rule, indent: int) -> None:
        made = self.rules.database.targets.get(target)
        if made is not None and self._stands_here(target, rule) and self.rules.order.counted_on(made):
            why = f"{self.values.make.tool[0] or 'make'} does these one after the other: so does `imgmake -j1`"
            self._later(rule.line, f"{target}: {' '.join(made.prerequisites)}", why, indent, file=rule.file)

    def _targets(self, rule: Rule) -> list[tuple[str, Parts]]:
        """Each target's name, and how it is spelt."""
        names = self.rules.stated.targets(rule)
        found = self.rules.spelt(rule.targets)
        if found is not None and tuple(name for name, _ in found) == names:
            return found
        return [(name, [Part(name)]) for name in names]

    def _stands_here(self, target: str, rule: Rule) -> bool:
        """Of several rules for one target, the one that make takes; it has the prerequisites of all."""
        if target in self.done:
            return False
        mention = self.rules.counting(target)
        if mention is None or mention.rule is not rule or self.rules.overridden(target):
            return False
        return bool(rule.recipe) or not self.rules.by_pattern(target)

    def _declare(self, target: str, rule: Rule, stem: str = "", spelt: Parts = ()) -> Declared:
        self.done.add(target)
        found = self.rules.declare(target, rule, stem, spelt)
        if "sh" in found.imports:
            self._exports()
        if (help := self.rules.help(target, rule)) and found.source:
            found.source = f"{found.source[:-1]}, help={quoted(help)})"
        self._needed(found.needs)
        self.used |= found.needs
        self.imports |= found.imports
        for tag in found.tags if self.branch is None else ():
            self.recipes.images.setdefault(tag, found.name)
        for note in found.notes:
            self.rules.notes.append(Left(found.line, "", note, "", rule.file))
        self.declared.append(found)
        return found

    # --- families -------------------------------------------------------------------------------------------

    def _family(self, rule: Rule, targets: Sequence[tuple[str, Parts]], indent: int) -> None:
        found: list[tuple[str, str]] = []
        for pattern in [rule.pattern] if rule.pattern else [name for name, _ in targets]:
            names = [name for name, _ in targets] if rule.pattern else self._instances(pattern)
            found += [(name, stem) for name in names if (stem := layout.stem_of(pattern, name)) is not None]
        if not found:
            why = "make finds no target for this pattern: write a loop over the names that you use"
            self._later(rule.line, f"{rule.targets}: {rule.prerequisites}", why, indent, file=rule.file)
            return
        declared = [
            self._declare(name, rule, stem=stem, spelt=self.rules.of_pattern(rule, name))
            for name, stem in found
            if name not in self.done
        ]
        if not rule.pattern:
            why = "a pattern makes any target; the loop makes those that the Makefile names"
            self.rules.notes.append(Left(rule.line, rule.targets, why, file=rule.file))
        stems = [stem for name, stem in found if name in {each.target for each in declared}]
        self._write_all(declared, stems, indent)

    def _instances(self, pattern: str) -> list[str]:
        """The targets that the Makefile names and that only this pattern makes."""
        every = self.rules.database.targets
        nothing = Made("", ())
        return [name for name in self.rules.asked() if self._is_instance(name, pattern, every.get(name, nothing))]

    def _is_instance(self, name: str, pattern: str, made: Made) -> bool:
        stem = layout.stem_of(pattern, name)
        if not stem or "%" in name or name.startswith(".PHONY"):
            return False
        own = any(each.rule.recipe for each in self.rules.stated.of(name))
        from_file = not made.target_file and (self.values.make.folder / name).exists()
        other = (made.stem or self.rules.stem(name) or stem) != stem
        return not (own or made.phony or from_file or other or (made.recipe and not made.stem and made.target_file))

    def _write_all(self, declared: Sequence[Declared], stems: Sequence[str], indent: int) -> None:
        pad = " " * indent
        template = (
            layout.family([each.source for each in declared], stems, "name")
            if len(declared) == len(stems) and all(each.source for each in declared)
            else None
        )
        if template:
            listed = families.loop(stems, self._lists())
            self._needed(names_in([listed]))
            one_each = [f"{pad}for name in (", *(f"{pad}    {quoted(stem)}," for stem in stems), f"{pad}):"]
            self.body.extend([f"{pad}for name in {listed}:"] if len(listed) < _SHORT else one_each)
            self.body.extend("\n".join(layout.call(template, indent + 4)).split("\n"))
            return
        for each in declared:
            self._write(each, indent)

    def _write(self, each: Declared, indent: int) -> None:
        pad = " " * indent
        if each.todo:
            left = next((one for one in reversed(self.rules.left) if one.target == each.target), None)
            text = " ".join((left.text if left else each.target).split())
            place = f"{(left and left.file) or self.values.make.makefile}:{left.line if left else each.line}"
            self.body.append(f"{pad}# {MARK} {place}: {text}"[:118])
            self.body.append(f"{pad}#   {' '.join(each.todo.split())}"[: layout.WIDTH])
        name = f"\x01{each.name} = " if each.name and not indent else ""
        source = families.folded(each.source, self._lists())
        self._needed(names_in([source]) if source != each.source else ())
        if source:
            self.body.extend(layout.call(f"{name}{source}", indent))

    def _lists(self) -> families.Lists:
        """The words of each list that nothing changes, by its Python name."""
        if self._words is None:
            known = [self.values.known(name) for name in self.values.definitions]
            self._words = {
                each.python: tuple(each.value.split())
                for each in known
                if each.kind == "constant" and each.python and not (each.varies or each.late or each.dollar)
            }
        return self._words


def _said(lines: Sequence[str]) -> bool:
    return any(line.strip() and not line.strip().startswith("#") for line in lines)
