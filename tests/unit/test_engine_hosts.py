"""Where the engine is: the order of docker's own CLI, contexts with certificates, sockets of others."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from imgmake.engine import hosts, images
from imgmake.engine.wire import unavailable, url
from imgmake.errors import EngineUnavailable, InvalidReference


def context(home: Path, name: str, host: str, **more: Any) -> Path:
    """A context as ``docker context create`` stores it; the folder for its certificates."""
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = home / "contexts" / "meta" / key
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host, **more}}}))
    return home / "contexts" / "tls" / key / "docker"


def test_the_environment_wins_over_contexts_and_a_given_host_over_all(tmp_path: Path) -> None:
    context(tmp_path, "prod", "tcp://prod:2376")
    context(tmp_path, "lab", "ssh://lab")
    (tmp_path / "config.json").write_text('{"currentContext": "lab"}')
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    found = hosts.resolve(None, environ)
    assert (found.url, found.origin, found.environ) == ("ssh://lab", "context lab", {"DOCKER_CONTEXT": "lab"})
    environ["DOCKER_CONTEXT"] = "prod"
    assert hosts.resolve(None, environ).url == "tcp://prod:2376"
    environ["DOCKER_HOST"] = "unix:///run/mine.sock"
    mine = hosts.resolve(None, environ)
    assert (mine.socket, mine.origin) == ("/run/mine.sock", "DOCKER_HOST")
    assert hosts.resolve("/run/given.sock", environ).environ == {"DOCKER_HOST": "unix:///run/given.sock"}


def test_a_contexts_certificates_are_found(tmp_path: Path) -> None:
    certs = context(tmp_path, "prod", "tcp://prod:2376", SkipTLSVerify=True)
    environ = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "prod"}
    assert hosts.resolve(None, environ).certs is None
    certs.mkdir(parents=True)
    found = hosts.resolve(None, environ)
    assert (found.certs, found.verify) == (str(certs), False)


def test_tls_by_environment() -> None:
    environ = {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}
    found = hosts.resolve(None, environ)
    assert (found.certs, found.verify) == ("/certs", True)
    assert found.environ == environ


def test_a_context_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="context 'gone' does not exist"):
        hosts.resolve(None, {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "gone"})


def test_without_dockers_socket_another_one_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "DEFAULT", f"unix://{tmp_path}/docker.sock")
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "DOCKER_CONFIG": str(tmp_path)}
    assert hosts.resolve(None, environ).url == hosts.DEFAULT
    podman = tmp_path / "run" / "podman" / "podman.sock"
    podman.parent.mkdir(parents=True)
    podman.touch()
    assert hosts.resolve(None, environ).socket == str(podman)
    (tmp_path / "docker.sock").touch()
    assert hosts.resolve(None, environ).url == hosts.DEFAULT


@pytest.mark.parametrize("text", ["not json", "[]", '"x"'])
def test_a_broken_configuration_is_no_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert hosts.resolve(None, {"DOCKER_CONFIG": str(tmp_path)}).origin != "context"


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("shop", ("shop", "latest")),
        ("shop:1", ("shop", "1")),
        ("localhost:5000/shop", ("localhost:5000/shop", "latest")),
        ("localhost:5000/a/shop:1.0", ("localhost:5000/a/shop", "1.0")),
    ],
)
def test_a_name_is_split(reference: str, parts: tuple[str, str]) -> None:
    assert images.split(reference) == parts


def test_a_digest_cannot_be_set_as_a_name() -> None:
    with pytest.raises(InvalidReference, match="digest"):
        images.split("shop@sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("status", "store"),
    [
        ([["Backing Filesystem", "extfs"]], "overlay2"),
        ([["driver-type", "io.containerd.snapshotter.v1"]], "containerd"),
    ],
)
def test_stores_and_machines_are_named(status: list[list[str]], store: str) -> None:
    said = {"Driver": "overlay2", "DriverStatus": status, "Architecture": "aarch64", "ServerVersion": "26"}
    found = images.parse_info(said, {})
    assert (found.store, found.platform) == (store, "linux/arm64")


def test_what_is_sent_cannot_break_out_of_its_line() -> None:
    assert url("/images/a b\r\n?x#y/json", tag="c&d", filters={"reference": ["e"]}) == (
        "/images/a%20b%0D%0A%3Fx%23y/json?tag=c%26d&filters=%7B%22reference%22%3A+%5B%22e%22%5D%7D"
    )


def test_a_login_in_the_address_of_an_engine_is_not_shown() -> None:
    host = hosts.resolve(None, {"DOCKER_HOST": "tcp://me:secret@engine:2375"})
    told = unavailable(host, ValueError("bad address: tcp://me:secret@engine:2375"))
    assert told.message == (
        "the container engine at tcp://engine:2375 (DOCKER_HOST) does not answer: bad address: tcp://engine:2375"
    )
