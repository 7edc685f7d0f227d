"""A make that has read its Makefile once, and then answers any number of questions. Starts it through `ports.Shell`.

It waits in `$(file <PIPE)` for the next question (GNU make 4.2 and newer), expands what it reads, and prints that.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from imgmake.ports import Cancel, Output

MARK = "@imgmake-value@"
_END = b"@imgmake-end@"
_PIPE = ".imgmake-ask"
ASK = ".imgmake-ask.mk"  # read after the Makefile
WITHOUT = f"MAKEFILE_LIST := $(filter-out {ASK},$(MAKEFILE_LIST))"
_LISTENING = f"""\
{WITHOUT}
imgmake-ten := 0 1 2 3 4 5 6 7 8 9
imgmake-many := $(foreach a,$(imgmake-ten),$(foreach b,$(imgmake-ten),$(foreach c,$(imgmake-ten),$(imgmake-ten))))
$(foreach i,$(imgmake-many),$(eval imgmake-asked := $$(file <{_PIPE}))$(eval $(value imgmake-asked)))
.PHONY: imgmake-ask
imgmake-ask: ;@:
"""


class Slow(Exception):
    """make does not answer in time."""


class Start(Protocol):
    """Runs make on its own Makefile and on `ASK`, until it ends or is stopped."""

    def __call__(self, *, output: Output, cancel: Cancel) -> object: ...


class Heard:
    """`ports.Output`: everything that make has said since the last question."""

    tty = False

    def __init__(self) -> None:
        self._data = bytearray()
        self._more = threading.Condition()
        self._over = False

    def write(self, data: bytes) -> None:
        with self._more:
            self._data += data
            self._more.notify_all()

    def note(self, text: str) -> None:
        pass

    def command(self, line: str) -> None:
        pass

    def end(self) -> None:
        """Nothing more will come."""
        with self._more:
            self._over = True
            self._more.notify_all()

    @property
    def over(self) -> bool:
        return self._over

    def clear(self) -> None:
        with self._more:
            self._data.clear()

    def answer(self, seconds: float) -> bytes:
        """What came until the end of an answer, or of make. Raises Slow."""
        with self._more:
            if not self._more.wait_for(lambda: self._over or _END in self._data, seconds):
                raise Slow
            return bytes(self._data)


class Conversation:
    """One make at a time; a question that ends it (an `$(error …)`) is left without an answer.

    folder: where make runs.
    limit:  seconds that an answer may take.
    """

    def __init__(self, folder: Path, start: Start, limit: float) -> None:
        self._folder = folder
        self._pipe = folder / _PIPE
        self._start = start
        self._limit = limit
        self._heard: Heard | None = None
        self._cancels = [Cancel()]  # the running make's alone
        weakref.finalize(self, _stop, self._cancels)

    def ask(self, expressions: Sequence[str]) -> list[str]:
        """The values of expressions up to the first that make cannot expand. Raises Slow."""
        heard = self._listening()
        question = "".join(
            f"define imgmake-text\n{each}\nendef\n$(info {MARK}$(imgmake-text){MARK})\n" for each in expressions
        )
        try:
            if not self._say(heard, f"{question}$(info {_END.decode()})\n"):
                return []
            said = heard.answer(self._limit).decode("utf-8", "surrogateescape")
        except Slow:
            self.close()
            raise
        return re.findall(f"{MARK}(.*?){MARK}", said, re.DOTALL)

    def close(self) -> None:
        """Stop make: the next question starts another."""
        _stop(self._cancels)
        self._heard = None
        self._pipe.unlink(missing_ok=True)

    def _listening(self) -> Heard:
        if self._heard is None or self._heard.over:
            self.close()
            (self._folder / ASK).write_text(_LISTENING)
            os.mkfifo(self._pipe)
            self._heard, cancel = Heard(), Cancel()
            self._cancels[:] = [cancel]
            threading.Thread(target=_run, args=(self._start, self._heard, cancel), daemon=True).start()
        else:
            self._heard.clear()
        return self._heard

    def _say(self, heard: Heard, text: str) -> bool:
        """Write a question as soon as make waits for one; False when it has ended before. Raises Slow."""
        until = time.monotonic() + self._limit
        while not heard.over:
            with contextlib.suppress(OSError):  # nobody reads yet
                pipe = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
                os.set_blocking(pipe, True)
                with os.fdopen(pipe, "wb") as file:
                    file.write(text.encode("utf-8", "surrogateescape"))
                (self._folder / ASK).unlink(missing_ok=True)
                return True
            if time.monotonic() > until:
                raise Slow
            time.sleep(0.0005)
        return False


def _stop(cancels: Sequence[Cancel]) -> None:
    for each in cancels:
        each.stop()


def _run(start: Start, heard: Heard, cancel: Cancel) -> None:
    try:
        start(output=heard, cancel=cancel)
    finally:
        heard.end()
