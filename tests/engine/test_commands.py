"""Commands through the real ports: `run`, `structure_test`, `extract` and `tag` on a real engine."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imgmake.commands import extract, owner, run, structure_test, tag
from imgmake.commands.base import Action, Job
from imgmake.engine import caller
from imgmake.engine.client import DockerEngine
from imgmake.errors import CommandFailed, EngineError, Interrupted
from imgmake.ports import Cancel
from imgmake.shell import LocalShell
from tests.fakes import RecordingOutput
from tests.unit.test_commands import view

Do = Callable[..., RecordingOutput]


@pytest.fixture
def engine(engine_host: str) -> Iterator[DockerEngine]:
    with DockerEngine(engine_host) as engine:
        yield engine


def ours(client: Any) -> list[Any]:
    """Everything that bears our label, untagged images included."""
    label = {"label": owner.LABEL}
    return [
        *client.containers.list(all=True, filters=label),
        *client.volumes.list(filters=label),
        *client.networks.list(filters=label),
        *client.images.list(all=True, filters=label),
    ]


@pytest.fixture(autouse=True)
def _nothing_is_left(engine: DockerEngine) -> Iterator[None]:
    before = {container.id for container in engine.client().containers.list(all=True)}
    yield
    assert {container.id for container in engine.client().containers.list(all=True)} == before
    assert ours(engine.client()) == []


@pytest.fixture
def do(engine: DockerEngine, tmp_path: Path) -> Do:
    def perform(action: Action, output: RecordingOutput | None = None, cancel: Cancel | None = None) -> RecordingOutput:
        output = output or RecordingOutput()
        job = Job(view(tmp_path), lambda: engine, LocalShell(), output, cancel or Cancel(), dict(os.environ))
        action.run(job)
        return output

    return perform


def test_run_builds_an_artifact_as_the_caller(
    do: Do, base_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    somebody = caller.Caller(4321, 4321)
    monkeypatch.setattr(caller, "identity", lambda client: somebody)
    os.chown(tmp_path, *somebody)
    text = "mkdir -p target ~/.m2 && pwd && id -un > target/who && touch ~/.m2/x"
    output = do(run(base_image, ["sh", "-ec", text], mounts={".": "/project"}))
    assert output.data == b"/project\n"
    assert (tmp_path / "target/who").read_text() == "imgmake\n"
    assert {path.stat().st_uid for path in tmp_path.rglob("*")} == {4321}
    assert {path.name for path in tmp_path.iterdir()} == {"target"}


def test_run_fails_with_the_exit_code_of_the_container(do: Do, base_image: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        do(run(base_image, ["sh", "-c", "exit 9"]))
    assert caught.value.code == 9


def test_run_of_an_image_that_cannot_be_pulled(do: Do) -> None:
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:1/none:1 could not be pulled"):
        do(run("127.0.0.1:1/none:1", "true"))


def test_run_stopped(do: Do, base_image: str) -> None:
    cancel = Cancel()
    threading.Timer(1.5, cancel.stop).start()
    with pytest.raises(Interrupted):
        do(run(base_image, "sleep 60"), cancel=cancel)


TESTS = """
schemaVersion: 2.0.0
commandTests:
  - name: shell
    command: sh
    args: ["-c", "echo hello >&2"]
    expectedError: ["hello"]
fileExistenceTests:
  - name: passwd
    path: /etc/passwd
    shouldExist: {exist}
    permissions: "-rw-r--r--"
    uid: 0
metadataTest:
  cmd: ["bash"]
"""


def test_structure_test_passes_and_fails(do: Do, base_image: str, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(TESTS.replace("{exist}", "true"))
    (tmp_path / "bad.yaml").write_text(TESTS.replace("{exist}", "false"))
    assert b"PASS" in do(structure_test(base_image, "good.yaml")).data
    output = RecordingOutput()
    with pytest.raises(CommandFailed, match="structure_test failed with exit code 1"):
        do(structure_test(base_image, "good.yaml", "bad.yaml"), output)
    assert b"FAIL" in output.data


def test_structure_test_report(do: Do, base_image: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(TESTS.replace("{exist}", "false"))
    with pytest.raises(CommandFailed):
        do(structure_test(base_image, "bad.yaml", report="out/report.json"))
    assert json.loads((tmp_path / "out/report.json").read_text())["Fail"] == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.json"]


def test_structure_test_of_a_missing_image(do: Do) -> None:
    with pytest.raises(EngineError, match="no image no-such:1"):
        do(structure_test("no-such:1", "a.yaml"))


def test_structure_test_stopped_leaves_neither_containers_nor_images(
    do: Do, engine: DockerEngine, base_image: str, tmp_path: Path
) -> None:
    (tmp_path / "slow.yaml").write_text(
        'schemaVersion: 2.0.0\ncommandTests:\n  - {name: slow, command: sleep, args: ["60"]}\n'
    )
    cancel = Cancel()
    images = {image.id for image in engine.client().images.list(all=True)}

    def stop_when_it_runs() -> None:
        with DockerEngine(engine.host) as other:
            while not other.client().containers.list(filters={"label": owner.LABEL}):
                time.sleep(0.05)
        cancel.stop()

    watcher = threading.Thread(target=stop_when_it_runs)
    watcher.start()
    with pytest.raises(Interrupted):
        do(structure_test(base_image, "slow.yaml"), cancel=cancel)
    watcher.join()
    assert {image.id for image in engine.client().images.list(all=True)} == images


def test_extract(do: Do, base_image: str, tmp_path: Path) -> None:
    do(extract(base_image, "/etc/debian_version", "out/"))
    assert (tmp_path / "out/debian_version").read_text().startswith("12")


def test_tag_says_what_moved(do: Do, engine: DockerEngine, docker: Callable[..., str], base_image: str) -> None:
    docker("build", "-q", "-t", "commands-new:1", "-", stdin=f"FROM {base_image}\nLABEL a=b\n".encode())
    try:
        assert do(tag(base_image, "commands-tag:1")).notes == []
        output = do(tag("commands-new:1", "commands-tag:1"))
        assert len(output.notes) == 1
        assert output.notes[0].startswith("commands-tag:1 moved: ")
    finally:
        engine.untag("commands-tag:1")
