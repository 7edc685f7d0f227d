"""HTTP to registries: authorisation, retries, limits; knows no manifest and no image.

Every foreign error ends here as a RegistryError. Nothing is imported from `requests` before the
first request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from imgmake.errors import Interrupted, RegistryError
from imgmake.ports import Cancel, Shell
from imgmake.registry import faults
from imgmake.registry.authority import Answered, Authority, TokenRequest
from imgmake.registry.credentials import Credentials
from imgmake.registry.endpoints import Endpoints
from imgmake.registry.faults import Place
from imgmake.registry.sessions import Sessions

if TYPE_CHECKING:
    import requests

_TRIES = 4
_PAUSE = 0.25  # seconds before the second try; doubled for each further one
_LONGEST_PAUSE = 30.0  # seconds that a Retry-After may ask for
_TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two packets
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_CHUNK = 1 << 16
_LONG = 15.0  # seconds after which a request that still runs is told of; doubled each time


@dataclass(frozen=True)
class Call:
    """One request: `path` from the registry's root, or a whole URL that the registry handed out.

    `body` makes the body anew for each try; `sink` takes a 200's body in place of memory, and is emptied
    before each try; more than `limit` bytes are refused.
    """

    method: str
    path: str
    doing: str  # for messages: "reading the manifest of 1.0"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Any] | None = None
    sink: BinaryIO | None = None
    limit: int = 16 << 20  # manifests are at most 4 MiB, configurations small


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end; `passing`: trying again may help, whatever the status."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    passing: bool = False


def silent(_: str) -> None:
    """Tell nobody."""


class Errand(NamedTuple):
    """On whose behalf requests are made: what stops them, and who hears of waiting."""

    cancel: Cancel
    tell: Callable[[str], None] = silent


class Transport:
    """Speaks to any number of registries, from any number of threads; `close` it at the end.

    `pause` is the time in seconds before the second of four tries.
    """

    def __init__(self, environ: Mapping[str, str], shell: Shell | None = None, *, pause: float = _PAUSE) -> None:
        self._endpoints = Endpoints(environ)
        self._authority = Authority(Credentials(environ, shell))
        self._pause = pause
        self._sessions = Sessions(self._endpoints)

    def close(self) -> None:
        """Close what connections are open."""
        self._sessions.close()

    # --- one request ------------------------------------------------------------------------------------------

    def send(self, place: Place, call: Call, errand: Errand) -> Reply:
        """Make a call, up to four times. Any final answer is returned; no answer raises RegistryError."""
        return self.attempts(place, call.doing, errand, lambda: self.call(place, call, errand))

    def call(self, place: Place, call: Call, errand: Errand) -> Reply:
        """Make a call once, and once more when the registry asks who we are. Raises what requests raises."""
        url = urljoin(self._endpoints.base(place.registry) + "/", call.path)
        ours = _origin(url) == _origin(self._endpoints.base(place.registry))
        sent = self._authority.header(place) if ours else ""
        reply = self._exchange(place, url, call, errand, sent)
        if reply.status != 401 or not ours or not self._admitted(place, reply, errand, sent):
            return reply
        return self._exchange(place, url, call, errand, self._authority.header(place))

    def _admitted(self, place: Place, reply: Reply, errand: Errand, sent: str) -> bool:
        with _slow(place, "looking up the login", errand):
            self._authority.look_up(place.registry, errand.cancel)
        secure = self._endpoints.base(place.registry).startswith("https:")
        return self._authority.answer(
            place,
            reply.headers.get("WWW-Authenticate", ""),
            secure,
            lambda request: self._token(place, request, errand),
            sent,
        )

    def _token(self, place: Place, request: TokenRequest, errand: Errand) -> Answered:
        query = urlencode(request.query)
        url = f"{request.url}{'&' if '?' in request.url else '?'}{query}" if query else request.url
        form = urlencode(request.form).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        call = Call("POST" if form else "GET", url, "asking for a token", headers, (lambda: form) if form else None)
        reply = self.attempts(
            place, call.doing, errand, lambda: self._exchange(place, url, call, errand, request.authorization)
        )
        return Answered(reply.status, reply.body)

    def _exchange(self, place: Place, url: str, call: Call, errand: Errand, authorization: str) -> Reply:
        stop_if(errand.cancel)
        headers = {**call.headers, **({"Authorization": authorization} if authorization else {})}
        with self._sessions.borrow(place.registry, errand.cancel) as session, _slow(place, call.doing, errand):
            response = session.request(
                call.method,
                url,
                headers=headers,
                data=call.body() if call.body else None,
                stream=True,
                timeout=_TIMEOUT,
                proxies=self._endpoints.proxies(url),
            )
            with closing(response):
                body = _body(place, call, response, errand.cancel)
            return Reply(response.status_code, response.headers, body, response.url)

    # --- trying again -----------------------------------------------------------------------------------------

    def attempts(self, place: Place, doing: str, errand: Errand, once: Callable[[], Reply]) -> Reply:
        """Repeat `once` while the registry is busy, fails or drops the connection; after no answer in time, once."""
        import requests
        import urllib3

        timed_out = False
        for attempt in range(_TRIES):
            last = attempt == _TRIES - 1
            try:
                reply = once()
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                stop_if(errand.cancel)
                if last or faults.is_final(error) or (timed_out and faults.is_timeout(error)):
                    raise faults.unreachable(place, doing, error) from None
                timed_out = faults.is_timeout(error)
                wait, why = None, faults.cause(error)
            except ValueError:  # of urllib.parse and of the codec for host names, which requests lets through
                raise faults.nowhere(place, doing) from None
            else:
                wait, why = _asked_pause(reply), str(reply.status)
                passing = reply.passing or reply.status in _TRANSIENT
                if last or not passing or (wait or 0) > _LONGEST_PAUSE:
                    return reply
            self._wait(f"{place}: {doing}: {why}", self._pause * 2**attempt if wait is None else wait, errand)
        raise AssertionError("unreachable: the last try returns or raises")

    def _wait(self, why: str, seconds: float, errand: Errand) -> None:
        errand.tell(f"{why}; trying again in {seconds:.3g} s")
        errand.cancel.wait(seconds)
        stop_if(errand.cancel)

    def refused(self, place: Place, doing: str, reply: Reply) -> RegistryError:
        """The error for an answer that the caller cannot use."""
        return faults.refused(place, doing, reply.status, self.shown(faults.said_by(reply.body)))

    def shown(self, text: str) -> str:
        """What a registry said, without the secrets that it may repeat."""
        return self._authority.mask(text)


def stop_if(cancel: Cancel) -> None:
    """Raise Interrupted when the user has stopped the run."""
    if cancel.stopped:
        raise Interrupted("stopped")


def _body(place: Place, call: Call, response: requests.Response, cancel: Cancel) -> bytes:
    into = call.sink if response.status_code == 200 else None
    if into is not None:
        into.seek(0)
        into.truncate()
    held = bytearray()
    size = 0
    for chunk in response.iter_content(_CHUNK):
        stop_if(cancel)
        size += len(chunk)
        if size > call.limit:
            raise RegistryError(f"{place}: {call.doing}: the answer is longer than {call.limit} bytes")
        if into is None:
            held += chunk
        else:
            into.write(chunk)
    return bytes(held)


@contextmanager
def _slow(place: Place, doing: str, errand: Errand) -> Iterator[None]:
    """Say from time to time that this still goes on."""
    if errand.tell is silent:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        start, wait = time.monotonic(), _LONG
        while not over.wait(wait):
            wait *= 2
            errand.tell(f"{place}: {doing}: {time.monotonic() - start:.0f} s so far")

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


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
