"""What `--plan` says of tags in registries: a table by repository, and what is refused. Judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from imgmake.reporters.errors import message
from imgmake.reporters.style import Paint, one_line
from imgmake.tags import TagAction, TagChange

WIDE = 100  # columns; a reason that does not fit goes below its line
DIGITS = 12  # of a digest, as docker shows it
TO_BUILD = "(to be built)"

Tags = Sequence[tuple[str, Sequence[TagChange]]]
"""The changes of each publish rule."""


class _Row(NamedTuple):
    action: TagAction
    tag: str
    before: str
    after: str
    why: str


def table(tags: Tags, refused: Sequence[BaseException], paint: Paint) -> str:
    """Every tag, under its repository and the rule that sets it; then what is refused, and what to do about it."""
    groups: dict[tuple[str, str], list[_Row]] = {}
    for target, changes in tags:
        for change in changes:
            repository, _, tag = change.reference.rpartition(":")
            groups.setdefault((repository, target), []).append(_row(change, tag))
    widths = _widths([row for rows in groups.values() for row in rows])
    lines = []
    for (repository, target), rows in groups.items():
        lines += ["", f"{paint.bold(one_line(repository))}{paint.dim(f'  ({one_line(target)})')}"]
        lines += [line for row in rows for line in _lines(row, widths, paint)]
    if refused:
        lines += ["", paint.red("refused: nothing would be published")]
        lines += [line for error in refused for line in message(error).splitlines()]
    return "".join(f"{line}\n" for line in lines)


def _row(change: TagChange, tag: str) -> _Row:
    writes = change.action in (TagAction.CREATE, TagAction.MOVE)
    after = (_short(change.after) or TO_BUILD) if writes else ""
    return _Row(change.action, one_line(tag), _short(change.before), after, one_line(change.why))


def _short(digests: str) -> str:
    """A digest as people read it; of several images, which will be one index, each."""
    return " ".join(digest.rpartition(":")[2][:DIGITS] for digest in digests.split())


def _widths(rows: Sequence[_Row]) -> tuple[int, int, int]:
    """Of the tags, of what they hold and of what they are to hold; an odd long one moves its own line only."""
    columns = [[row.tag for row in rows], [row.before for row in rows], [row.after for row in rows]]
    most = (40, DIGITS, len(TO_BUILD))
    found = [max((len(x) for x in c if len(x) <= m), default=0) for c, m in zip(columns, most, strict=True)]
    return found[0], found[1], found[2]


def _lines(row: _Row, widths: tuple[int, int, int], paint: Paint) -> list[str]:
    tag, before, after = widths
    arrow = "->" if row.after else "  "
    head = f"{row.tag:{tag}}  {row.before:{before}}  {arrow} {row.after:{after}}".rstrip()
    full = f"{row.tag:{tag}}  {row.before:{before}}  {arrow} {row.after:{after}}  {row.why}"
    action = _painted(row.action, paint)
    if len("  create  ") + len(full) <= WIDE:
        return [f"  {action}  {full}".rstrip()]
    return [f"  {action}  {head}", f"{'':10}{paint.dim(row.why)}"]


def _painted(action: TagAction, paint: Paint) -> str:
    text = f"{action.value:6}"
    paints = {TagAction.CREATE: paint.green, TagAction.MOVE: paint.yellow, TagAction.LEAVE: paint.dim}
    return paints.get(action, paint.red)(text)
