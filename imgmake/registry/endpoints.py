"""Where a registry listens and whom to trust there: scheme, certificates, proxies; sends no request of its own.

Rules: docker's daemon for insecure registries (this machine's own addresses, and what the local
``daemon.json`` lists as ``insecure-registries``, may speak plain HTTP) and for ``certs.d/HOST``
(*.crt are authorities, NAME.cert with NAME.key a client's certificate); curl's and Go's for the
proxy variables. One difference is meant: where such a registry does speak TLS, docker skips the
check of its certificate; it is made here, for a password follows.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path

from imgmake.errors import RegistryError
from imgmake.references import DEFAULT_DOMAIN

_PATIENCE = 5.0  # seconds to wait for a handshake on this machine


class Endpoints:
    """Answers are remembered: a registry does not change its address within a run."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._bases: dict[str, str] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    def base(self, registry: str) -> str:
        """The URL that a registry's calls start with."""
        if registry not in self._bases:
            host = "registry-1.docker.io" if registry == DEFAULT_DOMAIN else registry
            plain = self._may_be_plain(registry) and not _speaks_tls(registry)
            self._bases[registry] = f"{'http' if plain else 'https'}://{host}"
        return self._bases[registry]

    def _may_be_plain(self, registry: str) -> bool:
        return is_loopback(registry) or any(_covers(entry, registry) for entry in self._insecure())

    def _insecure(self) -> list[str]:
        found: list[str] = []
        for folder in self._folders():
            with contextlib.suppress(OSError, ValueError, AttributeError):  # the daemon's file, not ours to judge
                found += map(str, json.loads((folder / "daemon.json").read_bytes()).get("insecure-registries") or ())
        return found

    def _folders(self) -> tuple[Path, Path]:
        home = self._environ.get("XDG_CONFIG_HOME") or f"{self._environ.get('HOME') or '/root'}/.config"
        return Path("/etc/docker"), Path(home) / "docker"

    def proxies(self, url: str) -> dict[str, str]:
        """The proxy for an address, as requests wants it; none for this machine."""
        scheme, _, rest = url.partition("://")
        host = rest.partition("/")[0]
        proxy = self._variable(f"{scheme}_proxy") or self._variable("all_proxy")
        if not proxy or is_loopback(host) or self._bypassed(url):
            return {}
        return {scheme: proxy}

    def _bypassed(self, url: str) -> bool:
        from requests.utils import should_bypass_proxies

        return bool(should_bypass_proxies(url, no_proxy=self._variable("no_proxy")))

    def _variable(self, name: str) -> str:
        return self._environ.get(name) or self._environ.get(name.upper()) or ""

    def context(self, registry: str) -> ssl.SSLContext:
        """Whom to trust at a registry: the system's authorities, SSL_CERT_FILE, and those of ``certs.d``."""
        if registry not in self._contexts:
            self._contexts[registry] = self._make_context(registry)
        return self._contexts[registry]

    def _make_context(self, registry: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        # Strict by default since Python 3.13, about a key usage that many a private authority's certificate lacks.
        # docker is not.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        named = self._environ.get("SSL_CERT_FILE")
        for path in [*([Path(named)] if named else []), *self._files(registry, "*.crt")]:
            _load(context, path)
        for path in self._files(registry, "*.cert"):
            _load_client(context, path)
        return context

    def _files(self, registry: str, pattern: str) -> list[Path]:
        return [path for folder in self._folders() for path in sorted((folder / "certs.d" / registry).glob(pattern))]


def is_loopback(registry: str) -> bool:
    """Whether a registry is this machine: there docker allows HTTP without being told.

    >>> is_loopback("127.0.0.1:5000"), is_loopback("registry.example.com")
    (True, False)
    """
    if _host(registry) == "localhost":
        return True
    try:
        return ip_address(_host(registry)).is_loopback
    except ValueError:
        return False


def _host(registry: str) -> str:
    return (registry if registry.endswith("]") else re.sub(r":[0-9]+$", "", registry)).strip("[]")


def _covers(entry: str, registry: str) -> bool:
    """Whether an entry of ``insecure-registries`` means a registry: its name, or a network that holds its address."""
    if entry == registry:
        return True
    try:
        return ip_address(_host(registry)) in ip_network(entry)
    except ValueError:
        return False


def _load(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(path, error) from None


def _load_client(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_cert_chain(path, path.with_suffix(".key"))
    except (OSError, ssl.SSLError) as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: OSError) -> RegistryError:
    why = error.strerror or "it is no certificate in PEM form"
    return RegistryError(f"the certificate {path} cannot be used: {why}", hint="mend or remove it")


def _speaks_tls(registry: str) -> bool:
    """Whether a handshake succeeds, whoever answers: only what to speak is asked, nothing is sent."""
    host, _, port = registry.rpartition(":") if registry.rpartition(":")[2].isdigit() else (registry, "", "443")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE) as plain:
            return _handshake(context, plain)
    except OSError:
        return False


def _handshake(context: ssl.SSLContext, plain: socket.socket) -> bool:
    with context.wrap_socket(plain) as secured:
        return secured.version() is not None
