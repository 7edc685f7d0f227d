"""A table of checked values in one SQLite file that outlives crashes and damage; knows nothing of what the values mean.

Crashes: a rollback journal (not a WAL) with full syncs. A WAL would make each reader create its `-shm` file, and a
dry run must write nothing at all; here a reader of a closed database touches no file but that one.

Damage: SQLite notices a broken structure, but not other bytes inside a valid page, so each row bears a checksum of
its kind, key and value, and a row that fails it is not there. Deleted content is overwritten (`secure_delete`),
so that no damaged pointer can bring an old row, valid by its checksum, back to life.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from imgmake.errors import StateError
from imgmake.state.folder import hide, make_folder

SCHEMA = 1
_APPLICATION = 0x696D676D  # "imgm", for file(1)
_MAGIC = b"SQLite format 3\0"
_WAIT = 30.0  # seconds for another process to end its transaction
_TABLE = """
CREATE TABLE entry (kind BLOB NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, sum BLOB NOT NULL,
                    PRIMARY KEY (kind, key)) WITHOUT ROWID
"""
_SELECT = "SELECT value, sum FROM entry WHERE kind = ? AND key = ?"
# What the machine, not the file, is to blame for; every other error means damage.
_MACHINE = {
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
_FAILURES = (sqlite3.Error, MemoryError, OverflowError, UnicodeError)

T = TypeVar("T")


class Change(NamedTuple):
    """One row to write, or with no value to remove."""

    kind: str
    key: bytes
    value: bytes | None


class _Damaged(Exception):
    """The file is no database of ours, or a broken one."""


class _Absent(Exception):
    """There is nothing to read, and nothing may be written."""


class Database:
    """The file `state.db` in `folder`; safe to use from several threads.

    folder:    exists, unless `read_only`.
    read_only: nothing is written, not even a journal; without a file everything is absent.
    say:       hears one line when the records had to start anew.

    Raises StateError when the folder cannot be used, the disk is full, or a newer imgmake wrote the file.
    """

    def __init__(self, folder: Path, *, read_only: bool, say: Callable[[str], None]) -> None:
        self._path = folder / "state.db"
        self._read_only = read_only
        self._say = say
        self._told = False
        self._lock = threading.RLock()
        self._open: sqlite3.Connection | None = None
        self._inode = 0
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._blind = False
        try:
            self._attempt(self._connection)
        except _Absent:
            pass
        except StateError:
            self.close()
            raise

    def get(self, kind: str, key: bytes) -> bytes | None:
        """The value of a row; None when there is none, or a damaged one."""
        return self._do(lambda db: _value(db, kind, key), None)

    def has(self, kind: str, key: bytes) -> bool:
        """Whether there is a row, whatever it holds."""
        return self._do(lambda db: db.execute(_SELECT, (kind.encode(), key)).fetchone() is not None, False)

    def write(self, *changes: Change) -> None:
        """All of the changes or none, on the disk when this returns."""
        self.amend(lambda _: changes)

    def amend(self, change: Callable[[Callable[[str, bytes], bytes | None]], Iterable[Change]]) -> None:
        """Changes that depend on what is there: `change` is given `get`, and no other process writes meanwhile.

        Not for a read-only database, where SQLite refuses.
        """

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            try:
                for row in change(lambda kind, key: _value(db, kind, key)):
                    _put(db, row)
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.rollback()
                raise

        self._do(work, None)

    def close(self) -> None:
        with self._lock:
            self._disconnect()

    # --- trying, and starting anew ----------------------------------------------------------------------------

    def _do(self, work: Callable[[sqlite3.Connection], T], absent: T) -> T:
        with self._lock:
            try:
                return self._attempt(lambda: work(self._connection()))
            except _Absent:
                return absent

    def _attempt(self, work: Callable[[], T]) -> T:
        """Try; after damage, or when the file was taken away, try once more with a new one."""
        try:
            return work()
        except (_Damaged, *_FAILURES) as error:
            self._recover(error)
        try:
            return work()
        except (_Damaged, *_FAILURES) as error:
            raise self._unusable(error) from error

    def _recover(self, error: Exception) -> None:
        if not _is_damage(error):
            if self._read_only or not self._taken_away():
                raise self._unusable(error) from error
            self._disconnect()
            return
        self._disconnect()
        if self._read_only:
            self._blind = True
            self._tell(f"{self._path} is damaged ({error}); without records everything is judged as on a first run")
            raise _Absent from error
        self._set_aside()
        self._tell(f"{self._path} was damaged ({error}); records start anew, the old file is {self._aside.name}")

    def _tell(self, text: str) -> None:
        """One line, however much is found: a file that was set aside is missing a moment later."""
        if not self._told:
            self._told = True
            self._say(text)

    def _taken_away(self) -> bool:
        """Whether the file is gone or another, as after a recipe's ``git clean -fdx``; its folder is made again."""
        try:
            return self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            make_folder(self._path.parent)
            hide(self._path.parent)
            return True
        except OSError:
            return False

    def _set_aside(self) -> None:
        # The database goes first: a journal that stays behind after a crash here is thrown away by SQLite, as it
        # belongs to no file, but without its journal a half-written database would pass for a whole one.
        try:
            self._path.replace(self._aside)
            Path(f"{self._path}-journal").unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    @property
    def _aside(self) -> Path:
        return self._path.with_name("state.db.corrupt")

    def _unusable(self, error: Exception) -> StateError:
        if _code(error) == sqlite3.SQLITE_BUSY:
            return StateError(f"{self._path} is in use by another process", hint="wait for it to end, then try again")
        text = error.strerror if isinstance(error, OSError) else str(error)
        return StateError(
            f"{self._path} cannot be {'read' if self._read_only else 'written'}: {text}",
            hint="make room and see that you may write there: records of what was done are kept in that folder",
        )

    # --- connecting -------------------------------------------------------------------------------------------

    def _connection(self) -> sqlite3.Connection:
        return self._open or self._connect()

    def _connect(self) -> sqlite3.Connection:
        if self._blind or (not self._look() and self._read_only):
            raise _Absent
        try:
            return self._dial(self._path)
        except sqlite3.OperationalError as error:
            if not self._read_only or not _has_journal(self._path):
                raise
            self._disconnect()
            return self._dial_copy(error)

    def _dial(self, path: Path) -> sqlite3.Connection:
        mode = "ro" if self._read_only and path == self._path else "rwc"
        name = f"file:{quote(os.fsencode(path))}?mode={mode}"
        self._open = db = sqlite3.connect(name, uri=True, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        db.text_factory = bytes
        for pragma in ("secure_delete = ON", "synchronous = FULL", "cell_size_check = ON", "trusted_schema = OFF"):
            db.execute(f"PRAGMA {pragma}")
        self._inode = path.stat().st_ino
        self._check(db)
        return db

    def _dial_copy(self, error: Exception) -> sqlite3.Connection:
        """Read what a crash left: only a writer may roll its journal back, so that is done to a copy elsewhere."""
        try:
            self._copy = tempfile.TemporaryDirectory(prefix="imgmake-")
            for name in ("state.db", "state.db-journal"):
                shutil.copyfile(self._path.with_name(name), Path(self._copy.name, name))
        except OSError:
            raise error from None
        return self._dial(Path(self._copy.name, "state.db"))

    def _look(self) -> int:
        """The size of the file; what is wrong with it before SQLite looks: it trusts the header in what it creates."""
        try:
            with self._path.open("rb") as file:
                head = file.read(100)
        except FileNotFoundError:
            if not self._read_only and (self._path.parent / ".gitignore").exists():
                self._tell(f"{self._path} was gone; records start anew")
            return 0
        except OSError as error:
            raise self._unusable(error) from error
        if _has_journal(self._path):
            return len(head)
        if not head and not self._read_only:
            self._tell(f"{self._path} was empty; records start anew")
        if head and (len(head) < 100 or not head.startswith(_MAGIC) or head[18:20] != b"\1\1"):
            raise _Damaged("not a database of imgmake")
        return len(head)

    def _check(self, db: sqlite3.Connection) -> None:
        tables = db.execute("SELECT name FROM sqlite_master").fetchall()
        version = db.execute("PRAGMA user_version").fetchone()[0]
        application = db.execute("PRAGMA application_id").fetchone()[0]
        if not tables and not version and not self._read_only:
            self._create(db)
            return
        if application != _APPLICATION or not _is_version(version):
            raise _Damaged("not a database of imgmake")
        if version >> 16 > SCHEMA:
            self._disconnect()
            raise StateError(
                f"{self._path} was written by a newer imgmake (schema {version >> 16}, this one knows {SCHEMA})",
                hint="use that imgmake, or remove the file: then everything is judged as on a first run",
            )
        if version >> 16 < SCHEMA or tables != [(b"entry",)]:
            raise _Damaged("of an older imgmake" if version >> 16 < SCHEMA else "its table is missing")
        # 0.6 ms a MB: a writer to a tree out of order could bury a new row under an old one.
        if not self._read_only and db.execute("PRAGMA quick_check(1)").fetchone() != (b"ok",):
            raise _Damaged("its structure is broken")

    def _create(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.execute(_TABLE)
        db.execute(f"PRAGMA application_id = {_APPLICATION}")
        db.execute(f"PRAGMA user_version = {_version(SCHEMA)}")
        db.execute("COMMIT")

    def _disconnect(self) -> None:
        if self._open is not None:
            with contextlib.suppress(sqlite3.Error):
                self._open.close()
            self._open = None
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None


def _value(db: sqlite3.Connection, kind: str, key: bytes) -> bytes | None:
    row = db.execute(_SELECT, (kind.encode(), key)).fetchone()
    return row[0] if row is not None and row[1] == _sum(kind, key, row[0]) else None


def _put(db: sqlite3.Connection, row: Change) -> None:
    if row.value is None:
        db.execute("DELETE FROM entry WHERE kind = ? AND key = ?", (row.kind.encode(), row.key))
    else:
        total = _sum(row.kind, row.key, row.value)
        db.execute("REPLACE INTO entry VALUES (?, ?, ?, ?)", (row.kind.encode(), row.key, row.value, total))


def _sum(kind: str, key: bytes, value: object) -> bytes | None:
    if not isinstance(value, bytes):
        return None  # damage can change a value's type
    hasher = hashlib.blake2b(digest_size=16)
    for part in (kind.encode(), key, value):
        hasher.update(b"%d:" % len(part))
        hasher.update(part)
    return hasher.digest()


def _version(schema: int) -> int:
    """The schema beside its complement: damage must not pass for a newer imgmake."""
    return schema << 16 | (schema ^ 0xFFFF)


def _is_version(number: int) -> bool:
    return number > 0 and number == _version(number >> 16)


def _has_journal(path: Path) -> bool:
    try:
        return Path(f"{path}-journal").stat().st_size > 0
    except OSError:
        return False


def _code(error: Exception) -> int:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code & 0xFF


def _is_damage(error: Exception) -> bool:
    return not isinstance(error, OSError) and _code(error) not in _MACHINE
