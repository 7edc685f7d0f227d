"""Images as the engine's API tells of them: inspect, search by repository, names. Sends requests; changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imgmake.engine.wire import Reply, Wire, expect, send
from imgmake.errors import EngineError, InvalidReference
from imgmake.ports import EngineInfo, Image

_NO_NAME = "<none>"
_NO_REFERENCE = ("invalid reference format", "invalid tag format")  # with status 400 or 500, by version
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386", "i386": "386"}


def inspect(wire: Wire, reference: str) -> Image | None:
    """The image under a tag, digest or ID, or None."""
    found = raw(wire, reference)
    return None if found is None else parse(found)


def raw(wire: Wire, reference: str) -> Mapping[str, Any] | None:
    """What ``docker image inspect`` shows of an image, or None."""
    reply = send(wire, "GET", f"/images/{reference}/json")
    if reply.status == 404:
        return None
    refuse_name(reply, reference)
    found: Mapping[str, Any] = expect(reply, f"inspect {reference}").json()
    return found


def refuse_name(reply: Reply, reference: str) -> None:
    """Raise InvalidReference when that is what the engine objects to."""
    if reply.status >= 400 and any(words in reply.message for words in _NO_REFERENCE):
        raise InvalidReference(f"{reference!r} is no image reference: {reply.message}")


def within(wire: Wire, repositories: Iterable[str]) -> Sequence[Image]:
    """Every image with a name in one of the repositories, each once, in the order that the engine lists (newest first).

    ``docker.io/library/x``, ``library/x`` and ``x`` are one repository.
    """
    wanted = {familiar(repository) for repository in repositories}
    if not wanted:
        return ()
    reply = send(wire, "GET", "/images/json", filters={"reference": sorted(wanted)})
    listed = expect(reply, "list images").json()
    ids = dict.fromkeys(item["Id"] for item in listed if wanted & set(_repositories(item.get("RepoTags") or ())))
    return _each(wire, ids)


def labelled(wire: Wire, key: str) -> Sequence[Image]:
    """Every image with this label, whatever its value, in the order that the engine lists (newest first)."""
    reply = send(wire, "GET", "/images/json", filters={"label": [key]})
    return _each(wire, dict.fromkeys(item["Id"] for item in expect(reply, "list images").json()))


def _each(wire: Wire, ids: Iterable[str]) -> Sequence[Image]:
    # An image may be removed by somebody else between the two questions.
    return tuple(image for image in (inspect(wire, image_id) for image_id in ids) if image is not None)


def parse(found: Mapping[str, Any]) -> Image:
    """The answer to an inspection, as the port's model."""
    return Image(
        id=found["Id"],
        os=found.get("Os") or "linux",
        architecture=found.get("Architecture") or "",
        variant=found.get("Variant") or "",
        layers=tuple((found.get("RootFS") or {}).get("Layers") or ()),
        config=found.get("Config") or {},
        tags=tuple(tag for tag in found.get("RepoTags") or () if _NO_NAME not in tag),
        digests=tuple(digest for digest in found.get("RepoDigests") or () if _NO_NAME not in digest),
        created=found.get("Created") or "",
    )


def parse_info(found: Mapping[str, Any], environ: Mapping[str, str]) -> EngineInfo:
    """The answer to ``/info``; the containerd image store names itself by its driver type."""
    status = [tuple(pair) for pair in found.get("DriverStatus") or ()]
    containerd = ("driver-type", "io.containerd.snapshotter.v1") in status
    machine = found.get("Architecture") or ""
    return EngineInfo(
        version=found.get("ServerVersion") or "",
        os=found.get("OSType") or "linux",
        architecture=_MACHINES.get(machine, machine),
        store="containerd" if containerd else found.get("Driver") or "",
        environ=dict(environ),
    )


def familiar(repository: str) -> str:
    """A repository as docker shows it (distribution/reference, `FamiliarName`).

    >>> familiar("docker.io/library/debian"), familiar("localhost:5000/shop")
    ('debian', 'localhost:5000/shop')
    """
    for registry in ("docker.io/", "index.docker.io/"):
        repository = repository.removeprefix(registry)
    return repository.removeprefix("library/")


def split(reference: str) -> tuple[str, str]:
    """Repository and tag of a name.

    >>> split("localhost:5000/shop"), split("shop:1.0")
    (('localhost:5000/shop', 'latest'), ('shop', '1.0'))
    """
    if "@" in reference:
        raise InvalidReference(f"{reference!r} holds a digest, which no tag can", hint="name a repository and a tag")
    repository, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        return reference, "latest"
    return repository, tag


def required(wire: Wire, reference: str) -> Image:
    """The image, or EngineError when it is gone."""
    found = inspect(wire, reference)
    if found is None:
        raise EngineError(f"the engine no longer has the image {reference}", hint="run the build again")
    return found


def _repositories(tags: Iterable[str]) -> Iterable[str]:
    return (familiar(tag.rpartition(":")[0]) for tag in tags)
