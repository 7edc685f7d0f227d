"""What ``--migrate`` calls the same is run by both: `make` and `imgmake`, in copies of one folder.

A program that writes down its arguments, its folder and its environment stands for everything that recipes call. What
one of them did and the other did not, or in another order, or came to another end with, is a difference.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from imgmake.app.migrating import Migrated, migrate_makefile
from imgmake.app.options import Options

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="GNU make is what is compared with")

MAKEFILES = int(os.environ.get("IMGMAKE_TEST_MAKEFILES", "8"))
FILES = {"a.txt": "a\n", "b.txt": "b\n", "sub/Makefile": "all:\n\t@L sub $(X)\n"}
# `L --fail 3` comes to 3. Only variables that tests name count of the environment.
PROGRAM = f"""#!{sys.executable} -SE
import json, os, sys
given = {{name: value for name, value in os.environ.items() if name[:2] in ("V_", "E_") or name == "TEXT"}}
with open(os.environ["L_LOG"], "a") as log:
    told = [os.path.basename(sys.argv[0]), *sys.argv[1:]], os.path.relpath(os.getcwd(), os.environ["L_TOP"]), given
    log.write(json.dumps(told) + "\\n")
sys.exit(int(sys.argv[2]) if sys.argv[1:2] == ["--fail"] else 0)
"""


@dataclass(frozen=True)
class Ran:
    """What a run came to: whether it failed, what was called, and the files that are there."""

    failed: bool
    called: list[object]
    files: dict[str, str]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    for name in ("L", "docker"):
        (folder / name).write_text(PROGRAM)
        (folder / name).chmod(0o755)
    return folder


@dataclass
class World:
    """A place for copies of a folder with a Makefile."""

    tmp_path: Path
    programs: Path
    made: int = 0

    def copy(self, makefile: str, pipefile: str = "") -> Path:
        self.made += 1
        folder = self.tmp_path / str(self.made) / "repo"
        for name, text in {**FILES, "Makefile": makefile, **({"Pipefile.py": pipefile} if pipefile else {})}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    def environ(self, folder: Path, more: Mapping[str, str]) -> dict[str, str]:
        path = os.pathsep.join([str(self.programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {"PATH": path, "HOME": "/home/x", "PWD": str(folder), "LC_ALL": "C.UTF-8"}
        return {**own, "L_LOG": f"{folder}.log", "L_TOP": str(folder), **more}

    def migrated(self, makefile: str) -> Migrated:
        folder = self.copy(makefile)
        return migrate_makefile(Options(directory=folder, environ=self.environ(folder, {})), write=False)

    def make(self, makefile: str, words: Sequence[str], more: Mapping[str, str]) -> Ran:
        return self._ran(self.copy(makefile), ["make", "-s", "-k", *words], more)

    def imgmake(self, makefile: str, pipefile: str, words: Sequence[str], more: Mapping[str, str]) -> Ran:
        command = [sys.executable, "-m", "imgmake", "-s", "-k", "-j1", *words]
        return self._ran(self.copy(makefile, pipefile), command, more)

    def _ran(self, folder: Path, command: Sequence[str], more: Mapping[str, str]) -> Ran:
        environ = self.environ(folder, more)
        ran = subprocess.run(command, cwd=folder, env=environ, capture_output=True, timeout=60, check=False)
        return _ran(folder, ran.returncode)

    def same(self, makefile: str, words: Sequence[str] = (), more: Mapping[str, str] | None = None) -> Migrated:
        """Migrate, and have both run every target that is said to be the same."""
        found = self.migrated(makefile)
        alike = [each.target for each in found.compared if each.verdict != "different"]
        targets = [each for each in alike if " " not in each and not each.startswith("/")]  # it runs in copies
        assert targets, found.compared
        both = (
            self.make(makefile, [*targets, *words], more or {}),
            self.imgmake(makefile, found.migration.pipefile.text, [*targets, *words], more or {}),
        )
        assert both[0] == both[1], f"{makefile}\n{found.migration.pipefile.text}"
        return found


@pytest.fixture
def world(tmp_path: Path, programs: Path) -> World:
    return World(tmp_path, programs)


def _ran(folder: Path, code: int) -> Ran:
    log = Path(f"{folder}.log")
    text = log.read_text().replace(str(folder), "TOP") if log.exists() else ""
    kept = [path for path in folder.rglob("*") if path.is_file() and ".imgmake" not in path.parts]
    files = {
        str(path.relative_to(folder)): path.read_text().replace(str(folder), "TOP")
        for path in kept
        if path.name != "Pipefile.py" and "__pycache__" not in path.parts
    }
    return Ran(code != 0, [json.loads(line) for line in text.splitlines()], files)


# Makefiles, each with what is given on the command line and in the environment; all targets are run.
ALIKE: dict[str, tuple[str, list[str], dict[str, str]]] = {
    "exported for a pattern": (
        "N ?= 1\nx-%: export V_A = $(N)\nx-a:\n\tL a\nx-b:\n\tL b\ny-a:\n\tL y\n",
        [],
        {},
    ),
    "what fails": (
        "a:\n\ttrue && false; L a\nb:\n\tx=$$(false); L b\nc:\n\tfor i in 1 2; do L --fail $$i; done\n"
        "d:\n\tif true; then false; fi; L d\ne:\n\tL $$(false; echo e)\nf:\n\tV_A=1 false; L f\n"
        "g:\n\tL 1\n\tL --fail 3\n\tL never\nh: g\n\tL never\ni:\n\t-false; L 1; false\n\tL 2\n",
        [],
        {},
    ),
    "failures that are ignored": (
        ".IGNORE: a\na:\n\tfalse; L 1\n\tL --fail 2\n\tL 2\nb:\n\tL --fail 1\n\tL 3\n",
        [],
        {},
    ),
    "exports": (
        "export V_A = 1\nV_B ?= 2\nV_C = 3\nexport V_B\na: export V_D = x$(N)\na: V_A = 4\nN ?= n\n"
        "a:\n\tL $(V_D) $$V_D\nb:\n\tL b $$V_B\n",
        ["V_B=9"],
        {"V_A": "env"},
    ),
    "a text of several lines": (
        'N ?= w\ndefine TEXT\none $(N)\n  two "3"\nendef\nexport TEXT\na:\n\techo "$$TEXT" > out.txt\n\tL "$$TEXT"\n',
        ["N=q"],
        {},
    ),
    "what every environment has": (
        "HOME := $(CURDIR)/h\nPATH := $(CURDIR)/sub:$(PATH)\na:\n\tL $(HOME) $$HOME ~\nb:\n\tL $${PATH%%:*}\n",
        [],
        {},
    ),
    "arguments of the shell": ('a: a.txt b.txt\n\tL $$# "$$@" $$1\nb: a.txt\n\tset -- x; L $$# $$1\n', [], {}),
    "values that a shell reads": (
        "F ?= --label \"a b\" 'c d'\nG ?= *.txt\nH = $$HOME;L z\nS = it's\n"
        'a:\n\tL $(F) \'$(G)\' "$(G)" $(G)\nb:\n\tL $(H)\n\tL "$(S)"\n',
        ["F='q r' s"],
        {},
    ),
    "values beside each other": (
        "A ?= a\nB = b\nE =\nN ?= TEXT\nS ?= 1 L\nW ?= V_X\na:\n\tL $(A)$(B) $(A)_$(B) x$(A)y '$(A)1'\n\t$(W)=1 L\n"
        "b:\n\tL $(A)$(E)$(A)\n\tV_L=$(S)\n\tV_$(A)=2 L\n\tL $$$(N) $$HO$(A)\n",
        ["A=q"],
        {"TEXT": "t"},
    ),
    "loops in one line": (
        "N ?= x y\na:\n\t$(foreach n,$(N),L $(n);)\nb:\n\t$(foreach n,$(N),L $(n) &&) L end\n",
        ["N=q r s"],
        {},
    ),
    "one shell": (".ONESHELL:\na:\n\tx=1\n\tL $$x\n\tfalse\n\tcd sub\n\tL there\n", [], {}),
    "another shell": (
        "SHELL := /bin/bash\n.SHELLFLAGS := -eu -o pipefail -c\na:\n\tfalse | true; L no\nb:\n\t[[ a == a ]] && L b\n"
        "c:\n\tL $$UNSET_\n",
        [],
        {},
    ),
    "folders": (
        "a:\n\tcd sub && L $$PWD $(CURDIR)\n\tL back\nb:\n\t(cd sub; L in); L out\nc:\n\t$(MAKE) -C sub X=1\n",
        [],
        {},
    ),
    "files that a rule makes": (
        "T = $(realpath out/t)\nV = $(file <out/v)\nW := $(file <out/v)\nN ?= a.txt\nF = $(realpath ./$(N))\n"
        'a: out/t out/v\n\tL $(T) "$(V)" "$(W)" $(F) $(realpath none)\nout/t:\n\tmkdir -p out\n\techo t > $@\n'
        "out/v: out/t\n\techo '1 2' > $@\n",
        ["N=b.txt"],
        {},
    ),
    "files that are written from the root": (
        "B := $(CURDIR)/bin\nN ?= t\na: $(B)/$(N) $(B)/u\n\tL $(B)/$(N)\n$(B)/$(N): $(CURDIR)/a.txt\n"
        "\tmkdir -p $(@D)\n\tcp $< $@\n\tL $@ $(@F)\n$(B)/%: b.txt\n\tmkdir -p $(B) && cp $< $@\n",
        ["N=v"],
        {},
    ),
    "a circle": ("a: b\n\tL a\nb: c b\n\tL b\nc:\n\tL c\n", [], {}),
    "a builder that is chosen": ("a:\n\tDOCKER_BUILDKIT=1 docker build -t x . && L built\n", [], {}),
}


@pytest.mark.parametrize("name", ALIKE)
def test_both_do_the_same(world: World, name: str) -> None:
    makefile, words, more = ALIKE[name]
    found = world.same(makefile, words, more)
    assert [each for each in found.compared if each.verdict == "different"] == []


# What cannot be the same is said, and fails.
SAID = {
    "exported for others, too": ("a: export V_A = 1\na: b\n\tL a\nb:\n\tL b\n", "a", "V_A is exported for this target"),
    "a text that names a variable": (
        'N ?= 1\ndefine TEXT\n$$N\n2\nendef\nexport TEXT\na:\n\tL "$$TEXT" $(N)\n',
        "a",
        "TEXT is exported, and cannot be given",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_what_differs_is_said(world: World, name: str) -> None:
    makefile, target, why = SAID[name]
    (found,) = [each for each in world.migrated(makefile).compared if each.target == target]
    assert (found.verdict, found.said) == ("different", True)
    assert any(each.startswith(why) for each in found.why)


@pytest.mark.parametrize(
    ("makefile", "files", "why"),
    [
        ("TAG ?= 1\na:\n\tsh deploy.sh\nb:\n\tL $(TAG)\n", {"deploy.sh": "L ${TAG:-none}\n"}, "deploy.sh reads TAG"),
        (
            "TAG ?= 1\na:\n\tdocker compose up\nb:\n\tL $(TAG)\n",
            {"compose.yaml": "x: $TAG\n"},
            "compose.yaml reads TAG",
        ),
        ("V ?= 1\nV += 2\na:\n\tL $(V)\n", {}, "`make V=…` replaces all"),
    ],
)
def test_what_the_command_line_gives_besides_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, makefile: str, files: dict[str, str], why: str
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "FILES", {**FILES, **files})
    notes = [note.why for note in world.migrated(makefile).migration.pipefile.notes]
    assert any(note.startswith(why) for note in notes), notes


def test_what_a_line_names_itself_is_not_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "FILES", {**FILES, "deploy.sh": "L $TAG\n"})
    makefile = "TAG ?= 1\nexport V_A = 1\na:\n\tTAG=$(TAG) sh deploy.sh\n"
    assert world.migrated(makefile).migration.pipefile.notes == ()


# --- Makefiles of any kind ----------------------------------------------------------------------------------


def _makefile(chance: random.Random) -> str:
    """Variables, and phony targets whose recipes mix what shells and make read each in its own way."""
    values = ["v", "a b", "'q r'", '"d e"', "*.txt", "x;L y", "$$HOME", "k=1", "", "a,b", "1.2-3", "it\\#s", "-f --g=h"]
    ops = ["=", ":=", "?=", "?="]
    lines = [f"{name} {chance.choice(ops)} {chance.choice(values)}" for name in "ABC"]
    lines += [f"D = $(A)-{chance.choice(['$(B)', '$(subst a,b,$(C))', '$(words $(A))'])}"]
    lines += [f"export V_E {chance.choice(ops[:2])} {chance.choice(['$(A)', 'e', '$(C) x'])}"] * chance.randrange(2)
    for number in range(6):
        needs = [f"t{at}" for at in range(number) if chance.random() < 0.2]
        lines += [f"t{number}: {' '.join(needs)}", *(f"\t{_line(chance)}" for _ in range(chance.randrange(1, 4)))]
    return "\n".join(lines) + "\n"


def _line(chance: random.Random) -> str:
    words = [
        "$(A)",
        '"$(B)"',
        "'$(C)'",
        "$(D)",
        "x$(A)y",
        "$$x",
        "'$$x'",
        '"$${x}$(B)"',
        "$(B)$(C)",
        "a\\ b",
        "$@",
        "{z}",
        "-q=$(C)",
    ]
    call = f"L {' '.join(chance.choice(words) for _ in range(chance.randrange(1, 4)))}"
    other = f"L {chance.choice(words)}"
    ends = chance.choice(["false", "L --fail 2", "true", "L fine"])
    forms = [
        call,
        call,
        call,
        f"cd sub && {call}",
        f"x=1; {call}",
        f"{call}; {other}",
        f"{ends} && {call} || {other}",
        f"{ends}; {call}",
        f"if {ends}; then {call}; else {other}; fi",
        f"for x in 1 2; do {call}; done",
        f"{call} \\\n\t  more; {other}",
        f"V_L=$(A) {call}",
        f"({call}; {ends}); {other}",
        f"x=$$({ends}); {call}",
        f"$(if $(B),{call},{other})",
        ends,
    ]
    return chance.choice(["", "", "@", "-", "-@", "+"]) + chance.choice(forms)


@pytest.mark.parametrize("seed", range(MAKEFILES))
def test_makefiles_of_any_kind(world: World, seed: int) -> None:
    makefile = _makefile(random.Random(seed))
    found = world.migrated(makefile)
    text = found.migration.pipefile.text
    targets = [
        each.target for each in found.compared if each.verdict != "different" and re.fullmatch(r"t\d", each.target)
    ]
    assert not [each for each in found.compared if each.verdict == "different" and not each.said]
    if not targets:
        return
    ours, theirs = world.imgmake(makefile, text, targets, {}), world.make(makefile, targets, {})
    assert ours == theirs, f"{makefile}\n{text}"
