"""Which recipe lines need a shell without ``-e``: what is said of a text is tried with a shell."""

from __future__ import annotations

import itertools
import random
import re
import subprocess

import pytest

from imgmake.migrate.going import goes_on, leaves

# None of these stops sooner under -e than without.
ALIKE = [
    "c && c && c",
    "c || c",
    "c | c",
    "if c; then c; else c; fi",
    "if ! c; then :; fi; c",
    "c || exit 1; c",
    "(c; c) || true",
    "c && : yes; c",
    "set -e; c; c",
    "for i in 1 2; do : $i; done",
    "case x in (x) c;; *) c;; esac",
    "while ! c; do exit 1; done; c",
    "c 'a; b' \"; c\" | c # ; c",
    ': "$(c | c)"; c',
    "c > /dev/null 2>&1",
]
# Each of these does: the loop goes on to its next turn, a folder is not there, an output is empty.
SOONER = [
    "c; c",
    "c | c; c",
    "c && c; c",
    "V=1 c; c",
    "x=$(c); c",
    "x=`c`; c",
    "c $(c; c)",
    ': "$(c; c)"',
    "for i in 1 2; do c; done",
    "while c; do c; break; done; c",
    "if c; then c; fi; c",
    "(c && c); c",
    "{ c; c; }",
    "case x in x) c; c;; esac",
    "c | for i in 1 2; do c; done",
]


def _differs(text: str, results: list[int]) -> bool:
    """Whether ``-e`` makes a difference, when each command of a text comes to one of these results."""
    made = "".join(f"c{at}() {{ echo {at} >&2; return {result}; }}; " for at, result in enumerate(results))
    told = [
        (ran.returncode, ran.stdout, sorted(ran.stderr.split()))
        for flags in ("-c", "-ec")
        for ran in [subprocess.run(["/bin/sh", flags, made + text], capture_output=True, timeout=10, check=False)]
    ]
    return told[0] != told[1]


def _numbered(text: str) -> tuple[str, int]:
    """Its commands told apart."""
    count = itertools.count()
    return re.sub(r"'[^']*'|\bc\b", lambda c: c[0] if c[0] != "c" else f"c{next(count)}", text), next(count)


def _ever_differs(text: str) -> bool:
    named, many = _numbered(text)
    return any(_differs(named, list(results)) for results in itertools.product((0, 1), repeat=min(many, 4)))


@pytest.mark.parametrize("text", ALIKE)
def test_a_shell_that_stops_does_the_same(text: str) -> None:
    assert not goes_on(text)
    assert not _ever_differs(text)


def test_what_is_no_shell_s_text_is_left_to_the_shell() -> None:
    """This was read for ever."""
    assert all(map(goes_on, ["a | b;)", ")", "a; }; b", "if a; fi", "(a"]))


@pytest.mark.parametrize("text", SOONER)
def test_a_shell_that_stops_would_stop_sooner(text: str) -> None:
    assert goes_on(text)
    assert _ever_differs(text)


def _list(chance: random.Random, depth: int) -> str:
    return "; ".join(_chain(chance, depth) for _ in range(chance.choice([1, 1, 2])))


def _chain(chance: random.Random, depth: int) -> str:
    return chance.choice([" && ", " || ", " | "]).join(
        _command(chance, depth) for _ in range(chance.choice([1, 1, 2, 3]))
    )


def _command(chance: random.Random, depth: int) -> str:
    if depth == 0 or chance.random() < 0.5:
        return chance.choice(["c", "c", ": c", "x=1", "x=$(c)", "V=1 c", 'c "$(c)"', ": `c; c`"])
    one, two = _list(chance, depth - 1), _list(chance, depth - 1)
    forms = [f"if {one}; then {two}; fi", f"if {one}; then :; else {two}; fi", f"for i in 1 2; do {one}; done"]
    return chance.choice([*forms, f"({one})", f"{{ {one}; }}", f"case x in x) {one};; *) {two};; esac"])


def test_texts_of_any_shape_that_need_no_other_shell() -> None:
    chance = random.Random(4)
    texts = (_list(chance, 2) for _ in range(2000))
    alike = [text for text in dict.fromkeys(texts) if 2 < _numbered(text)[1] < 9 and not goes_on(text)][:60]
    assert len(alike) == 60
    for text in alike:
        named, many = _numbered(text)
        for _ in range(4):
            results = [chance.randrange(2) for _ in range(many)]
            assert not _differs(named, results), (named, results)


@pytest.mark.parametrize("text", ["if x; then", "case x in", "f() { a; }; f", "echo 'it"])
def test_what_is_not_understood_is_taken_to_go_on(text: str) -> None:
    assert goes_on(text)


def test_a_folder_that_is_not_there() -> None:
    assert leaves("cd sub; make")
    assert not leaves("cd sub && make")
    assert not leaves("cd sub; a; b")  # goes on in any case
