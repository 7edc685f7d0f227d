"""Plans, promises and promotion as a user meets them: the command, and two registries, one with TLS and a login."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from imgmake.registry import RegistryClient
from tests.conftest import Docker
from tests.e2e.kit import Repo, repository
from tests.registries import PASSWORD, USER, RealRegistry, real_registry

PIPEFILE = """
from imgmake import *

VERSION = var("VERSION", "1.0.0")
app = image("app", tags=f"publishing-shop:{BUILD_ID}")
check("smoke", run(app, "grep -q . /app.txt"))
publish("release", image=app, to=["ONE/shop", "TWO/team/shop"], tags=[BUILD_ID, semver(VERSION)])
publish("again", image=app, to="TWO/team/shop", tags=var("TAG", "latest"))
publish("promote", image=f"TWO/team/shop:{var('FROM', '1.0.0')}", to="ONE/prod", tags="stable")
"""
COPIES = "COPY --from=base /bin/busybox /bin/grep\nCOPY app.txt /\n"


@dataclass
class Shop:
    repo: Repo
    one: RealRegistry
    two: RealRegistry

    def held(self) -> dict[str, str]:
        """Every tag in both registries, with its digest."""
        client = RegistryClient(self.repo.env)
        names = [f"{self.one.host}/shop", f"{self.two.host}/team/shop", f"{self.one.host}/prod"]
        # Tags like `sha256-…` are the fallback for referrers, where a registry lacks their API.
        found = [f"{name}:{tag}" for name in names for tag in client.tags(name) if not tag.startswith("sha256-")]
        return {reference: client.digest(reference) or "" for reference in found}

    def plan(self, *words: str, code: int = 0) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.repo.imgmake("--json", "--plan", *words, code=code).out)
        return told

    def change(self, text: str) -> None:
        self.repo.write("app.txt", text)
        self.repo.commit()


@pytest.fixture
def shop(tmp_path: Path, base_image: str, tools: dict[str, str]) -> Iterator[Shop]:
    with real_registry(tmp_path / "one") as one, real_registry(tmp_path / "two", secured=True) as two:
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker/config.json").write_text(json.dumps({"auths": {two.host: {"auth": auth}}}))
        env = {**tools, "DOCKER_CONFIG": str(tmp_path / "docker"), "SSL_CERT_FILE": str(two.ca), "HOME": str(tmp_path)}
        repo = repository(tmp_path / "shop", env=env)
        repo.write("Pipefile.py", PIPEFILE.replace("ONE", one.host).replace("TWO", two.host))
        # Two files and no system: what is pushed is small.
        repo.write("Dockerfile", f"FROM {base_image} AS base\nFROM scratch\n{COPIES}")
        repo.write(".gitignore", ".imgmake/\n")
        found = Shop(repo, one, two)
        found.change("one\n")
        yield found


def test_the_printed_plan_is_what_happens_in_both_registries(shop: Shop) -> None:
    for version, text in (("1.2.0", "a"), ("2.0.0", "b"), ("1.2.1", "c"), ("2.1.0-rc.1", "d"), ("1.3.0+x", "e")):
        shop.change(text)
        shop.repo.imgmake("app")
        before = shop.held()
        planned = shop.plan("release", f"VERSION={version}")
        assert shop.held() == before, "a plan writes nothing"
        shop.repo.imgmake("release", f"VERSION={version}")
        after = shop.held()
        changes = {change["reference"]: change for change in planned["tags"]}
        written = {reference for reference, one in changes.items() if one["action"] in ("create", "move")}
        assert written == {reference for reference, digest in after.items() if before.get(reference) != digest}
        assert {r: one["before"] for r, one in changes.items()} == {r: before.get(r, "") for r in changes}
        assert len({after[reference] for reference in written}) == 1
    tags = {reference.rpartition(":")[2]: digest for reference, digest in shop.held().items()}
    assert tags["1.2"] == tags["1.2.1"]
    assert tags["1.3"] == tags["1"] == tags["1.3.0_x"]
    assert tags["2"] == tags["latest"] == tags["2.0.0"]
    assert "2.1" not in tags
    assert "0" not in tags


def test_what_is_refused_in_one_registry_is_published_in_none(shop: Shop, docker: Docker) -> None:
    shop.repo.imgmake("release", "BUILD_ID=b1", "VERSION=1.0.0")
    shop.change("two")
    before, images = shop.held(), docker("image", "ls", "-aq", "publishing-shop").split()
    planned = shop.plan("release", "VERSION=1.0.0", code=2)
    assert [one["action"] for one in planned["tags"] if one["reference"].endswith(":1.0.0")] == ["refuse", "refuse"]
    assert f"{shop.one.host}/shop:1.0.0 holds another image" in planned["errors"][0]["message"]
    refused = shop.repo.imgmake("release", "VERSION=1.0.0", code=2)
    assert f"{shop.one.host}/shop:1.0.0 holds another image, and a version never moves" in refused.err
    assert f"so it is with {shop.two.host}/team/shop:1.0.0" in refused.err
    assert shop.held() == before
    assert docker("image", "ls", "-aq", "publishing-shop").split() == images, "nothing was built to be refused"
    shop.repo.write("app.txt", "three")
    dirty = shop.repo.imgmake("release", "VERSION=1.0.1", code=2)
    assert "would come from a dirty tree: app.txt differs from commit" in dirty.err
    assert shop.held() == before
    shop.repo.imgmake("release", "VERSION=1.0.1", "--allow-dirty")
    assert any(reference.endswith("-dirty") for reference in shop.held())


def test_what_is_claimed_twice_never_moves_or_would_go_back_is_refused_with_nothing_written(shop: Shop) -> None:
    latest = f"{shop.two.host}/team/shop:latest"
    claimed = shop.repo.imgmake("release", "again", code=2)
    assert f"publish rules 'release' and 'again' claim one tag, {latest}" in claimed.err
    assert shop.held() == {}
    shop.change("claimed")  # not what another test built under a BUILD_ID of its own
    shop.repo.imgmake("release", "VERSION=1.0.0")
    [build_id] = {tag for name in shop.held() if (tag := name.rpartition(":")[2]).startswith("20")}
    shop.change("unclaimed")
    shop.repo.imgmake("release", "VERSION=1.1.0")
    before = shop.held()
    fixed = shop.repo.imgmake("again", f"TAG={build_id}", "--allow-rollback", code=2)
    assert f":{build_id} holds another image, and a tag with a BUILD_ID never moves" in fixed.err
    back = shop.repo.imgmake("--commit", "HEAD~1", "release", "VERSION=1.2.0", code=2)
    assert f"{shop.one.host}/shop:1 holds commit " in back.err
    assert "it never moves back" in back.err
    assert latest in back.err
    assert shop.held() == before
    shop.repo.imgmake("--commit", "HEAD~1", "release", "VERSION=1.2.0", "--allow-rollback")
    assert shop.held()[latest] == before[f"{shop.one.host}/shop:1.0.0"]


def test_a_digest_is_promoted_from_one_registry_to_the_other_without_an_engine(shop: Shop) -> None:
    shop.repo.imgmake("release", "VERSION=1.0.0")
    shop.change("two")
    shop.repo.imgmake("release", "VERSION=1.1.0")
    digests = shop.held()
    shop.repo.env = {**shop.repo.env, "DOCKER_HOST": "unix:///nowhere.sock"}
    shop.repo.write("app.txt", "dirty")
    shop.repo.imgmake("promote", "FROM=1.1.0")
    assert shop.held()[f"{shop.one.host}/prod:stable"] == digests[f"{shop.two.host}/team/shop:1.1.0"]
    assert "is up to date" in shop.repo.imgmake("promote", "FROM=1.1.0").out
    verified = shop.repo.imgmake("--verify", f"{shop.one.host}/prod:stable").out
    assert "smoke" in verified, "its evidence went along"
    back = shop.repo.imgmake("promote", "FROM=1.0.0", code=2)
    assert "it never moves back" in back.err
    shop.repo.imgmake("promote", "FROM=1.0.0", "--allow-rollback")
    assert shop.held()[f"{shop.one.host}/prod:stable"] == digests[f"{shop.two.host}/team/shop:1.0.0"]
    absent = shop.repo.imgmake("promote", "FROM=1.2.0", code=2)
    assert "did you mean 1.0.0 or 1.1.0" in absent.err.replace("1.1.0 or 1.0.0", "1.0.0 or 1.1.0")


def test_where_nothing_is_built_the_registry_is_asked_alone(shop: Shop, tmp_path: Path) -> None:
    """A fresh clone on a machine without an engine gives a further version to what was published."""
    shop.repo.imgmake("release", "VERSION=1.0.0")
    shop.repo.run("git", "clone", "--quiet", str(shop.repo.path), str(tmp_path / "clone"))
    clone = Repo(tmp_path / "clone", {**shop.repo.env, "DOCKER_HOST": "unix:///nowhere.sock"})
    assert "is up to date" in clone.imgmake("release", "VERSION=1.0.0").out
    clone.imgmake("release", "VERSION=1.0.1")
    held = shop.held()
    assert held[f"{shop.one.host}/shop:1.0.1"] == held[f"{shop.two.host}/team/shop:1.0.0"]
    assert held[f"{shop.one.host}/shop:1.0"] == held[f"{shop.one.host}/shop:1.0.1"]
