"""`scan`: the known vulnerabilities of an image, by grype or trivy; what of them counts is decided here."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgmake.commands import archive, words
from imgmake.commands.base import Action, Job, Read, View
from imgmake.commands.reports import whole
from imgmake.durations import seconds
from imgmake.errors import CommandFailed, PipefileError, Place, Unknown
from imgmake.model import Field, ImageRule
from imgmake.ports import Finding

if TYPE_CHECKING:
    from datetime import datetime

    from imgmake.commands.scanners import Report, Vulnerability
    from imgmake.commands.scanners.model import Files, Scanner
    from imgmake.commands.scanners.running import Program
    from imgmake.commands.scanners.verdict import Ignored, Verdict

DAY = 86400.0  # seconds: new vulnerabilities are published every day
_REPORTS = (".json", ".sarif")
_JSON, _SARIF = "scan.json", "scan.sarif"


class Scan(Action):
    """A scanner on one image; paths are relative to the Pipefile's folder."""

    image: Any  # str | ImageRule
    severity: str
    ignore: tuple[Any, ...] = ()  # of str (a file) | Ignored
    only_fixed: bool = False
    reports: tuple[str, ...] = ()
    scanner: Any = None  # None | "grype" | "trivy" | an image: str | ImageRule
    config: str | None = None
    options: tuple[str, ...] = ()
    max_db_age: float | None = None
    timeout: float | None = None

    def reads(self) -> tuple[Read, ...]:
        files = [*self._files(), *([self.config] if self.config else [])]
        tool = [Read("image", self.scanner, "scan scanner")] if isinstance(self.scanner, ImageRule) else []
        return (Read("image", self.image, "scan"), *tool, *(Read("file", file, "scan") for file in files))

    def writes(self) -> tuple[str, ...]:
        return self.reports

    def max_age(self) -> float | None:
        return DAY

    def ends(self, view: View) -> float | None:
        """The first moment at which an entry of the ignore list no longer holds."""
        from imgmake.commands.scanners import verdict

        today = verdict.now().date() if self.ignore else None
        return min((e.end for e in self._listed(view) if e.end and today and not e.expired(today)), default=None)

    def fields(self, view: View) -> tuple[Field, ...]:
        given = {
            "severity": self.severity,
            "ignore": [str(entry.model_dump()) for entry in self._entries()] + self._files(),
            "only_fixed": self.only_fixed,
            "reports": self.reports,
            "scanner": None if self.scanner is None else words.name_of(self.scanner),
            "config": self.config,
            "options": self.options,
            "max_db_age": self.max_db_age,
        }
        own = Field("command", "", json.dumps(["scan", words.name_of(self.image), given]))
        tool = (words.image_field(self.scanner, view),) if isinstance(self.scanner, ImageRule) else ()
        texts = [*self._texts(), *(text for text in (self.severity, self.scanner) if isinstance(text, str))]
        expired = (Field("expired ignore", str(entry), "") for entry in self._expired(view))
        return (own, *tool, words.image_field(self.image, view), *words.used(texts, view), *expired)

    def show(self, view: View) -> str:
        from imgmake.commands.scanners import SCANNERS, running
        from imgmake.commands.scanners.model import Files

        try:
            program = running.find(self._scanner(view), os.environ.get("PATH", os.defpath))
        except Unknown:
            program = running.Program(next((s for s in SCANNERS if s.name == self._scanner(view)), SCANNERS[0]))
        report, sarif = (self._report(suffix, view) for suffix in _REPORTS)
        blank = program.scanner.blank if self.config is None else None
        config = blank if self.config is None else view.expand(self.config)
        files = Files(archive.NAME, report or _JSON, sarif, config)
        left = [archive.NAME, *([] if report else [_JSON]), *([blank] if blank else [])]
        fails = f"# fails on {view.expand(self.severity)}{', fixed ones only' if self.only_fixed else ''}"
        made = [f": > {blank}"] if blank else []
        lines = [archive.show(self.image, view), *made, *running.show(program, files, self.options, view)]
        lines[-1] = f"{lines[-1]}  {fails}"
        folder = [f"cd {shlex.quote(view.base)}"] if view.base else []
        return "\n".join([*folder, *lines, f"rm {' '.join(left)}"])

    def run(self, job: Job) -> None:
        from imgmake.commands.scanners import running, verdict

        view = job.view
        counts, ignored = verdict.threshold(view.expand(self.severity)), self._ignored(view)
        program = running.find(self._scanner(view), job.environ.get("PATH", os.defpath))
        report, image_id = self._examine(job, program)
        now = verdict.now()
        self._refuse_old(report, now)
        found = verdict.decide(
            report.vulnerabilities, counts=counts, ignored=ignored, only_fixed=self.only_fixed, today=now.date()
        )
        name = archive.repository(self.image, view)
        lines = verdict.table(name, report, found, counts=counts, at=now)
        job.output.write("".join(f"{_plain(line)}\n" for line in lines).encode())
        if found.counted:
            raise _vulnerable(found, name)
        job.found(self._finding(report, found, sorted(counts), image_id, view))

    def _examine(self, job: Job, program: Program) -> tuple[Report, str]:
        """Scan, and keep the reports whatever is in them: that is when they are needed."""
        from imgmake.commands.scanners import running

        with archive.exported(job, self.image, "scan") as exported:
            files = self._names(exported.folder, program.scanner, job.view)
            options = [job.view.expand(option) for option in self.options]
            report = running.examine(job, program, exported.folder, files, options, self.timeout)
            for made in (files.json, files.sarif):
                to = self._report(Path(made).suffix, job.view) if made else None
                if made and to:
                    with whole(job.view.folder / to) as partial:
                        shutil.copyfile(exported.folder / made, partial)
        return report, exported.image.id

    def _names(self, folder: Path, scanner: Scanner, view: View) -> Files:
        """The files in the scan's own folder."""
        from imgmake.commands.scanners.model import Files

        sarif = _SARIF if self._report(".sarif", view) else None
        return Files(archive.NAME, _JSON, sarif, self._configure(folder, scanner, view))

    def _configure(self, folder: Path, scanner: Scanner, view: View) -> str | None:
        """The configuration, put into the folder, since a container sees no other; or what stands for none."""
        if self.config is None:
            if scanner.blank is not None:
                (folder / scanner.blank).touch()
            return scanner.blank
        source = view.folder / view.expand(self.config)
        config = f"config{source.suffix}"
        try:
            shutil.copyfile(source, folder / config)
        except OSError as error:
            raise CommandFailed(f"scan: {view.expand(self.config)}: {error.strerror}") from None
        return config

    def _refuse_old(self, report: Report, now: datetime) -> None:
        from imgmake.freshness import duration

        if self.max_db_age is None:
            return
        if report.database is None:
            said = f"unknown: {report.tool} does not tell how old its database is"
            raise Unknown(said, hint="max_db_age=None takes its word for it")
        age = (now - report.database).total_seconds()
        if age > self.max_db_age:
            raise Unknown(
                f"unknown: {report.tool}'s database is {duration(age)} old, and may be {duration(self.max_db_age)}",
                hint="let it fetch a new one, or say how old it may be with max_db_age=",
            )

    def _finding(self, report: Report, found: Verdict, counts: Sequence[str], image_id: str, view: View) -> Finding:
        from imgmake.commands.scanners import verdict

        ignored = [
            {**_told(v), "reason": entry.reason, "until": str(entry.until or verdict.NEVER)}
            for v, entry in found.ignored
        ]
        built = report.database.isoformat().replace("+00:00", "Z") if report.database else ""
        details = {
            "image": image_id,
            "vulnerabilities": [_told(v) for v in report.vulnerabilities],
            "severities": verdict.counts_of(report.vulnerabilities),
            "counted": list(counts),
            "onlyFixed": self.only_fixed,
            "withoutFix": len(found.unfixed),
            "ignored": ignored,
            "expired": [str(entry) for entry in found.expired],
            "keptBackByScanner": report.hidden,
            "database": {"built": built, "schema": report.schema},
            "notes": list(report.notes),
            "reports": [view.expand(path) for path in self.reports],
        }
        return Finding(report.tool, report.version, verdict.summary(report, found), details)

    # --- what was declared --------------------------------------------------------------------------------------

    def _scanner(self, view: View) -> Any:
        return view.expand(self.scanner) if isinstance(self.scanner, str) else self.scanner

    def _report(self, suffix: str, view: View) -> str | None:
        return next((view.expand(path) for path in self.reports if Path(path).suffix == suffix), None)

    def _files(self) -> list[str]:
        return [entry for entry in self.ignore if isinstance(entry, str)]

    def _entries(self) -> list[Ignored]:
        return [entry for entry in self.ignore if not isinstance(entry, str)]

    def _texts(self) -> list[str]:
        return [*self._files(), *self.reports, *self.options, *([self.config] if self.config else [])]

    def _ignored(self, view: View) -> list[Ignored]:
        read = (entry for file in self._files() for entry in _read(view.folder, view.expand(file)))
        return [*self._entries(), *read]

    def _expired(self, view: View) -> Iterator[Ignored]:
        """A pass hangs on what was ignored at the time: when an entry ends, so does the pass."""
        from imgmake.commands.scanners import verdict

        today = verdict.now().date() if self.ignore else None
        return (entry for entry in self._listed(view) if today and entry.expired(today))

    def _listed(self, view: View) -> Iterator[Ignored]:
        """The ignore list as far as it can be read; what is wrong with it is said when it runs."""
        yield from self._entries()
        for file in self._files():
            with suppress(PipefileError):
                yield from _read(view.folder, view.expand(file))


def _told(found: Vulnerability) -> dict[str, str]:
    told = {"id": found.id, "severity": found.severity, "package": found.package, "installed": found.installed}
    return {**told, "fixed": ", ".join(found.fixed)} if found.fixed else told


def _vulnerable(found: Verdict, name: str) -> CommandFailed:
    from imgmake.commands.scanners import verdict

    numbers = ", ".join(f"{number} {level.lower()}" for level, number in verdict.counts_of(found.counted).items())
    what = "vulnerability that counts" if len(found.counted) == 1 else "vulnerabilities that count"
    fixable = sum(1 for v in found.counted if v.fixable)
    return CommandFailed(
        f"scan: {name} has {numbers} {what}",
        hint=f"{fixable} of {len(found.counted)} {'has' if fixable == 1 else 'have'} a fix: a newer base or package; "
        f"what does not apply goes into ignore=, with a reason and a date",
    )


def _read(folder: Path, name: str) -> list[Ignored]:
    """The entries of an ignore file, TOML with ``[[ignore]]`` tables; raises PipefileError with its place."""
    import tomllib

    from imgmake.commands.scanners import verdict

    place = Place(name, 0)
    try:
        found = tomllib.loads((folder / name).read_text())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise PipefileError(f"the ignore list cannot be read: {reason}", place=place) from None
    entries = found.pop("ignore", [])
    if found or not isinstance(entries, list):
        raise PipefileError("an ignore list holds [[ignore]] tables, and nothing else", place=place)
    try:
        return [verdict.ignored(entry, f"entry {number}") for number, entry in enumerate(entries, 1)]
    except PipefileError as error:
        raise PipefileError(error.message, hint=error.hint, place=place) from None


def _plain(line: str) -> str:
    """A line without control characters: names of packages come from the image."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def scan(  # noqa: PLR0913 (one keyword for each thing that decides what counts)
    image: Any,
    *,
    severity: str | Sequence[str] = "HIGH,CRITICAL",
    ignore: Any = (),
    only_fixed: bool = False,
    report: str | Path | Sequence[str | Path] = (),
    scanner: Any = None,
    config: str | Path | None = None,
    options: str | Sequence[str] = (),
    max_db_age: str | float | None = "5d",
    timeout: str | float | None = "30m",
) -> Scan:
    """Look for known vulnerabilities in an image (its rule or a reference), with grype or trivy.

    severity:   the lowest severity that counts; what is above counts too. UNKNOWN counts only when named beside it.
    ignore:     entries ``dict(id="CVE-…", reason="…", until="2027-01-31")``, with ``package=`` for one package only
                and ``until="never"`` for good; or files of such entries (TOML, ``[[ignore]]``). An entry that has
                expired counts no longer, and makes the check run anew.
    only_fixed: count only what has a fix.
    report:     files for the findings, written in any case: ``.json`` (the scanner's own) and ``.sarif``.
    scanner:    ``"grype"``, ``"trivy"``, or an image of one; default the first of both on PATH.
    config:     a configuration file of the scanner's.
    options:    further flags of its scan.
    max_db_age: how old the scanner's database may be (``"5d"``): an older one proves nothing. None: as old as it is.
    timeout:    how long the scanner may take (``"30m"``), with the download of its database. None: for ever.

    A check that holds a scan passes for a day, unless it says ``max_age=``.

    Raises PipefileError on a wrong argument. Running it raises CommandFailed when something counts, and Unknown
    when the scanner could not do its work: the image is then neither vulnerable nor clean.

    >>> scan("app:1", severity="critical").reports
    ()
    """
    words.image(image, "scan")
    return Scan(
        image=image,
        severity=_severity(severity),
        ignore=_ignore(ignore),
        only_fixed=only_fixed,
        reports=_reports(report),
        scanner=_scanner(scanner),
        config=None if config is None else words.some_text(config, "scan: config"),
        options=words.split(options, "scan: options"),
        max_db_age=None if max_db_age is None else seconds(max_db_age, "scan: max_db_age"),
        timeout=None if timeout is None else seconds(timeout, "scan: timeout"),
    )


def _severity(given: str | Sequence[str]) -> str:
    text = given if isinstance(given, str) else ",".join(words.texts(given, "scan: severity"))
    if "$" not in text:
        from imgmake.commands.scanners import verdict

        verdict.threshold(text)
    return text


def _ignore(given: Any) -> tuple[Any, ...]:
    from imgmake.commands.scanners import verdict

    if isinstance(given, str | os.PathLike | Mapping):
        given = [given]
    if not isinstance(given, Sequence):
        raise PipefileError(f"scan: ignore must be a list, not {type(given).__name__}")
    return tuple(
        words.some_text(entry, "scan: ignore")
        if isinstance(entry, str | os.PathLike)
        else verdict.ignored(entry, f"scan: ignore[{number}]")
        for number, entry in enumerate(given)
    )


def _reports(given: Any) -> tuple[str, ...]:
    found = words.texts(given, "scan: report")
    suffixes = [Path(path).suffix for path in found]
    for path, suffix in zip(found, suffixes, strict=True):
        if suffix not in _REPORTS or suffixes.count(suffix) > 1:
            raise PipefileError(f"scan: report={path!r}", hint="one file that ends in .json, one in .sarif, or both")
    return found


def _scanner(given: Any) -> Any:
    from imgmake.commands.scanners import BY_NAME, running

    if given is None or (isinstance(given, str) and (given in BY_NAME or "$" in given)):
        return given
    running.of_image(words.image(given, "scan: scanner"))
    return given
