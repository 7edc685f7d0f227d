"""Evidence in whole runs on fakes: what a check showed is kept, found again, and goes with what is published."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgmake import stamp
from imgmake.ports import Evidence
from tests.unit.runs import Repo

APP = """
app = image("app", tags=f"shop/app:{BUILD_ID}")
check("smoke", sh("true", IMAGE=app), "tests.yaml")
"""


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path).write(Dockerfile="FROM scratch\nCOPY src /src\n", src__a="1", tests__yaml="cases: []\n")
    return made.put("src/a", "1").pipefile(APP)


def kept(repo: Repo, target: str) -> list[Evidence]:
    with repo.session(read_only=True) as (session, _):
        return list(session.run.world.state.evidence(target))


def content_of(repo: Repo) -> str:
    assert repo.engine is not None
    seals = [seal for image in repo.engine.images(["shop/app"]) if (seal := stamp.read(image)) is not None]
    return max(seals, key=lambda seal: seal.time).content


def test_a_check_that_passes_keeps_what_it_examined_and_how(repo: Repo) -> None:
    assert repo.run("smoke").failed == []
    (evidence,) = kept(repo, "smoke")
    assert evidence.images == (content_of(repo),)
    assert [path for path, _ in evidence.files] == ["tests.yaml"]
    assert [(f.tool, f.version) for f in evidence.findings] == [("sh", "")]
    assert evidence.time >= evidence.began > 0


def test_how_it_was_examined_does_not_hang_on_what_was(repo: Repo) -> None:
    repo.run("smoke")
    repo.put("src/a", "2").run("smoke")
    other, first = kept(repo, "smoke")
    assert other.configuration == first.configuration
    assert other.images != first.images
    repo.put("tests.yaml", "cases: [one]\n").run("smoke")
    assert kept(repo, "smoke")[0].configuration != first.configuration


def test_a_check_that_fails_shows_nothing(repo: Repo) -> None:
    repo.pipefile(APP.replace('"true"', '"false"'))
    assert repo.run("smoke").failed == ["smoke"]
    assert kept(repo, "smoke") == []


def test_a_file_that_examines_nothing_keeps_nothing(repo: Repo) -> None:
    repo.pipefile('file("out", sh("echo 1 > out"))').run("out")
    assert kept(repo, "out") == []
