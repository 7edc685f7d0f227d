"""What users see of a run and of each question, word for word where they read it most."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake.errors import CommandFailed, GraphError, ImgmakeError, Place, Problems, Refused
from imgmake.model import Edge, Entry, Explanation, Field, Kind, Outcome, Reason, State, Step, Verdict
from imgmake.reporters import JsonLines, Mute, Plain, Settings, choose, data, graphs, render, tagtable
from imgmake.reporters.errors import message, report_defect
from imgmake.reporters.errors import render as render_error
from imgmake.reporters.live import Live
from imgmake.reporters.stage import Stage
from imgmake.reporters.style import Paint, because, duration, one_line, wants_color
from imgmake.tags import PlannedTags, TagAction, TagChange

FRESH = Verdict()
CHANGED = Verdict((Reason("src/App.java changed"), Reason("pom.xml changed"), Reason("src/B.java is new", "new")))
PHONY = Verdict((Reason("always runs", "phony"),))
PIPEFILE = Place("Pipefile.py", 12)


class Clock:
    """Time as the test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Told:
    """A plain reporter and what it wrote."""

    def __init__(self, kind: type[Plain] = Plain, **settings: Any) -> None:
        self.clock = Clock()
        self.out, self.err = io.BytesIO(), io.BytesIO()
        self.reporter = kind(self.out, self.err, Settings(clock=self.clock, **settings))

    def done(self, target: str, seconds: float = 0.0, verdict: Verdict = CHANGED) -> Outcome:
        return self._finish(Outcome(target, State.DONE, verdict, seconds))

    def fresh(self, target: str, note: str = "") -> Outcome:
        return self._finish(Outcome(target, State.FRESH, Verdict(note=note)))

    def cancelled(self, target: str) -> Outcome:
        return self._finish(Outcome(target, State.CANCELLED, FRESH))

    def failed(self, target: str, error: Exception, seconds: float = 0.0) -> Outcome:
        return self._finish(Outcome(target, State.FAILED, CHANGED, seconds, error))

    def _finish(self, outcome: Outcome) -> Outcome:
        self.reporter.finished(outcome)
        return outcome

    @property
    def text(self) -> str:
        return self.out.getvalue().decode()

    @property
    def errors(self) -> str:
        return self.err.getvalue().decode()


# --- plain ----------------------------------------------------------------------------------------------------


def test_a_run_reads_as_what_why_and_how() -> None:
    told = Told()
    told.reporter.planned(["lint", "app-image", "image-tests"])
    told.reporter.note("BUILD_ID 20260102-030405-ade3d65 (new)")
    outcomes = [told.fresh("lint")]
    told.reporter.started("app-image", CHANGED)
    output = told.reporter.output("app-image")
    output.command("docker build --file multi-stage-runtime.df .")
    output.write(b"Step 1/4 : FROM debian\n")
    output.note("stamped sha256:1234")
    outcomes.append(told.done("app-image", 11.04))
    told.reporter.started("image-tests", PHONY)
    outcomes.append(told.done("image-tests", 0.4))
    told.clock.now = 12.3
    told.reporter.summary(outcomes)
    assert told.text == (
        "BUILD_ID 20260102-030405-ade3d65 (new)\n"
        "app-image  (src/App.java changed, and 2 more)\n"
        "$ docker build --file multi-stage-runtime.df .\n"
        "Step 1/4 : FROM debian\n"
        "stamped sha256:1234\n"
        "app-image  done, 11.0 s\n"
        "image-tests\n"
        "2 ran, 1 up to date, 12.3 s\n"
    )
    assert told.errors == ""


@pytest.mark.parametrize(
    ("goals", "line"),
    [
        (("app-image",), "imgmake: 'app-image' is up to date.\n"),
        ((), "imgmake: everything is up to date (2 targets)\n"),
        (("a", "b"), "imgmake: everything is up to date (2 targets)\n"),
    ],
)
def test_nothing_to_do_is_one_line(goals: tuple[str, ...], line: str) -> None:
    told = Told(goals=goals)
    told.reporter.summary([told.fresh("a"), told.fresh("b")])
    assert told.text == line


def test_what_was_assumed_is_said() -> None:
    told = Told()
    told.fresh("app.jar", note="assumed, no prerequisite is newer")
    assert told.text == "app.jar  up to date: assumed, no prerequisite is newer\n"


def test_the_first_failure_is_named_first_and_last() -> None:
    told = Told()
    told.reporter.started("lint", CHANGED)
    outcomes = [told.failed("lint", CommandFailed("exit code 1", place=PIPEFILE, hint="see above"), 3.2)]
    told.reporter.started("other", CHANGED)
    outcomes.append(told.failed("other", CommandFailed("exit code 7")))
    outcomes += [told.cancelled("app-image"), told.cancelled("all")]
    told.clock.now = 4
    told.reporter.summary(outcomes)
    assert told.text == (
        "lint  (src/App.java changed, and 2 more)\n"
        "lint  failed, 3.2 s: Pipefile.py:12: exit code 1\n"
        "  see above\n"
        "other  (src/App.java changed, and 2 more)\n"
        "other  failed, 0.0 s: exit code 7\n"
        "not run: app-image, all\n"
        "2 failed, 2 not run, 4.0 s\n"
    )
    assert told.errors == (
        "imgmake: also failed: 'other'\nimgmake: 'lint' failed: Pipefile.py:12: exit code 1\n  see above\n"
    )


def test_an_interrupted_run_says_so() -> None:
    told = Told()
    told.reporter.summary([told.cancelled("app")], interrupted=True)
    assert (told.text, told.errors) == ("not run: app\n1 not run, 0.0 s\n", "imgmake: interrupted\n")


def test_silent_leaves_the_commands_output_and_failures() -> None:
    told = Told(silent=True)
    told.reporter.note("BUILD_ID x")
    told.reporter.started("app", CHANGED)
    told.reporter.output("app").command("echo hello")
    told.reporter.output("app").write(b"hello\n")
    told.reporter.summary([told.done("app", 5), told.failed("b", CommandFailed("exit code 1"))])
    assert told.text == "hello\nb  failed, 0.0 s: exit code 1\n"
    assert told.errors == "imgmake: 'b' failed: exit code 1\n"


def test_trace_tells_every_reason_and_what_is_fresh() -> None:
    told = Told(trace=True)
    told.fresh("lint")
    told.reporter.started("app", CHANGED)
    assert told.text == "lint  up to date\napp\n  src/App.java changed\n  pom.xml changed\n  src/B.java is new\n"


def test_a_dry_run_is_a_script() -> None:
    told = Told()
    told.reporter.would_run("app", CHANGED, ["mkdir -p target", "docker build ."])
    assert told.text == "# app  (src/App.java changed, and 2 more)\nmkdir -p target\ndocker build .\n"


def test_what_a_dry_run_says_beside_commands_is_a_comment() -> None:
    """A shell that was given it stopped at ``BUILD_ID 20260102-… (new)``: a syntax error."""
    told = Told(script=True)
    told.reporter.note("BUILD_ID 20260102-030405-ade3d65 (new)")
    told.reporter.note("two\nlines")
    told.reporter.summary([])
    assert told.text == (
        "# BUILD_ID 20260102-030405-ade3d65 (new)\n# two\n# lines\n# imgmake: everything is up to date\n"
    )


def test_a_question_is_answered_by_the_exit_code_alone() -> None:
    told = Told(Mute)
    told.reporter.would_run("app", CHANGED, ["docker build ."])
    told.reporter.summary([told.done("app")])
    told.reporter.warning("the state is read only")
    assert (told.text, told.errors) == ("", "imgmake: warning: the state is read only\n")


def test_bytes_of_a_command_pass_unchanged() -> None:
    told = Told()
    told.reporter.output("app").write(b"caf\xe9 \x1b[1m50%\r100%")
    told.reporter.output("app").note("next")
    assert told.out.getvalue() == b"caf\xe9 \x1b[1m50%\r100%\nnext\n"


def test_a_hostile_name_neither_breaks_a_line_nor_steers_the_terminal() -> None:
    told = Told()
    told.reporter.started("a\nb\x1b[2J", Verdict((Reason("caf\udce9\x07 changed"),)))
    assert told.out.getvalue() == b"a\\nb\\x1b[2J  (caf\xe9\\x07 changed)\n"


def test_a_reader_that_went_away_does_not_stop_the_run() -> None:
    class Gone(io.BytesIO):
        def write(self, data: Any) -> int:
            raise BrokenPipeError

    reporter = Plain(Gone(), io.BytesIO())
    reporter.started("app", CHANGED)
    reporter.output("app").write(b"hello\n")


# --- groups ---------------------------------------------------------------------------------------------------


def test_one_target_streams_while_the_other_waits() -> None:
    told = Told()
    a, b = told.reporter.output("a"), told.reporter.output("b")
    a.write(b"a1\n")
    b.write(b"b1\n")
    a.write(b"a2")
    assert told.text == "a1\na2"
    told.done("a")
    assert told.text == "a1\na2\nb1\n"
    b.write(b"b2\n")
    assert told.text == "a1\na2\nb1\nb2\n"


def test_a_failure_does_not_wait_for_its_turn() -> None:
    told = Told()
    told.reporter.started("slow", PHONY)
    told.reporter.output("slow").write(b"half a line")
    told.reporter.output("quick").write(b"cannot\n")
    told.failed("quick", CommandFailed("exit code 1"))
    told.reporter.output("slow").write(b"more\n")
    assert told.text == ("slow\nhalf a line\ncannot\nquick  failed, 0.0 s: exit code 1\nslow  (continued)\nmore\n")


Chunk = st.binary(min_size=1, max_size=6).filter(lambda data: b"\n" not in data)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), Chunk))))
def test_groups_never_mix_and_lose_nothing(events: list[tuple[str, bytes | None]]) -> None:
    shown = bytearray()
    stage = Stage(shown.extend, lambda target: b"")
    said: dict[str, bytearray] = {name: bytearray() for name in "abc"}
    ended: set[str] = set()
    for target, chunk in [*events, ("a", None), ("b", None), ("c", None)]:
        if target in ended:
            continue
        if chunk is None:
            ended.add(target)
            stage.end(target)
        else:
            line = target.encode() + chunk + b"\n"
            said[target] += line
            stage.put(target, line)
    groups = sorted(bytes(text) for text in said.values() if text)
    assert len(shown) == sum(map(len, groups))
    assert all(bytes(shown).count(group) for group in groups)


def test_threads_do_not_tear_lines() -> None:
    told = Told()

    def speak(name: str) -> None:
        told.reporter.started(name, PHONY)
        for _ in range(50):
            told.reporter.output(name).write(f"{name}\n".encode())
        told.done(name)

    threads = [threading.Thread(target=speak, args=(name,)) for name in ("a", "b", "c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = told.text.splitlines()
    runs = [line for line, before in zip(lines, [None, *lines], strict=False) if line != before]
    assert sorted(runs) == ["a", "b", "c", "d"]


# --- JSON lines -----------------------------------------------------------------------------------------------


def test_every_event_is_one_object() -> None:
    out, clock = io.BytesIO(), Clock()
    reporter = JsonLines(out, Settings(clock=clock))
    reporter.planned(["a"])
    reporter.note("BUILD_ID x")
    reporter.warning("old")
    reporter.started("a", PHONY)
    output = reporter.output("a")
    output.command("echo")
    output.note("said")
    output.write("é".encode()[:1])
    output.write("é".encode()[1:] + b"\n\xff\nend")
    failed = Outcome("a", State.FAILED, PHONY, 1.23456, CommandFailed("exit code 1", place=PIPEFILE, hint="why"))
    reporter.finished(failed)
    reporter.would_run("b", CHANGED, ["x"])
    clock.now = 2
    reporter.summary([failed])
    reporter.error(Problems([ImgmakeError("one"), ImgmakeError("two")]))
    why = [{"code": "phony", "text": "always runs"}]
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"event": "planned", "targets": ["a"]},
        {"event": "note", "text": "BUILD_ID x"},
        {"event": "warning", "text": "old"},
        {"event": "started", "target": "a", "reasons": why},
        {"event": "command", "target": "a", "line": "echo"},
        {"event": "note", "target": "a", "text": "said"},
        {"event": "output", "target": "a", "text": "é\n"},
        {"event": "output", "target": "a", "base64": "/wo="},
        {"event": "output", "target": "a", "text": "end"},
        {
            "event": "finished",
            "target": "a",
            "state": "failed",
            "seconds": 1.235,
            "reasons": why,
            "errors": [{"message": "exit code 1", "hint": "why", "place": {"file": "Pipefile.py", "line": 12}}],
        },
        {
            "event": "would-run",
            "target": "b",
            "reasons": [{"code": r.code, "text": r.text} for r in CHANGED.reasons],
            "lines": ["x"],
        },
        {"event": "summary", "states": {"failed": 1}, "seconds": 2, "interrupted": False},
        {"event": "error", "message": "one"},
        {"event": "error", "message": "two"},
    ]


# --- which one ------------------------------------------------------------------------------------------------


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "environ", "options", "kind"),
    [
        (Terminal, {"TERM": "xterm"}, {"jobs": 2}, Live),
        (Terminal, {"TERM": "xterm"}, {"jobs": 1}, Plain),
        (Terminal, {"TERM": "dumb"}, {"jobs": 2}, Plain),
        (Terminal, {}, {"jobs": 2}, Plain),
        (Terminal, {"TERM": "xterm", "CI": "true"}, {"jobs": 2}, Plain),
        (io.BytesIO, {"TERM": "xterm"}, {"jobs": 2}, Plain),
        (io.BytesIO, {"TERM": "xterm"}, {"jobs": 2, "question": True}, Mute),
        (Terminal, {"TERM": "xterm"}, {"jobs": 2, "json": True}, JsonLines),
    ],
)
def test_the_stream_decides_how_a_run_is_told(
    out: Callable[[], io.BytesIO], environ: dict[str, str], options: dict[str, Any], kind: type
) -> None:
    assert type(choose(out(), io.BytesIO(), environ, Settings(), **options)) is kind


@pytest.mark.parametrize(
    ("out", "jobs", "answers", "tty"),
    [
        (Terminal, 1, True, True),
        (Terminal, 2, True, False),
        (Terminal, 1, False, False),
        (io.BytesIO, 1, True, False),
    ],
)
def test_a_single_job_gets_the_terminal(out: Callable[[], io.BytesIO], jobs: int, answers: bool, tty: bool) -> None:
    reporter = choose(out(), io.BytesIO(), {"TERM": "xterm"}, Settings(interactive=answers), jobs=jobs)
    assert reporter.output("a").tty is tty


@pytest.mark.parametrize(
    ("out", "environ", "colour"),
    [
        (Terminal, {}, True),
        (io.BytesIO, {}, False),
        (Terminal, {"NO_COLOR": "1"}, False),
        (Terminal, {"TERM": "dumb"}, False),
        (io.BytesIO, {"FORCE_COLOR": "1"}, True),
        (io.BytesIO, {"FORCE_COLOR": "0"}, False),
        (Terminal, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_colour_is_for_terminals(out: Callable[[], io.BytesIO], environ: dict[str, str], colour: bool) -> None:
    assert wants_color(out(), environ) is colour


# --- words ----------------------------------------------------------------------------------------------------


@given(st.floats(min_value=0, max_value=1e6))
def test_durations_never_show_sixty(seconds: float) -> None:
    assert not re.search(r"\b60(\.0)? (s|min)", duration(seconds))


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


def test_reasons_in_a_few_words() -> None:
    assert because("app", CHANGED.reasons) == "src/App.java changed, and 2 more"
    assert because("app", CHANGED.reasons[:1]) == "src/App.java changed"
    assert because("app", PHONY.reasons) == ""
    assert because("app.jar", [Reason("app.jar is missing", "missing")]) == "missing"


# --- errors ---------------------------------------------------------------------------------------------------


def test_every_problem_is_told_with_place_and_way_out() -> None:
    problems = Problems(
        [
            GraphError("no rule makes 'al'", hint="did you mean 'all'?", place=PIPEFILE),
            GraphError("cycle:\na -> b -> a"),
        ]
    )
    assert render_error(problems) == (
        "imgmake: Pipefile.py:12: no rule makes 'al'\n  did you mean 'all'?\nimgmake: cycle:\n  a -> b -> a\n"
    )


def test_an_error_steers_no_terminal_whoever_worded_it() -> None:
    """A registry's list of tags stood in a hint as it came, and a statement's words in a refusal."""
    error = ImgmakeError("scan: unknown (\x1b]0;owned\x07)\n\tat line 2", hint="it holds \x1b[2J1.2")
    assert message(error) == "scan: unknown (\\x1b]0;owned\\x07)\n  \tat line 2\n  it holds \\x1b[2J1.2"


def test_a_foreign_error_keeps_its_type() -> None:
    assert message(ValueError("odd")) == "ValueError: odd"


def test_a_defect_is_short_and_its_traceback_in_a_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said = report_defect(ZeroDivisionError("division by zero"))
    (file,) = tmp_path.iterdir()
    assert said == (
        "imgmake: this is a defect in imgmake, please report it: ZeroDivisionError: division by zero\n"
        f"  traceback: {file}\n"
    )
    assert "ZeroDivisionError" in file.read_text()


# --- questions ------------------------------------------------------------------------------------------------

ENTRIES = (
    Entry("target/app.jar", Kind.FILE, "The artifact.\nMade by Maven.", PIPEFILE, "up to date"),
    Entry("app-image", Kind.IMAGE, "", PIPEFILE, "stale", CHANGED.reasons),
    Entry("all", Kind.PHONY, "All of it.", PIPEFILE, default=True),
)


def test_listing() -> None:
    assert render.listing(ENTRIES) == (
        "target/app.jar  file     up to date  The artifact.\n"
        "app-image       image    stale\n"
        "all             phony                All of it. (default)\n"
    )
    assert render.listing(()) == "no rules\n"
    assert "\x1b[33mstale     \x1b[0m" in render.listing(ENTRIES, Paint(True))


def test_a_long_name_moves_its_own_line_only() -> None:
    long = Entry("x" * 60, Kind.FILE, "", PIPEFILE, "stale")
    assert render.listing([long, ENTRIES[1]]) == f"{'x' * 60}  file     stale\napp-image  image    stale\n"


EXPLAINED = Explanation(
    "app-image",
    Kind.IMAGE,
    PIPEFILE,
    CHANGED,
    "sha256:1234, BUILD_ID 20260102-030405-ade3d65",
    (
        (Edge("app-image", "target/app.jar", "Dockerfile:4 COPY"), CHANGED),
        (Edge("app-image", "lint", "written"), FRESH),
        (Edge("app-image", "start.sh", "Dockerfile:5 COPY"), None),
    ),
    (Field("file", "start.sh", "aa"), Field("file", "target/app.jar", "bb"), Field("platform", "", "linux/amd64")),
)


def test_why() -> None:
    fresh = Explanation("lint", Kind.CHECK, PIPEFILE, Verdict(note="assumed"))
    assert render.why([EXPLAINED, fresh]) == (
        "app-image (image, Pipefile.py:12) is stale:\n"
        "  src/App.java changed\n"
        "  pom.xml changed\n"
        "  src/B.java is new\n"
        "now: sha256:1234, BUILD_ID 20260102-030405-ade3d65\n"
        "prerequisites:\n"
        "  target/app.jar  stale       Dockerfile:4 COPY\n"
        "  lint            up to date  written\n"
        "  start.sh        source      Dockerfile:5 COPY\n"
        "judged by: 2 files, 1 platform (--json lists them)\n"
        "\n"
        "lint (check, Pipefile.py:12) is up to date (assumed)\n"
    )


STEPS = (
    Step("app-image", Kind.IMAGE, CHANGED, ("docker build .",)),
    Step("image-tests", Kind.CHECK, FRESH, ("container-structure-test test",), maybe=True),
)


def test_plan() -> None:
    assert render.plan(STEPS) == (
        "app-image  (src/App.java changed, and 2 more)\n"
        "  docker build .\n"
        "image-tests  (only if a prerequisite comes out different)\n"
        "  container-structure-test test\n"
    )
    assert render.plan(()) == "nothing would run: everything is up to date\n"


def test_a_plan_leaves_to_the_table_of_tags_what_stands_there() -> None:
    """Two lines for each tag, 72 of three images in two registries, stood before it."""
    lines = ("docker tag shop:1 r.test/shop:1", "docker push r.test/shop:1", "cosign sign --yes r.test/shop:1")
    resumed = Verdict((Reason("was cut off", "interrupted"),))
    steps = (
        Step("app", Kind.IMAGE, CHANGED, ("docker build .",)),
        Step("push", Kind.PUBLISH, CHANGED, lines),
        Step("push", Kind.PUBLISH, resumed, lines[:1]),
    )
    assert render.plan(steps, tabled={"push"}) == (
        "app  (src/App.java changed, and 2 more)\n"
        "  docker build .\n"
        "push  (src/App.java changed, and 2 more)\n"
        "  cosign sign --yes r.test/shop:1\n"
        "push  (was cut off)\n"
        "  docker tag shop:1 r.test/shop:1\n"
    )


A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
HOLDS = "holds another image, and a version never moves"
LONG = "holds commit 1234567, which comes after 89abcde: moved back, as allowed"
TAGS = (
    PlannedTags(
        "push",
        (
            TagChange("r.test/shop:20190702-223619-ade3d65", TagAction.CREATE, "", "", "not there yet", fixed=True),
            TagChange("r.test/shop:1.3", TagAction.MOVE, A, "", "1.3.2 is the highest 1.3"),
            TagChange("r.test/shop:latest", TagAction.LEAVE, A, A, "2.0.0 is higher"),
        ),
    ),
    PlannedTags("both", (TagChange("r.test/both:1", TagAction.MOVE, A, f"{A} {B}", "holds commit 1234567"),)),
    PlannedTags("promote", (TagChange("r.test/shop:stable", TagAction.MOVE, A, B, LONG),), in_registry=True),
    PlannedTags("debug", (TagChange("r.test/shop:1.3.2-debug", TagAction.REFUSE, A, A, HOLDS),)),
)


def test_the_table_of_tags() -> None:
    refused = Refused(f"r.test/shop:1.3.2-debug {HOLDS}", hint="publish under another", place=PIPEFILE)
    told = tagtable.table(TAGS, [refused], Paint(False))
    assert told == (
        "\n"
        "r.test/shop  (push, promote, debug)\n"
        "  create  20190702-223619-ade3d65                -> (to be built)  not there yet\n"
        "  move    1.3                      aaaaaaaaaaaa  -> (to be built)  1.3.2 is the highest 1.3\n"
        "  leave   latest                   aaaaaaaaaaaa                    2.0.0 is higher\n"
        "  move    stable                   aaaaaaaaaaaa  -> bbbbbbbbbbbb\n"
        f"          {LONG}\n"
        "  refuse  1.3.2-debug              aaaaaaaaaaaa\n"
        "\n"
        "r.test/both  (both)\n"
        "  move    1                        aaaaaaaaaaaa  -> (to be sent)   holds commit 1234567\n"
        "\n"
        "refused: nothing would be published\n"
        f"Pipefile.py:12: r.test/shop:1.3.2-debug {HOLDS}\n"
        "  publish under another\n"
    )
    assert max(map(len, told.splitlines()[:-3])) <= 100
    kept = PlannedTags("push", (TagChange("r.test/shop:1", TagAction.LEAVE, A, A, "holds this image"),))
    assert tagtable.table([kept], (), Paint(False)).endswith("\n  leave   1  aaaaaaaaaaaa  holds this image\n")
    assert tagtable.table((), (), Paint(False)) == ""
    assert "\x1b[1;31mrefuse\x1b[0m" in tagtable.table(TAGS, (), Paint(True))


NODES = (("lint", Kind.CHECK), ("app-image", Kind.IMAGE), ("all", Kind.PHONY))
EDGES = (
    Edge("app-image", "lint", "written", order_only=True),
    Edge("app-image", 'a "b"', "Dockerfile:4 COPY"),
    Edge("all", "app-image", "written"),
)


def test_dot() -> None:
    assert graphs.dot(NODES, EDGES) == (
        "digraph imgmake {\n"
        "  rankdir=LR;\n"
        '  node [fontname="sans-serif"];\n'
        '  "lint" [shape=hexagon];\n'
        '  "app-image" [shape=box3d];\n'
        '  "all" [shape=ellipse];\n'
        '  "a \\"b\\"" [shape=plaintext];\n'
        '  "lint" -> "app-image" [style=dashed];\n'
        '  "a \\"b\\"" -> "app-image" [label="Dockerfile:4 COPY"];\n'
        '  "app-image" -> "all";\n'
        "}\n"
    )


def test_mermaid() -> None:
    assert graphs.mermaid(NODES, EDGES) == (
        "flowchart LR\n"
        '  n0{{"lint"}}\n'
        '  n1[["app-image"]]\n'
        '  n2(["all"])\n'
        '  n3("a #quot;b#quot;")\n'
        "  n0 -.-> n1\n"
        '  n3 -->|"Dockerfile:4 COPY"| n1\n'
        "  n1 --> n2\n"
    )


def test_the_same_as_data() -> None:
    listed = json.loads(data.listing(ENTRIES))
    assert listed[1] == {
        "target": "app-image",
        "kind": "image",
        "status": "stale",
        "default": False,
        "help": "",
        "place": {"file": "Pipefile.py", "line": 12},
        "reasons": [{"text": r.text, "code": r.code} for r in CHANGED.reasons],
    }
    (explained,) = json.loads(data.why([EXPLAINED]))
    assert explained["stale"] is True
    assert explained["prerequisites"][2] == {"target": "start.sh", "why": "Dockerfile:5 COPY", "order_only": False}
    assert explained["inputs"][2] == {"kind": "platform", "name": "", "value": "linux/amd64"}
    planned = json.loads(data.plan(STEPS, TAGS))
    assert [step["maybe"] for step in planned["steps"]] == [False, True]
    assert [(tag["target"], tag["action"], tag["before"]) for tag in planned["tags"]][1] == ("push", "move", A)
    drawn = json.loads(data.graph(NODES, EDGES))
    assert drawn["nodes"][0] == {"target": "lint", "kind": "check"}
    assert drawn["edges"][0] == {"target": "app-image", "prerequisite": "lint", "why": "written", "order_only": True}
