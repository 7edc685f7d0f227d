"""--verify and `requires=`: what a registry holds of an image, put together, doubted, and told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from imgmake import app, attest, stamp
from imgmake.app.options import Options
from imgmake.attest.provenance import Build, write_provenance
from imgmake.attest.results import Examined, write_result
from imgmake.attest.statements import subjects
from imgmake.attest.verification import Verification
from imgmake.errors import RegistryError
from imgmake.executor.requirements import Requirements
from imgmake.executor.verifying import examine
from imgmake.model import PublishRule
from imgmake.ports import Artifact, Evidence, Finding, Image, Referrer, Remote
from imgmake.reporters import verified
from imgmake.stamp import Stamp
from tests.fakes import FakeRegistry
from tests.unit.runs import Repo

REPOSITORY = "registry.example.com/shop"
TAG = f"{REPOSITORY}:1.2"
NOW = 1_700_000_000.0
HOUR, DAY = 3600.0, 86400.0
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "sha256:" + "e" * 64


def stamped(architecture: str, manifest: str, **more: object) -> Image:
    """A registry's image with a stamp that is its own."""
    plain = Image("sha256:" + architecture.ljust(64, "0"), architecture=architecture, layers=("sha256:1",))
    seal = Stamp(
        fingerprint="f" * 64,
        content=stamp.content_id(plain),
        bases=(("debian:12", "sha256:" + "d" * 64),),
        metadata={"BUILD_ID": "20231114-201320-0123456", "VCS_REF": COMMIT, "VCS_URL": "https://example.com/shop.git"},
        dirty=False,
        tools={"imgmake": "0.1.0", "engine": "28.0.1", "builder": "buildx"},
        time=NOW - 2 * HOUR,
        **more,
    )
    labels = {stamp.LABEL: seal.to_label()}
    return replace(plain, config={"Labels": labels}, digests=(f"{REPOSITORY}@{manifest}",))


AMD, ARM = "sha256:" + "a" * 64, "sha256:" + "b" * 64
INDEX = "sha256:" + "c" * 64
ONE = Remote(TAG, AMD, "application/vnd.oci.image.manifest.v1+json", (stamped("amd64", AMD),))
BOTH = Remote(TAG, INDEX, "application/vnd.oci.image.index.v1+json", (stamped("amd64", AMD), stamped("arm64", ARM)))


def provenance(remote: Remote = ONE, **metadata: str) -> Artifact:
    builds = []
    for image in remote.images:
        seal = stamp.read(image)
        assert seal is not None
        seal = seal.model_copy(update={"metadata": {**seal.metadata, **metadata}})
        digest = image.digests[0].partition("@")[2]
        builds.append(
            Build(digest, f"linux/{image.architecture}", seal, "app-image", "Pipefile.py", "Dockerfile", "", "app")
        )
    return write_provenance(subjects("shop", [remote.digest]), builds)


def result(check: str, age: float, *subject: str, platforms: tuple[str, ...] = ()) -> Artifact:
    finding = Finding("hadolint", "2.12.0", "nothing found")
    evidence = Evidence(check, "1", "2" * 64, findings=(finding,), began=NOW - age - 1, time=NOW - age)
    examined = [Examined(AMD, platform) for platform in platforms]
    return write_result(evidence, subjects("shop", subject or [AMD]), examined)


def changed(artifact: Artifact, old: str, new: str) -> Artifact:
    assert old.encode() in artifact.data
    return replace(artifact, data=artifact.data.replace(old.encode(), new.encode()))


def holding(remote: Remote, *artifacts: Artifact, about: str = "") -> FakeRegistry:
    registry = FakeRegistry()
    registry.remotes[TAG] = remote
    for digest in {remote.digest, *(image.digests[0].partition("@")[2] for image in remote.images)}:
        registry.remotes[f"{REPOSITORY}@{digest}"] = replace(remote, digest=digest)
    for artifact in artifacts:
        registry.attach(REPOSITORY, about or remote.digest, artifact)
    return registry


def verify(remote: Remote, *artifacts: Artifact) -> Verification:
    return examine(holding(remote, *artifacts), TAG, now=NOW)


# --- --verify -------------------------------------------------------------------------------------------------


def test_an_image_with_all_its_papers_is_consistent() -> None:
    sbom = Artifact("application/spdx+json", b"{}")
    told = verify(ONE, provenance(), result("lint", 3 * HOUR), result("image-tests", HOUR), sbom)
    assert (told.exit_code, told.problems, told.lacks) == (0, (), ())
    assert verified.text([told]) == (
        f"{TAG} is {AMD} (linux/amd64)\n"
        f"  source      commit {COMMIT} of https://example.com/shop.git\n"
        "              a clean tree\n"
        "  rule        app-image of Pipefile.py, from Dockerfile, stage app\n"
        f"  base        debian:12 (sha256:{'d' * 64})\n"
        "  built       20231114-201320-0123456 by buildx, engine 28.0.1, imgmake 0.1.0, "
        "2 h ago (2023-11-14T20:13:20Z)\n"
        "  stamp       it matches the content\n"
        "  passed      image-tests  hadolint 2.12.0  1 h ago\n"
        "              lint         hadolint 2.12.0  3 h ago\n"
        f"  SBOM        SPDX ({next(iter(holding(ONE, sbom).attached[f'{REPOSITORY}@{AMD}']))[:19]})\n"
        "  signature   none\n"
    )


def test_json_says_the_same() -> None:
    (told,) = json.loads(verified.document([verify(ONE, provenance(), result("lint", HOUR))]))
    assert (told["verdict"], told["digest"], told["origin"]["revision"]) == ("consistent", AMD, COMMIT)
    assert [(each["check"], each["grade"], each["age"]) for each in told["results"]] == [("lint", "PASSED", HOUR)]


def test_the_last_word_on_a_check_counts() -> None:
    failed = changed(result("scan", HOUR), "PASSED", "FAILED")
    told = verify(ONE, provenance(), result("scan", DAY), failed)
    assert (told.exit_code, told.lacks) == (1, ("scan: it failed 1 h ago",))
    assert "  failed      scan  hadolint 2.12.0  1 h ago" in verified.text([told])
    assert "passed" not in verified.text([told])
    unknown = changed(result("scan", HOUR), "PASSED", "UNKNOWN")
    told = verify(ONE, provenance(), result("scan", DAY), unknown)
    assert (told.exit_code, told.lacks) == (1, ("scan: unknown (nothing found); last good result 1 d ago",))
    assert "  unknown     scan  hadolint 2.12.0  1 h ago" in verified.text([told])
    assert verify(ONE, provenance(), failed, result("scan", 60)).exit_code == 0


def test_an_index_says_which_platform_was_examined() -> None:
    told = verify(BOTH, provenance(BOTH), result("image-tests", HOUR, INDEX, AMD, platforms=("linux/amd64",)))
    assert told.exit_code == 0
    assert "1 h ago  on linux/amd64 only\n" in verified.text([told])


def test_what_refers_to_one_manifest_of_an_index_is_found_too() -> None:
    registry = holding(BOTH, provenance(BOTH))
    registry.attach(REPOSITORY, ARM, result("scan", HOUR, ARM))
    told = examine(registry, TAG, now=NOW)
    assert [(each.check, each.platforms) for each in told.results] == [("scan", ("linux/arm64",))]
    assert (told.exit_code, told.lacks) == (1, ("scan: no result (linux/amd64)",))
    registry.attach(REPOSITORY, AMD, result("scan", DAY, AMD))
    assert examine(registry, TAG, now=NOW).exit_code == 0


def test_a_pass_on_one_platform_hides_no_failure_on_another() -> None:
    registry = holding(BOTH, provenance(BOTH))
    registry.attach(REPOSITORY, ARM, changed(result("scan", DAY, ARM), "PASSED", "FAILED"))
    registry.attach(REPOSITORY, AMD, result("scan", HOUR, AMD))
    told = examine(registry, TAG, now=NOW)
    assert (told.exit_code, told.lacks) == (1, ("scan: it failed 1 d ago (linux/arm64)",))


def test_an_index_of_images_that_were_published_apart_contradicts_nothing() -> None:
    """Provenance of the one platform was held against the stamp of the other."""
    registry = holding(BOTH)
    for image, digest in zip(BOTH.images, (AMD, ARM), strict=True):
        one = replace(BOTH, digest=digest, images=(replace(image, config=image.config),))
        registry.attach(REPOSITORY, digest, provenance(one))
        registry.attach(REPOSITORY, digest, result("lint", HOUR, digest))
    told = examine(registry, TAG, now=NOW)
    assert (told.exit_code, told.problems) == (0, ())
    registry.attach(REPOSITORY, ARM, changed(provenance(replace(BOTH, digest=ARM)), "f" * 64, "9" * 64))
    assert "another fingerprint" in examine(registry, TAG, now=NOW).problems[0]


LACKING = {
    "everything": ((), ("provenance", "passed a check")),
    "provenance": ((result("lint", HOUR),), ("provenance",)),
    "results": ((provenance(),), ("passed a check",)),
}


@pytest.mark.parametrize(("artifacts", "words"), LACKING.values(), ids=LACKING.keys())
def test_what_lacks_is_said_and_is_no_success(artifacts: tuple[Artifact, ...], words: tuple[str, ...]) -> None:
    told = verify(ONE, *artifacts)
    assert told.exit_code == 1
    assert all(any(word in line for line in told.lacks) for word in words)
    assert len(told.lacks) == len(words)


WRONG: Mapping[str, tuple[Artifact, str]] = {
    "a statement about another image": (result("lint", HOUR, OTHER), "it is about another image"),
    "a result from the future": (result("lint", -HOUR), "from the future"),
    "no statement at all": (Artifact(attest.IN_TOTO, b"junk"), "no in-toto statement"),
    "another commit": (provenance(VCS_REF="f" * 40), "another commit"),
    "another build": (provenance(BUILD_ID="20200101-000000-fffffff"), "another BUILD_ID"),
    "another fingerprint": (changed(provenance(), "f" * 64, "9" * 64), "another fingerprint"),
    "broken provenance": (changed(provenance(), '"runDetails"', '"runDetail"'), "not SLSA's"),
}


@pytest.mark.parametrize(("artifact", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_contradicts_is_told_whatever_else_is_right(artifact: Artifact, words: str) -> None:
    told = verify(ONE, provenance(), result("lint", HOUR), artifact)
    assert told.exit_code == 2
    assert any(words in line for line in told.problems)
    assert "wrong" in verified.text([told])


def test_an_image_that_was_changed_since_is_not_what_was_built() -> None:
    image = ONE.images[0]
    child = replace(ONE, images=(replace(image, layers=(*image.layers, "sha256:2")),))
    told = verify(child, provenance(), result("lint", HOUR))
    assert told.exit_code == 2
    assert "its stamp does not match its content" in told.problems[0]


def test_a_stamp_on_one_platform_vouches_for_no_other() -> None:
    """`it matches the content` was said of an index of which one image bears none."""
    bare = replace(BOTH.images[1], config={})
    told = verify(replace(BOTH, images=(BOTH.images[0], bare)))
    assert "it bears no stamp of its own" in told.lacks
    assert "it matches the content" not in verified.text([told])


def test_an_artifact_that_cannot_be_fetched_is_a_problem_and_no_crash() -> None:
    class Lying(FakeRegistry):
        def artifact(self, repository: str, referrer: Referrer, **_: object) -> Artifact:
            raise RegistryError(f"{repository}: {referrer.digest} has other content than its digest says")

    registry = Lying()
    registry.remotes, registry.attached = (found := holding(ONE, provenance())).remotes, found.attached
    assert "other content" in examine(registry, TAG, now=NOW).problems[0]


def test_signatures_are_told_by_either_place_and_never_believed() -> None:
    bundle = Artifact("application/vnd.dev.sigstore.bundle.v0.3+json", b"{}")
    assert "present, not verified" in verified.text([verify(ONE, bundle)])
    registry = holding(ONE)
    registry.remotes[f"{REPOSITORY}:{AMD.replace(':', '-')}.sig"] = ONE
    assert [each.kind for each in examine(registry, TAG, now=NOW).signatures] == ["cosign"]


def test_an_image_that_is_not_there() -> None:
    with pytest.raises(RegistryError, match="there is no image registry") as error:
        examine(holding(ONE), f"{REPOSITORY}:1.3", now=NOW)
    assert error.value.hint == "did you mean 1.2?"
    with pytest.raises(RegistryError, match=f"there is no image {REPOSITORY}:latest"):
        examine(holding(ONE), REPOSITORY, now=NOW)


def test_one_image_that_is_not_there_says_nothing_of_another() -> None:
    """The first that was not there was all that one heard."""
    told = app.verify(Options(environ={}), ["UPPER:1", "shop:1:2"])
    assert (told.found, len(told.errors)) == ((), 2)


def test_what_a_registry_says_cannot_steer_a_terminal() -> None:
    told = verify(
        ONE, provenance(), result("\x1b[2J", HOUR), changed(provenance(), "https://example.com", "\\u001b]0;")
    )
    assert "\x1b" not in verified.text([told])
    arm = replace(BOTH.images[1], architecture="\x1b[2J")
    odd = replace(BOTH, images=(BOTH.images[0], arm))
    assert "\x1b" not in verified.text([verify(odd, result("lint", HOUR, INDEX, platforms=("linux/\x1b[31m",)))])


# --- requires= ------------------------------------------------------------------------------------------------

PROMOTE = 'publish("promote", image="registry.example.com/shop:1.2", to="prod.example.com/shop", tags="1.2", '


def lines(tmp_path: Path, requires: str, remote: Remote, registry: FakeRegistry, checks: str = "") -> tuple[str, ...]:
    """What `Requirements` say to a Pipefile with this `requires=`."""
    repo = Repo(tmp_path).pipefile(f"{checks}\n{PROMOTE} requires={requires})")
    repo.registry = registry
    repo.clock.time = NOW
    with repo.session(read_only=True) as (session, _):
        rule = session.run.node("promote").rule
        assert isinstance(rule, PublishRule)
        return Requirements(session.run).missing(rule, remote)


REQUIRED = '["image-tests", "scan"]'


def test_what_passed_and_is_fresh_is_enough(tmp_path: Path) -> None:
    registry = holding(ONE, result("image-tests", 9 * DAY), result("scan", HOUR))
    assert lines(tmp_path, REQUIRED, ONE, registry) == ()


def test_everything_that_is_missing_is_told(tmp_path: Path) -> None:
    checks = 'check("scan", sh("true"), max_age="1d")'
    assert lines(tmp_path, REQUIRED, ONE, holding(ONE, result("scan", 3 * DAY)), checks) == (
        "image-tests: no result",
        "scan: the last result is 3 d old (max 1 d)",
    )


DOUBTFUL = {
    "about another image": result("scan", HOUR, OTHER),
    "that is no statement": Artifact(attest.IN_TOTO, b"junk", {attest.CHECK: "scan"}),
    "of another check, whatever its annotation": replace(result("lint", HOUR), annotations={attest.CHECK: "scan"}),
    "of another type": Artifact("text/plain", result("scan", HOUR).data, {attest.CHECK: "scan"}),
}


@pytest.mark.parametrize("artifact", DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_a_result_does_not_count(artifact: Artifact, tmp_path: Path) -> None:
    assert lines(tmp_path, '["scan"]', ONE, holding(ONE, artifact)) == ("scan: no result",)


def test_an_annotation_does_not_make_a_result_younger(tmp_path: Path) -> None:
    old = result("scan", 3 * DAY)
    lying = replace(old, annotations={**old.annotations, attest.CREATED: "2023-11-14T22:13:20Z"})
    checks = 'check("scan", sh("true"), max_age="1d")'
    assert lines(tmp_path, '["scan"]', ONE, holding(ONE, lying), checks)[0].startswith("scan: the last result is 3 d")


def test_an_index_is_as_good_as_the_worst_of_its_manifests(tmp_path: Path) -> None:
    registry = holding(BOTH)
    registry.attach(REPOSITORY, AMD, result("scan", HOUR, AMD))
    assert lines(tmp_path, '["scan"]', BOTH, registry) == ("scan: no result",)
    registry.attach(REPOSITORY, ARM, result("scan", HOUR, ARM))
    assert lines(tmp_path, '["scan"]', BOTH, registry) == ()
    registry.attach(REPOSITORY, INDEX, result("scan", -HOUR, INDEX))
    assert lines(tmp_path, '["scan"]', BOTH, registry) == ("scan: its only result is from the future",)


def test_a_check_of_an_included_pipefile_is_required_by_its_name_there(tmp_path: Path) -> None:
    """Results bear the name in full, so that one from an included Pipefile was never found."""
    promote = PROMOTE.replace("tags=", "requires={}, tags=")
    repo = Repo(tmp_path).pipefile('include("api/Pipefile.py")\n')
    repo.registry, repo.clock.time = holding(ONE, result("api/smoke", 2 * HOUR)), NOW
    for required in ('["smoke"]', "smoke", '"//api/smoke"'):
        smoke = 'smoke = check("smoke", sh("true"), max_age="1h")\n'
        repo.put("api/Pipefile.py", f"from imgmake import *\n{smoke}{promote.format(required)})")
        with repo.session(read_only=True) as (session, _):
            rule = session.run.node("api/promote").rule
            assert isinstance(rule, PublishRule)
            told = Requirements(session.run).missing(rule, ONE)
        assert told == ("api/smoke: the last result is 2 h old (max 1 h)",), required


def test_a_slip_in_the_name_of_a_check_is_told_as_such(tmp_path: Path) -> None:
    """Nobody knows what another repository calls its checks, so it is no error by itself."""
    checks = 'check("image-tests", sh("true"), max_age="1d")'
    told = lines(tmp_path, '["image-test"]', ONE, holding(ONE), checks)
    assert told == ("image-test: no result (did you mean 'image-tests'?)",)


def test_of_many_results_only_the_newest_is_fetched(tmp_path: Path) -> None:
    registry = holding(ONE, *(result("scan", age * DAY) for age in range(20)))
    assert lines(tmp_path, '["scan"]', ONE, registry) == ()
    assert len([event for event in registry.log if event[0] == "artifact"]) == 1
