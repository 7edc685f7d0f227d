"""Who may speak: one target at a time has the stage and streams, the others wait with what they have to say.

So output is grouped by target, lines never mix, and a single running target is seen as it speaks.
A failure does not wait. Knows bytes and names of targets, nothing of verdicts or of terminals.
"""

from __future__ import annotations

from collections.abc import Callable


class Stage:
    """Hands each target's bytes to `emit`, one target after the other. Not thread-safe: the reporter locks.

    `again` makes the line that reopens a target's group after a failure had to be shown in its midst.
    """

    def __init__(self, emit: Callable[[bytes], None], again: Callable[[str], bytes]) -> None:
        self._emit_raw = emit
        self._again = again
        self._holder: str | None = None
        self._waiting: dict[str, bytearray] = {}  # in the order in which they began to speak
        self._interrupted = False
        self._line_open = False

    def put(self, target: str, data: bytes) -> None:
        """Show the bytes now when `target` has the stage or nobody has; else keep them."""
        if self._holder is None:
            self._holder = target
        if self._holder == target:
            self._reopen()
            self._emit(data)
        else:
            self._waiting.setdefault(target, bytearray()).extend(data)

    def end(self, target: str, *, urgent: bool = False) -> None:
        """The target has nothing more to say: show what it kept (at once if urgent), and let the next one speak."""
        if target == self._holder:
            self._close_line()
            self._holder = None
            self._interrupted = False
            self._next()
        elif urgent and target in self._waiting:
            self.aside(bytes(self._waiting.pop(target)))
            self._interrupted = True
        elif target in self._waiting:
            self._ended(target)

    def aside(self, data: bytes) -> None:
        """Whole lines that belong to nobody on stage."""
        self._close_line()
        self._emit(data)
        self._close_line()

    def fresh_line(self, target: str) -> bytes:
        """A newline when the last thing that `target` said did not end its line."""
        if target == self._holder:
            return b"\n" if self._line_open else b""
        kept = self._waiting.get(target)
        return b"\n" if kept and not kept.endswith(b"\n") else b""

    def _ended(self, target: str) -> None:
        # What is complete goes first when the stage is free again: a key of its own marks it.
        kept = self._waiting.pop(target)
        done = self._waiting.setdefault("", bytearray())
        done.extend(kept if kept.endswith(b"\n") or not kept else kept + b"\n")

    def _next(self) -> None:
        if done := self._waiting.pop("", None):
            self._emit(bytes(done))
        if self._waiting:
            self._holder = next(iter(self._waiting))
            self._emit(bytes(self._waiting.pop(self._holder)))

    def _reopen(self) -> None:
        if self._interrupted and self._holder is not None:
            self._interrupted = False
            self._emit(self._again(self._holder))

    def _emit(self, data: bytes) -> None:
        if data:
            self._emit_raw(data)
            self._line_open = not data.endswith(b"\n")

    def _close_line(self) -> None:
        if self._line_open:
            self._emit(b"\n")
