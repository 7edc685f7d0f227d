"""Starting a scanner, as a program of this machine or as a container, and hearing how it ended.

Whatever goes wrong here is `Unknown`: a scanner that could not finish has found nothing out.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from imgmake.commands import words
from imgmake.commands.base import Job, View
from imgmake.commands.scanners import BY_NAME, SCANNERS
from imgmake.commands.scanners.model import Files, Malformed, Report, Scanner, sarif
from imgmake.errors import CommandFailed, EngineError, EngineUnavailable, Interrupted, PipefileError, Unknown
from imgmake.freshness import duration
from imgmake.model import ImageRule
from imgmake.ports import Cancel, ContainerSpec, Mount, Output

FOLDER = "/scan"  # where a container sees the folder of the scan
_CACHE = "/cache"
_PROXIES = frozenset(f"{kind}_proxy" for kind in ("http", "https", "no", "all"))
_ABOUT = "about.json"
_TAIL = 16384  # bytes of output in which the scanner's last word is looked for
_LONGEST = 300  # characters of it in a message
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAD = re.compile(r"error|fatal|fail|unable|denied|panic", re.IGNORECASE)
# Two scans at once would both fetch the database, and trivy's cache takes one process at a time.
_ALONE: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


class Program(NamedTuple):
    """A scanner that can be started: a program of this machine by its path, else an image."""

    scanner: Scanner
    path: str = ""
    image: Any = None  # str | ImageRule


def find(given: Any, path: str) -> Program:
    """The scanner that a Pipefile names, or the first on PATH; raises Unknown when there is none."""
    if given is not None and given not in BY_NAME:
        return Program(of_image(given), image=given)
    wanted = SCANNERS if given is None else (BY_NAME[given],)
    for scanner in wanted:
        if found := shutil.which(scanner.name, path=path):
            return Program(scanner, found)
    missing = "neither grype nor trivy is installed" if given is None else f"{given} is not installed"
    urls = " or ".join(scanner.url for scanner in wanted)
    raise Unknown(
        f"unknown: {missing}, so nothing was scanned",
        hint=f'install it ({urls}) so that it is on PATH,\nor have it run as a container: scanner="anchore/grype"',
    )


def of_image(image: Any) -> Scanner:
    """Which scanner an image holds, by the last part of its name; raises PipefileError."""
    name = image.tags[0] if isinstance(image, ImageRule) else str(image)
    last = name.partition("@")[0].rpartition("/")[2].partition(":")[0]
    found = next((scanner for scanner in SCANNERS if scanner.name in last), None)
    if found is None or name.startswith(("/", ".")):
        raise PipefileError(
            f"scan: scanner={name!r} is neither grype nor trivy",
            hint='write "grype", "trivy", or an image with that in its name, such as "aquasec/trivy:0.58.0"',
        )
    return found


def examine(
    job: Job, program: Program, folder: Path, files: Files, options: Sequence[str], timeout: float | None
) -> Report:
    """Scan the archive in `folder`, and read what the scanner says; raises Unknown, or Interrupted on a stop."""
    scanner = program.scanner
    with _alone(job, scanner), _limited(job, scanner, timeout) as limited:
        for arguments in scanner.scan(files, options):
            _to_end(limited, program, folder, arguments)
        about = _ask(limited, program, folder) if scanner.about() else b""
    try:
        report = scanner.parse(_read(folder / files.json), about)
        if files.sarif:
            sarif(_read(folder / files.sarif))
    except Malformed as error:
        raise Unknown(f"unknown: {scanner.name} {error}", hint=_hint(scanner)) from None
    return report


def _to_end(job: Job, program: Program, folder: Path, arguments: Sequence[str]) -> None:
    heard = _Heard(job.output)
    scanner = program.scanner
    try:
        code = _start(job, program, folder, arguments, heard)
    except EngineUnavailable:
        raise
    except (EngineError, CommandFailed) as error:
        raise Unknown(f"unknown: {scanner.name} could not be started: {error.message}", hint=error.hint) from None
    if job.cancel.stopped:
        raise Interrupted(f"{scanner.name} was stopped")
    if code not in scanner.finished:
        last = heard.last()
        said = f": {last}" if last else ", and did not say why"
        ended = f"{scanner.name} ended with exit code {code}{words.signal_name(code)}"
        raise Unknown(f"unknown: {ended}{said}", hint=_hint(scanner))


def _hint(scanner: Scanner) -> str:
    return f"nothing is known of this image now: neither that it is vulnerable nor that it is not ({scanner.url})"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@contextmanager
def _alone(job: Job, scanner: Scanner) -> Iterator[None]:
    lock = _ALONE[scanner.name]
    while not lock.acquire(timeout=0.2):
        if job.cancel.stopped:
            raise Interrupted(f"{scanner.name} was not started: stopped")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _limited(job: Job, scanner: Scanner, seconds: float | None) -> Iterator[Job]:
    """The job with a stop of its own, that comes by itself in time: a scanner that hangs finds nothing out either."""
    if seconds is None:
        yield job
        return
    cancel = Cancel()
    forget = job.cancel.on_stop(cancel.stop)
    timer = threading.Timer(seconds, cancel.stop)
    timer.daemon = True
    timer.start()
    try:
        yield replace(job, cancel=cancel)
    except Interrupted:
        if job.cancel.stopped:
            raise
        raise Unknown(
            f"unknown: {scanner.name} had not ended after {duration(seconds)}, and was stopped", hint=_hint(scanner)
        ) from None
    finally:
        timer.cancel()
        forget()


# --- processes and containers ---------------------------------------------------------------------------------


def _start(
    job: Job, program: Program, folder: Path, arguments: Sequence[str], output: Output, stdout: Path | None = None
) -> int:
    environ = program.scanner.environment(job.environ)
    if program.image is None:
        # What a killed scanner leaves in TMPDIR goes with the folder.
        env = {**environ, "TMPDIR": str(folder)}
        return job.shell.run([program.path, *arguments], cwd=folder, env=env, output=output, cancel=job.cancel)
    engine, image = job.engine(), job.view.image(program.image)
    if engine.image(image) is None:
        engine.pull(image, platform=None, output=output, cancel=job.cancel)
    spec = _spec(program.scanner, image, folder, arguments, environ)
    return engine.run(spec, output=output, cancel=job.cancel, stdout=stdout)


def _spec(
    scanner: Scanner, image: str, folder: Path, arguments: Sequence[str], environ: Mapping[str, str]
) -> ContainerSpec:
    """As the caller, so that its files can be removed; the database stays in a volume of the caller's."""
    passed = {n: v for n, v in environ.items() if scanner.kept.fullmatch(n) or n.lower() in _PROXIES}
    return ContainerSpec(
        image=image,
        command=tuple(arguments),
        mounts=(Mount(FOLDER, path=folder), Mount(_CACHE, volume=_volume(scanner))),
        workdir=FOLDER,
        env={**passed, **scanner.settings, scanner.cache: _CACHE},
        caller=True,
    )


def _volume(scanner: Scanner) -> str:
    return f"imgmake-{scanner.name}-{os.getuid()}"


def _ask(job: Job, program: Program, folder: Path) -> bytes:
    """What it tells of itself; nothing when that fails: the scan itself has come to its end."""
    scanner = program.scanner
    if program.image is None:
        env = scanner.environment(job.environ)
        code, said, _ = job.shell.capture([program.path, *scanner.about()], cwd=folder, env=env)
        return said.encode("utf-8", "surrogateescape") if code == 0 else b""
    _start(job, program, folder, scanner.about(), _Heard(None), folder / _ABOUT)
    return _read(folder / _ABOUT)


def show(program: Program, files: Files, options: Sequence[str], view: View) -> list[str]:
    """The lines that `examine` runs, secrets masked."""
    scanner = program.scanner
    before = [scanner.name] if program.image is None else _docker_run(program, view)
    given = [words.shown(option, view) for option in options]
    lines = [[*before, *map(shlex.quote, arguments)] for arguments in scanner.scan(files, ())]
    lines[0] += given
    return [" ".join(line) for line in lines]


def _docker_run(program: Program, view: View) -> list[str]:
    image = shlex.quote(view.image(program.image))
    mounts = [f'-v "$PWD":{FOLDER}', f"-v {_volume(program.scanner)}:{_CACHE}", f"-w {FOLDER}"]
    return ["docker run --rm", *mounts, f"-e {program.scanner.cache}={_CACHE}", '--user "$(id -u):$(id -g)"', image]


class _Heard:
    """Passes output on, and remembers its end, in which the scanner says what went wrong."""

    def __init__(self, inner: Output | None) -> None:
        self._inner = inner
        self._tail = b""

    def write(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-_TAIL:]
        if self._inner is not None:
            self._inner.write(data)

    def note(self, text: str) -> None:
        if self._inner is not None:
            self._inner.note(text)

    def command(self, line: str) -> None:
        if self._inner is not None:
            self._inner.command(line)

    @property
    def tty(self) -> bool:
        return self._inner is not None and self._inner.tty

    def last(self) -> str:
        """The last line that tells of trouble, else the last line."""
        text = _ANSI.sub("", self._tail.decode("utf-8", "replace"))
        lines = [" ".join(line.split()) for line in re.split(r"[\r\n]+", text) if line.strip()]
        found = next((line for line in reversed(lines) if _BAD.search(line)), lines[-1] if lines else "")
        plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in found)
        return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 1] + "…"
