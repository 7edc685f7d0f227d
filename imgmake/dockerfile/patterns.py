"""Patterns of Go's `filepath.Match` and of moby's `patternmatcher`, as Python expressions; knows no file system."""

from __future__ import annotations

import functools
import posixpath
import re

_QUANTIFIERS = "*+?"
_ESCAPES = {"z": r"\Z", "A": r"\A", "a": r"\a", "f": r"\f", "n": r"\n", "r": r"\r", "t": r"\t", "v": r"\v"}
_ESCAPES |= {c: f"\\{c}" for c in "dDsSwWbB"}
_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}


class BadPattern(ValueError):
    """Go's ErrBadPattern."""


def clean(path: str) -> str:
    """Go's `filepath.Clean`: Python's, but two leading slashes are one.

    >>> clean("//a/../b/")
    '/b'
    """
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def has_wildcards(pattern: str) -> bool:
    r"""Whether an unescaped ``*``, ``?`` or ``[`` stands in it (BuildKit's and moby's `containsWildcards`).

    >>> has_wildcards(r"a\*b"), has_wildcards("a*b")
    (False, True)
    """
    return bool(re.match(r"(?:[^\\*?\[]|\\.)*[*?\[]", pattern, re.DOTALL))


@functools.lru_cache(maxsize=1024)
def glob(pattern: str) -> re.Pattern[str]:
    """`filepath.Match`, for ``fullmatch``: ``*`` and ``?`` stay within a component. Raises BadPattern.

    >>> bool(glob("target/*.jar").fullmatch("target/app.jar"))
    True
    """
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            text, at = _glob_class(pattern, at)
            out.append(text)
        elif char == "\\":
            if at == len(pattern):
                raise BadPattern("it ends with a backslash")
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return re.compile("".join(out), re.DOTALL)


def _glob_class(pattern: str, at: int) -> tuple[str, int]:
    """``[a-z]`` from after its bracket; returns the expression and where it ended."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    items: list[str] = []
    while not (items and pattern[at : at + 1] == "]"):
        low, at = _glob_char(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _glob_char(pattern, at + 1)
        # A range upside down matches nothing, and must not end the class early.
        items.append(f"{_in_class(low)}-{_in_class(high)}" if low <= high else "")
    return _class("".join(items), negated), at + 1


def _glob_char(pattern: str, at: int) -> tuple[str, int]:
    char = pattern[at : at + 1]
    if char == "\\":
        at += 1
        char = pattern[at : at + 1]
    elif char in ("-", "]"):
        raise BadPattern(f"a range lacks a character before {char!r}")
    if not char or at + 1 >= len(pattern):
        raise BadPattern("a '[' is not closed")
    return char, at + 1


def _in_class(char: str) -> str:
    return f"\\{char}" if char in r"\]^-[&~|" else char


def _class(items: str, negated: bool) -> str:
    if not items:
        return "(?s:.)" if negated else "(?!)"
    return f"[{'^' if negated else ''}{items}]"


def moby(pattern: str) -> str:
    """The source of moby/patternmatcher's match of a cleaned pattern, for ``fullmatch``. Raises BadPattern.

    Literal patterns, ``x/**`` and ``**/x`` never become expressions there; that shows: ``**x`` also
    takes ``yx``.
    """
    glob(pattern)
    kind, expression = _moby(pattern, ".+()|{}$")
    if kind == "exact":
        return re.escape(pattern)
    if kind == "prefix":
        return re.escape(pattern[:-2]) + "(?s:.*)"
    if kind == "suffix":
        suffix = pattern[2:]
        return f"(?s:.*){re.escape(suffix)}" + (f"|{re.escape(suffix[1:])}" if suffix.startswith("/") else "")
    return _python(expression)


def moby_before_23(pattern: str) -> str:
    """As `moby`, for Docker before 23.0: always an expression, in which ``+ ( ) | { }`` keep their meaning."""
    glob(pattern)
    return _python(_moby(pattern, ".$")[1])


def _moby(pattern: str, escaped: str) -> tuple[str, str]:
    """What `Pattern.compile` makes of it: how it is matched, and the RE2 source."""
    kind, out, at, first = "exact", "", 0, True
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if pattern.startswith("**", at - 1):
            at += 1 + pattern.startswith("/", at + 1)
            if at < len(pattern):
                kind, out = "regexp", f"{out}(.*/)?"
            elif kind == "exact":
                kind, out = "prefix", f"{out}.*"
            else:
                kind, out = "regexp", f"{out}.*"
            kind = "suffix" if first else kind
        elif char in "*?":
            kind, out = "regexp", out + ("[^/]*" if char == "*" else "[^/]")
        elif char == "\\":
            kind, out = "regexp", out + char + pattern[at : at + 1]
            at += 1
        else:
            kind = "regexp" if char in "[]" else kind
            out += f"\\{char}" if char in escaped else char
        first = False
    return kind, out


def _python(re2: str) -> str:
    """An RE2 expression in Python's syntax; only what `_moby` can make of a pattern is understood."""
    out: list[str] = []
    at, quantified = 0, False
    while at < len(re2):
        char = re2[at]
        at += 1
        if char == "\\":
            out.append(_escape(re2[at : at + 1]))
            at += 1
        elif char == "[":
            text, at = _re2_class(re2, at)
            out.append(text)
        elif char in "*+" and quantified:
            raise BadPattern(f"nothing to repeat before {char!r}")
        else:
            out.append({".": "[^\n]", "$": r"\Z", "^": r"\A", "]": r"\]"}.get(char, char))
        quantified = char in _QUANTIFIERS
    source = "".join(out)
    try:
        re.compile(source, re.ASCII)
    except re.error as error:
        raise BadPattern(str(error)) from error
    return source


def _escape(char: str) -> str:
    if char.isalnum():
        if char in _ESCAPES:
            return _ESCAPES[char]
        raise BadPattern(f"unknown escape \\{char}")
    return re.escape(char)


def _re2_class(re2: str, at: int) -> tuple[str, int]:
    """A class as RE2 reads it, from after its bracket; returns Python's and where it ended."""
    negated = re2[at : at + 1] == "^"
    at += negated
    items: list[str] = []
    while not (items and re2[at : at + 1] == "]"):
        if re2.startswith("[:", at) and (end := re2.find(":]", at + 2)) >= 0:
            items.append(_posix(re2[at + 2 : end]))
            at = end + 2
            continue
        if re2[at : at + 1] == "\\" and re2[at + 1 : at + 2] in tuple("dDsSwW"):
            items.append(re2[at : at + 2])
            at += 2
            continue
        low, at = _re2_char(re2, at)
        high = low
        if re2[at : at + 1] == "-" and re2[at + 1 : at + 2] not in ("]", ""):
            high, at = _re2_char(re2, at + 1)
            if high < low:
                raise BadPattern(f"the range {low}-{high} is upside down")
        items.append(f"{_in_class(low)}-{_in_class(high)}")
    return _class("".join(items), negated), at + 1


def _posix(name: str) -> str:
    positive = name.removeprefix("^")
    if positive not in _POSIX or positive != name:
        raise BadPattern(f"unknown class [:{name}:]")
    return _POSIX[positive]


def _re2_char(re2: str, at: int) -> tuple[str, int]:
    char = re2[at : at + 1]
    if char == "\\":
        at += 1
        char = re2[at : at + 1]
        if char.isalnum() and char not in "afnrtv":
            raise BadPattern(f"unknown escape \\{char}")
        char = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}.get(char, char)
    if not char:
        raise BadPattern("a '[' is not closed")
    return char, at + 1
