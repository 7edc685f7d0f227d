"""Names for values that have none in the Makefile. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from keyword import iskeyword


def new_name(source: str, taken: Collection[str]) -> str:
    """A name for an expression that no f-string takes, after the first that it mentions."""
    words = re.findall(r"[A-Za-z]\w*", re.sub(r"[rf]*\"[^\"]*\"|'[^']*'", "", source))
    name = next((word.lower() for word in words if not iskeyword(word)), "value")
    while name in taken or iskeyword(name) or name in ("in", "out", "shell", "cwd", "tty"):
        name += "_"
    return name
