"""`python`: a function of the Pipefile as a recipe, signed by its source text and by what of the Pipefile it uses."""

from __future__ import annotations

import inspect
import os
import textwrap
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from imgmake.commands import words
from imgmake.commands.base import Action, Job, Read, View
from imgmake.commands.sh import sh
from imgmake.errors import CommandFailed, ImgmakeError, PipefileError, Place
from imgmake.model import Field, ImageRule

_PLAIN = (str, bytes, int, float, bool, type(None), os.PathLike)
_VALUES = (*_PLAIN, ImageRule, tuple, list, dict, set, frozenset)


class Context:
    """What a recipe function may ask for: its rule's names, late values, and a way to run commands."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.target = job.view.target
        self.inputs = tuple(job.view.folder / path for path in job.view.inputs)
        self.outputs = tuple(job.view.folder / path for path in job.view.outputs)
        self.folder: Path = job.view.folder

    def value(self, name: str) -> str:
        """The value of a declared variable or of metadata, such as ``"BUILD_ID"``."""
        return self._job.view.value(name.removeprefix("$").strip("{}"))

    def run(self, command: Action | str) -> None:
        """Run a command such as ``sh(…)`` or ``run(…)``; a string is `sh` text. Raises CommandFailed."""
        action = sh(command) if isinstance(command, str) else command
        if not isinstance(action, Action):
            raise TypeError(f"no command: {command!r}")
        self._job.output.command(action.show(self._job.view))
        action.run(self._job)

    def print(self, *values: object) -> None:
        """Print among this target's output, as `print` cannot: several targets may run at a time."""
        self._job.output.write((" ".join(str(value) for value in values) + "\n").encode())


class Python(Action):
    """A function, called with nothing or with a `Context`."""

    function: Any  # a callable

    def reads(self) -> tuple[Read, ...]:
        return ()

    def names_inputs(self) -> bool:
        return False

    def fields(self, view: View) -> tuple[Field, ...]:
        used = [(self.name, inspect.unwrap(self.function)), *_helpers(self.function)]
        given = (Field("value", f"{at}: {name}", value) for at, each in used for name, value in _bound(each, view))
        helpers = (Field("command", name, _source(each)) for name, each in used[1:])
        asked = words.used([text for _, each in used for text in _variables(each, view)], view)
        return (Field("command", "", _source(self.function)), *helpers, *given, *asked)

    def show(self, view: View) -> str:  # noqa: ARG002
        return f"# {self.name}() in {_place(self.function)}"

    def run(self, job: Job) -> None:
        try:
            self.function(*([Context(job)] if _parameters(self.function) else []))
        except ImgmakeError:
            raise
        except Exception as error:
            raise _failed(self.name, error) from error
        except SystemExit as error:
            if error.code not in (None, 0):
                code = error.code if isinstance(error.code, int) else 1
                raise CommandFailed(f"{self.name}() left with {error.code!r}", code=code) from None

    @property
    def name(self) -> str:
        return str(getattr(self.function, "__name__", type(self.function).__name__))


def _failed(name: str, error: Exception) -> CommandFailed:
    """The error with the frames of the user's own function, without ours."""
    frames = traceback.extract_tb(error.__traceback__)
    own = Path(__file__).parent.parent
    theirs = [frame for frame in frames if not Path(frame.filename).is_relative_to(own)]
    where = "\n".join(f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in theirs)
    place = Place(theirs[0].filename, theirs[0].lineno or 0) if theirs else None
    return CommandFailed(f"{name}() raised {type(error).__name__}: {error}", hint=where, place=place)


def _place(function: Any) -> Place:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return Place(Path(code.co_filename).name, code.co_firstlineno) if code else Place("?", 0)


def _source(function: Any) -> str:
    """The text of the function; where there is none (a prompt, a built-in), what it was compiled to."""
    plain = inspect.unwrap(function)
    try:
        return textwrap.dedent(inspect.getsource(plain))
    except (OSError, TypeError):
        code = getattr(plain, "__code__", None)
        return f"{code.co_code.hex()} {code.co_consts!r} {code.co_names!r}" if code else repr(type(plain))


def _bound(function: Any, view: View) -> list[tuple[str, str]]:
    """The plain values that a function has beside its text: globals, defaults, and closure, as loops bind them."""
    plain = inspect.unwrap(function)
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(plain).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    names = getattr(getattr(plain, "__code__", None), "co_freevars", ())
    cells = getattr(plain, "__closure__", None) or ()
    closed = {n: c.cell_contents for n, c in zip(names, cells, strict=True) if _filled(c)}
    # A rule that is only named is no prerequisite: whether its image has been resolved must make no difference.
    by_name = replace(view, content=words.name_of)
    told = {name: _spelt(value, by_name) for name, value in _globals(plain).items() if isinstance(value, _VALUES)}
    own = {name: _spelt(value, view) for name, value in {**defaults, **closed}.items() if isinstance(value, _VALUES)}
    return sorted({**told, **own}.items())


def _variables(function: Any, view: View) -> Iterator[str]:
    """Declared names that a function can ask its context for: constants of its text, and tokens that it names."""
    code = getattr(function, "__code__", None)
    for text in _constants(code) if code else ():
        yield from (f"${{{name}}}" for name in view.names(f"${{{text}}}") | view.names(text))
    yield from (value for value in _globals(function).values() if isinstance(value, str))


def _constants(code: types.CodeType) -> Iterator[str]:
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _constants(const)
        elif isinstance(const, str):
            yield const


def _globals(function: Any) -> dict[str, Any]:
    """What a function's text names of its module: they count as much as the text does."""
    known = getattr(function, "__globals__", {})
    code = getattr(function, "__code__", None)
    return {name: known[name] for name in sorted(_named(code)) if name in known} if code else {}


def _named(code: types.CodeType) -> set[str]:
    inner = (_named(const) for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*inner)


def _helpers(function: Any) -> Iterator[tuple[str, Any]]:
    """Functions of the same Pipefile that a function calls, and those that they call; modules count as files."""
    plain = inspect.unwrap(function)
    queue, seen = [plain], {id(plain)}
    while queue:
        for name, value in _globals(queue.pop()).items():
            for helper in _functions(value):
                if helper.__globals__ is getattr(plain, "__globals__", None) and id(helper) not in seen:
                    seen.add(id(helper))
                    queue.append(helper)
                    yield name, helper


def _functions(value: Any) -> Iterator[Any]:
    members = vars(value).values() if isinstance(value, type) else [value]
    found = (inspect.unwrap(getattr(member, "__func__", member)) for member in members if callable(member))
    return (each for each in found if isinstance(each, types.FunctionType))


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (empty until the name is bound)
    except ValueError:
        return False
    return True


def _spelt(value: Any, view: View) -> str:
    if isinstance(value, ImageRule):
        return view.content(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_spelt(item, view) for item in value) + "]"
    if isinstance(value, dict | set | frozenset):
        items = value.items() if isinstance(value, dict) else value
        return "{" + ", ".join(sorted(_spelt(item, view) for item in items)) + "}"
    if not isinstance(value, _VALUES):
        return type(value).__name__  # the address in its repr would differ from run to run
    return repr(os.fspath(value) if isinstance(value, os.PathLike) else value)


def _parameters(function: Any) -> int:
    """How many arguments the function needs: 0 or 1; raises PipefileError for anything else."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    needed = [p for p in parameters if p.default is inspect.Parameter.empty and p.kind not in _VARIADIC]
    if len(needed) > 1 or any(p.kind not in kinds for p in needed):
        names = ", ".join(p.name for p in needed)
        raise PipefileError(f"a recipe function takes nothing or one context, not ({names})")
    return len(needed)


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def python(function: Callable[..., object]) -> Python:
    """Make a recipe of a function that takes nothing, or one `Context`.

    It counts by its source text and by the plain values that it closes over or has as defaults. An exception
    in it fails the recipe. Raises PipefileError for anything that cannot be called so.

    >>> def touch(context): context.outputs[0].touch()
    >>> python(touch).name
    'touch'
    """
    if not callable(function):
        raise PipefileError(f"{function!r} is no function")
    if inspect.iscoroutinefunction(function):
        raise PipefileError(f"{function!r} is a coroutine function", hint="call asyncio.run in a plain function")
    try:
        _parameters(function)
    except (TypeError, ValueError):
        raise PipefileError(f"{function!r} says nothing about its parameters") from None
    return Python(function=function)
