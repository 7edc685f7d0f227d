"""Registries for tests: Debian's `docker-registry` on a free port of this machine.

`real_registry` starts it plain, or with a password over TLS by an authority made for it.
`tests/fake_registry.py` has one in memory that misbehaves on demand.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

USER = "ada"
PASSWORD = "open sesame"
_START_SECONDS = 60.0
_STARTS = 5  # how often one that ends at once is tried, each time on another port
_HTPASSWD = "ada:$2b$05$tdVMKPiYDlR9LHchMt.HjOlK/A0VyOB7TCx.xTdR.PTdoEU7nftqG\n"


class Request(NamedTuple):
    method: str
    path: str
    status: int


# --- the real one ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RealRegistry:
    """A running `docker-registry`: `host` as in references, `ca` its authority's certificate (with TLS)."""

    host: str
    log: Path
    ca: Path | None = None

    def requests(self) -> list[Request]:
        """Every request so far, from the access log."""
        lines = re.findall(r'"(GET|HEAD|PUT|POST|PATCH|DELETE) (\S+) HTTP/[0-9.]+" (\d+)', self.log.read_text())
        return [Request(method, path, int(status)) for method, path, status in lines]


@contextlib.contextmanager
def real_registry(home: Path, *, secured: bool = False, read_only: bool = False) -> Iterator[RealRegistry]:
    """Start one that keeps its data below `home`; `secured` asks USER and PASSWORD over TLS, `read_only` takes none."""
    program = shutil.which("docker-registry")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("docker-registry is not installed (Debian's package)")
    home.mkdir(parents=True, exist_ok=True)
    certificate = make_certificate(home) if secured else None
    with contextlib.ExitStack() as stack:
        for _ in range(_STARTS):
            process, host = _start(program, home, secured, read_only)
            stack.callback(process.wait)
            stack.callback(process.kill)
            if _comes_up(process, host):
                break
        else:
            pytest.fail(f"docker-registry did not start:\n{(home / 'log').read_text()}", pytrace=False)
        yield RealRegistry(host, home / "log", certificate)


def _start(program: str, home: Path, secured: bool, read_only: bool) -> tuple[subprocess.Popen[bytes], str]:
    host = f"127.0.0.1:{_free_port()}"
    config = _config(home, host, secured)
    config["storage"]["maintenance"] = {"readonly": {"enabled": read_only}}
    (home / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    with (home / "log").open("wb") as out:
        return subprocess.Popen([program, "serve", str(home / "config.yml")], stdout=out, stderr=out), host


def _config(home: Path, host: str, secured: bool) -> dict[str, Any]:
    http: dict[str, Any] = {"addr": host}
    storage = {"filesystem": {"rootdirectory": str(home / "data")}, "delete": {"enabled": True}}
    config: dict[str, Any] = {"version": 0.1, "storage": storage, "http": http, "log": {"level": "error"}}
    if secured:
        http["tls"] = {"certificate": str(home / "server.crt"), "key": str(home / "server.key")}
        (home / "htpasswd").write_text(_HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(home / "htpasswd")}}
    return config


def make_certificate(home: Path) -> Path:
    """An authority's certificate, and one that it signed for 127.0.0.1 (as server.crt and server.key)."""
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    ours = [*new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=imgmake test authority"]
    signed = [*new, "-keyout", "server.key", "-out", "server.crt", "-subj", "/CN=127.0.0.1", "-CA", "ca.crt"]
    signed += ["-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]
    for command in (ours, signed):
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return home / "ca.crt"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _comes_up(process: subprocess.Popen[bytes], host: str) -> bool:
    """Whether it listens; it ends at once when another process took the port meanwhile."""
    name, port = host.split(":")
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((name, int(port)), timeout=1):
            return process.poll() is None
        time.sleep(0.02)
    return False
