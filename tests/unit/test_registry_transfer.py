"""Sending and copying when things go wrong on the way: what is tried again, what is told, and what a stop ends."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from imgmake.errors import Interrupted, RegistryError
from imgmake.ports import Cancel, Engine
from imgmake.registry import RegistryClient, transport
from imgmake.registry.parallel import each
from tests.fake_registry import Exporter, FakeRegistry, Fault, sha256
from tests.fakes import RecordingOutput

UPLOAD = "/blobs/uploads/session"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as one:
        yield one


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    one = new_client()
    yield one
    one.close()


def new_client() -> RegistryClient:
    return RegistryClient({"HOME": "/nonexistent"}, pause=0.001, settle=0.001)


class Sent:
    """`send` of one image to repositories of a registry, and what it told."""

    def __init__(self, client: RegistryClient, *repositories: str, files: tuple[str, ...] = ("one",)) -> None:
        self.output = RecordingOutput()
        self.engine = Exporter()
        self.image = self.engine.image(*files)
        self.cancel = Cancel()
        self._client = client
        self._repositories = repositories

    def run(self, *near: str) -> str:
        engine, images = cast(Engine, self.engine), [self.image]
        return self._client.send(engine, images, self._repositories, near=near, output=self.output, cancel=self.cancel)

    @property
    def notes(self) -> list[str]:
        return [event[1] for event in self.output.events]


# --- dropped connections ----------------------------------------------------------------------------------------


def test_an_upload_cut_in_the_middle_is_started_anew(client: RegistryClient, registry: FakeRegistry) -> None:
    registry.faults = [Fault("PUT", UPLOAD, cut="request", times=2)]
    sent = Sent(client, f"{registry.host}/app", files=("one" * 100_000,))
    digest = sent.run()
    assert json.loads(registry.manifests["app", digest][1])["config"]["digest"] == sent.image.id
    starts = [one for one in registry.requests if one.method == "POST"]
    assert len(starts) == 2 + 2, "the layer's three tries and the configuration's one, each with its own session"


def test_an_upload_whose_answer_is_lost_is_not_sent_again(client: RegistryClient, registry: FakeRegistry) -> None:
    registry.faults = [Fault("PUT", UPLOAD, cut="answer")]
    Sent(client, f"{registry.host}/app").run()
    assert len(registry.sent("app")) == len(set(registry.sent("app"))) == 2


@pytest.mark.parametrize("status", [404, 416])
def test_an_upload_that_the_registry_lost_is_started_anew(
    status: int, client: RegistryClient, registry: FakeRegistry
) -> None:
    registry.faults = [Fault("PUT", UPLOAD, status)]
    Sent(client, f"{registry.host}/app").run()


@pytest.mark.parametrize("path", ["/manifests/sha256", "/blobs/sha256"])
def test_an_answer_cut_in_the_middle_is_asked_for_again(
    path: str, client: RegistryClient, registry: FakeRegistry
) -> None:
    sent = Sent(client, f"{registry.host}/app")
    digest = sent.run()
    registry.faults = [Fault("GET", path, cut="answer", times=3)]
    found = client.resolve(f"{registry.host}/app@{digest}")
    assert found is not None
    assert found.images[0].id == sent.image.id
    assert registry.faults[0].times == 0


def test_a_layer_cut_on_its_way_to_another_registry_is_whole_in_the_end(
    client: RegistryClient, registry: FakeRegistry
) -> None:
    digest = Sent(client, f"{registry.host}/app", files=("one" * 100_000,)).run()
    source = client.resolve(f"{registry.host}/app@{digest}")
    assert source is not None
    [layer] = json.loads(registry.manifests["app", digest][1])["layers"]
    registry.faults = [Fault("GET", layer["digest"], cut="answer", times=2)]
    with FakeRegistry() as target:
        client.copy(source, [f"{target.host}/app"], output=RecordingOutput())
        assert sha256(target.blobs["app", layer["digest"]]) == layer["digest"]


def test_no_room_for_a_layer_on_its_way_is_told(
    client: RegistryClient, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = Sent(client, f"{registry.host}/app").run()
    source = client.resolve(f"{registry.host}/app@{digest}")
    assert source is not None
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with FakeRegistry() as target, pytest.raises(RegistryError, match="cannot be held here on its way") as caught:
        client.copy(source, [f"{target.host}/app"], output=RecordingOutput())
    assert "TMPDIR" in caught.value.hint


# --- telling ----------------------------------------------------------------------------------------------------


def test_an_error_names_registry_repository_what_was_done_and_why(
    client: RegistryClient, registry: FakeRegistry
) -> None:
    said = json.dumps({"errors": [{"code": "DENIED", "message": "read only"}]}).encode()
    registry.faults = [Fault("PUT", UPLOAD, 403, body=said)]
    sent = Sent(client, f"{registry.host}/team/app")
    with pytest.raises(RegistryError) as caught:
        sent.run()
    start = f"{registry.host}/team/app: sending the blob sha256:"
    assert caught.value.message.startswith(start)
    assert caught.value.message.endswith(": 403, no right to do this (DENIED: read only)")
    assert f"docker login {registry.host}" in caught.value.hint


def test_what_is_tried_again_is_told(client: RegistryClient, registry: FakeRegistry) -> None:
    registry.faults = [Fault("POST", "/blobs/uploads/", 503), Fault("PUT", "/manifests/", 0)]
    sent = Sent(client, f"{registry.host}/app")
    digest = sent.run()
    told = [note.removeprefix(f"{registry.host}/app: ") for note in sent.notes if "again" in note]
    assert told[0].endswith(": 503; trying again in 0.001 s")
    assert told[1] == f"writing the manifest of {digest[:19]}: the connection was lost; trying again in 0.001 s"


def test_a_long_wait_is_told_while_it_lasts(
    client: RegistryClient, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_LONG", 0.05)
    registry.faults = [Fault("POST", "/blobs/uploads/", delay=0.3)]
    sent = Sent(client, f"{registry.host}/app")
    sent.run()
    assert any(note.endswith("s so far") and "sending the blob" in note for note in sent.notes)


def test_a_long_wait_for_what_a_tag_holds_is_told_too(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that only looked at a registry that hangs said nothing for two minutes."""
    monkeypatch.setattr(transport, "_LONG", 0.05)
    registry.faults = [Fault("GET", "/manifests/", 503), Fault("GET", "/manifests/", delay=0.3)]
    told: list[str] = []
    with contextlib.closing(RegistryClient({}, tell=told.append, pause=0.001)) as client:
        assert client.resolve(f"{registry.host}/app:1") is None
    assert told[0].endswith(": 503; trying again in 0.001 s")
    assert told[-1].endswith("s so far")


def test_a_registry_that_does_not_answer_is_given_up_after_the_second_time(
    client: RegistryClient, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_TIMEOUT", (1, 0.1))
    registry.faults = [Fault("GET", "/manifests/", delay=0.5, times=9)]
    with pytest.raises(RegistryError, match="does not answer: no answer in time"):
        client.resolve(f"{registry.host}/app:1")
    assert registry.faults[0].times == 7


def test_a_redirect_to_a_storage_without_tls_says_so(client: RegistryClient, registry: FakeRegistry) -> None:
    with FakeRegistry() as storage:
        registry.faults = [Fault("GET", "/manifests/", 307, headers={"Location": f"https://{storage.host}/x"})]
        with pytest.raises(RegistryError) as caught:
            client.resolve(f"{registry.host}/app:1")
        assert f"{storage.host} does not answer: it speaks plain HTTP, not HTTPS" in caught.value.message
        assert f'"insecure-registries": ["{storage.host}"]' in caught.value.hint


def test_a_circle_of_redirects_is_not_tried_again(client: RegistryClient, registry: FakeRegistry) -> None:
    registry.faults = [Fault("GET", "", 307, headers={"Location": "/v2/app/manifests/1"}, times=99)]
    with pytest.raises(RegistryError, match="sends us to an address that leads nowhere"):
        client.resolve(f"{registry.host}/app:1")
    assert len(registry.requests) < 40


# --- stopping ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secured", [True, False])
def test_a_stop_ends_a_request_that_waits_for_its_answer(secured: bool, tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    registry = FakeRegistry()
    if secured:
        environ["SSL_CERT_FILE"] = str(registry.secure(tmp_path))
    client = RegistryClient(environ, pause=0.001)
    with registry:
        registry.faults = [Fault("POST", "/blobs/uploads/", delay=5)]
        sent = Sent(client, f"{registry.host}/app")
        threading.Timer(0.2, sent.cancel.stop).start()
        start = time.monotonic()
        with pytest.raises(Interrupted):
            sent.run()
        assert time.monotonic() - start < 3
        assert client.tags(f"{registry.host}/app") == (), "the client is as good as before"


# --- several at once --------------------------------------------------------------------------------------------


def test_three_layers_are_on_their_way_at_once(client: RegistryClient, registry: FakeRegistry) -> None:
    together = threading.Barrier(3, timeout=5)
    puts = itertools.count()
    registry.on_call = lambda method, path: together.wait() if method == "PUT" and next(puts) < 3 else None
    Sent(client, f"{registry.host}/app", files=("one", "two", "three")).run()
    assert len(registry.sent("app")) == 4


def test_the_first_failure_ends_the_others_and_is_the_one_told(client: RegistryClient, registry: FakeRegistry) -> None:
    registry.faults = [Fault("PUT", UPLOAD, delay=5), Fault("PUT", UPLOAD, 403)]
    sent = Sent(client, f"{registry.host}/app", files=("one", "two", "three"))
    start = time.monotonic()
    with pytest.raises(RegistryError, match="403"):
        sent.run()
    assert time.monotonic() - start < 3
    assert registry.manifests == {}


def test_each_runs_all_and_no_more_than_three_at_once() -> None:
    running, most, done = 0, 0, []
    lock = threading.Lock()

    def work(item: int, _: Cancel) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
            done.append(item)

    each(range(10), work, Cancel())
    assert (sorted(done), most) == (list(range(10)), 3)


def test_each_begins_nothing_after_a_stop() -> None:
    cancel, begun = Cancel(), []

    def work(item: int, _: Cancel) -> None:
        begun.append(item)
        cancel.stop()

    with pytest.raises(Interrupted):
        each(range(50), work, cancel)
    assert len(begun) <= 3


# --- economy ----------------------------------------------------------------------------------------------------


def test_connections_are_kept(client: RegistryClient, registry: FakeRegistry) -> None:
    for _ in range(10):
        client.digest(f"{registry.host}/app:1")
    assert len(registry.connections) == 1


def test_a_configuration_that_several_tags_hold_is_read_once(client: RegistryClient, registry: FakeRegistry) -> None:
    digest = Sent(client, f"{registry.host}/app").run()
    for tag in ("1", "2", "3"):
        client.set_tag(f"{registry.host}/app:{tag}", digest, before=None)
        assert client.resolve(f"{registry.host}/app:{tag}")
    assert len([one for one in registry.requests if one.method == "GET" and "/blobs/" in one.path]) == 1


def test_a_near_tag_of_a_sibling_tells_what_can_be_taken_over(registry: FakeRegistry) -> None:
    first = new_client()
    digest = Sent(first, f"{registry.host}/app", files=("one", "two")).run()
    first.set_tag(f"{registry.host}/app:1", digest, before=None)
    sent = Sent(new_client(), f"{registry.host}/app-debug", files=("one", "two", "three"))
    sent.run(f"{registry.host}/app:1")
    assert len(registry.sent("app-debug")) == 2, "the third layer and the configuration"


def test_lists_of_referrers_do_not_hide_the_tags_that_share_layers(registry: FakeRegistry) -> None:
    first = new_client()
    sent = Sent(first, f"{registry.host}/app", files=("one", "two"))
    digest = sent.run()
    first.set_tag(f"{registry.host}/app:1", digest, before=None)
    for number in range(20):
        name = sha256(b"%d" % number).replace(":", "-")
        registry.put("app", name, {"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []})
    known = len(registry.sent("app"))
    again = Sent(new_client(), f"{registry.host}/app", files=("one", "two", "three"))
    again.run()
    assert len(registry.sent("app")) - known == 2
