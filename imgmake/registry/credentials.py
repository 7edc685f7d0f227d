"""Credentials as docker keeps them: `config.json`, and the programs that it names; knows no HTTP.

Order as in docker's CLI (cli/config/configfile): the registry's own helper, else the store of all,
else what is written in `auths`. A value is never shown.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgmake.errors import Interrupted, RegistryError
from imgmake.ports import Cancel, Shell
from imgmake.references import DEFAULT_DOMAIN

_HUB_KEY = "https://index.docker.io/v1/"  # under which docker stores the credentials of docker.io
_TOKEN_USER = "<token>"  # noqa: S105 - the name that a helper gives to an identity token
_NOT_FOUND = {126, 127}  # of a shell
_NONE_STORED = "credentials not found"


@dataclass(frozen=True)
class Credential:
    """A user with a password, or an identity token (OAuth2), or a token to send as it is."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The header of HTTP's Basic authentication; empty without a user."""
        pair = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}" if self.user else ""

    def for_engine(self, registry: str) -> Mapping[str, str]:
        """As an engine is told that is to pull for the user (AuthConfig of Docker's engine API); empty for nobody.

        >>> Credential("ada", "x").for_engine("reg.example")
        {'username': 'ada', 'password': 'x', 'serveraddress': 'reg.example'}
        """
        names = ("username", "password", "identitytoken", "registrytoken")
        values = (self.user, self.password, self.identity, self.bearer)
        told = {name: value for name, value in zip(names, values, strict=True) if value}
        return {**told, "serveraddress": registry} if told else {}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that no message may hold."""
        return tuple(
            part for part in (self.password, self.identity, self.bearer, self.basic.removeprefix("Basic ")) if part
        )


NOBODY = Credential()


class Credentials:
    """Looks credentials up, once a registry, when a registry first asks for them."""

    def __init__(self, environ: Mapping[str, str], shell: Shell | None) -> None:
        self._environ = environ
        self._shell = shell
        self._found: dict[str, Credential] = {}

    def of(self, registry: str, cancel: Cancel | None = None) -> Credential:
        """Who the user is at a registry; NOBODY without stored credentials. Raises RegistryError, Interrupted."""
        if registry not in self._found:
            self._found[registry] = self._look_up(registry, cancel or Cancel())
        return self._found[registry]

    @property
    def path(self) -> Path:
        """docker's configuration file (``DOCKER_CONFIG`` is its folder)."""
        folder = self._environ.get("DOCKER_CONFIG")
        return (Path(folder) if folder else Path(self._environ.get("HOME") or "/root") / ".docker") / "config.json"

    def _look_up(self, registry: str, cancel: Cancel) -> Credential:
        config = self._read()
        key = _HUB_KEY if registry == DEFAULT_DOMAIN else registry
        helper = _table(config, "credHelpers").get(key) or _table(config, "credHelpers").get(registry)
        helper = helper or config.get("credsStore")
        if helper:
            return self._ask(str(helper), key, cancel)
        for stored, entry in _table(config, "auths").items():
            if _host(stored) == _host(key) and isinstance(entry, dict):
                return self._entry(entry)
        return NOBODY

    def _read(self) -> Mapping[str, Any]:
        try:
            content = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no JSON"
            raise RegistryError(f"{self.path} cannot be read: {why}", hint="mend it, or log in anew") from None
        return content if isinstance(content, dict) else {}

    def _entry(self, entry: Mapping[str, Any]) -> Credential:
        user, password = str(entry.get("username", "")), str(entry.get("password", ""))
        if entry.get("auth"):
            user, password = self._decoded(str(entry["auth"]))
        identity, bearer = str(entry.get("identitytoken", "")), str(entry.get("registrytoken", ""))
        return Credential(user, password, identity, bearer)

    def _decoded(self, auth: str) -> tuple[str, str]:
        try:
            user, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            raise RegistryError(f"{self.path}: an 'auth' in it is no base64", hint="log in anew") from None
        return user, password.strip("\0")  # docker pads with zeroes

    def _ask(self, helper: str, key: str, cancel: Cancel) -> Credential:
        """``docker-credential-HELPER get``: the key on stdin, JSON on stdout (docker-credential-helpers' protocol)."""
        program = f"docker-credential-{helper}"
        if self._shell is None:
            raise RegistryError(f"{self.path} names {program}, and no program can be run here")
        script = 'printf %s "$2" | "$1" get'
        argv = ["/bin/sh", "-c", script, "sh", program, key]
        code, stdout, stderr = self._shell.capture(argv, cwd=Path("/"), env=self._environ, cancel=cancel)
        if cancel.stopped:
            raise Interrupted("stopped")
        if code:
            return self._nobody(program, key, code, f"{stdout}\n{stderr}")
        try:
            answer = json.loads(stdout)
            user, secret = str(answer["Username"]), str(answer["Secret"])
        except (ValueError, KeyError, TypeError):
            raise self._helper_failed(program, key, "its answer is no credential") from None
        return Credential(identity=secret) if user == _TOKEN_USER else Credential(user, secret)

    def _nobody(self, program: str, key: str, code: int, said: str) -> Credential:
        if _NONE_STORED in said:
            return NOBODY
        why = "it is not installed" if code in _NOT_FOUND else f"it ended with {code}"
        raise self._helper_failed(program, key, why)

    def _helper_failed(self, program: str, key: str, why: str) -> RegistryError:
        """What a helper wrote is never shown: it may be the very secret."""
        return RegistryError(
            f"{program} gave no credentials for {_host(key)}: {why}",
            hint=f"{self.path} names it; to see what it says: echo {key} | {program} get",
        )


def _table(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = config.get(key)
    return found if isinstance(found, dict) else {}


def _host(key: str) -> str:
    """The registry of a key of `auths`: old versions of docker wrote ``https://HOST/v1/``."""
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]
