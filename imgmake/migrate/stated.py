"""Which rules of a Makefile speak of which target, and under which conditions. make expands their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from imgmake.migrate.layout import stem_of
from imgmake.migrate.model import Assign, Cond, Line, Made, Rule, Statement
from imgmake.migrate.reader import ended
from imgmake.migrate.scratch import ASKED, Make

Around = tuple[tuple[Cond, bool], ...]  # each condition, and whether its first branch is meant


@dataclass(frozen=True)
class Mention:
    """One rule that names a target, with names as make expands them today."""

    rule: Rule
    around: Around
    prerequisites: tuple[str, ...]
    order_only: tuple[str, ...]


class Stated:
    """All rules that were read, by target."""

    def __init__(self, statements: Sequence[Statement], make: Make) -> None:
        self._rules = list(_rules(statements, ()))
        self._assigns = list(_of_patterns(statements, ()))
        every = [(target, each) for each in statements if isinstance(each, Assign) for target in each.target.split()]
        count = Counter((target, each.name) for target, each in every)
        self._given = {(target, each.name): each for target, each in every if count[target, each.name] == 1}
        texts = [text for rule, _ in self._rules for text in (rule.targets, rule.prerequisites, rule.order_only)]
        names = [tuple(text.replace("\\:", ":").split()) for text in _expanded(texts, make)]
        self._targets = {id(rule): names[3 * at] for at, (rule, _) in enumerate(self._rules)}
        self._exports = list(_exports(statements))
        self._exporting = [text.split() for text in _expanded([each.target for each in self._exports], make)]
        self._by_target: dict[str, list[Mention]] = {}
        for at, (rule, around) in enumerate(self._rules):
            mention = Mention(rule, around, names[3 * at + 1], names[3 * at + 2])
            for target in names[3 * at]:
                self._by_target.setdefault(target, []).append(mention)

    def own(self, target: str, name: str) -> Assign | None:
        """What a target sets a variable to, where one line does, and under no condition."""
        return self._given.get((target, name))

    def targets(self, rule: Rule) -> tuple[str, ...]:
        """The names before a rule's colon."""
        return self._targets.get(id(rule), ())

    def of(self, target: str) -> Sequence[Mention]:
        """The rules that name a target, in their order."""
        return self._by_target.get(target, ())

    def exports(self, target: str) -> list[Assign]:
        """The variables that are exported for a target alone, or for those of a pattern."""
        pairs = zip(self._exports, self._exporting, strict=True)
        return [each for each, names in pairs if any(name == target or stem_of(name, target) for name in names)]

    def of_rule(self, rule: Rule) -> Sequence[Mention]:
        """What one rule says of each of its targets."""
        return [each for target in self.targets(rule) for each in self.of(target) if each.rule is rule]

    def given(self, target: str) -> list[tuple[Assign, Around]]:
        """The variables that patterns set for a target, those of the pattern that fits it best last."""
        fitting = [
            (-min(map(len, stems)), each, around)
            for each, around in self._assigns
            if (stems := [stem for name in each.target.split() if (stem := stem_of(name, target))])
        ]
        return [(each, around) for _, each, around in sorted(fitting, key=lambda one: one[0])]

    def rules(self) -> Iterator[tuple[Rule, Around]]:
        """All rules in their order, each with the conditions around it."""
        yield from self._rules


def _exports(statements: Iterable[object]) -> Iterator[Assign]:
    for each in statements:
        if isinstance(each, Cond):
            yield from _exports((*each.then, *each.otherwise))
        elif isinstance(each, Assign) and each.export and each.target:
            yield each


def lines(made: Made) -> Iterator[Line]:
    """A recipe of make's database: its logical lines."""
    text = ""
    for physical in made.recipe:
        text += physical
        if (len(physical) - len(physical.rstrip("\\"))) % 2:
            text += "\n"
            continue
        yield Line(made.line, text.lstrip())
        text = ""
    if text.strip():
        yield Line(made.line, ended(text.lstrip()))


def _rules(statements: Iterable[object], around: Around) -> Iterator[tuple[Rule, Around]]:
    for each in statements:
        if isinstance(each, Rule):
            yield each, around
        elif isinstance(each, Cond):
            yield from _rules(each.then, (*around, (each, True)))
            yield from _rules(each.otherwise, (*around, (each, False)))


def _of_patterns(statements: Iterable[object], around: Around) -> Iterator[tuple[Assign, Around]]:
    for each in statements:
        if isinstance(each, Assign) and "%" in each.target:
            yield each, around
        elif isinstance(each, Cond):
            yield from _of_patterns(each.then, (*around, (each, True)))
            yield from _of_patterns(each.otherwise, (*around, (each, False)))


def _expanded(texts: Sequence[str], make: Make) -> list[str]:
    """Each text as make expands it; only those that hold a reference have to be asked for."""
    asked = list(dict.fromkeys(text for text in texts if "$" in text))
    answers = make.values(asked) if asked else []
    if asked and not any(answers):  # one text that make cannot read spoils all
        answers = [make.values([text])[0] for text in asked]
    known = dict(zip(asked, (re.sub(rf"(?<!\S){ASKED}(?!\S)", "", each) for each in answers), strict=True))
    return [known.get(text, text) for text in texts]
