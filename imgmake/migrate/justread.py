"""Where things stand in a justfile: comments, order, lines, which `just --dump` does not tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_COMMENT = re.compile(r"#.*")
_SETTING = re.compile(r"set\s+([\w-]+)")
_ALIAS = re.compile(r"alias\s+([\w-]+)\s*:=")
_IMPORT = re.compile(r"""import(\?)?\s+['"](.+?)['"]""")
_MODULE = re.compile(r"mod\??\s+([\w-]+)")
_VARIABLE = re.compile(r"(?:(?:export|eager|lazy)\s+)*([\w-]+)\s*:=")
_ATTRIBUTE = re.compile(r"\[.*")
_RECIPE = re.compile(r"@?([A-Za-z_][\w-]*)\b(?:[^:\"'`]|\"(?:[^\"\\]|\\.)*\"|'[^']*'|`[^`]*`|:=)*:(?!=)")
_KINDS = {
    "comment": _COMMENT,
    "setting": _SETTING,
    "alias": _ALIAS,
    "import": _IMPORT,
    "module": _MODULE,
    "variable": _VARIABLE,
    "attribute": _ATTRIBUTE,
    "recipe": _RECIPE,
}


@dataclass(frozen=True)
class Item:
    """One thing of a justfile: its kind, its name (for a comment its text), and the lines of its body."""

    kind: str
    name: str
    file: str
    line: int
    text: str = ""
    body: tuple[int, ...] = ()

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def items(folder: Path, file: str) -> Iterator[Item]:
    """What stands in a justfile, with what it imports at the place of the import."""
    path = folder / file
    lines = path.read_text(errors="replace").split("\n") if path.is_file() else []
    at = 0
    while at < len(lines):
        line, number = lines[at], at + 1
        at += 1
        if not line.strip():
            yield Item("blank", "", file, number)
            continue
        kind, name = _kind(line)
        end = _end(lines, at) if kind == "recipe" else _whole(lines, at)
        if kind == "import":
            yield from items(
                folder, str((path.parent / name).relative_to(folder)) if not name.startswith("/") else name
            )
        elif kind:
            yield Item(kind, name, file, number, line, tuple(range(at + 1, end + 1)))
        at = end if kind else at


def _kind(line: str) -> tuple[str, str]:
    for kind, pattern in _KINDS.items():
        if match := pattern.match(line):
            if kind == "import":
                return kind, match[2]
            return kind, match[1] if match.re.groups else line
    return "", ""


def _end(lines: list[str], at: int) -> int:
    """Where a recipe's body ends: before the first line that is not indented, and the empty ones above it."""
    end = at
    for place in range(at, len(lines)):
        if lines[place].strip() and not lines[place][0].isspace():
            break
        if lines[place].strip():
            end = place + 1
    return end


def _whole(lines: list[str], at: int) -> int:
    """Where something ends that may go on over lines: in brackets, or between three quotes."""
    text = lines[at - 1]
    while at < len(lines) and _open(text):
        text += f"\n{lines[at]}"
        at += 1
    return at


def _open(text: str) -> bool:
    if text.lstrip().startswith("#"):
        return False
    bare = re.sub(r"'''.*?'''|\"\"\".*?\"\"\"|```.*?```", "", text, flags=re.DOTALL)
    if re.search(r"'''|\"\"\"|```", bare):
        return True
    bare = re.sub(r"'[^']*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|#.*", "", bare)
    return sum(map(bare.count, "([{")) > sum(map(bare.count, ")]}"))
