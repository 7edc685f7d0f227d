"""What consumers find in registries after real runs: indexes, promotions, versions, stages, refusals, and no secret.

Two real registries for all of it, one of them with a password and TLS. What each kind of tag promises, and that the
plan is what happens, is in `test_publishing`; connections that break are in `test_publish_faults`.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, quote_plus, unquote

import pytest

from imgmake.ports import Engine
from imgmake.registry import RegistryClient
from tests.e2e.kit import Repo, repository
from tests.fake_registry import Exporter
from tests.fakes import RecordingOutput
from tests.proxy import Fault, Script, proxy
from tests.proxy import Request as Seen
from tests.registries import PASSWORD, USER, RealRegistry, Request, real_registry

AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent"}
DOCKERFILE = 'FROM scratch\nCOPY base.txt /\nCOPY app.txt /\nCMD ["/app.txt"]\n'

# --- the stage ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """Two registries, and repositories that publish to them."""

    plain: RealRegistry
    secured: RealRegistry
    home: Path
    env: Mapping[str, str]

    def repo(self, name: str, pipefile: str, dockerfile: str = DOCKERFILE) -> Repo:
        """A repository of which nothing is known to the engine: images are called after it."""
        called = f"{name}-{self.home.parent.name}"  # tests of another session may use the same engine
        names = {"PLAIN": self.plain.host, "SECURED": self.secured.host, "NAME": called}
        text = re.sub("|".join(names), lambda found: names[found[0]], pipefile)
        repo = repository(self.home / name, env=self.env)
        repo.write("Pipefile.py", f"from imgmake import *\n{text}")
        repo.write("Dockerfile", dockerfile)
        for file in ("base.txt", "app.txt"):
            repo.write(file, f"{file} of {name}\n")
        repo.commit()
        return repo

    @contextlib.contextmanager
    def client(self) -> Iterator[RegistryClient]:
        with contextlib.closing(RegistryClient(self.env)) as client:
            yield client

    def held(self, *repositories: str) -> dict[str, str]:
        """Every tag of these repositories, with its digest."""
        with self.client() as client:
            return {f"{at}:{tag}": client.digest(f"{at}:{tag}") or "" for at in repositories for tag in client.tags(at)}

    def log(self) -> Log:
        return Log({one: len(one.requests()) for one in (self.plain, self.secured)})


@dataclass(frozen=True)
class Log:
    """What registries were asked since it was made."""

    start: Mapping[RealRegistry, int]

    def of(self, registry: RealRegistry) -> list[Request]:
        return registry.requests()[self.start[registry] :]

    def writes(self, *registries: RealRegistry) -> list[Request]:
        found = [one for registry in registries or self.start for one in self.of(registry)]
        return [one for one in found if one.method not in {"GET", "HEAD"}]

    def read(self, registry: RealRegistry) -> set[str]:
        """The blobs that were fetched, by digest."""
        paths = [one.path.rpartition("/blobs/") for one in self.of(registry) if one.method == "GET"]
        return {digest for _, blobs, digest in paths if blobs}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, engine_host: str, tools: dict[str, str]) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("published")
    with real_registry(home / "plain") as plain, real_registry(home / "secured", secured=True) as secured:
        config = docker_config(home / "docker", auths={secured.host: {"auth": AUTH}})
        env = {**tools, "DOCKER_CONFIG": str(config), "SSL_CERT_FILE": str(secured.ca), "HOME": str(home / "user")}
        yield Site(plain, secured, home, env)


def docker_config(folder: Path, **config: Any) -> Path:
    """As ``docker login`` leaves it; with the plugins of the docker CLI that the tests use."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    plugins = Path(os.environ["DOCKER_CONFIG"], "cli-plugins")
    if plugins.is_dir():
        (folder / "cli-plugins").symlink_to(plugins)
    return folder


def verified(repo: Repo, reference: str, code: int = 0) -> dict[str, Any]:
    (told,) = json.loads(repo.imgmake("--json", "--verify", reference, code=code).out)
    return cast(dict[str, Any], told)


# --- an index -------------------------------------------------------------------------------------------------

INDEX = """
VERSION, FROM = var("VERSION", "1.2.3"), var("FROM", "PLAIN")
app = image("app", tags=f"NAME:{BUILD_ID}", platforms=("linux/amd64", "linux/arm64"))
check("image-tests", structure_test(app, "tests.yaml"))
publish("publish", image=app, to=["PLAIN/index/app", "SECURED/index/app"], tags=[BUILD_ID, "edge"])
publish("promote", image=f"{FROM}/index/app:edge", to="SECURED/released/app", tags=[VERSION, "stable"],
        requires=["image-tests"])
"""
TESTS = "schemaVersion: 2.0.0\nfileExistenceTests: [{name: app, path: /app.txt}]\n"


def test_an_index_is_published_and_promoted_as_one_with_all_that_refers_to_it(site: Site) -> None:
    # Without a date of its own, each commit dates its layers, and shares none with another.
    repo = site.repo("index", INDEX)
    repo = Repo(repo.path, {**repo.env, "SOURCE_DATE_EPOCH": "1700000000"})
    repo.write("tests.yaml", TESTS)
    repo.commit()
    source, target = f"{site.plain.host}/index/app", f"{site.secured.host}/released/app"
    repo.imgmake("publish", "BUILD_ID=b1")
    first = site.held(source, f"{site.secured.host}/index/app")
    assert len(first) == 4
    (digest,) = set(first.values())
    told = verified(repo, f"{source}:edge")
    assert (told["verdict"], told["platforms"]) == ("consistent", ["linux/amd64", "linux/arm64"])
    assert told["origin"]["revision"] == repo.run("git", "rev-parse", "HEAD").out.strip()
    assert all(digests(site, source, digest) <= subjects for subjects in statements(site, source, digest))

    nowhere = Repo(repo.path, {**repo.env, **NO_ENGINE})
    nowhere.imgmake("promote")
    assert site.held(target) == {f"{target}:1.2.3": digest, f"{target}:stable": digest}
    assert len(statements(site, target, digest)) == 2, "the result of the check, and the provenance"
    assert verified(nowhere, f"{target}:stable")["results"][0]["check"] == "image-tests"
    log = site.log()
    assert nowhere.told("promote").done == set()
    assert log.writes() == []

    repo.write("app.txt", "better\n")
    repo.commit()
    repo.imgmake("publish", "BUILD_ID=b2")
    second = site.held(source)[f"{source}:edge"]
    _promote_while_the_tag_moves(site, nowhere, {"from": second, "to": digest})
    assert site.held(target) == {f"{target}:1.2.3": digest, f"{target}:1.2.4": second, f"{target}:stable": second}
    assert site.held(source)[f"{source}:edge"] == digest
    assert "never moves back" in nowhere.imgmake("promote", "VERSION=1.2.5", code=2).err


def _promote_while_the_tag_moves(site: Site, repo: Repo, move: Mapping[str, str]) -> None:
    """Somebody moves it once it was read; and layers that the target has are neither fetched nor sent."""
    source, moved = f"{site.plain.host}/index/app", threading.Event()

    def steal() -> None:
        if not moved.is_set():
            moved.set()
            with site.client() as client:
                client.set_tag(f"{source}:edge", move["to"], before=move["from"])

    def fault(request: Seen) -> Fault | None:
        return Fault(call=steal) if "/manifests/edge" in request.path else None

    log, script = site.log(), Script()
    script.begin(fault)
    with proxy(site.plain, script) as host:
        repo.imgmake("promote", "VERSION=1.2.4", f"FROM={host}")
    assert moved.is_set()
    old, new = layers(site, source, move["to"]), layers(site, source, move["from"])
    assert (len(old), len(new), len(old & new)) == (2, 2, 1)
    assert log.read(site.plain) & (old | new) == new - old
    sent = {digest for one in log.writes(site.secured) for digest in re.findall("digest=(.*)", unquote(one.path))}
    assert sent & (old | new) == new - old


def statements(site: Site, at: str, digest: str) -> list[set[str]]:
    """Which digests each statement that refers to the index is about."""
    with site.client() as client:
        found = [json.loads(client.artifact(at, one).data) for one in client.referrers(at, digest)]
    return [{f"sha256:{subject['digest']['sha256']}" for subject in one["subject"]} for one in found]


def digests(site: Site, at: str, digest: str) -> set[str]:
    """Those of an index and of its manifests."""
    return {digest, *(one["digest"] for one in manifest(site, f"{at}@{digest}")["manifests"])}


def layers(site: Site, at: str, digest: str) -> set[str]:
    held = [manifest(site, f"{at}@{one['digest']}") for one in manifest(site, f"{at}@{digest}")["manifests"]]
    return {layer["digest"] for one in held for layer in one["layers"]}


def manifest(site: Site, reference: str) -> dict[str, Any]:
    from imgmake.references import parse

    name = parse(reference)
    with site.client() as client:
        found = client.repository(name).get_manifest(name.digest or name.tag)
    assert found is not None
    return cast(dict[str, Any], found.content)


# --- versions -------------------------------------------------------------------------------------------------

RELEASE = """
VERSION = var("VERSION")
app = image("app", tags=f"NAME:{BUILD_ID}")
publish("publish", image=app, to=["PLAIN/versions", "SECURED/versions"], tags=semver(VERSION))
"""
SHARED = {  # what is published -> which tags hold it then, where nothing was before
    "1.2.3": "1.2.3 1.2 1 latest",
    "1.2.4": "1.2.4 1.2 1 latest",
    "1.3.0": "1.3.0 1.3 1 latest",
    "2.0.0-rc.1": "2.0.0-rc.1",
    "1.2.5": "1.2.5 1.2",
    "2.0.0": "2.0.0 2.0 2 latest",
}
BEHIND = {  # and where 1.9.0 was
    **SHARED,
    "1.2.3": "1.2.3 1.2",
    "1.2.4": "1.2.4 1.2",
    "1.3.0": "1.3.0 1.3",
}
ROW = re.compile(r"^  (create|move|leave)\s+(\S+)")


def test_versions_move_the_tags_that_are_theirs_in_each_registry(site: Site) -> None:
    repo = site.repo("versions", RELEASE)
    here, there = f"{site.plain.host}/versions", f"{site.secured.host}/versions"
    wanted = {f"{there}:{tag}": give(site, there, "1.9.0") for tag in ("1.9.0", "1.9", "1", "latest")}
    for version, tags in SHARED.items():
        repo.write("app.txt", version)
        repo.commit()
        planned = table(repo.imgmake("--plan", "publish", f"VERSION={version}").out)
        before = site.held(here, there)
        repo.imgmake("publish", f"VERSION={version}")
        after = site.held(here, there)
        changed = {f"{here}:{tag}" for tag in tags.split()}
        changed |= {f"{there}:{tag}" for tag in BEHIND[version].split()}
        wanted |= dict.fromkeys(changed, after[f"{here}:{version}"])
        assert after == wanted, version
        actions = {ref: "leave" if ref not in changed else "move" if ref in before else "create" for ref in planned}
        assert planned == actions
        assert changed <= planned.keys()
    assert len(set(wanted.values())) == len(SHARED) + 1
    repo.write("app.txt", "another 1.2.3")
    repo.commit()
    log = site.log()
    told = repo.imgmake("publish", "VERSION=1.2.3", code=2)
    assert f"{here}:1.2.3 holds another image, and a version never moves" in told.err
    assert f"{there}:1.2.3" in told.err
    assert (log.writes(), site.held(here, there)) == ([], wanted)


def table(printed: str) -> dict[str, str]:
    """What becomes of each tag, as the plan prints it."""
    found, at = {}, ""
    for line in printed.splitlines():
        if (row := ROW.match(line)) and at:
            found[f"{at}:{row[2]}"] = row[1]
        elif line and not line.startswith(" "):
            at = line.partition(" ")[0]
    return found


def give(site: Site, at: str, version: str) -> str:
    """A version that somebody else published, with the tags that follow it."""
    engine = Exporter()
    with site.client() as client:
        digest = client.send(cast(Engine, engine), [engine.image(version)], [at], output=RecordingOutput())
        for tag in (version, version[:3], version[:1], "latest"):
            if client.digest(f"{at}:{tag}") is None:
                client.set_tag(f"{at}:{tag}", digest, before=None)
    return digest


# --- an application, and a configuration for each stage ---------------------------------------------------------

STAGES = """
app = image("app", tags=f"NAME:{BUILD_ID}")
publish("publish/app", image=app, to=["PLAIN/shop", "SECURED/team/shop"], tags=BUILD_ID)
for stage in ("dev", "stage", "prod"):
    config = image(f"config/{stage}", tags=f"NAME-config:{BUILD_ID}-{stage}", dockerfile="config.df",
                   build_args={"STAGE": stage})
    shop = run(app, mounts={config: "/config"})
    check(f"smoke/{stage}", run("BASE", ["sh", "-c", f"busybox wget -qO- http://shop:8080/stage | grep -x {stage}"],
                                services={"shop": shop}))
    publish(f"publish/{stage}", image=config, to=["PLAIN/shop-config", "SECURED/team/shop-config"],
            tags=f"{BUILD_ID}-{stage}")
phony("publish", "publish/*")
"""
SHOP = """FROM BASE AS base
FROM scratch
COPY --from=base /bin/busybox /busybox
EXPOSE 8080
CMD ["/busybox", "httpd", "-f", "-p", "8080", "-h", "/config"]
"""


def test_an_application_and_its_configurations_are_published_as_one_when_all_of_them_work(
    site: Site, base_image: str
) -> None:
    repo = site.repo("stages", STAGES.replace("BASE", base_image), SHOP.replace("BASE", base_image))
    repo.write("config.df", "FROM scratch\nARG STAGE\nCOPY config/$STAGE /stage\n")
    for stage in ("dev", "stage", "prod"):
        repo.write(f"config/{stage}", f"{stage}\n" if stage != "prod" else "dev\n")
    repo.commit()
    at = [f"{host}{name}" for host in (f"{site.plain.host}/", f"{site.secured.host}/team/") for name in SHOPS]
    failed = repo.told("-k", "publish", "BUILD_ID=b1", code=2)
    assert failed.ended("failed") == {"smoke/prod"}
    assert site.held(*at) == {}

    repo.write("config/prod", "prod\n")
    repo.commit()
    log = site.log()
    ran = repo.told("publish", "BUILD_ID=b2")
    assert {"publish/app", "publish/dev", "publish/stage", "publish/prod"} <= ran.done
    tags = ("b2", "b2-dev", "b2-prod", "b2-stage")
    assert sorted(site.held(*at)) == sorted(
        f"{name}:{tag}" for name in at for tag in tags if ("-c" in name) == ("-" in tag)
    )
    for registry in (site.plain, site.secured):
        kinds = [sets_tag(one) for one in log.writes(registry)]
        assert kinds == sorted(kinds), "all is sent before the first tag is set"
        assert kinds.count(True) == 4

    log = site.log()
    assert repo.told("publish").done == set()
    repo.run("git", "clone", "--quiet", str(repo.path), str(site.home / "clone"))
    clone = Repo(site.home / "clone", {**repo.env, **NO_ENGINE, "HOME": str(site.home / "nobody")})
    assert clone.told("publish").done == set()
    assert log.writes() == []


SHOPS = ("shop", "shop-config")


def sets_tag(request: Request) -> bool:
    """Whether it sets a tag of an image: one made of a digest lists what refers to an image."""
    return request.method == "PUT" and "/manifests/" in request.path and "/manifests/sha256" not in request.path


# --- commits --------------------------------------------------------------------------------------------------

DELIVERY = """
app = image("app", tags=f"NAME:{BUILD_ID}")
publish("publish", image=app, to=["PLAIN/delivery", "SECURED/delivery"], tags=[BUILD_ID, "latest"])
"""


def test_a_commit_is_published_from_a_dirty_tree_and_goes_back_only_when_allowed(site: Site) -> None:
    repo = site.repo("delivery", DELIVERY)
    here, there = f"{site.plain.host}/delivery", f"{site.secured.host}/delivery"
    repo.run("git", "tag", "v1")
    first = repo.run("git", "rev-parse", "v1").out.strip()
    repo.write("app.txt", "second\n")
    second = repo.commit()
    repo.imgmake("publish")
    before = site.held(here, there)
    repo.write("app.txt", "dirty\n")
    repo.write("untracked.txt", "mine\n")
    status = repo.run("git", "status", "--porcelain").out

    log = site.log()
    refused = repo.imgmake("--commit", "v1", "publish", code=2)
    assert f"{here}:latest holds commit {second[:7]}, which comes after {first[:7]}: it never moves back" in refused.err
    assert f"{there}:latest" in refused.err
    assert (log.writes(), site.held(here, there)) == ([], before)

    repo.imgmake("--commit", "v1", "--allow-rollback", "publish")
    told = verified(repo, f"{there}:latest", code=1)
    assert told["lacks"] == ["nothing says that it passed a check"]
    assert (told["origin"]["revision"], told["origin"]["dirty"]) == (first, False)
    assert re.fullmatch(rf"\d{{8}}-\d{{6}}-{first[:7]}", told["origin"]["build_id"])
    assert (
        told["digest"] == site.held(here)[f"{here}:latest"] == site.held(here)[f"{here}:{told['origin']['build_id']}"]
    )
    assert (repo.path / "app.txt").read_text() == "dirty\n"
    assert repo.run("git", "status", "--porcelain").out == status
    assert len(repo.run("git", "worktree", "list").out.splitlines()) == 1

    repo.imgmake("publish", "--allow-dirty")
    told = verified(repo, f"{here}:latest", code=1)
    assert (told["origin"]["revision"], told["origin"]["dirty"]) == (second, True)
    assert told["origin"]["build_id"].endswith(f"-{second[:7]}-dirty")
    assert f"{there}:{told['origin']['build_id']}" in site.held(there)


# --- a registry that refuses ----------------------------------------------------------------------------------

REFUSED = """
TO = var("TO")
app = image("app", tags=f"NAME:{BUILD_ID}")
publish("publish", image=app, to=["PLAIN/refused", f"{TO}/refused"], tags=[BUILD_ID, "latest"])
"""


def test_what_one_registry_refuses_is_tagged_in_none(site: Site, tmp_path: Path) -> None:
    repo = site.repo("refused", REFUSED)
    script = Script()
    script.begin(lambda one: Fault("status", 403) if one.method not in ("GET", "HEAD") else None)
    wrong = base64.b64encode(f"{USER}:open barley".encode()).decode()
    mistaken = docker_config(tmp_path / "mistaken", auths={site.secured.host: {"auth": wrong}})
    with proxy(site.secured, script) as forbidding, real_registry(tmp_path / "ro", read_only=True) as fixed:
        login = docker_config(tmp_path / "login", auths={forbidding: {"auth": AUTH}})
        cases = [
            (forbidding, login, "403, no right to do this"),
            (fixed.host, login, "405, this cannot be done there"),
            (site.secured.host, mistaken, "401, the login is missing or wrong"),
        ]
        for host, config, cause in cases:
            repo.env = {**repo.env, "DOCKER_CONFIG": str(config)}
            told = repo.imgmake("publish", f"TO={host}", code=2)
            assert f"{host}/refused" in told.err, told.err
            assert cause in told.err, told.err
            assert "barley" not in told.out + told.err
            assert site.held(f"{site.plain.host}/refused") == {}, cause
        assert f"log in with: docker login {site.secured.host}" in told.err


# --- secrets --------------------------------------------------------------------------------------------------

HIDDEN = """
TOKEN = var("TOKEN", secret=True)
app = image("app", tags=f"NAME:{BUILD_ID}", secrets="id=token,env=TOKEN", labels={"com.example.remote": VCS_URL})
check("smoke", sh("test ${#TOKEN} = 13; echo token $TOKEN; sleep 0.2"), "app.txt", app)
check("image-tests", structure_test(app, "tests.yaml"))
publish("publish", image=app, to=["PLAIN/hidden", "SECURED/hidden"], tags=[BUILD_ID, "latest"])
publish("promote", image="SECURED/hidden:latest", to="PLAIN/promoted", tags="1", requires=["image-tests"])
check("fails", sh("echo $TOKEN; exit 3"), "app.txt")
"""
SEALED = """FROM BASE AS probe
RUN --mount=type=secret,id=token grep -qx "tok.*urs" /run/secrets/token && echo fine > /seen
FROM scratch
COPY --from=probe /seen /
COPY app.txt /
CMD ["/app.txt"]
"""
HELPER = f"""#!/bin/sh
cat > /dev/null
sleep 0.1
printf '{{"ServerURL": "x", "Username": "{USER}", "Secret": "{PASSWORD}"}}'
"""
BROKEN = "#!/bin/sh\necho h3lper-secret\necho h3lper-secret >&2\nexit 1\n"
TOKEN = "tok3n/of+ours"
PLANTED = (PASSWORD, TOKEN, "decoy passw0rd", "sw0rd-fish", "h3lper-secret")


class Sampler:
    """Reads the arguments of every process of the machine, over and over, until it is told to stop."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.005):
            for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
                with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
                    self.seen.add(file.read())


def test_no_secret_is_written_shown_or_given_to_a_process(site: Site, tmp_path: Path, base_image: str) -> None:
    """Everything that is told and everything that is left anywhere is searched, packed layers unpacked."""
    repo = site.repo("hidden", HIDDEN, SEALED.replace("BASE", base_image))
    repo.write("tests.yaml", TESTS)
    repo.run("git", "remote", "add", "origin", "https://alice:sw0rd-fish@example.com/shop.git")
    repo.commit()
    home = tmp_path / "home"
    config = _plant(site, home)
    env = {"HOME": str(home), "DOCKER_CONFIG": str(config.parent), "TMPDIR": str(home), "TOKEN": TOKEN}
    repo.env = {**repo.env, **env, "PATH": f"{home}/bin:{repo.env['PATH']}"}
    with Sampler() as sampler:
        told = [repo.imgmake(*words) for words in ASKED]
        for wrong in (_logins(site, "broken"), {"auths": {site.secured.host: {"auth": DECOY}}}):
            config.write_text(json.dumps(wrong))
            told += [repo.imgmake(*words, code=2) for words in FAILING]
    given = Repo(repo.path, {**repo.env, "TOKEN": ""})
    told += [given.imgmake("smoke", f"TOKEN={TOKEN}") for _ in range(2)]

    assert any(b"docker-credential-planted" in each for each in sampler.seen), "the sampler looks"
    assert any("token ***" in each.out for each in told), "what a recipe says is masked"
    assert any("401" in each.err for each in told)
    assert any("docker-credential-broken gave no credentials" in each.err for each in told)
    assert verified(repo, f"{site.plain.host}/promoted:1")["origin"]["source"] == "https://example.com/shop.git"
    texts = {f"what run {number} told": f"{each.out}\n{each.err}".encode() for number, each in enumerate(told)}
    texts |= {f"arguments {each!r}": each for each in sampler.seen}
    texts |= dict(left(home, repo.path, site.plain.log.parent, site.secured.log.parent))
    for wanted in (b"in-toto.io/Statement", b"com.example.remote", b"SQLite format 3"):
        assert any(wanted in text for text in texts.values()), "a statement, a configuration, the state"
    planted = [spelling.encode() for secret in PLANTED for spelling in spellings(secret)]
    assert {name: word for name, text in texts.items() for word in planted if word in text} == {}


ASKED = (
    ["--plan", "publish"],
    ["-n", "publish"],
    ["publish", "--trace"],
    ["--json", "-B", "publish"],
    ["promote"],
    ["--why", "publish"],
    ["--list"],
    ["--graph"],
    ["--json", "--plan", "promote"],
)
FAILING = (["publish"], ["--json", "promote"], ["fails"])
DECOY = base64.b64encode(f"{USER}:decoy passw0rd".encode()).decode()


def _plant(site: Site, home: Path) -> Path:
    """Helpers in ``bin``, and the configuration that names one of them; its path."""
    (home / "bin").mkdir(parents=True)
    for name, script in {"planted": HELPER, "broken": BROKEN}.items():
        program = home / "bin" / f"docker-credential-{name}"
        program.write_text(script)
        program.chmod(0o755)
    return docker_config(home / "docker", **_logins(site, "planted")) / "config.json"


def _logins(site: Site, helper: str) -> dict[str, Any]:
    """One registry's password is told by a helper, the other's is written down."""
    decoy = {"auth": DECOY, "identitytoken": "decoy passw0rd"}
    return {"auths": {site.plain.host: decoy}, "credHelpers": {site.secured.host: helper}}


def spellings(secret: str) -> set[str]:
    """As it may be found in a URL, in JSON, in a header."""
    pairs = [base64.b64encode(f"{user}:{secret}".encode()).decode() for user in (USER, "alice")]
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], *pairs}


def left(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """Every file but those in which the secrets were planted."""
    planted = {"config.json", "docker-credential-planted", "docker-credential-broken", "htpasswd"}
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        if path.name not in planted and path.parts[-2:] != (".git", "config"):
            data = path.read_bytes()
            yield str(path), gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
