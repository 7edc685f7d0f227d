"""--start-engine: a real dockerd that outlives imgmake; and, with a dockerd of our own making, what machines lack."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imgmake.engine import DockerEngine
from imgmake.engine.start import ensure
from imgmake.errors import EngineUnavailable
from imgmake.shell import LocalShell

# A dockerd that fails with each message of $FAILS for which it was not given the flag, and else answers.
FAKE = """#!{python} -I
import os, sys
for part in os.environ.get("FAILS", "").split(";"):
    flag, _, words = part.partition(":")
    if words and flag not in sys.argv:
        print("level=info msg=\\"overlay2 and iptables are fine\\"")
        sys.exit("failed to start daemon: " + words)
options = dict(a.split("=", 1) for a in sys.argv[1:] if "=" in a)
open(options["--pidfile"], "w").write(str(os.getpid()))
if "hang" in os.environ.get("FAILS", ""):
    import signal
    signal.pause()
import socketserver
class Ping(socketserver.StreamRequestHandler):
    def handle(self):
        self.rfile.readline()
        self.wfile.write(b"HTTP/1.0 200 OK\\r\\n\\r\\nOK")
socketserver.UnixStreamServer(options["--host"].removeprefix("unix://"), Ping).serve_forever()
"""


@dataclass
class Machine:
    """A PATH with only what a test puts there, besides a shell and its tools."""

    root: Path
    said: list[str]

    @property
    def url(self) -> str:
        return f"unix://{self.root}/sock"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def dockerd(self) -> None:
        self.program("dockerd", FAKE.format(python=sys.executable))

    def ensure(self, fails: str = "", seconds: float = 30.0) -> str:
        environ = {"PATH": str(self.bin), "FAILS": fails}
        return ensure(self.url, self.said.append, LocalShell(), environ=environ, seconds=seconds)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("imgmake.engine.start._SYSTEM_PATH", "/nowhere")
    monkeypatch.setattr("imgmake.engine.start._another_runs", lambda: False)
    made = Machine(tmp_path, [])
    made.bin.mkdir()
    for tool in ("sh", "mkdir", "setsid", "nohup", "kill", "env", "rm", "cp"):
        (made.bin / tool).symlink_to(str(shutil.which(tool)))
    yield made
    end_dockerd(Path(f"{tmp_path}/sock.d/pid"))


def end_dockerd(pidfile: Path) -> None:
    if not pidfile.exists():
        return
    pid = int(pidfile.read_text())
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end and " Z " not in stat(pid):
        time.sleep(0.05)


def stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return " Z "


# --- a real one -----------------------------------------------------------------------------------------------


def test_a_real_dockerd_is_started_and_outlives_its_starter(engine_host: str) -> None:
    """`engine_host` skips, or fails in CI, where no dockerd can run; it is another engine than the one started."""
    home = Path(tempfile.mkdtemp(prefix="imt"))  # short: containerd's socket below it may have 107 bytes
    url = f"unix://{home}/sock"
    text = (
        "import sys; from imgmake.engine.start import ensure; from imgmake.shell import LocalShell\n"
        "ensure(sys.argv[1], print, LocalShell())"
    )
    try:
        for words in (["no container engine answers", "starting dockerd", "dockerd answers"], []):
            done = subprocess.run([sys.executable, "-c", text, url], capture_output=True, text=True, check=True)
            assert [word for word in words if word in done.stdout] == words
            assert bool(done.stdout) is bool(words)
        with DockerEngine(url) as engine:
            assert engine.info().platform.startswith("linux/")
    finally:
        end_dockerd(home / "sock.d" / "pid")
        subprocess.run(f"umount -l {home}/sock.d/*/*/* 2>/dev/null; rm -rf {home}", shell=True, check=False)


# --- what machines lack ---------------------------------------------------------------------------------------


def test_an_engine_that_answers_is_left_alone(machine: Machine) -> None:
    machine.dockerd()
    machine.ensure()
    told = len(machine.said)
    (machine.bin / "dockerd").unlink()
    assert machine.ensure() == machine.url
    assert len(machine.said) == told


@pytest.mark.parametrize(
    ("fails", "flags"),
    [
        ("--iptables=false:failed to create NAT chain: iptables not found", ["--iptables=false"]),
        ("--bridge=none:Error creating default bridge network", ["--bridge=none"]),
        ("--storage-driver=vfs:error initializing graphdriver: driver not supported", ["--storage-driver=vfs"]),
        ("--iptables=false:iptables;--storage-driver=vfs:overlay", ["--iptables=false", "--storage-driver=vfs"]),
    ],
)
def test_what_dockerd_lacks_is_said_and_left_out(machine: Machine, fails: str, flags: list[str]) -> None:
    machine.dockerd()
    machine.ensure(fails)
    tried = [line for line in machine.said if line.startswith("this machine has no")]
    assert len(tried) == len(flags)
    assert all(flag in line for flag, line in zip(flags, tried, strict=True))
    assert "dockerd answers" in machine.said[-1]


def test_a_failure_that_nothing_helps_shows_the_log(machine: Machine) -> None:
    machine.dockerd()
    with pytest.raises(EngineUnavailable, match=r"sock\.d/log ends with\n.*\n  failed to start daemon: the moon"):
        machine.ensure("--no-such-flag:the moon is full")


def test_one_remedy_is_tried_once(machine: Machine) -> None:
    machine.dockerd()
    with pytest.raises(EngineUnavailable, match="iptables again and again"):
        machine.ensure("--no-such-flag:iptables again and again")


def test_a_dockerd_that_never_answers_is_ended(machine: Machine) -> None:
    machine.dockerd()
    with pytest.raises(EngineUnavailable, match="did not answer in 1 s"):
        machine.ensure("hang", seconds=1)
    pid = int((machine.root / "sock.d" / "pid").read_text())
    end = time.monotonic() + 30
    while " Z " not in stat(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert " Z " in stat(pid)
    (machine.root / "sock.d" / "pid").unlink()


# --- packages -------------------------------------------------------------------------------------------------


def test_the_distributions_package_is_installed_step_by_step(machine: Machine) -> None:
    machine.program("ready", FAKE.format(python=sys.executable))
    machine.program("apt-cache", '#!/bin/sh\ntest "$3" = docker-cli')
    machine.program(
        "apt-get",
        f'#!/bin/sh\necho "$@" >>{machine.root}/did\n'
        f'test "$1" = update || cp {machine.bin}/ready {machine.bin}/dockerd\n',
    )
    machine.ensure()
    assert (machine.root / "did").read_text().splitlines() == [
        "update",
        "install -y --no-install-recommends docker.io docker-cli",
    ]
    assert "apt-get update" in machine.said
    assert "installing the distribution's with apt-get" in " ".join(machine.said)


def test_a_package_that_cannot_be_installed_says_why(machine: Machine) -> None:
    machine.program("apt-get", "#!/bin/sh\necho E: no network >&2\nexit 100\n")
    with pytest.raises(EngineUnavailable, match="apt-get update failed:\n  E: no network"):
        machine.ensure()


def test_no_package_manager(machine: Machine) -> None:
    with pytest.raises(EngineUnavailable, match="no package manager"):
        machine.ensure()


def test_without_root_sudo_is_asked_and_must_not_ask_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    machine.dockerd()
    with pytest.raises(EngineUnavailable, match="needs root, and there is no sudo"):
        machine.ensure()
    machine.program("sudo", f'#!/bin/sh\ntest "$1" = -n || exit 1\nshift\necho "$1" >>{machine.root}/sudo\nexec "$@"\n')
    machine.ensure()
    assert (machine.root / "sudo").read_text() == "/bin/sh\n"


# --- elsewhere ------------------------------------------------------------------------------------------------


def test_a_remote_engine_is_not_ours_to_start() -> None:
    environ = {"DOCKER_HOST": "tcp://127.0.0.1:1", "PATH": "/nowhere"}
    with pytest.raises(EngineUnavailable, match=r"tcp://127\.0\.0\.1:1 \(DOCKER_HOST\) cannot be started from here"):
        ensure(None, print, LocalShell(), environ=environ)


def test_a_socket_that_may_not_be_used_is_no_reason_to_start_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("imgmake.engine.wire.socket.socket", type("Socket", (socket.socket,), {"connect": refuse}))
    with pytest.raises(EngineUnavailable, match="permission denied") as raised:
        machine.ensure()
    assert "group docker" in raised.value.hint
