"""Included files at the place where a Makefile includes them: their statements, read as the Makefile's own.

Which files those are, and where a name leads, is make's to say; reads only the scratch copy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from imgmake.migrate import reader
from imgmake.migrate.model import Comment, Cond, Include, Line, Rule, Statement
from imgmake.migrate.scratch import Make

_Any = TypeVar("_Any", bound=Statement | Line)
_LIST = r"\$[({]MAKEFILE_LIST[)}]"
_READING = re.compile(
    rf"\$[({{]lastword\s+{_LIST}\s*[)}}]|\$[({{]word\s+\$[({{]words\s+{_LIST}\s*[)}}]\s*,\s*{_LIST}\s*[)}}]"
)
_MOST = 200_000  # characters of a file that is taken in: what is longer, a machine wrote


def spliced(statements: Sequence[Statement], make: Make, inside: tuple[str, ...] = ()) -> tuple[Statement, ...]:
    """The statements with those of every included file that is there in place of its ``include``.

    inside: the files that are being read, so that one that includes itself ends.
    """
    return tuple(new for each in statements for new in _spliced(each, make, inside))


def _spliced(each: Statement, make: Make, inside: tuple[str, ...]) -> Iterator[Statement]:
    if isinstance(each, Include):
        found = [
            name
            for name in _names(each, make, (make.makefile, *inside)[-1])
            if name not in inside and _text(make.folder / name)
        ]
        for name in found:
            read = tuple(_placed(one, name) for one in reader.read(_text(make.folder / name)))
            yield Comment(each.line, f"# From {name}:")
            yield from spliced(_without_head(read), make, (*inside, name))
        if not found:
            yield each
    elif isinstance(each, Cond):
        yield replace(each, then=_branch(each.then, make, inside), otherwise=_branch(each.otherwise, make, inside))
    else:
        yield each


def _branch(
    statements: Sequence[Statement | Line], make: Make, inside: tuple[str, ...]
) -> tuple[Statement | Line, ...]:
    return tuple(
        new for each in statements for new in ([each] if isinstance(each, Line) else _spliced(each, make, inside))
    )


def _names(each: Include, make: Make, reading: str) -> list[str]:
    """The files that are there of those that an ``include`` names, patterns and variables expanded by make.

    reading: the file that it stands in: the last of MAKEFILE_LIST, as long as make reads that.
    """
    files = _READING.sub(lambda _: reading, each.files)
    return [_seen_from(make.folder, name) for name in make.values([f"$(wildcard {files})"])[0].split()]


def _seen_from(folder: Path, name: str) -> str:
    """A path of the repository from the Makefile's folder, which is another one's copy; any other as it is."""
    copied = next((each for each in folder.parents if each.name.startswith("imgmake-migrate-")), folder)
    return os.path.relpath(name, folder) if Path(name).is_relative_to(copied) else name


def _text(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > _MOST:
        return ""
    return path.read_text(errors="replace")


def _placed(each: _Any, file: str) -> _Any:
    """A statement of an included file, which knows it; so do those within."""
    if isinstance(each, Cond):
        then, otherwise = (tuple(_placed(one, file) for one in branch) for branch in (each.then, each.otherwise))
        return replace(each, then=then, otherwise=otherwise, file=file)
    if isinstance(each, Rule):
        recipe = tuple(_placed(one, file) for one in each.recipe)
        return replace(each, recipe=recipe, file=file)
    return each if isinstance(each, Comment | Line) else replace(each, file=file)


def _without_head(statements: Sequence[Statement]) -> Sequence[Statement]:
    """Without empty lines at the start."""
    first = next((at for at, each in enumerate(statements) if not (isinstance(each, Comment) and not each.text)), 0)
    return statements[first:]
