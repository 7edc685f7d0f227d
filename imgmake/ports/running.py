"""Running things: a stop that reaches them, how many at once, where their output goes, processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol


class Cancel:
    """A stop that reaches every running command: set once, it calls each registered `on_stop` once."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}

    @property
    def stopped(self) -> bool:
        return self._event.is_set()

    def stop(self) -> None:
        with self._lock:
            self._event.set()
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        for callback in callbacks:
            callback()

    def on_stop(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` on stop (at once when already stopped); the result unregisters it."""
        with self._lock:
            if not self._event.is_set():
                key = id(callback)
                self._callbacks[key] = callback
                return lambda: self._callbacks.pop(key, None) and None
        callback()
        return lambda: None

    def wait(self, seconds: float) -> bool:
        """Sleep up to `seconds`; True when stopped meanwhile."""
        return self._event.wait(seconds)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold SIGINT, SIGTERM and SIGHUP back until the end of the block: what is done in it is never half done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    kept = [(stop, signal.signal(stop, lambda got, _: held.append(got))) for stop in stops]
    try:
        yield
    finally:
        for stop, handler in reversed(kept):  # SIGINT last: it may end this at once
            signal.signal(stop, handler)
        for number in held[:1]:
            signal.raise_signal(number)


class Slots(Protocol):
    """How many recipes may run at once, where others run some, too: make's jobserver."""

    def take(self) -> bool:
        """Whether one more may run now; its slot is ours then, until it is given back. Never waits."""

    def give(self) -> None:
        """Give back a slot that was taken; from any thread."""

    def wait(self) -> None:
        """Return when a slot may have come free, or somebody calls `wake`, or after a moment."""

    def wake(self) -> None:
        """End a wait, or the next one; from any thread."""


class Unshared:
    """`Slots` where nobody else runs anything: there is always one."""

    def take(self) -> bool:
        return True

    def give(self) -> None: ...

    def wait(self) -> None: ...

    def wake(self) -> None: ...


class Output(Protocol):
    """Where one target's output goes; lines of several targets never mix."""

    def write(self, data: bytes) -> None:
        """Take a chunk of a command's stdout or stderr, as it comes."""

    def note(self, text: str) -> None:
        """Say one line of imgmake's own about this target."""

    def command(self, line: str) -> None:
        """Say the command about to run (make's echo); shown unless silent."""

    @property
    def tty(self) -> bool:
        """Whether the user's own terminal is connected to this target (one job, a terminal)."""


class Shell(Protocol):
    """Runs processes; the only way to one."""

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        output: Output,
        cancel: Cancel,
        tty: bool = False,
        stdin: BinaryIO | None = None,
        errors: BinaryIO | None = None,
    ) -> int:
        """Run to the end, in a process group of its own that a stop kills; return the exit code (128+n on signal n).

        errors: a file for what goes to stderr; else that is part of the output.
        """

    def capture(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], cancel: Cancel | None = None
    ) -> tuple[int, str, str]:
        """Run a short command, in a group of its own as with `run`; return its exit code, stdout and stderr."""
