"""Publications whose tags are being set, each in a file of its own outside of every clone; knows no registry.

Outside, because a clone and its `.imgmake/` may be deleted at any time (`git clean`, a checkout for one run), while
tags that are half set stay. A file is replaced whole, by renaming, so a process that is killed leaves the old one or
the new one; and it bears a checksum of what it says, so that damage is noticed and never acted upon.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from imgmake.errors import InvalidReference, StateError
from imgmake.ports import Cancel, Damaged, TagWrite, Unfinished
from imgmake.references import parse
from imgmake.state.folder import make_folder
from imgmake.state.locking import lock_names

VERSION = 1
_STRING = re.compile(r'"([a-z0-9][^"\\\s@]*:[A-Za-z0-9_][A-Za-z0-9_.-]*)"')


def user_folders(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a user's publications may be written down, the best first: the XDG specification's state folder.

    ``$XDG_STATE_HOME/imgmake``, else ``$HOME/.local/state/imgmake``; then, for one without a home that can be written
    (a container's user), a folder of this user's among the temporary files.

    >>> user_folders({"XDG_STATE_HOME": "/srv/state"})[0]
    PosixPath('/srv/state/imgmake')
    """
    homes = [(environ.get("XDG_STATE_HOME", ""), ""), (environ.get("HOME", ""), ".local/state")]
    found = [Path(home, inside, "imgmake") for home, inside in homes if home.startswith("/")]
    # Not tempfile.gettempdir(): that writes a file, in every run that has nothing to do.
    return (*found[:1], Path(environ.get("TMPDIR") or "/tmp", f"imgmake-{os.getuid()}"))  # noqa: S108


class FileJournal:
    """The port `Journal` over files: all of `folders` are read, the first that can be written is written to."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    def unfinished(self) -> Sequence[Unfinished | Damaged]:
        """Every publication that is written down, oldest first, damaged ones last."""
        paths = [path for folder in self._folders for path in _listed(folder)]
        found = [one for path in paths if (one := _read(path)) is not None]
        return sorted(found, key=lambda one: one.time if isinstance(one, Unfinished) else float("inf"))

    def write(self, publication: Unfinished) -> None:
        """Replace what is written down of this publication, durably. Raises StateError."""
        path = self._folder() / _name(publication)
        partial = path.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                file.write(_dump(publication))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            _sync(path.parent)
        except OSError as error:
            raise StateError(
                f"{path} cannot be written: {error.strerror}",
                hint="imgmake writes down there which tags it sets, to finish or undo that after a crash",
            ) from error

    def remove(self, publication: Unfinished) -> None:
        """It is over. Raises StateError."""
        for path in (folder / _name(publication) for folder in self._folders):
            try:
                path.unlink()
                _sync(path.parent)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise StateError(f"{path} cannot be removed: {error.strerror}") from error

    def lock(
        self, repositories: Iterable[str], *, cancel: Cancel, waiting: Callable[[str, int], None]
    ) -> AbstractContextManager[None]:
        """Hold a lock for each repository."""
        return lock_names(self._folder() / "locks", repositories, cancel=cancel, waiting=waiting)

    def _folder(self) -> Path:
        folder = next(filter(_is_writable, self._folders), self._folders[-1])
        make_folder(folder)
        # Anybody can make a folder among the temporary files.
        if os.getuid() not in (0, folder.stat().st_uid):
            raise StateError(f"{folder} belongs to another user", hint="set XDG_STATE_HOME to a folder of yours")
        return folder


def _is_writable(folder: Path) -> bool:
    """Whether a file can be made there; the folder, or the nearest one above it that exists, says so."""
    there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _listed(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if name.endswith(".json")]  # noqa: PTH208
    except OSError:
        return []


def _sync(folder: Path) -> None:
    """A name is on the disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name(publication: Unfinished) -> str:
    names = "\n".join(sorted(tag.reference for tag in publication.tags))
    return f"{hashlib.sha256(names.encode()).hexdigest()[:16]}.json"


def _dump(publication: Unfinished) -> bytes:
    body = json.dumps({"time": publication.time, "tags": [list(tag) for tag in publication.tags]}, indent=1)
    return f"imgmake publication {VERSION} {_sum(body)}\n{body}\n".encode()


def _read(path: Path) -> Unfinished | Damaged | None:
    """None for a file that went away meanwhile: its publication is over."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Damaged(str(path), str(error.strerror))
    try:
        head, _, body = data.decode().partition("\n")
        *_, version, told = head.split()
        if told != _sum(body.removesuffix("\n")):
            return Damaged(str(path), "its checksum is wrong", _mentions(data))
        if version != str(VERSION):
            return Damaged(str(path), "another version of imgmake wrote it", _mentions(data))
        found = json.loads(body)
        return Unfinished(found["time"], tuple(TagWrite(*tag) for tag in found["tags"]), str(path))
    except (ValueError, TypeError, KeyError):
        return Damaged(str(path), "it is not what imgmake wrote", _mentions(data))


def _mentions(data: bytes) -> tuple[str, ...]:
    """The tags that can still be made out."""
    found: dict[str, None] = {}
    for text in _STRING.findall(data.decode("ascii", "replace")):
        with contextlib.suppress(InvalidReference):
            if not text.startswith("sha256:"):
                parse(text)
                found[text] = None
    return tuple(found)


def _sum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
