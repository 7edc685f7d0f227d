"""Targets that make knows and that no rule that was read makes: from ``eval``, or named in ``.PHONY`` alone.

make's database has them, with their recipes; they are written from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from imgmake.migrate import layout
from imgmake.migrate.expand import calls
from imgmake.migrate.model import Cond, Line, Made, Other, Rule, Statement
from imgmake.migrate.placing import SPECIAL, RuleWriter
from imgmake.migrate.stated import lines


@dataclass
class UnreadWriter(RuleWriter):
    """The part of the writer that writes rules from make's database."""

    def _evaluated(self, each: Other, indent: int) -> None:
        """What an ``$(eval …)`` came to, at its place."""
        ends = min((at for at in _lines(self.statements, each.file) if at > each.line), default=1 << 30)
        file = each.file or self.values.make.makefile
        found = [made for made in self._from_make() if made.file == file and each.line <= made.line < ends]
        if found:
            self.body.append(f"{' ' * indent}# {' '.join(each.text.split())}"[: layout.WIDTH])
            self._families(self._as_listed(found, each.text), indent)
        elif not self._only_variables(each):
            self._later(each.line, each.text, "make's own language: no Pipefile has it", indent, file=each.file)

    def _as_listed(self, found: Sequence[Made], text: str) -> list[Made]:
        """The targets in the order of the list that they are made for."""
        match = re.search(r"foreach\s+\S+?\s*,([^,]+),", text)
        listed = self.values.make.values([match[1]])[0].split() if match else []
        at = {name: place for place, name in enumerate(listed)}
        places = {made.name: [at[word] for word in at if word in made.name] for made in found}
        return sorted(found, key=lambda made: (max(places[made.name], default=len(at)), made.name))

    def _only_variables(self, each: Other) -> bool:
        """Whether all that is evaluated defines variables, whose values make tells."""
        return "eval" in calls(each.text) and bool(re.search(r"eval\s+[\w.$(){}-]+\s*[:?+]?=", each.text))

    def _from_make(self) -> list[Made]:
        """Targets with a recipe, or that are phony, that are still to be written, in the Makefile's order."""
        found = [
            made
            for name, made in self.rules.database.targets.items()
            if made.target_file
            and name not in self.done
            and name not in SPECIAL
            and "%" not in name
            and not re.match(r"\.\w+\.\w+$", name)
            and (made.file or made.phony)
        ]
        return sorted(found, key=lambda made: (made.file != self.values.make.makefile, made.file, made.line))

    def _unread(self) -> None:
        every = self._from_make()
        for file in dict.fromkeys(made.file for made in every if made.file):
            self.lines += ["", f"# From {Path(file).name}, as make reads it:"]
            self._families([made for made in every if made.file == file], 0)
        for made in [made for made in every if not made.file]:
            self._declare_made(made, 0)

    def _declare_made(self, made: Made, indent: int) -> None:
        rule = Rule(made.line, made.name, " ".join(made.prerequisites))
        if not made.recipe and not made.prerequisites:
            pattern = re.search(r"[*?]", made.name)
            what = f"{made.name} stands" if pattern else "It stands"
            self.body.append(f"{' ' * indent}# {what} in .PHONY alone: make does nothing for it.")
            if pattern:
                return  # no target has such a name
        self._write_all([self._declare(made.name, rule)], [], indent)

    def _families(self, found: Sequence[Made], indent: int) -> None:
        """Targets that differ in one word are a loop."""
        for group in _alike(found):
            declared = [self._declare(made.name, _rule(made, self.values.make.makefile)) for made in group]
            self._write_all(declared, _stems([made.name for made in group]), indent)


def _rule(made: Made, makefile: str) -> Rule:
    file = "" if made.file == makefile else made.file
    names = " ".join(made.prerequisites).replace("$", "$$")
    return Rule(made.line, made.name, names, recipe=tuple(lines(made)), file=file)


def _lines(statements: Sequence[Statement | Line], file: str) -> Iterator[int]:
    for each in statements:
        if isinstance(each, Cond):
            yield from _lines((*each.then, *each.otherwise), file)
        elif getattr(each, "file", "") == file:
            yield each.line


def _alike(found: Sequence[Made]) -> list[list[Made]]:
    """The targets in groups that come from one place and whose names differ in one word."""
    groups: dict[object, list[Made]] = {}
    for made in found:
        place = (made.file, made.line, len(made.recipe))
        masks = [(*place, mask) for mask in _masks(made.name)]
        key = next((mask for mask in masks if mask in groups), None)
        if key is None:
            others = [mask for one in found if one is not made for mask in _masks(one.name)]
            key = next((mask for mask in masks if mask[-1] in others), (*place, made.name))
        groups.setdefault(key, []).append(made)
    return list(groups.values())


def _masks(name: str) -> list[str]:
    """A name with each of its words taken out."""
    return [f"{name[: each.start()]}\0{name[each.end() :]}" for each in re.finditer(r"[A-Za-z0-9]+", name)][::-1]


def _stems(names: Sequence[str]) -> list[str]:
    """What differs in names between what they begin and end with."""
    before = _begin(names)
    after = _begin([name[len(before) :][::-1] for name in names])[::-1]
    before, after = re.sub(r"[A-Za-z0-9]+$", "", before), re.sub(r"^[A-Za-z0-9]+", "", after)
    return [name[len(before) : len(name) - len(after) or None] for name in names]


def _begin(names: Sequence[str]) -> str:
    same = takewhile(lambda chars: len(set(chars)) == 1, zip(*names, strict=False))
    return "".join(chars[0] for chars in same)
