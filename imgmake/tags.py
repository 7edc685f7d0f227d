"""What becomes of each tag of a publication: created, moved, left or refused, and why; pure.

The plan that is shown is the plan that is carried out: nothing but these changes is ever written. What a registry
holds, and which commit is older than which, is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from imgmake import stamp, versions
from imgmake.metadata import bears_build_id, rfc_3339
from imgmake.ports import Image

_REVISIONS = ("org.opencontainers.image.revision", "org.label-schema.vcs-ref")
_ABBREVIATED = 7  # digits of a commit, as git shows it


class TagAction(StrEnum):
    """What is done to one tag in one registry."""

    CREATE = "create"
    MOVE = "move"
    LEAVE = "leave"  # it holds this image already, or a higher version's keeps it
    REFUSE = "refuse"  # writing it would break a promise; then nothing at all is written


class TagChange(NamedTuple):
    """One line of the plan.

    reference: ``registry/repository:tag``.
    before:    digest of the manifest that the tag holds; empty when there is none.
    after:     what it is to hold, while only the image is known its ID; empty: an image that is yet to be built.
    why:       ``1.3.0 is the highest 1.3``, ``holds another image, and a BUILD_ID never moves``.
    fixed:     never moves once it is set (a BUILD_ID, ``X.Y.Z``): such tags are written before those that move.
    hint:      of a refusal, what to do about it.
    """

    reference: str
    action: TagAction
    before: str
    after: str
    why: str
    fixed: bool = False
    hint: str = ""


class PlannedTags(NamedTuple):
    """What becomes of the tags of one publish rule, for a person.

    in_registry: whether a registry has the image already; else `TagChange.after` is its ID in the engine, and the
                 digest under which registries will know it is settled when it is sent.
    """

    target: str
    changes: tuple[TagChange, ...]
    in_registry: bool = False


class Wanted(NamedTuple):
    """One tag that a rule asks for in a repository.

    fixed:  what keeps it from ever moving, ``a tag with a BUILD_ID``; empty: it may move.
    covers: what a version's moving tag names: ``1.3``, ``stable``; empty for any other tag.
    higher: the tag of a higher version, which keeps this one.
    equal:  tags of versions as high: among these, the order of commits decides.
    own:    of a version's moving tag, the version.
    """

    tag: str
    fixed: str = ""
    covers: str = ""
    higher: str = ""
    equal: tuple[str, ...] = ()
    own: str = ""


class Origin(NamedTuple):
    """From which commit an image was built, and when (seconds since the epoch); empty and 0: not known."""

    revision: str = ""
    time: float = 0.0


class Holder(NamedTuple):
    """What a tag holds: its digest, whether that is the image to be published (None: not known yet), its origin."""

    digest: str
    same: bool | None
    origin: Origin = Origin()


class Ours(NamedTuple):
    """The image to be published: what the tags are to hold (empty: it is yet to be built), and its origin."""

    digest: str = ""
    origin: Origin = Origin()


Ancestry = Callable[[str, str], bool | None]
"""Whether one commit is an ancestor of another; None when that is not known here, as in a shallow clone."""


# --- which tags ------------------------------------------------------------------------------------------------


def plain(tag: str, *, build_id: bool) -> Wanted:
    """A tag written as such: one with a BUILD_ID and one that spells a version never move, every other may.

    build_id: whether the rule says that it holds one; one that imgmake computed is known by its look, too, as when
              a promotion is given it as the value of a variable.

    >>> plain("1.2.3-debug", build_id=False).fixed, plain("stable", build_id=False).fixed
    ('a version', '')
    """
    if build_id or bears_build_id(tag):
        return Wanted(tag, fixed="a tag with a BUILD_ID")
    return Wanted(tag, fixed="a version" if versions.tagged(tag.removeprefix("v")) else "")


def of_version(
    version: str, suffix: str, latest: bool, held: Collection[str], variants: Collection[str] = ()
) -> tuple[Wanted, ...]:
    """Every tag of a semantic version in a repository that holds these tags, also those that a higher one keeps.

    A leading ``v`` is left out. See `imgmake.versions.fan_out`. Raises UsageError.

    >>> [(one.tag, one.higher) for one in of_version("1.2.3", "", False, ["1.10.0"])]
    [('1.2.3', ''), ('1.2', ''), ('1', '1.10.0')]
    """
    first, *moving = versions.fan_out(version.removeprefix("v"), suffix, latest, held, variants)
    return (
        Wanted(first.tag, fixed="a version"),
        *(Wanted(fan.tag, "", fan.covers, fan.higher, fan.equal, first.tag) for fan in moving),
    )


# --- what becomes of one ---------------------------------------------------------------------------------------


def change(
    wanted: Wanted, repository: str, held: Holder | None, ours: Ours, ancestor: Ancestry, *, rollback: bool = False
) -> TagChange:
    """What becomes of one tag in one repository.

    held:     what it holds; None: there is no such tag.
    ancestor: asked only of two commits that differ.
    rollback: move it although it would go back to an older commit (``--allow-rollback``).
    """
    reference = f"{repository}:{wanted.tag}"
    before = held.digest if held else ""
    if wanted.higher:
        return TagChange(reference, TagAction.LEAVE, before, before, f"{wanted.higher} is higher")
    if held is None:
        why = _highest(wanted) or "not there yet"
        return TagChange(reference, TagAction.CREATE, "", ours.digest, why, bool(wanted.fixed))
    if held.same:
        return TagChange(reference, TagAction.LEAVE, before, before, "holds this image", bool(wanted.fixed))
    if wanted.fixed:
        return _fixed(wanted, reference, held)
    return _moved(wanted, reference, held, ours, ancestor, rollback)


def _fixed(wanted: Wanted, reference: str, held: Holder) -> TagChange:
    if held.same is None:
        why = "holds an image already; refused if the build makes another"
        return TagChange(reference, TagAction.LEAVE, held.digest, held.digest, why, fixed=True)
    kind = "BUILD_ID" if "BUILD_ID" in wanted.fixed else "version"
    return TagChange(
        reference,
        TagAction.REFUSE,
        held.digest,
        held.digest,
        f"holds another image, and {wanted.fixed} never moves",
        fixed=True,
        hint=f"publish under another {kind}",
    )


def _moved(wanted: Wanted, reference: str, held: Holder, ours: Ours, ancestor: Ancestry, rollback: bool) -> TagChange:
    """A tag that may move: never to an older commit, and a version's only to the highest one."""
    if held.same is None:
        why = "unless the build makes this image again"
        return TagChange(reference, TagAction.MOVE, held.digest, ours.digest, why)
    way = _way(ours.origin, held.origin, ancestor)
    # Between versions the times of builds say nothing: a higher one may have been built before.
    back = way.back and (way.known or not wanted.covers or bool(wanted.equal))
    if not back:
        why = _highest(wanted) or way.note
        return TagChange(reference, TagAction.MOVE, held.digest, ours.digest, why)
    if rollback:
        return TagChange(reference, TagAction.MOVE, held.digest, ours.digest, f"{way.note}: moved back, as allowed")
    if wanted.equal:
        why = f"{', '.join(wanted.equal)} is as high, and newer"
        return TagChange(reference, TagAction.LEAVE, held.digest, held.digest, why)
    why = f"{way.note}: it never moves back"
    hint = "--allow-rollback moves it all the same"
    return TagChange(reference, TagAction.REFUSE, held.digest, held.digest, why, hint=hint)


def _highest(wanted: Wanted) -> str:
    return f"{wanted.own} is the highest {wanted.covers}" if wanted.covers else ""


class _Way(NamedTuple):
    """Whether a move would go back; `known`: by the commits, else by the times of the builds."""

    back: bool
    note: str
    known: bool = False


def _way(ours: Origin, theirs: Origin, ancestor: Ancestry) -> _Way:
    if ours.revision and ours.revision == theirs.revision:
        return _Way(False, f"another build of commit {_abbreviated(ours)}", True)
    older = ancestor(ours.revision, theirs.revision) if ours.revision and theirs.revision else None
    if older is not None:
        after = f", which comes after {_abbreviated(ours)}" if older else ""
        return _Way(older, f"holds commit {_abbreviated(theirs)}{after}", True)
    apart = f"commit {_abbreviated(theirs)} is not known here" if theirs.revision else "its commit is not known"
    if ours.time and theirs.time and ours.time < theirs.time:
        return _Way(True, f"holds a later build, of {rfc_3339(theirs.time)} ({apart})")
    return _Way(False, f"holds {'an earlier build' if ours.time and theirs.time else 'another image'} ({apart})")


def _abbreviated(origin: Origin) -> str:
    return origin.revision[:_ABBREVIATED]


# --- where an image comes from ---------------------------------------------------------------------------------


def origin(images: Iterable[Image]) -> Origin:
    """Commit and time that images tell of themselves, by imgmake's stamp or by the labels that others write too.

    The first that tells counts: the platforms of an index come from one build.
    """
    told = [_told(image) for image in images]
    return Origin(
        next((one.revision for one in told if one.revision), ""), max((one.time for one in told), default=0.0)
    )


def _told(image: Image) -> Origin:
    seal = stamp.read(image)
    found: Iterator[str] = (image.labels.get(key, "") for key in _REVISIONS)
    revision = seal.metadata.get("VCS_REF", "") if seal else next((one for one in found if one), "")
    created = image.labels.get("org.opencontainers.image.created") or image.created
    return Origin("" if revision == "unknown" else revision, seal.time if seal else _seconds(created))


def _seconds(text: str) -> float:
    """A time in RFC 3339; 0 for anything else, and for the epoch itself, which reproducible builds write."""
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return 0.0
