"""Targets that make, or imgmake, does not get through: whether the other one stops there as well. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from imgmake.errors import ImgmakeError, InvalidReference
from imgmake.migrate.dryrun import Command
from imgmake.migrate.model import Compared
from imgmake.migrate.needs import LACKING

BOTH = "fails in both"
_GUARD = re.compile(r"[^\s:]+:\d+: \*\*\* (.*?)\.?  Stop\.$", re.DOTALL)
_NO_RULE = re.compile(r"No rule to make target '([^']+)'")


def refused(error: ImgmakeError, out: Sequence[str]) -> str:
    """A name of an image's that make's commands hold as well, and that no engine takes."""
    named = re.search(r"'([^']+)'", error.message) if isinstance(error, InvalidReference) else None
    return f"docker refuses {named[1]}, too" if named and named[1] in "\n".join(out) else ""


def stopped(target: str, complaint: str, out: Sequence[str], ours: Sequence[Command], tool: str = "make") -> Compared:
    """A target that make does not get through: by a guard of the Makefile's, which the Pipefile has to have as well."""
    texts = tuple(each.text for each in ours)
    guard, missing = _GUARD.match(complaint), _NO_RULE.search(complaint)
    words = set(re.findall(r"\w+", (guard or missing or ("", ""))[1]))
    if words and any("exit" in text and words <= set(re.findall(r"\w+", text)) for text in texts):
        return Compared(target, "same", (f"{BOTH} when it runs: {complaint}",))
    if missing and any(LACKING in text for text in texts):  # of a pattern make tells the target, and not what it lacks
        return Compared(target, "same", (f"{BOTH} when it runs: {complaint}",))
    if guard is None:
        return Compared(target, "better" if ours else "same", (f"{tool} fails: {complaint}",), imgmake=texts)
    return Compared(target, "different", (f"{tool} stops: {guard[1]}",), tuple(filter(None, out)), texts)
