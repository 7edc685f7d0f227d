"""Container registries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from imgmake.ports.containers import Engine, Image
from imgmake.ports.running import Cancel, Output


@dataclass(frozen=True)
class Remote:
    """What a registry holds under a tag."""

    reference: str
    digest: str  # of the manifest or index
    media_type: str
    images: tuple[Image, ...]  # one per platform; `Image.id` is the configuration's digest


class Registry(Protocol):
    """Container registries, by reference; credentials as docker has them."""

    def resolve(self, reference: str) -> Remote | None:
        """What the tag or digest names; None when the registry answers that there is no such thing."""

    def tags(self, repository: str) -> Sequence[str]: ...

    def push(
        self,
        engine: Engine,
        images: Sequence[Image],
        references: Sequence[str],
        *,
        output: Output,
        cancel: Cancel | None = None,
    ) -> str:
        """Send layers, configurations and manifests by digest, then set the tags; several images make one index."""

    def retag(self, source: Remote, references: Sequence[str], *, output: Output, cancel: Cancel | None = None) -> None:
        """Set further tags on a manifest that a registry has; to another repository it is copied first."""
