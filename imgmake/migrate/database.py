"""Parses what ``make -pnq`` prints: make's own answer to what a Makefile means. Starts nothing.

The format is that of GNU make 3.81 to 4.4: https://www.gnu.org/software/make/manual/html_node/Options-Summary.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from imgmake.migrate.model import Database, Made, Value

_FROM = re.compile(r"^# (?P<origin>[a-z' -]+?)(?: under -e)?(?: \(from [`'](?P<file>[^']*)', line (?P<line>\d+)\))?$")
_VARIABLE = re.compile(r"^(?P<name>[^\s:#=]+) (?P<op>:?=|::=) ?(?P<value>.*)$", re.DOTALL)
_RECIPE = re.compile(r"^#  (?:recipe|commands) to execute(?: \(from [`'](.*)', line (\d+)\))?")
_STEM = re.compile(r"^#  Implicit/static pattern stem: [`'](.*)'$")
_GIVEN = re.compile(
    r"^(?:# |[^\t#].*?: ?)(?:(?:export|override|private) )*(?P<name>[A-Za-z_]\w*) (?P<op>[:?+]?=) ?(?P<value>.*)$"
)
_OWN = re.compile(r"^[^\t#].*?: ?(?:export |override )*([^\s:=?+]+) (?::|::|\?|\+)?= ")
_SPECIFIC = re.compile(r"^# ([^\s:]+) (?::|\?|\+)?= ")


def parse(text: str) -> Database:
    """The database in the output of ``make -p``."""
    lines = text.split("\n")
    variables = {value.name: value for value in _variables(_section(lines, "# Variables"))}
    targets = _files(_section(lines, "# Files"))
    rules = _section(lines, "# Implicit Rules")
    patterns, implicit = tuple(_patterns(rules)), tuple(_implicit(rules))
    goal = variables.get(".DEFAULT_GOAL")
    return Database(targets, variables, goal.text if goal else "", patterns, implicit)


def _section(lines: list[str], title: str) -> list[str]:
    """From the last such title (what a Makefile prints comes before make's own) to the next one."""
    ends = (
        "# Variables",
        "# Pattern-specific",
        "# No pattern-specific",
        "# Directories",
        "# Implicit Rules",
        "# Files",
        "# files hash-table",
        "# VPATH",
    )
    starts = [at for at, line in enumerate(lines) if line == title]
    if not starts:
        return []
    rest = lines[starts[-1] + 1 :]
    end = next((at for at, line in enumerate(rest) if line.startswith(ends)), len(rest))
    return rest[:end]


def _variables(lines: Sequence[str]) -> Iterator[Value]:
    about: re.Match[str] | None = None
    rest = iter(lines)
    for line in rest:
        if line.startswith("# "):
            about = _FROM.match(line) or about
        elif about is not None and line.startswith("define "):
            name = line.split()[1]
            yield _value(about, name, "\n".join(_until_endef(rest)), "define")
        elif about is not None and (match := _VARIABLE.match(line)):
            yield _value(about, match["name"], match["value"], match["op"])


def _until_endef(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line == "endef":
            return
        yield line


def _value(about: re.Match[str], name: str, text: str, flavor: str) -> Value:
    origin = about["origin"].strip("'").replace("' directive", "").replace("override'", "override")
    return Value(name, text, origin, flavor, about["file"] or "", int(about["line"] or 0))


def _patterns(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if "%" in line and ":" in line and not line.startswith(("#", "\t")):
            yield line.partition(":")[0]


def _implicit(lines: Sequence[str]) -> Iterator[Made]:
    """The pattern rules that a Makefile has: those of make's own come from no file."""
    for block in _blocks(lines):
        head = next((line for line in block if "%" in line and not line.startswith(("#", "\t"))), "")
        about = next((match for line in block if (match := _RECIPE.match(line))), None)
        if head and about and about[1]:
            targets, _, rest = head.partition(":")
            normal, _, order = rest.lstrip(":").partition("|")
            recipe = tuple(line[1:] for line in block if line.startswith("\t"))
            yield Made(
                targets, tuple(normal.split()), tuple(order.split()), False, recipe, about[1], int(about[2] or 0)
            )


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for line in [*lines, ""]:
        if line:
            block.append(line)
        elif block:
            yield block
            block = []


def _files(lines: Sequence[str]) -> dict[str, Made]:
    found: dict[str, Made] = {}
    for block in _blocks(lines):
        _add(found, block)
    return found


def _add(found: dict[str, Made], block: list[str]) -> None:
    heads = [line for line in block if not line.startswith(("#", "\t"))]
    head = next((line for line in heads if not _OWN.match(line)), None)
    own = {match[1] for line in heads if (match := _OWN.match(line))}
    if head is None or ":" not in head:
        return
    name, _, rest = _split(head)
    normal, _, order = rest.lstrip(":").partition("|")
    about = next((match for line in block if (match := _RECIPE.match(line))), None)
    specific = frozenset({match[1] for line in block if (match := _SPECIFIC.match(line))} | own)
    made = Made(
        name,
        tuple(normal.split()),
        tuple(order.split()),
        any("Phony target" in line for line in block),
        tuple(line[1:] for line in block if line.startswith("\t")),
        (about and about[1]) or "",
        int((about and about[2]) or 0),
        "# Not a target:" not in block,
        frozenset(name for name in specific if re.fullmatch(r"\w+", name)),
        next((match[1] for line in block if (match := _STEM.match(line))), ""),
        int(rest.startswith(":")),
        tuple(_given(block)),
        "#  File is an intermediate prerequisite." in block,
    )
    found[name] = _both(found[name], made) if made.double and name in found else made


def _given(block: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """The variables that a target sets for itself; automatic ones are make's."""
    for line in block:
        if match := _GIVEN.match(line):
            yield match["name"], match["op"], match["value"]


def _both(one: Made, other: Made) -> Made:
    """Two double-colon rules of one target."""
    return replace(
        one,
        prerequisites=tuple(dict.fromkeys((*one.prerequisites, *other.prerequisites))),
        order_only=tuple(dict.fromkeys((*one.order_only, *other.order_only))),
        recipe=(*one.recipe, *other.recipe),
        double=one.double + other.double,
    )


def _split(head: str) -> tuple[str, str, str]:
    """At the first colon that ends the target: names may hold an escaped one."""
    match = re.match(r"(\S+?):(?=:?(?:\s|$))", head)  # make prints names as they are, colons and all
    name = match[1] if match else head.partition(":")[0]
    return name.replace("\\:", ":"), ":", head[len(name) + 1 :]
