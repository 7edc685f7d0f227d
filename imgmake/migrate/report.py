"""What a migration has to tell, as text: defects, what is left to do, each target in both worlds."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from imgmake.migrate.model import Compared, Finding, Left

_WIDTH = 110


def report(  # noqa: PLR0913 (it tells of all that a migration came to)
    makefile: str,
    written: str,
    findings: Sequence[Finding],
    notes: Sequence[Left],
    left: Sequence[Left],
    compared: Sequence[Compared],
    *,
    isolated: bool,
    asked: tuple[str, str] | None = None,
    mended: Sequence[tuple[str, int, str]] = (),
) -> str:
    """The whole report, calm and in order: defects, proof, what is left.

    asked:  another tool than make, and how.
    mended: what it could not read, and was therefore spared: each file, line and why.
    """
    network = "without a network" if isolated else "with the network, which this system does not let us take away"
    lines = [f"{written} is written from {makefile}"] if written else []
    how = f"make ran in a copy of the folder, {network}: it runs each $(shell …) when it reads the Makefile"
    tool, how = asked or ("make", how)
    lines += [how]
    lines += _section(
        f"{tool} cannot read {makefile} as it stands: a part is taken as if it were not there", _mended(mended)
    )
    lines += _section(f"Defects of {makefile}", _findings(makefile, findings))
    lines += _section(f"Target by target, in {tool}'s dry run and in imgmake's", _targets(compared, tool))
    lines += _section("To be decided by a person", _left(makefile, notes, left))
    lines += ["", _sum(compared)] if compared else []
    return "\n".join([*lines, ""])


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return ["", title, *found] if found else []


def _mended(mended: Sequence[tuple[str, int, str]]) -> Iterator[str]:
    for file, line, why in mended:
        yield f"  {file}{f':{line}' if line else ''}: {why}"


def _findings(makefile: str, findings: Sequence[Finding]) -> Iterator[str]:
    for each in findings:
        yield f"  {makefile}:{each.line}: {each.what}"
        yield f"      so: {each.consequence}"
        yield f"      now: {each.instead}"


def _targets(compared: Sequence[Compared], tool: str) -> Iterator[str]:
    width = max((len(each.target) for each in compared), default=0)
    for each in compared:
        verdict = {"same": "same", "better": "same but better", "different": "different"}[each.verdict]
        yield f"  {each.target:<{width}}  {verdict}{': ' if each.why else ''}{'; '.join(each.why)}".rstrip()
        if each.verdict == "different":
            both = () if each.said else ("(nothing)",)
            yield from _texts(tool, each.make or both)
            yield from _texts("imgmake", each.imgmake or both) if not each.said else ()


def _texts(whose: str, commands: Sequence[str]) -> Iterator[str]:
    for command in commands:
        yield textwrap.indent(f"{whose + ':':<8} {command}", " " * 6)


def _left(makefile: str, notes: Sequence[Left], left: Sequence[Left]) -> Iterator[str]:
    for each in sorted({*notes, *left}, key=lambda one: (one.line, one.why)):
        text = " ".join(each.text.split())
        shown = f"{text}: " if text else ""
        target = f" ({each.target} fails with this message)" if each in left else ""
        yield f"  {makefile}:{each.line}: {shown[:_WIDTH]}{each.why}{target}"


def _sum(compared: Sequence[Compared]) -> str:
    same, better = (sum(each.verdict == verdict for each in compared) for verdict in ("same", "better"))
    said = sum(each.verdict == "different" and each.said for each in compared)
    other = len(compared) - same - better - said
    numbers = f"{same} same, {better} same but better, {other + said} different"
    return f"{len(compared)} compared: {numbers}" + (f", {said} of them said above" if said else "")
