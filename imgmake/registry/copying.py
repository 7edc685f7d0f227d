"""From one repository to another: blobs, manifests, whole indexes, what refers to them; knows no engine.

Within a registry nothing is transferred: the registry takes a blob over by itself ("mounts" it).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgmake.errors import RegistryError
from imgmake.ports import Cancel, Output
from imgmake.registry import cosign
from imgmake.registry.manifests import Blob, Manifest, blobs_of, fallback_tag, parts_of, subject_of
from imgmake.registry.parallel import each
from imgmake.registry.referrers import Lists
from imgmake.registry.repository import Repository, opener
from imgmake.registry.tagging import wanted


def copy_blob(source: Repository, target: Repository, blob: Blob) -> None:
    """Bring a blob that `source` has to `target`, unless it is there."""
    if target.has_blob(blob) or _mounted(source, target, blob):
        return
    try:
        with tempfile.TemporaryDirectory(prefix="imgmake-") as folder:
            path = Path(folder) / "blob"
            with path.open("w+b") as file:
                source.fetch_blob(blob, file)
            target.put_blob(blob, opener(path))
    except OSError as error:
        why = f"{blob.digest[:19]} cannot be held here on its way: {error.strerror}"
        raise RegistryError(f"{target}: {why}", hint=f"TMPDIR names the folder, now {tempfile.gettempdir()}") from None


def _mounted(source: Repository, target: Repository, blob: Blob) -> bool:
    near = source.place.registry == target.place.registry
    return near and target.mount(blob, source.place.repository)


class Copy:
    """Brings manifests with all that they name from `source` to `target`, by digest; sets no tag of an image."""

    def __init__(self, source: Repository, target: Repository, lists: Lists, output: Output, cancel: Cancel) -> None:
        self._source = source
        self._target = target
        self._lists = lists
        self._output = output
        self._cancel = cancel
        self._made_of_digest: frozenset[str] | None = None

    def run(self, digest: str, *, referrers: bool) -> None:
        """Do it; with `referrers`, what refers to the manifest, to what it lists, and to that again, goes along."""
        if self._source.place == self._target.place:
            wanted(self._source, digest)
            return
        self._output.note(f"copying {digest[:19]} from {self._source} to {self._target}")
        manifests = self.copy(digest)
        for manifest in manifests if referrers else ():
            self._copy_referrers(manifest.digest)

    def copy(self, digest: str) -> list[Manifest]:
        """A manifest, byte for byte, and of an index every part, attestations too: the index promises them."""
        manifest = wanted(self._source, digest)
        parts = [one for part in parts_of(manifest) for one in self.copy(part)]
        self._copy_blobs(manifest)
        self._target.put_manifest(manifest.digest, manifest)
        return [*parts, manifest]

    def _copy_blobs(self, manifest: Manifest) -> None:
        each(
            blobs_of(manifest),
            lambda blob, stop: copy_blob(self._source.until(stop), self._target.until(stop), blob),
            self._cancel,
        )

    # --- what refers to it ------------------------------------------------------------------------------------

    def _copy_referrers(self, subject: str) -> None:
        known = {str(one.get("digest")) for one in self._lists.listed(self._target, subject)}
        found = [one for one in map(self._referrer, self._lists.listed(self._source, subject)) if one is not None]
        ours = [one for one in found if subject_of(one) == subject]
        if len(ours) < len(found):
            self._output.note(f"left out: what is listed for {subject[:19]} and does not refer to it")
        for one in ours:
            self._copy_blobs(one)
            for part in parts_of(one):
                self.copy(part)
        new = [one for one in ours if one.digest not in known or not self._target.manifest_digest(one.digest)]
        self._lists.put(self._target, subject, new)
        for one in ours:
            self._copy_referrers(one.digest)
        self._copy_cosign(subject)

    def _referrer(self, entry: Mapping[str, Any]) -> Manifest | None:
        digest = str(entry.get("digest"))
        manifest = self._source.get_manifest(digest)
        if manifest is None:
            self._output.note(f"left out: {digest} is listed, and is not there")
        return manifest

    def _copy_cosign(self, subject: str) -> None:
        """What cosign before version 3 keeps under tags made of the digest."""
        for ending in cosign.ENDINGS:
            tag = f"{fallback_tag(subject)}.{ending}"
            if tag in self._tags_made_of_digest():
                digest = self._source.manifest_digest(tag)
                for manifest in self.copy(digest) if digest else ():
                    self._copy_referrers(manifest.digest)
                if digest:
                    cosign.merge(self._target, tag, wanted(self._source, digest))

    def _tags_made_of_digest(self) -> frozenset[str]:
        if self._made_of_digest is None:
            self._made_of_digest = frozenset(self._source.tags())
        return self._made_of_digest
