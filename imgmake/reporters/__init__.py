"""Picks how a run is told: plain lines, a live terminal, or JSON lines. The only package that prints a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import BinaryIO

from imgmake.reporters.jsonl import JsonLines
from imgmake.reporters.plain import Mute, Plain, Settings
from imgmake.reporters.style import is_terminal, wants_color

__all__ = ["JsonLines", "Mute", "Plain", "Settings", "choose"]


def choose(
    out: BinaryIO,
    err: BinaryIO,
    environ: Mapping[str, str],
    settings: Settings,
    *,
    jobs: int,
    json: bool = False,
    question: bool = False,
) -> Plain | JsonLines:
    """The reporter for these streams: live only where a person looks at a terminal that can redraw.

    `settings.interactive` says that the user can answer on standard input; it holds for one job on a terminal only.
    """
    watched = is_terminal(out)
    interactive = settings.interactive and watched and jobs == 1
    settings = replace(settings, color=wants_color(out, environ), interactive=interactive)
    if json:
        return JsonLines(out, settings)
    if question:
        return Mute(out, err, settings)
    if jobs == 1 or settings.silent or not watched or environ.get("TERM", "dumb") == "dumb" or environ.get("CI"):
        return Plain(out, err, settings)
    from imgmake.reporters.live import Live

    return Live(out, err, settings)
