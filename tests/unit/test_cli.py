"""The command line: words to a request, a request to the right verb, errors to a message and an exit code."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake.__main__ import main as console_script
from imgmake.app import Options, Planned
from imgmake.attest.verification import Verification, Verified
from imgmake.cli import Streams, Verbs, main
from imgmake.cli.options import parse
from imgmake.cli.words import UNLIMITED, Request, normalise, split
from imgmake.errors import GraphError, ImgmakeError, Interrupted, Place, Problems, Refused, RegistryError, UsageError
from imgmake.model import Edge, Entry, Explanation, Kind, Outcome, Reason, State, Step, Verdict
from imgmake.ports import Reporter
from imgmake.tags import PlannedTags, TagAction, TagChange
from tests import forked

ROOT = Path(__file__).parents[2]
PLACE = Place("Pipefile.py", 3)
STALE = Verdict((Reason("a.c changed"),))


def understood(*words: str) -> Request:
    request = parse(words)
    assert isinstance(request, Request)
    return request


def asked(*words: str) -> dict[str, Any]:
    return dict(understood(*words).options)


# --- words ----------------------------------------------------------------------------------------------------


def test_every_bare_word_is_a_target_or_a_variable() -> None:
    options = asked("tag", "TAG=1.0=rc", "graph", "clean", "dist/a=b", "TAG=2.0", "E=")
    assert options["goals"] == ("tag", "graph", "clean", "dist/a=b")
    assert options["overrides"] == {"TAG": "2.0", "E": ""}


def test_options_stand_anywhere_and_share_a_dash() -> None:
    options = asked("all", "-kn", "BUILD_ID=x", "-W", "a.c", "--what-if", "b.c", "-ogen.h", "-B")
    assert (options["goals"], options["overrides"]) == (("all",), {"BUILD_ID": "x"})
    assert options["keep_going"]
    assert options["dry_run"]
    assert options["always_make"]
    assert (options["what_if"], options["old_file"]) == (("a.c", "b.c"), ("gen.h",))


def test_nothing_asked_is_nothing_set() -> None:
    request = understood()
    fields = {
        "goals": (),
        "overrides": {},
        "what_if": (),
        "old_file": (),
        "directory": Path(),
        "file": None,
        "jobs": None,
        "commit": None,
        "keep": 5,
        "migrate": None,
        "shim": None,
    }
    flags = ["dry_run", "question", "always_make", "keep_going", "silent", "trace", "start_engine", "yes"]
    flags += ["allow_rollback", "allow_dirty", "stdout", "check", "literal"]
    assert request == Request("build", {**fields, **dict.fromkeys(flags, False)})


def test_after_two_dashes_all_words_are_targets() -> None:
    assert asked("-n", "--", "-j", "--graph")["goals"] == ("-j", "--graph")


@pytest.mark.parametrize(
    ("words", "jobs", "goals"),
    [
        (["-j4", "all"], 4, ("all",)),
        (["-j", "4", "all"], 4, ("all",)),
        (["--jobs", "4"], 4, ()),
        (["--jobs=4"], 4, ()),
        (["-j", "all"], UNLIMITED, ("all",)),
        (["all", "-j"], UNLIMITED, ("all",)),
        (["--jobs", "all"], UNLIMITED, ("all",)),
        (["-kj", "all"], UNLIMITED, ("all",)),
        (["-kj3", "all"], 3, ("all",)),
        (["-Wj", "all"], None, ("all",)),
        (["all"], None, ("all",)),
    ],
)
def test_jobs_are_counted_as_in_make(words: list[str], jobs: int | None, goals: tuple[str, ...]) -> None:
    options = asked(*words)
    assert (options["jobs"], options["goals"]) == (jobs, goals)


def test_each_folder_starts_from_the_one_before() -> None:
    options = asked("-C", "a", "-C", "b", "-f", "other.py")
    assert (options["directory"], options["file"]) == (Path("a/b"), Path("other.py"))


@pytest.mark.parametrize(
    ("words", "verb", "goals"),
    [
        (["--why", "app"], "why", ("app",)),
        (["--why=app", "--why", "lint"], "why", ("app", "lint")),
        (["app", "--plan"], "plan", ("app",)),
        (["--list"], "list", ()),
        (["--clean", "app"], "clean", ("app",)),
        (["--clean=app"], "clean", ("app",)),
        (["--graph", "app"], "graph", ("app",)),
        (["--version"], "version", ()),
    ],
)
def test_questions_are_options(words: list[str], verb: str, goals: tuple[str, ...]) -> None:
    request = understood(*words)
    assert (request.verb, request.options["goals"]) == (verb, goals)


@pytest.mark.parametrize(
    ("words", "drawing"),
    [(["--graph"], "dot"), (["--graph", "svg"], "svg"), (["--graph=mermaid"], "mermaid"), (["--graph", "all"], "dot")],
)
def test_a_drawing_has_a_format(words: list[str], drawing: str) -> None:
    assert understood(*words).drawing == drawing


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--lst"], "no option --lst", "did you mean --list?"),
        (["--zzzzzz"], "no option --zzzzzz", "imgmake --help shows them"),
        (["-x"], "no option -x", "imgmake --help shows them"),
        (["-W"], "Option '-W' requires an argument.", "imgmake --help shows the options"),
        (["-j0"], "-j 0: at least one job is needed", "-j1 runs one job at a time"),
        (["--graph=png"], "--graph=png: no such drawing", "one of dot, mermaid, svg"),
        (["--list", "--why"], "--list and --why do not go together", "ask for one at a time"),
    ],
)
def test_a_mistake_is_told_with_the_way_out(words: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(words)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@given(st.lists(st.text(min_size=1).filter(lambda word: not word.startswith("-"))))
def test_bare_words_are_left_as_they_are(words: list[str]) -> None:
    assert normalise(words) == words
    goals, overrides = split(words)
    assert len(goals) + len(overrides) <= len(words)
    assert set(goals) | {f"{name}={value}" for name, value in overrides.items()} <= set(words)


# --- verbs ----------------------------------------------------------------------------------------------------


class Fake:
    """`app` as the command line sees it: remembers what it was asked, and answers what the test gave."""

    def __init__(self, run: Callable[[Reporter], int] = lambda reporter: 0) -> None:
        self.run = run
        self.asked: list[tuple[str, Options, Sequence[str]]] = []

    def build(self, options: Options, reporter: Reporter) -> int:
        self.asked.append(("build", options, ()))
        return self.run(reporter)

    def clean(self, options: Options, goals: Sequence[str], reporter: Reporter) -> int:
        self.asked.append(("clean", options, goals))
        return self.run(reporter)

    def collect(self, options: Options, agreed: Callable[[], bool], reporter: Reporter) -> int:
        self.asked.append((f"collect {agreed()}", options, ()))
        return 0

    def listing(self, options: Options) -> tuple[Entry, ...]:
        return (Entry("app", Kind.IMAGE, "The app.", PLACE, "stale"),)

    def why(self, options: Options, targets: Sequence[str]) -> tuple[Explanation, ...]:
        return tuple(Explanation(target, Kind.IMAGE, PLACE, STALE) for target in targets)

    def plan(self, options: Options) -> Planned:
        steps = (Step("app", Kind.IMAGE, STALE, ("docker build .",)),)
        if "push" not in options.goals:
            return Planned(steps)
        change = TagChange("r.test/app:1", TagAction.REFUSE, "sha256:" + "a" * 64, "", "holds another image")
        return Planned(
            steps, (PlannedTags("push", (change,)),), (Refused("r.test/app:1 holds another image", place=PLACE),)
        )

    def migrate(self, options: Options) -> tuple[str, int]:
        return f"{options.migrate}\n", 1

    def shim(self, options: Options) -> str:
        return f"{options.shim}\n"

    def verify(self, options: Options, references: Sequence[str]) -> Verified:
        lacks, there = ("nothing says that it passed a check",), [ref for ref in references if "absent" not in ref]
        found = tuple(Verification(ref, "sha256:1", ("linux/amd64",), 0.0, lacks=lacks) for ref in there)
        absent = (ref for ref in references if ref not in there)
        return Verified(found, tuple(RegistryError(f"there is no image {ref}") for ref in absent))

    def edges(self, options: Options) -> tuple[tuple[tuple[str, Kind], ...], tuple[Edge, ...]]:
        return (("app", Kind.IMAGE),), (Edge("app", "lint", "written"),)

    def svg(self, dot: str) -> str:
        return f"<svg>{len(dot)}</svg>\n"


def run(*words: str, verbs: Verbs | None = None) -> tuple[int, str, str]:
    streams = Streams(io.BytesIO(), io.BytesIO(), answers=False)
    code = main(words, verbs or Fake(), streams)
    assert isinstance(streams.out, io.BytesIO)
    assert isinstance(streams.err, io.BytesIO)
    return code, streams.out.getvalue().decode(), streams.err.getvalue().decode()


def raising(error: BaseException) -> Fake:
    def fail(reporter: Reporter) -> int:
        raise error

    return Fake(fail)


def test_a_run_hears_the_options_and_its_code_is_ours() -> None:
    verbs = Fake(lambda reporter: 1)
    assert run("-q", "app", "TAG=1", verbs=verbs) == (1, "", "")
    ((verb, options, _),) = verbs.asked
    assert (verb, options.goals, options.overrides, options.question) == ("build", ("app",), {"TAG": "1"}, True)
    assert options.environ["PATH"] == os.environ["PATH"]


def test_only_a_dry_run_is_told_as_a_script() -> None:
    def work(reporter: Reporter) -> int:
        reporter.note("said")
        return 0

    told = [run(*words, verbs=Fake(work))[1] for words in (["-n"], [], ["-n", "--clean"])]
    assert told == ["# said\n", "said\n", "said\n"]


def test_an_image_that_lacks_something_is_told_and_is_no_success() -> None:
    code, out, _ = run("--verify=shop:1", "shop:2")
    assert (code, out.count("missing")) == (1, 2)
    assert json.loads(run("--json", "--verify", "shop:1")[1])[0]["verdict"] == "incomplete"


def test_an_image_that_is_not_there_keeps_nothing_of_the_others_back() -> None:
    code, out, err = run("--verify", "absent:1", "shop:2")
    assert (code, out.count("missing"), err) == (2, 1, "imgmake: there is no image absent:1\n")
    code, out, err = run("--json", "--verify", "absent:1")
    assert (code, json.loads(out), err) == (2, [], "imgmake: there is no image absent:1\n")


def test_cleaning_is_told_which_targets() -> None:
    verbs = Fake()
    assert run("--clean", "app", verbs=verbs)[0] == 0
    assert [(verb, goals) for verb, _, goals in verbs.asked] == [("clean", ("app",))]


def test_nothing_is_collected_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    verbs = Fake()
    assert run("--gc", verbs=verbs) == (0, "--yes removes them\n", "")
    assert run("--gc", "--yes", "--keep", "3", verbs=verbs) == (0, "", "")
    for answer in ("y\n", "\n", ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        out = io.BytesIO()
        assert main(["--gc"], verbs, Streams(out, io.BytesIO(), answers=True)) == 0
        assert out.getvalue() == b"remove them? [y/N] "
    assert [verb for verb, _, _ in verbs.asked] == [f"collect {answer}" for answer in (False, True, True, False, False)]
    assert [options.keep for _, options, _ in verbs.asked] == [5, 3, 5, 5, 5]
    assert run("--gc", "--keep", "0")[0] == 2
    assert "takes no targets: app" in run("--gc", "--yes", "app")[2]  # it would remove builds of others, too


def test_a_program_is_not_asked_whether_to_collect_and_nobody_blindly() -> None:
    """With --json a plain line stood among the objects; with -s the question came without the list."""
    out = io.BytesIO()
    assert main(["--gc", "--json"], Fake(), Streams(out, io.BytesIO(), answers=True)) == 0
    assert json.loads(out.getvalue()) == {"event": "note", "text": "--yes removes them"}
    assert run("--gc", "-s") == (0, "--yes removes them\n", "")


def test_what_happens_is_reported() -> None:
    def work(reporter: Reporter) -> int:
        reporter.started("app", STALE)
        outcome = Outcome("app", State.DONE, STALE)
        reporter.finished(outcome)
        reporter.summary([outcome])
        return 0

    code, out, err = run("-j2", verbs=Fake(work))
    assert (code, out.splitlines()[0], err) == (0, "app  (a.c changed)", "")
    events = [json.loads(line)["event"] for line in run("--json", verbs=Fake(work))[1].splitlines()]
    assert events == ["started", "finished", "summary"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--list"], "app  image    stale       The app.\n"),
        (["--why", "app"], "app (image, Pipefile.py:3) is stale:\n  a.c changed\n"),
        (["--plan"], "app  (a.c changed)\n  docker build .\n"),
        (["--graph", "mermaid"], 'flowchart LR\n  n0[["app"]]\n  n1("lint")\n  n1 --> n0\n'),
    ],
)
def test_questions_are_answered_on_standard_output(words: list[str], said: str) -> None:
    assert run(*words) == (0, said, "")


def test_a_plan_that_is_refused_is_told_and_is_an_error() -> None:
    code, out, err = run("--plan", "push")
    assert (code, err) == (2, "")
    assert "refuse  1  aaaaaaaaaaaa" in out
    code, out, err = run("--plan", "push", "--json")
    told = json.loads(out)
    assert (code, err, told["errors"][0]["message"]) == (2, "", "r.test/app:1 holds another image")
    assert told["tags"] == [
        {
            "target": "push",
            "reference": "r.test/app:1",
            "action": "refuse",
            "before": "sha256:" + "a" * 64,
            "after": "",
            "why": "holds another image",
            "fixed": False,
            "hint": "",
            "in_registry": False,
        }
    ]


@pytest.mark.parametrize("words", [["--list"], ["--why", "app"], ["--plan"], ["--graph"]])
def test_every_question_can_be_answered_as_json(words: list[str]) -> None:
    code, out, _ = run(*words, "--json")
    assert code == 0
    assert "app" in json.dumps(json.loads(out))


def test_a_drawing_goes_through_graphviz() -> None:
    text = run("--graph", "dot")[1]
    assert text.startswith("digraph imgmake {")
    assert run("--graph", "svg")[1] == f"<svg>{len(text)}</svg>\n"


def test_help_is_grouped_and_short(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Usage: imgmake [OPTIONS] [TARGET | NAME=value]..."
    assert [line for line in lines if line.endswith(":") and not line.startswith(" ")] == [
        "What runs:",
        "Questions (nothing is built):",
        "Where, and how it is told:",
        "Other:",
    ]
    assert len(lines) < 52
    assert max(map(len, lines)) <= 80


# --- errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            Problems([GraphError("no rule makes 'al'", hint="did you mean 'all'?", place=PLACE), ImgmakeError("two")]),
            2,
            "imgmake: Pipefile.py:3: no rule makes 'al'\n  did you mean 'all'?\nimgmake: two\n",
        ),
        (Interrupted("stopped"), 130, "imgmake: stopped\n"),
        (KeyboardInterrupt(), 130, "imgmake: interrupted\n"),
    ],
)
def test_errors_become_a_message_and_an_exit_code(error: BaseException, code: int, said: str) -> None:
    assert run(verbs=raising(error)) == (code, "", said)


def test_a_program_hears_errors_as_events() -> None:
    code, out, err = run("--json", verbs=raising(GraphError("cycle: a -> a")))
    assert (code, json.loads(out), err) == (
        2,
        {"event": "error", "message": "cycle: a -> a"},
        "imgmake: cycle: a -> a\n",
    )


def test_a_defect_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, out, err = run(verbs=raising(ZeroDivisionError("odd")))
    assert (code, out) == (2, "")
    assert err.startswith("imgmake: this is a defect in imgmake, please report it: ZeroDivisionError: odd\n")
    assert len(err.splitlines()) == 2


# --- the real command -----------------------------------------------------------------------------------------


def command(*words: str, **environ: str) -> tuple[str, str]:
    """What it says on stdout and on stderr."""
    _, out, err = forked.run(words, cwd="/", env={**os.environ, **environ})
    assert b"Traceback" not in err
    return out.decode(), err.decode()


def test_an_interrupt_while_it_is_loaded_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C in the first tenths of a second showed a traceback out of an import."""

    def interrupted(words: list[str]) -> bytes | None:
        raise KeyboardInterrupt

    monkeypatch.setattr("imgmake.settled.answer", interrupted)
    assert console_script() == 130
    assert capfd.readouterr() == ("", "imgmake: interrupted\n")


def test_the_version_loads_nothing_heavy() -> None:
    out, err = command("--version", PYTHONPROFILEIMPORTTIME="1")
    assert out.startswith("imgmake")
    loaded = {line.rpartition("|")[2].strip() for line in err.splitlines()}
    assert loaded & {"rich", "docker", "git", "networkx", "requests", "imgmake.app"} == set()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Pipefile.py").write_text(
        "from imgmake import file, phony, sh, var\n"
        "var('APP_REPO', 'x')\nphony('app-image', sh('true'))\nphony('lint', sh('true'))\n"
        "file('app.jar', sh('touch $out'))\n"
    )
    return tmp_path


def test_bash_completes_targets_and_variables(folder: Path) -> None:
    environ = {"COMP_CWORD": "3", "_IMGMAKE_COMPLETE": "complete_bash"}
    assert command(**environ, COMP_WORDS=f"imgmake -C {folder} a")[0].split() == ["app-image", "app.jar"]
    assert command(**environ, COMP_WORDS=f"imgmake -C {folder} AP")[0].split() == ["APP_REPO="]
    assert command(**environ, COMP_WORDS=f"imgmake -C {folder}/none a")[0].split() == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete_as_well(folder: Path, shell: str) -> None:
    environ = {"_TYPER_COMPLETE_ARGS": f"imgmake -C {folder} a", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    said = command(**environ, _IMGMAKE_COMPLETE=f"complete_{shell}")[0]
    assert "app-image" in said
    assert "lint" not in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_completion_script(shell: str) -> None:
    script = command(_IMGMAKE_COMPLETE=f"source_{shell}")[0]
    assert f"_IMGMAKE_COMPLETE=complete_{shell}" in script


@pytest.mark.parametrize(
    ("to", "code", "err"),
    [(">&-", 0, ""), (">/dev/full", 2, "imgmake: what is printed cannot be written: no space left\n")],
)
def test_an_output_that_cannot_be_written(tmp_path: Path, to: str, code: int, err: str) -> None:
    """A closed output was a traceback, and a full disk a defect of ours."""
    (tmp_path / "Pipefile.py").write_text("from imgmake import phony, sh\nphony('a', sh('true'))\n")
    script = f"{sys.executable} -m imgmake -C {tmp_path} --list {to}"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["/bin/sh", "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, err)


def test_nobody_listening_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "Pipefile.py").write_text(
        "from imgmake import phony, sh\nfor i in range(2500):\n    phony(f'target-{i}', sh('true'))\n"
    )
    child = pexpect.spawn(
        "/bin/sh",
        ["-c", f"{sys.executable} -m imgmake -C {tmp_path} --list | head -1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    child.expect(pexpect.EOF)
    assert child.before == b"target-0     phony                (default)\r\n"
