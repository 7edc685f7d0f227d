"""Whether what was shown of an image is enough: `requires=[…]` against the results that a registry holds; pure."""

from __future__ import annotations

from collections.abc import Iterable

from imgmake.attest.results import Grade, Result
from imgmake.freshness import duration

SCAN_AGE = 86400.0  # seconds: what is known of vulnerabilities changes daily
SKEW = 60.0  # seconds by which another machine's clock may be ahead


def lacking(check: str, results: Iterable[Result], *, max_age: float | None, now: float) -> str:
    """What is missing of one required check, as a line; empty when its newest result passed and is fresh enough.

    results:  those about the digest in question, in any order.
    max_age:  in seconds; None: a scan counts for a day, all else for ever.

    >>> lacking("scan", [], max_age=None, now=0.0)
    'scan: no result'
    """
    found = [result for result in results if result.check == check]
    past = sorted((r for r in found if r.time <= now + SKEW), key=lambda result: result.time, reverse=True)
    if not past:
        return f"{check}: {'its only result is from the future' if found else 'no result'}"
    newest = past[0]
    if newest.grade is Grade.UNKNOWN:
        return f"{check}: unknown{_why(newest)}; {_last_good(past, now)}"
    if newest.grade is not Grade.PASSED:
        return f"{check}: it failed {_ago(newest, now)}"
    most = SCAN_AGE if max_age is None and newest.scan else max_age
    if most is not None and now - newest.time > most:
        return f"{check}: the last result is {duration(now - newest.time)} old (max {duration(most)})"
    return ""


def _why(result: Result) -> str:
    said = next((summary for _, _, summary in result.tools if summary), "")
    return f" ({said})" if said else ""


def _last_good(past: Iterable[Result], now: float) -> str:
    good = next((result for result in past if result.grade is Grade.PASSED), None)
    return f"last good result {_ago(good, now)}" if good else "no good result"


def _ago(result: Result, now: float) -> str:
    return f"{duration(max(0.0, now - result.time))} ago"
