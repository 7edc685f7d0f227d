"""`sbom` by the real syft, and a scanner in a container, on a real engine."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imgmake.commands import sbom, scan
from imgmake.commands.base import Action, Job
from imgmake.commands.sbom import MEDIA_TYPES
from imgmake.engine.client import DockerEngine
from imgmake.errors import CommandFailed, Unknown
from imgmake.ports import Cancel, Finding
from imgmake.shell import LocalShell
from tests.conftest import Docker
from tests.fakes import RecordingOutput
from tests.unit.test_commands import view
from tests.unit.test_scan import grype, match

Do = Callable[[Action], Finding]


@pytest.fixture
def do(engine_host: str, tmp_path: Path) -> Iterator[Do]:
    """Run one command; what it found. Of what it exports nothing is left."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with DockerEngine(engine_host) as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(scratch))

        def perform(action: Action) -> Finding:
            found: list[Finding] = []
            root = tmp_path / "repo"
            root.mkdir(exist_ok=True)
            job = Job(
                view(root),
                lambda: engine,
                LocalShell(),
                RecordingOutput(),
                Cancel(),
                {"PATH": os.environ["PATH"]},
                found.append,
            )
            action.run(job)
            return found[0]

        yield perform
    assert list(scratch.iterdir()) == []


@pytest.fixture(scope="module")
def small(docker: Docker, base_image: str) -> Iterator[str]:
    """An image with nothing but Debian's list of packages."""
    files = ["/etc/os-release", "/usr/lib/os-release", "/var/lib/dpkg/status"]
    copies = [f"COPY --from=base {file} {file}" for file in files]
    name = "sbom.example:5000/team/small:20261123-1"
    recipe = "\n".join([f"FROM {base_image} AS base", "FROM scratch", *copies])
    docker("build", "-q", "-t", name, "-", stdin=recipe.encode())
    yield name
    docker("rmi", name)


@pytest.mark.parametrize("format", [*MEDIA_TYPES, "spdx-json@2.2"])
def test_two_runs_of_syft_make_one_document(do: Do, small: str, tmp_path: Path, format: str) -> None:
    first = do(sbom(small, "one.sbom", format=format))
    time.sleep(1.1 - time.time() % 1)  # the documents' own times are whole seconds
    second = do(sbom(small, "two.sbom", format=format))
    assert b"busybox-static" in first.document
    assert first == second._replace(details={**second.details, "path": "one.sbom"})
    assert (tmp_path / "repo/one.sbom").read_bytes() == (tmp_path / "repo/two.sbom").read_bytes() == first.document
    assert first.media_type == MEDIA_TYPES[format.partition("@")[0]]
    assert re.fullmatch(r"\d+\.\d+\.\d+", first.version)
    assert b"20261123-1" not in first.document, "a tag changes from build to build"
    assert b"imgmake-" not in first.document, "a path of this machine"


def test_an_sbom_of_debian(do: Do, base_image: str) -> None:
    found = do(sbom(base_image))
    document = json.loads(found.document)
    packages = {package["name"] for package in document["packages"]}
    assert (document["name"], document["spdxVersion"]) == ("debian", "SPDX-2.3")
    assert packages > {"busybox-static", "dpkg", "bash", "libc6"}
    assert found.details["packages"] > 80


# --- a scanner in a container ---------------------------------------------------------------------------------

# No scanner can be had here: this one has grype's place and form. It looks at the archive as a scanner does, keeps
# something in its database's folder, and writes the report that the last layer of its own image holds.
STAND_IN = r"""#!/bin/sh -e
echo "$1" | grep -q '^docker-archive:image.tar$'
tar -xOf image.tar manifest.json | grep -q Layers
echo "uid $(id -u)"
echo . >> "$GRYPE_DB_CACHE_DIR/runs"
[ "$(wc -l < "$GRYPE_DB_CACHE_DIR/runs")" -lt 3 ] || { echo "error: database is locked"; exit 1; }
cat /report.json > "${3#json=}"
"""


@pytest.fixture
def scanner(docker: Docker, base_image: str) -> Iterator[str]:
    name = "scanning.example/grype:1"
    report = json.dumps(grype(match("CVE-2026-1", "High", "bash", "5.3"), match("CVE-2026-2", "Low", "dpkg")))
    text = [f"printf %s '{_octal(content)}' | xargs -0 printf > {path}" for path, content in
            (("/grype", STAND_IN), ("/report.json", report))]  # fmt: skip
    recipe = f'FROM {base_image}\nRUN {" && ".join(text)} && chmod 755 /grype\nENTRYPOINT ["/grype"]\n'
    docker("build", "-q", "-t", name, "-", stdin=recipe.encode())
    yield name
    docker("rmi", "-f", name)
    docker("volume", "rm", "-f", f"imgmake-grype-{os.getuid()}")


def _octal(text: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in text.encode())


def test_a_scanner_in_a_container(do: Do, docker: Docker, base_image: str, scanner: str) -> None:
    before = set(docker("ps", "-aq").split())
    with pytest.raises(CommandFailed, match="has 1 high vulnerability that count"):
        do(scan(base_image, scanner=scanner, report="out/scan.json", max_db_age="9999d"))
    found = do(scan(base_image, scanner=scanner, severity="CRITICAL", max_db_age="9999d"))
    assert found.summary == "1 high, 1 low"
    with pytest.raises(Unknown, match="exit code 1: error: database is locked"):
        do(scan(base_image, scanner=scanner))
    assert set(docker("ps", "-aq").split()) == before
