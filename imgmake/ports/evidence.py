"""What a check has to say of what it examined, and what is kept of it until an image is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Finding(NamedTuple):
    """What a command has to say of what it examined, for the evidence that goes with an image.

    tool, version: who examined, such as ``hadolint`` and ``2.12.0``.
    summary:       one line for a person.
    details:       JSON, such as the number of findings of each severity.
    document:      a document that is published as it is, such as an SBOM, with its media type.
    """

    tool: str
    version: str = ""
    summary: str = ""
    details: Mapping[str, Any] = {}
    document: bytes = b""
    media_type: str = ""


@dataclass(frozen=True)
class Evidence:
    """One pass of a check, or of a file rule that examines an image, such as one that makes an SBOM.

    target:        the rule's target.
    inputs:        digest of all that counted, images too: which pass this was.
    configuration: digest of all that counted but images: how they were examined.
    files:         path and SHA-256 of each file among that.
    images:        content IDs (of images that no rule makes, IDs) of what was examined, or examined with.
    began, time:   seconds since the epoch.
    """

    target: str
    inputs: str
    configuration: str
    files: tuple[tuple[str, str], ...] = ()
    images: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    began: float = 0.0
    time: float = 0.0
