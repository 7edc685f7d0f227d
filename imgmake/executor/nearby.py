"""What a registry holds instead of a tag that is not there; reads tags alone."""

from __future__ import annotations

import difflib

from imgmake.ports import Registry
from imgmake.references import repository, tag_of

_SHOWN = 5  # tags that are named when none is like the one asked for


def nearest(registry: Registry, reference: str) -> str:
    """A hint for a reference whose tag was not found. Raises RegistryError."""
    wanted, held = tag_of(reference), registry.tags(repository(reference))
    if not held:
        return f"{repository(reference)} holds no tags"
    close = difflib.get_close_matches(wanted, held, n=3, cutoff=0.5) if wanted else []
    if close:
        return f"did you mean {' or '.join(close)}?"
    more = f", and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
    return f"it holds {', '.join(held[-_SHOWN:])}{more}"
