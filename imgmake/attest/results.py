"""What checks showed: written as test results or vulnerability scans, and read again.

https://in-toto.io/attestation/test-result/v0.1 and https://in-toto.io/attestation/vulns/v0.1; what these have no
word for stands in one extension field, ``imgmake_check``, named as SLSA advises (``<vendor>_<field>``).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import ValidationError

from imgmake import attest
from imgmake.attest.statements import Loose, Resource, Statement, Unreadable, by_algorithm, seconds, write
from imgmake.metadata import rfc_3339
from imgmake.ports import Artifact, Evidence, Finding

TEST = "https://in-toto.io/attestation/test-result/v0.1"
VULNS = "https://in-toto.io/attestation/vulns/v0.1"
_OWN = "imgmake_check"
_SCANNERS = {"grype": "pkg:github/anchore/grype", "trivy": "pkg:github/aquasecurity/trivy"}
_TOLD_APART = frozenset({"database", "vulnerabilities"})  # of a scan: the predicate has words for these
_MOST_FILES = 100  # of a check over whole folders only the digest of all of it is told


class Grade(StrEnum):
    """How a check ended."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"  # it could not be carried out: no scanner, no database


class Examined(NamedTuple):
    """One manifest that a check looked at."""

    digest: str
    platform: str


class Result(NamedTuple):
    """One result, read: `tools` are (name, version, what they say); `time` in seconds since the epoch."""

    check: str
    grade: Grade
    time: float
    tools: tuple[tuple[str, str, str], ...] = ()
    configuration: str = ""
    platforms: tuple[str, ...] = ()
    scan: bool = False


# --- writing --------------------------------------------------------------------------------------------------


def write_result(evidence: Evidence, subject: Sequence[Resource], examined: Iterable[Examined]) -> Artifact:
    """The statement that a check passed, about the image that it is published with.

    examined: those of the subjects that it looked at; of an index perhaps one platform's, of a lint none.
    """
    scan = next((f for f in evidence.findings if _is_scan(f)), None)
    predicate = _test(evidence) if scan is None else _vulns(scan, evidence)
    predicate[_OWN] = _own(evidence, examined)
    annotations = {
        attest.CHECK: evidence.target,
        attest.RESULT: Grade.PASSED.value,
        attest.CONFIGURATION: evidence.configuration,
        attest.CREATED: rfc_3339(evidence.time),
    }
    return write(subject, TEST if scan is None else VULNS, predicate, annotations)


def _own(evidence: Evidence, examined: Iterable[Examined]) -> dict[str, Any]:
    return {
        "name": evidence.target,
        "result": Grade.PASSED.value,
        "tools": [_tool(finding) for finding in evidence.findings],
        "configurationDigest": {"sha256": evidence.configuration},
        "examined": [{"digest": by_algorithm(each.digest), "platform": each.platform} for each in examined],
        "startedOn": rfc_3339(evidence.began),
        "finishedOn": rfc_3339(evidence.time),
    }


def _tool(finding: Finding) -> dict[str, Any]:
    told = {"name": finding.tool, "version": finding.version, "summary": finding.summary}
    details = {key: value for key, value in finding.details.items() if key not in _TOLD_APART}
    return {key: value for key, value in {**told, "details": details}.items() if value}


def _test(evidence: Evidence) -> dict[str, Any]:
    return {
        "result": Grade.PASSED.value,
        "configuration": [each.plain() for each in configuration(evidence)],
        "passedTests": [evidence.target],
        "failedTests": [],
        "warnedTests": [],
    }


def configuration(evidence: Evidence) -> Iterator[Resource]:
    """The files that a check read, and all that counted of it as one digest."""
    yield Resource(name=f"imgmake:{evidence.target}", digest={"sha256": evidence.configuration})
    if len(evidence.files) <= _MOST_FILES:
        yield from (Resource(name=public_path(path), digest={"sha256": digest}) for path, digest in evidence.files)


def public_path(path: str) -> str:
    """A path of the repository; of one elsewhere on the machine only the last part, as the rest is nobody's business.

    >>> public_path("tests/structure.yaml"), public_path("/home/alice/rules.yaml")
    ('tests/structure.yaml', 'rules.yaml')
    """
    return posixpath.basename(path.rstrip("/")) if path.startswith(("/", "~", "../")) else path


def _is_scan(finding: Finding) -> bool:
    """A scan tells when its database was made, as the predicate demands; without that it is a test like any other."""
    return bool(finding.details.get("database", {}).get("built"))


def _vulns(finding: Finding, evidence: Evidence) -> dict[str, Any]:
    details, database = finding.details, finding.details["database"]
    named = {"version": database.get("schema"), "lastUpdate": database["built"]}
    return {
        "scanner": {
            "uri": _SCANNERS.get(finding.tool, f"pkg:generic/{finding.tool}"),
            "version": finding.version,
            "db": {key: value for key, value in named.items() if value},
            "result": [_vulnerability(each) for each in details.get("vulnerabilities", ())],
        },
        "metadata": {"scanStartedOn": rfc_3339(evidence.began), "scanFinishedOn": rfc_3339(evidence.time)},
    }


def _vulnerability(each: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in each.items() if key not in ("id", "severity") and value not in (None, "")}
    return {
        "id": each["id"],
        "severity": [{"method": "vendor", "score": str(each.get("severity", "unknown"))}],
        **({"annotations": [told]} if told else {}),
    }


# --- reading --------------------------------------------------------------------------------------------------


class _Tool(Loose):
    name: str
    version: str = ""
    summary: str = ""


class _Examined(Loose):
    platform: str = ""


class _Own(Loose):
    name: str
    result: Grade
    finishedOn: str  # noqa: N815 (the name in the statement)
    tools: tuple[_Tool, ...] = ()
    configurationDigest: Mapping[str, str] = {}  # noqa: N815
    examined: tuple[_Examined, ...] = ()


def read_result(statement: Statement) -> Result | None:
    """What a statement says of a check; None when it is about something else.

    Raises Unreadable when it claims to be one and is not, or contradicts itself.
    """
    if statement.predicate_type not in (TEST, VULNS) or _OWN not in statement.predicate:
        return None
    try:
        own = _Own.model_validate(statement.predicate[_OWN])
    except ValidationError:
        raise Unreadable("a result without a name, a time or an end") from None
    time = seconds(own.finishedOn)
    if time is None:
        raise Unreadable(f"the result of {own.name} has no time")
    if statement.predicate_type == TEST and statement.predicate.get("result") != own.result.value:
        raise Unreadable(f"the result of {own.name} contradicts itself")
    return Result(
        check=own.name,
        grade=own.result,
        time=time,
        tools=tuple((tool.name, tool.version, tool.summary) for tool in own.tools),
        configuration=own.configurationDigest.get("sha256", ""),
        platforms=tuple(each.platform for each in own.examined if each.platform),
        scan=statement.predicate_type == VULNS or any(tool.name in _SCANNERS for tool in own.tools),
    )
