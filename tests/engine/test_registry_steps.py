"""The steps of a publication on Debian's registry: plain, and with a password over TLS."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from imgmake.errors import RegistryError, TagMoved
from imgmake.ports import Artifact, Engine, Remote
from imgmake.registry import RegistryClient
from tests.fake_registry import Exporter, FakeRegistry, Fault
from tests.fakes import RecordingOutput
from tests.registries import PASSWORD, USER, RealRegistry, Request, real_registry

SBOM = Artifact("application/spdx+json", b'{"spdx": 1}', {"org.example.tool": "syft"})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with real_registry(tmp_path_factory.mktemp("plain")) as registry:
        yield registry


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with real_registry(tmp_path_factory.mktemp("secured"), secured=True) as registry:
        yield registry


@pytest.fixture
def client(tmp_path: Path, secured: RealRegistry) -> Iterator[RegistryClient]:
    """One that is logged in where that is needed."""
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": {secured.host: {"auth": auth}}}))
    one = RegistryClient({"HOME": str(tmp_path), "SSL_CERT_FILE": str(secured.ca)}, pause=0.01, settle=0.001)
    yield one
    one.close()


def send(client: RegistryClient, *repositories: str, files: tuple[str, ...] = ("one", "two")) -> str:
    engine = Exporter()
    images = [engine.image(*files, architecture=one) for one in ("amd64", "arm64")]
    return client.send(cast(Engine, engine), images, repositories, output=RecordingOutput())


def resolved(client: RegistryClient, reference: str) -> Remote:
    found = client.resolve(reference)
    assert found is not None
    return found


def writes(registry: RealRegistry, start: int = 0) -> list[Request]:
    return [one for one in registry.requests()[start:] if one.method not in {"GET", "HEAD"}]


def test_what_is_sent_has_no_tag_until_one_is_set(client: RegistryClient, plain: RealRegistry) -> None:
    repository = f"{plain.host}/steps"
    digest = send(client, repository)
    assert client.tags(repository) == ()
    assert client.digest(f"{repository}:1") is None
    assert client.set_tag(f"{repository}:1", digest, before=None)
    assert [one.architecture for one in resolved(client, f"{repository}:1").images] == ["amd64", "arm64"]
    assert client.digest(f"{repository}:1") == resolved(client, f"{repository}:1").digest == digest
    with pytest.raises(TagMoved):
        client.set_tag(f"{repository}:1", send(client, repository, files=("three",)), before=None)


def test_what_is_there_is_only_looked_at(client: RegistryClient, plain: RealRegistry) -> None:
    repository = f"{plain.host}/again"
    digest = send(client, repository)
    client.set_tag(f"{repository}:1", digest, before=None)
    client.attach(repository, digest, SBOM)
    before = len(plain.requests())
    assert send(client, repository) == digest
    assert not client.set_tag(f"{repository}:1", digest, before=digest)
    client.attach(repository, digest, SBOM)
    assert writes(plain, before) == []


def test_this_registry_removes_no_tag_and_nothing_else_is_removed(client: RegistryClient, plain: RealRegistry) -> None:
    """It answers a DELETE by tag with 400, DIGEST_INVALID; one by digest would take every tag of the image."""
    repository = f"{plain.host}/kept"
    digest = send(client, repository)
    for tag in ("1", "2"):
        client.set_tag(f"{repository}:{tag}", digest, before=None)
    assert not client.remove_tag(f"{repository}:1", holds=digest)
    assert client.digest(f"{repository}:1") == client.digest(f"{repository}:2") == digest
    deleted = [(one.path, one.status) for one in plain.requests() if one.method == "DELETE"]
    assert deleted == [("/v2/kept/manifests/1", 400)]


def test_an_image_is_promoted_with_all_that_refers_to_it(
    client: RegistryClient, plain: RealRegistry, secured: RealRegistry
) -> None:
    source, target = f"{plain.host}/app", f"{secured.host}/released/app"
    digest = send(client, source)
    sbom = client.attach(source, digest, SBOM)
    client.attach(source, sbom, Artifact("application/signature", b"by ada"))

    client.copy(resolved(client, f"{source}@{digest}"), [target], referrers=True, output=RecordingOutput())

    assert [one.digest for one in client.referrers(target, digest)] == [sbom]
    [of_sbom] = client.referrers(target, sbom)
    assert client.artifact(target, of_sbom) == Artifact("application/signature", b"by ada")
    assert (
        resolved(client, f"{target}@{digest}").images[1].layers
        == resolved(client, f"{source}@{digest}").images[1].layers
    )
    before = (len(plain.requests()), len(secured.requests()))
    client.copy(resolved(client, f"{source}@{digest}"), [target], referrers=True, output=RecordingOutput())
    assert writes(secured, before[1]) == []
    layers = [one for one in plain.requests()[before[0] :] if one.method == "GET" and "/blobs/" in one.path]
    assert layers == [], "no layer that is there is pulled"


def test_within_a_registry_layers_are_taken_over(client: RegistryClient, plain: RealRegistry) -> None:
    digest = send(client, f"{plain.host}/from")
    client.attach(f"{plain.host}/from", digest, SBOM)
    source = resolved(client, f"{plain.host}/from@{digest}")
    client.copy(source, [f"{plain.host}/to"], referrers=True, output=RecordingOutput())
    assert len(client.referrers(f"{plain.host}/to", digest)) == 1
    uploads = [one for one in writes(plain) if one.path.startswith("/v2/to/blobs/")]
    assert {(one.method, one.status) for one in uploads} == {("POST", 201)}, "mounted, every one"


ATTACH = """
import sys
from pathlib import Path
from imgmake.ports import Artifact
from imgmake.registry import RegistryClient
from imgmake.state.locking import lock_names

def alone(name, cancel):
    return lock_names(Path(sys.argv[4]), [name], cancel=cancel, waiting=lambda *_: None)

client = RegistryClient({"HOME": sys.argv[4]}, alone=alone, settle=0)
for number in range(8):
    print(client.attach(sys.argv[1], sys.argv[2], Artifact("text/plain", f"{sys.argv[3]} {number}".encode())))
"""


def test_two_processes_that_attach_at_once_lose_nothing(
    client: RegistryClient, plain: RealRegistry, tmp_path: Path
) -> None:
    repository = f"{plain.host}/busy"
    digest = send(client, repository)
    command = [sys.executable, "-c", ATTACH, repository, digest]
    processes = [
        subprocess.Popen([*command, name, str(tmp_path)], stdout=subprocess.PIPE, text=True) for name in ("ada", "bob")
    ]
    said = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(one.digest for one in client.referrers(repository, digest)) == sorted(said[0] + said[1])
    assert len(said[0] + said[1]) == 16


FAULTS = [Fault("", "", 503), Fault("", ""), Fault("", "", cut="request"), Fault("", "", cut="answer")]


Nth = tuple[str, str, str, int]  # registry, method, path, and how many were the same before it


class Script:
    """Each request is counted; those that are to fail, do."""

    def __init__(self, faults: Mapping[Nth, Fault]) -> None:
        self.left = dict(faults)
        self._seen: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()

    def of(self, registry: str) -> Callable[[str, str], Fault | None]:
        return lambda method, path: self._next(registry, method, path)

    def requests(self) -> list[Nth]:
        return [(*request, number) for request, times in sorted(self._seen.items()) for number in range(times)]

    def _next(self, *request: str) -> Fault | None:
        registry, method, path = request
        with self._lock:
            self._seen[registry, method, path] += 1
            return self.left.pop((registry, method, path, self._seen[registry, method, path] - 1), None)


def publication(first: FakeRegistry, second: FakeRegistry, script: Script) -> list[object]:
    """An image, what refers to it, a tag, a copy, the tag removed: what two registries that were empty hold then."""
    for name, registry in (("first", first), ("second", second)):
        registry.manifests.clear()
        registry.blobs.clear()
        registry.script = script.of(name)
    engine, source, target = Exporter(), f"{first.host}/app", f"{second.host}/app"
    client = RegistryClient({"HOME": "/nonexistent"}, pause=0.0001, settle=0)
    images = [engine.image("one", "two")]
    digest = client.send(cast(Engine, engine), images, [source], output=RecordingOutput())
    client.attach(source, digest, Artifact("text/plain", b"x"))
    assert client.set_tag(f"{source}:1", digest, before=None)
    client.copy(resolved(client, f"{source}:1"), [target], referrers=True, output=RecordingOutput())
    assert client.set_tag(f"{target}:1", digest, before=None)
    assert client.remove_tag(f"{source}:1", holds=digest)
    client.close()
    return [sorted(held) for one in (first, second) for held in (one.manifests, one.blobs)]


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("fault", FAULTS, ids=["busy", "dropped", "dropped early", "cut short"])
def test_a_fault_at_any_request_changes_nothing_of_what_is_published(fault: Fault, part: int) -> None:
    """Each request fails in one run, a third of them in each: whatever is tried four times must not meet too many."""
    with FakeRegistry(referrers=True, deletes="tag") as first, FakeRegistry() as second:
        undisturbed = Script({})
        wanted = publication(first, second, undisturbed)
        requests = undisturbed.requests()
        assert len(requests) > 60
        script = Script(dict.fromkeys(requests[part::3], fault))
        assert publication(first, second, script) == wanted
        assert script.left == {}


@pytest.mark.parametrize("password", ["open barley", None])
def test_every_step_without_the_right_password_says_how_to_log_in(
    password: str | None, secured: RealRegistry, tmp_path: Path
) -> None:
    if password:
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        (tmp_path / ".docker").mkdir()
        (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": {secured.host: {"auth": auth}}}))
    client = RegistryClient({"HOME": str(tmp_path), "SSL_CERT_FILE": str(secured.ca)}, pause=0.01)
    repository, digest = f"{secured.host}/app", f"sha256:{'0' * 64}"
    for step in (
        lambda: send(client, repository),
        lambda: client.digest(f"{repository}:1"),
        lambda: client.set_tag(f"{repository}:1", digest, before=None),
        lambda: client.remove_tag(f"{repository}:1", holds=digest),
        lambda: client.attach(repository, digest, SBOM),
        lambda: client.referrers(repository, digest),
    ):
        with pytest.raises(RegistryError, match="401, the login is missing or wrong") as caught:
            step()
        assert caught.value.hint == f"log in with: docker login {secured.host}"
        assert "barley" not in str(caught.value)


def test_an_unknown_authority_is_told(secured: RealRegistry, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="its certificate is not trusted") as caught:
        RegistryClient({"HOME": str(tmp_path)}).digest(f"{secured.host}/app:1")
    assert f"certs.d/{secured.host}/ca.crt" in caught.value.hint
