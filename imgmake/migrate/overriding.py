"""The part of `Checker` that gives both sides other values of variables, as far as there is time for it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from imgmake.migrate.expand import mentioned
from imgmake.migrate.fixed import fixed
from imgmake.migrate.migration import Migration
from imgmake.migrate.model import Compared
from imgmake.migrate.scratch import Make
from imgmake.migrate.stops import BOTH

OVERRIDDEN = "imgmake-check"
_MOST = 12  # targets that are compared anew for each variable
_ALL = 120  # of all variables
_PATIENCE = 0.6  # seconds that make and the Pipefile may take to be read for these


class Overriding:
    """Compares with variables overridden; how one target is compared is the rest's."""

    make: Make
    migration: Migration
    base: Mapping[str, str]
    loads: float
    at_once: Sequence[str]
    _depends: dict[str, frozenset[str]]

    def one(self, target: str, overrides: Mapping[str, str]) -> Compared:
        raise NotImplementedError

    def closure(self, target: str) -> Collection[str]:
        raise NotImplementedError

    def overridden(self, found: Sequence[Compared]) -> tuple[Compared, ...]:
        """The first of these targets with each overridable variable overridden, where they differ then."""
        said = {left.target: left.why for left in self.migration.pipefile.left}
        names = list(self.migration.pipefile.overridable)
        affordable = int(_PATIENCE / max(self.make.seconds + self.loads, _PATIENCE / _ALL))
        alone = names if len(names) <= affordable + 1 else names[:affordable]
        self.at_once = names[len(alone) :]
        most = max(1, min(_MOST, affordable // max(len(names), 1)))
        groups = [*([name] for name in alone), *([self.at_once] if self.at_once else ())]
        single = [each for names in groups for each in self._overridden(names, found, said, most)]
        return (*single, *self._let_through(found))

    def _let_through(self, found: Sequence[Compared]) -> Iterator[Compared]:
        """The targets that make stops at, with everything given that has no value of its own."""
        given = {name: OVERRIDDEN for name, value in self.migration.pipefile.overridable.items() if not value}
        stopped = [one for one in found if one.verdict == "same" and any(why.startswith(BOTH) for why in one.why)]
        for each in stopped[: 1 if self.at_once else None] if given else ():
            compared = self.one(each.target, given)
            if compared.verdict == "different":
                values = " ".join(f"{name}={value}" for name, value in given.items())
                yield replace(compared, target=f"{each.target} {values}")

    def _overridden(
        self, names: Sequence[str], before: Sequence[Compared], said: Mapping[str, str], most: int
    ) -> list[Compared]:
        """The targets whose commands the variables change, with other values of all of them."""
        found = []
        values = {name: _sample(self.migration.pipefile.overridable[name]) for name in names}
        changed: dict[str, list[str]] = {}
        for one in before:
            if one.verdict != "different" and one.target not in said:
                own = [each for each in names if self.make.takes(one.target, each)]
                if (read := self._mentioned(one.target)) and (own := [each for each in own if each in read]):
                    changed[one.target] = own
        asked = list(changed)[:most]
        self.make.ahead(asked, {**fixed(self.migration.values, self.base)[0], **values})
        for target in asked:
            compared = self.one(target, values)
            if compared.verdict == "different":
                given = " ".join(f"{name}={values[name]}" for name in changed[target])
                found.append(replace(compared, target=f"{target} {given}"))
        return found

    def _mentioned(self, target: str) -> frozenset[str]:
        """The variables that recipes name, a target's and of what it needs, and those that these are made of."""
        if target not in self._depends:
            values = self.migration.values
            texts = [text for each in self.closure(target) for text in self._recipe(each)]
            names = {used for text in texts for used in mentioned(text)}
            while (
                more := {
                    n for used in names for each, _ in values.definitions.get(used, ()) for n in mentioned(each.value)
                }
                - names
            ):
                names |= more
            self._depends[target] = frozenset(names)
        return self._depends[target]

    def _recipe(self, target: str) -> tuple[str, ...]:
        made = self.migration.database.targets.get(target)
        return made.recipe if made is not None else ()


def _sample(default: str) -> str:
    """Another value than the default; of a platform another one, since imgmake knows these."""
    return "linux/s390x" if re.fullmatch(r"linux/[\w/]+", default) else OVERRIDDEN
