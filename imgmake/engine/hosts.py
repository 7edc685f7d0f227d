"""Where the container engine is: DOCKER_HOST, docker contexts and default sockets, as the docker CLI resolves them.

Reads environment and configuration files only; knows no protocol. The order is that of docker/cli
(cli/command/cli.go, `resolveContextName`): DOCKER_HOST, DOCKER_CONTEXT, `currentContext`, the default socket.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgmake.errors import EngineUnavailable

DEFAULT = "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class Host:
    """An engine's address.

    url:     ``unix://…``, ``tcp://…``, ``ssh://…`` or ``npipe://…``.
    origin:  where the address comes from, for messages: ``DOCKER_HOST``, ``context prod``.
    environ: what makes the docker CLI, and every tool that follows it, use the same engine.
    certs:   the folder with ca.pem, cert.pem and key.pem when TLS is asked for; `verify` the server too.
    """

    url: str
    origin: str
    environ: Mapping[str, str] = field(default_factory=dict)
    certs: str | None = None
    verify: bool = True

    @property
    def socket(self) -> str | None:
        """The path of a Unix socket; None for every other transport."""
        return self.url.removeprefix("unix://") if self.url.startswith("unix://") else None


def resolve(host: str | None, environ: Mapping[str, str]) -> Host:
    """The engine that `host`, else the environment, else docker's configuration names.

    Raises EngineUnavailable when a context is named that does not exist.

    >>> resolve(None, {"DOCKER_HOST": "unix:///run/x.sock"}).socket
    '/run/x.sock'
    """
    if host:
        return _plain(host, "the given host", environ)
    if environ.get("DOCKER_HOST"):
        return _plain(environ["DOCKER_HOST"], "DOCKER_HOST", environ)
    name = environ.get("DOCKER_CONTEXT") or _configuration(environ).get("currentContext") or "default"
    if name != "default":
        return _context(name, environ)
    return _default(environ)


def config_folder(environ: Mapping[str, str]) -> Path:
    """The docker CLI's configuration folder: DOCKER_CONFIG, else ``~/.docker``."""
    return Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or Path.home(), ".docker"))


def _plain(url: str, origin: str, environ: Mapping[str, str]) -> Host:
    url = f"unix://{url}" if url.startswith("/") else url
    found = {"DOCKER_HOST": url}
    if not environ.get("DOCKER_TLS_VERIFY") and not environ.get("DOCKER_TLS"):
        return Host(url, origin, found)
    certs = environ.get("DOCKER_CERT_PATH") or str(config_folder(environ))
    found |= {"DOCKER_TLS_VERIFY": environ.get("DOCKER_TLS_VERIFY", ""), "DOCKER_CERT_PATH": certs}
    return Host(url, origin, found, certs=certs, verify=bool(environ.get("DOCKER_TLS_VERIFY")))


def _default(environ: Mapping[str, str]) -> Host:
    """Docker's socket; where there is none, rootless Docker's or Podman's."""
    if os.name == "nt":
        return Host("npipe:////./pipe/docker_engine", "the default pipe")
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    others = (f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock", "/run/podman/podman.sock")
    if not _exists(DEFAULT.removeprefix("unix://")):
        for path in others:
            if _exists(path):
                return Host(f"unix://{path}", "a socket found", {"DOCKER_HOST": f"unix://{path}"})
    return Host(DEFAULT, "the default socket")


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except PermissionError:
        return False


def _configuration(environ: Mapping[str, str]) -> Mapping[str, Any]:
    return _json(config_folder(environ) / "config.json")


def _context(name: str, environ: Mapping[str, str]) -> Host:
    """A context in docker's store: ``contexts/meta/<sha256 of the name>/meta.json``, certificates under ``tls``."""
    store = config_folder(environ) / "contexts"
    key = hashlib.sha256(name.encode()).hexdigest()
    endpoint = _json(store / "meta" / key / "meta.json").get("Endpoints", {}).get("docker", {})
    if not endpoint.get("Host"):
        raise EngineUnavailable(
            f"the docker context {name!r} does not exist in {store}",
            hint="docker context ls lists the contexts; DOCKER_CONTEXT=default uses the local engine",
        )
    certs = store / "tls" / key / "docker"
    found = {"DOCKER_CONTEXT": name}
    verify = not endpoint.get("SkipTLSVerify")
    return Host(endpoint["Host"], f"context {name}", found, str(certs) if _exists(str(certs)) else None, verify)


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
