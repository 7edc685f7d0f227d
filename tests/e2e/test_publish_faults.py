"""Publishing over a bad network: every request cut in turn, kills at every step; the registries hold all or nothing.

Two real registries (one with a password and TLS), each behind a proxy that does as it is told. The images are made by
hand, so that each of the few hundred publications takes a moment; the last tests are with an engine.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

import pytest

from imgmake.errors import ImgmakeError
from imgmake.executor.publication import Publication
from imgmake.freshness import short
from imgmake.ports import Damaged, Engine
from imgmake.registry import RegistryClient
from imgmake.state import FileJournal
from tests.e2e.kit import repository
from tests.fake_registry import Exporter
from tests.fakes import RecordingOutput
from tests.proxy import Fault, Request, Script, proxy
from tests.publisher import Publisher
from tests.registries import RealRegistry, real_registry
from tests.unit.runs import Ran

OLD, NEW = "old", "new"  # the BUILD_IDs
IMAGES = {"a": ("one", "two"), "b": ("one",), "c": ("two",)}  # and the registries that each goes to
TAGS = {"a": '[BUILD_ID, "latest"]', "b": "BUILD_ID", "c": '[BUILD_ID, "latest"]'}
CUTS = ("before", "body", "after", "answer")
ENDS = (*CUTS, "status")  # the last: 500 from then on

Tags = Mapping[str, str]  # "one/a:latest" -> digest

# --- the stage ------------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """Two registries behind proxies, and a repository with images of which only the old ones are published."""

    registries: Mapping[str, RealRegistry]
    hosts: Mapping[str, str]
    script: Script
    publisher: Publisher
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def space(self) -> str:
        """A part of both registries that holds what was published first, as files: faster than to publish it."""
        name = f"space{next(self._numbers)}"
        for registry in self.registries.values():
            kept = registry.log.parent / "data/docker/registry/v2/repositories"
            shutil.copytree(kept / "seed", kept / name)
        return name

    def publish(self, space: str, fault: Callable[[Request], Fault | None] = lambda _: None) -> Ran | ImgmakeError:
        """Publish the new images with this going wrong."""
        self.script.begin(fault)
        try:
            return self.publisher.run("push", overrides={"BUILD_ID": NEW, "SPACE": space})
        except ImgmakeError as error:
            return error
        finally:
            self.script.begin()

    def tags(self, space: str) -> Tags:
        """Every tag, read to the last byte of its image from what the registries keep: faster than to ask them."""
        found: dict[str, str] = {}
        for name, registry in self.registries.items():
            for image in (image for image, where in IMAGES.items() if name in where):
                kept = Kept(registry.log.parent / "data/docker/registry/v2", f"{space}/{image}")
                found |= {f"{name}/{image}:{tag}": kept.whole(tag) for tag in kept.tags()}
        # A list of referrers is under a tag made of its subject's digest; no rule asks for that.
        return {tag: digest for tag, digest in found.items() if ":sha256-" not in tag}

    def settle(self, space: str) -> None:
        """The next run makes it whole."""
        ran = self.publish(space)
        assert isinstance(ran, Ran), ran
        assert ran.failed == []
        assert is_new(self.tags(space))
        assert list(self.publisher.journal.unfinished()) == []


@dataclass(frozen=True)
class Kept:
    """One repository, as a registry keeps it in files."""

    root: Path
    name: str

    @property
    def _folder(self) -> Path:
        return self.root / "repositories" / self.name

    def tags(self) -> list[str]:
        return [path.name for path in (self._folder / "_manifests/tags").iterdir()]

    def whole(self, tag: str) -> str:
        """The digest of what a tag names, when all of it is there and is what its digest says."""
        digest = (self._folder / f"_manifests/tags/{tag}/current/link").read_text()
        self._read(digest)
        return digest

    def _read(self, digest: str) -> None:
        manifest = json.loads(self._blob("_manifests/revisions", digest))
        for part in manifest.get("manifests", ()):
            self._read(part["digest"])
        for part in [manifest["config"], *manifest["layers"]] if "layers" in manifest else ():
            assert len(self._blob("_layers", part["digest"])) == part["size"]

    def _blob(self, kind: str, digest: str) -> bytes:
        assert (self._folder / kind / digest.replace(":", "/") / "link").read_text() == digest
        hexadecimal = digest.removeprefix("sha256:")
        data = (self.root / f"blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data").read_bytes()
        assert hashlib.sha256(data).hexdigest() == hexadecimal
        return data


def is_old(tags: Tags) -> bool:
    return all(f":{NEW}" not in name for name in tags) and all(
        tags[f"{at}:latest"] == tags[f"{at}:{OLD}"] for at in LATEST
    )


def is_new(tags: Tags) -> bool:
    wanted = {f"{name}/{image}:{NEW}" for image, where in IMAGES.items() for name in where}
    return wanted <= tags.keys() and all(tags[f"{at}:latest"] == tags[f"{at}:{NEW}"] for at in LATEST)


LATEST = ("one/a", "two/a", "two/c")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    script = Script()
    with contextlib.ExitStack() as stack:
        # In memory: registries and journals sync each of a few thousand small files.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imgmake-", dir=memory)))
        one = stack.enter_context(real_registry(home / "one"))
        two = stack.enter_context(real_registry(home / "two", secured=True))
        # The system's authorities are a few hundred, and each run reads them anew.
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SSL_CERT_FILE", str(two.ca))
        patch.setenv("SSL_CERT_DIR", str(home))
        hosts = {"one": stack.enter_context(proxy(one, script)), "two": stack.enter_context(proxy(two, script))}
        publisher = Publisher(home / "repo")
        publisher.log_in(hosts["two"], two.host, ca=two.ca)
        found = Stage({"one": one, "two": two}, hosts, script, publisher)
        prepare(publisher, hosts)
        yield found


def prepare(publisher: Publisher, hosts: Mapping[str, str]) -> None:
    rules = ['SPACE = var("SPACE", "seed")']
    for name, where in IMAGES.items():
        to = [f"{hosts[each]}/${{SPACE}}/{name}" for each in where]
        rules.append(f'{name} = image("{name}", tags=f"{name}:{{BUILD_ID}}", dockerfile="{name}.df")')
        rules.append(f'publish("push/{name}", image={name}, to={to}, tags={TAGS[name]}, evidence={name == "a"})')
        publisher.put(f"{name}.df", f"FROM scratch\nCOPY {name}.txt /\n").put(f"{name}.txt", "old")
    publisher.pipefile("\n".join([*rules, 'phony("push", "push/*")', ""]))
    assert publisher.run("push", overrides={"BUILD_ID": OLD}).failed == []
    for name in IMAGES:
        publisher.put(f"{name}.txt", "new")
    assert publisher.run(*IMAGES, overrides={"BUILD_ID": NEW}).failed == []


@pytest.fixture(scope="module")
def requests(stage: Stage) -> list[Request]:
    """Those of a publication with which nothing goes wrong."""
    space = stage.space()
    asked: list[Request] = []
    ran = stage.publish(space, asked.append)
    assert isinstance(ran, Ran), ran
    assert ran.ran == ["push/a", "push/b", "push/c"]
    assert is_new(stage.tags(space))
    return asked


# --- requests -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", range(8))
def test_a_registry_that_is_gone_from_one_request_on(stage: Stage, requests: list[Request], part: int) -> None:
    """Each request in turn is the last that a registry hears, wholly or in part: no try is heard after it."""
    for last in range(1 + part, len(requests) + 3, 8):
        cut = ENDS[last // 8 % len(ENDS)]
        space = stage.space()
        ran = stage.publish(space, gone_from(last, cut))
        tags = stage.tags(space)
        told = f"request {last} of {len(requests)}, {requests[min(last, len(requests)) - 1]}, {cut}: {tags}"
        waits = stage.publisher.journal.unfinished()
        assert isinstance(ran, ImgmakeError) or ran.failed or is_new(tags), told
        assert is_old(tags) or is_new(tags) or waits, told
        if waits:
            assert isinstance(ran, Ran), told
            assert "tags are set" in str(ran.outcome(ran.failed[0]).error), told
        # What was sent before the first tag is only more that the next run finds there: now and then is enough.
        if waits or last % 5 == 0:
            stage.settle(space)


def gone_from(number: int, cut: str) -> Callable[[Request], Fault | None]:
    after = cut if cut == "status" else "before"

    def fault(request: Request) -> Fault | None:
        return None if request.number < number else Fault(cut if request.number == number else after)

    return fault


@pytest.mark.parametrize(
    "fault",
    [*(Fault(cut) for cut in CUTS), *(Fault("status", status) for status in (500, 503, 429))],
    ids=lambda fault: fault.kind + str(fault.status) * (fault.kind == "status"),
)
def test_what_fails_once_is_tried_again(stage: Stage, requests: list[Request], fault: Fault) -> None:
    """Every request fails the first time it is made."""
    seen: set[str] = set()

    def once(request: Request) -> Fault | None:
        what = f"{request.host} {request.method} {request.path.partition('?')[0].partition('/uploads/')[0]}"
        if what in seen:
            return None
        seen.add(what)
        return fault

    space = stage.space()
    ran = stage.publish(space, once)
    assert isinstance(ran, Ran), ran
    assert ran.ran == ["push/a", "push/b", "push/c"], [str(outcome.error) for outcome in ran.outcomes]
    assert is_new(stage.tags(space))


def test_a_registry_may_be_slow(stage: Stage) -> None:
    space = stage.space()
    ran = stage.publish(space, lambda request: Fault(seconds=0.01) if request.host == stage.hosts["two"] else None)
    assert isinstance(ran, Ran), ran
    assert ran.ran == ["push/a", "push/b", "push/c"]


@pytest.mark.parametrize(
    ("method", "kind"),
    [("GET", "/manifests/"), ("HEAD", "/manifests/"), ("PUT", "/manifests/"), ("HEAD", "/blobs/"), ("PUT", "/blobs/")],
)
def test_a_registry_that_lies_about_digests_is_not_believed(stage: Stage, method: str, kind: str) -> None:
    """Whatever it says of what was written: no tag names anything but an image that is whole."""
    writing: list[Request] = []

    def lie(request: Request) -> Fault | None:
        writing.extend([request] if request.method in ("PUT", "POST") else [])
        return Fault("lie") if writing and request.method == method and kind in request.path else None

    space = stage.space()
    ran = stage.publish(space, lie)
    tags = stage.tags(space)
    assert isinstance(ran, Ran), ran
    # What a PUT answers does not count: what was written is read. A lie in that is an error.
    assert bool(ran.failed) == (method != "PUT"), [str(outcome.error) for outcome in ran.outcomes]
    assert is_new(tags) if not ran.failed else is_old(tags) or stage.publisher.journal.unfinished()
    stage.settle(space)


def test_the_plan_is_what_happens(stage: Stage) -> None:
    space = stage.space()
    overrides = {"BUILD_ID": NEW, "SPACE": space}
    before = stage.tags(space)
    with stage.publisher.open(read_only=True, dry_run=True, overrides=overrides) as session:
        prospects = session.executor.prospects(session.goals(["push"]), lines=True)
    assert stage.tags(space) == before
    found = [p.publication for p in prospects if isinstance(p.publication, Publication)]
    planned = {change.reference: change.action for each in found for change in each.changes}
    ran = stage.publish(space)
    assert isinstance(ran, Ran)
    after = stage.tags(space)
    names = {f"{stage.hosts[name.partition('/')[0]]}/{space}/{name.partition('/')[2]}": name for name in after}
    happened = {
        reference: "create" if name not in before else "leave" if after[name] == before[name] else "move"
        for reference, name in names.items()
    }
    assert planned == {reference: action for reference, action in happened.items() if not reference.endswith(f":{OLD}")}
    assert "leave" not in planned.values()


# --- kills ----------------------------------------------------------------------------------------------------

# Not a plain fork: what parses Dockerfiles is in Go, whose runtime hangs sooner or later in the fork of a process that
# has it. The server that these children are forked from has imported everything else.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])


@dataclass
class Child:
    """A publication in a process of its own."""

    process: BaseProcess
    results: Connection

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def end(self) -> dict[str, Any] | None:
        """What became of each target; None when it was killed."""
        told: dict[str, Any] | None = None
        with self.results, contextlib.suppress(EOFError):
            told = self.results.recv()
        self.process.join()
        assert (self.process.exitcode == -signal.SIGKILL) == (told is None)
        return told


def start(publisher: Publisher, space: str, first: Callable[[], object] | None = None) -> Child:
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=_publish, args=(publisher, space, first, theirs), daemon=True)
    process.start()
    theirs.close()
    return Child(process, ours)


def _publish(publisher: Publisher, space: str, first: Callable[[], object] | None, results: Connection) -> None:
    assert "dockerfile" not in sys.modules
    if first is not None:
        first()
    try:
        ran = publisher.run("push", overrides={"BUILD_ID": NEW, "SPACE": space})
        results.send({each.target: [each.state.value, str(each.error or "")] for each in ran.outcomes})
    except ImgmakeError as error:
        results.send({"": ["raised", str(error)]})


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_killed_at_a_tag(stage: Stage, requests: list[Request], when: str) -> None:
    """At each tag in turn, just before its registry hears of it and just after."""
    for last in range(1, sum(request.sets_tag for request in requests) + 1):
        put: list[Request] = []
        children: list[Child] = []

        def fault(request: Request, last: int = last, put: list[Request] = put) -> Fault | None:
            put.extend([request] if request.sets_tag else [])
            kill = lambda: os.kill(children[0].pid, signal.SIGKILL)  # noqa: E731, B023
            return Fault(when, call=kill) if request.sets_tag and len(put) == last else None

        space = stage.space()
        stage.script.begin(fault)
        children.append(start(stage.publisher, space))
        assert children[0].end() is None
        stage.script.begin()
        tags = stage.tags(space)
        assert sum(f":{NEW}" in name for name in tags) == min(last - (when == "before"), 4)
        [found] = stage.publisher.journal.unfinished()
        assert not isinstance(found, Damaged)
        stage.settle(space)


class Killer:
    """Kills this process before or after a step of the journal: the first write, a mark after each tag, the end."""

    def __init__(self, step: int, *, after: bool) -> None:
        self._left = step
        self._after = after

    def __call__(self) -> None:
        for name in ("write", "remove"):
            setattr(FileJournal, name, self._around(getattr(FileJournal, name)))

    def _around(self, real: Callable[..., None]) -> Callable[..., None]:
        def step(*args: Any) -> None:
            self._left -= 1
            if self._left or self._after:
                real(*args)
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)

        return step


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_run_that_is_killed_at_a_step_of_the_journal(stage: Stage, requests: list[Request], after: bool) -> None:
    steps = sum(request.sets_tag for request in requests) + 2
    for step in range(1, steps + 1):
        space = stage.space()
        assert start(stage.publisher, space, Killer(step, after=after)).end() is None
        waits = bool(stage.publisher.journal.unfinished())
        tags = stage.tags(space)
        assert waits or is_old(tags) or is_new(tags)
        assert waits == ((step > 1 or after) and not (step == steps and after))
        stage.settle(space)


# --- two at once ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tags", ['"1.0.0"', '"latest"'], ids=["never moves", "moves"])
def test_of_two_publications_at_once_one_wins_and_the_other_says_so(stage: Stage, tmp_path: Path, tags: str) -> None:
    """Two clones with different images and one tag: both have sent their images when the first one writes."""
    clones = [Publisher(tmp_path / name / "repo", environ=stage.publisher.environ) for name in ("first", "second")]
    space = stage.space()
    for clone in clones:
        clone.pipefile(
            'app, space = image("app", tags=f"app:{BUILD_ID}"), var("SPACE", "seed")\n'
            f'publish("push", image=app, to=f"{stage.hosts["one"]}/{{space}}/a", tags={tags}, evidence=False)\n'
        )
        clone.put("Dockerfile", "FROM scratch\nCOPY text /\n").put("text", str(clone.path))
        clone.user_folder = tmp_path / "user"
        assert clone.run("app", overrides={"BUILD_ID": NEW}).failed == []
    sent = [(threading.Event(), threading.Event()) for _ in clones]  # sent by digest, and: go on
    left = iter(sent)

    def wait(request: Request) -> Fault | None:
        if request.method != "PUT" or "/manifests/sha256:" not in request.path:
            return None
        here, go = next(left)
        here.set()
        return Fault(call=lambda: go.wait(60))

    stage.script.begin(wait)
    children = []
    for clone, (here, _) in zip(clones, sent, strict=True):
        children.append(start(clone, space))
        assert here.wait(60), children[-1].end()
    ends = []
    for child, (_, go) in zip(children, sent, strict=True):
        go.set()
        ends.append(child.end())
    stage.script.begin()
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0]["push"] == ["done", ""]
    assert ends[1]["push"][0] == "failed"
    assert "was moved by another publish" in ends[1]["push"][1]
    assert "run imgmake again" in ends[1]["push"][1]


# --- somebody else --------------------------------------------------------------------------------------------

SIXTH = 6  # of seven tags: four that never move, then each `latest`, that of push/c last


def steal(stage: Stage, space: str) -> str:
    """Somebody moves the last tag of the publication to an image of his; its digest."""
    at, engine = f"{stage.hosts['two']}/{space}/c", Exporter()
    with contextlib.closing(RegistryClient(stage.publisher.environ)) as client:
        theirs = client.send(cast(Engine, engine), [engine.image("theirs")], [at], output=RecordingOutput())
        client.set_tag(f"{at}:latest", theirs, before=client.digest(f"{at}:latest"))
    return theirs


def at_sixth_tag(do: Callable[[], object]) -> Callable[[Request], Fault | None]:
    """Do something when the sixth tag is set, before that is answered."""
    put: list[Request] = []

    def fault(request: Request) -> Fault | None:
        put.extend([request] if request.sets_tag else [])
        return Fault(call=do) if request.sets_tag and len(put) == SIXTH else None

    return fault


def assert_undone(stage: Stage, space: str, before: Tags, theirs: str) -> None:
    """What moved is back, but for theirs; Debian's registry removes no tag, so new ones stay."""
    tags = stage.tags(space)
    assert {name: digest for name, digest in tags.items() if f":{NEW}" not in name} == {
        **before,
        "two/c:latest": theirs,
    }
    assert list(stage.publisher.journal.unfinished()) == []


def test_a_tag_that_somebody_moves_while_tags_are_set_undoes_what_was_set(stage: Stage) -> None:
    space, theirs = stage.space(), list[str]()
    before = stage.tags(space)
    ran = stage.publish(space, at_sixth_tag(lambda: theirs.append(steal(stage, space))))
    assert isinstance(ran, Ran), ran
    assert ran.failed == ["push/c"]
    at = f"{stage.hosts['two']}/{space}"
    assert f"{at}/c:latest was moved by another publish: it held {short(before['two/c:latest'])}" in ran.error_of(
        "push/c"
    )
    assert "; 2 tags set back, not removed, as their registries cannot: " in ran.error_of("push/c")
    assert f"{at}/c:{NEW}" in ran.error_of("push/c")
    assert_undone(stage, space, before, theirs[0])
    stage.settle(space)


def test_a_run_that_was_killed_is_undone_when_somebody_moved_a_tag_since(stage: Stage) -> None:
    space = stage.space()
    before = stage.tags(space)
    children: list[Child] = []
    stage.script.begin(at_sixth_tag(lambda: os.kill(children[0].pid, signal.SIGKILL)))
    children.append(start(stage.publisher, space))
    assert children[0].end() is None
    stage.script.begin()
    assert len(stage.publisher.journal.unfinished()) == 1
    theirs = steal(stage, space)
    ran = stage.publisher.run("push/b", overrides={"BUILD_ID": NEW, "SPACE": space})
    [told] = [event[1] for event in ran.reporter.events if event[0] == "warning"]
    assert told.startswith("undid the publication of push/a, push/b, push/c that was cut off at ")
    assert "/c:latest was moved by another publish" in told
    assert_undone(stage, space, before, theirs)
    stage.settle(space)


# --- with an engine -------------------------------------------------------------------------------------------

PIPEFILE = """\
from imgmake import *

app = image("app", tags=f"faults:{BUILD_ID}")
publish("publish", image=app, to="HOST/app", tags=["latest", BUILD_ID])
"""


def test_the_command_finishes_what_a_killed_one_began(engine_host: str, tools: dict[str, str], tmp_path: Path) -> None:
    script = Script()
    pid: list[int] = []

    def kill(request: Request) -> Fault | None:
        moves = request.sets_tag and request.path.endswith("/latest")
        return Fault("before", call=lambda: os.kill(pid[0], signal.SIGKILL)) if moves else None

    with real_registry(tmp_path / "registry") as registry, proxy(registry, script) as host:
        repo = repository(tmp_path / "repo", env={**tools, "XDG_STATE_HOME": str(tmp_path / "state")})
        repo.write("Pipefile.py", PIPEFILE.replace("HOST", host))
        repo.write("Dockerfile", "FROM scratch\nCOPY Pipefile.py /\n")
        repo.commit()
        script.begin(kill)
        command = [sys.executable, "-m", "imgmake", "publish", "BUILD_ID=one"]
        with subprocess.Popen(command, cwd=repo.path, env={**os.environ, **repo.env}) as process:
            pid.append(process.pid)
        assert process.returncode == -signal.SIGKILL
        script.begin()

        cut = "the publication of publish that was cut off at "
        assert f"publish  ({cut}" in repo.imgmake("-n", "publish", "BUILD_ID=one").out
        assert "is finished first: 1 of 2 tags are set" in repo.imgmake("--plan", "publish", "BUILD_ID=one").out
        damaged = tmp_path / "state/imgmake/damaged.json"
        damaged.write_text("?")
        for words in ("--plan", "-n"):  # as a run would
            told = repo.imgmake(words, "publish", "BUILD_ID=one", code=2)
            assert f"{damaged} tells of a publication that was cut off" in told.out + told.err
        damaged.unlink()
        repo.imgmake("-q", "publish", "BUILD_ID=one", code=1)
        assert "waits: 1 of 2 tags are set; `imgmake publish` finishes or undoes it" in repo.imgmake("app").out
        finished = repo.imgmake("publish", "BUILD_ID=one").out
        assert f"\nfinished {cut}" in finished
        assert "1 of its 2 tags was still to be set" in finished
        assert finished.endswith("imgmake: 'publish' is up to date.\n")
        kept = Kept(tmp_path / "registry/data/docker/registry/v2", "app")
        assert kept.whole("one") == kept.whole("latest")

        repo.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
        repo.commit()
        told = repo.imgmake("publish", "BUILD_ID=two")
        old, new = kept.whole("one"), kept.whole("latest")
        assert new == kept.whole("two")
        assert (
            f"tag {host}/app:two -> {short(new)}\ntag {host}/app:latest -> {short(new)} (was {short(old)})\n"
            in told.out
        )
        assert f"pushing {host}/app: " in told.out
