"""The reporter for programs: one JSON object a line, one line an event. Draws nothing and sums nothing up in words."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, BinaryIO

from imgmake.model import Outcome, Verdict
from imgmake.ports import Output
from imgmake.reporters.errors import as_json
from imgmake.reporters.plain import Settings, Sink


def event(name: str, **fields: Any) -> bytes:
    """One line: ``{"event": "started", "target": "app-image", …}``."""
    return json.dumps({"event": name, **fields}).encode("ascii") + b"\n"


def reasons(verdict: Verdict) -> list[dict[str, str]]:
    return [{"code": reason.code, "text": reason.text} for reason in verdict.reasons]


class Voice:
    """`ports.Output` of one target; one event a line, so that no character is cut in two."""

    tty = False

    def __init__(self, reporter: JsonLines, target: str) -> None:
        self._reporter = reporter
        self._target = target

    def write(self, data: bytes) -> None:
        self._reporter.take(self._target, data)

    def note(self, text: str) -> None:
        self._reporter.tell("note", target=self._target, text=text)

    def command(self, line: str) -> None:
        self._reporter.tell("command", target=self._target, line=line)


class JsonLines:
    """`ports.Reporter` for programs."""

    def __init__(self, out: BinaryIO, settings: Settings | None = None) -> None:
        self._clock = (settings or Settings()).clock
        self._out = Sink(out)
        self._lock = threading.RLock()
        self._parts: dict[str, bytes] = {}
        self._begun = self._clock()

    def tell(self, name: str, **fields: Any) -> None:
        with self._lock:
            self._out.write(event(name, **fields))

    def take(self, target: str, data: bytes) -> None:
        with self._lock:
            *lines, rest = (self._parts.get(target, b"") + data).split(b"\n")
            self._parts[target] = rest
            for line in lines:
                self._tell_line(target, line + b"\n")

    def _tell_line(self, target: str, line: bytes) -> None:
        try:
            self.tell("output", target=target, text=line.decode("utf-8"))
        except UnicodeDecodeError:
            self.tell("output", target=target, base64=base64.b64encode(line).decode("ascii"))

    def output(self, target: str) -> Output:
        return Voice(self, target)

    def planned(self, targets: Sequence[str]) -> None:
        self.tell("planned", targets=list(targets))

    def started(self, target: str, verdict: Verdict) -> None:
        self.tell("started", target=target, reasons=reasons(verdict))

    def sent(self, target: str) -> None:
        self.tell("sent", target=target)

    def finished(self, outcome: Outcome) -> None:
        with self._lock:
            if rest := self._parts.pop(outcome.target, b""):
                self._tell_line(outcome.target, rest)
            told: dict[str, Any] = {"target": outcome.target, "state": outcome.state.value}
            told |= {"seconds": round(outcome.seconds, 3), "reasons": reasons(outcome.verdict)}
            if outcome.verdict.note:
                told["note"] = outcome.verdict.note
            if outcome.error is not None:
                told["errors"] = as_json(outcome.error)
            self.tell("finished", **told)

    def would_run(self, target: str, verdict: Verdict, lines: Sequence[str]) -> None:
        self.tell("would-run", target=target, reasons=reasons(verdict), lines=list(lines))

    def note(self, text: str) -> None:
        self.tell("note", text=text)

    def warning(self, text: str) -> None:
        self.tell("warning", text=text)

    def error(self, error: BaseException) -> None:
        """The run could not even be tried."""
        for each in as_json(error):
            self.tell("error", **each)

    def summary(self, outcomes: Sequence[Outcome], *, interrupted: bool = False) -> None:
        count = Counter(outcome.state.value for outcome in outcomes)
        seconds = round(self._clock() - self._begun, 3)
        self.tell("summary", states=dict(count), seconds=seconds, interrupted=interrupted)

    def close(self) -> None:
        """Every line is written when it is told."""
