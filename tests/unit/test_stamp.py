"""The stamp and the content ID: what leaves them alone, and what does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from imgmake import stamp
from imgmake.model import Field
from imgmake.ports import Image
from imgmake.stamp import LABEL, Stamp

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text("abc.-/", min_size=1, max_size=6)
maps = st.dictionaries(names, texts, max_size=4)
words = st.none() | st.lists(texts, max_size=3)
things: st.SearchStrategy[Any] = st.none() | st.dictionaries(names, st.just({}), max_size=2)
configs = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("User", "WorkingDir", "StopSignal"), texts),
        **dict.fromkeys(("Env", "Cmd", "Entrypoint", "OnBuild", "Shell"), words),
        **dict.fromkeys(("Volumes", "ExposedPorts"), things),
        "Healthcheck": st.fixed_dictionaries({"Test": st.lists(texts, max_size=2)}),
        "Labels": st.none() | maps,
    },
)
images = st.builds(Image, id=names, layers=st.lists(names, max_size=4).map(tuple), config=configs)
stamps = st.builds(
    Stamp,
    fingerprint=texts,
    origin=texts,
    content=texts,
    bases=st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
    metadata=maps,
    managed=st.lists(names, max_size=3).map(tuple),
    groups=maps,
    files=maps,
    time=st.floats(0, 1e11),
)


def with_labels(image: Image, labels: Mapping[str, str]) -> Image:
    return replace(image, config={**image.config, "Labels": dict(labels)})


def stamped(image: Image, metadata: Mapping[str, str]) -> Image:
    written, removed = stamp.labels(metadata=metadata, title="shop")
    managed = frozenset(written) | removed
    mark = Stamp(fingerprint="f", content=stamp.content_id(image, managed), managed=tuple(sorted(managed)))
    kept = {key: value for key, value in image.labels.items() if key not in removed}
    return with_labels(image, {**kept, **written, LABEL: mark.to_label()})


@given(images, maps)
def test_a_stamp_and_another_one_after_it_are_read_back(image: Image, metadata: Mapping[str, str]) -> None:
    first = stamped(image, metadata)
    second = stamped(first, {"BUILD_ID": "2", "VCS_REF": "abc"})
    found = [stamp.read(first), stamp.read(second)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].content == found[1].content


@given(images, images)
def test_content_is_told_apart_by_layers_configuration_and_labels(one: Image, other: Image) -> None:
    def told(image: Image) -> Any:
        return (image.layers, {key: value for key, value in image.config.items() if value})

    assert (stamp.content_id(one) == stamp.content_id(other)) == (told(one) == told(other))


@given(images, st.sampled_from(["layer", "Cmd", "OnBuild", "label", "architecture"]))
def test_what_inherits_a_stamp_bears_none(image: Image, change: str) -> None:
    child = stamped(image, {"BUILD_ID": "1"})
    if change == "layer":
        child = replace(child, layers=(*child.layers, "sha256:more"))
    elif change == "label":
        child = with_labels(child, {**child.labels, "theirs": "x"})
    elif change == "architecture":
        child = replace(child, architecture="riscv64")
    else:
        child = replace(child, config={**child.config, change: ["something else entirely"]})
    assert stamp.read(child) is None


@given(images, names, texts)
def test_only_managed_labels_are_no_content(image: Image, key: str, value: str) -> None:
    assume(image.labels.get(key) != value)
    changed = with_labels(image, {**image.labels, key: value})
    assert stamp.content_id(image, {key}) == stamp.content_id(changed, {key})
    assert stamp.content_id(image) != stamp.content_id(changed)


@given(stamps)
def test_a_stamp_survives_its_label(mark: Stamp) -> None:
    assert Stamp.from_label(mark.to_label()) == mark


@given(st.text() | stamps.map(lambda mark: mark.to_label()[:-1]))
def test_a_malformed_label_is_no_stamp(text: str) -> None:
    assert Stamp.from_label(text) is None


@pytest.mark.parametrize(
    "change",
    [
        ('"version":1', '"version":2'),
        ('"content":"c"', '"content":3'),
        ('"bases":[]', '"bases":[["only a name"]]'),
        ('"managed":[]', '"managed":"abc"'),
        ('"time":0.0', '"time":"now"'),
        ('"origin":""', '"origin":"","surprise":1'),
    ],
)
def test_a_label_of_the_wrong_shape_is_no_stamp(change: tuple[str, str]) -> None:
    label = Stamp(fingerprint="f", content="c").to_label()
    assert Stamp.from_label(label) is not None
    assert change[0] in label
    assert Stamp.from_label(label.replace(*change)) is None


def test_bytes_that_are_no_text_do_not_break_a_stamp() -> None:
    mark = Stamp(fingerprint="f", content="c", metadata={"VCS_BRANCH": "caf\udce9"})
    back = Stamp.from_label(mark.to_label())
    assert back is not None
    assert back.metadata == {"VCS_BRANCH": "caf?"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("arm64", "v8"), ("arm64", ""), True),
        (("arm", "v7"), ("arm", ""), True),
        (("arm", "v6"), ("arm", ""), False),
        (("amd64", ""), ("arm64", ""), False),
    ],
)
def test_default_variants_are_one_platform(one: tuple[str, str], other: tuple[str, str], same: bool) -> None:
    ids = {stamp.content_id(Image("", architecture=a, variant=v)) for a, v in (one, other)}
    assert (len(ids) == 1) is same


def test_every_known_key_is_written_and_the_rest_removed() -> None:
    metadata = {
        "BUILD_ID": "20260102-030405-abc1234",
        "BUILD_DATE": "2026-01-02T03:04:05Z",
        "VCS_REF": "abc1234",
        "VCS_URL": "https://me:secret@example.com/shop.git?token=x",
    }
    written, removed = stamp.labels(metadata=metadata, title="shop", base_name="debian:12", base_digest="sha256:d")
    assert written == {
        "org.opencontainers.image.version": "20260102-030405-abc1234",
        "org.opencontainers.image.created": "2026-01-02T03:04:05Z",
        "org.opencontainers.image.revision": "abc1234",
        "org.opencontainers.image.source": "https://example.com/shop.git",
        "org.opencontainers.image.url": "https://example.com/shop",
        "org.opencontainers.image.title": "shop",
        "org.opencontainers.image.base.name": "debian:12",
        "org.opencontainers.image.base.digest": "sha256:d",
        "org.label-schema.schema-version": "1.0",
        "org.label-schema.name": "shop",
        "org.label-schema.version": "20260102-030405-abc1234",
        "org.label-schema.build-date": "2026-01-02T03:04:05Z",
        "org.label-schema.vcs-ref": "abc1234",
        "org.label-schema.vcs-url": "https://example.com/shop.git",
    }
    assert "org.opencontainers.image.description" in removed
    assert not removed & written.keys()


def test_keys_that_are_taken_are_neither_written_nor_removed() -> None:
    taken = {"org.opencontainers.image.version", "org.opencontainers.image.vendor"}
    written, removed = stamp.labels(metadata={"BUILD_ID": "b", "VCS_REF": "unknown"}, title="t", taken=taken)
    assert not taken & (written.keys() | removed)
    assert "org.opencontainers.image.revision" in removed


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("", ""),
        ("git@example.com:a/b.git", "git@example.com:a/b.git"),
        ("ssh://git:pw@example.com:22/a.git", "ssh://git@example.com:22/a.git"),
        ("https://token@example.com/a?b#c", "https://example.com/a"),
        ("/srv/git/a.git", "/srv/git/a.git"),
    ],
)
def test_a_public_url_tells_no_secret(url: str, public: str) -> None:
    assert stamp.public_url(url) == public


contexts = st.dictionaries(names, texts, max_size=6).map(
    lambda found: tuple(Field("file", name, value) for name, value in found.items())
)


def built_from(fields: Sequence[Field]) -> Stamp:
    return Stamp(fingerprint="", content="", groups=stamp.groups(fields), files=stamp.files(fields))


@given(contexts, contexts)
def test_a_stamp_tells_which_files_changed(before: tuple[Field, ...], after: tuple[Field, ...]) -> None:
    then, now = ({field.name: field.value for field in fields} for fields in (before, after))
    said = [reason.text.partition(" (")[0] for reason in stamp.changes(built_from(before), after)]
    named = [f"{name} {'changed' if name in then else 'is new'}" for name in now if then.get(name) != now[name]]
    named += ["a file of the context is gone"] if then.keys() - now.keys() else []
    unordered = ["files of the context changed"] if before != after and not named else []
    assert said == (named or unordered if before else ["files of the context changed"] if after else [])


@given(contexts, contexts, st.sets(names))
def test_files_are_the_same_apart_from_some(
    before: tuple[Field, ...], after: tuple[Field, ...], apart: Set[str]
) -> None:
    then, now = ({f.name: f.value for f in fields if f.name not in apart} for fields in (before, after))
    assert stamp.same_files(built_from(before), after, apart_from=apart) == (then == now)


def test_a_stamp_of_many_files_stays_short() -> None:
    fields = tuple(Field("file", str(i), "1") for i in range(stamp.MOST_FILES + 1))
    seal = built_from(fields)
    assert len(seal.to_label()) < 500
    assert [reason.text for reason in stamp.changes(seal, fields[1:])] == [
        "files of the context changed (no record tells which)"
    ]
