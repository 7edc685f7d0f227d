"""The fakes are what the ports say, and behave as the world does where tests lean on it."""

from __future__ import annotations

import io
from contextlib import nullcontext
from pathlib import Path

import pytest

from imgmake import ports
from imgmake.errors import EngineError, RegistryError, SourceError, TagMoved
from imgmake.model import Field, Outcome, Reason, State, Verdict
from imgmake.ports import Artifact, BuildRequest, Cancel, ContainerSpec, Record
from tests.fakes import FakeEngine, MemorySources, MemoryState, Ran, RecordingOutput, RecordingReporter, World


def request(text: str = "FROM scratch", **arguments: str) -> BuildRequest:
    return BuildRequest(
        context=lambda: nullcontext(io.BytesIO(b"tar")),
        context_dir=".",
        dockerfile=text,
        dockerfile_name="Dockerfile",
        stage=None,
        build_args=arguments,
        platform=None,
        labels={},
        secrets={},
        contexts={},
        options=(),
    )


def test_every_fake_implements_its_port() -> None:
    """mypy is the judge of the assignments; running them shows that none is abstract."""
    world = World()
    clock: ports.Clock = world.clock
    sources: ports.Sources = world.sources
    git: ports.Git = world.git
    state: ports.StateStore = world.state
    shell: ports.Shell = world.shell
    engine: ports.Engine = world.engine
    builder: ports.Builder = world.builder
    registry: ports.Registry = world.registry
    reporter: ports.Reporter = world.reporter
    output: ports.Output = RecordingOutput()
    assert (clock.now(), sources.root, git.dirty(), state.read_only) == (
        1_562_106_979.0,
        Path("/repository"),
        False,
        False,
    )
    assert (shell.capture(["x"], cwd=Path(), env={})[0], engine.info().platform) == (127, "linux/amd64")
    assert (builder.family, registry.resolve("a"), reporter.output("t").tty, output.tty) == (
        "buildkit",
        None,
        False,
        False,
    )


def test_sources_log_each_access_and_keep_time() -> None:
    files = MemorySources({"src/a.c": "a", "src/.b": "b", "Dockerfile": "FROM scratch"})
    before = files.stat("src/a.c")
    files.tick(2)
    files.write("src/a.c", "aa")
    after = files.stat("src/a.c")
    assert before is not None
    assert after is not None
    assert (after.mtime_ns - before.mtime_ns, after.size) == (2_000_000_000, 2)
    assert (files.glob("**"), files.tree("src")) == (("Dockerfile", "src/a.c"), ("src/.b", "src/a.c"))
    assert files.log == [("stat", "src/a.c"), ("stat", "src/a.c"), ("glob", "**"), ("tree", "src")]


def test_sources_digest_content_not_time() -> None:
    files = MemorySources({"src/a": "1"})
    file, folder = files.digest("src/a"), files.digest("src")
    files.tick()
    files.touch("src/a")
    assert (files.digest("src/a"), files.digest("src")) == (file, folder)
    files.chmod("src/a", 0o755)
    assert (files.digest("src/a"), files.digest("src") == folder) == (file, False)


def test_sources_follow_links_and_refuse_what_is_no_file() -> None:
    files = MemorySources({"real/a": "1"})
    files.symlink("link", "real/a")
    files.symlink("loop", "loop")
    files.fifo("pipe")
    assert files.digest("link") == files.digest("real/a")
    for path in ("loop", "pipe", "none"):
        with pytest.raises(SourceError, match=path):
            files.digest(path)


def test_state_keeps_records_and_forgets_what_was_begun() -> None:
    state = MemoryState()
    record = Record((Field("file", "a", "1"),), time=1.0)
    state.commit("t", record)
    assert state.record("t") == record
    state.begin("t")
    assert (state.record("t"), state.unfinished("t")) == (None, True)
    state.abandon("t")
    assert (state.record("t"), state.unfinished("t")) == (None, False)


def test_a_read_only_state_takes_no_write() -> None:
    with pytest.raises(AssertionError, match="begin"):
        MemoryState(read_only=True).begin("t")


def test_shell_runs_what_was_scripted() -> None:
    world = World()

    def make(command: Ran, output: ports.Output) -> int:
        world.sources.write("out", "made")
        return 0

    world.shell.on("cc", make).on("fail", 3).on("echo", b"hi")
    output = RecordingOutput()
    codes = [
        world.shell.run([word], cwd=Path(), env={}, output=output, cancel=Cancel())
        for word in ("cc", "fail", "echo", "other")
    ]
    assert (codes, output.data, world.sources.content("out")) == ([0, 3, 0, 0], b"hi", b"made")
    assert world.shell.lines == ["cc", "fail", "echo", "other"]


def test_engine_moves_tags_and_relabels_without_new_layers() -> None:
    engine = FakeEngine()
    first = engine.commit_image("app", labels={"a": "1"}, layers=["l1"])
    second = engine.relabel(first, labels={"b": "2"}, remove=["a"])
    assert (second.labels, second.layers, second.id == first.id) == ({"b": "2"}, first.layers, False)
    engine.tag(second.id, "app:latest")
    found = engine.image("app")
    assert found is not None
    assert (found.id, found.tags) == (second.id, ("app:latest",))
    engine.remove(first.id)
    assert (engine.image(first.id), [i.id for i in engine.images(["app"])]) == (None, [second.id])
    engine.untag("app")
    with pytest.raises(EngineError, match="no such image"):
        engine.untag("app")


def test_engine_pulls_and_runs_what_was_scripted() -> None:
    engine = FakeEngine()
    engine.upstream["debian:12"] = FakeEngine().commit_image(layers=["d"])
    pulled = engine.pull("debian:12", platform=None, output=RecordingOutput(), cancel=Cancel())
    assert pulled.tags == ("debian:12",)
    engine.run_effect = lambda spec, output: len(spec.command)
    assert engine.run(ContainerSpec("x", ("a", "b")), output=RecordingOutput(), cancel=Cancel()) == 2


def test_builder_makes_equal_content_for_equal_requests() -> None:
    world = World()
    output, cancel = RecordingOutput(), Cancel()
    same = {world.builder.build(request(), output=output, cancel=cancel) for _ in range(2)}
    other = world.builder.build(request(VERSION="2"), output=output, cancel=cancel)
    assert (len(same), other in same, len(world.builder.requests)) == (1, False, 3)


def test_registry_holds_what_was_pushed() -> None:
    world = World()
    image = world.engine.commit_image("app:1")
    pushed = world.registry.put([image], "r.example/app:1", "r.example/app:2")
    held = world.registry.resolve("r.example/app:1")
    assert held is not None
    assert (held.digest, held.images[0].id, world.registry.tags("r.example/app")) == (pushed, image.id, ("1", "2"))
    world.registry.refuses.add("r.example/app:3")
    with pytest.raises(RegistryError, match="denied"):
        world.registry.set_tag("r.example/app:3", pushed, before=None)


def test_registry_sets_tags_only_on_what_was_sent_and_from_what_was_expected() -> None:
    world = World()
    image = world.engine.commit_image("app:1")
    sent = world.registry.send(world.engine, [image], ["r.example/app"], output=RecordingOutput())
    assert world.registry.tags("r.example/app") == ()
    assert world.registry.set_tag("r.example/app:1", sent, before=None)
    assert not world.registry.set_tag("r.example/app:1", sent, before=None)
    with pytest.raises(RegistryError, match="has no manifest"):
        world.registry.set_tag("r.example/other:1", sent, before=None)
    with pytest.raises(TagMoved):
        world.registry.remove_tag("r.example/app:1", holds="sha256:other")
    assert world.registry.remove_tag("r.example/app:1", holds=sent)
    assert world.registry.digest("r.example/app:1") is None
    assert world.registry.digest(f"r.example/app@{sent}") == sent


def test_registry_keeps_what_refers_to_a_manifest_and_copies_it_when_asked() -> None:
    world = World()
    registry, output = world.registry, RecordingOutput()
    image = world.engine.commit_image("app:1")
    sent = registry.send(world.engine, [image], ["a.example/app"], output=output)
    sbom = Artifact("application/spdx+json", b"{}", {"k": "v"})
    assert registry.attach("a.example/app", sent, sbom) == registry.attach("a.example/app", sent, sbom)
    source = registry.resolve(f"a.example/app@{sent}")
    assert source is not None
    registry.copy(source, ["b.example/app"], output=output)
    assert registry.referrers("b.example/app", sent) == ()
    registry.copy(source, ["b.example/app"], referrers=True, output=output)
    [referrer] = registry.referrers("b.example/app", sent)
    assert (referrer.artifact_type, referrer.annotations) == ("application/spdx+json", {"k": "v"})
    assert registry.artifact("b.example/app", referrer) == sbom


def test_reporter_tells_a_run_as_a_list() -> None:
    reporter = RecordingReporter()
    stale = Verdict((Reason("a changed"),))
    reporter.started("t", stale)
    reporter.finished(Outcome("t", State.DONE, stale))
    assert (reporter.ran, reporter.states, reporter.reasons("t")) == (["t"], {"t": State.DONE}, [Reason("a changed")])
