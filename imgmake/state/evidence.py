"""Rows of evidence: what the last passes of a check showed, and the documents that came of it; no other row."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from imgmake.ports import Evidence, Finding

if TYPE_CHECKING:
    from imgmake.state.database import Change, Database

_EVIDENCE, _DOCUMENT = "evidence", "document"
KEPT = 8  # passes of one target: as many as may be gone back to


class EvidenceRows:
    """What is kept of each target, newest first. Documents lie apart, since an SBOM may have megabytes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, target: str) -> Sequence[Evidence]:
        """The last passes; one whose document is damaged or gone is left out."""
        found = (self._evidence(target, row) for row in _rows(self._database.get(_EVIDENCE, _key(target))))
        return tuple(each for each in found if each is not None)

    def add(self, evidence: Evidence) -> None:
        """Keep one more; the oldest one goes, with its documents."""

        def change(get: Callable[[str, bytes], bytes | None]) -> Iterator[Change]:
            from imgmake.state.database import Change

            key = _key(evidence.target)
            before = _rows(get(_EVIDENCE, key))
            rows = [_row(evidence), *(row for row in before if row["inputs"] != evidence.inputs)][:KEPT]
            gone = {name for row in before for name in _documents(row)} - {n for row in rows for n in _documents(row)}
            yield from (Change(_DOCUMENT, _key(evidence.target, name), None) for name in sorted(gone))
            for finding in evidence.findings:
                if finding.document:
                    body = zlib.compress(finding.document)
                    yield Change(_DOCUMENT, _key(evidence.target, _digest(finding.document)), body)
            yield Change(_EVIDENCE, key, json.dumps(rows, separators=(",", ":")).encode())

        self._database.amend(change)

    def _evidence(self, target: str, row: Mapping[str, Any]) -> Evidence | None:
        findings = [self._finding(target, *each) for each in row["findings"]]
        if not all(findings):
            return None
        return Evidence(
            target=target,
            inputs=row["inputs"],
            configuration=row["configuration"],
            files=tuple((path, digest) for path, digest in row["files"]),
            images=tuple(row["images"]),
            findings=tuple(each for each in findings if each is not None),
            began=row["began"],
            time=row["time"],
        )

    def _finding(
        self, target: str, tool: str, version: str, summary: str, details: Mapping[str, Any], name: str, media: str
    ) -> Finding | None:
        body = self._database.get(_DOCUMENT, _key(target, name)) if name else zlib.compress(b"")
        if body is None:
            return None
        return Finding(tool, version, summary, details, zlib.decompress(body), media)


def _row(evidence: Evidence) -> dict[str, Any]:
    return {
        "inputs": evidence.inputs,
        "configuration": evidence.configuration,
        "files": evidence.files,
        "images": evidence.images,
        "findings": [
            (f.tool, f.version, f.summary, f.details, _digest(f.document) if f.document else "", f.media_type)
            for f in evidence.findings
        ],
        "began": evidence.began,
        "time": evidence.time,
    }


def _documents(row: Mapping[str, Any]) -> set[str]:
    return {name for *_, name, _ in row["findings"] if name}


def _rows(value: bytes | None) -> list[dict[str, Any]]:
    return [] if value is None else list(json.loads(value))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _key(*parts: str) -> bytes:
    return "\0".join(parts).encode("utf-8", "surrogatepass")
