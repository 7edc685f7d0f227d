"""Earlier times in a layer: nothing else changes, and two layers that differ in later times alone come out equal."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake.engine import redate as module
from imgmake.engine.redate import _unpacked, redated
from imgmake.errors import EngineError, Interrupted
from imgmake.ports import Cancel, Image

LIMIT = 1_700_000_000
NAMES = st.one_of(
    st.text("abc/é", min_size=1, max_size=8), st.text("n", min_size=101, max_size=300), st.just("with\udcff bytes")
)
TIMES = st.one_of(
    st.integers(0, 2 * LIMIT), st.floats(0, 2 * LIMIT, allow_nan=False), st.just(LIMIT), st.just(LIMIT + 0.5)
)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
ENTRIES = st.lists(
    st.tuples(NAMES, KINDS, TIMES, st.binary(max_size=1200), st.sampled_from([0, 1000, 3_000_000])), max_size=6
)
FORMATS = st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
Entry = tuple[str, bytes, float, bytes, int]


def packed(entries: list[Entry], form: int, **pax: str) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=form, errors="surrogateescape", encoding="utf-8") as tar:
        for name, kind, time, data, user in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mtime, info.uid, info.mode = kind, time, user, 0o640
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = "x" * (150 if len(data) > 600 else 5)
            if form == tarfile.PAX_FORMAT:
                info.pax_headers = dict(pax)
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(data))
    return body.getvalue()


def redate(data: bytes) -> bytes:
    return b"".join(redated(io.BytesIO(data), LIMIT))


def told(data: bytes) -> list[tuple[Any, ...]]:
    """Everything that a tar says, but its times."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as tar:
        for one in tar:
            content = tar.extractfile(one) if one.isreg() else None
            more = {key: value for key, value in one.pax_headers.items() if not key.endswith("time")}
            fields = (one.name, one.type, one.mode, one.uid, one.gid, one.size, one.linkname, one.uname)
            found.append((*fields, more, content.read() if content else b""))
    return found


def times(data: bytes) -> list[float]:
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as tar:
        return [one.mtime for one in tar]


@given(ENTRIES, FORMATS)
def test_only_later_times_change(entries: list[Entry], form: int) -> None:
    before = packed(entries, form, **{"SCHILY.xattr.security.capability": "cap"})
    after = redate(before)
    assert told(after) == told(before)
    assert times(after) == [min(time, LIMIT) for time in times(before)]
    assert redate(after) == after


@given(ENTRIES, FORMATS, st.lists(st.one_of(st.integers(LIMIT, 2 * LIMIT), st.floats(LIMIT, 2 * LIMIT)), min_size=6))
def test_layers_that_differ_in_later_times_come_out_equal(entries: list[Entry], form: int, later: list[float]) -> None:
    late = [(name, kind, LIMIT + 1.25, data, user) for name, kind, _, data, user in entries]
    later_still = [(e[0], e[1], time, e[3], e[4]) for e, time in zip(entries, later, strict=False)]
    assert redate(packed(late, form)) == redate(packed(later_still, form))


@given(ENTRIES, FORMATS, st.integers(0, 2 * LIMIT))
def test_times_since_a_base_was_begun_are_those_of_a_build(entries: list[Entry], form: int, since: int) -> None:
    """What came out of a cache had kept a time from before the commit, and a clone without that cache none."""
    before = packed(entries, form)
    after = b"".join(redated(io.BytesIO(before), LIMIT, since))
    assert told(after) == told(before)
    assert times(after) == [LIMIT if time >= min(since, LIMIT) else time for time in times(before)]


def test_times_of_reading_and_of_the_inode_go() -> None:
    entry = [("a", tarfile.REGTYPE, 5.5, b"data", 0)]
    with_times = packed(entry, tarfile.PAX_FORMAT, atime="1.5", ctime="2.5", comment="kept")
    assert redate(with_times) == redate(packed(entry, tarfile.PAX_FORMAT, atime="9.5", comment="kept"))
    assert times(redate(with_times)) == [5.5]
    with tarfile.open(fileobj=io.BytesIO(redate(with_times))) as tar:
        assert tar.getmember("a").pax_headers == {"mtime": "5.5", "comment": "kept"}


def test_a_layer_that_breaks_off_is_an_error() -> None:
    whole = packed([("a", tarfile.REGTYPE, 5, b"x" * 1000, 0)], tarfile.PAX_FORMAT)
    with pytest.raises(EngineError, match="breaks off"):
        redate(whole[:700])


def test_packed_layers_are_read_where_python_can() -> None:
    opened = _unpacked(io.BytesIO(gzip.compress(b"tar")))
    assert opened is not None
    assert opened.read() == b"tar"
    assert _unpacked(io.BytesIO(b"\x28\xb5\x2f\xfd....")) is None


class Wire:
    """An engine that exports one image of one layer, and stops the run meanwhile when it is told to."""

    def __init__(self, stops: Cancel | None = None) -> None:
        self._stops = stops
        self.asked: list[str] = []

    @contextmanager
    def stream(self, method: str, path: str, body: object = None) -> Iterator[tuple[int, BinaryIO]]:
        assert body is None
        self.asked.append(f"{method} {path}")
        layer = packed([("a", tarfile.REGTYPE, LIMIT + 1, b"data", 0)], tarfile.PAX_FORMAT)
        files = {
            "manifest.json": json.dumps([{"Config": "c.json", "Layers": ["l.tar"]}]).encode(),
            "c.json": json.dumps({"rootfs": {"diff_ids": ["sha256:l"]}}).encode(),
            "l.tar": layer,
        }
        entries: list[Entry] = [(name, tarfile.REGTYPE, 0, data, 0) for name, data in files.items()]
        if self._stops:
            self._stops.stop()
        yield 200, io.BytesIO(packed(entries, tarfile.PAX_FORMAT))


IMAGE = Image("sha256:i", layers=("sha256:l",))


def redate_image(wire: Wire, cancel: Cancel) -> Image:
    return module.redate(wire, IMAGE, bases=(), seconds=LIMIT, labels={}, containerd=False, cancel=cancel)


def test_a_stop_is_heard_while_times_are_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C an image of some GB was exported, worked upon and loaded to the end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cancel = Cancel()
    wire = Wire(stops=cancel)
    with pytest.raises(Interrupted):
        redate_image(wire, cancel)
    assert wire.asked == ["GET /images/sha256:i/get"]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that one read was ``OSError: [Errno 28] No space left on device``."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_set", full)
    with pytest.raises(EngineError, match=rf"No space left on device\n  {tmp_path} needs room .* TMPDIR"):
        redate_image(Wire(), Cancel())
