"""In-memory twins of the ports: each logs what was asked of it, and none touches a disk, a clock or an engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from imgmake.model import Outcome, Reason, State, Verdict
from imgmake.ports import Cancel, Evidence, Output, Record
from tests.fake_files import FakeClock, FakeGit, MemoryCache, MemorySources
from tests.fake_images import FakeBuilder, FakeEngine, FakeRegistry, full_name

__all__ = [
    "FakeBuilder",
    "FakeClock",
    "FakeEngine",
    "FakeGit",
    "FakeRegistry",
    "FakeShell",
    "MemoryCache",
    "MemorySources",
    "MemoryState",
    "Ran",
    "RecordingOutput",
    "RecordingReporter",
    "World",
    "full_name",
]

Event = tuple[Any, ...]


# --- records --------------------------------------------------------------------------------------------------


class MemoryState:
    """Records in dicts; a second run is a second use of the same object."""

    def __init__(self, *, read_only: bool = False) -> None:
        self._read_only = read_only
        self.records: dict[str, Record] = {}
        self.started: set[str] = set()
        self.given: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self.passed: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self.examined: defaultdict[str, list[Evidence]] = defaultdict(list)
        self.orders: dict[str, tuple[str, ...]] = {}
        self.log: list[Event] = []
        self.closed = False

    @property
    def read_only(self) -> bool:
        return self._read_only

    def record(self, target: str) -> Record | None:
        self.log.append(("record", target))
        return None if target in self.started else self.records.get(target)

    def unfinished(self, target: str) -> bool:
        return target in self.started

    def begin(self, target: str, inputs: str = "") -> None:
        self._write("begin", target)
        self.started.add(target)
        self.passed[target].pop(inputs, None)

    def passes(self, target: str) -> Mapping[str, float]:
        return dict(self.passed[target])

    def commit(self, target: str, record: Record, inputs: str = "") -> None:
        self._write("commit", target)
        if inputs:
            self.passed[target][inputs] = record.time
        self.started.discard(target)
        self.records[target] = record

    def abandon(self, target: str) -> None:
        self._write("abandon", target)
        self.started.discard(target)
        self.records.pop(target, None)

    def evidence(self, target: str) -> Sequence[Evidence]:
        return tuple(self.examined[target])

    def add_evidence(self, evidence: Evidence) -> None:
        self._write("add_evidence", evidence.target)
        self.examined[evidence.target].insert(0, evidence)

    def builds(self, image_id: str) -> Mapping[str, float]:
        return dict(self.given.get(image_id, {}))

    def add_build(self, image_id: str, build_id: str, time: float) -> None:
        self._write("add_build", image_id, build_id)
        self.given[image_id][build_id] = time

    def order(self, key: str) -> tuple[str, ...] | None:
        return self.orders.get(key)

    def set_order(self, key: str, order: Sequence[str]) -> None:
        self.log.append(("set_order", key))  # only saves time: a read-only store holds it for the run
        self.orders[key] = tuple(order)

    def close(self) -> None:
        self.closed = True

    def _write(self, *event: str) -> None:
        assert not self._read_only, f"a write to a read-only store: {event}"
        self.log.append(event)


# --- telling --------------------------------------------------------------------------------------------------


class RecordingOutput:
    """What one target wrote, as events: ("write", bytes), ("note", text), ("command", line)."""

    def __init__(self, *, tty: bool = False) -> None:
        self.events: list[Event] = []
        self._tty = tty

    def write(self, data: bytes) -> None:
        self.events.append(("write", data))

    def note(self, text: str) -> None:
        self.events.append(("note", text))

    def command(self, line: str) -> None:
        self.events.append(("command", line))

    @property
    def tty(self) -> bool:
        return self._tty

    @property
    def data(self) -> bytes:
        """Everything written, in one piece."""
        return b"".join(event[1] for event in self.events if event[0] == "write")

    @property
    def commands(self) -> list[str]:
        return [event[1] for event in self.events if event[0] == "command"]

    @property
    def notes(self) -> list[str]:
        return [event[1] for event in self.events if event[0] == "note"]


class RecordingReporter:
    """A whole run as a list of events, in the order told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.outputs: defaultdict[str, RecordingOutput] = defaultdict(RecordingOutput)

    def output(self, target: str) -> Output:
        return self.outputs[target]

    def planned(self, targets: Sequence[str]) -> None:
        self.events.append(("planned", tuple(targets)))

    def started(self, target: str, verdict: Verdict) -> None:
        self.events.append(("started", target, verdict))

    def sent(self, target: str) -> None:
        self.events.append(("sent", target))

    def finished(self, outcome: Outcome) -> None:
        self.events.append(("finished", outcome))

    def would_run(self, target: str, verdict: Verdict, lines: Sequence[str]) -> None:
        self.events.append(("would_run", target, verdict, tuple(lines)))

    def note(self, text: str) -> None:
        self.events.append(("note", text))

    def warning(self, text: str) -> None:
        self.events.append(("warning", text))

    def summary(self, outcomes: Sequence[Outcome], *, interrupted: bool = False) -> None:
        self.events.append(("summary", tuple(outcomes), interrupted))

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return {event[1].target: event[1] for event in self.events if event[0] == "finished"}

    @property
    def states(self) -> dict[str, State]:
        return {target: outcome.state for target, outcome in self.outcomes.items()}

    @property
    def ran(self) -> list[str]:
        """The targets whose recipes started, in order."""
        return [event[1] for event in self.events if event[0] == "started"]

    @property
    def notes(self) -> list[str]:
        return [event[1] for event in self.events if event[0] == "note"]

    @property
    def warnings(self) -> list[str]:
        return [event[1] for event in self.events if event[0] == "warning"]

    def reasons(self, target: str) -> list[Reason]:
        """Why the target was started, or would run."""
        return [r for e in self.events if e[0] in ("started", "would_run") and e[1] == target for r in e[2].reasons]


# --- running --------------------------------------------------------------------------------------------------


class Ran(NamedTuple):
    """One command that a `FakeShell` was asked to run."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    tty: bool = False
    stdin: bytes | None = None


Effect = Callable[[Ran, Output], int]


class FakeShell:
    """Records every command; `on(words, effect)` scripts those whose line holds `words`, all others succeed.

    An effect is an exit code, bytes to write, or a function of the command and its output that gives
    the exit code; a function may write into a `MemorySources`.
    """

    def __init__(self) -> None:
        self.ran: list[Ran] = []
        self.captured: list[Ran] = []
        self._effects: list[tuple[str, int | bytes | Effect]] = []
        self._captures: list[tuple[str, tuple[int, str, str]]] = []

    def on(self, words: str, effect: int | bytes | Effect) -> FakeShell:
        self._effects.append((words, effect))
        return self

    def on_capture(self, words: str, stdout: str = "", *, code: int = 0, stderr: str = "") -> FakeShell:
        self._captures.append((words, (code, stdout, stderr)))
        return self

    @property
    def lines(self) -> list[str]:
        return [" ".join(command.argv) for command in self.ran]

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
        command = Ran(tuple(argv), cwd, dict(env), tty, stdin.read() if stdin else None)
        self.ran.append(command)
        if cancel.stopped:
            return 130
        line = " ".join(argv)
        return _effect(next((e for words, e in self._effects if words in line), 0), command, output)

    def capture(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], cancel: Cancel | None = None
    ) -> tuple[int, str, str]:
        self.captured.append(Ran(tuple(argv), cwd, dict(env)))
        line = " ".join(argv)
        return next((answer for words, answer in self._captures if words in line), (127, "", f"{argv[0]}: not found"))


def _effect(effect: int | bytes | Effect, command: Ran, output: Output) -> int:
    if isinstance(effect, bytes):
        output.write(effect)
        return 0
    return effect if isinstance(effect, int) else effect(command, output)


@dataclass
class World:
    """All fakes together, sharing one clock and one engine."""

    clock: FakeClock = field(default_factory=FakeClock)
    git: FakeGit = field(default_factory=lambda: FakeGit("ade3d65" + "0" * 33))
    state: MemoryState = field(default_factory=MemoryState)
    shell: FakeShell = field(default_factory=FakeShell)
    engine: FakeEngine = field(default_factory=FakeEngine)
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    reporter: RecordingReporter = field(default_factory=RecordingReporter)

    def __post_init__(self) -> None:
        self.sources = MemorySources(clock=self.clock)
        self.builder = FakeBuilder(self.engine)
