"""--verify: everything that a registry has about one image, fetched; no engine and no Pipefile are needed."""

from __future__ import annotations

from collections.abc import Iterator

from imgmake import attest
from imgmake.attest.verification import Found, Verification, verify
from imgmake.errors import RegistryError
from imgmake.executor.attesting import manifest_of
from imgmake.executor.nearby import nearest
from imgmake.ports import Referrer, Registry
from imgmake.references import DEFAULT_TAG, parse
from imgmake.references import repository as repository_of


def examine(registry: Registry, reference: str, *, now: float) -> Verification:
    """What the image was made from and what it passed. Raises RegistryError, InvalidReference."""
    remote = registry.resolve(reference)
    if remote is None:
        raise _absent(registry, reference)
    repository = repository_of(reference)
    digests = dict.fromkeys([remote.digest, *(d for d in map(manifest_of, remote.images) if d)])
    found = [one for digest in digests for one in _referring(registry, repository, digest)]
    # cosign's own place, for registries without a list of referrers (sigstore, SIGNATURE_SPEC.md).
    signed = registry.digest(f"{repository}:{remote.digest.replace(':', '-')}.sig") is not None
    return verify(remote, found, now=now, signed=signed)


def _absent(registry: Registry, reference: str) -> RegistryError:
    name = parse(reference)
    said = reference if name.tag or name.digest else f"{reference}:{DEFAULT_TAG}"
    try:
        hint = nearest(registry, reference)
    except RegistryError:  # not everybody who may read an image may list the tags
        hint = ""
    return RegistryError(f"there is no image {said}", hint=hint)


def _referring(registry: Registry, repository: str, digest: str) -> Iterator[Found]:
    for referrer in registry.referrers(repository, digest):
        yield _found(registry, repository, digest, referrer)


def _found(registry: Registry, repository: str, digest: str, referrer: Referrer) -> Found:
    if referrer.artifact_type != attest.IN_TOTO:
        return Found(digest, referrer)
    try:
        return Found(digest, referrer, registry.artifact(repository, referrer))
    except RegistryError as error:
        return Found(digest, referrer, error=error.message)
