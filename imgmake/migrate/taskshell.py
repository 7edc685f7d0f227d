"""What a task has its commands run under: a folder, an environment, checks, a question whether to run. Pure.

The same is put around the commands that `task --dry` tells, which are shown without it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from imgmake.migrate.translated import within

_BASH = re.compile(
    r"\[\[|<<<|\(\(|=\(|[<>]\(|&>|\$\{[^}]*(?://|\^|,,)|\b(?:source|declare|local|shopt|pipefail|function)\b"
    r"|\{[^{}\s]*(?:\.\.|,)[^{}\s]*\}| == "
)


@dataclass(frozen=True)
class Around:
    """All of this, in one kind of words: make's, or as it is today."""

    folder: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    checks: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    pipes: bool = False
    deferred: tuple[int, ...] = ()  # how many commands stand before each that comes last, whatever happens

    @property
    def plain(self) -> bool:
        """Whether commands run as they are shown."""
        return self == Around()

    def texts(self) -> list[str]:
        """Every text in it, in order."""
        return [self.folder, *(text for _, text in self.environment), *self.checks, *self.status]

    def filled(self, values: Sequence[str]) -> Around:
        """The same with other texts."""
        given = iter(values)
        return replace(
            self,
            folder=next(given),
            environment=tuple((name, next(given)) for name, _ in self.environment),
            checks=tuple(next(given) for _ in self.checks),
            status=tuple(next(given) for _ in self.status),
        )

    def command(self, text: str, dollar: str = "$") -> str:
        """One command; `dollar` is how these words have the shell's."""
        found = text
        if self.pipes and re.search(r"(?<!\|)\|(?!\|)", text):
            found = f"set -o pipefail; {found}"
        for name, value in reversed(self.environment):
            found = f'export {name}="{dollar}{{{name}-{value}}}"; {found}'
        if self.folder:
            joined = re.search(r"[;&|\n]", found)
            found = f"cd {self.folder}\n{found}" if joined else within(self.folder, found)
        return found

    def whole(self, commands: Sequence[str]) -> str:
        """All commands as one, which is left out where the task is done already; those of `defer` at their end."""
        count = len(commands) - len(self.deferred)
        lines = list(commands[:count])
        for at, last in zip(self.deferred, commands[count:], strict=False):
            lines.insert(at, f"trap {shlex.quote(last)} EXIT")
        asked = " && ".join(f"( {each} )" for each in self.status)
        return "\n".join([*([f"if {asked}; then exit 0; fi"] if asked else []), *lines])


def needs_bash(text: str) -> bool:
    """Whether task's own shell takes what a plain one does not."""
    return bool(_BASH.search(re.sub(r"'[^']*'", "''", text)))
