"""Errors in words for the person who reads them: what, where, what to do. Decides no exit code."""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path

from imgmake.errors import ImgmakeError, Problems
from imgmake.reporters.style import one_line


def message(error: BaseException) -> str:
    """One error, without a prefix: place and message, the hint indented below.

    >>> message(ImgmakeError("no rule makes 'al'", hint="did you mean 'all'?"))
    "no rule makes 'al'\\n  did you mean 'all'?"
    """
    if not isinstance(error, ImgmakeError):
        return _indented(f"{type(error).__name__}: {error}")
    where = f"{error.place}: " if error.place else ""
    lines = [_indented(f"{where}{error.message}")]
    lines += [f"  {_plain(line)}" for line in error.hint.splitlines()]
    return "\n".join(lines)


def render(error: BaseException) -> str:
    """Every problem, each as its own ``imgmake: …`` message, with a newline at the end."""
    found = error.errors if isinstance(error, Problems) else (error,)
    return "".join(f"imgmake: {message(each)}\n" for each in found)


def as_json(error: BaseException) -> list[dict[str, object]]:
    """The same as data: one object per problem."""
    found = error.errors if isinstance(error, Problems) else (error,)
    return [_object(each) for each in found]


def report_defect(error: BaseException) -> str:
    """What to say of an exception that nobody foresaw; the traceback goes to a file, not to the user."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="imgmake-defect-", suffix=".txt", delete=False) as file:
            file.write(text)
    except OSError:  # a full disk must not hide the defect
        return f"imgmake: this is a defect in imgmake, please report it\n{text}"
    said = _indented(f"{type(error).__name__}: {error}")
    return f"imgmake: this is a defect in imgmake, please report it: {said}\n  traceback: {Path(file.name)}\n"


def _indented(text: str) -> str:
    return "\n  ".join(map(_plain, text.rstrip("\n").split("\n")))


def _plain(line: str) -> str:
    """A line that steers no terminal: what a registry or a program said may stand in it. A tab is only a space."""
    return "\t".join(map(one_line, line.split("\t")))


def _object(error: BaseException) -> dict[str, object]:
    if not isinstance(error, ImgmakeError):
        return {"message": f"{type(error).__name__}: {error}"}
    told: dict[str, object] = {"message": error.message}
    if error.hint:
        told["hint"] = error.hint
    if error.place:
        told["place"] = {"file": error.place.file, "line": error.place.line}
    return told
