"""grype's command line and its JSON report (https://github.com/anchore/grype, 0.64 and later)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from imgmake.commands.scanners.model import (
    Files,
    Malformed,
    Report,
    Scanner,
    Vulnerability,
    listing,
    load,
    mapping,
    moment,
    severity,
    text,
)


class Grype(Scanner):
    """One scan writes both reports."""

    name = "grype"
    url = "https://github.com/anchore/grype"
    cache = "GRYPE_DB_CACHE_DIR"
    kept = re.compile(r"GRYPE_(?:DB_\w+|LOG_\w+)")
    finished = frozenset({0, 2})  # 2: above the threshold of the user's own configuration; the report is whole
    settings: ClassVar[Mapping[str, str]] = {"GRYPE_CHECK_FOR_APP_UPDATE": "false"}
    blank = "empty.yaml"  # only a configuration that is named keeps it from ~/.grype.yaml and ~/.config/grype

    def scan(self, files: Files, options: Sequence[str]) -> list[list[str]]:
        sarif = ["-o", f"sarif={files.sarif}"] if files.sarif else []
        config = ["--config", files.config] if files.config else []
        return [[f"docker-archive:{files.archive}", "-o", f"json={files.json}", *sarif, *config, *options]]

    def parse(self, report: bytes, about: bytes) -> Report:  # noqa: ARG002 (its report says all)
        document = load(report)
        descriptor = mapping(document.get("descriptor"), "descriptor")
        if descriptor.get("name") != self.name:
            raise Malformed(f"wrote a report in an unknown form: descriptor.name is {descriptor.get('name')!r}")
        # Since 0.90 the database's status is one level deeper, beside its providers.
        database = mapping(descriptor.get("db") or {}, "descriptor.db")
        status = mapping(database.get("status") or database, "descriptor.db.status")
        if status.get("error") or status.get("valid") is False:
            raise Malformed(f"found its database not valid: {status.get('error') or 'it does not say why'}")
        matches = listing(document.get("matches"), "matches")
        return Report(
            self.name,
            text(descriptor.get("version"), "descriptor.version"),
            tuple(dict.fromkeys(_vulnerability(mapping(m, f"matches[{n}]"), n) for n, m in enumerate(matches))),
            moment(status.get("built")),
            str(status.get("schemaVersion") or ""),
            len(listing(document.get("ignoredMatches") or [], "ignoredMatches")),
            tuple(dict.fromkeys(_alerts(document))),
        )


def _vulnerability(match: dict[str, Any], number: int) -> Vulnerability:
    found = mapping(match.get("vulnerability"), f"matches[{number}].vulnerability")
    artifact = mapping(match.get("artifact"), f"matches[{number}].artifact")
    fix = mapping(found.get("fix") or {}, f"matches[{number}].vulnerability.fix")
    versions = listing(fix.get("versions") or [], f"matches[{number}].vulnerability.fix.versions")
    related = listing(match.get("relatedVulnerabilities") or [], f"matches[{number}].relatedVulnerabilities")
    name = text(found.get("id"), f"matches[{number}].vulnerability.id")
    return Vulnerability(
        id=name,
        severity=severity(found.get("severity"), f"matches[{number}].vulnerability.severity"),
        package=text(artifact.get("name"), f"matches[{number}].artifact.name"),
        installed=str(artifact.get("version") or ""),
        fixed=tuple(str(version) for version in versions),
        fixable=bool(versions) or fix.get("state") == "fixed",
        aliases=frozenset(r["id"] for r in related if isinstance(r, dict) and isinstance(r.get("id"), str)) - {name},
    )


def _alerts(document: dict[str, Any]) -> Iterator[str]:
    """What it says of packages whose distribution is out of support."""
    for entry in document.get("alertsByPackage") or []:
        for alert in (entry.get("alerts") or []) if isinstance(entry, dict) else []:
            if isinstance(alert, dict) and isinstance(alert.get("message"), str):
                yield alert["message"]
