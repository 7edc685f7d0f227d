"""The face: a command line to a verb of `app`, errors to a message and an exit code.

Knows no docker, no graph and no rule. Exit codes are make's: 0 done or up to date, 1 from `-q` when something is
stale, 2 an error; 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TextIO, cast

from imgmake.cli.overheard import Overheard
from imgmake.cli.words import Request, plain
from imgmake.errors import ImgmakeError, raise_all
from imgmake.reporters import JsonLines, Plain, Settings, choose
from imgmake.reporters.errors import render, report_defect
from imgmake.reporters.style import Paint, is_terminal, wants_color

if TYPE_CHECKING:
    from imgmake.app import Options, Planned
    from imgmake.model import Edge, Entry, Explanation, Kind
    from imgmake.ports import Reporter
    from imgmake.reporters.verified import Verified

INTERRUPTED = 130
_RUNS = ("build", "clean", "gc", "plan")  # what make's options hold for, where make started us


class Verbs(Protocol):
    """What `imgmake.app` offers, one function a verb."""

    def build(self, options: Options, reporter: Reporter) -> int: ...
    def clean(self, options: Options, goals: Sequence[str], reporter: Reporter) -> int: ...
    def collect(self, options: Options, agreed: Callable[[], bool], reporter: Reporter) -> int: ...
    def listing(self, options: Options) -> Sequence[Entry]: ...
    def why(self, options: Options, targets: Sequence[str]) -> Sequence[Explanation]: ...
    def plan(self, options: Options) -> Planned: ...
    def verify(self, options: Options, references: Sequence[str]) -> Verified: ...
    def edges(self, options: Options) -> tuple[Sequence[tuple[str, Kind]], Sequence[Edge]]: ...
    def migrate(self, options: Options) -> tuple[str, int]: ...
    def shim(self, options: Options) -> str: ...
    def svg(self, dot: str) -> str: ...


@dataclass(frozen=True)
class Streams:
    """Where a command line speaks to, and whether somebody can answer."""

    out: BinaryIO = field(default_factory=lambda: _binary(sys.stdout))
    err: BinaryIO = field(default_factory=lambda: _binary(sys.stderr))
    answers: bool = field(default_factory=lambda: sys.stdin is not None and is_terminal(sys.stdin.buffer))
    told: Callable[[], bytes | None] | None = None  # what was said on them so far, where all of it is overheard

    def say(self, text: str) -> None:
        self.out.write(text.encode("utf-8", "surrogateescape"))
        self.out.flush()

    def complain(self, text: str) -> None:
        self.err.write(text.encode("utf-8", "surrogateescape"))
        self.err.flush()


def _binary(stream: TextIO | None) -> BinaryIO:
    """A stream's bytes; one that was closed before we began (`imgmake >&-`) takes everything and keeps nothing."""
    return stream.buffer if stream is not None else Path(os.devnull).open("wb")


def overheard(streams: Streams) -> Streams:
    """The same streams, with what is said on them kept: a run that has nothing to do says the same the next time."""
    out, err = Overheard(streams.out), Overheard(streams.err)
    return Streams(cast(BinaryIO, out), cast(BinaryIO, err), streams.answers, lambda: None if err.said else out.said)


def main(words: Sequence[str] | None = None, verbs: Verbs | None = None, streams: Streams | None = None) -> int:
    """The console script: `words` without the program's name (None: those of the process); the exit code."""
    streams = streams or Streams()
    if words is None:
        streams = overheard(streams)
        signal.signal(signal.SIGTERM, _stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup(1) has it
            signal.signal(signal.SIGHUP, _stop)
    try:
        return _safely(sys.argv[1:] if words is None else words, verbs, streams)
    except BrokenPipeError:
        return _unheard()


def _safely(words: Sequence[str], verbs: Verbs | None, streams: Streams) -> int:
    try:
        return _understood(words, verbs, streams)
    except ImgmakeError as error:
        streams.complain(render(error))
        return error.exit_code
    except KeyboardInterrupt:
        streams.complain("imgmake: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            streams.complain(report_defect(error))
            return 2
        return _full(streams)
    except Exception as error:  # noqa: BLE001 (the last net: no user sees a traceback)
        streams.complain(report_defect(error))
        return 2


def _understood(words: Sequence[str], verbs: Verbs | None, streams: Streams) -> int:
    # Words alone need no parser, and typer takes a quarter of a run that finds all up to date.
    request = plain(words, os.environ) or _read(words)
    if isinstance(request, int):
        return request
    if request.verb == "version":
        streams.say(_version())
        return 0
    from imgmake import app

    options = app.Options(**request.options, told=None if request.json else streams.told)
    return perform(request, verbs or app, app.below_make(options) if request.verb in _RUNS else options, streams)


def _read(words: Sequence[str]) -> Request | int:
    from imgmake.cli.options import parse

    return parse(words)


def perform(request: Request, verbs: Verbs, options: Options, streams: Streams) -> int:
    """Do what is asked; the exit code."""
    if request.verb in ("build", "clean", "gc"):
        return _run(request, verbs, options, streams)
    if request.verb == "verify":
        return _verify(request, verbs, options, streams)
    if request.verb == "plan":
        return _plan(request, verbs, options, streams)
    if request.verb == "migrate":
        text, code = verbs.migrate(options)
        streams.say(text)
        return code
    streams.say(verbs.shim(options) if request.verb == "shim" else _answer(request, verbs, options, streams))
    return 0


def _run(request: Request, verbs: Verbs, options: Options, streams: Streams) -> int:
    reporter = _reporter(request, options, streams)
    try:
        if request.verb == "clean":
            return verbs.clean(options, options.goals, reporter)
        if request.verb == "gc":
            return verbs.collect(options, lambda: options.yes or _agreed(request, streams, reporter), reporter)
        return verbs.build(options, reporter)
    except ImgmakeError as error:
        if isinstance(reporter, JsonLines):
            reporter.error(error)
        raise
    finally:
        reporter.close()


def _agreed(request: Request, streams: Streams, reporter: Reporter) -> bool:
    """Whether the user says yes; where nobody can be asked, how to say it."""
    if request.json or not streams.answers:
        reporter.note("--yes removes them")
        return False
    streams.say("remove them? [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _reporter(request: Request, options: Options, streams: Streams) -> Plain | JsonLines:
    jobs = options.jobs or len(os.sched_getaffinity(0))
    settings = Settings(
        options.goals,
        silent=options.silent and (request.verb != "gc" or options.yes),  # nobody says yes to what is not shown
        trace=options.trace,
        interactive=streams.answers,
        script=request.verb == "build" and options.dry_run,
    )
    return choose(
        streams.out,
        streams.err,
        options.environ,
        settings,
        jobs=jobs,
        json=request.json,
        question=options.question,
    )


def _answer(request: Request, verbs: Verbs, options: Options, streams: Streams) -> str:
    from imgmake.reporters import data, render

    paint = Paint(wants_color(streams.out, options.environ))
    if request.verb == "list":
        entries = verbs.listing(options)
        return data.listing(entries) if request.json else render.listing(entries, paint)
    if request.verb == "why":
        told = verbs.why(options, options.goals)
        return data.why(told) if request.json else render.why(told, paint)
    return _drawing(request, verbs, options)


def _plan(request: Request, verbs: Verbs, options: Options, streams: Streams) -> int:
    """A plan that would be refused is told all the same, with the exit code of the run that it would be."""
    from imgmake.reporters import data, render, tagtable

    planned = verbs.plan(options)
    paint = Paint(wants_color(streams.out, options.environ))
    if request.json:
        streams.say(data.plan(planned.steps, planned.tags, planned.refused))
    else:
        tabled = {each.target for each in planned.tags}
        table = tagtable.table(planned.tags, planned.refused, paint)
        streams.say(render.plan(planned.steps, paint, tabled) + table)
    return max((error.exit_code for error in planned.refused), default=0)


def _verify(request: Request, verbs: Verbs, options: Options, streams: Streams) -> int:
    from imgmake.reporters import verified

    told, errors = verbs.verify(options, options.goals)
    paint = Paint(wants_color(streams.out, options.environ))
    streams.say(verified.document(told) if request.json else verified.text(told, paint))
    raise_all(errors)
    return max(each.exit_code for each in told)


def _drawing(request: Request, verbs: Verbs, options: Options) -> str:
    from imgmake.reporters import data, graphs

    nodes, edges = verbs.edges(options)
    if request.json:
        return data.graph(nodes, edges)
    if request.drawing == "mermaid":
        return graphs.mermaid(nodes, edges)
    text = graphs.dot(nodes, edges)
    return verbs.svg(text) if request.drawing == "svg" else text


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"imgmake {version('imgmake')}\n"
    except PackageNotFoundError:
        return "imgmake, from a checkout that is not installed\n"


def _stop(number: int, frame: object) -> None:  # noqa: ARG001 (the signal module's)
    """A polite kill, or the end of the terminal, is an interrupt: all is stopped and removed as on Ctrl-C."""
    raise KeyboardInterrupt


def _full(streams: Streams) -> int:
    """What is printed goes to a disk that takes no more."""
    _drop_output()
    streams.complain("imgmake: what is printed cannot be written: no space left\n")
    return 2


def _unheard() -> int:
    """Nobody reads any more (`imgmake --list | head -1`): end as a program that SIGPIPE ends, without a word."""
    _drop_output()
    return 128 + signal.SIGPIPE


def _drop_output() -> None:
    """Python flushes its streams once more at exit, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
