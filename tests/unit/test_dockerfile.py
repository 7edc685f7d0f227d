"""Dockerfiles: words, directives, instructions, pins; what BuildKit's parser leaves to us."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake.dockerfile import analyse, declared, parse, pin
from imgmake.dockerfile.lex import WordError, expand
from imgmake.dockerfile.mounts import Mount, read
from imgmake.errors import DockerfileError

VALUES = {"PWD": "/home", "EMPTY": "", "V": "a.b.tar", "MULTI": "abcabc"}

# (word, what comes out), by BuildKit's rules.
WORDS = [
    ("plain", "plain"),
    ("he'll'o", "hello"),
    (r"a\tb", "atb"),
    (r'"a\tb"', r"a\tb"),
    (r"'a\\b'", r"a\\b"),
    (r'"a\"b"', 'a"b'),
    ("a\\", "a"),
    ("$PWD/x", "/home/x"),
    ("${PWD}x", "/homex"),
    (r"\$PWD", "$PWD"),
    ("'$PWD'", "$PWD"),
    ('"$PWD"', "/home"),
    ("$NONE.", "."),
    ("$.", "$."),
    ("$1x", "x"),
    ("$$", ""),
    ("${NONE:-d}", "d"),
    ("${EMPTY:-d}", "d"),
    ("${EMPTY-d}", ""),
    ("${NONE-d}", "d"),
    ("${PWD:+d}", "d"),
    ("${EMPTY:+d}", ""),
    ("${EMPTY+d}", "d"),
    ("${NONE:-${PWD}/x}", "/home/x"),
    ("${NONE:?why}", ""),
    ("${V#*.}", "b.tar"),
    ("${V##*.}", "tar"),
    ("${V%.*}", "a.b"),
    ("${V%%.*}", "a"),
    ("${V%.zip}", "a.b.tar"),
    ("${MULTI/b/x}", "axcabc"),
    ("${MULTI//b/x}", "axcaxc"),
    ("${MULTI/b?/-}", "a-abc"),
    ("${MULTI/a*b/-}", "-c"),
]


@pytest.mark.parametrize(("word", "expected"), WORDS)
def test_words_are_expanded_as_buildkit_does(word: str, expected: str) -> None:
    assert expand(word, VALUES).text == expected


@pytest.mark.parametrize("word", ["'a", '"a', "${", "${}", "${PWD", "${PWD:=x}", "${.}", "${MULTI/b}", "${V:#x}"])
def test_words_that_no_builder_takes(word: str) -> None:
    with pytest.raises(WordError):
        expand(word, VALUES)


@given(st.text())
def test_quoted_text_is_itself(text: str) -> None:
    quoted = text.replace("'", "")
    assert expand(f"'{quoted}'", VALUES).text == quoted
    escaped = "".join(f"\\{c}" if c in '\\"$' else c for c in text)
    assert expand(f'"{escaped}"', VALUES).text == text


def test_the_escape_character_is_the_directives() -> None:
    assert expand("`$PWD\\x", VALUES, "`").text == "$PWD\\x"


def test_an_expansion_tells_which_names_it_used() -> None:
    found = expand("$PWD${NONE:-$EMPTY}", VALUES)
    assert (set(found.used), set(found.unset)) == ({"PWD", "EMPTY"}, {"NONE"})


# --- parsing --------------------------------------------------------------------------------------------------


def test_stages_and_global_arguments() -> None:
    file = parse("ARG V=1\nFROM --platform=$BUILDPLATFORM debian:$V as Build\nRUN x\nfrom scratch\n", "Dockerfile")
    assert [one.words for one in file.arguments] == [("V=1",)]
    first, second = file.stages
    assert (first.name, first.base, first.platform, first.line) == ("build", "debian:$V", "$BUILDPLATFORM", 2)
    assert (second.index, second.name, second.base, second.instructions) == (1, "", "scratch", ())


@pytest.mark.parametrize(
    ("text", "syntax", "escape"),
    [
        ("# syntax=docker/dockerfile:1\n", "docker/dockerfile:1", "\\"),
        ("#syntax = a/b:c with more\n# escape=`\n", "a/b:c", "`"),
        ("#!/usr/bin/env x\n# Syntax=a\n", "a", "\\"),
        ("\ufeff# escape=`\n", None, "`"),
        ("# about\n# escape=`\n", None, "\\"),
        ("\n# escape=`\n", None, "\\"),
    ],
)
def test_directives_stand_first(text: str, syntax: str | None, escape: str) -> None:
    file = parse(text + "FROM scratch\n", "Dockerfile")
    assert (file.syntax, file.escape) == (syntax, escape)


@pytest.mark.parametrize(
    ("syntax", "foreign"),
    [
        ("docker/dockerfile:1.4-labs", False),
        ("docker.io/docker/dockerfile", False),
        ("docker/dockerfile-upstream@sha256:0", False),
        ("acme/dockerfile:1", True),
        ("docker/dockerfilex", True),
    ],
)
def test_only_dockers_own_frontends_are_known(syntax: str, foreign: bool) -> None:
    assert parse(f"# syntax={syntax}\nFROM scratch", "f").foreign is foreign


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "no instruction"),
        ("# nothing\n", 0, "no instruction"),
        ("ARG A\n", 0, "no FROM"),
        ("RUN x\n", 1, "before the first FROM"),
        ("FROM a\n\nCOPPY x y\n", 3, "did you mean COPY?"),
        ("FROM a b\n", 1, "one image is expected"),
        ("FROM a AS 1x\n", 1, "no name for a stage"),
        ("FROM a\nCOPY x\n", 2, "needs a source and a destination"),
        ("FROM a\nENV\n", 2, "needs a name"),
        ("FROM a\nENV A\n", 2, "ENV must have two arguments"),
        ("FROM a\nRUN x\nCOPY <<EOF /x\nrest\n", 3, "unterminated heredoc"),
    ],
)
def test_mistakes_have_their_place(text: str, line: int, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(text, "docker/app.df")
    assert caught.value.place is not None
    assert (caught.value.place.file, caught.value.place.line) == ("docker/app.df", line)
    assert message in str(caught.value)


def test_layout_and_comments_are_not_part_of_an_instruction() -> None:
    one = parse("FROM scratch\nCOPY   a \\\n  # why\n  b  /c/\n", "f").stages[0].instructions[0]
    other = parse("from scratch\n\ncopy a b /c/", "f").stages[0].instructions[0]
    assert one.canonical == other.canonical == "COPY a b /c/"
    assert (one.line, one.end) == (2, 4)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("LABEL k v w=x", "LABEL k=v w=x"),
        ('COPY ["a b", "c"]', "COPY a b c"),
        ('RUN ["a"]', "RUN a"),
        ("RUN <<EOF\na\nEOF", "RUN <<EOF\nb\nEOF"),
        ("ONBUILD COPY a b", "ONBUILD COPY a c"),
        ("COPY --link a b", "COPY a b"),
        ('RUN echo "a  b"', 'RUN echo "a b"'),
    ],
)
def test_instructions_that_differ_stay_different(one: str, other: str) -> None:
    found = [parse(f"FROM scratch\n{text}\n", "f").stages[0].instructions[0].canonical for text in (one, other)]
    assert found[0] != found[1]


def test_mounts() -> None:
    assert read("target=/x") == Mount("bind", "", "")
    assert read("TYPE=Cache,from=a,src=b,source=c,target=/x") == Mount("cache", "c", "a")
    assert read('type=bind,"source=a,b",target=/x').source == "a,b"
    assert not read("type=secret,source=x").reads_files


def test_every_declared_name() -> None:
    text = "ARG A\nFROM scratch\nARG B=1 C\nRUN x\nFROM scratch\nARG D='x y'\n"
    assert declared(parse(text, "f")) == {"A", "B", "C", "D"}


# --- pins -----------------------------------------------------------------------------------------------------


def pinned(text: str, pins: dict[str, str], **args: str) -> str:
    found = analyse(parse(text, "f"), stage=None, family="buildkit", args=args, platform="linux/amd64")
    return pin(text, found, pins)


def test_pins_take_the_place_of_images_and_of_nothing_else() -> None:
    text = "\n".join(
        [
            "ARG V=12",
            "FROM --platform=linux/amd64 debian:$V \\",
            "  # the base",
            "  AS debian",
            "FROM debian AS debian12",
            "COPY --from=busybox:1 /bin/busybox /from=busybox:1",
            "COPY --from=busybox:10 /x /y",
            'RUN --mount=from=busybox:1,target=/b --mount="type=bind,target=/c,from=busybox:1" \\',
            "  echo debian:12",
        ]
    )
    lines = pinned(text, {"debian:12": "pin:a", "busybox:1": "pin:b", "debian": "pin:c"}).split("\n")
    assert lines == [
        "ARG V=12",
        "FROM --platform=linux/amd64 pin:a AS debian",
        "",
        "",
        "FROM debian AS debian12",
        "COPY --from=pin:b /bin/busybox /from=busybox:1",
        "COPY --from=busybox:10 /x /y",
        'RUN --mount=from=pin:b,target=/b --mount="type=bind,target=/c,from=pin:b" \\',
        "  echo debian:12",
    ]


def test_a_stage_that_is_not_built_keeps_its_image() -> None:
    assert "FROM debian:12 AS a" in pinned("FROM debian:12 AS a\nFROM alpine\n", {"debian:12": "pin:a"})
