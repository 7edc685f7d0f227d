"""Where an image comes from: SLSA provenance, version 1 (https://slsa.dev/spec/v1.0/provenance), written and read.

`docs/evidence.md` documents our build type. Nothing that names a person, a machine or a secret goes into it: paths
are the repository's, remotes and arguments lose what stands before an ``@``, and inputs are told by digest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import ValidationError

from imgmake import attest
from imgmake.attest.results import public_path
from imgmake.attest.statements import Loose, Resource, Statement, Unreadable, by_algorithm, seconds, write
from imgmake.metadata import rfc_3339
from imgmake.model import Field
from imgmake.ports import Artifact
from imgmake.stamp import Stamp, public_url

SLSA = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://imgmake.io/provenance/image/v1"
BUILDER = "https://imgmake.io/builders/"  # and the builder: buildx, buildkit or classic
_MOST_INPUTS = 2000  # of a build that reads more, the digest of each kind of input is told
_LISTED = frozenset({"file", "folder", "link", "image"})
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True)
class Build:
    """One image of what is published, as its rule and its stamp tell of it.

    digest:   of its manifest; empty where only the index's is known.
    inputs:   what its fingerprint was made of; empty where no record has it any more.
    pipefile, dockerfile, context: from the root of the repository.
    """

    digest: str
    platform: str
    seal: Stamp
    target: str
    pipefile: str
    dockerfile: str
    context: str
    stage: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Field, ...] = ()


# --- writing --------------------------------------------------------------------------------------------------


def write_provenance(subject: Sequence[Resource], builds: Sequence[Build]) -> Artifact:
    """The statement of how the images of one publication were built; several make one index."""
    first, times = builds[0].seal, _metadata(builds)
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "pipefile": public_path(builds[0].pipefile),
                "targets": list(_targets(builds)),
                "platforms": sorted({build.platform for build in builds}),
            },
            "internalParameters": {
                "dirty": _dirty(builds),
                "images": [_image(build) for build in builds],
            },
            "resolvedDependencies": [each.plain() for each in dependencies(builds)],
        },
        "runDetails": {
            "builder": {"id": BUILDER + _builder(first), "version": dict(first.tools)},
            "metadata": times,
        },
    }
    return write(subject, SLSA, predicate, {attest.CREATED: times["finishedOn"]})


def _metadata(builds: Sequence[Build]) -> dict[str, str]:
    finished = max(build.seal.time for build in builds)
    began = min(build.seal.began or build.seal.time for build in builds)
    known = {"invocationId": builds[0].seal.metadata.get("BUILD_ID", "")}
    return {**{k: v for k, v in known.items() if v}, "startedOn": rfc_3339(began), "finishedOn": rfc_3339(finished)}


def _builder(seal: Stamp) -> str:
    return seal.tools.get("builder") or seal.groups.get("builder", "unknown")


def _dirty(builds: Sequence[Build]) -> bool | None:
    """Dirty if one of them was, unknown if that is not known of one of them."""
    found = [build.seal.dirty for build in builds]
    return True if True in found else None if None in found else False


def _targets(builds: Sequence[Build]) -> Iterator[dict[str, Any]]:
    """One for each rule, whatever the number of its platforms."""
    for build in {build.target: build for build in builds}.values():
        told = {
            "target": build.target,
            "dockerfile": public_path(build.dockerfile),
            "context": public_path(build.context) or ".",
            "stage": build.stage,
            "buildArgs": {name: scrubbed(value) for name, value in sorted(build.arguments.items())},
        }
        yield {key: value for key, value in told.items() if value}


def scrubbed(text: str) -> str:
    """A value without the credentials that a URL in it has.

    >>> scrubbed("https://me:token@proxy.example.com:3128/")
    'https://proxy.example.com:3128/'
    """
    return _CREDENTIALS.sub("", text)


def _image(build: Build) -> dict[str, Any]:
    told = {
        "target": build.target,
        "platform": build.platform,
        "manifest": build.digest and by_algorithm(build.digest),
        "fingerprint": build.seal.fingerprint,
        "content": build.seal.content,
        "inputs": [_input(each) for each in build.inputs] if len(build.inputs) <= _MOST_INPUTS else [],
        "groups": {kind: value for kind, value in sorted(build.seal.groups.items()) if kind != "builder"},
    }
    return {key: value for key, value in told.items() if value}


def _input(given: Field) -> dict[str, str]:
    """A file by its path and content; whatever else counted by its kind and a digest of all of it."""
    if given.kind not in _LISTED:
        return {"kind": given.kind, "sha256": _sha256(f"{given.name}\0{given.value}")}
    mode, _, rest = given.value.partition(":")
    kind, _, content = rest.partition(":")
    told = {"kind": given.kind, "name": public_path(re.sub(r" \(/.*\)$", "", given.name))}
    if kind == "file":
        return told | {"mode": mode, "sha256": content}
    return told | {"sha256": given.value if _HEX.fullmatch(given.value) else _sha256(given.value)}


_HEX = re.compile(r"[0-9a-f]{64}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


# --- dependencies ---------------------------------------------------------------------------------------------


def dependencies(builds: Iterable[Build]) -> list[Resource]:
    """The commit, each base by digest, and each image of another rule by its content; each once."""
    found: dict[str, Resource] = {}
    for build in builds:
        for each in (*_commit(build.seal), *_bases(build.seal), *_images(build)):
            found.setdefault(repr((each.name, each.uri, sorted(each.digest.items()))), each)
    return list(found.values())


def _commit(seal: Stamp) -> Iterator[Resource]:
    revision = seal.metadata.get("VCS_REF", "")
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", revision):
        source = source_url(seal.metadata.get("VCS_URL", ""))
        uri = f"git+{source}@{revision}" if source else ""
        yield Resource(name="source", uri=uri, digest={"gitCommit": revision}, annotations={"dirty": seal.dirty})


def source_url(url: str) -> str:
    """A remote as a URL without anybody's name; empty for a folder of this machine.

    >>> source_url("alice@example.com:team/shop.git"), source_url("/home/alice/shop.git")
    ('ssh://example.com/team/shop.git', '')
    """
    if match := re.fullmatch(r"(?:[^@/\s]+@)?([\w.-]+):(?!//)(.+)", url):
        return f"ssh://{match[1]}/{match[2].lstrip('/')}"
    if "://" not in url or url.startswith("file:"):
        return ""
    return scrubbed(public_url(url))


def _bases(seal: Stamp) -> Iterator[Resource]:
    for reference, image_id in seal.bases:
        digest = seal.digests.get(reference, "")
        # An engine that never pulled the base knows it by the ID alone, which no registry can be asked for.
        said = {} if digest else {"imgmake_digestOf": "the engine's image ID"}
        yield Resource(name=reference, digest=by_algorithm(digest or image_id), annotations={"kind": "base", **said})


def _images(build: Build) -> Iterator[Resource]:
    for each in build.inputs:
        if each.kind == "image" and each.value:
            yield Resource(name=each.name, digest={"imgmakeContent": each.value}, annotations={"kind": "image"})


# --- reading --------------------------------------------------------------------------------------------------


class Origin(NamedTuple):
    """What a provenance statement says, read; empty where it says nothing, `dirty` None where that is unknown.

    images: (platform, fingerprint, content ID) of each.
    bases:  (reference, digest).
    """

    source: str
    revision: str
    dirty: bool | None
    pipefile: str
    targets: tuple[tuple[str, str, str], ...]  # target, Dockerfile, stage
    bases: tuple[tuple[str, str], ...]
    images: tuple[tuple[str, str, str], ...]
    build_id: str
    builder: str
    versions: Mapping[str, str]
    began: float | None
    finished: float | None


class _Target(Loose):
    target: str
    dockerfile: str = ""
    stage: str = ""


class _External(Loose):
    pipefile: str = ""
    targets: tuple[_Target, ...] = ()


class _Image(Loose):
    platform: str = ""
    fingerprint: str = ""
    content: str = ""


class _Internal(Loose):
    dirty: bool | None = None
    images: tuple[_Image, ...] = ()


class _Definition(Loose):
    buildType: str  # noqa: N815 (the name in the statement)
    externalParameters: _External = _External()  # noqa: N815
    internalParameters: _Internal = _Internal()  # noqa: N815
    resolvedDependencies: tuple[Resource, ...] = ()  # noqa: N815


class _Builder(Loose):
    id: str
    version: Mapping[str, str] = {}


class _Metadata(Loose):
    invocationId: str = ""  # noqa: N815
    startedOn: str = ""  # noqa: N815
    finishedOn: str = ""  # noqa: N815


class _Details(Loose):
    builder: _Builder
    metadata: _Metadata = _Metadata()


class _Provenance(Loose):
    buildDefinition: _Definition  # noqa: N815
    runDetails: _Details  # noqa: N815


def read_provenance(statement: Statement) -> Origin | None:
    """What a statement of ours says of a build; None when it is another, or of another build type.

    Raises Unreadable when it claims to be one and is not.
    """
    if statement.predicate_type != SLSA or _type_of(statement) != BUILD_TYPE:
        return None
    try:
        told = _Provenance.model_validate(statement.predicate)
    except ValidationError:
        raise Unreadable("a provenance statement that is not SLSA's") from None
    definition, run = told.buildDefinition, told.runDetails
    source = next((each for each in definition.resolvedDependencies if "gitCommit" in each.digest), Resource())
    return Origin(
        source=source.uri.removeprefix("git+").rpartition("@")[0],
        revision=source.digest.get("gitCommit", ""),
        dirty=definition.internalParameters.dirty,
        pipefile=definition.externalParameters.pipefile,
        targets=tuple((each.target, each.dockerfile, each.stage) for each in definition.externalParameters.targets),
        bases=tuple(
            (each.name, ":".join(next(iter(each.digest.items()), ("", ""))))
            for each in definition.resolvedDependencies
            if each.annotations.get("kind") == "base"
        ),
        images=tuple((each.platform, each.fingerprint, each.content) for each in definition.internalParameters.images),
        build_id=run.metadata.invocationId,
        builder=run.builder.id.removeprefix(BUILDER),
        versions=run.builder.version,
        began=seconds(run.metadata.startedOn),
        finished=seconds(run.metadata.finishedOn),
    )


def _type_of(statement: Statement) -> object:
    definition = statement.predicate.get("buildDefinition")
    return definition.get("buildType") if isinstance(definition, dict) else None
