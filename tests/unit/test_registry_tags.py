"""Tags of a registry, one by one: set with a look before and after, removed with nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from imgmake.errors import InvalidReference, RegistryError, TagMoved
from imgmake.registry import RegistryClient
from tests.fake_registry import FakeRegistry, Fault, sha256

KIND = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as one:
        yield one


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    one = RegistryClient({"HOME": "/nonexistent"}, pause=0.001)
    yield one
    one.close()


@pytest.fixture
def manifests(registry: FakeRegistry) -> list[str]:
    """Three manifests that the repository `app` holds by digest, without a tag."""
    found = [registry.put("app", "1", {"mediaType": KIND, "annotations": {"n": str(n)}}) for n in range(3)]
    del registry.manifests["app", "1"]
    return found


def held(registry: FakeRegistry, tag: str) -> str | None:
    found = registry.manifests.get(("app", tag))
    return found and sha256(found[1])


def set_to(registry: FakeRegistry, tag: str, digest: str) -> None:
    registry.manifests["app", tag] = registry.manifests["app", digest]


def just_before(registry: FakeRegistry, method: str, act: Callable[[], object]) -> None:
    """Do something, once, when the next request with this method comes."""
    waiting = [act]

    def look(found: str, _: str) -> None:
        if found == method and waiting:
            waiting.pop()()

    registry.on_call = look


def test_looking_what_a_tag_holds_is_one_request(
    client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    set_to(registry, "1", manifests[0])
    assert client.digest(f"{registry.host}/app:1") == manifests[0]
    assert [(one.method, one.path) for one in registry.requests] == [("HEAD", "/v2/app/manifests/1")]
    assert client.digest(f"{registry.host}/app:2") is None
    assert len(registry.requests) == 2


def test_a_web_server_does_not_say_that_a_tag_is_free(client: RegistryClient, registry: FakeRegistry) -> None:
    registry.faults = [Fault("HEAD", "/manifests/", 404), Fault("GET", "/manifests/", 404)]
    with pytest.raises(RegistryError, match="404"):
        client.digest(f"{registry.host}/app:1")


@pytest.mark.parametrize("before", [None, 1])
def test_a_tag_is_created_or_moved(
    before: int | None, client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    if before is not None:
        set_to(registry, "1", manifests[before])
    old = None if before is None else manifests[before]
    assert client.set_tag(f"{registry.host}/app:1", manifests[0], before=old)
    assert held(registry, "1") == manifests[0]


@pytest.mark.parametrize("before", [None, 1])
def test_a_tag_that_holds_it_already_is_not_written(
    before: int | None, client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    set_to(registry, "1", manifests[0])
    old = None if before is None else manifests[before]
    assert not client.set_tag(f"{registry.host}/app:1", manifests[0], before=old)
    assert registry.writes() == []


@pytest.mark.parametrize(("before", "found"), [(None, 2), (1, 2), (1, None)])
def test_a_tag_that_another_moved_is_left_to_him(
    before: int | None, found: int | None, client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    if found is not None:
        set_to(registry, "1", manifests[found])
    old = None if before is None else manifests[before]
    with pytest.raises(TagMoved) as caught:
        client.set_tag(f"{registry.host}/app:1", manifests[0], before=old)
    was = f"it held {old[:19]}" if old else "it was not there"
    now = "it is gone" if found is None else f"it holds {manifests[found][:19]}"
    assert caught.value.message == f"{registry.host}/app:1 was moved by another publish: {was}, and now {now}"
    assert "run imgmake again" in caught.value.hint
    assert registry.writes() == []


def test_a_tag_that_another_writes_right_after_us_is_told(
    client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    # The read of the tag after the write is the first GET of it; the one before was of a digest.
    registry.on_call = lambda method, path: (
        set_to(registry, "1", manifests[2]) if (method, path[-2:]) == ("GET", "/1") else None
    )
    ours, theirs = manifests[0][:19], manifests[2][:19]
    with pytest.raises(TagMoved, match=f"it held {ours}, and now it holds {theirs}"):
        client.set_tag(f"{registry.host}/app:1", manifests[0], before=None)


def test_every_try_to_write_a_tag_looks_first(
    client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    """The first PUT fails; until the second, another has set the tag: it must not be written over."""
    registry.faults = [Fault("PUT", "/manifests/1", 503)]
    just_before(registry, "PUT", lambda: set_to(registry, "1", manifests[2]))
    with pytest.raises(TagMoved):
        client.set_tag(f"{registry.host}/app:1", manifests[0], before=None)
    assert held(registry, "1") == manifests[2]


def test_a_write_whose_answer_is_lost_is_not_made_twice(
    client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    registry.faults = [Fault("PUT", "/manifests/1", cut="answer")]
    assert client.set_tag(f"{registry.host}/app:1", manifests[0], before=None)
    assert len(registry.writes()) == 1


def test_a_registry_that_takes_a_tag_and_does_not_keep_it_lies(
    client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    set_to(registry, "1", manifests[1])
    registry.faults = [Fault("PUT", "/manifests/1", 201)]
    with pytest.raises(RegistryError, match="the tag 1 just written is not what its digest says") as caught:
        client.set_tag(f"{registry.host}/app:1", manifests[0], before=manifests[1])
    assert not isinstance(caught.value, TagMoved)


def test_a_tag_reads_back_as_bytes_and_not_as_what_a_header_says(
    client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    registry.faults = [Fault("GET", "/manifests/1$", body=b'{"mediaType": "%s", "x": 1}' % KIND.encode())]
    with pytest.raises(RegistryError, match="is not what its digest says"):
        client.set_tag(f"{registry.host}/app:1", manifests[0], before=None)


def test_a_tag_is_only_set_on_what_the_repository_has(client: RegistryClient, registry: FakeRegistry) -> None:
    with pytest.raises(RegistryError, match=f"{registry.host}/app: the manifest {sha256(b'x')} is not there"):
        client.set_tag(f"{registry.host}/app:1", sha256(b"x"), before=None)
    assert registry.writes() == []


def test_a_digest_cannot_be_set_or_removed(client: RegistryClient) -> None:
    digest = sha256(b"x")
    with pytest.raises(InvalidReference, match="only a tag"):
        client.set_tag(f"localhost:1/app@{digest}", digest, before=None)
    with pytest.raises(InvalidReference, match="only a tag"):
        client.remove_tag(f"localhost:1/app@{digest}", holds=digest)


# --- removing ---------------------------------------------------------------------------------------------------


def test_a_tag_is_removed_and_nothing_else(
    client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    registry.deletes = "tag"
    set_to(registry, "1", manifests[0])
    set_to(registry, "2", manifests[0])
    assert client.remove_tag(f"{registry.host}/app:1", holds=manifests[0])
    assert (held(registry, "1"), held(registry, "2"), held(registry, manifests[0])) == (
        None,
        manifests[0],
        manifests[0],
    )
    assert client.remove_tag(f"{registry.host}/app:1", holds=manifests[0]), "it is gone already"


def test_a_removal_whose_answer_is_lost_is_one(
    client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    registry.deletes = "tag"
    set_to(registry, "1", manifests[0])
    registry.faults = [Fault("DELETE", "/manifests/1", cut="answer")]
    assert client.remove_tag(f"{registry.host}/app:1", holds=manifests[0])


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_a_registry_that_cannot_remove_a_tag_keeps_it(
    status: int, client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    set_to(registry, "1", manifests[0])
    registry.faults = [Fault("DELETE", "/manifests/1", status)]
    assert not client.remove_tag(f"{registry.host}/app:1", holds=manifests[0])
    assert held(registry, "1") == manifests[0]


def test_a_tag_that_holds_another_image_is_not_removed(
    client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    registry.deletes = "tag"
    set_to(registry, "1", manifests[2])
    with pytest.raises(TagMoved):
        client.remove_tag(f"{registry.host}/app:1", holds=manifests[0])
    assert registry.writes() == []


def test_a_manifest_that_a_registry_removes_with_its_tag_is_put_back(
    client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    registry.deletes = "manifest"
    set_to(registry, "1", manifests[0])
    with pytest.raises(RegistryError, match=r"removed .* with every tag of it") as caught:
        client.remove_tag(f"{registry.host}/app:1", holds=manifests[0])
    assert "put back" in caught.value.hint
    assert held(registry, manifests[0]) == manifests[0]


def test_only_a_tag_is_ever_deleted(client: RegistryClient, registry: FakeRegistry, manifests: list[str]) -> None:
    set_to(registry, "1", manifests[0])
    for deletes in ("", "tag"):
        registry.deletes = deletes
        client.remove_tag(f"{registry.host}/app:1", holds=manifests[0])
    assert {one.path for one in registry.requests if one.method == "DELETE"} == {"/v2/app/manifests/1"}


def test_no_right_to_remove_a_tag_is_an_error(
    client: RegistryClient, registry: FakeRegistry, manifests: list[str]
) -> None:
    set_to(registry, "1", manifests[0])
    registry.faults = [Fault("DELETE", "/manifests/1", 403)]
    with pytest.raises(RegistryError, match=f"{registry.host}/app: removing the tag 1: 403"):
        client.remove_tag(f"{registry.host}/app:1", holds=manifests[0])
