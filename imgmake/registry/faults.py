"""What went wrong with a registry, in a user's words: the place, the cause, what to do. No I/O.

Nothing that a request carried is ever quoted: addresses of uploads and tokens are secrets.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import NamedTuple

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


class Place(NamedTuple):
    """A repository of a registry, as messages name it."""

    registry: str
    repository: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}"


def refused(place: Place, doing: str, status: int, body: bytes) -> RegistryError:
    """The error for an answer that was not hoped for."""
    cause = _WORDS.get(status) or ("the registry failed" if status >= 500 else "an unexpected answer")
    said = said_by(body)
    detail = f" ({said})" if said else ""
    return RegistryError(f"{place}: {doing}: {status}, {cause}{detail}", hint=_hint(place, status))


def said_by(body: bytes) -> str:
    """What the registry itself says: code and message of each error of the distribution API."""
    try:
        errors = json.loads(body)["errors"]
        parts = [": ".join(str(one[key]) for key in ("code", "message") if one.get(key)) for one in errors]
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""
    return "; ".join(part for part in parts if part)[:_SHOWN]


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
    if status == 429:
        return "wait, or log in: registries allow more to those they know"
    return "try again later; the registry's log may say more" if status >= 500 else ""


def login(registry: str) -> str:
    """The command that stores credentials for a registry."""
    return "docker login" if registry == DEFAULT_DOMAIN else f"docker login {registry}"


def unreachable(place: Place, error: BaseException) -> RegistryError:
    """The error for a registry that did not answer."""
    cause = next((text for text in map(_cause, _chain(error)) if text), "the connection was lost")
    return RegistryError(f"{place}: {place.registry} does not answer: {cause}", hint=_reach_hint(place, error))


def is_final(error: BaseException) -> bool:
    """Whether trying again is pointless: nobody listens, nobody has that name, or the certificate is not trusted."""
    return any(
        isinstance(one, ConnectionRefusedError | ssl.SSLCertVerificationError) or _unknown(one) for one in _chain(error)
    )


def _unknown(error: BaseException) -> bool:
    return isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME


def _reach_hint(place: Place, error: BaseException) -> str:
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in _chain(error)):
        wanted = f"/etc/docker/certs.d/{place.registry}/ca.crt"
        return f"put the certificate of its authority at {wanted}, or name it in SSL_CERT_FILE"
    return "is the name right, and the registry running? A proxy is taken from HTTPS_PROXY and NO_PROXY"


def _cause(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
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
