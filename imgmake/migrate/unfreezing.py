"""Recipes that ``$(eval $(call …))`` made: make's database has them with values put in, here they get the names back.

What is written so is believed where it comes to make's own text with the values of today. Starts nothing but make.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from imgmake.migrate import reader
from imgmake.migrate.definitions import AUTOMATIC
from imgmake.migrate.expand import Call, Dollar, Odd, Text, Use, arguments, calls, pieces
from imgmake.migrate.model import Assign, Cond, Database, Line, Made, Other, Rule
from imgmake.migrate.stated import lines
from imgmake.migrate.values import Values

_MARKED = re.compile("\ue002(.*?)\ue003", re.DOTALL)  # what make expanded before `eval` saw it
_DEEPEST = 20
_MOST = 2000  # texts of one Makefile

Given = Mapping[str, str]


class _TooDeep(Exception):
    """It calls itself, or is more than can be gone through."""


def unfrozen(database: Database, statements: Iterable[object], values: Values) -> Database:
    """A database whose recipes name the variables that may change, where `eval` was given their values."""
    found: dict[str, Made] = {}
    for other in _others(statements):
        try:
            texts = list(_Unrolled(values).evaluated(other.text, {}))
        except _TooDeep:
            continue
        for text in texts:
            found |= {made.name: made for made in _recipes(text, database, values)}
    return replace(database, targets={**database.targets, **found}) if found else database


def _others(statements: Iterable[object]) -> Iterator[Other]:
    for each in statements:
        if isinstance(each, Cond):
            yield from _others((*each.then, *each.otherwise))
        elif isinstance(each, Other) and not {"eval", "call"}.isdisjoint(calls(each.text)):
            yield each


def _recipes(text: str, database: Database, values: Values) -> Iterator[Made]:
    """The targets of one evaluated text whose recipes hold what may change."""
    for rule in reader.read(text):
        recipe = [each for each in rule.recipe if isinstance(each, Line)] if isinstance(rule, Rule) else []
        if not isinstance(rule, Rule) or not recipe or len(recipe) < len(rule.recipe):
            continue
        texts = [reader.joined(line.text) for line in recipe]  # as `define` has them
        named, today = ([fill(each, values).strip() for each in texts] for fill in (_named, _today))
        if named == today:
            continue
        for target in _today(rule.targets, values).split():
            made = database.targets.get(target)
            if made is not None and [line.text.strip() for line in lines(made)] == today:
                yield replace(made, recipe=tuple(named))


def _today(text: str, values: Values) -> str:
    return _MARKED.sub(lambda match: values.ask(match[1]), text)


def _named(text: str, values: Values) -> str:
    """The text with the names of what may change, and the values of what may not."""
    return _MARKED.sub(lambda match: values.ask(match[1]) if values.constant(match[1]) else match[1], text)


class _Unrolled:
    """Expands once what `eval` is given, but for variables of the Makefile's, which are marked."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._depth = self._count = 0

    def evaluated(self, text: str, given: Given) -> Iterator[str]:
        """The texts that `eval` gets when a text is expanded. Raises _TooDeep."""
        for piece in pieces(text):
            if not isinstance(piece, Call):
                continue
            if piece.function == "eval":
                yield self._expanded(piece.arguments, given)
            elif piece.function == "foreach":
                for body, inner in self._turns(piece, given):
                    yield from self.evaluated(body, inner)
            elif piece.function == "call":
                body, inner = self._macro(piece, given)
                yield from self.evaluated(body, inner)

    def _expanded(self, text: str, given: Given) -> str:
        self._depth += 1
        self._count += 1
        if self._depth > _DEEPEST or self._count > _MOST:
            raise _TooDeep
        try:
            return "".join(self._piece(piece, given) for piece in pieces(text))
        finally:
            self._depth -= 1

    def _piece(self, piece: object, given: Given) -> str:
        if isinstance(piece, Text):
            return piece.text
        if isinstance(piece, Dollar):
            return "$"
        if isinstance(piece, Use):
            return self._use(piece, given)
        if isinstance(piece, Call) and piece.function == "call":
            return self._expanded(*self._macro(piece, given))
        if isinstance(piece, Call) and piece.function == "foreach":
            return " ".join(self._expanded(body, inner) for body, inner in self._turns(piece, given))
        assert isinstance(piece, Call | Odd)
        return f"\ue002{self._bound(piece.raw, given)}\ue003"

    def _use(self, piece: Use, given: Given) -> str:
        if piece.name in given:
            return given[piece.name]
        if piece.name.isdigit() or piece.name in AUTOMATIC:
            return ""
        each = self._definition(piece.name)
        if each is not None and each.op == "define":
            return self._expanded(each.value, given)
        return f"\ue002{piece.raw}\ue003"

    def _definition(self, name: str) -> Assign | None:
        found = self._values.definitions.get(name)
        return found[-1][0] if found else None

    def _macro(self, piece: Call, given: Given) -> tuple[str, dict[str, str]]:
        """The text of a macro, and what its parameters are."""
        name, *rest = (self._expanded(each, given) for each in arguments(piece.arguments))
        each = self._definition(_today(name, self._values).strip())
        outer = {key: value for key, value in given.items() if not key.isdigit()}
        return each.value if each is not None else "", {**outer, **{str(at): one for at, one in enumerate(rest, 1)}}

    def _turns(self, piece: Call, given: Given) -> Iterator[tuple[str, dict[str, str]]]:
        """The body of a loop, once for each word of today."""
        name, listed, *body = (*arguments(piece.arguments), "", "")
        words: Sequence[str] = _today(self._expanded(listed, given), self._values).split()
        text = ",".join(body[:-2])
        yield from ((text, {**given, name.strip(): word}) for word in words)

    def _bound(self, raw: str, given: Given) -> str:
        """A call that stays, with its parameters put in."""
        for name, value in given.items():
            single = rf"|\${re.escape(name)}" if len(name) == 1 else ""
            plain = value.replace("\ue002", "").replace("\ue003", "")
            raw = re.sub(rf"\$\({re.escape(name)}\)|\$\{{{re.escape(name)}\}}{single}", lambda _, v=plain: v, raw)  # type: ignore[misc]
        return raw
