"""The tests' own container engine: a `dockerd` apart from any other, and a Debian to build from.

Fixtures: `engine_host` (URL, also in DOCKER_HOST), `docker_cli` (a CLI that does BuildKit without buildx),
`docker` (runs a docker command line), `base_image` and `import_base` (images made from Debian packages).
IMGMAKE_TEST_ENGINE=unix:///… uses a running engine instead, for development; IMGMAKE_TEST_TRIXIE=containerd
or =overlay2 starts Debian 13's, with buildx (see `tests.trixie`).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests import trixie
from tests.e2e.bases import mmdebstrap

# A slow machine is no failure. In CI the same examples each time, so that what lands does not hang on luck; others
# are looked for wherever people work: HYPOTHESIS_PROFILE=thorough looks longer.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", patient, max_examples=50)
settings.register_profile("thorough", patient, max_examples=1000)
settings.register_profile("ci", patient, max_examples=30, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))

SUITE = "bookworm"
BASE = "debian:bookworm-slim"
BASE_PACKAGES = ("busybox-static",)
_PATH = os.pathsep.join(["/usr/sbin", "/sbin", os.environ.get("PATH", "/usr/bin:/bin")])
_START_SECONDS = 120.0
_STARTS = 3  # how often a dockerd that ends at once is tried

ImportBase = Callable[..., str]
Docker = Callable[..., str]


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C, and so would all that the tests start in order to interrupt it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "engine_host" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.engine)
        if hasattr(getattr(item, "module", None), "real_registry"):
            item.add_marker(pytest.mark.registry)


@pytest.fixture(scope="session")
def engine_host() -> Iterator[str]:
    """The URL of an engine of this session's own; DOCKER_HOST names it until the session ends."""
    with contextlib.ExitStack() as stack:
        given = os.environ.get("IMGMAKE_TEST_ENGINE")
        host = given or stack.enter_context(_own_engine())
        config = stack.enter_context(tempfile.TemporaryDirectory(prefix="imgmake-config-"))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("DOCKER_HOST", host)
        patch.setenv("DOCKER_CONFIG", config)
        patch.setenv("XDG_STATE_HOME", config)
        if trixie.SWITCH in os.environ:
            trixie.programs(trixie.root(_cache()), Path(config))
            patch.setenv("PATH", f"{config}/bin", prepend=os.pathsep)
        for name in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "IMGMAKE_BUILDER", "DOCKER_BUILDKIT"):
            patch.delenv(name, raising=False)
        yield host


@pytest.fixture(scope="session")
def docker(engine_host: str) -> Docker:
    """``docker("inspect", "-f", "{{.Id}}", ref)``: runs the docker CLI on the engine, returns its stdout."""
    cli = shutil.which("docker", path=os.pathsep.join([os.environ.get("PATH", ""), _PATH]))
    if cli is None:
        _absent("no docker CLI is installed")

    def run(*args: str, stdin: bytes | None = None) -> str:
        done = subprocess.run([str(cli), *args], input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, f"docker {' '.join(args)}: {done.stderr.decode()}"
        return done.stdout.decode()

    return run


@pytest.fixture(scope="session")
def docker_cli() -> Path:
    """The first docker CLI on PATH that does BuildKit without buildx: 18.09 to 22 (Debian 12 has 20.10)."""
    found = [Path(folder, "docker") for folder in _PATH.split(os.pathsep)]
    found = [cli for cli in found if os.access(cli, os.X_OK) and 18 <= _cli_major(cli) < 23]
    if not found:
        _absent("no docker CLI on PATH does BuildKit without buildx (18.09 to 20.10 do)")
    return found[0]


@pytest.fixture(scope="session")
def import_base(docker: Docker) -> ImportBase:
    """``import_base("maven:3", ["maven"])``: an image of Debian with these packages; returns its name.

    `changes` are Dockerfile instructions for its configuration (``docker import --change``).
    """

    def make(name: str, packages: Sequence[str] = (), changes: Sequence[str] = ()) -> str:
        options = [part for change in changes for part in ("--change", change)]
        docker("import", *options, str(debian_tar(sorted({*BASE_PACKAGES, *packages}))), name)
        return name

    return make


@pytest.fixture(scope="session")
def base_image(import_base: ImportBase) -> str:
    """``debian:bookworm-slim``, with a shell, apt and busybox."""
    return import_base(BASE, changes=['CMD ["bash"]'])


def debian_tar(packages: Sequence[str]) -> Path:
    """A root file system with these packages, made once for this user and kept in the cache folder."""
    cache = _cache()
    key = hashlib.sha256("\n".join((SUITE, *packages)).encode()).hexdigest()[:12]
    tar = cache / f"debian-{SUITE}-{key}.tar"
    with (cache / f"{tar.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tar.exists():
            _mmdebstrap(tar, packages)
    return tar


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "imgmake-tests")
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _mmdebstrap(tar: Path, packages: Sequence[str]) -> None:
    if shutil.which("mmdebstrap", path=_PATH) is None:
        _absent("mmdebstrap is not installed, so there is no base image to build from")
    partial = tar.with_name("partial." + tar.name)
    exclude = [f"--dpkgopt=path-exclude=/usr/share/{kind}/*" for kind in ("doc", "man", "locale", "info")]
    mmdebstrap("--variant=minbase", *exclude, f"--include={','.join(packages)}", SUITE, str(partial))
    partial.rename(tar)


def _absent(what: str) -> NoReturn:
    """Skip where a developer's machine lacks something; in CI that would hide the tests, so fail."""
    message = f"{what}; see docs, or set IMGMAKE_TEST_ENGINE to the URL of an engine that may be filled"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def _cli_major(cli: Path) -> int:
    done = subprocess.run([str(cli), "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"version (\d+)\.", done.stdout)
    return int(match[1]) if match else 0


# --- an engine of our own -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _own_engine() -> Iterator[str]:
    dockerd = shutil.which("dockerd", path=_PATH)
    if dockerd is None:
        _absent("no dockerd is installed")
    if os.geteuid() != 0:
        _absent("the tests' own dockerd needs root")
    home = Path(tempfile.mkdtemp(prefix="imgmake-"))  # short: a socket's path may have 107 bytes
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        bridge = stack.enter_context(_bridge(f"imt{os.getpid() % 10**7}"))
        stack.enter_context(_bridged_traffic())
        stack.enter_context(_dockerd(str(dockerd), home, bridge))
        yield f"unix://{home}/sock"


@contextlib.contextmanager
def _bridge(name: str) -> Iterator[str]:
    """A bridge with an address that no route of this machine covers."""
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    net = next(n for n in range(os.getpid() % 200, 255) if f"10.213.{n}." not in routes)
    _ip("link", "add", name, "type", "bridge")
    try:
        _ip("addr", "add", f"10.213.{net}.1/24", "dev", name)
        _ip("link", "set", name, "up")
        yield name
    finally:
        _ip("link", "del", name)


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True, env={**os.environ, "PATH": _PATH})


@contextlib.contextmanager
def _bridged_traffic() -> Iterator[None]:
    """Let frames between containers of one network pass.

    Our dockerd leaves iptables alone, since on start it would wipe the chains of another one; but that
    other one sets FORWARD to DROP, which (with bridge-nf-call-iptables) drops our containers' frames too.
    """
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    rule = ["FORWARD", "-m", "physdev", "--physdev-is-bridged", "-j", "ACCEPT"]
    needed = switch.exists() and switch.read_text().strip() == "1"
    added = needed and _iptables("-I", *rule)
    try:
        yield
    finally:
        if added:
            _iptables("-D", *rule)


def _iptables(*args: str) -> bool:
    command = ["iptables", "-w", *args]
    return subprocess.run(command, check=False, capture_output=True, env={**os.environ, "PATH": _PATH}).returncode == 0


@contextlib.contextmanager
def _dockerd(dockerd: str, home: Path, bridge: str) -> Iterator[None]:
    log = home / "log"
    arguments = [f"--data-root={home}/data", f"--exec-root={home}/exec", f"--pidfile={home}/pid"]
    arguments += [f"--host=unix://{home}/sock", f"--bridge={bridge}", "--iptables=false", "--ip-masq=false"]
    arguments += [f"--config-file={home}/daemon.json", "--shutdown-timeout=5"]
    (home / "daemon.json").write_text('{"insecure-registries": ["127.0.0.0/8"]}')
    command = [dockerd, *arguments]
    if trixie.SWITCH in os.environ:
        command = trixie.dockerd(trixie.root(_cache()), home, arguments)
    process = _start(command, log)
    for _ in range(_STARTS - 1):
        if _comes_up(process, home / "sock"):
            break
        _end(process)
        process = _start(command, log)
    try:
        if not _comes_up(process, home / "sock"):
            pytest.fail(f"dockerd did not start:\n{log.read_text()[-4000:]}", pytrace=False)
        yield
    finally:
        bridges = _left_bridges(home / "sock")
        _end(process)
        _unmount(home)
        for left in bridges:
            subprocess.run(["ip", "link", "del", left], check=False, capture_output=True)


def _die_with_parent() -> None:
    """A killed pytest must not leave a dockerd behind (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            env={**os.environ, "PATH": _PATH},
            preexec_fn=_die_with_parent,  # noqa: PLW1509 (no thread runs yet)
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    process.kill()
    process.wait()


def _comes_up(process: subprocess.Popen[bytes], sock: Path) -> bool:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if _answers(sock):
            return True
        time.sleep(0.1)
    return False


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return b" 200 " in _get(path, "/_ping")[:20]
    return False


def _get(path: Path, url: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(f"GET {url} HTTP/1.0\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(65536), b""))


def _left_bridges(path: Path) -> list[str]:
    """The bridges of networks that tests left behind: a stopped dockerd leaves them in the kernel."""
    with contextlib.suppress(OSError):
        ids = re.findall(rb'"Id":"([0-9a-f]{64})"', _get(path, "/networks"))
        return [f"br-{id_.decode()[:12]}" for id_ in ids]
    return []


def _unmount(home: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(str(home))), reverse=True):
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
