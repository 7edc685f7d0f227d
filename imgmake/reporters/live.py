"""The reporter for a terminal and several jobs: finished lines above, what runs and for how long below.

The only module that imports rich, and only once something runs: a run that finds all up to date stays light.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

from imgmake.model import Outcome, Verdict
from imgmake.reporters.plain import Plain, Settings, Sink
from imgmake.reporters.style import duration, one_line, plural

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.live import Live as RichLive
    from rich.segment import Segment
    from typing_extensions import Buffer

CALM = 4  # redraws a second: elapsed time moves, the eye rests
MOST_ROWS = 8


class Raw:
    """Bytes of a command on their way through rich: not wrapped, not styled, not stripped."""

    def __init__(self, data: bytes) -> None:
        self._text = data.decode("utf-8", "surrogateescape")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import ControlType, Segment

        # A control segment is written as it is; the code named here is never looked at for that.
        yield Segment(self._text, None, [(ControlType.CARRIAGE_RETURN,)])


class Live(Plain):
    """`Plain`, with a few lines at the bottom that say what runs now."""

    def __init__(self, out: BinaryIO, err: BinaryIO, settings: Settings | None = None) -> None:
        super().__init__(out, err, settings)
        self._stream = out
        # Of its own, and never held while something is printed: the thread that redraws holds rich's lock
        # and asks for the rows, a thread that prints holds `lock` and waits for rich's.
        self._rows_lock = threading.Lock()
        self._running: dict[str, float] = {}
        self._planned = self._ended = 0
        self._region: RichLive | None = None
        self._part = b""  # an unfinished line waits: the region is redrawn below whole lines only

    def emit(self, data: bytes) -> None:
        if self._region is None:
            super().emit(data)
            return
        lines, newline, rest = (self._part + data).rpartition(b"\n")
        self._part = rest
        if newline:
            self._region.console.print(Raw(lines + newline), end="", crop=False)

    def planned(self, targets: Sequence[str]) -> None:
        self._planned = len(targets)

    def started(self, target: str, verdict: Verdict) -> None:
        with self._rows_lock:
            self._running[target] = self.settings.clock()
        with self.lock:
            self._open()
        super().started(target, verdict)

    def sent(self, target: str) -> None:
        with self._rows_lock:
            self._running.pop(target, None)
        super().sent(target)

    def finished(self, outcome: Outcome) -> None:
        with self._rows_lock:
            self._running.pop(outcome.target, None)
            self._ended += 1
        super().finished(outcome)

    def warning(self, text: str) -> None:
        """Standard error is the same terminal: it goes above the region, never through it."""
        self._aside(f"imgmake: {self.paint.yellow('warning')}: {text}")

    def summary(self, outcomes: Sequence[Outcome], *, interrupted: bool = False) -> None:
        self.close()
        super().summary(outcomes, interrupted=interrupted)

    def close(self) -> None:
        with self.lock:
            region, self._region = self._region, None
            if region is not None:
                region.stop()
                rest, self._part = self._part, b""
                super().emit(rest)

    def rows(self) -> list[str]:
        """What the region says now, one line each, oldest first."""
        with self._rows_lock:
            now = self.settings.clock()
            running = sorted(self._running.items(), key=lambda item: item[1])
        width = max((len(one_line(target)) for target, _ in running), default=0)
        shown = [f"  {one_line(target):{width}}  {duration(now - since)}" for target, since in running[:MOST_ROWS]]
        if len(running) > MOST_ROWS:
            shown.append(f"  and {len(running) - MOST_ROWS} more")
        return [*shown, f"{self._ended} of {plural(max(self._planned, self._ended), 'target')}"]

    def _open(self) -> None:
        if self._region is not None:
            return
        from rich.console import Console
        from rich.live import Live as RichLive

        stream = io.BufferedWriter(Unclosed(self._stream))
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
        console = Console(file=text, force_terminal=True, no_color=not self.settings.color, highlight=False)
        self._region = RichLive(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=CALM,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._region.start()

    def _draw(self) -> RenderableType:
        from rich.text import Text

        return Text("\n".join(self.rows()), style="dim", no_wrap=True, overflow="ellipsis")


class Unclosed(io.RawIOBase):
    """A stream that outlives the text layer around it, and whose reader may go away."""

    def __init__(self, stream: BinaryIO) -> None:
        self._sink = Sink(stream)

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        copy = bytes(data)
        self._sink.write(copy)
        return len(copy)
