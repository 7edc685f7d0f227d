"""The list of what counts for a target, read as a digest and as an explanation; no I/O.

A list of `Field`s is made once by whoever judges. `digest` hashes it, every part length-prefixed, so
that no two lists share a digest by shifting a boundary; `differences` names what changed between two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from imgmake.model import Field, Reason

SCHEMA = "imgmake 1"
_SHOWN = 60  # characters of an old or new value in a reason


def digest(fields: Iterable[Field]) -> str:
    """The SHA-256 of the fields in their order, as 64 hexadecimal digits.

    >>> digest([Field("file", "ab", "c")]) == digest([Field("file", "a", "bc")])
    False
    """
    hasher = hashlib.sha256()
    for part in (SCHEMA, *(part for field in fields for part in field)):
        data = part.encode("utf-8", "surrogateescape")
        hasher.update(b"%d:" % len(data))
        hasher.update(data)
    return hasher.hexdigest()


def differences(old: Sequence[Field], new: Sequence[Field]) -> tuple[Reason, ...]:
    """Every field that is new, gone or changed, as reasons; empty when the lists are equal.

    >>> differences([Field("file", "a", "1")], [Field("file", "a", "2")])[0].text
    'a changed'
    """
    before = {(f.kind, f.name): f.value for f in old}
    after = {(f.kind, f.name): f.value for f in new}
    reasons = [_reason(key, before.get(key), value) for key, value in after.items() if before.get(key) != value]
    reasons += [_reason(key, value, None) for key, value in before.items() if key not in after]
    if not reasons and [*old] != [*new]:
        reasons.append(Reason("the order of its inputs changed"))
    return tuple(reasons)


def _reason(key: tuple[str, str], old: str | None, new: str | None) -> Reason:
    kind, name = key
    what = _name(kind, name)
    if old is None:
        return Reason(f"{what} is new")
    if new is None:
        return Reason(f"{what} is gone")
    if kind in _SPELT:
        return Reason(f"{what} changed: {_short(old)} -> {_short(new)}")
    return Reason(f"{what} changed")


_SPELT = {"variable", "argument", "platform", "builder", "tool", "stage", "label", "mode", "base"}
_WORDS = {"file": "", "folder": "", "command": "the recipe", "instruction": "the Dockerfile:", "image": "image"}


def _name(kind: str, name: str) -> str:
    word = _WORDS.get(kind, kind)
    return " ".join(part for part in (word, name) if part) or kind


def _short(value: str) -> str:
    shown = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
    return repr(shown) if not shown or any(c.isspace() for c in shown) else shown
