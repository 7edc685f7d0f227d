"""The state folder itself: made when first needed, invisible to git."""

from __future__ import annotations

from pathlib import Path

from imgmake.errors import StateError


def make_folder(folder: Path) -> None:
    """Make the folder unless it is there. Raises StateError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "something else has its name" if isinstance(error, FileExistsError) else error.strerror
        raise _unusable(folder, "made", reason) from error


def hide(folder: Path) -> None:
    """Let git ignore everything in the folder, itself included. Raises StateError."""
    ignore = folder / ".gitignore"
    try:
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise _unusable(ignore, "written", error.strerror) from error


def _unusable(path: Path, done: str, reason: str | None) -> StateError:
    return StateError(f"{path} cannot be {done}: {reason}", hint="imgmake keeps its records there")
