"""Processes: started, listened to, stopped with all that they started. Knows no command and no rule."""

from __future__ import annotations

import errno
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, NoReturn, cast

from imgmake.errors import CommandFailed, Interrupted
from imgmake.ports import Cancel, Output

_CHUNK = 65536  # bytes
_PIPE = 1 << 20  # bytes: what a pipe holds at most (fs.pipe-max-size)
# A process that begins before the terminal is its own would lose the first Ctrl-C to us: it waits, stopped.
_HELD = 'kill -STOP $$; exec "$@"'


class LocalShell:
    """`ports.Shell` on this machine; a stop is SIGTERM to the whole group, and SIGKILL `grace` seconds later."""

    def __init__(self, grace: float = 2.0, inherit: Sequence[int] = ()) -> None:
        """inherit: descriptors that what `run` starts gets as well."""
        self._grace = grace
        self._inherit = inherit

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        output: Output,
        cancel: Cancel,
        tty: bool = False,
        stdin: BinaryIO | None = None,
        errors: BinaryIO | None = None,
    ) -> int:
        """Run to the end, stdout and stderr to `output` as they come; return the exit code (128+n on signal n).

        With `errors`, a file, that gets what goes to stderr.
        With `tty`, and when the user's terminal is connected to `output`, the process gets that terminal.
        Processes that it leaves behind in the background are neither waited for nor, without a stop, killed.
        Raises CommandFailed (126 or 127) when it cannot be started, Interrupted when stopped before.
        """
        if cancel.stopped:
            raise Interrupted(f"{argv[0]} was not started: stopped")
        if tty and output.tty and sys.stdin.isatty():
            return self._on_terminal(argv, cwd, env, cancel)
        if tty:
            output.note("no terminal is connected here, so this runs without one")
        with (
            _started(argv, cwd, env, stdin, errors, self._inherit) as process,
            _end_of(process) as ended,  # outside of the next: it waits for what that stops
            self._stopping(process, cancel),
        ):
            _listen(process, ended, output)
        return _exit_code(process.returncode)

    def capture(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], cancel: Cancel | None = None
    ) -> tuple[int, str, str]:
        """Run a short command; return its exit code, stdout and stderr. Raises CommandFailed as `run` does."""
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            _cannot_start(argv, cwd, error)
        with process, self._stopping(process, cancel or Cancel()):
            stdout, stderr = (data.decode("utf-8", "surrogateescape") for data in process.communicate())
        return _exit_code(process.returncode), stdout, stderr

    def _on_terminal(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], cancel: Cancel) -> int:
        """In this session, as the terminal's foreground group: Ctrl-C is the process's, Ctrl-Z stops us with it."""
        if shutil.which(argv[0], path=env.get("PATH", os.defpath)) is None and not (cwd / argv[0]).exists():
            _cannot_start(argv, cwd, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _HELD, "sh", *argv], cwd=cwd, env=env, process_group=0, pass_fds=self._inherit
            )
        except (OSError, ValueError) as error:
            _cannot_start(argv, cwd, error)
        _stopped(process)
        with process, self._stopping(process, cancel), _foreground(process.pid):
            _wait_with_job_control(process)
        return _exit_code(process.returncode)

    @contextmanager
    def _stopping(self, process: subprocess.Popen[bytes], cancel: Cancel) -> Iterator[None]:
        """While the body runs a stop reaches the process's group; an exception in the body stops it as well."""
        lock, timers, over = threading.Lock(), list[threading.Timer](), False

        def stop() -> None:
            with lock:
                if over:
                    return
                _signal_group(process.pid, signal.SIGTERM)
                timer = threading.Timer(self._grace, _signal_group, (process.pid, signal.SIGKILL))
                timer.daemon = True
                timer.start()
                timers.append(timer)

        forget = cancel.on_stop(stop)
        try:
            yield
        except BaseException:
            stop()
            process.wait()
            raise
        finally:
            forget()
            with lock:  # a stop that is just coming is either all done now, or comes too late
                over = True
            if timers:
                _bury(process.pid, self._grace)
            for timer in timers:
                timer.cancel()
                timer.join()


@contextmanager
def _started(
    argv: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    stdin: BinaryIO | None,
    errors: BinaryIO | None,
    inherit: Sequence[int],
) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=errors or subprocess.STDOUT,  # one pipe, so that their order stays
            start_new_session=True,
            pass_fds=inherit,
        )
    except (OSError, ValueError) as error:
        _cannot_start(argv, cwd, error)
    with process:
        try:
            yield process
        except BaseException:
            if process.poll() is None:  # what went wrong came before anything could stop it
                _signal_group(process.pid, signal.SIGKILL)
            raise


@contextmanager
def _end_of(process: subprocess.Popen[bytes]) -> Iterator[int]:
    """A descriptor to select on: it is at its end when the process is. To leave is to wait for that."""
    with ExitStack() as stack:
        ended, ending = os.pipe()
        stack.callback(os.close, ended)
        waiter = threading.Thread(target=_wait_and_tell, args=(process, ending), daemon=True)
        try:
            waiter.start()
        except BaseException:
            os.close(ending)
            raise
        stack.callback(waiter.join)
        yield ended


def _listen(process: subprocess.Popen[bytes], ended: int, output: Output) -> None:
    """Hand on what the process writes until it ends.

    Not until the pipe does: a process left in the background may hold it for ever. When the process has
    ended, all it wrote is in the pipe, so what can be read without waiting is everything.
    """
    source = cast("IO[bytes]", process.stdout).fileno()
    os.set_blocking(source, False)
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while not any(key.fd == ended for key, _ in selector.select()):
            if not _drain(source, output, most=1):
                selector.unregister(source)
    _drain(source, output, most=_PIPE // _CHUNK)


def _drain(source: int, output: Output, *, most: int) -> bool:
    """Read what is there, in at most so many chunks; False at the end of the pipe."""
    for _ in range(most):
        try:
            data = os.read(source, _CHUNK)
        except BlockingIOError:
            return True
        if not data:
            return False
        output.write(data)
    return True


def _wait_and_tell(process: subprocess.Popen[bytes], ending: int) -> None:
    process.wait()
    os.close(ending)


# --- groups ---------------------------------------------------------------------------------------------------


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _bury(group: int, grace: float) -> None:
    """Give what is left of a stopped group its grace, then kill it."""
    end = time.monotonic() + grace
    while time.monotonic() < end and _has_members(group):
        time.sleep(0.02)
    _signal_group(group, signal.SIGKILL)


def _has_members(group: int) -> bool:
    """Whether a process of the group still runs; one that has ended and waits for its parent's wait() does not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    if not Path("/proc/self/stat").exists():
        return True
    return any(_in_group(stat, group) for stat in Path("/proc").glob("[0-9]*/stat"))


def _in_group(stat: Path, group: int) -> bool:
    """proc(5): after the name come the state and the parent, then the process group."""
    with suppress(OSError):
        state, _, found = stat.read_text(errors="replace").rpartition(") ")[2].split()[:3]
        return state not in "ZX" and int(found) == group
    return False


def _exit_code(code: int) -> int:
    return code if code >= 0 else 128 - code


# --- the user's terminal --------------------------------------------------------------------------------------


@contextmanager
def _foreground(group: int) -> Iterator[None]:
    """Lend the terminal to a process group."""
    ours = os.getpgrp()
    _lend(group)
    try:
        yield
    finally:
        _lend(ours)


def _lend(group: int) -> None:
    """Make a group the terminal's foreground, and wake it, should it have asked for the terminal too early."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})  # else taking it back would stop us
    try:
        with suppress(OSError):
            os.tcsetpgrp(sys.stdin.fileno(), group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if group != os.getpgrp():
        _signal_group(group, signal.SIGCONT)


def _wait_with_job_control(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end; when the user stops the process (Ctrl-Z), stop too, and go on together."""
    while _stopped(process):
        _lend(os.getpgrp())
        os.killpg(os.getpgrp(), signal.SIGSTOP)
        _lend(process.pid)
    process.wait()


def _stopped(process: subprocess.Popen[bytes]) -> bool:
    """Wait until the process stops or ends; whether it stopped. Its end is left for `Popen.wait` to take."""
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
    if found is None or found.si_code not in (os.CLD_STOPPED, os.CLD_TRAPPED):
        return False
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG)
    return True


# --- what cannot be started -----------------------------------------------------------------------------------


def _cannot_start(argv: Sequence[str], cwd: Path, error: Exception) -> NoReturn:
    program = argv[0]
    if not cwd.is_dir():
        raise CommandFailed(f"there is no folder {str(cwd)!r} to run {program} in") from None
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        hint = "is it installed, and on PATH?" if "/" not in program else "is the path right, and its #! line?"
        raise CommandFailed(f"{program}: command not found", code=127, hint=hint) from None
    if isinstance(error, OSError) and error.errno == errno.E2BIG:
        hint = 'too many names for one command: hand them over in a file, or by "xargs"'
        raise CommandFailed(f"{program}: its arguments and environment are too long", code=126, hint=hint) from None
    reason = error.strerror if isinstance(error, OSError) else str(error)
    raise CommandFailed(f"{program}: {reason}", code=126, hint="is it an executable?") from None
