"""Images in a real engine: questions, names, and other labels over the same layers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from imgmake import stamp
from imgmake.engine import DockerEngine
from imgmake.errors import EngineError, EngineUnavailable, InvalidReference
from imgmake.ports import Cancel, Image

Docker = Callable[..., str]


@dataclass
class Heard:
    """An Output that remembers."""

    text: bytes = b""
    notes: list[str] = field(default_factory=list)
    tty: bool = False

    def write(self, data: bytes) -> None:
        self.text += data

    def note(self, text: str) -> None:
        self.notes.append(text)

    def command(self, line: str) -> None:
        self.notes.append(line)


@pytest.fixture
def engine(engine_host: str) -> Iterator[DockerEngine]:
    with DockerEngine(engine_host) as found:
        yield found


@pytest.fixture(scope="session")
def build(engine_host: str, docker_cli: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """``build(text, buildkit=True)``: the ID of an image built by the docker CLI itself."""

    def run(text: str, *, buildkit: bool = False) -> str:
        folder = tmp_path_factory.mktemp("build")
        (folder / "Dockerfile").write_text(text)
        (folder / "data").write_text("data")
        command = [str(docker_cli), "build", "-q", f"--iidfile={folder}/id", str(folder)]
        subprocess.run(
            command, check=True, capture_output=True, env={**os.environ, "DOCKER_BUILDKIT": str(int(buildkit))}
        )
        return (folder / "id").read_text().strip()

    return run


def inspected(docker: Docker, reference: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("image", "inspect", reference))[0]
    return found


# --- questions ------------------------------------------------------------------------------------------------


def test_info_tells_version_platform_and_store(engine: DockerEngine, engine_host: str, docker: Docker) -> None:
    info = engine.info()
    said = docker("version", "-f", "{{.Server.Version}} {{.Server.Os}}/{{.Server.Arch}}").split()
    assert [info.version, info.platform] == said
    assert info.store
    assert info.environ == {"DOCKER_HOST": engine_host}


def test_an_image_is_what_inspect_shows(engine: DockerEngine, docker: Docker, base_image: str) -> None:
    found = engine.image(base_image)
    shown = inspected(docker, base_image)
    assert found is not None
    assert found == engine.image(found.id)
    assert (found.id, found.layers) == (shown["Id"], tuple(shown["RootFS"]["Layers"]))
    assert found.config["Cmd"] == ["bash"]
    assert sorted(found.tags) == sorted(shown["RepoTags"])
    assert "debian:bookworm-slim" in found.tags


def test_an_absent_image_is_none_and_a_bad_name_an_error(engine: DockerEngine, base_image: str) -> None:
    assert engine.image("imt-no-such/thing:1") is None
    assert engine.image("sha256:" + "0" * 64) is None
    with pytest.raises(InvalidReference, match="UPPER"):
        engine.tag(base_image, "UPPER:x y")


def test_images_are_found_by_repository_each_once(engine: DockerEngine, build: Callable[..., str]) -> None:
    one, two = (build(f"FROM scratch\nLABEL n={n}\n") for n in "12")
    for image_id, name in [(one, "imt/a:1"), (one, "imt/a:2"), (two, "imt/a:3"), (two, "imt/ab:1"), (two, "imtlib:1")]:
        engine.tag(image_id, name)
    assert {image.id for image in engine.images(["imt/a"])} == {one, two}
    assert [image.id for image in engine.images(["docker.io/imt/ab"])] == [two]
    assert [image.id for image in engine.images(["docker.io/library/imtlib", "imtlib"])] == [two]
    assert len(engine.images(["imt/a", "imt/ab"])) == 2
    assert not engine.images([])
    assert not engine.images(["imt/none"])


# --- names ----------------------------------------------------------------------------------------------------


def test_images_are_found_by_a_label_with_or_without_a_tag(
    engine: DockerEngine, build: Callable[..., str], docker: Docker
) -> None:
    tagged = build('FROM scratch\nCOPY data /\nLABEL com.example.found="a"\n')
    untagged = build('FROM scratch\nCOPY data /\nLABEL com.example.found="b"\n')
    build("FROM scratch\nCOPY data /\n")
    docker("tag", tagged, "labelled:1")
    found = {image.id: image.tags for image in engine.labelled("com.example.found")}
    assert found == {tagged: ("labelled:1",), untagged: ()}


def test_a_name_moves_and_an_image_without_names_can_be_removed(
    engine: DockerEngine, build: Callable[..., str]
) -> None:
    one, two = (build(f"FROM scratch\nLABEL move={n}\nCOPY data /{n}\n") for n in "12")
    engine.tag(one, "localhost:5000/imt/move")
    engine.tag(two, "localhost:5000/imt/move:latest")
    engine.remove(two)
    found = engine.image("localhost:5000/imt/move")
    assert found is not None
    assert found.id == two
    engine.remove(one)
    assert engine.image(one) is None
    engine.untag("localhost:5000/imt/move:latest")
    engine.untag("localhost:5000/imt/move:latest")
    assert engine.image("localhost:5000/imt/move") is None


def test_removal_is_never_an_error(engine: DockerEngine, docker: Docker, base_image: str) -> None:
    used = docker("commit", docker("create", base_image).strip()).strip()
    docker("create", used)
    engine.remove(used)
    engine.remove("sha256:" + "0" * 64)
    assert engine.image(used) is not None
    DockerEngine("unix:///nowhere/sock").remove("sha256:1")


def test_a_name_cannot_be_given_to_nothing(engine: DockerEngine) -> None:
    with pytest.raises(EngineError, match="could not tag"):
        engine.tag("sha256:" + "0" * 64, "imt/x:1")


# --- other labels ---------------------------------------------------------------------------------------------

RICH = r"""
FROM scratch AS base
LABEL org.opencontainers.image.version=base keep="a\"b" gone=1
ENV A="x y" B=
WORKDIR /w
COPY data /w/data
USER 12:34
EXPOSE 80 53/udp
VOLUME /v
STOPSIGNAL SIGINT
HEALTHCHECK --interval=7s --retries=2 CMD ["/w/data"]
SHELL ["/bin/x", "-c"]
ONBUILD RUN exit 1
ONBUILD COPY nothing /
ENTRYPOINT ["/w/data"]
CMD run --fast
MAINTAINER someone
"""


def told(shown: dict[str, Any]) -> dict[str, Any]:
    """All that inspect shows and a new identity does not change; the containerd store's sizes count configurations."""
    identity = {"Id", "RepoTags", "RepoDigests", "Metadata", "Parent", "Size", "VirtualSize"}
    kept = {key: value for key, value in shown.items() if key not in identity}
    return {**kept, "Config": {k: v for k, v in shown["Config"].items() if k != "Labels"}}


@pytest.mark.parametrize("buildkit", [True, False], ids=["buildkit", "classic"])
def test_new_labels_change_nothing_else(
    engine: DockerEngine, docker: Docker, build: Callable[..., str], buildkit: bool
) -> None:
    before = engine.image(build(RICH, buildkit=buildkit))
    assert before is not None
    wanted = {"org.opencontainers.image.version": "ours", "new": 'ü "q" $x\n'}
    after = engine.relabel(before, labels=wanted, remove=["gone", "never-there"])
    assert after.labels == {"keep": 'a"b', **wanted}
    assert after.tags == ()
    assert told(inspected(docker, after.id)) == told(inspected(docker, before.id))
    assert history(docker, after) == history(docker, before)


def history(docker: Docker, image: Image) -> list[str]:
    return docker("history", "--no-trunc", "-q=false", "--format", "{{.CreatedBy}}|{{.Size}}", image.id).splitlines()


def test_a_layer_without_content_keeps_its_place(
    engine: DockerEngine, docker: Docker, build: Callable[..., str], base_image: str
) -> None:
    """Neither sizes nor instructions tell which of these have a layer: the configuration itself is asked."""
    text = f"FROM {base_image}\nRUN true\nWORKDIR /\nCOPY data /data\nRUN true\nWORKDIR /new\n"
    for buildkit in (True, False):
        before = engine.image(build(text, buildkit=buildkit))
        assert before is not None
        after = engine.relabel(before, labels={"a": "b"})
        assert after.layers == before.layers
        assert history(docker, after) == history(docker, before)


def test_a_stamp_is_read_back_and_given_anew(engine: DockerEngine, build: Callable[..., str]) -> None:
    content = engine.image(build("FROM scratch\nCOPY data /stamped\nLABEL org.opencontainers.image.vendor=base\n"))
    assert content is not None
    for build_id in ("one", "two"):
        labels, removed = stamp.labels(metadata={"BUILD_ID": build_id}, title="t")
        managed = frozenset(labels) | removed
        mark = stamp.Stamp(
            fingerprint=build_id, content=stamp.content_id(content, managed), managed=tuple(sorted(managed))
        )
        content = engine.relabel(content, labels={**labels, stamp.LABEL: mark.to_label()}, remove=removed)
        assert stamp.read(content) == mark
        assert content.labels["org.opencontainers.image.version"] == build_id
        assert "org.opencontainers.image.vendor" not in content.labels


def test_children_and_commits_bear_no_stamp(
    engine: DockerEngine, docker: Docker, build: Callable[..., str], base_image: str
) -> None:
    base = engine.image(base_image)
    assert base is not None
    mark = stamp.Stamp(fingerprint="f", content=stamp.content_id(base))
    ours = engine.relabel(base, labels={stamp.LABEL: mark.to_label()})
    engine.tag(ours.id, "imt/ours:1")
    assert stamp.read(ours) == mark
    container = docker("run", "-d", "imt/ours:1", "touch", "/new").strip()
    docker("wait", container)
    for other in (build("FROM imt/ours:1\nCOPY data /\n"), docker("commit", container).strip()):
        child = engine.image(other)
        assert child is not None
        assert child.labels[stamp.LABEL]
        assert stamp.read(child) is None


def test_equal_labels_are_the_same_image(engine: DockerEngine, build: Callable[..., str]) -> None:
    image = engine.image(build("FROM scratch\nLABEL same=1\n"))
    assert image is not None
    assert engine.relabel(image, labels={"same": "1"}, remove=["other"]) == image


# --- content --------------------------------------------------------------------------------------------------


def test_an_export_is_a_tar_of_the_image(engine: DockerEngine, build: Callable[..., str]) -> None:
    with (
        engine.export(build("FROM scratch\nCOPY data /exported\n")) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        assert "manifest.json" in {member.name for member in tar}
    with pytest.raises(EngineError, match="could not export"), engine.export("imt-no-such:1"):
        pass


def test_a_pull_that_cannot_be_says_so(engine: DockerEngine) -> None:
    with pytest.raises(EngineError, match="localhost:1/imt:x could not be pulled") as raised:
        engine.pull("localhost:1/imt:x", platform=None, output=Heard(), cancel=Cancel())
    assert "reachable" in raised.value.hint


def test_a_slip_in_dockers_configuration_is_named(
    engine_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One read `Error: Incorrect padding`, or that the engine does not answer."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    config = tmp_path / "config.json"
    for slip in (
        '["s3cret"]',
        '{"auths": {"reg.example": {"auth": "%s3cret"}}}',
        '{"auths": {"reg.example": "s3cret"}}',
    ):
        config.write_text(slip)
        with pytest.raises(
            EngineError, match=rf"^{config} is no configuration of docker's\n  mend it, or log in anew$"
        ):
            DockerEngine(engine_host).client()


# --- no engine ------------------------------------------------------------------------------------------------


def test_without_a_socket_the_error_says_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable) as raised:
        DockerEngine(environ={"DOCKER_HOST": f"unix://{tmp_path}/none"}).image("x")
    assert f"there is no socket unix://{tmp_path}/none (DOCKER_HOST)" in raised.value.message
    assert "--start-engine" in raised.value.hint


def test_a_socket_that_nothing_listens_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/dead")
    with pytest.raises(EngineUnavailable, match="nothing listens"):
        DockerEngine(f"unix://{tmp_path}/dead").info()


def test_what_an_engine_over_ssh_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One was told to start the engine."""
    monkeypatch.setattr("imgmake.engine.sdk.find_spec", lambda _: None)
    with pytest.raises(EngineUnavailable, match=r"ssh://x@127.0.0.1:1 is reached with paramiko\n  pip install"):
        DockerEngine("ssh://x@127.0.0.1:1").info()


@pytest.mark.parametrize("answer", [b"", b'HTTP/1.0 200 OK\r\n\r\n{"Id": '], ids=["nothing", "half"])
def test_an_engine_that_goes_away_in_the_middle(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/sock")
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(EngineUnavailable):
            DockerEngine(f"unix://{tmp_path}/sock").image("x")
        thread.join()


def test_tcp_goes_through_the_sdk_and_fails_alike() -> None:
    with pytest.raises(EngineUnavailable, match=r"nothing listens on tcp://127\.0\.0\.1:1 \(the given host\)"):
        DockerEngine("tcp://127.0.0.1:1").image("x")
