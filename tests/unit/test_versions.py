"""Semantic versions, and what each publication moves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgmake.errors import UsageError
from imgmake.versions import Version, parse, plain_tags


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
    assert list(plain_tags(version, suffix, True, held)) == tags
    assert list(plain_tags(version, suffix, False, held)) == [t for t in tags if not t.startswith("latest")]


@pytest.mark.parametrize(
    ("version", "suffix"), [("1.2.3", "4"), ("1.2.3", ".4"), ("1.2.3", "- x"), ("1.2.3", "-" * 130)]
)
def test_suffixes_that_would_make_another_version_or_no_tag_are_refused(version: str, suffix: str) -> None:
    with pytest.raises(UsageError):
        plain_tags(version, suffix, True, [])


SMALL = st.integers(0, 3)
HISTORY = st.lists(st.tuples(SMALL, SMALL, SMALL, st.sampled_from(["", "", "", "rc.1"])), max_size=12)


@settings(max_examples=200)
@given(HISTORY, st.sampled_from(["", "-debug"]))
def test_after_any_history_each_moving_tag_is_at_its_highest(
    history: list[tuple[int, int, int, str]], suffix: str
) -> None:
    """The model: publish in any order; then X.Y, X and latest name the highest stable version they could."""
    tags: dict[str, tuple[int, int, int, str]] = {f"5.5.5{'-other' if suffix else '-x'}": (5, 5, 5, "other")}
    foreign = dict(tags)
    for version in history:
        text = ".".join(map(str, version[:3])) + (f"-{version[3]}" if version[3] else "")
        tags |= dict.fromkeys(plain_tags(text, suffix, True, tuple(tags)), version)
    stable = [version for version in history if not version[3]]
    expected = {f"{'.'.join(map(str, v[:3]))}{'-' if v[3] else ''}{v[3]}{suffix}": v for v in history}
    for version in stable:
        major, minor = version[:2]
        expected[f"{major}.{minor}{suffix}"] = max(v for v in stable if v[:2] == version[:2])
        if major:
            expected[f"{major}{suffix}"] = max(v for v in stable if v[0] == major)
        expected[f"latest{suffix}"] = max(stable)
    assert tags == {**foreign, **expected}
