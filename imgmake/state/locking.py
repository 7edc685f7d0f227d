"""One run at a time in a repository: an advisory lock that ends with the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from imgmake.errors import StateError
from imgmake.state.folder import make_folder

LOCKED = "IMGMAKE_LOCKED"


@contextlib.contextmanager
def lock(folder: Path, environ: Mapping[str, str], waiting: Callable[[int], None]) -> Iterator[Mapping[str, str]]:
    """Hold the lock of a state folder; the result is the environment for recipes.

    folder:  the state folder, made if need be.
    environ: the environment of this run; a run inside a recipe of a run in the same folder finds
             IMGMAKE_LOCKED there and does not wait for its own parent.
    waiting: called once with the process ID of the run that holds the lock (0 when unknown).

    Raises StateError when the folder cannot be used.

    >>> from tempfile import mkdtemp
    >>> with lock(Path(mkdtemp()), {}, print) as environ:
    ...     list(environ)
    ['IMGMAKE_LOCKED']
    """
    make_folder(folder)
    name = os.path.realpath(folder)
    held = [part for part in environ.get(LOCKED, "").split(os.pathsep) if part]
    descriptor = _acquire(folder, nested=name in held, waiting=waiting)
    try:
        yield {**environ, LOCKED: os.pathsep.join(dict.fromkeys([*held, name]))}
    finally:
        os.close(descriptor)


def _acquire(folder: Path, *, nested: bool, waiting: Callable[[int], None]) -> int:
    while True:
        descriptor = _open(folder / "lock")
        try:
            if _lock(descriptor, nested, waiting) and not _is_current(folder / "lock", descriptor):
                os.close(descriptor)  # its folder was removed while we waited: the lock that counts is a new file
                make_folder(folder)
                continue
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _lock(descriptor: int, nested: bool, waiting: Callable[[int], None]) -> bool:
    """Whether the lock is ours, which it is not in a run inside the one that holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if nested:
            return False
        waiting(_holder(descriptor))
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    with contextlib.suppress(OSError):  # a full disk: who waits will not be told for whom
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return True


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StateError(
            f"{path} cannot be written: {error.strerror}", hint="imgmake keeps its records there"
        ) from error


def _is_current(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> int:
    text = os.pread(descriptor, 20, 0)
    return int(text) if text.isdigit() else 0
