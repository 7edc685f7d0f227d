"""Runs a build's CLI in a process group of its own, and streams what it says. Knows nothing of builds."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence

from imgmake.ports import Cancel, Output

_CHUNK = 1 << 16
_KEPT = 1 << 16  # bytes of the end of the output, for the message of a failure
_GRACE = 5.0  # seconds that a stopped CLI has for telling the engine, before it is killed


def run(argv: Sequence[str], *, env: Mapping[str, str], output: Output, cancel: Cancel) -> tuple[int, str]:
    """Run to the end; the exit code and the end of the output. A stop ends the whole process group."""
    process = subprocess.Popen(
        argv,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    forget = cancel.on_stop(lambda: _stop(process))
    try:
        tail = _stream(process, output)
        return process.wait(), tail
    finally:
        forget()
        _signal(process, signal.SIGKILL)
        process.wait()


def _stream(process: subprocess.Popen[bytes], output: Output) -> str:
    assert process.stdout is not None
    tail = b""
    with process.stdout as stream:
        while chunk := os.read(stream.fileno(), _CHUNK):
            output.write(chunk)
            tail = (tail + chunk)[-_KEPT:]
    return tail.decode("utf-8", "replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    _signal(process, signal.SIGTERM)
    killer = threading.Timer(_GRACE, _signal, (process, signal.SIGKILL))
    killer.daemon = True
    killer.start()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To the whole group; a leader that was waited for may have given its number to somebody else."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
