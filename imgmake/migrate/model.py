"""The words of a migration: what stands in a Makefile, what make says of it, what is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MARK = "TODO"  # what stands in a Pipefile where a person has to decide
# In every environment: make gives what a Makefile sets under these names to recipes, exported or not.
EVERYWHERE = frozenset(["HOME", "LANG", "LOGNAME", "PATH", "PWD", "USER"])


@dataclass(frozen=True)
class Comment:
    """A line with a comment, or an empty one (`text` is then empty)."""

    line: int
    text: str


@dataclass(frozen=True)
class Assign:
    """``NAME op value``, unexpanded; `target` when it is target-specific, `export` for ``export NAME …``."""

    line: int
    name: str
    op: str  # =, :=, ?=, +=, !=, define; empty for a bare ``export NAME``
    value: str
    export: bool = False
    override: bool = False
    target: str = ""
    comment: str = ""
    file: str = ""  # the included one that it stands in; as in all statements


@dataclass(frozen=True)
class Line:
    """One logical line of a recipe, as it stands there but for the tab; backslash-newlines are kept.

    script: of a whole script of several lines, the shell that runs it; make has none such, other tools have.
    """

    line: int
    text: str
    script: str = ""


@dataclass(frozen=True)
class Cond:
    """``ifeq`` and its kin, around statements or recipe lines; ``else ifeq`` is a `Cond` in `otherwise`."""

    line: int
    test: Literal["ifeq", "ifneq", "ifdef", "ifndef"]
    left: str
    right: str
    then: tuple[Statement | Line, ...]
    otherwise: tuple[Statement | Line, ...]
    file: str = ""


@dataclass(frozen=True)
class Rule:
    """``targets: prerequisites | order-only`` and its recipe, unexpanded; `pattern` of a static pattern rule."""

    line: int
    targets: str
    prerequisites: str
    order_only: str = ""
    pattern: str = ""
    double: bool = False
    recipe: tuple[Line | Cond, ...] = ()
    comment: str = ""
    file: str = ""


@dataclass(frozen=True)
class Include:
    """``include``, ``-include`` or ``sinclude``."""

    line: int
    files: str
    optional: bool
    file: str = ""


@dataclass(frozen=True)
class Other:
    """A line that is nothing of these: ``$(eval …)``, ``vpath``, …"""

    line: int
    text: str
    file: str = ""


Statement = Comment | Assign | Rule | Cond | Include | Other


@dataclass(frozen=True)
class Made:
    """One target of make's database."""

    name: str
    prerequisites: tuple[str, ...]
    order_only: tuple[str, ...] = ()
    phony: bool = False
    recipe: tuple[str, ...] = ()  # physical lines, unexpanded
    file: str = ""
    line: int = 0  # of the recipe
    target_file: bool = True  # whether make takes it for a target, and not only for a prerequisite
    specific: frozenset[str] = frozenset()  # names of target-specific variables
    stem: str = ""  # what a pattern's % stands for
    double: int = 0  # how many double-colon rules make it; prerequisites and recipe are those of all
    given: tuple[tuple[str, str, str], ...] = ()  # variables that it sets: name, operator, text
    intermediate: bool = False  # made for another, and named by patterns alone


@dataclass(frozen=True)
class Value:
    """One variable of make's database: its text as make keeps it, where that came from, and its flavor."""

    name: str
    text: str
    origin: str  # makefile, environment, command line, override, default, automatic
    flavor: str  # =, :=, define
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class Database:
    """What ``make -pnq`` says a Makefile means."""

    targets: Mapping[str, Made]
    variables: Mapping[str, Value]
    default: str = ""
    patterns: tuple[str, ...] = ()
    implicit: tuple[Made, ...] = ()  # pattern rules, `name` being all of one's target patterns
    dropped: tuple[tuple[str, str], ...] = ()  # targets, each with a prerequisite of it that would lead back to it

    def needs(self, target: str) -> tuple[str, ...]:
        """Everything that a target names as to be made before it; nothing of one that is not known."""
        made = self.targets.get(target)
        return (*made.prerequisites, *made.order_only) if made is not None else ()


@dataclass(frozen=True)
class Finding:
    """One defect of the Makefile: what follows from it, and what the Pipefile does instead."""

    line: int
    what: str
    consequence: str
    instead: str


@dataclass(frozen=True)
class Left:
    """What was not translated, or only for today: the Makefile's line, what stands there, and why."""

    line: int
    text: str
    why: str
    target: str = ""  # which fails when it is run; empty where only something had to be said
    file: str = ""  # the included one; empty: the Makefile itself


@dataclass(frozen=True)
class Doubt:
    """A target whose declaration was found wrong, how far it is doubted, and why.

    level: 1 where its commands are to be kept as text, 2 where it can only fail, 3 where it cannot even be declared.
    """

    level: int
    why: str


@dataclass(frozen=True)
class Compared:
    """One target in make's dry run and in imgmake's."""

    target: str
    verdict: Literal["same", "better", "different"]
    why: tuple[str, ...] = ()
    make: tuple[str, ...] = ()
    imgmake: tuple[str, ...] = ()
    said: bool = False  # a difference that the report names


@dataclass(frozen=True)
class Pipefile:
    """The Pipefile that comes of a Makefile, and what is to be said about it."""

    text: str
    left: tuple[Left, ...] = ()
    notes: tuple[Left, ...] = ()
    targets: tuple[str, ...] = ()
    overridable: Mapping[str, str] = field(default_factory=dict)  # variables, and make's value of each
    called: Mapping[str, str] = field(default_factory=dict)  # targets that have another name here
