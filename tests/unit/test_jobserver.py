"""The jobserver's protocol, on real pipes and fifos."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgmake.jobserver import JobServer, join, offer


class Pipe:
    """A jobserver of somebody else's."""

    def __init__(self, tokens: bytes) -> None:
        self.reading, self.writing = os.pipe()
        os.write(self.writing, tokens)
        self.address = f"{self.reading},{self.writing}"

    def tokens(self) -> bytes:
        """What is in it; it stays there."""
        os.set_blocking(self.reading, False)
        try:
            found = os.read(self.reading, 100)
        except BlockingIOError:
            return b""
        finally:
            os.set_blocking(self.reading, True)
        os.write(self.writing, found)
        return found

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe(b"ab")
    yield made
    made.close()


said: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_was_said() -> Iterator[None]:
    yield
    assert said == []
    said.clear()


def joined(address: str) -> JobServer:
    found = join(address, said.append)
    assert found is not None
    return found


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def taken(server: JobServer) -> int:
    """How many slots it had left."""
    return sum(iter(server.take, False))


def test_one_slot_is_ours_and_each_token_is_another(pipe: Pipe) -> None:
    server = joined(pipe.address)
    assert taken(server) == 3
    assert pipe.tokens() == b""
    server.give()
    assert len(pipe.tokens()) == 1  # others come before our own slot, which is of no use to them
    assert taken(server) == 1
    server.close()


def test_the_very_tokens_are_put_back(pipe: Pipe) -> None:
    server = joined(pipe.address)
    assert taken(server) == 3
    for _ in range(3):
        server.give()
    assert sorted(pipe.tokens()) == sorted(b"ab")
    assert taken(server) == 3
    server.close()


def test_whatever_is_still_held_is_put_back_at_the_end(pipe: Pipe) -> None:
    server = joined(pipe.address)
    assert taken(server) == 3
    server.close()
    assert sorted(pipe.tokens()) == sorted(b"ab")
    os.fstat(pipe.reading)  # what is not ours stays open


def test_a_job_that_needs_no_token_does_not_touch_the_pipe(pipe: Pipe) -> None:
    """A run that finds all up to date looks at nothing that will not be there the next time."""
    before = descriptors()
    server = joined(pipe.address)
    assert server.take()
    assert len(descriptors() - before) == 2  # its own alarm clock
    server.close()
    assert descriptors() == before


def test_others_still_wait_on_the_descriptor_that_is_shared(pipe: Pipe) -> None:
    """Whether to wait is a property of the opening, which make and all its children have in common."""
    server = joined(pipe.address)
    assert taken(server) == 3
    assert os.get_blocking(pipe.reading)
    server.close()


@pytest.mark.parametrize("what", ["closed", "swapped", "a file", "negative", "nonsense"])
def test_a_jobserver_that_make_kept_to_itself_is_none(what: str, pipe: Pipe) -> None:
    """By then the number may be another file's: to read from that would be a theft, to write to it damage."""
    with tempfile.TemporaryFile() as file:
        spare = os.dup(file.fileno())
        os.close(spare)
        address = {
            "closed": f"{spare},{spare}",
            "swapped": f"{pipe.writing},{pipe.reading}",
            "a file": f"{file.fileno()},{pipe.writing}",
            "negative": "-2,-2",
            "nonsense": "3",
        }[what]
        assert join(address, said.append) is None


def test_a_fifo(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    keeper = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    os.write(keeper, b"xy")
    server = joined(f"fifo:{path}")
    assert (taken(server), server.descriptors) == (3, ())
    server.give()
    server.close()
    assert sorted(os.read(keeper, 9)) == sorted(b"xy")
    os.close(keeper)


@pytest.mark.parametrize("there", [True, False])
def test_a_fifo_that_is_none_leaves_one_slot(there: bool, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    if there:
        path.write_text("+++")
    server = joined(f"fifo:{path}")
    assert taken(server) == 1
    server.give()
    assert taken(server) == 1
    assert len(said) == 1, said
    assert "one job at a time" in said.pop()
    server.close()
    assert not there or path.read_text() == "+++"


def test_a_wait_ends_when_somebody_puts_a_token_back(pipe: Pipe) -> None:
    ours, theirs = joined(pipe.address), joined(pipe.address)
    assert (taken(theirs), taken(ours)) == (3, 1)
    giver = threading.Timer(0.01, theirs.give)
    giver.start()
    ours.wait()
    assert ours.take()
    giver.join()
    ours.close()
    theirs.close()


def test_a_wait_ends_when_it_is_ended() -> None:
    server = offer(1, said.append)
    assert taken(server) == 1
    server.wake()
    server.wait()
    waker = threading.Timer(0.01, server.wake)
    waker.start()
    server.wait()
    waker.join()
    server.close()


def test_ours_has_a_slot_for_each_job() -> None:
    server = offer(4, said.append)
    child = joined(server.address)
    assert (taken(server), taken(child)) == (4, 1)
    server.give()
    assert taken(child) == 1
    child.close()
    assert taken(server) == 1
    server.close()
