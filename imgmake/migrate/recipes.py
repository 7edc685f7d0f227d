"""Recipe lines as commands of a Pipefile: what is certain becomes idiomatic, all else `sh` with its text unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from imgmake.migrate import contained, docker
from imgmake.migrate.arguments import mount, run_keywords
from imgmake.migrate.calling import Scope
from imgmake.migrate.docker import CALLER, HERE, Docker, Words
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.going import goes_on, reads_no_shell
from imgmake.migrate.itself import spoken
from imgmake.migrate.lines import PREFIX, Lines, Step
from imgmake.migrate.model import Line
from imgmake.migrate.python import (
    Part,
    Parts,
    expression,
    merged,
    names_in,
    quoted,
    shell_text,
    text_literal,
    today,
    untabbed,
)
from imgmake.variables import LATE

_OWN = re.compile(r"(?<!\\)\$\{?([A-Za-z_]\w*)")
_ARGUMENTS = re.compile(r"\$\{?#?[@*#1-9]|\bshift\b|\bfor\s+\w+\s*(?:;|\n|do\b)")
_BUILD_FLAGS = frozenset(
    {
        "tag",
        "file",
        "target",
        "build-arg",
        "platform",
        "label",
        "pull",
        "rm",
        "progress",
        "network",
        "load",
        "quiet",
        "secret",
        "no-cache",
        "force-rm",
        "ssh",
        "build-context",
        "add-host",
        "shm-size",
        "ulimit",
        "memory",
        "cache-from",
    }
)
_SILENT_FLAGS = frozenset({"rm", "force-rm", "load", "quiet", "progress"})  # imgmake builds so anyway
_RUN_FLAGS = frozenset(
    {
        "rm",
        "volume",
        "workdir",
        "env",
        "user",
        "network",
        "publish",
        "entrypoint",
        "tty",
        "interactive",
        "platform",
        "privileged",
        "init",
        "cap-add",
        "shm-size",
        "add-host",
    }
)
# Names of the environment that docker and its tools look at; those that only choose the builder, or how it talks.
_DOCKER = re.compile(r"DOCKER|BUILD|COMPOSE|HADOLINT|SSH|HOME$|PATH$|SOURCE_DATE|(?i:\w+_proxy$)")
_BUILDERS = frozenset({"DOCKER_BUILDKIT", "COMPOSE_DOCKER_CLI_BUILD", "BUILDKIT_PROGRESS", "DOCKER_CLI_EXPERIMENTAL"})


OWN = "own"  # marks text that this module itself put in: $in and $out


@dataclass
class Recipes(Lines):
    """Translates recipes of one Makefile.

    images: names of image rules by the expression of each of their tags, filled in by the writer.
    """

    literal: bool = False
    shell: str = "/bin/sh"
    before: str = ""  # what .SHELLFLAGS ask of a shell, as its first command
    stops: bool = False  # whether the shell stops at what fails, as imgmake's does
    images: dict[str, str] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)  # what the commands of one target are given, by name
    lost: dict[str, str] = field(default_factory=dict)  # what is exported and cannot be given, and why
    _builds: bool = True

    @contextmanager
    def builds_as_text(self) -> Iterator[None]:
        """While this lasts, a docker build is a command like any other."""
        before, self._builds = self._builds, False
        try:
            yield
        finally:
            self._builds = before

    @contextmanager
    def as_text(self, asked: bool) -> Iterator[None]:
        """While this lasts, every command stays what it is to a shell, where that is asked."""
        before = self.literal, self._builds
        self.literal, self._builds = self.literal or asked, self._builds and not asked
        try:
            yield
        finally:
            self.literal, self._builds = before

    @contextmanager
    def giving(self, own: dict[str, str]) -> Iterator[None]:
        """While this lasts, every shell is given these variables, too."""
        before, self.own = self.own, own
        try:
            yield
        finally:
            self.own = before

    def _line(self, line: Line, scope: Scope) -> Step:
        prefix = (PREFIX.match(line.text) or [""])[0]
        text = line.text[len(prefix) :]
        if self.whole:
            # A shell that is like sh: make takes the prefixes off every line.
            text = "\n".join(PREFIX.sub("", each) for each in text.split("\n"))
        return self._command(self.values.parts(text, scope), line, prefix)

    def _script(self, line: Line, scope: Scope) -> Step:
        before = self.shell, self.stops
        self.shell = line.script
        self.stops |= "\n" in line.text  # what it does about failures is part of it
        prefix = (PREFIX.match(line.text) or [""])[0]
        try:
            return self._sh(self.values.parts(line.text[len(prefix) :], scope), line, ignored="-" in prefix)
        finally:
            self.shell, self.stops = before

    def _command(self, parts: list[Part], line: Line, prefix: str) -> Step:
        parts = parts if self.literal else spoken(parts, self.values)
        seen = any(_DOCKER.match(name) and name not in _BUILDERS for name in self.exports)
        plain = not (self.literal or "-" in prefix or self.before or seen or self.own or self.whole)
        step = self._idiom(parts, line.line) if plain else None
        return step or self._sh(parts, line, ignored="-" in prefix)

    def command(self, parts: Parts, line: int, *, ignored: bool = False, before: str = "") -> Step:
        """One command of another tool's recipe, its variables known already: an idiom, or `sh`. Raises Uncovered.

        ignored: whether its failure counts for nothing.
        before:  what its shell is told first, where a shell runs it.
        """
        step = None if self.literal or ignored else self._idiom(list(parts), line)
        return step or self._sh([*([Part(before)] if before else []), *parts], Line(line, ""), ignored=ignored)

    # --- sh -------------------------------------------------------------------------------------------------

    def _sh(self, parts: list[Part], line: Line, *, ignored: bool) -> Step:
        self._guard(parts)
        plain = today(parts)
        notes: list[str] = []
        if ignored:
            # A whole text in brackets: what is ignored is the end of the line, not of its last command.
            simple = not re.search(r"[;&|\n]", plain)
            parts = [*parts, Part(" || true")] if simple else [Part("( "), *parts, Part(" ) || true")]
        if self.shell == "/bin/sh" and not self.before and reads_no_shell(plain):
            parts = [Part("/bin/"), *parts]
        if not self.stops and goes_on(today(parts)):
            parts = [Part("set +e; "), *parts]
        if self.has_inputs and _ARGUMENTS.search(re.sub(r"'[^']*'", "", plain)):
            parts = [Part("set --; "), *parts]  # make's shell has no arguments, imgmake's has the prerequisites
        if self.before:
            parts = [Part(f"{self.before}; "), *parts]
        body, given, spliced = shell_text(untabbed(parts))
        extra = [f"{key}={value}" for key, value in given.items() if key not in {*self.exports, *self.own}]
        extra += [f"shell={quoted(self.shell)}"] if self.shell != "/bin/sh" else []
        extra += self._environment()
        literal = f"{'f' * spliced}{text_literal(body)}"
        needs = frozenset(part.name for part in parts if part.name) | names_in(self.own.values())
        what = "echo" if re.match(r"(echo|printf)\b[^|><;&]*$", plain.strip()) else "sh"
        return Step(
            f"sh({', '.join([literal, *extra])})", what, line.line, frozenset({"sh"}), needs, notes=tuple(notes)
        )

    def _environment(self) -> list[str]:
        """The arguments that give a shell what the Makefile exports."""
        if not (self.exports & self.own.keys()):
            return [*(f"{name}={value}" for name, value in self.own.items()), *["**EXPORTED"][: len(self.exports)]]
        own = ", ".join(f"{quoted(name)}: {value}" for name, value in self.own.items())
        return [f"**{{**EXPORTED, {own}}}"]

    def _guard(self, parts: Parts) -> None:
        """A name of the shell's own that imgmake would give a value to."""
        text = "".join(part.text for part in parts if not part.name and not part.leaves)
        declared = {self.values.variable(n) for n in self.values.definitions if self.values.known(n).exported}
        for name in _OWN.findall(text):
            assigned = re.search(
                rf"(?:^|[;&|\s(]){name}=|\bfor {name}\b|\bread\b[^;|&]*\b{name}\b|\bexport {name}\b", text
            )
            if name in (declared | set(LATE)) - self.exports and not assigned:
                raise Uncovered(f"$${name} is the shell's own there, and a variable of the Pipefile has that name")
            if name in self.lost:
                raise Uncovered(f"{name} is exported, and cannot be given: {self.lost[name]}")
            if name in ("in", "out"):
                raise Uncovered(f"$${name} is what imgmake calls the files of a rule")

    # --- what has a word of its own ---------------------------------------------------------------------------

    def _idiom(self, parts: Parts, line: int) -> Step | None:
        try:
            inlined = self.values.inlined(parts)
            if contained_tool := contained.tool(inlined):
                return self._tool(contained_tool, line)
            found = docker.words(inlined)
            return self._tool(found, line) or self._docker(found, line)
        except Uncovered:
            return None  # as it stands there, for a shell

    def _tool(self, found: Words, line: int) -> Step | None:
        if found.text(0) == "hadolint" and (given := contained.lint_arguments(found)):
            return _step(f"lint({', '.join(given)})", "lint", line, "lint", found.words)
        if found.text(0) == "container-structure-test" and found.text(1) == "test":
            return self._structure_test(found, line)
        return None

    def _structure_test(self, found: Words, line: int) -> Step | None:
        image, configs = list[Parts](), list[Parts]()
        rest = list(found.words[2:])
        while rest:
            word = rest.pop(0)
            head = word[0].text if word and not word[0].name else ""
            name, equals, value = head.lstrip("-").partition("=")
            into = {"image": image, "i": image, "config": configs, "c": configs}.get(name)
            if into is None or not head.startswith("-") or not (equals or rest):
                return None
            into.append(merged([Part(value), *word[1:]]) if equals else rest.pop(0))
        if len(image) != 1 or not configs:
            return None
        source = f"structure_test({self._image(image[0])}, {', '.join(map(expression, configs))})"
        return _step(source, "test", line, "structure_test", found.words)

    def _image(self, word: Parts) -> str:
        """The rule that makes an image, where it stands above; else its reference."""
        source = expression(word)
        return self.images.get(source, source)

    def _docker(self, found: Words, line: int) -> Step | None:
        command = docker.docker(found)
        if command is None or found.text(0) == "podman":
            return None
        if command.verb in ("build", "buildx build"):
            return self._build(command, found, line) if self._builds else None
        if command.verb == "tag" and len(command.rest) == 2 and not command.flags:
            source = f"tag({self._image(command.rest[0])}, {expression(command.rest[1])})"
            return _step(source, "tag", line, "tag", found.words)
        if command.verb == "run":
            return self._run(command, found, line)
        return None

    def _build(self, command: Docker, found: Words, line: int) -> Step | None:
        names = command.names()
        if not names <= _BUILD_FLAGS or len(command.rest) != 1 or not command.all("tag"):
            return None
        if any(HERE in part.text for word in found.words for part in word if word is not command.rest[0]):
            return None
        context = docker.text_of(command.rest[0])
        if "://" in context or context == "-" or context.startswith(("/", "git@", "..")):
            return None
        if command.verb == "buildx build" and "," in "".join(map(docker.text_of, command.all("platform"))):
            return None
        if {"no-cache", "secret", "ssh"} & names or any("=" not in docker.text_of(a) for a in command.all("build-arg")):
            return None
        return Step("", "build", line, frozenset({"image"}), _names(found.words), build=command)

    def _run(self, command: Docker, found: Words, line: int) -> Step | None:
        names = command.names()
        if (
            not names <= _RUN_FLAGS
            or "rm" not in names
            or not command.rest
            or ("interactive" in names and "tty" not in names)
        ):
            return None
        mounts = [mount(each) for each in command.all("volume")]
        if any(each is None for each in mounts):
            return None
        users = command.all("user")
        as_caller = any(CALLER in part.text for user in users for part in user)
        written = any(
            each is not None and not each[1].endswith(':ro"') and not each[0].startswith('"volume:') for each in mounts
        )
        builds = contained.builds(docker.text_of(word) for word in command.rest[1:])
        if written and not users and not builds:
            return None  # imgmake would run it as the caller, and make did as the image says
        if builds:
            command = contained.without_terminal(command)
        keywords = run_keywords(command, [each for each in mounts if each], as_caller=as_caller)
        if as_caller and not written:
            return None
        words = [expression(word) for word in command.rest[1:]]
        image = self._image(command.rest[0])
        plain = all(re.fullmatch(r'"[^\s"\'\\{}]*"', word) for word in words)
        given = quoted(" ".join(word[1:-1] for word in words)) if plain else f"[{', '.join(words)}]"
        arguments = [image, *([given] if words else []), *keywords]
        if any(HERE in part.text or CALLER in part.text for word in command.rest for part in word):
            return None
        step = _step(f"run({', '.join(arguments)})", "run", line, "run", found.words)
        notes = ("the container runs as you, not as root: what it leaves is yours",) if written and not users else ()
        return replace(step, notes=notes)


def _step(source: str, what: str, line: int, imported: str, words: Sequence[Parts]) -> Step:
    if HERE in source or CALLER in source:
        raise Uncovered("it names the current folder or user")
    return Step(source, what, line, frozenset({imported}), _names(words))


def _names(words: Sequence[Parts]) -> frozenset[str]:
    return frozenset(part.name for word in words for part in word if part.name)
