"""Containers on a real engine: output, exit codes, users, mounts, services; and that nothing of them is left."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker.errors
import pexpect
import pytest

from imgmake.commands import owner
from imgmake.engine import caller, containers, services
from imgmake.engine.client import DockerEngine
from imgmake.errors import CommandFailed, EngineError, Interrupted
from imgmake.ports import Cancel, ContainerSpec, Mount

SOMEBODY = caller.Caller(4321, 4322)


class Heard:
    """An output that remembers, with the time of each chunk."""

    tty = False

    def __init__(self, on_write: Callable[[bytes], None] = lambda data: None) -> None:
        self.chunks: list[tuple[float, bytes]] = []
        self.notes: list[str] = []
        self._on_write = on_write

    @property
    def text(self) -> str:
        return b"".join(data for _, data in self.chunks).decode()

    def write(self, data: bytes) -> None:
        self.chunks.append((time.monotonic(), data))
        self._on_write(data)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def command(self, line: str) -> None:
        raise AssertionError("an engine says no commands")


@pytest.fixture
def engine(engine_host: str) -> Iterator[DockerEngine]:
    with DockerEngine(engine_host) as engine:
        yield engine


@pytest.fixture
def client(engine: DockerEngine) -> Any:
    return engine.client()


def everything(client: Any) -> tuple[set[str], set[str], set[str]]:
    return (
        {container.id for container in client.containers.list(all=True)},
        {volume.name for volume in client.volumes.list()},
        {network.name for network in client.networks.list()},
    )


@pytest.fixture(autouse=True)
def _nothing_is_left(client: Any) -> Iterator[None]:
    before = everything(client)
    yield
    assert everything(client) == before


@pytest.fixture(scope="session")
def config_image(docker: Callable[..., str]) -> str:
    """An image FROM scratch: two files, one of them where an engine puts something of its own."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("app.properties", "etc/app/empty"):
            member = tarfile.TarInfo(name)
            member.size = 0 if name.endswith("empty") else 4
            tar.addfile(member, io.BytesIO(b"a=1\n"))
    docker("import", "-", "runs-config:1", stdin=buffer.getvalue())
    return "runs-config:1"


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> caller.Caller:
    """The calling user is not root."""
    monkeypatch.setattr(caller, "identity", lambda client: SOMEBODY)
    return SOMEBODY


Sh = Callable[..., int]


@pytest.fixture
def sh(client: Any, base_image: str) -> Sh:
    """``sh(text, heard, mounts=…)``: a shell in a container of the base image."""

    def run(text: str, heard: Heard | None = None, cancel: Cancel | None = None, **spec: Any) -> int:
        stdout = spec.pop("stdout", None)
        given = ContainerSpec(image=spec.pop("image", base_image), command=("sh", "-c", text), **spec)
        return containers.run(client, given, output=heard or Heard(), cancel=cancel or Cancel(), stdout=stdout)

    return run


# --- to the end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"), [("true", 0), ("exit 42", 42), ("kill -KILL $$; sleep 1", 0), ("kill $$", 0)]
)
def test_exit_code(sh: Sh, text: str, code: int) -> None:
    """As PID 1 the shell does not get the signals it sends to itself; an exit code is passed on as it is."""
    assert sh(text) == code


def test_exit_code_of_a_signal(sh: Sh) -> None:
    assert sh("sh -c 'kill -TERM $$'") == 143


def test_output_comes_as_it_is_written_from_the_first_byte(sh: Sh) -> None:
    heard = Heard()
    assert sh("echo first; sleep 2; echo last >&2", heard) == 0
    assert heard.text == "first\nlast\n"
    assert heard.chunks[-1][0] - heard.chunks[0][0] > 0.5


def test_large_output_is_whole(sh: Sh) -> None:
    heard = Heard()
    assert sh("head -c 5000000 /dev/zero", heard) == 0
    assert len(heard.text) == 5_000_000


def test_stdout_to_a_file_and_stderr_to_the_user(sh: Sh, tmp_path: Path) -> None:
    heard = Heard()
    assert sh("echo content; echo told >&2", heard, stdout=tmp_path / "made" / "out.txt") == 0
    assert (tmp_path / "made" / "out.txt").read_text() == "content\n"
    assert heard.text == "told\n"


def test_no_file_of_a_failed_container(sh: Sh, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    assert sh("echo half; exit 3", stdout=tmp_path / "old") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "old"


def test_options_reach_the_container(sh: Sh) -> None:
    heard = Heard()
    options = (
        "--hostname=there",
        "--add-host",
        "db:10.1.2.3",
        "--tmpfs=/mem:size=1m",
        "--ulimit",
        "nofile=99",
        "--init",
    )
    sh("hostname; grep db /etc/hosts; ulimit -n; grep -c ' /mem tmpfs' /proc/mounts", heard, options=options)
    assert heard.text.split() == ["there", "10.1.2.3", "db", "99", "1"]


def test_env_workdir_user_entrypoint(client: Any, base_image: str) -> None:
    heard = Heard()
    spec = ContainerSpec(
        base_image, ("-c", 'echo "$A" $(pwd) $(id -u)'), ("sh",), workdir="/usr", env={"A": "a  b"}, user="7:7"
    )
    assert containers.run(client, spec, output=heard, cancel=Cancel()) == 0
    assert heard.text == "a  b /usr 7\n"


# --- what cannot run ------------------------------------------------------------------------------------------


def test_a_missing_image_is_named(sh: Sh) -> None:
    with pytest.raises(EngineError, match="no image no-such-image:9"):
        sh("true", image="no-such-image:9")


def test_a_missing_image_among_mounts_and_services_is_named(sh: Sh, base_image: str) -> None:
    with pytest.raises(EngineError, match="no image no-such-image:9"):
        sh("true", mounts=(Mount("/m", image="no-such-image:9"),))
    with pytest.raises(EngineError, match="no image no-such-image:9"):
        sh("true", services={"a": ContainerSpec(base_image, ("sleep", "60")), "b": ContainerSpec("no-such-image:9")})


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), ("/etc/passwd", 126)])
def test_a_command_that_cannot_start(client: Any, base_image: str, command: str, code: int) -> None:
    with pytest.raises(CommandFailed) as caught:
        containers.run(client, ContainerSpec(base_image, (command,)), output=Heard(), cancel=Cancel())
    assert caught.value.code == code
    assert command in str(caught.value)


# --- users ----------------------------------------------------------------------------------------------------


def test_outputs_are_the_callers(sh: Sh, tmp_path: Path, somebody: caller.Caller) -> None:
    os.chown(tmp_path, *somebody)
    text = "mkdir -p target/x && echo jar > target/x/app.jar"
    assert sh(text, mounts=(Mount("/project", path=tmp_path),), workdir="/project", caller=True) == 0
    made = [tmp_path / "target", tmp_path / "target/x", tmp_path / "target/x/app.jar"]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {tuple(somebody)}


def test_the_caller_has_a_name_and_a_home_of_its_own_outside_the_tree(
    sh: Sh, tmp_path: Path, somebody: caller.Caller
) -> None:
    os.chown(tmp_path, *somebody)
    heard = Heard()
    text = (
        'id -un; id -gn; getent passwd "$(id -u)" | cut -d: -f6; mkdir -p ~/.m2/repository && echo $HOME'
        " && grep -c ^root: /etc/passwd"
    )
    assert sh(text, heard, mounts=(Mount("/p", path=tmp_path),), workdir="/p", caller=True) == 0
    assert heard.text.split() == ["imgmake", "imgmake", caller.HOME, caller.HOME, "1"]
    assert list(tmp_path.iterdir()) == []


def test_a_user_whom_the_image_knows_keeps_its_name(sh: Sh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "identity", lambda client: caller.Caller(33, 33))
    heard = Heard()
    assert sh("id -un; touch ~/x && echo $HOME", heard, mounts=(Mount("/p", path=tmp_path),), caller=True) == 0
    assert heard.text.split() == ["www-data", caller.HOME]


def test_a_read_only_container_has_a_writable_home(sh: Sh, tmp_path: Path, somebody: caller.Caller) -> None:
    mounts = (Mount("/p", path=tmp_path),)
    assert sh("touch ~/x && ! touch /x 2>/dev/null", mounts=mounts, caller=True, options=("--read-only",)) == 0


def test_a_new_named_volume_is_the_callers_and_stays(
    sh: Sh, client: Any, tmp_path: Path, somebody: caller.Caller
) -> None:
    mounts = (Mount("/p", path=tmp_path), Mount(f"{caller.HOME}/.m2", volume="runs-m2"))
    try:
        assert sh("echo kept > ~/.m2/file", mounts=mounts, caller=True) == 0
        assert sh("grep kept ~/.m2/file", mounts=mounts, caller=True) == 0
    finally:
        client.volumes.get("runs-m2").remove()


def test_without_the_caller_the_image_says_who(sh: Sh) -> None:
    heard = Heard()
    sh("id -u; echo $HOME", heard)
    assert heard.text.split() == ["0", "/root"]


# --- mounts ---------------------------------------------------------------------------------------------------


def test_an_images_files_are_a_mount(sh: Sh, config_image: str) -> None:
    heard = Heard()
    text = "cd /config && find . | sort; cat app.properties; ! touch x 2>/dev/null"
    assert sh(text, heard, mounts=(Mount("/config", image=config_image),)) == 0
    assert heard.text.split() == [".", "./app.properties", "./etc", "./etc/app", "./etc/app/empty", "a=1"]


def test_a_whole_system_as_a_mount(sh: Sh, base_image: str) -> None:
    heard = Heard()
    text = "test -u /m/bin/su && readlink /m/etc/mtab; /m/bin/busybox echo run; stat -c %u:%G /m/etc/shadow"
    assert sh(text, heard, mounts=(Mount("/m", image=base_image),)) == 0
    assert heard.text.split() == ["run", "0:shadow"]


def test_read_only_path(sh: Sh, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("seen\n")
    heard = Heard()
    assert sh("cat /p/file; ! touch /p/x 2>/dev/null", heard, mounts=(Mount("/p", path=tmp_path, read_only=True),)) == 0
    assert heard.text == "seen\n"


# --- services -------------------------------------------------------------------------------------------------

SERVE = "mkdir -p /w && echo hello > /w/index.html && sleep 1 && exec busybox httpd -f -p 8080 -h /w"


@pytest.fixture(scope="session")
def shop(import_base: Callable[..., str]) -> str:
    return import_base("runs-shop:1", changes=["EXPOSE 8080/tcp"])


@pytest.fixture(scope="session")
def healthy_shop(docker: Callable[..., str], base_image: str) -> str:
    """Its healthcheck is slow by its own settings: half a minute until the engine asks for the first time."""
    lines = f"FROM {base_image}\nHEALTHCHECK CMD busybox wget -qO- http://127.0.0.1:8080/\n"
    docker("build", "-q", "-t", "runs-healthy:1", "-", stdin=lines.encode())
    return "runs-healthy:1"


def test_a_service_is_there_when_its_port_is(sh: Sh, shop: str) -> None:
    heard = Heard()
    beside = {"shop": ContainerSpec(shop, ("sh", "-c", SERVE))}
    assert sh("busybox wget -qO- http://shop:8080/", heard, services=beside) == 0
    assert heard.text == "hello\n"


def test_a_service_is_there_when_it_is_healthy(sh: Sh, healthy_shop: str) -> None:
    begin = time.monotonic()
    beside = {"shop": ContainerSpec(healthy_shop, ("sh", "-c", SERVE))}
    assert sh("busybox wget -qO- http://shop:8080/", services=beside) == 0
    assert time.monotonic() - begin < 28


def test_a_service_has_services_mounts_and_a_config(sh: Sh, shop: str, base_image: str, config_image: str) -> None:
    """The chapter's configuration image per stage, behind a proxy."""
    heard = Heard()
    inner = ContainerSpec(
        shop, ("busybox", "httpd", "-f", "-p", "8080", "-h", "/c"), mounts=(Mount("/c", image=config_image),)
    )
    proxy = "busybox wget -qO /tmp/index.html http://inner:8080/app.properties && exec busybox httpd -f -p 8080 -h /tmp"
    outer = ContainerSpec(shop, ("sh", "-c", proxy), services={"inner": inner})
    assert sh("busybox wget -qO- http://outer:8080/", heard, services={"outer": outer}) == 0
    assert heard.text == "a=1\n"


def test_a_service_that_ends_shows_its_log(sh: Sh, shop: str) -> None:
    heard = Heard()
    beside = {"shop": ContainerSpec(shop, ("sh", "-c", "echo cannot open the database; exit 3"))}
    with pytest.raises(CommandFailed, match="the service 'shop' ended with exit code 3"):
        sh("echo never", heard, services=beside)
    assert heard.text == "shop | cannot open the database\n"


def test_a_service_without_a_port_that_fails_at_once_stops_the_run(sh: Sh, base_image: str) -> None:
    heard = Heard()
    beside = {"db": ContainerSpec(base_image, ("sh", "-c", "echo no disk; exit 3"))}
    with pytest.raises(CommandFailed, match="the service 'db' ended with exit code 3"):
        sh("echo never", heard, services=beside)
    assert heard.text == "db | no disk\n"


@pytest.mark.parametrize("code", [0, 3])
def test_a_service_without_a_port_that_ends_meanwhile_is_told(sh: Sh, base_image: str, code: int) -> None:
    heard = Heard()
    beside = {"db": ContainerSpec(base_image, ("sh", "-c", f"echo bye; sleep 1; exit {code}"))}
    assert sh("sleep 3; exit 1", heard, services=beside) == 1
    assert heard.notes == [f"the service 'db' ended with exit code {code} before the command did"]
    assert heard.text == "db | bye\n"


def test_a_service_that_did_its_work_is_no_failure(sh: Sh, base_image: str) -> None:
    heard = Heard()
    assert sh("true", heard, services={"migrate": ContainerSpec(base_image, ("true",))}) == 0
    assert (heard.notes, heard.text) == ([], "")


def test_a_service_that_never_listens_is_not_waited_for_for_ever(
    sh: Sh, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "PATIENCE", 1.0)
    heard = Heard()
    with pytest.raises(CommandFailed, match="does not listen on 8080"):
        sh("true", heard, services={"shop": ContainerSpec(shop, ("sh", "-c", "echo thinking; exec sleep 60"))})
    assert heard.text == "shop | thinking\n"


def test_an_unhealthy_service_says_what_its_check_said(sh: Sh, docker: Callable[..., str], base_image: str) -> None:
    lines = f"FROM {base_image}\nHEALTHCHECK --interval=1s --retries=1 CMD echo no heart; exit 1\n"
    docker("build", "-q", "-t", "runs-unhealthy:1", "-", stdin=lines.encode())
    with pytest.raises(CommandFailed, match="the service 'shop' is unhealthy: no heart"):
        sh("true", services={"shop": ContainerSpec("runs-unhealthy:1", ("sleep", "60"))})


def test_logs_of_services_are_shown_when_the_container_fails(sh: Sh, shop: str) -> None:
    heard = Heard()
    beside = {"shop": ContainerSpec(shop, ("sh", "-c", f"echo a hint; {SERVE}"))}
    assert sh("echo failing; exit 1", heard, services=beside) == 1
    assert heard.text == "failing\nshop | a hint\n"


# --- stops and leftovers --------------------------------------------------------------------------------------


def test_a_stop_ends_it_soon_with_its_services(sh: Sh, shop: str) -> None:
    cancel = Cancel()
    heard = Heard(lambda data: threading.Timer(0, cancel.stop).start())
    begin = time.monotonic()
    beside = {"shop": ContainerSpec(shop, ("sh", "-c", SERVE))}
    assert sh("echo started; sleep 60", heard, cancel, services=beside) in (137, 143)
    assert time.monotonic() - begin < 45


def test_a_stop_while_a_service_is_waited_for(sh: Sh, shop: str) -> None:
    cancel = Cancel()
    threading.Timer(1.5, cancel.stop).start()
    begin = time.monotonic()
    with pytest.raises((Interrupted, CommandFailed)):
        sh("true", cancel=cancel, services={"shop": ContainerSpec(shop, ("sleep", "60"))})
    assert time.monotonic() - begin < 45


def test_nothing_starts_after_a_stop(sh: Sh) -> None:
    cancel = Cancel()
    cancel.stop()
    with pytest.raises(Interrupted):
        sh("true", cancel=cancel)


def test_an_output_that_fails_leaves_nothing(sh: Sh) -> None:
    def fail(data: bytes) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sh("echo started; sleep 60", Heard(fail))


KILLED = """
import sys
from imgmake.engine import containers
from imgmake.engine.client import DockerEngine
from imgmake.ports import Cancel, ContainerSpec, Mount
class Out:
    tty = False
    def write(self, data): print(data.decode(), end="", flush=True)
client = DockerEngine(sys.argv[1]).client()
beside = {"shop": ContainerSpec(sys.argv[2], ("sleep", "300"))}
command, mounts = ("sh", "-c", "echo started; sleep 300"), (Mount("/m", image=sys.argv[3]),)
spec = ContainerSpec(sys.argv[2], command, mounts=mounts, services=beside)
containers.run(client, spec, output=Out(), cancel=Cancel())
"""


def test_what_a_killed_run_left_is_swept_and_what_a_live_one_has_is_not(
    engine_host: str, client: Any, base_image: str, config_image: str
) -> None:
    before = everything(client)
    argv = [sys.executable, "-c", KILLED, engine_host, base_image, config_image]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        during = everything(client)
        containers.sweep(client, "nobody")
        assert everything(client) == during
        process.kill()
    assert all(left - known for left, known in zip(everything(client), before, strict=True))
    with DockerEngine(engine_host) as engine:
        spec = ContainerSpec(base_image, ("true",))
        assert engine.run(spec, output=Heard(), cancel=Cancel()) == 0
    assert everything(client) == before


def test_sweep_of_one_owner(client: Any, base_image: str) -> None:
    mine, other = f"{owner.own()}.1", f"{owner.own()}.2"
    made = {mark: client.containers.create(base_image, "true", labels={owner.LABEL: mark}) for mark in (mine, other)}
    containers.sweep(client, mine)
    left = {container.id for container in client.containers.list(all=True)}
    made[other].remove()
    assert made[other].id in left
    assert made[mine].id not in left


def test_a_users_container_that_inherited_our_label_is_left_alone(client: Any, base_image: str) -> None:
    dead = ".".join([*owner.own().split(".")[:2], "1", "0"])
    ours = client.containers.create(base_image, "true", labels={owner.LABEL: dead})
    image = ours.commit("runs-committed", "1")
    theirs = client.containers.create(image.id, "true")
    containers.sweep(client, "nobody")
    left = {container.id for container in client.containers.list(all=True)}
    theirs.remove()
    client.images.remove("runs-committed:1")
    assert theirs.id in left
    assert ours.id not in left


def test_sweeping_does_not_mind_an_image_that_goes_meanwhile(
    client: Any, base_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A structure test beside it may just be removing its own image: a check beside that failed for it."""
    ours = client.containers.create(base_image, "true", labels={owner.LABEL: owner.own()})
    image = ours.commit("imgmake-marked", "going")

    def gone(found: str) -> None:
        raise docker.errors.ImageNotFound(f"No such image: {found}")

    monkeypatch.setattr(client.api, "inspect_image", gone)
    containers.sweep(client, "nobody")
    ours.remove()
    monkeypatch.undo()
    client.images.remove(image.id, force=True)


# --- terminals ------------------------------------------------------------------------------------------------


def test_without_a_terminal_none_is_asked_for_and_that_is_said(sh: Sh) -> None:
    heard = Heard()
    assert sh("test -t 0 || echo none", heard, tty=True) == 0
    assert heard.text == "none\n"
    assert len(heard.notes) == 1


ON_TERMINAL = """
import sys
from imgmake.engine import containers
from imgmake.engine.client import DockerEngine
from imgmake.ports import Cancel, ContainerSpec
class Out:
    tty = True
client = DockerEngine(sys.argv[1]).client()
spec = ContainerSpec(sys.argv[2], ("sh", "-c", sys.argv[3]), tty=True)
print("code", containers.run(client, spec, output=Out(), cancel=Cancel()))
"""


def test_a_terminal_is_joined_in_its_size_and_given_back(engine_host: str, base_image: str) -> None:
    sized = 'until stty size | grep "33 77"; do sleep 0.1; done'
    text = f"trap 'echo caught; exit 5' INT; read line; echo got $line; {sized}; while :; do sleep 0.1; done"
    argv = ["-c", ON_TERMINAL, engine_host, base_image, text]
    root = Path(__file__).parents[2]
    with pexpect.spawn(sys.executable, argv, cwd=root, encoding="utf-8", timeout=60, dimensions=(33, 77)) as child:
        child.sendline("hello")
        child.expect("got hello")
        child.expect("33 77")
        child.sendintr()
        child.expect("caught")
        child.expect("code 5")


# --- extract --------------------------------------------------------------------------------------------------


def test_extract_a_file_through_a_link(client: Any, base_image: str, tmp_path: Path) -> None:
    containers.extract(client, base_image, "/etc/os-release", tmp_path / "new" / "release")
    assert "bookworm" in (tmp_path / "new" / "release").read_text()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["release"]


def test_extract_into_a_folder(client: Any, base_image: str, tmp_path: Path) -> None:
    containers.extract(client, base_image, "/etc/debian_version", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["debian_version"]


def test_extract_a_folder_joins_what_is_there(client: Any, base_image: str, tmp_path: Path) -> None:
    (tmp_path / "apt").mkdir()
    (tmp_path / "apt" / "mine").write_text("mine")
    containers.extract(client, base_image, "/etc/apt", tmp_path / "apt")
    found = {path.name for path in (tmp_path / "apt").iterdir()}
    assert {"mine", "apt.conf.d", "sources.list.d"} <= found


def test_extract_the_whole_of_an_image(client: Any, config_image: str, tmp_path: Path) -> None:
    containers.extract(client, config_image, "/", tmp_path / "all")
    found = sorted(str(path.relative_to(tmp_path / "all")) for path in (tmp_path / "all").rglob("*"))
    assert found == ["app.properties", "etc", "etc/app", "etc/app/empty"]


def test_extract_what_is_not_there(client: Any, base_image: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="has no '/no/such'"):
        containers.extract(client, base_image, "/no/such", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
