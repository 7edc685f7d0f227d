"""ifeq and its kin in Python, where what they test is known when a Pipefile is loaded."""

from __future__ import annotations

from imgmake.migrate.expand import Uncovered
from imgmake.migrate.model import Cond
from imgmake.migrate.python import Part, expression, today
from imgmake.variables import LATE


class Conditions:
    """The part of `Values` that translates conditions; `parts` is the rest's."""

    def parts(self, text: str) -> list[Part]:
        raise NotImplementedError

    def condition(self, cond: Cond) -> str | bool:
        """A condition in Python, or its answer where it is the same in every run. Raises Uncovered."""
        negated = cond.test in ("ifneq", "ifndef")
        if cond.test in ("ifdef", "ifndef"):
            left, right = self.parts(f"$({cond.left})"), list[Part]()
            negated = not negated
        else:
            left, right = self.parts(cond.left), self.parts(cond.right)
        if not right and len(left) == 1 and left[0].name in LATE:
            return not negated  # what a Makefile works out when it was not given, imgmake works out by itself
        if any(part.late or part.dollar for part in (*left, *right)):
            raise Uncovered("its condition depends on what is known late")
        if not any(part.name for part in (*left, *right)):
            return (today(left) == today(right)) is not negated
        if not right and len(left) == 1:
            return left[0].name if negated else f"not {left[0].name}"
        return f"{expression(left)} {'!=' if negated else '=='} {expression(right)}"

    def _decided(self, cond: Cond) -> bool | None:
        try:
            answer = self.condition(cond)
        except Uncovered:
            return None
        return answer if isinstance(answer, bool) else None
