"""Files, checks and phonies, run in a temporary repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from imgmake.app import Options, build, plan
from imgmake.errors import EngineUnavailable, GraphError, ImgmakeError, Problems
from tests.fakes import RecordingReporter
from tests.unit.runs import Repo

COPY = 'file("out", "in", sh("cat $in > $out; echo ran >> log"))\n'


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path)


def ran(repo: Repo) -> int:
    log = repo.path / "log"
    return len(log.read_text().split()) if log.exists() else 0


def test_a_second_run_does_nothing(repo: Repo) -> None:
    repo.pipefile(COPY).put("in", "1")
    assert repo.run("out").ran == ["out"]
    assert repo.read("out") == "1"
    assert repo.run("out").ran == []
    assert ran(repo) == 1


def test_touching_a_prerequisite_without_changing_it_does_nothing(repo: Repo) -> None:
    repo.pipefile(COPY).put("in", "1")
    repo.run("out")
    os.utime(repo.path / "in")
    assert repo.run("out").ran == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda repo: repo.put("in", "2"), "in changed"),
        (lambda repo: repo.put("out", "by hand"), "out changed since it was made"),
        (lambda repo: (repo.path / "out").unlink(), "out is missing"),
        (lambda repo: repo.pipefile(COPY.replace("cat", "cat -u")), "the recipe changed"),
    ],
)
def test_what_makes_a_file_stale_and_why(repo: Repo, change: object, reason: str) -> None:
    repo.pipefile(COPY).put("in", "1")
    repo.run("out")
    change(repo)  # type: ignore[operator]
    assert [r.text for r in repo.reasons("out")] == [reason]
    assert repo.run("out").ran == ["out"]
    assert repo.run("out").ran == []


def test_a_variable_that_the_text_mentions_makes_a_file_stale(repo: Repo) -> None:
    repo.pipefile('var("LEVEL", "1")\nvar("OTHER", "1")\nfile("out", sh("echo $LEVEL > $out"))\n')
    repo.run("out")
    assert repo.run("out", overrides={"OTHER": "2"}).ran == []
    assert [r.text for r in repo.reasons("out", overrides={"LEVEL": "2"})] == ["variable LEVEL changed: 1 -> 2"]


def test_early_cutoff(repo: Repo) -> None:
    """A prerequisite that ran but came out the same makes nothing stale."""
    repo.pipefile(
        'file("mid", "in", sh("grep -v ^# $in > $out"))\nfile("out", "mid", sh("cat $in > $out; echo ran >> log"))\n'
    ).put("in", "# a\n1\n")
    repo.run("out")
    repo.put("in", "# b\n1\n")
    assert repo.run("out").ran == ["mid"]
    repo.put("in", "# b\n2\n")
    assert repo.run("out").ran == ["mid", "out"]


def test_without_a_record_makes_rule_holds_and_is_said_once(repo: Repo) -> None:
    repo.pipefile(COPY).put("in", "1").put("out", "from make")
    os.utime(repo.path / "in", (1000, 1000))
    first = repo.run("out")
    assert first.ran == []
    assert "assumed" in first.outcome("out").verdict.note
    assert repo.run("out").outcome("out").verdict.note == ""
    repo.put("in", "2")
    assert repo.run("out").ran == ["out"]


def test_without_a_record_a_newer_prerequisite_makes_it_stale(repo: Repo) -> None:
    repo.pipefile(COPY).put("in", "1").put("out", "from make")
    os.utime(repo.path / "out", (1000, 1000))
    assert [r.text for r in repo.reasons("out")] == ["in is newer"]


def test_a_failed_recipe_leaves_no_output(repo: Repo) -> None:
    repo.pipefile('file("out", sh("echo half > $out; false"))\n')
    result = repo.run("out")
    assert result.failed == ["out"]
    assert not (repo.path / "out").exists()


def test_keep_leaves_the_output_of_a_failed_recipe_but_does_not_trust_it(repo: Repo) -> None:
    repo.pipefile('file("out", sh("echo half > $out; test -e ok"), keep=True)\n')
    repo.run("out")
    assert repo.read("out") == "half\n"
    assert [r.text for r in repo.reasons("out")] == ["its last run did not finish"]


def test_a_recipe_that_fails_before_touching_its_output_keeps_the_old_one_and_stays_stale(repo: Repo) -> None:
    repo.pipefile('file("out", "in", sh("test -e ok; cat in > out"))\n').put("in", "1").put("ok", "")
    repo.run("out")
    (repo.path / "ok").unlink()
    repo.put("in", "2")
    os.utime(repo.path / "in", (1000, 1000))
    assert repo.run("out").failed == ["out"]
    assert repo.read("out") == "1"
    assert repo.reasons("out"), "make would take the old file for good, as it is newer"


def test_a_recipe_that_does_not_make_its_target_is_an_error(repo: Repo) -> None:
    repo.pipefile('file("out", sh("true"))\n')
    assert "did not make 'out'" in repo.run("out").error_of("out")


def test_several_targets_from_one_recipe_run_it_once(repo: Repo) -> None:
    repo.pipefile('file(["a", "b"], sh("echo 1 > a; echo 2 > b; echo ran >> log"))\nphony("all", "a", "b")\n')
    repo.run("all", jobs=4)
    assert ran(repo) == 1
    (repo.path / "b").unlink()
    repo.run("a")
    assert ran(repo) == 2


def test_the_folder_of_a_target_is_made_first(repo: Repo) -> None:
    repo.pipefile('file("deep/er/out", sh("echo 1 > $out"))\n')
    assert repo.run("deep/er/out").ran == ["deep/er/out"]


def test_a_pattern_is_judged_late_so_generated_files_count(repo: Repo) -> None:
    repo.pipefile('file("gen/a.txt", sh("echo a > $out"))\nfile("list", "gen/*.txt", sh("ls $in > $out"))\n')
    assert repo.run("list").ran == ["gen/a.txt", "list"]
    assert repo.read("list") == "gen/a.txt\n"
    repo.put("gen/b.txt", "b")
    assert repo.reasons("list")[0].text == "gen/b.txt is new"


def test_a_folder_is_its_tree(repo: Repo) -> None:
    repo.pipefile('file("out", "src/", sh("ls -R src > $out"))\n').put("src/a/b", "1")
    repo.run("out")
    repo.put("src/a/c", "1")
    assert repo.run("out").ran == ["out"]
    assert repo.run("out").ran == []


def test_after_orders_without_making_stale(repo: Repo) -> None:
    repo.pipefile('file("a", "in", sh("cat in > a"))\nfile("b", sh("cat a > b"), after=["a"])\n').put("in", "1")
    repo.run("b")
    repo.put("in", "2")
    assert repo.run("b").ran == ["a"]


def test_a_phony_with_a_recipe_makes_a_file_run_and_one_without_is_transparent(repo: Repo) -> None:
    repo.pipefile(
        'phony("always", sh("true"))\nphony("group", "in")\n'
        'file("a", "always", sh("echo > a"))\nfile("b", "group", sh("echo > b"))\n'
    ).put("in", "1")
    assert repo.run("a", "b").ran == ["a", "always", "b"]
    assert repo.run("a", "b").ran == ["a", "always"]


def test_a_check_remembers_a_pass(repo: Repo) -> None:
    repo.pipefile('check("test", "in", sh("grep -q 1 in; echo ran >> log"))\n').put("in", "1")
    assert repo.run("test").ran == ["test"]
    assert repo.run("test").ran == []
    repo.put("in", "21")
    assert repo.run("test").ran == ["test"]


def test_a_failed_check_is_not_green_the_next_time(repo: Repo) -> None:
    repo.pipefile('check("test", "in", sh("test ! -e broken"))\n').put("in", "1")
    repo.run("test")
    repo.put("broken", "")
    assert repo.run("test", always_make=True).failed == ["test"]
    assert repo.run("test").failed == ["test"]


def test_a_check_remembers_its_last_passes(repo: Repo) -> None:
    """Going back and forth between two branches ran every check each time."""
    repo.pipefile('check("t", "in", sh("! grep -q bad in && ! test -e broken"))\n')
    for text in "1", "2":
        assert repo.put("in", text).run("t").ran == ["t"]
    assert repo.put("in", "1").run("t").ran == []
    assert repo.put("in", "bad").run("t").failed == ["t"]
    assert repo.put("in", "2").run("t").ran == []
    repo.put("broken", "")
    assert repo.run("t", always_make=True).failed == ["t"]
    assert repo.run("t").failed == ["t"]
    assert repo.put("in", "1").run("t").ran == []


def test_reasons_of_a_check_compare_with_its_newest_pass(repo: Repo) -> None:
    repo.pipefile('check("t", "a", "b", sh("true"))\n').put("a", "1").put("b", "1").run("t")
    repo.put("a", "2").run("t")
    repo.put("a", "1").run("t")
    assert [reason.text for reason in repo.put("b", "2").reasons("t")] == ["a changed", "b changed"]


def test_each_pass_of_a_check_grows_old_by_itself(repo: Repo) -> None:
    repo.pipefile('check("t", "in", sh("true"), max_age=100)\n').put("in", "1").run("t")
    repo.clock.tick(90)
    repo.put("in", "2").run("t")
    assert repo.put("in", "1").run("t").ran == []
    repo.clock.tick(90)
    assert [reason.code for reason in repo.reasons("t")] == ["aged"]
    assert repo.run("t").ran == ["t"]


def test_a_check_with_a_report_remembers_the_newest_pass_alone(repo: Repo) -> None:
    """The report that lies there is that of the newest pass."""
    repo.pipefile('check("t", "in", run("tool:1", "x", mounts={"in": "/in:ro"}, stdout="report"))\n')
    assert repo.engine is not None
    repo.engine.commit_image("tool:1")
    for text in "1", "2", "1":
        assert repo.put("in", text).run("t").ran == ["t"]


def test_a_check_grows_old(repo: Repo) -> None:
    repo.pipefile('check("scan", "in", sh("true"), max_age="1h")\n').put("in", "1")
    repo.run("scan")
    repo.clock.tick(3500)
    assert repo.run("scan").ran == []
    repo.clock.tick(200)
    assert repo.run("scan").reasons("scan") == ["older than max_age: 1.03 h > 1 h"]


def test_the_first_failure_stops_what_has_not_started(repo: Repo) -> None:
    repo.pipefile(
        'phony("bad", sh("false"))\nphony("late", sh("touch late"))\nphony("needs", "bad", sh("touch needs"))\n'
        'phony("all", "bad", "late", "needs")\n'
    )
    result = repo.run("all")
    assert result.failed == ["bad"]
    assert not (repo.path / "late").exists()


def test_keep_going_makes_all_that_does_not_need_the_failure(repo: Repo) -> None:
    repo.pipefile(
        'phony("bad", sh("false"))\nphony("late", sh("touch late"))\nphony("needs", "bad", sh("touch needs"))\n'
        'phony("all", "bad", "late", "needs")\n'
    )
    result = repo.run("all", keep_going=True)
    assert result.failed == ["bad"]
    assert (repo.path / "late").exists()
    assert not (repo.path / "needs").exists()


def test_keep_going_remembers_what_failed_for_an_earlier_goal(repo: Repo) -> None:
    """Goals with recipes are batches of their own: the later one used to run without what it needs."""
    repo.pipefile(
        'phony("a", sh("exit 1"))\nphony("b", "a", sh("touch b"))\n'
        'phony("c", "b", sh("touch c"))\nphony("d", sh("touch d"))\n'
    )
    result = repo.run("a", "b", "c", "d", keep_going=True)
    assert (result.failed, result.ran) == (["a"], ["d"])
    assert [result.outcome(name).state.name for name in "bc"] == ["CANCELLED"] * 2
    assert [name for name in "bcd" if (repo.path / name).exists()] == ["d"]


def test_goals_are_taken_in_their_order_each_judged_after_the_one_before(repo: Repo) -> None:
    repo.pipefile('phony("clean", sh("rm -f out"))\n' + COPY).put("in", "1")
    repo.run("out")
    assert repo.run("clean", "out").ran == ["clean", "out"]
    assert (repo.path / "out").exists()


def test_what_if_and_old_file(repo: Repo) -> None:
    repo.pipefile(COPY + 'file("last", "out", sh("cat out > last"))\n').put("in", "1")
    repo.run("last")
    assert repo.run("last", what_if=("in",)).ran == ["out"]
    repo.put("in", "2")
    assert repo.run("last", old_file=("out",)).ran == []
    assert repo.run("last").ran == ["last", "out"]


def test_always_make(repo: Repo) -> None:
    repo.pipefile(COPY).put("in", "1")
    repo.run("out")
    assert repo.run("out", always_make=True).ran == ["out"]


def test_a_dry_run_writes_nothing_at_all(repo: Repo) -> None:
    repo.pipefile(COPY).put("in", "1")
    prospects = repo.forecast("out")
    assert prospects["out"].lines
    assert sorted(p.name for p in repo.path.iterdir()) == ["Pipefile.py", "in"]


def test_a_dry_run_has_the_goals_in_the_order_of_the_run(repo: Repo) -> None:
    repo.pipefile("\n".join(f'phony("{name}", sh("echo {name}"))' for name in ("tag", "push", "build")))
    goals = ("build", "push", "tag")
    assert repo.run(*goals).ran == list(goals)
    assert list(repo.forecast(*goals)) == list(goals)


def test_a_dry_run_says_what_may_follow(repo: Repo) -> None:
    repo.pipefile(COPY + 'file("last", "out", sh("cat out > last"))\n').put("in", "1")
    repo.run("last")
    repo.put("in", "2")
    found = repo.forecast("last")
    assert found["out"].forecast.stale
    assert found["last"].forecast.maybe


def test_a_required_variable_is_asked_for_before_anything_runs(repo: Repo) -> None:
    repo.pipefile('var("TAG")\nphony("a", sh("touch a"))\nphony("b", "a", sh("echo $TAG"))\n')
    with pytest.raises(ImgmakeError, match="TAG is required"):
        repo.run("b")
    assert not (repo.path / "a").exists()
    assert repo.run("a").ran == ["a"]


def test_every_unknown_prerequisite_is_reported_at_once_with_its_place(repo: Repo) -> None:
    repo.pipefile('file("out", "inn", sh("true"))\nfile("more", "nothing/here", sh("true"))\n').put("in", "1")
    with pytest.raises(Problems) as caught:
        repo.run("out")
    assert "Pipefile.py:2: 'out' needs 'inn'" in str(caught.value)
    assert "Pipefile.py:3: 'more' needs 'nothing/here'" in str(caught.value)
    assert "did you mean 'in'?" in str(caught.value)


def test_a_mistake_found_before_anything_runs_leaves_nothing_behind(repo: Repo) -> None:
    repo.pipefile('file("a", "b", sh("true"))\nfile("b", "a", sh("true"))\n')
    asked = Options(directory=repo.path, environ=repo.environ)
    with pytest.raises(GraphError):
        build(asked, RecordingReporter())
    assert [path.name for path in repo.path.iterdir()] == ["Pipefile.py"]


def test_secrets_are_masked_in_output(repo: Repo) -> None:
    repo.pipefile('var("TOKEN", secret=True)\nphony("show", sh("echo it is $TOKEN"))\n')
    repo.environ["TOKEN"] = "hunter2hunter2"
    result = repo.run("show")
    assert "hunter2" not in str(result.reporter.__dict__)


def test_secrets_are_masked_in_what_a_function_raises(repo: Repo) -> None:
    """Its exception was shown as it was."""
    repo.pipefile(
        'var("TOKEN", secret=True)\n'
        '@phony("show")\ndef show(context):\n    raise RuntimeError("denied to hunter2hunter2")\n'
    )
    repo.environ["TOKEN"] = "hunter2hunter2"
    result = repo.run("show")
    assert "denied to ***" in result.error_of("show")
    assert "hunter2" not in str(result.reporter.__dict__) + repr(result.outcome("show").error)


def test_a_function_is_a_recipe(repo: Repo) -> None:
    repo.pipefile(
        '@file("out", "in")\ndef make(context):\n'
        '    """Upper case."""\n    context.outputs[0].write_text(context.inputs[0].read_text().upper())\n'
    ).put("in", "a")
    assert repo.run("out").ran == ["out"]
    assert repo.read("out") == "A"
    assert repo.run("out").ran == []


def test_without_an_engine_rules_that_need_none_still_run(repo: Repo) -> None:
    repo.engine = None
    repo.pipefile(COPY + 'image("app", "out")\n').put("in", "1").put("Dockerfile", "FROM scratch\nCOPY in /\n")
    assert repo.run("out").ran == ["out"]
    assert "no container engine" in repo.run("app").error_of("app")


@pytest.mark.parametrize("asked", [{"dry_run": True}, {"question": True}])
def test_cleaning_in_a_dry_run_removes_nothing(repo: Repo, asked: dict[str, bool]) -> None:
    repo.pipefile(COPY).put("in", "1")
    repo.run("out")
    with repo.session(read_only=True, **asked) as (session, _):
        assert session.clean(["out"]) == ["out"]
    assert repo.read("out") == "1"
    with repo.session() as (session, _):
        assert session.clean(["out"]) == ["out"]
    assert not (repo.path / "out").exists()


@pytest.mark.parametrize("mention", ["$BUILD_ID", "$BUILD_DATE", "$TAG"])
def test_no_clock_makes_a_file_stale(repo: Repo, mention: str) -> None:
    repo.pipefile(f'TAG = var("TAG", f"v-{{BUILD_ID}}")\nfile("out", sh("echo {mention} > $out"))\n')
    repo.run("out")
    assert repo.run("out").ran == []
    assert repo.run("out", overrides={"BUILD_ID": "x"}).ran == []


FUNCTION = """
from tools import suffix
COLOR = "red"
SIZE = var("SIZE", "1")
def helper(): return inner()
def inner(): return "v1"
@file("out")
def out(context):
    context.outputs[0].write_text(COLOR + helper() + suffix() + context.value("SIZE"))
"""


@pytest.mark.parametrize(
    ("name", "old", "new"), [("Pipefile.py", "red", "blue"), ("Pipefile.py", "v1", "v2"), ("tools.py", "!", "?")]
)
def test_a_function_counts_with_all_that_it_uses(repo: Repo, name: str, old: str, new: str) -> None:
    repo.pipefile(FUNCTION).put("tools.py", "def suffix(): return '!'")
    assert repo.run("out").ran == ["out"]
    assert repo.run("out").ran == []
    repo.put(name, repo.read(name).replace(old, new))
    assert repo.run("out").ran == ["out"]
    assert new in repo.read("out")


def test_a_function_counts_with_the_variables_that_it_asks_for(repo: Repo) -> None:
    repo.pipefile(FUNCTION).put("tools.py", "def suffix(): return '!'")
    repo.run("out")
    assert repo.run("out", overrides={"SIZE": "2"}).ran == ["out"]
    assert repo.run("out", overrides={"SIZE": "2"}).ran == []


def test_the_lines_of_a_dry_run_make_the_folders_that_are_not_there(repo: Repo) -> None:
    repo.pipefile(
        'file("a/b/c", sh("touch $out"))\nfile("a/b/d", sh("touch $out"))\n'
        'check("t/x", "a/b/c", sh("true"))\nphony("all", "a/b/c", "a/b/d", "t/x")'
    )
    lines = {name: prospect.lines for name, prospect in repo.forecast("all").items()}
    assert lines["a/b/c"][0] == "mkdir -p a/b"
    assert len(lines["a/b/d"]) == len(lines["t/x"]) == 1
    subprocess.run(["sh", "-e"], input="\n".join(sum(lines.values(), ())), cwd=repo.path, text=True, check=True)
    assert (repo.path / "a/b/d").exists()


def test_a_phony_prerequisite_is_told_as_the_reason(repo: Repo) -> None:
    repo.pipefile('phony("prep", sh("true"))\nfile("out", "prep", sh("touch $out"))')
    repo.run("out")
    assert [(r.text, r.code) for r in repo.reasons("out")] == [
        ("the phony prep that it needs always runs", "prerequisite")
    ]


def test_a_change_in_what_a_run_mounts_read_only_counts(repo: Repo) -> None:
    repo.pipefile('check("t", run("debian:12", "ls /s", mounts={"src": "/s:ro"}))').put("src/a", "1")
    assert repo.engine is not None
    repo.engine.commit_image("debian:12")
    assert repo.run("t").ran == ["t"]
    assert repo.run("t").ran == []
    repo.put("src/b", "2")
    with repo.session() as (session, _):
        assert [(edge.prerequisite, edge.why) for edge in session.file_edges("t")] == [("src/", "run mounts")]
    assert repo.run("t").ran == ["t"]


def test_an_error_names_an_image_as_it_is_written(repo: Repo) -> None:
    repo.pipefile('file("out", extract("debian:12", "/nosuch"))')
    assert repo.engine is not None
    repo.engine.commit_image("debian:12")
    error = repo.run("out").error_of("out")
    assert "/nosuch is not in debian:12" in error


def test_a_check_called_like_the_file_that_it_reads(repo: Repo) -> None:
    repo.pipefile('check("notes", "notes", sh("test $in = notes"))\n').put("notes", "1")
    assert repo.run("notes").ran == ["notes"]
    assert repo.run("notes").ran == []
    assert repo.put("notes", "2").run("notes").ran == ["notes"]


def test_an_engine_that_does_not_answer_is_told_of_once(repo: Repo) -> None:
    """Every image said so, each with its hint."""
    repo.pipefile('image("a")\nimage("b")\nphony("all", "a", "b")\n').put("Dockerfile", "FROM scratch\n")
    environ = {**os.environ, "DOCKER_HOST": f"unix://{repo.path}/nobody"}
    with pytest.raises(EngineUnavailable):
        plan(Options(directory=repo.path, environ=environ, goals=("all",)))
