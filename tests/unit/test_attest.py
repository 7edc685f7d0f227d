"""Statements about images: what is written is read again, what is not ours is refused, and nothing private gets in."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake import attest
from imgmake.attest.provenance import Build, Origin, dependencies, read_provenance, write_provenance
from imgmake.attest.required import lacking
from imgmake.attest.results import Examined, Grade, Result, read_result, write_result
from imgmake.attest.statements import Statement, Unreadable, read, subjects
from imgmake.model import Field
from imgmake.ports import Evidence, Finding
from imgmake.stamp import Stamp

INDEX, MANIFEST = "sha256:" + "a" * 64, "sha256:" + "b" * 64
SUBJECT = subjects("registry.example.com/shop", [INDEX, MANIFEST])
NOON = 1_700_000_000.0
EVIDENCE = Evidence(
    target="image-tests",
    inputs="1" * 64,
    configuration="2" * 64,
    files=(("structure-tests.yaml", "3" * 64), ("/home/alice/rules.yaml", "4" * 64)),
    images=("5" * 64,),
    findings=(Finding("container-structure-test", "1.19.3", "all of structure-tests.yaml passed"),),
    began=NOON - 5,
    time=NOON,
)
SCAN = Finding(
    "grype",
    "0.87.0",
    "2 low",
    {
        "severities": {"LOW": 1},
        "database": {"schema": "5", "built": "2023-11-14T00:00:00Z"},
        "vulnerabilities": [{"id": "CVE-2023-1", "severity": "low", "package": "zlib", "fixed": ""}],
    },
)


def document(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data)
    return found


# --- results --------------------------------------------------------------------------------------------------


def test_a_test_result_says_what_the_predicate_demands() -> None:
    made = write_result(EVIDENCE, SUBJECT, [Examined(MANIFEST, "linux/amd64")])
    told = document(made.data)
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert told["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert [each["digest"]["sha256"] for each in told["subject"]] == ["a" * 64, "b" * 64]
    assert told["predicate"]["result"] == "PASSED"
    assert told["predicate"]["passedTests"] == ["image-tests"]
    assert {each["name"]: each["digest"]["sha256"] for each in told["predicate"]["configuration"]} == {
        "imgmake:image-tests": "2" * 64,
        "structure-tests.yaml": "3" * 64,
        "rules.yaml": "4" * 64,
    }
    assert told["predicate"]["imgmake_check"]["finishedOn"] == "2023-11-14T22:13:20Z"


def test_a_reader_can_choose_by_annotations_alone() -> None:
    made = write_result(EVIDENCE, SUBJECT, [])
    assert made.artifact_type == "application/vnd.in-toto+json"
    assert made.annotations == {
        "in-toto.io/predicate-type": "https://in-toto.io/attestation/test-result/v0.1",
        "io.imgmake.check": "image-tests",
        "io.imgmake.result": "PASSED",
        "io.imgmake.configuration": "2" * 64,
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
    }


def test_a_scan_that_knows_its_database_is_a_scan() -> None:
    made = write_result(replace(EVIDENCE, target="scan", findings=(SCAN,)), SUBJECT, [])
    told = document(made.data)
    assert told["predicateType"] == "https://in-toto.io/attestation/vulns/v0.1"
    assert told["predicate"]["scanner"] == {
        "uri": "pkg:github/anchore/grype",
        "version": "0.87.0",
        "db": {"version": "5", "lastUpdate": "2023-11-14T00:00:00Z"},
        "result": [
            {
                "id": "CVE-2023-1",
                "severity": [{"method": "vendor", "score": "low"}],
                "annotations": [{"package": "zlib"}],
            }
        ],
    }
    assert told["predicate"]["imgmake_check"]["tools"][0]["details"] == {"severities": {"LOW": 1}}
    assert told["predicate"]["metadata"] == {
        "scanStartedOn": "2023-11-14T22:13:15Z",
        "scanFinishedOn": "2023-11-14T22:13:20Z",
    }
    result = read_result(read(made.data))
    assert result is not None
    assert (result.scan, result.check, result.grade) == (True, "scan", Grade.PASSED)


def test_a_scan_that_does_not_is_a_test_like_any_other() -> None:
    finding = SCAN._replace(details={"counts": {"low": 2}})
    made = write_result(replace(EVIDENCE, findings=(finding,)), SUBJECT, [])
    assert document(made.data)["predicate"]["imgmake_check"]["tools"][0]["details"] == {"counts": {"low": 2}}
    assert read(made.data).predicate_type.endswith("/test-result/v0.1")
    told = read_result(read(made.data))
    assert told is not None
    assert told.scan, "it would count for ever where a scan counts for a day"


NAMES = st.text(min_size=1)
FINDINGS = st.tuples(NAMES, st.text(), st.text()).map(lambda told: Finding(*told))


@given(NAMES, st.lists(FINDINGS, min_size=1), st.integers(0, 2**33))
def test_what_is_written_is_read_again(check: str, findings: list[Finding], time: int) -> None:
    evidence = replace(EVIDENCE, target=check, findings=tuple(findings), time=float(time))
    made = write_result(evidence, SUBJECT, [Examined(MANIFEST, "linux/arm64")])
    assert write_result(evidence, SUBJECT, [Examined(MANIFEST, "linux/arm64")]) == made
    statement = read(made.data)
    assert statement.is_about(INDEX)
    assert statement.is_about(MANIFEST)
    assert not statement.is_about("sha256:" + "c" * 64)
    tools = tuple((f.tool, f.version, f.summary) for f in findings)
    expected = Result(check, Grade.PASSED, float(time), tools, "2" * 64, ("linux/arm64",))
    assert read_result(statement) == expected


@given(st.binary() | st.recursive(st.none() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_what_is_no_statement_is_unreadable_and_nothing_worse(junk: Any) -> None:
    with pytest.raises(Unreadable):
        read(junk if isinstance(junk, bytes) else json.dumps(junk).encode())


LIES = {
    "no result at all": {"result": "PASSED", "imgmake_check": {"name": "t", "finishedOn": "2023-11-14T22:13:20Z"}},
    "no time": {"result": "PASSED", "imgmake_check": {"name": "t", "result": "PASSED", "finishedOn": "today"}},
    "two results": {
        "result": "FAILED",
        "imgmake_check": {"name": "t", "result": "PASSED", "finishedOn": "2023-11-14T22:13:20Z"},
    },
    "no name": {"result": "PASSED", "imgmake_check": {"result": "PASSED", "finishedOn": "2023-11-14T22:13:20Z"}},
}


@pytest.mark.parametrize("predicate", LIES.values(), ids=LIES.keys())
def test_a_result_that_contradicts_itself_counts_for_nothing(predicate: dict[str, Any]) -> None:
    told = read(write_result(EVIDENCE, SUBJECT, []).data)
    with pytest.raises(Unreadable):
        read_result(told.model_copy(update={"predicate": predicate}))


def test_a_statement_of_somebody_else_is_no_result() -> None:
    told = {"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": "https://example.com/x"}
    assert read_result(read(json.dumps(told).encode())) is None
    assert read_provenance(read(json.dumps(told).encode())) is None


# --- requirements ---------------------------------------------------------------------------------------------


def result(age: float, grade: Grade = Grade.PASSED, *, scan: bool = False, said: str = "") -> Result:
    return Result("scan", grade, NOON - age, (("grype", "", said),) if said else (), scan=scan)


ENOUGH = {
    "no result": ([], None, "scan: no result"),
    "one that passed, however old": ([result(9e8)], None, ""),
    "a scan of today": ([result(86_000, scan=True)], None, ""),
    "a scan of the day before": (
        [result(3 * 86_400, scan=True)],
        None,
        "scan: the last result is 3 d old (max 1 d)",
    ),
    "a scan of the day before, where that is enough": ([result(3 * 86_400, scan=True)], 1e6, ""),
    "older than max_age": ([result(7200)], 3600, "scan: the last result is 2 h old (max 1 h)"),
    "a failure after a pass": ([result(60), result(30, Grade.FAILED)], None, "scan: it failed 30 s ago"),
    "a pass after a failure": ([result(30), result(60, Grade.FAILED)], None, ""),
    "unknown since": (
        [result(5 * 3600), result(30, Grade.UNKNOWN, said="grype could not run")],
        None,
        "scan: unknown (grype could not run); last good result 5 h ago",
    ),
    "never known": ([result(30, Grade.UNKNOWN)], None, "scan: unknown; no good result"),
    "from the future": ([result(-3600)], None, "scan: its only result is from the future"),
    "a pass from the future does not hide a failure": (
        [result(-3600), result(30, Grade.FAILED)],
        None,
        "scan: it failed 30 s ago",
    ),
    "another machine's clock": ([result(-30)], None, ""),
    "of another check": ([result(30)._replace(check="smoke")], None, "scan: no result"),
}


@pytest.mark.parametrize(("results", "max_age", "line"), ENOUGH.values(), ids=ENOUGH.keys())
def test_what_is_required_is_passed_and_fresh(results: list[Result], max_age: float | None, line: str) -> None:
    assert lacking("scan", results, max_age=max_age, now=NOON) == line


# --- provenance -----------------------------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SEAL = Stamp(
    fingerprint="f" * 64,
    content="c" * 64,
    bases=(("debian:12", "sha256:" + "d" * 64), ("local:1", "sha256:" + "e" * 64)),
    digests={"debian:12": "sha256:" + "9" * 64},
    metadata={
        "BUILD_ID": "20231114-221320-0123456",
        "VCS_REF": COMMIT,
        "VCS_URL": "https://alice:hunter2@example.com/shop.git?token=hunter2",
    },
    groups={"builder": "buildkit", "instruction": "123456789abc"},
    dirty=False,
    tools={"imgmake": "0.1.0", "engine": "28.0.1", "builder": "buildx"},
    began=NOON - 60,
    time=NOON,
)
INPUTS = (
    Field("instruction", "RUN curl https://alice:hunter2@example.com/", "1"),
    Field("argument", "PROXY", "http://alice:hunter2@proxy.example.com:3128"),
    Field("option", "0", "--secret=id=token,src=/home/alice/.token"),
    Field("file", "src/app.py", "0644:file:" + "7" * 64),
    Field("folder", "assets (/home/alice/assets)", "8" * 64),
    Field("image", "shop/base:1", "6" * 64),
)
BUILD = Build(
    digest=MANIFEST,
    platform="linux/amd64",
    seal=SEAL,
    target="app-image",
    pipefile="Pipefile.py",
    dockerfile="multi-stage-runtime.df",
    context="",
    stage="app-image",
    arguments={"PROXY": "http://alice:hunter2@proxy.example.com:3128"},
    inputs=INPUTS,
)


def test_provenance_says_what_slsa_demands() -> None:
    told = document(write_provenance(SUBJECT, [BUILD]).data)
    assert told["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, run = told["predicate"]["buildDefinition"], told["predicate"]["runDetails"]
    assert definition["externalParameters"] == {
        "pipefile": "Pipefile.py",
        "platforms": ["linux/amd64"],
        "targets": [
            {
                "target": "app-image",
                "dockerfile": "multi-stage-runtime.df",
                "context": ".",
                "stage": "app-image",
                "buildArgs": {"PROXY": "http://proxy.example.com:3128"},
            }
        ],
    }
    assert definition["internalParameters"]["dirty"] is False
    assert {"kind": "file", "name": "src/app.py", "mode": "0644", "sha256": "7" * 64} in (
        definition["internalParameters"]["images"][0]["inputs"]
    )
    assert run == {
        "builder": {
            "id": "https://imgmake.io/builders/buildx",
            "version": {"imgmake": "0.1.0", "engine": "28.0.1", "builder": "buildx"},
        },
        "metadata": {
            "invocationId": "20231114-221320-0123456",
            "startedOn": "2023-11-14T22:12:20Z",
            "finishedOn": "2023-11-14T22:13:20Z",
        },
    }


def test_provenance_names_the_commit_and_every_image_that_was_used() -> None:
    told = [each.plain() for each in dependencies([BUILD, BUILD])]
    assert told == [
        {
            "name": "source",
            "uri": f"git+https://example.com/shop.git@{COMMIT}",
            "digest": {"gitCommit": COMMIT},
            "annotations": {"dirty": False},
        },
        {"name": "debian:12", "digest": {"sha256": "9" * 64}, "annotations": {"kind": "base"}},
        {
            "name": "local:1",
            "digest": {"sha256": "e" * 64},
            "annotations": {"kind": "base", "imgmake_digestOf": "the engine's image ID"},
        },
        {"name": "shop/base:1", "digest": {"imgmakeContent": "6" * 64}, "annotations": {"kind": "image"}},
    ]


def test_provenance_holds_no_secret_no_person_and_no_path_of_a_machine() -> None:
    remotes = ["alice@example.com:shop.git", "/home/alice/shop.git", "ssh://alice@example.com/shop.git"]
    for remote in [*remotes, SEAL.metadata["VCS_URL"], "file:///home/alice/shop.git"]:
        seal = SEAL.model_copy(update={"metadata": {**SEAL.metadata, "VCS_URL": remote}})
        text = write_provenance(SUBJECT, [replace(BUILD, seal=seal)]).data.decode()
        assert not [word for word in ("alice", "hunter2", "/home") if word in text], remote


def test_what_provenance_says_is_read_again() -> None:
    origin = read_provenance(read(write_provenance(SUBJECT, [BUILD]).data))
    assert origin == Origin(
        source="https://example.com/shop.git",
        revision=COMMIT,
        dirty=False,
        pipefile="Pipefile.py",
        targets=(("app-image", "multi-stage-runtime.df", "app-image"),),
        bases=(("debian:12", "sha256:" + "9" * 64), ("local:1", "sha256:" + "e" * 64)),
        images=(("linux/amd64", "f" * 64, "c" * 64),),
        build_id="20231114-221320-0123456",
        builder="buildx",
        versions={"imgmake": "0.1.0", "engine": "28.0.1", "builder": "buildx"},
        began=NOON - 60,
        finished=NOON,
    )


@pytest.mark.parametrize(("known", "told"), [((False, True), True), ((False, None), None), ((False, False), False)])
def test_one_dirty_image_makes_all_of_it_dirty(known: tuple[bool | None, ...], told: bool | None) -> None:
    builds = [replace(BUILD, seal=SEAL.model_copy(update={"dirty": each})) for each in known]
    origin = read_provenance(read(write_provenance(SUBJECT, builds).data))
    assert origin is not None
    assert origin.dirty is told


def test_a_build_that_reads_very_much_tells_of_each_kind_of_it() -> None:
    many = tuple(Field("file", f"f{i}", f"0644:file:{i:064}") for i in range(3000))
    told = document(write_provenance(SUBJECT, [replace(BUILD, inputs=many)]).data)
    image = told["predicate"]["buildDefinition"]["internalParameters"]["images"][0]
    assert "inputs" not in image
    assert image["groups"] == {"instruction": "123456789abc"}


def test_broken_provenance_is_unreadable() -> None:
    good = read(write_provenance(SUBJECT, [BUILD]).data)
    bad = {**good.predicate, "runDetails": {"builder": []}}
    with pytest.raises(Unreadable):
        read_provenance(good.model_copy(update={"predicate": bad}))


def test_provenance_of_another_build_system_is_left_alone() -> None:
    good = read(write_provenance(SUBJECT, [BUILD]).data)
    other = {"buildDefinition": {"buildType": "https://actions.github.io/buildtypes/workflow/v1"}}
    assert isinstance(good, Statement)
    assert read_provenance(good.model_copy(update={"predicate": other})) is None
    assert write_provenance(SUBJECT, [BUILD]).artifact_type == attest.IN_TOTO
