"""The words of a command line, sorted: targets, variables, a verb; one frozen request. Knows no typer, runs nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgmake.errors import UsageError

UNLIMITED = 1024  # what `-j` without a number stands for: more than any machine runs at once
DRAWINGS = ("dot", "mermaid", "svg")
_VERBS = ("version", "clean", "gc", "list", "why", "plan", "verify")
TAKE_A_VALUE = frozenset("CfWo")  # short options that swallow the rest of their word


@dataclass(frozen=True)
class Request:
    """One command line, understood: the verb, how to tell about it, and the fields of `app.Options`."""

    verb: str  # build, clean, gc, list, why, plan, verify, graph, migrate, shim or version
    options: Mapping[str, Any]
    json: bool = False
    drawing: str = "dot"


def request(words: Sequence[str], **given: Any) -> Request:
    """Sort what was read into the verb, the options of the run, and how to tell about it."""
    goals, overrides = split(words)
    verb = _verb({name: given.pop(name) for name in _VERBS} | _graph(given) | _migrate(given))
    json, drawing = given.pop("json"), given.pop("graph") or "dot"
    if given["jobs"] is not None and given["jobs"] < 1:
        raise UsageError(f"-j {given['jobs']}: at least one job is needed", hint="-j1 runs one job at a time")
    if given["keep"] < 1:
        raise UsageError(f"--keep {given['keep']}: at least one build is kept", hint="--clean removes all of them")
    if verb == "gc" and goals:
        raise UsageError(f"--gc takes no targets: {' '.join(goals)}", hint="it is about all that were built here")
    if drawing not in DRAWINGS:
        raise UsageError(f"--graph={drawing}: no such drawing", hint=f"one of {', '.join(DRAWINGS)}")
    given |= {name: tuple(given[name]) for name in ("what_if", "old_file")}
    given |= where(given["directory"], given["file"])
    return Request(verb, {"goals": goals, "overrides": overrides, **given}, json=json, drawing=drawing)


def plain(words: Sequence[str], environ: Mapping[str, str]) -> Request | None:
    """The request of a command line without any option: targets and variables. None when there is more to read."""
    if any(word.startswith("-") for word in words) or "_IMGMAKE_COMPLETE" in environ:
        return None
    goals, overrides = split(words)
    return Request("build", {"goals": goals, "overrides": overrides})


def _graph(given: Mapping[str, Any]) -> dict[str, bool]:
    return {"graph": given["graph"] is not None}


def _migrate(given: Mapping[str, Any]) -> dict[str, bool]:
    asked = given["migrate"] is not None or given["check"]
    shim = given["shim"] is not None
    for name, fits in (("stdout", asked or shim), ("literal", asked)):
        if given[name] and not fits:
            raise UsageError(f"--{name} goes with --migrate", hint=f"imgmake --migrate --{name}")
    return {"migrate": asked, "shim": shim}


def _verb(asked: Mapping[str, bool]) -> str:
    chosen = [verb for verb, wanted in asked.items() if wanted]
    if len(chosen) > 1:
        names = " and ".join(f"--{verb}" for verb in chosen)
        raise UsageError(f"{names} do not go together", hint="ask for one at a time")
    return chosen[0] if chosen else "build"


def where(directory: Sequence[str], file: str | None) -> dict[str, Any]:
    """The folder and the Pipefile; each `-C` starts from the one before, as in make."""
    return {"directory": Path(*directory), "file": Path(file) if file else None}


def split(words: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Targets, and variables by name; a later value wins.

    >>> split(["all", "TAG=1.0", "dist/a=b"])
    (('all', 'dist/a=b'), {'TAG': '1.0'})
    """
    given = [re.fullmatch(r"([A-Za-z_]\w*)=(.*)", word, re.DOTALL | re.ASCII) for word in words]
    goals = tuple(word for word, match in zip(words, given, strict=True) if match is None)
    return goals, {match[1]: match[2] for match in given if match}


def normalise(words: Sequence[str]) -> list[str]:
    """Spell out what typer cannot read: optional values (`-j`, `--graph`) and `--why=TARGET`.

    >>> normalise(["-kj", "all", "--graph", "svg", "--why=app"])
    ['-kj1024', 'all', '--graph=svg', '--why', 'app']
    """
    spelt: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*spelt, word, *rest]
        spelt += _spell(word, rest)
    return spelt


def _spell(word: str, rest: list[str]) -> Sequence[str]:
    """One word spelt out; a value that belongs to it is taken from the rest."""
    following = rest[0] if rest else ""
    if word == "--graph":
        return [f"--graph={rest.pop(0) if following in DRAWINGS else 'dot'}"]
    if word in ("--migrate", "--shim"):
        named = following and not following.startswith("-") and "=" not in following
        return [f"{word}={rest.pop(0) if named else ''}"]
    if word == "--jobs" and not following.isdigit():
        return [f"--jobs={UNLIMITED}"]
    if _ends_in_j(word) and not following.isdigit():
        return [f"{word}{UNLIMITED}"]
    if match := re.fullmatch(r"(--why|--clean|--verify)=(.+)", word, re.DOTALL):
        return match.groups()
    return [word]


def _ends_in_j(word: str) -> bool:
    return bool(re.fullmatch(r"-[A-Za-z]*j", word)) and not TAKE_A_VALUE.intersection(word)
