"""A repository like the book's, driven by its Makefile and by its Pipefile: the same things are made, and kept."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import Docker
from tests.e2e.kit import SHOP, Ran, Repo, repository

JAR = "target/shop-0.1.0.jar"
STRUCTURE = "structure-tests.yaml"
EVERYTHING = {JAR, "lint-dockerfile", "app-image", "image-tests"}
BUILD_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{7,}")
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Made(NamedTuple):
    """What a consumer of an image sees."""

    labels: dict[str, str]
    config: dict[str, object]
    files: dict[str, tuple[object, ...]]


class Shop(NamedTuple):
    """A shop of one test's own: its images are in a repository that no other test uses."""

    repo: Repo
    images: str
    docker: Docker

    def tags(self) -> dict[str, str]:
        """Tag to image ID."""
        lines = self.docker("image", "ls", "--no-trunc", "--format", "{{.Tag}} {{.ID}}", self.images).splitlines()
        return dict(line.split() for line in lines)

    def build_id(self) -> str:
        """The only BUILD_ID there is."""
        (tag,) = {tag for tag in self.tags() if BUILD_ID.fullmatch(tag)}
        return tag

    def all(self, *args: str, code: int = 0) -> Ran:
        return self.repo.told("all", *args, code=code)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tools: dict[str, str], docker_hub: None) -> Repo:
    """The repository with its artifact made, once."""
    repo = repository(tmp_path_factory.mktemp("built") / "shop", SHOP, tools)
    ran = repo.told("app-artifacts")
    assert ran.done == {JAR}
    return repo


@pytest.fixture
def shop(built: Repo, tmp_path: Path, docker: Docker) -> Iterator[Shop]:
    """After ``imgmake all``, in a copy of the built repository."""
    shutil.copytree(built.path, tmp_path / "shop", symlinks=True)
    images = f"example/{re.sub('[^a-z0-9]', '', tmp_path.name.lower())}"
    shop = Shop(Repo(tmp_path / "shop", {**built.env, "REPO": images}), images, docker)
    ran = shop.all()
    assert ran.done == EVERYTHING - {JAR}
    yield shop
    docker("image", "rm", "--force", *(f"{images}:{tag}" for tag in shop.tags()))


def test_all_makes_artifact_image_and_tests_under_one_build_id(shop: Shop) -> None:
    commit = shop.repo.run("git", "rev-parse", "--short", "HEAD").out.strip()
    assert shop.build_id().endswith(f"-{commit}")
    assert list(shop.tags()) == [shop.build_id()]


def test_again_nothing_runs_it_says_so_and_the_build_id_is_the_same(shop: Shop) -> None:
    before = shop.tags()
    ran = shop.repo.imgmake("all")
    assert "up to date" in ran.out + ran.err
    assert shop.build_id() in ran.out + ran.err
    assert shop.all().done == set()
    assert shop.tags() == before


def test_touched_without_a_change_nothing_runs(shop: Shop) -> None:
    before = shop.tags()
    (shop.repo.path / "src/main/java/shop/Shop.java").touch()
    assert shop.all().done == set()
    assert shop.tags() == before


def test_changed_exactly_artifact_image_and_tests_run(shop: Shop) -> None:
    shop.repo.replace("src/main/java/shop/Shop.java", "quinces", "plums")
    ran = shop.all()
    assert ran.done == {JAR, "app-image", "image-tests"}
    assert ran.reasons(JAR) == ["src/main/java/shop/Shop.java changed"]
    assert len(set(shop.tags().values())) == 2


def test_changed_structure_tests_run_alone(shop: Shop) -> None:
    before = shop.tags()
    shop.repo.replace(STRUCTURE, "Java 17 runs", "Java 17 starts")
    ran = shop.all()
    assert ran.done == {"image-tests"}
    assert ran.reasons("image-tests") == [f"{STRUCTURE} changed"]
    assert set(before) <= set(shop.tags())


def test_removed_from_the_engine_the_image_is_missing_and_built_again(shop: Shop) -> None:
    shop.docker("image", "rm", f"{shop.images}:{shop.build_id()}")
    assert "missing" in shop.repo.imgmake("--why", "app-image").out
    ran = shop.all()
    assert "app-image" in ran.done
    assert JAR not in ran.done
    assert shop.tags()


def test_without_the_records_the_image_is_still_up_to_date(shop: Shop) -> None:
    before = shop.tags()
    shutil.rmtree(shop.repo.path / ".imgmake")
    ran = shop.all()
    assert "app-image" not in ran.done
    assert JAR not in ran.done  # make's rule: no prerequisite is newer
    assert shop.tags() == before


def test_a_given_build_id_is_one_more_tag_of_the_same_image(shop: Shop) -> None:
    (image,) = set(shop.tags().values())
    assert shop.all("BUILD_ID=x").done == set()
    assert shop.tags()["x"] == image


def test_tag_names_that_image(shop: Shop) -> None:
    (image,) = set(shop.tags().values())
    assert shop.repo.told("tag", "TAG=1.0.0").done == {"tag"}
    assert shop.tags()["1.0.0"] == image


def test_after_an_edit_a_build_id_in_use_is_refused_and_nothing_moves(shop: Shop) -> None:
    shop.all("BUILD_ID=x")
    before = shop.tags()
    shop.repo.replace("src/main/java/shop/Shop.java", "quinces", "medlars")
    ran = shop.all("BUILD_ID=x", code=2)
    assert any("x" in error for error in ran.errors), ran.out
    assert shop.tags() == before


def test_clean_all_cleans_first(shop: Shop) -> None:
    ran = shop.repo.told("clean", "all")
    ends = [e["target"] for e in ran.events if e["event"] == "finished" and e["state"] == "done"]
    assert ends[:2] == ["clean", JAR]
    assert (shop.repo.path / JAR).exists()
    assert "app-image" not in ran.done  # the same sources give the same jar: the image still holds it


def test_the_tutorials_smoke_test_passes_and_is_remembered(shop: Shop) -> None:
    smoke = 'run("busybox:1.35", "wget -qO- http://shop:8080/health", services={"shop": app})'
    with (shop.repo.path / "Pipefile.py").open("a") as pipefile:
        pipefile.write(f'check("smoke-test", {smoke})\n')
    assert '{"status": "UP"}' in shop.repo.imgmake("smoke-test").out
    assert shop.repo.told("smoke-test").done == set()


def test_nothing_in_the_tree_is_another_users(shop: Shop) -> None:
    owner = shop.repo.path.stat().st_uid
    assert {path.lstat().st_uid for path in shop.repo.path.rglob("*")} == {owner}
    assert shop.repo.run("git", "status", "--short").out == ""


# --- side by side with make -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, built: Repo, tools: dict[str, str], docker: Docker
) -> dict[str, dict[str, Made]]:
    """What ``make all app-image-debug tag`` makes, then what imgmake makes under the same BUILD_ID; tag to image."""
    goals = ("all", "app-image-debug")
    made = {}
    by_make = repository(tmp_path_factory.mktemp("make") / "shop", SHOP, tools)
    by_make.run("git", "fetch", "--quiet", str(built.path), "main")
    by_make.run("git", "reset", "--quiet", "--hard", "FETCH_HEAD")  # the same commit in both
    build_id = BUILD_ID.search(by_make.run("make", *goals).out)
    assert build_id
    by_make.run("make", "tag", f"BUILD_ID={build_id[0]}", "TAG=1.0.0")
    made["make"] = _take(docker, "example/shop")
    by_imgmake = Repo(built.path, {**built.env, "REPO": "example/shop"})
    by_imgmake.told(*goals, "tag", f"BUILD_ID={build_id[0]}", "TAG=1.0.0")
    made["imgmake"] = _take(docker, "example/shop")
    return made


def test_make_and_imgmake_set_the_same_tags(both: dict[str, dict[str, Made]]) -> None:
    assert set(both["imgmake"]) == set(both["make"])
    assert len(both["make"]) == 3


def test_make_and_imgmake_write_the_same_labels(both: dict[str, dict[str, Made]]) -> None:
    for tag, by_make in both["make"].items():
        by_imgmake = both["imgmake"][tag]
        assert set(by_make.labels) <= set(by_imgmake.labels)
        dates = "org.label-schema.build-date"
        assert DATE.fullmatch(by_make.labels.pop(dates))
        assert DATE.fullmatch(by_imgmake.labels[dates])
        assert {key: by_imgmake.labels[key] for key in by_make.labels} == by_make.labels


def test_make_and_imgmake_write_the_same_files_and_configuration(both: dict[str, dict[str, Made]]) -> None:
    for tag, by_make in both["make"].items():
        by_imgmake = both["imgmake"][tag]
        assert len(by_make.files) > 100
        assert by_imgmake.files == by_make.files
        assert by_imgmake.config == by_make.config


def _take(docker: Docker, images: str) -> dict[str, Made]:
    """Everything in a repository of images, by tag; the tags are removed, so that the next one starts from nothing."""
    references = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", images).split()
    made = {reference.partition(":")[2]: _made(docker, reference) for reference in references}
    docker("image", "rm", "--force", *references)
    return made


def _made(docker: Docker, reference: str) -> Made:
    config = json.loads(docker("image", "inspect", "-f", "{{json .Config}}", reference))
    kept = {key: config.get(key) for key in ("Entrypoint", "Cmd", "Env", "ExposedPorts", "User", "WorkingDir")}
    return Made(config["Labels"], kept, _files(docker, reference))


def _files(docker: Docker, reference: str) -> dict[str, tuple[object, ...]]:
    """Type, mode, owner, link and content of everything in an image; never times."""
    container = docker("container", "create", reference).strip()
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        docker("container", "export", "--output", file.name, container)
        docker("container", "rm", container)
        with tarfile.open(file.name) as archive:
            return {member.name: _listed(archive, member) for member in archive}


def _listed(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[object, ...]:
    content = archive.extractfile(member) if member.isreg() else None
    digest = hashlib.file_digest(content, "sha256").hexdigest() if content else ""  # type: ignore[arg-type]
    return (member.type, member.mode, member.uid, member.gid, member.linkname, digest)
