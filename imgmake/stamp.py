"""The stamp: labels that say which build made an image, and the content ID that says what the image is; pure.

Content is what a builder made; the stamp is written onto it afterwards and changes none of it. So the
content ID leaves out every label that the stamp wrote, and is equal before and after a stamp, in every
engine and after push and pull. Knows nothing of engines, registries or rules.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError

from imgmake.fingerprint import digest
from imgmake.model import Field, Frozen, Reason
from imgmake.ports import Image

LABEL = "io.imgmake.stamp"
_OCI = "org.opencontainers.image."
_SCHEMA = "org.label-schema."

# Every predefined key of the OCI image spec (annotations.md) and of label-schema.org 1.0: what the build
# does not say of itself is removed, so that a base's version or description is not shown as ours.
_OCI_KEYS = (
    "created authors url documentation source version revision vendor licenses ref.name title description "
    "base.name base.digest"
)
_SCHEMA_KEYS = "schema-version build-date name description usage url vcs-url vcs-ref vendor version"
KEYS = frozenset([*(_OCI + k for k in _OCI_KEYS.split()), *(_SCHEMA + k for k in _SCHEMA_KEYS.split())])

# What a container runs with. ArgsEscaped and StopTimeout are left out: not every store tells them.
_RUNTIME = tuple(
    "User ExposedPorts Env Entrypoint Cmd Volumes WorkingDir StopSignal Healthcheck OnBuild Shell".split()  # noqa: SIM905
)


MOST_FILES = 100  # whose digests a label holds: about 2 kB
_UNTOLD = " (no record tells which)"
_PATHS = ("file", "folder", "link")
_GROUPS = {
    "instruction": "the Dockerfile's instructions",
    "argument": "build arguments",
    "file": "files of the context",
}


class Stamp(Frozen):
    """What an image says of its own build.

    fingerprint: digest of all that counted when it was built.
    origin:      digest of its sources, with generated files replaced by the signatures of their rules.
    content:     the content ID of the image that bears the stamp.
    bases:       (reference, image ID) of each base, as they were.
    triggers:    ONBUILD triggers of those bases that have some, so that one that is gone is still known.
    metadata:    BUILD_ID, BUILD_DATE, VCS_REF, … at the build.
    managed:     label keys that are no content: written or removed by the stamp, or volatile.
    groups:      a short digest of each kind of input, so that ``--why`` can answer without a record.
    files:       short digests of each file, by that of its name; empty when there are many.
    digests:     the digest under which a registry knows a base, for those that one knows.
    dirty:       whether the tree differed from the commit; None where there was no commit.
    tools:       what built it, with its version: imgmake, the engine, the builder.
    target:      of the rule that built it.
    began, time: seconds since the epoch.
    """

    version: Literal[1] = 1
    fingerprint: str
    origin: str = ""
    content: str
    bases: tuple[tuple[str, str], ...] = ()
    triggers: Mapping[str, tuple[str, ...]] = {}
    metadata: Mapping[str, str] = {}
    managed: tuple[str, ...] = ()
    groups: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    digests: Mapping[str, str] = {}
    dirty: bool | None = None
    tools: Mapping[str, str] = {}
    target: str = ""
    began: float = 0.0
    time: float = 0.0

    def to_label(self) -> str:
        """The value of the label `LABEL`: compact JSON with sorted keys."""
        text = json.dumps(self.model_dump(), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        return text.encode("utf-8", "replace").decode()  # an engine takes no bytes that are not UTF-8

    @classmethod
    def from_label(cls, text: str) -> Stamp | None:
        """The stamp in a label's value; None for anything else, whatever it holds.

        >>> Stamp.from_label("{}") is None
        True
        """
        try:
            return cls.model_validate_json(text, strict=True)
        except (ValidationError, ValueError):
            return None


def groups(fields: Iterable[Field]) -> dict[str, str]:
    """A short digest of each kind of field; the builder's family in full."""
    kinds: dict[str, list[Field]] = {}
    for field in fields:
        kinds.setdefault("file" if field.kind in _PATHS else field.kind, []).append(field)
    found = {kind: digest(members)[:12] for kind, members in kinds.items()}
    return found | {"builder": kinds["builder"][0].value} if "builder" in kinds else found


def files(fields: Iterable[Field]) -> dict[str, str]:
    """A short digest of each file by one of its name; none when that would make a long label."""
    found = [field for field in fields if field.kind in _PATHS]
    return {} if len(found) > MOST_FILES else {_key(field.kind, field.name): _short(field.value) for field in found}


def changed_groups(stamp: Stamp, fields: Iterable[Field]) -> frozenset[str]:
    """The kinds of input that differ from those of the build."""
    now = groups(fields)
    return frozenset(kind for kind in {*now, *stamp.groups} if now.get(kind) != stamp.groups.get(kind))


def same_files(stamp: Stamp, fields: Iterable[Field], *, apart_from: Collection[str]) -> bool:
    """Whether the files are those of the build, but for some; only for a stamp that has `files`."""
    apart = {_key(kind, name) for name in apart_from for kind in _PATHS}
    now = {_key(f.kind, f.name): _short(f.value) for f in fields if f.kind in _PATHS}
    return all(now.get(key) == stamp.files.get(key) for key in {*now, *stamp.files} - apart)


def changes(stamp: Stamp, fields: Sequence[Field]) -> list[Reason]:
    """What differs from the inputs of the build, as far as the stamp tells: files by name, all else by its kind."""
    kinds = sorted(changed_groups(stamp, fields))
    told = [] if "file" not in kinds or not stamp.files else list(_changed_files(stamp, fields))
    rest = [kind for kind in kinds if kind != "file" or not told]
    return [*(Reason(f"{_GROUPS.get(kind, kind)} changed{_UNTOLD}") for kind in rest), *told]


def _changed_files(stamp: Stamp, fields: Iterable[Field]) -> Iterator[Reason]:
    now = {_key(field.kind, field.name): field for field in fields if field.kind in _PATHS}
    for key, field in now.items():
        if stamp.files.get(key) != _short(field.value):
            yield Reason(f"{field.name} {'changed' if key in stamp.files else 'is new'}")
    if stamp.files.keys() - now.keys():
        yield Reason(f"a file of the context is gone{_UNTOLD}")


def _key(kind: str, name: str) -> str:
    return digest([Field(kind, name, "")])[:8]


def _short(value: str) -> str:
    return digest([Field("", "", value)])[:8]


def content_id(image: Image, managed: Collection[str] = ()) -> str:
    """The identity of what an image holds and runs: 64 hexadecimal digits.

    Counts: platform, layer diff IDs, run-time configuration (the OCI image spec's `config` and Docker's
    additions), and labels other than `managed` ones. Two builds of one thing share it; a child image, a
    ``docker commit`` or a changed label does not.

    >>> from dataclasses import replace
    >>> one = Image("sha256:1", config={"Labels": {"a": "1", "b": "2"}})
    >>> content_id(one) == content_id(replace(one, id="sha256:2", tags=("x:1",)))
    True
    """
    config = {key: image.config[key] for key in _RUNTIME if image.config.get(key)}
    labels = {key: value for key, value in image.labels.items() if key not in managed and key != LABEL}
    parts = [*_platform(image), list(image.layers), config, labels]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read(image: Image) -> Stamp | None:
    """The stamp of an image, if it is its own.

    A child image and a ``docker commit`` inherit the label; there it does not match the content, and
    counts for nothing.
    """
    label = image.labels.get(LABEL)
    stamp = Stamp.from_label(label) if label else None
    if stamp is None or content_id(image, frozenset(stamp.managed)) != stamp.content:
        return None
    return stamp


def labels(
    *,
    metadata: Mapping[str, str],
    title: str,
    base_name: str = "",
    base_digest: str = "",
    taken: Collection[str] = (),
) -> tuple[Mapping[str, str], frozenset[str]]:
    """The labels that a stamp writes beside its own, and the keys that it removes.

    metadata: BUILD_ID, BUILD_DATE, VCS_REF and VCS_URL, each where known (``unknown`` is not known).
    taken:    keys that the Dockerfile's needed stages or the rule's ``labels=`` set; left as they are.
    Keys are those of the OCI image spec (annotations.md) and of label-schema.org.

    >>> written, removed = labels(metadata={"BUILD_ID": "b1"}, title="shop")
    >>> written["org.opencontainers.image.version"], "org.opencontainers.image.source" in removed
    ('b1', True)
    """
    known = {key: value for key, value in metadata.items() if value and value != "unknown"}
    source = public_url(known.get("VCS_URL", ""))
    values = {
        **{_OCI + key: value for key, value in _oci(known, source, title, base_name, base_digest).items()},
        **{_SCHEMA + key: value for key, value in _label_schema(known, source, title).items()},
    }
    written = {key: value for key, value in values.items() if value and key not in taken}
    return written, KEYS - written.keys() - frozenset(taken)


def public_url(url: str) -> str:
    """A remote without password, query or fragment, and without any user for http.

    >>> public_url("https://me:token@example.com/shop.git?x=1")
    'https://example.com/shop.git'
    >>> public_url("git@example.com:shop.git")
    'git@example.com:shop.git'
    """
    if "://" not in url:
        return url
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    user = "" if parts.scheme in ("http", "https") else user.partition(":")[0]
    return urlunsplit((parts.scheme, f"{user}@{host}" if user else host, parts.path, "", ""))


def _oci(known: Mapping[str, str], source: str, title: str, base_name: str, base_digest: str) -> dict[str, str]:
    return {
        "version": known.get("BUILD_ID", ""),
        "created": known.get("BUILD_DATE", ""),
        "revision": known.get("VCS_REF", ""),
        "source": source,
        "url": source.removesuffix(".git") if source.startswith(("http://", "https://")) else "",
        "title": title,
        "base.name": base_name,
        "base.digest": base_digest,
    }


def _label_schema(known: Mapping[str, str], source: str, title: str) -> dict[str, str]:
    return {
        "schema-version": "1.0",
        "name": title,
        "version": known.get("BUILD_ID", ""),
        "build-date": known.get("BUILD_DATE", ""),
        "vcs-ref": known.get("VCS_REF", ""),
        "vcs-url": source,
    }


def _platform(image: Image) -> tuple[str, str, str]:
    """As containerd's `platforms.Normalize` spells it: stores differ in whether they tell a default variant."""
    variant = image.variant
    if (image.architecture, variant) == ("arm64", "v8"):
        variant = ""
    if image.architecture == "arm" and not variant:
        variant = "v7"
    return (image.os, image.architecture, variant)
