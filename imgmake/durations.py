"""Ages as people write them, in seconds; pure, and knows nothing else of imgmake."""

from __future__ import annotations

import math
import re

from imgmake.errors import PipefileError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", re.ASCII)
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?\s*[smhdw]\s*)+|\d+(?:\.\d+)?", re.ASCII)


def seconds(age: str | float, what: str = "max_age") -> float:
    """The length of ``"1d"``, ``"12h"``, ``"1h 30m"``, ``"45s"``, ``"1w"`` or a plain number, in seconds.

    Raises PipefileError, naming the argument `what`, when it is nothing of the kind, negative or not finite.

    >>> seconds("1h 30m")
    5400.0
    """
    if isinstance(age, bool) or not isinstance(age, str | int | float):
        raise _wrong(age, what)
    if isinstance(age, str):
        text = age.strip().lower()
        if not _WHOLE.fullmatch(text):
            raise _wrong(age, what)
        return math.fsum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if not (math.isfinite(age) and age >= 0):
        raise _wrong(age, what)
    return float(age)


def _wrong(age: object, what: str) -> PipefileError:
    return PipefileError(f"{what}={age!r} is no length of time", hint="write 45s, 30m, 12h, 1d, or a number of seconds")
