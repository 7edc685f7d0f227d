"""Where variables stand in what bake printed: its answer to other values of them, laid beside the plain one. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from imgmake.migrate.python import Part, Parts, merged, today


class Shown:
    """The texts of one target, with the variables that show in the answer to other values of them."""

    def __init__(self, plain: Mapping[str, Any], probed: Mapping[str, Any] | None, marks: Mapping[str, Part]) -> None:
        self._marks = marks
        self._probed = probed or {}
        self.fixed: list[str] = []
        self._spelt: dict[str, Parts] = {}
        for key, value in plain.items():
            other = self._probed.get(key, value)
            for name, each in value.items() if isinstance(value, Mapping) else ():
                self._one(name, each, other.get(name))
            if isinstance(value, str):
                self._one(key, value, other)

    def _one(self, key: str, plain: Any, probed: Any) -> None:
        parts = self._parts(text_of(probed))
        if today(parts) == text_of(plain):
            self._spelt[text_of(plain)] = parts
        else:
            self.fixed.append(key)

    def texts(self, key: str, plain: Sequence[str]) -> list[Parts]:
        """A list, or one text. bake sorts some lists, and drops what comes to the same: what it drops not counts."""
        if not isinstance(self._probed.get(key), list):
            return [self._spelt.get(each, [Part(each)]) for each in plain]
        found = [self._parts(text_of(each)) for each in self._probed[key]]
        same = [parts for parts in found if today(parts) in plain]
        rest = [each for each in plain if each not in {today(parts) for parts in same}]
        if rest or len(same) < len(found):
            self.fixed.append(key)
        return [*same, *([Part(each)] for each in rest)]

    def _parts(self, text: str) -> list[Part]:
        pattern = "|".join(map(re.escape, self._marks)) or r"(?!)"
        found, at = list[Part](), 0
        for match in re.finditer(pattern, text):
            found += [Part(text[at : match.start()]), self._marks[match[0]]]
            at = match.end()
        return merged([*found, Part(text[at:])])


def text_of(value: Any) -> str:
    """A value as bake takes it: newer ones print some of them as objects."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={each}" for key, each in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)
