"""Old builds: what is this repository's by its labels, what of it is old, and that nothing else ever goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgmake.model import Removal
from tests.fakes import FakeEngine
from tests.unit.runs import Repo

PIPEFILE = """
app = image("app", tags=["shop:$BUILD_ID", "shop:current"])
image("debug", tags="shop:$BUILD_ID-debug", dockerfile="debug.df")
"""


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo(tmp_path).pipefile(PIPEFILE)
    repo.write(Dockerfile="FROM scratch\nCOPY a /\n", debug__df="FROM scratch\nCOPY b /\n", a="0", b="0")
    repo.git.answers["url"] = "https://example.com/shop.git"
    return repo


def builds(repo: Repo, count: int, *goals: str, file: str = "a") -> list[str]:
    """So many builds of different content; the tags with their BUILD_IDs, the oldest first."""
    made = []
    for number in range(count):
        before = names(repo)
        repo.put(file, f"{file}{number}{goals}")
        assert not repo.run(*(goals or ("app",))).failed
        made += sorted(names(repo) - before - {"shop:current"})
    return made


def engine_of(repo: Repo) -> FakeEngine:
    assert repo.engine is not None
    return repo.engine


def names(repo: Repo) -> set[str]:
    return set(engine_of(repo).names)


def old(repo: Repo, keep: int = 2) -> list[Removal]:
    with repo.session(read_only=True) as (session, _):
        found: list[Removal] = session.executor.collecting().old(keep)
        return found


def remove(repo: Repo, keep: int = 2) -> list[str]:
    """Remove what is old; what stayed, with why."""
    with repo.session(read_only=True) as (session, _):
        collecting = session.executor.collecting()
        return [f"{removal.tag}: {why}" for removal, why in collecting.remove(collecting.old(keep)) if why]


def test_the_newest_builds_of_each_target_stay(repo: Repo) -> None:
    app, debug = builds(repo, 4), builds(repo, 3, "debug", file="b")
    assert [removal.tag for removal in old(repo)] == [app[1], app[0], debug[0]]
    assert old(repo, keep=4) == []
    assert remove(repo) == []
    assert names(repo) == {*app[2:], *debug[1:], "shop:current"}
    assert old(repo) == []
    assert len(engine_of(repo).by_id) == 4


def test_each_platform_has_builds_of_its_own(repo: Repo) -> None:
    repo.pipefile('image("app", tags="shop:$BUILD_ID", platforms=["linux/amd64", "linux/arm64"])')
    made = builds(repo, 3, "app", "app@linux/arm64")
    main, other = ([tag for tag in made if tag.endswith("-linux-arm64") is arm] for arm in (False, True))
    assert (len(main), len(other)) == (3, 3)
    assert [removal.tag for removal in old(repo)] == [main[0], other[0]]
    assert remove(repo) == []
    assert names(repo) == {*main[1:], *other[1:]}


def test_labels_of_the_users_own_say_neither_whose_an_image_is_nor_of_which_target(repo: Repo) -> None:
    """Two targets with one title shared the builds that stay; images with a `source` of their own stayed for ever."""
    title, source = "org.opencontainers.image.title", "org.opencontainers.image.source"
    for name in ("Dockerfile", "debug.df"):
        repo.put(name, f"FROM scratch\nCOPY a b /\nLABEL {title}=Shop {source}=https://example.com/about\n")
    app, debug = builds(repo, 3), builds(repo, 3, "debug", file="b")
    assert [removal.tag for removal in old(repo)] == [app[0], debug[0]]
    repo.git.answers["url"] = "https://example.com/about"
    assert old(repo) == []


def test_what_has_another_tag_of_that_name_by_now_stays(repo: Repo) -> None:
    """Minutes may go by before somebody says yes."""
    made = builds(repo, 4)
    with repo.session(read_only=True) as (session, _):
        collecting = session.executor.collecting()
        listed = collecting.old(2)
        engine_of(repo).tag(engine_of(repo).names[made[3]], made[0])
        engine_of(repo).tag(engine_of(repo).names[made[3]], made[1])
        assert [why for _, why in collecting.remove(listed)] == ["it is another image now"] * 2
    assert {made[0], made[1]} <= names(repo)


def test_an_image_that_many_builds_share_only_loses_their_tags(repo: Repo) -> None:
    for number in range(4):
        repo.run("app", overrides={"BUILD_ID": f"release-{number}"})
    (image,) = engine_of(repo).by_id
    remove(repo)
    assert names(repo) == {"shop:release-2", "shop:release-3", "shop:current"}
    assert list(engine_of(repo).by_id) == [image]


def test_a_tag_that_somebody_set_on_purpose_stays_with_its_image(repo: Repo) -> None:
    made = builds(repo, 4)
    engine_of(repo).tag(engine_of(repo).names[made[0]], "shop:1.0.0")
    remove(repo)
    assert "shop:1.0.0" in names(repo)
    assert made[0] not in names(repo)
    assert engine_of(repo).names["shop:1.0.0"] in engine_of(repo).by_id


@pytest.mark.parametrize("tag", ["shop:1.0.0", "shop:0.1-1", "shop:v1", "shop:11"])
def test_a_build_id_that_is_a_number_is_in_no_other_tag(repo: Repo, tag: str) -> None:
    """`1.0.0` went with the build that CI had called 1."""
    for number in range(1, 4):
        repo.put("a", str(number)).run("app", overrides={"BUILD_ID": str(number)})
    engine_of(repo).tag(engine_of(repo).names["shop:1"], tag)
    assert [removal.tag for removal in old(repo)] == ["shop:1"]
    repo.pipefile('image("app", tags="elsewhere:$BUILD_ID")')
    assert [removal.tag for removal in old(repo)] == ["shop:1"]


def test_images_without_a_tag_count_as_builds(repo: Repo) -> None:
    repo.pipefile('image("app", tags="shop:current")')
    builds(repo, 4)
    assert len(engine_of(repo).by_id) == 4
    assert [(removal.tag, removal.target) for removal in old(repo)] == [("", "app")]
    remove(repo)
    assert len(engine_of(repo).by_id) == 3


def test_a_tag_with_a_fingerprint_is_of_a_build(repo: Repo) -> None:
    """Each build left one, for ever."""
    repo.pipefile('image("app", tags=["shop:current", "shop:$FINGERPRINT"])')
    made = builds(repo, 4)
    engine_of(repo).tag(engine_of(repo).names[made[0]], "shop:0123456789ab")
    assert [removal.tag for removal in old(repo)] == [made[1], made[0]]
    remove(repo)
    assert names(repo) == {*made[2:], "shop:current", "shop:0123456789ab"}


def test_what_a_container_uses_stays_and_says_so(repo: Repo) -> None:
    repo.pipefile('image("app", tags="shop:current")')
    builds(repo, 4)
    engine_of(repo).in_use.update(removal.image for removal in old(repo))
    assert remove(repo) == [": something uses it"]


def test_others_images_are_never_ours(repo: Repo) -> None:
    made = builds(repo, 3)
    engine = engine_of(repo)
    ours = engine.by_id[engine.names[made[0]]]
    engine.commit_image("shop:20200101-000000-abcdef0")  # no stamp
    engine.commit_image("shop:20200101-000001-abcdef0", labels=ours.labels, layers=("sha256:child",))  # inherited
    repo.git.answers["url"] = "https://example.com/fork.git"
    builds(repo, 1, "debug", file="b")
    assert [removal.tag for removal in old(repo, keep=1)] == []
    repo.git.answers["url"] = "https://example.com/shop.git"
    assert {removal.tag for removal in old(repo, keep=1)} == set(made[:2])


def test_without_a_remote_a_tag_of_a_rule_tells(repo: Repo) -> None:
    repo.git.answers["url"] = ""
    made = builds(repo, 3)
    assert [removal.tag for removal in old(repo)] == [made[0]]
    repo.pipefile('image("app", tags="other:$BUILD_ID")')
    assert old(repo) == []


def test_builds_of_a_rule_that_is_gone_are_found_by_their_own_build_id(repo: Repo) -> None:
    made = builds(repo, 3, "debug", file="b")
    repo.pipefile('image("app", tags="shop/app:$BUILD_ID")')
    assert [removal.tag for removal in old(repo)] == [made[0]]
