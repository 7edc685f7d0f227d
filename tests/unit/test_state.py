"""Records that outlive crashes, damage, full disks and other runs; a reader leaves no trace."""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgmake.errors import StateError
from imgmake.model import Field
from imgmake.ports import DigestCache, Evidence, Finding, Record, Remembered, StateStore
from imgmake.state import SqliteState, lock, open_state
from tests import forked

ROOT = Path(__file__).parents[2]
RECORD = Record((Field("file", "src/a.c", "1" * 64), Field("variable", "V", "x\n")), (Field("output", "a", "2"),), 1.5)
ODD = "d/with space\n'\"%$\udcff\udcfe ünï"


class Said(list[str]):
    """What was told, as a list."""

    def __call__(self, text: str) -> None:
        self.append(text)


def opened(folder: Path, *, read_only: bool = False, say: Callable[[str], None] | None = None) -> SqliteState:
    return open_state(folder, read_only=read_only, say=Said() if say is None else say)


def written(folder: Path) -> None:
    """A folder with a record, closed."""
    state = opened(folder)
    state.commit("t", RECORD)
    state.close()


def picture(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {p.name: (p.stat().st_mtime_ns, p.stat().st_ino, p.read_bytes()) for p in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / ".imgmake"


# --- what is kept ---------------------------------------------------------------------------------------------


def test_a_record_is_there_for_the_next_run(folder: Path) -> None:
    state = opened(folder)
    port: StateStore = state
    port.commit("t", RECORD)
    port.commit(ODD, Record((Field("file", ODD, ODD),)))
    state.close()
    again = opened(folder)
    assert (again.record("t"), again.record(ODD)) == (RECORD, Record((Field("file", ODD, ODD),)))
    assert (again.record("other"), again.unfinished("t")) == (None, False)
    again.close()


def test_a_recipe_that_began_has_no_record_until_it_ends(folder: Path) -> None:
    state = opened(folder)
    state.commit("t", RECORD)
    state.begin("t")
    other = opened(folder)
    assert (other.record("t"), other.unfinished("t")) == (None, True)
    state.commit("t", RECORD)
    assert (other.record("t"), other.unfinished("t")) == (RECORD, False)
    state.begin("t")
    state.abandon("t")
    assert (other.record("t"), other.unfinished("t")) == (None, False)
    state.close()
    other.close()


def test_the_last_passes_are_kept_but_for_what_runs_again(folder: Path) -> None:
    state = opened(folder)
    for number in range(10):
        state.begin("t", str(number))
        state.commit("t", replace(RECORD, time=number), str(number))
    state.begin("t", "5")
    state.commit("other", RECORD)
    state.close()
    again = opened(folder, read_only=True)
    assert again.passes("t") == {str(number): number for number in (2, 3, 4, 6, 7, 8, 9)}
    assert (again.passes("other"), again.unfinished("t"), again.record("t")) == ({}, True, None)
    again.close()


def test_builds_of_an_image_add_up(folder: Path) -> None:
    state = opened(folder)
    state.add_build("sha256:a", "1", 1.0)
    state.add_build("sha256:a", "2", 2.0)
    state.add_build("sha256:b", "3", 3.0)
    state.close()
    again = opened(folder, read_only=True)
    assert (again.builds("sha256:a"), again.builds("sha256:c")) == ({"1": 1.0, "2": 2.0}, {})
    again.close()


def test_orders_and_layers_are_kept_by_close(folder: Path) -> None:
    state = opened(folder)
    state.set_order("k", ["b", ODD])
    layers = state.layers()
    layers["sha256:a"] = "sha256:b 7 gzip"
    layers["sha256:c"] = "gone"
    del layers["sha256:c"]
    assert (state.order("k"), layers["sha256:a"], list(layers), len(layers)) == (
        ("b", ODD),
        "sha256:b 7 gzip",
        ["sha256:a"],
        1,
    )
    state.close()
    again = opened(folder)
    assert (again.order("k"), again.order("other")) == (("b", ODD), None)
    assert (again.layers().get("sha256:a"), again.layers().get("sha256:c")) == ("sha256:b 7 gzip", None)
    again.close()


def test_digests_are_kept_by_path(folder: Path) -> None:
    seen = Remembered(1, 2, 3, 4, "digest", 5)
    state = opened(folder)
    cache: DigestCache = state
    for path in ("a", "src/a", "/abs/a", ODD):
        cache.remember(path, seen)
    assert (cache.recall("src/a"), cache.recall("src/b")) == (seen, None)
    state.close()
    again = opened(folder, read_only=True)
    assert [again.recall(path) for path in ("a", "src/a", "/abs/a", ODD, "abs/a")] == [seen] * 4 + [None]
    again.close()


def test_digests_of_files_that_nobody_asks_for_any_more_go(folder: Path) -> None:
    seen = Remembered(1, 2, 3, 4, "digest", 5)
    state = opened(folder)
    for number in range(500):
        state.remember(f"d/{number}", seen)
    state.close()
    state = opened(folder)
    assert state.recall("d/7") == seen
    state.remember("d/new", seen)
    state.close()
    state = opened(folder)
    assert [state.recall(f"d/{name}") for name in ("7", "new", "8")] == [seen, seen, None]
    state.close()


def test_threads_commit_at_once(folder: Path) -> None:
    state = opened(folder)

    def work(number: int) -> None:
        for turn in range(5):
            target = f"t{number}/{turn}"
            state.begin(target)
            state.commit(target, RECORD)
            state.add_build("image", target, number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert all(state.record(f"t{n}/{turn}") == RECORD for n in range(8) for turn in range(5))
    assert len(state.builds("image")) == 40
    state.close()


def test_the_folder_is_invisible_to_git(folder: Path) -> None:
    written(folder)
    assert (folder / ".gitignore").read_text() == "*\n"
    assert sorted(path.name for path in folder.iterdir()) == [".gitignore", "state.db"]


# --- reading leaves no trace ----------------------------------------------------------------------------------


def test_a_reader_makes_nothing(folder: Path) -> None:
    said = Said()
    state = opened(folder, read_only=True, say=said)
    assert (state.read_only, state.record("t"), state.unfinished("t"), state.builds("i")) == (True, None, False, {})
    state.set_order("k", ["a"])
    state.remember("a", Remembered(1, 2, 3, 4, "d", 5))
    state.layers()["a"] = "b"
    assert (state.order("k"), state.recall("a")) == (("a",), Remembered(1, 2, 3, 4, "d", 5))
    state.close()
    assert (folder.exists(), said) == (False, [])


def test_a_reader_changes_nothing(folder: Path) -> None:
    written(folder)
    before = picture(folder)
    state = opened(folder, read_only=True)
    assert state.record("t") == RECORD
    state.remember("a", Remembered(1, 2, 3, 4, "d", 5))
    assert picture(folder) == before
    state.close()
    assert picture(folder) == before


@pytest.mark.parametrize("write", ["begin", "abandon"])
def test_a_reader_refuses_to_write(folder: Path, write: str) -> None:
    written(folder)
    state = opened(folder, read_only=True)
    with pytest.raises(StateError, match="reading only"):
        getattr(state, write)("t")
    with pytest.raises(StateError, match="reading only"):
        state.add_build("i", "b", 1.0)
    state.close()


INTERRUPTED = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE entry SET value = zeroblob(9000)")
for number in range(200):
    db.execute("INSERT INTO entry VALUES (x'00', ?, zeroblob(3000), x'00')", (b"%d" % number,))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("read_only", [True, False])
def test_a_transaction_that_a_crash_cut_short_never_was(folder: Path, read_only: bool) -> None:
    written(folder)
    with forked.start(INTERRUPTED, folder / "state.db") as process:
        assert process.wait() == -signal.SIGKILL
    assert (folder / "state.db-journal").stat().st_size > 0, "the crash left a journal"
    before, said = picture(folder), Said()
    state = opened(folder, read_only=read_only, say=said)
    assert (state.record("t"), said) == (RECORD, [])
    state.close()
    assert (picture(folder) == before) == read_only


# --- crashes --------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from imgmake.model import Field
from imgmake.ports import Record
from imgmake.state import open_state
state = open_state(Path(sys.argv[1]), read_only=False, say=print)
for number in range(10**6):
    target = f"t{number % 7}"
    state.begin(target)
    print("begun", number, flush=True)
    state.commit(target, Record(tuple(Field("file", str(i), str(number)) for i in range(200)), (), float(number)))
    print("done", number, flush=True)
"""


def kill_a_writer(folder: Path, after: float) -> list[str]:
    """Let a process write, kill it in the middle, and return what it said until then."""
    process = forked.start(WRITER, folder)
    assert process.stdout is not None
    with process:
        lines = [process.stdout.readline()]
        timer = threading.Timer(after, process.send_signal, [signal.SIGKILL])
        timer.start()
        lines += process.stdout.read().splitlines()
    return [line for line in lines if re.fullmatch(r"(begun|done) \d+\n?", line)]


def test_a_killed_run_leaves_only_complete_records(folder: Path) -> None:
    chance = random.Random(7)
    for _ in range(5):
        lines = kill_a_writer(folder, chance.uniform(0.005, 0.1))
        said = Said()
        state = opened(folder, say=said)
        assert said == []
        _check_promises(state, [line.split() for line in lines])
        state.close()


def _check_promises(state: SqliteState, lines: list[list[str]]) -> None:
    last: dict[str, tuple[str, int]] = {f"t{int(n) % 7}": (word, int(n)) for word, n in lines}
    for target, (word, number) in last.items():
        record = state.record(target)
        if record is None:
            assert state.unfinished(target)
            continue
        assert not state.unfinished(target)
        assert {field.value for field in record.fields} == {str(int(record.time))}
        assert len(record.fields) == 200
        assert record.time >= (number if word == "done" else number - 7)


# --- damage ---------------------------------------------------------------------------------------------------

TARGETS = [f"t{number}" for number in range(12)]


def record_of(target: str) -> Record:
    return Record(tuple(Field("file", f"{target}/{i}", target * 8) for i in range(40)), (), 1.0)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a past: records written, replaced and removed, so that it holds freed pages too."""
    folder = tmp_path_factory.mktemp("sound")
    state = opened(folder)
    for target in [*TARGETS, "gone"]:
        state.commit(target, Record((Field("file", "old", "old" * 3000),), (), 0.5))
    for target in TARGETS:
        state.commit(target, record_of(target))
        state.remember(f"src/{target}", Remembered(1, 2, 3, 4, target, 5))
    state.abandon("gone")
    state.close()
    return folder / "state.db"


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    where = draw(st.floats(0, 1, exclude_max=True))
    kind = draw(st.sampled_from(["flip", "header", "truncate", "fill", "shift"]))
    byte, length = draw(st.integers(1, 255)), draw(st.integers(1, 5000))

    def apply(data: bytes) -> bytes:
        at = int(where * (100 if kind == "header" else len(data)))
        if kind in ("flip", "header") and at < len(data):
            return data[:at] + bytes([data[at] ^ byte]) + data[at + 1 :]
        if kind == "truncate":
            return data[:at]
        if kind == "fill":
            return data[:at] + bytes([byte]) * len(data[at : at + length]) + data[at + length :]
        return data[:at] + data[at + length :]

    return apply


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(damages(), min_size=1, max_size=4), st.booleans())
def test_after_any_damage_records_are_right_or_absent(
    sound: Path, damage: list[Callable[[bytes], bytes]], read_only: bool
) -> None:
    data = sound.read_bytes()
    for apply in damage:
        data = apply(data)
    with tempfile.TemporaryDirectory() as name:
        folder, said = Path(name), Said()
        (folder / "state.db").write_bytes(data)
        state = opened(folder, read_only=read_only, say=said)
        for target in TARGETS:
            assert state.record(target) in (None, record_of(target))
            assert state.recall(f"src/{target}") in (None, Remembered(1, 2, 3, 4, target, 5))
        assert len(said) <= 1
        if not read_only:
            state.commit("new", RECORD)
            assert state.record("new") == RECORD
        state.close()
        assert len(said) <= 1
        if read_only:
            assert [(p.name, p.read_bytes()) for p in folder.iterdir()] == [("state.db", data)]


@pytest.mark.parametrize("content", [b"garbage", b"SQLite format 3\0" + b"x" * 200, b"\0" * 5000])
def test_a_damaged_file_is_kept_aside_and_one_line_says_so(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "state.db").write_bytes(content)
    said = Said()
    state = opened(folder, say=said)
    assert (state.record("t"), (folder / "state.db.corrupt").read_bytes()) == (None, content)
    state.close()
    assert len(said) == 1
    assert "damaged" in said[0]
    assert "state.db.corrupt" in said[0]
    written(folder)
    assert opened_record(folder) == RECORD


def opened_record(folder: Path) -> Record | None:
    state = opened(folder)
    try:
        return state.record("t")
    finally:
        state.close()


def test_a_database_of_another_program_is_not_written_to(folder: Path) -> None:
    folder.mkdir()
    db = sqlite3.connect(folder / "state.db")
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    content, said = (folder / "state.db").read_bytes(), Said()
    opened(folder, say=said).close()
    assert ((folder / "state.db.corrupt").read_bytes(), len(said)) == (content, 1)


@pytest.mark.parametrize("read_only", [True, False])
def test_damage_found_in_the_middle_of_a_run(folder: Path, read_only: bool) -> None:
    written(folder)
    said = Said()
    state = opened(folder, read_only=read_only, say=said)
    assert state.record("t") == RECORD
    data = bytearray((folder / "state.db").read_bytes())
    data[24:28] = b"\xff" * 4  # the change counter: SQLite looks at the file again
    data[4096:] = b"\xaa" * (len(data) - 4096)
    (folder / "state.db").write_bytes(data)
    assert (state.record("t"), state.record("t"), len(said)) == (None, None, 1)
    state.close()


def test_a_deleted_or_emptied_file_is_said_and_starts_anew(folder: Path) -> None:
    written(folder)
    for emptied in (False, True):
        (folder / "state.db").unlink()
        if emptied:
            (folder / "state.db").touch()
        said = Said()
        state = opened(folder, say=said)
        assert (state.record("t"), len(said)) == (None, 1)
        assert "records start anew" in said[0]
        state.close()


def test_the_folder_may_go_in_the_middle_of_a_run(folder: Path) -> None:
    """A recipe such as ``git clean -fdx`` takes it away."""
    said = Said()
    state = opened(folder, say=said)
    state.commit("before", RECORD)
    subprocess.run(["rm", "-rf", folder], check=True)
    state.begin("after")
    state.commit("after", RECORD)
    state.close()
    again = opened(folder)
    assert (again.record("before"), again.record("after"), len(said)) == (None, RECORD, 1)
    again.close()


def _set_schema(folder: Path, schema: int) -> bytes:
    written(folder)
    db = sqlite3.connect(folder / "state.db")
    db.execute(f"PRAGMA user_version = {schema << 16 | (schema ^ 0xFFFF)}")
    db.close()
    return (folder / "state.db").read_bytes()


@pytest.mark.parametrize("read_only", [True, False])
def test_records_of_a_newer_version_are_left_alone(folder: Path, read_only: bool) -> None:
    content = _set_schema(folder, 2)
    with pytest.raises(StateError, match=r"newer imgmake \(schema 2, this one knows 1\)"):
        opened(folder, read_only=read_only)
    assert ((folder / "state.db").read_bytes(), (folder / "state.db.corrupt").exists()) == (content, False)


def test_records_of_an_older_version_start_anew(folder: Path) -> None:
    content, said = _set_schema(folder, 0), Said()
    opened(folder, say=said).close()
    assert ("of an older imgmake" in said[0], (folder / "state.db.corrupt").read_bytes()) == (True, content)


# --- a folder that cannot be used -----------------------------------------------------------------------------


def test_a_file_in_the_folders_place_is_an_error(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(StateError, match="something else has its name"):
        opened(folder)
    with pytest.raises(StateError, match="something else has its name"), lock(folder, {}, lambda _: None):
        pass
    with pytest.raises(StateError, match="cannot be read"):
        opened(folder, read_only=True)


def test_a_folder_that_may_not_be_written_is_an_error() -> None:
    with tempfile.TemporaryDirectory() as name:
        root, user = Path(name), os.geteuid()
        root.chmod(0o777)
        written(root / "a")
        (root / "empty").mkdir()
        for path in (root / "a", root / "empty"):
            path.chmod(0o555)
        root.chmod(0o555)
        os.seteuid(65534 if user == 0 else user)
        try:
            for path in (root / "none", root / "empty"):
                with pytest.raises(StateError, match=r"cannot be (made|written)"):
                    opened(path)
            with pytest.raises(StateError, match="lock cannot be written"), lock(root / "a", {}, lambda _: None):
                pass
            reader = opened(root / "a", read_only=True)
            assert reader.record("t") == RECORD
            reader.close()
        finally:
            os.seteuid(user)
            root.chmod(0o777)
            for path in (root / "a", root / "empty"):
                path.chmod(0o777)


def _limited(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


FULL = """
import sys
from pathlib import Path
from imgmake.errors import StateError
from imgmake.model import Field
from imgmake.ports import Record
from imgmake.state import open_state
try:
    state = open_state(Path(sys.argv[1]), read_only=False, say=print)
    state.commit("t", Record((Field("file", "a", "x" * 100_000),)))
except StateError as error:
    print("StateError", error)
else:
    print("written")
"""


def test_a_disk_that_takes_no_more_is_an_error_that_says_so(folder: Path) -> None:
    written(folder)
    run = subprocess.run(
        [sys.executable, "-c", FULL, folder],
        preexec_fn=_limited(60_000),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert re.match(r"StateError .*state.db cannot be written: .*\n  make room", run.stdout)
    assert opened_record(folder) == RECORD


# --- the lock -------------------------------------------------------------------------------------------------


def test_a_second_run_waits_for_the_first_and_says_for_whom(folder: Path) -> None:
    waited, order = threading.Event(), list[str]()
    pids: list[int] = []

    def waiting(pid: int) -> None:
        pids.append(pid)
        waited.set()

    def second() -> None:
        with lock(folder, {}, waiting):
            order.append("second")

    with lock(folder, {}, lambda _: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waited.wait(60)
        time.sleep(0.02)
        order.append("first")
    thread.join(60)
    assert (order, pids) == (["first", "second"], [os.getpid()])


def test_a_run_inside_a_recipe_does_not_wait_for_its_parent(folder: Path, tmp_path: Path) -> None:
    def never(pid: int) -> None:
        raise AssertionError(f"waits for {pid}")

    with lock(folder, {}, never) as environ, lock(tmp_path / "other", environ, never) as inner:
        assert inner["IMGMAKE_LOCKED"].split(":") == [str(folder), str(tmp_path / "other")]
        with lock(folder, inner, never):
            pass
        (tmp_path / "link").symlink_to(folder)
        with lock(tmp_path / "link", environ, never):
            pass


def test_a_word_in_the_environment_without_a_holder_is_not_believed(folder: Path) -> None:
    waited = threading.Event()
    with lock(folder, {"IMGMAKE_LOCKED": str(folder)}, lambda _: None):
        thread = threading.Thread(target=lambda: lock(folder, {}, lambda _: waited.set()).__enter__())
        thread.start()
        assert waited.wait(60)
    thread.join(60)


def test_a_lock_whose_folder_was_removed_is_taken_on_the_new_one(folder: Path) -> None:
    waiting, held = threading.Event(), threading.Event()

    def second() -> None:
        with lock(folder, {}, lambda _: waiting.set()):
            held.set()

    with lock(folder, {}, lambda _: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(60)
        (folder / "lock").unlink()
        folder.rmdir()
    assert held.wait(60)
    thread.join(60)
    assert (folder / "lock").exists()


def test_the_lock_ends_with_its_holder(folder: Path) -> None:
    text = "import sys,time; from pathlib import Path; from imgmake.state import lock\n"
    text += "with lock(Path(sys.argv[1]), {}, print): print('held', flush=True); time.sleep(60)"
    process = forked.start(text, folder)
    assert process.stdout is not None
    with process:
        process.stdout.readline()
        process.kill()
    with lock(folder, {}, lambda pid: pytest.fail(f"waits for {pid}")):
        pass


# --- evidence -------------------------------------------------------------------------------------------------


def evidence(number: int, document: bytes = b"") -> Evidence:
    finding = Finding("syft", "1.2", "12 packages", {"packages": 12}, document, "application/spdx+json")
    files = (("structure-tests.yaml", "1" * 64),)
    return Evidence(f"check {ODD}", f"pass {number}", "c", files, ("content",), (finding,), 1.5, number)


def test_evidence_is_found_again_newest_first_and_the_oldest_goes_with_its_document(folder: Path) -> None:
    state = opened(folder)
    for number in range(10):
        state.add_evidence(evidence(number, b"<sbom %d>" % number * 1000))
    state.close()
    again = opened(folder)
    assert list(again.evidence(f"check {ODD}")) == [evidence(n, b"<sbom %d>" % n * 1000) for n in range(9, 1, -1)]
    assert again.evidence("another") == ()
    again.close()
    with contextlib.closing(sqlite3.connect(folder / "state.db")) as rows:
        assert rows.execute("SELECT count(*) FROM entry WHERE kind = ?", (b"document",)).fetchone() == (8,)


def test_the_same_pass_again_takes_the_place_of_the_earlier_one(folder: Path) -> None:
    state = opened(folder)
    state.add_evidence(evidence(1, b"old"))
    state.add_evidence(evidence(2))
    state.add_evidence(evidence(1, b"new"))
    assert [each.findings[0].document for each in state.evidence(f"check {ODD}")] == [b"new", b""]
    state.close()
