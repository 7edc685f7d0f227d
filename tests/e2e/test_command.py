"""The real command in a small repository without images: what is said, the exit codes, and what is left on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.kit import Repo, repository

PIPEFILE = '''\
"""Notes, joined and checked."""

from imgmake import check, default, file, phony, sh, var

file("dist/notes.txt", "notes/*.txt", sh("cat $in > $out"), help="All the notes, in one file.")
check("style", "notes/", sh("! grep -n 'FORBIDDEN' notes/*.txt"))
phony("greet", sh("echo hello $NAME; printf 'caf\\\\351\\\\n'", NAME=var("NAME", "you")))
phony("slow", sh("echo started; sleep 60"))
phony("all", "dist/notes.txt", "style")
default("all")
'''


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    notes = tmp_path / "source" / "notes"
    notes.mkdir(parents=True)
    (notes / "a.txt").write_text("one\n")
    (notes / "b.txt").write_text("two\n")
    (notes.parent / "Pipefile.py").write_text(PIPEFILE)
    return repository(tmp_path / "repo", notes.parent)


def listed(repo: Repo) -> set[str]:
    return {str(path.relative_to(repo.path)) for path in repo.path.rglob("*") if ".git" not in path.parts}


def test_the_first_run_works_and_the_second_says_one_line(repo: Repo) -> None:
    first = repo.imgmake("-j1")
    assert first.err == ""
    lines = first.out.splitlines()
    assert lines[0] == "dist/notes.txt  (missing)"
    assert lines[1].startswith("$ ")
    assert "cat $in > $out" in lines[1]
    assert lines[-1].startswith("2 ran, ")
    assert (repo.path / "dist/notes.txt").read_text() == "one\ntwo\n"
    second = repo.imgmake()
    assert second.out.startswith("imgmake: everything is up to date (")
    assert len(second.out.splitlines()) == 1
    assert repo.imgmake("dist/notes.txt").out == "imgmake: 'dist/notes.txt' is up to date.\n"


def test_what_a_variable_s_command_complains_of_is_told_and_is_no_part_of_its_value(repo: Repo) -> None:
    (repo.path / "Pipefile.py").write_text(
        "from imgmake import phony, sh, var\n"
        'var("WHO", sh("echo me; echo no name >&2"))\nphony("a", sh("echo I am $WHO"))\n'
    )
    assert [line for line in repo.imgmake("a").out.splitlines() if "me" in line and not line.startswith("$")] == [
        "no name",
        "I am me",
    ]


def test_asking_writes_nothing_at_all(repo: Repo) -> None:
    before = listed(repo)
    assert repo.imgmake("-q", code=1).out == ""
    dry = repo.imgmake("-n").out
    assert dry.splitlines()[0].startswith("# dist/notes.txt  (")
    for question in ("--list", "--plan", "--graph"):
        repo.imgmake(question)
    assert listed(repo) - before <= {"__pycache__"}
    repo.imgmake()
    assert repo.imgmake("-q").out == ""


def test_the_list_says_what_is_stale_and_why_tells_more(repo: Repo) -> None:
    repo.imgmake()
    repo.replace("notes/a.txt", "one", "uno")
    rows = {line.split()[0]: line for line in repo.imgmake("--list").out.splitlines()}
    assert rows["dist/notes.txt"].split(maxsplit=3)[1:] == ["file", "stale", "All the notes, in one file."]
    assert rows["all"].endswith("(default)")
    why = repo.imgmake("--why", "dist/notes.txt").out.splitlines()
    assert why[0] == "dist/notes.txt (file, Pipefile.py:5) is stale:"
    assert why[1] == "  notes/a.txt changed"


def test_a_failure_is_named_first_and_last(repo: Repo) -> None:
    repo.write("notes/c.txt", "FORBIDDEN\n")
    ran = repo.imgmake("-j1", "all", code=2)
    assert any(line.startswith("style  failed, ") for line in ran.out.splitlines())
    assert "not run: all" in ran.out.splitlines()
    assert ran.err.startswith("imgmake: 'style' failed: ")


def test_silence_and_bytes_that_are_no_text(repo: Repo) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "imgmake", "-s", "greet", "NAME=a b"], cwd=repo.path, capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"hello a b\ncaf\xe9\n", b"")


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("stile",), "'stile'", "style"),
        (("NAMES=x",), "NAMES", "NAME"),
        (("--lst",), "no option --lst", "did you mean --list?"),
    ],
)
def test_a_mistake_on_the_command_line_changes_nothing(
    repo: Repo, words: tuple[str, ...], message: str, hint: str
) -> None:
    ran = repo.imgmake(*words, code=2)
    first, second = ran.err.splitlines()
    assert first.startswith("imgmake: ")
    assert message in first
    assert hint in second
    assert ran.out == ""
    assert not (repo.path / "dist").exists()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_ends_its_children(repo: Repo, sent: signal.Signals) -> None:
    """When the terminal was closed, its children and containers went on, and a clean checkout stayed."""
    heeds = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execv(sys.executable, sys.argv[1:])"
    )
    process = subprocess.Popen(  # `heeds`: these tests may be run below nohup
        [sys.executable, "-c", heeds, sys.executable, "-m", "imgmake", "-j1", "slow"],
        cwd=repo.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert b"started\n" in process.stdout  # all up to that line, which the run that is stopped says
    process.send_signal(sent)
    _, err = process.communicate(timeout=50)  # a child left behind would hold the pipe for a minute
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "imgmake: interrupted"


def test_the_installed_script_is_the_same(repo: Repo) -> None:
    """All other runs leave its start-up out: see `tests.forked`."""
    script = str(Path(sys.executable).with_name("imgmake"))
    for words, code in ((["--list"], 0), (["stile"], 2)):
        assert repo.run(script, *words, code=code) == repo.imgmake(*words, code=code)


def test_cleaning_removes_what_was_made(repo: Repo) -> None:
    repo.imgmake()
    repo.imgmake("--clean")
    assert not (repo.path / "dist/notes.txt").exists()
    assert (repo.path / "notes/a.txt").exists()


def test_a_clean_checkout_knows_its_commit_and_leaves_nothing(repo: Repo) -> None:
    repo.replace("Pipefile.py", 'phony("greet"', 'phony("where", sh("echo $VCS_BRANCH $VCS_REF; ls")); phony("greet"')
    commit = repo.commit()
    repo.replace("Pipefile.py", "echo hello", "broken")
    repo.write("notes/new.txt", "FORBIDDEN\n")
    before = listed(repo)
    ran = repo.imgmake("-s", "--commit", "main", "where", "style")
    assert ran.out.splitlines() == [f"main {commit}", "Pipefile.py", "notes"]
    assert listed(repo) == before
    assert sorted(path.name for path in repo.path.parent.iterdir() if path.name.startswith(".")) == []
    failed = repo.imgmake("--commit", "mian", code=2)
    assert failed.err.startswith("imgmake: --commit mian: there is no such commit")
