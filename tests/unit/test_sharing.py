"""make and imgmake at one work: jobs that both count, what MAKEFLAGS hands down, and what it must not change."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from imgmake import app, settled
from imgmake.app import Options
from imgmake.errors import UsageError
from imgmake.model import State
from tests.fakes import RecordingReporter
from tests.unit.runs import HEAD
from tests.unit.runs import Repo as Kit

ROOT = Path(__file__).parents[2]
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="GNU make is not installed")

SHARED = (2, 3)  # at once, of three jobs: more would be too many, and one is none that were shared
# A recipe that says when it begins and ends; one write each, so that the lines of several never mix.
METER = "echo + >> {log}; sleep 0.05; echo - >> {log}"


class Repo:
    """A repository whose recipes say when they run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.meter = METER.format(log=self.log)
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}

    def put(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def metered(self, name: str, count: int, more: str = "") -> None:
        """A Pipefile with so many recipes that could all run at once."""
        self.put(name, f"{HEAD}for n in range({count}):\n    phony(f'm{{n}}', sh({self.meter!r}))\n{more}")

    def build(self, *goals: str, makeflags: str = "", level: str = "1", **options: object) -> tuple[int, list[str]]:
        """A run in this process, as if make had started it; its exit code, and what it warned of."""
        environ = {**self.environ, "MAKEFLAGS": makeflags, "MAKELEVEL": level}
        asked = Options(goals=goals, directory=self.folder, environ=environ, **options)  # type: ignore[arg-type]
        reporter = RecordingReporter()
        code = app.build(app.below_make(asked), reporter)
        return code, [event[1] for event in reporter.events if event[0] == "warning"]

    def make(self, *words: str) -> None:
        subprocess.run(["make", *words], cwd=self.folder, env=self.environ, check=True, capture_output=True)

    @property
    def ran(self) -> int:
        """How many recipes ran."""
        return self.log.read_text().count("+")

    @property
    def most(self) -> int:
        """How many ran at once, at most."""
        now = most = 0
        for line in self.log.read_text().split():
            now += 1 if line == "+" else -1
            most = max(most, now)
        assert now == 0, "a recipe did not end"
        return most


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path)


class Jobserver:
    """A make's, in this process; it must have all its tokens at the end."""

    def __init__(self, tokens: int) -> None:
        self.reading, self.writing = os.pipe()
        os.write(self.writing, b"+" * tokens)
        self._tokens = tokens
        self.flags = f" -j{tokens + 1} --jobserver-auth={self.reading},{self.writing}"

    def close(self) -> None:
        os.set_blocking(self.reading, False)
        left = os.read(self.reading, 100)
        os.close(self.reading)
        os.close(self.writing)
        assert left == b"+" * self._tokens


@pytest.fixture
def jobserver() -> Iterator[Jobserver]:
    made = Jobserver(2)
    yield made
    made.close()


# --- below make ----------------------------------------------------------------------------------------------------


@needs_make
def test_two_imgmakes_below_one_make_share_its_jobs(repo: Repo) -> None:
    imgmake = shlex.join([sys.executable, "-m", "imgmake"])
    repo.environ["PYTHONPATH"] = str(ROOT)
    repo.put("Makefile", f".PHONY: one two\nall: one two\none two:\n\t+{imgmake} -C $@ all\n")
    for name in ("one", "two"):
        repo.metered(f"{name}/Pipefile.py", 5, "phony('all', *(f'm{n}' for n in range(5)))\n")
    repo.make("-j3")
    assert (repo.ran, repo.most in SHARED) == (10, True)


def test_jobs_run_in_the_slots_that_make_has(repo: Repo, jobserver: Jobserver) -> None:
    repo.metered("Pipefile.py", 6, "phony('all', *(f'm{n}' for n in range(6)))\n")
    assert repo.build("all", makeflags=jobserver.flags) == (0, [])
    assert (repo.ran, repo.most in SHARED) == (6, True)


def test_without_tokens_one_job_runs_after_the_other(repo: Repo, jobserver: Jobserver) -> None:
    """What make's other children have taken is not waited for: the slot of our own is enough to get on."""
    repo.metered("Pipefile.py", 3, "phony('all', *(f'm{n}' for n in range(3)))\n")
    taken = os.read(jobserver.reading, 2)
    assert repo.build("all", makeflags=jobserver.flags) == (0, [])
    os.write(jobserver.writing, taken)
    assert (repo.ran, repo.most) == (3, 1)


def test_a_token_that_comes_back_is_used_at_once(repo: Repo, jobserver: Jobserver) -> None:
    """It is heard of while a job runs: here that job can only end after the other has run."""
    taken = os.read(jobserver.reading, 2)
    give = f"printf {taken[:1].decode()} > /proc/self/fd/{jobserver.writing}"  # dash knows one digit only
    wait = "until test -e other; do sleep 0.01; done"
    repo.put("Pipefile.py", f"{HEAD}phony('a', sh('{give}; {wait}'))\nphony('b', sh('touch other'))\n")
    repo.put("Pipefile.py", (repo.folder / "Pipefile.py").read_text() + "phony('all', 'a', 'b')\n")
    assert repo.build("all", makeflags=jobserver.flags) == (0, [])
    os.write(jobserver.writing, taken[1:])


@pytest.mark.parametrize("keep_going", [False, True])
def test_after_a_failure_every_token_is_back(repo: Repo, jobserver: Jobserver, keep_going: bool) -> None:
    repo.metered("Pipefile.py", 4, "phony('bad', sh('exit 3'))\nphony('all', 'bad', *(f'm{n}' for n in range(4)))\n")
    assert repo.build("all", makeflags=jobserver.flags, keep_going=keep_going)[0] == 2


def test_after_an_interrupt_every_token_is_back(repo: Repo, jobserver: Jobserver) -> None:
    text = """
import os, pathlib, signal, time
for name in ("one", "two"):
    phony(name, sh(f"touch {name}.began; sleep 20"))

@phony("press")
def press():
    while len(list(pathlib.Path(__file__).parent.glob("*.began"))) < 2:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

phony("all", "one", "two", "press")
"""
    repo.put("Pipefile.py", HEAD + text)
    assert repo.build("all", makeflags=jobserver.flags)[0] == 130


def test_after_a_mistake_nobody_foresaw_every_token_is_back(
    repo: Repo, jobserver: Jobserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imgmake.executor.judge import Judge

    repo.metered("Pipefile.py", 3, "phony('all', *(f'm{n}' for n in range(3)))\n")
    judge = Judge.judge

    def broken(self: Judge, node: object) -> object:
        if getattr(node, "id", "") == "m2":
            raise ZeroDivisionError
        return judge(self, node)  # type: ignore[arg-type]

    monkeypatch.setattr(Judge, "judge", broken)
    with pytest.raises(ZeroDivisionError):
        repo.build("all", makeflags=jobserver.flags)


def test_a_make_that_keeps_its_jobs_to_itself(repo: Repo) -> None:
    """make's own way: one job, and a word about the + that the line lacks; children are not sent there either."""
    repo.metered("Pipefile.py", 2, "phony('all', 'm0', 'm1', sh('echo \"$MAKEFLAGS\" > flags'))\n")
    code, [warning] = repo.build("all", makeflags="k -j3 --jobserver-auth=98,99 -- A=1")
    assert (code, repo.most) == (0, 1)
    assert "mark the line with a +" in warning
    assert (repo.folder / "flags").read_text() == "k -- A=1\n"


def test_j_of_our_own_below_make_is_beside_makes(repo: Repo, jobserver: Jobserver) -> None:
    repo.metered("Pipefile.py", 4, "phony('all', *(f'm{n}' for n in range(4)))\n")
    code, [warning] = repo.build("all", makeflags=jobserver.flags, jobs=2)
    assert (code, repo.most) == (0, 2)
    assert "-j2 is given below make" in warning


# --- above make ----------------------------------------------------------------------------------------------------

SUB = "all: a b c d\na b c d:\n\t@{meter}\n"
THREE = "for n in range(3):\n    phony(f's{n}', sh('make -s -f sub.mk'))\nphony('all', 's0', 's1', 's2')\n"


@needs_make
def test_makes_below_one_imgmake_share_its_jobs(repo: Repo) -> None:
    repo.put("Pipefile.py", HEAD + THREE)
    repo.put("sub.mk", SUB.format(meter=repo.meter))
    assert repo.build("all", level="0", jobs=3) == (0, [])
    assert (repo.ran, repo.most in SHARED) == (12, True)


@needs_make
def test_without_j_a_make_below_runs_as_ever(repo: Repo) -> None:
    """That make may not bear more: nobody said -j."""
    repo.put("Pipefile.py", f"{HEAD}phony('all', sh('$(MAKE) -s -f sub.mk'))\n")
    repo.put("sub.mk", SUB.format(meter=repo.meter))
    assert repo.build("all", level="0") == (0, [])
    assert (repo.ran, repo.most) == (4, 1)


@needs_make
def test_make_imgmake_make_share_the_jobs_of_the_first(repo: Repo, jobserver: Jobserver) -> None:
    repo.put("Pipefile.py", HEAD + THREE)
    repo.put("sub.mk", SUB.format(meter=repo.meter))
    assert repo.build("all", makeflags=jobserver.flags) == (0, [])
    assert (repo.ran, repo.most in SHARED) == (12, True)


# --- what MAKEFLAGS hands down -------------------------------------------------------------------------------------

HANDED = [
    ("kn", "1", {"keep_going": True, "dry_run": True}),
    ("Bqs", "2", {"always_make": True, "question": True, "silent": True}),
    (" --trace", "1", {"trace": True}),
    (" -j1", "1", {"jobs": 1}),
    (" -j3 --jobserver-auth=3,4", "1", {"jobs": 3, "jobserver": "3,4"}),
    ("-j8 -k", "0", {}),  # in a shell's profile: for the makes to come
    ("k -j3 --jobserver-auth=3,4", "0", {"jobs": 3, "jobserver": "3,4"}),  # from cargo, or from imgmake
    ("", "1", {}),
]


@pytest.mark.parametrize(("flags", "level", "expected"), HANDED)
def test_what_make_was_told_holds_below_it(flags: str, level: str, expected: Mapping[str, object]) -> None:
    options = Options(environ={"MAKEFLAGS": flags, "MAKELEVEL": level})
    changed = app.below_make(options)
    assert changed == Options(environ=options.environ, **expected)  # type: ignore[arg-type]


def test_make_t_runs_nothing() -> None:
    with pytest.raises(UsageError, match="make -t"):
        app.below_make(Options(environ={"MAKEFLAGS": "t", "MAKELEVEL": "1"}))


def test_make_n_builds_nothing_behind_a_plus(repo: Repo) -> None:
    repo.put("Pipefile.py", f"{HEAD}phony('all', sh('touch ran'))\n")
    assert repo.build("all", makeflags="n") == (0, [])
    assert repo.build("all", makeflags="q") == (1, [])
    assert not (repo.folder / "ran").exists()


# --- what it must not change ---------------------------------------------------------------------------------------


def test_make_makes_nothing_stale(tmp_path: Path) -> None:
    kit = Kit(tmp_path / "repo")
    kit.pipefile("file('out', sh('echo \"$MAKEFLAGS $MAKELEVEL\" > $out'))\n")
    assert kit.run("out").ran == ["out"]
    kit.environ |= {"MAKEFLAGS": "k -j3 -- X=1", "MFLAGS": "-k", "MAKELEVEL": "1"}
    assert kit.run("out").outcome("out").state is State.FRESH


KEYS: Sequence[tuple[str, str, Callable[[bytes, bytes], bool]]] = [
    (" -j3 --jobserver-auth=fifo:/tmp/GMfifo1", " -j3 --jobserver-auth=fifo:/tmp/GMfifo2", bytes.__eq__),
    (" -j3 --jobserver-auth=3,4", "B -j3 --jobserver-auth=3,4", bytes.__ne__),
]


@pytest.mark.parametrize(("one", "other", "compare"), KEYS)
def test_a_remembered_answer_holds_for_each_make(
    one: str, other: str, compare: Callable[[bytes, bytes], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKEFLAGS", one)
    first = settled.key(["all"])
    monkeypatch.setenv("MAKEFLAGS", other)
    assert compare(first, settled.key(["all"]))
