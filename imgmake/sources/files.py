"""Files on a real disk: stat, digests with a fast path, patterns; knows no rule, no record and no ignore file.

Content is the truth. A file whose (size, mtime_ns, inode, ctime_ns) are those of its remembered digest is
not read again, with the exception of `settled`.
"""

# ruff: noqa: PTH103, PTH108, PTH112, PTH114, PTH115, PTH116, PTH118, PTH120, PTH123
# Paths stay strings: a Path costs 20 times more, and a folder of ten thousand files is asked about on every run.

from __future__ import annotations

import errno
import hashlib
import os
import stat as modes
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imgmake.errors import SourceError
from imgmake.fingerprint import digest as digest_of
from imgmake.model import Field
from imgmake.ports import DigestCache, Entry, Remembered
from imgmake.sources.globs import NEVER, Pattern, States, compile_pattern

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_TYPES = {modes.S_IFREG: "file", modes.S_IFDIR: "dir", modes.S_IFLNK: "link", modes.S_IFIFO: "fifo"}
_WORDS = {modes.S_IFIFO: "a FIFO", modes.S_IFSOCK: "a socket", modes.S_IFCHR: "a device", modes.S_IFBLK: "a device"}
_FINE_NS = 50_000_000  # a kernel's tick is 10 ms at most; the rest is for a loaded machine
_COARSE_NS = 2_000_000_000  # FAT keeps even seconds, ext3 and HFS+ whole ones


class LocalSources:
    """The files below `root`, behind the port `Sources`; `cache` makes the second look cheap.

    Links: `digest` follows the one that is asked for and takes those inside a folder by their text; `glob` and
    `tree` never enter a linked folder, save one that a pattern names in full before its first wildcard.

    >>> from tempfile import mkdtemp
    >>> root = Path(mkdtemp())
    >>> _ = (root / "a.c").write_text("int a;")
    >>> LocalSources(root, NoCache()).glob("*.c")
    ('a.c',)
    """

    def __init__(self, root: Path, cache: DigestCache, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._root = root.absolute()
        self._base = os.fspath(self._root)
        self._cache = cache
        self._now_ns = now_ns
        self._digests: dict[str, str] = {}

    @property
    def root(self) -> Path:
        return self._root

    def stat(self, path: str) -> Entry | None:
        """What is at `path`, a link not followed; None when nothing is there. Raises SourceError."""
        try:
            found = os.lstat(self._full(path))
            link = os.readlink(self._full(path)) if modes.S_ISLNK(found.st_mode) else ""
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise _unusable(path, error) from error
        kind = _TYPES.get(modes.S_IFMT(found.st_mode), "other")
        return Entry(path, kind, modes.S_IMODE(found.st_mode), found.st_size, found.st_mtime_ns, link)

    def digest(self, path: str) -> str:
        """The SHA-256 of a file's content, or of a folder's tree: each path, type, executable bit, content or link.

        Raises SourceError when nothing is there, it cannot be read, or it is a FIFO, a socket or a device,
        which are never opened. `.git` and `.imgmake` are part of no tree.
        """
        # The dict is taken once: `forget` by another job puts a new one in place, and what was read before
        # must not get into that.
        known = self._digests
        if path not in known:
            with _errors(path):
                known[path] = self._look(path)
        return known[path]

    def glob(self, pattern: str) -> Sequence[str]:
        """Every file that matches (see `imgmake.sources.globs`), sorted; a link counts as a file. Raises SourceError.

        What matches nothing gives nothing: whether that is a mistake is for the caller to say.
        """
        compiled = compile_pattern(pattern)
        found: list[str] = []
        pending: list[tuple[str, States]] = [("/" if compiled.absolute else "", compiled.start)]
        while pending:
            folder, states = pending.pop()
            for name, is_dir in self._candidates(folder, compiled, states):
                after = compiled.step(states, name)
                if after and is_dir:
                    pending.append((f"{folder}{name}/", after))
                elif compiled.accepts(after):
                    found.append(folder + name)
        return tuple(sorted(found))

    def tree(self, folder: str) -> Sequence[str]:
        """Every file and link below `folder`, hidden ones too, sorted; no `.git`, no `.imgmake`. Raises SourceError."""
        prefix = _prefix(folder)
        with _errors(folder):
            if not modes.S_ISDIR(os.stat(self._full(folder)).st_mode):
                raise SourceError(f"{shown(folder)} is not a folder")
            return tuple(sorted(prefix + path for path, entry in self._walk(prefix) if not _is_dir(entry)))

    def read_text(self, path: str) -> str:
        """A file as text; bytes that are no UTF-8 come as surrogates. Raises SourceError."""
        with _errors(path):
            descriptor = self._open(path)
            with open(descriptor, "rb") as file:
                return file.read().decode("utf-8", "surrogateescape")

    def remove(self, path: str) -> None:
        """Remove a file, a link, or a folder with all below it; nothing there is no error. Raises SourceError."""
        full = os.path.normpath(self._full(path))
        if f"{self._base}/".startswith(full.rstrip("/") + "/"):
            raise SourceError(f"{shown(path)} holds the whole repository and is not removed")
        with _errors(path, "removed"):
            if os.path.isdir(full) and not os.path.islink(full):
                import shutil

                shutil.rmtree(full)
            elif os.path.lexists(full):
                os.unlink(full)

    def make_parent(self, path: str) -> None:
        """Make the folder that `path` will be in. Raises SourceError."""
        with _errors(path, "made"):
            os.makedirs(os.path.dirname(self._full(path)), exist_ok=True)

    def forget(self) -> None:
        """Look at the disk again from now on."""
        self._digests = {}

    def _full(self, path: str) -> str:
        if "\0" in path:
            raise SourceError(f"{shown(path)} holds a NUL, which no file name can")
        return os.path.join(self._base, path)

    def _look(self, path: str) -> str:
        found = os.stat(self._full(path))
        if modes.S_ISDIR(found.st_mode):
            return self._tree_digest(_prefix(path))
        return self._content(_key(path), found)

    def _tree_digest(self, prefix: str) -> str:
        fields = (self._field(prefix + path, path, entry) for path, entry in self._walk(prefix))
        return digest_of(sorted(field for field in fields if field))

    def _field(self, full: str, path: str, entry: os.DirEntry[str]) -> Field | None:
        try:
            found = entry.stat(follow_symlinks=False)
            if modes.S_ISDIR(found.st_mode):
                return Field("dir", path, "")
            if modes.S_ISLNK(found.st_mode):
                return Field("link", path, os.readlink(entry.path))
            return Field("file", path, ("x " if found.st_mode & 0o100 else "- ") + self._content(full, found))
        except FileNotFoundError:
            return None  # another job's passing file
        except OSError as error:
            raise _unusable(full, error) from error

    def _content(self, key: str, found: os.stat_result) -> str:
        _check_regular(key, found)
        seen = self._cache.recall(key)
        if seen and seen[:4] == _identity(found) and settled(seen):
            return seen.digest
        return self._read(key)

    def _read(self, key: str) -> str:
        read_ns = self._now_ns()
        descriptor = self._open(key)
        with open(descriptor, "rb", buffering=0) as file:
            before = os.fstat(descriptor)
            value = hashlib.file_digest(file, "sha256").hexdigest()
            unmoved = _identity(before) == _identity(os.fstat(descriptor))
        if unmoved:
            self._cache.remember(key, Remembered(*_identity(before), value, read_ns))
        return value

    def _open(self, path: str) -> int:
        # O_NONBLOCK, and the second look at what was opened: a FIFO may have taken the file's place since it was
        # seen, and opening one would wait for a writer for ever.
        full = self._full(path)
        _check_regular(path, os.stat(full))
        descriptor = os.open(full, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            _check_regular(path, os.fstat(descriptor))
        except SourceError:
            os.close(descriptor)
            raise
        return descriptor

    def _candidates(self, folder: str, pattern: Pattern, states: States) -> Iterator[tuple[str, bool]]:
        names = pattern.literals(states)
        if names is None:
            yield from ((entry.name, _is_dir(entry)) for entry in self._list(folder))
            return
        for name in names:
            full = self._full(folder + name)
            if os.path.lexists(full):
                follow = not pattern.accepts(pattern.step(states, name))
                is_dir = os.path.isdir(full) and (follow or not os.path.islink(full))
                yield name, is_dir

    def _walk(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        pending = [""]
        while pending:
            below = pending.pop()
            for entry in self._list(prefix + below):
                if entry.name in NEVER:
                    continue
                yield below + entry.name, entry
                if _is_dir(entry):
                    pending.append(f"{below}{entry.name}/")

    def _list(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._full(folder)) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []  # removed between being seen and being listed
        except OSError as error:
            raise _unusable(folder.rstrip("/") or ".", error) from error


class NoCache:
    """A cache that remembers nothing: every look reads."""

    def recall(self, path: str) -> Remembered | None:  # noqa: ARG002
        return None

    def remember(self, path: str, seen: Remembered) -> None:
        """Do nothing."""


def settled(seen: Remembered) -> bool:
    """Whether a change after `seen` was read would show in the file's times ("racy git").

    Two writes within one tick of the file system's clock leave equal times, so a file that was read within
    that tick of its last write may hold other content under the same stat: it is read again until a reading
    is later than that. The change time cannot be set by a user; whole seconds in it tell a coarse clock.
    """
    grain = _FINE_NS if seen.ctime_ns % 1_000_000_000 else _COARSE_NS
    return seen.ctime_ns < seen.read_ns - grain and abs(seen.mtime_ns - seen.read_ns) > grain


def shown(path: str) -> str:
    """A name for a message: escaped when it holds what a terminal could not show."""
    return path if path.isprintable() and path else ascii(path)


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return (found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)


def _check_regular(path: str, found: os.stat_result) -> None:
    if not modes.S_ISREG(found.st_mode):
        what = _WORDS.get(modes.S_IFMT(found.st_mode), "a folder")
        raise SourceError(f"{shown(path)} is {what}, not a file", hint="name a file or a folder of files")


def _is_dir(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _key(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def _prefix(folder: str) -> str:
    key = _key(folder)
    return f"{key}/" if key.strip("/") else key


@contextmanager
def _errors(path: str, done: str = "read") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unusable(path, error, done) from error


def _unusable(path: str, error: OSError, done: str = "read") -> SourceError:
    if error.errno == errno.ENOENT and done == "read":
        return SourceError(f"{shown(path)} does not exist, or is a link to something that does not")
    if error.errno == errno.ELOOP:
        return SourceError(f"{shown(path)} is a link that leads back to itself")
    return SourceError(f"{shown(path)} cannot be {done}: {error.strerror or error}")
