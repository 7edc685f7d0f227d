"""Makefiles that make does not read alone, that are slow to read, and Pipefiles that are not believed at once."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from imgmake.app import proving
from imgmake.app.migrating import Migrated, check_makefile, migrate_makefile
from imgmake.app.options import Options
from imgmake.errors import PipefileError, Place
from imgmake.migrate import dryrun, mending, scratch, stops, together
from imgmake.migrate.migration import Migration, migrate
from imgmake.migrate.model import Database, Doubt, Made
from imgmake.migrate.report import report
from imgmake.migrate.scratch import Make
from imgmake.shell import LocalShell

ENVIRON = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root"}


def migrated(folder: Path, makefile: str, path: str = "Makefile") -> Migrated:
    (folder / path).write_text(makefile)
    return migrate_makefile(Options(directory=folder, environ=ENVIRON), path, write=False)


def verdicts(found: Migrated) -> dict[str, str]:
    return {each.target: each.verdict for each in found.compared}


# --- what keeps make from reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("makefile", "line", "why"),
    [
        ("include ../x.mk\nall:\n\techo\n", 1, "../x.mk is not here"),
        (
            "all:\n\techo\nifndef TOKEN\n$(error TOKEN is not set)\nendif\n",
            4,
            "make stops here with `TOKEN is not set`",
        ),
        ("stop = $(error no)\nX := $(stop)\nall:\n\techo\n", 2, "make stops here with `no`"),
        ("define D\na \\\nendef\nall:\n\techo\n", 1, "a backslash before endef"),
        ("all:\n\techo\nsomething here\n", 3, "make does not read this line: missing separator"),
        ("include made.mk\nall:\n\techo\nmade.mk:\n\t@false\n", 1, "made.mk is not here"),
    ],
)
def test_what_cannot_be_read_is_passed_over_and_told(tmp_path: Path, makefile: str, line: int, why: str) -> None:
    found = migrated(tmp_path, makefile)
    assert verdicts(found)["all"] == "same"
    mend = found.mended[0]
    assert (mend.file, mend.line, mend.why.startswith(why)) == ("Makefile", line, True), mend
    assert (tmp_path / "Makefile").read_text() == makefile
    told = report("Makefile", "", (), (), (), (), isolated=True, mended=[(mend.file, mend.line, mend.why)])
    assert f"make cannot read Makefile as it stands: a part is taken as if it were not there\n  Makefile:{line}" in told


def test_what_stands_above_the_folder_is_included(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "common.mk").write_text("NAME := acme\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    found = migrated(tmp_path, "include ../common.mk\nall:\n\techo $(NAME)\n", "below/Makefile")
    assert verdicts(found) == {"all": "same"}
    assert found.mended == ()


def test_a_complaint_that_says_nothing_of_the_text_mends_nothing() -> None:
    assert mending.mend("a: ;\n", "make: *** virtual memory exhausted.  Stop.", "Makefile") is None


# --- questions ----------------------------------------------------------------------------------------------------


def make(folder: Path, makefile: str) -> Make:
    (folder / "Makefile").write_text(makefile)
    return Make(folder, "Makefile", LocalShell(), ENVIRON)


def test_a_makefile_is_read_once_for_all_questions(tmp_path: Path) -> None:
    asked = make(tmp_path, "X := $(shell echo x >> reads)\nA = a,b # c\nE = $(error no)\nall: ;\n")
    assert asked.values(["$(A)", "$(words 1 2)#) $$"]) == ["a,b ", "2#) $"]
    assert asked.values(["$(A)x"]) == ["a,b x"]
    assert (tmp_path / "reads").read_text() == "x\n"


def test_a_question_that_make_stops_at_has_no_answer_and_the_others_have(tmp_path: Path) -> None:
    assert make(tmp_path, "A = a\nE = $(error no)\nall: ;\n").values(["$(A)1", "$(E)", "$(A)2"]) == ["a1", "", "a2"]


def test_what_a_question_sets_is_gone_afterwards(tmp_path: Path) -> None:
    asked = make(tmp_path, "all: ;\n")
    assert asked.values(["$(eval A := 1)$(A)"]) == ["1"]
    assert asked.values(["<$(A)>"]) == ["<>"]


# --- many dry runs at once ----------------------------------------------------------------------------------------

FAMILY = """\
X := $(shell sleep 0.05)
all: a b
\techo all
a: c
\techo a
b: c
\techo b; \\
\techo more
c:
\techo c
"""


def counted(asked: Make, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The calls of make from now on."""
    runs, run = list[Sequence[str]](), asked._run

    def counting(words: Sequence[str]) -> tuple[int, str, str]:
        runs.append(words)
        return run(words)

    monkeypatch.setattr(asked, "_run", counting)
    return runs


def test_dry_runs_at_once_are_those_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = make(tmp_path, FAMILY)
    asked.database()
    alone = {name: asked.dry_run(name)[1] for name in "abc"}
    again = make(tmp_path, FAMILY)
    again.database()
    monkeypatch.setattr("imgmake.migrate.scratch._LONG", 0.1)
    runs = counted(again, monkeypatch)
    again.ahead(["all", "a", "b", "c"], {})
    assert len(runs) == 2  # one for all, and one to prove it
    for name, lines in alone.items():
        assert [line for line in again.dry_run(name)[1] if line] == [line for line in lines if line]
    assert len(runs) == 2


PASSING = """\
X := $(shell sleep 0.05)
all: one.out two.out
\techo all
%.out: %.mid
\techo $@
%.mid: %.in named
\techo $@
one.out: other
other named: ; echo $@
two.mid: ; echo two
"""


def test_what_only_patterns_name_is_made_last_and_removed_in_dry_runs_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one.in", "two.in"):
        (tmp_path / name).touch()
    monkeypatch.setattr("imgmake.migrate.scratch._LONG", 0.1)
    asked, goals = make(tmp_path, PASSING), ["all", "one.out", "two.out", "one.mid", "other"]
    asked.database()
    runs = counted(asked, monkeypatch)
    asked.ahead(goals, {})
    assert len(runs) == 2
    again = make(tmp_path, PASSING)
    for goal in goals:
        assert together.alike(again.dry_run(goal), asked.dry_run(goal))
    assert asked.dry_run("one.out")[1][-1] == "rm one.mid"


def test_what_only_patterns_name_is_asked_alone_where_something_is_there() -> None:
    data = Database({"a": Made("a", ("b",), recipe=("x",), stem="a"), "b": Made("b", (), recipe=("y",), stem="b")}, {})
    assert together.together("a", data, {"a": ["x"], "b": ["y"]}, {}) == (0, ["y", "x", "rm b"], "")
    assert together.together("a", data, {"a": ["x"], "b": ["y"]}, {}, there=lambda _: Path("/")) is None


def test_what_a_recipe_says_while_it_is_expanded_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--trace tells the target too late: what `$(info)` said was the target's before it."""
    text = "X := $(shell sleep 0.05)\nall: a b\na:\n\techo a\nb:\n\t$(info in b)\n\techo b\n"
    monkeypatch.setattr("imgmake.migrate.scratch._LONG", 0.05)
    asked = make(tmp_path, text)
    asked.database()
    asked.ahead(["all", "a", "b"], {})
    assert [line for line in asked.dry_run("a")[1] if line] == ["echo a"]
    assert [line for line in asked.dry_run("b")[1] if line] == ["in b", "echo b"]


def test_what_a_target_passes_on_is_asked_alone() -> None:
    database = Database({"a": Made("a", ("b",), specific=frozenset({"V"})), "b": Made("b", ())}, {})
    assert together.together("a", database, {"b": ["echo b"]}, {}) is None
    assert together.together("b", database, {"b": ["echo b"]}, {}) == (0, ["echo b"], "")


def test_one_dry_run_of_all_targets_tells_where_each_would_stop(tmp_path: Path) -> None:
    text = "a: b missing\n\techo a\nb:\n\techo b\nc: ; +@echo c; exit 3\nd: c\n\techo d\ne: b\n\techo e\n"
    (tmp_path / "Makefile").write_text(text)
    make = Make(tmp_path, "Makefile", LocalShell(), ENVIRON)
    make.database()
    make.seconds = 60  # as if it were slow to read
    make.ahead("abcde", {})
    alone = Make(tmp_path, "Makefile", LocalShell(), ENVIRON)
    assert [make.dry_run(each) for each in "abcde"] == [
        (code, [line for line in said if line], why) for code, said, why in (alone.dry_run(each) for each in "abcde")
    ]


# --- what is not believed -----------------------------------------------------------------------------------------


def test_a_declaration_that_is_wrong_as_text_as_well_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []
    written = iter(["echo wrong"])

    def wrong(found: Migration) -> Migration:
        text = next(written, "")
        pipefile = found.pipefile
        object.__setattr__(pipefile, "text", pipefile.text.replace("echo a", text) if text else pipefile.text)
        return found

    original = proving._tried

    def tried(options: Options, scratch: Path, make: Make, found: Migration, doubts: proving.Doubts) -> object:
        asked.append({each.target: each.why for each in found.pipefile.left})
        return original(options, scratch, make, wrong(found), doubts)

    monkeypatch.setattr(proving, "_tried", tried)
    found = migrated(tmp_path, "a:\n\techo a\nb:\n\techo b\n")
    assert asked == [{}, {"a": "make runs what imgmake does not: echo a"}]  # as text it would be the same: not tried
    assert [(each.target, each.verdict, each.said) for each in found.compared] == [
        ("a", "different", True),
        ("b", "same", False),
    ]


def test_a_pipefile_that_does_not_load_is_blamed_on_what_stands_there(tmp_path: Path) -> None:
    found = migrated(tmp_path, "a:\n\techo a\nb:\n\techo b\n").migration
    line = next(at for at, text in enumerate(found.pipefile.text.split("\n"), 1) if '"b"' in text)
    place = Place("Pipefile.py", line)
    assert list(proving._blamed(PipefileError("invalid syntax", place=place), found, tmp_path)) == ["b"]
    assert list(proving._blamed(PipefileError("'a' needs 'x'"), found, tmp_path)) == ["a"]
    assert list(proving._blamed(PipefileError(f"x\nPipefile.py:{line}: y"), found, tmp_path)) == ["b"]
    assert list(proving._blamed(PipefileError("no"), found, tmp_path)) == ["a", "b"]


def test_a_target_that_cannot_even_be_declared_is_left_out_and_told(tmp_path: Path) -> None:
    makefile = "a:\n\techo a\nb: ## help\n\techo b\n"
    make_of = make(tmp_path, makefile)
    found = migrate("Makefile", makefile, make_of, doubted={"b": Doubt(3, "no name")}).pipefile
    assert "# TODO Makefile:4: echo b\n#   no name" in found.text
    assert '"b"' not in found.text
    assert [(each.target, each.why) for each in found.left] == [("b", "no name")]


def test_a_variable_that_does_not_load_is_what_it_is_today(tmp_path: Path) -> None:
    doubts = proving.Doubts()
    found = migrated(tmp_path, "X := 1\na:\n\techo $(X)\n").migration
    line = found.pipefile.text.split("\n").index('X = "1"') + 1
    assert proving._settled(PipefileError("no", place=Place("Pipefile.py", line)), found, doubts)
    assert not proving._settled(PipefileError("no", place=Place("Pipefile.py", line)), found, doubts)
    assert '# TODO: no\nX = "1"\n' in doubts.applied(found).pipefile.text


# --- what make stops at -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (["test -n \"$X\" || { echo 'give X' >&2; exit 1; }", "echo a"], "same"),
        (["echo a"], "different"),
    ],
)
def test_a_guard_that_make_stops_at_is_one_here_as_well(ours: list[str], verdict: str) -> None:
    commands = [dryrun.Command(each, (each,)) for each in ours]
    found = stops.stopped("a", "Makefile:3: *** give X.  Stop.", ["echo before"], commands)
    assert found.verdict == verdict
    assert ("give X" in found.why[0], bool(found.make)) == (True, verdict == "different")


def test_what_has_no_rule_is_no_guard() -> None:
    found = stops.stopped("a", "make: *** No rule to make target 'x', needed by 'a'.  Stop.", [], [])
    assert found.verdict == "same"


# --- what is the same ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("echo 'a'  b", 'echo "a" b', True),
        ("awk '{print $1}'", 'awk "{print $1}"', False),  # a shell looks at the one dollar, and not at the other
        ("""echo "it's $X" 'y'""", """echo "it's $X" y""", True),
        ("docker build -t a:1 .", "docker build --tag=a:1 --file Dockerfile .", True),
        ("docker run --rm a:1", "docker run --rm a:2", False),
    ],
)
def test_commands_are_compared_by_what_a_shell_and_docker_see(one: str, other: str, same: bool) -> None:
    assert (dryrun.key(one, "/nowhere") == dryrun.key(other, "/nowhere")) is same


def test_a_folder_of_a_target_s_name_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "Dockerfile").write_text("FROM scratch\n")
    found = migrated(tmp_path, "api:\n\tdocker build -t api api\n")
    assert verdicts(found) == {"api": "better"}
    assert "make takes the folder api for it, and never runs it" in found.compared[0].why


def test_the_same_command_of_several_targets_is_met_in_its_order(tmp_path: Path) -> None:
    found = migrated(tmp_path, "all: first\n\techo x\n\techo all\nfirst:\n\techo x\n\techo first\n")
    assert verdicts(found) == {"all": "same", "first": "same"}


def test_what_make_exports_is_what_a_shell_is_given(tmp_path: Path) -> None:
    exported = 'export A ?= 1\nall:\n\techo "$$A" "$(A)"\n'
    assert verdicts(migrated(tmp_path, exported)) == {"all": "same"}


def test_two_targets_that_only_stand_in_order_are_a_race_when_one_takes_the_other_s_image(tmp_path: Path) -> None:
    makefile = "all: build push\nbuild:\n\tdocker build -t acme/app .\npush:\n\tdocker push acme/app\n"
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    assert verdicts(migrated(tmp_path, makefile))["all"] == "better"
    pipefile = """\
from imgmake import image, phony, sh
phony("all", "build", "push")
image("build", tags="acme/app")
phony("push", sh("docker push acme/app"))
"""
    (tmp_path / "Pipefile.py").write_text(pipefile)
    found = check_makefile(Options(directory=tmp_path, environ=ENVIRON))
    assert {each.target: each.why for each in found.compared}["all"] == (
        "push takes acme/app, and could run at the same time as build, which makes it",
    )


def test_behind_a_guard_both_are_compared_with_what_it_asks_for(tmp_path: Path) -> None:
    guard = "ifndef TOKEN\n$(error TOKEN is not set)\nendif\nall:\n\techo $(TOKEN)\n"
    assert verdicts(migrated(tmp_path, guard)) == {"all": "same"}


def test_a_pipefile_that_stops_at_the_makefile_s_guard_is_not_wrong(tmp_path: Path) -> None:
    asked = make(tmp_path, "$(error only on Sundays)\nall: ;\n")
    asked.database()
    assert proving._guards(PipefileError("the Pipefile ended the program: only on Sundays"), asked)
    assert not proving._guards(PipefileError("invalid syntax"), asked)


def test_what_only_stands_in_order_waits_when_it_takes_what_the_other_tags(tmp_path: Path) -> None:
    makefile = """\
all: tag push
tag:
	docker tag acme/app:1 acme/app:latest
push:
	x=1; docker push acme/app:latest
"""
    found = migrated(tmp_path, makefile)
    assert verdicts(found)["all"] in ("same", "better")
    assert 'phony("push", "tag"' in " ".join(found.migration.pipefile.text.split()).replace("( ", "(")


# --- what is not there --------------------------------------------------------------------------------------


def test_what_is_not_there_fails_its_own_target_as_in_make_and_is_a_prerequisite_once_it_is(tmp_path: Path) -> None:
    makefile = "all: tool\n.PHONY: all\ntool: tool.c\n\tcc -o $@ $<\nother: ; echo other\n.PHONY: other\n"
    found = migrated(tmp_path, makefile)
    assert 'file("tool", glob("tool.c") or fail("tool.c is not here, and no rule makes it"), sh("cc -o $out $in"))' in (
        found.migration.pipefile.text
    )
    assert [(each.target, each.verdict, "tool.c" in str(each.why)) for each in found.compared] == [
        ("all", "same", True),
        ("tool", "same", True),
        ("other", "same", False),
    ]
    (tmp_path / "Pipefile.py").write_text(found.migration.pipefile.text)
    (tmp_path / "tool.c").touch()
    assert {each.verdict for each in check_makefile(Options(directory=tmp_path, environ=ENVIRON)).compared} == {"same"}


def test_an_image_whose_files_are_not_there_yet_is_built_by_the_same_command(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY app /\n")
    found = migrated(tmp_path, ".PHONY: image\nimage: app\n\tdocker build -t one .\n")
    assert (
        'phony("image", glob("app") or fail("app is not here, and no rule makes it"), sh("docker build -t one ."))'
        in (found.migration.pipefile.text)
    )


def test_a_name_from_the_root_is_another_here_and_its_recipe_follows_the_variable(tmp_path: Path) -> None:
    found = migrated(tmp_path, "$(OUT)/a: b\n\tcp b $@\nb:\n\techo b > $@\nOUT/a: ; true\n")
    assert [(each.target, each.verdict, each.why) for each in found.compared[:2]] == [
        ("/a", "same", ("is called a here, since it stands outside of the folder",)),
        ("b", "same", ()),
    ]
    assert 'phony("a", "b", sh("cp b $OUT/a"))' in found.migration.pipefile.text


def test_a_target_at_which_make_does_not_end_is_told_and_the_others_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "LIMIT", 1)
    found = migrated(tmp_path, ".PHONY: waits other\nwaits:\n\t+sleep 60\nother:\n\techo other\n")
    assert [(each.target, each.verdict, each.said, each.why) for each in found.compared] == [
        ("waits", "different", True, ("make did not answer within 1 s: it is not compared",)),
        ("other", "same", False, ()),
    ]


def test_targets_that_there_is_no_time_to_compare_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "BUDGET", -1.0)
    found = migrated(tmp_path, ".PHONY: a\na:\n\techo a\n")
    assert [(each.target, each.said) for each in found.compared] == [("a", True)]
    assert "there was no time left: it is not compared" in found.compared[0].why[0]
    assert 'phony("a", sh("echo a"))' in found.migration.pipefile.text


def test_what_there_is_no_time_to_override_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgmake.migrate.overriding._ALL", 1)
    found = migrated(tmp_path, "A ?= 1\nB ?= 2\nC ?= 3\n.PHONY: a\na:\n\techo $(A) $(B) $(C)\n")
    told = [note.why for note in found.migration.pipefile.notes]
    assert "make is slow to read this Makefile: compared with other values of B, C all at once" in told
