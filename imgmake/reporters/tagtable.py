"""What `--plan` says of tags in registries: a table by repository, and what is refused. Judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from imgmake.reporters.errors import message
from imgmake.reporters.style import Paint, one_line
from imgmake.tags import PlannedTags, TagAction, TagChange

WIDE = 100  # columns; a reason that does not fit goes below its line
DIGITS = 12  # of a digest, as docker shows it
TO_BUILD, TO_SEND = "(to be built)", "(to be sent)"


class _Row(NamedTuple):
    action: TagAction
    tag: str
    before: str
    after: str
    why: str


def table(tags: Sequence[PlannedTags], refused: Sequence[BaseException], paint: Paint) -> str:
    """Every tag, under its repository and the rules that set it; then what is refused, and what to do about it."""
    groups: dict[str, list[_Row]] = {}
    targets: dict[str, dict[str, None]] = {}
    for one in tags:
        for change in one.changes:
            repository, _, tag = change.reference.rpartition(":")
            groups.setdefault(repository, []).append(_row(change, tag, one.in_registry))
            targets.setdefault(repository, {})[one.target] = None
    widths = _widths([row for rows in groups.values() for row in rows])
    lines = []
    for repository, rows in groups.items():
        setters = one_line(", ".join(targets[repository]))
        lines += ["", f"{paint.bold(one_line(repository))}{paint.dim(f'  ({setters})')}"]
        lines += [line for row in rows for line in _lines(row, widths, paint)]
    if refused:
        lines += ["", paint.red("refused: nothing would be published")]
        lines += [line for error in refused for line in message(error).splitlines()]
    return "".join(f"{line}\n" for line in lines)


def _row(change: TagChange, tag: str, in_registry: bool) -> _Row:
    after = ""
    if change.action in (TagAction.CREATE, TagAction.MOVE):
        after = (_short(change.after) if in_registry else TO_SEND) if change.after else TO_BUILD
    return _Row(change.action, one_line(tag), _short(change.before), after, one_line(change.why))


def _short(digest: str) -> str:
    """A digest as people read it."""
    return digest.rpartition(":")[2][:DIGITS]


def _widths(rows: Sequence[_Row]) -> tuple[int, int, int]:
    """Of the tags, of what they hold and of what they are to hold; an odd long one moves its own line only."""
    columns = [[row.tag for row in rows], [row.before for row in rows], [row.after for row in rows]]
    most = (40, DIGITS, len(TO_BUILD))
    found = [max((len(x) for x in c if len(x) <= m), default=0) for c, m in zip(columns, most, strict=True)]
    return found[0], found[1], found[2]


def _lines(row: _Row, widths: tuple[int, int, int], paint: Paint) -> list[str]:
    tag, before, after = widths
    start = f"{row.tag:{tag}}  {row.before:{before}}"
    if row.action is TagAction.REFUSE:  # why is told below the table, with what to do
        return [f"  {_painted(row.action, paint)}  {start}".rstrip()]
    head = f"{start}  {'->' if row.after else '  '} {row.after:{after}}" if after else start
    full = f"{head}  {row.why}"
    if len("  create  ") + len(full) <= WIDE:
        return [f"  {_painted(row.action, paint)}  {full}".rstrip()]
    return [f"  {_painted(row.action, paint)}  {head}".rstrip(), f"{'':10}{paint.dim(row.why)}"]


def _painted(action: TagAction, paint: Paint) -> str:
    text = f"{action.value:6}"
    paints = {TagAction.CREATE: paint.green, TagAction.MOVE: paint.yellow, TagAction.LEAVE: paint.dim}
    return paints.get(action, paint.red)(text)
