"""Old builds in a real engine: what ``--gc`` lists and removes, and everything that it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Docker
from tests.e2e.kit import Repo, repository

PIPEFILE = """
from imgmake import *

app = image("app", tags=[f"NAME:{BUILD_ID}", "NAME:current"])
"""


@pytest.fixture
def name(tmp_path: Path, docker: Docker) -> Iterator[str]:
    """What images are called; all of them are removed in the end."""
    called = f"gc-{tmp_path.parent.name}"
    yield called
    docker("image", "rm", "--force", *docker("image", "ls", "-q", f"{called}*").split())


def built(path: Path, name: str, source: str, tools: dict[str, str], count: int) -> Repo:
    """A repository with so many builds, under the BUILD_IDs b1, b2, …"""
    repo = repository(path, env=tools)
    repo.run("git", "remote", "add", "origin", source)
    repo.write("Pipefile.py", PIPEFILE.replace("NAME", name))
    repo.write("Dockerfile", 'FROM scratch\nCOPY app.txt /\nCMD ["/app.txt"]\n')
    for number in range(1, count + 1):
        repo.write("app.txt", f"{source} {number}")
        repo.commit()
        repo.imgmake("app", f"BUILD_ID=b{number}")
    return repo


def test_old_builds_go_and_nothing_else(name: str, tmp_path: Path, docker: Docker, tools: dict[str, str]) -> None:
    repo = built(tmp_path / "shop", f"{name}-shop", "https://example.com/shop.git", tools, 6)
    built(tmp_path / "other", f"{name}-other", "https://example.com/other.git", tools, 3)
    shop = f"{name}-shop"
    docker("tag", f"{shop}:b2", f"{shop}:1.0.0")
    docker("build", "-q", "-t", f"{name}-child:b1", "-", stdin=f"FROM {shop}:b1\nENV X=1\n".encode())
    docker("create", "--name", shop, f"{shop}:b3")
    untagged = docker("inspect", "-f", "{{.Id}}", f"{shop}:b4").strip()
    docker("tag", f"{name}-child:b1", f"{shop}:b4")  # what bore that tag has none now
    assert untagged in dangling(docker)
    before = held(docker, name)

    listed = repo.imgmake("--gc", "--keep", "2").out
    assert [tag for tag in ("b1", "b2", "b3", "b4", "b5", "b6", "1.0.0", "current") if f"{shop}:{tag}" in listed] == [
        "b1",
        "b2",
        "b3",
    ]
    assert "other" not in listed
    assert held(docker, name) == before, "it only lists"

    repo.imgmake("--gc", "--keep", "2", "--yes")
    assert before - held(docker, name) == {f"{shop}:b1", f"{shop}:b2", f"{shop}:b3"} - used(docker, shop)
    assert untagged not in dangling(docker)
    docker("rm", shop)
    repo.imgmake("--gc", "--keep", "2", "--yes")
    assert before - held(docker, name) == {f"{shop}:b1", f"{shop}:b2", f"{shop}:b3"}
    assert "nothing" in repo.imgmake("--gc", "--keep", "2").out
    assert docker("inspect", "-f", "{{.Config.Env}}", f"{name}-child:b1")


def used(docker: Docker, container: str) -> set[str]:
    return {docker("inspect", "-f", "{{.Config.Image}}", container).strip()}


def dangling(docker: Docker) -> list[str]:
    return docker("image", "ls", "-q", "--no-trunc", "--filter", "dangling=true").split()


def held(docker: Docker, name: str) -> set[str]:
    return set(docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{name}*").split())
