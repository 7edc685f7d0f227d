"""Other labels over the same layers, without a builder: a configuration is loaded, layers stay where they are.

``FROM`` and ``LABEL`` in a builder would run the base's ONBUILD triggers and need a build; ``docker load``
of a tar with a manifest and a configuration finds each layer by its digest (moby image/tarexport/load.go,
and WithSkipMissing in daemon/containerd/image_exporter.go) and takes milliseconds. Knows nothing of stamps'
meaning beyond the content ID, by which it checks that nothing but labels changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from imgmake import stamp
from imgmake.engine import images
from imgmake.engine.load import load
from imgmake.engine.wire import Wire, expect, send, url
from imgmake.errors import EngineError
from imgmake.ports import Image

_SMALL = 8 << 20  # bytes: manifests and configurations are below, and only they are kept of an export
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Instructions that never make a layer; other entries of size 0 (RUN, COPY, WORKDIR) may have an empty one.
_NO_LAYER = tuple(
    "ARG CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL MAINTAINER ONBUILD SHELL STOPSIGNAL USER VOLUME".split()  # noqa: SIM905
)

Config = dict[str, Any]


def relabel(wire: Wire, image: Image, *, labels: Mapping[str, str], remove: Iterable[str], containerd: bool) -> Image:
    """The image with `labels` set and the keys of `remove` gone; all else is equal, and nothing is tagged.

    Raises EngineError when the engine loads something that is not the same content.
    """
    changed = frozenset(labels) | frozenset(remove)
    wanted = {key: value for key, value in image.labels.items() if key not in changed} | dict(labels)
    if wanted == dict(image.labels):
        return image
    if containerd:
        return _checked(wire, image, wanted, changed, _load_oci(wire, image, wanted))
    rebuilt = _rebuilt(wire, image)
    if rebuilt is not None:
        with contextlib.suppress(EngineError):
            return _checked(wire, image, wanted, changed, _load_config(wire, rebuilt, wanted))
    return _checked(wire, image, wanted, changed, _load_config(wire, _exported_config(wire, image), wanted))


def _checked(wire: Wire, before: Image, wanted: Mapping[str, str], changed: frozenset[str], loaded: str) -> Image:
    after = images.required(wire, loaded)
    same = stamp.content_id(before, changed) == stamp.content_id(after, changed) and before.created == after.created
    if same and dict(after.labels) == dict(wanted):
        return after
    if not after.tags:
        send(wire, "DELETE", f"/images/{after.id}", noprune="1")
    raise EngineError(f"the engine changed more than the labels of {before.id} when it loaded them")


# --- graph drivers --------------------------------------------------------------------------------------------


def _load_config(wire: Wire, config: Config, labels: Mapping[str, str]) -> str:
    """Load a configuration over layers that the store has; its digest is the image's ID."""
    blob = json.dumps({**config, "config": {**(config.get("config") or {}), "Labels": dict(labels) or None}}).encode()
    digest = hashlib.sha256(blob).hexdigest()
    layers = [f"{number}/layer.tar" for number, _ in enumerate(config["rootfs"]["diff_ids"])]
    manifest = [{"Config": f"{digest}.json", "RepoTags": None, "Layers": layers}]
    load(wire, {f"{digest}.json": blob, "manifest.json": json.dumps(manifest).encode()})
    return f"sha256:{digest}"


def _rebuilt(wire: Wire, image: Image) -> Config | None:
    """The configuration from inspect and history; None when they do not tell which entries have a layer."""
    found = images.raw(wire, image.id)
    reply = expect(send(wire, "GET", f"/images/{image.id}/history"), f"tell the history of {image.id}")
    history = _history(list(reversed(reply.json())), len(image.layers))
    if found is None or history is None:
        return None
    names = {"Architecture": "architecture", "Variant": "variant", "Os": "os", "OsVersion": "os.version"}
    names |= {"Author": "author", "Comment": "comment", "Created": "created", "Container": "container"}
    names |= {"ContainerConfig": "container_config", "DockerVersion": "docker_version", "Config": "config"}
    config = {ours: found[theirs] for theirs, ours in names.items() if found.get(theirs)}
    return config | {"rootfs": {"type": "layers", "diff_ids": list(image.layers)}, "history": history}


def _history(entries: Sequence[Mapping[str, Any]], layers: int) -> list[dict[str, Any]] | None:
    """The history as a configuration holds it, oldest first, when only one reading of it has that many layers."""
    sized = [entry["Size"] > 0 for entry in entries]
    likely = [has or not _makes_no_layer(entry["CreatedBy"]) for has, entry in zip(sized, entries, strict=True)]
    filled = next((guess for guess in (sized, likely) if sum(guess) == layers), None)
    if filled is None:
        return None
    return [_entry(entry, has) for has, entry in zip(filled, entries, strict=True)]


def _entry(entry: Mapping[str, Any], layer: bool) -> dict[str, Any]:
    created = (_EPOCH + timedelta(seconds=entry["Created"])).isoformat().replace("+00:00", "Z")
    found = {"created": created, "created_by": entry["CreatedBy"], "comment": entry.get("Comment")}
    kept = {key: value for key, value in found.items() if value}
    return kept if layer else {**kept, "empty_layer": True}


def _makes_no_layer(created_by: str) -> bool:
    """Of BuildKit (``ENV a=b``) and of the classic builder (``/bin/sh -c #(nop)  ENV a=b``)."""
    instruction = created_by.rpartition("#(nop)")[2].split(None, 1)
    return bool(instruction) and instruction[0] in _NO_LAYER


def _exported_config(wire: Wire, image: Image) -> Config:
    """The configuration's own text, out of ``docker save``: exact, but every layer streams by."""
    files = _small_files(wire, image)
    try:
        name = json.loads(files["manifest.json"])[0]["Config"]
        config: Config = json.loads(files[name])
    except (KeyError, IndexError, ValueError) as error:
        raise EngineError(f"the engine's export of {image.id} has no configuration") from error
    return config


# --- the containerd image store -------------------------------------------------------------------------------


def _load_oci(wire: Wire, image: Image, labels: Mapping[str, str]) -> str:
    """Load a manifest with a new configuration over blobs that the store has; the manifest's digest is the ID."""
    manifest, config = _exported_manifest(wire, image)
    blob = json.dumps({**config, "config": {**(config.get("config") or {}), "Labels": dict(labels)}}).encode()
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    described = {**manifest["config"], "digest": digest, "size": len(blob)}
    text = json.dumps({**manifest, "config": described}).encode()
    top: dict[str, Any] = {"mediaType": manifest.get("mediaType") or _MANIFEST, "size": len(text)}
    top["digest"] = f"sha256:{hashlib.sha256(text).hexdigest()}"
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [top]}).encode(),
        _blob_name(digest): blob,
        _blob_name(top["digest"]): text,
    }
    load(wire, files)
    return str(top["digest"])


def _exported_manifest(wire: Wire, image: Image) -> tuple[dict[str, Any], Config]:
    """The manifest and configuration of the image's own platform: an index may name several."""
    files = _small_files(wire, image)
    for text in files.values():
        manifest = _json_object(text)
        config = _json_object(files.get(_blob_name((manifest.get("config") or {}).get("digest", "")), b""))
        if tuple((config.get("rootfs") or {}).get("diff_ids") or ()) == image.layers and config:
            return manifest, config
    raise EngineError(f"the engine's export of {image.id} has no manifest with its layers")


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


# --- tars -----------------------------------------------------------------------------------------------------


def _small_files(wire: Wire, image: Image) -> dict[str, bytes]:
    """The JSON files of an export, by name."""
    with wire.stream("GET", url(f"/images/{image.id}/get")) as (status, stream):
        if status >= 400:
            raise EngineError(f"the engine could not export {image.id}: {stream.read().decode(errors='replace')}")
        try:
            return _json_members(stream)
        except (tarfile.TarError, OSError) as error:
            raise EngineError(f"the engine broke off the export of {image.id}: {error}") from error


def _json_members(stream: BinaryIO) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            opened = tar.extractfile(member) if member.isfile() and member.size < _SMALL else None
            text = opened.read() if opened else b""
            if text[:1] in (b"{", b"["):
                found[member.name] = text
    return found
