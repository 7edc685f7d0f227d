"""What a Pipefile raised, told in the user's own lines: no frame of imgmake's or of a library is shown."""

from __future__ import annotations

import builtins
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import NamedTuple

from pydantic import ValidationError

from imgmake import commands, declare
from imgmake.declare.complaints import closest, did_you_mean, readable, unknown_argument
from imgmake.errors import ImgmakeError, PipefileError, Place, Problems

# What `from imgmake import` offers.
VOCABULARY: Mapping[str, object] = {
    "ARCH": "",
    "PLATFORM": "",
    **{name: getattr(declare, name) for name in declare.__all__},
    **{name: getattr(commands, name) for name in ("extract", "lint", "run", "sbom", "scan", "sh")},
    **{name: getattr(commands, name) for name in ("structure_test", "tag")},
}
_MOST_CALLERS = 5
_UNEXPECTED = re.compile(r"(?:\w+\.)*(\w+)\(\) got an unexpected keyword argument '(\w+)'")
_NO_DECORATOR = re.compile(r"'(Image|Publish)Rule' object is not callable")
_NO_SUCH_NAME = re.compile(r"cannot import name '(\w+)' from 'imgmake'")


class Frame(NamedTuple):
    """A line of the user's that was being executed."""

    place: Place
    frame: FrameType


def translate(error: BaseException, owns: Callable[[str], bool], spell: Callable[[str], str]) -> ImgmakeError:
    """The error to report for an exception of a Pipefile: at the innermost line of the user's own code.

    owns:  whether a source file is the user's.
    spell: how a place shows that file.
    """
    if isinstance(error, SyntaxError) and owns(error.filename or ""):
        return _syntax(error, spell)
    frames = _frames(error, owns, spell)
    innermost = frames[-1].place if frames else None
    found = _told(error, frames[-1].frame if frames else None)
    for single in found.errors if isinstance(found, Problems) else (found,):
        if single.place is None:
            single.place = innermost
            single.hint = "\n".join(line for line in (single.hint, _callers(frames)) if line)
    return found


def _syntax(error: SyntaxError, spell: Callable[[str], str]) -> ImgmakeError:
    place = Place(spell(error.filename or ""), error.lineno or 0)
    source = (error.text or "").rstrip("\n")
    lead = len(source) - len(source.lstrip())
    width = max(1, (error.end_offset or 0) - (error.offset or 0)) if error.end_lineno == error.lineno else 1
    caret = " " * max(0, (error.offset or 1) - 1 - lead) + "^" * min(width, max(1, len(source) - lead))
    hint = f"{source.strip()}\n{caret}" if source.strip() else ""
    return PipefileError(f"{type(error).__name__}: {error.msg}", place=place, hint=hint)


def _frames(error: BaseException, owns: Callable[[str], bool], spell: Callable[[str], str]) -> list[Frame]:
    found = []
    trace = error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if owns(filename):
            found.append(Frame(Place(spell(filename), trace.tb_lineno), trace.tb_frame))
        trace = trace.tb_next
    return found


def _callers(frames: list[Frame]) -> str:
    places = list(dict.fromkeys(str(frame.place) for frame in reversed(frames[:-1])))
    more = [f"and {len(places) - _MOST_CALLERS} more"] if len(places) > _MOST_CALLERS else []
    return "\n".join(f"called from {place}" for place in [*places[:_MOST_CALLERS], *more])


def _told(error: BaseException, frame: FrameType | None) -> ImgmakeError:
    if isinstance(error, ImgmakeError):
        return error
    if isinstance(error, ValidationError):
        return Problems(readable(error, error.title.removesuffix("Rule").lower()))
    said = _text(error)
    if isinstance(error, SystemExit):
        why = f": {said}" if said else ""
        return PipefileError(f"the Pipefile ended the program{why}", hint="raise an exception to say what is wrong")
    unexpected = _UNEXPECTED.match(said) if isinstance(error, TypeError) else None
    if unexpected and (parameters := _parameters(unexpected[1], frame)):
        return unknown_argument(unexpected[1], unexpected[2], parameters)
    if isinstance(error, ImportError) and (absent := _NO_SUCH_NAME.match(said)):
        hint = did_you_mean(absent[1], VOCABULARY) or f"it has {', '.join(sorted(VOCABULARY))}"
        return PipefileError(f"imgmake has no {absent[1]!r}", hint=hint)
    return PipefileError(f"{type(error).__name__}: {said}" if said else type(error).__name__, hint=_hint(error, frame))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 (the user's own __str__ may be what is broken)
        return "(its own text cannot be made)"


def _parameters(word: str, frame: FrameType | None) -> list[str]:
    function = (frame.f_globals if frame else {}).get(word, VOCABULARY.get(word))
    return [name for name in inspect.signature(function).parameters] if inspect.isfunction(function) else []


def _hint(error: BaseException, frame: FrameType | None) -> str:
    if isinstance(error, NameError) and error.name:
        return _missing_name(error.name, frame)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("imgmake."):
        return "install it beside imgmake, or put it beside the Pipefile"
    if isinstance(error, TypeError) and (made := _NO_DECORATOR.match(_text(error))):
        return f"{made[1].lower()} takes no recipe: decorate with a file, check or phony, and name that as a part"
    if isinstance(error, AttributeError) and error.name and error.obj is not None:
        return did_you_mean(error.name, _attributes(error.obj))
    return ""


def _missing_name(name: str, frame: FrameType | None) -> str:
    if name in VOCABULARY:
        return f"import it: from imgmake import {name}"
    close = closest(name, {**(frame.f_globals | frame.f_locals if frame else {}), **VOCABULARY, **vars(builtins)})
    return f"did you mean {close}?" if close else ""


def _attributes(thing: object) -> Iterable[str]:
    return [name for name in dir(thing) if not name.startswith("_")]
