"""An engine's export of an image (``docker save``) into a configuration and packed layers; knows no registry.

Everything is found by its content, never by its name in the tar: a member whose SHA-256 is a wanted
diff ID is that layer, and the configuration is reached from the image's ID by digests. So the
layout does not matter: docker-archive (graph drivers before 25), OCI layout with plain layers
(graph drivers since), OCI layout with packed layers (containerd store, where the ID is that of a
manifest or an index).
"""

from __future__ import annotations

import errno
import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from imgmake.errors import RegistryError
from imgmake.ports import Cancel, Image
from imgmake.registry.manifests import Blob, Manifest, decode, diff_ids, layers_of, media_type_of, sha256
from imgmake.registry.transport import stop_if

_CHUNK = 1 << 20
_TEXT = 16 << 20  # bytes; a longer member is no configuration
_LEVEL = 6  # what docker itself packs with
_GZIP = 31  # zlib's word for "with a gzip header": it writes no name and no time, so equal content packs equally
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}


class Layer(NamedTuple):
    """A packed layer in a file."""

    blob: Blob
    path: Path


class Unpacked(NamedTuple):
    """What an export held of the wanted: the configuration's bytes, and layers by their diff ID."""

    config: bytes
    layers: Mapping[str, Layer]


def unpack(stream: BinaryIO, image: Image, wanted: set[str], folder: Path, cancel: Cancel) -> Unpacked:
    """Read an export until the configuration and every wanted layer are found; files go into `folder`.

    `wanted` holds diff IDs. Raises RegistryError when the export ends without them or does not match
    `image`, and when there is no room for the files.
    """
    reading = _Reading(image, wanted, folder, cancel)
    try:
        reading.read(stream)
    except (tarfile.TarError, EOFError) as error:
        raise _broken(image, f"the engine's export cannot be read: {error}") from None
    except OSError as error:
        if error.errno in _FULL:
            raise _broken(image, f"no room to pack its layers in {folder.parent}", "TMPDIR names the folder") from None
        raise _broken(image, "the engine's export broke off", "does the engine still run?") from error
    return reading.result()


class _Reading:
    """One pass over a tar."""

    def __init__(self, image: Image, wanted: set[str], folder: Path, cancel: Cancel) -> None:
        self._image = image
        self._wanted = wanted
        self._folder = folder
        self._cancel = cancel
        self._texts: dict[str, bytes] = {}  # by digest: configurations, manifests, indexes
        self._packed: dict[str, Layer] = {}  # by digest: layers that the engine keeps packed
        self._layers: dict[str, Layer] = {}  # by diff ID

    def read(self, stream: BinaryIO) -> None:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    self._take(content, member.size)
                if self._complete():
                    return

    def _complete(self) -> bool:
        return self._image.id in self._texts and self._wanted <= self._layers.keys() and not self._is_chain()

    def _is_chain(self) -> bool:
        """Whether the ID leads on to other members, which may come later."""
        return not diff_ids(decode(self._texts[self._image.id]))

    def _take(self, content: Any, size: int) -> None:
        start = content.read(2)
        if size <= _TEXT and start[:1] == b"{":
            data = start + content.read()
            self._texts[sha256(data)] = data
            return
        missing = self._wanted - self._layers.keys()
        if not missing:
            return
        spooled = self._folder / "member"
        digest = self._spool(start, content, spooled)
        if digest in missing:
            self._layers[digest] = self._pack(spooled, digest)
        elif start in _MAGIC:
            kept = spooled.rename(self._folder / digest.replace(":", "-"))
            self._packed[digest] = Layer(Blob(digest, size, _MAGIC[start]), kept)

    def _spool(self, start: bytes, content: Any, path: Path) -> str:
        hasher = hashlib.sha256(start)
        with path.open("wb") as file:
            file.write(start)
            for chunk in _chunks(content, self._cancel):
                hasher.update(chunk)
                file.write(chunk)
        return f"sha256:{hasher.hexdigest()}"

    def _pack(self, plain: Path, diff_id: str) -> Layer:
        path = self._folder / f"{diff_id.replace(':', '-')}.gz"
        hasher = hashlib.sha256()
        size = 0
        with plain.open("rb") as source, path.open("wb") as target:
            for packed in _gzip(_chunks(source, self._cancel)):
                hasher.update(packed)
                size += target.write(packed)
        return Layer(Blob(f"sha256:{hasher.hexdigest()}", size), path)

    # --- from the image's ID to its parts ---------------------------------------------------------------------

    def result(self) -> Unpacked:
        config, manifest = self._follow(self._image.id)
        ids = diff_ids(decode(config))
        if ids != self._image.layers:
            raise _broken(self._image, "the engine's export has other layers than the image")
        for diff_id, blob in zip(ids, layers_of(manifest) if manifest else (), strict=False):
            if diff_id in self._wanted - self._layers.keys() and blob.digest in self._packed:
                self._layers[diff_id] = self._packed[blob.digest]
        missing = sorted(self._wanted - self._layers.keys())
        if missing:
            raise _broken(self._image, f"the engine's export lacks the layer {missing[0]}")
        return Unpacked(config, self._layers)

    def _follow(self, digest: str) -> tuple[bytes, Manifest | None]:
        data = self._texts.get(digest)
        if data is None:
            raise _broken(self._image, f"the engine's export does not hold {digest}")
        content = decode(data)
        if "manifests" in content:
            return self._follow(self._entry(content))
        if "config" in content and "layers" in content:
            config, _ = self._follow(str(content["config"]["digest"]))
            return config, Manifest(digest, media_type_of(data, ""), data)
        return data, None

    def _entry(self, index: Mapping[str, Any]) -> str:
        """The manifest of the image's platform among those that the export holds."""
        here = [one for one in index["manifests"] if one["digest"] in self._texts]
        wanted = (self._image.os, self._image.architecture, self._image.variant)
        for entry in here:
            found = entry.get("platform") or {}
            if (found.get("os"), found.get("architecture"), found.get("variant", "")) == wanted:
                return str(entry["digest"])
        if len(here) != 1:
            raise _broken(self._image, f"the engine's export holds no manifest for {'/'.join(filter(None, wanted))}")
        return str(here[0]["digest"])


def _chunks(source: Any, cancel: Cancel) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK):
        stop_if(cancel)
        yield chunk


def _gzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    for chunk in chunks:
        yield packer.compress(chunk)
    yield packer.flush()


def _broken(image: Image, why: str, hint: str = "") -> RegistryError:
    return RegistryError(f"image {image.id[:19]} cannot be published: {why}", hint=hint)
