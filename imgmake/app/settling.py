"""Decides whether a run that found all up to date may answer for the next one, and writes that down for it.

`imgmake.settled` reads it. Whatever this module does not know for certain is not settled: a wrong "up to date" is
the worst that can happen here, a run the long way costs a fraction of a second.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from imgmake import commands, settled
from imgmake.app.options import Options
from imgmake.app.witness import Witness, watching
from imgmake.engine.wire import Wire
from imgmake.executor import Executor, Run
from imgmake.metadata import NAMES
from imgmake.model import CheckRule, FileRule, ImageRule, Outcome, PhonyRule, Pipeline, Rule, State, Verdict
from imgmake.ports import Reporter

# Commands whose freshness rests on fields and on `max_age` alone; one with a clock of its own is none of these.
_TIMELESS = (commands.Extract, commands.Lint, commands.Python, commands.Run, commands.Sh, commands.StructureTest)
_LASTING = {"ARCH", "BUILD_ID", "FINGERPRINT", "PLATFORM"} | {name for name in NAMES if name.startswith("VCS_")}
_KEPT = 16  # records: of other goals, variables and environments
_IN_REPLY = ("/images/", "/json")  # what is asked of an engine to judge; all else does something, or is too long


class Settling:
    """One run's testimony: what it looked at, what the engine said, what it told."""

    def __init__(self, options: Options, reporter: Reporter) -> None:
        self._options = options
        self._key = settled.key(sys.argv[1:])
        self.witness = Witness(Path.cwd() / ".imgmake")
        self.reporter = Hearing(reporter, self.witness)
        self._replies: dict[bytes, bytes] = {}
        self._socket = b""
        self._overheard = 0
        self._expires = float("inf")
        self._printed: bytes | None = None
        self._before = b""
        if self._asks_more():
            self.witness.spoil("options")

    def _asks_more(self) -> bool:
        """Whether the command line asks for anything but goals, variables, and how to run and tell."""
        told, options = self._options.told, self._options
        plain = replace(options, goals=(), overrides={}, told=None)
        asked = replace(plain, jobs=None, jobserver="", keep_going=False, silent=False)
        inside = "IMGMAKE_LOCKED" in options.environ  # the run around it holds the lock, and changes things
        return told is None or inside or "HOME" not in options.environ or asked != Options(environ=options.environ)

    # --- while it runs ----------------------------------------------------------------------------------------

    def opened(self, folder: Path) -> None:
        """The records are open and nothing has been judged."""
        self.reporter.known = True
        with contextlib.suppress(OSError):
            self._before = settled.records(os.fsencode(folder))

    def wire(self, wire: Wire, socket: str | None) -> Wire:
        """The way to the engine, overheard."""
        if socket is None:
            self.witness.spoil("the engine is not behind a Unix socket")
        self._socket = os.fsencode(socket or "")
        return _Overheard(wire, self)

    def replied(self, path: str, status: int, body: bytes) -> None:
        """An answer of the engine; a second one to the same question must be the same."""
        self._overheard += 1
        question, answer = path.encode(), settled.reply(status, body)
        if self._replies.setdefault(question, answer) != answer or len(self._replies) > settled.MOST_REQUESTS:
            self.witness.spoil("the engine was asked too much, or changed its mind")

    def ended(self, run: Run, executor: Executor, names: Sequence[str], outcomes: Sequence[Outcome]) -> None:
        """All that was asked is done; call it when everything has been told. `names`: all that the goals need."""
        if self.witness.connections != self._overheard:
            self.witness.spoil("something was asked through a socket")
        try:
            if why := next(_unsettled(run, executor, names, outcomes), ""):
                self.witness.spoil(why)
        except OSError as error:  # a Pipefile that is gone since it was executed
            self.witness.spoil(str(error))
        if not self.witness.spoilt:
            self._expires = min(_expiries(run, executor, names), default=float("inf"))
            self._printed = self._options.told() if self._options.told else None

    # --- afterwards -------------------------------------------------------------------------------------------

    def write(self, folder: Path) -> None:
        """Write the record; the state is closed and still locked. A disk that takes no more is no failure here."""
        with contextlib.suppress(OSError, ValueError):
            state = settled.records(os.fsencode(folder))
            if self.witness.spoilt or self._printed is None or not state:
                return
            looks = self.witness.testimony()
            if not self.witness.spoilt:
                data = settled.dump(self._printed, self._expires, state, self._socket, self._replies, looks)
                _put(folder / "settled", os.fsdecode(self._key), data)

    def closing(self, folder: Path) -> None:
        """The records are about to close: what is written from here on only saves time."""
        with contextlib.suppress(OSError):
            if settled.records(os.fsencode(folder)) != self._before:
                self.witness.spoil("something was recorded")


class _Overheard:
    """A wire whose questions about images are noted with their answers; any other spoils the testimony."""

    def __init__(self, wire: Wire, settling: Settling) -> None:
        self._wire, self._settling = wire, settling

    @contextlib.contextmanager
    def stream(self, method: str, path: str, body: Any = None) -> Iterator[tuple[int, BinaryIO]]:
        witness = self._settling.witness
        begins, ends = _IN_REPLY
        if witness.spoilt or method != "GET" or not (path.startswith(begins) and path.partition("?")[0].endswith(ends)):
            witness.spoil(f"the engine was asked for {method} {path}")
            with self._wire.stream(method, path, body) as (status, reader):
                yield status, reader
            return
        try:
            with self._wire.stream(method, path, body) as (status, reader):
                said = reader.read()
        except BaseException:
            witness.spoil("the engine did not answer")
            raise
        self._settling.replied(path, status, said)
        yield status, BytesIO(said)


class Hearing:
    """A reporter between the run and its own: what is told once only, or depends on the time, spoils the testimony."""

    def __init__(self, reporter: Reporter, witness: Witness) -> None:
        self._reporter, self._witness = reporter, witness
        self.output, self.sent, self.finished = reporter.output, reporter.sent, reporter.finished
        self.would_run, self.summary = reporter.would_run, reporter.summary
        self.known = False  # whether what is noted now follows from the Pipefile and the command line

    def planned(self, targets: Sequence[str]) -> None:
        self.known = False
        self._reporter.planned(targets)

    def started(self, target: str, verdict: Verdict) -> None:
        self._witness.spoil(f"{target} ran")
        self._reporter.started(target, verdict)

    def note(self, text: str) -> None:
        if not self.known and not text.startswith("BUILD_ID "):
            self._witness.spoil("a note")
        self._reporter.note(text)

    def warning(self, text: str) -> None:
        self._witness.spoil("a warning")
        self._reporter.warning(text)


@contextlib.contextmanager
def watched(options: Options, reporter: Reporter) -> Iterator[tuple[Settling | None, Reporter]]:
    """Watch a run, if its command line is one that can be answered from the last one; and whom to report to."""
    found = Settling(options, reporter) if options.told is not None else None
    if found is None or found.witness.spoilt:
        yield None, reporter
        return
    with watching(found.witness):
        yield found, found.reporter


# --- what can be settled --------------------------------------------------------------------------------------


def _unsettled(run: Run, executor: Executor, names: Sequence[str], outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.state is not State.FRESH or outcome.verdict.note:
            yield f"{outcome.target} was not simply up to date"
    for name in names:
        rule = run.node(name).rule
        if not _is_known(rule) or not all(type(step) in _TIMELESS for step in run.recipe(rule)):
            yield f"{name} rests on more than is known here"
    if used := set(run.values.used()) - _LASTING - run.pipeline.variables.keys():
        yield f"{', '.join(used)} may be of now"
    ids = executor.build_ids
    if ids.decided is not None and ids.how != "as before":
        yield "a new BUILD_ID"
    if settled.noise() & run.pipeline.variables.keys():
        yield "a variable that any shell changes"
    yield from _opaque(run.pipeline)


def _is_known(rule: Rule) -> bool:
    plain = isinstance(rule, (FileRule, CheckRule, ImageRule))
    return plain or (isinstance(rule, PhonyRule) and not rule.recipe)


def _opaque(pipeline: Pipeline) -> Iterator[str]:
    """Pipefiles and modules of which it is not certain what they rest on."""
    from imgmake.pipefile.blame import VOCABULARY
    from imgmake.purity import obstacle

    folders = {posixpath.dirname(path) for path in pipeline.pipefiles if path not in pipeline.modules}
    names = {folder: _module_names(folder, pipeline.modules) for folder in folders}
    for path in dict.fromkeys((*pipeline.pipefiles, *pipeline.modules)):
        # A Pipefile imports from its own folder; a module, from that of whichever Pipefile imports it.
        here = folders if path in pipeline.modules else {posixpath.dirname(path)}
        above = [names[folder] for folder in here if _below(folder, path) is not None]
        own = frozenset.intersection(*above) if above else frozenset[str]()
        text = (pipeline.root / path).read_bytes().decode("utf-8", "replace") if path.endswith(".py") else ""
        why = obstacle(text, own, VOCABULARY.keys()) if path.endswith(".py") else "no source"
        if why:
            yield f"{path}: {why}"


def _module_names(folder: str, modules: Sequence[str]) -> frozenset[str]:
    """What modules are imported as by a Pipefile in a folder: ``b/c.py`` below it is b.c."""
    below = (path for module in modules if (path := _below(folder, module)) is not None)
    return frozenset(path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in below)


def _below(folder: str, path: str) -> str | None:
    if not folder:
        return path
    return path.removeprefix(f"{folder}/") if path.startswith(f"{folder}/") else None


def _expiries(run: Run, executor: Executor, names: Sequence[str]) -> Iterator[float]:
    """When something becomes too old; there is no other way for time to make a known rule stale."""
    for name in names:
        rule = run.node(name).rule
        if isinstance(rule, CheckRule) and rule.max_age is not None:
            yield executor.forecast(name).until or 0.0
        elif isinstance(rule, ImageRule) and rule.max_age is not None:
            seal = run.images[name][1] if name in run.images else None
            yield seal.time + rule.max_age if seal else 0.0


# --- the files ------------------------------------------------------------------------------------------------


def _put(folder: Path, name: str, data: bytes) -> None:
    """Write one record, whole or not at all, and drop the oldest."""
    folder.mkdir(exist_ok=True)
    partial = folder / f".{name}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    partial.replace(folder / name)
    for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)[_KEPT:]:
        old.unlink(missing_ok=True)


__all__ = ["Hearing", "Settling", "watched"]
