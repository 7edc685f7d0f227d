"""HTTP to registries: sessions, authorisation, retries, limits; knows no manifest and no image.

Every foreign error ends here as a RegistryError. Nothing is imported from `requests` before the
first request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlencode, urljoin, urlsplit

from imgmake.errors import Interrupted, RegistryError
from imgmake.ports import Cancel, Shell
from imgmake.registry import faults
from imgmake.registry.authority import Answered, Authority, TokenRequest
from imgmake.registry.credentials import Credentials
from imgmake.registry.endpoints import Endpoints
from imgmake.registry.faults import Place

if TYPE_CHECKING:
    import requests

_TRIES = 4
_PAUSE = 0.25  # seconds before the second try; doubled for each further one
_LONGEST_PAUSE = 30.0  # seconds that a Retry-After may ask for
_TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two packets
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_CHUNK = 1 << 16
_LIMIT = 16 << 20  # bytes of an answer held in memory: manifests are at most 4 MiB, configurations small


@dataclass(frozen=True)
class Call:
    """One request: `path` from the registry's root, or a whole URL that the registry handed out.

    `body` makes the body anew for each try; `sink` takes a 200's body in place of memory, and is emptied
    before each try.
    """

    method: str
    path: str
    doing: str  # for messages: "reading the manifest of 1.0"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Any] | None = None
    sink: BinaryIO | None = None


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Transport:
    """Speaks to any number of registries, from any number of threads; `close` it at the end.

    `pause` is the time in seconds before the second of four tries.
    """

    def __init__(self, environ: Mapping[str, str], shell: Shell | None = None, *, pause: float = _PAUSE) -> None:
        self._endpoints = Endpoints(environ)
        self._authority = Authority(Credentials(environ, shell))
        self._pause = pause
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def close(self) -> None:
        """Close what connections are open."""
        while self._sessions:
            self._sessions.pop().close()
        self._local = threading.local()

    # --- one request ------------------------------------------------------------------------------------------

    def send(self, place: Place, call: Call, cancel: Cancel) -> Reply:
        """Make a call, up to four times. Any final answer is returned; no answer raises RegistryError."""
        return self.attempts(place, cancel, lambda: self.call(place, call, cancel))

    def call(self, place: Place, call: Call, cancel: Cancel) -> Reply:
        """Make a call once, and once more when the registry asks who we are. Raises what requests raises."""
        url = urljoin(self._endpoints.base(place.registry) + "/", call.path)
        ours = _origin(url) == _origin(self._endpoints.base(place.registry))
        reply = self._exchange(place, url, call, cancel, self._authority.header(place) if ours else "")
        if reply.status != 401 or not ours or not self._admitted(place, reply, cancel):
            return reply
        return self._exchange(place, url, call, cancel, self._authority.header(place))

    def _admitted(self, place: Place, reply: Reply, cancel: Cancel) -> bool:
        secure = self._endpoints.base(place.registry).startswith("https:")
        return self._authority.answer(
            place,
            reply.headers.get("WWW-Authenticate", ""),
            secure,
            lambda request: self._token(place, request, cancel),
        )

    def _token(self, place: Place, request: TokenRequest, cancel: Cancel) -> Answered:
        query = urlencode(request.query)
        url = f"{request.url}{'&' if '?' in request.url else '?'}{query}" if query else request.url
        form = urlencode(request.form).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        call = Call("POST" if form else "GET", url, "asking for a token", headers, (lambda: form) if form else None)
        reply = self.attempts(place, cancel, lambda: self._exchange(place, url, call, cancel, request.authorization))
        return Answered(reply.status, reply.body)

    def _exchange(self, place: Place, url: str, call: Call, cancel: Cancel, authorization: str) -> Reply:
        stop_if(cancel)
        headers = {**call.headers, **({"Authorization": authorization} if authorization else {})}
        response = self._session(place.registry).request(
            call.method,
            url,
            headers=headers,
            data=call.body() if call.body else None,
            stream=True,
            timeout=_TIMEOUT,
            proxies=self._endpoints.proxies(url),
        )
        with closing(response):
            return Reply(response.status_code, response.headers, _body(place, call, response, cancel), response.url)

    # --- trying again -----------------------------------------------------------------------------------------

    def attempts(self, place: Place, cancel: Cancel, once: Callable[[], Reply]) -> Reply:
        """Repeat `once` while the registry is busy, fails or drops the connection."""
        import requests
        import urllib3

        for attempt in range(_TRIES):
            last = attempt == _TRIES - 1
            try:
                reply = once()
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                if last or faults.is_final(error):
                    raise faults.unreachable(place, error) from None
                wait = None
            else:
                wait = _asked_pause(reply)
                if last or reply.status not in _TRANSIENT or (wait or 0) > _LONGEST_PAUSE:
                    return reply
            self._wait(self._pause * 2**attempt if wait is None else wait, cancel)
        raise AssertionError("unreachable: the last try returns or raises")

    def _wait(self, seconds: float, cancel: Cancel) -> None:
        if cancel.wait(seconds):
            stop_if(cancel)

    def refused(self, place: Place, call: Call, reply: Reply) -> RegistryError:
        """The error for an answer that the caller cannot use."""
        error = faults.refused(place, call.doing, reply.status, reply.body)
        return RegistryError(self._authority.mask(error.message), hint=error.hint)

    # --- sessions ---------------------------------------------------------------------------------------------

    def _session(self, registry: str) -> requests.Session:
        """This thread's session: requests does not promise that one may be shared."""
        sessions: dict[str, requests.Session] = self._local.__dict__.setdefault("sessions", {})
        if registry not in sessions:
            sessions[registry] = _new_session(self._endpoints, registry)
            self._sessions.append(sessions[registry])
        return sessions[registry]


def stop_if(cancel: Cancel) -> None:
    """Raise Interrupted when the user has stopped the run."""
    if cancel.stopped:
        raise Interrupted("stopped")


def _new_session(endpoints: Endpoints, registry: str) -> requests.Session:
    from http.cookiejar import DefaultCookiePolicy

    import requests

    session = requests.Session()
    session.trust_env = False  # else ~/.netrc would speak for docker's credentials
    session.headers["User-Agent"] = "imgmake"
    session.headers["Accept-Encoding"] = "identity"  # a blob must come as the bytes that its digest is over
    # A cookie makes some registries (Harbor) take us for a browser, and ask for its anti-forgery token.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    if endpoints.base(registry).startswith("https:"):
        session.mount("https://", _trusting(endpoints, registry))
    return session


def _trusting(endpoints: Endpoints, registry: str) -> Any:
    from requests.adapters import HTTPAdapter

    context = endpoints.context(registry)

    class Trusting(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
            super().init_poolmanager(*args, **{**keywords, "ssl_context": context})

        def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
            return super().proxy_manager_for(proxy, **{**keywords, "ssl_context": context})

    return Trusting()


def _body(place: Place, call: Call, response: requests.Response, cancel: Cancel) -> bytes:
    into = call.sink if response.status_code == 200 else None
    if into is not None:
        into.seek(0)
        into.truncate()
    held = bytearray()
    for chunk in response.iter_content(_CHUNK):
        stop_if(cancel)
        if into is not None:
            into.write(chunk)
            continue
        held += chunk
        if len(held) > _LIMIT:
            raise RegistryError(f"{place}: {call.doing}: the answer is longer than {_LIMIT >> 20} MiB")
    return bytes(held)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _asked_pause(reply: Reply) -> float | None:
    """The seconds that ``Retry-After`` asks for (RFC 9110, 10.2.3): a number or a date."""
    asked = reply.headers.get("Retry-After", "")
    if asked.isdigit():
        return float(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
