"""Image references: the grammar of distribution/reference, and what a wrong one is told."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake import references
from imgmake.errors import InvalidReference

DIGEST = "sha256:" + "86e0e091" * 8

# (written, domain, path, familiar), as distribution/reference decides.
NAMES = [
    ("debian", "docker.io", "library/debian", "debian"),
    ("library/debian", "docker.io", "library/debian", "debian"),
    ("docker.io/debian", "docker.io", "library/debian", "debian"),
    ("index.docker.io/library/debian", "docker.io", "library/debian", "debian"),
    ("acme/shop", "docker.io", "acme/shop", "acme/shop"),
    ("acme/shop/web", "docker.io", "acme/shop/web", "acme/shop/web"),
    ("library/foo/bar", "docker.io", "library/foo/bar", "library/foo/bar"),
    ("localhost/app", "localhost", "app", "localhost/app"),
    ("localhost:5000/app", "localhost:5000", "app", "localhost:5000/app"),
    ("127.0.0.1:8000/private/app", "127.0.0.1:8000", "private/app", "127.0.0.1:8000/private/app"),
    ("[fc00::1]:5000/app", "[fc00::1]:5000", "app", "[fc00::1]:5000/app"),
    ("registry.example.com/ch10", "registry.example.com", "ch10", "registry.example.com/ch10"),
    ("docker.io/a.b/app", "docker.io", "a.b/app", "docker.io/a.b/app"),
    ("registry/app", "docker.io", "registry/app", "registry/app"),
    ("doc---ker/dock__er", "docker.io", "doc---ker/dock__er", "doc---ker/dock__er"),
    ("192.168.0.1", "docker.io", "library/192.168.0.1", "192.168.0.1"),
]

INVALID = [
    ("", "is empty"),
    ("docker build .", "white space"),
    ("app\n", "white space"),
    ("https://github.com/acme/app", "starts like a URL"),
    (
        "ada:secret@reg.test:5000/app",
        "login: ***@reg.test:5000/app\n  docker login reg.test:5000; write reg.test:5000/app",
    ),
    ("https://ada:secret@reg.test/app:1", "a login: ***@reg.test/app:1\n"),
    ("1a3f5e7d" * 8, "are an image ID"),
    ("acme/Shop", "'acme/Shop' must be lower case"),
    ("docker.io/Debian", "'Debian' must be lower case"),
    ("-docker", "'-docker' is no part"),
    ("docker-/app", "'docker-' is no part"),
    ("a/dock..er/app", "'dock..er' is no part"),
    ("dock..er/app", "'dock..er' is no registry"),
    ("docker///app", "'' is no part"),
    ("docker/", "'' is no part"),
    ("-docker.io/app", "'-docker.io' is no registry"),
    ("[fc00::1%eth0]:5000/app", "is no registry"),
    ("a" * 300, "more than 255"),
    ("app:", "'' is no tag"),
    ("app:-x", "'-x' is no tag"),
    ("app:1.0+build", "'1.0+build' is no tag"),
    ("app:" + "x" * 129, "is no tag"),
    ("app@sha256:abc", "a sha256 digest has 64"),
    ("app@md5:abc", "is no digest"),
    ("Foo/bar:1", "has no capitals"),
]


@pytest.mark.parametrize(("written", "domain", "path", "familiar"), NAMES)
def test_a_name_is_completed_and_shortened_as_docker_does(written: str, domain: str, path: str, familiar: str) -> None:
    found = references.parse(written)
    assert (found.domain, found.path, found.tag, found.digest) == (domain, path, "", "")
    assert references.repository(f"{written}:1") == f"{domain}/{path}"
    assert references.familiar(f"{written}:1") == f"{familiar}:1"
    assert references.familiar(references.normalise(written)) == f"{familiar}:latest"


@pytest.mark.parametrize(("text", "part"), INVALID)
def test_an_invalid_reference_says_which_part_is_wrong(text: str, part: str) -> None:
    with pytest.raises(InvalidReference, match=re.escape(part)):
        references.parse(text)


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ("acme/Shop:1", "'acme/shop:1'"),
        ("app:1.0+build", "'app:1.0_build'"),
        ("https://ghcr.io/acme/app", ": ghcr.io/acme/app"),
    ],
)
def test_an_invalid_reference_gets_a_better_one(text: str, better: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        references.parse(text)
    assert better in caught.value.hint


def test_tag_and_digest_may_stand_together() -> None:
    both = references.parse(f"busybox:1@{DIGEST}")
    assert (both.tag, both.digest) == ("1", DIGEST)
    assert str(both) == f"docker.io/library/busybox:1@{DIGEST}"
    assert references.normalise(f"busybox@{DIGEST}") == f"docker.io/library/busybox@{DIGEST}"


@pytest.mark.parametrize(("text", "tag"), [("a", "latest"), ("a:1", "1"), (f"a@{DIGEST}", ""), ("a.b:80/c", "latest")])
def test_tag_of(text: str, tag: str) -> None:
    assert references.tag_of(text) == tag


def test_same_thing_under_different_spellings() -> None:
    assert references.same("debian", "docker.io/library/debian:latest")
    assert references.same(f"debian:1@{DIGEST}", f"debian:2@{DIGEST}")
    assert not references.same("debian", "debian:bookworm")
    assert not references.same("localhost/debian", "debian")


@pytest.mark.parametrize(
    ("template", "reference", "found"),
    [
        ("acme/app:${BUILD_ID}", "docker.io/acme/app:2024", "2024"),
        ("acme/app:$BUILD_ID-debug", "acme/app:20190702-223619-ade3d65-debug", "20190702-223619-ade3d65"),
        ("acme/app:${BUILD_ID}-debug", "acme/app:2024", None),
        ("acme/app:${BUILD_ID}", "acme/other:2024", None),
        ("acme/app:1.0", "acme/app:1.0", None),
        ("acme/app:$BUILD_IDX", "acme/app:1", None),
        ("acme/${BUILD_ID}:${BUILD_ID}", "acme/x1:x1", "x1"),
        ("acme/${BUILD_ID}:${BUILD_ID}", "acme/x1:x2", None),
        ("acme/app:${BUILD_ID}", "not a reference", None),
        ("acme/app:a.b-${BUILD_ID}", "acme/app:aXb-1", None),
    ],
)
def test_a_build_id_is_read_back_from_a_tag(template: str, reference: str, found: str | None) -> None:
    assert references.match_build_id(template, reference) == found


_parts = st.from_regex(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+){0,2}", fullmatch=True)
_domains = st.sampled_from(["", "localhost/", "localhost:5000/", "ghcr.io/", "H.test/", "10.0.0.1:80/", "docker.io/"])
_tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
_suffixes = st.one_of(st.just(""), _tags.map(":{}".format), st.just(f"@{DIGEST}"))
_paths = st.lists(_parts, min_size=1, max_size=3).filter(lambda parts: "." not in parts[0]).map("/".join)
_references = st.builds("{}{}{}".format, _domains, _paths, _suffixes)


@given(_references)
def test_full_and_familiar_spelling_name_the_same(text: str) -> None:
    full = references.normalise(text)
    assert references.normalise(full) == full
    short = references.familiar(full)
    assert references.normalise(short) == full
    assert references.same(text, short)


@given(st.text(max_size=40))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        full = references.normalise(text)
    except InvalidReference as error:
        assert repr(text) in error.message or not text  # noqa: PT017 (most texts are refused, and some are not)
    else:
        assert references.normalise(full) == full


@given(_tags.filter(lambda tag: len(tag) < 15), st.sampled_from(["", "-debug", ".x"]))
def test_a_build_id_put_into_a_tag_comes_back(build_id: str, suffix: str) -> None:
    tag = "acme/app:${BUILD_ID}" + suffix
    assert references.match_build_id(tag, tag.replace("${BUILD_ID}", build_id)) == build_id
