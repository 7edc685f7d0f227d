"""Commands of a Taskfile's tasks, and calls of other tasks among them, in make's words. Pure.

https://taskfile.dev/docs/guide
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from imgmake.migrate import taskshell
from imgmake.migrate.taskread import Task
from imgmake.migrate.taskshell import Around
from imgmake.migrate.tasktext import MACHINE, MACHINES, SYSTEM, SYSTEMS, Scope, Value
from imgmake.migrate.taskvars import Special, Variables
from imgmake.migrate.template import Field
from imgmake.migrate.translated import Branch, Choice, Command, Odd, plain

_DEEPEST = 20
_KEYS = frozenset(
    {"cmds", "cmd", "deps", "desc", "label", "summary", "aliases", "sources", "generates", "status", "preconditions"}
    | {"requires", "dir", "vars", "env", "silent", "interactive", "internal", "method", "prefix", "ignore_error", "run"}
    | {"platforms", "set", "watch", "prompt", "failfast"}
)
_COMMAND = frozenset({"cmd", "task", "vars", "silent", "ignore_error", "platforms"})


@dataclass
class Commands(Variables):
    """What tasks run.

    specials: targets for tasks that are called with variables of their own.
    around:   what each task's commands run under, by its name.
    """

    specials: dict[str, Special] = field(default_factory=dict)
    around: dict[str, Around] = field(default_factory=dict)
    usual: set[str] = field(default_factory=set)  # variables that a call gives their default
    _depth: int = 0

    def _needs(self, special: Special) -> list[str]:
        """The targets that come first: what the task needs, and the tasks that its commands begin with."""
        task, scope = self.file.tasks[special.task], self.scope(special)
        calls = [*(task.spec.get("deps") or ()), *itertools.takewhile(_calls, _own(task))]
        found = []
        for each in calls:
            for inner, looped in self._looped(each, scope):
                found.append(self._target(self.called(inner, task, looped)))
        return found

    def called(self, given: Any, task: Task, scope: Scope) -> Special:
        """The task that a call means, with its variables. Raises Odd."""
        spec = given if isinstance(given, Mapping) else {"task": given}
        name = plain(self.templates.text(str(spec["task"]), scope))
        full = self._full(name, task)
        texts = {}
        for each, what in (spec.get("vars") or {}).items():
            held = self._held(what, scope)
            texts[str(each)] = plain(held) if isinstance(held, str | Branch) else str(held)
        return Special(full, tuple((key, text) for key, text in texts.items() if not self._usual(key, text, task)))

    def _usual(self, name: str, text: str, task: Task) -> bool:
        """Whether a task is given what it takes without; on imgmake's command line it can be given something else."""
        if text == f"$({name})":
            return True
        if self.shared.get(name) != text:
            return False
        if name not in self.usual:
            self.usual.add(name)
            why = f"a call gives {name}={text}, its default: `imgmake {name}=…` counts there, too"
            self.makefile.note("", why, task.place)
        return True

    def spoken(self, text: str) -> str:
        """A command that calls task for a task of this file, as one of imgmake's."""
        words = text.split()
        if words[:1] != ["task"] or re.search(r"[;&|<>'\"]", text):
            return text
        if set(words[1:]) & {"--list", "-l", "--list-all", "-a"}:
            return "imgmake --list"
        goals = [word for word in words[1:] if "=" not in word]
        return f"img{text.replace('task', 'make', 1)}" if goals and set(goals) <= set(self.file.tasks) else text

    def _full(self, name: str, task: Task) -> str:
        for full in [name[1:]] if name.startswith(":") else [f"{task.space}:{name}" if task.space else name, name]:
            if full in self.file.tasks:
                return full
            for each in self.file.tasks.values():
                if full in [f"{each.space}:{a}" if each.space else a for a in each.spec.get("aliases") or ()]:
                    return each.name
        raise Odd(f"it calls {name}, which is no task here")

    def _target(self, special: Special) -> str:
        if not special.given:
            return special.task
        found = next((target for target, each in self.specials.items() if each == special), None)
        if found is None:
            words = "-".join(re.sub(r"[^\w.]+", "-", re.sub(r"\$\((\w+)\)", r"\1", text)) for _, text in special.given)
            found = re.sub(r"-{2,}", "-", f"{special.task}-{words}").strip("-")
            while found in self.file.tasks or found in self.specials:
                found += "-2"
            self.specials[found] = special
        return found

    def _commands(self, special: Special) -> list[Command]:
        """The commands of a task after the calls that it begins with."""
        task, scope = self.file.tasks[special.task], self.scope(special)
        if odd := sorted(set(task.spec) - _KEYS):
            raise Odd(f"`{odd[0]}:`")
        own = _own(task)
        first = len(list(itertools.takewhile(_calls, own)))
        around = self._around(task, scope)
        found = [Command(each, task.place) for each in around.checks]
        deferred, last = list[int](), list[Command]()
        for at, each in list(enumerate(own))[first:]:
            if isinstance(each, Mapping) and "defer" in each:
                deferred.append(len(found))
                last.append(self._deferred(each["defer"], scope, task.place_of(at)))
            else:
                found += self._entry(each, task, scope, around, task.place_of(at))
        around = self.around[special.task] = replace(around, deferred=tuple(deferred))
        asks = []
        if said := task.spec.get("prompt"):
            said = " ".join(map(str, said)) if isinstance(said, list) else str(said)
            asks = [self.makefile.confirmed(special.task, plain(self.templates.text(said, scope)), task.place)]
        return [*asks, *self._whole(around, found, last, task.place)]

    def _deferred(self, each: Any, scope: Scope, place: str) -> Command:
        if isinstance(each, Mapping):
            raise Odd("a task that is called at the end, whatever happens")
        return Command(plain(self.templates.text(str(each).strip(), scope)), place)

    def _whole(self, around: Around, found: list[Command], last: list[Command], place: str) -> list[Command]:
        """Commands that have to be one script."""
        if not (around.status or last) or not found:
            return found
        if len(last) > 1 or any(not isinstance(each.text, str) for each in found):
            raise Odd("its status or its defer, with more than plain commands")
        texts = [f"{each.text}{' || true' if each.ignored else ''}" for each in found]
        text = around.whole([*texts, *(plain(each.text) for each in last)])
        return [Command(text, place, script="bash" if taskshell.needs_bash(text) else "/bin/sh")]

    def _around(self, task: Task, scope: Scope) -> Around:
        spec = task.spec
        folders = [task.folder if task.folder != "." else "", str(spec.get("dir") or "")]
        written = "/".join(filter(None, folders)) if not folders[1].startswith(("/", "{{")) else folders[1]
        environment = tuple(
            (str(name), plain(self._set(each, scope))) for name, each in (spec.get("env") or {}).items()
        )
        asked = () if self.builds(task) else tuple(map(str, spec.get("status") or ()))
        options = {*(self.file.settings.get("set") or ()), *(spec.get("set") or ())}
        return Around(
            plain(self.templates.text(written, scope)).removeprefix("$(CURDIR)/"),
            environment,
            tuple(self._check(each, scope) for each in spec.get("preconditions") or ()),
            tuple(plain(self.templates.text(each, scope)) for each in asked),
            "pipefail" in options,
        )

    def _check(self, each: Any, scope: Scope) -> str:
        spec = each if isinstance(each, Mapping) else {"sh": each}
        test = plain(self.templates.text(str(spec["sh"]).strip(), scope))
        said = plain(self.templates.text(str(spec.get("msg") or f"`{spec['sh']}` failed"), scope))
        said = re.sub(r"[`\"\\\n]", "", said)
        return f'{test} || {{ echo "{said}" >&2; exit 1; }}'

    def builds(self, task: Task) -> bool:
        """Whether its image is asked for by imgmake itself."""
        return any("docker build" in str(each) or "buildx build" in str(each) for each in _own(task))

    def _entry(self, each: Any, task: Task, scope: Scope, around: Around, place: str) -> Iterator[Command]:
        for one, looped in self._looped(each, scope):
            spec = one if isinstance(one, Mapping) else {"cmd": one}
            if odd := sorted(set(spec) - _COMMAND):
                raise Odd(f"a command with `{odd[0]}:`")
            if "task" in spec:
                yield from self._inlined(self.called(spec, task, looped))
                continue
            text = self.templates.text(str(spec.get("cmd") or "").strip("\n"), looped)
            ignored = "true" in (str(spec.get("ignore_error")).lower(), str(task.spec.get("ignore_error")).lower())
            platforms = [*(spec.get("platforms") or ()), *(task.spec.get("platforms") or ())]
            yield self._command(_on(platforms, text), around, place, ignored=ignored)

    def _command(self, text: Choice, around: Around, place: str, *, ignored: bool) -> Command:
        if isinstance(text, Branch):
            sides = [self._command(each, around, place, ignored=ignored) for each in (text.then, text.otherwise)]
            return Command(
                replace(text, then=sides[0].text, otherwise=sides[1].text), place, ignored,
                next((each.script for each in sides if each.script), ""),
            )  # fmt: skip
        found = around.command(self.spoken(text), "$$") if text else ""
        lines = "\n" in re.sub(r"\\\n", "", found)
        bash = taskshell.needs_bash(found)
        return Command(found, place, ignored, "bash" if bash else "/bin/sh" if lines else "")

    def _inlined(self, special: Special) -> list[Command]:
        """All that a call within a task's commands runs."""
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                raise Odd("tasks that call each other")
            task, scope = self.file.tasks[special.task], self.scope(special)
            calls = [*(task.spec.get("deps") or ()), *itertools.takewhile(_calls, _own(task))]
            found = []
            for each in calls:
                for inner, looped in self._looped(each, scope):
                    found += self._inlined(self.called(inner, task, looped))
            return [*found, *self._commands(special)]
        finally:
            self._depth -= 1

    def _looped(self, each: Any, scope: Scope) -> Iterator[tuple[Any, Scope]]:
        """An entry once, or once for each round of its `for`."""
        loop = each.get("for") if isinstance(each, Mapping) else None
        if loop is None:
            yield each, scope
            return
        name, rounds = self._rounds(loop, scope)
        for one in rounds:
            yield {key: each[key] for key in each if key != "for"}, {**scope, name: one}

    def _rounds(self, loop: Any, scope: Scope) -> tuple[str, list[Value]]:
        if isinstance(loop, list):
            return "ITEM", [self._held(one, scope) for one in loop]
        if isinstance(loop, Mapping) and "var" in loop:
            held = self.templates.value(Field((str(loop["var"]),)), scope)
            if isinstance(held, str) and "$" in held and (constant := self.file.variables.get(str(loop["var"]))):
                held = str(constant[0]) if isinstance(constant[0], str) and "{{" not in constant[0] else held
            if isinstance(held, str) and "$" not in held:
                held = [part for part in held.split(loop.get("split"))]
            if isinstance(held, list):
                return str(loop.get("as") or "ITEM"), held
        if isinstance(loop, Mapping) and isinstance(loop.get("matrix"), Mapping):
            axes = [[self._held(one, scope) for one in each] for each in loop["matrix"].values()
                    if isinstance(each, list)]  # fmt: skip
            if len(axes) == len(loop["matrix"]):
                names = list(loop["matrix"])
                return "ITEM", [dict(zip(names, each, strict=True)) for each in itertools.product(*axes)]
        raise Odd("a loop over what is known later")


def _calls(each: Any) -> bool:
    return isinstance(each, Mapping) and "task" in each and "for" not in each


def _own(task: Task) -> Sequence[Any]:
    found = task.spec.get("cmds") or ()
    return found if isinstance(found, list) else [found]


def _on(platforms: Sequence[Any], text: Choice) -> Choice:
    """A command on some systems alone."""
    if not platforms:
        return text
    found: Choice = ""
    for each in platforms:
        system, _, machine = str(each).partition("/")
        if system not in SYSTEMS and system in MACHINES:
            system, machine = "", system
        one = Branch(MACHINE, MACHINES.get(machine, machine), text, found) if machine else text
        found = Branch(SYSTEM, SYSTEMS.get(system, system), one, found) if system else one
    return found
