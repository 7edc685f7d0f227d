"""A proxy before a real registry that counts requests, and does to each what a bad network or a bad day does.

Several proxies can share one `Script`, so that the requests of one publication to two registries have one numbering.
With TLS the proxy shows the registry's own certificate: it sees requests, not bytes.
"""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from tests.registries import RealRegistry

_TIMEOUT = 30.0  # seconds for the registry to answer
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")


class Request(NamedTuple):
    """One request: its number, from 1, and what it asks; `host` is the proxy's."""

    number: int
    host: str
    method: str
    path: str

    @property
    def sets_tag(self) -> bool:
        """Whether it points a tag of a person's at an image: referrers may be listed under one made of a digest."""
        return self.method == "PUT" and "/manifests/" in self.path and "/sha256" not in self.path


@dataclass(frozen=True)
class Fault:
    """What happens to a request.

    kind:    ``before``: the connection is cut before the registry hears of it; ``body``: in the middle of the
             request; ``after``: when the registry has done it, in place of its answer; ``answer``: in the middle of
             the answer; ``status``: the proxy answers `status` itself; ``lie``: the registry's answer names another
             digest; ``none``: it only waits, or calls.
    seconds: to wait first.
    call:    called where the cut would be.
    """

    kind: str = "none"
    status: int = 500
    seconds: float = 0.0
    call: Callable[[], object] = field(default=lambda: None)


def _well(request: Request) -> Fault | None:
    return None


class Script:
    """What was asked of all proxies that share it, and what goes wrong: `fault` is asked about each request."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.fault: Callable[[Request], Fault | None] = _well
        self._lock = threading.Lock()

    def begin(self, fault: Callable[[Request], Fault | None] = _well) -> None:
        """Count from 1 again."""
        with self._lock:
            self.requests, self.fault = [], fault

    def next(self, host: str, method: str, path: str) -> Fault:
        with self._lock:
            request = Request(len(self.requests) + 1, host, method, path)
            self.requests.append(request)
            return self.fault(request) or Fault()


class _Cut(Exception):
    """The connection ends here."""


class _Connection:
    """One client's connection, and one to the registry behind it: whole messages, read and passed on as they are."""

    def __init__(self, server: _Server, client: socket.socket) -> None:
        self._server = server
        self._client = client
        self._from_client = client.makefile("rb")
        self._upstream: socket.socket | None = None

    def close(self) -> None:
        for one in (self._from_client, self._client, self._upstream):
            with contextlib.suppress(OSError):
                if one is not None:
                    one.close()

    def serve(self) -> None:
        """Until the client goes, or is cut off."""
        while head := _head(self._from_client):
            method, path, _ = head.decode("latin-1").split(" ", 2)
            fault = self._server.script.next(self._server.host, method, path)
            body = self._from_client.read(_length(head))
            time.sleep(fault.seconds)
            answer = self._answer(fault, method, head, body)
            if fault.kind == "answer":
                self._client.sendall(answer[: len(answer) // 2])
            fault.call()
            if fault.kind in ("after", "answer"):
                raise _Cut
            self._client.sendall(answer)

    def _answer(self, fault: Fault, method: str, head: bytes, body: bytes) -> bytes:
        if fault.kind == "before":
            fault.call()
            raise _Cut
        if fault.kind == "status":
            return f"HTTP/1.1 {fault.status} Fault\r\nContent-Length: 0\r\n\r\n".encode()
        if fault.kind == "body":
            with self._server.connect() as upstream:
                upstream.sendall((head + body)[: len(head + body) // 2 if not body else len(head) + len(body) // 2])
            fault.call()
            raise _Cut
        answer = self._ask(method, head + body)
        return _lie(answer) if fault.kind == "lie" else answer

    def _ask(self, method: str, request: bytes) -> bytes:
        if self._upstream is None:
            self._upstream = self._server.connect()
        self._upstream.sendall(request)
        stream = self._upstream.makefile("rb")
        head = _head(stream)
        if not head:
            raise _Cut
        if method == "HEAD" or head.split(b" ", 2)[1] in (b"204", b"304"):
            return head
        return head + (_chunks(stream) if b"transfer-encoding: chunked" in head.lower() else stream.read(_length(head)))


def _head(stream: BinaryIO) -> bytes:
    """A message's head with the empty line after it; nothing when there is none, or when it is no HTTP."""
    first = stream.readline()
    if b"HTTP/1." not in first:
        return b""
    lines = [first]
    while lines[-1].strip():
        lines.append(stream.readline())
    return b"".join(lines)


def _length(head: bytes) -> int:
    found = _LENGTH.search(head)
    return int(found[1]) if found else 0


def _chunks(stream: BinaryIO) -> bytes:
    data = b""
    while True:
        line = stream.readline()
        size = int(line, 16)
        data += line + stream.read(size + 2)
        if not size:
            return data


def _lie(answer: bytes) -> bytes:
    """Another digest, in the head and in the body."""
    return _DIGEST.sub(b"sha256:" + b"0" * 64, answer)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, registry: RealRegistry, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.script = script
        name, _, port = registry.host.partition(":")
        self._behind = (name, int(port))
        self._shown = self._trusts = None
        if registry.ca is not None:
            self._trusts = ssl.create_default_context(cafile=str(registry.ca))
            self._shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._shown.load_cert_chain(registry.ca.with_name("server.crt"), registry.ca.with_name("server.key"))

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def connect(self) -> socket.socket:
        plain = socket.create_connection(self._behind, timeout=_TIMEOUT)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._trusts.wrap_socket(plain, server_hostname=self._behind[0]) if self._trusts else plain

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = None
        with contextlib.suppress(OSError, ValueError, _Cut):  # clients that go, are killed or cut off are no news
            client = self._shown.wrap_socket(request, server_side=True) if self._shown else request
            connection = _Connection(self, client)
            connection.serve()
        if connection is not None:
            connection.close()


@contextlib.contextmanager
def proxy(registry: RealRegistry, script: Script) -> Iterator[str]:
    """Start one; its host, as in references."""
    server = _Server(registry, script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
