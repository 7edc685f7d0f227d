"""From one repository to another: blobs, manifests, whole indexes; knows no engine.

Within a registry nothing is transferred: the registry takes a blob over by itself ("mounts" it).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from imgmake.registry.manifests import Blob, Manifest, blobs_of, parts_of
from imgmake.registry.referrers import listed, put
from imgmake.registry.repository import Repository, opener
from imgmake.registry.tagging import wanted


def copy_blob(source: Repository, target: Repository, blob: Blob) -> None:
    """Bring a blob that `source` has to `target`, unless it is there."""
    if target.has_blob(blob) or _mounted(source, target, blob):
        return
    with tempfile.TemporaryDirectory(prefix="imgmake-") as folder:
        path = Path(folder) / "blob"
        with path.open("w+b") as file:
            source.fetch_blob(blob.digest, file)
        target.put_blob(blob, opener(path))


def _mounted(source: Repository, target: Repository, blob: Blob) -> bool:
    near = source.place.registry == target.place.registry
    return near and target.mount(blob, source.place.repository)


def copy_manifest(source: Repository, target: Repository, version: str) -> Manifest:
    """Bring a manifest with all that it names to `target`, byte for byte, by digest; no tag is set.

    Of an index every part is taken, attestations too, for the index promises them.
    """
    manifest = wanted(source, version)
    if source.place != target.place:
        for part in parts_of(manifest):
            copy_manifest(source, target, part)
        for blob in blobs_of(manifest):
            copy_blob(source, target, blob)
        target.put_manifest(manifest.digest, manifest)
    return manifest


def copy_referrers(source: Repository, target: Repository, digest: str) -> None:
    """Bring what refers to a manifest, and to what an index lists, and what refers to that again."""
    manifest = source.get_manifest(digest)
    for part in parts_of(manifest) if manifest else ():
        copy_referrers(source, target, part)
    for entry in listed(source, digest):
        referrer = copy_manifest(source, target, str(entry.get("digest")))
        put(target, digest, referrer)
        copy_referrers(source, target, referrer.digest)
