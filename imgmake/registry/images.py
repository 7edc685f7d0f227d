"""The images behind a manifest: what a repository holds, read down to the configurations."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

from imgmake.errors import RegistryError
from imgmake.ports import Image
from imgmake.registry.faults import Place
from imgmake.registry.manifests import (
    INDEXES,
    Blob,
    Manifest,
    config_of,
    decode,
    diff_ids,
    entries,
    image_of,
    layers_of,
)
from imgmake.registry.repository import Repository

Known = MutableMapping[tuple[Place, str], bytes]  # configurations that were read: several tags often hold one image
_DEPTH = 4  # an index may name indexes; nobody nests deeper


def images(repository: Repository, manifest: Manifest, known: Known) -> tuple[Image, ...]:
    """One image for each platform, in the index's order; none for what is no image (a chart, a signature)."""
    return tuple(_image(repository, one, known) for one in _leaves(repository, manifest, _DEPTH) if config_of(one))


def _image(repository: Repository, manifest: Manifest, known: Known) -> Image:
    digest = config_of(manifest)
    key = (repository.place, digest)
    if key not in known:
        known[key] = repository.get_blob(digest)
    return image_of(digest, known[key], digests=[f"{repository}@{manifest.digest}"])


def _leaves(repository: Repository, manifest: Manifest, depth: int) -> Iterator[Manifest]:
    if manifest.media_type not in INDEXES:
        yield manifest
        return
    if not depth:
        raise RegistryError(f"{repository}: {manifest.digest} nests indexes without end")
    for entry in entries(manifest):
        part = repository.get_manifest(str(entry.get("digest")))
        if part is None:
            raise RegistryError(f"{repository}: {manifest.digest} names {entry.get('digest')}, which is not there")
        yield from _leaves(repository, part, depth - 1)


def packed_layers(repository: Repository, version: str) -> dict[str, Blob]:
    """How the layers of what a tag names are packed there: blobs by diff ID; empty without such a tag."""
    manifest = repository.get_manifest(version)
    found: dict[str, Blob] = {}
    for one in _leaves(repository, manifest, _DEPTH) if manifest else ():
        config = config_of(one)
        if config:
            # The configuration lists the plain layers in the order in which the manifest lists the packed ones.
            found.update(zip(diff_ids(decode(repository.get_blob(config))), layers_of(one), strict=False))
    return found
