"""Who may do what at a registry: challenges, tokens and the header to send; the transport does the sending.

Protocols: RFC 9110 section 11 (challenges), distribution's docs/spec/auth/token.md (tokens) and
oauth.md (identity tokens).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote, quote_plus

from imgmake.errors import RegistryError
from imgmake.ports import Cancel
from imgmake.registry.credentials import Credential, Credentials
from imgmake.registry.faults import Place, clean, login, said_by
from imgmake.registry.manifests import decode

_PART = re.compile(r'([A-Za-z_][\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([A-Za-z][\w-]*)')
_CLIENT = "imgmake"
_HIDDEN = "***"


class Challenge(NamedTuple):
    """One way in that a server offers: its scheme in small letters, and the parameters."""

    scheme: str
    parameters: Mapping[str, str]

    @property
    def scopes(self) -> tuple[str, ...]:
        return tuple(self.parameters.get("scope", "").split())


class TokenRequest(NamedTuple):
    """What to ask of a token service: a form to POST, or, without one, a query to GET."""

    url: str
    query: tuple[tuple[str, str], ...] = ()
    form: tuple[tuple[str, str], ...] = ()
    authorization: str = ""


class Answered(NamedTuple):
    """A token service's answer."""

    status: int
    body: bytes


def challenges(header: str) -> tuple[Challenge, ...]:
    """Take ``WWW-Authenticate`` apart.

    >>> challenges('Bearer realm="https://a/t",scope="repository:x:pull,push"')[0].scopes
    ('repository:x:pull,push',)
    """
    found: list[tuple[str, dict[str, str]]] = []
    for key, quoted, bare, scheme in _PART.findall(header):
        if scheme:
            found.append((scheme.lower(), {}))
        elif found:
            found[-1][1][key.lower()] = re.sub(r"\\(.)", r"\1", quoted) or bare
    return tuple(Challenge(scheme, parameters) for scheme, parameters in found)


class Authority:
    """Remembers what to send where: a token for each repository, Basic for a whole registry."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._headers: dict[tuple[str, str], str] = {}
        self._scopes: dict[Place, tuple[str, ...]] = {}
        self._secrets: set[str] = set()
        self._locks: dict[str, threading.Lock] = {}

    def header(self, place: Place) -> str:
        """What to send unasked; empty until the registry has asked once."""
        return self._headers.get((place.registry, place.repository)) or self._headers.get((place.registry, "")) or ""

    def mask(self, text: str) -> str:
        """A registry's own words, in case they repeat what it was sent."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            for spelling in (secret, quote(secret, safe=""), quote_plus(secret)):
                text = text.replace(spelling, _HIDDEN)
        return clean(text)

    def look_up(self, registry: str, cancel: Cancel) -> None:
        """Have the credentials at hand; a helper may wait for its user. Raises RegistryError, Interrupted."""
        with self._locks.setdefault(registry, threading.Lock()):
            self._credentials.of(registry, cancel)

    def answer(
        self, place: Place, header: str, secure: bool, fetch: Callable[[TokenRequest], Answered], sent: str = ""
    ) -> bool:
        """Meet a challenge to a request with the header `sent`; False when nothing can be said to it.

        `secure` is whether the registry itself is spoken to over TLS; `fetch` asks the token service.
        Raises RegistryError when the token service refuses, or must not be told a password.
        """
        offered = {challenge.scheme: challenge for challenge in challenges(header)}
        with self._locks.setdefault(place.registry, threading.Lock()):
            if self.header(place) != sent and self._covers(place, offered.get("bearer")):
                return True  # another thread met the same challenge meanwhile
            if "bearer" in offered:
                return self._take_token(place, offered["bearer"], secure, fetch)
            return "basic" in offered and self._take_basic(place)

    def _covers(self, place: Place, challenge: Challenge | None) -> bool:
        return challenge is None or set(challenge.scopes) <= set(self._scopes.get(place, ()))

    def _take_basic(self, place: Place) -> bool:
        basic = self._who(place).basic
        if basic:
            self._headers[place.registry, ""] = basic
        return bool(basic)

    def _who(self, place: Place) -> Credential:
        credential = self._credentials.of(place.registry)
        self._secrets.update(credential.secrets)
        return credential

    def _take_token(
        self, place: Place, challenge: Challenge, secure: bool, fetch: Callable[[TokenRequest], Answered]
    ) -> bool:
        credential = self._who(place)
        token = credential.bearer or self._fetched(place, challenge, secure, credential, fetch)
        self._secrets.add(token)
        self._headers[place.registry, place.repository] = f"Bearer {token}"
        return True

    def _fetched(
        self,
        place: Place,
        challenge: Challenge,
        secure: bool,
        credential: Credential,
        fetch: Callable[[TokenRequest], Answered],
    ) -> str:
        realm = challenge.parameters.get("realm", "")
        if not realm.startswith(("https://",) if secure else ("https://", "http://")):
            # The address is not shown: its user-info and query may be secrets.
            raise RegistryError(
                f"{place}: its token service is not to be trusted with a password: no https",
                hint="whoever runs the registry must mend this",
            )
        # What was asked before is asked again: a push first reads, and a token for less would be refused later.
        scopes = tuple(dict.fromkeys((*self._scopes.get(place, ()), *challenge.scopes)))
        answered = fetch(_request(realm, challenge.parameters.get("service", ""), scopes, credential))
        token = self._token(place, answered)
        self._scopes[place] = scopes
        return token

    def _token(self, place: Place, answered: Answered) -> str:
        content = decode(answered.body)
        token = content.get("token") or content.get("access_token")
        if answered.status == 200 and isinstance(token, str):
            return token
        said = self.mask(said_by(answered.body))
        why = f"{answered.status}{f' ({said})' if said else ''}" if answered.status != 200 else "no token in its answer"
        raise RegistryError(
            f"{place}: the token service of {place.registry} gave no access: {why}",
            hint=f"is the name right? Log in with: {login(place.registry)}",
        )


def _request(realm: str, service: str, scopes: Iterable[str], credential: Credential) -> TokenRequest:
    asked = (("service", service),) if service else ()
    if credential.identity:
        form = (
            ("grant_type", "refresh_token"),
            ("refresh_token", credential.identity),
            ("client_id", _CLIENT),
            *asked,
            ("scope", " ".join(scopes)),
        )
        return TokenRequest(realm, form=form)
    account = (("account", credential.user),) if credential.user else ()
    query = (*asked, *account, *(("scope", scope) for scope in scopes))
    return TokenRequest(realm, query=query, authorization=credential.basic)
