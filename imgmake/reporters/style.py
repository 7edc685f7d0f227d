"""How things are spelt and coloured: durations, counts, reasons, one-line text. Knows no stream and no event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from imgmake.model import Reason

MINUTE, HOUR = 60, 3600


@dataclass(frozen=True)
class Paint:
    """Terminal colours, or none at all.

    >>> Paint(False).bold("app")
    'app'
    """

    on: bool = False

    def _sgr(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and text else text

    def bold(self, text: str) -> str:
        return self._sgr("1", text)

    def dim(self, text: str) -> str:
        return self._sgr("2", text)

    def red(self, text: str) -> str:
        return self._sgr("1;31", text)

    def green(self, text: str) -> str:
        return self._sgr("32", text)

    def yellow(self, text: str) -> str:
        return self._sgr("33", text)


def is_terminal(stream: BinaryIO) -> bool:
    """Whether a person looks at the stream; a closed one is no terminal."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def wants_color(stream: BinaryIO, environ: Mapping[str, str]) -> bool:
    """Colour on terminals only; NO_COLOR and FORCE_COLOR (no-color.org, force-color.org) say otherwise."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "") not in ("", "0"):
        return True
    return is_terminal(stream) and environ.get("TERM") != "dumb"


def duration(seconds: float) -> str:
    """A duration as people say it.

    >>> [duration(s) for s in (0.04, 3.25, 75, 3720)]
    ['0.0 s', '3.2 s', '1 min 15 s', '1 h 02 min']
    """
    whole = round(seconds)
    if seconds < MINUTE - 0.05:
        return f"{seconds:.1f} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE:02} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE:02} min"


def plural(count: int, one: str) -> str:
    """``1 target``, ``2 targets``."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


def one_line(text: str) -> str:
    r"""Text that cannot break a line or steer a terminal: control characters are shown escaped.

    >>> one_line("a\nb\x1b[2J")
    'a\\nb\\x1b[2J'
    """
    return "".join(char if char.isprintable() or "\udc80" <= char <= "\udcff" else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def because(target: str, reasons: Iterable[Reason]) -> str:
    """The reasons in a few words: ``src/App.java changed, and 2 more``; empty when there is nothing to explain.

    What the target is itself needs not be named beside its name: ``app.jar is missing`` is ``missing``.
    """
    told = [one_line(reason.text.removeprefix(f"{target} is ")) for reason in reasons if reason.code != "phony"]
    if not told:
        return ""
    return told[0] if len(told) == 1 else f"{told[0]}, and {len(told) - 1} more"


def encode(text: str) -> bytes:
    """Bytes of a line; what was never UTF-8 (a file's name) comes out as it was."""
    return text.encode("utf-8", "surrogateescape")
