"""Records of successful runs over the checked table: what each kind of row means."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from imgmake.errors import StateError
from imgmake.model import Field
from imgmake.ports import Evidence, Record, Remembered

if TYPE_CHECKING:
    from imgmake.state.database import Change, Database

_RECORD, _STARTED, _BUILDS, _ORDER, _LAYER, _DIGESTS = "record", "started", "builds", "order", "layer", "digests"
_PASSES = "passes"
_MOST_PASSES = 8  # inputs on which a check passed: going back and forth between branches runs no test again
_SLACK = 100  # entries of vanished files that a folder may keep

_Row = tuple[str, bytes, bytes | None]


class SqliteState:
    """The ports `StateStore` and `DigestCache` over one database; safe to use from several threads.

    Records are on the disk when a method returns. What only saves time (digests, orders, layers) is written in
    one go by `close`, and by nobody when the store is read-only.
    """

    def __init__(self, database: Database, *, read_only: bool, say: Callable[[str], None]) -> None:
        self._database = database
        self._read_only = read_only
        self._say = say
        self._digests = _Digests(database)
        self._pending: dict[tuple[str, str], str] = {}

    @property
    def read_only(self) -> bool:
        return self._read_only

    def record(self, target: str) -> Record | None:
        """The last success of a target; None also after a crash in the middle of its recipe."""
        value = self._database.get(_RECORD, _key(target))
        return None if value is None else _record(value)

    def unfinished(self, target: str) -> bool:
        return self._database.has(_STARTED, _key(target))

    def begin(self, target: str, inputs: str = "") -> None:
        rows = ((_STARTED, _key(target), b"1"), (_RECORD, _key(target), None))
        self._with_passes(target, inputs, None, rows)

    def commit(self, target: str, record: Record, inputs: str = "") -> None:
        body = _dump([[*map(list, record.fields)], [*map(list, record.outputs)], record.time])
        rows = ((_RECORD, _key(target), body), (_STARTED, _key(target), None))
        self._with_passes(target, inputs, record.time, rows)

    def passes(self, target: str) -> Mapping[str, float]:
        return _builds(self._database.get(_PASSES, _key(target)))

    def _with_passes(self, target: str, inputs: str, time: float | None, rows: Sequence[_Row]) -> None:
        """Write the rows, and in the same transaction the passes without (or with, at `time`) one on these inputs."""
        from imgmake.state.database import Change

        def change(get: Callable[[str, bytes], bytes | None]) -> Iterator[Change]:
            yield from (Change(*row) for row in rows)
            passes = _builds(get(_PASSES, _key(target)))
            passes.pop(inputs, None)
            if time is not None:
                passes[inputs] = time
            yield Change(_PASSES, _key(target), _dump(dict([*passes.items()][-_MOST_PASSES:])) if passes else None)

        if not inputs:
            self._write(*rows)
            return
        self._writable()
        self._database.amend(change)

    def abandon(self, target: str) -> None:
        self._write((_RECORD, _key(target), None), (_STARTED, _key(target), None))

    def evidence(self, target: str) -> Sequence[Evidence]:
        """What the last passes of a check showed, newest first."""
        from imgmake.state.evidence import EvidenceRows

        return EvidenceRows(self._database).of(target)

    def add_evidence(self, evidence: Evidence) -> None:
        from imgmake.state.evidence import EvidenceRows

        self._writable()
        EvidenceRows(self._database).add(evidence)

    def builds(self, image_id: str) -> Mapping[str, float]:
        return _builds(self._database.get(_BUILDS, _key(image_id)))

    def add_build(self, image_id: str, build_id: str, time: float) -> None:
        from imgmake.state.database import Change

        key = _key(image_id)

        def change(get: Callable[[str, bytes], bytes | None]) -> Iterator[Change]:
            yield Change(_BUILDS, key, _dump({**_builds(get(_BUILDS, key)), build_id: time}))

        self._writable()
        self._database.amend(change)

    def order(self, key: str) -> tuple[str, ...] | None:
        names = _load(self._cached(_ORDER, key))
        return tuple(names) if isinstance(names, list) else None

    def set_order(self, key: str, order: Sequence[str]) -> None:
        self._pending[_ORDER, key] = json.dumps(list(order))

    def layers(self) -> MutableMapping[str, str]:
        """How layers were packed for registries, by diff ID."""
        return _Layers(lambda key: self._cached(_LAYER, key), lambda key, text: self._hold(_LAYER, key, text))

    def recall(self, path: str) -> Remembered | None:
        """The digest of a file as it was when last read."""
        return self._digests.recall(path)

    def remember(self, path: str, seen: Remembered) -> None:
        self._digests.remember(path, seen)

    def close(self) -> None:
        """Write what saves time, and let go of the file; a disk that takes no more is no failure here."""
        from imgmake.state.database import Change

        changes = [Change(kind, _key(key), text.encode()) for (kind, key), text in self._pending.items()]
        changes += [Change(_DIGESTS, key, value) for key, value in self._digests.changed()]
        try:
            if changes and not self._read_only:
                self._database.write(*changes)
        except StateError as error:
            self._say(error.message)
        finally:
            self._pending.clear()
            self._database.close()

    def _cached(self, kind: str, key: str) -> bytes | None:
        pending = self._pending.get((kind, key))
        return self._database.get(kind, _key(key)) if pending is None else pending.encode()

    def _hold(self, kind: str, key: str, text: str) -> None:
        self._pending[kind, key] = text

    def _write(self, *changes: _Row) -> None:
        from imgmake.state.database import Change

        self._writable()
        self._database.write(*(Change(*change) for change in changes))

    def _writable(self) -> None:
        if self._read_only:
            raise StateError("the records were opened for reading only")


class _Digests:
    """Digests of files, one row a folder: a run asks for whole folders, and a row is one look-up."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._folders: dict[str, dict[str, Remembered]] = {}
        self._asked: dict[str, set[str]] = {}
        self._dirty: set[str] = set()

    def recall(self, path: str) -> Remembered | None:
        folder, _, name = path.rpartition("/")
        with self._lock:
            self._load(folder)
            self._asked[folder].add(name)
            return self._folders[folder].get(name)

    def remember(self, path: str, seen: Remembered) -> None:
        folder, _, name = path.rpartition("/")
        with self._lock:
            self._load(folder)
            self._asked[folder].add(name)
            self._folders[folder][name] = seen
            self._dirty.add(folder)

    def changed(self) -> Iterator[tuple[bytes, bytes]]:
        with self._lock:
            for folder in self._dirty:
                known, asked = self._folders[folder], self._asked[folder]
                if len(known) > 2 * len(asked) + _SLACK:
                    known = {name: known[name] for name in asked if name in known}
                yield _key(folder), _dump(known)
            self._dirty.clear()

    def _load(self, folder: str) -> None:
        if folder not in self._folders:
            found = _load(self._database.get(_DIGESTS, _key(folder)))
            rows = found.items() if isinstance(found, dict) else ()
            self._folders[folder] = {name: Remembered(*row) for name, row in rows}
            self._asked[folder] = set()


class _Layers(MutableMapping[str, str]):
    """A mapping that reads through to the database and writes on close."""

    def __init__(self, read: Callable[[str], bytes | None], hold: Callable[[str, str], None]) -> None:
        self._read = read
        self._hold = hold
        self._seen: dict[str, None] = {}

    def __getitem__(self, key: str) -> str:
        value = self._read(key)
        if not value:
            raise KeyError(key)
        return value.decode()

    def __setitem__(self, key: str, value: str) -> None:
        self._seen[key] = None
        self._hold(key, value)

    def __delitem__(self, key: str) -> None:
        self._seen.pop(key, None)
        self._hold(key, "")

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._seen))

    def __len__(self) -> int:
        return len(self._seen)


def _key(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _dump(value: object) -> bytes:
    # ASCII: the escapes carry the surrogates that stand for bytes of names that are no UTF-8.
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def _load(value: bytes | None) -> Any:
    return None if value is None else json.loads(value)


def _record(value: bytes) -> Record:
    fields, outputs, time = json.loads(value)
    return Record(tuple(Field(*field) for field in fields), tuple(Field(*field) for field in outputs), time)


def _builds(value: bytes | None) -> dict[str, float]:
    found = _load(value)
    return dict(found) if isinstance(found, dict) else {}
