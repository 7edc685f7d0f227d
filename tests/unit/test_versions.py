"""Semantic versions, and the tags that each gets."""

from __future__ import annotations

import pytest

from imgmake.errors import UsageError
from imgmake.versions import Version, fan_out, parse


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.0.0", Version(0, 0, 0)),
        ("10.20.30", Version(10, 20, 30)),
        ("1.0.0-0A.is.legal", Version(1, 0, 0, "0A.is.legal")),
        ("1.0.0-alpha-a.b-c+build.1-aef", Version(1, 0, 0, "alpha-a.b-c", "build.1-aef")),
        ("1.0.0+001", Version(1, 0, 0, "", "001")),
        ("1.0.0--", Version(1, 0, 0, "-")),
    ],
)
def test_legal_versions(text: str, version: Version) -> None:
    assert parse(text) == version


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", "MAJOR.MINOR.PATCH"),
        ("1", "did you mean '1.0.0'"),
        ("1.2", "did you mean '1.2.0'"),
        ("v1.2.3", "did you mean '1.2.3'"),
        ("01.2.3", "did you mean '1.2.3'"),
        ("1.2.3-01", "MAJOR.MINOR.PATCH"),
        ("1.2.3-", "MAJOR.MINOR.PATCH"),
        ("1.2.3.4", "MAJOR.MINOR.PATCH"),
        ("1.2.3\n", "did you mean '1.2.3'"),
        ("1.2.٣", "MAJOR.MINOR.PATCH"),
        ("latest", "MAJOR.MINOR.PATCH"),
    ],
)
def test_illegal_versions_say_what_was_meant(text: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert meant in caught.value.hint


@pytest.mark.parametrize(
    ("version", "suffix", "held", "tags"),
    [
        ("1.2.3", "", [], ["1.2.3", "1.2", "1", "latest"]),
        ("0.2.3", "", [], ["0.2.3", "0.2", "latest"]),
        ("1.2.3", "", ["1.2.3", "1.2", "1", "latest"], ["1.2.3", "1.2", "1", "latest"]),
        ("1.2.3", "", ["1.2.4"], ["1.2.3"]),
        ("1.2.3", "", ["1.3.0"], ["1.2.3", "1.2"]),
        ("1.2.3", "", ["2.0.0"], ["1.2.3", "1.2", "1"]),
        ("1.2.3", "", ["1.2.10-rc.1", "9", "20190702-223619-abc"], ["1.2.3", "1.2", "1", "latest"]),
        ("1.2.10", "", ["1.2.9"], ["1.2.10", "1.2", "1", "latest"]),
        ("2.0.0-rc.1", "", [], ["2.0.0-rc.1"]),
        ("1.2.3+b.1", "", [], ["1.2.3_b.1", "1.2", "1", "latest"]),
        ("1.2.3", "", ["1.2.4_b"], ["1.2.3"]),
        ("1.2.3", "-debug", ["2.0.0", "1.2.2-debug"], ["1.2.3-debug", "1.2-debug", "1-debug", "latest-debug"]),
        ("1.2.3", "", ["2.0.0-debug"], ["1.2.3", "1.2", "1", "latest"]),
        ("1.2.3", "-debug", ["2.0.0-debug"], ["1.2.3-debug", "1.2-debug", "1-debug"]),
    ],
)
def test_fan_out(version: str, suffix: str, held: list[str], tags: list[str]) -> None:
    assert taken(version, suffix, held) == tags
    assert taken(version, suffix, held, latest=False) == [t for t in tags if not t.startswith("latest")]


def taken(version: str, suffix: str, held: list[str], latest: bool = True) -> list[str]:
    return [fan.tag for fan in fan_out(version, suffix, latest, held) if not fan.higher]


def test_what_keeps_a_tag_is_named() -> None:
    fans = fan_out("1.2.3", "", True, ["1.2.9", "1.2.10", "1.10.0", "3.0.0-rc.1", "2.0.0", "1.2.3_b"])
    assert [(fan.tag, fan.covers, fan.higher) for fan in fans] == [
        ("1.2.3", "", ""),
        ("1.2", "1.2", "1.2.10"),
        ("1", "1", "1.10.0"),
        ("latest", "stable", "2.0.0"),
    ]
    assert {fan.equal for fan in fans[1:]} == {("1.2.3_b",)}


def test_the_variant_of_a_build_is_no_build_of_its_own() -> None:
    held = ["2.0.0_b-debug"]
    assert [fan.higher for fan in fan_out("1.0.0", "", True, held, ["", "-debug"])] == ["", "", "", ""]
    assert fan_out("1.0.0", "-debug", True, held, ["", "-debug"])[-1].higher == "2.0.0_b-debug"


@pytest.mark.parametrize(
    ("version", "suffix"), [("1.2.3", "4"), ("1.2.3", ".4"), ("1.2.3", "- x"), ("1.2.3", "-" * 130)]
)
def test_suffixes_that_would_make_another_version_or_no_tag_are_refused(version: str, suffix: str) -> None:
    with pytest.raises(UsageError):
        fan_out(version, suffix, True, [])
