"""Expansion of late values, and the values themselves: lazy, once, masked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake import variables
from imgmake.errors import CommandFailed, ImgmakeError, PipefileError, Place, UsageError
from imgmake.model import Command, Variable
from imgmake.variables import ARCH, PLATFORM, Values

HERE = Place("Pipefile.py", 3)


class Say(Command):
    text: str


def declared(name: str, value: str | None = None, **more: object) -> Variable:
    return Variable.model_validate({"name": name, "place": HERE, "value": value, **more})


def values(
    *found: Variable,
    providers: Mapping[str, Callable[[], str]] | None = None,
    run: Callable[[Command], str] = lambda command: getattr(command, "text", ""),
) -> Values:
    return Values({v.name: v for v in found}, providers or {}, run)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("x:$TAG", "x:1"),
        ("x:${TAG}-debug", "x:1-debug"),
        ("$TAGS ${TAGS} $HOME", "$TAGS ${TAGS} $HOME"),
        ("$$TAG $${TAG} $$", "$$TAG $${TAG} $$"),
        ("costs $5, 100$", "costs $5, 100$"),
        ("${TAG:-x} ${ TAG }", "${TAG:-x} ${ TAG }"),
        ("$TAG$TAG", "11"),
        ("", ""),
    ],
)
def test_only_known_names_expand(text: str, expanded: str) -> None:
    assert variables.expand(text, {"TAG"}, lambda _: "1") == expanded


def test_what_is_put_in_is_not_expanded_again() -> None:
    assert variables.expand("$A", {"A", "B"}, {"A": "$B", "B": "no"}.__getitem__) == "$B"


@pytest.mark.parametrize("text", ["$A", "${A}", "x${A}y", "${A:-none}", "${A%%-*}", "${#A}"])
def test_a_shell_mentions_names_in_several_ways(text: str) -> None:
    assert variables.names(text, {"A", "B"}) == {"A"}


@given(st.text(alphabet="$${}AB_ :-x", max_size=30))
def test_every_name_that_expands_is_mentioned(text: str) -> None:
    asked: set[str] = set()
    variables.expand(text, {"A", "AB"}, lambda name: asked.add(name) or "v")  # type: ignore[func-returns-value]
    assert asked <= variables.names(text, {"A", "AB"})


@given(st.text(max_size=30))
def test_text_without_known_names_is_left_alone(text: str) -> None:
    assert variables.expand(text, frozenset(), lambda _: "never") == text


def test_metadata_is_asked_once_and_only_when_needed() -> None:
    asked: list[str] = []
    found = values(providers={"BUILD_ID": lambda: asked.append("id") or "b1", "VCS_REF": lambda: "never asked"})  # type: ignore[func-returns-value]
    assert asked == []
    assert found.expand("app:$BUILD_ID $BUILD_ID") == "app:b1 b1"
    assert asked == ["id"]
    assert found.used() == ("BUILD_ID",)


def test_a_given_build_id_wins_over_its_provider() -> None:
    found = values(declared("BUILD_ID", "x", origin="environment"), providers={"BUILD_ID": lambda: "computed"})
    assert found.get("BUILD_ID") == "x"
    assert found.origin("BUILD_ID") == "BUILD_ID from the environment"


def test_a_command_default_runs_once_for_many_threads() -> None:
    ran: list[str] = []
    gate = threading.Barrier(4)

    def run(command: Command) -> str:
        ran.append("ran")
        return "out\n"

    found = values(declared("V", default=Say(text="v"), origin="command"), run=run)
    got: list[str] = []

    def ask() -> None:
        gate.wait()
        got.append(found.get("V"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (ran, got) == (["ran"], ["out"] * 4)


def test_a_failed_command_is_not_run_again() -> None:
    ran: list[str] = []

    def run(command: Command) -> str:
        ran.append("ran")
        raise CommandFailed("git failed")

    found = values(declared("V", default=Say(text="v")), run=run)
    for _ in range(2):
        with pytest.raises(CommandFailed):
            found.get("V")
    assert ran == ["ran"]


def test_a_variable_may_name_others() -> None:
    found = values(declared("TAG", "v$BUILD_ID"), declared("FULL", "app:${TAG}"), providers={"BUILD_ID": lambda: "7"})
    assert found.expand("$FULL") == "app:v7"


def test_a_ring_of_variables_is_found() -> None:
    ring = {v.name: v for v in (declared("A", "$B"), declared("B", default=Say(text="echo $C")), declared("C", "$A"))}
    assert variables.cycle(ring) == ("A", "B", "C", "A")
    assert variables.cycle({"A": declared("A", "$B"), "B": declared("B", "x"), "C": declared("C", "$A$B")}) == ()
    assert variables.cycle({"S": declared("S", "$S", secret=True)}) == ()


def test_a_required_variable_says_how_to_give_it() -> None:
    found = values(declared("TAG", help="version to tag", choices=("1", "2"), origin="required"))
    with pytest.raises(UsageError) as caught:
        found.expand("app:$TAG", target="tag")
    assert str(caught.value) == (
        "Pipefile.py:3: TAG is required by target tag: imgmake tag TAG=… (1, 2)\n"
        "  version to tag\n  or set TAG in the environment"
    )


def test_secrets_are_masked_longest_first() -> None:
    found = values(
        declared("A", "abc", secret=True), declared("B", "abcdef", secret=True), declared("C", "", secret=True)
    )
    assert found.mask("abcdef abc xyz") == "*** *** xyz"
    assert (found.is_secret("A"), found.is_secret("X"), found.has_secrets) == (True, False, True)


def test_a_secret_from_a_command_is_masked_once_known_and_each_long_line_of_it() -> None:
    found = values(declared("KEY", default=Say(text="-----begin\nMIIE\n}\n"), secret=True))
    found.get("KEY")
    assert found.mask("log: MIIE }") == "log: *** }"


def test_a_secret_is_never_looked_into() -> None:
    found = values(declared("P", "a$TAG", secret=True), declared("TAG", "1"))
    assert found.get("P") == "a$TAG"
    assert "a$TAG" not in repr(declared("P", "a$TAG", secret=True))


def test_fingerprint_belongs_to_one_image() -> None:
    found = values()
    assert found.expand("app:$FINGERPRINT", extra={"FINGERPRINT": "f00"}) == "app:f00"
    with pytest.raises(PipefileError, match="only where an image is"):
        found.expand("$FINGERPRINT")


def test_expand_known_asks_and_runs_nothing() -> None:
    def fail(*_: object) -> str:
        raise AssertionError

    found = values(
        declared("REPO", "acme/app"), declared("T", default=Say(text="x")), declared("S", "hush", secret=True),
        providers={"BUILD_ID": fail}, run=fail,
    )  # fmt: skip
    assert found.expand_known("$REPO:${BUILD_ID} $T $S $ARCH") == f"acme/app:${{BUILD_ID}} ${{T}} ${{S}} {ARCH}"


def test_platform_is_known_and_spelt_as_go_does() -> None:
    assert values().expand("$PLATFORM") == PLATFORM == f"linux/{ARCH}"
    assert [variables.architecture(m) for m in ("x86_64", "aarch64", "riscv64")] == ["amd64", "arm64", "riscv64"]


def test_origins_are_told() -> None:
    found = values(declared("A", "1", origin="command line"), declared("B", "1"), declared("R", origin="required"))
    assert [found.origin(name) for name in ("A", "B", "R", "VCS_REF")] == [
        "A from the command line",
        "B from its default",
        "R required, not given",
        "VCS_REF computed",
    ]


def test_an_error_of_a_provider_reaches_the_asker() -> None:
    def broken() -> str:
        raise ImgmakeError("git is broken")

    with pytest.raises(ImgmakeError, match="git is broken"):
        values(providers={"VCS_REF": broken}).get("VCS_REF")
