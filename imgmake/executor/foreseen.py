"""Registries as they will be when unfinished publications have come to their end, for a plan made before that.

Only looks are answered differently; what writes is the registries' own. Knows no journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from imgmake.ports import Cancel, Registry, Remote
from imgmake.references import normalise, repository, tag_of


def foreseen(registry: Registry, tags: Mapping[str, str]) -> Registry:
    """The registry as it is when each of `tags` holds its digest; empty: when there is no such tag."""
    return cast("Registry", _Foreseen(registry, {normalise(reference): digest for reference, digest in tags.items()}))


class _Foreseen:
    def __init__(self, registry: Registry, tags: Mapping[str, str]) -> None:
        self._registry = registry
        self._tags = tags

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    def resolve(self, reference: str) -> Remote | None:
        digest = self._tags.get(normalise(reference))
        if digest is None:
            return self._registry.resolve(reference)
        found = self._registry.resolve(f"{repository(reference)}@{digest}") if digest else None
        return replace(found, reference=reference) if found else None

    def digest(self, reference: str, *, cancel: Cancel | None = None) -> str | None:
        known = self._tags.get(normalise(reference))
        return self._registry.digest(reference, cancel=cancel) if known is None else known or None

    def tags(self, name: str) -> Sequence[str]:
        ours = {tag_of(ref): digest for ref, digest in self._tags.items() if repository(ref) == repository(name)}
        held = [tag for tag in self._registry.tags(name) if ours.get(tag, "there")]
        return (*held, *(tag for tag, digest in ours.items() if tag and digest and tag not in held))
