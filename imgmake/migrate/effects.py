"""What make does while it expands a text: it stops, says something, sets a variable. Each becomes a step of its own.

make expands all lines of a recipe before it runs the first, so these come before what the lines run:
https://www.gnu.org/software/make/manual/html_node/Make-Control-Functions.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imgmake.migrate import functions, reader
from imgmake.migrate.calling import Scope
from imgmake.migrate.definitions import doing
from imgmake.migrate.expand import Call, Odd, Uncovered, Use, arguments, pieces
from imgmake.migrate.model import Assign
from imgmake.migrate.python import Parts, atom, expression, merged, negated, quoted, today
from imgmake.migrate.values import Values

_DEEPEST = 40
_TELLING = 5  # characters


@dataclass(frozen=True)
class Effect:
    """One of these, and the conditions under which make comes to it."""

    what: str  # error, info, warning or eval
    tests: tuple[str, ...]
    parts: Parts = ()
    text: str = ""  # of eval, unexpanded


class Effects:
    """Finds the effects of texts, with the values of one Makefile."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._depth = 0

    def of(self, text: str, scope: Scope, tests: tuple[str, ...] = ()) -> list[Effect]:
        """The effects of expanding a text, in their order. Raises Uncovered."""
        if not self.any(text):
            return []
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                raise Uncovered("it calls itself")
            return [found for piece in pieces(text) for found in self._piece(piece, scope, tests)]
        finally:
            self._depth -= 1

    def any(self, text: str) -> bool:
        """Whether a text, or a macro that it uses, does more than say something."""
        reached = self._values.reached(text)
        found = [each.value for name in reached for each, _ in self._values.definitions.get(name, ())]
        return any(doing(one) for one in (text, *found))

    def _piece(self, piece: object, scope: Scope, tests: tuple[str, ...]) -> Iterator[Effect]:
        if isinstance(piece, Use) and piece.name in self._values.definitions and piece.name not in scope:
            each = self._values.definitions[piece.name][-1][0]
            if each.op in ("=", "define", "?=", "+="):
                yield from self.of(each.value, scope, tests)
        elif isinstance(piece, Odd):
            yield from self.of(piece.raw[2:-1], scope, tests)
        elif isinstance(piece, Call):
            yield from self._call(piece, scope, tests)

    def _call(self, piece: Call, scope: Scope, tests: tuple[str, ...]) -> Iterator[Effect]:
        name = piece.function
        if name in ("error", "info", "warning"):
            yield Effect(name, tests, self._values.parts(piece.arguments.strip(), scope))
        elif name == "eval":
            yield Effect(name, tests, text=piece.arguments)
        elif name == "if":
            yield from self._if(piece, scope, tests)
        elif name in ("or", "and"):
            yield from self._in_turn(piece, scope, tests)
        elif name == "foreach":
            yield from self._foreach(piece, scope, tests)
        elif name == "call":
            yield from self._called(piece, scope, tests)
        elif name != "shell":
            yield from self.of(piece.arguments, scope, tests)

    def _if(self, piece: Call, scope: Scope, tests: tuple[str, ...]) -> Iterator[Effect]:
        test, then, *rest = (*arguments(piece.arguments), "")[:2] + tuple(arguments(piece.arguments)[2:])
        yield from self.of(test, scope, tests)
        wanted = functions.condition(self._values.at_load(test.strip(), scope))
        for holds, text in ((True, then), (False, ",".join(rest))):
            if wanted in ("True", "False"):
                yield from self.of(text, scope, tests) if (wanted == "True") is holds else ()
            else:
                yield from self.of(text, scope, (*tests, wanted if holds else negated(wanted)))

    def _in_turn(self, piece: Call, scope: Scope, tests: tuple[str, ...]) -> Iterator[Effect]:
        for each in arguments(piece.arguments):
            yield from self.of(each.strip(), scope, tests)
            wanted = functions.condition(self._values.at_load(each.strip(), scope))
            if wanted == ("True" if piece.function == "or" else "False"):
                return
            if wanted not in ("True", "False"):
                tests = (*tests, negated(wanted) if piece.function == "or" else wanted)

    def _foreach(self, piece: Call, scope: Scope, tests: tuple[str, ...]) -> Iterator[Effect]:
        name, listed, *rest = arguments(piece.arguments)
        words = self._values.at_load(listed, scope)
        if any(part.name for part in words):
            raise Uncovered(f"{piece.raw} does something for each word of what can be overridden")
        for word in today(words).split():
            yield from self.of(",".join(rest), {**scope, name.strip(): self._values.parts(word)}, tests)

    def _called(self, piece: Call, scope: Scope, tests: tuple[str, ...]) -> Iterator[Effect]:
        given = arguments(piece.arguments)
        for each in given[1:]:
            yield from self.of(each, scope, tests)
        name = today(self._values.at_load(given[0], scope)).strip()
        if name in self._values.definitions:
            inner = {str(at): self._values.parts(each, scope) for at, each in enumerate(given[1:], start=1)}
            outer = {key: value for key, value in scope.items() if not key.isdigit()}
            yield from self.of(self._values.definitions[name][-1][0].value, {**outer, **inner}, tests)

    # --- what they become -----------------------------------------------------------------------------------

    def bound(self, effect: Effect, scope: Scope) -> Mapping[str, Parts]:
        """The variable that an ``$(eval …)`` sets, and its value, for the lines after it. Raises Uncovered."""
        text = effect.text.strip()
        found = reader.read(text.replace("$$", "$"))
        each = found[0] if len(found) == 1 else None
        if not isinstance(each, Assign) or each.target or each.op not in ("=", ":=", "::=", "?=") or each.export:
            raise Uncovered(f"$(eval {text}) changes what make knows")
        name = today(self._values.parts(each.name, scope))
        if name in self._values.hoisted:
            return {}
        if each.op == "?=" and (name in scope or name in self._values.definitions):
            return {}
        parts = self._values.parts(each.value, scope)
        if not effect.tests:
            return {name: parts}
        return self._values.chosen(" and ".join(map(atom, effect.tests)), {**scope, name: parts}, scope)

    def statement(self, effect: Effect) -> list[str]:
        """A message as a statement, for what make does while it reads a Makefile."""
        said = expression(merged(effect.parts))
        self._values.heard.add(_pattern(effect.parts))
        line = f"raise SystemExit({said})" if effect.what == "error" else f"print({said}, file=sys.stderr)"
        if not effect.tests:
            return [line]
        return [f"if {' and '.join(atom(test) if ' or ' in test else test for test in effect.tests)}:", f"    {line}"]

    def command(self, effect: Effect) -> str:
        """A message as a command: of the Pipefile's own `fail`, or an echo."""
        parts = merged(effect.parts)
        self._values.said.add(_pattern(parts))
        said = expression([part for part in parts if not part.dollar])
        command = f"fail({said})" if effect.what == "error" else _echo(said, effect.what)
        if not effect.tests:
            return command
        test = " and ".join(atom(test) if " or " in test else test for test in effect.tests)
        opposite = negated(test)
        return f"[] if {opposite} else {command}" if len(opposite) < len(test) else f"{command} if {test} else []"


def _pattern(parts: Parts) -> str:
    """What a message looks like: whatever the values in it, where words of its own tell it from a command."""
    own = "".join(part.text for part in parts if not part.name).strip()
    any_value = ".*" if len(own) >= _TELLING else ""
    return "".join(any_value or re.escape(part.value) if part.name else re.escape(part.text) for part in parts)


def _echo(said: str, what: str) -> str:
    to = " >&2" if what == "warning" else ""
    if said.startswith('"') and not re.search(r"[\"\\$`!]", said[1:-1]):
        return f"sh({quoted(f'echo {chr(34)}{said[1:-1]}{chr(34)}{to}')})"
    return f"sh({quoted(f'echo {chr(34)}$said{chr(34)}{to}')}, said={said})"
