"""Makefiles whose commands follow what is given on the command line in less plain ways: the Pipefile follows, too."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from imgmake.app.migrating import Migrated, migrate_makefile
from imgmake.app.options import Options

Migrate = Callable[..., Migrated]


@pytest.fixture
def migrate(tmp_path: Path) -> Migrate:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")

    def migrated(makefile: str) -> Migrated:
        (tmp_path / "Makefile").write_text(makefile)
        return migrate_makefile(Options(directory=tmp_path), write=False)

    return migrated


# A Makefile, and lines that its Pipefile holds. Every target has to be the same, with variables overridden, too.
SAME = {
    "a variable between single quotes in a command that make asks": (
        "TAG ?= a\nx:\n\techo $(shell printf '%s' '$(TAG)')\n",
        ['sh("echo $(printf \'%s\' \\"${TAG}\\")")'],
    ),
    "a command that make asks, between single quotes": (
        "TAG ?= a\nx:\n\techo '$(shell echo $(TAG))'\n",
        ["sh(\"echo ''\\\"$(echo ${TAG})\\\"''\")"],
    ),
    "a command that make asks of what may be overridden": (
        "TO ?= here\nALL = a b\nx:\n\techo $(shell echo $(ALL) | sed -e 's~[^ ]*~$(TO)/&~g')\n",
        ["$TO"],
    ),
    "a command that fails with another value": (
        "V ?= 1.2\nMINOR ?= $(shell echo $(V) | grep -o '^[0-9]*')\nx:\n\techo $(MINOR)\n",
        ['MINOR = var("MINOR", sh("echo $V | grep -o \'^[0-9]*\' || true"))'],
    ),
    "a variable of a build's shell": (
        "V ?= $(shell echo 1)\nNAME = app:$(V)\nx:\n\tDOCKER_BUILDKIT=1 docker build  -t $(NAME) .\n",
        ['sh(f"DOCKER_BUILDKIT=1 docker build  -t {NAME} .")'],
    ),
    "a name that no engine takes with another value": (
        "V ?= 1.2\nTAG ?= $(shell echo $(V) | grep -o '^[0-9]')\nx:\n\tdocker build -t acme/app:$(TAG) .\n",
        ['image("x", tags=f"acme/app:{TAG}")'],
    ),
    "a tab before what is no recipe's": (
        "x:\n\techo $(F)\nA = 1\nifdef B\n\tF += $(A) $(B)\nendif\n",
        ['if B:\n    F = f"{F} {A} {B}"'],
    ),
    "a guard that asks for a variable by its name": (
        "needs = $(foreach 1,$1,$(call _needs,$1))\n"
        "_needs = $(if $(value $1),,$(error $1 is not set, for $(value @)))\n"
        "x:\n\t@:$(call needs,D E)\n\techo $(D)\n",
        ['[] if D else fail("D is not set, for x"),', '[] if E else fail("E is not set, for x"),'],
    ),
    "a default of one target": (
        "x y: N ?= a\nx: V ?= $(N)-data\nx: F ?=\nx y:\n\techo $(F) $(V) $(N)\n",
        ['N = var("N", "a")', "echo $F {V or f'{N}-data'} $N", "echo $F $V $N"],
    ),
    "defaults of targets, one made of the other, that differ": (
        "x: N ?= a\nx y: V ?= $(N)-data\nx y:\n\techo $(V) $(N)\n",
        ["""sh(f"echo $v {N or 'a'}", v=V or f"{N or 'a'}-data")"""],
    ),
    "a target's own value of what has a default": (
        "T ?= 6m\nx y: \n\techo $(T) $@\nx: T = 10m\nz: T += 1\nz:\n\techo $(T)\n",
        ["{'10m' if T == '6m' else T}", "echo $T y", "{f'{T} 1' if T == '6m' else T}"],
    ),
    "a target's own value that make expanded as it read it": (
        "x: A := -x P=$(P)\nx:\n\techo $(A) $(P)\n",
        ['sh("echo -x P=$P $P")'],
    ),
    "a branch that only a value of two variables together comes to": (
        "ifeq ($(A)$(B),)\npush:\n\t$(error give A or B)\nelse\npush: build\n\tdocker push $(A)$(B)/app\nendif\n"
        "build:\n\tdocker build -t $(A)$(B)/app .\n",
        ['    phony("push", "build", sh("docker push $A$B/app"))'],
    ),
    "what eval was given the values of": (
        "R ?= reg\nS = $(R)/s\nN := 1\ndefine one\n$(1): $(1).df\n\techo $(S)/$(1) $(N) $(subst a,b,$(1))$(R) \\\n"
        "\t\t$$(R) $(if $(2),-x $(2))\nendef\ndefine both\n$(call one,$(1),$(R))\n$(call one,$(1)-debug,)\nendef\n"
        "$(foreach i,app web,$(eval $(call both,$(i))))\napp.df app-debug.df web.df web-debug.df:\n\techo $@\n",
        ["sh(f\"echo {S}/app 1 bpp$R $R {f'-x {R}' if R else ''}\")", 'sh(f"echo {S}/web-debug 1 web-debug$R $R")'],
    ),
    "a backslash at the end of a recipe": (
        "E ?= a\nx: y\n\techo 1\n\tA=b echo $(E) ;\\\n\ny:\n\techo b; \\\n",
        ['sh("A=b echo $E ;")', 'sh("echo b;")'],
    ),
    "what runs an image behind what builds it in a list": (
        "B := $(shell echo 1)\nI = acme/app-$(B):1\nall: b/a b/b\nb/a:\n\tdocker build -t $(I) -f tests/Dockerfile .\n"
        "b/b:\n\tdocker run --rm --env A='$(A)' $(I)\n",
        ['phony("b/b", "b/a", '],
    ),
    "several commands that may fail": (
        "V ?= 1.2\nMINOR ?= $(shell cd . && echo $(V) | grep -o '^[0-9]*'; grep -o 1 $(V))\nx:\n\techo $(MINOR)\n",
        [") || true"],
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_what_is_given_is_followed(migrate: Migrate, name: str) -> None:
    makefile, expected = SAME[name]
    found = migrate(makefile)
    text = found.migration.pipefile.text
    assert [line for line in expected if line not in text] == [], text
    assert [(each.target, each.why) for each in found.compared if each.verdict == "different"] == [], text


def test_an_answer_that_is_code_to_a_shell_is_asked_for_as_make_asks(migrate: Migrate, tmp_path: Path) -> None:
    """A shell's own $(…) would take quotes in an answer for text, and make does not."""
    (tmp_path / "flags").write_text('-l "a b"\n')
    found = migrate("x:\n\techo $(shell cat flags) b\n")
    assert "sh(f\"echo {shell('cat flags')} b\")" in found.migration.pipefile.text
    assert [each.verdict for each in found.compared] == ["same"]


def test_a_file_that_is_included_by_its_full_path_is_named_from_here(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "common.mk").write_text("b:\n\techo b\n")
    makefile = "include $(dir $(abspath $(lastword $(MAKEFILE_LIST))))../common.mk\na: b\n"
    (tmp_path / "sub" / "Makefile").write_text(makefile)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    found = migrate_makefile(Options(directory=tmp_path / "sub"), write=False)
    assert "# From ../common.mk:" in found.migration.pipefile.text


def test_where_an_included_file_is_is_asked_when_it_is_read(tmp_path: Path) -> None:
    """What was read last is another file afterwards."""
    (tmp_path / "tools").mkdir()
    text = "D := $(dir $(lastword $(MAKEFILE_LIST)))\nR := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))\n"
    (tmp_path / "tools" / "own.mk").write_text(text)
    (tmp_path / "Makefile").write_text("include tools/own.mk\na:\n\techo $(D)x $(R)\n")
    found = migrate_makefile(Options(directory=tmp_path), write=False)
    assert [(each.target, each.verdict) for each in found.compared] == [("a", "same")]
    assert 'D = "tools/"' in found.migration.pipefile.text
    assert 'R = "$PWD/tools/"' in found.migration.pipefile.text


def test_a_line_without_a_tab_between_recipe_lines_is_what_make_takes_it_for(migrate: Migrate) -> None:
    found = migrate("R ?= a\nx:\n\techo 1\nifeq ($(R),a)\n  echo skip: y\nelse\n\techo 2\nendif\ny:\n\techo y\n")
    assert {each.target: each.verdict for each in found.compared} == dict.fromkeys(("x", "echo", "skip", "y"), "same")
    assert '    for name in ("echo", "skip"):\n        phony(name, "y")' in found.migration.pipefile.text


def test_many_that_take_images_wait_for_many_that_make_them(migrate: Migrate) -> None:
    names = "abcdefghijklm"
    rules = "".join(f"build-{n}:\n\ttime docker build -t x/{n} .\npush-{n}:\n\ttime docker push x/{n}\n" for n in names)
    listed = " ".join(f"push-{name}" for name in names)
    found = migrate(f"all: {listed.replace('push', 'build')} pushed\npushed: {listed}\n{rules}")
    assert {each.target: each.verdict for each in found.compared}["all"] != "different"
