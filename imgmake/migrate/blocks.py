"""Conditions in a Pipefile that ask the same, one after the other, as one. Pure: lines in, lines out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from imgmake.migrate.python import names_in

Block = list[tuple[str, list[str]]]  # each head, ``if A:`` or ``else:``, and the lines below it


def joined(lines: Sequence[str], more: Sequence[str]) -> list[str]:
    """Lines and those that follow; an ``if`` that asks what the one right before it asked goes into that.

    >>> joined(["if A:", "    b = 1"], ["if A:", "    c = 2", "else:", "    c = 3"])
    ['if A:', '    b = 1', '    c = 2', 'else:', '    c = 3']
    """
    start = next((at for at in range(len(lines) - 1, -1, -1) if lines[at].startswith("if ")), len(lines))
    before, after = _block(lines[start:]), _block(more)
    if not before or not after or not _same(before, after):
        return [*lines, *more]
    bodies = dict(after)
    found = [*lines[:start]]
    for head, body in before:
        found += [head, *body, *bodies.pop(head, [])]
    for head, body in bodies.items():
        found += [head, *body]
    return found


def _block(lines: Sequence[str]) -> Block:
    """An ``if`` with its branches; nothing where that is not all that the lines are."""
    found: Block = []
    for line in lines:
        if re.match(r"(if|elif) .*:$|else:$", line) and bool(found) is not line.startswith("if "):
            found.append((line, []))
        elif found and line.startswith("    "):
            found[-1][1].append(line)
        else:
            return []
    return found


def _same(before: Block, after: Block) -> bool:
    """Whether both ask the same questions, and no answer changes what is asked."""
    questions = [[head for head, _ in block if head != "else:"] for block in (before, after)]
    asked = names_in([re.sub(r"^(?:el)?if (.*):$", r"\1", head) for head in questions[0]])
    set_there = {match[1] for block in (before, after) for _, body in block for line in body
                 if (match := re.match(r"\s+(\w+) = ", line))}  # fmt: skip
    return questions[0] == questions[1] and not asked & set_there
