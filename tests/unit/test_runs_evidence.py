"""Evidence in whole runs on fakes: what a check showed is kept, found again, and goes with what is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imgmake import stamp
from imgmake.attest.statements import seconds
from imgmake.commands.base import Job
from imgmake.commands.sbom import Sbom
from imgmake.ports import Evidence, Finding
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


# --- published ------------------------------------------------------------------------------------------------

TO = "registry.example.com/app"
PUBLISH = f"""
KEY = var("KEY", default="hunter2", secret=True)
check("lint", sh("true"), "Dockerfile")
app = image("app", "lint", tags=f"shop/app:{{BUILD_ID}}", build_args={{"PROXY": "http://alice:swordfish@proxy/"}})
check("smoke", sh("echo $KEY", IMAGE=app), "tests.yaml")
check("scan", sh("true", IMAGE=app), max_age="1d")
publish("publish", image=app, to={TO!r}, tags=BUILD_ID)
"""


@pytest.fixture
def shop(repo: Repo) -> Repo:
    repo.write(Dockerfile="FROM debian:12\nARG PROXY\nCOPY src /src\nRUN echo $PROXY\n")
    assert repo.engine is not None
    repo.engine.tag(repo.engine.commit_image(layers=["sha256:debian"]).id, "debian:12")
    return repo.pipefile(PUBLISH)


def published(repo: Repo, to: str = TO) -> str:
    (digest,) = {held.digest for name, held in repo.registry.remotes.items() if name.startswith(f"{to}:")}
    return digest


def told(repo: Repo, kind: str, to: str = TO) -> list[dict[str, Any]]:
    """Statements of one predicate type beside what was published."""
    found = repo.registry.attached[f"{to}@{published(repo, to)}"].values()
    statements = [json.loads(each.data) for each in found if each.artifact_type == "application/vnd.in-toto+json"]
    return [each for each in statements if kind in each["predicateType"]]


def test_what_is_published_goes_with_its_results_and_where_it_comes_from(shop: Repo) -> None:
    assert shop.run("publish").failed == []
    assert sorted(each["predicate"]["passedTests"][0] for each in told(shop, "test-result")) == [
        "lint",
        "scan",
        "smoke",
    ]
    (provenance,) = told(shop, "slsa")
    assert provenance["subject"] == [{"name": TO, "digest": {"sha256": published(shop).removeprefix("sha256:")}}]
    definition = provenance["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["targets"][0]["target"] == "app"
    assert [each["name"] for each in definition["resolvedDependencies"]] == ["source", "debian:12"]
    assert definition["internalParameters"]["dirty"] is False
    inputs = definition["internalParameters"]["images"][0]["inputs"]
    assert ("file", "src/a") in {(each["kind"], each.get("name")) for each in inputs}


def test_all_of_it_is_there_before_any_tag_is_set(shop: Repo) -> None:
    shop.run("publish")
    kinds = [event[0] for event in shop.registry.log if event[0] in ("send", "attach", "set_tag")]
    assert kinds == ["send", "attach", "attach", "attach", "attach", "set_tag"]


def test_nothing_that_is_pushed_holds_a_secret_a_name_or_a_path_of_the_machine(shop: Repo) -> None:
    shop.environ |= {"KEY": "correct-horse", "USER": "alice", "HOME": "/home/alice"}
    shop.git.answers["url"] = "https://alice:swordfish@example.com/shop.git"
    shop.put("tests.yaml", "cases: [2]\n").run("publish")
    data = b"".join(each.data for found in shop.registry.attached.values() for each in found.values())
    planted = [b"correct-horse", b"hunter2", b"swordfish", b"alice", str(shop.path).encode(), b"/home"]
    assert data
    assert [word for word in planted if word in data] == []


def test_evidence_of_days_ago_goes_along_when_nothing_ran_since(shop: Repo) -> None:
    shop.run("smoke", "lint")
    shop.clock.tick(5 * 86400)
    ran = shop.run("publish")
    assert ran.ran == ["publish", "scan"]
    assert sorted(each["predicate"]["passedTests"][0] for each in told(shop, "test-result")) == [
        "lint",
        "scan",
        "smoke",
    ]


def test_going_back_takes_the_evidence_of_then(shop: Repo) -> None:
    shop.run("smoke")
    first = shop.clock.now()
    shop.put("src/a", "2").run("smoke")
    shop.put("src/a", "1").run("publish")
    (smoke,) = [each for each in told(shop, "test-result") if each["predicate"]["passedTests"] == ["smoke"]]
    then = seconds(smoke["predicate"]["imgmake_check"]["finishedOn"])
    assert then is not None
    assert then < first


def test_a_check_that_is_taken_for_granted_is_nobodys_result(shop: Repo) -> None:
    """An earlier pass of the same image was pushed with `-o smoke`, though the check had failed since."""
    shop.pipefile(PUBLISH.replace("echo $KEY", "test ! -e fails")).run("smoke")
    shop.put("fails", "")
    assert shop.run("smoke", always_make=True).failed == ["smoke"]
    assert "publish" in shop.run("publish", old_file=("smoke",)).ran
    assert {each["predicate"]["passedTests"][0] for each in told(shop, "test-result")} == {"lint", "scan"}
    assert shop.run("publish", old_file=("smoke", "scan")).ran == []


def test_evidence_can_be_left_out(shop: Repo) -> None:
    shop.pipefile(PUBLISH.replace("tags=BUILD_ID)", "tags=BUILD_ID, evidence=False)")).run("publish")
    assert published(shop)
    assert not any(shop.registry.attached.values())


def test_a_newer_scan_is_pushed_though_no_tag_changes_and_nothing_else_is(shop: Repo) -> None:
    shop.run("publish")
    shop.clock.tick(2 * 86400)
    shop.registry.log.clear()
    ran = shop.run("publish")
    assert ran.ran == ["publish", "scan"]
    assert ran.reasons("publish") == ["newer result of scan"]
    assert len([each for each in told(shop, "test-result") if each["predicate"]["passedTests"] == ["scan"]]) == 2
    assert {event[0] for event in shop.registry.log} & {"send", "set_tag", "copy"} == set()
    shop.registry.log.clear()
    assert shop.run("publish").ran == []
    assert [event[0] for event in shop.registry.log].count("referrers") == 1


def test_a_scan_that_ran_by_itself_is_pushed_by_the_next_publish(shop: Repo) -> None:
    shop.run("publish")
    shop.clock.tick(2 * 86400)
    shop.run("scan")
    ran = shop.run("publish")
    assert (ran.ran, ran.reasons("publish")) == (["publish"], ["newer result of scan"])


def test_a_check_that_is_new_or_changed_is_told_though_no_tag_changes(shop: Repo) -> None:
    """`requires=` of it could never be met: the image was published, so its result was not."""
    shop.pipefile(PUBLISH).run("publish")
    shop.pipefile(PUBLISH + 'check("image-tests", sh("true", IMAGE=app), "tests.yaml")\n')
    ran = shop.run("publish")
    assert (ran.ran, ran.reasons("publish")) == (["image-tests", "publish"], ["result of image-tests is not there"])
    assert shop.run("publish").ran == []
    shop.put("tests.yaml", "cases: [one]\n").run("image-tests", "smoke")
    ran = shop.run("publish")
    assert ran.reasons("publish") == ["newer result of smoke", "newer result of image-tests"]
    assert shop.run("publish").ran == []


def test_a_result_that_says_no_more_than_another_machines_is_no_news(shop: Repo) -> None:
    """What this machine found earlier than the registry's was pushed as newer, and each machine pushed its own."""
    shop.run("scan")
    shop.clock.tick(3600)
    other = Repo(shop.path, shop.engine, shop.registry, shop.git, shop.clock, shop.environ)
    (shop.path / ".imgmake").rename(shop.path / "kept")
    other.run("publish")
    (shop.path / ".imgmake").rename(shop.path / "others")
    (shop.path / "kept").rename(shop.path / ".imgmake")
    assert shop.run("publish").ran == ["smoke"]


def test_a_rule_without_a_check_asks_nothing_more(shop: Repo) -> None:
    text = "".join(line for line in PUBLISH.splitlines(True) if not line.startswith("check"))
    shop.pipefile(text.replace('"lint", ', "")).run("publish")
    shop.registry.log.clear()
    assert shop.run("publish").ran == []
    assert "referrers" not in {event[0] for event in shop.registry.log}


def test_every_registry_is_told_the_same(shop: Repo) -> None:
    shop.pipefile(PUBLISH.replace(f"to={TO!r}", f'to=[{TO!r}, "other.example.com/app"]')).run("publish")
    one, two = (shop.registry.attached[f"{to}@{published(shop)}"] for to in (TO, "other.example.com/app"))
    assert one
    assert one == two


# --- signed ---------------------------------------------------------------------------------------------------


def cosign(repo: Repo, text: str) -> Path:
    """A stand-in for cosign on PATH, which writes down what it is asked."""
    program = repo.path.parent / "bin" / "cosign"
    program.parent.mkdir(exist_ok=True)
    log = program.with_name("log")
    program.write_text(f'#!/bin/sh\necho "$*" >> {log}\n{text}\n')
    program.chmod(0o755)
    repo.environ["PATH"] = f"{program.parent}:{repo.environ['PATH']}"
    return log


@pytest.fixture
def signing(shop: Repo) -> Repo:
    return shop.pipefile(PUBLISH.replace("tags=BUILD_ID)", "tags=BUILD_ID, sign=True)"))


def test_the_image_and_all_beside_it_are_signed_by_digest_before_the_tag(signing: Repo) -> None:
    log = cosign(signing, "")
    assert signing.run("publish").failed == []
    version, sign = log.read_text().splitlines()
    names = [
        f"{TO}@{published(signing)}",
        *(f"{TO}@{name}" for name in signing.registry.attached[f"{TO}@{published(signing)}"]),
    ]
    assert version == "version"
    assert sign.split() == ["sign", "--yes", *names]


def test_a_newer_scan_is_signed_too_and_nothing_is_signed_twice(signing: Repo) -> None:
    log = cosign(signing, "")
    signing.run("publish")
    signed = set(log.read_text().split())
    signing.clock.tick(2 * 86400)
    log.unlink()
    assert signing.run("publish").reasons("publish") == ["newer result of scan"]
    _, sign = log.read_text().splitlines()
    (new,) = sign.split()[2:]
    assert new.startswith(f"{TO}@sha256:")
    assert new not in signed


def test_without_a_signature_there_is_no_tag(signing: Repo) -> None:
    cosign(signing, 'test "$1" = version')
    ran = signing.run("publish")
    assert ran.failed == ["publish"]
    assert "cosign failed with exit code 1" in ran.error_of("publish")
    assert not [name for name in signing.registry.remotes if name.startswith(f"{TO}:")]


def test_without_cosign_nothing_is_sent(signing: Repo) -> None:
    ran = signing.run("publish")
    assert ran.failed == ["publish"]
    assert "asks for signatures, and cosign cannot be run" in ran.error_of("publish")
    assert not signing.registry.remotes


# --- SBOMs ----------------------------------------------------------------------------------------------------


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> None:
    """syft's part of `sbom`: a document that names the image."""

    def run(self: Sbom, job: Job) -> None:
        document = json.dumps({"of": job.view.content(self.image)}).encode()
        for path in job.view.outputs:
            (job.view.folder / path).write_bytes(document)
        job.found(Finding("syft", "1.2.3", "1 package", {}, document, "application/spdx+json"))

    monkeypatch.setattr(Sbom, "run", run)


@pytest.mark.usefixtures("listing")
@pytest.mark.parametrize("rule", ['check("sbom", sbom(app))', 'file("dist/sbom.json", sbom(app))'])
def test_an_sbom_is_pushed_as_it_is(shop: Repo, rule: str) -> None:
    shop.pipefile(PUBLISH + rule).run("sbom" if "check" in rule else "dist/sbom.json")
    shop.run("publish")
    found = shop.registry.attached[f"{TO}@{published(shop)}"].values()
    (sbom,) = [each for each in found if each.artifact_type == "application/spdx+json"]
    assert json.loads(sbom.data) == {"of": content_of(shop)}
    assert sbom.annotations["io.imgmake.check"] in ("sbom", "dist/sbom.json")


@pytest.mark.usefixtures("listing")
def test_an_sbom_of_an_earlier_image_is_not(shop: Repo) -> None:
    shop.pipefile(PUBLISH + 'file("dist/sbom.json", sbom(app))').run("dist/sbom.json")
    shop.put("src/a", "2").run("publish")
    found = shop.registry.attached[f"{TO}@{published(shop)}"].values()
    assert "application/spdx+json" not in {each.artifact_type for each in found}
