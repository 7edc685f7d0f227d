"""How the words of a Dockerfile are unquoted and expanded; knows no instruction.

The rules are those of BuildKit's `frontend/dockerfile/shell/lex.go`, which the classic builder uses too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_SPECIAL_NAMES = "@*#?-$!"


class WordError(ValueError):
    """A word that no builder takes: an open quote, an unknown ``${…}``."""


class Expansion(NamedTuple):
    """The text that came out, the names whose values went in, and the names that had none."""

    text: str
    used: frozenset[str] = frozenset()
    unset: frozenset[str] = frozenset()


def expand(word: str, values: Mapping[str, str], escape: str = "\\", *, quotes: bool = True) -> Expansion:
    """Unquote a word and expand ``$X``, ``${X}`` and its forms with ``:- :+ - + ? # % /``.

    `escape` is the Dockerfile's escape character; without `quotes` they are plain text, as in a heredoc.
    An unset name gives nothing, and so does ``${X?}``, where a builder would stop. Raises WordError.

    >>> expand("${JAR:-app}.jar", {}).text
    'app.jar'
    """
    if not any(c in word for c in ("$", "'", '"', escape)):
        return Expansion(word)
    lexer = _Lexer(word, values, escape, quotes)
    text = lexer.until("")
    return Expansion(text, frozenset(lexer.used), frozenset(lexer.unset))


class _Lexer:
    """One pass over one word; `at` is the next character."""

    def __init__(self, word: str, values: Mapping[str, str], escape: str, quotes: bool) -> None:
        self._word, self._values, self._escape, self._quotes = word, values, escape, quotes
        self._at = 0
        self.used: set[str] = set()
        self.unset: set[str] = set()

    def _peek(self) -> str:
        return self._word[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def until(self, stop: str, *, raw: bool = False) -> str:
        """Process up to `stop`, which is taken, or to the end; `raw` keeps escape characters."""
        out: list[str] = []
        while char := self._peek():
            if stop and char == stop:
                self._at += 1
                return "".join(out)
            if char == "$":
                out.append(self._dollar())
            elif char == "'" and self._quotes:
                out.append(self._single())
            elif char == '"' and self._quotes:
                out.append(self._double(raw))
            else:
                out.append(self._plain(raw))
        if stop:
            raise WordError(f"missing {stop!r} in {self._word}")
        return "".join(out)

    def _plain(self, raw: bool) -> str:
        char = self._next()
        if char != self._escape:
            return char
        escaped = self._next()
        return char + escaped if raw else escaped

    def _single(self) -> str:
        end = self._word.find("'", self._at + 1)
        if end < 0:
            raise WordError(f"a single quote is not closed in {self._word}")
        text = self._word[self._at + 1 : end]
        self._at = end + 1
        return text

    def _double(self, raw: bool) -> str:
        self._at += 1
        out: list[str] = []
        while char := self._peek():
            if char == '"':
                self._at += 1
                return "".join(out)
            if char == "$":
                out.append(self._dollar())
                continue
            self._at += 1
            if char == self._escape:
                out.append(self._escaped_in_quotes(char, raw))
            else:
                out.append(char)
        raise WordError(f"a double quote is not closed in {self._word}")

    def _escaped_in_quotes(self, char: str, raw: bool) -> str:
        kept = char if raw else ""
        following = self._peek()
        if not following:
            return kept
        return kept + (self._next() if following in ('"', "$", self._escape) else char)

    def _dollar(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            return (self._get(name) or "") if name else "$"
        self._at += 1
        if self._peek() in ("", "{", "}", ":"):
            raise WordError(f"bad substitution in {self._word}")
        name = self._name()
        operator = self._next()
        if operator == "}":
            return self._get(name) or ""
        if operator == "/":
            return self._replaced(name)
        return self._modified(name, operator)

    def _name(self) -> str:
        start = self._at
        first = self._peek()
        if first.isdigit():
            while self._peek().isdigit():
                self._at += 1
        elif first and first in _SPECIAL_NAMES:
            self._at += 1
        else:
            while (char := self._peek()) and (char.isalpha() or char.isdigit() or char == "_"):
                self._at += 1
        return self._word[start : self._at]

    def _get(self, name: str) -> str | None:
        value = self._values.get(name)
        (self.unset if value is None else self.used).add(name)
        return value

    def _modified(self, name: str, operator: str) -> str:
        """``${X:-word}`` and its kin, from after the name."""
        empty_is_unset = operator == ":"
        if empty_is_unset:
            operator = self._next()
        trims = operator in ("#", "%")
        if operator not in ("-", "+", "?", "#", "%") or not operator or (trims and empty_is_unset):
            raise WordError(f"unsupported substitution in {self._word}")
        word = self.until("}", raw=trims)
        value = self._get(name)
        if trims:
            return _trim(value or "", word, operator)
        present = value is not None and not (empty_is_unset and value == "")
        if operator == "+":
            return word if present else ""
        return (value or "") if present else (word if operator == "-" else "")

    def _replaced(self, name: str) -> str:
        everywhere = self._peek() == "/"
        if everywhere:
            self._at += 1
        pattern = _regex(self.until("/", raw=True), greedy=True)
        replacement = self.until("}", raw=True)
        value = self._get(name) or ""
        return re.sub(pattern, lambda _: replacement, value, count=0 if everywhere else 1, flags=re.DOTALL)


def _trim(value: str, word: str, operator: str) -> str:
    """``${X#word}`` and ``${X%word}``, doubled for the longest match."""
    greedy = word.startswith(operator)
    pattern = _regex(word[1:] if greedy else word, greedy=greedy)
    if operator == "#":
        found = re.match(pattern, value, re.DOTALL)
        return value[found.end() :] if found else value
    starts = range(len(value) + 1) if greedy else range(len(value), -1, -1)
    whole = re.compile(pattern, re.DOTALL)
    return next((value[:i] for i in starts if whole.fullmatch(value, i)), value)


def _regex(pattern: str, *, greedy: bool) -> str:
    """A shell pattern of ``*``, ``?`` and escapes, as a regular expression."""
    out: list[str] = []
    chars = iter(pattern)
    for char in chars:
        if char == "*":
            out.append(".*" if greedy else ".*?")
        elif char == "?":
            out.append(".")
        else:
            out.append(re.escape(next(chars, "") if char == "\\" else char))
    return "".join(out)
