"""Up to date or stale, and why: each kind's decision from facts that are handed in; no I/O.

The facts are the last record, the list of what counts now (`imgmake.fingerprint`), and what the world
holds. Reasons come in the order in which a person would look for them: forced, missing, then changes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from imgmake.fingerprint import differences
from imgmake.model import Field, Reason, Verdict
from imgmake.ports import Record

FORCED = Reason("forced by --always-make", "forced")
PHONY = Reason("a phony target's recipe always runs", "phony")


@dataclass(frozen=True)
class Wish:
    """What the command line asks: -B, -W FILE (treat as changed), -o TARGET (treat as old)."""

    always: bool = False
    changed: frozenset[str] = frozenset()  # paths from the root
    old: frozenset[str] = frozenset()  # targets, and the files they make

    def what_if(self, fields: Sequence[Field]) -> tuple[Reason, ...]:
        """A reason for each file among `fields` that -W names."""
        named = [field.name for field in fields if field.kind == "file" and field.name in self.changed]
        return tuple(Reason(f"{name} is taken as changed (-W)", "forced") for name in named)

    def relevant(self, fields: Sequence[Field]) -> tuple[Field, ...]:
        """The fields without those that -o says to disregard."""
        return tuple(field for field in fields if field.name not in self.old)


def aged(now: float, then: float, max_age: float | None) -> tuple[Reason, ...]:
    """A reason when the last success is older than `max_age` seconds."""
    if max_age is None or now - then <= max_age:
        return ()
    return (Reason(f"older than max_age: {duration(now - then)} > {duration(max_age)}", "aged"),)


def until(then: float, max_age: float | None) -> float | None:
    """When a success becomes too old; None: never."""
    return None if max_age is None else then + max_age


def duration(seconds: float) -> str:
    """Seconds as people say them, exact enough to be compared: ``45 s``, ``12 min``, ``3.55 h``, ``2 d``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def age(seconds: float) -> str:
    """How old something is, in whole units.

    >>> [age(seconds) for seconds in (-1, 45, 119, 286, 12600, 172800)]
    ['0 s', '45 s', '1 min', '4 min', '3 h', '2 d']
    """
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def judge_file(
    *,
    record: Record | None,
    fields: Sequence[Field],
    outputs: Sequence[Field],
    missing: Sequence[str],
    unfinished: bool,
    phonies: Sequence[str],
    newer: Sequence[str],
    wish: Wish,
) -> Verdict:
    """A file target: up to date when its outputs are as left and its record's fields are unchanged.

    `phonies` are prerequisites with a recipe of their own: they make a file run (make's rule).
    Without a record make's own rule holds: `newer` lists the prerequisites newer than the oldest output.
    """
    reasons = [FORCED] if wish.always else []
    reasons += [Reason(f"{name} is missing", "missing") for name in missing]
    if unfinished:
        reasons.append(Reason("its last run did not finish", "interrupted"))
    reasons += [Reason(f"the phony {name} that it needs always runs", "prerequisite") for name in phonies]
    reasons += wish.what_if(fields)
    if record is None:
        reasons += [Reason(f"{name} is newer", "changed") for name in newer if not missing]
        return Verdict(tuple(reasons), "" if reasons else "no record: assumed up to date, as no prerequisite is newer")
    reasons += differences(wish.relevant(record.fields), wish.relevant(fields))
    if not missing:
        edited = differences(record.outputs, outputs)
        reasons += [Reason(f"{reason.text} since it was made", "edited") for reason in edited]
    return Verdict(tuple(reasons))


def judge_check(
    *,
    record: Record | None,
    fields: Sequence[Field],
    unfinished: bool,
    now: float,
    max_age: float | None,
    wish: Wish,
    passed: float | None = None,
) -> Verdict:
    """A check: up to date when it passed before on the same inputs, not longer ago than `max_age` seconds.

    `record` is its newest pass, and what reasons compare with; `passed` the time of any one on these very inputs.
    """
    reasons = [FORCED] if wish.always else []
    reasons += wish.what_if(fields)
    if passed is not None:
        return Verdict((*reasons, *aged(now, passed, max_age)), until=until(passed, max_age))
    if record is None:
        text = "its last run did not finish or did not pass" if unfinished else "it has not passed before"
        return Verdict((*reasons, Reason(text, "interrupted" if unfinished else "new")))
    reasons += differences(wish.relevant(record.fields), wish.relevant(fields))
    reasons += aged(now, record.time, max_age)
    return Verdict(tuple(reasons), until=until(record.time, max_age))


def judge_phony(*, has_recipe: bool) -> Verdict:
    """A phony target: with a recipe never up to date, without one a transparent group."""
    return Verdict((PHONY,)) if has_recipe else Verdict()


@dataclass(frozen=True)
class Candidate:
    """An image that could be the rule's: stamped, in its repositories or recorded, and what is off about it."""

    fingerprint: str
    time: float
    build_id: str
    revision: str
    moved: tuple[tuple[str, str, str], ...] = ()  # base, image ID at the build, image ID now


def judge_image(
    candidate: Candidate,
    *,
    fingerprint: str,
    now: float,
    max_age: float | None,
    clean: bool,
    revision: str,
) -> tuple[Reason, ...]:
    """Why this candidate is not what a build would give now; empty when it is.

    `clean` and `revision` describe the work tree, and matter only for an image built from a dirty one.
    """
    reasons = [Reason(f"base {ref} moved: {short(old)} -> {short(new)}", "moved") for ref, old, new in candidate.moved]
    if candidate.fingerprint != fingerprint:
        return (Reason("its inputs changed"), *reasons)
    reasons += aged(now, candidate.time, max_age)
    if candidate.build_id.endswith("-dirty"):
        if clean:
            reasons.append(Reason("it was built from a dirty tree, which is clean now", "dirty"))
        elif revision != candidate.revision:
            reasons.append(Reason("it was built from a dirty tree, and the commit moved", "dirty"))
    return tuple(reasons)


def short(image_id: str) -> str:
    """An image ID or digest as people read it: twelve digits after the algorithm."""
    algorithm, _, digits = image_id.partition(":")
    return f"{algorithm}:{digits[:12]}" if digits else image_id


def summary(reasons: Sequence[Reason], most: int = 1) -> str:
    """The first reasons in one line: ``src/App.java changed, and 2 more``."""
    shown = ", ".join(reason.text for reason in reasons[:most])
    rest = len(reasons) - most
    return f"{shown}, and {rest} more" if rest > 0 else shown


def codes(reasons: Collection[Reason]) -> frozenset[str]:
    """The codes among the reasons."""
    return frozenset(reason.code for reason in reasons)
