"""What refers to a manifest: listed by the registry, or in an index under a tag made from the digest.

Rules: OCI distribution-spec 1.1, "Listing Referrers", "Pushing Manifests with Subject" and "Referrers
Tag Schema" (the fallback for registries without a list of their own).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from imgmake.errors import RegistryError, TagMoved
from imgmake.ports import Artifact, Cancel, Referrer
from imgmake.registry.manifests import (
    EMPTY,
    Blob,
    Manifest,
    annotations_of,
    artifact_type,
    compose_artifact,
    compose_referrers,
    fallback_tag,
    layers_of,
    listed_in,
    listing_of,
    referrer_of,
    sha256,
)
from imgmake.registry.repository import Repository
from imgmake.registry.tagging import wanted

_TRIES = 20  # to add to a fallback index that others write too
_LARGEST = 1 << 30  # bytes of an artifact held in memory

Descriptor = Mapping[str, Any]
Alone = Callable[[str, Cancel], AbstractContextManager[object]]


def not_alone(_: str, __: Cancel) -> AbstractContextManager[object]:
    """No lock."""
    return nullcontext()


class Lists:
    """Reads and writes lists of referrers.

    Args:
        alone: keeps other runs of this machine from writing the list of that name meanwhile.
        settle: seconds after which a fallback index is read again. No registry can be told to write a tag
            only if it is unchanged: a run elsewhere that read before our write and wrote after it has
            removed our entry, and within that time we see it.
    """

    def __init__(self, alone: Alone = not_alone, *, settle: float = 0.1) -> None:
        self._alone = alone
        self._settle = settle

    def listed(self, repository: Repository, subject: str) -> tuple[Descriptor, ...]:
        """The descriptors of what refers to a manifest."""
        found = repository.list_referrers(subject)
        return found if found is not None else _fallback(repository, subject)[1]

    def put(self, repository: Repository, subject: str, manifests: Sequence[Manifest]) -> None:
        """Write manifests that refer to `subject`, and see that they are listed: by the registry or in the fallback."""
        by_itself = [repository.put_referrer(manifest) for manifest in manifests]
        rest = [listing_of(one) for one, listed in zip(manifests, by_itself, strict=True) if not listed]
        if rest:
            # Some registries have a list, and do not say so when they take the manifest.
            found = {one.get("digest") for one in repository.list_referrers(subject) or ()}
            self.link(repository, subject, [one for one in rest if one["digest"] not in found])

    def link(self, repository: Repository, subject: str, entries: Sequence[Descriptor]) -> None:
        """Add to the fallback index, and lose nothing that another adds meanwhile."""
        if not entries:
            return
        tag = fallback_tag(subject)
        for _ in range(_TRIES):
            with self._alone(f"what refers to images of {repository}", repository.cancel):
                complete = _add(repository, subject, entries)
            if complete:
                return
            repository.cancel.wait(self._settle)
        raise RegistryError(
            f"{repository}:{tag}, the list of what refers to the image, is moved again and again",
            hint="do several runs publish there at once? Run again when they have ended",
        )

    def attach(self, repository: Repository, subject: str, artifact: Artifact) -> str:
        """Push an artifact that refers to `subject`, unless it is there and listed; the digest of its manifest."""
        manifest = compose_artifact(artifact, wanted(repository, subject))
        known = any(one.get("digest") == manifest.digest for one in self.listed(repository, subject))
        if known and repository.manifest_digest(manifest.digest):
            return manifest.digest
        for data in (EMPTY, artifact.data):
            blob = Blob(sha256(data), len(data), "")
            if not repository.has_blob(blob):
                repository.put_blob(blob, lambda data=data: io.BytesIO(data))  # type: ignore[misc]
        self.put(repository, subject, [manifest])
        return manifest.digest


def _add(repository: Repository, subject: str, entries: Sequence[Descriptor]) -> bool:
    """Whether all are in the fallback index; if not, try to add them."""
    before, there = _fallback(repository, subject)
    known = {one.get("digest") for one in there}
    missing = [one for one in entries if one.get("digest") not in known]
    if missing:
        with suppress(TagMoved):  # another wrote meanwhile
            repository.move_tag(fallback_tag(subject), compose_referrers([*there, *missing]), before)
    return not missing


def _fallback(repository: Repository, subject: str) -> tuple[str | None, tuple[Descriptor, ...]]:
    """The fallback index: its digest, and what it lists."""
    index = repository.get_manifest(fallback_tag(subject))
    return (index.digest, listed_in(index.data)) if index else (None, ())


def referrers(lists: Lists, repository: Repository, subject: str) -> tuple[Referrer, ...]:
    """What refers to a manifest, in the registry's order."""
    return tuple(map(referrer_of, lists.listed(repository, subject)))


def content(repository: Repository, referrer: Referrer) -> Artifact:
    """The artifact behind an entry, each part verified; of several layers the first."""
    manifest = wanted(repository, referrer.digest)
    layers = layers_of(manifest)
    if not layers:
        raise RegistryError(f"{repository}: the artifact {referrer.digest} has no content")
    into = io.BytesIO()
    repository.fetch_blob(layers[0]._replace(size=min(layers[0].size, _LARGEST)), into)
    return Artifact(artifact_type(manifest), into.getvalue(), annotations_of(manifest.content))
