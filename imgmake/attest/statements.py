"""in-toto statements (https://github.com/in-toto/attestation, spec/v1): the envelope of every claim; no predicate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic import Field as PydanticField

from imgmake import attest
from imgmake.ports import Artifact

TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"


class Unreadable(ValueError):
    """Not a statement, or not one about the image in question: the message says which."""


class Loose(BaseModel):
    """A part of somebody's statement: known fields are checked, unknown ones left out (spec/v1, parsing rules)."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    def plain(self) -> dict[str, Any]:
        """JSON's own types, under the names of the specification, without what is not said."""
        return {name: value for name, value in self.model_dump(mode="json", by_alias=True).items() if value}


class Resource(Loose):
    """A ResourceDescriptor (spec/v1/resource_descriptor.md): something by its digests."""

    name: str = ""
    uri: str = ""
    digest: Mapping[str, str] = {}
    annotations: Mapping[str, Any] = {}


class Statement(Loose):
    """What somebody claims (`predicate`) of some artifacts (`subject`)."""

    type: Literal["https://in-toto.io/Statement/v1"] = PydanticField(TYPE, alias="_type")
    subject: tuple[Resource, ...]
    predicate_type: str = PydanticField(alias="predicateType")
    predicate: Mapping[str, Any] = {}

    def is_about(self, digest: str) -> bool:
        """Whether the manifest with this digest (``sha256:…``) is among its subjects."""
        algorithm, _, value = digest.partition(":")
        return any(value and subject.digest.get(algorithm) == value for subject in self.subject)


def subjects(name: str, digests: Sequence[str]) -> tuple[Resource, ...]:
    """The same image by each of its digests: an index, and the manifests that it lists.

    >>> subjects("shop", ["sha256:ab"])[0].digest
    {'sha256': 'ab'}
    """
    return tuple(Resource(name=name, digest=by_algorithm(digest)) for digest in dict.fromkeys(digests))


def by_algorithm(digest: str) -> dict[str, str]:
    """A digest as a statement spells it (spec/v1/digest_set.md)."""
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}


def write(
    subject: Sequence[Resource], predicate_type: str, predicate: Mapping[str, Any], annotations: Mapping[str, str]
) -> Artifact:
    """The statement as an artifact for a registry. The same facts are the same bytes, so that twice is once."""
    document = {
        "_type": TYPE,
        "subject": [each.plain() for each in subject],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    body = data.encode("utf-8", "replace")  # a file's name may be no text
    return Artifact(attest.IN_TOTO, body, {attest.PREDICATE: predicate_type, **annotations})


def read(data: bytes) -> Statement:
    """The statement in these bytes. Raises Unreadable.

    >>> read(b"[]")
    Traceback (most recent call last):
    ...
    imgmake.attest.statements.Unreadable: no in-toto statement (version 1)
    """
    try:
        return Statement.model_validate_json(data)
    except ValidationError:
        raise Unreadable("no in-toto statement (version 1)") from None


def seconds(text: object) -> float | None:
    """The time that RFC 3339 spells, in seconds since the epoch; None for anything else.

    >>> seconds("1970-01-01T00:01:00Z"), seconds("yesterday")
    (60.0, None)
    """
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else moment.replace(tzinfo=UTC).timestamp()
