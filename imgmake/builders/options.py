"""Flags of ``docker build`` as parameters of the engine's API, for the classic builder; no I/O.

As docker/cli translates them (cli/command/image/build.go, opts/).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from imgmake.errors import BuildError

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parameters(options: Sequence[str]) -> Mapping[str, str]:
    """The query of ``POST /build`` for extra flags. Raises BuildError for a flag that has no equivalent.

    >>> parameters(["--network", "host", "--shm-size=64m"])
    {'networkmode': 'host', 'shmsize': '67108864'}
    """
    found: dict[str, str] = {}
    hosts: list[str] = []
    limits: list[dict[str, object]] = []
    for flag, value in _pairs(options):
        if flag == "--add-host":
            hosts.append(_host(value))
        elif flag == "--ulimit":
            limits.append(_ulimit(value))
        else:
            key, convert = _SINGLE[flag]
            found[key] = convert(value)
    lists = {"extrahosts": ",".join(hosts), "ulimits": json.dumps(limits) if limits else ""}
    return found | {key: text for key, text in lists.items() if text}


def _pairs(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Flags with their values, ``--flag=value`` or ``--flag value``."""
    rest = iter(options)
    for option in rest:
        flag, equals, value = option.partition("=")
        flag = _SHORT.get(flag, flag)
        if flag not in _SINGLE and flag not in ("--add-host", "--ulimit"):
            known = ", ".join(sorted([*_SINGLE, "--add-host", "--ulimit"]))
            raise BuildError(f"the classic builder takes no option {flag}", hint=f"it takes {known}")
        if not equals and (given := next(rest, None)) is None:
            raise BuildError(f"the option {flag} needs a value")
        yield flag, value if equals else str(given)


def _bytes(value: str) -> str:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", value.strip().lower())
    if match is None:
        raise BuildError(f"{value!r} is no size", hint="write it as 64m or 1g")
    return str(int(float(match[1]) * _UNITS[match[2]]))


def _number(value: str) -> str:
    if not re.fullmatch(r"-?\d+", value):
        raise BuildError(f"{value!r} is no whole number")
    return value


def _memory_or_unlimited(value: str) -> str:
    return value if value == "-1" else _bytes(value)


def _host(value: str) -> str:
    """``name:address`` or ``name=address``; the API wants the colon."""
    name, sep, address = re.sub("=", ":", value, count=1).partition(":")
    if not (name and sep and address):
        raise BuildError(f"{value!r} is no host", hint="write --add-host=name:address")
    return f"{name}:{address.strip('[]')}"


def _ulimit(value: str) -> dict[str, object]:
    match = re.fullmatch(r"(\w+)=(-?\d+)(?::(-?\d+))?", value)
    if match is None:
        raise BuildError(f"{value!r} is no limit", hint="write --ulimit=nofile=1024:2048")
    return {"Name": match[1], "Soft": int(match[2]), "Hard": int(match[3] or match[2])}


_SHORT = {"-m": "--memory", "-c": "--cpu-shares"}
_SINGLE: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "--network": ("networkmode", str),
    "--shm-size": ("shmsize", _bytes),
    "--memory": ("memory", _bytes),
    "--memory-swap": ("memswap", _memory_or_unlimited),
    "--cpu-shares": ("cpushares", _number),
    "--cpu-period": ("cpuperiod", _number),
    "--cpu-quota": ("cpuquota", _number),
    "--cpuset-cpus": ("cpusetcpus", str),
    "--cpuset-mems": ("cpusetmems", str),
    "--cgroup-parent": ("cgroupparent", str),
}
