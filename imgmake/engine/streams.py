"""A container's output as it comes, from before its start to its end; and the user's terminal, lent to it."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import Any

import docker.errors
from docker.utils.socket import STDERR, frames_iter

_CHUNK = 32768  # bytes
_RESIZE_SECONDS = 0.3  # a signal would reach the main thread only, and this may be another

Sink = Callable[[bytes], object]


def to_end(container: Any, start: Callable[[], None], out: Sink, err: Sink) -> int:
    """Attach, start, hand on stdout and stderr until the container ends; return its exit code."""
    with _attached(container, stdout=1, stderr=1) as attached:
        start()
        for number, data in frames_iter(attached, tty=False):
            (err if number == STDERR else out)(data)
    return int(container.wait(timeout=None)["StatusCode"])


@contextlib.contextmanager
def _attached(container: Any, **streams: int) -> Iterator[Any]:
    """The connection to a container's streams. The SDK keeps the answer beside the socket, and neither closes."""
    attached = container.client.api.attach_socket(container.id, params={**streams, "stream": 1})
    try:
        yield attached
    finally:
        answer = getattr(attached, "_response", None)
        if answer is not None:
            answer.close()
        attached.close()


def has_terminal() -> bool:
    """Whether this process has a terminal to lend."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def on_terminal(container: Any, start: Callable[[], None]) -> int:
    """Join the user's terminal, in raw mode, with a container that has a TTY; return its exit code."""
    with _attached(container, stdin=1, stdout=1, stderr=1) as attached, _raw_mode(sys.stdin.fileno()):
        start()
        _copy(container, getattr(attached, "_sock", attached))
    return int(container.wait(timeout=None)["StatusCode"])


@contextlib.contextmanager
def _raw_mode(terminal: int) -> Iterator[None]:
    """Keys go to the container as they are, Ctrl-C too, as with ``docker run -it``."""
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal, termios.TCSANOW)  # what was typed ahead stays
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _copy(container: Any, raw: socket.socket) -> None:
    keys, screen = sys.stdin.fileno(), sys.stdout.fileno()
    sources, size = [raw.fileno(), keys], None
    raw.settimeout(None)
    while True:
        size = _resize(container, size)
        ready, _, _ = select.select(sources, [], [], _RESIZE_SECONDS)
        if raw.fileno() in ready:
            data = raw.recv(_CHUNK)
            if not data:
                return
            os.write(screen, data)
        if keys in ready:
            typed = os.read(keys, _CHUNK)
            raw.sendall(typed) if typed else sources.remove(keys)


def _resize(container: Any, before: os.terminal_size | None) -> os.terminal_size | None:
    """Pass the terminal's size on when it is new; tried again when the container is not quite there yet."""
    size = os.get_terminal_size(sys.stdout.fileno())
    if size == before:
        return before
    try:
        container.resize(height=size.lines, width=size.columns)
    except docker.errors.APIError:
        return None
    return size
