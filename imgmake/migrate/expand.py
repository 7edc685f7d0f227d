"""make's text taken apart: literal text, references, function calls. Knows the syntax; values are handed in.

https://www.gnu.org/software/make/manual/html_node/Reference.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

FUNCTIONS = frozenset(
    [
        "abspath",
        "addprefix",
        "addsuffix",
        "and",
        "basename",
        "call",
        "dir",
        "error",
        "eval",
        "file",
        "filter",
        "filter-out",
        "findstring",
        "firstword",
        "flavor",
        "foreach",
        "guile",
        "if",
        "info",
        "intcmp",
        "join",
        "lastword",
        "let",
        "notdir",
        "or",
        "origin",
        "patsubst",
        "realpath",
        "shell",
        "sort",
        "strip",
        "subst",
        "suffix",
        "value",
        "warning",
        "wildcard",
        "word",
        "wordlist",
        "words",
    ]
)


class Uncovered(Exception):
    """What a Pipefile cannot say; the text tells why."""


@dataclass(frozen=True)
class Text:
    """Characters that stand for themselves."""

    text: str


@dataclass(frozen=True)
class Dollar:
    """``$$``: a dollar for the shell."""


@dataclass(frozen=True)
class Use:
    """``$(NAME)``, ``${NAME}`` or ``$X``; `raw` as it stands there."""

    name: str
    raw: str


@dataclass(frozen=True)
class Call:
    """``$(function arguments)``."""

    function: str
    arguments: str
    raw: str


@dataclass(frozen=True)
class Odd:
    """A substitution reference or a computed name: only make knows."""

    raw: str


Piece = Text | Dollar | Use | Call | Odd

_CLOSING = {"(": ")", "{": "}"}


def pieces(text: str) -> Iterator[Piece]:
    """The text's pieces in order.

    >>> list(pieces("a$(B)$$c$@"))[1:3]
    [Use(name='B', raw='$(B)'), Dollar()]
    """
    return iter(_pieces(text))


@lru_cache(maxsize=1 << 14)  # the same few texts are taken apart again and again
def _pieces(text: str) -> tuple[Piece, ...]:
    return tuple(_taken_apart(text))


def _taken_apart(text: str) -> Iterator[Piece]:
    start = at = 0
    while (at := text.find("$", at)) >= 0:
        if start < at:
            yield Text(text[start:at])
        end, piece = _reference(text, at)
        yield piece
        start = at = end
    if start < len(text):
        yield Text(text[start:])


def _reference(text: str, at: int) -> tuple[int, Piece]:
    following = text[at + 1 : at + 2]
    if following == "$":
        return at + 2, Dollar()
    if following not in _CLOSING:
        return at + 2, Use(following, text[at : at + 2])
    end = closing(text, at + 1)
    return end + 1, _inner(text[at + 2 : end], text[at : end + 1])


def closing(text: str, at: int) -> int:
    """Where the bracket that opens at `at` closes; the end of the text when it does not."""
    opens, closes, depth = text[at], _CLOSING[text[at]], 0
    for here in range(at, len(text)):
        depth += (text[here] == opens) - (text[here] == closes)
        if depth == 0:
            return here
    return len(text)


def _inner(inner: str, raw: str) -> Piece:
    match = re.match(r"([a-z-]+)[ \t\n]+(.*)$", inner, re.DOTALL)
    if match and match[1] in FUNCTIONS:
        return Call(match[1], match[2], raw)
    if re.search(r"[$:\s=]", inner):
        return Odd(raw)
    return Use(inner, raw)


def arguments(text: str) -> list[str]:
    """A function's arguments, split at commas that are in no brackets.

    >>> arguments("a,$(if b,c),d")
    ['a', '$(if b,c)', 'd']
    """
    found, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char in "({") - (char in ")}")
        if char == "," and depth == 0:
            found.append(text[start:at])
            start = at + 1
    return [*found, text[start:]]


def mentioned(text: str) -> Iterator[str]:
    """Every variable's name that a text mentions, in calls and computed names, too."""
    return iter(_mentioned(text))


@lru_cache(maxsize=1 << 14)
def _mentioned(text: str) -> tuple[str, ...]:
    return tuple(_mentions(text))


def _mentions(text: str) -> Iterator[str]:
    for piece in pieces(text):
        if isinstance(piece, Use):
            yield piece.name
        elif isinstance(piece, Call) and piece.function == "foreach":
            own, _, rest = piece.arguments.partition(",")
            yield from (name for name in mentioned(rest) if name != own.strip())
        elif isinstance(piece, Call):
            yield from mentioned(piece.arguments)
            if piece.function in ("call", "origin", "value", "flavor"):
                yield arguments(piece.arguments)[0].strip()
        elif isinstance(piece, Odd):
            inner = piece.raw[2:-1]
            yield inner.partition(":")[0]
            yield from mentioned(inner)


def calls(text: str) -> Iterator[str]:
    """Every function that a text calls."""
    return (each.function for each in called(text))


def called(text: str) -> Iterator[Call]:
    """Every call of a function in a text."""
    for piece in pieces(text):
        if isinstance(piece, Call):
            yield piece
            yield from called(piece.arguments)
        elif isinstance(piece, Odd):
            yield from called(piece.raw[2:-1])
