"""SBOMs and scans in whole runs of the command: what is stale, what is shown, what stops."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import Docker
from tests.e2e.kit import ROOT, Repo, repository
from tests.e2e.test_docs import page
from tests.unit.test_scan import GOOD, STAND_IN, grype, match

PIPEFILE = """from imgmake import *

root = image("root", tags="scanning-root", dockerfile="app.df", stage="root")
manifest = file("dist/packages.spdx.json", sbom(root))
app = image("app", tags=f"scanning-app:{BUILD_ID}", dockerfile="app.df", stage="app")
phony("sizes", manifest, sh("wc -c $in"))
file("dist/sum", manifest, sh("sha256sum $in > $out"))
check("scan", scan(app, report="dist/scan.json"))
phony("all", app, "dist/sum")
"""


@pytest.fixture
def repo(tmp_path: Path, docker: Docker, base_image: str, tools: dict[str, str]) -> Repo:
    """The page's repository: a stage, the list of its packages, and the stage that holds the list."""
    told = next(block.text for block in page("docs/scanning.md").blocks if block.text.startswith("FROM "))
    folder = tmp_path / "scanning"
    folder.mkdir()
    (folder / "app.df").write_text("\n".join(line for line in told.splitlines() if not line.startswith("RUN")))
    (folder / "Pipefile.py").write_text(PIPEFILE)
    programs = tmp_path / "bin"
    programs.mkdir()
    return repository(folder, env={**tools, "PATH": f"{programs}:{tools['PATH']}", "HERE": str(tmp_path)})


def install(repo: Repo, *matches: object) -> Path:
    """A stand-in for grype on PATH; returns its folder."""
    here = Path(repo.env["HERE"])
    (here / "bin/grype").write_text(STAND_IN)
    (here / "bin/grype").chmod(0o755)
    (here / "report.json").write_text(json.dumps(grype(*matches, built=datetime.now(UTC))))  # type: ignore[arg-type]
    (here / "behave").write_text(GOOD)
    return here


def test_a_manifest_in_the_image_and_nothing_stale_without_reason(repo: Repo, docker: Docker) -> None:
    assert repo.told("all").done == {"root", "dist/packages.spdx.json", "app", "dist/sum"}
    assert repo.told("all").done == set()
    name = docker("images", "-q", "scanning-app").split()[0]
    inside = docker("run", "--rm", name, "cat", "/usr/share/doc/app/packages.spdx.json")
    assert json.loads(inside)["name"] == "scanning-root"
    assert docker("run", "--rm", name, "head", "-1", "/usr/share/doc/app/app.df").startswith("FROM debian")
    # Removed, the list is made again; it is the same to the byte, so that nothing else has to be.
    (repo.path / "dist/packages.spdx.json").unlink()
    assert repo.told("all").done == {"dist/packages.spdx.json"}


def test_a_scan_from_the_command_line(repo: Repo) -> None:
    here = install(repo, match("CVE-1", "Low", "bash"))
    printed = repo.imgmake("-n", "scan").out
    assert "\ndocker save -o image.tar scanning-app:" in printed.replace("  ", "").replace("\r", "")
    assert "grype docker-archive:image.tar -o json=dist/scan.json" in printed
    assert not (here / "calls").exists()
    assert "scan" in repo.told("scan").done
    assert repo.told("scan").done == set()
    (here / "behave").write_text("echo 'failed to load vulnerability db' >&2; exit 1\n")
    unknown = repo.told("-B", "scan", code=2)
    assert any("unknown: grype ended with exit code 1: failed to load vulnerability db; last good result" in e
               for e in unknown.errors)  # fmt: skip
    install(repo, match("CVE-1", "High", "bash"))
    assert any("1 high vulnerability" in e for e in repo.told("-B", "scan", code=2).errors)
    assert json.loads((repo.path / "dist/scan.json").read_text())["matches"][0]["vulnerability"]["severity"] == "High"


SCANNER = r"""
for word; do case $word in json=*) json=${word#json=};; --config) config=1;; esac; done
test -s image.tar && test -n "$config" && id -u > /cache/user && cat > "$json" <<END
REPORT
END
"""


def test_a_scanner_in_a_container_sees_the_image_keeps_its_database_and_may_hang(repo: Repo, docker: Docker) -> None:
    report = json.dumps(grype(match("CVE-1", "Low", "bash"), built=datetime.now(UTC)))
    for tag, script in ("1", SCANNER.replace("REPORT", report)), ("2", "echo fetching; sleep 600"):
        file = f"FROM debian:bookworm-slim\nENTRYPOINT {json.dumps(['sh', '-c', script, 'grype'])}\n"
        docker("build", "-q", "-t", f"scanning-grype:{tag}", "-", stdin=file.encode())
    repo.replace("Pipefile.py", 'report="dist/scan.json"', 'scanner="scanning-grype:1", report="dist/scan.json"')
    assert "scan" in repo.told("scan").done
    assert json.loads((repo.path / "dist/scan.json").read_text()) == json.loads(report)
    kept = docker(
        "run", "--rm", "-v", f"imgmake-grype-{os.getuid()}:/cache", "debian:bookworm-slim", "cat", "/cache/user"
    )
    assert kept == f"{os.getuid()}\n"

    repo.replace("Pipefile.py", "grype:1", 'grype:2", timeout="2s')
    (error,) = repo.told("scan", code=2).errors
    assert "unknown: grype had not ended after 2 s, and was stopped; last good result" in error
    assert docker("ps", "-aq", "--filter", "ancestor=scanning-grype:2") == ""


def test_the_page_is_linked() -> None:
    assert "(scanning.md)" in (ROOT / "docs/pipefile.md").read_text()
