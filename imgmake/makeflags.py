"""MAKEFLAGS: what make tells the programs that it starts, and they their children. Reads no environment, opens nothing.

GNU make's manual: "Communicating Options to a Sub-make", "Sharing Job Slots with GNU make".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

UNLIMITED = 1024  # what `-j` without a number stands for: more than any machine runs at once
_WORD = re.compile(r"(?:\\.|\S)+", re.DOTALL)  # a backslash keeps the space after it
_JOBS = re.compile(r"(?:-j|--jobs(?:=|\Z))(\d*)")
_SERVER = re.compile(r"--jobserver-(?:auth|fds)=(.*)", re.DOTALL)


class MakeFlags(NamedTuple):
    """What MAKEFLAGS says to a program that is no make.

    letters:   options of one letter and without a value: n, k, B …
    words:     the others, as they stand.
    jobs:      of -j; None when it is not there.
    jobserver: how to reach it, ``R,W`` (descriptors) or ``fifo:PATH``; empty when there is none.
    """

    letters: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    jobs: int | None = None
    jobserver: str = ""


def read(text: str) -> MakeFlags:
    """What a value of MAKEFLAGS says. Of two jobservers the last one counts.

    >>> read("kn -j3 --jobserver-auth=3,4 -- TAG=a\\\\ b")[2:]
    (3, '3,4')
    """
    letters, words, _ = _split(text)
    jobs = [match[1] for word in words if (match := _JOBS.fullmatch(word))]
    servers = [match[1] for word in words if (match := _SERVER.fullmatch(word))]
    return MakeFlags(
        letters=frozenset(letters),
        words=frozenset(words),
        jobs=int(jobs[-1] or UNLIMITED) if jobs else None,
        jobserver=servers[-1] if servers else "",
    )


def offering(text: str, jobserver: str) -> str:
    """MAKEFLAGS for children that may share a jobserver; all else that it said stays.

    >>> offering("k -j2 -- TAG=1", "5,6")
    'k -j --jobserver-fds=5,6 --jobserver-auth=5,6 -- TAG=1'
    """
    # make before 4.2 knows the first name only, and takes a number after -j for its own jobs, beside all others.
    return _joined(text, ["-j", f"--jobserver-fds={jobserver}", f"--jobserver-auth={jobserver}"])


def alone(text: str) -> str:
    """MAKEFLAGS for children that share no jobserver: what it says of jobs is taken out.

    >>> alone("k -j3 --jobserver-auth=3,4 -- TAG=1")
    'k -- TAG=1'
    """
    return _joined(text, [])


def _joined(text: str, more: Iterable[str]) -> str:
    letters, words, rest = _split(text)
    others = [word for word in words if not _JOBS.fullmatch(word) and not _SERVER.fullmatch(word)]
    return " ".join([letters, *others, *more, *rest])


def _split(text: str) -> tuple[str, list[str], list[str]]:
    """The letters, the other options, and ``--`` with the variables after it."""
    words = _WORD.findall(text)
    end = words.index("--") if "--" in words else len(words)
    options, rest = words[:end], words[end:]
    if options and not options[0].startswith("-") and "=" not in options[0]:
        return options[0], options[1:], rest
    return "", options, rest
