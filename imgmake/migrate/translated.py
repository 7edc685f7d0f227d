"""Another tool's file as a Makefile that means the same: its text, and where each line of it comes from.

So all that is known of Makefiles serves justfiles and Taskfiles, too: make works the values out, what may be overridden
becomes a `var`, docker commands their words. What would be run is for the tool itself to say, in its own dry run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imgmake.migrate import reader
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.model import Cond, Left, Line, Rule, Statement
from imgmake.migrate.tools import Tool
from imgmake.ports import Shell

READS = ".imgmake-migrate.mk"
CONFIRM = "confirm"  # the variable that says yes where a tool would ask


class Odd(Uncovered):
    """What no Makefile can say; the rule that it stands in fails with this message."""


@dataclass(frozen=True)
class Branch:
    """A text that depends on whether two others are equal; or are not, where that is asked."""

    left: str
    right: str
    then: Choice
    otherwise: Choice
    asks: str = "ifeq"


Choice = str | Branch


def both(one: Choice, other: Choice) -> Choice:
    """Two texts as one."""
    if isinstance(one, Branch):
        return replace(one, then=both(one.then, other), otherwise=both(one.otherwise, other))
    if isinstance(other, Branch):
        return replace(other, then=both(one, other.then), otherwise=both(one, other.otherwise))
    return one + other


def together(texts: Iterable[Choice]) -> Choice:
    """Texts one after the other."""
    found: Choice = ""
    for each in texts:
        found = both(found, each)
    return found


def plain(text: Choice) -> str:
    """A text that depends on nothing. Raises Odd."""
    if isinstance(text, Branch):
        raise Odd("a condition within a function")
    return text


def escaped(text: str) -> str:
    """Literal text of a recipe."""
    return text.replace("$", "$$")


def value(text: str) -> str:
    """Literal text of a variable's value. Raises Odd."""
    if "\n" in text or text != text.strip() or text.endswith("\\"):
        raise Odd("a value of several lines, or with blanks around it")
    return escaped(text).replace("#", "\\#")


def outside(text: str) -> str:
    """A text without its references, where only what stands in it itself counts."""
    before = ""
    while before != text:
        before, text = text, re.sub(r"\$\([^()]*\)", "", text)
    return text


_BUILD = re.compile(r"docker (?:buildx )?build [^;&|`]*\s\.")
_ELSEWHERE = re.compile(r"\s(?:-f|-o|--file|--output|--secret|--iidfile|--build-context|--ssh)[\s=]")


def within(folder: str, line: str) -> str:
    """A command that is run in a folder; of a build that is its context."""
    if _BUILD.fullmatch(line) and not _ELSEWHERE.search(line):
        return f"{line[:-1]}{folder}"
    return f"cd {folder} && {line}" if re.fullmatch(r"[^;&|\n]*", line) else f"cd {folder} && {{ {line}; }}"


def name_of(target: str) -> str:
    """A target's name as it is written in a rule."""
    return re.sub(r"([:%#])", r"\\\1", target)


@dataclass(frozen=True)
class Command:
    """One command of a recipe, in make's words; `script` is the shell of one that has several lines."""

    text: Choice
    place: str
    ignored: bool = False
    script: str = ""


@dataclass
class Makefile:
    """A Makefile in the making.

    places:   where each of its lines comes from.
    required: variables that have no default.
    assumed:  values that a dry run of either tool cannot do without.
    """

    lines: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    scripts: dict[int, tuple[int, str]] = field(default_factory=dict)  # by the first line: the last, the shell
    targets: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    given: dict[str, Mapping[str, str]] = field(default_factory=dict)  # by targets, what their shells alone are given
    failing: dict[str, str] = field(default_factory=dict)  # targets that cannot be said, and why
    required: set[str] = field(default_factory=set)
    assumed: dict[str, str] = field(default_factory=dict)
    notes: list[Left] = field(default_factory=list)
    _several: str = ""  # where something needs several others

    def told(self, tool: str, what: str) -> None:
        """What is to be known of all that needs several others."""
        if self._several:
            self.note(
                "",
                f"{tool} {what}; imgmake does at once what does not need each other (-j1: one by one)",
                self._several,
            )

    def add(self, text: str, place: str) -> None:
        """One line."""
        self.lines.append(text)
        self.places.append(place)

    def note(self, text: str, why: str, place: str) -> None:
        """What a person should know."""
        self.add("", place)
        self.notes.append(Left(len(self.lines), text, why))

    def assign(self, name: str, op: str, text: Choice, place: str) -> None:
        """A variable, under its conditions."""
        if isinstance(text, str):
            self.add(f"{name} {op} {text}".rstrip(), place)
            return
        self._branch(text, place, lambda part: self.assign(name, op, part, place))

    def rule(self, target: str, needs: Sequence[str], commands: Sequence[Command], place: str) -> None:
        """A rule that is no file."""
        self.targets.append(target)
        self._rule(target, needs, commands, place)

    def makes(
        self, path: str, needs: Sequence[str], after: Sequence[str], commands: Sequence[Command], place: str
    ) -> None:
        """A rule of a file; `after` has to be done before, and makes it no older."""
        self.files.append(path)
        self._rule(path, [*needs, *(["|", *after] if after else [])], commands, place)

    def confirmed(self, target: str, said: str, place: str) -> Command:
        """What asks first, where a tool would ask a person: a build cannot be asked, and has to be told."""
        if CONFIRM not in self.assumed:
            self.assumed[CONFIRM] = "yes"
            self.add(f"{CONFIRM} ?=", place)
        pieces = re.split(r"(\$\([\w-]+\))", said)
        said = "".join(each if at % 2 else re.sub("[(),]", "", each) for at, each in enumerate(pieces))
        fails = f"$(error {said} Say so: imgmake {target} {CONFIRM}=yes)"
        return Command(Branch(f"$({CONFIRM})", "yes", fails, "", "ifneq"), place)

    def _rule(self, target: str, needs: Sequence[str], commands: Sequence[Command], place: str) -> None:
        self.add(f"{name_of(target)}: {' '.join(map(name_of, needs))}".rstrip(), place)
        if len(needs) > 1 and not self._several:
            self._several = place
        for each in commands:
            self._command(each, each.text)

    def fails(self, target: str, text: str, why: str, place: str) -> None:
        """A rule that cannot be said in make's words."""
        self.failing[target] = why
        self.rule(target, (), [Command(escaped(text) or ":", place)], place)

    def text(self) -> str:
        """The whole."""
        return "\n".join([*self.lines, f".PHONY: {' '.join(map(name_of, self.targets))}", ""])

    def _command(self, command: Command, text: Choice) -> None:
        if isinstance(text, Branch):
            self._branch(text, command.place, lambda part: self._command(command, part))
            return
        first = len(self.lines) + 1
        head = "-" if command.ignored else ""
        for line in text.split("\n"):
            self.add(f"\t{head}{line}", command.place)
            head = ""
        if command.script:
            self.scripts[first] = len(self.lines), command.script

    def _branch(self, branch: Branch, place: str, write: object) -> None:
        assert callable(write)
        self.add(f"{branch.asks} ({branch.left},{branch.right})", place)
        write(branch.then)
        self.add("else", place)
        write(branch.otherwise)
        self.add("endif", place)


class Translated(Tool):
    """A tool's file, with the Makefile that it comes to; dry runs are the tool's own."""

    def __init__(self, folder: Path, file: str, makefile: Makefile, shell: Shell, environ: Mapping[str, str]) -> None:
        super().__init__(folder, file, shell, {**makefile.assumed, **environ})
        (folder / READS).write_text(makefile.text())
        self.made = makefile
        self.required = frozenset(makefile.required)
        self.assumed = makefile.assumed
        self.failing = makefile.failing
        self.files = frozenset(makefile.files)
        self.notes = makefile.notes

    @property
    def reads(self) -> str:
        return READS

    @property
    def text(self) -> str:
        """The Makefile."""
        return self.made.text()

    def statements(self, text: str) -> tuple[Statement, ...]:
        return tuple(map(self._scripted, reader.read(text)))

    def given(self, target: str) -> Mapping[str, str]:
        return self.made.given.get(target, {})

    def ahead(self, targets: Sequence[str], overrides: Mapping[str, str]) -> None:
        """Nothing is asked before it is needed."""

    def placed(self, text: str) -> str:
        """A text that names lines of the Makefile, with the places where these come from."""
        text = text.replace("as make asked when it read the Makefile", f"as {self.tool[0]} asked")
        text = text.replace(": make's $(error …) in a recipe.", ".")
        return re.sub(rf"(?<![\w/]){re.escape(self.makefile)}:(\d+)", lambda match: self._place(int(match[1])), text)

    def _place(self, line: int) -> str:
        return self.made.places[line - 1] if 0 < line <= len(self.made.places) else f"{self.makefile}:{line}"

    def _mend(self) -> bool:
        return False

    def _run(self, words: Sequence[str]) -> tuple[int, str, str]:
        code, out, err = super()._run(words)
        return code, out.replace(READS, self.makefile), err.replace(READS, self.makefile)

    def _scripted(self, each: Statement) -> Statement:
        """A statement with the lines of each script as one."""
        if isinstance(each, Cond):
            return replace(each, then=self._all(each.then), otherwise=self._all(each.otherwise))
        if isinstance(each, Rule):
            return replace(each, recipe=self._lines(each.recipe))
        return each

    def _all(self, items: Sequence[Statement | Line]) -> tuple[Statement | Line, ...]:
        if any(isinstance(each, Line) for each in items):
            return self._lines([each for each in items if isinstance(each, Line | Cond)])
        return tuple(each if isinstance(each, Line) else self._scripted(each) for each in items)

    def _lines(self, recipe: Sequence[Line | Cond]) -> tuple[Line | Cond, ...]:
        found: list[Line | Cond] = []
        last, shell = 0, ""
        for each in recipe:
            if isinstance(each, Cond):
                found.append(replace(each, then=self._all(each.then), otherwise=self._all(each.otherwise)))
            elif each.line <= last and isinstance(before := found[-1], Line):
                found[-1] = replace(before, text=f"{before.text}\n{each.text}")
            else:
                last, shell = self.made.scripts.get(each.line, (0, ""))
                found.append(replace(each, script=shell))
        return tuple(found)
