"""Semantic versions, and the tags that one fans out to given what a registry holds; pure (semver.org 2.0.0)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from imgmake.errors import UsageError

# The expression that semver.org suggests, with ASCII digits only.
_NUMBER = r"(0|[1-9][0-9]*)"
_PRE = r"(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMVER = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PRE}(?:\.{_PRE})*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)
_SUFFIX = re.compile(r"(?:-[A-Za-z0-9_.-]+)?")
_LONGEST = 128


class Version(NamedTuple):
    """A semantic version in its parts."""

    major: int
    minor: int
    patch: int
    prerelease: str = ""
    build: str = ""

    @property
    def stable(self) -> bool:
        return not self.prerelease


def parse(text: str) -> Version:
    """Read a version as semver 2.0.0 has it. Raises UsageError with what was probably meant.

    >>> parse("1.2.3-rc.1+x")
    Version(major=1, minor=2, patch=3, prerelease='rc.1', build='x')
    """
    parts = _SEMVER.fullmatch(text)
    if parts is None:
        raise UsageError(f"{text!r} is no semantic version", hint=_meant(text))
    major, minor, patch, prerelease, build = parts.groups()
    return Version(int(major), int(minor), int(patch), prerelease or "", build or "")


class Fan(NamedTuple):
    """One of the tags that a version gets.

    tag:    ``1.2.3-debug``, ``1.2-debug``.
    covers: what it names: ``1.2``, ``1``, ``stable``; empty for the version's own tag, which never moves.
    higher: tag of the highest version that the repository holds and that keeps this one; empty: it is this version's.
    equal:  tags of versions as high as this one, which differ in ``+build`` alone.
    """

    tag: str
    covers: str = ""
    higher: str = ""
    equal: tuple[str, ...] = ()


def fan_out(
    version: str, suffix: str, latest: bool, held: Collection[str], variants: Collection[str] = ()
) -> tuple[Fan, ...]:
    """The tags that a version gets: X.Y.Z, X.Y, X and ``latest``, each the version's unless a higher one keeps it.

    version:  as semver 2.0.0 has it; a pre-release gets its own tag only, and moves no other's.
    suffix:   ``-debug`` and the like, put behind each tag; tags without it, or with another, do not compete.
    latest:   whether ``latest`` is among them.
    held:     the tags of the repository.
    variants: every suffix in use there: so ``2.0.0_b-debug`` is the debug variant of ``2.0.0+b``.

    ``0`` is never a tag, since 0.y versions promise nothing to each other; ``+`` may not stand in a tag and
    becomes ``_``. Versions that differ in ``+build`` alone are equally high. Raises UsageError.

    >>> [fan.tag for fan in fan_out("1.2.3", "", True, ["1.3.0", "1.2.2", "2.0.0-rc.1"]) if not fan.higher]
    ['1.2.3', '1.2']
    """
    if not _SUFFIX.fullmatch(suffix):
        raise UsageError(f"a suffix starts with '-' and holds letters, digits, '_', '.' and '-': not {suffix!r}")
    wanted = parse(version)
    own = version.replace("+", "_") + suffix
    if len(own) > _LONGEST:
        raise UsageError(f"{own[:40]}… has {len(own)} characters; a tag has {_LONGEST} at most")
    if not wanted.stable:
        return (Fan(own),)
    others = {tag: other for tag, other in _stable(held, suffix, variants) if tag != own}
    return (Fan(own), *_moving(wanted, suffix, latest, others))


def _moving(wanted: Version, suffix: str, latest: bool, others: Mapping[str, Version]) -> Iterator[Fan]:
    levels = [(f"{wanted.major}.{wanted.minor}", 2), *([(str(wanted.major), 1)] if wanted.major else [])]
    named = [(name, name, depth) for name, depth in levels] + [("latest", "stable", 0)] * latest
    equal = tuple(sorted(tag for tag, other in others.items() if other[:3] == wanted[:3]))
    for name, covers, depth in named:
        above = {tag: v for tag, v in others.items() if v[:depth] == wanted[:depth] and v[:3] > wanted[:3]}
        yield Fan(name + suffix, covers, max(above, key=lambda tag: (above[tag][:3], tag), default=""), equal)


def _stable(held: Collection[str], suffix: str, variants: Collection[str]) -> Iterator[tuple[str, Version]]:
    """The stable versions among the tags that end in this suffix and in no longer one."""
    longer = tuple(one for one in variants if len(one) > len(suffix))
    for tag in held:
        if tag.endswith(suffix) and not tag.endswith(longer):
            version = tagged(tag[: len(tag) - len(suffix)])
            if version is not None and version.stable:
                yield tag, version


def tagged(tag: str) -> Version | None:
    """The version that a tag spells, ``_`` standing for ``+``; None for any other tag.

    >>> tagged("1.2.3_b1"), tagged("1.2")
    (Version(major=1, minor=2, patch=3, prerelease='', build='b1'), None)
    """
    text = tag.replace("_", "+", 1)
    return parse(text) if _SEMVER.fullmatch(text) else None


def _meant(text: str) -> str:
    numbers = re.fullmatch(r"[vV]?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?([-+].*)?", text.strip())
    if numbers is not None:
        first = ".".join(str(int(number or 0)) for number in numbers.groups()[:3])
        if _SEMVER.fullmatch(guess := first + (numbers[4] or "")):
            return f"did you mean {guess!r}?"
    return "MAJOR.MINOR.PATCH, such as 1.2.3 or 1.2.3-rc.1 (semver.org)"
