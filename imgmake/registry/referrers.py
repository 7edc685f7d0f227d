"""What refers to a manifest: listed by the registry, or in an index under a tag made from the digest.

Rules: OCI distribution-spec 1.1, "Listing Referrers" and "Referrers Tag Schema" (the fallback for
registries without that list).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from imgmake.errors import RegistryError, TagMoved
from imgmake.ports import Artifact, Referrer
from imgmake.registry.manifests import (
    EMPTY,
    Blob,
    Manifest,
    annotations_of,
    artifact_type,
    compose_artifact,
    compose_referrers,
    layers_of,
    listed_in,
    listing_of,
    referrer_of,
    sha256,
)
from imgmake.registry.repository import Repository
from imgmake.registry.tagging import wanted

_TRIES = 20  # to add to a fallback index that others write too

Descriptor = Mapping[str, Any]


def fallback_tag(subject: str) -> str:
    """The tag under which registries without a list keep it ("Referrers Tag Schema").

    >>> fallback_tag("sha256:abc")
    'sha256-abc'
    """
    algorithm, _, value = subject.partition(":")
    return f"{algorithm[:32]}-{value[:64]}"


def listed(repository: Repository, subject: str) -> tuple[Descriptor, ...]:
    """The descriptors of what refers to a manifest."""
    found = repository.list_referrers(subject)
    return found if found is not None else _fallback(repository, subject)[1]


def _fallback(repository: Repository, subject: str) -> tuple[str | None, tuple[Descriptor, ...]]:
    """The fallback index: its digest, and what it lists."""
    index = repository.get_manifest(fallback_tag(subject))
    return (index.digest, listed_in(index.data)) if index else (None, ())


def attach(repository: Repository, subject: str, artifact: Artifact) -> str:
    """Push an artifact that refers to `subject`, unless it is there and listed; the digest of its manifest."""
    manifest = compose_artifact(artifact, wanted(repository, subject))
    known = any(one.get("digest") == manifest.digest for one in listed(repository, subject))
    if known and repository.manifest_digest(manifest.digest):
        return manifest.digest
    for data in (EMPTY, artifact.data):
        blob = Blob(sha256(data), len(data), "")
        if not repository.has_blob(blob):
            repository.put_blob(blob, lambda data=data: io.BytesIO(data))  # type: ignore[misc]
    put(repository, subject, manifest)
    return manifest.digest


def put(repository: Repository, subject: str, manifest: Manifest) -> None:
    """Write a manifest that refers to `subject`, and see that it is listed."""
    if not repository.put_referrer(manifest):
        link(repository, subject, [listing_of(manifest)])


def link(repository: Repository, subject: str, entries: Sequence[Descriptor]) -> None:
    """Add to the fallback index, and lose nothing that another adds meanwhile."""
    for _ in range(_TRIES):
        before, there = _fallback(repository, subject)
        known = {one.get("digest") for one in there}
        missing = [one for one in entries if one.get("digest") not in known]
        if not missing:
            return
        index = compose_referrers([*there, *missing])
        try:
            repository.move_tag(fallback_tag(subject), index, before)
        except TagMoved:
            continue
    raise RegistryError(
        f"{repository}: {fallback_tag(subject)}, the list of what refers to the image, is moved again and again",
        hint="do several runs publish there at once? Run again when they have ended",
    )


def content(repository: Repository, referrer: Referrer) -> Artifact:
    """The artifact behind an entry, each part verified; of several layers the first."""
    manifest = wanted(repository, referrer.digest)
    layers = layers_of(manifest)
    if not layers:
        raise RegistryError(f"{repository}: the artifact {referrer.digest} has no content")
    into = io.BytesIO()
    repository.fetch_blob(layers[0].digest, into)
    return Artifact(artifact_type(manifest), into.getvalue(), annotations_of(manifest.content))


def referrers(repository: Repository, subject: str) -> tuple[Referrer, ...]:
    """What refers to a manifest, in the registry's order."""
    return tuple(map(referrer_of, listed(repository, subject)))
