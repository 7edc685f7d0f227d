"""Go's templates, as Taskfiles have them, taken apart: text, actions, conditions, loops. Knows the syntax, no values.

https://pkg.go.dev/text/template
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from imgmake.migrate.translated import Odd

_ACTION = re.compile(r"\{\{(-\s)?\s*(/\*.*?\*/|(?:\"(?:[^\"\\]|\\.)*\"|`[^`]*`|[^\"`])*?)\s*(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<field>(?:\.[A-Za-z_]\w*)+|\$\w+|\.)"""
    r"""|(?P<word>[A-Za-z_]\w*)|(?P<mark>[|()]|:=|=))"""
)


@dataclass(frozen=True)
class Literal:
    """Text, a number, or a truth."""

    text: str


@dataclass(frozen=True)
class Field:
    """``.NAME.key``; a lone ``.`` has no names, ``$x`` is called so."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A function and its arguments, what a ``|`` hands on being the last."""

    name: str
    arguments: tuple[Expression, ...]


Expression = Literal | Field | Call


@dataclass(frozen=True)
class If:
    """``{{if test}}…{{else}}…{{end}}``."""

    test: Expression
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True)
class Range:
    """``{{range list}}…{{end}}``."""

    over: Expression
    body: tuple[Node, ...]


Node = str | Literal | Field | Call | If | Range


def parse(text: str) -> tuple[Node, ...]:
    """The nodes of a template. Raises Odd.

    >>> parse('a {{.B | default "c"}}')
    ('a ', Call(name='default', arguments=(Literal(text='c'), Field(names=('B',)))))
    """
    pieces = _pieces(text)
    nodes, word, _ = _block(pieces)
    if word:
        raise Odd("an {{end}} that ends nothing")
    return nodes


def _pieces(text: str) -> list[tuple[bool, str]]:
    """Text and actions in turn; whether each is an action. A ``-`` takes the blanks beside it."""
    found: list[tuple[bool, str]] = []
    at, trims = 0, False
    for match in _ACTION.finditer(text):
        plain = text[at : match.start()]
        plain = plain.lstrip() if trims else plain
        found.append((False, plain.rstrip() if match[1] else plain))
        if not match[2].startswith("/*"):
            found.append((True, match[2].strip()))
        at, trims = match.end(), bool(match[3])
    found.append((False, text[at:].lstrip() if trims else text[at:]))
    return [piece for piece in found if piece != (False, "")]


def _block(pieces: Sequence[tuple[bool, str]]) -> tuple[tuple[Node, ...], str, Sequence[tuple[bool, str]]]:
    """Nodes up to the ``else`` or ``end`` of the caller's, that word, and what follows it."""
    found: list[Node] = []
    while pieces:
        (action, text), pieces = pieces[0], pieces[1:]
        word, _, rest = text.partition(" ")
        if not action:
            found.append(text)
        elif word in ("else", "end"):
            return tuple(found), text, pieces
        elif word == "if":
            node, pieces = _if(rest, pieces)
            found.append(node)
        elif word == "range":
            body, _, pieces = _block(pieces)
            found.append(Range(expression(rest), body))
        elif word in ("with", "define", "template", "block") or ":=" in re.sub(r'"(?:[^"\\]|\\.)*"', "", text):
            raise Odd(f"{{{{{text}}}}}")
        else:
            found.append(expression(text))
    return tuple(found), "", ()


def _if(test: str, pieces: Sequence[tuple[bool, str]]) -> tuple[If, Sequence[tuple[bool, str]]]:
    then, word, pieces = _block(pieces)
    if word.startswith("else if "):
        inner, pieces = _if(word.removeprefix("else if "), pieces)
        return If(expression(test), then, (inner,)), pieces
    otherwise: tuple[Node, ...] = ()
    if word == "else":
        otherwise, _, pieces = _block(pieces)
    return If(expression(test), then, otherwise), pieces


def expression(text: str) -> Expression:
    """A pipeline. Raises Odd."""
    tokens, at = list[tuple[str, str]](), 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise Odd(f"{{{{{text}}}}}")
        tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
        at = match.end()
    found, rest = _pipeline(tokens, text)
    if rest:
        raise Odd(f"{{{{{text}}}}}")
    return found


def _pipeline(tokens: list[tuple[str, str]], text: str) -> tuple[Expression, list[tuple[str, str]]]:
    piped: Expression | None = None
    while True:
        operands, tokens = _operands(tokens, text)
        head = operands[0]
        given = (*operands[1:], *([piped] if piped is not None else []))
        if isinstance(head, Call) and not head.arguments and head.name:
            piped = Call(head.name, tuple(given))
        elif given:
            raise Odd(f"{{{{{text}}}}}")
        else:
            piped = head
        if not tokens or tokens[0] != ("mark", "|"):
            return piped, tokens
        tokens = tokens[1:]


def _operands(tokens: list[tuple[str, str]], text: str) -> tuple[list[Expression], list[tuple[str, str]]]:
    found: list[Expression] = []
    while tokens and tokens[0] not in (("mark", "|"), ("mark", ")")):
        (kind, word), tokens = tokens[0], tokens[1:]
        if (kind, word) == ("mark", "("):
            inner, tokens = _pipeline(tokens, text)
            if tokens[:1] != [("mark", ")")]:
                raise Odd(f"{{{{{text}}}}}")
            found.append(Call("", (inner,)) if isinstance(inner, Call) and not inner.arguments else inner)
            tokens = tokens[1:]
        elif kind == "string":
            found.append(Literal(_unquoted(word)))
        elif kind == "field":
            found.append(Field(tuple(filter(None, word.split("."))) if word != "." else ()))
        elif kind == "number" or word in ("true", "false", "nil"):
            found.append(Literal("" if word == "nil" else word))
        elif kind == "word":
            found.append(Call(word, ()))
        else:
            raise Odd(f"{{{{{text}}}}}")
    if not found:
        raise Odd(f"{{{{{text}}}}}")
    return found, tokens


def _unquoted(token: str) -> str:
    if token.startswith("`"):
        return token[1:-1]
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), token[1:-1])
