"""Names for values that have none in the Makefile. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection


def new_name(source: str, taken: Collection[str]) -> str:
    """A name for an expression that no f-string takes, after the first that it mentions."""
    words = re.findall(r"[A-Za-z]\w*", re.sub(r"[rf]*\"[^\"]*\"|'[^']*'", "", source))
    name = words[0].lower() if words else "value"
    while name in taken or name in ("in", "out", "shell", "cwd", "tty"):
        name += "_"
    return name
