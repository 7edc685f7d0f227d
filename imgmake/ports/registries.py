"""Container registries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from imgmake.ports.containers import Engine, Image
from imgmake.ports.running import Cancel, Output


@dataclass(frozen=True)
class Remote:
    """What a registry holds under a tag."""

    reference: str
    digest: str  # of the manifest or index
    media_type: str
    images: tuple[Image, ...]  # one per platform; `Image.id` is the configuration's digest


@dataclass(frozen=True)
class Artifact:
    """Something that refers to an image: a statement about it, its SBOM.

    OCI image spec 1.1, manifest.md, "Guidelines for Artifact Usage": one layer, an empty configuration.
    """

    artifact_type: str  # "application/vnd.in-toto+json", "application/spdx+json"
    data: bytes  # the one layer, of the same media type
    annotations: Mapping[str, str] = field(default_factory=dict)  # of the manifest, and shown in the list of referrers


@dataclass(frozen=True)
class Referrer:
    """One entry of the list of what refers to a manifest."""

    digest: str  # of the artifact's manifest
    artifact_type: str
    annotations: Mapping[str, str] = field(default_factory=dict)


class Registry(Protocol):
    """Container registries, by reference; credentials as docker has them."""

    def resolve(self, reference: str) -> Remote | None:
        """What the tag or digest names; None when the registry answers that there is no such thing."""

    def tags(self, repository: str) -> Sequence[str]:
        """The tags of images; not those made of a digest (``sha256-…``), which hold what refers to one."""

    # --- a publication in its steps: everything by digest first, then the tags ---------------------------------

    def digest(self, reference: str, *, cancel: Cancel | None = None) -> str | None:
        """The digest that a tag stands for now, and nothing more; None when there is no such tag."""

    def send(
        self,
        engine: Engine,
        images: Sequence[Image],
        repositories: Sequence[str],
        *,
        near: Sequence[str] = (),
        output: Output,
        cancel: Cancel | None = None,
    ) -> str:
        """Bring images of the engine to each repository by digest, several as one index; set no tag.

        `near` are tags that are likely to share layers. Returns the digest of what is to be tagged, the same in
        every repository.
        """

    def copy(
        self,
        source: Remote,
        repositories: Sequence[str],
        *,
        referrers: bool = False,
        output: Output,
        cancel: Cancel | None = None,
    ) -> None:
        """Bring the manifest or index that a registry has to each repository by digest, byte for byte; set no tag.

        With `referrers`, signatures, SBOMs and attestations of it, and of what an index lists, go along.
        """

    def set_tag(self, reference: str, digest: str, *, before: str | None, cancel: Cancel | None = None) -> bool:
        """Point a tag at a manifest that its repository has; False when it did so already.

        `before` is the digest that it must hold until now, None: no such tag. It is read before the write and
        after it; raises TagMoved when it is neither `before` nor `digest`.
        """

    def remove_tag(self, reference: str, *, holds: str, cancel: Cancel | None = None) -> bool:
        """Remove a tag that holds this digest, and nothing but the tag; False where the registry cannot do that."""

    def attach(self, repository: str, subject: str, artifact: Artifact, *, cancel: Cancel | None = None) -> str:
        """Push what refers to the manifest `subject`; the same again is no second one. Returns its digest."""

    def referrers(self, repository: str, subject: str, *, cancel: Cancel | None = None) -> Sequence[Referrer]:
        """What refers to a manifest, by the referrers API (distribution-spec 1.1) or its tag fallback."""

    def artifact(self, repository: str, referrer: Referrer, *, cancel: Cancel | None = None) -> Artifact:
        """The content of one referrer, verified."""
