"""Requests to the engine's HTTP API, over a Unix socket by hand or over any transport of the docker SDK.

Importing the SDK costs 140 ms and `http.client` 25 ms, which is what a run that finds everything up to
date would mostly wait for; over a Unix socket HTTP/1.0 (RFC 1945: the reply ends with the connection)
needs neither. Maps connection failures to EngineUnavailable; knows no endpoint of the API.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple, Protocol
from urllib.parse import quote, urlencode

from imgmake.engine.hosts import Host
from imgmake.errors import EngineError, EngineUnavailable

Body = bytes | BinaryIO | None

_LOGIN = re.compile(r"//[^/@\s]*@")  # docker takes none in an address, but somebody may have put one there
_START = "start it (systemctl start docker), or have imgmake start it: --start-engine"


class Reply(NamedTuple):
    """A status code and the whole body."""

    status: int
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise EngineUnavailable("the container engine broke off its answer", hint=_START) from error

    @property
    def message(self) -> str:
        """The engine's own words on a failure."""
        with contextlib.suppress(ValueError, AttributeError):
            return str(json.loads(self.body).get("message", "")).strip()
        return self.body.decode("utf-8", "replace").strip()


class Wire(Protocol):
    """One way to the engine."""

    def stream(
        self, method: str, path: str, body: Body = None
    ) -> contextlib.AbstractContextManager[tuple[int, BinaryIO]]:
        """Send a request; its status, and its body as it comes. A file is sent from its start."""


def send(wire: Wire, method: str, path: str, body: Body = None, **query: Any) -> Reply:
    """Send a request and read the whole answer. `query` values that are no strings are sent as JSON."""
    with wire.stream(method, url(path, **query), body) as (status, stream):
        try:
            return Reply(status, stream.read())
        except OSError as error:
            raise EngineUnavailable(f"the container engine broke off its answer: {error}", hint=_START) from error


def url(path: str, **query: Any) -> str:
    """A path with its query; names of images keep their ``/`` and ``:``."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in query.items()}
    return quote(path, safe="/:@") + (f"?{urlencode(texts)}" if texts else "")


def expect(reply: Reply, doing: str) -> Reply:
    """The reply, when it tells of success; else EngineError with the engine's words."""
    if reply.status >= 400:
        raise EngineError(f"the container engine could not {doing}: {reply.message or f'status {reply.status}'}")
    return reply


class UnixWire:
    """HTTP/1.0 over a Unix socket; a connection a request, so that threads need no lock."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._path = host.socket or ""

    @contextlib.contextmanager
    def stream(self, method: str, path: str, body: Body = None) -> Iterator[tuple[int, BinaryIO]]:
        with contextlib.ExitStack() as stack:
            try:
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.connect(self._path)
                sock.sendall(_head(method, path, body) + (body if isinstance(body, bytes) else b""))
                if body is not None and not isinstance(body, bytes):
                    sock.sendfile(body)
                reader = stack.enter_context(sock.makefile("rb"))
                status = _status(reader)
            except OSError as error:
                raise unavailable(self._host, error) from error
            yield status, reader


class SdkWire:
    """Any other transport (TCP, TLS, SSH, named pipe), through the session of an SDK client."""

    def __init__(self, host: Host, client: Callable[[], Any]) -> None:
        self._host = host
        self._client = client

    @contextlib.contextmanager
    def stream(self, method: str, path: str, body: Body = None) -> Iterator[tuple[int, BinaryIO]]:
        import requests
        import urllib3

        api = self._client().api
        headers = {"Content-Type": "application/x-tar"} if body is not None else {}
        try:
            reply = api.request(method, api.base_url + path, data=body, headers=headers, stream=True)
        except (requests.RequestException, OSError) as error:
            raise unavailable(self._host, error) from error
        with contextlib.closing(reply):
            try:
                yield reply.status_code, reply.raw
            except urllib3.exceptions.HTTPError as error:
                raise unavailable(self._host, error) from error


def unavailable(host: Host, error: BaseException) -> EngineUnavailable:
    """Why no engine answers, what was tried, and what to do."""
    cause = _cause(error)
    where = f"{host.url} ({host.origin})"
    if isinstance(cause, FileNotFoundError):
        return EngineUnavailable(f"no container engine answers: there is no socket {where}", hint=_START)
    if isinstance(cause, PermissionError):
        hint = "join the group docker (sudo usermod -aG docker $USER, then log in again), or run as root"
        return EngineUnavailable(f"the container engine may not be used: permission denied on {where}", hint=hint)
    if isinstance(cause, ConnectionRefusedError):
        return EngineUnavailable(f"no container engine answers: nothing listens on {where}", hint=_START)
    return EngineUnavailable(_LOGIN.sub("//", f"the container engine at {where} does not answer: {cause}"), hint=_START)


def _cause(error: BaseException) -> BaseException:
    """The operating system's error beneath what libraries have wrapped around it."""
    seen: list[BaseException] = []
    todo: list[Any] = [error]
    while todo:
        item = todo.pop()
        if not isinstance(item, BaseException) or item in seen:
            continue
        if isinstance(item, OSError) and item.errno is not None:
            return item
        seen.append(item)
        todo += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return error


def _head(method: str, path: str, body: Body) -> bytes:
    lines = [f"{method} {path} HTTP/1.0", "Host: docker"]
    if method == "POST":
        lines += ["Content-Type: application/x-tar", f"Content-Length: {_length(body)}"]
    return "\r\n".join([*lines, "", ""]).encode()


def _length(body: Body) -> int:
    if body is None or isinstance(body, bytes):
        return len(body or b"")
    size = body.seek(0, 2)
    body.seek(0)
    return size


def _status(reader: BinaryIO) -> int:
    """The status code; leaves the reader at the start of the body."""
    first = reader.readline().split(None, 2)
    if len(first) < 2 or not first[1].isdigit():
        raise ConnectionResetError("it hung up without an answer")
    while reader.readline().strip():
        pass
    return int(first[1])
