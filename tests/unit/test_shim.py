"""The Makefile that `--shim` writes, read by real make; imgmake is a script that notes what it was asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgmake import app
from imgmake.app import Options
from imgmake.errors import UsageError
from imgmake.shim import is_shim, makefile

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="GNU make is not installed")

ROOT = Path(__file__).parents[2]
ASKED = """#!/bin/sh
printf '%s\\n' "$@" | tee -a asked | sed 's/^/asked /'
echo "$MAKEFLAGS" > makeflags
exit ${CODE:-0}
"""


class Made:
    """What make did, and what imgmake was asked for."""

    def __init__(self, folder: Path, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        asked = folder / "asked"
        self.asked = asked.read_text().split("\n")[:-1] if asked.exists() else None
        asked.unlink(missing_ok=True)

    @property
    def said(self) -> str:
        """What make said itself."""
        return "".join(f"{line}\n" for line in (self.out + self.err).splitlines() if not line.startswith("asked "))


class Folder:
    """A folder with a shim."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = {"PATH": os.environ["PATH"], "IMGMAKE": str(path / "imgmake")}
        (path / "imgmake").write_text(ASKED)
        (path / "imgmake").chmod(0o755)
        self.put("Makefile", makefile(["app", "test", "smoke/dev"]))

    def put(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def make(self, *words: str, **environ: str) -> Made:
        done = subprocess.run(
            ["make", *words],
            cwd=self.path,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        return Made(self.path, done)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# --- goals and variables -------------------------------------------------------------------------------------------

CALLS: list[tuple[list[str], list[str]]] = [
    ([], [""]),  # the Pipefile's default
    (["app"], ["app"]),
    (["test", "app", "smoke/dev"], ["test", "app", "smoke/dev"]),  # in their order, to one imgmake
    (["-j3", "test", "app"], ["test", "app"]),
    (["new"], ["new"]),  # of the Pipefile since the shim was written
    (["new", "app", "other"], ["new", "app", "other"]),
    (["app", "TAG=1.0"], ["TAG=1.0", "app"]),
    (["TAG=a b;'\"`$$(x)*\\", "app"], ["TAG=a b;'\"`$(x)*\\", "app"]),
    (["-B", "-k", "-s", "app"], ["app"]),
    (["IMGMAKE=./imgmake", "SHELL=/bin/sh", "app"], ["app"]),  # make's and the shim's own
    (["source"], ["source"]),  # a file without a rule: imgmake says what it says
    (["prog"], ["prog"]),  # make itself knows a rule for what has a source in C
    (["Makefile", "app"], ["app"]),
]


@pytest.mark.parametrize(("words", "asked"), CALLS, ids=" ".join)
def test_what_make_is_asked_imgmake_is_asked_once(words: list[str], asked: list[str], folder: Folder) -> None:
    folder.put("source", "")
    folder.put("prog.c", "")
    folder.put("app", "")  # a file of that name changes nothing
    made = folder.make(*words)
    assert (made.code, made.asked, made.err) == (0, asked, "")
    assert "othing to be done" not in made.said.replace("make: Nothing to be done for 'Makefile'.\n", "")


def test_the_environment_stays_the_environment(folder: Folder) -> None:
    assert folder.make("app", TAG="1.0").asked == ["app"]


def test_the_environment_of_another_makes_variables(folder: Folder) -> None:
    """They may be meant for another part of it; imgmake still finds them in its environment."""
    folder.put("outer.mk", "all:\n\t$(MAKE) app\n")
    folder.put("imgmake", ASKED.replace("exit", 'echo "DESTDIR=$DESTDIR" >> asked\nexit'))
    assert folder.make("-f", "outer.mk", "DESTDIR=/x").asked == ["app", "DESTDIR=/x"]


@pytest.mark.parametrize("words", [["Makefile"], [".PHONY"], [".DEFAULT"]])
def test_what_make_asks_for_itself_is_not_handed_over(words: list[str], folder: Folder) -> None:
    """Completion for make's command line asks for .DEFAULT or .PHONY."""
    assert folder.make(*words).asked is None


# --- make's options ------------------------------------------------------------------------------------------------

CODES = [
    ([], "0", 0),
    ([], "1", 2),
    ([], "2", 2),
    ([], "130", 2),
    (["-k"], "2", 2),
    (["-i"], "2", 0),
    (["-q"], "0", 0),
    (["-q"], "1", 1),
    (["-q"], "2", 2),
]


@pytest.mark.parametrize("goals", [["app"], ["app", "new"]])
@pytest.mark.parametrize(("words", "code", "expected"), CODES)
def test_exit_codes_are_as_make_gives_them(
    words: list[str], goals: list[str], code: str, expected: int, folder: Folder
) -> None:
    made = folder.make(*words, *goals, CODE=code)
    assert (made.code, made.asked) == (expected, goals)


def test_n_asks_imgmake_which_runs_nothing(folder: Folder) -> None:
    made = folder.make("-n", "app")
    assert (made.asked, made.said) == (["app"], f"{folder.path}/imgmake 'app'\n")
    assert (folder.path / "makeflags").read_text() == "n\n"


def test_jobs_are_lent(folder: Folder) -> None:
    folder.make("-j3", "app")
    assert "--jobserver-" in (folder.path / "makeflags").read_text()


# --- names ---------------------------------------------------------------------------------------------------------

NAMES = st.text(st.sampled_from("ab./-_%:#$&()'\"`,;[]{}|!@^~+\\ é"), min_size=1, max_size=5)
NAME = NAMES.filter(
    lambda name: name == name.strip() and not name.startswith(("-", "/")) and not set(name.split("/")) & {"", ".", ".."}
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAME)
def test_every_name_is_spelt_or_left_out_and_said(folder: Folder, name: str) -> None:
    text = makefile([name, "app"])
    folder.put("Makefile", text)
    folder.put("outer.mk", f"outer: app\ninclude {folder.path}/Makefile\n")
    if f"cannot spell it: {name!r}" in text:
        made = folder.make(name)
        assert (made.code, made.asked) in ((2, None), (0, [name]))  # never another target
        assert folder.make("app").asked == ["app"]
    else:
        assert folder.make(name).asked == [name]
        assert folder.make("-f", "outer.mk", name).asked == [name]


def test_a_target_that_is_the_shim_itself_is_left_out() -> None:
    assert "  Makefile" not in makefile(["Makefile", "app"])
    assert "  Makefile" in makefile(["Makefile", "app"], own="imgmake.mk")


# --- in another Makefile -------------------------------------------------------------------------------------------

OUTER = "release: app test\n\t@echo released\nold:\n\t@echo old\ninclude imgmake.mk\n"


def test_a_makefile_that_includes_it_has_the_targets_beside_its_own(folder: Folder) -> None:
    (folder.path / "Makefile").rename(folder.path / "imgmake.mk")
    folder.put("Makefile", OUTER)
    folder.put("app", "")
    made = folder.make()
    assert (made.asked, made.said) == (["app", "test"], "released\n")
    made = folder.make("old")
    assert (made.asked, made.said) == (None, "old\n")
    assert folder.make("-q", "app", CODE="1").code == 1


# --- writing it ----------------------------------------------------------------------------------------------------


def shim(folder: Path, shim: str = "", **options: object) -> str:
    (folder / "Pipefile.py").write_text(
        "from imgmake import *\nfile(['a.txt', 'b.txt'], sh('touch a.txt b.txt'))\nphony('app', 'a.txt')\n"
    )
    return app.shim(Options(directory=folder, environ={}, shim=shim, **options))  # type: ignore[arg-type]


def test_it_is_written_and_written_again(tmp_path: Path) -> None:
    assert shim(tmp_path) == f"{tmp_path}/Makefile is written: `make TARGET` calls imgmake\n"
    assert is_shim((tmp_path / "Makefile").read_text())
    assert shim(tmp_path) == f"{tmp_path}/Makefile is written: `make TARGET` calls imgmake\n"
    text = (tmp_path / "Makefile").read_text()
    assert [name in text for name in ("  a.txt \\\n", "  b.txt \\\n", "  app\n")] == [True] * 3


def test_stdout_shows_it_beside_a_makefile(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n")
    assert is_shim(shim(tmp_path, stdout=True))
    assert (tmp_path / "Makefile").read_text() == "all:\n"


@pytest.mark.parametrize(("there", "name"), [("Makefile", ""), ("GNUmakefile", ""), ("makefile", ""), ("x.mk", "x.mk")])
def test_no_makefile_of_somebody_elses_is_lost(there: str, name: str, tmp_path: Path) -> None:
    """Nor is one written that make would not read."""
    (tmp_path / there).write_text("all:\n")
    with pytest.raises(UsageError, match=f"{there} is there already") as caught:
        shim(tmp_path, name)
    assert "--stdout" in caught.value.hint
    assert (tmp_path / there).read_text() == "all:\n"
    assert (tmp_path / "Makefile").exists() == (there == "Makefile")


@pytest.mark.parametrize("asked", [{"migrate": ""}, {"check": True}])
def test_it_is_nothing_to_migrate_from(asked: dict[str, object], tmp_path: Path) -> None:
    shim(tmp_path)
    with pytest.raises(UsageError, match="--shim wrote it"):
        app.migrate(Options(directory=tmp_path, environ={}, **asked))  # type: ignore[arg-type]


def test_another_name_beside_a_makefile(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n")
    assert shim(tmp_path, "Makefile.new") == (
        f"{tmp_path}/Makefile.new is written: `make -f Makefile.new TARGET` calls imgmake\n"
    )


def test_another_pipefile_is_named_in_it(tmp_path: Path) -> None:
    (tmp_path / "it's.py").write_text("from imgmake import *\nphony('app', sh('true'))\n")
    text = app.shim(Options(directory=tmp_path, environ={}, shim="", file=Path("it's.py"), stdout=True))
    folder = Folder(tmp_path)
    folder.put("Makefile", text)
    assert folder.make("app").asked == ["-f", "it's.py", "app"]


def test_the_real_imgmake_behind_it(folder: Folder) -> None:
    folder.put("Pipefile.py", "from imgmake import *\nTAG = var('TAG', 'none')\nphony('app', sh('echo $TAG > made'))\n")
    imgmake = f"{sys.executable} -m imgmake"
    made = folder.make("app", "TAG=1.0", IMGMAKE=imgmake, PYTHONPATH=str(ROOT), HOME=str(folder.path))
    assert (made.code, made.err) == (0, "")
    assert (folder.path / "made").read_text() == "1.0\n"
