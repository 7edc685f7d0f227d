"""Published images from two clones of one commit, with other umasks and times: the same layers, by every builder."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from tests import trixie
from tests.conftest import Docker
from tests.e2e.kit import Repo, repository

PIPEFILE = """\
from imgmake import image, publish

app = image("app", tags="reproducible/app:1")
publish("publish", image=app, to="localhost:9/app", tags="1")
image("private", tags="reproducible/private:1")
"""
FILES = {
    "Pipefile.py": PIPEFILE,
    "Dockerfile": """\
FROM debian:bookworm-slim
COPY app.sh data.txt /opt/
COPY data.txt /srv/new/folder/
RUN echo made > /srv/made && ln /srv/made /srv/linked && ln -s made /srv/link && rm /etc/debian_version
""",
    "app.sh": "#!/bin/sh\n",
    "data.txt": "data\n",
}
BUILDERS = ["buildx"] if trixie.SWITCH in os.environ else ["buildkit", "classic"]


@pytest.fixture(params=BUILDERS)
def clones(request: pytest.FixtureRequest, tmp_path: Path, base_image: str, tools: dict[str, str]) -> list[Repo]:
    """Two clones of one commit; in the second one only the owner may read anything, and everything is old."""
    env = {**({} if request.param == "buildx" else tools), "IMGMAKE_BUILDER": request.param}
    first = repository(tmp_path / "first", env=env)
    for name, text in FILES.items():
        first.write(name, text)
    (first.path / "app.sh").chmod(0o755)
    first.commit()
    second = Repo(tmp_path / "second", first.env)
    shutil.copytree(first.path, second.path)
    for name in FILES:
        path = second.path / name
        path.chmod(0o700 if name == "app.sh" else 0o600)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    second.path.chmod(0o700)
    return [first, second]


def layers(repo: Repo, docker: Docker, target: str) -> list[str]:
    """The layers of an image that is built from nothing, in a repository that knows of no other build."""
    shutil.rmtree(repo.path / ".imgmake", ignore_errors=True)
    time.sleep(1.1)  # whatever takes the clock's time shows it
    repo.imgmake("-B", target)
    found = json.loads(docker("inspect", "--format", "{{json .RootFS.Layers}}", f"reproducible/{target}:1"))
    return list(found)


def test_two_clones_give_the_same_layers(clones: list[Repo], docker: Docker) -> None:
    first, second = (layers(repo, docker, "app") for repo in clones)
    assert first == second
    commit = clones[0].run("git", "show", "--no-patch", "--format=%ct").out.strip()
    shown = docker(
        "run", "--rm", "reproducible/app:1", "sh", "-c", "cd /srv; stat -c '%n %Y %a' made new new/folder/data.txt"
    )
    assert shown.splitlines() == [f"made {commit} 644", f"new {commit} 755", f"new/folder/data.txt {commit} 644"]
    assert docker("run", "--rm", "reproducible/app:1", "stat", "-c", "%Y", "/usr/bin/env") != f"{commit}\n"


def test_a_step_out_of_a_cache_has_the_time_of_the_commit_too(clones: list[Repo], docker: Docker) -> None:
    """Of a second commit, who had built the first one got other layers than who had not."""
    repo = clones[0]
    repo.write("Dockerfile", FILES["Dockerfile"] + "RUN touch -d 2001-09-09T01:46:40Z /srv/old\nCOPY app.sh /srv/\n")
    repo.commit()
    layers(repo, docker, "app")
    repo.write("app.sh", "#!/bin/sh\ntrue\n")
    repo.commit()
    repo.imgmake("app")
    cached = json.loads(docker("inspect", "--format", "{{json .RootFS.Layers}}", "reproducible/app:1"))
    assert cached == layers(repo, docker, "app")
    assert docker("run", "--rm", "reproducible/app:1", "stat", "-c", "%Y", "/srv/old") == "1000000000\n"


def test_no_image_is_left_on_the_way(clones: list[Repo], docker: Docker) -> None:
    """With the classic builder each build left the one with earlier times but without a stamp."""
    repo = clones[0]
    layers(repo, docker, "app")
    (repo.path / "data.txt").write_text("other\n")
    before = docker("images", "--quiet", "--no-trunc", "--filter", "dangling=true").split()
    repo.imgmake("app")
    left = set(docker("images", "--quiet", "--no-trunc", "--filter", "dangling=true").split()) - set(before)
    cache = {"classic": 1}.get(repo.env["IMGMAKE_BUILDER"], 0)
    assert len(left) == cache + 1  # and the image that had the tag


def test_a_mode_that_git_does_not_keep_makes_nothing_stale_but_in_an_image_of_ones_own(
    clones: list[Repo], docker: Docker
) -> None:
    first, second = clones
    assert layers(first, docker, "app")
    assert second.told("app").done == set()
    assert layers(first, docker, "private")
    assert second.told("private").done == {"private"}


def test_a_given_date_counts_for_every_image(clones: list[Repo], docker: Docker) -> None:
    dated = [Repo(repo.path, {**repo.env, "SOURCE_DATE_EPOCH": "1700000000"}) for repo in clones]
    first, second = (layers(repo, docker, "private") for repo in dated)
    assert first == second
    assert docker("run", "--rm", "reproducible/private:1", "stat", "-c", "%Y %a", "/opt/data.txt") == "1700000000 644\n"
