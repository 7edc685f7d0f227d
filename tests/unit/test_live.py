"""What a person sees on a terminal while several jobs run: read off a real pty by a terminal emulator."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pyte
import pytest

ROOT = Path(__file__).parents[2]

# Each line read is a step, so that the screen is looked at while nothing moves but the clock.
PROGRAM = """
import sys
from imgmake.model import Outcome, Reason, State, Verdict
from imgmake.reporters import Settings
from imgmake.reporters.live import Live
class Clock:
    now = 0.0
    def __call__(self): return self.now
clock = Clock()
live = Live(sys.stdout.buffer, sys.stderr.buffer, Settings(clock=clock))
stale = Verdict((Reason("a.c changed"),))
def pause(word):
    sys.stdin.readline()
live.planned(["slow", "quick", "next"])
live.started("slow", stale)
live.output("slow").write(b"compiling\\n" + b"x" * 70 + b"\\n")
live.started("quick", stale)
live.output("quick").write(b"caf\\xc3\\xa9 half")
clock.now = 12.34
pause("running")
slow = Outcome("slow", State.DONE, stale, 12.3)
live.finished(slow)
live.warning("beware")
clock.now = 13.0
pause("finished")
quick = Outcome("quick", State.FAILED, stale, 13.0, ValueError("odd"))
live.finished(quick)
live.summary([slow, quick, Outcome("next", State.CANCELLED, Verdict())])
live.close()
pause("over")
"""


class Screen:
    """The child on a terminal of 60 columns, and what that terminal shows."""

    def __init__(self, child: pexpect.spawn[bytes]) -> None:
        self.child = child
        self._screen = pyte.Screen(60, 24)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def wait_for(self, *shown: str) -> list[str]:
        """Read on until these lines are shown, the last of them at the bottom; then what the terminal shows."""
        while not self.lines or self.lines[-1] != shown[-1] or not set(shown) <= set(self.lines):
            self._stream.feed(self.child.read_nonblocking(4096, timeout=60))
        return self.lines

    def go_on(self) -> None:
        self.child.sendline()


@pytest.fixture
def screen() -> Iterator[Screen]:
    env = {"TERM": "xterm", "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    child = pexpect.spawn(sys.executable, ["-c", PROGRAM], env=env, dimensions=(24, 60), echo=False, cwd=str(ROOT))
    yield Screen(child)
    child.close(force=True)


def test_finished_lines_stand_above_what_runs(screen: Screen) -> None:
    assert screen.wait_for("  slow   12.3 s", "0 of 3 targets") == [  # redrawn four times a second
        "slow  (a.c changed)",
        "compiling",
        "x" * 60,  # the terminal wraps; nothing is cut
        "x" * 10,
        "  slow   12.3 s",
        "  quick  12.3 s",
        "0 of 3 targets",
    ]
    screen.go_on()
    assert screen.wait_for("1 of 3 targets")[:7] == [
        "slow  (a.c changed)",
        "compiling",
        "x" * 60,  # the terminal wraps; nothing is cut
        "x" * 10,
        "slow  done, 12.3 s",
        "quick  (a.c changed)",
        "café half",
    ]
    screen.go_on()
    assert screen.wait_for("imgmake: 'quick' failed: ValueError: odd") == [
        "slow  (a.c changed)",
        "compiling",
        "x" * 60,  # the terminal wraps; nothing is cut
        "x" * 10,
        "slow  done, 12.3 s",
        "quick  (a.c changed)",
        "café half",
        "imgmake: warning: beware",
        "quick  failed, 13.0 s: ValueError: odd",
        "not run: next",
        "1 failed, 1 ran, 1 not run, 13.0 s",
        "imgmake: 'quick' failed: ValueError: odd",
    ]
