"""trivy's command line and its JSON report (https://github.com/aquasecurity/trivy, 0.42 and later)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from imgmake.commands.scanners.model import (
    SEVERITIES,
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

_SCHEMA = 2
_WHERE = r"TRIVY_(?:CACHE_\w+|(?:JAVA_)?DB_\w+|SKIP_(?:JAVA_)?DB_UPDATE|OFFLINE_SCAN|CACERT|INSECURE|TIMEOUT"
_WHO = r"USERNAME|PASSWORD|REGISTRY_TOKEN)"
_ALL = ",".join(name for name in SEVERITIES if name != "NEGLIGIBLE")  # trivy has none so low


class Trivy(Scanner):
    """One scan writes JSON, which trivy itself converts; of its database it tells when asked for its version."""

    name = "trivy"
    url = "https://github.com/aquasecurity/trivy"
    cache = "TRIVY_CACHE_DIR"
    kept = re.compile(f"{_WHERE}|{_WHO}")

    def scan(self, files: Files, options: Sequence[str]) -> list[list[str]]:
        config = ["--config", files.config] if files.config else []
        everything = ["--scanners", "vuln", "--severity", _ALL, "--exit-code", "0", "--no-progress"]
        scan = ["image", "--input", files.archive, "--format", "json", "--output", files.json, *everything]
        convert = ["convert", "--format", "sarif", "--output", str(files.sarif), files.json]
        return [[*scan, *config, *options], *([convert] if files.sarif else [])]

    def about(self) -> list[str]:
        return ["version", "--format", "json"]

    def parse(self, report: bytes, about: bytes) -> Report:
        document = load(report)
        if document.get("SchemaVersion") != _SCHEMA or document.get("ArtifactType") != "container_image":
            raise Malformed(
                f"wrote a report in an unknown form: SchemaVersion is {document.get('SchemaVersion')!r}, "
                f"ArtifactType is {document.get('ArtifactType')!r}"
            )
        results = [mapping(r, f"Results[{n}]") for n, r in enumerate(listing(document.get("Results") or [], "Results"))]
        told, own = _about(about), mapping(document.get("Trivy") or {}, "Trivy")
        server = mapping(own.get("Server") or {}, "Trivy.Server")  # with `--server` the database is there
        database = mapping(server.get("VulnerabilityDB") or told.get("VulnerabilityDB") or {}, "VulnerabilityDB")
        return Report(
            self.name,
            str(own.get("Version") or told.get("Version") or ""),
            tuple(dict.fromkeys(v for result in results for v in _vulnerabilities(result))),
            moment(database.get("UpdatedAt")),
            str(database.get("Version") or ""),
            sum(len(listing(r.get("ExperimentalModifiedFindings") or [], "ModifiedFindings")) for r in results),
            tuple(_notes(document, results)),
        )


def _about(data: bytes) -> dict[str, Any]:
    """What it tells of itself is not its report: without it only the evidence is poorer."""
    try:
        return load(data)
    except Malformed:
        return {}


def _vulnerabilities(result: dict[str, Any]) -> Iterator[Vulnerability]:
    for number, found in enumerate(listing(result.get("Vulnerabilities") or [], "Vulnerabilities")):
        what = f"Vulnerabilities[{number}]"
        entry = mapping(found, what)
        fixed = str(entry.get("FixedVersion") or "")
        vendor = listing(entry.get("VendorIDs") or [], f"{what}.VendorIDs")
        yield Vulnerability(
            id=text(entry.get("VulnerabilityID"), f"{what}.VulnerabilityID"),
            severity=severity(entry.get("Severity"), f"{what}.Severity"),
            package=text(entry.get("PkgName"), f"{what}.PkgName"),
            installed=str(entry.get("InstalledVersion") or ""),
            fixed=tuple(version.strip() for version in fixed.split(",") if version.strip()),
            fixable=bool(fixed) or entry.get("Status") == "fixed",
            aliases=frozenset(name for name in vendor if isinstance(name, str)),
        )


def _notes(document: dict[str, Any], results: Sequence[dict[str, Any]]) -> Iterator[str]:
    system = mapping(mapping(document.get("Metadata") or {}, "Metadata").get("OS") or {}, "Metadata.OS")
    if system.get("EOSL") is True:
        name = " ".join(str(system.get(part) or "") for part in ("Family", "Name")).strip()
        yield f"{name} gets no security updates any more: its newer vulnerabilities are not listed"
    if not results:
        yield "no package that trivy knows was found in this image"
