"""Further flags of ``docker run``, parsed into what the Docker SDK takes; pure.

The grammar is docker's own (`docker run --help`); a flag that is not known here is an error by name, so that
none is dropped in silence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from imgmake.errors import PipefileError

if TYPE_CHECKING:
    from argparse import ArgumentParser


@dataclass(frozen=True)
class Options:
    """`create`: keyword arguments of the SDK's ``containers.create``; volumes and env are as written."""

    create: dict[str, Any] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()  # SOURCE:TARGET[:ro]
    env: tuple[str, ...] = ()  # NAME=value, or NAME alone: from the user's environment
    platform: str | None = None


_FLAGS = {"privileged": "privileged", "init": "init", "read_only": "read_only"}
_LISTS = {
    "cap_add": "cap_add",
    "cap_drop": "cap_drop",
    "device": "devices",
    "dns": "dns",
    "security_opt": "security_opt",
    "group_add": "group_add",
}
_VALUES = {"memory": "mem_limit", "shm_size": "shm_size", "pid": "pid_mode", "ipc": "ipc_mode", "hostname": "hostname"}
_SHORT = {"memory": "-m", "hostname": "-h"}


def parse(options: Sequence[str]) -> Options:
    """Parse flags such as ``("--privileged", "--memory=1g", "-v", "cache:/cache")``.

    Raises PipefileError, naming the flag, for one that is unknown or has a wrong value.

    >>> parse(["--memory", "1g"]).create
    {'mem_limit': '1g'}
    """
    if not options:
        return Options()
    given = vars(_parser().parse_args(list(options)))
    create: dict[str, Any] = {}
    for names in (_FLAGS, _LISTS, _VALUES):
        create |= {sdk: given[flag] for flag, sdk in names.items() if given[flag]}
    create |= {name: value for name, value in _special(given).items() if value}
    return Options(create, tuple(given["volume"]), tuple(given["env"]), given["platform"])


def _special(given: dict[str, Any]) -> dict[str, Any]:
    return {
        "nano_cpus": _cpus(given["cpus"]),
        "ulimits": [_ulimit(text) for text in given["ulimit"]],
        "tmpfs": dict(_cut(text, ":") for text in given["tmpfs"]),
        "extra_hosts": dict(_host(text) for text in given["add_host"]),
        "labels": dict(_cut(text, "=") for text in given["label"]),
        "device_requests": _gpus(given["gpus"]),
        "platform": given["platform"],
    }


def _parser() -> ArgumentParser:
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise PipefileError(f"run: options: {message}", hint="not every flag of docker run is known here")

    parser = Parser(add_help=False, allow_abbrev=False, prog="docker run")
    for name in _FLAGS:
        parser.add_argument(_flag(name), action="store_true")
    for name in (*_LISTS, "add_host", "ulimit", "tmpfs"):
        parser.add_argument(_flag(name), action="append", default=[])
    for name in (*_VALUES, "cpus", "platform", "gpus"):
        parser.add_argument(*_short(name), _flag(name))
    for short, name in (("-v", "volume"), ("-e", "env"), ("-l", "label")):
        parser.add_argument(short, _flag(name), action="append", default=[])
    return parser


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _short(name: str) -> Iterable[str]:
    return [_SHORT[name]] if name in _SHORT else []


def _cut(text: str, by: str) -> tuple[str, str]:
    name, _, value = text.partition(by)
    return name, value


def _host(text: str) -> tuple[str, str]:
    name, value = _cut(text, ":")
    if not (name and value):
        raise PipefileError(f"run: options: --add-host {text!r} is not HOST:IP")
    return name, value


def _cpus(text: str | None) -> int | None:
    try:
        return None if text is None else int(float(text) * 1_000_000_000)
    except ValueError:
        raise PipefileError(f"run: options: --cpus {text!r} is no number") from None


def _ulimit(text: str) -> dict[str, Any]:
    name, value = _cut(text, "=")
    soft, _, hard = value.partition(":")
    try:
        return {"name": name, "soft": int(soft), "hard": int(hard or soft)}
    except ValueError:
        raise PipefileError(f"run: options: --ulimit {text!r} is not NAME=SOFT[:HARD]") from None


def _gpus(text: str | None) -> list[dict[str, Any]]:
    """``all``, a number, or ``device=0,1``; docker takes the capability "gpu" for granted."""
    if text is None:
        return []
    capabilities = [["gpu"]]
    value = json.loads(text) if text.startswith('"') else text
    if value == "all" or value.isdecimal():
        return [{"count": -1 if value == "all" else int(value), "capabilities": capabilities}]
    if value.startswith("device="):
        return [{"device_ids": value.removeprefix("device=").split(","), "capabilities": capabilities}]
    raise PipefileError(f"run: options: --gpus {text!r} is not all, a number or device=…")
