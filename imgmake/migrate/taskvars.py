"""Variables of a Taskfile and of its tasks, in make's words. Pure.

https://taskfile.dev/docs/guide#variables
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imgmake.migrate.taskread import Taskfile
from imgmake.migrate.tasktext import Scope, Templates, Value
from imgmake.migrate.template import expression
from imgmake.migrate.translated import Choice, Makefile, Odd, plain, value

_SAMPLE = "imgmake-check"


@dataclass(frozen=True)
class Special:
    """A task with variables of its own, as another calls it."""

    task: str
    given: tuple[tuple[str, str], ...] = ()


@dataclass
class Variables:
    """What names stand for.

    shared: variables of the command line or the environment alone that have one default everywhere, and that.
    """

    file: Taskfile
    shared: Mapping[str, Choice] = field(default_factory=dict)
    makefile: Makefile = field(default_factory=Makefile)

    def __post_init__(self) -> None:
        self.templates = Templates({}, self.shared)
        for name, (given, _, _) in self.file.variables.items():
            if not _asks_for_itself(name, given):
                self.templates.known[name] = None
        for name, (given, _, _) in self.file.variables.items():
            if isinstance(given, list) or (isinstance(given, Mapping) and {"map", "ref"} & set(given)):
                self.templates.known[name] = self._held(given, {})

    def _set(self, given: Any, scope: Scope) -> Choice:
        """The text that a variable is set to. Raises Odd."""
        found = self._held(given, scope)
        if isinstance(found, list | dict):
            raise Odd("a list or a map where text is wanted")
        if isinstance(found, str) and "\n" in found:
            raise Odd("a value of several lines")
        return found

    def _held(self, given: Any, scope: Scope) -> Value:
        """What a variable is. Raises Odd."""
        if given is None:
            return ""
        if isinstance(given, list):
            return [self._held(each, scope) for each in given]
        if isinstance(given, Mapping):
            return self._worked_out(given, scope)
        text = str(given)
        return self.templates.text(text, scope) if "{{" in text else value(text)

    def _worked_out(self, given: Mapping[str, Any], scope: Scope) -> Value:
        if "sh" in given:
            command = plain(self.templates.text(str(given["sh"]).strip(), scope))
            if "\n" in command:
                raise Odd("a command of several lines")
            return f"$(shell {command})"
        if "ref" in given:
            return self.templates.value(expression(str(given["ref"])), scope)
        if "map" in given and isinstance(given["map"], Mapping):
            return {str(name): self._held(each, scope) for name, each in given["map"].items()}
        raise Odd(f"a variable that is set by {', '.join(map(str, given))}")

    def scope(self, special: Special) -> Scope:
        """The variables of a task: what it is given, and its own over them. Raises Odd."""
        task = self.file.tasks[special.task]
        found: dict[str, Value] = {"TASK": task.name, "TASKFILE_DIR": "$(CURDIR)", "TASKFILE": task.file}
        if "/" in task.file:
            found["TASKFILE_DIR"] = f"$(CURDIR)/{task.file.rpartition('/')[0]}"
        found |= dict(special.given)
        for name, given in (task.spec.get("vars") or {}).items():
            found[str(name)] = self._held(given, found)
        for each in (task.spec.get("requires") or {}).get("vars") or ():
            self._required(each, found)
        return found

    def _required(self, each: Any, scope: Scope) -> None:
        name = each["name"] if isinstance(each, Mapping) else str(each)
        allowed = each.get("enum") if isinstance(each, Mapping) else None
        if name not in scope and name not in self.templates.known:
            self.makefile.required.add(name)
            self.makefile.assumed[name] = str(allowed[0]) if isinstance(allowed, list) and allowed else _SAMPLE


def _asks_for_itself(name: str, given: Any) -> bool:
    """``TAG: '{{.TAG | default "x"}}'``: what the command line or the environment says."""
    return isinstance(given, str) and bool(re.search(rf"\{{\{{[^}}]*\.{re.escape(name)}\b", given))
