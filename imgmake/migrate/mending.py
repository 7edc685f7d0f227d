"""What keeps make from reading a Makefile, taken out of a copy of it: includes that are not here, guards, slips.

Pure: text and make's complaint in, text out. What was taken out is told, since nothing else proves what stands there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NOT_HERE = re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+): (?P<what>.+): No such file or directory$", re.MULTILINE)
_STOPPED = re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+): \*\*\* (?P<what>.*?)\.?  Stop\.$", re.MULTILINE)
_NOT_MADE = re.compile(
    r"\*\*\* \[[^\]]*?:? ?(?P<what>[^\s\]]+)\] Error|No rule to make target '(?P<absent>[^']+)'\.  Stop"
)
_INCLUDE = re.compile(r"^( *)(?:include)(?=\s)", re.MULTILINE)
_ERROR = re.compile(r"\$([({])error(?=\s)")
_GOES_ON = re.compile(r"\\\n(?=\s*endef\b)")


@dataclass(frozen=True)
class Mend:
    """One change: the file it is in, the new text, and what to say about it; of a guard, its message."""

    file: str
    text: str
    line: int
    why: str
    guard: str = ""


def file_of(complaint: str, makefile: str) -> str:
    """The file that a complaint of make's is about."""
    match = _NOT_HERE.search(complaint) or _STOPPED.search(complaint)
    return match["file"] if match else makefile


def mend(text: str, complaint: str, file: str) -> Mend | None:
    """The text without what make complains about; None when that is not known.

    >>> mend("include ../x.mk\\n", "Makefile:1: ../x.mk: No such file or directory", "Makefile").text
    '-include ../x.mk\\n'
    """
    lines = text.split("\n")
    if (match := _NOT_HERE.search(complaint)) and (found := _optional(lines, int(match["line"]))):
        return Mend(
            file, found, int(match["line"]), f"{match['what']} is not here: what it would set or add is unknown"
        )
    if match := _STOPPED.search(complaint):
        return _stopped(text, int(match["line"]), match["what"], file)
    if (match := _NOT_MADE.search(complaint)) and _INCLUDE.search(text):
        what = match["what"] or match["absent"]
        return Mend(file, _INCLUDE.sub(r"\1-include", text), 0, f"{what}, which is included, cannot be made here")
    return None


def _optional(lines: list[str], number: int) -> str:
    """The text with the include at a line, or on the one that it continues, made optional; empty when there is none."""
    for at in range(min(number, len(lines)) - 1, -1, -1):
        if _INCLUDE.match(lines[at]):
            return "\n".join([*lines[:at], _INCLUDE.sub(r"\1-include", lines[at]), *lines[at + 1 :]])
        if at and not lines[at - 1].endswith("\\"):
            return ""
    return ""


def _stopped(text: str, number: int, what: str, file: str) -> Mend | None:
    lines = text.split("\n")
    if "missing 'endef'" in what and _GOES_ON.search(text):
        return Mend(file, _GOES_ON.sub("\n", text), number, "a backslash before endef takes it into the text")
    if "missing 'end" in what or not 0 < number <= len(lines):
        return None
    last = number
    while last < len(lines) and lines[last - 1].endswith("\\"):
        last += 1
    stretch = "\n".join(lines[number - 1 : last])
    guard = f"make stops here with `{what}`: it was read as if this were not asked"
    if _ERROR.search(stretch):
        passed = _ERROR.sub(r"$\1warning", stretch)
        return Mend(file, "\n".join([*lines[: number - 1], passed, *lines[last:]]), number, guard, what)
    if what.startswith(("missing", "unterminated", "recipe commences", "extraneous", "invalid", "empty", "commands")):
        quiet = [f"# {line}".rstrip("\\") for line in lines[number - 1 : last]]
        why = f"make does not read this line: {what}"
        return Mend(file, "\n".join([*lines[: number - 1], *quiet, *lines[last:]]), number, why)
    return Mend(file, _ERROR.sub(r"$\1warning", text), number, guard, what) if _ERROR.search(text) else None
