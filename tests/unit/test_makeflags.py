"""MAKEFLAGS: what makes of several versions write into it, and what their children are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake.makeflags import UNLIMITED, MakeFlags, alone, offering, read

# What GNU make 3.81, 4.3 and 4.4 hand to a line with a +, by what they were called with.
WRITTEN = [
    ("", "", None, ""),
    ("n", "n", None, ""),
    ("kn -j3 --jobserver-auth=3,4", "kn", 3, "3,4"),
    (" -j3 -Otarget --jobserver-auth=3,4 -- TAG=a\\ -j9 NOTE=--jobserver-auth=8,9", "", 3, "3,4"),
    (" -j3 --jobserver-auth=fifo:/tmp/GMfifo12", "", 3, "fifo:/tmp/GMfifo12"),
    (" --jobserver-fds=3,4 -j", "", UNLIMITED, "3,4"),
    (" -j", "", UNLIMITED, ""),
    (" -j1", "", 1, ""),
    (" --trace", "", None, ""),
    ("r --no-print-directory", "r", None, ""),
    ("s -I/a\\ -k -- A=1", "s", None, ""),
    (" -j2 --jobserver-auth=3,4 --jobserver-auth=-2,-2", "", 2, "-2,-2"),
    ("-j8", "", 8, ""),  # by hand, in an environment
    ("--jobs=8", "", 8, ""),
    (" -- n=1", "", None, ""),
]


@pytest.mark.parametrize(("text", "letters", "jobs", "jobserver"), WRITTEN)
def test_what_make_wrote_is_read(text: str, letters: str, jobs: int | None, jobserver: str) -> None:
    found = read(text)
    assert found == MakeFlags(frozenset(letters), found.words, jobs, jobserver)


def test_long_options_are_words() -> None:
    assert "--trace" in read("k --trace -- X=--debug").words
    assert "X=--debug" not in read("k --trace -- X=--debug").words


WORD = st.text("ab=-\\ ", min_size=1).map(lambda text: text.replace("\\", "\\\\").replace(" ", "\\ "))
FLAGS = st.tuples(
    st.text("nkB", max_size=2),
    st.lists(st.sampled_from(["-j3", "-j", "--jobserver-auth=3,4", "--trace", "-Ia\\ b"]), max_size=3),
    st.lists(WORD.map(lambda word: f"V={word}"), max_size=2),
).map(lambda parts: " ".join([parts[0], *parts[1], *(["--", *parts[2]] if parts[2] else [])]))


@given(FLAGS)
def test_only_what_is_said_of_jobs_is_changed_for_children(text: str) -> None:
    offered = read(offering(text, "7,8"))
    assert (offered.jobs, offered.jobserver) == (UNLIMITED, "7,8")
    assert alone(offering(text, "7,8")) == alone(text)
    kept = read(alone(text))
    assert (kept.jobs, kept.jobserver) == (None, "")
    assert kept.letters == read(text).letters
    assert alone(text).partition(" -- ")[2] == text.partition(" -- ")[2]
