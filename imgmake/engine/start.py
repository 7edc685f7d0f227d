"""Starts the container engine of this machine, and installs one if need be: only when the user asks for it.

Says each step before it is taken. What a bare container or chroot lacks (iptables, overlayfs, cgroups) is
learned from dockerd's own log, and tried without. Runs everything through a `Shell`; knows no docker API
beyond ``/_ping``.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import shlex
import shutil
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from imgmake.engine import hosts
from imgmake.engine.hosts import Host
from imgmake.engine.wire import UnixWire, send
from imgmake.errors import EngineUnavailable
from imgmake.ports import Shell

Say = Callable[[str], None]

_SYSTEM_PATH = "/usr/sbin:/sbin"  # dockerd's own, which a user's PATH often lacks
_SIOCGIFADDR, _SIOCGIFNETMASK = 0x8915, 0x891B  # netdevice(7)
_SECONDS = 60.0  # until a dockerd that runs must answer
_TAIL = 15  # lines of its log in an error


class _Remedy(NamedTuple):
    """A thing that a machine may lack: how dockerd's log says so, and what to try without it."""

    lack: str
    words: tuple[str, ...]
    flags: tuple[str, ...] = ()
    script: str = ""
    loss: str = ""


# cgroupfs-mount's way: each controller of version 1 where the kernel has bound it, else version 2.
_MOUNT_CGROUPS = """
test -e /sys/fs/cgroup/cgroup.controllers && exit
awk '!/^#/ && $2 != 0 { found = 1 } END { exit !found }' /proc/cgroups || exec mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
for c in $(awk '!/^#/ && $4 == 1 { print $1 }' /proc/cgroups); do
  mkdir -p /sys/fs/cgroup/$c && mount -t cgroup -o $c cgroup /sys/fs/cgroup/$c || rmdir /sys/fs/cgroup/$c
done
"""

_NO_BRIDGES = _Remedy(
    "bridges",
    ("bridge", "network controller"),
    flags=("--iptables=false", "--bridge=none"),
    loss="; a RUN of a build then needs options=['--network=host']",
)
_REMEDIES = (
    _Remedy("mounted cgroups", ("cgroup isn't mounted", "cgroups: cgroup mountpoint"), script=_MOUNT_CGROUPS),
    _Remedy("iptables", ("iptables", "nftables"), flags=("--iptables=false", "--ip6tables=false")),
    _NO_BRIDGES,
    _Remedy("overlayfs", ("graphdriver", "overlay", "storage-driver"), flags=("--storage-driver=vfs",)),
)


class _Packages(NamedTuple):
    """A distribution's way to an engine; packages after the first are taken where they exist."""

    tool: str
    refresh: tuple[str, ...]
    install: tuple[str, ...]
    known: tuple[str, ...]  # succeeds for a package that exists
    names: tuple[str, ...]


_DISTRIBUTIONS = (
    _Packages(
        "apt-get",
        ("apt-get", "update"),
        ("apt-get", "install", "-y", "--no-install-recommends"),
        ("apt-cache", "show", "--quiet"),
        ("docker.io", "docker-cli", "docker-buildx"),
    ),
    _Packages(
        "dnf", (), ("dnf", "install", "-y"), ("dnf", "info", "-q"), ("moby-engine", "docker-cli", "docker-buildx")
    ),
    _Packages("apk", ("apk", "update"), ("apk", "add"), ("apk", "info", "-d"), ("docker", "docker-cli-buildx")),
    _Packages("zypper", (), ("zypper", "-n", "install"), ("zypper", "-n", "info"), ("docker", "docker-buildx")),
    _Packages("pacman", (), ("pacman", "-Sy", "--noconfirm"), ("pacman", "-Si"), ("docker", "docker-buildx")),
)


def ensure(
    host: str | None,
    say: Say,
    shell: Shell,
    *,
    environ: Mapping[str, str] | None = None,
    seconds: float = _SECONDS,
) -> str:
    """Make sure that an engine answers, and return its URL; do nothing when one does.

    host:    a URL, or None for what the environment and docker's configuration name.
    say:     hears one line before each step.
    seconds: how long a started dockerd has until it must answer.
    Raises EngineUnavailable, with the end of dockerd's log, when that cannot be done.
    """
    env = dict(os.environ if environ is None else environ)
    env["PATH"] = os.pathsep.join([env.get("PATH") or os.defpath, _SYSTEM_PATH])
    address = hosts.resolve(host, env)
    if not address.socket:
        if _answers_remotely(address):
            return address.url
        hint = "start it there, or unset DOCKER_HOST to use an engine on this machine"
        raise EngineUnavailable(f"an engine at {address.url} ({address.origin}) cannot be started from here", hint=hint)
    if not _answers(address):
        _Starter(address, say, shell, env, seconds).start()
    return address.url


def _answers(address: Host) -> bool:
    try:
        return send(UnixWire(address), "GET", "/_ping").status == 200
    except EngineUnavailable as error:
        if isinstance(error.__cause__, PermissionError):
            raise
        return False


def _answers_remotely(address: Host) -> bool:
    from imgmake.engine import sdk

    try:
        sdk.connect(address).close()
    except EngineUnavailable:
        return False
    return True


@dataclass(frozen=True)
class _Starter:
    """One attempt to get an engine at one socket."""

    address: Host
    say: Say
    shell: Shell
    env: Mapping[str, str]
    seconds: float

    def start(self) -> None:
        self.say(f"no container engine answers at {self.address.url}")
        if not self._which("dockerd"):
            self._install()
        if _answers(self.address) or self._by_systemd():
            return
        self._dockerd()

    # --- the installed service ----------------------------------------------------------------------------------

    def _by_systemd(self) -> bool:
        """Where systemd runs the machine, the service is the right one to start."""
        if self.address.url != hosts.DEFAULT or not Path("/run/systemd/system").is_dir():
            return False
        self.say("systemctl start docker")
        code, _, error = self._as_root("systemctl", "start", "docker")
        if code:
            self.say(f"the service does not start ({_last(error)}); trying dockerd itself")
        return not code and self._wait(lambda: True)

    # --- dockerd ------------------------------------------------------------------------------------------------

    def _dockerd(self) -> None:
        """Start dockerd; each time that its log names a lack, once more without that."""
        flags: tuple[str, ...] = ()
        left = list(_REMEDIES)
        if _another_runs():
            left.remove(_NO_BRIDGES)  # with --bridge=none dockerd deletes docker0, which is the other's
            self.say("another dockerd runs here: iptables is left to it, and its bridge is shared")
            flags = ("--iptables=false", "--ip6tables=false", *_share_of_bridge())
        while not self._attempt(flags):
            log = self._log()
            cause = _cause(log)
            remedy = next((one for one in left if any(word in cause for word in one.words)), None)
            if remedy is None:
                raise EngineUnavailable(f"dockerd does not start; {self._place('log')} ends with\n{_end(log)}")
            left.remove(remedy)
            flags = tuple(dict.fromkeys([*flags, *remedy.flags]))
            self._without(remedy)

    def _without(self, remedy: _Remedy) -> None:
        if remedy.script:
            self.say(f"this machine has no {remedy.lack}; mounting them")
            self._as_root("/bin/sh", "-c", remedy.script)
        else:
            self.say(f"this machine has no {remedy.lack} for dockerd; trying {' '.join(remedy.flags)}{remedy.loss}")

    def _attempt(self, flags: Sequence[str]) -> bool:
        """Start a dockerd that outlives us; whether it answers. One that runs and does not answer is ended."""
        command = ["dockerd", *self._folders(), f"--host={self.address.url}", *flags]
        self.say(f"starting {' '.join(command)}")
        log = shlex.quote(str(self._place("log")))
        folder = shlex.quote(str(self._place("log").parent))
        script = f"mkdir -p {folder} && {{ setsid nohup {shlex.join(command)} >{log} 2>&1 </dev/null & echo $!; }}"
        code, said, error = self._as_root("/bin/sh", "-c", script)
        if code or not said.strip().isdigit():
            raise EngineUnavailable(f"dockerd cannot be started: {_last(error) or 'no permission'}", hint=_ROOT)
        pid = int(said)
        if self._wait(lambda: _alive(pid)):
            self.say(f"dockerd answers at {self.address.url}; its log is {self._place('log')}")
            return True
        if _alive(pid):
            self._as_root("kill", str(pid))
            raise EngineUnavailable(f"dockerd runs, but did not answer in {self.seconds:.0f} s:\n{_end(self._log())}")
        return False

    def _wait(self, alive: Callable[[], bool]) -> bool:
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            if _answers(self.address):
                return True
            if not alive():
                return False
            time.sleep(0.1)
        return False

    def _folders(self) -> list[str]:
        """Docker's own folders for docker's own socket; for any other, folders beside that socket."""
        if self.address.url == hosts.DEFAULT:
            return []
        names = (("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid"))
        return [f"{flag}={self._place(name)}" for flag, name in names]

    def _place(self, name: str) -> Path:
        if self.address.url == hosts.DEFAULT:
            return Path("/var/log/imgmake-dockerd.log")
        return Path(f"{self.address.socket}.d", name)

    def _log(self) -> str:
        try:
            return self._place("log").read_text(errors="replace")
        except OSError as error:
            return str(error)

    # --- packages -----------------------------------------------------------------------------------------------

    def _install(self) -> None:
        found = next((one for one in _DISTRIBUTIONS if self._which(one.tool)), None)
        if found is None:
            hint = "install Docker: https://docs.docker.com/engine/install/"
            raise EngineUnavailable("no dockerd is installed, and no package manager known here", hint=hint)
        self.say(f"no dockerd is installed; installing the distribution's with {found.tool}")
        if found.refresh:
            self._must(*found.refresh)
        names = [found.names[0], *(name for name in found.names[1:] if not self._capture(*found.known, name)[0])]
        self._must(*found.install, *names)
        if not self._which("dockerd"):
            raise EngineUnavailable(f"{' '.join(names)} is installed, but there is no dockerd on PATH")

    def _must(self, *command: str) -> None:
        self.say(shlex.join(command))
        code, said, error = self._as_root(*command)
        if code:
            raise EngineUnavailable(f"{shlex.join(command)} failed:\n{_end(error or said)}", hint=_ROOT)

    # --- running ------------------------------------------------------------------------------------------------

    def _as_root(self, *command: str) -> tuple[int, str, str]:
        if os.geteuid() == 0:
            return self._capture(*command)
        if not self._which("sudo"):
            raise EngineUnavailable(f"{shlex.join(command[:2])} needs root, and there is no sudo", hint=_ROOT)
        return self._capture("sudo", "-n", *command)

    def _capture(self, *command: str) -> tuple[int, str, str]:
        env = {**self.env, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        return self.shell.capture(command, cwd=Path("/"), env=env)

    def _which(self, name: str) -> str | None:
        return shutil.which(name, path=self.env["PATH"])


_ROOT = "run it once as root, or run these commands yourself"


def _share_of_bridge(name: str = "docker0") -> tuple[str, ...]:
    """The upper half of another dockerd's bridge network: it gives out addresses from the lower end."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            address, mask = (
                socket.inet_ntoa(fcntl.ioctl(sock, question, struct.pack("256s", name.encode()))[20:24])
                for question in (_SIOCGIFADDR, _SIOCGIFNETMASK)
            )
    except OSError:  # no such bridge: dockerd makes it
        return ()
    upper = list(ipaddress.ip_interface(f"{address}/{mask}").network.subnets(1))[-1]
    return (f"--fixed-cidr={upper}",)


def _another_runs() -> bool:
    return any(name.strip() == "dockerd" for name in _process_names())


def _process_names() -> Iterator[str]:
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            yield comm.read_text()
        except OSError:
            continue


def _alive(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _cause(log: str) -> str:
    """What of a log tells why dockerd gave up: it mentions iptables, bridges and overlays in good times too."""
    lines = log.splitlines()
    fatal = [line for line in lines if "failed to start daemon" in line or "level=fatal" in line]
    return "\n".join(fatal or lines[-1:])


def _end(log: str) -> str:
    return "\n".join(f"  {line}" for line in log.strip().splitlines()[-_TAIL:])


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
