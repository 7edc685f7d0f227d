"""Connections to registries: kept open, lent to one request at a time, and cut when the user stops the run.

`requests` does not promise that a session may be shared by threads, and a thread of ours may be short:
so a session belongs to nobody between two requests. Nothing is imported from `requests` before the
first of them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from imgmake.ports import Cancel
from imgmake.registry.endpoints import Endpoints

if TYPE_CHECKING:
    import requests


class Sessions:
    """Sessions by registry; as many as requests were ever made at once."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._idle: defaultdict[str, list[_Session]] = defaultdict(list)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def borrow(self, registry: str, cancel: Cancel) -> Iterator[requests.Session]:
        """A session for one request, read to its end inside; a stop ends it even while it waits for an answer."""
        with self._lock:
            idle = self._idle[registry]
            session = idle.pop() if idle else None
        session = session or _Session(self._endpoints, registry)
        forget = cancel.on_stop(session.lines.cut)
        try:
            yield session.http
        finally:
            forget()
            if session.lines.is_cut:
                session.http.close()
            else:
                with self._lock:
                    self._idle[registry].append(session)

    def close(self) -> None:
        """Close what connections are open; a later request opens new ones."""
        with self._lock:
            idle = [session for sessions in self._idle.values() for session in sessions]
            self._idle.clear()
        for session in idle:
            session.http.close()


class _Lines:
    """The connections of one session."""

    def __init__(self) -> None:
        self._open: WeakSet[Any] = WeakSet()
        self.is_cut = False

    def add(self, connection: Any) -> None:
        self._open.add(connection)

    def cut(self) -> None:
        """End every connection, also one on which another thread waits: that sees it closed by the other side."""
        self.is_cut = True
        for connection in list(self._open):
            if isinstance(connection.sock, socket.socket):
                with contextlib.suppress(OSError):
                    # Not TLS's own shutdown, which must not be called while another thread reads.
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


class _Head:
    """A stream that must not end: http.client takes the end of a connection for the end of a head."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.close = stream.close

    def readline(self, limit: int) -> bytes:
        line: bytes = self._stream.readline(limit)
        if not line:
            raise ConnectionResetError("the answer broke off within its head")
        return line


class Whole(HTTPResponse):
    """An answer whose head is whole, or none at all."""

    def begin(self) -> None:
        stream: Any = self.fp
        head: Any = _Head(stream)
        self.fp = head
        try:
            super().begin()
        finally:
            if self.fp is head:
                self.fp = stream


class _Session:
    """A session of requests, and its connections."""

    def __init__(self, endpoints: Endpoints, registry: str) -> None:
        self.lines = _Lines()
        self.http = _new_session(endpoints, registry, self.lines)


def _new_session(endpoints: Endpoints, registry: str, lines: _Lines) -> requests.Session:
    from http.cookiejar import DefaultCookiePolicy

    import requests

    session = requests.Session()
    session.trust_env = False  # else ~/.netrc would speak for docker's credentials
    session.headers["User-Agent"] = "imgmake"
    session.headers["Accept-Encoding"] = "identity"  # a blob must come as the bytes that its digest is over
    # A cookie makes some registries (Harbor) take us for a browser, and ask for its anti-forgery token.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    secured = endpoints.base(registry).startswith("https:")
    adapter = _adapter(endpoints.context(registry) if secured else None, lines)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _adapter(context: Any, lines: _Lines) -> Any:
    from requests.adapters import HTTPAdapter

    trust = {"ssl_context": context} if context else {}
    pools = {"http": _pool("HTTP", lines), "https": _pool("HTTPS", lines)}

    class Tracked(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
            super().init_poolmanager(*args, **{**keywords, **trust})
            self.poolmanager.pool_classes_by_scheme = pools

        def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
            if trust:  # else certifi's authorities would be trusted besides, and read anew for each connection
                conn.cert_reqs = "CERT_REQUIRED"
            else:
                super().cert_verify(conn, url, verify, cert)

        def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
            manager = super().proxy_manager_for(proxy, **{**keywords, **trust})
            manager.pool_classes_by_scheme = pools
            return manager

    return Tracked()


def _pool(scheme: str, lines: _Lines) -> Any:
    """urllib3's pool for a scheme, which tells `lines` of each connection."""
    from urllib3 import connectionpool

    pool: Any = getattr(connectionpool, f"{scheme}ConnectionPool")

    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        response_class = Whole

        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)
            lines.add(self)

        def connect(self) -> None:
            super().connect()
            if lines.is_cut:
                raise ConnectionAbortedError("stopped while connecting")

    class Pool(pool):  # type: ignore[misc]
        ConnectionCls = Connection

    return Pool
