"""The same layers with one time for all that was written while they were built, whichever builder wrote them.

What BuildKit's exporter calls ``rewrite-timestamp`` and can only do for some destinations, and other builders not at
all: an image is exported, times in the layers above its base are set, and those layers alone are loaded again. Only
headers of the tar change; names, order, contents and all other attributes are as they were.

BuildKit only makes later times earlier. But a step may come out of a cache, with times from before the commit; so what
counts as written by a build is whatever is later than the images it started from.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, cast

from imgmake.engine import images
from imgmake.engine.load import load
from imgmake.engine.wire import Wire, expect, send, url
from imgmake.errors import EngineError, Interrupted
from imgmake.ports import Cancel, Image

_BLOCK = 512
_CHUNK = 1 << 20
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"

Json = dict[str, Any]


class _Layer(NamedTuple):
    """A layer with its times set, in a file."""

    diff_id: str
    path: Path


def redate(
    wire: Wire,
    image: Image,
    *,
    bases: Sequence[Image],
    seconds: int,
    labels: Mapping[str, str],
    containerd: bool,
    cancel: Cancel,
) -> Image:
    """The image with every time of a build in its own layers set to `seconds`; nothing is tagged.

    bases:   the images of all its stages. Layers that it has in common with one stay; times from before each of them
             was begun, as packages bring them, stay too.
    seconds: since the epoch; SOURCE_DATE_EPOCH. No later time is left.
    labels:  that what is loaded has beside its own.

    Raises EngineError, Interrupted. The image as it is when there is nothing to change, or it holds layers packed in
    a way that cannot be read here.
    """
    own = max((_in_common(image.layers, base.layers) for base in bases), default=0)
    if own >= len(image.layers):
        return image
    span = _Span(min((_begun(wire, base) for base in bases), default=0), seconds)
    try:
        with tempfile.TemporaryDirectory(prefix="imgmake-") as name:
            loaded = _Work(wire, image, Path(name), cancel).redate(own, span, labels, containerd=containerd)
    except OSError as error:
        hint = f"{tempfile.gettempdir()} needs room for the image twice; TMPDIR names another folder"
        raise EngineError(f"times in its layers could not be set: {error.strerror or error}", hint=hint) from error
    return images.required(wire, loaded) if loaded else image


def _in_common(layers: Sequence[str], others: Sequence[str]) -> int:
    """How many layers two images have in common, from the first on."""
    pairs = enumerate(zip(layers, others, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(layers), len(others)))


def _begun(wire: Wire, image: Image) -> int:
    """When the first of its layers was made, in seconds since the epoch: no build upon it was earlier."""
    reply = expect(send(wire, "GET", f"/images/{image.id}/history"), f"tell the history of {image.id}")
    return max(0, min((entry["Created"] for entry in reply.json()), default=0))


class _Span(NamedTuple):
    """Times that are set: all from `since` on, and whatever is later than `to`; seconds since the epoch."""

    since: int
    to: int

    def holds(self, time: float) -> bool:
        return time >= min(self)


class _Work(NamedTuple):
    """One image's export, in a folder of its own."""

    wire: Wire
    image: Image
    folder: Path
    cancel: Cancel

    def redate(self, base: int, span: _Span, labels: Mapping[str, str], *, containerd: bool) -> str:
        """The ID of what was loaded; nothing when nothing was to be changed."""
        export = self.folder / "export"
        self._save(export)
        with tarfile.open(export) as tar:
            found = _Export(tar, self.image)
            layers = found.set(base, span, self.folder, self.cancel)
            if layers is None or [layer.diff_id for layer in layers] == list(self.image.layers[base:]):
                return ""
            found.label(labels)
            oci = found.oci() if containerd else None
        export.unlink()  # loading takes as much space once more
        return _load(self.wire, found, layers, base, oci, containerd=containerd)

    def _save(self, path: Path) -> None:
        with self.wire.stream("GET", url(f"/images/{self.image.id}/get")) as (status, stream), path.open("wb") as file:
            if status >= 400:
                said = stream.read().decode(errors="replace")
                raise EngineError(f"the engine could not export {self.image.id}: {said}")
            while block := stream.read(_CHUNK):
                _go_on(self.cancel)
                file.write(block)


def _go_on(cancel: Cancel) -> None:
    """Raise Interrupted once the run is stopped."""
    if cancel.stopped:
        raise Interrupted("setting times was stopped")


class _Export:
    """An engine's export, with the names of its layers in their order."""

    def __init__(self, tar: tarfile.TarFile, image: Image) -> None:
        self._tar = tar
        self._image = image
        try:
            (self.manifest,) = json.loads(self.read("manifest.json"))
            self.config: Json = json.loads(self.read(self.manifest["Config"]))
            self.names: list[str] = self.manifest["Layers"]
        except (KeyError, ValueError, tarfile.TarError) as error:
            raise EngineError(f"the engine's export of {image.id} cannot be read: {error}") from error
        if tuple(self.config["rootfs"]["diff_ids"]) != image.layers or len(self.names) != len(image.layers):
            raise EngineError(f"the engine's export of {image.id} is of another image")

    def read(self, name: str) -> bytes:
        with self._open(name) as file:
            return file.read()

    def _open(self, name: str) -> IO[bytes]:
        member = self._tar.getmember(name)
        if member.issym() or member.islnk():  # graph drivers before 25 write an equal layer once
            target = Path(name).parent / member.linkname if member.issym() else Path(member.linkname)
            member = self._tar.getmember(_normal(target))
        return cast("IO[bytes]", self._tar.extractfile(member))

    def label(self, labels: Mapping[str, str]) -> None:
        own = self.config.get("config") or {}
        self.config["config"] = {**own, "Labels": {**(own.get("Labels") or {}), **labels}}

    def oci(self) -> Json | None:
        """The OCI manifest with these layers; None in an export that has none."""
        for member in self._tar:
            if member.isfile() and member.size < _CHUNK and member.name.startswith("blobs/"):
                with contextlib.suppress(ValueError):
                    found = json.loads(self.read(member.name))
                    if (
                        isinstance(found, dict)
                        and [_blob(one["digest"]) for one in found.get("layers", ())] == self.names
                    ):
                        return found
        return None

    def set(self, base: int, span: _Span, folder: Path, cancel: Cancel) -> list[_Layer] | None:
        made = []
        for number, name in enumerate(self.names[base:]):
            with self._open(name) as packed:
                layer = _unpacked(packed)
                if layer is None:
                    return None
                made.append(_set(layer, span, folder / str(number), cancel))
        return made


def _normal(path: Path) -> str:
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _unpacked(packed: IO[bytes]) -> BinaryIO | None:
    """The plain tar; None when it is packed with zstd, which Python reads from 3.14 on only."""
    magic = packed.read(4)
    packed.seek(0)
    if magic == _ZSTD:
        return None
    return cast("BinaryIO", gzip.GzipFile(fileobj=packed) if magic[:2] == _GZIP else packed)


# --- loading --------------------------------------------------------------------------------------------------


def _load(wire: Wire, found: _Export, layers: list[_Layer], base: int, oci: Json | None, *, containerd: bool) -> str:
    """Load the configuration and the new layers over those of the base, which the engine has; returns the ID."""
    diff_ids = [*found.config["rootfs"]["diff_ids"][:base], *(layer.diff_id for layer in layers)]
    config = json.dumps({**found.config, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
    digest = hashlib.sha256(config).hexdigest()
    files: dict[str, bytes | Path]
    if containerd:
        files, image_id = _oci_files(oci, layers, base, config)
    else:
        names = [f"{number}/layer.tar" for number, _ in enumerate(diff_ids)]
        manifest = [{"Config": f"{digest}.json", "RepoTags": None, "Layers": names}]
        files = {f"{digest}.json": config, "manifest.json": json.dumps(manifest).encode()}
        files |= {names[base + number]: layer.path for number, layer in enumerate(layers)}
        image_id = f"sha256:{digest}"
    load(wire, files)
    return image_id


def _oci_files(old: Json | None, layers: list[_Layer], base: int, config: bytes) -> tuple[dict[str, bytes | Path], str]:
    if old is None:
        raise EngineError("the engine's export has no OCI manifest")
    docker = "docker" in str(old.get("mediaType"))
    described = [
        {
            "mediaType": _DOCKER_LAYER if docker else _OCI_LAYER,
            "digest": layer.diff_id,
            "size": layer.path.stat().st_size,
        }
        for layer in layers
    ]
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    manifest = {
        **old,
        "config": {**old["config"], "digest": digest, "size": len(config)},
        "layers": [*old["layers"][:base], *described],
    }
    text = json.dumps(manifest).encode()
    top = {"mediaType": old.get("mediaType") or "application/vnd.oci.image.manifest.v1+json", "size": len(text)}
    top["digest"] = f"sha256:{hashlib.sha256(text).hexdigest()}"
    files: dict[str, bytes | Path] = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [top]}).encode(),
        _blob(digest): config,
        _blob(str(top["digest"])): text,
    }
    return files | {_blob(layer.diff_id): layer.path for layer in layers}, str(top["digest"])


# --- times in a tar -------------------------------------------------------------------------------------------


def _set(layer: BinaryIO, span: _Span, path: Path, cancel: Cancel) -> _Layer:
    hasher = hashlib.sha256()
    with path.open("wb") as file:
        for block in redated(layer, span.to, span.since):
            _go_on(cancel)
            hasher.update(block)
            file.write(block)
    return _Layer(f"sha256:{hasher.hexdigest()}", path)


def redated(tar: BinaryIO, seconds: int, since: int | None = None) -> Iterator[bytes]:
    """The bytes of a tar in which no entry is later than `seconds`, and each that is from `since` or later has it.

    Format: POSIX pax (pax(1), "ustar Interchange Format"); times finer than a second stand in extended headers, and go
    with those of the entry's later time. Times of reading and of the inode's change always go.

    >>> import io, tarfile
    >>> packed = io.BytesIO()
    >>> with tarfile.open(fileobj=packed, mode="w") as made:
    ...     info = tarfile.TarInfo("a")
    ...     info.mtime = 7.5
    ...     made.addfile(info)
    >>> with tarfile.open(fileobj=io.BytesIO(b"".join(redated(io.BytesIO(packed.getvalue()), 5)))) as tar:
    ...     [(member.name, member.mtime) for member in tar]
    [('a', 5)]
    """
    span = _Span(seconds if since is None else since, seconds)
    extended, records = b"", b""  # of the next entry
    while header := _exactly(tar, _BLOCK):
        if not header.strip(b"\0"):
            # Two empty blocks end a tar; some writers fill a record of theirs up with more.
            yield bytes(2 * _BLOCK)
            return
        size = _number(header[124:136])
        kind = header[156:157]
        if kind == b"x":
            extended, records = header, _exactly(tar, _padded(size))[:size]
            continue
        if kind in b"LKg":  # a long name of GNU's, or a header for all that follows
            yield from (header, *_data(tar, size))
            continue
        late = span.holds(_time(header, records))
        if extended:
            yield from _extended(extended, _without_times(records, keep=not late))
        yield _with_time(header, seconds) if late else header
        yield from _data(tar, _size(records, size) if kind in (b"0", b"\0", b"7") else 0)
        extended, records = b"", b""


_RECORD = re.compile(rb"(\d+) ([^=]+)=")


def _records(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each ``LENGTH KEY=VALUE\\n``."""
    while found := _RECORD.match(text):
        length = int(found[1])
        yield found[2], text[found.end() : length - 1]
        text = text[length:]


def _time(header: bytes, records: bytes) -> float:
    """An entry's time; what an extended header tells is finer, and counts."""
    told = dict(_records(records)).get(b"mtime")
    return _number(header[136:148]) if told is None else float(told)


def _size(records: bytes, size: int) -> int:
    return int(dict(_records(records)).get(b"size", size))


def _without_times(records: bytes, *, keep: bool) -> bytes:
    """The records without times of reading and of the inode; without that of the content unless it is kept."""
    gone = {b"atime", b"ctime", b"LIBARCHIVE.creationtime"} | (set() if keep else {b"mtime"})
    return b"".join(_record(key, value) for key, value in _records(records) if key not in gone)


def _record(key: bytes, value: bytes) -> bytes:
    """The record with its own length in front, which counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _extended(header: bytes, records: bytes) -> Iterator[bytes]:
    """An extended header with these records, without a time of its own; none when nothing is left to say."""
    if records:
        sized = header[:124] + b"%011o\0" % len(records) + header[136:]
        yield _with_time(sized, 0)
        yield records.ljust(_padded(len(records)), b"\0")


def _with_time(header: bytes, seconds: int) -> bytes:
    changed = header[:136] + b"%011o\0" % seconds + b" " * 8 + header[156:]
    return changed[:148] + b"%06o\0 " % sum(changed) + changed[156:]


def _number(text: bytes) -> int:
    """A field of a header: octal, or GNU's base 256 for what does not fit."""
    if text[0] & 0x80:
        value = int.from_bytes(bytes([text[0] & 0x7F]) + text[1:], "big")
        return value - (1 << (8 * len(text) - 1)) if text[0] & 0x40 else value
    return int(text.strip(b" \0") or b"0", 8)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _data(tar: BinaryIO, size: int) -> Iterator[bytes]:
    left = _padded(size)
    while left:
        block = _exactly(tar, min(left, _CHUNK))
        left -= len(block)
        yield block


def _exactly(tar: BinaryIO, size: int) -> bytes:
    """So many bytes; nothing at the end. Raises EngineError in the middle of an entry."""
    buffer = io.BytesIO()
    while buffer.tell() < size and (part := tar.read(size - buffer.tell())):
        buffer.write(part)
    found = buffer.getvalue()
    if found and len(found) < size:
        raise EngineError("a layer in the engine's export breaks off")
    return found
