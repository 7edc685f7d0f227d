"""Secrets are planted wherever a registry, a helper or docker's configuration may hold one: none is ever told."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, quote_plus

import pytest

from imgmake.errors import ImgmakeError
from imgmake.ports import Artifact, Cancel, Engine, Shell
from imgmake.registry import RegistryClient
from tests.fake_registry import Exporter, FakeRegistry, Fault
from tests.fakes import RecordingOutput

SECRET = "s3cr3t/word+ 7"
USER = "ada"
BASIC = base64.b64encode(f"{USER}:{SECRET}".encode()).decode()
DEAD = "127.0.0.1:1"


class Watched:
    """The port `Shell`, as far as helpers need it; keeps every argument and the variables of each process."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def capture(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], cancel: Cancel | None = None
    ) -> tuple[int, str, str]:
        self.told += [*argv, *env.values()]
        done = subprocess.run(argv, cwd=cwd, env=dict(env), capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr


class Trap:
    """Does all that can be done with a registry, and gathers all that is told meanwhile."""

    def __init__(self, home: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self.environ = {"HOME": str(home), "PATH": f"{home}/bin{os.pathsep}{os.environ['PATH']}"}
        self.errors: list[str] = []
        self._caplog = caplog
        self._capfd = capfd
        self._shell = Watched()
        self._output = RecordingOutput()
        self._remember: dict[str, str] = {}

    def configure(self, **config: Any) -> None:
        (self.home / ".docker").mkdir(exist_ok=True)
        (self.home / ".docker/config.json").write_text(json.dumps(config))

    def helper(self, script: str) -> None:
        (self.home / "bin").mkdir()
        program = self.home / "bin/docker-credential-test"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def spring(self, host: str) -> None:
        client = RegistryClient(self.environ, cast(Shell, self._shell), remember=self._remember, pause=0.001, settle=0)
        engine, repository, output = Exporter(), f"{host}/app", self._output
        image, subject = engine.image("one"), f"sha256:{'0' * 64}"
        for act in (
            lambda: client.send(cast(Engine, engine), [image], [repository], output=output),
            lambda: client.resolve(f"{repository}:1"),
            lambda: client.tags(repository),
            lambda: client.digest(f"{repository}:1"),
            lambda: client.set_tag(f"{repository}:1", subject, before=None),
            lambda: client.remove_tag(f"{repository}:1", holds=subject),
            lambda: client.attach(repository, subject, Artifact("text/plain", b"x")),
            lambda: client.referrers(repository, subject),
        ):
            try:
                act()
            except ImgmakeError as error:
                self.errors += [str(error), error.message, error.hint, repr(error)]
        client.close()

    @property
    def told(self) -> str:
        """Errors, notes, logs, what is kept for later, processes' arguments and variables, and the terminal."""
        out, err = self._capfd.readouterr()
        notes = [str(event) for event in self._output.events]
        # A library's debug log is off unless somebody's own program turns it on.
        logs = [one.getMessage() for one in self._caplog.records if one.levelno >= logging.INFO]
        parts = [*self.errors, *notes, *logs, *self._remember, *self._remember.values(), *self._shell.told, out, err]
        return "\n".join(parts)

    def check(self) -> None:
        assert self.errors, "the trap must spring"
        for spelling in {SECRET, BASIC, quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET), repr(SECRET)[1:-1]}:
            assert spelling not in self.told


@pytest.fixture
def trap(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Trap:
    return Trap(tmp_path, caplog, capfd)


@contextlib.contextmanager
def failing(*faults: Fault, **options: Any) -> Iterator[FakeRegistry]:
    with FakeRegistry(**options) as registry:
        registry.faults = list(faults)
        yield registry


def says(status: int, words: str, **headers: str) -> list[Fault]:
    body = json.dumps({"errors": [{"code": "UNKNOWN", "message": words}]}).encode()
    return [Fault(method, "^/v2/", status, 99, headers, body) for method in ("GET", "HEAD", "PUT", "POST", "DELETE")]


ECHO = f"you sent {SECRET}, {quote(SECRET, safe='')}, {quote_plus(SECRET)} and Basic {BASIC}"


@pytest.mark.parametrize("status", [400, 403, 500])
def test_a_registry_that_repeats_what_it_was_sent(status: int, trap: Trap) -> None:
    with failing(basic=f"Basic {BASIC}") as registry:
        trap.configure(auths={registry.host: {"auth": BASIC}})

        def repeat(*_: str) -> None:
            if f"Basic {BASIC}" in registry.authorizations:
                registry.faults = says(status, ECHO)

        registry.on_call = repeat
        trap.spring(registry.host)
    trap.check()
    assert any("you sent ***, ***, *** and Basic ***" in error for error in trap.errors)


def test_a_registry_that_repeats_it_where_a_digest_or_type_stands(trap: Trap) -> None:
    with failing(basic=f"Basic {BASIC}") as registry:
        trap.configure(auths={registry.host: {"auth": BASIC}})
        content = json.dumps({"mediaType": f"x/{SECRET}"}).encode()
        digest = {"Docker-Content-Digest": SECRET, "Content-Type": SECRET}
        registry.faults = [
            Fault("HEAD", "^/v2/", 401, 1, {"WWW-Authenticate": "Basic"}),
            Fault("GET", "^/v2/", 401, 1, {"WWW-Authenticate": "Basic"}),
            Fault("HEAD", "^/v2/", 200, 99, digest),
            Fault("GET", "^/v2/", 200, 99, digest, content),
            Fault("PUT", "^/v2/", 201, 99, digest),
        ]
        trap.spring(registry.host)
    trap.check()


def test_a_wrong_password(trap: Trap) -> None:
    with failing(basic="Basic other") as registry:
        trap.configure(auths={registry.host: {"username": USER, "password": SECRET}})
        trap.spring(registry.host)
    trap.check()


@pytest.mark.parametrize(
    "script",
    [
        f"echo '{SECRET}' is wrong; echo '{SECRET}' >&2; exit 1",
        f"echo '{SECRET}'",
        f'echo \'{{"Username": "{SECRET}", "Password": "{SECRET}"}}\'',
        f'echo \'{{"Username": "ada", "Secret": "{SECRET}"}}\'',
    ],
)
def test_what_a_helper_says(script: str, trap: Trap) -> None:
    with failing(basic="Basic other") as registry:
        trap.helper(script)
        trap.configure(credHelpers={registry.host: "test"})
        trap.spring(registry.host)
    trap.check()


@pytest.mark.parametrize("config", [f'{{"auths": "{SECRET}', json.dumps({"auths": {"HOST": {"auth": f"%{SECRET}"}}})])
def test_a_broken_configuration(config: str, trap: Trap) -> None:
    with failing(basic="Basic other") as registry:
        trap.configure()
        (trap.home / ".docker/config.json").write_text(config.replace("HOST", registry.host))
        trap.spring(registry.host)
    trap.check()


@pytest.mark.parametrize(
    "answer",
    [
        (401, {"errors": [{"code": "DENIED", "message": ECHO}]}),
        (500, {"errors": [{"code": "DENIED", "message": ECHO}]}),
        (200, {"details": ECHO}),
        (200, {"token": {"no": SECRET}}),
    ],
)
@pytest.mark.parametrize("entry", [{"auth": BASIC}, {"identitytoken": SECRET}])
def test_a_token_service_that_repeats_what_it_was_sent(
    entry: dict[str, str], answer: tuple[int, Any], trap: Trap
) -> None:
    status, content = answer
    body = json.dumps(content).encode()
    with failing(
        *(Fault(method, "^/token", status, 99, {}, body) for method in ("GET", "POST")), token=True
    ) as registry:
        trap.configure(auths={registry.host: entry})
        trap.spring(registry.host)
    trap.check()


def test_a_token_that_was_given_out(trap: Trap) -> None:
    given = json.dumps({"token": SECRET}).encode()
    with failing(Fault("GET", "^/token", 200, 99, {}, given), token=True) as registry:

        def repeat(*_: str) -> None:
            if f"Bearer {SECRET}" in registry.authorizations:
                registry.faults = says(403, ECHO)

        registry.on_call = repeat
        trap.spring(registry.host)
    trap.check()


def test_a_token_that_docker_keeps(trap: Trap) -> None:
    with failing(token=True) as registry:
        trap.configure(auths={registry.host: {"registrytoken": SECRET}})
        trap.spring(registry.host)
    trap.check()


PLACES = [f"http://{USER}:{{}}@{DEAD}/token?key={{}}", f"ftp://{USER}:{{}}@{DEAD}/?key={{}}", "{}", "http://[{}/"]


@pytest.mark.parametrize("place", PLACES)
def test_an_address_of_a_token_service(place: str, trap: Trap) -> None:
    realm = place.format(quote(SECRET, safe=""), quote(SECRET, safe=""))
    asks = {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}
    with failing(*says(401, ECHO, **asks)) as registry:
        trap.configure(auths={registry.host: {"auth": BASIC}})
        trap.spring(registry.host)
    trap.check()


@pytest.mark.parametrize("place", PLACES)
def test_an_address_that_a_registry_sends_us_to(place: str, trap: Trap) -> None:
    where = {"Location": place.format(quote(SECRET, safe=""), quote(SECRET, safe=""))}
    faults = [Fault(method, "^/v2/", 307, 99, where) for method in ("GET", "HEAD", "PUT", "DELETE")]
    with failing(*faults, Fault("POST", "^/v2/", 202, 99, where)) as registry:
        trap.spring(registry.host)
    trap.check()


def test_an_address_in_a_registrys_own_words(trap: Trap) -> None:
    words = (
        f"see https://{USER}:{quote(SECRET, safe='')}@reg.example/x and https://reg.example/y?key={quote_plus(SECRET)}"
    )
    with failing(*says(400, words)) as registry:
        trap.spring(registry.host)
    trap.check()
    assert any("https://***@reg.example/x and https://reg.example/y?***" in error for error in trap.errors)


def test_a_proxys_password(trap: Trap) -> None:
    trap.environ["HTTPS_PROXY"] = f"http://{USER}:{quote(SECRET, safe='')}@{DEAD}"
    trap.spring("registry.example")
    trap.check()
    assert any("the proxy does not answer: connection refused" in error for error in trap.errors)
