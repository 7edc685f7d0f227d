"""From one repository to another: blobs, manifests, whole indexes; knows no engine.

Within a registry nothing is transferred: the registry takes a blob over by itself ("mounts" it).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from imgmake.errors import RegistryError
from imgmake.registry.manifests import INDEXES, Blob, Manifest, layers_of
from imgmake.registry.repository import Repository, opener


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
    manifest = source.get_manifest(version)
    if manifest is None:
        raise RegistryError(f"{source}: {version} is gone", hint="was it deleted meanwhile?")
    if source.place != target.place:
        for part in _parts(manifest):
            copy_manifest(source, target, part)
        for blob in _blobs(manifest):
            copy_blob(source, target, blob)
        target.put_manifest(manifest.digest, manifest)
    return manifest


def _parts(manifest: Manifest) -> list[str]:
    if manifest.media_type not in INDEXES:
        return []
    return [str(entry["digest"]) for entry in manifest.content.get("manifests", ())]


def _blobs(manifest: Manifest) -> list[Blob]:
    config: dict[str, Any] = manifest.content.get("config") or {}
    own = [Blob(str(config["digest"]), int(config["size"]), "")] if config else []
    return [*own, *dict.fromkeys(layers_of(manifest))]
