"""The tutorial's repository with its Makefile alone: migrated, it works on an engine at once, and without an edit."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest

from tests.conftest import Docker
from tests.e2e.kit import SHOP, Repo, repository

JAR = "target/shop-0.1.0.jar"
BUILD_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{7,}")


@pytest.fixture(scope="module")
def images() -> str:
    """A repository of images that no other test uses."""
    return "example/migrated"


@pytest.fixture(scope="module")
def repo(
    tmp_path_factory: pytest.TempPathFactory, tools: dict[str, str], docker_hub: None, docker: Docker, images: str
) -> Iterator[Repo]:
    """After ``imgmake --migrate``, everything under git."""
    source = tmp_path_factory.mktemp("source") / "shop"
    shutil.copytree(SHOP, source, ignore=shutil.ignore_patterns("Pipefile.py", "target", ".imgmake"))
    makefile = (source / "Makefile").read_text()
    (source / "Makefile").write_text(makefile.replace("example/shop", images))
    repo = repository(tmp_path_factory.mktemp("migrated") / "shop", source, tools)
    repo.imgmake("--migrate")
    repo.commit("Migrated")
    yield repo
    docker("image", "rm", "--force", *(f"{images}:{tag}" for tag in tags(docker, images)))


def tags(docker: Docker, images: str) -> dict[str, str]:
    """Tag to image ID."""
    lines = docker("image", "ls", "--no-trunc", "--format", "{{.Tag}} {{.ID}}", images).splitlines()
    return dict(line.split() for line in lines)


def test_all_works_at_once(repo: Repo, docker: Docker, images: str) -> None:
    ran = repo.told("all")
    assert ran.done >= {JAR, "lint-dockerfile", "app-image", "image-tests"}
    assert (repo.path / JAR).is_file()
    (tag,) = tags(docker, images)
    assert BUILD_ID.fullmatch(tag)
    labels = docker("image", "inspect", "-f", "{{json .Config.Labels}}", f"{images}:{tag}")
    commit = repo.run("git", "rev-parse", "HEAD").out.strip()
    assert f'"org.label-schema.vcs-ref":"{commit}"' in labels
    assert f'"org.label-schema.version":"{tag}"' in labels


def test_again_nothing_is_built_or_tested(repo: Repo, docker: Docker, images: str) -> None:
    repo.told("all")
    before = tags(docker, images)
    assert repo.told("all").done <= {"metadata"}  # which only prints
    assert tags(docker, images) == before


def test_the_variant_for_debugging_and_a_tag_go_with_the_image_just_made(
    repo: Repo, docker: Docker, images: str
) -> None:
    repo.told("all")
    before = tags(docker, images)
    repo.told("app-image-debug", "tag", "TAG=1.0.0")
    after = tags(docker, images)
    (debug,) = (tag for tag in after if tag.endswith("-debug"))
    (image,) = set(before.values())
    assert after["1.0.0"] == after[debug.removesuffix("-debug")] == image != after[debug]


def test_make_and_imgmake_still_come_to_the_same(repo: Repo) -> None:
    told = repo.imgmake("--check").out
    assert re.search(r"11 compared: .* 0 different", told)
    assert repo.run("git", "status", "--short").out == ""
