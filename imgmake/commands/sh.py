"""`sh`: one shell for a whole text. The text is the shell's own: nothing is ever spliced into it."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping
from typing import Any

from imgmake.commands import words
from imgmake.commands.base import Action, Job, Read, View
from imgmake.errors import CommandFailed, PipefileError
from imgmake.model import Field, ImageRule

_DEFAULT = "/bin/sh"
_POSITIONAL = re.compile(r"\$\{?#?[@*#0-9]|\bshift\b|\bfor\s+\w+\s*(?:;|\n|do\b)", re.ASCII)
_TROUBLE = re.compile(r"[\s*?\[]")  # what a shell acts on in the value of an unquoted variable


class Sh(Action):
    """A text for a shell, with the environment that it is given beside the user's own."""

    text: str
    shell: str = _DEFAULT
    cwd: str = "."
    tty: bool = False
    env: words.Pairs = ()

    def reads(self) -> tuple[Read, ...]:
        return tuple(Read("image", value, f"sh {name}") for name, value in self.env if isinstance(value, ImageRule))

    def names_inputs(self) -> bool:
        return False

    def fields(self, view: View) -> tuple[Field, ...]:
        given = tuple(Field("env", name, words.name_of(value)) for name, value in self.env)
        mentioned = [f"${{{name}}}" for name in self._exported(view)]
        used = words.used([*mentioned, self.shell, self.cwd, *(value for _, value in self.env)], view)
        return (
            Field("command", "", self.text),
            Field("shell", "", self.shell),
            Field("cwd", "", self.cwd),
            *given,
            *used,
        )

    def show(self, view: View) -> str:
        assignments = " ".join(f"{name}={word}" for name, word in self._words(view))
        plain = not assignments and self.shell == _DEFAULT and "\n" not in self.text and not self._arguments(view)
        line = self.text if plain else f"{shlex.quote(view.expand(self.shell))} -ec {shlex.quote(self.text)}"
        if arguments := self._arguments(view):
            line = f"{line} {shlex.join(arguments)}"
        line = f"{assignments} {line}" if assignments else line
        folder = _joined(view.base, view.expand(self.cwd))
        return f"cd {shlex.quote(folder)} && {line}" if folder else line

    def run(self, job: Job) -> None:
        view = job.view
        shell = view.expand(self.shell)
        code = job.shell.run(
            [shell, "-ec", self.text, *self._arguments(view)],
            cwd=view.folder / view.expand(self.cwd),
            env={**job.environ, **self._environment(view)},
            output=job.output,
            cancel=job.cancel,
            tty=self.tty,
        )
        words.finish(job, code, f"sh({_first_line(self.text)!r})")

    def _exported(self, view: View) -> list[str]:
        given = {name for name, _ in self.env}
        return sorted(view.names(self.text) - given)

    def _environment(self, view: View) -> Mapping[str, str]:
        declared = {name: view.value(name) for name in self._exported(view)}
        given = {name: words.spelt(value, view) for name, value in self.env}
        return {**declared, **given, **self._files(view)}

    def _words(self, view: View) -> list[tuple[str, str]]:
        declared = [(name, words.shown(f"${{{name}}}", view)) for name in self._exported(view)]
        given = [(name, words.shown(value, view)) for name, value in self.env]
        return [*declared, *given, *((name, shlex.quote(value)) for name, value in self._files(view).items())]

    def _files(self, view: View) -> dict[str, str]:
        """``$in`` and ``$out``, when the text mentions them: names joined by spaces, which the shell splits again."""
        found = {}
        for name, files in (("in", view.inputs), ("out", view.outputs)):
            if mentions := list(re.finditer(rf"\$(?:{name}\b|\{{{name}\b)", self.text)):
                quoted = all(_in_quotes(self.text, mention.start()) for mention in mentions)
                found[name] = _join(name, files, quoted)
        return found

    def _arguments(self, view: View) -> list[str]:
        """``$0`` and the inputs as ``"$@"``; only for a text that looks at them, since a system limits their length."""
        return ["sh", *view.inputs] if _POSITIONAL.search(self.text) else []


def _join(name: str, files: tuple[str, ...], quoted: bool) -> str:
    trouble = next((file for file in files if _TROUBLE.search(file)), None)
    if trouble is not None and not (quoted and len(files) == 1):
        one = f'write "${name}"' if len(files) == 1 else "name the files in the text, or rename them"
        hint = '"$@" holds the prerequisite files, each as one word' if name == "in" else one
        raise CommandFailed(f"the shell would split the name {trouble!r} in ${name}", hint=hint)
    return " ".join(files)


def _in_quotes(text: str, position: int) -> bool:
    """Whether a position of a shell text is between double quotes, as far as quotes alone tell."""
    plain = re.sub(r"\\.|'[^'\"]*'", "", text[:position], flags=re.DOTALL)
    return plain.count('"') % 2 == 1


def _joined(base: str, cwd: str) -> str:
    folder = "/".join(part for part in (base, cwd) if part not in ("", "."))
    return cwd if cwd.startswith("/") else folder


def _first_line(text: str) -> str:
    line, *more = text.splitlines()
    return line if not more else f"{line} …"


def _made(text: str) -> str:
    return text.replace("$(MAKE)", "make")  # to a shell it would be the output of a program called MAKE


def sh(text: str, *, shell: str = _DEFAULT, cwd: str = ".", tty: bool = False, **env: Any) -> Sh:
    """Run `text` in one shell that stops at the first failure (``-e``), in the Pipefile's folder.

    In the text ``$`` is the shell's. Declared names that it mentions are exported to it and count for
    freshness; `env` adds others, whose values may hold late values or be an image's rule. ``$in`` and
    ``$out`` are the prerequisite files and the targets, joined by spaces; ``"$@"`` are the prerequisite
    files, each as one word. Beside these, the user's environment passes through, as in make.
    A line of a Makefile that calls make again may stand as it is: ``$(MAKE)`` is ``make``.

    shell: the shell's program; it must take ``-ec TEXT``.
    cwd:   the working folder, relative to the Pipefile's.
    tty:   give it the user's terminal (when there is one and jobs run one at a time).

    Raises PipefileError on a wrong argument; running it raises CommandFailed with the shell's exit code.

    >>> sh("docker image inspect $IMAGE", IMAGE="debian:12").text
    'docker image inspect $IMAGE'
    """
    for name in ("in", "out"):
        if name in env:
            raise PipefileError(f"sh: ${name} is set by imgmake itself")
    return Sh(
        text=_made(textwrap.dedent(words.some_text(text, "sh: the text")).strip("\n")),
        shell=words.some_text(shell, "sh: shell"),
        cwd=words.some_text(cwd, "sh: cwd"),
        tty=tty,
        env=words.pairs(env, "sh: env"),
    )
