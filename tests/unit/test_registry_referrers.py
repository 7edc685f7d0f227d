"""What refers to an image: attached, listed, read and copied along, with the registry's own list and without."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from imgmake.errors import RegistryError
from imgmake.ports import Artifact, Cancel, Engine, Referrer
from imgmake.references import parse
from imgmake.registry import RegistryClient
from imgmake.registry.manifests import Blob
from tests.fake_registry import Exporter, FakeRegistry, Fault, sha256
from tests.fakes import RecordingOutput

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SBOM = Artifact("application/spdx+json", b'{"spdx": 1}', {"org.example.tool": "syft"})
NOTE = Artifact("application/vnd.in-toto+json", b"{}")  # the same bytes as the empty configuration


@pytest.fixture(params=[True, False], ids=["own list", "fallback tag"])
def registry(request: pytest.FixtureRequest) -> Iterator[FakeRegistry]:
    with FakeRegistry(referrers=request.param) as one:
        yield one


@pytest.fixture
def other(registry: FakeRegistry) -> Iterator[FakeRegistry]:
    """One that does it the other way."""
    with FakeRegistry(referrers=not registry.referrers) as one:
        yield one


@pytest.fixture
def plain() -> Iterator[FakeRegistry]:
    """One without a list of its own."""
    with FakeRegistry() as one:
        yield one


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    one = RegistryClient({"HOME": "/nonexistent"}, pause=0.001, settle=0.001)
    yield one
    one.close()


def sent(client: RegistryClient, repository: str, *architectures: str) -> str:
    """The digest of an image, or of an index of several."""
    engine = Exporter()
    images = [engine.image("one", architecture=one) for one in architectures or ("amd64",)]
    return client.send(cast(Engine, engine), images, [repository], output=RecordingOutput())


def copy(client: RegistryClient, source: str, *targets: str, referrers: bool = True) -> list[str]:
    found = client.resolve(source)
    assert found is not None
    output = RecordingOutput()
    client.copy(found, targets, referrers=referrers, output=output)
    return [event[1] for event in output.events]


def fallback(digest: str) -> str:
    return digest.replace(":", "-")


# --- attaching --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("artifact", [SBOM, NOTE])
def test_what_is_attached_is_listed_and_reads_back(
    artifact: Artifact, client: RegistryClient, registry: FakeRegistry
) -> None:
    repository = f"{registry.host}/app"
    subject = sent(client, repository)
    digest = client.attach(repository, subject, artifact)
    [found] = client.referrers(repository, subject)
    assert found == Referrer(digest, artifact.artifact_type, artifact.annotations)
    assert client.artifact(repository, found) == artifact
    assert client.tags(repository) == (), "a list of referrers is no image's tag"


def test_an_artifact_is_what_the_specification_says(client: RegistryClient, registry: FakeRegistry) -> None:
    repository = f"{registry.host}/app"
    subject = sent(client, repository)
    digest = client.attach(repository, subject, SBOM)
    kind, data = registry.manifests["app", digest]
    of = registry.manifests["app", subject]
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": sha256(b"{}")}
    assert kind == MANIFEST
    assert json.loads(data) == {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/spdx+json",
        "config": empty,
        "layers": [{"mediaType": "application/spdx+json", "size": len(SBOM.data), "digest": sha256(SBOM.data)}],
        "subject": {"mediaType": of[0], "size": len(of[1]), "digest": subject},
        "annotations": {"org.example.tool": "syft"},
    }
    assert ("app", fallback(subject)) in registry.manifests or registry.referrers


def test_the_same_again_writes_nothing(client: RegistryClient, registry: FakeRegistry) -> None:
    repository = f"{registry.host}/app"
    subject = sent(client, repository)
    first = client.attach(repository, subject, SBOM)
    before = len(registry.writes())
    assert client.attach(repository, subject, SBOM) == first
    assert len(registry.writes()) == before
    assert len(client.referrers(repository, subject)) == 1


def test_several_are_all_listed_over_every_page(client: RegistryClient, registry: FakeRegistry) -> None:
    repository = f"{registry.host}/app"
    subject = sent(client, repository)
    registry.page = 2
    digests = {client.attach(repository, subject, Artifact("text/plain", bytes([n]))) for n in range(5)}
    assert {one.digest for one in client.referrers(repository, subject)} == digests


def test_nothing_refers_to_what_nothing_was_attached_to(client: RegistryClient, registry: FakeRegistry) -> None:
    assert client.referrers(f"{registry.host}/app", sha256(b"x")) == ()


def test_nothing_is_attached_to_what_is_not_there(client: RegistryClient, registry: FakeRegistry) -> None:
    with pytest.raises(RegistryError, match="is not there"):
        client.attach(f"{registry.host}/app", sha256(b"x"), SBOM)
    assert registry.writes() == []


def test_a_list_that_the_registry_keeps_silently_gets_no_tag_beside_it(client: RegistryClient) -> None:
    with FakeRegistry(referrers=True) as registry:
        registry.says_subject = False
        subject = sent(client, f"{registry.host}/app")
        client.attach(f"{registry.host}/app", subject, SBOM)
        assert len(client.referrers(f"{registry.host}/app", subject)) == 1
        assert registry.tags("app") == []


@pytest.mark.parametrize("status", [400, 405, 406])
def test_older_registries_refuse_the_list_in_their_own_ways(
    status: int, client: RegistryClient, plain: FakeRegistry
) -> None:
    subject = sent(client, f"{plain.host}/app")
    plain.faults = [Fault("GET", "/referrers/", status, times=99)]
    client.attach(f"{plain.host}/app", subject, SBOM)
    assert len(client.referrers(f"{plain.host}/app", subject)) == 1


def test_a_web_page_is_no_list(client: RegistryClient, plain: FakeRegistry) -> None:
    subject = sent(client, f"{plain.host}/app")
    plain.faults = [Fault("GET", "/referrers/", 200, body=b"<html>", times=99)]
    client.attach(f"{plain.host}/app", subject, SBOM)
    assert len(client.referrers(f"{plain.host}/app", subject)) == 1


def test_a_registry_that_takes_no_artifacts_is_told_as_such(client: RegistryClient, plain: FakeRegistry) -> None:
    subject = sent(client, f"{plain.host}/app")
    plain.faults = [Fault("PUT", "/manifests/sha256:", 400)]
    with pytest.raises(RegistryError, match=r"writing the manifest of .*: 400") as caught:
        client.attach(f"{plain.host}/app", subject, SBOM)
    assert "artifacts (OCI 1.1)" in caught.value.hint


def test_no_right_to_see_the_list_is_an_error(client: RegistryClient, registry: FakeRegistry) -> None:
    registry.faults = [Fault("GET", "/referrers/", 403)]
    with pytest.raises(RegistryError, match=r"listing what refers to .*: 403"):
        client.referrers(f"{registry.host}/app", sha256(b"x"))


def test_an_artifact_that_was_changed_is_refused(client: RegistryClient, registry: FakeRegistry) -> None:
    repository = f"{registry.host}/app"
    subject = sent(client, repository)
    client.attach(repository, subject, SBOM)
    [found] = client.referrers(repository, subject)
    registry.faults = [Fault("GET", f"/blobs/{sha256(SBOM.data)}", body=b'{"spdx": 2}')]
    with pytest.raises(RegistryError, match="is not what its digest says"):
        client.artifact(repository, found)


def test_an_artifact_longer_than_it_says_is_not_read_to_its_end(client: RegistryClient, registry: FakeRegistry) -> None:
    repository = f"{registry.host}/app"
    subject = sent(client, repository)
    client.attach(repository, subject, SBOM)
    [found] = client.referrers(repository, subject)
    registry.faults = [Fault("GET", f"/blobs/{sha256(SBOM.data)}", body=b"x" * 1000)]
    with pytest.raises(RegistryError, match=f"the answer is longer than {len(SBOM.data)} bytes"):
        client.artifact(repository, found)


# --- a list that others write too -------------------------------------------------------------------------------


def entry(registry: FakeRegistry, n: int) -> dict[str, Any]:
    data = {"mediaType": MANIFEST, "artifactType": "text/plain", "annotations": {"n": str(n)}}
    return {"mediaType": MANIFEST, "digest": registry.put("app", f"another-{n}", data), "size": 1}


def write_list(registry: FakeRegistry, subject: str, *entries: dict[str, Any]) -> None:
    registry.put("app", fallback(subject), {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)})


def test_what_others_have_in_the_list_stays(client: RegistryClient, plain: FakeRegistry) -> None:
    subject = sent(client, f"{plain.host}/app")
    others = entry(plain, 1)
    write_list(plain, subject, others)
    ours = client.attach(f"{plain.host}/app", subject, SBOM)
    assert [one.digest for one in client.referrers(f"{plain.host}/app", subject)] == [others["digest"], ours]


def test_an_entry_that_another_run_writes_over_is_added_again(client: RegistryClient, plain: FakeRegistry) -> None:
    """That run read the list before our write, and writes after it: after we looked, at the worst."""
    subject = sent(client, f"{plain.host}/app")
    others, writes = entry(plain, 1), []

    def overwrite(method: str, path: str) -> None:
        if (method, path) == ("GET", f"/v2/app/manifests/{fallback(subject)}"):
            writes.append(path)
            if len(writes) == 3:  # the look before, the look right after, and the one when all has settled
                write_list(plain, subject, others)

    plain.on_call = overwrite
    ours = client.attach(f"{plain.host}/app", subject, SBOM)
    plain.on_call = lambda method, path: None
    assert {one.digest for one in client.referrers(f"{plain.host}/app", subject)} == {others["digest"], ours}


def test_a_list_that_moves_between_look_and_write_is_read_again(client: RegistryClient, plain: FakeRegistry) -> None:
    subject = sent(client, f"{plain.host}/app")
    others = [entry(plain, n) for n in range(2)]
    looks: list[str] = []

    def move(method: str, path: str) -> None:
        if (method, path) == ("HEAD", f"/v2/app/manifests/{fallback(subject)}") and len(looks) < 2:
            looks.append(path)
            write_list(plain, subject, *others[: len(looks)])

    plain.on_call = move
    ours = client.attach(f"{plain.host}/app", subject, SBOM)
    found = {one.digest for one in client.referrers(f"{plain.host}/app", subject)}
    assert found == {ours, *(one["digest"] for one in others)}


def test_a_list_that_never_holds_still_is_an_error_in_the_end(client: RegistryClient, plain: FakeRegistry) -> None:
    subject = sent(client, f"{plain.host}/app")
    numbers = itertools.count()
    plain.on_call = lambda method, path: write_list(plain, subject, {"digest": sha256(b"%d" % next(numbers))})
    with pytest.raises(RegistryError, match="is moved again and again"):
        client.attach(f"{plain.host}/app", subject, SBOM)


def test_a_lock_is_held_while_the_list_is_written(plain: FakeRegistry) -> None:
    events: list[str] = []

    @contextmanager
    def alone(name: str, _: Cancel) -> Iterator[None]:
        events.append(f"lock {name}")
        yield
        events.append("unlock")

    client = RegistryClient({"HOME": "/nonexistent"}, alone=alone, settle=0)
    subject = sent(client, f"{plain.host}/app")
    tag = fallback(subject)
    plain.on_call = lambda method, path: events.append(method) if path.endswith(tag) and method == "PUT" else None
    client.attach(f"{plain.host}/app", subject, SBOM)
    lock = f"lock what refers to images of {plain.host}/app"
    assert events == [lock, "PUT", "unlock", lock, "unlock"]


# --- copying ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same", [True, False])
def test_a_copy_takes_along_all_that_refers_to_any_of_it(
    same: bool, client: RegistryClient, registry: FakeRegistry, other: FakeRegistry
) -> None:
    other.referrers = other.says_subject = registry.referrers is same
    source, target = f"{registry.host}/app", f"{other.host}/released"
    index = sent(client, source, "amd64", "arm64")
    platform = str(json.loads(registry.manifests["app", index][1])["manifests"][1]["digest"])
    sbom = client.attach(source, index, SBOM)
    signature = client.attach(source, sbom, Artifact("application/signature", b"by ada"))
    of_platform = client.attach(source, platform, SBOM)

    copy(client, f"{source}@{index}", target)

    assert [one.digest for one in client.referrers(target, index)] == [sbom]
    assert [one.digest for one in client.referrers(target, sbom)] == [signature]
    assert [one.digest for one in client.referrers(target, platform)] == [of_platform]
    assert client.artifact(target, client.referrers(target, sbom)[0]).data == b"by ada"
    assert client.tags(target) == ()


def test_a_copy_made_twice_writes_nothing_the_second_time(
    client: RegistryClient, registry: FakeRegistry, other: FakeRegistry
) -> None:
    source = f"{registry.host}/app"
    digest = sent(client, source)
    client.attach(source, digest, SBOM)
    copy(client, f"{source}@{digest}", f"{other.host}/app")
    before = len(other.writes())
    fetched = [one for one in registry.requests if one.method == "GET" and "/blobs/" in one.path]
    copy(client, f"{source}@{digest}", f"{other.host}/app")
    assert len(other.writes()) == before
    assert [one for one in registry.requests if one.method == "GET" and "/blobs/" in one.path] == fetched


def test_a_copy_without_referrers_takes_none(
    client: RegistryClient, registry: FakeRegistry, other: FakeRegistry
) -> None:
    digest = sent(client, f"{registry.host}/app")
    client.attach(f"{registry.host}/app", digest, SBOM)
    copy(client, f"{registry.host}/app@{digest}", f"{other.host}/app", referrers=False)
    assert client.referrers(f"{other.host}/app", digest) == ()


def test_what_the_target_has_in_its_list_stays(
    client: RegistryClient, registry: FakeRegistry, other: FakeRegistry
) -> None:
    source, target = f"{registry.host}/app", f"{other.host}/app"
    digest = sent(client, source)
    copy(client, f"{source}@{digest}", target)
    theirs, ours = client.attach(target, digest, NOTE), client.attach(source, digest, SBOM)
    copy(client, f"{source}@{digest}", target)
    assert {one.digest for one in client.referrers(target, digest)} == {theirs, ours}


def test_within_a_registry_nothing_is_transferred(client: RegistryClient, registry: FakeRegistry) -> None:
    source, target = f"{registry.host}/app", f"{registry.host}/released"
    digest = sent(client, source)
    client.attach(source, digest, SBOM)
    copy(client, f"{source}@{digest}", target)
    assert registry.sent("released") == []
    assert len(client.referrers(target, digest)) == 1


def test_an_entry_of_the_list_that_is_gone_or_a_strangers_is_left_out_and_told(
    client: RegistryClient, plain: FakeRegistry
) -> None:
    digest = sent(client, f"{plain.host}/app")
    gone = {"mediaType": MANIFEST, "digest": sha256(b"gone"), "size": 4}
    write_list(plain, digest, gone, entry(plain, 1))
    with FakeRegistry() as target:
        notes = copy(client, f"{plain.host}/app@{digest}", f"{target.host}/app")
        assert client.referrers(f"{target.host}/app", digest) == ()
    assert notes[1:] == [
        f"left out: {gone['digest']} is listed, and is not there",
        f"left out: what is listed for {digest[:19]} and does not refer to it",
    ]


# --- cosign's tags ----------------------------------------------------------------------------------------------


def signature(client: RegistryClient, registry: FakeRegistry, digest: str, *texts: str, ending: str = "sig") -> str:
    """Write what `cosign sign` wrote before it used lists of referrers; the tag."""
    repository = client.repository(parse(f"{registry.host}/app"))
    layers = []
    for text in texts:
        data = text.encode()
        repository.put_blob(Blob(sha256(data), len(data), ""), lambda data=data: io.BytesIO(data))  # type: ignore[misc]
        layers.append({"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", **described(data)})
    rootfs = {"type": "layers", "diff_ids": [one["digest"] for one in layers]}
    config = json.dumps({"architecture": "", "os": "", "rootfs": rootfs, "history": [{} for _ in layers]}).encode()
    repository.put_blob(Blob(sha256(config), len(config), ""), lambda: io.BytesIO(config))
    kind = "application/vnd.oci.image.config.v1+json"
    content = {"mediaType": MANIFEST, "config": {"mediaType": kind, **described(config)}, "layers": layers}
    tag = f"{fallback(digest)}.{ending}"
    registry.put("app", tag, content)
    return tag


def described(data: bytes) -> dict[str, Any]:
    return {"digest": sha256(data), "size": len(data)}


def texts_under(registry: FakeRegistry, tag: str) -> set[bytes]:
    manifest = json.loads(registry.manifests["app", tag][1])
    config = json.loads(registry.blobs["app", manifest["config"]["digest"]])
    digests = [one["digest"] for one in manifest["layers"]]
    assert config["rootfs"]["diff_ids"] == digests
    assert len(config.get("history", digests)) == len(digests)
    return {registry.blobs["app", one] for one in digests}


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ((), ("ada",)),
        (("ada",), ("ada",)),
        (("bob",), ("ada",)),
        (("ada",), ("ada", "bob")),
        (("ada", "bob"), ("ada",)),
    ],
)
def test_signatures_under_cosigns_tags_are_joined_with_those_that_are_there(
    there: tuple[str, ...], here: tuple[str, ...], client: RegistryClient, plain: FakeRegistry
) -> None:
    digest = sent(client, f"{plain.host}/app")
    tag = signature(client, plain, digest, *here)
    with FakeRegistry() as target:
        if there:
            signature(client, target, digest, *there)
        copy(client, f"{plain.host}/app@{digest}", f"{target.host}/app")
        assert texts_under(target, tag) == {text.encode() for text in (*there, *here)}
        before = len(target.writes())
        copy(client, f"{plain.host}/app@{digest}", f"{target.host}/app")
        assert len(target.writes()) == before


def test_every_kind_of_cosigns_goes_along_and_its_own_signatures(client: RegistryClient, plain: FakeRegistry) -> None:
    digest = sent(client, f"{plain.host}/app")
    tags = [signature(client, plain, digest, one, ending=one) for one in ("sig", "att", "sbom")]
    of_sbom = sha256(plain.manifests["app", tags[2]][1])
    tags.append(signature(client, plain, of_sbom, "of the sbom"))
    with FakeRegistry() as target:
        copy(client, f"{plain.host}/app@{digest}", f"{target.host}/app")
        assert target.tags("app") == sorted(tags)
