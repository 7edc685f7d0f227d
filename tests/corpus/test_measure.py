"""The measuring of migrations, on Makefiles that are small enough to know what has to come of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.corpus import measure
from tests.corpus.attempt import attempt
from tests.corpus.classes import difficulty
from tests.corpus.measure import Outcome, Subject, Target, table

PLAIN = "build:\n\tdocker build -t acme/app .\n.PHONY: push\npush: build\n\tdocker push acme/app\n"
BROKEN = "ifdef X\nall:\n\techo $(X)\n"


def test_a_table_of_two_makefiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, makefile in {"plain": PLAIN, "broken": BROKEN}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "Makefile").write_text(makefile)
        (tmp_path / name / "Dockerfile").write_text("FROM scratch\n")
    reasons = tmp_path / "reasons.json"
    assert measure.main(["--reasons", str(reasons), str(tmp_path)]) == 1  # one of them is no Makefile
    broken, plain = sorted(capsys.readouterr().out.splitlines()[1:3])
    assert "crash: error: make cannot read Makefile" in broken
    assert plain.split()[:5] == ["plain/Makefile", "1", "2", "0", "2"]
    assert {each["name"]: len(each["targets"]) for each in json.loads(reasons.read_text())}["plain/Makefile"] == 2
    assert sorted(path.name for path in (tmp_path / "plain").iterdir()) == ["Dockerfile", "Makefile"]


def test_an_index_says_the_class_and_the_path(tmp_path: Path) -> None:
    (tmp_path / "INDEX.tsv").write_text("007\t3\tsome\tbuild/Makefile\n")
    assert list(measure.subjects([tmp_path])) == [Subject("007", 3, tmp_path / "some", "build/Makefile")]


def test_a_target_that_the_check_calls_equal_is_judged_by_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "repo"
    source.mkdir()
    (source / "Makefile").write_text("a:\n\techo some words\n")
    monkeypatch.setattr("tests.corpus.attempt.lines", lambda options: [("a", "phony", "echo words")])
    found = attempt(source, "Makefile", tmp_path / "scratch")
    assert [(each["verdict"], each["why"]) for each in found["targets"]] == [  # type: ignore[attr-defined]
        ("silent", "called same, but imgmake does not say some")
    ]


def test_sums_are_of_a_class_and_a_crash_counts_no_target() -> None:
    tried = [
        (Subject("a", 1, Path(), ""), Outcome([Target("x", "same"), Target("y", "said")], 0.5)),
        (Subject("b", 1, Path(), ""), Outcome(crash="no")),
    ]
    expected = "class 1: 2 Makefiles, 2 targets: 1 same, 0 better, 1 said, 0 different, 0 silent; 50.0 % same or better"
    assert f"{expected}; 1 crashes; slowest 0.5 s" in table(tried)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("a: b\n\techo $(X) $$(date) # $(eval x)\n", 1),
        ("a:\n\techo $@\n", 2),
        ("ifdef X\nendif\n", 2),
        ("a: X = 1\na:\n\techo $(X)\n", 2),
        ("a: b | c\n", 3),
        ("a:\n\t$(MAKE) -C sub\n", 3),
        ("$(A): %.o: %.c\n", 3),
        ("a:: b\n\techo\n", 4),
        ("A ::= 1\n", 1),
        (".ONESHELL:\n", 4),
    ],
)
def test_classes(text: str, level: int) -> None:
    assert difficulty(text) == level


@pytest.mark.parametrize(
    ("makefile", "ours", "verdict"),
    [
        ("TAG ?= a\nx:\n\techo $(shell printf '%s' '$(TAG)') end\n", None, "same"),
        ("x:\n\tls $$HOME/.cache $(HOME)/.local\n", None, "same"),
        ("x:\n\tdocker build --progress plain --target some .\n", "docker build --target some .", "same"),
        ("x: T = some\nx: y\ny:\n\techo $(T)\nz:\n\techo $(T)\n", None, "same"),
        ("x:\n\trsync --progress some a\n", "rsync --progress a", "silent"),
        ("x:\n\tdocker build --progress=plain --target some .\n", "docker build --progress=plain .", "silent"),
    ],
)
def test_a_word_is_looked_for_where_a_shell_would_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, makefile: str, ours: str | None, verdict: str
) -> None:
    source = tmp_path / "repo"
    source.mkdir()
    (source / "Makefile").write_text(makefile)
    (source / "Dockerfile").write_text("FROM scratch\n")
    if ours is not None:
        monkeypatch.setattr("tests.corpus.attempt.lines", lambda options: [("x", "phony", ours)])
    found = attempt(source, "Makefile", tmp_path / "scratch")
    assert {each["verdict"] for each in found["targets"]} == {verdict}  # type: ignore[attr-defined]
