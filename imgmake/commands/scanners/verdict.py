"""Which vulnerabilities count: the threshold, what is ignored and until when; pure, and told as a table."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

from imgmake.commands import words
from imgmake.commands.scanners.model import LEVELS, SEVERITIES, UNKNOWN, Report, Vulnerability
from imgmake.errors import PipefileError
from imgmake.freshness import duration
from imgmake.model import Frozen

NEVER = "never"
_SHOWN = 40  # rows of the table


def now() -> datetime:
    """The present: an entry ends with its day, and a database ages, whatever a build's own time is."""
    return datetime.now(UTC)


class Ignored(Frozen):
    """A vulnerability that does not count, why, and the last day (UTC) on which it does not; None: it never will."""

    id: str
    reason: str
    until: date | None
    package: str | None = None

    def covers(self, found: Vulnerability) -> bool:
        names = {name.upper() for name in (found.id, *found.aliases)}
        return self.id.upper() in names and self.package in (None, found.package)

    def expired(self, today: date) -> bool:
        return self.until is not None and self.until < today

    @property
    def end(self) -> float | None:
        """When its last day is over, in seconds since the epoch."""
        return None if self.until is None else datetime.combine(self.until, time(), UTC).timestamp() + 86400

    def __str__(self) -> str:
        return f"{self.id} in {self.package}" if self.package else self.id


class Verdict(NamedTuple):
    """Every vulnerability in exactly one of four lots; then the entries of the ignore list that did nothing."""

    counted: tuple[Vulnerability, ...]
    ignored: tuple[tuple[Vulnerability, Ignored], ...]
    unfixed: tuple[Vulnerability, ...]
    below: tuple[Vulnerability, ...]
    expired: tuple[Ignored, ...]
    unmatched: tuple[Ignored, ...]


def decide(
    found: Iterable[Vulnerability],
    *,
    counts: frozenset[str],
    ignored: Sequence[Ignored] = (),
    only_fixed: bool = False,
    today: date,
) -> Verdict:
    """Sort vulnerabilities: too low, without a fix (with `only_fixed`), ignored, and those that count."""
    found = tuple(found)
    valid = [entry for entry in ignored if not entry.expired(today)]
    high = [v for v in found if v.severity in counts]
    fixable = [v for v in high if v.fixable or not only_fixed]
    covered = [(v, next((entry for entry in valid if entry.covers(v)), None)) for v in fixable]
    return Verdict(
        counted=tuple(sorted((v for v, entry in covered if entry is None), key=_rank)),
        ignored=tuple((v, entry) for v, entry in covered if entry is not None),
        unfixed=tuple(v for v in high if only_fixed and not v.fixable),
        below=tuple(v for v in found if v.severity not in counts),
        expired=tuple(entry for entry in ignored if entry.expired(today)),
        unmatched=tuple(entry for entry in valid if not any(entry.covers(v) for v in found)),
    )


def _rank(found: Vulnerability) -> tuple[int, str, str]:
    return -SEVERITIES.index(found.severity), found.package, found.id


# --- what a Pipefile says -------------------------------------------------------------------------------------


def threshold(text: str) -> frozenset[str]:
    """The severities that count: ``"HIGH"`` and ``"HIGH,CRITICAL"`` are the same, from the lowest one upwards.

    UNKNOWN is no level, and counts only when it is named, beside a level. Raises PipefileError.

    >>> sorted(threshold("high"))
    ['CRITICAL', 'HIGH']
    """
    named = {part.strip().upper() for part in text.split(",") if part.strip()}
    wrong = sorted(named - {*SEVERITIES})
    if wrong:
        close = difflib.get_close_matches(wrong[0], SEVERITIES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"severities are {', '.join(SEVERITIES)}"
        raise PipefileError(f"scan: severity={text!r}: {wrong[0]!r} is none", hint=hint)
    levels = [level for level in LEVELS if level in named]
    if not levels:
        raise PipefileError(
            f"scan: severity={text!r} names no level", hint='give the lowest that counts, as in severity="HIGH"'
        )
    above = LEVELS[LEVELS.index(levels[0]) :]
    gaps = [level for level in above if level not in named]
    if len(levels) > 1 and gaps:
        raise PipefileError(
            f"scan: severity={text!r} leaves out {', '.join(gaps)}",
            hint=f'severity="{levels[0]}" counts all from there',
        )
    return frozenset(above) | (named & {UNKNOWN})


def ignored(entry: Any, what: str) -> Ignored:
    """One entry of an ignore list, from a mapping; PipefileError says what is wrong with it."""
    if not isinstance(entry, dict):
        raise PipefileError(f"{what} must be a mapping with id, reason and until, not {type(entry).__name__}")
    unknown = sorted(str(key) for key in entry if key not in ("id", "package", "reason", "until"))
    if unknown:
        raise PipefileError(f"{what} has no field {unknown[0]!r}", hint="it takes id, package, reason and until")
    for name in ("id", "reason", "until"):
        if name not in entry:
            hint = f'say until when, as in until="{now().year + 1}-01-31", or "never"'
            raise PipefileError(f"{what} has no {name!r}", hint=hint if name == "until" else "")
    package = entry.get("package")
    return Ignored(
        id=words.some_text(entry["id"], f"{what}: id").strip(),
        reason=words.some_text(entry["reason"], f"{what}: reason"),
        until=_until(entry["until"], what),
        package=None if package is None else words.some_text(package, f"{what}: package").strip(),
    )


def _until(value: Any, what: str) -> date | None:
    if value == NEVER:
        return None
    try:
        found = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if isinstance(found, datetime):
        found = found.date()
    if not isinstance(found, date):
        raise PipefileError(f"{what}: until={value!r} is no date", hint='write it as "2027-01-31", or "never"')
    return found


# --- what a person reads --------------------------------------------------------------------------------------


def counts_of(found: Iterable[Vulnerability]) -> dict[str, int]:
    """How many of each severity, the highest first; severities without any are left out."""
    counter = Counter(v.severity for v in found)
    return {name: counter[name] for name in reversed(SEVERITIES) if counter[name]}


def summary(report: Report, verdict: Verdict) -> str:
    """One line: what there is, and what was made of it."""
    numbers = counts_of(report.vulnerabilities)
    text = ", ".join(f"{number} {name.lower()}" for name, number in numbers.items()) or "nothing found"
    lots = [(verdict.ignored, "ignored"), (verdict.unfixed, "without a fix"), (verdict.counted, "counted")]
    made = [f"{len(lot)} {word}" for lot, word in lots if lot]
    return f"{text} ({', '.join(made)})" if made else text


def table(name: str, report: Report, verdict: Verdict, *, counts: frozenset[str], at: datetime) -> Iterator[str]:
    """The lines that tell a scan: its counts, what is over the threshold, what was ignored and why."""
    yield f"{name}, scanned by {report.tool} {report.version}".rstrip() + _database(report, at)
    yield f"  {summary(report, verdict)}"
    yield from (f"  note: {note}" for note in report.notes)
    if report.hidden:
        yield f"  note: {report.hidden} more are kept back by {report.tool}'s own configuration or rules"
    if verdict.counted:
        lowest = next(level for level in LEVELS if level in counts)
        yield f"{lowest} or above{' or UNKNOWN' if UNKNOWN in counts else ''}: {len(verdict.counted)}"
        yield from _rows(verdict.counted[:_SHOWN])
        if len(verdict.counted) > _SHOWN:
            yield f"  … and {len(verdict.counted) - _SHOWN} more"
    yield from _ignore_list(verdict)


def _database(report: Report, at: datetime) -> str:
    if report.database is None:
        return ""
    return f" with a database {duration(max(0.0, (at - report.database).total_seconds()))} old"


def _rows(found: Sequence[Vulnerability]) -> Iterator[str]:
    rows = [(v.severity, v.id, v.package, v.installed, _fix(v)) for v in found]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        yield "  " + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])


def _fix(found: Vulnerability) -> str:
    if found.fixed:
        return f"fixed in {', '.join(found.fixed)}"
    return "fixed" if found.fixable else "no fix yet"


def _ignore_list(verdict: Verdict) -> Iterator[str]:
    used: dict[str, list[str]] = {}
    for found, entry in verdict.ignored:
        until = f"until {entry.until}" if entry.until else "for good"
        used.setdefault(f"ignored {until}: {entry}", [entry.reason]).append(found.package)
    for said, (reason, *packages) in used.items():
        yield f"{said} ({', '.join(dict.fromkeys(packages))}): {reason}"
    yield from (
        f"was ignored until {entry.until}, and counts again: {entry}: {entry.reason}" for entry in verdict.expired
    )
    yield from (f"ignored, but not found: {entry}" for entry in verdict.unmatched)
