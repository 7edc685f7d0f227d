"""Semantic versions, and the tags that one fans out to given what a registry holds; pure (semver.org 2.0.0)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
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


def plain_tags(version: str, suffix: str, latest: bool, held: Collection[str]) -> tuple[str, ...]:
    """The tags that a version gets: X.Y.Z always, X.Y, X and ``latest`` where it is the highest that is held.

    version: as semver 2.0.0 has it; a pre-release gets its own tag only, and moves no other's.
    suffix:  ``-debug`` and the like, put behind each tag; tags without it, or with another, do not compete.
    latest:  whether ``latest`` is among them.
    held:    the tags of the repository.

    ``0`` is never a tag, since 0.y versions promise nothing to each other; ``+`` may not stand in a tag and
    becomes ``_``. Versions that differ in ``+build`` alone are equally high. Raises UsageError.

    >>> plain_tags("1.2.3", "", True, ["1.3.0", "1.2.2", "2.0.0-rc.1"])
    ('1.2.3', '1.2')
    """
    if not _SUFFIX.fullmatch(suffix):
        raise UsageError(f"a suffix starts with '-' and holds letters, digits, '_', '.' and '-': not {suffix!r}")
    wanted = parse(version)
    names = [version.replace("+", "_")]
    if wanted.stable:
        names += _moved(wanted, latest, list(_stable(held, suffix)))
    tags = tuple(name + suffix for name in names)
    if len(tags[0]) > _LONGEST:
        raise UsageError(f"{tags[0][:40]}… has {len(tags[0])} characters; a tag has {_LONGEST} at most")
    return tags


def _moved(wanted: Version, latest: bool, others: list[Version]) -> Iterator[str]:
    higher = [other for other in others if other[:3] > wanted[:3]]
    if not any(other[:2] == wanted[:2] for other in higher):
        yield f"{wanted.major}.{wanted.minor}"
    if wanted.major > 0 and not any(other.major == wanted.major for other in higher):
        yield str(wanted.major)
    if latest and not higher:
        yield "latest"


def _stable(held: Collection[str], suffix: str) -> Iterator[Version]:
    for tag in held:
        if tag.endswith(suffix) and _SEMVER.fullmatch(text := tag.removesuffix(suffix).replace("_", "+", 1)):
            version = parse(text)
            if version.stable:
                yield version


def _meant(text: str) -> str:
    numbers = re.fullmatch(r"[vV]?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?([-+].*)?", text.strip())
    if numbers is not None:
        first = ".".join(str(int(number or 0)) for number in numbers.groups()[:3])
        if _SEMVER.fullmatch(guess := first + (numbers[4] or "")):
            return f"did you mean {guess!r}?"
    return "MAJOR.MINOR.PATCH, such as 1.2.3 or 1.2.3-rc.1 (semver.org)"
