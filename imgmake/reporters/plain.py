"""The reporter for logs, pipes and `-j1`: plain lines, grouped by target. Does not redraw anything."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from imgmake.model import Outcome, State, Verdict
from imgmake.ports import Output
from imgmake.reporters.errors import message
from imgmake.reporters.stage import Stage
from imgmake.reporters.style import Paint, because, duration, encode, one_line, plural

WORTH_TELLING = 1.0  # seconds: what took less needs no line that says how long


@dataclass(frozen=True)
class Settings:
    """How to tell: `goals` as the user gave them; `interactive` when the user can answer and one job runs.

    `script`: a dry run, in which all but commands is a comment.
    """

    goals: tuple[str, ...] = ()
    silent: bool = False
    trace: bool = False
    color: bool = False
    interactive: bool = False
    script: bool = False
    clock: Callable[[], float] = field(default=time.monotonic)


class Sink:
    """A stream of bytes that may go away: once its reader is gone, the rest is dropped without a word."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._gone = False

    def write(self, data: bytes) -> None:
        if self._gone:
            return
        try:
            self._stream.write(data)
            self._stream.flush()
        except (BrokenPipeError, ValueError):
            self._gone = True


class Voice:
    """`ports.Output` of one target."""

    def __init__(self, reporter: Plain, target: str) -> None:
        self._reporter = reporter
        self._target = target

    def write(self, data: bytes) -> None:
        self._reporter.say(self._target, data)

    def note(self, text: str) -> None:
        self._reporter.say_line(self._target, text)

    def command(self, line: str) -> None:
        self._reporter.echo(self._target, line)

    @property
    def tty(self) -> bool:
        return self._reporter.settings.interactive


class Plain:
    """`ports.Reporter` in lines. What failed goes to `err` as well, so that it is seen when `out` is a file."""

    def __init__(self, out: BinaryIO, err: BinaryIO, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.paint = Paint(self.settings.color)
        self.lock = threading.RLock()
        self.stage = Stage(self.emit, self._again)
        self._out, self._err = Sink(out), Sink(err)
        self._failed: list[Outcome] = []
        self._begun = self.settings.clock()

    # --- what subclasses may change -----------------------------------------------------------------------

    def emit(self, data: bytes) -> None:
        """Show bytes now."""
        self._out.write(data)

    def close(self) -> None:
        """Leave the terminal as it was found; may be called twice."""

    # --- one target ---------------------------------------------------------------------------------------

    def output(self, target: str) -> Output:
        return Voice(self, target)

    def say(self, target: str, data: bytes) -> None:
        with self.lock:
            self.stage.put(target, data)

    def say_line(self, target: str, text: str) -> None:
        """One line of imgmake's own, never glued to an unfinished line of a command."""
        with self.lock:
            self.stage.put(target, self.stage.fresh_line(target) + encode(f"{text}\n"))

    def echo(self, target: str, line: str) -> None:
        if not self.settings.silent:
            self.say_line(target, self.paint.dim("$ " + line.rstrip("\n").replace("\n", "\n  ")))

    # --- events -------------------------------------------------------------------------------------------

    def planned(self, targets: Sequence[str]) -> None:
        """Nothing to say: a plan is not news."""

    def started(self, target: str, verdict: Verdict) -> None:
        if not self.settings.silent:
            self.say_line(target, self._header(target, verdict))

    def sent(self, target: str) -> None:
        """Others may speak until its tags are set."""
        with self.lock:
            self.stage.end(target)

    def finished(self, outcome: Outcome) -> None:
        with self.lock:
            if text := self._ending(outcome):
                self.say_line(outcome.target, text)
            if outcome.state is State.FAILED:
                self._failed.append(outcome)
            self.stage.end(outcome.target, urgent=outcome.state is State.FAILED)

    def would_run(self, target: str, verdict: Verdict, lines: Sequence[str]) -> None:
        """As comments and commands, so that the dry run is a script that a shell can read."""
        with self.lock:
            if not self.settings.silent:
                self.say_line(target, self.paint.bold(f"# {self._plain_header(target, verdict)}"))
            for line in lines:
                self.say_line(target, line)
            self.stage.end(target)

    def note(self, text: str) -> None:
        if not self.settings.silent:
            self._aside(text)

    def warning(self, text: str) -> None:
        with self.lock:
            self.stage.aside(b"")
            self._err.write(encode(f"imgmake: {Paint(self.settings.color).yellow('warning')}: {text}\n"))

    def summary(self, outcomes: Sequence[Outcome], *, interrupted: bool = False) -> None:
        with self.lock:
            self.stage.aside(b"")
            if not self.settings.silent:
                self._tell_all(outcomes, interrupted)
            self._tell_failures()
            if interrupted:
                self._err.write(b"imgmake: interrupted\n")

    # --- words --------------------------------------------------------------------------------------------

    def _plain_header(self, target: str, verdict: Verdict) -> str:
        why = because(target, verdict.reasons)
        return one_line(target) + (f"  ({why})" if why else "")

    def _header(self, target: str, verdict: Verdict) -> str:
        if self.settings.trace:
            reasons = [f"\n  {one_line(reason.text)}" for reason in verdict.reasons]
            return self.paint.bold(one_line(target)) + "".join(reasons)
        why = because(target, verdict.reasons)
        return self.paint.bold(one_line(target)) + (self.paint.dim(f"  ({why})") if why else "")

    def _again(self, target: str) -> bytes:
        return encode(self.paint.bold(one_line(target)) + self.paint.dim("  (continued)") + "\n")

    def _ending(self, outcome: Outcome) -> str:
        name = one_line(outcome.target)
        if outcome.state is State.FAILED:
            said = f": {message(outcome.error)}" if outcome.error else ""
            return f"{self.paint.red(f'{name}  failed')}, {duration(outcome.seconds)}{said}"
        if self.settings.silent:
            return ""
        if outcome.state is State.CANCELLED and outcome.verdict.note:
            return f"{name}: {one_line(outcome.verdict.note)}"
        if outcome.state is State.DONE and outcome.seconds >= WORTH_TELLING:
            return f"{self.paint.green(f'{name}  done')}, {duration(outcome.seconds)}"
        if outcome.state is State.FRESH and outcome.verdict.note:
            return f"{name}  up to date: {one_line(outcome.verdict.note)}"
        return f"{name}  up to date" if outcome.state is State.FRESH and self.settings.trace else ""

    def _aside(self, text: str) -> None:
        comment = "# " + text.replace("\n", "\n# ") if self.settings.script else text
        with self.lock:
            self.stage.aside(encode(f"{comment}\n"))

    def _tell_all(self, outcomes: Sequence[Outcome], interrupted: bool) -> None:
        count = Counter(outcome.state for outcome in outcomes)
        stopped = [outcome for outcome in outcomes if outcome.state is State.CANCELLED]
        cancelled = [one_line(outcome.target) for outcome in stopped if not outcome.verdict.note]
        if count.keys() <= {State.FRESH} and not interrupted:
            self._aside(self._nothing_to_do(count[State.FRESH]))
        else:
            if cancelled:
                self._aside(self.paint.dim(f"not run: {', '.join(cancelled)}"))
            self._aside(self._counts(count, len(stopped) - len(cancelled)))

    def _nothing_to_do(self, fresh: int) -> str:
        if len(self.settings.goals) == 1:
            return f"imgmake: '{one_line(self.settings.goals[0])}' is up to date."
        return "imgmake: everything is up to date" + (f" ({plural(fresh, 'target')})" if fresh else "")

    def _counts(self, count: Counter[State], unpublished: int) -> str:
        words = {
            "failed": count[State.FAILED],
            "ran": count[State.DONE],
            "up to date": count[State.FRESH],
            "not published": unpublished,
            "not run": count[State.CANCELLED] - unpublished,
        }
        told = [f"{number} {word}" for word, number in words.items() if number]
        return ", ".join([*told, duration(self.settings.clock() - self._begun)])

    def _tell_failures(self) -> None:
        """The others first and in short, so that the first failure is what stands on the last lines."""
        if not self._failed:
            return
        first, *others = self._failed
        if others:
            names = ", ".join(f"'{one_line(each.target)}'" for each in others)
            self._err.write(encode(f"imgmake: also failed: {names}\n"))
        name = self.paint.red(f"'{one_line(first.target)}' failed")
        said = f": {message(first.error)}" if first.error else ""
        self._err.write(encode(f"imgmake: {name}{said}\n"))


class Mute(Plain):
    """For `-q`: the exit code is the answer; only warnings are said."""

    def emit(self, data: bytes) -> None:
        """Nobody asked to see this."""
