"""What every scanner's report comes to: vulnerabilities in one form, whoever found them. Reads no file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

# In rising order; a scanner that knows no severity for a vulnerability says UNKNOWN.
LEVELS = ("NEGLIGIBLE", "LOW", "MEDIUM", "HIGH", "CRITICAL")
UNKNOWN = "UNKNOWN"
SEVERITIES = (UNKNOWN, *LEVELS)


class Malformed(ValueError):
    """A report that is not what the scanner documents, so that nothing can be concluded from it."""


@dataclass(frozen=True)
class Vulnerability:
    """One vulnerability of one package; `fixed` are the versions that repair it."""

    id: str
    severity: str  # one of SEVERITIES
    package: str
    installed: str
    fixed: tuple[str, ...] = ()
    fixable: bool = False
    aliases: frozenset[str] = frozenset()  # other names of the same: CVE for GHSA


@dataclass(frozen=True)
class Report:
    """What a scanner found, each finding once.

    database: when the scanner's database was made; None when it does not say.
    hidden:   how many findings the scanner's own configuration kept from us.
    notes:    what a person should know, such as that a distribution gets no updates any more.
    """

    tool: str
    version: str
    vulnerabilities: tuple[Vulnerability, ...]
    database: datetime | None = None
    schema: str = ""
    hidden: int = 0
    notes: tuple[str, ...] = ()


class Files(Protocol):
    """Names of the files of one scan, in the folder where the scanner runs."""

    archive: str
    json: str
    sarif: str | None
    config: str | None


@dataclass(frozen=True)
class Scanner:
    """How one scanner is called; the subclasses know their tool's flags and report.

    cache:    the environment variable that says where its database is.
    kept:     which of its environment variables reach it: where its database is, and how to get there. All others
              could change the verdict without being part of the rule.
    finished: exit codes with which a scan has come to its end.
    """

    name: ClassVar[str]
    url: ClassVar[str]
    cache: ClassVar[str]
    prefix: ClassVar[str]
    kept: ClassVar[re.Pattern[str]]
    finished: ClassVar[frozenset[int]] = frozenset({0})
    settings: ClassVar[Mapping[str, str]] = {}
    variables: Mapping[str, str] = field(default_factory=dict)

    def scan(self, files: Files, options: Sequence[str]) -> list[list[str]]:
        """The arguments of each process, one after the other."""
        raise NotImplementedError

    def about(self) -> list[str]:
        """Arguments that make it tell, as JSON, what its report leaves out of its version and database; or none."""
        return []

    def parse(self, report: bytes, about: bytes) -> Report:
        """Read its JSON report; raises Malformed."""
        raise NotImplementedError

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment that it gets."""
        left = {n: v for n, v in environ.items() if not n.startswith(self.prefix) or self.kept.fullmatch(n)}
        return {**left, **self.settings}


# --- reading JSON that may be anything ------------------------------------------------------------------------


def load(data: bytes) -> dict[str, Any]:
    """A JSON object; raises Malformed for all else: nothing, a half, garbage."""
    if not data.strip():
        raise Malformed("wrote no report")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"wrote a report that is no JSON: {error}") from None
    return mapping(found, "the report")


def mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"wrote a report in an unknown form: {what} is {_kind(value)}, and no object")
    return value


def listing(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed(f"wrote a report in an unknown form: {what} is {_kind(value)}, and no list")
    return value


def text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise Malformed(f"wrote a report in an unknown form: {what} is {_kind(value)}, and no text")
    return value


def severity(value: Any, what: str) -> str:
    """One of SEVERITIES; a word that nobody documents could mean anything, so it is Malformed and not low."""
    found = UNKNOWN if value in (None, "") else text(value, what).upper()
    if found not in SEVERITIES:
        raise Malformed(f"wrote a severity that is not known: {value!r}")
    return found


def moment(value: Any) -> datetime | None:
    """A time as Go writes it (RFC 3339); None when there is none."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if found is None or found.year <= 1:  # Go's zero time
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _kind(value: Any) -> str:
    return "missing" if value is None else f"{str(value)[:40]!r}"
