"""Metadata of a build: names, the BUILD_ID and its choice, and dates; pure, knows no clock, git or engine.

Every time is UTC on a 24-hour clock, in seconds since the epoch.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from imgmake.errors import Refused, UsageError
from imgmake.variables import LATE

NAMES: Final = LATE  # that differ from build to build; ARCH and PLATFORM are known at load
CLOCK: Final = frozenset({"BUILD_ID", "BUILD_DATE", "BUILD_TIME_EPOCH", "BUILD_TIME_RFC_3339", "BUILD_TIME_UTC"})

_BUILD_ID = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{2})([0-9]{2})([0-9]{2})-[0-9A-Za-z]+(?:-dirty)?")
_WITHIN = re.compile(r"(?<![0-9A-Za-z])[0-9]{8}-[0-9]{6}-(?:[0-9a-f]{4,64}|unknown)(?![0-9A-Za-z])")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # OCI distribution spec, "Pulling manifests": <reference>
_TRIES = 86_400  # a day of seconds


def build_id(now: float, short: str, dirty: bool) -> str:
    """The BUILD_ID of a build at `now` from the commit that git abbreviates as `short`; without git ``unknown``.

    >>> build_id(1562106979, "ade3d65", dirty=False)
    '20190702-223619-ade3d65'
    """
    return f"{_stamp(now)}-{short or 'unknown'}" + ("-dirty" if dirty else "")


def timestamp_of(build_id: str) -> float | None:
    """The time in a computed BUILD_ID, in seconds; None for one that was given otherwise.

    >>> timestamp_of("20190702-223619-ade3d65"), timestamp_of("release-7")
    (1562106979.0, None)
    """
    parts = _BUILD_ID.fullmatch(build_id)
    if parts is None:
        return None
    year, month, day, hour, minute, second = map(int, parts.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def bears_build_id(tag: str) -> bool:
    """Whether a tag spells a computed BUILD_ID, alone or with more around it.

    >>> bears_build_id("20190702-223619-ade3d65-debug"), bears_build_id("20190702"), bears_build_id("stable")
    (True, False, False)
    """
    return any(timestamp_of(found[0]) is not None for found in _WITHIN.finditer(tag))


def is_dirty(build_id: str) -> bool:
    """Whether a BUILD_ID says that its tree was not that of its commit."""
    return build_id.endswith("-dirty")


def newest(build_ids: Mapping[str, float | None]) -> str | None:
    """The newest of BUILD_IDs with the time each was given (None: the time in its text); None when there is none.

    Equal times are settled by the text, so that the answer does not depend on the mapping's order.

    >>> newest({"20190702-223619-ade3d65": None, "old": 1.0})
    '20190702-223619-ade3d65'
    """
    return max(build_ids, key=lambda name: _age(name, build_ids[name]), default=None)


def shared(images: Sequence[Mapping[str, float]]) -> str | None:
    """The newest BUILD_ID that all images share, or when none is shared the newest that any has.

    Each image is its BUILD_IDs with the time each was given.

    >>> shared([{"a": 1, "b": 2}, {"a": 1, "c": 3}]), shared([{"a": 1}, {"b": 2}]), shared([])
    ('a', 'b', None)
    """
    times: dict[str, float | None] = {}
    for image in images:
        for name, given in image.items():
            before = times.get(name)
            times[name] = given if before is None else max(before, given)
    common = set(times).intersection(*images) if images else set()
    return newest({name: times[name] for name in common or times})


def unused(now: float, short: str, dirty: bool, in_use: Callable[[str], bool]) -> str:
    """A new BUILD_ID that is not in use: two builds in one second are told apart by moving on to the next.

    Raises Refused when all of the next day are in use.
    """
    for later in range(_TRIES):
        if not in_use(name := build_id(now + later, short, dirty)):
            return name
    raise Refused(
        f"every BUILD_ID from {build_id(now, short, dirty)} on is in use for a day",
        hint="set the clock right, or give one: BUILD_ID=…",
    )


def check_build_id(text: str) -> str:
    """A given BUILD_ID, as it is. Raises UsageError for one that could not stand in a tag."""
    if _TAG.fullmatch(text):
        return text
    if not text:
        raise UsageError("BUILD_ID is empty", hint="leave it out to have one made, or give one: BUILD_ID=…")
    legal = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:128]
    raise UsageError(
        f"BUILD_ID {text[:200]!r} cannot be part of a tag: letters, digits, '_', '.' and '-', 128 at most, "
        "not '.' or '-' first",
        hint=f"did you mean {legal!r}?" if legal else "",
    )


def rfc_3339(now: float) -> str:
    """A time as RFC 3339 says it, in whole seconds.

    >>> rfc_3339(1562106979)
    '2019-07-02T22:36:19Z'
    """
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))


def clock_values(now: Callable[[], float]) -> Mapping[str, Callable[[], str]]:
    """BUILD_DATE and BUILD_TIME_*, each a function of one and the same moment: `now` is asked once, at the first."""
    asked: list[float] = []

    def moment() -> float:
        if not asked:
            asked.append(now())
        return asked[0]

    return {
        "BUILD_DATE": lambda: rfc_3339(moment()),
        "BUILD_TIME_EPOCH": lambda: str(int(moment())),
        "BUILD_TIME_RFC_3339": lambda: rfc_3339(moment()),
        "BUILD_TIME_UTC": lambda: _stamp(moment()),
    }


_LATEST = 0o77777777777  # what a header of a tar has room for: the year 2242


def source_date(environ: Mapping[str, str]) -> float | None:
    """SOURCE_DATE_EPOCH in seconds, when given (reproducible-builds.org). Raises UsageError when it is no number.

    >>> source_date({"SOURCE_DATE_EPOCH": "1562106979"})
    1562106979.0
    """
    text = environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}, not a number of seconds", hint="see `date +%s`")
    if int(text) > _LATEST:
        raise UsageError(f"SOURCE_DATE_EPOCH is {text}, later than a layer can say", hint="see `date +%s`: seconds")
    return float(text)


def _stamp(now: float) -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))


def _age(name: str, given: float | None) -> tuple[float, float, str]:
    written = timestamp_of(name) or 0.0
    return (written if given is None else given, written, name)
