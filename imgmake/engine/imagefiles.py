"""Files of images: into a volume, to be mounted; and out to the host. Through containers that never start."""

from __future__ import annotations

import os
import posixpath
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import docker.errors
import docker.types

from imgmake.engine.scope import Scope
from imgmake.errors import EngineError

_AT = "/imgmake-files"
_MOST_LINKS = 40  # as Linux follows (ELOOP)
_LINK = 1 << 27  # os.ModeSymlink of Go, in which the engine tells a file's mode

# A container is never quite its image: the engine adds these, empty, to mount its own upon.
_FOLDERS = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
_FILES = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf")


def volume_of(scope: Scope, image: str) -> str:
    """A new volume that holds the files of an image: all but what an engine adds, and devices."""
    name = scope.volume()
    source = scope.container(image, ["-"])
    mount = docker.types.Mount(_AT, name, type="volume", no_copy=True)
    helper = scope.container(image, ["-"], mounts=[mount])
    with tempfile.TemporaryFile() as file:
        chunks, _ = source.get_archive("/.")
        with tarfile.open(fileobj=_readable(chunks), mode="r|") as whole, tarfile.open(fileobj=file, mode="w") as kept:
            for member in own_files(whole):
                kept.addfile(member, whole.extractfile(member) if member.isreg() else None)
        file.seek(0)
        helper.put_archive(_AT, file)
    return name


def own_files(members: Iterable[tarfile.TarInfo]) -> Iterator[tarfile.TarInfo]:
    """The members that are an image's own; a folder that an engine makes too counts when something is in it."""
    waiting: dict[str, tarfile.TarInfo] = {}
    for member in members:
        name = member.name.removeprefix("./").strip("/")
        if name in _FOLDERS and member.isdir():
            waiting[name] = member
        elif name not in ("", ".") and not _engines_own(name, member):
            for parent in [folder for folder in waiting if name.startswith(f"{folder}/")]:
                yield waiting.pop(parent)
            yield member


def _engines_own(name: str, member: tarfile.TarInfo) -> bool:
    return member.isdev() or (name in _FILES and member.size == 0)


def _readable(chunks: Iterable[bytes]) -> Any:
    return _Stream(chunks)


class _Stream:
    """Chunks, to be read as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


# --- out to the host ------------------------------------------------------------------------------------------


def extract(scope: Scope, image: str, path: str, to: Path) -> None:
    """Copy `path` of an image to `to`: a file takes its place in one step, a folder's files join those there."""
    container = scope.container(image, ["-"])
    chunks = _archive(container, image, path)
    whole = path.strip("/") in ("", ".")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".imgmake-", dir=to.parent) as folder:
        _unpack(chunks, folder, whole=whole)
        found = Path(folder) if whole else next(Path(folder).iterdir())
        if found.is_dir() and not found.is_symlink():
            _merge(found, to)
        else:
            found.replace(to / posixpath.basename(path) if to.is_dir() else to)


def _unpack(chunks: Iterable[bytes], folder: str, *, whole: bool) -> None:
    try:
        with tarfile.open(fileobj=_readable(chunks), mode="r|") as tar:
            tar.extractall(folder, members=own_files(tar) if whole else None, filter=_as_ours)  # noqa: S202 (filtered)
    except tarfile.TarError as error:
        raise EngineError(f"extract: what the image holds cannot be unpacked here: {error}") from error


def _archive(container: Any, image: str, path: str) -> Iterable[bytes]:
    """The tar of a path; a link at its end is followed, since a link alone would lead nowhere on the host."""
    for _ in range(_MOST_LINKS):
        try:
            chunks, stat = container.get_archive(path.rstrip("/") or "/.")
        except docker.errors.NotFound:
            raise EngineError(f"extract: {image} has no {path!r}") from None
        if not stat["mode"] & _LINK:
            return chunks  # type: ignore[no-any-return]
        chunks.close()
        path = posixpath.join(posixpath.dirname(path), stat["linkTarget"])
    raise EngineError(f"extract: {path!r} of {image} is a loop of links")


def _as_ours(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """A member that stays inside the folder, belongs to the caller, and is as new as a file just made."""
    safe = tarfile.tar_filter(member, folder)
    return safe.replace(uid=os.getuid(), gid=os.getgid(), uname="", gname="", mtime=int(time.time()), deep=False)


def _merge(source: Path, to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        place = to / entry.name
        if entry.is_dir() and not entry.is_symlink() and place.is_dir() and not place.is_symlink():
            _merge(entry, place)
        else:
            entry.replace(place)
