"""The BUILD_ID, its choice, and dates."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake import metadata
from imgmake.errors import Refused, UsageError

MOMENTS = st.integers(0, 253_402_300_799)  # to the end of 9999
COMMITS = st.text("0123456789abcdef", min_size=4, max_size=40) | st.just("")
IDS = st.builds(metadata.build_id, MOMENTS, COMMITS, st.booleans())
GIVEN = st.dictionaries(st.sampled_from("abcdef") | IDS, st.floats(0, 1e9), max_size=5)


@given(MOMENTS, COMMITS, st.booleans())
def test_a_build_id_is_a_tag_and_can_be_read_back(now: int, short: str, dirty: bool) -> None:
    made = metadata.build_id(now + 0.9, short, dirty)
    assert metadata.check_build_id(made) == made
    assert (metadata.timestamp_of(made), metadata.is_dirty(made)) == (now, dirty)
    assert (short or "unknown") in made


@given(st.tuples(MOMENTS, MOMENTS))
def test_build_ids_sort_as_their_times_do(moments: tuple[int, int]) -> None:
    texts = [metadata.build_id(moment, "aaaaaaa", dirty=False) for moment in moments]
    assert (texts[0] < texts[1]) == (moments[0] < moments[1])


def test_hours_go_to_24(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert metadata.build_id(1562106979, "ade3d65", dirty=True) == "20190702-223619-ade3d65-dirty"
        assert metadata.rfc_3339(1562106979) == "2019-07-02T22:36:19Z"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "text", ["", "release-7", "20190702-223619", "20191302-223619-ade", "20190702-253619-ade", "x20190702-223619-ade"]
)
def test_other_build_ids_tell_no_time(text: str) -> None:
    assert metadata.timestamp_of(text) is None


@given(GIVEN)
def test_newest_is_the_one_given_last(build_ids: dict[str, float]) -> None:
    found = metadata.newest(dict(build_ids))
    assert (found is None) == (not build_ids)
    assert found is None or build_ids[found] == max(build_ids.values())
    assert found == metadata.newest(dict(reversed(build_ids.items())))


def test_newest_without_a_time_goes_by_the_text() -> None:
    ids: dict[str, float | None] = {"20190702-223619-aaaaaaa": None, "20190702-223620-bbbbbbb": None, "given": None}
    assert metadata.newest(ids) == "20190702-223620-bbbbbbb"


@given(st.lists(GIVEN, max_size=4))
def test_shared_is_what_all_have_before_what_any_has(images: list[dict[str, float]]) -> None:
    everything = {name for image in images for name in image}
    common = {name for name in everything if all(name in image for image in images)}
    found = metadata.shared(images)
    assert (found is None) == (not everything)
    if found is not None:
        candidates = common or everything
        last = {name: max(image[name] for image in images if name in image) for name in candidates}
        assert found in candidates
        assert last[found] == max(last.values())


@given(MOMENTS.filter(lambda now: now < 253_402_000_000), st.integers(0, 20))
def test_unused_moves_on_until_one_is_free(now: int, taken: int) -> None:
    used = {metadata.build_id(now + later, "abc", dirty=False) for later in range(taken)}
    found = metadata.unused(now, "abc", False, used.__contains__)
    assert (found in used, metadata.timestamp_of(found)) == (False, now + taken)


def test_unused_gives_up_when_everything_is_in_use() -> None:
    with pytest.raises(Refused, match="in use for a day"):
        metadata.unused(0, "abc", False, lambda _: True)


@given(st.text("abcXYZ019_.- /:\n", max_size=140))
def test_a_given_build_id_is_taken_as_it_is_or_refused(text: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", text):
        assert metadata.check_build_id(text) == text
    else:
        with pytest.raises(UsageError, match="BUILD_ID"):
            metadata.check_build_id(text)


def test_a_refused_build_id_comes_with_a_legal_one() -> None:
    with pytest.raises(UsageError) as caught:
        metadata.check_build_id("feature/x: 1")
    assert caught.value.hint == "did you mean 'feature-x-1'?"


def test_dates_are_of_one_moment() -> None:
    clock: Iterator[float] = iter([1562106979.5, 99.0])
    values = metadata.clock_values(lambda: next(clock))
    assert {name: get() for name, get in values.items()} == {
        "BUILD_DATE": "2019-07-02T22:36:19Z",
        "BUILD_TIME_EPOCH": "1562106979",
        "BUILD_TIME_RFC_3339": "2019-07-02T22:36:19Z",
        "BUILD_TIME_UTC": "20190702-223619",
    }
    assert next(clock) == 99.0
    assert set(values) < set(metadata.NAMES)


def test_source_date_is_a_number_or_an_error() -> None:
    assert (metadata.source_date({}), metadata.source_date({"SOURCE_DATE_EPOCH": "7"})) == (None, 7.0)
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        metadata.source_date({"SOURCE_DATE_EPOCH": "now"})
    with pytest.raises(UsageError, match="is 1562106979000, later than a layer can say"):  # milliseconds
        metadata.source_date({"SOURCE_DATE_EPOCH": "1562106979000"})
