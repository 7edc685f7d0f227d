"""ifeq and its kin in Python, of what is known when a Pipefile is loaded."""

from __future__ import annotations

import re

from imgmake.migrate import functions
from imgmake.migrate.calling import NO_SCOPE, Scope
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.model import Cond
from imgmake.migrate.python import Part, Parts, atom, expression, merged, negated, today
from imgmake.variables import LATE


class Conditions:
    """The part of `Values` that translates conditions; `parts` and `at_load` are the rest's."""

    def parts(self, text: str, scope: Scope = NO_SCOPE) -> list[Part]:
        raise NotImplementedError

    def at_load(self, text: str, scope: Scope = NO_SCOPE) -> list[Part]:
        raise NotImplementedError

    def condition(self, cond: Cond, scope: Scope = NO_SCOPE) -> str | bool:
        """A condition in Python, or its answer where it is the same in every run. Raises TooLate, Uncovered."""
        wanted = cond.test in ("ifeq", "ifdef")
        left_text, right_text = (f"$({cond.left})", "") if "def" in cond.test else (cond.left, cond.right)
        if self._metadata_set(left_text, right_text):
            return cond.test in ("ifeq", "ifndef")  # as if it were not given: what comes of that is found out
        left, right = self.at_load(left_text, scope), self.at_load(right_text, scope)
        for parts in (left, right):
            if any(part.dollar for part in parts):
                raise Uncovered("its condition looks into what only a shell knows")
        if "def" in cond.test:
            return _told(functions.condition(left), wanted)
        return _equal(left, right, wanted)

    def chosen(self, test: str, then: Scope, otherwise: Scope) -> Scope:
        """What two branches bind, each name as a choice where they differ. Raises Uncovered."""
        found: dict[str, Parts] = {}
        for name in dict.fromkeys((*then, *otherwise)):
            one, other = (side[name] if name in side else self.parts(f"$({name})") for side in (then, otherwise))
            found[name] = one if merged(one) == merged(other) else _either(test, one, other)
        return found

    def _metadata_set(self, left: str, right: str) -> bool:
        """Whether it is asked if metadata is empty: imgmake works that out by itself."""
        if right or not re.fullmatch(r"\$[({](?:strip \$[({])?[\w.-]+[)}]+", left):
            return False
        try:
            parts = self.parts(left)
        except Uncovered:
            return False
        return len(parts) == 1 and parts[0].name in LATE

    def _decided(self, cond: Cond) -> bool | None:
        try:
            answer = self.condition(cond)
        except Uncovered:
            return None
        return answer if isinstance(answer, bool) else None


def _either(test: str, one: Parts, other: Parts) -> list[Part]:
    source = f"{expression(one)} if {test} else {expression(other)}"
    return [Part(name=source, value=today(one), late=any(part.late for part in (*one, *other)))]


def _told(test: str, wanted: bool) -> str | bool:
    if test in ("True", "False"):
        return (test == "True") is wanted
    return test if wanted else negated(test)


def _equal(left: Parts, right: Parts, wanted: bool) -> str | bool:
    """Whether two texts are equal, the variable on the left."""
    left, right = _without_padding(merged(left), merged(right))
    if any(part.name for part in right) and not any(part.name for part in left):
        left, right = right, left
    if not any(part.name for part in (*left, *right)):
        return (today(left) == today(right)) is wanted
    if not right:
        return _told(_empty(left), wanted)
    if len(left) == 1 and left[0].test and not any(part.name for part in right) and _may_be(left[0].name, right):
        return _told(left[0].test, wanted)
    return f"{_operand(left)} {'==' if wanted else '!='} {_operand(right)}"


def _operand(parts: Parts) -> str:
    source = expression(parts)
    return source if not re.search(r" (if|or|and|in|==|\+) ", source) else atom(source)


def _empty(parts: Parts) -> str:
    test = functions.condition(parts)
    return {"True": "False", "False": "True"}.get(test) or negated(test)


def _may_be(source: str, right: Parts) -> bool:
    """Whether a choice's one text is what it is compared with."""
    return source.startswith(f"{expression(right)} if ")


def _without_padding(left: list[Part], right: list[Part]) -> tuple[list[Part], list[Part]]:
    """``ifeq (x$(A),x)``: what both sides begin with is not compared."""
    while left and right and not left[0].name and not right[0].name and left[0].text and right[0].text:
        if left[0].text[0] != right[0].text[0]:
            break
        left, right = (merged([Part(side[0].text[1:]), *side[1:]]) for side in (left, right))
    return left, right
