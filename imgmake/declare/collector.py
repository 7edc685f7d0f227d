"""Where one load of the Pipefiles gathers what they declare, and the mistakes found on the way.

Knows no file system: what a constructor needs of it is asked of a `Loader`, which `imgmake.pipefile` is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from pydantic import ValidationError

from imgmake.declare.complaints import misuse, readable
from imgmake.errors import ImgmakeError, PipefileError, Place, Problems
from imgmake.model import Rule, Variable

P = ParamSpec("P")
R = TypeVar("R")
RuleT = TypeVar("RuleT", bound=Rule)


class Loader(Protocol):
    """What declaring may ask of the world."""

    def include(self, patterns: Sequence[str]) -> Mapping[str, Rule]:
        """Execute further Pipefiles, named from the folder of the one that asks."""

    def glob(self, patterns: Sequence[str]) -> list[Path]:
        """Files and folders that match, from the folder of the Pipefile that asks."""

    def exists(self, path: str) -> bool:
        """Whether a path from the root, or a pattern, names anything."""

    def owns(self, filename: str) -> bool:
        """Whether a source file is the user's: a Pipefile, or a module of the repository."""

    def lines(self, file: str) -> Sequence[str]:
        """The lines of one of the user's source files, named from the root."""


@dataclass
class Collector:
    """The state of one load: `base` is the folder, from the root, of the Pipefile that executes now."""

    root: Path
    loader: Loader = field(init=False)
    overrides: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    project: str = ""  # what images without tags are called after; empty: the root's own name
    rules: list[Rule] = field(default_factory=list)
    variables: dict[str, Variable] = field(default_factory=dict)
    default: tuple[str, Place] | None = None
    problems: list[ImgmakeError] = field(default_factory=list)
    # Names whose declaration failed: that they are missing is no second mistake.
    broken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.project = self.project or self.root.name

    def add(self, rule: RuleT) -> RuleT:
        self.rules.append(rule)
        return rule

    def complain(self, error: ImgmakeError, place: Place) -> None:
        """Keep an error for the end of the load; one that names no place is at `place`."""
        for single in error.errors if isinstance(error, Problems) else (error,):
            single.place = single.place or place
            self.problems.append(single)

    def here(self) -> Place:
        """The innermost line of the user's own code that is being executed."""
        frame = sys._getframe(1)
        while frame is not None:
            if self.loader.owns(frame.f_code.co_filename):
                return Place(self.spell(frame.f_code.co_filename), frame.f_lineno)
            frame = frame.f_back  # type: ignore[assignment]  # the outermost frame has none
        return Place("Pipefile.py", 0)

    def spell(self, filename: str) -> str:
        """A source file as places show it: from the root."""
        return filename.removeprefix(f"{self.root}/".replace("//", "/"))

    def comment_above(self, place: Place, word: str) -> str:
        """The comment right above a declaration that starts its line with ``word(``, joined to one line."""
        lines = self.loader.lines(place.file)
        if not 1 < place.line <= len(lines) or not _starts(lines[place.line - 1], word):
            return ""
        found: list[str] = []
        for line in reversed(lines[: place.line - 1]):
            text = line.strip()
            if not text.startswith("#") or _NO_HELP.match(text):
                break
            found.append(text.lstrip("#").strip())
        return " ".join(part for part in reversed(found) if part)


# The target of the rule that stands in for one that could not be declared; no real target may hold the character.
BROKEN = "?"

ACTIVE: ContextVar[Collector | None] = ContextVar("imgmake_collector", default=None)

# Shebang and coding lines, linter pragmas, and rulers such as `# -----` or `# --- images ---`.
_NO_HELP = re.compile(r"#!|#\s*(?:noqa|type:|fmt:|pragma|ruff:|pylint:|mypy:|-\*-|\W*$|[-=#*_~]{2,})")


def _starts(line: str, word: str) -> bool:
    return re.match(rf"\s*(?:@|[\w., ]+(?::[^=]+)?=\s*)?(?:\w+\.)*{word}\(", line) is not None


def active(word: str) -> Collector:
    """The collector of the load under way; PipefileError when there is none."""
    collector = ACTIVE.get()
    if collector is None:
        raise PipefileError(
            f"{word}() declares part of a pipeline, and works only while a Pipefile is loaded",
            hint="call it in Pipefile.py, at the top level or in a function called from there, not in a recipe",
        )
    return collector


def declares(fallback: Callable[[Place], R]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a constructor's errors wait for the end of the load: it then returns `fallback`, and the load goes on."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            collector = active(function.__name__)
            try:
                return function(*args, **kwargs)
            except ValidationError as error:
                problem: ImgmakeError = Problems(readable(error, _subject(function.__name__, args)))
            except ImgmakeError as error:
                problem = error
            except TypeError as error:
                problem = misuse(function, args, kwargs, error)
            place = collector.here()
            collector.complain(problem, place)
            collector.broken.update(_attempted(collector.base, args))
            return fallback(place)

        return call

    return decorate


def _attempted(base: str, args: Sequence[object]) -> set[str]:
    name = args[0] if args and isinstance(args[0], str) else BROKEN
    return {BROKEN, name, f"{base}/{name}"}


def _subject(word: str, args: Sequence[object]) -> str:
    return f"{word} {args[0]!r}" if args and isinstance(args[0], str) else f"{word}()"
