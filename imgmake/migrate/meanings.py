"""Which variables stand for metadata: what their definitions ask git and the clock. Starts nothing."""

from __future__ import annotations

from collections.abc import Sequence

from imgmake.migrate import metadata
from imgmake.migrate.definitions import Known
from imgmake.migrate.expand import Call, Text, Use, pieces
from imgmake.migrate.model import Assign, Cond


class Meanings:
    """The part of `Values` that recognises metadata; `known` is the rest's."""

    definitions: dict[str, list[tuple[Assign, tuple[Cond, ...]]]]
    _busy: list[str]

    def known(self, name: str) -> Known:
        raise NotImplementedError

    def metadata_of(self, found: Sequence[tuple[Assign, tuple[Cond, ...]]]) -> str:
        if len(found) > 1 or found[0][0].op not in ("=", ":=", "::=", "?=", "!="):
            return ""
        each = found[0][0]
        text = f"$(shell {each.value})" if each.op == "!=" else each.value
        meant = self.metadata_in(text)
        # Under one of imgmake's own names every spelling of a time is that name.
        return each.name if meant == "BUILD_DATE" and each.name == "BUILD_TIME_RFC_3339" else meant

    def metadata_in(self, text: str) -> str:
        """The metadata that a text stands for; empty when it is none."""
        found = list(pieces(text.strip()))
        if len(found) == 1 and isinstance(found[0], Use):
            return self._metadata_named(found[0].name)
        if len(found) == 1 and isinstance(found[0], Call) and found[0].function == "shell":
            return metadata.of_command(found[0].arguments, self._is_epoch)
        if len(found) == 3 and isinstance(found[1], Text) and found[1].text == "-":
            time, short = found[0], found[2]
            meant = self.metadata_in(getattr(time, "raw", ""))
            return "BUILD_ID" if meant == "BUILD_TIME_UTC" and self._is_short(getattr(short, "raw", "")) else ""
        return ""

    def _metadata_named(self, name: str) -> str:
        if name in self._busy or name not in self.definitions:
            return ""
        known = self.known(name)
        return known.python if known.kind == "metadata" else ""

    def _is_epoch(self, reference: str) -> bool:
        return self.metadata_in(reference) == "BUILD_TIME_EPOCH"

    def _is_short(self, reference: str) -> bool:
        found = list(pieces(reference))
        if len(found) == 1 and isinstance(found[0], Use):
            return any(self._is_short(each.value) for each, _ in self.definitions.get(found[0].name, []))
        plain = " ".join(found[0].arguments.split()) if found and isinstance(found[0], Call) else ""
        return bool(metadata.SHORT.fullmatch(plain))
