"""Ignore files and COPY sources as moby matches them; `tests/engine` compares both with real builds."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from imgmake.dockerfile.patterns import BadPattern, clean, glob, has_wildcards, moby, moby_before_23
from imgmake.errors import Place, SourceError
from imgmake.ignore import Ignore, copies


def ignored(text: str, path: str, family: str = "buildkit", *, legacy: bool = False) -> bool:
    return Ignore.parse(text, ".dockerignore", family=family, legacy=legacy).excludes(path)


# (pattern, path, ignored)
PATTERNS = [
    ("a", "a", True),
    ("a", "a/b/c", True),
    ("a", "b/a", False),
    ("a", "ab", False),
    ("/a", "a", True),
    ("a/", "a/b", True),
    ("./a//b/../c", "a/c", True),
    ("*", "a/b", True),
    ("*.py", "a.py", True),
    ("*.py", "d/a.py", False),
    ("**/*.py", "a.py", True),
    ("**/*.py", "d/e/a.py", True),
    ("**/node_modules", "x/node_modules/y", True),
    ("**/node_modules", "x_node_modules", False),
    ("a/**", "a/b/c", True),
    ("a/**", "a", False),
    ("a/**/c", "a/c", True),
    ("a/**/c", "a/b/b/c", True),
    ("**", "anything", True),
    ("**a", "ba", True),
    ("a**", "ab/c", True),
    ("?", "é", True),
    ("a?b", "a/b", False),
    ("[a-c]x", "bx", True),
    ("[^a-c]x", "bx", False),
    ("[!a]x", "!x", True),
    ("a.b", "axb", False),
    ("a+b(c)|{1}$", "a+b(c)|{1}$", True),
    ("a+*", "a+b", True),
    ("a+*", "aab", False),
    (r"\#a", "#a", True),
    (r"a\*", "a*", True),
    (r"a\*", "ab", False),
    ("é*", "éa", True),
    (".", "a", False),
    ("..", "a", False),
    ("/", "a", False),
    ("#a", "#a", False),
    (" #a", "#a", True),
    ("a b ", "a b", True),
    ("a\r", "a", True),
    ("\ufeffa", "a", True),
    ("\n\n a\t", "a", True),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), PATTERNS)
def test_patterns(pattern: str, path: str, expected: bool) -> None:
    assert ignored(pattern, path) is expected


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("a\n!a/b", "a/b", False),
        ("a\n!a/b", "a/b/c", False),
        ("a\n!a/b", "a/c", True),
        ("!a/b\na", "a/b", True),
        ("a\n!a/b\na/b/c", "a/b/c", True),
        ("a\n! /a/b ", "a/b", False),
        ("*\n!*.md\nREADME.md", "x.md", False),
        ("*\n!*.md\nREADME.md", "README.md", True),
        ("!a", "a", False),
        ("*\n!src/**\nsrc/**/gen", "src/x/y", False),
        ("*\n!src/**\nsrc/**/gen", "src/x/gen/z", True),
    ],
)
def test_the_last_match_wins(text: str, path: str, expected: bool) -> None:
    assert ignored(text, path) is expected


@pytest.mark.parametrize(
    ("text", "path", "buildkit", "classic"),
    [
        ("*\n!**/*.go", "src/a.go", False, True),
        ("a\n!a/*/c", "a/b/c", False, True),
        ("a\n!a/**", "a/b", False, False),
        ("a\n!a/b", "a/b", False, False),
    ],
)
def test_the_classic_builder_prunes_more(text: str, path: str, buildkit: bool, classic: bool) -> None:
    assert ignored(text, path) is buildkit
    assert ignored(text, path, "classic") is classic
    assert ignored(text, path, legacy=True) is classic


def test_before_23_one_parent_was_tried() -> None:
    text = "a/**/d\n!a/b/c/d/e"
    assert ignored(text, "a/b/c/d/f")
    assert not ignored(text, "a/b/c/d/f", legacy=True)
    assert ignored(text, "a/b/d/f", legacy=True)


def test_folders_are_pruned_where_no_exception_could_match() -> None:
    ignore = Ignore.parse("a\nb\n!a/keep/this", "x")
    assert not ignore.prunes("a")
    assert not ignore.prunes("a/keep")
    assert ignore.prunes("a/other")
    assert ignore.prunes("b")
    assert Ignore.parse("a", "x").prunes("a")
    assert not Ignore.parse("a\n!**/c", "x").prunes("a")
    assert Ignore.parse("a\n!**/c", "x", family="classic").prunes("a")


@pytest.mark.parametrize("text", ["", "!.imgmake", "!**/*"])
def test_our_own_folder_is_in_no_context(text: str) -> None:
    assert ignored(text, ".imgmake/state.db")
    assert ignored(text, "sub/.imgmake/state.db")
    assert Ignore.parse(text, "x").prunes(".imgmake")
    assert not ignored(text, "x.imgmake")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("[a", "not closed"),
        ("a[", "not closed"),
        ("[]", "before ']'"),
        ("[-a]", "before '-'"),
        ("[a-]", "before ']'"),
        ("a\\", "backslash"),
        (r"\p*", "unknown escape"),
        ("!", "excepts nothing"),
        ("!/", "excepts nothing"),
        ("[z-a]", "upside down"),
        ("[[:alpha:]", "not closed"),
    ],
)
def test_what_is_no_pattern(pattern: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        Ignore.parse(f"ok\n\n{pattern}\n", "ctx/.dockerignore")
    assert caught.value.place == Place("ctx/.dockerignore", 3)


def test_which_line_keeps_a_path_out() -> None:
    ignore = Ignore.parse("# about\n*.log\n\nbuild\n!build/keep\nbuild/keep/not\n", ".dockerignore")
    assert ignore.decided_by("a.log") == Place(".dockerignore", 2)
    assert ignore.decided_by("build/x") == Place(".dockerignore", 4)
    assert ignore.decided_by("build/keep/not/x") == Place(".dockerignore", 6)
    assert ignore.decided_by("build/keep/x") is None
    assert ignore.decided_by(".imgmake/x") is None
    assert Ignore.parse("a\nb", "f").decided_by("b/c") == Place("f", 2)


PARTS = st.sampled_from(["a", "b", "ab", "*", "**", "?", "a*", "[ab]", "x.y"])
PATTERN = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "x.y", "xzy"]), min_size=1, max_size=4).map("/".join)


def test_a_match_that_changes_nothing_is_not_remembered_for_what_is_below() -> None:
    """As moby has it: the second `a` finds `a` ignored already, so below it only the first one is known to match."""
    assert ignored("a\n!a/a\na\n!**/~", "a/a") is False


# Exceptions come last, as they are meant to be written: moby's shortcuts (see above) then change nothing.
LINES = st.lists(st.tuples(st.booleans(), PATTERN), max_size=5).map(lambda lines: sorted(lines, key=lambda x: x[0]))


@given(LINES, PATHS)
def test_a_path_is_ignored_when_the_last_match_of_it_or_a_parent_says_so(
    lines: list[tuple[bool, str]], path: str
) -> None:
    """moby's documentation in one line; `!**/~` matches nothing here, and keeps BuildKit from pruning."""
    said = False
    parts = path.split("/")
    for exception, pattern in lines:
        regex = re.compile(moby(pattern))
        # An exception for a parent that was not ignored changes nothing there, and moby forgets it for what is below.
        assume(not exception or not any(regex.fullmatch("/".join(parts[:i])) for i in range(1, len(parts))))
        if any(regex.fullmatch("/".join(parts[: i + 1])) for i in range(len(parts))):
            said = not exception
    text = "\n".join(f"{'!' if exception else ''}{pattern}" for exception, pattern in lines)
    assert ignored(f"{text}\n!**/~", path) is said


@given(st.lists(PATTERN, max_size=5), PATHS)
def test_without_exceptions_every_walk_says_the_same(lines: list[str], path: str) -> None:
    """One expression for all patterns, or each by itself: what is below an ignored folder is ignored."""
    text = "\n".join(lines)
    found = {ignored(text, path), ignored(text, path, "classic"), ignored(f"{text}\n!~", path, "classic")}
    assert len(found) == 1


# --- expressions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("a*b*c", "axbxc", True),
        ("a*/b", "a/c/b", False),
        ("a???b", "a☺b", False),
        ("[a-ž]*", "é", True),
        ("a[^a]b", "a/b", True),
        ("[\\]a]", "]", True),
        ("[\\-x]", "-", True),
        ("[z-a]", "m", False),
        ("[^z-a]", "m", True),
        ("*x", "xxx", True),
        ("a\\", "a", None),
        ("[", "a", None),
        ("[]a]", "]", None),
        ("[a-b-c]", "a", None),
        ("[-]", "-", None),
        ("[a-", "a", None),
    ],
)
def test_gos_match(pattern: str, text: str, expected: bool | None) -> None:
    try:
        found: bool | None = glob(pattern).fullmatch(text) is not None
    except BadPattern:
        found = None
    assert found is expected


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("[[:alpha:]]", "a]", False),
        ("[*]", "x", False),
        (r"\d*", "7x", True),
        ("a]*", "a]b", True),
        ("x^*", "x^y", False),
    ],
)
def test_what_re2_makes_of_a_pattern(pattern: str, text: str, expected: bool) -> None:
    assert (re.fullmatch(moby(pattern), text, re.ASCII) is not None) is expected


def test_before_23_expressions_showed_through() -> None:
    assert re.fullmatch(moby_before_23("a+"), "aaa")
    assert re.fullmatch(moby_before_23("(a|b)"), "b")
    for bad in ("(a", "*+", "++"):
        with pytest.raises(BadPattern):
            moby_before_23(bad)


@given(st.text(st.sampled_from("ab*?[]^-\\/.+({|"), max_size=8))
def test_any_text_is_a_pattern_or_is_refused(text: str) -> None:
    """Nothing but BadPattern is raised, and Python warns of nothing."""
    for translate in (moby, moby_before_23, glob):
        try:
            translate(clean(text))
        except BadPattern:
            continue


# --- sources --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "path", "taken"),
    [
        (".", "a/b", True),
        ("a", "a", True),
        ("a", "a/b/c", True),
        ("a", "ab", False),
        ("target/*.jar", "target/x.jar", True),
        ("target/*.jar", "target/lib/x.jar", False),
        ("target/*.jar", "target/x.jar/inside", True),
        ("*", "a/b", True),
        ("a*/b", "ax/b/c", True),
        ("a[b", "a[b", None),
        (r"a\*", r"a\*", True),
        ("**/x", "a/b/x", False),
    ],
)
def test_what_a_source_takes(pattern: str, path: str, taken: bool | None) -> None:
    if taken is None:
        with pytest.raises(BadPattern):
            copies(pattern, path)
    else:
        assert copies(pattern, path) is taken


def test_with_parents_two_stars_span_folders() -> None:
    assert copies("**/x", "a/b/x", deep=True)
    assert copies("a/*/c", "a/b/c/d", deep=True)
    assert not copies("a/*/c", "a/b", deep=True)


@given(PATHS)
def test_a_literal_source_takes_itself_and_what_is_below(path: str) -> None:
    assert not has_wildcards(path)
    assert copies(path, path)
    assert copies(path, f"{path}/below")
    assert not copies(path, f"{path}x")
