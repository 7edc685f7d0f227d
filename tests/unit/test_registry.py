"""Publishing and reading back, against a registry in memory: what is sent, in which order, and what is believed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from imgmake.errors import Interrupted, RegistryError
from imgmake.ports import Cancel, Engine, Image, Registry, Remote
from imgmake.references import repository
from imgmake.registry import RegistryClient
from tests.fake_registry import Exporter, FakeRegistry, Fault, layer, sha256
from tests.fakes import RecordingOutput

OCI = "application/vnd.oci.image"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as one:
        yield one


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    with FakeRegistry() as one:
        yield one


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    one = new_client()
    yield one
    one.close()


def new_client(**options: Any) -> RegistryClient:
    return RegistryClient({"HOME": "/nonexistent"}, pause=0.001, **options)


def push(client: RegistryClient, engine: Exporter, images: list[Image], *references: str) -> list[str]:
    """Send images and set tags on them, whatever those hold; what was told."""
    output = RecordingOutput()
    digest = client.send(
        cast(Engine, engine), images, [repository(one) for one in references], near=references, output=output
    )
    set_tags(client, digest, *references)
    return [event[1] for event in output.events]


def set_tags(client: RegistryClient, digest: str, *references: str) -> None:
    for reference in references:
        client.set_tag(reference, digest, before=client.digest(reference))


def copy(client: RegistryClient, source: Remote, *references: str) -> None:
    client.copy(source, [repository(one) for one in references], output=RecordingOutput())
    set_tags(client, source.digest, *references)


def resolved(client: RegistryClient, reference: str) -> Remote:
    found = client.resolve(reference)
    assert found is not None
    return found


def test_the_client_is_a_registry_and_loads_no_http_library_to_be_one() -> None:
    client: Registry = new_client()
    assert client
    script = "import sys, imgmake.registry; print([m for m in ('requests', 'urllib3', 'docker') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- push -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["archive", "oci", "containerd"])
def test_a_pushed_image_is_what_the_engine_has(layout: str, client: RegistryClient, registry: FakeRegistry) -> None:
    engine = Exporter(layout)
    image = engine.image("one", "two" * 1000, labels={"a": "b"})

    notes = push(client, engine, [image], f"{registry.host}/app:1", f"{registry.host}/app")

    found = resolved(client, f"{registry.host}/app:1")
    [held] = found.images
    assert (held.layers, held.labels, held.architecture) == (image.layers, {"a": "b"}, "amd64")
    assert layout == "containerd" or held.id == image.id
    assert resolved(client, f"{registry.host}/app:latest").digest == found.digest
    manifest = json.loads(registry.manifests["app", "1"][1])
    blobs = [registry.blobs["app", one["digest"]] for one in manifest["layers"]]
    assert tuple(sha256(zlib.decompress(blob, 31)) for blob in blobs) == image.layers
    assert notes == [f"pushing {registry.host}/app: 2 of 2 layers to send ({sum(map(len, blobs))} B)"]


def test_a_second_push_writes_nothing_and_asks_the_engine_for_nothing(registry: FakeRegistry) -> None:
    engine = Exporter()
    image = engine.image("one", "two")
    push(new_client(), engine, [image], f"{registry.host}/app:1")
    before = (len(registry.writes()), engine.exports)

    notes = push(new_client(), engine, [image], f"{registry.host}/app:1")

    assert (len(registry.writes()), engine.exports) == before
    assert notes[0].endswith("0 of 2 layers to send")


def test_only_a_changed_layer_is_sent_however_the_others_were_packed(registry: FakeRegistry) -> None:
    containerd, archive = Exporter("containerd"), Exporter("archive")
    push(new_client(), containerd, [containerd.image("one", "two")], f"{registry.host}/app:1")
    known = set(registry.sent("app"))
    image = archive.image("one", "three")

    push(new_client(), archive, [image], f"{registry.host}/app:2")

    [changed, config] = [digest for digest in registry.sent("app") if digest not in known]
    assert sha256(zlib.decompress(registry.blobs["app", changed], 31)) == sha256(layer("three"))
    assert config == image.id


def test_a_sibling_repository_takes_layers_over(client: RegistryClient, registry: FakeRegistry) -> None:
    engine = Exporter()
    push(client, engine, [engine.image("one", "two")], f"{registry.host}/app:1")
    debug = engine.image("one", "two", labels={"debug": "yes"})
    push(client, engine, [debug], f"{registry.host}/app-debug:1")
    assert registry.sent("app-debug") == [debug.id]


@pytest.mark.parametrize("remembered", [True, False])
def test_layers_are_sent_where_no_registry_takes_them_over(remembered: bool, other: FakeRegistry) -> None:
    engine = Exporter()
    image = engine.image("one", "two")
    client = new_client()
    with FakeRegistry(mounts=False) as registry:
        references = [f"{registry.host}/a:1", f"{registry.host}/b:1", f"{other.host}/c:1"]
        for reference in references if remembered else []:
            push(client, engine, [image], reference)
        push(client, engine, [image], *references)
        digests = {resolved(client, reference).digest for reference in references}
    assert len(digests) == 1


def test_what_is_remembered_saves_packing_and_is_never_believed(registry: FakeRegistry) -> None:
    engine = Exporter()
    remember: dict[str, str] = {}
    image = engine.image("one", "two")
    push(new_client(remember=remember), engine, [image], f"{registry.host}/app:1")
    registry.manifests.clear()  # the blobs stay, and no tag tells how they were packed

    before = engine.exports
    push(new_client(remember=remember), engine, [image], f"{registry.host}/app:1")
    assert engine.exports == before

    registry.blobs.clear()
    registry.manifests.clear()
    remember[image.layers[0]] = "nonsense"
    push(new_client(remember=remember), engine, [image], f"{registry.host}/app:1")
    assert resolved(new_client(), f"{registry.host}/app:1").images[0].id == image.id


def test_platforms_become_one_index_of_the_very_images(client: RegistryClient, registry: FakeRegistry) -> None:
    engine = Exporter()
    images = [engine.image("one"), engine.image("one", "two", architecture="arm64")]
    push(client, engine, images, f"{registry.host}/app:1")
    found = resolved(client, f"{registry.host}/app:1")
    assert [(one.id, one.architecture) for one in found.images] == [(one.id, one.architecture) for one in images]
    again = resolved(client, found.images[1].digests[0])
    assert again.images == found.images[1:]


def test_two_images_of_one_platform_are_no_index(client: RegistryClient, registry: FakeRegistry) -> None:
    engine = Exporter()
    with pytest.raises(RegistryError, match="two images for linux/amd64"):
        push(client, engine, [engine.image("one"), engine.image("two")], f"{registry.host}/app:1")
    assert registry.requests == []


def test_no_tag_moves_until_every_registry_has_all(
    client: RegistryClient, registry: FakeRegistry, other: FakeRegistry
) -> None:
    engine = Exporter()
    image = engine.image("one", "two")
    references = [f"{registry.host}/app:1", f"{other.host}/app:1"]
    other.faults = [Fault("PUT", "/blobs/uploads/", 507, times=99)]
    with pytest.raises(RegistryError, match=f"{other.host}/app: sending the blob"):
        push(client, engine, [image], *references)
    assert registry.tags("app") == other.tags("app") == []

    other.faults = []
    push(client, engine, [image], *references)
    assert registry.tags("app") == other.tags("app") == ["1"]


def test_a_new_registry_gets_the_same_bytes_as_the_old_one(registry: FakeRegistry, other: FakeRegistry) -> None:
    containerd = Exporter("containerd")
    push(new_client(), containerd, [containerd.image("one")], f"{registry.host}/app:1")
    archive = Exporter("archive")
    image = archive.image("one", "two")
    push(new_client(), archive, [image], f"{other.host}/app:1", f"{registry.host}/app:2")
    digests = [resolved(new_client(), f"{one.host}/app:{tag}").digest for one, tag in ((registry, 2), (other, 1))]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("size", [700, 3000])
def test_a_broken_export_is_an_error_and_publishes_nothing(
    size: int, client: RegistryClient, registry: FakeRegistry
) -> None:
    engine = Exporter()
    image = engine.image("one", "two")
    engine.truncate(image, size)
    with pytest.raises(RegistryError, match=f"image {image.id[:19]} cannot be published: the engine's export"):
        push(client, engine, [image], f"{registry.host}/app:1")
    assert registry.writes() == []


def test_an_export_with_other_layers_than_the_image_is_refused(client: RegistryClient, registry: FakeRegistry) -> None:
    engine = Exporter()
    image = engine.image("one", "two")
    with pytest.raises(RegistryError, match="other layers than the image"):
        push(client, engine, [replace(image, layers=image.layers[:1])], f"{registry.host}/app:1")
    assert registry.writes() == []


# --- reading ----------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_none(client: RegistryClient, registry: FakeRegistry) -> None:
    engine = Exporter()
    push(client, engine, [engine.image("one")], f"{registry.host}/app:1")
    assert client.resolve(f"{registry.host}/app:2") is None
    assert client.resolve(f"{registry.host}/nothing") is None
    assert client.tags(f"{registry.host}/nothing") == ()


def test_a_web_server_is_no_registry_without_the_image(client: RegistryClient, registry: FakeRegistry) -> None:
    registry.faults = [Fault("GET", "/manifests/", 404)]
    with pytest.raises(RegistryError, match="reading the manifest of 1: 404") as caught:
        client.resolve(f"{registry.host}/app:1")
    assert "a registry" in caught.value.hint


def test_tags_come_from_every_page(client: RegistryClient, registry: FakeRegistry) -> None:
    registry.page = 2
    for tag in "abcde":
        registry.put("app", tag, {"mediaType": f"{OCI}.manifest.v1+json"})
    assert client.tags(f"{registry.host}/app") == tuple("abcde")


def test_attestations_and_charts_are_no_images(client: RegistryClient, registry: FakeRegistry) -> None:
    config = registry.put_blob("app", json.dumps({"os": "linux", "architecture": "amd64"}).encode())
    image = {"mediaType": f"{OCI}.manifest.v1+json", "config": {"mediaType": f"{OCI}.config.v1+json", "digest": config}}
    chart = {
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json"},
    }
    entries = [
        {"digest": registry.put("app", "chart", chart), "platform": {"os": "unknown", "architecture": "unknown"}},
        {"digest": registry.put("app", "image", image), "platform": {"os": "linux", "architecture": "amd64"}},
    ]
    inner = registry.put("app", "inner", {"mediaType": f"{OCI}.index.v1+json", "manifests": entries})
    registry.put("app", "1", {"mediaType": f"{OCI}.index.v1+json", "manifests": [{"digest": inner}]})
    assert [one.id for one in resolved(client, f"{registry.host}/app:1").images] == [config]
    assert resolved(client, f"{registry.host}/app:chart").images == ()


def test_a_manifest_without_a_usable_configuration_is_no_image(client: RegistryClient, registry: FakeRegistry) -> None:
    registry.put("app", "1", {"mediaType": f"{OCI}.manifest.v1+json", "config": [1], "layers": {"a": 1}})
    assert resolved(client, f"{registry.host}/app:1").images == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"mediaType": f"{OCI}.index.v1+json", "manifests": ["x", {"platform": "linux"}]}, "which is not there"),
        (
            {"mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws"},
            "which is no image\n  push it anew",
        ),
        ({"mediaType": "text/html"}, "which is no image\n  is .* a registry, and the name right?"),
    ],
)
def test_nonsense_is_an_error(content: Any, said: str, client: RegistryClient, registry: FakeRegistry) -> None:
    registry.put("app", "1", content)
    with pytest.raises(RegistryError, match=f"{registry.host}/app: .*{said}"):
        client.resolve(f"{registry.host}/app:1")


# --- lies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/manifests/1", "/blobs/sha256"])
def test_content_that_its_digest_does_not_name_is_refused(
    path: str, client: RegistryClient, registry: FakeRegistry
) -> None:
    engine = Exporter()
    push(client, engine, [engine.image("one")], f"{registry.host}/app:1")
    forged = json.dumps({"mediaType": f"{OCI}.manifest.v1+json", "os": "linux"}).encode()
    registry.faults = [Fault("GET", path, body=forged)]
    with pytest.raises(RegistryError, match="is not what its digest says"):
        client.resolve(f"{registry.host}/app:1")


def test_a_layer_changed_on_its_way_to_another_registry_is_refused(
    client: RegistryClient, registry: FakeRegistry, other: FakeRegistry
) -> None:
    engine = Exporter()
    push(client, engine, [engine.image("one")], f"{registry.host}/app:1")
    source = resolved(client, f"{registry.host}/app:1")
    digest = json.loads(registry.manifests["app", "1"][1])["layers"][0]["digest"]
    registry.faults = [Fault("GET", digest, body=b"other")]
    with pytest.raises(RegistryError, match="is not what its digest says"):
        copy(client, source, f"{other.host}/app:1")
    assert other.tags("app") == []


def test_a_tag_that_does_not_hold_what_was_written_is_an_error(client: RegistryClient, registry: FakeRegistry) -> None:
    engine = Exporter()
    push(client, engine, [engine.image("one")], f"{registry.host}/app:1")
    # The registry says "created", and keeps the old one.
    registry.faults = [Fault("PUT", "/manifests/1$", 201)]
    with pytest.raises(RegistryError, match="the tag 1 just written is not what its digest says"):
        push(client, engine, [engine.image("two")], f"{registry.host}/app:1")


def test_a_blob_that_is_not_there_after_it_was_taken_is_an_error(
    client: RegistryClient, registry: FakeRegistry
) -> None:
    engine = Exporter()
    registry.faults = [Fault("PUT", "/blobs/uploads/", 201)]
    with pytest.raises(RegistryError, match="just sent"):
        push(client, engine, [engine.image("one")], f"{registry.host}/app:1")
    assert registry.tags("app") == []


@pytest.mark.parametrize("path", ["/manifests/sha256", "/blobs/sha256"])
def test_a_registry_that_says_it_holds_something_else_under_a_digest_lies(
    path: str, client: RegistryClient, registry: FakeRegistry
) -> None:
    engine = Exporter()
    registry.faults = [Fault("HEAD", path, 200, headers={"Docker-Content-Digest": sha256(b"other")})]
    with pytest.raises(RegistryError, match=f"is not what its digest says: expected sha256:.*{sha256(b'other')}"):
        push(client, engine, [engine.image("one")], f"{registry.host}/app:1")
    assert registry.tags("app") == []


def test_a_manifest_that_reads_back_differently_gets_no_tag(client: RegistryClient, registry: FakeRegistry) -> None:
    engine = Exporter()
    registry.faults = [Fault("GET", "/manifests/sha256", body=b'{"schemaVersion": 2}')]
    with pytest.raises(RegistryError):
        push(client, engine, [engine.image("one")], f"{registry.host}/app:1")
    assert registry.tags("app") == []


# --- faults -----------------------------------------------------------------------------------------------------

REQUESTS = [
    "POST /blobs/uploads/",
    "PUT /blobs/uploads/",
    "HEAD /blobs/",
    "PUT /manifests/1",
    "GET /tags/",
    "GET /blobs/",
]


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429, "headers": {"Retry-After": "0"}}, {"status": 0}])
def test_passing_faults_are_waited_out(
    request_: str, fault: dict[str, Any], client: RegistryClient, registry: FakeRegistry
) -> None:
    engine = Exporter()
    image = engine.image("one", "two")
    method, path = request_.split()
    broken = Fault(method, path, times=3, **fault)
    registry.faults = [broken]
    push(client, engine, [image], f"{registry.host}/app:1")
    assert resolved(client, f"{registry.host}/app:1").images[0].id == image.id
    assert broken.times == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("GET", "manifests", 500, times=4), "500, the registry failed"),
        (Fault("GET", "manifests", 0, times=4), "does not answer"),
        (Fault("GET", "manifests", 429, headers={"Retry-After": "3600"}), "429, too many requests"),
        (Fault("GET", "manifests", 403), "403, no right to do this"),
        (Fault("GET", "manifests", 418), "418, an unexpected answer"),
    ],
)
def test_a_lasting_fault_is_told_with_its_place(
    fault: Fault, said: str, client: RegistryClient, registry: FakeRegistry
) -> None:
    registry.faults = [fault]
    with pytest.raises(RegistryError, match=said) as caught:
        client.resolve(f"{registry.host}/app:1")
    assert caught.value.message.startswith(f"{registry.host}/app: ")
    assert fault.times == 0


def test_nobody_listening_is_told_at_once() -> None:
    client = RegistryClient({"HOME": "/nonexistent"}, pause=60.0)
    start = time.monotonic()
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:1 does not answer: connection refused"):
        client.resolve("127.0.0.1:1/app")
    assert time.monotonic() - start < 60.0


def test_a_stop_ends_the_waiting(client: RegistryClient, registry: FakeRegistry) -> None:
    registry.faults = [Fault("GET", "", 503, times=9, headers={"Retry-After": "20"})]
    cancel = Cancel()
    registry.on_request = cancel.stop
    with pytest.raises(Interrupted):
        client.resolve(f"{registry.host}/app:1", cancel=cancel)
    end = time.monotonic() + 60
    while not registry.requests and time.monotonic() < end:  # it is noted when it is answered, to nobody by now
        time.sleep(0.01)
    assert len(registry.requests) == 1


def test_a_stop_while_sending_leaves_no_manifest(client: RegistryClient, registry: FakeRegistry) -> None:
    engine = Exporter()
    cancel = Cancel()
    registry.on_request = lambda: cancel.stop() if registry.blobs else None
    with pytest.raises(Interrupted):
        client.send(
            cast(Engine, engine),
            [engine.image("one", "two")],
            [f"{registry.host}/app"],
            output=RecordingOutput(),
            cancel=cancel,
        )
    assert registry.manifests == {}


# --- copy -------------------------------------------------------------------------------------------------------


def test_a_tag_is_added_to_what_the_registry_has(client: RegistryClient, registry: FakeRegistry) -> None:
    engine = Exporter()
    push(client, engine, [engine.image("one"), engine.image("one", architecture="arm64")], f"{registry.host}/app:1")
    source = resolved(client, f"{registry.host}/app:1")
    before = len(registry.writes())
    copy(client, source, f"{registry.host}/app:1.0")
    assert [one.path for one in registry.writes()[before:]] == ["/v2/app/manifests/1.0"]
    assert resolved(client, f"{registry.host}/app:1.0").digest == source.digest


def test_a_copy_elsewhere_is_the_same_to_the_byte(
    client: RegistryClient, registry: FakeRegistry, other: FakeRegistry
) -> None:
    engine = Exporter()
    images = [engine.image("one"), engine.image("one", "two", architecture="arm64")]
    push(client, engine, images, f"{registry.host}/app:1")
    source = resolved(client, f"{registry.host}/app:1")
    for target in (f"{other.host}/team/app:1", f"{registry.host}/released:1"):
        copy(client, source, target)
        copied = resolved(client, target)
        assert copied.digest == source.digest
        assert [one.id for one in copied.images] == [one.id for one in images]
    assert registry.sent("released") == []  # within a registry nothing is transferred


def test_a_tag_that_moves_meanwhile_does_not_change_what_is_copied(
    client: RegistryClient, registry: FakeRegistry, other: FakeRegistry
) -> None:
    engine = Exporter()
    push(client, engine, [engine.image("one")], f"{registry.host}/app:1")
    source = resolved(client, f"{registry.host}/app:1")
    push(client, engine, [engine.image("two")], f"{registry.host}/app:1")
    copy(client, source, f"{other.host}/app:1")
    assert resolved(client, f"{other.host}/app:1").images[0].id == source.images[0].id


def test_what_was_deleted_meanwhile_cannot_be_copied(
    client: RegistryClient, registry: FakeRegistry, other: FakeRegistry
) -> None:
    engine = Exporter()
    push(client, engine, [engine.image("one")], f"{registry.host}/app:1")
    source = resolved(client, f"{registry.host}/app:1")
    registry.manifests.clear()
    for host in (registry.host, other.host):
        with pytest.raises(RegistryError, match="is not there"):
            copy(client, source, f"{host}/app:2")


def test_a_layer_that_may_not_be_passed_on_stays_where_it_is(
    client: RegistryClient, registry: FakeRegistry, other: FakeRegistry
) -> None:
    """Windows' base layers: no registry holds them, and the manifest says where they are."""
    away = {"digest": sha256(b"away"), "size": 4, "urls": ["https://example.com/layer"]}
    registry.put("app", "1", {"mediaType": f"{OCI}.manifest.v1+json", "layers": [away]})
    copy(client, resolved(client, f"{registry.host}/app:1"), f"{other.host}/app:1")
    assert other.tags("app") == ["1"]
