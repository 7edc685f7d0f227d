"""Images of a real engine in real registries: what docker pulls back is what was pushed, and nothing is sent twice."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from imgmake.engine import DockerEngine
from imgmake.errors import RegistryError
from imgmake.ports import Cancel, Engine, Image
from imgmake.references import repository
from imgmake.registry import RegistryClient
from imgmake.registry.credentials import Credentials
from tests.fakes import RecordingOutput
from tests.registries import PASSWORD, USER, RealRegistry, Request, real_registry

Docker = Callable[..., str]
Build = Callable[..., Image]


class Saves:
    """The engine's export, by ``docker save``."""

    def __init__(self, cli: Path) -> None:
        self._cli = cli
        self.exports = 0

    @contextlib.contextmanager
    def export(self, image_id: str) -> Iterator[BinaryIO]:
        self.exports += 1
        with subprocess.Popen([self._cli, "save", image_id], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            yield cast(BinaryIO, process.stdout)


@pytest.fixture
def engine(docker_cli: Path, engine_host: str) -> Saves:
    return Saves(docker_cli)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with real_registry(tmp_path_factory.mktemp("plain")) as registry:
        yield registry


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with real_registry(tmp_path_factory.mktemp("secured"), secured=True) as registry:
        yield registry


@pytest.fixture
def build(docker_cli: Path, docker: Docker, tmp_path: Path) -> Iterator[Build]:
    """``build("text", "text", platform=…)``: an image with one layer for each text, unlike any of another test."""
    made: list[str] = []
    mark = uuid.uuid4().hex

    def make(*texts: str, platform: str = "linux/amd64", **labels: str) -> Image:
        lines = [f'LABEL mark="{mark}"', *(f'LABEL {key}="{value}"' for key, value in labels.items())]
        for index, text in enumerate(texts):
            (tmp_path / str(index)).write_text(text)
            lines.append(f"COPY {index} /{index}")
        (tmp_path / "Dockerfile").write_text("\n".join(["FROM scratch", *lines]))
        id_file = tmp_path / "id"
        command = [str(docker_cli), "build", "-q", f"--platform={platform}", f"--iidfile={id_file}", str(tmp_path)]
        subprocess.run(command, env={**os.environ, "DOCKER_BUILDKIT": "1"}, check=True, capture_output=True)
        made.append(id_file.read_text())
        return inspect(docker, made[-1])

    yield make
    subprocess.run([docker_cli, "rmi", "-f", *made], check=False, capture_output=True)


def inspect(docker: Docker, reference: str) -> Image:
    [found] = json.loads(docker("image", "inspect", reference))
    layers = tuple(found["RootFS"].get("Layers") or ())
    return Image(found["Id"], found["Os"], found["Architecture"], found.get("Variant", ""), layers, found["Config"])


def client_for(home: Path, **environ: str) -> RegistryClient:
    return RegistryClient({"HOME": str(home), **environ}, pause=0.01)


def push(client: RegistryClient, engine: Saves, images: list[Image], *references: str) -> str:
    """Send images and set tags on them, whatever those hold."""
    names = [repository(one) for one in references]
    digest = client.send(cast(Engine, engine), images, names, near=references, output=RecordingOutput())
    set_tags(client, digest, *references)
    return digest


def set_tags(client: RegistryClient, digest: str, *references: str) -> None:
    for reference in references:
        client.set_tag(reference, digest, before=client.digest(reference))


def log_in(home: Path, registry: RealRegistry, password: str = PASSWORD) -> Path:
    folder = home / ".docker"
    folder.mkdir(exist_ok=True)
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
    return folder


def pulled(docker: Docker, reference: str, *options: str, config: Path | None = None) -> str:
    """The ID of what docker pulls; the name is removed again."""
    docker(*(["--config", str(config)] if config else []), "pull", "-q", *options, reference)
    id_ = inspect(docker, reference).id
    docker("rmi", "-f", id_)
    return id_


def test_an_engine_pulls_as_who_is_logged_in(
    engine_host: str, engine: Saves, build: Build, docker: Docker, secured: RealRegistry, tmp_path: Path
) -> None:
    image, reference = build("secured"), f"{secured.host}/pulled:1"
    log_in(tmp_path, secured)
    with contextlib.closing(client_for(tmp_path, SSL_CERT_FILE=str(secured.ca))) as client:
        push(client, engine, [image], reference)
    docker("rmi", "-f", image.id)
    credential = Credentials({"HOME": str(tmp_path)}, None).of(secured.host)
    asked: list[str] = []

    def login(registry: str, _: Cancel) -> Mapping[str, str]:
        asked.append(registry)
        return credential.for_engine(registry)

    with DockerEngine(engine_host, login=login) as found:
        assert found.pull(reference, platform=None, output=RecordingOutput(), cancel=Cancel()).layers == image.layers
    assert asked == [secured.host]


def test_an_engine_pulls_as_nobody_where_a_helper_fails(
    engine_host: str, engine: Saves, build: Build, docker: Docker, plain: RealRegistry, tmp_path: Path
) -> None:
    """What everybody may pull could not be had, and what the helper had said was shown."""
    image, reference = build("public"), f"{plain.host}/pulled:1"
    with contextlib.closing(client_for(tmp_path)) as client:
        push(client, engine, [image], reference)
    docker("rmi", "-f", image.id)
    heard = RecordingOutput()

    def login(registry: str, _: Cancel) -> Mapping[str, str]:
        raise RegistryError(f"docker-credential-x gave no credentials for {registry}")

    with DockerEngine(engine_host, login=login) as found:
        assert found.pull(reference, platform=None, output=heard, cancel=Cancel()).layers == image.layers
    assert heard.notes == [f"docker-credential-x gave no credentials for {plain.host}\nit is pulled without a login"]


def writes(requests: list[Request]) -> list[Request]:
    return [one for one in requests if one.method in {"PUT", "POST", "PATCH"}]


def test_docker_pulls_the_image_that_was_pushed(
    plain: RealRegistry, engine: Saves, build: Build, docker: Docker, tmp_path: Path
) -> None:
    image = build("one", "two" * 100_000, version="1")
    reference = f"{plain.host}/app:1"
    digest = push(client_for(tmp_path), engine, [image], reference, f"{plain.host}/app")
    docker("rmi", "-f", image.id)

    found = client_for(tmp_path).resolve(f"{plain.host}/app")
    assert found is not None
    assert found.digest == digest
    assert [(one.id, one.layers, one.labels) for one in found.images] == [(image.id, image.layers, image.labels)]
    assert pulled(docker, reference) == image.id
    assert pulled(docker, f"{plain.host}/app@{digest}") == image.id


def test_nothing_is_sent_or_exported_twice(plain: RealRegistry, engine: Saves, build: Build, tmp_path: Path) -> None:
    image = build("one", "two")
    push(client_for(tmp_path), engine, [image], f"{plain.host}/twice:1")
    before, exports = len(plain.requests()), engine.exports

    push(client_for(tmp_path), engine, [image], f"{plain.host}/twice:1")
    assert (writes(plain.requests()[before:]), engine.exports) == ([], exports)

    push(client_for(tmp_path), engine, [image], f"{plain.host}/twice:2")
    assert [one.path for one in writes(plain.requests()[before:])] == ["/v2/twice/manifests/2"]
    assert sorted(client_for(tmp_path).tags(f"{plain.host}/twice")) == ["1", "2"]


def test_what_docker_pushed_is_built_upon(
    plain: RealRegistry, engine: Saves, build: Build, docker: Docker, tmp_path: Path
) -> None:
    first = build("one" * 1000, "two")
    reference = f"{plain.host}/docker:1"
    docker("tag", first.id, reference)
    docker("push", reference)
    found = client_for(tmp_path).resolve(reference)
    assert found is not None
    assert [one.id for one in found.images] == [first.id]

    second = build("one" * 1000, "three")
    before = len(plain.requests())
    push(client_for(tmp_path), engine, [second], f"{plain.host}/docker:2")
    uploads = [one for one in writes(plain.requests()[before:]) if one.method == "PUT" and "/uploads/" in one.path]
    assert len(uploads) == 2  # the changed layer and the configuration
    assert pulled(docker, f"{plain.host}/docker:2") == second.id


def test_two_platforms_are_one_tag(
    plain: RealRegistry, engine: Saves, build: Build, docker: Docker, tmp_path: Path
) -> None:
    platforms = ("linux/amd64", "linux/arm64")
    images = [build("one", platform, platform=platform) for platform in platforms]
    reference = f"{plain.host}/many:1"
    push(client_for(tmp_path), engine, images, reference)
    docker("rmi", "-f", *(image.id for image in images))
    for platform, image in zip(platforms, images, strict=True):
        assert pulled(docker, reference, f"--platform={platform}") == image.id


def test_several_registries_hold_the_same_with_a_password_and_without(
    plain: RealRegistry, secured: RealRegistry, engine: Saves, build: Build, docker: Docker, tmp_path: Path
) -> None:
    image = build("one", "two")
    config = log_in(tmp_path, secured)
    client = client_for(tmp_path, SSL_CERT_FILE=str(secured.ca))
    references = [f"{plain.host}/team/both:1", f"{secured.host}/both:1"]
    digest = push(client, engine, [image], *references)
    docker("rmi", "-f", image.id)
    for reference in references:
        found = client.resolve(reference)
        assert found is not None
        assert found.digest == digest
        assert pulled(docker, reference, config=config) == image.id


@pytest.mark.parametrize("password", ["open barley", None])
def test_a_wrong_or_missing_password_is_an_error_that_says_what_to_do(
    password: str | None, secured: RealRegistry, engine: Saves, build: Build, tmp_path: Path
) -> None:
    if password:
        log_in(tmp_path, secured, password)
    client = client_for(tmp_path, SSL_CERT_FILE=str(secured.ca))
    with pytest.raises(RegistryError, match=f"{secured.host}/app: .* 401, the login is missing or wrong") as caught:
        push(client, engine, [build("one")], f"{secured.host}/app:1")
    assert caught.value.hint == f"log in with: docker login {secured.host}"
    assert "barley" not in str(caught.value)


def test_a_published_image_is_copied_without_an_engine(
    plain: RealRegistry, secured: RealRegistry, engine: Saves, build: Build, docker: Docker, tmp_path: Path
) -> None:
    image = build("one", "two")
    config = log_in(tmp_path, secured)
    client = client_for(tmp_path, SSL_CERT_FILE=str(secured.ca))
    push(client, engine, [image], f"{plain.host}/source:1")
    docker("rmi", "-f", image.id)
    source = client.resolve(f"{plain.host}/source:1")
    assert source is not None

    targets = [f"{plain.host}/source:stable", f"{plain.host}/released:1", f"{secured.host}/released:1"]
    client.copy(source, [repository(one) for one in targets], output=RecordingOutput())
    set_tags(client, source.digest, *targets)

    for target in targets:
        found = client.resolve(target)
        assert found is not None
        assert found.digest == source.digest
    assert pulled(docker, targets[2], config=config) == image.id
