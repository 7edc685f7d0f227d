"""What stands in a rule's brackets: names of targets checked, parts sorted into prerequisites and recipe."""

from __future__ import annotations

import inspect
import io
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from imgmake.declare.collector import Collector
from imgmake.declare.complaints import shown
from imgmake.errors import PipefileError
from imgmake.model import Command, Rule

# What a rule takes among its parts: a name, path or rule is a prerequisite, a command or function is recipe.
Part: TypeAlias = "str | os.PathLike[str] | Rule | Command | Callable[..., object] | Iterable[Part]"


class Sorted(NamedTuple):
    """Parts by what they are, each in the order written."""

    prerequisites: tuple[str | Rule, ...]
    recipe: tuple[Command | Callable[..., object], ...]


def sort(parts: Iterable[Part], collector: Collector) -> Sorted:
    """Flatten the parts, and tell prerequisites from recipe; raises PipefileError for what is neither."""
    prerequisites: list[str | Rule] = []
    recipe: list[Command | Callable[..., object]] = []
    for part in _flat(parts):
        if isinstance(part, (str, os.PathLike)):
            prerequisites.append(prerequisite(part, collector))
        elif isinstance(part, Rule):
            prerequisites.append(part)
        elif isinstance(part, Command):
            recipe.append(part)
        elif callable(part):
            recipe.append(_function(part))
        else:
            raise PipefileError(_neither(part), hint="a part is a name, a path, a rule, a command or a function")
    return Sorted(tuple(prerequisites), tuple(recipe))


def only_prerequisites(parts: Part, collector: Collector, what: str) -> tuple[str | Rule, ...]:
    """Parts of an argument such as ``after=`` that holds no recipe."""
    found = sort([parts], collector)
    if found.recipe:
        raise PipefileError(f"{what} takes names, paths and rules, no command")
    return found.prerequisites


# What can be iterated over, and is yet one part (or a mistake, as an open file is).
_SINGLE = (str, bytes, os.PathLike, Mapping, io.IOBase, Rule, Command)


def _flat(parts: Iterable[object]) -> Iterator[object]:
    for part in parts:
        if isinstance(part, (set, frozenset)):
            # The order of a set changes from run to run, and a recipe's order counts.
            yield from _flat(sorted(part, key=str))
        elif isinstance(part, Iterable) and not isinstance(part, _SINGLE):
            yield from _flat(part)
        else:
            yield part


def _function(part: Callable[..., object]) -> Callable[..., object]:
    name = getattr(part, "__name__", "")
    if (getattr(part, "__module__", None) or "").partition(".")[0] == "imgmake":
        raise PipefileError(f"{name} stands there without its brackets", hint=f"write {name}(…)")
    if inspect.iscoroutinefunction(part):
        raise PipefileError(f"the recipe {name} is an async function", hint="write a plain one that calls asyncio.run")
    return part


def _neither(part: object) -> str:
    if part is None:
        return "a part is None: perhaps a function returned nothing"
    return f"{shown(part)} is neither a prerequisite nor a command"


# --- names ----------------------------------------------------------------------------------------------------


def prerequisite(part: str | os.PathLike[str], collector: Collector) -> str:
    """A name or path as written; an absolute path in the repository becomes one from the Pipefile's folder."""
    text = os.fspath(part)
    if not isinstance(text, str):
        raise PipefileError(f"{shown(text)} is a path in bytes", hint="os.fsdecode() makes it a string")
    if not text.strip():
        raise PipefileError("a prerequisite is an empty string")
    if (odd := _control_character(text)) is not None:
        raise PipefileError(f"the prerequisite {text!r} holds {odd}")
    return local(text, collector)


def local(path: str, collector: Collector) -> str:
    """A path below the root, from the Pipefile's own folder, however it was written."""
    root = f"{collector.root}/".replace("//", "/")
    if not path.startswith(root) or path.startswith("//"):
        return path
    relative = posixpath.relpath(path, posixpath.join(root, collector.base))
    return f"{relative}/" if path.endswith("/") else relative


def name(given: object, kind: str, collector: Collector) -> str:
    """The full name of a target that is no file: below the Pipefile's folder; raises PipefileError."""
    text = _checked(local(given, collector) if isinstance(given, str) else given, kind)
    parts = text.split("/")
    if any(part in ("", ".", "..") for part in parts):
        better = "/".join(part for part in parts if part not in ("", ".", ".."))
        raise PipefileError(
            f"{kind} {text!r}: the name holds an empty part, '.' or '..'",
            hint=f"did you mean {better!r}?" if better else "",
        )
    return posixpath.join(collector.base, text)


def path(given: object, collector: Collector) -> str:
    """A file's full name, from the root; raises PipefileError when it is outside."""
    given = local(given, collector) if isinstance(given, str) else given
    given = local(os.fspath(given), collector) if isinstance(given, os.PathLike) else given
    text = _checked(given, "file")
    found = posixpath.normpath(posixpath.join(collector.base, text))
    if found == ".." or found.startswith(("../", "/")):
        raise PipefileError(
            f"file {text!r} is outside the repository", hint="a file that a rule makes is below the Pipefile's folder"
        )
    if found == ".":
        raise PipefileError(f"file {text!r} is the repository itself")
    return found


def _checked(given: object, kind: str) -> str:
    if isinstance(given, Rule):
        raise PipefileError(
            f"the first argument of {kind}() is the target's name, not a rule", hint=f'write {kind}("name", …)'
        )
    if inspect.isroutine(given):
        raise PipefileError(f"@{kind} needs the target's name", hint=f'write @{kind}("{given.__name__}")')
    if not isinstance(given, str):
        raise PipefileError(f"the name of a {kind} must be a string, not {shown(given)}")
    wrong, hint = _wrong(given, kind)
    if wrong:
        raise PipefileError(f"{kind} {given!r}: {wrong}", hint=hint)
    return given


def _wrong(text: str, kind: str) -> tuple[str, str]:
    """What is wrong with a target's name, and what to do about it; both empty when nothing is."""
    head, equals, _ = text.partition("=")
    odd = _control_character(text)
    found = [
        (not text.strip(), "the name is empty", ""),
        (odd is not None, f"the name holds {odd}", ""),
        (text != text.strip(), "the name starts or ends with a space", f"did you mean {text.strip()!r}?"),
        (text.startswith("/"), "the name is an absolute path", f"did you mean {text.lstrip('/')!r}?"),
        ("*" in text or "?" in text, "a target is one name, not a pattern", "name each one, in a list or a loop"),
        (equals and head.isidentifier() and kind != "file", "the command line would read it as a variable", ""),
    ]
    return next(((said, hint) for wrong, said, hint in found if wrong), ("", ""))


def _control_character(text: str) -> str | None:
    names = {"\n": "a newline", "\r": "a carriage return", "\0": "a NUL character", "\t": "a tab"}
    odd = next((c for c in text if ord(c) < 32 or ord(c) == 127), None)
    return None if odd is None else names.get(odd, f"the control character {odd!r}")
