"""The list of what counts: its digest, and the reasons read from it."""

from hypothesis import given
from hypothesis import strategies as st

from imgmake.fingerprint import differences, digest
from imgmake.model import Field

TEXT = st.text(max_size=6)
FIELDS = st.lists(st.builds(Field, TEXT, TEXT, TEXT), max_size=5)


@given(FIELDS, FIELDS)
def test_lists_share_a_digest_only_when_they_are_equal(one: list[Field], other: list[Field]) -> None:
    assert (digest(one) == digest(other)) == (one == other)


def test_a_shifted_boundary_changes_the_digest() -> None:
    """Skaffold and go-task hash names and contents without separators: `f`+`oo` was `fo`+`o` there."""
    assert digest([Field("file", "f", "oo")]) != digest([Field("file", "fo", "o")])


def test_names_that_are_not_utf8_are_hashed() -> None:
    assert digest([Field("file", b"\xff".decode("utf-8", "surrogateescape"), "x")])


@given(FIELDS)
def test_equal_lists_have_no_differences(fields: list[Field]) -> None:
    assert differences(fields, list(fields)) == ()


@given(st.lists(st.builds(Field, TEXT, TEXT, TEXT), max_size=4, unique_by=lambda f: (f.kind, f.name)), FIELDS)
def test_unequal_lists_always_have_a_reason(one: list[Field], other: list[Field]) -> None:
    assert bool(differences(one, other)) == (one != other)


def test_reasons_name_what_changed() -> None:
    old = [Field("file", "a", "1"), Field("file", "gone", "1"), Field("argument", "V", "1.0")]
    new = [Field("file", "a", "2"), Field("argument", "V", "1.1"), Field("file", "more", "1")]
    assert [reason.text for reason in differences(old, new)] == [
        "a changed",
        "argument V changed: 1.0 -> 1.1",
        "more is new",
        "gone is gone",
    ]
