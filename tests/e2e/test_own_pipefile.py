"""imgmake builds its own image with its own Pipefile, from wheels and Debian's packages, without a registry."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterator

import pytest

from tests.conftest import Docker
from tests.e2e import bases
from tests.e2e.kit import ROOT, Repo, repository

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
WHEEL = f"dist/imgmake-{VERSION}-py3-none-any.whl"
REPO = "imgmake-own"
BOOK = "clean metadata app-artifacts lint-dockerfile app-image app-image-debug image-tests inspect-image-labels tag all"
DEBIAN = bases.Base(packages=("ca-certificates", "git", "python3-venv"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, tools: dict[str, str], docker: Docker) -> Iterator[Repo]:
    """This repository as it stands, after ``imgmake all``; the files of its base come from the tests' cache."""
    path = tmp_path_factory.mktemp("own") / "imgmake"
    for name in _tracked():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, path / name)
    repo = repository(path, env={**tools, "REPO": REPO})
    assert "mmdebstrap" in repo.imgmake("-n", "all").out
    (path / "build").mkdir(exist_ok=True)
    shutil.copyfile(bases.tar(DEBIAN), path / "build/base.tar")
    ran = repo.told("all")
    assert ran.done == {WHEEL, "dist/wheels.tar", "base", "lint-dockerfile", "app-image", "image-tests"}
    yield repo
    docker("image", "rm", "--force", *_references(docker), f"{REPO}-base")


def _tracked() -> list[str]:
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    return [name for name in listed if name and (ROOT / name).is_file()]


def _references(docker: Docker) -> list[str]:
    return docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", REPO).split()


def test_it_has_the_books_targets(own: Repo) -> None:
    listed = {line.split()[0] for line in own.imgmake("--list").out.splitlines()}
    assert set(BOOK.split()) <= listed


def test_the_image_runs_imgmake(own: Repo, docker: Docker) -> None:
    (reference,) = _references(docker)
    assert docker("run", "--rm", "--network=none", reference, "--version").strip() == f"imgmake {VERSION}"


def test_again_nothing_runs(own: Repo) -> None:
    assert own.told("all").done == set()


def test_the_debug_image_runs_it_in_pythons_development_mode(own: Repo, docker: Docker) -> None:
    assert own.told("app-image-debug").done == {"app-image-debug"}
    (reference,) = (name for name in _references(docker) if name.endswith("-debug"))
    assert docker("run", "--rm", reference, "--version").strip() == f"imgmake {VERSION}"
    docker("image", "rm", reference)


def test_labels_and_tag_are_of_the_image_that_is_there(own: Repo, docker: Docker) -> None:
    images = {reference: docker("image", "inspect", "-f", "{{.Id}}", reference) for reference in _references(docker)}
    labels = json.loads(own.imgmake("--silent", "inspect-image-labels").out)
    assert f"{REPO}:{labels['org.opencontainers.image.version']}" in images
    own.imgmake("tag", "TAG=1.0.0")
    assert {docker("image", "inspect", "-f", "{{.Id}}", f"{REPO}:1.0.0")} == set(images.values())
    docker("image", "rm", f"{REPO}:1.0.0")


def test_clean_removes_the_artifacts_and_keeps_the_base(own: Repo) -> None:
    own.imgmake("clean")
    assert not (own.path / "dist").exists()
    assert (own.path / "build/base.tar").exists()
