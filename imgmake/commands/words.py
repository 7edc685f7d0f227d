"""Small words that all commands share: arguments checked, late values spelt and quoted, images named.

Knows no single command, and raises PipefileError without a place: the declaring layer adds it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from imgmake.commands.base import Job, View
from imgmake.errors import CommandFailed, Interrupted, PipefileError
from imgmake.model import Field, ImageRule, Rule

Pairs = tuple[tuple[str, Any], ...]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MENTION = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)


# --- arguments ------------------------------------------------------------------------------------------------


def text(value: Any, what: str) -> str:
    """A string or path, as a string; PipefileError names the argument `what`."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise PipefileError(f"{what} must be a string, not {_kind(value)}")
    if "\0" in value:
        raise PipefileError(f"{what} holds a NUL character")
    return value


def some_text(value: Any, what: str) -> str:
    """As `text`, and not empty."""
    found = text(value, what)
    if not found.strip():
        raise PipefileError(f"{what} is empty")
    return found


def texts(values: Any, what: str) -> tuple[str, ...]:
    """Strings; one string is a list of one."""
    if isinstance(values, str | os.PathLike):
        return (text(values, what),)
    if isinstance(values, Mapping) or not isinstance(values, Iterable):
        raise PipefileError(f"{what} must be a list of strings, not {_kind(values)}")
    return tuple(text(value, what) for value in values)


def split(value: Any, what: str) -> tuple[str, ...]:
    """Words: a string is split as a shell would split it (no expansion), a list is taken as it is."""
    if not isinstance(value, str):
        return texts(value, what)
    try:
        return tuple(shlex.split(text(value, what)))
    except ValueError as error:
        raise PipefileError(f"{what} cannot be split into words: {error}: {value!r}") from None


def pairs(env: Mapping[str, Any], what: str) -> Pairs:
    """Environment variables: names checked; a value is text, a number or an image rule."""
    if not isinstance(env, Mapping):
        raise PipefileError(f"{what} must map names to values, not {_kind(env)}")
    return tuple((_variable(name, what), _value(value, f"{what}[{name!r}]")) for name, value in env.items())


def _variable(name: Any, what: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PipefileError(f"{what}: {name!r} is no name of an environment variable")
    return name


def _value(value: Any, what: str) -> Any:
    if isinstance(value, ImageRule):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return text(value, what)


def image(value: Any, command: str) -> Any:
    """An image rule or a reference; a string with white space is no image but perhaps a shell line."""
    if isinstance(value, ImageRule):
        return value
    if isinstance(value, Rule):
        raise PipefileError(f"{command}: {value.target!r} is a {value.kind} rule, where an image is needed")
    name = some_text(value, f"{command}: the image")
    if any(c.isspace() for c in name):
        hint = f"did you mean sh({name!r})?" if command == "run" else ""
        raise PipefileError(f"{command}: {name!r} is no name of an image", hint=hint)
    return name


def _kind(value: Any) -> str:
    if isinstance(value, Rule):
        return f"the {value.kind} rule {value.target!r}"
    return f"{type(value).__name__} ({value!r})"


# --- late values ----------------------------------------------------------------------------------------------


def spelt(value: Any, view: View) -> str:
    """A value as the command gets it: an image as docker is given it, text expanded."""
    return view.image(value) if isinstance(value, ImageRule) else view.expand(value)


def shown(value: Any, view: View) -> str:
    """A value as one shell word for a printed line; a secret stays ``$NAME``, so the line can be pasted.

    Only a value that holds a secret is put in double quotes: there alone the shell must still expand.
    """
    if isinstance(value, ImageRule):
        return shlex.quote(view.image(value))
    if not _secrets(value, view):
        return shlex.quote(view.expand(value))
    return '"' + _replace(value, view, _escape, lambda name: f"${{{name}}}") + '"'


def told(value: str, view: View) -> str:
    """Text expanded for a message, secrets left as they are written."""
    if not _secrets(value, view):
        return view.expand(value)
    return _replace(value, view, lambda part: part, lambda name: f"${name}")


def used(values: Iterable[Any], view: View) -> tuple[Field, ...]:
    """A field for each declared name that the texts mention, with its value, and for each image among them.

    A secret counts by its name: its value is in no record.
    """
    values = list(values)
    names = sorted(set[str]().union(*(view.names(v) for v in values if isinstance(v, str))))
    fields = [Field("secret", n, "") if view.secret(n) else Field("variable", n, view.value(n)) for n in names]
    return (*fields, *(image_field(value, view) for value in values if isinstance(value, ImageRule)))


def image_field(value: Any, view: View) -> Field:
    """What stands for an image when signing; its name is the rule's, or the reference as written."""
    return Field("image", value.target if isinstance(value, ImageRule) else value, view.content(value))


def name_of(value: Any) -> str:
    """An image as a signature spells it within text, where its content is a field of its own."""
    return f"<image {value.target}>" if isinstance(value, ImageRule) else str(value)


def _secrets(value: str, view: View) -> bool:
    return any(view.secret(name) for name in view.names(value))


def _replace(value: str, view: View, literal: Callable[[str], str], secret: Callable[[str], str]) -> str:
    names, parts, end = view.names(value), list[str](), 0
    for match in _MENTION.finditer(value):
        name = match[1] or match[2]
        if name in names:
            parts += [
                literal(value[end : match.start()]),
                secret(name) if view.secret(name) else literal(view.value(name)),
            ]
            end = match.end()
    return "".join([*parts, literal(value[end:])])


def _escape(part: str) -> str:
    return re.sub(r'([\\"$`])', r"\\\1", part)


# --- ends -----------------------------------------------------------------------------------------------------


def finish(job: Job, code: int, what: str, hint: str = "") -> None:
    """Raise CommandFailed unless `code` is 0, or Interrupted when a stop is why it is not."""
    if code == 0:
        return
    if job.cancel.stopped:
        raise Interrupted(f"{what} was stopped")
    raise CommandFailed(f"{what} failed with exit code {code}{signal_name(code)}", code=code, hint=hint)


def signal_name(code: int) -> str:
    """`` (SIGKILL)`` for the exit code of a process that a signal ended, else nothing."""
    import signal

    try:
        return f" ({signal.Signals(code - 128).name})" if code > 128 else ""
    except ValueError:
        return ""
