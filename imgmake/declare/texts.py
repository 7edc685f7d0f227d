"""Arguments of image and publish, from the many ways to write them to the one way the models hold them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from imgmake.commands.words import some_text, texts
from imgmake.declare.complaints import did_you_mean, shown
from imgmake.durations import seconds
from imgmake.errors import PipefileError
from imgmake.model import ImageRule, Rule
from imgmake.variables import architecture

# What GOARCH knows and images are published for; a misspelt one would only fail deep in a build.
_ARCHITECTURES = frozenset(
    {"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le"}
    | {"riscv64", "s390x", "wasm"}
)
_SYSTEMS = frozenset({"linux", "windows", "darwin", "freebsd", "wasi"})
_SHORT = {("arm64", "v8"): "", ("amd64", "v1"): "", ("arm", ""): "v7"}


def optional(value: Any, what: str) -> str | None:
    """A string or path that is not empty, or None."""
    return None if value is None else some_text(value, what)


def several(values: Any, what: str) -> tuple[str, ...]:
    """Strings that are not empty; one string is a list of one."""
    return tuple(some_text(value, what) for value in texts(values, what))


def age(value: Any) -> float | None:
    """``max_age`` in seconds."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return None if value is None else seconds(value)


def scalar(value: object, what: str) -> str:
    """A string, path, whole number or truth value as the text that a build sees; PipefileError for the rest."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return some_or_empty(value, what)
    if isinstance(value, float):
        raise PipefileError(
            f"{what} is the number {value!r}: as a version it may lose its last zero", hint=f'write it as "{value!r}"'
        )
    if value is None:
        raise PipefileError(f"{what} is None", hint='leave it out, or give "" for an empty value')
    raise PipefileError(f"{what} must be a string, not {shown(value)}")


def some_or_empty(value: str, what: str) -> str:
    if "\0" in value:
        raise PipefileError(f"{what} holds a NUL character")
    return value


def pairs(given: Any, what: str, value: Callable[[object, str], Any]) -> dict[str, Any]:
    """A mapping with names as keys, each value through `value`."""
    if not isinstance(given, Mapping):
        raise PipefileError(f"{what} must be a mapping such as {{'NAME': 'value'}}, not {shown(given)}")
    for key in given:
        if not isinstance(key, str) or not key.strip() or "=" in key or any(c.isspace() for c in key):
            raise PipefileError(f"{what}: {shown(key)} is no name")
    return {key: value(item, f"{what}[{key!r}]") for key, item in given.items()}


def scalar_or_image(value: object, what: str) -> str | ImageRule:
    """The value of a build argument: text, or the image that a rule makes."""
    if isinstance(value, ImageRule):
        return value
    if isinstance(value, Rule):
        raise PipefileError(f"{what} is a {value.kind}, not an image", hint="give an image's rule, or a string")
    return scalar(value, what)


# --- platforms ------------------------------------------------------------------------------------------------


def platforms(given: Any) -> tuple[str, ...]:
    """Platforms from ``"linux/amd64,linux/arm64"`` or a list, each once, spelt as images spell them."""
    found = (part.strip() for text in several(given, "platforms") for part in text.split(","))
    return tuple(dict.fromkeys(_platform(text) for text in found))


def _platform(text: str) -> str:
    if "$" in text:
        return text
    parts = text.lower().split("/")
    system, machine, variant = (*(["linux"] if len(parts) == 1 else []), *parts, "")[:3]
    machine, variant = {"armhf": ("arm", "v7"), "armel": ("arm", "v6")}.get(machine, (machine, variant))
    machine = architecture(machine)
    if len(parts) > 3 or not re.fullmatch(r"v\d+(?:\.\d+)?|", variant):
        raise PipefileError(f"platforms: {text!r} is no platform", hint="it looks like linux/arm64 or linux/arm/v7")
    for part, known in ((system, _SYSTEMS), (machine, _ARCHITECTURES)):
        if part not in known:
            hint = did_you_mean(part, known) or "it looks like linux/amd64 or linux/arm64"
            raise PipefileError(f"platforms: {text!r} is no platform: {part!r} is unknown", hint=hint)
    variant = _SHORT.get((machine, variant), variant)
    return "/".join(part for part in (system, machine, variant) if part)


# --- secrets --------------------------------------------------------------------------------------------------

_SECRET_KEYS = frozenset({"id", "src", "source", "env", "type"})
_TOKEN = re.compile(r"\$\{(\w+)\}|\$(\w+)", re.ASCII)


def secrets(given: Any) -> tuple[str, ...]:
    """Secrets as docker spells them, from paths, ``id=…,src=…`` strings, or a mapping of IDs to paths or variables."""
    if isinstance(given, Mapping):
        return tuple(_mapped(key, some_text(value, f"secrets[{key!r}]")) for key, value in given.items())
    return tuple(_secret(text) for text in several(given, "secrets"))


def _mapped(key: object, value: str) -> str:
    if not isinstance(key, str) or not re.fullmatch(r"[\w.-]+", key, re.ASCII):
        raise PipefileError(f"secrets: {shown(key)} is no ID of a secret")
    # A variable never reaches the command line of a builder: docker takes its value from the environment.
    late = _TOKEN.fullmatch(value)
    return _secret(f"id={key},env={late[1] or late[2]}" if late else f"id={key},src={_plain(value)}")


def _secret(text: str) -> str:
    if "=" not in text:
        return _plain(text)
    keys = [part.partition("=")[0] for part in text.split(",")]
    unknown = [key for key in keys if key not in _SECRET_KEYS]
    if unknown:
        raise PipefileError(
            f"secrets: {text!r} holds {unknown[0]!r}", hint="write id=NAME,src=PATH or id=NAME,env=NAME"
        )
    if "id" not in keys:
        raise PipefileError(f"secrets: {text!r} has no id", hint=f"write id=NAME,{text}")
    return text


def _plain(path: str) -> str:
    if "," in path or '"' in path:
        raise PipefileError(
            f"secrets: docker cannot take the path {path!r}", hint="rename it without commas and quotes"
        )
    return path


# --- names of images ------------------------------------------------------------------------------------------


def legal_repository(folder: str, target: str) -> str:
    """``<folder>-<target>`` as the name of a repository: lower case, odd characters gone, as compose does it.

    >>> legal_repository("My Shop", "config/dev")
    'myshop-config/dev'
    """
    project = re.sub(r"[^a-z0-9_-]", "", folder.lower()).strip("_-")
    parts = [_legal(part) for part in f"{project}-{target}".split("/")]
    # Before a slash, a dot would make the first part the host of a registry.
    first = parts[0].replace(".", "-") if len(parts) > 1 else parts[0]
    return "/".join((first, *parts[1:]))


def _legal(part: str) -> str:
    text = re.sub(r"[^a-z0-9._-]+", "-", part.lower())
    legal = re.sub(r"[._-]+", lambda run: run[0] if re.fullmatch(r"[._]|__|-+", run[0]) else "-", text)
    return legal.strip("._-") or "x"


def listed(values: Any) -> tuple[object, ...]:
    """One value, or several, as they are."""
    if isinstance(values, Iterable) and not isinstance(values, (str, bytes, os.PathLike, Mapping, BaseModel)):
        return tuple(values)
    return (values,)
