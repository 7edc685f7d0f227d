"""Evidence end to end: a real registry, a real engine, the real tools; what is pushed is what --verify reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Docker
from tests.e2e.kit import Repo, repository
from tests.registries import RealRegistry, real_registry

PIPEFILE = """
from imgmake import *

TOKEN = var("TOKEN", default="hunter2", secret=True)
check("lint", lint("Dockerfile"))
app = image("app", "lint", tags=f"evidence-{NAME}:{BUILD_ID}")
check("image-tests", structure_test(app, "structure-tests.yaml"))
check("smoke", run(app, "cat /app.txt"), sh("test -n $TOKEN"), "app.txt")
publish("publish", image=app, to="REGISTRY/app", tags=[BUILD_ID, "edge"])
publish("promote", image=f"REGISTRY/app:{var('FROM', default='x')}", to="REGISTRY/prod", tags="1",
        requires=["image-tests", "smoke"])
"""
TESTS = """
schemaVersion: 2.0.0
fileExistenceTests: [{name: app.txt, path: /app.txt, shouldExist: true}]
"""


@dataclass
class Shop:
    repo: Repo
    registry: RealRegistry

    def publish(self, *words: str) -> str:
        """Publish under a BUILD_ID; what is told of it."""
        return self.repo.imgmake("publish", "BUILD_ID=b1", *words).out

    def verify(self, name: str = "app:b1", code: int = 0) -> dict[str, Any]:
        (told,) = json.loads(self.repo.imgmake("--json", "--verify", f"{self.registry.host}/{name}", code=code).out)
        found: dict[str, Any] = told
        return found


@pytest.fixture
def shop(tmp_path: Path, base_image: str, tools: dict[str, str]) -> Iterator[Shop]:
    name = tmp_path.name.replace("_", "-")[-30:].strip("-")
    with real_registry(tmp_path / "registry") as registry:
        repo = repository(tmp_path / "alice", env={**tools, "HOME": str(tmp_path), "USER": "alice"})
        repo.write("Pipefile.py", PIPEFILE.replace("REGISTRY", registry.host).replace("{NAME}", name))
        repo.write("Dockerfile", f"FROM {base_image}\nCOPY app.txt /\n")
        repo.write("app.txt", "hello\n")
        repo.write("structure-tests.yaml", TESTS)
        repo.write(".hadolint.yaml", "ignored: []\n")
        repo.run("git", "remote", "add", "origin", "https://alice:swordfish@example.com/shop.git")
        repo.commit()
        yield Shop(repo, registry)


def test_what_was_published_tells_where_it_comes_from_and_what_it_passed(shop: Shop) -> None:
    shop.publish("TOKEN=correct-horse")
    told = shop.verify()
    assert (told["verdict"], told["problems"], told["lacks"]) == ("consistent", [], [])
    assert told["origin"]["revision"] == shop.repo.run("git", "rev-parse", "HEAD").out.strip()
    assert (told["origin"]["source"], told["origin"]["dirty"]) == ("https://example.com/shop.git", False)
    assert told["origin"]["build_id"] == "b1"
    assert told["origin"]["versions"]["engine"]
    assert [base for base, _ in told["origin"]["bases"]] == ["debian:bookworm-slim"]
    assert [(each["check"], each["tools"][0][0]) for each in told["results"]] == [
        ("image-tests", "container-structure-test"),
        ("lint", "hadolint"),
        ("smoke", "app"),
    ]
    text = shop.repo.imgmake("--verify", f"{shop.registry.host}/app:b1").out
    assert "image-tests  container-structure-test 1." in text
    assert "signature   none" in text
    _holds_nothing_private(shop)


def _holds_nothing_private(shop: Shop) -> None:
    blobs = [path.read_bytes() for path in shop.registry.log.parent.joinpath("data").rglob("*") if path.is_file()]
    statements = [blob for blob in blobs if b"in-toto.io/Statement" in blob]
    assert len(statements) == 4
    planted = [b"correct-horse", b"swordfish", b"alice", str(shop.repo.path.parent).encode()]
    assert [word for word in planted for blob in statements if word in blob] == []


def test_evidence_is_kept_for_a_publish_days_after_and_nothing_is_pushed_twice(shop: Shop) -> None:
    shop.repo.imgmake("lint", "image-tests", "smoke")
    assert shop.repo.told("publish").done == {"publish"}
    assert len(shop.verify("app:edge")["results"]) == 3
    before = len(shop.registry.requests())
    assert shop.repo.told("publish").done == set()
    assert not [r for r in shop.registry.requests()[before:] if r.method != "GET" and r.method != "HEAD"]


def test_a_promotion_takes_all_of_it_along_and_refuses_what_did_not_pass(shop: Shop) -> None:
    shop.publish()
    shop.repo.imgmake("promote", "FROM=b1")
    assert {each["check"] for each in shop.verify("prod:1")["results"]} == {"image-tests", "lint", "smoke"}
    shop.repo.replace("Pipefile.py", '"edge"])', '"edge"], evidence=False)')
    shop.repo.write("app.txt", "another\n")
    shop.repo.commit()
    shop.repo.imgmake("publish", "BUILD_ID=b2")
    refused = shop.repo.imgmake("promote", "FROM=b2", code=2)
    assert "image-tests: no result" in refused.err + refused.out
    assert "smoke: no result" in refused.err + refused.out
    assert shop.verify("prod:1")["origin"]["build_id"] == "b1"


def test_cosign_signs_by_digest_what_the_tag_will_name(shop: Shop) -> None:
    """A stand-in, as cosign is in no package here: it checks that each name is there, and that the tag is not yet."""
    bin_ = shop.repo.path.parent / "bin"
    bin_.mkdir()
    stand_in = f"""#!/bin/sh
echo "$*" >> {bin_}/log
[ "$1" = sign ] || exit 0
python3 - "$@" <<'END'
import sys, urllib.request, urllib.error
types = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
def get(host, name, version):
    url = f"http://{{host}}/v2/{{name}}/manifests/{{version}}"
    return urllib.request.urlopen(urllib.request.Request(url, headers={{"Accept": types}}))
for name in sys.argv[3:]:
    repository, _, digest = name.partition("@")
    host, _, path = repository.partition("/")
    get(host, path, digest)
try:
    get(host, path, "b1")
except urllib.error.HTTPError as error:
    sys.exit(0 if error.code == 404 else 1)
sys.exit(1)
END
"""
    (bin_ / "cosign").write_text(stand_in)
    (bin_ / "cosign").chmod(0o755)
    shop.repo.env = {**shop.repo.env, "PATH": f"{bin_}:{shop.repo.env['PATH']}"}
    shop.repo.replace("Pipefile.py", '"edge"])', '"edge"], sign=True)')
    shop.repo.commit()
    shop.publish()
    _, signed = (bin_ / "log").read_text().splitlines()
    assert len(signed.split()) == 2 + 5
    assert signed.split()[2].endswith(shop.verify()["digest"])


def test_an_image_that_nobody_published_with_imgmake_lacks_everything(shop: Shop, docker: Docker) -> None:
    docker("tag", "debian:bookworm-slim", f"{shop.registry.host}/plain:1")
    docker("push", f"{shop.registry.host}/plain:1")
    told = shop.verify("plain:1", code=1)
    assert (told["verdict"], len(told["lacks"])) == ("incomplete", 3)
    child = f"{shop.registry.host}/app:child"
    shop.publish()
    docker("build", "-q", "-t", child, "-", stdin=f"FROM {shop.registry.host}/app:b1\nENV X=1\n".encode())
    docker("push", child)
    assert shop.verify("app:child", code=1)["lacks"]
