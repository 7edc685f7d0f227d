"""What went wrong with a registry, in a user's words: the place, the cause, what to do. No I/O.

Nothing that a request carried is ever quoted: addresses of uploads and tokens are secrets.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from imgmake.errors import RegistryError
from imgmake.references import DEFAULT_DOMAIN

_WORDS = {
    400: "the request was refused as wrong",
    401: "the login is missing or wrong",
    403: "no right to do this",
    404: "not found",
    405: "this cannot be done there",
    413: "too large for it",
    429: "too many requests",
}
_SHOWN = 300  # characters of a registry's own words
_FINAL = (ConnectionRefusedError, ssl.SSLCertVerificationError)
_NOWHERE = "sends us to an address that leads nowhere"
_NOWHERE_HINT = "is it a registry, and the proxy right? HTTPS_PROXY and NO_PROXY name it"
_WRONG_ADDRESS = {
    "InvalidProxyURL",
    "InvalidSchema",
    "InvalidURL",
    "LocationParseError",
    "MissingSchema",
    "TooManyRedirects",
}
_USER_INFO = re.compile(r"//[^/@\s\"'<>]*@")
_LOGIN = re.compile(r"(?i)\b(basic|bearer) [a-z0-9+/=._~-]{8,}")
_QUERY = re.compile(r"""(\w+://[^\s?"'<>]*)\?[^\s"'<>]*""")


class Place(NamedTuple):
    """A repository of a registry, as messages name it."""

    registry: str
    repository: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}"


def refused(place: Place, doing: str, status: int, said: str) -> RegistryError:
    """The error for an answer that was not hoped for; `said` are the registry's words, without secrets."""
    cause = _WORDS.get(status) or ("the registry failed" if status >= 500 else "an unexpected answer")
    detail = f" ({said})" if said else ""
    return RegistryError(f"{place}: {doing}: {status}, {cause}{detail}", hint=_hint(place, status))


def said_by(body: bytes) -> str:
    """What the registry itself says: code and message of each error of the distribution API."""
    try:
        errors = json.loads(body)["errors"]
        parts = [": ".join(str(one[key]) for key in ("code", "message") if one.get(key)) for one in errors]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""
    return "; ".join(part for part in parts if part)


def clean(text: str) -> str:
    """Another's words, fit to be shown: no login, in URLs neither user-info nor query, no control characters.

    >>> clean("see https://ada:secret@reg.example/v2/?token=x now")
    'see https://***@reg.example/v2/?*** now'
    """
    text = "".join(c if c.isprintable() else " " for c in text)
    text = _LOGIN.sub(r"\1 ***", text)
    return _QUERY.sub(r"\1?***", _USER_INFO.sub("//***@", text))[:_SHOWN]


def is_absence(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a 404 is a registry's "no such thing", and not any web server's."""
    return bool(said_by(body)) or "docker-distribution-api-version" in {name.lower() for name in headers}


def _hint(place: Place, status: int) -> str:
    if status == 401:
        return f"log in with: {login(place.registry)}"
    if status == 403:
        return f"is the name right, and has the account the right? Log in as another with: {login(place.registry)}"
    if status == 404:
        return f"is {place.registry} a registry, and the name right?"
    if status == 405:
        return f"is {place.registry} read-only, or a mirror?"
    if status == 429:
        return "wait, or log in: registries allow more to those they know"
    return "try again later; the registry's log may say more" if status >= 500 else ""


def login(registry: str) -> str:
    """The command that stores credentials for a registry."""
    return "docker login" if registry == DEFAULT_DOMAIN else f"docker login {registry}"


def unreachable(place: Place, doing: str, error: BaseException) -> RegistryError:
    """The error for a registry, or a place that it sent us to, that did not answer."""
    through_proxy = any(type(one).__name__ == "ProxyError" for one in _chain(error))
    host = "the proxy" if through_proxy else _host(error) or place.registry
    return RegistryError(
        f"{place}: {doing}: {host} does not answer: {cause(error)}", hint=_reach_hint(place, host, error)
    )


def nowhere(place: Place, doing: str) -> RegistryError:
    """The error for an address that is none: a registry, or something in between, made it up."""
    return RegistryError(f"{place}: {doing}: {place.registry} {_NOWHERE}", hint=_NOWHERE_HINT)


def _host(error: BaseException) -> str:
    """Whom a request of requests went to, without credentials: a storage or token service may be another machine."""
    url = getattr(getattr(error, "request", None), "url", None)
    return urlsplit(url).netloc.rpartition("@")[2] if isinstance(url, str) else ""


def is_final(error: BaseException) -> bool:
    """Whether trying again is pointless: nobody listens, nobody has that name, what answers is not to be trusted."""
    return any(isinstance(one, _FINAL) or _unknown(one) or _no_tls(one) or _is_nonsense(one) for one in _chain(error))


def is_timeout(error: BaseException) -> bool:
    """Whether the answer did not come in time."""
    return any(isinstance(one, TimeoutError) for one in _chain(error))


def _unknown(error: BaseException) -> bool:
    return isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME


def _no_tls(error: BaseException) -> bool:
    """Whether the other side answered a handshake with something else: plain HTTP."""
    return isinstance(error, ssl.SSLError) and error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}


def _is_nonsense(error: BaseException) -> bool:
    """An address that is none, a circle of redirects; by name, for requests is not loaded where nothing is asked."""
    return type(error).__name__ in _WRONG_ADDRESS


def _reach_hint(place: Place, host: str, error: BaseException) -> str:
    chain = list(_chain(error))
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in chain):
        wanted = f"/etc/docker/certs.d/{place.registry}/ca.crt"
        return f"put the certificate of its authority at {wanted}, or name it in SSL_CERT_FILE"
    if any(map(_no_tls, chain)):
        wanted = f'"insecure-registries": ["{host}"]'
        return f"passwords would be read on the way; to allow it anyway, put {wanted} into /etc/docker/daemon.json"
    if any(map(_is_nonsense, chain)):
        return _NOWHERE_HINT
    return "is the name right, and the registry running? A proxy is taken from HTTPS_PROXY and NO_PROXY"


def cause(error: BaseException) -> str:
    """Why there was no answer."""
    return next((text for text in map(_cause, _chain(error)) if text), "the connection was lost")


def _cause(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if _no_tls(error):
        return "it speaks plain HTTP, not HTTPS"
    if _is_nonsense(error):
        return f"it {_NOWHERE}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and isinstance(error.strerror, str):
        return error.strerror.lower()
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and all that it wraps: requests and urllib3 put the real one in `args`, `reason` or the cause."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__context__, one.__cause__, getattr(one, "reason", None), *one.args]
