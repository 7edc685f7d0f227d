"""Variables and metadata in a Pipefile: where a value comes from, when it is late, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import imgmake
from imgmake.errors import PipefileError
from imgmake.model import Pipeline
from imgmake.variables import LATE, Values
from tests.loading import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def texts(pipeline: Pipeline) -> list[str]:
    """The text of each rule's first command: `sh(f"…")` shows what a variable gave."""
    return [rule.recipe[0].text for rule in pipeline.rules]


def test_the_command_line_wins_over_the_environment_over_the_default(repository: Repository) -> None:
    text = "phony('x', sh(var('A', 'd') + var('B', 'd') + var('C', 'd')))"
    found = repository.load(text, overrides={"A": "cli"}, A="env", B="env")
    assert texts(found) == ["clienvd"]
    assert {name: v.origin for name, v in found.variables.items()} == {
        "A": "command line",
        "B": "environment",
        "C": "default",
    }


def test_a_variable_set_to_nothing_is_set(repository: Repository) -> None:
    assert texts(repository.load("phony('x', sh('[' + var('A', 'd') + ']'))", A="")) == ["[]"]


@pytest.mark.parametrize(
    ("declared", "origin"),
    [("var('A')", "required"), ("var('A', sh('date'))", "command"), ("var('A', 'x', secret=True)", "default")],
)
def test_what_is_not_known_at_load_is_a_late_value(repository: Repository, declared: str, origin: str) -> None:
    found = repository.load(f"phony('x', sh({declared}))")
    assert texts(found) == ["${A}"]
    assert found.variables["A"].origin == origin


def test_a_given_secret_stays_out_of_every_rule(repository: Repository) -> None:
    found = repository.load("phony('x', sh('login', T=var('T', secret=True)))", T="hush")
    assert "hush" not in repr(found)
    assert Values(found.variables, {}, lambda _: "").get("T") == "hush"


@pytest.mark.parametrize(("default", "value"), [("3", "3"), ("True", "true"), ("Path('a/b')", "a/b"), ("''", "''")])
def test_a_default_is_text(repository: Repository, default: str, value: str) -> None:
    found = repository.load(f"from pathlib import Path\nphony('x', sh(var('A', {default}) or \"''\"))")
    assert texts(found) == [value]


def test_the_same_variable_may_be_declared_again(repository: Repository) -> None:
    text = "for n in 'ab':\n    phony(n, sh(var('V', sh('git describe')) + var('T', '1', choices=['1', '2'])))"
    found = repository.load(text, T="2")
    assert texts(found) == ["${V}2"] * 2


def test_metadata_are_late_values_whatever_the_environment_says(repository: Repository) -> None:
    found = repository.load("phony('x', sh(f'{BUILD_ID} {VCS_REF}'))", BUILD_ID="b1", VCS_REF="", VCS_URL="u")
    assert texts(found) == ["${BUILD_ID} ${VCS_REF}"]
    assert {name: (v.value, v.origin) for name, v in found.variables.items()} == {
        "BUILD_ID": ("b1", "environment"),
        "VCS_URL": ("u", "environment"),
    }


def test_a_build_id_of_the_command_line_wins(repository: Repository) -> None:
    found = repository.load("phony('x')", overrides={"BUILD_ID": "cli"}, BUILD_ID="env")
    assert (found.variables["BUILD_ID"].value, found.variables["BUILD_ID"].origin) == ("cli", "command line")


def test_constants_stand_for_their_late_values() -> None:
    assert {name: getattr(imgmake, name) for name in LATE} == {name: f"${{{name}}}" for name in LATE}


def test_the_machine_is_known_at_load(repository: Repository) -> None:
    assert texts(repository.load("phony('x', sh(f'{ARCH} {PLATFORM}'))")) == [f"{imgmake.ARCH} linux/{imgmake.ARCH}"]
    assert texts(repository.load("phony('x', sh(var('ARCH', ARCH)))", overrides={"ARCH": "s390x"})) == ["s390x"]


WRONG = [
    ("var('A B')", {}, "var: 'A B' is no name"),
    ("var(3)", {}, "var: 3 is no name"),
    ("var('BUILD_ID')", {}, "var: BUILD_ID is imgmake's own\n  use it with: from imgmake import BUILD_ID"),
    ("var('out')", {}, "$out is a shell's name for the files of its rule"),
    ("var('A', defalt='x')", {}, "var() has no argument 'defalt'\n  did you mean 'default'?"),
    ("var('A', 1.10)", {}, "A: default is the number 1.1"),
    ("var('A', 'x', choices=['y', 'z'])", {}, "A: the default 'x' is none of its choices: y, z"),
    (
        "var('A', choices=['local', 'remote'])",
        {"A": "lcal"},
        "'lcal' is none of local, remote\n  did you mean 'local'?",
    ),
    ("var('A', choices=['y', 'z'])", {"A": "q"}, "A from the environment: 'q' is none of y, z\n  choose one of y, z"),
    ("var('A', choices=['y'], secret=True)", {"A": "hush"}, "its value is none of y"),
    ("var('A', 'x'); var('A', 'y')", {}, "var A is declared twice, and differently\n  the first is at Pipefile.py:2"),
    ("var('A', '$B'); var('B', 'x$A')", {}, "variables name each other in a ring: A -> B -> A"),
]


@pytest.mark.parametrize(("text", "environ", "said"), WRONG, ids=[text for text, _, _ in WRONG])
def test_a_mistake_is_told_at_its_line(repository: Repository, text: str, environ: dict[str, str], said: str) -> None:
    found = repository.problem(text, overrides={}, **environ)
    assert found.startswith("Pipefile.py:2: ")
    assert said in found
    assert "hush" not in found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("VERSON", "no variable is called VERSON\n  did you mean 'VERSION'?"),
        ("X", "no variable is called X\n  declared are VERSION"),
        ("BUILDID", "did you mean 'BUILD_ID'?"),
        ("FINGERPRINT", "FINGERPRINT is worked out for each image: it cannot be given"),
        ("ARCH", 'ARCH is this machine\'s: it cannot be given\n  a Pipefile that says ARCH = var("ARCH", ARCH)'),
    ],
)
def test_an_override_that_nothing_declares_is_an_error(repository: Repository, name: str, said: str) -> None:
    assert said in repository.problem("var('VERSION', '1')", overrides={name: "1"})


def test_a_command_may_only_give_one_of_the_choices(repository: Repository) -> None:
    found = repository.load("var('A', sh('pick'), choices=['x', 'y'])")
    assert Values(found.variables, {}, lambda _: "x\n").get("A") == "x"
    with pytest.raises(PipefileError, match="output 'z' is none of x, y"):
        Values(found.variables, {}, lambda _: "z\n").get("A")
