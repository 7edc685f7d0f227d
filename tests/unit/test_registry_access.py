"""Who we are at a registry and whom we trust: credentials, tokens, certificates, proxies, and what is never told."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake.errors import RegistryError
from imgmake.ports import Cancel, Engine, Shell
from imgmake.references import repository
from imgmake.registry import RegistryClient, transport
from imgmake.registry.authority import Authority, TokenRequest, challenges
from imgmake.registry.credentials import NOBODY, Credential, Credentials
from imgmake.registry.endpoints import Endpoints, is_loopback
from imgmake.registry.faults import Place
from tests.fake_registry import Exporter, FakeRegistry, Fault
from tests.fakes import RecordingOutput

USER, PASSWORD = "ada", "open sesame"
BASIC = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"


class Programs:
    """The port `Shell`, as far as helpers need it."""

    def capture(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], cancel: Cancel | None = None
    ) -> tuple[int, str, str]:
        done = subprocess.run(argv, cwd=cwd, env=dict(env), capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr


SHELL = cast(Shell, Programs())


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}"}


def configure(home: Path, **config: Any) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker/config.json").write_text(json.dumps(config))


def auth(user: str = USER, password: str = PASSWORD) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def client_for(environ: Mapping[str, str]) -> RegistryClient:
    return RegistryClient(environ, SHELL, pause=0.001)


# --- credentials ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["reg.example:5000", "https://reg.example:5000", "https://reg.example:5000/v1/"])
def test_credentials_are_found_however_docker_spelt_the_registry(
    key: str, tmp_path: Path, environ: dict[str, str]
) -> None:
    configure(tmp_path, auths={"other.example": auth("eve"), key: auth()})
    assert Credentials(environ, None).of("reg.example:5000") == Credential(USER, PASSWORD)
    assert Credentials(environ, None).of("reg.example") == NOBODY


@pytest.mark.parametrize(
    ("entry", "credential"),
    [
        ({"username": "u", "password": "p"}, Credential("u", "p")),
        ({**auth("", ""), "identitytoken": "i"}, Credential(identity="i")),
        ({"registrytoken": "r"}, Credential(bearer="r")),
        (auth("u", "p:q\0\0"), Credential("u", "p:q")),
    ],
)
def test_every_form_that_docker_writes_is_read(
    entry: dict[str, str], credential: Credential, tmp_path: Path, environ: dict[str, str]
) -> None:
    configure(tmp_path, auths={"https://index.docker.io/v1/": entry})
    assert Credentials(environ, None).of("docker.io") == credential


def test_docker_config_names_the_folder(tmp_path: Path, environ: dict[str, str]) -> None:
    configure(tmp_path, auths={"reg.example": auth()})
    moved = {**environ, "HOME": "/nonexistent", "DOCKER_CONFIG": str(tmp_path / ".docker")}
    assert Credentials(moved, None).of("reg.example").user == USER


def helper(home: Path, script: str) -> None:
    (home / "bin").mkdir()
    program = home / "bin/docker-credential-test"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.mark.parametrize("config", [{"credsStore": "test"}, {"credHelpers": {"reg.example": "test"}}])
def test_a_helper_is_asked_as_docker_asks_it(config: dict[str, Any], tmp_path: Path, environ: dict[str, str]) -> None:
    helper(tmp_path, 'echo noise >&2; printf \'{"Username":"%s","Secret":"%s"}\' "$(cat)" "$1"')
    configure(tmp_path, auths={"reg.example": {}}, **config)
    assert Credentials(environ, SHELL).of("reg.example") == Credential("reg.example", "get")


def test_a_helper_may_give_an_identity_token(tmp_path: Path, environ: dict[str, str]) -> None:
    helper(tmp_path, 'echo \'{"Username":"<token>","Secret":"i"}\'')
    configure(tmp_path, credsStore="test")
    assert Credentials(environ, SHELL).of("docker.io") == Credential(identity="i")


def test_a_helper_that_knows_nobody_is_no_error(tmp_path: Path, environ: dict[str, str]) -> None:
    helper(tmp_path, "echo credentials not found in native keychain; exit 1")
    configure(tmp_path, credsStore="test")
    assert Credentials(environ, SHELL).of("reg.example") == NOBODY


def test_a_helper_that_waits_is_told_of(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may ask its user for a password where nobody sees that: the run said nothing."""
    monkeypatch.setattr(transport, "_LONG", 0.05)
    helper(tmp_path, 'sleep 0.3; echo \'{"Username":"ada","Secret":"open sesame"}\'')
    configure(tmp_path, credsStore="test")
    told: list[str] = []
    client = RegistryClient(environ, SHELL, tell=told.append)
    with FakeRegistry(basic=BASIC) as registry, contextlib.closing(client):
        assert client.tags(f"{registry.host}/app") == ()
    assert told[0].startswith(f"{registry.host}/app: looking up the login: ")


@pytest.mark.parametrize(
    ("script", "said"),
    [("echo locked >&2; exit 3", "it ended with 3"), ("echo hello", "no credential"), (None, "it is not installed")],
)
def test_a_broken_helper_is_named(script: str | None, said: str, tmp_path: Path, environ: dict[str, str]) -> None:
    if script:
        helper(tmp_path, script)
    configure(tmp_path, credsStore="test")
    with pytest.raises(RegistryError, match=f"docker-credential-test gave no credentials for reg.example: .*{said}"):
        Credentials(environ, SHELL).of("reg.example")


@pytest.mark.parametrize("text", ["{", '{"auths": {"reg.example": {"auth": "%"}}}'])
def test_a_broken_configuration_is_named(text: str, tmp_path: Path, environ: dict[str, str]) -> None:
    configure(tmp_path)
    (tmp_path / ".docker/config.json").write_text(text)
    with pytest.raises(RegistryError, match=r"\.docker/config\.json"):
        Credentials(environ, None).of("reg.example")


# --- logging in -------------------------------------------------------------------------------------------------


@pytest.fixture
def basic() -> Iterator[FakeRegistry]:
    with FakeRegistry(basic=BASIC) as one:
        yield one


@pytest.fixture
def tokens() -> Iterator[FakeRegistry]:
    with FakeRegistry(token=True) as one:
        yield one


def push(client: RegistryClient, *references: str) -> None:
    """Send an image and set tags on it."""
    engine = Exporter()
    names = [repository(one) for one in references]
    digest = client.send(cast(Engine, engine), [engine.image("one")], names, output=RecordingOutput())
    for reference in references:
        client.set_tag(reference, digest, before=None)


def test_a_password_is_sent_only_once_asked_for(basic: FakeRegistry, tmp_path: Path, environ: dict[str, str]) -> None:
    configure(tmp_path, auths={basic.host: auth()})
    push(client_for(environ), f"{basic.host}/app:1")
    assert basic.tags("app") == ["1"]
    assert basic.authorizations[0] == ""
    assert set(basic.authorizations[1:]) == {BASIC}


@pytest.mark.parametrize("auths", [{}, {"wrong": True}])
def test_a_missing_or_wrong_password_says_how_to_log_in(
    auths: dict[str, bool], basic: FakeRegistry, tmp_path: Path, environ: dict[str, str]
) -> None:
    configure(tmp_path, auths={basic.host: auth(password="open barley")} if auths else {})
    with pytest.raises(RegistryError, match="401, the login is missing or wrong") as caught:
        client_for(environ).resolve(f"{basic.host}/app:1")
    assert f"docker login {basic.host}" in caught.value.hint
    assert "barley" not in str(caught.value)


def test_a_registry_that_repeats_a_secret_does_not_get_it_told(
    basic: FakeRegistry, tmp_path: Path, environ: dict[str, str]
) -> None:
    configure(tmp_path, auths={basic.host: auth()})
    client = client_for(environ)
    assert client.tags(f"{basic.host}/app") == ()
    said = json.dumps({"errors": [{"code": "UNKNOWN", "message": f"what is {PASSWORD} or {BASIC}?"}]}).encode()
    basic.faults = [Fault("GET", "manifests", 400, body=said)]
    with pytest.raises(RegistryError) as caught:
        client.resolve(f"{basic.host}/app:1")
    assert PASSWORD not in str(caught.value)
    assert BASIC.removeprefix("Basic ") not in str(caught.value)


def test_a_token_is_asked_for_what_is_done(tokens: FakeRegistry, environ: dict[str, str]) -> None:
    client = client_for(environ)
    push(client, f"{tokens.host}/app:1")
    assert client.resolve(f"{tokens.host}/app:1")
    reading, writing = "repository:app:pull", "repository:app:pull,push"
    assert [form["scope"] for form in tokens.forms] == [[reading], [reading, writing]]
    assert tokens.tags("app") == ["1"]


def test_threads_that_are_asked_at_once_take_one_token(tokens: FakeRegistry, environ: dict[str, str]) -> None:
    client = client_for(environ)
    engine = Exporter()
    together = threading.Barrier(3, timeout=5)
    starts = itertools.count()
    tokens.on_call = lambda method, path: together.wait() if method == "POST" and next(starts) < 3 else None
    images, names = [engine.image("one", "two", "three")], [f"{tokens.host}/app"]
    client.send(cast(Engine, engine), images, names, output=RecordingOutput())
    assert len(tokens.forms) == 2, "one to read, one to write"


def test_what_was_allowed_before_is_asked_for_again(environ: dict[str, str]) -> None:
    authority = Authority(Credentials(environ, None))
    asked: list[TokenRequest] = []

    def fetch(request: TokenRequest) -> Any:
        asked.append(request)
        return type("Answered", (), {"status": 200, "body": b'{"access_token": "t"}'})

    place = Place("reg.example", "app")
    for actions in ("pull", "pull,push"):
        header = f'Bearer realm="https://reg.example/t",service="s",scope="repository:app:{actions}"'
        assert authority.answer(place, header, True, fetch)
    assert [value for key, value in asked[1].query if key == "scope"] == [
        "repository:app:pull",
        "repository:app:pull,push",
    ]
    assert authority.header(place) == "Bearer t"
    assert authority.header(Place("reg.example", "other")) == ""


def test_an_identity_token_is_exchanged_and_never_sent_in_an_address(
    tokens: FakeRegistry, tmp_path: Path, environ: dict[str, str]
) -> None:
    configure(tmp_path, auths={tokens.host: {"identitytoken": "identity"}})
    assert client_for(environ).tags(f"{tokens.host}/app") == ()
    [form] = tokens.forms
    assert (form["grant_type"], form["refresh_token"]) == (["refresh_token"], ["identity"])
    assert not [one for one in tokens.requests if "identity" in one.path]


def test_a_refused_login_at_the_token_service_is_told(
    tokens: FakeRegistry, tmp_path: Path, environ: dict[str, str]
) -> None:
    configure(tmp_path, auths={tokens.host: auth()})
    tokens.faults = [Fault("GET", "^/token", 401)]
    with pytest.raises(RegistryError, match=r"the token service of .* gave no access: 401") as caught:
        client_for(environ).tags(f"{tokens.host}/app")
    assert PASSWORD not in str(caught.value)


def test_a_password_does_not_leave_tls(environ: dict[str, str]) -> None:
    def fetch(request: TokenRequest) -> Any:
        raise AssertionError(request)

    with pytest.raises(RegistryError, match="no https"):
        Authority(Credentials(environ, None)).answer(
            Place("reg.example", "app"), 'Bearer realm="http://reg.example/t"', True, fetch
        )


def test_a_redirect_elsewhere_gets_no_credentials(basic: FakeRegistry, tmp_path: Path, environ: dict[str, str]) -> None:
    configure(tmp_path, auths={basic.host: auth()})
    with FakeRegistry() as storage:
        client = client_for(environ)
        push(client, f"{storage.host}/app:1", f"{basic.host}/app:1")
        config = Exporter().image("one").id
        where = f"http://localhost:{storage.host.rpartition(':')[2]}/v2/app/blobs/{config}"
        basic.faults = [Fault("GET", f"/blobs/{config}", 307, headers={"Location": where})]
        assert client.resolve(f"{basic.host}/app:1")
        assert storage.requests[-1].path.endswith(config)
        assert not any(storage.authorizations)


def test_an_upload_elsewhere_gets_no_credentials(basic: FakeRegistry, tmp_path: Path, environ: dict[str, str]) -> None:
    configure(tmp_path, auths={basic.host: auth()})
    with FakeRegistry() as storage:
        where = {"Location": f"http://{storage.host}/v2/app/blobs/uploads/session"}
        basic.faults = [Fault("POST", "/blobs/uploads/", 202, headers=where)]
        with pytest.raises(RegistryError, match="just sent"):  # the fakes share no storage
            push(client_for(environ), f"{basic.host}/app:1")
        assert [one.method for one in storage.requests] == ["PUT"]
        assert not any(storage.authorizations)


def test_a_netrc_does_not_speak_for_docker(
    basic: FakeRegistry, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(RegistryError, match="the login is missing"):
        client_for(environ).resolve(f"{basic.host}/app:1")
    assert not any(basic.authorizations)


names = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
values = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=20)


@given(st.lists(st.tuples(names, st.dictionaries(names, values, max_size=3)), min_size=1, max_size=3))
def test_challenges_are_read_as_they_are_written(offered: list[tuple[str, dict[str, str]]]) -> None:
    def written(parameters: dict[str, str]) -> str:
        escaped = {key: value.replace("\\", "\\\\").replace('"', '\\"') for key, value in parameters.items()}
        return ", ".join(f'{key}="{value}"' for key, value in escaped.items())

    header = ", ".join(f"{scheme} {written(parameters)}" for scheme, parameters in offered)
    assert [(one.scheme, one.parameters) for one in challenges(header)] == offered


# --- trust and the way there ------------------------------------------------------------------------------------


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[FakeRegistry, Path]]:
    registry = FakeRegistry()
    authority = registry.secure(tmp_path)
    with registry:
        yield registry, authority


def test_an_unknown_authority_is_refused_with_where_to_put_it(
    secured: tuple[FakeRegistry, Path], environ: dict[str, str]
) -> None:
    registry, _ = secured
    with pytest.raises(RegistryError, match="certificate is not trusted") as caught:
        client_for(environ).tags(f"{registry.host}/app")
    assert f"certs.d/{registry.host}/ca.crt" in caught.value.hint
    assert registry.requests == []


@pytest.mark.parametrize("how", ["certs.d", "SSL_CERT_FILE"])
def test_an_authority_of_ones_own_is_trusted_where_docker_looks(
    how: str, secured: tuple[FakeRegistry, Path], tmp_path: Path, environ: dict[str, str]
) -> None:
    registry, authority = secured
    if how == "SSL_CERT_FILE":
        environ["SSL_CERT_FILE"] = str(authority)
    else:
        folder = tmp_path / ".config/docker/certs.d" / registry.host
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.read_bytes())
    push(client_for(environ), f"{registry.host}/app:1")
    assert registry.tags("app") == ["1"]


def test_a_certificate_that_is_none_is_named(
    secured: tuple[FakeRegistry, Path], tmp_path: Path, environ: dict[str, str]
) -> None:
    (tmp_path / "bad.crt").write_text("no certificate")
    environ["SSL_CERT_FILE"] = str(tmp_path / "bad.crt")
    with pytest.raises(RegistryError, match=r"the certificate .*bad\.crt cannot be used"):
        client_for(environ).tags(f"{secured[0].host}/app")


@pytest.mark.parametrize(
    ("registry", "local"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.9.9.9:1", True),
        ("[::1]:5000", True),
        ("[::1]", True),
        ("localhost.example.com", False),
        ("10.0.0.1:5000", False),
        ("docker.io", False),
    ],
)
def test_only_this_machine_may_speak_plainly(registry: str, local: bool) -> None:
    assert is_loopback(registry) is local


def test_a_machine_that_speaks_plainly_is_not_spoken_to(
    tokens: FakeRegistry, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgmake.registry.endpoints.is_loopback", lambda registry: False)
    with pytest.raises(RegistryError, match="does not answer: it speaks plain HTTP, not HTTPS") as caught:
        client_for(environ).tags(f"{tokens.host}/app")
    assert f'"insecure-registries": ["{tokens.host}"]' in caught.value.hint
    assert tokens.requests == []


def test_other_machines_are_always_spoken_to_over_tls(environ: dict[str, str]) -> None:
    endpoints = Endpoints(environ)
    assert endpoints.base("reg.example:80") == "https://reg.example:80"
    assert endpoints.base("docker.io") == "https://registry-1.docker.io"


@pytest.mark.parametrize(
    ("listed", "registry", "plain"),
    [
        ("reg.invalid:5000", "reg.invalid:5000", True),
        ("reg.invalid:5000", "reg.invalid", False),
        ("192.0.2.0/24", "192.0.2.7:5000", True),
        ("192.0.2.0/24", "192.0.3.7:5000", False),
    ],
)
def test_what_the_daemon_may_speak_to_plainly_we_may(
    listed: str, registry: str, plain: bool, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)  # nobody speaks TLS there
    (tmp_path / ".config/docker").mkdir(parents=True)
    (tmp_path / ".config/docker/daemon.json").write_text(json.dumps({"insecure-registries": [listed]}))
    assert Endpoints(environ).base(registry) == f"{'http' if plain else 'https'}://{registry}"


@pytest.mark.parametrize(
    ("variables", "url", "proxies"),
    [
        ({"HTTPS_PROXY": "http://p:1"}, "https://reg.example/v2/", {"https": "http://p:1"}),
        ({"https_proxy": "http://p:1"}, "https://reg.example/v2/", {"https": "http://p:1"}),
        ({"HTTP_PROXY": "http://p:1"}, "https://reg.example/v2/", {}),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example"}, "https://reg.example/v2/", {}),
        ({"HTTPS_PROXY": "http://p:1"}, "https://127.0.0.1:5000/v2/", {}),
        ({"ALL_PROXY": "http://p:1"}, "https://reg.example/v2/", {"https": "http://p:1"}),
    ],
)
def test_proxies_come_from_the_environment(variables: dict[str, str], url: str, proxies: dict[str, str]) -> None:
    assert Endpoints(variables).proxies(url) == proxies
