"""A Taskfile as a Makefile: its variables, and its tasks in their order.

https://taskfile.dev/docs/guide
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from imgmake.migrate.taskcommands import Commands
from imgmake.migrate.taskread import Task
from imgmake.migrate.tasktext import Scope
from imgmake.migrate.taskvars import Special
from imgmake.migrate.texts import AMBIENT
from imgmake.migrate.translated import Command, Makefile, Odd, plain

_UNHEARD = {
    "interactive": "it asks for a terminal: say tty=True in its sh(…)",
    "watch": "imgmake has --watch for this",
}


@dataclass
class Writer(Commands):
    """Writes the Makefile of one Taskfile.

    there: whether a file or folder is in the repository.
    """

    there: Callable[[str], bool] = bool
    broken: dict[str, str] = field(default_factory=dict)  # variables that cannot be said, and why
    paths: dict[str, str] = field(default_factory=dict)  # files that are made, by which task
    _done: set[str] = field(default_factory=set)
    _with_defaults: list[str] = field(default_factory=list)

    def write(self) -> Makefile:
        """The whole."""
        self.makefile.add(".SHELLFLAGS := -ec", self._top)
        for number, line in self.file.top:
            self.makefile.add(line, f"{self._main}:{number}")
        self._left_out()
        self._variables()
        before = self._main
        for task in self.file.tasks.values():
            self.makefile.add("", task.place)
            if task.file != before:
                before = task.file
                self.makefile.add(f"# From {task.file}:", task.place)
                self.makefile.add("", task.place)
            self._task(task)
        for special in list(self.specials.values()):
            self._specials(self.file.tasks[special.task])
        if self._with_defaults:
            names = ", ".join(self._with_defaults)
            why = f"given empty, task takes the default of {names}; for imgmake that is empty then"
            self.makefile.note("", why, self._top)
        self.makefile.told("task", "runs the tasks that begin a task one by one")
        if "default" in self.file.tasks:
            self.makefile.add(".DEFAULT_GOAL := default", self._top)
        return self.makefile

    @property
    def _main(self) -> str:
        return self.file.files[0]

    @property
    def _top(self) -> str:
        return f"{self._main}:1"

    def _left_out(self) -> None:
        for text, why, place in self.file.left_out:
            self.makefile.note(text, why, place)
        if "dotenv" in self.file.settings:
            why = "imgmake reads no .env: what it sets has to be in the environment, or on the command line"
            self.makefile.note("dotenv", why, self._top)

    # --- variables ------------------------------------------------------------------------------------------

    def _variables(self) -> None:
        for name, (given, place, comment) in self.file.variables.items():
            if self.templates.known.get(name, name) is not None and name in self.templates.known:
                continue  # a list or a map, whose parts stand where they are used
            for line in comment.split("\n") if comment else ():
                self.makefile.add(f"# {line}".rstrip(), place)
            try:
                text = self._set(given, {})
            except Odd as error:
                self.makefile.note(name, f"{error}: what uses it fails", place)
                self.broken[name] = str(error)
                self.templates.known[name] = None
                continue
            self._free(place)
            self.templates.known[name] = None
            if text and isinstance(text, str) and "$" not in text:
                self.templates.filled.add(f"$({name})")
            if text != f"$({name})":
                self.makefile.assign(name, "=", text, place)
        for name, (given, place) in self.file.environment.items():
            try:
                self.makefile.assign(f"export {name}", "?=", self._set(given, {}), place)
            except Odd as error:
                self.makefile.note(name, str(error), place)

    def _free(self, place: str) -> None:
        """What only the command line or the environment sets, before what uses it first."""
        for name, defaults in self.templates.uses.items():
            if name in self._done or name in AMBIENT:
                continue
            self._done.add(name)
            if name in self.shared and defaults != [""]:
                self.makefile.assign(name, "?=", defaults[0], place)
                self._with_defaults.append(name)

    # --- tasks ----------------------------------------------------------------------------------------------

    def _task(self, task: Task) -> None:
        if "*" in task.name:
            self.makefile.note(task.name, "a task for any name: no Pipefile has it", task.place)
            return
        if re.search(r"\s", task.name):
            self.makefile.note(task.name, "a name with a blank: no target is called so", task.place)
            return
        before = len(self.makefile.lines)
        built = self._built(Special(task.name), task)
        if len(self.makefile.lines) > before:
            self.makefile.add("", task.place)
        self._tell(task)
        self._said(task)
        self._rule(task.name, built, task)
        for alias in task.spec.get("aliases") or ():
            self.makefile.rule(f"{task.space}:{alias}" if task.space else str(alias), [task.name], (), task.place)
        self._specials(task)

    def _specials(self, task: Task) -> None:
        """A task as others call it, with variables of their own."""
        while new := [(t, s) for t, s in self.specials.items() if s.task == task.name and t not in self._done]:
            for target, special in new:
                self._done.add(target)
                self._rule(target, self._built(special, task), task)

    def _said(self, task: Task) -> None:
        told = [task.comment, str(task.spec.get("summary") or ""), str(task.spec.get("desc") or "")]
        lines = [line for text in dict.fromkeys(filter(None, told)) for line in text.strip().split("\n")]
        for line in dict.fromkeys(lines):
            self.makefile.add(f"# {line}".rstrip(), task.place)

    def _tell(self, task: Task) -> None:
        for key, why in _UNHEARD.items():
            if str(task.spec.get(key, "")).lower() == "true":
                self.makefile.note(task.name, why, task.place)
        if task.spec.get("sources") and not self.builds(task) and not self._made(task)[0]:
            why = "task skips it while its sources are as they were: make it a file(…) of what it generates, or a check"
            self.makefile.note(task.name, why, task.place)

    def _built(self, special: Special, task: Task) -> tuple[list[str], list[Command]] | str:
        """What a target needs and runs, or why it cannot be said."""
        try:
            return self._needs(special), self._commands(special)
        except Odd as error:
            return str(error)
        finally:
            self._free(task.place)

    def _rule(self, target: str, built: tuple[list[str], list[Command]] | str, task: Task) -> None:
        if isinstance(built, str):
            self.makefile.fails(target, f"{task.name}:", built, task.place)
            return
        needs = list(dict.fromkeys(built[0]))
        path, sources = self._made(task) if target == task.name else ("", ())
        if path and built[1]:
            self.paths[path] = target
            self.makefile.makes(path, sources, needs, built[1], task.place)
            self.makefile.rule(target, [path], (), task.place)
            return
        self.makefile.rule(target, needs, built[1], task.place)

    def _made(self, task: Task) -> tuple[str, Sequence[str]]:
        """The one file that a task makes, and what it is made from, where that can be said."""
        generates, sources = task.spec.get("generates") or (), task.spec.get("sources") or ()
        if len(generates) != 1 or self.builds(task) or task.spec.get("status"):
            return "", ()
        folder = posixpath.join(task.folder, str(task.spec.get("dir") or ""))
        try:
            scope = self.scope(Special(task.name))
            path, *found = (self._path(str(each), folder, scope) for each in (*generates, *sources)
                            if not isinstance(each, Mapping))  # fmt: skip
        except Odd:
            return "", ()
        sound = all((path, *found)) and path not in self.file.tasks and "*" not in path
        return (path, found) if sound and all("*" in each or self.there(each) for each in found) else ("", ())

    def _path(self, written: str, folder: str, scope: Scope) -> str:
        """A path or a pattern in make's words: of folders within folders, the first. Raises Odd."""
        text = posixpath.normpath(posixpath.join(folder, plain(self.templates.text(written, scope))))
        if "$" in text or text.startswith(("/", "..")):
            raise Odd("a path that is worked out")
        if "**" in text or re.search(r"[*?\[{].*/", text):
            return f"{re.split(r'[*?{[]', text)[0].rpartition('/')[0]}/".lstrip("/")
        return f"$(wildcard {text})" if re.search(r"[*?\[]", text) else text

    # --- calls of tasks -------------------------------------------------------------------------------------

    # --- commands -------------------------------------------------------------------------------------------
