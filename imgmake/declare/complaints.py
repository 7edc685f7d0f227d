"""Mistakes of a Pipefile in words: a call that does not fit, a value that a model refuses, a near miss."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from pydantic import ValidationError

from imgmake.errors import ImgmakeError, PipefileError

_SHOWN = 60  # characters of a wrong value


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean 'image'?`` for the closest of the known names, or nothing.

    >>> did_you_mean("iamge", ["file", "image"])
    "did you mean 'image'?"
    """
    close = closest(name, known)
    return f"did you mean {close!r}?" if close else ""


def closest(name: str, known: Iterable[str]) -> str:
    """The known name that is nearest to `name`, or nothing when none is near."""
    # Imported here: only a Pipefile with a mistake pays for it.
    import difflib

    by_folded = {other.casefold(): other for other in known if other != name}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else ""


def shown(value: object) -> str:
    """A wrong value, short enough for a line: ``'x'``, ``3``, ``None``, ``a list``."""
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


_WANTED = {
    "string_type": "must be a string",
    "bool_type": "must be True or False",
    "bool_parsing": "must be True or False",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "mapping_type": "must be a mapping",
    "tuple_type": "must be a list",
    "frozen_instance": "cannot be changed: give it when the rule is declared",
}


def readable(error: ValidationError, subject: str) -> list[ImgmakeError]:
    """Each thing that a model refused, as one line: ``image 'app': pull must be True or False, not 'x'``."""
    found: list[ImgmakeError] = []
    for detail in error.errors(include_url=False):
        where = ".".join(str(part) for part in detail["loc"])
        wanted = _WANTED.get(detail["type"])
        said = f"{wanted}, not {shown(detail['input'])}" if wanted else detail["msg"]
        said = wanted if wanted and detail["type"] == "frozen_instance" else said
        found.append(PipefileError(f"{subject}: {where} {said}"))
    return found


def misuse(
    function: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object], error: TypeError
) -> ImgmakeError:
    """The error for a call that does not fit its function; a TypeError from inside one that fits is raised again."""
    import inspect

    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as mismatch:
        named = [name for name, p in signature.parameters.items() if p.kind is not p.VAR_POSITIONAL]
        return _unfit(function.__name__, named, kwargs, mismatch)
    raise error


def _unfit(word: str, parameters: Collection[str], kwargs: Mapping[str, object], mismatch: TypeError) -> ImgmakeError:
    unknown = [name for name in kwargs if name not in parameters]
    if unknown:
        return unknown_argument(word, unknown[0], parameters)
    return PipefileError(f"{word}(): {mismatch}", hint=f"it takes {', '.join(parameters)}")


def unknown_argument(word: str, name: str, parameters: Collection[str]) -> ImgmakeError:
    """``image() has no argument 'tag'``, with the nearest that it has, or all of them."""
    hint = did_you_mean(name, parameters) or f"it takes {', '.join(parameters)}"
    return PipefileError(f"{word}() has no argument {name!r}", hint=hint)
