"""task, asked for its own dry run.

https://taskfile.dev/docs/reference/cli
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from imgmake.errors import UsageError
from imgmake.migrate import taskread, yamlfile
from imgmake.migrate.taskfile import Writer
from imgmake.migrate.taskvars import Special
from imgmake.migrate.tools import Tool, ToolFailed, complaint
from imgmake.migrate.translated import CONFIRM, Translated
from imgmake.ports import Shell

GET = "pip install go-task-bin"
_BEGINS = re.compile(r"task: \[([^\]]+)\] (.*)", re.DOTALL)
# What keeps a dry run from showing all commands: put out of the way in the copy.
_ASIDE = {
    "internal": "false",
    "preconditions": "[]",
    "status": "[]",
    "prompt": "[]",
    "sources": "[]",
    "generates": "[]",
}

_SILENT = "silent"


class Task(Translated):
    """A Taskfile, with the Makefile that it comes to."""

    writer: Writer

    def takes(self, target: str, name: str) -> bool:
        """task gives a variable of the command line to all tasks; those that one is called with are its own."""
        return target not in self.writer.specials and name not in self.writer.usual | {CONFIRM}

    def dry_run(
        self,
        target: str,
        overrides: Mapping[str, str] = {},
        *,
        phony: Sequence[str] = (),  # noqa: ARG002 (task makes no files)
    ) -> tuple[int, list[str], str]:
        known = (target, *(f"{name}={value}" for name, value in sorted(overrides.items())))
        if known not in self._runs:
            self._runs[known] = self._asked(target, {**self.assumed, **overrides})
        return self._runs[known]

    def _asked(self, target: str, overrides: Mapping[str, str]) -> tuple[int, list[str], str]:
        target = self.writer.paths.get(target, target)
        special = self.writer.specials.get(target) or Special(target)
        values = self.values([text for _, text in special.given], dict(overrides)) if special.given else []
        given = {**overrides, **dict(zip((name for name, _ in special.given), values, strict=True))}
        environ = {name: given[name] for name in self.writer.file.environment if name in given}
        words = ["task", "--taskfile", self.makefile, "--dry", "--color=false", special.task]
        code, out, err = self.ask([*words, *(f"{name}={value}" for name, value in given.items())], environ)
        if code:
            return code, [], complaint(err).rpartition("task: ")[2]  # the innermost of those that each other task adds
        return 0, self._as_run(err or out, overrides), ""

    def _as_run(self, said: str, overrides: Mapping[str, str]) -> list[str]:
        """The commands with what each task has them run under."""
        found: list[tuple[str, list[str]]] = []
        for piece in re.split(r"^(?=task: \[)", said, flags=re.MULTILINE):
            if match := _BEGINS.match(piece):
                if not found or found[-1][0] != match[1]:
                    found.append((match[1], []))
                found[-1][1].append(match[2].rstrip("\n"))
        lines = [line for label, commands in found for line in self._around(label, commands, overrides)]
        return [self.writer.spoken(line) for line in lines]

    def _around(self, label: str, commands: Sequence[str], overrides: Mapping[str, str]) -> list[str]:
        around = self.writer.around.get(label)
        if around is None or around.plain:
            return list(commands)
        around = around.filled(self.values(around.texts(), dict(overrides)))
        count = len(commands) - len(around.deferred)
        lines = [*around.checks, *map(around.command, commands[:count]), *commands[count:]]
        return around.whole(lines).split("\n") if around.status or around.deferred else lines


def read(folder: Path, file: str, shell: Shell, environ: Mapping[str, str]) -> Task:
    """A Taskfile in a scratch folder. Raises ToolFailed, UsageError where task is not there."""
    tool = Tool(folder, file, shell, environ)
    if not tool.has("task", "--version"):
        raise UsageError(f"{file} is read through task, which is not on PATH", hint=f"install it: {GET}")
    code, _, err = tool.ask(["task", "--taskfile", file, "--list-all", "--json"])
    if code and err.strip():
        raise ToolFailed(f"task cannot read {file}: {complaint(err)}")
    taskfile = taskread.read(folder, file)
    if not taskfile.tasks:
        raise UsageError(f"{file} has no tasks: there is nothing to make")

    def there(path: str) -> bool:
        return (folder / path).exists()

    tried = Writer(taskfile, there=there)
    tried.write()
    shared = {name: defaults[0] for name, defaults in tried.templates.uses.items() if len(defaults) == 1}
    tried = Writer(taskfile, shared, there=there)
    tried.write()
    writer = Writer(taskfile, shared, there=there, specials=dict(tried.specials))
    found = Task(folder, file, writer.write(), shell, environ)
    found.writer = writer
    for each in taskfile.files:
        (folder / each).write_text(_aside(each, (folder / each).read_text(errors="replace")))
    found.repeats = "what several tasks need is run once"
    network = "without a network" if found.isolated else "with the network, which this system does not let us take away"
    found.tool = (
        "task",
        f"task ran in a copy of the folder, {network}: it runs each `sh:` when it tells what it would run",
    )
    return found


def _aside(file: str, text: str) -> str:
    """A Taskfile whose tasks are run whatever there is."""
    for start, end, key in sorted(yamlfile.spans(file, text, _ASIDE, _SILENT), reverse=True):
        kept = start + len(text[start:end].rstrip())  # a block ends where the next thing begins
        text = f"{text[:start]}{_ASIDE.get(key, 'false')}{text[kept:]}"
    return text
