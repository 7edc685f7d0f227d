"""Manifests, indexes and configurations as bytes and as data; pure.

Formats: OCI image-spec (manifest.md, image-index.md, config.md) and docker's schema 2
(distribution: docs/spec/manifest-v2-2.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from imgmake.ports import Artifact, Image, Referrer

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFESTS = (DOCKER_MANIFEST, OCI_MANIFEST)
INDEXES = (DOCKER_LIST, OCI_INDEX)
ACCEPTED = (*INDEXES, *MANIFESTS)
EMPTY = b"{}"  # the content of OCI_EMPTY (OCI image-spec, manifest.md, "Guidance for an Empty Descriptor")
_ALGORITHMS = {"sha256", "sha384", "sha512"}  # OCI image-spec, descriptor.md
_CHUNK = 1 << 20
_CONFIGS = {OCI_CONFIG, DOCKER_CONFIG}


class Manifest(NamedTuple):
    """A manifest or index byte for byte, for its digest is over the bytes."""

    digest: str
    media_type: str
    data: bytes

    @property
    def content(self) -> Mapping[str, Any]:
        return decode(self.data)

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "size": len(self.data), "digest": self.digest}


class Blob(NamedTuple):
    """One layer as a registry holds it: `compression` is ``gzip``, ``zstd`` or empty."""

    digest: str
    size: int
    compression: str = "gzip"


class Packed(NamedTuple):
    """An image ready for a manifest: its configuration's bytes, and its layers in order."""

    image: Image
    config: bytes
    layers: tuple[Blob, ...]


def sha256(data: bytes) -> str:
    """The digest of some bytes, as registries spell it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def matches(digest: str, content: bytes | BinaryIO) -> bool:
    """Whether bytes, or a file's, are what a digest says; an algorithm that nobody here knows never matches."""
    algorithm, _, value = digest.partition(":")
    if algorithm not in _ALGORITHMS:
        return False
    if isinstance(content, bytes):
        return hashlib.new(algorithm, content).hexdigest() == value
    hasher = hashlib.new(algorithm)
    content.seek(0)
    while chunk := content.read(_CHUNK):
        hasher.update(chunk)
    return hasher.hexdigest() == value


def decode(data: bytes) -> Mapping[str, Any]:
    """The JSON object in `data`; empty when there is none, so that every reader sees a missing key, not a crash."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def media_type_of(data: bytes, header: str) -> str:
    """A manifest's type: by its own word, else by the header, else by its shape (OCI lets ``mediaType`` out)."""
    content = decode(data)
    declared = content.get("mediaType")
    if isinstance(declared, str) and declared:
        return declared
    named = header.partition(";")[0].strip()
    if named in ACCEPTED:
        return named
    if "manifests" in content:
        return OCI_INDEX
    return OCI_MANIFEST if "config" in content else named


# --- reading ----------------------------------------------------------------------------------------------


def entries(manifest: Manifest) -> tuple[Mapping[str, Any], ...]:
    """The descriptors of an index that are images: attestations (platform ``unknown``) are left out."""
    found = _objects(manifest.content, "manifests")
    return tuple(entry for entry in found if _object(entry, "platform").get("os") != "unknown")


def _objects(content: Mapping[str, Any], key: str) -> tuple[Mapping[str, Any], ...]:
    found = content.get(key)
    return tuple(one for one in found if isinstance(one, dict)) if isinstance(found, list) else ()


def _object(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def config_of(manifest: Manifest) -> str:
    """The digest of the configuration; empty when the manifest is no image's (a chart, a signature)."""
    config = _object(manifest.content, "config")
    return str(config.get("digest", "")) if config.get("mediaType") in _CONFIGS else ""


def parts_of(manifest: Manifest) -> tuple[str, ...]:
    """The digests of all that an index lists, attestations too; nothing for a manifest."""
    if manifest.media_type not in INDEXES:
        return ()
    return tuple(str(entry.get("digest")) for entry in _objects(manifest.content, "manifests"))


def blobs_of(manifest: Manifest) -> tuple[Blob, ...]:
    """Configuration and layers, each once; not those that may not be passed on, and have addresses of their own."""
    config = _object(manifest.content, "config")
    own = [Blob(str(config.get("digest")), _size(config), "")] if config else []
    away = {str(one.get("digest")) for one in _objects(manifest.content, "layers") if one.get("urls")}
    return tuple(dict.fromkeys([*own, *(one for one in layers_of(manifest) if one.digest not in away)]))


def layers_of(manifest: Manifest) -> tuple[Blob, ...]:
    """The layers in their order."""
    found = _objects(manifest.content, "layers")
    return tuple(Blob(str(one.get("digest")), _size(one), _compression(one)) for one in found)


def _size(descriptor: Mapping[str, Any]) -> int:
    size = descriptor.get("size")
    return size if isinstance(size, int) else 0


def _compression(layer: Mapping[str, Any]) -> str:
    kind = str(layer.get("mediaType", ""))
    return next((name for name in ("gzip", "zstd") if kind.endswith(name)), "")


def diff_ids(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The digests of the uncompressed layers that a configuration lists."""
    found = _object(config, "rootfs").get("diff_ids")
    return tuple(map(str, found)) if isinstance(found, list) else ()


def image_of(digest: str, data: bytes, *, digests: Sequence[str] = ()) -> Image:
    """The image that a configuration describes; its ID is the configuration's digest."""
    config = decode(data)
    return Image(
        id=digest,
        os=str(config.get("os", "")),
        architecture=str(config.get("architecture", "")),
        variant=str(config.get("variant", "")),
        layers=diff_ids(config),
        config=_object(config, "config"),
        digests=tuple(digests),
        created=str(config.get("created", "")),
    )


# --- writing ----------------------------------------------------------------------------------------------


def compose(image: Packed, *, oci: bool) -> Manifest:
    """The manifest of one image; the same image gives the same bytes."""
    config = {
        "mediaType": OCI_CONFIG if oci else DOCKER_CONFIG,
        "size": len(image.config),
        "digest": sha256(image.config),
    }
    layers = [{"mediaType": _layer_type(blob, oci), "size": blob.size, "digest": blob.digest} for blob in image.layers]
    content = {"schemaVersion": 2, "mediaType": OCI_MANIFEST if oci else DOCKER_MANIFEST}
    return _manifest({**content, "config": config, "layers": layers})


def _layer_type(blob: Blob, oci: bool) -> str:
    if not oci:
        return DOCKER_LAYER
    return f"{OCI_LAYER}+{blob.compression}" if blob.compression else OCI_LAYER


def compose_index(parts: Sequence[tuple[Image, Manifest]], *, oci: bool) -> Manifest:
    """One index over several platforms' manifests, in the order given."""
    manifests = [{**manifest.descriptor, "platform": platform(image)} for image, manifest in parts]
    return _manifest(
        {"schemaVersion": 2, "mediaType": OCI_INDEX if oci else DOCKER_LIST, "manifests": manifests},
    )


def platform(image: Image) -> dict[str, str]:
    """The platform of an image as an index spells it."""
    found = {"architecture": image.architecture, "os": image.os}
    return {**found, "variant": image.variant} if image.variant else found


def needs_oci(images: Sequence[Packed]) -> bool:
    """Whether docker's own format cannot say it: it knows gzip layers only.

    Docker's format is used wherever it can be: it is what ``docker push`` sends from an engine with a graph
    driver, and the one that every registry and every engine of the last ten years takes.
    """
    return any(blob.compression != "gzip" for image in images for blob in image.layers)


# --- what refers to a manifest ----------------------------------------------------------------------------


def fallback_tag(subject: str) -> str:
    """The tag under which a registry without a list of referrers holds one (spec 1.1, "Referrers Tag Schema").

    >>> fallback_tag("sha256:abc")
    'sha256-abc'
    """
    algorithm, _, value = subject.partition(":")
    return f"{algorithm[:32]}-{value[:64]}"


def compose_artifact(artifact: Artifact, subject: Manifest) -> Manifest:
    """The manifest of something that refers to `subject`; the same gives the same bytes.

    OCI image-spec 1.1, manifest.md, "Guidelines for Artifact Usage": an empty configuration, one layer.
    """
    config = {"mediaType": OCI_EMPTY, "size": len(EMPTY), "digest": sha256(EMPTY)}
    layer = {"mediaType": artifact.artifact_type, "size": len(artifact.data), "digest": sha256(artifact.data)}
    content = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": artifact.artifact_type, "config": config}
    content |= {"layers": [layer], "subject": subject.descriptor}
    annotations = dict(sorted(artifact.annotations.items()))
    return _manifest({**content, "annotations": annotations} if annotations else content)


def compose_referrers(listed: Sequence[Mapping[str, Any]]) -> Manifest:
    """The index under a fallback tag: the descriptors of what refers to a manifest."""
    return _manifest({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(listed)})


def compose_like(manifest: Manifest, changes: Mapping[str, Any]) -> Manifest:
    """A manifest that differs from another in some keys."""
    return _manifest({**manifest.content, "mediaType": manifest.media_type, **changes})


def artifact_type(manifest: Manifest) -> str:
    """What kind of artifact a manifest is: by its own word, else its configuration's type (image-spec 1.1)."""
    content = manifest.content
    return str(content.get("artifactType") or _object(content, "config").get("mediaType") or "")


def annotations_of(content: Mapping[str, Any]) -> dict[str, str]:
    """The annotations of a manifest or descriptor."""
    return {str(key): str(value) for key, value in _object(content, "annotations").items()}


def listing_of(manifest: Manifest) -> dict[str, Any]:
    """A manifest as a list of referrers shows it (distribution-spec 1.1, "Listing Referrers")."""
    found: dict[str, Any] = {**manifest.descriptor}
    if kind := artifact_type(manifest):
        found["artifactType"] = kind
    if annotations := annotations_of(manifest.content):
        found["annotations"] = annotations
    return found


def listed_in(data: bytes) -> tuple[Mapping[str, Any], ...]:
    """The descriptors that an index lists."""
    return _objects(decode(data), "manifests")


def referrer_of(descriptor: Mapping[str, Any]) -> Referrer:
    """One entry of a list of referrers."""
    kind = str(descriptor.get("artifactType") or "")
    return Referrer(str(descriptor.get("digest")), kind, annotations_of(descriptor))


def subject_of(manifest: Manifest) -> str:
    """The digest of what a manifest refers to; empty when it refers to nothing."""
    return str(_object(manifest.content, "subject").get("digest", ""))


def _manifest(content: Mapping[str, Any]) -> Manifest:
    data = json.dumps(content, separators=(",", ":")).encode()
    return Manifest(sha256(data), str(content["mediaType"]), data)
