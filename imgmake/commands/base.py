"""What every command of a recipe can do: name what it reads, sign, show and run itself.

A command holds data as declared, with late values unexpanded; `View` resolves them, `Job` adds the
ports through which it runs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from imgmake.model import Command, Field, ImageRule
from imgmake.ports import Cancel, Engine, Finding, Output, Shell

__all__ = ["Action", "Finding", "Job", "Read", "View", "as_action"]


class Read(NamedTuple):
    """A file or image that a command reads by naming it, and why: ``lint Dockerfile``."""

    kind: Literal["file", "image"]
    what: str | ImageRule  # a path relative to the Pipefile's folder, or an image (late values unexpanded)
    why: str


@dataclass(frozen=True)
class View:
    """The eyes of a command: how late values and images are spelt, for showing and for signing.

    expand:    ``"$BUILD_ID"`` to its value, in any string but shell text.
    names:     the declared names that a text mentions (``$NAME`` or ``${NAME}``).
    value:     the value of one declared name, for the environment of a shell.
    secret:    whether a declared name is secret (shown as ``$NAME``, never by value).
    image:     an image rule or reference to what docker should be given: the ID of the resolved
               image while running, its first tag while showing.
    content:   what stands for an image when signing: its content ID, else its expanded reference.
    """

    expand: Callable[[str], str]
    names: Callable[[str], frozenset[str]]
    value: Callable[[str], str]
    secret: Callable[[str], bool]
    image: Callable[[str | ImageRule], str]
    content: Callable[[str | ImageRule], str]
    root: Path
    base: str = ""  # folder of the Pipefile, from the root; relative paths start there
    target: str = ""
    inputs: tuple[str, ...] = ()  # $in: prerequisite files, relative to `base`
    outputs: tuple[str, ...] = ()  # $out: the targets of a file rule, relative to `base`

    @property
    def folder(self) -> Path:
        return self.root / self.base


def _unheard(finding: Finding) -> None:
    """Where a finding goes when nobody keeps evidence."""


@dataclass(frozen=True)
class Job:
    """A view, and the ports to run through."""

    view: View
    engine: Callable[[], Engine]  # connects on first use; raises EngineUnavailable
    shell: Shell
    output: Output
    cancel: Cancel
    environ: Mapping[str, str] = field(default_factory=dict)  # the user's environment
    found: Callable[[Finding], None] = _unheard  # for what a command learns by running; else its `finding` is taken


class Action(Command):
    """A command that imgmake knows how to run."""

    @abstractmethod
    def reads(self) -> tuple[Read, ...]:
        """Every file and image that it names; each becomes an inferred prerequisite."""

    def writes(self) -> tuple[str, ...]:
        """Files that it leaves behind beside the targets, such as a report; relative to the Pipefile's folder."""
        return ()

    @abstractmethod
    def fields(self, view: View) -> tuple[Field, ...]:
        """What counts of it: text as written and each value it uses; never contents of what it reads."""

    @abstractmethod
    def show(self, view: View) -> str:
        """The equal ``docker …`` or shell line, secrets masked."""

    @abstractmethod
    def run(self, job: Job) -> None:
        """Do it; raises CommandFailed."""

    def finding(self, view: View) -> Finding:  # noqa: ARG002
        """Who examined, when it ended well and told `job.found` nothing itself."""
        return Finding(type(self).__name__.lower())

    def max_age(self) -> float | None:
        """How long a pass of a check that holds it is good, in seconds, unless the rule says; None: for ever."""
        return None

    def ends(self, view: View) -> float | None:  # noqa: ARG002
        """When time alone ends a pass earlier, in seconds since the epoch; asked of a command with a `max_age`."""
        return None

    def names_inputs(self) -> bool:
        """Whether it says all that it reads (then a check that holds it cannot be green for ever)."""
        return True


def as_action(command: Any) -> Action:
    """Narrow a recipe's step to an Action (a callable is wrapped by `imgmake.commands.python`)."""
    if not isinstance(command, Action):
        raise TypeError(f"not a command: {command!r}")
    return command
