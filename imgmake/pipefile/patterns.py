"""Files by pattern, as a Pipefile's `glob` and `include` see them; knows nothing of rules.

The rules are a shell's: ``*``, ``?`` and ``[a-z]`` match within a name and no leading dot, ``**`` spans
folders that are not hidden, and ``.git`` and ``.imgmake`` are never entered.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

_NEVER = frozenset({".git", ".imgmake"})
_MAGIC = re.compile(r"[*?\[]")


def glob(folder: Path, pattern: str) -> list[str]:
    """What matches below `folder`, sorted, from there; nothing for an absolute pattern."""
    segments = [segment for segment in pattern.split("/") if segment not in ("", ".")]
    return [] if pattern.startswith("/") else sorted(set(_matches(str(folder), "", segments)))


def _matches(folder: str, prefix: str, segments: Sequence[str]) -> Iterator[str]:
    if not segments:
        if prefix:
            yield prefix.removesuffix("/")
        return
    head, rest = segments[0], segments[1:]
    if head == "**":
        yield from _matches(folder, prefix, rest or ["*"])
        names, rest = [n for n in _folders(folder + "/" + prefix) if not n.startswith(".")], segments
    elif _MAGIC.search(head):
        hidden = head.startswith(".")
        names = [n for n in _names(folder + "/" + prefix) if fnmatchcase(n, head) and (hidden or n[0] != ".")]
    else:
        names = [head] if os.path.lexists(f"{folder}/{prefix}{head}") else []
    for name in names:
        if name not in _NEVER:
            yield from _matches(folder, f"{prefix}{name}/", rest)


def _names(folder: str) -> Sequence[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 (names are wanted, not paths)
    except OSError:
        return ()


def _folders(folder: str) -> Sequence[str]:
    """Folders but not links to folders, which may lead in circles."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return ()
