"""Reads a Makefile for its shape: comments, order, conditionals, unexpanded text. What it means is make's to say.

Rules of the syntax: https://www.gnu.org/software/make/manual/html_node/Makefiles.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from imgmake.migrate.model import Assign, Comment, Cond, Include, Line, Other, Rule, Statement

_ASSIGN = re.compile(
    r"^(?P<words>(?:(?:export|override|private|unexport)\s+)*)"
    r"(?P<name>[^\s:#=+?!]+)\s*(?P<op>::?:?=|\?=|\+=|!=|=)\s*(?P<value>.*)$",
    re.DOTALL,
)
_DEFINE = re.compile(r"^(?P<words>(?:(?:export|override)\s+)*)define\s+(?P<name>\S+)\s*(?P<op>[:?+]?=)?\s*$")
_COND = re.compile(r"^(ifeq|ifneq|ifdef|ifndef)\b\s*(.*)$", re.DOTALL)
_ELSE = re.compile(r"^else\b\s*(.*)$", re.DOTALL)
_INCLUDE = re.compile(r"^(-include|sinclude|include)\s+(.+)$")
_EXPORT = re.compile(r"^(export|unexport)\b\s*(.*)$")
_STATIC = 3  # targets, pattern, prerequisites


class _Lines:
    """The logical lines of a text, one at a time: (number, text), continuation lines kept as they are."""

    def __init__(self, text: str) -> None:
        self._physical = text.split("\n")
        if self._physical and not self._physical[-1]:
            self._physical.pop()
        self._at = 0

    def peek(self) -> str | None:
        return self._physical[self._at] if self._at < len(self._physical) else None

    def take(self) -> tuple[int, str]:
        number, parts = self._at + 1, []
        while self._at < len(self._physical):
            parts.append(self._physical[self._at])
            self._at += 1
            if not _continues(parts[-1]):
                break
        return number, "\n".join(parts)

    def take_physical(self) -> str:
        self._at += 1
        return self._physical[self._at - 1]


def read(text: str) -> tuple[Statement, ...]:
    """The statements of a Makefile in their order.

    >>> read("A ?= 1\\nall: x ; echo $(A)\\n")[0]
    Assign(line=1, name='A', op='?=', value='1', export=False, override=False, target='', comment='', file='')
    """
    found, _ = _block(_Lines(text), top=True)
    return tuple(each for each in found if not isinstance(each, Line))


def _continues(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def joined(text: str) -> str:
    """A logical line outside of recipes: backslash-newline and the blanks around it are one space."""
    return re.sub(r"\s*\\\n\s*", " ", text)


def uncommented(text: str) -> tuple[str, str]:
    """The text before an unescaped ``#`` outside of ``$(…)``, and the comment."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char in "({" and at > 0 and (text[at - 1] == "$" or depth > 0)) - (char in ")}" and depth > 0)
        if char == "#" and depth == 0 and not (at and text[at - 1] == "\\"):
            return text[:at], text[at + 1 :].strip()
    return text, ""


def _block(lines: _Lines, *, top: bool, recipe: bool = False) -> tuple[list[Statement | Line], str]:
    """Statements up to an ``else`` or ``endif`` that belongs to the caller, and that word with what follows it."""
    found: list[Statement | Line] = []
    while (ahead := lines.peek()) is not None:
        if ahead.startswith("\t") and _in_rule(found, recipe):
            number, text = lines.take()
            _add_line(found, Line(number, ended(_untabbed(text))))
            continue
        number, raw = lines.take()
        text = joined(raw).strip()
        if not top and (text == "endif" or text.startswith(("endif ", "endif#")) or _ELSE.match(text)):
            return found, text
        _add(found, number, text, lines, recipe=recipe)
    return found, ""


def _in_rule(found: Sequence[Statement | Line], before: bool) -> bool:
    """Whether a line with a tab is a recipe's here: what is no rule, condition or comment ends the rule before it."""
    at = next((i for i in range(len(found) - 1, -1, -1) if not isinstance(found[i], Comment)), None)
    if at is None:
        return before
    last = found[at]
    if isinstance(last, Cond):
        around = _in_rule(found[:at], before)
        return _in_rule(last.then, around) or _in_rule(last.otherwise, around)
    return isinstance(last, Rule | Line)


def _untabbed(text: str) -> str:
    """make drops the tab of each continuation line, too."""
    return "\n".join(line.removeprefix("\t") for line in text.split("\n"))


def ended(text: str) -> str:
    """A recipe line without the backslash that continues it with nothing.

    >>> ended("a; \\\\\\n"), ended("a \\\\\\\\")
    ('a;', 'a \\\\\\\\')
    """
    return re.sub(r"(?<!\\)((?:\\\\)*)\\\s*$", r"\1", text).rstrip(" \t") if text.rstrip().endswith("\\") else text


def _add_line(found: list[Statement | Line], line: Line | Cond) -> None:
    """A recipe line belongs to the last rule, over comments and empty lines between."""
    if _after_condition(found, line):
        return
    at = next((i for i in range(len(found) - 1, -1, -1) if isinstance(found[i], Rule)), None)
    if at is None:
        found.append(line)
        return
    rule = found[at]
    assert isinstance(rule, Rule)
    between = found[at + 1 :]
    if all(isinstance(each, Comment) and not each.text for each in between):
        del found[at + 1 :]
    found[at] = Rule(**{**vars(rule), "recipe": (*rule.recipe, line)})


def _after_condition(found: list[Statement | Line], line: Line | Cond) -> bool:
    """Whether a line follows a condition that ends with a rule: it belongs to that one, or to the rule before."""
    at = next((i for i in range(len(found) - 1, -1, -1) if not isinstance(found[i], Comment)), -1)
    cond = found[at] if at >= 0 else None
    if not isinstance(cond, Cond) or not cond.then or not isinstance(cond.then[-1], Rule):
        return False
    otherwise = list(cond.otherwise)
    if not otherwise:
        before = next((i for i in range(at - 1, -1, -1) if not isinstance(found[i], Comment)), -1)
        rule = found[before] if before >= 0 else None
        if not isinstance(rule, Rule) or rule.recipe:
            return False
        otherwise = [rule]
        # What a pattern rule without a recipe needs counts for nothing; an explicit rule's counts for both.
        found[before] = Comment(rule.line, "") if "%" in rule.targets else replace(rule, comment="")
    if not isinstance(otherwise[-1], Rule):
        return False
    then, other = (replace(each, recipe=(*each.recipe, line)) for each in (cond.then[-1], otherwise[-1]))
    found[at] = replace(cond, then=(*cond.then[:-1], then), otherwise=(*otherwise[:-1], other))
    return True


def _add(found: list[Statement | Line], number: int, text: str, lines: _Lines, *, recipe: bool) -> None:
    in_rule = _in_rule(found, recipe)
    if not text or text.startswith("#"):
        found.append(Comment(number, text))
    elif match := _COND.match(text):
        cond = _cond(number, match[1], match[2], lines, recipe=in_rule)
        if not _holds_lines(cond):
            found.append(cond)
            return
        _add_line(found, _part(cond, lines=True))
        others = _part(cond, lines=False)
        if any(not isinstance(each, Comment) for each in (*others.then, *others.otherwise)):
            found.append(others)  # such a line has no tab: it ends the rule, whatever it was meant to be
    elif match := _DEFINE.match(text):
        found.append(_define(number, match, lines))
    else:
        found.append(_statement(number, text))


def _holds_lines(cond: Cond) -> bool:
    every = (*cond.then, *cond.otherwise)
    return any(isinstance(each, Line) or (isinstance(each, Cond) and _holds_lines(each)) for each in every)


def _part(cond: Cond, *, lines: bool) -> Cond:
    """A condition within a recipe with its recipe lines alone, or with all else alone."""

    def kept(side: Sequence[Statement | Line]) -> tuple[Statement | Line, ...]:
        parts = (_part(each, lines=lines) if isinstance(each, Cond) else each for each in side)
        empty = (each for each in parts if not (isinstance(each, Cond) and not (each.then or each.otherwise)))
        return tuple(each for each in empty if isinstance(each, Cond | Comment) or isinstance(each, Line) is lines)

    return replace(cond, then=kept(cond.then), otherwise=kept(cond.otherwise))


def _cond(number: int, test: str, operands: str, lines: _Lines, *, recipe: bool) -> Cond:
    left, right = _operands(test, uncommented(operands)[0].strip())
    then, end = _block(lines, top=False, recipe=recipe)
    otherwise: list[Statement | Line] = []
    if match := _ELSE.match(end):
        if inner := _COND.match(match[1]):
            otherwise = [_cond(number, inner[1], inner[2], lines, recipe=recipe)]
        else:
            otherwise, _ = _block(lines, top=False, recipe=recipe)
    return Cond(number, test, left, right, tuple(then), tuple(otherwise))  # type: ignore[arg-type]  # one of the four


def _operands(test: str, text: str) -> tuple[str, str]:
    if test in ("ifdef", "ifndef"):
        return text, ""
    if text.startswith("("):
        inner = text[1:].rstrip()
        inner = inner.removesuffix(")")
        left, _, right = _at_comma(inner)
        return left.strip(), right.strip()
    words = re.findall(r"\"([^\"]*)\"|'([^']*)'", text)
    pair = [one or other for one, other in words] + ["", ""]
    return pair[0], pair[1]


def _at_comma(text: str) -> tuple[str, str, str]:
    depth = 0
    for at, char in enumerate(text):
        depth += (char in "({") - (char in ")}")
        if char == "," and depth == 0:
            return text[:at], ",", text[at + 1 :]
    return text, "", ""


def _define(number: int, match: re.Match[str], lines: _Lines) -> Assign:
    body: list[str] = []
    depth = 1
    while lines.peek() is not None:
        line = lines.take_physical()
        depth += bool(re.match(r"\s*define\b", line)) - bool(re.match(r"\s*endef\b", line))
        if depth == 0:
            break
        body.append(line)
    words = match["words"].split()
    return Assign(number, match["name"], "define", "\n".join(body), "export" in words, "override" in words)


def _statement(number: int, text: str) -> Statement:
    if match := _INCLUDE.match(text):
        return Include(number, match[2].strip(), match[1] != "include")
    if (match := _ASSIGN.match(text)) and not _is_rule(text, match):
        return _assign(number, match)
    if match := _EXPORT.match(text):
        return Assign(number, uncommented(match[2])[0].strip(), match[1], "", export=match[1] == "export")
    return _rule(number, text) or Other(number, text)


def _is_rule(text: str, match: re.Match[str]) -> bool:
    """``a: B = c`` has its ``:`` before any assignment."""
    return ":" in text[: match.start("op")].replace("$(", "").partition(")")[2]


def _assign(number: int, match: re.Match[str], target: str = "") -> Assign:
    value, comment = uncommented(match["value"])
    words = match["words"].split()
    # Blanks before a comment belong to the value, in make as here.
    return Assign(
        number,
        match["name"],
        match["op"],
        (value if comment else value.rstrip()).replace("\\#", "#"),
        "export" in words,
        "override" in words,
        target,
        comment,
    )


def _rule(number: int, text: str) -> Statement | None:
    parts = list(_colons(text))
    if len(parts) < 2:
        return None
    double = parts[1] == "" and len(parts) > 2
    targets, rest = parts[0].strip(), parts[2:] if double else parts[1:]
    body = ":".join(rest)
    if match := _ASSIGN.match(body.strip()):
        return _assign(number, match, targets)
    if targets.endswith("&"):
        return Other(number, text)
    return _plain_rule(number, targets, rest, double)


def _plain_rule(number: int, targets: str, rest: list[str], double: bool) -> Rule:
    pattern, tail = (rest[0].strip(), rest[1]) if len(rest) == _STATIC - 1 else ("", ":".join(rest))
    head, semicolon, inline = _top_level(tail, ";")
    head, comment = uncommented(head)
    normal, _, order = _top_level(head, "|")
    # Nothing behind it is a recipe, too: of a pattern, one that makes.
    recipe = (Line(number, inline.strip()),) if semicolon and (inline.strip() or "%" in targets) else ()
    return Rule(number, targets, normal.strip(), order.strip(), pattern, double, recipe, comment)


def _top_level(text: str, mark: str) -> tuple[str, str, str]:
    depth = 0
    for at, char in enumerate(text):
        depth += (char in "({") - (char in ")}")
        if char == mark and depth == 0:
            return text[:at], mark, text[at + 1 :]
    return text, "", ""


def _colons(text: str) -> Iterator[str]:
    """The text split at colons that are in no ``$(…)`` and not escaped, up to a ``;``."""
    depth, start = 0, 0
    for at, char in enumerate(text):
        depth += (char in "({") - (char in ")}")
        if char in ";#" and depth == 0:
            break
        if char == ":" and depth == 0 and text[at - 1 : at] != "\\" and text[at + 1 : at + 2] != "=":
            yield text[start:at]
            start = at + 1
    yield text[start:]
