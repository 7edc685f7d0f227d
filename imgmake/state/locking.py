"""Advisory locks that end with their process: one run at a time in a clone, one publication in a repository."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from imgmake.errors import Interrupted, StateError
from imgmake.ports import Cancel
from imgmake.state.folder import make_folder

LOCKED = "IMGMAKE_LOCKED"
_DIGITS = 20  # of a process ID, with spaces after it
_LOOK = 0.1  # seconds between two looks at a lock that somebody holds


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


@contextlib.contextmanager
def lock_names(
    folder: Path, names: Iterable[str], *, cancel: Cancel, waiting: Callable[[str, int], None]
) -> Iterator[None]:
    """Hold a lock for each name; all who take several take them in one order, so nobody waits in a circle.

    folder:  where the locks are files, made if need be.
    waiting: called once with the name that another process holds, and that process's ID (0 when unknown).

    Raises StateError when the folder cannot be used, Interrupted when stopped while it waits.
    """
    make_folder(folder)
    told: list[str] = []
    with contextlib.ExitStack() as stack:
        for name in sorted(set(names)):
            # A hash: a repository's name may be longer than a file's.
            descriptor = _open(folder / hashlib.sha256(name.encode()).hexdigest()[:32])
            stack.callback(os.close, descriptor)
            while not _try(descriptor):
                if not told:
                    told.append(name)
                    waiting(name, _holder(descriptor))
                if cancel.wait(_LOOK):
                    raise Interrupted("interrupted")
            _sign(descriptor)
        yield


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
    if not _try(descriptor):
        if nested:
            return False
        waiting(_holder(descriptor))
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    _sign(descriptor)
    return True


def _sign(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # a full disk: who waits will not be told for whom
        os.pwrite(descriptor, f"{os.getpid():<{_DIGITS}}".encode(), 0)  # to truncate may wait for a busy disk


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
    text = os.pread(descriptor, _DIGITS, 0).strip()
    return int(text) if text.isdigit() else 0
