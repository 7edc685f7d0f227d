"""Tags of one repository: set with a look before and after, removed where a registry can; never by digest."""

from __future__ import annotations

from imgmake.errors import RegistryError
from imgmake.registry.manifests import Manifest
from imgmake.registry.repository import Repository


def set_tag(repository: Repository, tag: str, digest: str, before: str | None) -> bool:
    """Point a tag that holds `before` (None: that is not there) at a manifest; False when it did so already."""
    return repository.move_tag(tag, wanted(repository, digest), before)


def wanted(repository: Repository, digest: str) -> Manifest:
    """A manifest that must be there. Raises RegistryError."""
    manifest = repository.get_manifest(digest)
    if manifest is None:
        raise RegistryError(f"{repository}: the manifest {digest} is not there", hint="was it deleted meanwhile?")
    return manifest


def remove_tag(repository: Repository, tag: str, holds: str) -> bool:
    """Remove a tag that holds this digest; False where the registry cannot. Raises TagMoved when it holds another.

    A DELETE by digest would take the manifest with all its tags. Some registries take a DELETE by tag for
    one by digest: then the manifest is put back at once, and that is an error.
    """
    held = repository.manifest_digest(tag)
    if held is None:
        return True
    if held != holds:
        raise repository.moved(tag, held, holds)
    manifest = wanted(repository, holds)
    if not repository.delete_tag(tag):
        return False
    if repository.manifest_digest(holds) is None:
        repository.put_manifest(holds, manifest)
        raise RegistryError(
            f"{repository}: asked to remove the tag {tag}, the registry removed {holds} with every tag of it",
            hint="the manifest was put back; set its other tags again",
        )
    return repository.manifest_digest(tag) is None
