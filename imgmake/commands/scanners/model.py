"""What scanners have in common: how they are called, and vulnerabilities in one form. Starts none, reads no file."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple

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


class Files(NamedTuple):
    """Names of the files of one scan, as the scanner is given them."""

    archive: str
    json: str
    sarif: str | None = None
    config: str | None = None


class Scanner(ABC):
    """How one scanner is called and understood.

    cache:    the environment variable that says where its database is.
    kept:     which of its own environment variables reach it: those that say where its database comes from. All
              others could change the verdict, and are no part of the rule.
    settings: variables that it gets in any case.
    blank:    the name of an empty configuration file, for one that would otherwise look for the user's; or none.
    finished: exit codes with which a scan has come to its end.
    """

    name: ClassVar[str]
    url: ClassVar[str]
    cache: ClassVar[str]
    kept: ClassVar[re.Pattern[str]]
    settings: ClassVar[Mapping[str, str]] = {}
    blank: ClassVar[str | None] = None
    finished: ClassVar[frozenset[int]] = frozenset({0})

    @abstractmethod
    def scan(self, files: Files, options: Sequence[str]) -> list[list[str]]:
        """The arguments of each process, one after the other."""

    @abstractmethod
    def parse(self, report: bytes, about: bytes) -> Report:
        """Read its JSON report, and what it told `about` itself; raises Malformed."""

    def about(self) -> list[str]:
        """Arguments that make it tell, as JSON, what its report leaves out of its version and database; or none."""
        return []

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment without what could change the verdict."""
        prefix = f"{self.name.upper()}_"
        return {n: v for n, v in environ.items() if not n.startswith(prefix) or self.kept.fullmatch(n)} | {
            **self.settings
        }


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


def sarif(data: bytes) -> None:
    """Raise Malformed for what no reader of SARIF 2.1.0 takes (sections 3.13.2 and 3.13.4 ask for these two)."""
    if not data.strip():
        raise Malformed("wrote no SARIF")
    document = load(data)
    if document.get("version") != "2.1.0":
        raise Malformed(f"wrote SARIF in an unknown form: version is {document.get('version')!r}")
    for number, run in enumerate(listing(document.get("runs"), "SARIF's runs")):
        mapping(run, f"SARIF's runs[{number}]")


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
