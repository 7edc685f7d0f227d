"""What becomes of each tag, against a plain model of a registry and a plain history of commits."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgmake import stamp
from imgmake.ports import Image
from imgmake.stamp import Stamp
from imgmake.tags import Holder, Origin, Ours, TagAction, TagChange, Wanted, change, of_version, origin, plain

REPOSITORY = "registry.test/shop"
OLD, NEW = Origin("a" * 40, 100.0), Origin("b" * 40, 200.0)
MINE = Ours("sha256:mine")


def linear(first: str, second: str) -> bool:
    """A history in which commits follow each other as their names do."""
    return first < second


def unknown(first: str, second: str) -> None:
    return None


def judged(tag: Wanted, held: Holder | None, ours: Ours, ancestor=linear, **more: bool) -> TagChange:  # type: ignore[no-untyped-def]
    return change(tag, REPOSITORY, held, ours, ancestor, **more)


# --- a tag by itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "build_id", "fixed"),
    [
        ("20190702-223619-ade3d65", True, "a tag with a BUILD_ID"),
        ("20190702-223619-ade3d65", False, "a tag with a BUILD_ID"),  # `promote TAG=…`
        ("prod-20190702-223619-unknown-dirty", False, "a tag with a BUILD_ID"),
        ("1.2.3", True, "a tag with a BUILD_ID"),
        ("1.2.3", False, "a version"),
        ("v1.2.3", False, "a version"),
        ("1.2.3-rc.1", False, "a version"),
        ("1.2.3-debug", False, "a version"),
        ("1.2.3_b1", False, "a version"),
        ("1.2", False, ""),
        ("v1", False, ""),
        ("latest", False, ""),
        ("20190702", False, ""),
        ("20190702-223619", False, ""),
        ("20191302-223619-ade3d65", False, ""),  # no date
    ],
)
def test_which_tags_never_move(tag: str, build_id: bool, fixed: str) -> None:
    assert plain(tag, build_id=build_id).fixed == fixed


@pytest.mark.parametrize("tag", [plain("b1", build_id=True), plain("1.2.3", build_id=False)])
@pytest.mark.parametrize("rollback", [True, False])
def test_a_tag_that_never_moves_is_created_left_or_refused(tag: Wanted, rollback: bool) -> None:
    new = judged(tag, None, MINE, rollback=rollback)
    assert (new.action, new.before, new.after, new.fixed) == (TagAction.CREATE, "", "sha256:mine", True)
    same = judged(tag, Holder("sha256:theirs", True), MINE, rollback=rollback)
    assert (same.action, same.before, same.after) == (TagAction.LEAVE, "sha256:theirs", "sha256:theirs")
    other = judged(tag, Holder("sha256:theirs", False), MINE, rollback=rollback)
    assert (other.action, other.after) == (TagAction.REFUSE, "sha256:theirs")
    assert "never moves" in other.why
    assert "publish under another" in other.hint


def test_before_the_build_it_is_not_certain_that_a_held_tag_is_refused() -> None:
    found = judged(plain("1.2.3", build_id=False), Holder("sha256:theirs", None), Ours())
    assert (found.action, found.why) == (
        TagAction.LEAVE,
        "holds an image already; refused if the build makes another",
    )


LATEST = plain("latest", build_id=False)


def test_before_the_build_a_tag_may_turn_out_to_hold_the_image() -> None:
    found = judged(LATEST, Holder("sha256:theirs", None, NEW), Ours("", OLD))
    assert (found.action, found.after, found.why) == (TagAction.MOVE, "", "unless the build makes this image again")


@pytest.mark.parametrize(
    ("ours", "theirs", "ancestor", "action", "why"),
    [
        (NEW, OLD, linear, TagAction.MOVE, "holds commit aaaaaaa"),
        (OLD, NEW, linear, TagAction.REFUSE, "holds commit bbbbbbb, which comes after aaaaaaa: it never moves back"),
        (OLD, Origin("a" * 40, 200.0), linear, TagAction.MOVE, "another build of commit aaaaaaa"),
        (NEW, OLD, unknown, TagAction.MOVE, "holds an earlier build (commit aaaaaaa is not known here)"),
        (
            OLD,
            NEW,
            unknown,
            TagAction.REFUSE,
            "holds a later build, of 1970-01-01T00:03:20Z (commit bbbbbbb is not known here): it never moves back",
        ),
        (
            Origin("", 100.0),
            Origin("", 200.0),
            linear,
            TagAction.REFUSE,
            "holds a later build, of 1970-01-01T00:03:20Z (its commit is not known): it never moves back",
        ),
        (NEW, Origin(), linear, TagAction.MOVE, "holds another image (its commit is not known)"),
        (Origin(), NEW, linear, TagAction.MOVE, "holds another image (commit bbbbbbb is not known here)"),
    ],
)
def test_a_moving_tag_never_goes_back(
    ours: Origin, theirs: Origin, ancestor: object, action: TagAction, why: str
) -> None:
    found = judged(LATEST, Holder("sha256:theirs", False, theirs), Ours("sha256:mine", ours), ancestor)
    assert (found.action, found.why, found.fixed) == (action, why, False)
    assert found.after == ("sha256:mine" if action is TagAction.MOVE else "sha256:theirs")
    assert ("--allow-rollback" in found.hint) == (action is TagAction.REFUSE)
    allowed = judged(LATEST, Holder("sha256:theirs", False, theirs), Ours("sha256:mine", ours), ancestor, rollback=True)
    assert (allowed.action, allowed.after) == (TagAction.MOVE, "sha256:mine")


def test_a_tag_that_holds_the_image_is_left_whatever_the_commits_are() -> None:
    assert judged(LATEST, Holder("sha256:theirs", True, NEW), Ours("", OLD)).action is TagAction.LEAVE


def test_among_versions_the_version_decides_unless_the_commit_is_known_to_be_older() -> None:
    """A backport of 1.3.1 is committed after 2.0.0, and a fix of 2.0.1 may come from another branch."""
    minor = of_version("1.3.1", "", True, ["1.3.0", "1.3", "2.0.0"])[1]
    for history in (unknown, lambda first, second: False):  # other branches; times of builds decide nothing
        found = judged(minor, Holder("sha256:theirs", False, NEW), Ours("sha256:mine", OLD), history)
        assert (found.action, found.why) == (TagAction.MOVE, "1.3.1 is the highest 1.3")
    back = judged(minor, Holder("sha256:theirs", False, NEW), Ours("sha256:mine", OLD))
    assert (back.action, back.after) == (TagAction.REFUSE, "sha256:theirs")
    assert back.why == "holds commit bbbbbbb, which comes after aaaaaaa: it never moves back"
    allowed = judged(minor, Holder("sha256:theirs", False, NEW), Ours("sha256:mine", OLD), rollback=True)
    assert (allowed.action, allowed.after) == (TagAction.MOVE, "sha256:mine")
    latest = of_version("1.3.1", "", True, ["1.3.0", "1.3", "2.0.0"])[-1]
    kept = judged(latest, Holder("sha256:theirs", False, OLD), Ours("sha256:mine", NEW))
    assert (kept.action, kept.after, kept.why) == (TagAction.LEAVE, "sha256:theirs", "2.0.0 is higher")
    assert judged(latest, None, Ours("sha256:mine", NEW)).action is TagAction.LEAVE


def test_of_two_builds_of_one_version_the_newer_commit_has_the_moving_tags() -> None:
    latest = of_version("1.3.1+b1", "", True, ["1.3.1_b2", "latest"])[-1]
    kept = judged(latest, Holder("sha256:theirs", False, NEW), Ours("sha256:mine", OLD))
    assert (kept.action, kept.why) == (TagAction.LEAVE, "1.3.1_b2 is as high, and newer")
    assert judged(latest, Holder("sha256:theirs", False, OLD), Ours("sha256:mine", NEW)).action is TagAction.MOVE


def test_a_leading_v_is_no_part_of_the_tag() -> None:
    assert [one.tag for one in of_version("v1.2.3", "", True, [])] == ["1.2.3", "1.2", "1", "latest"]


# --- where an image comes from --------------------------------------------------------------------------------


def labelled(**labels: str) -> Image:
    return Image("sha256:1", config={"Labels": {key.replace("_", "."): value for key, value in labels.items()}})


def sealed(revision: str, time: float) -> Image:
    seal = Stamp(fingerprint="f", content=stamp.content_id(Image("")), time=time, metadata={"VCS_REF": revision})
    return Image("sha256:1", config={"Labels": {stamp.LABEL: seal.to_label()}})


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ([sealed("a" * 40, 7.0)], Origin("a" * 40, 7.0)),
        ([sealed("unknown", 7.0)], Origin("", 7.0)),
        ([sealed("a" * 40, 7.0), sealed("a" * 40, 9.0)], Origin("a" * 40, 9.0)),
        ([labelled(org_opencontainers_image_revision="c1")], Origin("c1")),
        ([Image("sha256:1", created="1970-01-01T00:01:40.123456789Z")], Origin("", 100.123456)),
        ([Image("sha256:1", created="0001-01-01T00:00:00Z")], Origin()),
        ([Image("sha256:1", created="yesterday")], Origin()),
        ([], Origin()),
    ],
)
def test_an_image_tells_its_commit_and_its_time(images: list[Image], told: Origin) -> None:
    assert origin(images) == told


def test_an_inherited_stamp_tells_nothing() -> None:
    child = sealed("a" * 40, 7.0)
    assert origin([Image("sha256:2", layers=("sha256:more",), config=child.config)]) == Origin()


# --- whole histories against a model --------------------------------------------------------------------------


@dataclass
class Shelf:
    """A repository as the changes leave it: tag -> the publication that it names."""

    tags: dict[str, int] = field(default_factory=dict)
    published: list[str] = field(default_factory=list)  # the version of each publication that was carried out

    def publish(self, version: str, suffix: str, variants: tuple[str, ...], *, only: int | None = None) -> None:
        """Carry out the plan of one publication, or after a crash only the first tags of it."""
        number = len(self.published)
        ours = Ours(f"sha256:{number}", Origin(f"{number:040}"))
        wanted = of_version(version, suffix, True, tuple(self.tags), variants)
        changes = [judged(one, self._holder(one.tag, number), ours) for one in wanted]
        self.published.append(version + suffix)
        if any(one.action is TagAction.REFUSE for one in changes):
            return
        for one in changes[:only]:
            if one.action in (TagAction.CREATE, TagAction.MOVE):
                assert (one.action is TagAction.CREATE) == (one.before == "")
                self.tags[one.reference.rpartition(":")[2]] = number

    def _holder(self, tag: str, number: int) -> Holder | None:
        held = self.tags.get(tag)
        return None if held is None else Holder(f"sha256:{held}", held == number, Origin(f"{held:040}"))


SMALL = st.integers(0, 2)
VERSION = st.tuples(
    SMALL, SMALL, SMALL, st.sampled_from(["", "", "", "-rc.1"]), st.sampled_from(["", "", "+b.1", "+c"])
)
STEP = st.tuples(VERSION, st.sampled_from(["", "-debug"]))


def spelt(version: tuple[int, int, int, str, str]) -> str:
    return ".".join(map(str, version[:3])) + version[3] + version[4]


@settings(max_examples=4 * settings().max_examples)
@given(st.lists(STEP, max_size=14))
def test_after_any_history_each_moving_tag_names_the_highest_version_that_it_covers(
    history: list[tuple[tuple[int, int, int, str, str], str]],
) -> None:
    """The model: the highest stable version of each variant, of those as high the one published last."""
    shelf = Shelf({"nightly": -1, "3": -1, "9.9.9-other": -1})
    foreign = dict(shelf.tags)
    expected: dict[str, int] = {}
    first: dict[tuple[tuple[int, int, int, str, str], str], int] = {}
    for number, (version, suffix) in enumerate(history):
        shelf.publish(spelt(version), suffix, ("", "-debug"))
        if (version, suffix) in first:
            continue  # the version is there: another image of it is refused
        first[version, suffix] = number
        expected[spelt(version).replace("+", "_") + suffix] = number
        stable = {v: n for (v, s), n in first.items() if s == suffix and not v[3]}
        for v in stable:
            expected[f"{v[0]}.{v[1]}{suffix}"] = top(stable, v[:2])
            expected["latest" + suffix] = top(stable, ())
            if v[0]:
                expected[f"{v[0]}{suffix}"] = top(stable, v[:1])
        assert shelf.tags == {**foreign, **expected}
    assert not {"0", "0-debug"} & shelf.tags.keys()


def top(stable: dict[tuple[int, int, int, str, str], int], prefix: tuple[int, ...]) -> int:
    covered = {v: n for v, n in stable.items() if v[: len(prefix)] == prefix}
    return covered[max(covered, key=lambda v: (v[:3], covered[v]))]


@given(st.permutations(["1.0.0", "1.0.1", "1.1.0", "2.0.0", "2.0.0-rc.1", "0.9.0"]), st.integers(0, 4))
def test_publishing_the_highest_again_repairs_what_a_crash_left(order: list[str], written: int) -> None:
    shelf = Shelf()
    for version in order[:-1]:
        shelf.publish(version, "", ())
    shelf.publish(order[-1], "", (), only=written)
    before = dict(shelf.tags)
    number = shelf.published.index(order[-1])
    ours = Ours(f"sha256:{number}", Origin(f"{number:040}"))
    for one in of_version(order[-1], "", True, tuple(shelf.tags)):
        held = shelf.tags.get(one.tag)
        holder = None if held is None else Holder(f"sha256:{held}", held == number, Origin(f"{held:040}"))
        if judged(one, holder, ours).action in (TagAction.CREATE, TagAction.MOVE):
            shelf.tags[one.tag] = number
    whole = Shelf()
    for version in order:
        whole.publish(version, "", ())
    assert shelf.tags == whole.tags
    assert all(shelf.tags[tag] == held for tag, held in before.items() if tag in order)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_a_plain_tag_only_moves_forward(order: list[int]) -> None:
    held: Holder | None = None
    seen: list[int] = []
    for commit in order:
        same = bool(seen) and seen[-1] == commit
        found = judged(LATEST, held and held._replace(same=same), Ours(f"sha256:{commit}", Origin(f"{commit:040}")))
        if found.action is not TagAction.REFUSE:
            held = Holder(f"sha256:{commit}", True, Origin(f"{commit:040}"))
            seen.append(commit)
    assert all(one <= two for one, two in pairwise(seen))
    assert seen[-1] == max(order)


@given(st.lists(st.tuples(VERSION, st.integers(0, 9)), max_size=12), st.booleans())
def test_no_tag_ever_goes_back_to_an_older_commit(
    history: list[tuple[tuple[int, int, int, str, str], int]], rollback: bool
) -> None:
    """Versions that are released from commits in any order: all of one is written, or nothing."""
    shelf: dict[str, tuple[str, int]] = {}
    for version, commit in history:
        ours = Ours(f"{spelt(version)} of {commit}", Origin(f"{commit:040}"))
        wanted = of_version(spelt(version), "", True, tuple(shelf))
        holders = {
            one.tag: Holder(held[0], held[0] == ours.digest, Origin(f"{held[1]:040}"))
            for one in wanted
            if (held := shelf.get(one.tag))
        }
        changes = [judged(one, holders.get(one.tag), ours, rollback=rollback) for one in wanted]
        if any(one.action is TagAction.REFUSE for one in changes):
            assert any(one.tag in holders and (one.fixed or shelf[one.tag][1] > commit) for one in wanted), (
                "only what would break a promise is refused"
            )
            continue
        for one in changes:
            if one.action in (TagAction.CREATE, TagAction.MOVE):
                tag = one.reference.rpartition(":")[2]
                assert rollback or tag not in shelf or shelf[tag][1] <= commit
                shelf[tag] = (ours.digest, commit)
