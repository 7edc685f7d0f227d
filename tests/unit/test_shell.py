"""Processes on this machine: streaming, exit codes, stops that reach the whole group, a terminal handed over."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pexpect
import pytest

from imgmake.errors import CommandFailed, Interrupted
from imgmake.ports import Cancel
from imgmake.shell import LocalShell

ENV = {"PATH": os.environ["PATH"]}
PATIENCE = 30.0  # seconds: what a slow machine may need for anything; a process to be stopped sleeps longer


class Heard:
    """An output that remembers."""

    def __init__(self, on_write: Callable[[bytes], None] = lambda data: None) -> None:
        self.chunks: list[bytes] = []
        self.notes: list[str] = []
        self.tty = False
        self._on_write = on_write

    @property
    def text(self) -> str:
        return b"".join(self.chunks).decode()

    def write(self, data: bytes) -> None:
        self.chunks.append(data)
        self._on_write(data)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def command(self, line: str) -> None:
        raise AssertionError("a shell says no commands")


def sh(text: str, heard: Heard, cancel: Cancel | None = None, *, grace: float = 2.0, cwd: Path = Path("/")) -> int:
    return LocalShell(grace).run(["/bin/sh", "-c", text], cwd=cwd, env=ENV, output=heard, cancel=cancel or Cancel())


def gone(pid: int) -> bool:
    """Whether a process ends soon (a zombie that its new parent has yet to reap has ended)."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z"):
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def zombies() -> list[str]:
    """Our children that ended and were never waited for (proc(5): the state follows the name)."""
    ours = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    stats = [Path(f"/proc/{pid}/stat").read_text(errors="replace") for pid in ours]
    return [stat for stat in stats if stat.rpartition(") ")[2].startswith("Z")]


def held() -> tuple[int, int]:
    """How many descriptors and threads this process has."""
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


@pytest.fixture(autouse=True)
def _no_leaks() -> object:
    gc.collect()  # what earlier tests left to it
    end = time.monotonic() + PATIENCE
    while threading.active_count() > 1 and time.monotonic() < end:  # a make that was asked by them is ending
        time.sleep(0.01)
    before = held()
    yield
    end = time.monotonic() + PATIENCE
    while held() != before and time.monotonic() < end:  # a test's own timers may still be ending
        time.sleep(0.01)
    assert held() == before
    assert zombies() == []


@pytest.mark.parametrize(
    ("text", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
)
def test_exit_code(text: str, code: int) -> None:
    assert sh(text, Heard()) == code


def test_stdout_and_stderr_keep_their_order_and_come_as_they_are_written(tmp_path: Path) -> None:
    heard = Heard(lambda data: (tmp_path / "heard").touch())
    assert sh("echo a; echo b >&2; until [ -e heard ]; do sleep 0.01; done; echo c", heard, cwd=tmp_path) == 0
    assert heard.text == "a\nb\nc\n"


def test_stderr_may_go_to_a_file_of_its_own(tmp_path: Path) -> None:
    heard, words = Heard(), ["sh", "-c", "echo a; echo b >&2"]
    with (tmp_path / "errors").open("w+b") as errors:
        LocalShell().run(words, cwd=tmp_path, env=ENV, output=heard, cancel=Cancel(), errors=errors)
        errors.seek(0)
        assert (heard.text, errors.read()) == ("a\n", b"b\n")


def test_a_large_output_is_whole() -> None:
    heard = Heard()
    assert sh("head -c 3000000 /dev/zero", heard) == 0
    assert len(heard.text) == 3000000


def test_a_process_that_closes_its_output_is_still_waited_for() -> None:
    assert sh("exec >&- 2>&-; sleep 0.2; exit 5", Heard()) == 5


def test_a_background_process_that_holds_the_pipe_is_not_waited_for() -> None:
    heard = Heard()
    begin = time.monotonic()
    assert sh("sleep 60 & echo $!", heard) == 0
    assert time.monotonic() - begin < PATIENCE
    os.kill(int(heard.text), 9)


def test_stdin_is_empty_unless_given(tmp_path: Path) -> None:
    heard = Heard()
    sh("cat", heard)
    (tmp_path / "in").write_text("given")
    with (tmp_path / "in").open("rb") as stdin:
        LocalShell().run(["cat"], cwd=tmp_path, env=ENV, output=heard, cancel=Cancel(), stdin=stdin)
    assert heard.text == "given"


def test_environment_is_the_one_given_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGMAKE_TEST", "leaked")
    heard = Heard()
    sh('echo "[$IMGMAKE_TEST]"', heard)
    assert heard.text == "[]\n"


def test_stop_reaches_the_whole_group() -> None:
    cancel = Cancel()
    heard = Heard(lambda data: threading.Timer(0, cancel.stop).start())
    begin = time.monotonic()
    assert sh("sleep 60 & echo $!; wait", heard, cancel, grace=PATIENCE) == 143
    assert time.monotonic() - begin < PATIENCE  # no grace is waited out when nothing is left
    assert gone(int(heard.text))


def test_what_ignores_the_stop_is_killed_after_the_grace() -> None:
    cancel = Cancel()
    heard = Heard(lambda data: threading.Timer(0, cancel.stop).start())
    begin = time.monotonic()
    code = sh("trap '' TERM; sleep 60 & echo $!; while :; do sleep 0.05; done", heard, cancel, grace=0.3)
    assert code == 137
    assert 0.25 < time.monotonic() - begin < PATIENCE
    assert gone(int(heard.text))


def test_a_grandchild_that_ignores_the_stop_is_killed_though_its_parent_obeyed() -> None:
    cancel = Cancel()
    heard = Heard(lambda data: threading.Timer(0, cancel.stop).start())
    code = sh("(trap '' TERM; while :; do sleep 0.05; done) & echo $!; wait", heard, cancel, grace=0.3)
    assert code == 143
    assert gone(int(heard.text))


def test_nothing_starts_after_a_stop(tmp_path: Path) -> None:
    cancel = Cancel()
    cancel.stop()
    with pytest.raises(Interrupted):
        sh("touch made", Heard(), cancel, cwd=tmp_path)
    assert not (tmp_path / "made").exists()


def test_an_output_that_fails_stops_the_process() -> None:
    def fail(data: bytes) -> None:
        raise KeyboardInterrupt

    heard = Heard(fail)
    with pytest.raises(KeyboardInterrupt):
        sh("echo $$; exec sleep 60", heard)
    assert gone(int(heard.text))


def test_nothing_of_a_failed_run_is_held_once_it_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that waits for the process once outlived `run`, and with it one end of a pipe."""
    real, before = subprocess.Popen.wait, held()

    def slow_elsewhere(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        code = real(process, timeout)
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.3)
        return code

    def fail(data: bytes) -> None:
        raise OSError

    monkeypatch.setattr(subprocess.Popen, "wait", slow_elsewhere)
    with pytest.raises(OSError):  # noqa: PT011 (the one raised above)
        sh("echo; exec sleep 60", Heard(fail))
    assert held() == before


def test_a_process_that_cannot_be_listened_to_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    begin, before = time.monotonic(), held()
    monkeypatch.setattr(threading.Thread, "start", no_more)
    with pytest.raises(RuntimeError, match="new thread"):
        sh("exec sleep 60", Heard())
    assert time.monotonic() - begin < PATIENCE
    assert held() == before


@pytest.mark.parametrize(
    ("argv", "cwd", "code", "words"),
    [
        (["no-such-program"], "/", 127, "no-such-program: command not found"),
        (["./no-such-program"], "/", 127, "is the path right"),
        (["/etc/passwd"], "/", 126, "/etc/passwd: Permission denied"),
        (["true"], "/no/such/folder", 1, "no folder '/no/such/folder'"),
        (["true", "x" * 3_000_000], "/", 126, "too long"),
        (["true", "a\0b"], "/", 126, "null byte"),
    ],
)
def test_what_cannot_be_started_says_why(argv: list[str], cwd: str, code: int, words: str) -> None:
    shell = LocalShell()
    for start in (
        lambda: shell.run(argv, cwd=Path(cwd), env=ENV, output=Heard(), cancel=Cancel()),
        lambda: shell.capture(argv, cwd=Path(cwd), env=ENV),
    ):
        with pytest.raises(CommandFailed) as caught:
            start()
        assert caught.value.code == code
        assert words in str(caught.value)


def test_capture() -> None:
    argv = ["/bin/sh", "-c", r"echo out; printf '\377' >&2; exit 3"]
    assert LocalShell().capture(argv, cwd=Path("/"), env=ENV) == (3, "out\n", "\udcff")


@pytest.mark.parametrize("by", ["stop", "Ctrl-C"])
def test_a_stop_reaches_all_of_what_is_captured(tmp_path: Path, by: str) -> None:
    """A credential helper that hung went on when the run was over."""
    cancel, pid, began = Cancel(), tmp_path / "pid", time.monotonic()
    argv = ["/bin/sh", "-c", f"sh -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 60' | cat"]

    def stop() -> None:
        while not pid.exists():
            time.sleep(0.01)
        time.sleep(0.5)  # on a busy machine the process may run before Popen has returned
        cancel.stop() if by == "stop" else signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=stop).start()
    with nullcontext() if by == "stop" else pytest.raises(KeyboardInterrupt):
        LocalShell().capture(argv, cwd=Path("/"), env=ENV, cancel=cancel)
    assert time.monotonic() - began < PATIENCE
    assert gone(int(pid.read_text()))


def test_without_a_terminal_a_tty_is_not_given_and_that_is_said() -> None:
    heard = Heard()
    argv = ["/bin/sh", "-c", "test -t 0 || echo none"]
    assert LocalShell().run(argv, cwd=Path("/"), env=ENV, output=heard, cancel=Cancel(), tty=True) == 0
    assert heard.text == "none\n"
    assert len(heard.notes) == 1


ON_TERMINAL = """
import os, sys
from pathlib import Path
from imgmake.ports import Cancel
from imgmake.shell import LocalShell
class Terminal:
    tty = True
argv = ["/bin/sh", "-c", sys.argv[1]]
code = LocalShell().run(argv, cwd=Path("/"), env=os.environ, output=Terminal(), cancel=Cancel(), tty=True)
print("code", code, "ours", os.tcgetpgrp(0) == os.getpgrp())
"""


def on_terminal(text: str) -> pexpect.spawn[str]:
    root = Path(__file__).parents[2]
    return pexpect.spawn(sys.executable, ["-c", ON_TERMINAL, text], cwd=root, encoding="utf-8", timeout=PATIENCE)


def test_a_terminal_is_handed_over_and_taken_back() -> None:
    with on_terminal("test -t 0 && test -t 1 && read line && echo got $line; exit 4") as child:
        child.sendline("hello")
        child.expect("got hello")
        child.expect("code 4 ours True")


def test_ctrl_z_stops_us_with_the_process() -> None:
    with on_terminal("echo ready $PPID; kill -TSTP $$; echo again; exit 6") as child:
        child.expect(r"ready (\d+)")
        assert child.match is not None
        ours = int(child.match[1])
        stat = Path(f"/proc/{ours}/stat")
        while not stat.read_text().rpartition(") ")[2].startswith("T"):
            time.sleep(0.02)
        os.kill(ours, signal.SIGCONT)
        child.expect("again")
        child.expect("code 6 ours True")


def test_ctrl_c_on_the_terminal_is_the_process_s_own() -> None:
    with on_terminal("trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done") as child:
        child.expect("ready")
        child.sendintr()
        child.expect("caught")
        child.expect("code 9 ours True")
