"""Nothing that follows from what rules read needs to be written: from a clean clone, with eight jobs, all is right."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Docker
from tests.e2e.kit import repository

PIPEFILE = """
from imgmake import *

phony("all", "image-tests", "report.html", "child", "app")   # the wrong way round, on purpose
check("image-tests", structure_test("inferred/app:1", "structure-tests.yaml"))
image("child", tags="inferred/child:1", dockerfile="child.df")
app = image("app", tags="inferred/app:1", stage="default")
file("report.html", sh("docker run --rm $IMAGE cat /app.jar > $out", IMAGE=app))
file("target/app.jar", "src/", sh("sleep 1; cat src/* > $out"))
file("structure-tests.yaml", "structure.in", sh("sleep 1; cp structure.in $out"))
phony("runtime", sh("exit 1"))   # called like a stage of the Dockerfile
default("all")
"""
DOCKERFILE = """
FROM debian:bookworm-slim AS runtime
FROM runtime AS build
COPY . /src
RUN test ! -e /src/report.html
FROM runtime AS default
COPY --from=build /src/target/*.jar /app.jar
"""
STRUCTURE = """
schemaVersion: 2.0.0
fileExistenceTests:
  - {name: the jar, path: /app.jar, shouldExist: true, permissions: "-rw-r--r--"}
"""


def test_from_a_clean_clone_with_eight_jobs(
    tmp_path: Path, docker: Docker, base_image: str, tools: dict[str, str]
) -> None:
    repo = repository(tmp_path / "repo", env=tools)
    for path, text in {
        "Pipefile.py": PIPEFILE,
        "Dockerfile": DOCKERFILE,
        "child.df": "FROM inferred/app:1\nRUN test -s /app.jar\n",
        "structure.in": STRUCTURE,
        "src/a": "jar\n",
        ".gitignore": "target\nstructure-tests.yaml\nreport.html\n",
    }.items():
        repo.write(path, text)
    repo.commit()

    first = repo.told("-j8", "all")
    made = {"target/app.jar", "structure-tests.yaml", "app", "child", "image-tests", "report.html"}
    assert first.done == made
    assert (repo.path / "report.html").read_text() == "jar\n"
    assert any("report.html" in str(event) for event in first.events if event["event"] == "note")
    assert repo.told("-j8", "all").done == set()

    repo.write("src/a", "other jar\n")
    assert repo.told("-j8", "all").done == made - {"structure-tests.yaml"}
    assert docker("run", "--rm", "inferred/child:1", "cat", "/app.jar") == "other jar\n"
