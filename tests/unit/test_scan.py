"""`scan`: what counts, reports of both scanners, and a stand-in for them that fails in every way a scanner can.

The reports follow grype's and trivy's documented JSON formats; neither program can be had here.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake.commands import scan
from imgmake.commands.base import Job, Read
from imgmake.commands.scanners import BY_NAME, LEVELS, SEVERITIES, Malformed, Report, Vulnerability, running, verdict
from imgmake.commands.scanners.verdict import Ignored, decide, threshold
from imgmake.errors import CommandFailed, Interrupted, PipefileError, Place, Unknown
from imgmake.model import ImageRule
from imgmake.ports import Cancel, ContainerSpec, Finding, Output
from imgmake.shell import LocalShell
from tests.fakes import FakeEngine, RecordingOutput
from tests.unit.runs import Repo
from tests.unit.test_commands import APP, changed, view

TODAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "now", lambda: NOW)


# --- reports as the scanners document them --------------------------------------------------------------------


def match(name: str, severity: str, package: str, *fixed: str, related: tuple[str, ...] = ()) -> dict[str, Any]:
    """One match of grype's."""
    return {
        "vulnerability": {
            "id": name,
            "dataSource": f"https://vulnerabilities.example/{name}",
            "severity": severity,
            "urls": [],
            "fix": {"versions": [*fixed], "state": "fixed" if fixed else "not-fixed"},
            "advisories": [],
        },
        "relatedVulnerabilities": [{"id": other, "severity": severity} for other in related],
        "matchDetails": [{"type": "exact-direct-match", "matcher": "dpkg-matcher"}],
        "artifact": {"id": "0", "name": package, "version": "1.0-1", "type": "deb", "locations": []},
    }


def grype(*matches: dict[str, Any], built: datetime = NOW - timedelta(hours=9), **more: Any) -> dict[str, Any]:
    status = {"schemaVersion": "v6.1.4", "built": built.isoformat(), "path": "/cache/6/vulnerability.db", "valid": True}
    return {
        "matches": [*matches],
        "source": {"type": "image", "target": {"userInput": "image.tar"}},
        "distro": {"name": "debian", "version": "12", "idLike": []},
        "descriptor": {"name": "grype", "version": "0.99.1", "db": {"status": status, "providers": {}}},
        **more,
    }


def finding(name: str, severity: str, package: str, fixed: str = "", **more: Any) -> dict[str, Any]:
    """One of trivy's detected vulnerabilities."""
    found = {"VulnerabilityID": name, "PkgName": package, "InstalledVersion": "1.0-1", "Severity": severity, **more}
    return {**found, "Status": "fixed", "FixedVersion": fixed} if fixed else {**found, "Status": "affected"}


def trivy(*found: dict[str, Any], **more: Any) -> dict[str, Any]:
    result = {"Target": "image.tar (debian 12.8)", "Class": "os-pkgs", "Type": "debian"}
    return {
        "SchemaVersion": 2,
        "CreatedAt": "2026-11-23T12:00:00.123456789Z",
        "ArtifactName": "image.tar",
        "ArtifactType": "container_image",
        "Metadata": {"OS": {"Family": "debian", "Name": "12.8"}, "ImageConfig": {"architecture": "amd64"}},
        "Results": [{**result, "Vulnerabilities": [*found]} if found else result],
        **more,
    }


ABOUT = {"Version": "0.58.0", "VulnerabilityDB": {"Version": 2, "UpdatedAt": "2026-11-23T06:12:09.123456789Z"}}


def parse(name: str, document: Any, about: Any = ABOUT) -> Report:
    return BY_NAME[name].parse(json.dumps(document).encode(), json.dumps(about).encode())


def test_grypes_report() -> None:
    openssl = match("GHSA-1", "High", "openssl", "3.0.2", "3.1.0", related=("CVE-2026-1", "GHSA-1"))
    report = parse("grype", grype(openssl, match("CVE-2", "Negligible", "zlib"), openssl, ignoredMatches=[openssl]))
    aliases = frozenset({"CVE-2026-1"})
    assert report.vulnerabilities == (
        Vulnerability("GHSA-1", "HIGH", "openssl", "1.0-1", ("3.0.2", "3.1.0"), True, aliases),
        Vulnerability("CVE-2", "NEGLIGIBLE", "zlib", "1.0-1"),
    )
    assert (report.tool, report.version, report.hidden) == ("grype", "0.99.1", 1)
    assert (report.database, report.schema) == (NOW - timedelta(hours=9), "v6.1.4")


def test_an_older_grype_has_its_database_one_level_higher() -> None:
    document = grype()
    document["descriptor"]["db"] = {
        "built": "2026-11-22T01:31:06Z",
        "schemaVersion": 5,
        "location": "/x",
        "error": None,
    }
    report = parse("grype", document)
    assert (report.database, report.schema) == (datetime(2026, 11, 22, 1, 31, 6, tzinfo=UTC), "5")


def test_grypes_alerts_are_notes() -> None:
    alert = {"type": "distro-eol", "message": "Package is from end-of-life distro: debian 8"}
    packages = [{"package": {"name": name}, "alerts": [alert]} for name in ("a", "b")]
    assert parse("grype", grype(alertsByPackage=packages)).notes == (alert["message"],)


def test_trivys_report() -> None:
    found = [
        finding("CVE-1", "CRITICAL", "libexpat1", "2.5.0-2, 2.6.0", VendorIDs=["DSA-1"]),
        finding("CVE-2", "", "z"),
    ]
    report = parse("trivy", trivy(*found))
    assert report.vulnerabilities == (
        Vulnerability("CVE-1", "CRITICAL", "libexpat1", "1.0-1", ("2.5.0-2", "2.6.0"), True, frozenset({"DSA-1"})),
        Vulnerability("CVE-2", "UNKNOWN", "z", "1.0-1"),
    )
    assert (report.version, report.schema, report.notes) == ("0.58.0", "2", ())
    assert report.database == datetime(2026, 11, 23, 6, 12, 9, 123456, tzinfo=UTC)


def test_what_trivy_could_not_know_is_said() -> None:
    old = trivy(Metadata={"OS": {"Family": "debian", "Name": "9.13", "EOSL": True}})
    assert "debian 9.13 gets no security updates any more" in parse("trivy", old).notes[0]
    nothing = trivy()
    del nothing["Results"]
    assert parse("trivy", nothing).notes == ("no package that trivy knows was found in this image",)


def test_trivy_that_does_not_tell_its_version_has_scanned_all_the_same() -> None:
    report = BY_NAME["trivy"].parse(json.dumps(trivy(Trivy={"Version": "0.70.0"})).encode(), b"no JSON")
    assert (report.version, report.database) == ("0.70.0", None)


WRONG = [
    b"",
    b" \n",
    b"null",
    b"[]",
    b"{}",
    b"garbage",
    json.dumps(grype(match("CVE-1", "High", "a"))).encode()[:-20],
    b"[" * 100_000,
    b'{"matches": null, "descriptor": {"name": "grype", "version": "1"}}',
    b'{"matches": [], "descriptor": {"name": "syft", "version": "1"}}',
    json.dumps(grype(match("CVE-1", "Important", "a"))).encode(),
    json.dumps(grype({"vulnerability": {}, "artifact": {}})).encode(),
    json.dumps(grype("CVE-1")).encode(),  # type: ignore[arg-type]
    json.dumps(trivy(SchemaVersion=3)).encode(),
    json.dumps(trivy(ArtifactType="filesystem")).encode(),
    json.dumps(trivy(Results={})).encode().replace(b"{}", b'{"a": 1}'),
    json.dumps(trivy(finding("CVE-1", "SEVERE", "a"))).encode(),
    json.dumps(trivy({"Severity": "HIGH"})).encode(),
]


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("data", WRONG)
def test_a_report_in_another_form_proves_nothing(name: str, data: bytes) -> None:
    with pytest.raises(Malformed):
        BY_NAME[name].parse(data, b"")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda s: (
            st.lists(s)
            | st.dictionaries(
                st.sampled_from(["matches", "descriptor", "name", "db", "SchemaVersion", "Results", "vulnerability"]), s
            )
        ),
    )
)
def test_whatever_json_a_scanner_writes_no_other_error_comes_of_it(document: Any) -> None:
    whole = [grype(), trivy()]
    for name in BY_NAME:
        for found in (document, *({**base, **document} for base in whole if isinstance(document, dict))):
            try:
                parse(name, found)
            except Malformed:
                continue


# --- what counts ----------------------------------------------------------------------------------------------


def test_a_threshold_counts_what_is_above_too() -> None:
    assert threshold("HIGH,CRITICAL") == threshold("high") == {"HIGH", "CRITICAL"}
    assert threshold("negligible") == {*LEVELS}
    assert threshold("UNKNOWN, critical") == {"UNKNOWN", "CRITICAL"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("HIHG", r"'HIHG' is none\n  did you mean 'HIGH'\?"),
        ("LOW,CRITICAL", "leaves out MEDIUM, HIGH"),
        ("UNKNOWN", "names no level"),
        (" , ", "names no level"),
    ],
)
def test_a_threshold_that_would_miss_something(text: str, said: str) -> None:
    with pytest.raises(PipefileError, match=said):
        scan("app:1", severity=text)


NAMES, PACKAGES = ["CVE-1", "CVE-2", "GHSA-3"], ["a", "b"]
VULNERABILITIES = st.lists(
    st.builds(
        Vulnerability,
        id=st.sampled_from(NAMES),
        severity=st.sampled_from(SEVERITIES),
        package=st.sampled_from(PACKAGES),
        installed=st.just("1"),
        fixable=st.booleans(),
        aliases=st.frozensets(st.sampled_from(NAMES)),
    ),
    unique=True,
)
IGNORED = st.lists(
    st.builds(
        Ignored,
        id=st.sampled_from(NAMES),
        reason=st.just("because"),
        until=st.none() | st.dates(TODAY - timedelta(3), TODAY + timedelta(3)),
        package=st.none() | st.sampled_from(PACKAGES),
    )
)
THRESHOLDS = st.tuples(st.sampled_from(LEVELS), st.booleans()).map(
    lambda t: threshold(f"{t[0]}{',UNKNOWN' if t[1] else ''}")
)


@given(VULNERABILITIES, IGNORED, THRESHOLDS, st.booleans())
def test_each_vulnerability_is_in_one_lot_and_for_its_reason(
    found: list[Vulnerability], entries: list[Ignored], counts: frozenset[str], only_fixed: bool
) -> None:
    got = decide(found, counts=counts, ignored=entries, only_fixed=only_fixed, today=TODAY)
    lots = [*got.counted, *(v for v, _ in got.ignored), *got.unfixed, *got.below]
    assert sorted(map(repr, lots)) == sorted(map(repr, found))
    valid = [e for e in entries if e.until is None or e.until >= TODAY]

    def covered(v: Vulnerability) -> bool:
        return any(e.id in {v.id, *v.aliases} and e.package in (None, v.package) for e in valid)

    model = {v for v in found if v.severity in counts and (v.fixable or not only_fixed) and not covered(v)}
    assert set(got.counted) == model
    assert [*got.expired, *valid] == sorted(entries, key=valid.__contains__)
    assert all(not any(e.covers(v) for v in found) for e in got.unmatched)


@given(VULNERABILITIES, IGNORED, THRESHOLDS, st.integers(0, 4))
def test_no_later_day_and_no_shorter_list_lets_more_through(
    found: list[Vulnerability], entries: list[Ignored], counts: frozenset[str], days: int
) -> None:
    def counted(ignored: list[Ignored], today: date) -> set[Vulnerability]:
        return set(decide(found, counts=counts, ignored=ignored, today=today).counted)

    now = counted(entries, TODAY)
    assert now <= counted(entries, TODAY + timedelta(days))
    assert now <= counted(entries[1:], TODAY)
    assert set(decide(found, counts=counts, ignored=entries, only_fixed=True, today=TODAY).counted) <= now


def test_an_entry_holds_to_the_end_of_its_day() -> None:
    entry = Ignored(id="CVE-1", reason="r", until=TODAY)
    assert not entry.expired(TODAY)
    assert entry.expired(TODAY + timedelta(1))


# --- the ignore list ------------------------------------------------------------------------------------------


def entry(**more: Any) -> dict[str, Any]:
    return {"id": "CVE-1", "reason": "no network", "until": "2027-01-31", **more}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in entry().items() if key != name}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (without("reason"), r"ignore\[0\] has no 'reason'"),
        (without("id"), r"ignore\[0\] has no 'id'"),
        (without("until"), r"(?s)has no 'until'.*\"never\""),
        (entry(reason=" "), "reason is empty"),
        (entry(until="soon"), "until='soon' is no date"),
        (entry(until=7), "until=7 is no date"),
        (entry(untill="2027-01-01"), "has no field 'untill'"),
        (7, "ignore must be a list"),
        ([7], r"ignore\[0\] must be a mapping"),
    ],
)
def test_an_entry_says_what_why_and_until_when(given: Any, said: str) -> None:
    with pytest.raises(PipefileError, match=said):
        scan("app:1", ignore=given)


def test_an_ignore_file_is_a_prerequisite_and_reads_the_same() -> None:
    action = scan(APP, ignore=["ignore.toml", entry()], config=".grype.yaml", report="out/scan.sarif")
    assert action.reads() == (Read("image", APP, "scan"), Read("file", "ignore.toml", "scan"),
                              Read("file", ".grype.yaml", "scan"))  # fmt: skip
    assert action.writes() == ("out/scan.sarif",)


# --- a stand-in for the scanners ------------------------------------------------------------------------------

# It finds where it shall write among its arguments, as the real ones do, and then behaves as it was told.
STAND_IN = r"""#!/bin/sh
echo "$(basename "$0") $*" >> "$HERE/calls"; env > "$HERE/env"; pwd > "$HERE/cwd"
json= sarif= before=
for word; do
  case $word in json=*) json=${word#json=};; sarif=*) sarif=${word#sarif=};; esac
  [ "$before" = --output ] && json=$word
  before=$word
done
case "$1" in
  version) cat "$HERE/about.json"; exit;;
  convert) sarif=$json; json=;;
esac
[ -z "$json" ] || test -s image.tar || exit 99
. "$HERE/behave"
"""
SARIF = '{"version": "2.1.0", "runs": []}'
GOOD = f"""[ -z "$json" ] || cat "$HERE/report.json" > "$json"; [ -z "$sarif" ] || echo '{SARIF}' > "$sarif\""""


class Bench:
    """A folder of programs that are no scanners, an engine with one image, and what came of it."""

    def __init__(self, path: Path) -> None:
        self.path, self.root = path / "bench", path / "repo"
        (self.path / "bin").mkdir(parents=True)
        self.root.mkdir()
        (self.path / "about.json").write_text(json.dumps(ABOUT))
        self.engine = FakeEngine()
        self.image = self.engine.commit_image("acme/app:1.0", files={"/etc/os-release": b"ID=debian\n"})
        self.output = RecordingOutput()
        self.found: list[Finding] = []
        self.environ = {"PATH": f"{self.path / 'bin'}:{os.environ['PATH']}", "HERE": str(self.path)}
        self.behave(GOOD)

    def install(self, name: str, report: Any) -> Bench:
        program = self.path / "bin" / name
        program.write_text(STAND_IN)
        program.chmod(0o755)
        text = report if isinstance(report, str) else json.dumps(report)
        (self.path / "report.json").write_text(text)
        return self

    def behave(self, script: str) -> Bench:
        (self.path / "behave").write_text(f"{script}\n")
        return self

    def job(self, cancel: Cancel | None = None) -> Job:
        return Job(view(self.root), lambda: self.engine, LocalShell(grace=0.2), self.output, cancel or Cancel(),
                   self.environ, self.found.append)  # fmt: skip

    def run(self, cancel: Cancel | None = None, **how: Any) -> str:
        scan(APP, **how).run(self.job(cancel))
        return self.output.data.decode()

    @property
    def calls(self) -> list[str]:
        return (self.path / "calls").read_text().splitlines()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


CLEAN: Mapping[str, Any] = {"grype": grype(match("CVE-1", "Low", "zlib")), "trivy": trivy(finding("CVE-1", "LOW", "z"))}
BAD = {
    "grype": grype(match("CVE-1", "Critical", "libexpat1", "1.1"), match("CVE-22", "High", "zlib")),
    "trivy": trivy(finding("CVE-1", "CRITICAL", "libexpat1", "1.1"), finding("CVE-22", "HIGH", "zlib")),
}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_clean_image_passes_and_leaves_evidence(bench: Bench, name: str) -> None:
    said = bench.install(name, CLEAN[name]).run()
    assert said.splitlines()[1] == "  1 low"
    (told,) = bench.found
    assert (told.tool, told.summary) == (name, "1 low")
    assert told.details["severities"] == {"LOW": 1}
    assert [v["id"] for v in told.details["vulnerabilities"]] == ["CVE-1"]
    assert told.details["image"] == bench.image.id
    assert re.fullmatch(r"2026-11-23T0[36]:[0-9:.]+Z", told.details["database"]["built"])
    json.dumps(told.details)


@pytest.mark.parametrize("name", BY_NAME)
def test_what_counts_is_told_as_a_table_and_fails(bench: Bench, name: str) -> None:
    with pytest.raises(
        CommandFailed, match="scan: acme/app has 1 critical, 1 high vulnerabilities that count"
    ) as error:
        bench.install(name, BAD[name]).run()
    assert error.value.hint.startswith("1 of 2 has a fix")
    assert bench.output.data.decode().splitlines()[1:] == [
        "  1 critical, 1 high (2 counted)",
        "HIGH or above: 2",
        "  CRITICAL  CVE-1   libexpat1  1.0-1  fixed in 1.1",
        "  HIGH      CVE-22  zlib       1.0-1  no fix yet",
    ]
    assert bench.found == []


def test_grype_is_looked_for_first_and_either_can_be_named(bench: Bench) -> None:
    bench.install("grype", CLEAN["grype"])
    bench.run()
    assert bench.calls == ["grype docker-archive:image.tar -o json=scan.json --config empty.yaml"]
    bench.install("trivy", CLEAN["trivy"])
    bench.run(scanner="trivy", options="--pkg-types os")
    scanned, asked = bench.calls[1:]
    assert scanned.startswith("trivy image --input image.tar --format json --output scan.json --scanners vuln")
    assert scanned.endswith("--exit-code 0 --no-progress --pkg-types os")
    assert asked == "trivy version --format json"


@pytest.mark.parametrize("name", BY_NAME)
def test_reports_are_kept_also_when_the_check_fails(bench: Bench, name: str) -> None:
    with pytest.raises(CommandFailed):
        bench.install(name, BAD[name]).run(report=["out/scan.sarif", "out/scan.json"])
    assert json.loads((bench.root / "out/scan.json").read_text()) == BAD[name]
    assert (bench.root / "out/scan.sarif").read_text() == f"{SARIF}\n"
    assert sorted(path.name for path in (bench.root / "out").iterdir()) == ["scan.json", "scan.sarif"]


def test_ignored_with_a_reason_expired_and_unmatched(bench: Bench) -> None:
    (bench.root / "ignore.toml").write_text(
        '[[ignore]]\nid = "cve-22"\npackage = "zlib"\nreason = "never unpacks"\nuntil = 2027-01-31\n'
    )
    entries = [
        "ignore.toml",
        entry(reason="parses nothing", until="never"),
        entry(id="CVE-22", reason="was new", until="2026-11-22"),
        entry(id="CVE-9"),
    ]
    said = bench.install("grype", BAD["grype"]).run(ignore=entries).splitlines()
    assert said[1:] == [
        "  1 critical, 1 high (2 ignored)",
        "ignored for good: CVE-1 (libexpat1): parses nothing",
        "ignored until 2027-01-31: cve-22 in zlib (zlib): never unpacks",
        "was ignored until 2026-11-22, and counts again: CVE-22: was new",
        "ignored, but not found: CVE-9",
    ]
    assert [(i["id"], i["reason"], i["until"]) for i in bench.found[0].details["ignored"]] == [
        ("CVE-1", "parses nothing", "never"),
        ("CVE-22", "never unpacks", "2027-01-31"),
    ]


def test_the_page_shows_what_a_scan_says() -> None:
    page = (Path(__file__).parents[2] / "docs/scanning.md").read_text()
    told = page.partition("```text\n")[2].partition("```")[0].splitlines()
    known = verdict.ignored(tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])["ignore"][0], "entry")
    high = Vulnerability("CVE-2023-50387", "HIGH", "libunbound8", "1.17.1-2")
    fixed = replace(high, id="CVE-2024-45491", severity="CRITICAL", package="libexpat1", installed="2.5.0-1+deb12u1")
    found = [high, replace(fixed, fixed=("2.5.0-1+deb12u2",)), replace(high, id=known.id, package="zlib1g")]
    found += [replace(high, id=f"CVE-{n}", severity="MEDIUM" if n < 12 else "LOW") for n in range(42)]
    report = Report("grype", "0.99.1", tuple(found), NOW - timedelta(hours=9))
    counts = threshold("HIGH")
    decided = decide(found, counts=counts, ignored=[known], today=NOW.date())
    assert list(verdict.table("example/app", report, decided, counts=counts, at=NOW)) == told[:-2]


def test_only_what_has_a_fix(bench: Bench) -> None:
    with pytest.raises(CommandFailed, match="has 1 critical vulnerability that counts"):
        bench.install("grype", BAD["grype"]).run(only_fixed=True)
    assert "(1 without a fix, 1 counted)" in bench.output.data.decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[ignore]]\nid = 'CVE-1'\n", "ignore.toml: entry 1 has no 'reason'"),
        ("ignore = 'CVE-1'\n", "ignore.toml: an ignore list holds"),
        ("CVE-1\n", "ignore.toml: the ignore list cannot be read"),
    ],
)
def test_a_wrong_ignore_file_is_told_before_anything_is_scanned(bench: Bench, text: str, said: str) -> None:
    (bench.root / "ignore.toml").write_text(text)
    with pytest.raises(PipefileError) as error:
        bench.install("grype", CLEAN["grype"]).run(ignore="ignore.toml")
    assert str(error.value).startswith(said)
    assert not (bench.path / "calls").exists()


def test_nothing_of_the_environment_changes_the_verdict_but_where_the_database_is(bench: Bench) -> None:
    bench.environ |= {
        "GRYPE_ONLY_FIXED": "true",
        "GRYPE_DB_UPDATE_URL": "https://mirror.example/db",
        "TRIVY_SEVERITY": "LOW",
        "TRIVY_DB_REPOSITORY": "mirror.example/db",
        "HTTPS_PROXY": "http://proxy.example",
    }
    bench.install("grype", CLEAN["grype"]).run()
    env = (bench.path / "env").read_text()
    assert "GRYPE_DB_UPDATE_URL=" in env
    assert "HTTPS_PROXY=" in env
    assert "GRYPE_ONLY_FIXED" not in env
    bench.install("trivy", CLEAN["trivy"]).run(scanner="trivy")
    env = (bench.path / "env").read_text()
    assert "TRIVY_DB_REPOSITORY=" in env
    assert "TRIVY_SEVERITY" not in env


def test_a_configuration_is_given_by_name_only(bench: Bench) -> None:
    (bench.root / ".grype.yaml").write_text("only-fixed: true\n")
    bench.install("grype", CLEAN["grype"]).run()
    bench.run(config=".grype.yaml")
    assert bench.calls[0] == "grype docker-archive:image.tar -o json=scan.json --config empty.yaml"
    assert bench.calls[1] == bench.calls[0].replace("empty", "config")


# Where grype looks for its configuration when none is named (anchore/fangs, config.go).
LOOKING = """
config=$HOME/.grype.yaml
for word; do [ "$before" = --config ] && config=$word; before=$word; done
if test -s "$config"; then echo '{"matches": [], "descriptor": {"name": "grype", "version": "1"}}' > "$json"; exit; fi
"""


def test_a_configuration_in_somebodys_home_changes_no_verdict(bench: Bench) -> None:
    """`only-fixed`, `ignore` and `exclude` in ~/.grype.yaml made images clean on one machine and not on another."""
    bench.environ["HOME"] = str(bench.path)
    (bench.path / ".grype.yaml").write_text("exclude: ['/**']\n")
    with pytest.raises(CommandFailed, match="1 critical, 1 high"):
        bench.install("grype", BAD["grype"]).behave(f"{LOOKING}{GOOD}").run(max_db_age=None)


def test_the_folder_of_the_scan_is_gone(bench: Bench) -> None:
    bench.install("grype", CLEAN["grype"]).run()
    assert not Path((bench.path / "cwd").read_text().strip()).exists()


def test_grypes_own_threshold_is_not_ours(bench: Bench) -> None:
    assert "1 low" in bench.install("grype", CLEAN["grype"]).behave(f"{GOOD}; exit 2").run()


def test_names_from_an_image_reach_no_terminal_as_control_characters(bench: Bench) -> None:
    with pytest.raises(CommandFailed):
        bench.install("grype", grype(match("CVE-1", "High", "evil\x1b]0;owned\x07"))).run()
    assert b"\x1b" not in bench.output.data


# --- a scanner that cannot run --------------------------------------------------------------------------------

FATAL = "2026-11-23T12:00:00Z\\tFATAL\\tFatal error\\tinit error: DB error: failed to download vulnerability DB"
FAILURES = {
    "exit": ("echo 'failed to load vulnerability db: timeout' >&2; echo bye; exit 1", "exit code 1: failed to load"),
    "database": (f"printf '{FATAL}\\n' >&2; exit 1", "Fatal error init error: DB error: failed to download"),
    "colour": ("printf '\\033[31merror\\033[0m: no route\\n'; exit 1", "exit code 1: error: no route"),
    "quiet": ("exit 3", "exit code 3, and did not say why"),
    "report and exit": (f"{GOOD}; exit 1", "exit code 1"),
    "killed": ("kill -KILL $$", r"exit code 137 \(SIGKILL\)"),
    "out of memory": ("echo 'panic: out of memory' >&2; kill -ABRT $$", r"134 \(SIGABRT\): panic"),
    "nothing": ("exit 0", "wrote no report"),
    "empty": (': > "$json"', "wrote no report"),
    "half": ('head -c 100 "$HERE/report.json" > "$json"', "is no JSON"),
    "garbage": ('head -c 5000 /dev/urandom > "$json"', "is no JSON"),
    "other schema": ('echo \'{"schema": 9}\' > "$json"', "in an unknown form"),
    "page": ('echo "<html>proxy login</html>" > "$json"', "is no JSON"),
}


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("failure", FAILURES)
def test_a_scanner_that_fails_has_found_nothing_out(bench: Bench, name: str, failure: str) -> None:
    script, said = FAILURES[failure]
    with pytest.raises(Unknown, match=said) as error:
        bench.install(name, CLEAN[name]).behave(script).run()
    assert error.value.message.startswith(f"unknown: {name} ")
    assert error.value.exit_code == 2
    assert bench.found == []


def test_a_scanner_that_is_not_there(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.environ["PATH"] = str(bench.path / "bin")
    with pytest.raises(Unknown, match="unknown: neither grype nor trivy is installed") as error:
        bench.run()
    assert "scanner=" in error.value.hint
    assert bench.engine.log == []  # before the image is exported
    with pytest.raises(Unknown, match="unknown: trivy is not installed"):
        bench.run(scanner="trivy")


def test_a_scanner_that_is_no_program(bench: Bench) -> None:
    bench.install("grype", CLEAN["grype"])
    (bench.path / "bin/grype").write_text("#!/no/such/shell\n")
    with pytest.raises(Unknown, match="could not be started"):
        bench.run()


def test_trivy_that_cannot_convert(bench: Bench) -> None:
    bench.install("trivy", CLEAN["trivy"]).behave(f'[ -n "$json" ] || exit 1; {GOOD}')
    with pytest.raises(Unknown, match="trivy ended with exit code 1"):
        bench.run(report="scan.sarif")
    bench.behave('[ -z "$json" ] || cat "$HERE/report.json" > "$json"')
    with pytest.raises(Unknown, match="trivy wrote no SARIF"):
        bench.run(report="scan.sarif")
    assert not (bench.root / "scan.sarif").exists()


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("wrote", ["half a {", "[]", '{"version": "2.0", "runs": []}', '{"version": "2.1.0"}'])
def test_sarif_that_no_reader_takes_is_not_kept_as_a_report(bench: Bench, name: str, wrote: str) -> None:
    """Whatever was written in the name of SARIF was kept, and the check passed."""
    bench.install(name, CLEAN[name]).behave(f'{GOOD}; [ -z "$sarif" ] || echo \'{wrote}\' > "$sarif"')
    with pytest.raises(Unknown, match=f"unknown: {name} wrote "):
        bench.run(report="scan.sarif")
    assert not (bench.root / "scan.sarif").exists()


@pytest.mark.parametrize("name", BY_NAME)
def test_a_database_that_is_too_old_proves_nothing(bench: Bench, name: str) -> None:
    bench.install(name, {**CLEAN, "grype": grype(built=NOW - timedelta(days=9))}[name])
    (bench.path / "about.json").write_text(json.dumps({"VulnerabilityDB": {"UpdatedAt": "2026-11-14T12:00:00Z"}}))
    with pytest.raises(Unknown, match=f"unknown: {name}'s database is 9 d old, and may be 5 d"):
        bench.run()
    assert "9 d old" in bench.run(max_db_age="2w")


def test_a_database_of_which_nothing_is_told_proves_nothing(bench: Bench) -> None:
    bench.install("trivy", CLEAN["trivy"])
    (bench.path / "about.json").unlink()
    with pytest.raises(Unknown, match="trivy does not tell how old its database is"):
        bench.run()
    assert "1 low" in bench.run(max_db_age=None)


def test_a_server_of_trivys_has_the_database() -> None:
    server = {"Version": "0.70.0", "VulnerabilityDB": {"Version": 2, "UpdatedAt": "2026-11-01T00:00:00Z"}}
    report = parse("trivy", trivy(Trivy={"Version": "0.70.0", "Server": server}))
    assert report.database == datetime(2026, 11, 1, tzinfo=UTC)


def test_a_database_that_the_scanner_itself_refuses(bench: Bench) -> None:
    document = grype()
    document["descriptor"]["db"]["status"] |= {"valid": False, "error": "bad db checksum"}
    with pytest.raises(Unknown, match="grype found its database not valid: bad db checksum"):
        bench.install("grype", document).run()


def test_a_scanner_that_hangs_is_stopped_and_leaves_nothing(bench: Bench) -> None:
    cancel = Cancel()
    bench.install("grype", CLEAN["grype"]).behave('touch "$HERE/started"; sleep 60')

    def stop() -> None:
        end = time.monotonic() + 20
        while not (bench.path / "started").exists() and time.monotonic() < end:
            time.sleep(0.02)
        cancel.stop()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Interrupted):
        bench.run(cancel)
    assert not Path((bench.path / "cwd").read_text().strip()).exists()


@pytest.mark.parametrize("name", BY_NAME)
def test_a_scanner_that_never_ends_has_found_nothing_out(bench: Bench, name: str) -> None:
    """It held the whole run for ever."""
    bench.install(name, CLEAN[name]).behave("trap '' TERM; sleep 60 & wait; wait")
    with pytest.raises(Unknown, match=f"unknown: {name} had not ended after 1 s, and was stopped"):
        bench.run(timeout=1)
    assert bench.found == []
    assert "1 low" in bench.behave(GOOD).run(timeout=None)


def test_one_scan_at_a_time_fetches_the_database(bench: Bench) -> None:
    script = f'mkdir "$HERE/busy" || exit 7; sleep 0.1; rmdir "$HERE/busy"; {GOOD}'
    bench.install("grype", CLEAN["grype"]).behave(script)
    errors: list[Exception] = []

    def run() -> None:
        try:
            bench.run()
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(bench.found) == 3


# --- in a container -------------------------------------------------------------------------------------------


def contained(bench: Bench, effect: Callable[[ContainerSpec, Path, Output], int]) -> None:
    def run(spec: ContainerSpec, output: Output) -> int:
        folder = next(mount.path for mount in spec.mounts if mount.target == "/scan")
        assert folder is not None
        return effect(spec, folder, output)

    bench.engine.run_effect = run


def test_a_scanner_from_an_image_sees_the_archive_and_keeps_its_database(bench: Bench) -> None:
    bench.engine.commit_image("aquasec/trivy:0.58.0")
    bench.environ |= {"TRIVY_DB_REPOSITORY": "mirror.example/db", "TRIVY_CACHE_DIR": "/home/me", "no_proxy": "a"}

    def scanner(spec: ContainerSpec, folder: Path, output: Output) -> int:
        if spec.command[0] == "version":
            output.write(json.dumps(ABOUT).encode())
        else:
            assert (folder / "image.tar").stat().st_size > 0
            (folder / "scan.json").write_text(json.dumps(CLEAN["trivy"]))
        return 0

    contained(bench, scanner)
    assert "scanned by trivy 0.58.0 with a database 5.8 h old" in bench.run(scanner="aquasec/trivy:0.58.0")
    spec = bench.engine.specs[0]
    assert spec.command[:3] == ("image", "--input", "image.tar")
    assert (spec.workdir, spec.caller) == ("/scan", True)
    assert [m.volume for m in spec.mounts if m.target == "/cache"] == [f"imgmake-trivy-{os.getuid()}"]
    assert spec.env == {"TRIVY_DB_REPOSITORY": "mirror.example/db", "TRIVY_CACHE_DIR": "/cache", "no_proxy": "a"}


def test_a_scanner_that_cannot_be_pulled_or_fails_in_its_container(bench: Bench) -> None:
    with pytest.raises(Unknown, match="unknown: grype could not be started: anchore/grype cannot be pulled"):
        bench.run(scanner="anchore/grype")
    bench.engine.commit_image("anchore/grype:latest")

    def broken(spec: ContainerSpec, folder: Path, output: Output) -> int:
        output.write(b"error: no space left on device\n")
        return 1

    contained(bench, broken)
    with pytest.raises(Unknown, match="exit code 1: error: no space left"):
        bench.run(scanner="anchore/grype")


@pytest.mark.parametrize("name", ["clair", "quay.io/clair:4", "/opt/grype", "./trivy"])
def test_other_scanners_are_not_known(name: str) -> None:
    with pytest.raises(PipefileError, match="is neither grype nor trivy"):
        scan("app:1", scanner=name)


def test_a_scanner_that_a_rule_builds_is_a_prerequisite() -> None:
    own = ImageRule(target="scanner", place=Place("Pipefile.py", 1), tags=("mirror.example/trivy:${TAG}",))
    assert Read("image", own, "scan scanner") in scan(APP, scanner=own).reads()
    assert running.of_image(own).name == "trivy"


# --- how it is shown and signed -------------------------------------------------------------------------------


def test_the_printed_lines_are_those_that_run() -> None:
    action = scan(APP, scanner="grype", report="out/s.sarif", config="g.yaml", options=["--exclude", "/x y"])
    assert action.show(view(base="sub")).splitlines() == [
        "cd sub",
        "docker save -o image.tar acme/app:1.0",
        "grype docker-archive:image.tar -o json=scan.json -o sarif=out/s.sarif --config g.yaml --exclude '/x y'"
        "  # fails on HIGH,CRITICAL",
        "rm image.tar scan.json",
    ]
    shown = scan(APP, scanner="anchore/grype:v0.99.1", severity="low", only_fixed=True).show(view())
    assert ": > empty.yaml\n" in shown
    assert shown.endswith("rm image.tar scan.json empty.yaml")
    assert '-v "$PWD":/scan' in shown
    assert "# fails on low, fixed ones only" in shown
    trivy_lines = scan(APP, scanner="trivy", report=["s.json", "s.sarif"]).show(view()).splitlines()
    assert trivy_lines[2].startswith("trivy convert --format sarif --output s.sarif s.json")
    assert trivy_lines[-1] == "rm image.tar"


def test_a_secret_among_the_options_is_not_shown() -> None:
    shown = scan(APP, scanner="trivy", options=["--token", "${TOKEN}"]).show(view())
    assert "s3cret" not in shown
    assert '--token "${TOKEN}"' in shown


def test_what_counts_for_a_scan() -> None:
    action = scan(APP, options="--name $TAG")
    assert changed(action, content="content-2") == {"image app"}
    assert changed(action, values={"TAG": "2", "MESSAGE": "", "TOKEN": ""}) == {"variable TAG"}
    signed = [scan(APP, **how).fields(view()) for how in ({}, {"severity": "LOW"}, {"only_fixed": True},
              {"ignore": entry()}, {"ignore": entry(until="never")}, {"scanner": "trivy"})]  # fmt: skip
    assert len({*signed}) == len(signed)


def test_a_late_severity_is_judged_when_it_is_known(bench: Bench) -> None:
    action = scan(APP, severity="${TAG}")
    with pytest.raises(PipefileError, match=r"'1\.0' is none"):
        action.run(bench.job())


# --- whole runs -----------------------------------------------------------------------------------------------

PIPEFILE = """
app = image("app", tags="acme/app:1")
check("scan", scan(app{how}))
publish("publish", image=app, to="registry.example.com/app", tags="1")
"""


@pytest.fixture
def repo(bench: Bench, tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "run", environ=bench.environ)
    made.put("Dockerfile", "FROM scratch\nCOPY a /\n").put("a", "1").pipefile(PIPEFILE.format(how=""))
    bench.install("grype", CLEAN["grype"])
    return made


def test_a_pass_holds_for_a_day_and_for_its_image(repo: Repo) -> None:
    assert repo.run("scan").ran == ["app", "scan"]
    assert repo.run("scan").ran == []
    repo.clock.tick(86400)
    assert repo.run("scan").reasons("scan") == ["older than max_age: 1 d > 1 d"]
    repo.put("a", "2")
    assert repo.run("scan").ran == ["app", "scan"]


def test_a_check_says_how_long_its_scan_holds(repo: Repo) -> None:
    repo.pipefile('check("scan", scan("acme/app:1"), max_age="1h")\nimage("app", tags="acme/app:1")\n')
    repo.run("scan")
    repo.clock.tick(3700)
    assert repo.run("scan").ran == ["scan"]


def test_unknown_stops_a_publish_and_names_the_last_good_result(repo: Repo, bench: Bench) -> None:
    bench.behave("echo 'failed to update db' >&2; exit 1")
    assert repo.run("publish").error_of("scan").splitlines()[0].endswith("update db; no good result is known")
    bench.behave(GOOD)
    repo.run("scan")
    bench.behave("echo 'failed to update db' >&2; exit 1")
    repo.clock.tick(5 * 3600)
    forced = repo.run("scan", always_make=True)
    assert re.search(r"unknown: grype .*; last good result 5(\.\d+)? h ago$", forced.error_of("scan").splitlines()[0])
    # Nothing was learnt, so the pass of five hours ago still stands; but not for ever, and not for another image.
    assert repo.run("scan").ran == []
    repo.clock.tick(86400)
    late = repo.run("publish")
    assert late.failed == ["scan"]
    assert not any(event[0] in ("push", "send", "set_tag") for event in repo.registry.log)
    repo.put("a", "2")
    assert "ago, on other inputs" in repo.run("scan").error_of("scan")


def test_a_failed_scan_is_no_unknown_and_takes_the_pass_back(repo: Repo, bench: Bench) -> None:
    repo.run("scan")
    bench.install("grype", BAD["grype"])
    assert "vulnerabilities that count" in repo.run("scan", always_make=True).error_of("scan")
    assert repo.run("scan").reasons("scan") == ["its last run did not finish or did not pass"]


def test_a_pass_ends_with_the_entry_that_it_hangs_on(repo: Repo, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.install("grype", grype(match("CVE-1", "High", "zlib")))
    repo.put("ignore.toml", '[[ignore]]\nid = "CVE-1"\nreason = "r"\nuntil = "2026-11-30"\n')
    repo.pipefile(PIPEFILE.format(how=', ignore="ignore.toml"').replace(")\npublish", ', max_age="9999d")\npublish'))
    assert repo.run("scan").ran == ["app", "scan"]
    assert repo.run("scan").ran == []
    with repo.session() as (session, _):
        assert session.executor.forecast("scan").until == datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    monkeypatch.setattr(verdict, "now", lambda: NOW + timedelta(days=8))
    (bench.path / "report.json").write_text(json.dumps(grype(match("CVE-1", "High", "zlib"), built=verdict.now())))
    late = repo.run("scan")
    assert late.reasons("scan") == ["expired ignore CVE-1 is new"]
    assert "1 high vulnerability" in late.error_of("scan")
