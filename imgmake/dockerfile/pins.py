"""A Dockerfile's text with other names for the images that it uses; nothing else of it changes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from imgmake.dockerfile.model import Analysis, ImageUse
from imgmake.dockerfile.parser import Instruction, parse


def pin(text: str, analysis: Analysis, pins: Mapping[str, str]) -> str:
    """Put ``pins[reference]`` where the Dockerfile names the image `reference`; lines keep their numbers.

    Only names of the needed stages are replaced, as only those were resolved. What ONBUILD triggers of a
    base name cannot be replaced.

    >>> from imgmake.dockerfile import analyse
    >>> text = "ARG V=12\\nFROM debian:$V AS a\\nFROM a"
    >>> found = analyse(parse(text, "f"), stage=None, family="buildkit", args={}, platform="linux/amd64")
    >>> pin(text, found, {"debian:12": "pinned:1"}).splitlines()[1]
    'FROM pinned:1 AS a'
    """
    lines = text.split("\n")
    file = parse(text, "Dockerfile")
    ones = {one.line: one for stage in file.stages for one in (stage.start, *stage.instructions)}
    for use in analysis.images:
        if use.pinnable and use.reference in pins and use.line in ones:
            _replace(lines, ones[use.line], use, pins[use.reference])
    return "\n".join(lines)


def _replace(lines: list[str], one: Instruction, use: ImageUse, pinned: str) -> None:
    if use.instruction == "FROM":
        words = " ".join((pinned, *one.words[1:]))
        # One line in the place of all: a FROM may be continued over several, with comments between them.
        lines[one.line - 1 : one.end] = [" ".join(("FROM", *one.flags, words)), *[""] * (one.end - one.line)]
        return
    before = re.escape("--from=" if use.instruction == "COPY --from" else "from=")
    name = re.compile(rf"({before}){re.escape(use.reference)}(?=[\s,\"]|$)")
    for i in range(one.line - 1, one.end):
        lines[i] = name.sub(lambda match: match[1] + pinned, lines[i])
