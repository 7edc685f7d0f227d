"""What a build of one stage reads, uses and hangs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake.dockerfile import Analysis, analyse, parse
from imgmake.errors import DockerfileError


def of(*lines: str, stage: str | None = None, family: str = "buildkit", **more: Any) -> Analysis:
    given: Mapping[str, Any] = {"args": {}, "platform": "linux/amd64", **more}
    return analyse(parse("\n".join(lines), "Dockerfile"), stage=stage, family=family, **given)


def reads(found: Analysis) -> list[str]:
    return [read.pattern for read in found.reads]


def images(found: Analysis) -> list[tuple[str, int, str]]:
    return [(use.reference, use.line, use.instruction) for use in found.images]


BOTH = pytest.mark.parametrize("family", ["buildkit", "classic"])


# --- sources --------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("COPY a b /x/", ["a", "b"]),
        ('COPY ["a b", "/x/"]', ["a b"]),
        ("COPY ./src/../lib/ /x", ["lib"]),
        ("COPY /abs /x", ["abs"]),
        ("COPY . /x", ["."]),
        ("COPY ./ /x", ["."]),
        ("COPY / /x", ["."]),
        ("COPY ./target/*.jar /x", ["target/*.jar"]),
        ("ADD https://example.com/a b /x/", ["b"]),
        ("COPY --from=0 a /x", []),
        (r"COPY a\$b /x", ["a$b"]),
        ('COPY "a" /x', ["a"]),
    ],
)
def test_sources_are_cleaned(family: str, line: str, expected: list[str]) -> None:
    found = of("FROM scratch", "FROM scratch", line, family=family)
    assert reads(found) == expected
    assert found.whole_context is None


def test_what_the_builders_read_differently() -> None:
    assert reads(of("FROM scratch", "COPY d*/ ../x /y/")) == ["d*", "x"]
    classic = of("FROM scratch", "COPY d*/ ../x /y/", family="classic")
    assert [(read.pattern, read.leaves) for read in classic.reads] == [("d*/", False), ("x", True)]


def test_a_heredoc_is_no_source() -> None:
    found = of("FROM scratch", "COPY <<one a <<'two' /x/", "x", "one", "y", "two", "COPY b /x/")
    assert reads(found) == ["a", "b"]
    assert [read.line for read in found.reads] == [2, 7]


def test_copy_with_parents() -> None:
    found = of("FROM scratch", "COPY --parents a/./b/**/c d/*/./e f /x/")
    assert [(read.pattern, read.deep) for read in found.reads] == [("a/b/**/c", True), ("d/*", False), ("f", True)]


def test_mounts_read_the_context() -> None:
    found = of(
        "FROM debian",
        "RUN --mount=source=go.mod,target=go.mod --mount=type=cache,target=/c --mount=type=secret,id=x \\",
        "    --mount=type=tmpfs,target=/t x",
    )
    assert [(read.pattern, read.literal, str(read.place)) for read in found.reads] == [("go.mod", True, "Dockerfile:2")]
    assert found.whole_context is None


def test_a_mount_without_source_is_the_whole_context() -> None:
    assert of("FROM debian", "RUN --mount=target=/src make").whole_context == (
        "Dockerfile:2 RUN --mount of the whole context"
    )


# --- variables ------------------------------------------------------------------------------------------------


@BOTH
def test_arguments_are_visible_after_their_declaration(family: str) -> None:
    lines = ("ARG A=top", "FROM scratch", "COPY x$A /", "ARG A", "COPY y$A /", "ARG A=own", "COPY z$A /")
    assert reads(of(*lines, family=family)) == ["x", "ytop", "zown"]
    assert reads(of(*lines, family=family, args={"A": "given"})) == ["x", "ygiven", "zgiven"]


def test_the_builders_differ_in_what_a_stage_inherits() -> None:
    lines = ("FROM scratch AS a", "ARG A=1", "ENV E=2", "FROM a", "COPY x$A y$E /z/")
    assert reads(of(*lines)) == ["x1", "y2"]
    assert reads(of(*lines, family="classic")) == ["x", "y2"]


def test_an_argument_after_a_variable_of_its_name() -> None:
    lines = ("FROM scratch", "ENV A=1", "ARG A=2", "COPY x$A /", "ENV A=3", "COPY y$A /")
    assert reads(of(*lines)) == ["x2", "y3"]
    assert reads(of(*lines, family="classic")) == ["x1", "y3"]
    child = ("FROM scratch AS a", "ENV A=1", "ARG A=2", "FROM a", "COPY x$A /")
    assert reads(of(*child)) == reads(of(*child, family="classic")) == ["x1"]


def test_buildkits_own_arguments() -> None:
    lines = (
        "FROM --platform=$BUILDPLATFORM scratch",
        "ARG TARGETARCH TARGETVARIANT",
        "COPY x-$TARGETARCH$TARGETVARIANT /",
    )
    found = of(*lines, platform="linux/arm/v7", build_platform="linux/amd64")
    assert reads(found) == ["x-armv7"]
    assert found.needs == ()
    assert of(*lines, family="classic").needs == (("FROM --platform=$BUILDPLATFORM", 1),)
    assert reads(of("FROM scratch", "COPY x-$TARGETARCH /")) == ["x-"]


def test_the_platform_of_a_base() -> None:
    found = of("FROM --platform=$BUILDPLATFORM debian", platform="linux/arm64", build_platform="linux/amd64")
    assert [use.platform for use in found.images] == ["linux/amd64"]


def test_a_proxy_needs_no_declaration() -> None:
    args = {"HTTP_PROXY": "p"}
    assert reads(of("FROM scratch", "COPY x$HTTP_PROXY /", family="classic", args=args)) == ["xp"]
    assert of("FROM debian", "RUN x", args=args).declared == frozenset()


@pytest.mark.parametrize(
    "lines",
    [
        ("COPY x$A /",),
        ("ARG A", "COPY x$A /"),
        ("ENV B=$A", "COPY x$B /"),
        ("ARG B=$A", "COPY x$B /"),
        ("RUN --mount=source=$A,target=/x y",),
    ],
)
def test_what_only_the_base_or_the_builder_knows_widens(lines: Sequence[str]) -> None:
    found = of("FROM debian", *lines)
    assert found.whole_context is not None
    assert found.whole_context.startswith("Dockerfile:")
    assert "no value here" in found.whole_context


def test_a_base_that_tells_its_variables_is_exact() -> None:
    found = of("FROM debian", "COPY x$A y$B /", environment={"debian": {"A": "1"}}.__getitem__)
    assert (reads(found), found.whole_context) == (["x1", "y"], None)


def test_words_that_no_builder_takes_have_their_place() -> None:
    with pytest.raises(DockerfileError, match="Dockerfile:3: a single quote is not closed"):
        of("FROM scratch", "COPY a /", "COPY 'b /")
    with pytest.raises(DockerfileError, match="Dockerfile:2: bad substitution"):
        of("ARG A", "FROM a:${}")


# --- stages and images ----------------------------------------------------------------------------------------

BOOK = (
    "ARG BASE=openjdk:8",
    "FROM maven:3 AS build",
    "COPY pom.xml .",
    "FROM $BASE AS app",
    "COPY --from=build /app.jar /",
    "FROM app AS debug",
    "COPY tools /",
    "FROM app AS default",
)


def test_only_needed_stages_count() -> None:
    found = of(*BOOK, stage="app")
    assert [stage.name for stage in found.stages] == ["build", "app"]
    assert reads(found) == ["pom.xml"]
    assert images(found) == [("maven:3", 2, "FROM"), ("openjdk:8", 4, "FROM")]
    assert found.base == "openjdk:8"
    assert "COPY tools /" not in found.instructions
    assert found.instructions == of(*BOOK[:5], "# a comment", stage="APP").instructions


def test_the_classic_builder_builds_every_stage_before() -> None:
    assert [stage.name for stage in of(*BOOK, family="classic").stages] == ["build", "app", "debug", "default"]
    assert [stage.name for stage in of(*BOOK, stage="app", family="classic").stages] == ["build", "app"]


def test_stages_by_number_and_in_any_case() -> None:
    assert of(*BOOK, stage="2").target.name == "debug"
    assert of(*BOOK, stage="Debug").target.index == 2
    with pytest.raises(DockerfileError, match="did you mean 'debug'"):
        of(*BOOK, stage="debgu")
    with pytest.raises(DockerfileError, match="its stages: build, app, debug, default"):
        of(*BOOK, stage="7")


def test_a_stage_hides_an_image_for_later_stages_only() -> None:
    found = of("FROM alpine AS debian", "FROM debian AS alpine", "COPY --from=alpine /a /", "FROM alpine")
    assert images(found) == [("alpine", 1, "FROM"), ("alpine", 3, "COPY --from")]


def test_where_from_may_point() -> None:
    lines = ("FROM a AS x", "FROM b AS y", "FROM c", "COPY --from=0 /1 /", "COPY --from=Y /2 /", "COPY --from=z:1 /3 /")
    found = of(*lines, "RUN --mount=from=x,target=/m --mount=from=w,target=/n --mount=type=ssh,from=v q")
    assert [stage.index for stage in found.stages] == [0, 1, 2]
    assert images(found)[2:] == [("c", 3, "FROM"), ("z:1", 6, "COPY --from"), ("w", 7, "RUN --mount")]
    assert found.reads == ()


def test_scratch_is_no_image() -> None:
    found = of("FROM scratch", "COPY a /")
    assert (found.images, found.base) == ((), None)


def test_a_from_without_value_is_told_and_not_fatal() -> None:
    found = of("ARG BASE", "FROM $BASE")
    assert found.problems == ("FROM $BASE names no image, as its arguments have no value",)
    assert found.images == ()
    assert of("ARG BASE", "FROM $BASE", args={"BASE": "a"}).problems == ()


def test_named_contexts_are_no_images() -> None:
    lines = (
        "FROM alpine:latest AS a",
        "FROM b AS build",
        "COPY x /",
        "FROM build",
        "COPY --from=docs /d /",
        "COPY --from=a /e /",
    )
    found = of(*lines, contexts=("alpine", "docs", "build"))
    assert images(found) == []
    assert found.reads == ()
    assert {name: [(r.pattern, r.line) for r in reads] for name, reads in found.named_reads.items()} == {
        "alpine": [(".", 1)],
        "build": [(".", 4)],
        "docs": [("d", 5)],
    }


# --- ONBUILD --------------------------------------------------------------------------------------------------


@BOTH
def test_triggers_of_a_base_run_in_the_stage(family: str) -> None:
    triggers = {"node:onbuild": ["ARG V=1", "COPY package$V.json /", "LABEL from=base", "COPY --from=tools /x /"]}
    found = of("FROM node:onbuild", "COPY app /", family=family, onbuild=triggers.__getitem__)
    assert reads(found) == ["package1.json", "app"]
    assert found.declared == {"V"}
    assert found.labels == {"from"}
    assert [(use.reference, use.pinnable) for use in found.images] == [("node:onbuild", True), ("tools", False)]
    assert str(found.reads[0].place) == "Dockerfile:1"


def test_triggers_of_a_stage() -> None:
    found = of("FROM scratch AS a", "COPY now /", "ONBUILD COPY later /", "FROM a")
    assert reads(found) == ["now", "later"]
    assert reads(of("FROM scratch AS a", "ONBUILD COPY later /")) == []


# --- arguments and labels -------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "lines",
    [
        ("RUN make",),
        ('RUN ["make"]',),
        ("ENV X=$A",),
        ("ENV $A=x",),
        ("COPY x-$A /",),
        ("COPY x /$A",),
        ("COPY --chown=$A x /",),
        ("WORKDIR /$A",),
        ("USER $A",),
        ("EXPOSE $A",),
        ("VOLUME /$A",),
        ("STOPSIGNAL $A",),
        ("LABEL $A=x",),
        ("ARG B=$A", "RUN x"),
        ("ARG B=${A}1", "ARG C=$B", "USER $C"),
    ],
)
def test_arguments_that_reach_the_image(family: str, lines: Sequence[str]) -> None:
    found = of("FROM debian", "ARG A=1", 'LABEL a="$A"', *lines, family=family)
    assert "A" in found.declared
    assert "A" not in found.label_only


@BOTH
@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("CMD echo $A",),
        ("HEALTHCHECK CMD test $A",),
        ("SHELL ['$A']".replace("'", '"'),),
        ("COPY x /",),
        ("ARG B=$A", "LABEL b=$B"),
        ("ENTRYPOINT $A",),
        ("ONBUILD RUN $A",),
    ],
)
def test_arguments_that_reach_labels_alone(family: str, lines: Sequence[str]) -> None:
    found = of("FROM debian", "RUN before", "ARG A=1", 'LABEL a="v$A" c=d', *lines, family=family)
    assert "A" in found.label_only
    assert "a" in found.volatile_labels
    assert "c" not in found.volatile_labels


def test_a_run_of_an_inheriting_stage_sees_the_argument() -> None:
    assert of("FROM debian AS a", "ARG A", "LABEL a=$A", "FROM a", "RUN x").label_only == frozenset()
    assert of("FROM debian AS a", "ARG A", "LABEL a=$A", "FROM a").label_only == {"A"}


def test_env_hides_an_argument() -> None:
    assert of("FROM debian", "ARG A", "ENV A=1", "RUN x").label_only == {"A"}
    assert of("FROM debian", "ENV A=1", "ARG A", "RUN x").label_only == frozenset()


def test_heredocs_expand_unless_quoted() -> None:
    assert of("FROM debian", "ARG A", "COPY <<E /x", "$A", "E").label_only == frozenset()
    assert of("FROM debian", "ARG A", "COPY <<'E' /x", "$A", "E").label_only == {"A"}


def test_arguments_of_other_stages_are_not_declared() -> None:
    lines = ("ARG X=1", "ARG Y=$X", "ARG Z", "FROM a:$Y", "ARG IN", "FROM b AS other", "ARG OUT", "FROM a:$Y")
    found = of(*lines, stage="0")
    assert found.declared == {"X", "Y", "IN"}
    assert found.label_only == {"IN"}
    assert [text for text in found.instructions if text.startswith("ARG")] == ["ARG X=1", "ARG Y=$X", "ARG IN"]


def test_a_global_default_that_hangs_on_another_argument() -> None:
    found = of("ARG V=1", "ARG T=v$V", "FROM debian", "ARG T", "LABEL t=$T", "USER u")
    assert found.declared == found.label_only == {"V", "T"}


def test_labels_of_the_chain() -> None:
    lines = (
        "FROM debian AS a",
        "ARG A",
        "LABEL one=$A two=$A",
        "FROM debian AS b",
        "LABEL other=1",
        "FROM a",
        "LABEL two=2",
    )
    found = of(*lines, "COPY --from=b /x /", 'LABEL "three four"=4')
    assert found.labels == {"one", "two", "three four"}
    assert found.volatile_labels == {"one"}


# --- builders -------------------------------------------------------------------------------------------------


def test_what_only_buildkit_can_do() -> None:
    found = of(
        "# syntax=docker/dockerfile:1",
        "FROM debian",
        "RUN --mount=type=cache,target=/c --network=none x",
        "COPY --link --chmod=755 a /",
        "ADD --checksum=sha256:0 https://x/y /",
        "RUN <<E",
        "x",
        "E",
    )
    assert found.needs == (
        ("RUN --mount=type=cache", 3),
        ("RUN --network", 3),
        ("COPY --link", 4),
        ("COPY --chmod", 4),
        ("ADD --checksum", 5),
        ("RUN with a heredoc", 6),
    )


@pytest.mark.parametrize("text", ["FROM scratch\nARG A\nLABEL a=$A", "INCLUDE other\nsome: yaml"])
def test_a_foreign_frontend_counts_as_a_whole(text: str) -> None:
    full = f"# syntax=acme/frontend:1\n{text}\n"
    found = of(full, stage=None)
    assert found.instructions == (full,)
    assert found.whole_context == "# syntax=acme/frontend:1 reads what it likes"
    assert found.label_only == frozenset()
    assert found.needs == (("# syntax=acme/frontend:1", 1),)


LINES = st.sampled_from(
    [
        "ARG A",
        "ARG B=$A",
        "ENV A=1",
        "ENV C=$B",
        "LABEL l=$A$B",
        "RUN x",
        "COPY $A /",
        "WORKDIR /$B",
        "FROM s0 AS s1",
        "FROM x:$A",
    ]
)


@given(st.lists(LINES, max_size=8), st.sampled_from(["buildkit", "classic"]))
def test_label_only_arguments_change_nothing_but_labels(lines: list[str], family: str) -> None:
    """Whatever is said to be label-only may take any value: all else that is found stays as it is."""
    file = ("ARG A=0", "FROM scratch AS s0", *lines)
    before = of(*file, family=family)
    after = of(*file, family=family, args={name: "other" for name in before.label_only})
    assert after == before
