"""A Dockerfile's text as stages of instructions, by BuildKit's own parser; nothing is expanded here.

The parser (`dockerfile` on PyPI) leaves out comments and directives and checks no instruction, so directives are
read here (BuildKit's `parser/directives.go`), and instructions checked as far as reading them needs.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from imgmake.errors import DockerfileError, Place

_KNOWN = [
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
    *("MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
]
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_OFFICIAL = re.compile(r"(docker\.io/)?docker/dockerfile(-upstream)?([:@].*)?")
HEREDOC = re.compile(r"(\d*)<<(-?)\s*([^<]+)")


class Heredoc(NamedTuple):
    """The lines between ``<<NAME`` and ``NAME``; not `expands` when the name was quoted."""

    name: str
    content: str
    expands: bool


@dataclass(frozen=True)
class Instruction:
    """One instruction, its words still as written: quotes, escapes and variables are in them.

    `trigger` is what an ONBUILD holds. `line` and `end` count from 1.
    """

    name: str
    words: tuple[str, ...]
    flags: tuple[str, ...] = ()
    json: bool = False
    line: int = 0
    end: int = 0
    heredocs: tuple[Heredoc, ...] = ()
    trigger: str = ""

    def flag(self, name: str) -> str | None:
        """The value of ``--name=value``; empty for a bare ``--name``, None without one."""
        return next(iter(self.all_flags(name)), None)

    def all_flags(self, name: str) -> tuple[str, ...]:
        found = (flag.removeprefix("--").partition("=") for flag in self.flags)
        return tuple(value for key, _, value in found if key == name)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The words of ENV and LABEL as names with values."""
        return tuple(zip(self.words[::2], self.words[1::2], strict=False))

    @property
    def canonical(self) -> str:
        """The instruction on one line: equal for two that differ only in layout, comments and case of the keyword."""
        if self.name == "ONBUILD":
            return f"ONBUILD {self.trigger}"
        words = json.dumps(self.words) if self.json else " ".join(self._canonical_words())
        text = " ".join(part for part in (self.name, *self.flags, words) if part)
        return text + "".join(f"\n{doc.content}{doc.name}" for doc in self.heredocs)

    def _canonical_words(self) -> Iterable[str]:
        if self.name in ("ENV", "LABEL"):
            return (f"{_quoted(key)}={_quoted(value)}" for key, value in self.pairs)
        if self.name in ("RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK", "SHELL"):
            return self.words
        return map(_quoted, self.words)


def _quoted(word: str) -> str:
    return json.dumps(word) if not word or any(c.isspace() for c in word) else word


@dataclass(frozen=True)
class Stage:
    """One FROM and what follows it. `base` and `platform` are as written; `name` is in lower case."""

    index: int
    name: str
    base: str
    platform: str
    start: Instruction
    instructions: tuple[Instruction, ...] = ()

    @property
    def line(self) -> int:
        return self.start.line


@dataclass(frozen=True)
class Dockerfile:
    """A Dockerfile, parsed: `syntax` is the reference of its ``# syntax=`` directive."""

    text: str
    name: str
    syntax: str | None = None
    escape: str = "\\"
    arguments: tuple[Instruction, ...] = ()  # every ARG before the first FROM
    stages: tuple[Stage, ...] = field(default=())

    @property
    def foreign(self) -> bool:
        """Whether another frontend than Docker's reads it, so that nothing of its meaning is known here."""
        return self.syntax is not None and not _OFFICIAL.fullmatch(self.syntax)

    def place(self, line: int) -> Place:
        return Place(self.name, line)

    def error(self, message: str, line: int, hint: str = "") -> DockerfileError:
        return DockerfileError(message, place=self.place(line), hint=hint)


def parse(text: str, name: str) -> Dockerfile:
    """Parse the text of a Dockerfile; `name` is for messages.

    A file with a foreign ``# syntax=`` that is no Dockerfile otherwise has no stages.
    Raises DockerfileError with the place.

    >>> [stage.name for stage in parse("FROM scratch AS a\\nFROM a", "Dockerfile").stages]
    ['a', '']
    """
    syntax, escape = _directives(text)
    empty = Dockerfile(text, name, syntax, escape)
    try:
        return _staged(empty, [_instruction(command) for command in _commands(empty)])
    except DockerfileError:
        if empty.foreign:
            return empty
        raise


def triggers(expressions: Sequence[str], start: Instruction, name: str) -> tuple[Instruction, ...]:
    """Instructions of ONBUILD, as they run in the stage that `start` opens. Raises DockerfileError."""
    found: list[Instruction] = []
    for expression in expressions:
        holder = Dockerfile(expression, f"{name}:{start.line}: ONBUILD {expression.splitlines()[0]}")
        for command in _commands(holder):
            made = _instruction(command)
            found.append(
                Instruction(made.name, made.words, made.flags, made.json, start.line, start.line, made.heredocs)
            )
    return tuple(found)


def _directives(text: str) -> tuple[str | None, str]:
    """``# syntax=`` and ``# escape=``: only before all else, each in a comment of its own."""
    lines = text.removeprefix("\ufeff").split("\n")
    found: dict[str, str] = {}
    for line in lines[1:] if lines[0].startswith("#!") else lines:
        match = _DIRECTIVE.fullmatch(line.strip("\r").lstrip())
        if match is None or match[1].lower() not in ("syntax", "escape", "check"):
            break
        found.setdefault(match[1].lower(), match[2])
    syntax = found.get("syntax", "").split(" ")[0]
    return syntax or None, found.get("escape", "\\")


def _commands(file: Dockerfile) -> Sequence[Any]:
    import dockerfile

    text = file.text
    if any("\ud800" <= c <= "\udfff" for c in text):
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    try:
        return tuple(dockerfile.parse_string(text))
    except dockerfile.GoParseError as error:
        message = str(error)
        if message == "file with no instructions":
            raise file.error("it holds no instruction", 0, "it needs at least a FROM") from None
        raise file.error(message, _line_of(text, message)) from None


def _line_of(text: str, message: str) -> int:
    """The line of a syntax error, which the parser keeps to itself: that at which it first appears."""
    import dockerfile

    lines = text.split("\n")
    for i in range(1, len(lines) + 1):
        try:
            dockerfile.parse_string("\n".join(lines[:i]))
        except dockerfile.GoParseError as error:
            if str(error) == message:
                return i
    return 0


def _instruction(command: Any) -> Instruction:
    words = tuple(command.value)
    quoted = {match[3].strip("'\"") for word in words if (match := HEREDOC.fullmatch(word)) and match[3][0] in "'\""}
    return Instruction(
        name=command.cmd.upper(),
        words=words,
        flags=tuple(command.flags),
        json=command.json,
        line=command.start_line,
        end=command.end_line,
        heredocs=tuple(Heredoc(doc.name, doc.content, doc.name not in quoted) for doc in command.heredocs),
        trigger=re.sub(r"(?i)^\s*ONBUILD\s*", "", command.original).strip() if command.sub_cmd else "",
    )


def _staged(file: Dockerfile, instructions: Sequence[Instruction]) -> Dockerfile:
    arguments: list[Instruction] = []
    stages: list[tuple[Instruction, list[Instruction]]] = []
    for one in instructions:
        _check(file, one)
        if one.name == "FROM":
            stages.append((one, []))
        elif stages:
            stages[-1][1].append(one)
        elif one.name == "ARG":
            arguments.append(one)
        else:
            raise file.error(f"{one.name} before the first FROM", one.line, "only ARG may stand before FROM")
    if not stages:
        raise file.error("it has no FROM", 0, "every Dockerfile starts from an image: FROM debian, or FROM scratch")
    made = tuple(_stage(file, i, start, rest) for i, (start, rest) in enumerate(stages))
    return Dockerfile(file.text, file.name, file.syntax, file.escape, tuple(arguments), made)


def _stage(file: Dockerfile, index: int, start: Instruction, rest: Sequence[Instruction]) -> Stage:
    words = start.words
    if len(words) != 1 and (len(words) != 3 or words[1].lower() != "as"):
        raise file.error(f"FROM {' '.join(words)}: one image is expected", start.line, "write FROM image AS stage")
    name = words[-1].lower() if len(words) == 3 else ""
    if name and not _STAGE_NAME.fullmatch(name):
        raise file.error(
            f"{words[-1]!r} is no name for a stage", start.line, "it starts with a letter, then a-z 0-9 - _ ."
        )
    return Stage(index, name, words[0], start.flag("platform") or "", start, tuple(rest))


def _check(file: Dockerfile, one: Instruction) -> None:
    if one.name not in _KNOWN:
        _unknown(file, one)
    if one.name in ("COPY", "ADD") and len(one.words) < 2:
        raise file.error(f"{one.name} needs a source and a destination", one.line)
    if one.name in ("ARG", "ENV", "LABEL", "FROM") and not one.words:
        raise file.error(f"{one.name} needs a name", one.line)
    if one.name == "ONBUILD" and not one.trigger:
        raise file.error("ONBUILD needs an instruction", one.line)


def _unknown(file: Dockerfile, one: Instruction) -> NoReturn:
    close = difflib.get_close_matches(one.name, _KNOWN, n=1)
    raise file.error(f"unknown instruction {one.name}", one.line, f"did you mean {close[0]}?" if close else "")
