"""What is written down of a publication outlives kills and damage, and is believed only when it is whole."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgmake.errors import Interrupted, StateError
from imgmake.ports import Cancel, Damaged, Journal, TagWrite, Unfinished
from imgmake.state import FileJournal, user_folders
from tests import forked

OLD, NEW = f"sha256:{'0' * 64}", f"sha256:{'1' * 64}"
FIRST = TagWrite("publish/app", "registry.test:5000/shop/app:1.0", "", NEW)
SECOND = TagWrite("publish/app", "registry.test:5000/shop/app:latest", OLD, NEW)
PUBLICATION = Unfinished(1.5, (FIRST, SECOND))


def nobody(repository: str, pid: int) -> None:
    raise AssertionError(f"{pid} holds {repository}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_a_publication_is_there_until_it_is_over(folder: Path) -> None:
    journal: Journal = FileJournal([folder])
    assert list(journal.unfinished()) == []
    assert not folder.exists()
    journal.write(PUBLICATION)
    journal.write(PUBLICATION.marked(FIRST))
    [found] = FileJournal([folder]).unfinished()
    assert isinstance(found, Unfinished)
    assert found.left == (SECOND,)
    assert found.repositories == {"registry.test:5000/shop/app"}
    journal.remove(found)
    journal.remove(found)
    assert list(journal.unfinished()) == []


def test_publications_of_other_tags_do_not_meet(folder: Path) -> None:
    journal = FileJournal([folder])
    later = Unfinished(2.5, (FIRST._replace(reference="shop:2.0"),))
    journal.write(later)
    journal.write(PUBLICATION)
    assert list(journal.unfinished()) == [PUBLICATION, later]
    journal.remove(PUBLICATION)
    assert list(journal.unfinished()) == [later]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damage_is_seen_and_never_acted_upon(folder: Path, place: float, byte: int, cut: bool) -> None:
    journal = FileJournal([folder])
    journal.write(PUBLICATION)
    [path] = folder.glob("*.json")
    whole = path.read_bytes()
    at = int(place * (len(whole) - 1))
    path.write_bytes(whole[:at] if cut else whole[:at] + bytes([byte]) + whole[at + 1 :])
    [found] = journal.unfinished()
    assert found == PUBLICATION or (isinstance(found, Damaged) and found.path == str(path) and found.why)


def test_a_damaged_journal_still_says_what_it_was_about(folder: Path) -> None:
    journal = FileJournal([folder])
    journal.write(PUBLICATION)
    [path] = folder.glob("*.json")
    path.write_bytes(path.read_bytes().replace(b"publish/app", b"publish/\xff\x00p"))
    [found] = journal.unfinished()
    assert isinstance(found, Damaged)
    assert found.mentions == (FIRST.reference, SECOND.reference)
    assert found.repositories == {"registry.test:5000/shop/app"}


def test_a_journal_of_another_version_is_not_guessed_at(folder: Path) -> None:
    journal = FileJournal([folder])
    journal.write(PUBLICATION)
    [path] = folder.glob("*.json")
    path.write_bytes(path.read_bytes().replace(b"publication 1 ", b"publication 2 "))
    [found] = journal.unfinished()
    assert isinstance(found, Damaged)
    assert found.why == "another version of imgmake wrote it"


KILLED = """
import sys
from pathlib import Path
from imgmake.ports import TagWrite, Unfinished
from imgmake.state import FileJournal
journal = FileJournal([Path(sys.argv[1])])
tags = [TagWrite("p", f"shop:{n}", "", "sha256:" + "1" * 64) for n in range(40)]
while True:
    found = Unfinished(1.0, tuple(tags))
    journal.write(found)
    print("written", flush=True)
    for tag in tags:
        found = found.marked(tag)
        journal.write(found)
"""


def test_a_killed_process_leaves_a_whole_journal(folder: Path) -> None:
    journal = FileJournal([folder])
    for wait in range(8):
        with forked.start(KILLED, folder) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "written\n"
            time.sleep(wait / 1000)
            process.send_signal(signal.SIGKILL)
        [found] = journal.unfinished()
        assert isinstance(found, Unfinished)
        assert len(found.tags) == 40


def test_a_folder_that_cannot_be_written_is_an_error_that_says_what_for(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(StateError, match="something else has its name"):
        FileJournal([tmp_path / "state"]).write(PUBLICATION)


def test_the_folder_is_the_users_own() -> None:
    temporary, there = Path(f"/t/imgmake-{os.getuid()}"), {"TMPDIR": "/t"}
    assert user_folders({"HOME": "/h", "XDG_STATE_HOME": "/x", **there}) == (Path("/x/imgmake"), temporary)
    assert user_folders({"HOME": "/h", "XDG_STATE_HOME": "x", **there}) == (Path("/h/.local/state/imgmake"), temporary)
    assert user_folders({"HOME": "", **there}) == (temporary,)


def test_without_a_home_that_can_be_written_it_is_the_next_folder(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    journal = FileJournal([tmp_path / "home/.local/state/imgmake", tmp_path / "next"])
    journal.write(PUBLICATION)
    assert list(journal.unfinished()) == [PUBLICATION]
    assert [path.suffix for path in (tmp_path / "next").iterdir()] == [".json"]
    journal.remove(PUBLICATION)
    assert list(journal.unfinished()) == []


# --- locks ----------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from imgmake.ports import Cancel
from imgmake.state import FileJournal
with FileJournal([Path(sys.argv[1])]).lock(sys.argv[2:], cancel=Cancel(), waiting=print):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path, *repositories: str) -> forked.Started:
    process = forked.start(HOLDER, folder, *repositories)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_two_who_set_tags_in_one_repository_come_one_after_the_other(folder: Path) -> None:
    journal = FileJournal([folder])
    told: list[tuple[str, int]] = []
    with holder(folder, "r.test/b", "r.test/a") as process:
        with journal.lock(["r.test/c"], cancel=Cancel(), waiting=nobody):
            pass

        def waiting(repository: str, pid: int) -> None:
            told.append((repository, pid))
            process.kill()

        with journal.lock(["r.test/c", "r.test/b"], cancel=Cancel(), waiting=waiting):
            assert told == [("r.test/b", process.pid)]


def test_who_waits_for_a_lock_can_be_stopped(folder: Path) -> None:
    cancel = Cancel()
    with holder(folder, "r.test/a") as process:

        def stop(*_: object) -> None:
            threading.Timer(0.05, cancel.stop).start()

        with pytest.raises(Interrupted), FileJournal([folder]).lock(["r.test/a"], cancel=cancel, waiting=stop):
            raise AssertionError("not ours")
        process.kill()


def test_locks_are_free_when_the_work_fails(folder: Path) -> None:
    def locked() -> AbstractContextManager[None]:
        return FileJournal([folder]).lock(["a", "b"], cancel=Cancel(), waiting=nobody)

    with pytest.raises(ValueError, match="no"), locked():
        raise ValueError("no")
    with locked():
        pass
