"""Containers that serve beside another: told to be ready by their healthcheck, else by an exposed port."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import docker.errors

from imgmake.engine.scope import Scope
from imgmake.errors import CommandFailed
from imgmake.ports import ContainerSpec, Output

PATIENCE = 60.0  # seconds until a port must listen
SETTLING = 0.3  # seconds in which a service that nothing tells ready may fail: most that cannot start do so at once
_HEALTH_SECONDS = 600.0  # a healthcheck ends by itself; this is for one that never does
_POLL = 0.1  # seconds
_TAIL = 100  # lines of a log
_SECOND = 1_000_000_000  # in the engine's nanoseconds
_LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp


def each(specs: Mapping[str, ContainerSpec]) -> Iterator[tuple[str, ContainerSpec]]:
    """Services in the order of their start: those that a service needs itself come before it."""
    for name, spec in specs.items():
        yield from each(spec.services)
        yield name, spec


def health(image: Mapping[str, Any]) -> dict[str, Any] | None:
    """The image's healthcheck, asked each second but no less patiently; None when it has none.

    The engine asks for the first time after one interval, which is half a minute by default. What is zero or
    absent is taken from the image (https://docs.docker.com/reference/api/engine/, HealthConfig).
    """
    found = (image.get("Config") or {}).get("Healthcheck") or {}
    if not found.get("Test") or found["Test"] == ["NONE"]:
        return None
    patience = (found.get("Interval") or 30 * _SECOND) * (found.get("Retries") or 3)
    return {"interval": _SECOND, "retries": max(1, patience // _SECOND)}


def wait(scope: Scope, name: str, container: Any) -> None:
    """Wait until a started service is ready; CommandFailed when it ends, is unhealthy, or takes too long.

    One with neither healthcheck nor exposed port is ready unless it fails at once; it may also have done its work.
    """
    container.reload()
    healthy = "Health" in container.attrs["State"]
    ports = sorted(_tcp_ports(container))
    if not healthy and not ports:
        _settle(scope, name, container)
        return
    patience = _HEALTH_SECONDS if healthy else PATIENCE
    end = time.monotonic() + patience
    while not _ready(name, container, ports, healthy=healthy):
        if time.monotonic() > end:
            what = "is not healthy" if healthy else f"does not listen on {' or '.join(map(str, ports))}"
            raise CommandFailed(f"the service {name!r} {what} after {patience:.0f} s")
        if scope.cancel.wait(_POLL):
            scope.go_on()
        container.reload()


def _settle(scope: Scope, name: str, container: Any) -> None:
    end = time.monotonic() + SETTLING
    while container.attrs["State"]["Running"] and time.monotonic() < end:
        if scope.cancel.wait(_POLL):
            scope.go_on()
        container.reload()
    state = container.attrs["State"]
    if not state["Running"] and state["ExitCode"]:
        raise CommandFailed(f"the service {name!r} {_end_of(state)}")


def ended(name: str, container: Any) -> tuple[str, int]:
    """What to say of a service that ended beside a command, and its exit code; ``("", 0)`` while it runs."""
    try:
        container.reload()
    except docker.errors.NotFound:
        return "", 0
    state = container.attrs["State"]
    if state["Running"]:
        return "", 0
    return f"the service {name!r} {_end_of(state)} before the command did", state["ExitCode"]


def _end_of(state: Mapping[str, Any]) -> str:
    return f"ended with exit code {state['ExitCode']}{' (out of memory)' if state.get('OOMKilled') else ''}"


def show_logs(name: str, container: Any, output: Output) -> None:
    """The end of a service's log, each line with its name."""
    log: bytes = container.logs(tail=_TAIL)
    for line in log.splitlines():
        output.write(f"{name} | ".encode() + line + b"\n")


def _ready(name: str, container: Any, ports: list[int], *, healthy: bool) -> bool:
    state = container.attrs["State"]
    if not state["Running"]:
        raise CommandFailed(f"the service {name!r} {_end_of(state)}")
    if healthy:
        if state["Health"]["Status"] == "unhealthy":
            raise CommandFailed(f"the service {name!r} is unhealthy{_last_check(state)}")
        return bool(state["Health"]["Status"] == "healthy")
    return _listens(container, ports)


def _last_check(state: Mapping[str, Any]) -> str:
    said = [check["Output"].strip() for check in state["Health"].get("Log") or ()]
    return f": {said[-1]}" if said and said[-1] else ""


def _tcp_ports(container: Any) -> set[int]:
    exposed = container.attrs["Config"].get("ExposedPorts") or {}
    return {int(port.partition("/")[0]) for port in exposed if not port.endswith(("/udp", "/sctp"))}


def _listens(container: Any, ports: list[int]) -> bool:
    """Whether something in the container listens on one of the ports.

    A connection tells, where the engine's networks can be reached from here; else (an engine in a virtual
    machine, or elsewhere) what the container's own kernel says.
    """
    addresses = [net["IPAddress"] for net in container.attrs["NetworkSettings"]["Networks"].values()]
    reached = False
    for address in filter(None, addresses):
        for port in ports:
            try:
                socket.create_connection((address, port), timeout=0.5).close()
            except ConnectionRefusedError:
                reached = True
            except OSError:
                continue
            else:
                return True
    return False if reached else bool(listening(_sockets(container)) & set(ports))


def _sockets(container: Any) -> str:
    try:
        code, said = container.exec_run(["cat", "/proc/net/tcp", "/proc/net/tcp6"])
    except docker.errors.APIError:
        return ""
    return said.decode("ascii", "replace") if code in (0, 1) else ""


def listening(sockets: str) -> set[int]:
    """The ports that listen, by the text of /proc/net/tcp and tcp6 (proc(5)), but for those of the loopback alone.

    >>> listening("   0: 00000000:1F90 00000000:0000 0A 00000000:00000000")
    {8080}
    """
    found = set()
    for line in sockets.splitlines():
        parts = line.split()
        if len(parts) > 3 and parts[3] == _LISTENING:
            address, _, port = parts[1].partition(":")
            if not address.endswith("7F") and address != "00000000000000000000000001000000":
                found.add(int(port, 16))
    return found
