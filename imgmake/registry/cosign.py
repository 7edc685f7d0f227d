"""Signatures and attestations as cosign keeps them under tags made of a digest: one layer each; signs nothing.

Format: sigstore's cosign, specs/SIGNATURE_SPEC.md. Later versions use the OCI list of referrers instead.
"""

from __future__ import annotations

import io
import json
from typing import Any

from imgmake.errors import RegistryError, TagMoved
from imgmake.registry.manifests import Blob, Manifest, compose_like, decode, diff_ids, layers_of, sha256
from imgmake.registry.repository import Repository

ENDINGS = ("sig", "att", "sbom")
_TRIES = 5


def merge(target: Repository, tag: str, manifest: Manifest) -> None:
    """Set a tag to what `target` has by digest already; layers that the tag holds there besides are kept."""
    for _ in range(_TRIES):
        held = target.get_manifest(tag)
        joined = _joined(target, held, manifest) if held else manifest
        try:
            target.move_tag(tag, joined, held.digest if held else None)
        except TagMoved:
            continue
        return
    raise RegistryError(f"{target}:{tag} is moved again and again", hint="does another run publish there? Run again")


def _joined(target: Repository, held: Manifest, manifest: Manifest) -> Manifest:
    """What holds the layers of both: one of the two where that is enough."""
    there, new = set(layers_of(held)), set(layers_of(manifest))
    if new <= there:
        return held
    if there < new:
        return manifest
    added = [one for one in manifest.content["layers"] if one.get("digest") not in {blob.digest for blob in there}]
    config = _config(target, held, manifest)
    blob = Blob(sha256(config), len(config), "")
    if not target.has_blob(blob):
        target.put_blob(blob, lambda: io.BytesIO(config))
    layers = [*held.content["layers"], *added]
    changed = {**held.content["config"], "digest": blob.digest, "size": blob.size}
    return compose_like(held, {"config": changed, "layers": layers})


def _config(target: Repository, held: Manifest, manifest: Manifest) -> bytes:
    """The configuration of `held`, with the diff IDs of both; cosign's layers are not packed, so each is its digest."""
    content: dict[str, Any] = {**decode(target.get_blob(str(held.content["config"]["digest"])))}
    digests = [blob.digest for one in (held, manifest) for blob in layers_of(one)]
    if diff_ids(content):
        content["rootfs"] = {**content["rootfs"], "diff_ids": list(dict.fromkeys(digests))}
        content.pop("history", None)  # may be left out, and would have to have an entry for each layer
    return json.dumps(content, separators=(",", ":")).encode()
