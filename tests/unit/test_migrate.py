"""The parts of a migration: the reader, make's database, texts, docker's words, the command line."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake.app.migrating import check_makefile, migrate_makefile
from imgmake.app.options import Options
from imgmake.cli import Streams, main
from imgmake.errors import UsageError
from imgmake.migrate import database, docker, layout, metadata, reader
from imgmake.migrate.expand import Dollar, Text, Use, mentioned, pieces
from imgmake.migrate.model import Assign, Comment, Cond, Include, Line, Other, Rule
from imgmake.migrate.python import Part, quoted, shell_text
from imgmake.migrate.scratch import Make, MakeFailed, copy
from imgmake.pipefile import load
from imgmake.shell import LocalShell

ROOT = Path(__file__).parents[2]
ENVIRON = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root"}

# --- the reader -----------------------------------------------------------------------------------------------


def test_assignments() -> None:
    found = reader.read(
        "A = 1 # one\nB := $(if a:b,c)\nexport C ?= 2\nD += x \\\n  y\nt: E = 3\ndefine F\na\n\tb\nendef\n"
    )
    assert [(each.name, each.op, each.value) for each in found if isinstance(each, Assign)] == [
        ("A", "=", "1 "),
        ("B", ":=", "$(if a:b,c)"),
        ("C", "?=", "2"),
        ("D", "+=", "x y"),
        ("E", "=", "3"),
        ("F", "define", "a\n\tb"),
    ]
    assert [each.name for each in found if isinstance(each, Assign) and each.export] == ["C"]
    assert [each.target for each in found if isinstance(each, Assign)][4] == "t"


def test_rules() -> None:
    text = "$(O): %.o: %.c h | d ## help\n\tcc $<\n\na: b ; echo $$x\nc:: d\n\te\n\tf\n"
    static, inline, double = (each for each in reader.read(text) if not isinstance(each, Comment))
    assert isinstance(static, Rule)
    assert (static.targets, static.pattern, static.prerequisites, static.order_only) == ("$(O)", "%.o", "%.c h", "d")
    assert (static.comment, static.recipe) == ("# help", (Line(2, "cc $<"),))
    assert isinstance(inline, Rule)
    assert inline.recipe == (Line(4, "echo $$x"),)
    assert isinstance(double, Rule)
    assert (double.double, [line.line for line in double.recipe]) == (True, [6, 7])


def test_conditions_hold_statements_or_recipe_lines() -> None:
    head = 'ifdef A\nB = 1\nelse ifeq "$(C)" "x"\nB = 2\nelse\nB = 3\nendif\n'
    text = head + "a:\n\techo 1\nifneq ($(B),)\n\techo 2\nendif\n\techo 3\n"
    outer, rule = reader.read(text)
    assert isinstance(outer, Cond)
    inner = outer.otherwise[0]
    assert isinstance(inner, Cond)
    assert (outer.test, outer.left, inner.test, inner.left, inner.right) == ("ifdef", "A", "ifeq", "$(C)", "x")
    assert isinstance(rule, Rule)
    assert [type(each) for each in rule.recipe] == [Line, Cond, Line]


def test_what_is_no_statement_of_these_is_kept() -> None:
    found = reader.read("# hi\n\n-include x.mk\n$(eval $(call R,a))\n")
    assert found == (Comment(1, "# hi"), Comment(2, ""), Include(3, "x.mk", True), Other(4, "$(eval $(call R,a))"))


@given(st.text(alphabet="aA:=#%$(){}\\\n\t ,;|ifeqndsl-", max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    reader.read(text)


# --- texts ----------------------------------------------------------------------------------------------------


def test_pieces() -> None:
    assert list(pieces("a$$b$(C)$@")) == [Text("a"), Dollar(), Text("b"), Use("C", "$(C)"), Use("@", "$@")]


@given(st.text(alphabet="ab$(){} ,:", max_size=30))
def test_pieces_lose_nothing(text: str) -> None:
    found = [
        one.text if isinstance(one, Text) else "$$" if isinstance(one, Dollar) else one.raw for one in pieces(text)
    ]
    assert "".join(found) == text


def test_names_in_calls_but_the_loop_s_own() -> None:
    assert list(mentioned("$(foreach d,$(DIRS),$(d)/$(X)) $(call f,$(Y))")) == ["DIRS", "X", "Y", "f"]


@pytest.mark.parametrize(
    ("before", "value", "expected"),
    [
        ("echo ", "plain", "echo $X"),
        ("echo '", "plain", "echo ''\"$X\"'"),
        ("echo ", "a;b", "echo {X}"),  # a shell would not read the value of a variable as code, as make has it
        ("", "A=1", "{X}"),  # an assignment, which only text can be
        ("echo \\", "plain", "echo \\{X}"),
    ],
)
def test_a_value_is_named_where_that_is_the_same_to_a_shell(before: str, value: str, expected: str) -> None:
    text, _, _ = shell_text([Part(before), Part(name="X", shell="X", value=value)])
    assert text == expected


@given(st.text(max_size=20))
def test_a_literal_is_python_s(text: str) -> None:
    assert eval(quoted(text)) == text


def test_long_calls_are_broken_at_their_arguments() -> None:
    source = f'file("{"x" * 60}", sh("a, b"), mounts={{".": "/{"y" * 60}"}})'
    assert layout.call(source)[0] == "file("
    assert layout.call(source)[2] == '    sh("a, b"),'


def test_a_family_is_one_only_when_nothing_else_differs() -> None:
    assert layout.family(['f("x-a", "a")', 'f("x-b", "b")'], ["a", "b"], "name") == 'f(f"x-{name}", name)'
    assert layout.family(['f("x-a", 1)', 'f("x-b", 2)'], ["a", "b"], "name") is None


def test_docker_s_words() -> None:
    found = docker.docker(docker.words([Part("docker image build -tx/y:1 --target=a \\\n -f d ."), Part(" ")]))
    assert found is not None
    assert (found.verb, [(n, docker.text_of(v)) for n, v in found.flags]) == (
        "build",
        [("tag", "x/y:1"), ("target", "a"), ("file", "d")],
    )


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("git rev-parse HEAD", "VCS_REF"),
        ("date +%s", "BUILD_TIME_EPOCH"),
        ("date -u '+%Y-%m-%dT%H:%M:%SZ'", "BUILD_DATE"),
        ("TZ=UTC date +%Y%m%d-%H%M%S", "BUILD_TIME_UTC"),
        ("date +%Y-%m-%dT%H:%M:%SZ", ""),  # local time that calls itself UTC is another value
        ("git rev-parse --short HEAD", ""),
    ],
)
def test_metadata_is_recognised(command: str, meant: str) -> None:
    assert metadata.of_command(command, lambda _: False) == meant


# --- make -----------------------------------------------------------------------------------------------------


def ask(folder: Path, makefile: str) -> Make:
    (folder / "Makefile").write_text(makefile)
    return Make(folder, "Makefile", LocalShell(), ENVIRON)


def test_the_database(tmp_path: Path) -> None:
    text = ".PHONY: a\nA ?= x\na: b | c ; echo $(A)\nt: V = 1\nt: a\n\techo\ndefine D\n1\n2\nendef\nb c: ;\n"
    found = ask(tmp_path, text).database()
    made = found.targets["a"]
    assert (made.prerequisites, made.order_only, made.phony, made.recipe) == (("b",), ("c",), True, (" echo $(A)",))
    assert (found.targets["t"].prerequisites, found.targets["t"].specific) == (("a",), frozenset({"V"}))
    assert (found.variables["A"].text, found.variables["A"].line, found.default) == ("x", 2, "a")
    assert found.variables["D"].text == "1\n2"
    assert database.parse("").targets == {}


def test_make_answers_for_expressions(tmp_path: Path) -> None:
    make = ask(tmp_path, "A = 1 2\na: ;\n")
    assert make.values(["$(words $(A))", "$(foreach @,x-y,$(subst -, ,$@))"]) == ["2", "x y"]
    assert make.values(["$(A)"], {"A": "3"}) == ["3"]


def test_what_make_cannot_read_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(MakeFailed, match="missing 'endif'"):
        ask(tmp_path, "ifdef X\na: ;\n").database()


def test_make_writes_into_a_copy_only(tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "Makefile").write_text("X := $(shell echo seen > side-effect)\na: ;\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    migrate_makefile(Options(directory=folder, environ=ENVIRON), write=False)
    assert sorted(path.name for path in folder.iterdir()) == [".git", "Makefile"]


def test_the_copy_holds_what_git_lists(tmp_path: Path) -> None:
    folder, to = tmp_path / "repo", tmp_path / "copy"
    folder.mkdir()
    to.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    for name, text in {".gitignore": "built\n", "built": "x", "kept": "y"}.items():
        (folder / name).write_text(text)
    (folder / "link").symlink_to("../")
    copy(folder, to, LocalShell(), ENVIRON)
    assert sorted(path.name for path in to.iterdir()) == [".git", ".gitignore", "kept", "link"]
    assert os.readlink(to / "link") == os.readlink(folder / "link") == "../"  # noqa: PTH115  # or git would call the copy changed


# --- the whole ------------------------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The tutorial's repository with its Makefile alone."""
    folder = tmp_path / "shop"
    shutil.copytree(
        ROOT / "docs" / "tutorial" / "shop", folder, ignore=shutil.ignore_patterns("Pipefile.py", ".imgmake")
    )
    author = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def test_the_tutorial_s_makefile(shop: Path) -> None:
    found = migrate_makefile(Options(directory=shop, environ=ENVIRON))
    rules = {rule.target: rule.kind.value for rule in load(shop / "Pipefile.py", overrides={}, environ={}).rules}
    assert rules == {
        "all": "phony",
        "clean": "phony",
        "metadata": "phony",
        "target/shop-0.1.0.jar": "file",
        "app-artifacts": "phony",
        "lint-dockerfile": "check",
        "app-image": "image",
        "app-image-debug": "image",
        "image-tests": "check",
        "inspect-image-labels": "phony",
        "tag": "phony",
    }
    assert "build_args" not in (shop / "Pipefile.py").read_text()  # as labels want them, from git and the clock
    assert {each.verdict for each in found.compared} == {"same", "better"}
    assert len(found.migration.findings) >= 7
    again = check_makefile(Options(directory=shop, environ=ENVIRON))
    assert {each.verdict for each in again.compared} == {"same", "better"}


def test_a_pipefile_is_never_overwritten(shop: Path) -> None:
    (shop / "Pipefile.py").write_text("# mine\n")
    with pytest.raises(UsageError, match="is not overwritten"):
        migrate_makefile(Options(directory=shop, environ=ENVIRON))
    assert (shop / "Pipefile.py").read_text() == "# mine\n"


def told(*words: str) -> tuple[int, str, str]:
    out, err = io.BytesIO(), io.BytesIO()
    code = main(list(words), streams=Streams(out, err, answers=False))
    return code, out.getvalue().decode(), err.getvalue().decode()


def test_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "build.mk").write_text("a:\n\techo one\n")
    where = ["-C", str(tmp_path)]
    assert told(*where, "--migrate", "build.mk", "--stdout")[1] == (
        'from imgmake import phony, sh\n\nphony("a", sh("echo one"))\n'
    )
    assert not (tmp_path / "Pipefile.py").exists()
    code, out, _ = told(*where, "--migrate", "build.mk")
    assert (code, "  a  same\n" in out, out.endswith("1 compared: 1 same, 0 same but better, 0 different\n")) == (
        0,
        True,
        True,
    )
    (tmp_path / "Pipefile.py").write_text('from imgmake import phony, sh\nphony("a", sh("echo 2"))\n')
    code, out, _ = told(*where, "--migrate=build.mk", "--check")
    assert (code, "make:    echo one" in out, "imgmake: echo 2" in out) == (1, True, True)


def test_what_the_command_line_refuses(tmp_path: Path) -> None:
    assert "there is no Makefile in" in told("-C", str(tmp_path), "--migrate")[2]
    assert "--stdout goes with --migrate" in told("--stdout")[2]
