"""make's jobserver: a pipe that holds a token for each job that may run beside the first. Knows no rule and no option.

Who starts a further job takes a token, and puts it back afterwards; all who share the pipe together run no more jobs
than it has tokens, and one for whoever made it (GNU make's manual, "POSIX Jobserver Interaction").
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from fcntl import F_GETFL, fcntl

_TOKEN = b"+"  # which byte it is does not matter, but everybody puts back the one that was taken

_LISTENS = 200  # milliseconds: Ctrl-C that comes between Python's look for it and a wait is heard when the wait ends


class JobServer:
    """`ports.Slots`: one slot that is ours without asking, and one more for each token.

    descriptors: what children must inherit to share it.
    address:     how MAKEFLAGS tells of it.
    """

    def __init__(self, address: str, ends: tuple[int, int] | None, say: Callable[[str], None]) -> None:
        self.address = address
        self.descriptors = ends or ()
        self._writing = ends[1] if ends else None
        self._say = say
        self._reading: int | None = None
        self._lost = False
        self._opened: list[int] = []  # what is ours to close
        self._lock = threading.Lock()
        self._own = True
        self._tokens: list[bytearray] = []
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._opened += [self._woken, self._waker]

    # --- slots ----------------------------------------------------------------------------------------------

    def take(self) -> bool:
        with self._lock:
            if self._own:
                self._own = False
                return True
            source = self._source()
            return source is not None and self._take_token(source)

    def give(self) -> None:
        with self._lock:
            if self._tokens:
                self._put_back(self._tokens.pop())
            else:
                self._own = True

    def wait(self) -> None:
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if self._reading is not None:
            poll.register(self._reading, select.POLLIN)
        poll.poll(_LISTENS)
        with suppress(BlockingIOError):
            os.read(self._woken, 4096)

    def wake(self) -> None:
        with self._lock, suppress(BlockingIOError):  # it is full: woken it is
            if self._opened:
                os.write(self._waker, b"\0")

    def close(self) -> None:
        """Put back whatever is still held, and let go of the pipe."""
        with self._lock:
            while self._tokens:
                self._put_back(self._tokens.pop())
            self._lost, self._reading = True, None
            while self._opened:
                os.close(self._opened.pop())

    # --- tokens ---------------------------------------------------------------------------------------------

    def _take_token(self, source: int) -> bool:
        # The byte goes where it will be found, so that Ctrl-C between two statements loses no token.
        token = bytearray(1)
        self._tokens.append(token)
        with suppress(BlockingIOError):
            if os.readv(source, [token]) == 0:  # nobody has the other end any more
                self._lose("it was closed")
        if not token[0]:
            self._tokens.remove(token)
        return bool(token[0])

    def _put_back(self, token: bytearray) -> None:
        if token[0] and self._writing is not None:
            os.write(self._writing, token)

    def _source(self) -> int | None:
        """Where tokens are read without waiting, opened on first use.

        An opening of our own: whether to wait belongs to an opening, and those that others have must stay as they are.
        """
        if self._reading is None and not self._lost:
            path = (
                self.address.removeprefix("fifo:") if not self.descriptors else f"/proc/self/fd/{self.descriptors[0]}"
            )
            way = os.O_RDONLY if self.descriptors else os.O_RDWR
            try:
                self._reading = os.open(path, way | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                self._lose(error.strerror or str(error))
                return None
            self._opened.append(self._reading)
            if not stat.S_ISFIFO(os.fstat(self._reading).st_mode):
                self._lose(f"{path} is no fifo")
                return None
            self._writing = self._reading if self._writing is None else self._writing
        return self._reading

    def _lose(self, why: str) -> None:
        self._lost, self._reading = True, None
        self._say(f"make's jobserver cannot be used ({why}): one job at a time")


def offer(jobs: int, say: Callable[[str], None]) -> JobServer:
    """A jobserver of our own for `jobs` at once; children inherit its descriptors."""
    ends = os.pipe2(os.O_CLOEXEC)
    os.write(ends[1], _TOKEN * (jobs - 1))
    server = JobServer(f"{ends[0]},{ends[1]}", ends, say)
    server._opened += ends
    return server


def join(address: str, say: Callable[[str], None]) -> JobServer | None:
    """make's jobserver, by what MAKEFLAGS tells of it; None when it is not there for us.

    make keeps it from a line that it does not take for a make's: one without ``+`` and without ``$(MAKE)``.
    """
    if address.startswith("fifo:"):
        return JobServer(address, None, say)  # looked at when it is needed
    reading, _, writing = address.partition(",")
    if not (reading.isdigit() and writing.isdigit()):
        return None
    ends = (int(reading), int(writing))
    there = _is_open(ends[0], {os.O_RDONLY, os.O_RDWR}) and _is_open(ends[1], {os.O_WRONLY, os.O_RDWR})
    return JobServer(address, ends, say) if there else None


def _is_open(descriptor: int, ways: set[int]) -> bool:
    """Whether a pipe is open there in one of these ways: the number alone may by now be another file's."""
    with suppress(OSError):
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode) and fcntl(descriptor, F_GETFL) & os.O_ACCMODE in ways
    return False
