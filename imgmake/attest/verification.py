"""What a registry alone tells of an image, put together and held against itself; pure.

It says whether the statements agree with each other and with the image. Whether they are true is another question:
without a signature, whoever may push may write them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from imgmake import attest, stamp
from imgmake.attest.provenance import Origin, read_provenance
from imgmake.attest.required import SKEW, lacking
from imgmake.attest.results import Result, read_result
from imgmake.attest.statements import Unreadable, read
from imgmake.errors import ImgmakeError
from imgmake.freshness import short
from imgmake.ports import Artifact, Image, Referrer, Remote
from imgmake.stamp import Stamp


class Document(NamedTuple):
    """Something that is only named: an SBOM, a signature."""

    kind: str
    digest: str


@dataclass(frozen=True)
class Verification:
    """All that is known of one image.

    lacks:    what a careful consumer would miss.
    problems: what is contradictory, about another image, or cannot be read.
    """

    reference: str
    digest: str
    platforms: tuple[str, ...]
    now: float
    origin: Origin | None = None
    seals: tuple[Stamp, ...] = ()
    results: tuple[Result, ...] = ()
    sboms: tuple[Document, ...] = ()
    signatures: tuple[Document, ...] = ()
    lacks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0: all is there and agrees; 1: something lacks, or did not pass; 2: something contradicts itself."""
        return 2 if self.problems else 1 if self.lacks else 0


class Verified(NamedTuple):
    """All the images that were asked about: what was found of each, and why nothing was of the others."""

    found: tuple[Verification, ...]
    errors: tuple[ImgmakeError, ...] = ()


class Found(NamedTuple):
    """One thing that refers to a manifest; statements with their content, or why that could not be fetched."""

    subject: str  # the digest of the manifest it was listed for
    referrer: Referrer
    artifact: Artifact | None = None
    error: str = ""


def verify(remote: Remote, found: Sequence[Found], *, now: float, signed: bool = False) -> Verification:
    """Put together what was found. `signed`: there is a signature under cosign's own tag."""
    read = _Read(now)
    for one in found:
        read.take(one)
    results = _Results(remote, read.results, now)
    seals = tuple(seal for image in remote.images if (seal := stamp.read(image)) is not None)
    origin = max((each for _, each in read.origins), key=lambda each: each.finished or 0.0, default=None)
    signatures = [Document("cosign", "")] if signed else []
    return Verification(
        reference=remote.reference,
        digest=remote.digest,
        platforms=tuple(_platform(image) for image in remote.images),
        now=now,
        origin=origin,
        seals=seals,
        results=tuple(results.told()),
        sboms=tuple(_documents(found, attest.SBOMS)),
        signatures=(*_documents(found, attest.SIGNATURES), *signatures),
        lacks=tuple(_lacks(origin, results, remote, seals)),
        problems=(*read.problems, *_contradictions(read.origins, remote, seals)),
    )


@dataclass
class _Read:
    """Statements, one after the other, each with the digest of what it was listed for."""

    now: float
    results: list[tuple[str, Result]] = field(default_factory=list)
    origins: list[tuple[str, Origin]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def take(self, one: Found) -> None:
        name = short(one.referrer.digest)
        if one.error:
            self.problems.append(f"{name}: {one.error}")
        elif one.artifact is not None:
            try:
                self._read(one, one.artifact)
            except Unreadable as error:
                self.problems.append(f"{name}: {error}")

    def _read(self, one: Found, artifact: Artifact) -> None:
        statement = read(artifact.data)
        result, origin = read_result(statement), read_provenance(statement)
        if result is None and origin is None:
            return
        if not statement.is_about(one.subject):
            raise Unreadable("it is about another image")
        if result is not None and result.time > self.now + SKEW:
            raise Unreadable(f"the result of {result.check} is from the future")
        self.results += [(one.subject, result)] if result is not None else []
        self.origins += [(one.subject, origin)] if origin is not None else []


class _Results:
    """What was said of each check, as `requires=` reads it: of the image itself, else of each manifest in it."""

    def __init__(self, remote: Remote, said: Iterable[tuple[str, Result]], now: float) -> None:
        self._now = now
        self._parts = {_manifest(image): _platform(image) for image in remote.images}
        self._whole = remote.digest
        self._said: dict[str, dict[str, list[Result]]] = {}
        for subject, result in said:
            self._said.setdefault(result.check, {}).setdefault(subject, []).append(result)

    def told(self) -> Iterator[Result]:
        """The last word on each check, by name; on each platform, where nothing is said of all of them."""
        for _, found in sorted(self._said.items()):
            for subject in [self._whole] if self._whole in found else found:
                newest = max(found[subject], key=lambda each: each.time)
                yield newest if subject == self._whole else newest._replace(platforms=(self._parts[subject],))

    def lacks(self) -> Iterator[str]:
        """Checks whose last word is no pass, and platforms of which a check says nothing."""
        for check, found in sorted(self._said.items()):
            for subject, platform in {self._whole: ""}.items() if self._whole in found else self._parts.items():
                line = lacking(check, found.get(subject, []), max_age=math.inf, now=self._now)
                yield from [f"{line} ({platform})" if platform else line] if line else []


def _documents(found: Iterable[Found], kinds: dict[str, str]) -> Iterator[Document]:
    for one in {one.referrer.digest: one for one in found}.values():
        if one.referrer.artifact_type in kinds:
            yield Document(kinds[one.referrer.artifact_type], one.referrer.digest)


def _lacks(origin: Origin | None, results: _Results, remote: Remote, seals: Sequence[Stamp]) -> Iterator[str]:
    if origin is None:
        yield "nothing says where it comes from (no provenance)"
    if not any(results.told()):
        yield "nothing says that it passed a check"
    yield from results.lacks()
    if len(seals) < len(remote.images) or not seals:
        yield "it bears no stamp of its own"


def _contradictions(origins: Sequence[tuple[str, Origin]], remote: Remote, seals: Sequence[Stamp]) -> Iterator[str]:
    """Where statements, stamps and images do not agree; what is said of one manifest need not tell of the others."""
    if origins and len(seals) < len(remote.images):
        yield "it is not what was built: its stamp does not match its content"
    own = {_manifest(image): [seal] for image in remote.images if (seal := stamp.read(image)) is not None}
    own[remote.digest] = list(seals)
    yield from dict.fromkeys(line for subject, told in origins for line in _differences(told, own.get(subject, ())))


def _differences(origin: Origin, seals: Sequence[Stamp]) -> Iterator[str]:
    told = {(fingerprint, content) for _, fingerprint, content in origin.images}
    if any((seal.fingerprint, seal.content) not in told for seal in seals):
        yield "a provenance is that of another build: the stamp tells another fingerprint or content"
    if any(_other(origin.revision, seal.metadata.get("VCS_REF", "")) for seal in seals):
        yield "a provenance names another commit than the stamp"
    if seals and origin.build_id and origin.build_id not in {seal.metadata.get("BUILD_ID", "") for seal in seals}:
        yield "a provenance names another BUILD_ID than the stamp"


def _other(told: str, stamped: str) -> bool:
    return bool(told) and told != stamped


def _manifest(image: Image) -> str:
    return next((digest.rpartition("@")[2] for digest in image.digests), "")


def _platform(image: Image) -> str:
    return "/".join(part for part in (image.os, image.architecture, image.variant) if part)
