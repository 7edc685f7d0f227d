"""Tools that a Makefile runs in a container, and what becomes of them; the book's rules, spelt anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgmake.app.migrating import Migrated, migrate_makefile
from imgmake.app.options import Options
from imgmake.migrate import contained
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.python import Part

ENVIRON = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root"}
CST = "gcr.io/gcp-runtimes/container-structure-test:v1.6.0"
SOCK = "-v /var/run/docker.sock:/var/run/docker.sock"


def words(text: str) -> list[str] | None:
    found = contained.tool([Part(text)])
    return ["".join(part.text for part in word) for word in found.words] if found is not None else None


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("docker run --rm -i hadolint/hadolint < app.df", "hadolint app.df"),
        ("docker container run --rm -i hadolint/hadolint:v1.15.0 hadolint --ignore DL3018 - < \\\n a.df",
         "hadolint --ignore DL3018 a.df"),
        ("cat Dockerfile | docker run --rm -i ghcr.io/hadolint/hadolint hadolint --ignore=DL3008 -",
         "hadolint --ignore DL3008 Dockerfile"),
        ('docker run --rm -v "$PWD":/src:ro -w /src hadolint/hadolint hadolint web/Dockerfile',
         "hadolint web/Dockerfile"),
        (f"docker run {SOCK} -v $(pwd)/tests.yaml:/t.yaml {CST} test --image a:1 --config /t.yaml",
         "container-structure-test test --image a:1 --config tests.yaml"),
        (f"docker run --rm -it {SOCK} -v $PWD:/src {CST} test --image a:1 --config=/src/ci/t.yaml",
         "container-structure-test test --image a:1 --config=ci/t.yaml"),
    ],
)  # fmt: skip
def test_what_a_tool_would_be_told_without_its_container(command: str, expected: str) -> None:
    assert words(command) == expected.split()


@pytest.mark.parametrize(
    "command",
    [
        "docker run --rm -i acme/hadolint-like < app.df",
        "hadolint app.df",
        f"docker run --rm {SOCK} --entrypoint sh {CST} -c true",
        f"docker run --rm {SOCK} {CST} version",
        "docker run --rm alpine echo hadolint",
    ],
)
def test_what_is_no_such_tool(command: str) -> None:
    assert words(command) is None


@pytest.mark.parametrize(
    "command",
    [
        "docker run --rm -i hadolint/hadolint hadolint --format json - < app.df",
        "docker run --rm -i hadolint/hadolint < app.df | tee log",
        f"docker run {SOCK} -v /etc/t.yaml:/t.yaml {CST} test --image a:1 --config /t.yaml",
        f"docker run {SOCK} {CST} test --image a:1 --config /t.yaml",
    ],
)
def test_what_is_told_more_stays_as_it_is(command: str) -> None:
    with pytest.raises(Uncovered):
        words(command)


BOOK = """
JAR := target/app.jar

$(JAR):
	@echo "Building the artifact"
	docker run -it --rm -v "$(shell pwd)":/project/ -w /project/ maven:3 mvn clean verify

.PHONY: lint image tests node
lint:
	@set -e
	@echo "Linting"
	docker container run --rm -i hadolint/hadolint:v1 < app.df

image: lint $(JAR)
	docker build -t acme/app:1 -f app.df .

tests:
	@echo "Testing"
	docker run --rm -it -v /var/run/docker.sock:/var/run/docker.sock -v $(shell pwd)/t.yaml:/t.yaml \\
	gcr.io/gcp-runtimes/container-structure-test:v1 test --image acme/app:1 --config /t.yaml

node:
	docker run --rm -v "$(CURDIR)":/src -w /src node:20 ./configure
"""


@pytest.fixture
def book(tmp_path: Path) -> Migrated:
    for name in ("Makefile", "pom.xml", "app.df", "t.yaml", "src/App.java"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(BOOK if name == "Makefile" else "FROM scratch\n")
    return migrate_makefile(Options(directory=tmp_path, environ=ENVIRON), write=False)


def test_the_book_s_rules(book: Migrated) -> None:
    text = book.migration.pipefile.text
    build = 'file(JAR, "pom.xml", "src/", run("maven:3", "mvn clean verify", mounts={".": "/project"}))'
    for line in (build, 'check("lint", lint("app.df"))', 'check("tests", structure_test(image, "t.yaml"))'):
        assert line.replace("(image,", "(image_,") in text or line in text, text
    assert "sh(" in text.partition('phony("node"')[2]  # who knows what it would be allowed to do as somebody else


def test_the_comparison_says_what_is_better(book: Migrated) -> None:
    why = {each.target: (each.verdict, "; ".join(each.why)) for each in book.compared}
    assert {verdict for verdict, _ in why.values()} == {"better", "same"}
    assert "what it leaves is yours, not root's; needs no terminal" in why["target/app.jar"][1]
    assert "hadolint runs without a container" in why["lint"][1]
    assert "container-structure-test runs without a container" in why["tests"][1]
    assert why["node"] == ("same", "")


def test_what_is_done_instead_is_told(book: Migrated) -> None:
    told = " ".join(note.why for note in book.migration.pipefile.notes)
    assert "pom.xml and src/ are what it is made from" in told
    assert "the container runs as you" in told
    said = {each.what.split(",")[0]: each.instead for each in book.migration.findings}
    assert said["target/app.jar has no prerequisites"].startswith("the Pipefile names pom.xml and src/")
    assert "without a terminal" in said["tests: docker run -it"]


@pytest.mark.parametrize("builder", ["mvn", "npm"])
def test_sources_are_those_that_are_there(builder: str) -> None:
    assert contained.sources([builder, "x"], ["pom.xml", "package.json"]) == (
        ("pom.xml",) if builder == "mvn" else ("package.json",)
    )
    assert contained.sources([], ["pom.xml"]) == ()


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ("/usr/bin/env bash -o errexit -o pipefail -o nounset", '"set -o pipefail -o nounset; a | b", shell="bash"'),
        ("/bin/bash -e", '"a | b", shell="/bin/bash"'),
        ("/bin/bash", '"a | b", shell="/bin/bash"'),
        ("bash -euo pipefail", '"set -euo pipefail; a | b", shell="bash"'),
        ("/bin/sh\n.SHELLFLAGS := -ec", '"a | b"'),
    ],
)
def test_options_in_SHELL_are_no_part_of_its_name(tmp_path: Path, shell: str, expected: str) -> None:  # noqa: N802
    (tmp_path / "Makefile").write_text(f"SHELL := {shell}\n.PHONY: a\na:\n\ta | b\n")
    found = migrate_makefile(Options(directory=tmp_path, environ=ENVIRON), write=False)
    assert f'phony("a", sh({expected}))' in found.migration.pipefile.text
    assert [each.verdict for each in found.compared] == ["same"]


@pytest.mark.parametrize(("flags", "text"), [("-c", "set +e; false; echo 1"), ("-ec", "false; echo 1")])
def test_a_shell_that_stops_goes_on_in_no_pipefile(tmp_path: Path, flags: str, text: str) -> None:
    (tmp_path / "Makefile").write_text(f".SHELLFLAGS := {flags}\n.PHONY: a\na:\n\tfalse; echo 1\n")
    found = migrate_makefile(Options(directory=tmp_path, environ=ENVIRON), write=False)
    assert f'phony("a", sh("{text}"))' in found.migration.pipefile.text
