"""What a registry alone tells of an image, put together and held against itself; pure.

It says whether the statements agree with each other and with the image. Whether they are true is another question:
without a signature, whoever may push may write them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from imgmake import attest, stamp
from imgmake.attest.provenance import Origin, read_provenance
from imgmake.attest.required import SKEW
from imgmake.attest.results import Grade, Result, read_result
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
    results = tuple(_newest(read.results))
    seals = tuple(seal for image in remote.images if (seal := stamp.read(image)) is not None)
    origin = max(read.origins, key=lambda each: each.finished or 0.0, default=None)
    signatures = [Document("cosign", "")] if signed else []
    return Verification(
        reference=remote.reference,
        digest=remote.digest,
        platforms=tuple(_platform(image) for image in remote.images),
        now=now,
        origin=origin,
        seals=seals,
        results=results,
        sboms=tuple(_documents(found, attest.SBOMS)),
        signatures=(*_documents(found, attest.SIGNATURES), *signatures),
        lacks=tuple(_lacks(origin, results, remote, seals)),
        problems=(*read.problems, *_contradictions(read.origins, remote.images, seals)),
    )


@dataclass
class _Read:
    """Statements, one after the other."""

    now: float
    results: list[Result] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
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
        self.results += [result] if result is not None else []
        self.origins += [origin] if origin is not None else []


def _newest(results: Iterable[Result]) -> Iterator[Result]:
    """The last word on each check, by name."""
    last: dict[str, Result] = {}
    for result in sorted(results, key=lambda each: each.time):
        last[result.check] = result
    yield from (last[name] for name in sorted(last))


def _documents(found: Iterable[Found], kinds: dict[str, str]) -> Iterator[Document]:
    for one in {one.referrer.digest: one for one in found}.values():
        if one.referrer.artifact_type in kinds:
            yield Document(kinds[one.referrer.artifact_type], one.referrer.digest)


def _lacks(origin: Origin | None, results: Sequence[Result], remote: Remote, seals: Sequence[Stamp]) -> Iterator[str]:
    if origin is None:
        yield "nothing says where it comes from (no provenance)"
    if not results:
        yield "nothing says that it passed a check"
    for result in results:
        if result.grade is not Grade.PASSED:
            yield f"{result.check} did not pass"
    if len(seals) < len(remote.images) or not seals:
        yield "it bears no stamp of its own"


def _contradictions(origins: Sequence[Origin], images: Sequence[Image], seals: Sequence[Stamp]) -> Iterator[str]:
    """Where statements, stamps and images do not agree."""
    if origins and len(seals) < len(images):
        yield "it is not what was built: its stamp does not match its content"
    yield from dict.fromkeys(line for origin in origins for line in _differences(origin, seals))


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


def _platform(image: Image) -> str:
    return "/".join(part for part in (image.os, image.architecture, image.variant) if part)
