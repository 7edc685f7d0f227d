"""`sbom`: what can be said without syft: its line, what counts, and documents that two runs make alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from imgmake.commands import sbom as make
from imgmake.commands.archive import repository
from imgmake.commands.base import Job, Read
from imgmake.commands.sbom import MEDIA_TYPES, reproducible
from imgmake.errors import CommandFailed, EngineError, Interrupted, PipefileError, Place
from imgmake.model import ImageRule
from imgmake.ports import Cancel, Finding
from tests.fakes import FakeEngine, FakeShell, RecordingOutput
from tests.unit.test_commands import APP, changed, view

FIRST, SECOND = "0aa1a3bf-f0e6-4d3d-94c5-2de040847285", "42a0fd24-5f63-4b5a-9560-388b1943355c"
EARLY, LATE = "2026-11-23T22:29:21Z", "2026-11-23T22:31:00.123+01:00"
DOCUMENTS = {
    "spdx-json": '{"documentNamespace":"https://x.example/a-%s","creationInfo":{"created":"%s"},'
    '"packages":[{"SPDXID":"SPDXRef-Package-a","name":"a"},{"SPDXID":"SPDXRef-DocumentRoot-Image-x"}]}',
    "spdx-tag-value": "SPDXVersion: SPDX-2.3\nDocumentNamespace: https://x.example/a-%s\nCreated: %s\nPackageName: a\n",
    "cyclonedx-json": '{"serialNumber":"urn:uuid:%s","metadata":{"timestamp":"%s"},'
    '"components":[{"type":"library","name":"a"},{"type":"operating-system","name":"debian"}]}',
    "cyclonedx-xml": '<bom serialNumber="urn:uuid:%s"><metadata><timestamp>%s</timestamp></metadata><c>a</c></bom>',
}


@pytest.mark.parametrize("format", DOCUMENTS)
def test_two_runs_make_one_document(format: str) -> None:
    first, second = (DOCUMENTS[format] % pair for pair in ((FIRST, EARLY), (SECOND, LATE)))
    made = reproducible(first.encode(), format, "2026-01-01T00:00:00Z")
    assert made == reproducible(second.encode(), f"{format}@2.3", "2026-01-01T00:00:00Z")
    found = re.search(rb"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made)
    assert found is not None
    assert b"2026-01-01T00:00:00Z" in made
    other = reproducible(first.replace("a", "b", 1).encode(), format, "2026-01-01T00:00:00Z")
    assert found[0] not in other, "another document has another identity"
    assert EARLY.encode() in reproducible(first.encode(), format, "")


def test_only_the_head_is_touched() -> None:
    text = DOCUMENTS["cyclonedx-json"] % (FIRST, EARLY) + f'{{"timestamp":"{EARLY}"}}'
    assert reproducible(text.encode(), "cyclonedx-json", "2026-01-01T00:00:00Z").endswith(
        f'{{"timestamp":"{EARLY}"}}'.encode()
    )


# --- the command ----------------------------------------------------------------------------------------------


def test_what_it_reads_writes_and_signs() -> None:
    action = make(APP, "out/app.spdx.json")
    assert (action.reads(), action.writes()) == ((Read("image", APP, "sbom"),), ("out/app.spdx.json",))
    assert changed(action, content="content-2") == {"image app"}
    assert changed(make(APP, "${TAG}.json"), values={"TAG": "2", "MESSAGE": "", "TOKEN": ""}) == {"variable TAG"}
    assert make(APP).fields(view()) != make(APP, format="cyclonedx-json").fields(view())


def test_the_printed_lines() -> None:
    assert make(APP).show(view(base="sub", outputs=("app.json",))).splitlines() == [
        "docker save -o image.tar acme/app:1.0",
        "syft scan docker-archive:image.tar --source-name acme/app -o spdx-json=sub/app.json",
        "rm image.tar",
    ]
    assert "-o cyclonedx-json\n" in make(APP, format="cyclonedx-json").show(view())


@pytest.mark.parametrize(
    ("format", "said"),
    [("spdx", "did you mean 'spdx-json'"), ("table", "it is one of"), ("spdx-json@x", "is not known"), ("", "empty")],
)
def test_formats_that_are_not_known(format: str, said: str) -> None:
    with pytest.raises(PipefileError, match=said):
        make("app:1", format=format)


def test_of_several_targets_one_has_to_be_named() -> None:
    with pytest.raises(PipefileError, match="several targets"):
        make(APP).show(view(outputs=("a.json", "b.json")))


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("acme/app:${BUILD_ID}", "acme/app"),
        ("registry.example:5000/app", "registry.example:5000/app"),
        ("registry.example:5000/${TAG}:x", "registry.example:5000/1.0"),
        ("app@sha256:" + "0" * 64, "app"),
        ("sha256:" + "0" * 64, "sha256:" + "0" * 64),
    ],
)
def test_an_image_is_called_by_its_repository(tag: str, name: str) -> None:
    rule = ImageRule(target="x", place=Place("Pipefile.py", 1), tags=(tag,))
    assert repository(rule, view()) == repository(tag, view()) == name


# --- running it -----------------------------------------------------------------------------------------------


def run(tmp_path: Path, wrote: str, code: int = 0, environ: dict[str, str] | None = None, **how: Any) -> list[Finding]:
    """`sbom` with a shell that writes as syft would."""
    engine, found, cancel = FakeEngine(), list[Finding](), Cancel()
    engine.commit_image("acme/app:1.0", files={"/a": b"1"})

    def syft(ran: Any, output: Any) -> int:
        assert (ran.cwd / "image.tar").stat().st_size > 0
        assert not any(name.startswith("SYFT_") for name in ran.env if name != "SYFT_CHECK_FOR_APP_UPDATE")
        (ran.cwd / "sbom").write_text(wrote)
        if code == 143:
            cancel.stop()
        return code

    job = Job(view(tmp_path), lambda: engine, FakeShell().on("scan", syft), RecordingOutput(), cancel,
              {"PATH": "/usr/bin", "SYFT_SCOPE": "all-layers", **(environ or {})}, found.append)  # fmt: skip
    make(APP, **how).run(job)
    return found


@pytest.mark.parametrize(("format", "number"), [("spdx-json", 1), ("cyclonedx-json", 1), ("cyclonedx-xml", None)])
def test_the_document_is_written_and_handed_over(tmp_path: Path, format: str, number: int | None) -> None:
    document = DOCUMENTS[format] % (FIRST, EARLY)
    (found,) = run(tmp_path, document, format=format, to="out/sbom", environ={"SOURCE_DATE_EPOCH": "0"})
    assert (tmp_path / "out/sbom").read_bytes() == found.document
    assert b"1970-01-01T00:00:00Z" in found.document
    assert (found.tool, found.media_type, found.details["packages"]) == ("syft", MEDIA_TYPES[format], number)


def test_a_check_keeps_it_as_evidence_only(tmp_path: Path) -> None:
    (found,) = run(tmp_path, DOCUMENTS["spdx-json"] % (FIRST, EARLY))
    assert found.summary == "spdx-json, 1 package"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrote", "code", "error", "said"),
    [
        ("", 0, CommandFailed, "wrote nothing"),
        ("{", 0, CommandFailed, "wrote no spdx-json"),
        ("[]", 0, CommandFailed, "wrote no spdx-json"),
        ("{}", 1, CommandFailed, "sbom failed with exit code 1"),
        ("", 143, Interrupted, "stopped"),
    ],
)
def test_a_syft_that_fails(tmp_path: Path, wrote: str, code: int, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        run(tmp_path, wrote, code, to="sbom.json")
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    job = Job(view(tmp_path), FakeEngine, FakeShell(), RecordingOutput(), Cancel(), {"PATH": "/usr/bin"})
    with pytest.raises(EngineError, match=r"sbom: the engine has no image none:1"):
        make("none:1").run(job)
