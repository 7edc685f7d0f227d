"""Sending images of an engine: what is already there, what must be packed and sent; sets no tag.

A layer that any destination holds is not packed again: the manifests under its present tags tell
how it was packed.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path

from imgmake.errors import RegistryError
from imgmake.ports import Cancel, Engine, Image, Output
from imgmake.references import is_made_of_digest
from imgmake.registry.archive import Layer, unpack
from imgmake.registry.copying import copy_blob
from imgmake.registry.images import packed_layers
from imgmake.registry.manifests import (
    Blob,
    Manifest,
    Packed,
    compose,
    compose_index,
    decode,
    diff_ids,
    needs_oci,
    platform,
    sha256,
)
from imgmake.registry.parallel import each
from imgmake.registry.repository import Repository, opener

_TAGS_READ = 8  # of a repository's present tags, the last ones: BUILD_IDs sort by time


class Memory:
    """What earlier pushes learned: how a layer was packed (may be kept), and who holds which blob (this run).

    `remember` maps a diff ID to ``DIGEST SIZE COMPRESSION``; every entry is checked before it is used.
    """

    def __init__(self, remember: MutableMapping[str, str] | None = None) -> None:
        self._remember = remember if remember is not None else {}
        self._holders: dict[tuple[str, str], dict[str, None]] = {}

    def packed(self, diff_id: str) -> Blob | None:
        parts = (self._remember.get(diff_id) or "").split(" ")
        return Blob(parts[0], int(parts[1]), parts[2]) if len(parts) == 3 and parts[1].isdigit() else None

    def learn(self, diff_id: str, blob: Blob) -> None:
        self._remember[diff_id] = f"{blob.digest} {blob.size} {blob.compression}"

    def held(self, repository: Repository, digest: str) -> None:
        self._holders.setdefault((repository.place.registry, digest), {})[repository.place.repository] = None

    def holders(self, repository: Repository, digest: str) -> tuple[str, ...]:
        """Other repositories of the same registry that hold a blob."""
        found = self._holders.get((repository.place.registry, digest), {})
        return tuple(name for name in [*found] if name != repository.place.repository)


class Send:
    """Brings `images` to every destination; `near` are tags, there or beside, that are likely to share layers."""

    def __init__(
        self,
        engine: Engine,
        images: Sequence[Image],
        destinations: Sequence[Repository],
        near: Sequence[tuple[Repository, str]],
        memory: Memory,
        output: Output,
        cancel: Cancel,
    ) -> None:
        self._engine = engine
        self._images = images
        self._destinations = destinations
        self._near = near
        self._memory = memory
        self._output = output
        self._cancel = cancel
        self._there: dict[tuple[Repository, Blob], bool] = {}

    def run(self) -> str:
        """Do it; the digest of what is to be tagged."""
        _refuse_twins(self._images)
        with tempfile.TemporaryDirectory(prefix="imgmake-") as folder:
            blobs = self._find(dict.fromkeys(diff_id for image in self._images for diff_id in image.layers))
            packed, files = self._pack(blobs, Path(folder))
            manifests = self._compose(packed)
            for repository in self._destinations:
                self._send(repository, packed, files)
                for manifest in manifests:
                    repository.put_manifest(manifest.digest, manifest)
        return manifests[-1].digest

    # --- what is already there --------------------------------------------------------------------------------

    def _find(self, ids: Collection[str]) -> dict[str, Blob]:
        """How each layer is packed that some destination holds, or can take over from its neighbour."""
        found = {diff_id: blob for diff_id in ids if (blob := self._memory.packed(diff_id)) and self._is_near(blob)}
        unknown = {diff_id for diff_id in ids if diff_id not in found}
        for repository, tag in self._tagged() if unknown else ():
            known = packed_layers(repository, tag)
            for one in unknown & known.keys():
                self._memory.held(repository, known[one].digest)
                if self._is_near(known[one]):
                    found[one] = known[one]
            unknown -= found.keys()
            if not unknown:
                break
        return found

    def _tagged(self) -> Iterator[tuple[Repository, str]]:
        """Where to look for layers: tags that are near, then the last ones of each destination."""
        places = {repository.place for repository in self._destinations}
        yield from ((repository, tag) for repository, tag in self._near if repository.place not in places)
        for repository in self._destinations:
            present = [tag for tag in repository.tags() if not is_made_of_digest(tag)]
            near = [tag for one, tag in self._near if one.place == repository.place and tag in present]
            yield from ((repository, tag) for tag in dict.fromkeys([*near, *reversed(present[-_TAGS_READ:])]))

    def _is_near(self, blob: Blob) -> bool:
        """Whether a destination has it, or could take it over just now: not every registry does that when asked."""
        return any(self._has(repository, blob) or self._mount(repository, blob) for repository in self._destinations)

    def _has(self, repository: Repository, blob: Blob, stop: Cancel | None = None) -> bool:
        if (repository, blob) not in self._there:
            self._note_held(repository, blob, repository.until(stop or self._cancel).has_blob(blob))
        return self._there[repository, blob]

    def _note_held(self, repository: Repository, blob: Blob, held: bool = True) -> None:
        self._there[repository, blob] = held
        if held:
            self._memory.held(repository, blob.digest)

    # --- what must be packed ----------------------------------------------------------------------------------

    def _pack(self, blobs: dict[str, Blob], folder: Path) -> tuple[list[Packed], dict[Blob, Layer]]:
        """Each image with its configuration and blobs, and the files of those that had to be packed."""
        packed: list[Packed] = []
        files: dict[Blob, Layer] = {}
        for image in self._images:
            wanted = {diff_id for diff_id in image.layers if diff_id not in blobs}
            config = self._published_config(image) if not wanted else None
            if config is None:
                with self._engine.export(image.id) as stream:
                    config, layers = unpack(stream, image, wanted, folder, self._cancel)
                blobs.update({diff_id: layers[diff_id].blob for diff_id in wanted})
                files.update({layer.blob: layer for layer in layers.values()})
            packed.append(Packed(image, config, tuple(blobs[diff_id] for diff_id in image.layers)))
        for diff_id, blob in blobs.items():
            self._memory.learn(diff_id, blob)
        return packed, files

    def _published_config(self, image: Image) -> bytes | None:
        """The configuration from a destination that has it: then the engine need not be asked at all."""
        for repository in self._destinations:
            if repository.blob_size(image.id) is not None:
                data = repository.get_blob(image.id)
                # On the containerd store an ID is a manifest's; only a configuration lists layers.
                return data if diff_ids(decode(data)) == image.layers else None
        return None

    @staticmethod
    def _compose(packed: Sequence[Packed]) -> list[Manifest]:
        """Every manifest, the one to tag last."""
        oci = needs_oci(packed)
        manifests = [compose(one, oci=oci) for one in packed]
        if len(packed) == 1:
            return manifests
        parts = [(one.image, manifest) for one, manifest in zip(packed, manifests, strict=True)]
        return [*manifests, compose_index(parts, oci=oci)]

    # --- sending ----------------------------------------------------------------------------------------------

    def _send(self, repository: Repository, packed: Sequence[Packed], files: Mapping[Blob, Layer]) -> None:
        layers = dict.fromkeys(blob for one in packed for blob in one.layers)
        each(layers, lambda blob, stop: self._has(repository, blob, stop), self._cancel)
        missing = [blob for blob in layers if not self._has(repository, blob) and not self._mount(repository, blob)]
        size = f" ({human(sum(blob.size for blob in missing))})" if missing else ""
        self._output.note(f"pushing {repository}: {len(missing)} of {_layers(len(layers))} to send{size}")
        each(missing, lambda blob, stop: self._send_layer(repository.until(stop), blob, files), self._cancel)
        for blob in missing:
            self._note_held(repository, blob)
        for one in packed:
            config = Blob(sha256(one.config), len(one.config), "")
            if not repository.has_blob(config):
                repository.put_blob(config, lambda data=one.config: io.BytesIO(data))  # type: ignore[misc]

    def _mount(self, repository: Repository, blob: Blob) -> bool:
        mounted = any(repository.mount(blob, other) for other in self._memory.holders(repository, blob.digest))
        if mounted:
            self._note_held(repository, blob)
        return mounted

    def _send_layer(self, repository: Repository, blob: Blob, files: Mapping[Blob, Layer]) -> None:
        if blob in files:
            repository.put_blob(blob, opener(files[blob].path))
        else:
            copy_blob(self._holder(blob), repository, blob)

    def _holder(self, blob: Blob) -> Repository:
        for repository in self._destinations:
            if self._has(repository, blob):
                return repository
        raise RegistryError(f"the layer {blob.digest} is gone from every registry", hint="publish again")


def _refuse_twins(images: Sequence[Image]) -> None:
    names = [
        "/".join(platform(image)[key] for key in ("os", "architecture", "variant") if key in platform(image))
        for image in images
    ]
    twins = {name for name in names if names.count(name) > 1}
    if twins:
        raise RegistryError(f"one index cannot hold two images for {', '.join(sorted(twins))}")


def _layers(count: int) -> str:
    return f"{count} layer{'' if count == 1 else 's'}"


def human(size: int) -> str:
    """A number of bytes as docker shows it: decimal, three digits.

    >>> human(12_345_678)
    '12.3 MB'
    """
    amount = float(size)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"
