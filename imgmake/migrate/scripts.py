"""Lines of a justfile's recipe as commands: each a shell's, or all one script with an interpreter of its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from imgmake.migrate.review.shelltext import commands
from imgmake.migrate.texts import AMBIENT
from imgmake.migrate.translated import Choice, Command, Odd, both, plain, within

SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh"})
_SIGILS = re.compile(r"[@-]*")
_READ = re.compile(r"\$\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_POSITIONAL = re.compile(r"\"\$\$@\"|\"\$\$\*\"|\$\$[@*]|\$\$\{?([1-9])\}?")
_COMMON = re.compile(r"(?:[\w\s./:=@%+,\"-]|&&|\|\|?|;|\d?>>?(?:&\d)?|<(?![<(])|\$\$\(|\))*")
_PARTICULAR = re.compile(
    r"\b(?:source|local|declare|typeset|function|pushd|popd|shopt|type|time|read|trap|let|select|mapfile|ulimit|exec|pipefail)\b"
    r"|\becho -|\bprintf -|\+="
)  # what shells differ in
END = "END"
# What a shell does itself, and programs that read no names but their own from their environment.
_OWN_WORDS = frozenset(
    [
        "echo",
        "printf",
        "cd",
        "mkdir",
        "rm",
        "cp",
        "mv",
        "ln",
        "touch",
        "cat",
        "ls",
        "test",
        "[",
        "true",
        "false",
        ":",
        "set",
        "export",
        "unset",
        "exit",
        "sleep",
        "fi",
        "done",
        "esac",
        "docker",
    ]
)


@dataclass(frozen=True)
class Shell:
    """The shell of lines: its name, and what it is told to do about what fails or is not set."""

    name: str = "sh"
    unset: bool = True
    stops: bool = False
    pipes: bool = False

    @classmethod
    def of(cls, setting: Mapping[str, Any] | None) -> Shell:
        """The one that ``set shell`` names; just's own is ``sh -cu``."""
        if setting is None:
            return cls()
        flags = " ".join(setting["arguments"])
        short = "".join(re.findall(r"(?<!\S)-([a-z]+)", flags))
        name = setting["command"].removeprefix("/usr/bin/env ")
        short_name = name if name.rpartition("/")[2] != "sh" else "sh"
        return cls(short_name, "u" in short or "nounset" in flags, "e" in short.replace("o", ""), "pipefail" in flags)

    @property
    def known(self) -> bool:
        """Whether it takes what a shell takes."""
        return self.name.rpartition("/")[2] in SHELLS


@dataclass(frozen=True)
class Body:
    """The lines of one recipe, each with its place.

    arguments: what ``$1`` and so on stand for.
    exported:  names that every shell is given.
    given:     names that this one is given, and what they are.
    """

    recipe: Mapping[str, Any]
    lines: Sequence[tuple[Choice, str]]
    shell: Shell
    settings: Mapping[str, Any]
    arguments: Sequence[str]
    exported: frozenset[str] = frozenset()
    given: Mapping[str, str] = field(default_factory=dict)

    def commands(self, spoken: Callable[[Choice], Choice]) -> Iterator[Command]:
        """The commands. Raises Odd."""
        if not self.lines:
            return
        interpreter = self._interpreter()
        if interpreter is not None:
            yield self._script(*interpreter)
            return
        if not self.shell.known:
            raise Odd(f"just runs it with {self.shell.name}")
        for text, place in self._joined():
            head = (_SIGILS.match(_first(text)) or [""])[0]
            bare = self._here(self._positional(_without(text, len(head))))
            if (_first(bare).strip() or not isinstance(bare, str)) and not _first(bare).startswith("#"):
                told = self._guarded(spoken(bare))
                yield Command(told, place, ignored="-" in head, script="" if self._any_shell(told) else self.shell.name)

    def _any_shell(self, text: Choice) -> bool:
        """Whether the shell that is named reads a line as every shell does."""
        if not isinstance(text, str):
            return self._any_shell(text.then) and self._any_shell(text.otherwise)
        return self.shell.name == "sh" or any_shell(text)

    def _joined(self) -> Iterator[tuple[Choice, str]]:
        """Lines with those that a backslash continues; just takes their margin off."""
        held: tuple[Choice, str] | None = None
        for text, place in self.lines:
            held = (_continued(held[0], text), held[1]) if held is not None else (text, place)
            if not _last(text).endswith("\\"):
                yield held
                held = None
        if held is not None:
            yield held

    def _guarded(self, text: Choice) -> Choice:
        """A line whose shell is told what just tells it, where that matters."""
        if not isinstance(text, str):
            return _each(text, lambda one: str(self._guarded(one)))
        told = []
        if self.shell.unset and set(_reads(text)) - self.exported:
            told.append("-u")
        if self.shell.pipes and re.search(r"(?<!\|)\|(?!\|)", text):
            told.append("-o pipefail")
        return f"set {' '.join(told)}; {text}" if told else text

    def _positional(self, text: Choice) -> Choice:
        """A text with what its shell has by number, or by the name of a parameter."""
        text = _each(text, lambda one: named(one, self.given, "$$")) if self.given else text
        asked = any(each == "positional-arguments" for each in self.recipe["attributes"])
        if not (asked or self.settings["positional_arguments"]):
            return text
        return _each(text, self._given)

    def _given(self, text: str) -> str:
        def argument(match: re.Match[str]) -> str:
            if match[1] is None:
                return " ".join(self.arguments)
            at = int(match[1]) - 1
            return self.arguments[at] if at < len(self.arguments) else ""

        found = _POSITIONAL.sub(argument, text)
        if re.search(r"\$\$#|\bshift\b", found):
            raise Odd("it counts its arguments")
        return found

    @property
    def folder(self) -> str:
        """The folder that its lines run in, besides the justfile's own."""
        own = next((each for each in self.recipe["attributes"] if isinstance(each, dict)
                    and "working-directory" in each), {})  # fmt: skip
        parts = [self.settings["working_directory"] or "", own.get("working-directory") or ""]
        return "/".join(part.strip("/") if at else part for at, part in enumerate(filter(None, parts)))

    def _here(self, text: Choice) -> Choice:
        return _each(text, lambda one: within(self.folder, one)) if self.folder else text

    # --- scripts --------------------------------------------------------------------------------------------

    def _interpreter(self) -> tuple[str, list[str]] | None:
        """What runs it as a script, and with which flags; None when each line is a shell's."""
        for each in self.recipe["attributes"]:
            if each == "script":
                return "sh", ["-eu"]
            if isinstance(each, dict) and "script" in each:
                return _named([each["script"]["command"], *each["script"]["arguments"]])
        if not self.recipe["shebang"]:
            return None
        return _named(_first(self.lines[0][0]).removeprefix("#!").split())

    def _script(self, name: str, flags: Sequence[str]) -> Command:
        lines = [(self._positional(text), place) for text, place in self.lines if not _first(text).startswith("#!")]
        texts = [plain(text) for text, _ in lines]
        place = lines[0][1] if lines else self.lines[0][1]
        whole = "\n".join(texts).strip("\n")
        if name.rpartition("/")[2] not in SHELLS:
            return Command(self._placed(_heredoc(name, flags, whole)), place, script="/bin/sh")
        if re.search(r"<<-?\s*['\"\\].*\n(?:.*\n)*?.*(?<!\$)\$\(", whole):
            raise Odd("a value within a quoted heredoc")
        return Command(self._placed(_told(whole, flags)), place, script="/bin/sh" if name == "sh" else name)

    def _placed(self, text: str) -> str:
        return f"cd {self.folder}\n{text}" if self.folder else text


def named(text: str, given: Mapping[str, str], dollar: str = "$") -> str:
    """A shell's text with values for some of its names, out of single quotes."""
    sign = re.escape(dollar)
    pattern = re.compile(rf"('[^']*')|{sign}(?:\{{(\w+)\}}|(\w+))")

    def filled(match: re.Match[str]) -> str:
        name = match[2] or match[3]
        return match[0] if match[1] else given.get(name, match[0])

    return pattern.sub(filled, text)


def starts_others(text: Choice, names: Collection[str]) -> bool:
    """Whether a text starts a program that may read what its environment has under one of these names."""
    if not isinstance(text, str):
        return starts_others(text.then, names) or starts_others(text.otherwise, names)
    every = list(commands(text.replace("$$", "$")))
    if any(
        words[0] == "docker" and words[1:2] in (["compose"], ["buildx"]) and "build" not in words for words in every
    ):
        return True
    own = any(re.search(rf"(?<![\w$])(?:-e|--env|--build-arg)[ =]{name}\b(?!=)|\benv={name}\b", text) for name in names)
    return own or not {words[0] for words in every} <= _OWN_WORDS


def any_shell(text: str) -> bool:
    """Whether a line in make's words means the same to every shell: plain commands, joined, piped, redirected."""
    bare = re.sub(r"'[^']*'|\$\([\w-]+\)", "x", text.replace("\\\n", " "))
    bare = re.sub(r"\$\$\{?\w+\}?", "x", bare)
    return bool(_COMMON.fullmatch(bare)) and not _PARTICULAR.search(bare)


def _named(words: Sequence[str]) -> tuple[str, list[str]]:
    """An interpreter without env, and its flags."""
    rest = [word for word in words if word not in ("/usr/bin/env", "/bin/env", "env", "-S")]
    name = rest[0] if rest else "sh"
    return ("sh" if name == "/bin/sh" else name), rest[1:]


def _told(text: str, flags: Sequence[str]) -> str:
    """A script as its own lines have it: what is not told to stop goes on after what fails."""
    lines = text.split("\n")
    at = next((at for at, line in enumerate(lines) if line.strip() and line.lstrip()[0] != "#"), 0)
    own = " ".join(flags)
    stops = re.search(r"(?m)^\s*set\s+-\w*e|^\s*set\s+.*errexit|^-\w*e", f"{own}\n{text}")
    told = [*(["+e"] if not stops and len(lines) > 1 else []), *flags]
    lines[at] = f"set {' '.join(told)}; {lines[at]}" if told else lines[at]
    return "\n".join(lines)


def _heredoc(name: str, flags: Sequence[str], text: str) -> str:
    if re.search(r"(?<!\$)\$[({]", text):
        raise Odd(f"a script of {name} with values in it")
    if re.search(rf"(?m)^{END}$", text):
        raise Odd(f"a script of {name} with a line {END}")
    return "\n".join([f"{' '.join([name, *flags])} - <<'{END}'", text, END])


def _reads(text: str) -> Iterator[str]:
    """Names that a line's shell takes from its environment, and that nobody may have set."""
    bare = re.sub(r"'[^']*'", "", text)
    for match in _READ.finditer(bare):
        name = match[1] or match[2]
        own = rf"(?:^|[;&|\s(]){name}=|\bfor {name}\b|\bread\b[^;|&]*\b{name}\b|\bexport {name}\b"
        if name not in AMBIENT and name != "PWD" and not re.search(own, bare):
            yield name


def _each(text: Choice, change: Callable[[str], str]) -> Choice:
    if isinstance(text, str):
        return change(text)
    return replace(text, then=_each(text.then, change), otherwise=_each(text.otherwise, change))


def _first(text: Choice) -> str:
    return text if isinstance(text, str) else _first(text.then)


def _last(text: Choice) -> str:
    return _first(text)


def _without(text: Choice, count: int) -> Choice:
    return _each(text, lambda one: one[count:])


def _continued(text: Choice, more: Choice) -> Choice:
    """Two lines as one; between quotes just's joining is another than a shell's."""

    def on(one: str) -> str:
        bare = re.sub(r"\\.", "", one[:-1])
        inside = (bare.count('"') - len(re.findall(r"'[^']*\"[^']*'", bare))) % 2 or bare.count("'") % 2
        return one[:-1] if inside else f"{one}\n    "

    return both(_each(text, on), _each(more, str.lstrip))
