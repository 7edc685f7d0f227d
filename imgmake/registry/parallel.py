"""A few transfers at once: the first failure ends the others, and a stop ends all. Knows no registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from imgmake.errors import Interrupted
from imgmake.ports import Cancel

AT_ONCE = 3  # as many as docker's own max-concurrent-downloads

T = TypeVar("T")


def each(items: Iterable[T], do: Callable[[T, Cancel], object], cancel: Cancel) -> None:
    """Call `do` for each item, up to AT_ONCE at a time, with the stop that it must heed.

    Raises what the first that failed raised, or Interrupted, when all that had begun have ended.

    >>> each([3], lambda item, cancel: print(item), Cancel())
    3
    """
    waiting = list(items)
    if len(waiting) < 2:
        for item in waiting:
            do(item, cancel)
        return
    ours = Cancel()
    forget = cancel.on_stop(ours.stop)
    try:
        failed = _run(waiting, do, ours)
    finally:
        forget()
    if cancel.stopped:
        raise Interrupted("stopped")
    if failed:
        raise failed[0]


def _run(waiting: list[T], do: Callable[[T, Cancel], object], ours: Cancel) -> list[BaseException]:
    from concurrent.futures import ThreadPoolExecutor

    failed: list[BaseException] = []

    def one(item: T) -> None:
        if ours.stopped:
            return
        try:
            do(item, ours)
        except BaseException as error:  # noqa: BLE001 - raised by `each`, in the caller's thread
            # Once stopped, the others end as interrupted: only the first failure says why.
            failed.append(error)
            ours.stop()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, waiting))
    return failed
