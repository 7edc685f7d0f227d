"""The command without its start-up: a process that has imported imgmake, and forks for each run of it.

`run` is ``python -m imgmake`` in a process of its own, with its own folder, environment, descriptors and exit code;
only what it imports is there already, which is most of the time that a short run takes. What is to be seen of the
start itself (what is imported when, the installed script, signals) belongs to tests that start a real one.
`start` is ``python -c``, for a script that is to be killed or to hold something.
This file is also the program of that process, and `words` its client for shell scripts: it imports little.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 (pathlib is slow to import)
# What runs import late, but for git, which asks PATH for a program, and dockerfile, which starts threads.
_HEAVY = ("docker", "networkx", "pydantic", "requests", "rich.console", "rich.live", "sqlite3", "typer")

_STARTED = [sys.executable, "-m", "imgmake"]


def run(words: Sequence[str], *, cwd: str | os.PathLike[str], env: Mapping[str, str]) -> tuple[int, bytes, bytes]:
    """Run imgmake with these words and no input; return its exit code (-n on signal n), stdout and stderr."""
    if _settings(env) != _settings(os.environ) or not _server():  # an interpreter reads them once, when it starts
        argv, env = [*_STARTED, *words], _with_root(env)
        done = subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr
    with tempfile.TemporaryFile() as none, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = _ask(_server(), "", words, os.fspath(cwd), env, [none.fileno(), out.fileno(), err.fileno()])
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


class Script:
    """A script that runs, with a pipe to its stdin and one from its stdout; what `subprocess.Popen` has of that name.

    At the end of a ``with`` both are closed, and it has ended.
    """

    def __init__(self, text: str, words: Sequence[str]) -> None:
        given, self._stdin = os.pipe()
        self._stdout, told = os.pipe()
        self.stdin: IO[str] = os.fdopen(self._stdin, "w")
        self.stdout: IO[str] = os.fdopen(self._stdout)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(_server())
        _send(self._server, text, words, os.getcwd(), os.environ, [given, told, 2])  # noqa: PTH109
        os.close(given)
        os.close(told)
        self._answer = self._server.makefile()
        self.pid = int(self._answer.readline())

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdin.close()
        self.stdout.close()
        self.wait()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(9)

    def wait(self, timeout: float | None = None) -> int:
        if not self._answer.closed:
            self._server.settimeout(timeout)
            with self._server, self._answer:
                self._code = int(self._answer.read())
        return self._code


Started = Script | subprocess.Popen[str]


def start(text: str, *words: str | os.PathLike[str]) -> Started:
    """Start a Python script with these words as ``sys.argv[1:]``."""
    given = [os.fspath(word) for word in words]
    if _server():
        return Script(text, given)
    argv, env = [sys.executable, "-c", text, *given], _with_root(os.environ)
    return subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def words() -> list[str]:
    """The words of a command line that does the same, for a shell script."""
    return [sys.executable, "-IS", __file__, "ask", _server()] if _server() else _STARTED


def _with_root(env: Mapping[str, str]) -> dict[str, str]:
    """What is tested is this checkout, whatever is installed."""
    return {**env, "PYTHONPATH": os.pathsep.join([ROOT, *filter(None, [env.get("PYTHONPATH")])])}


def _settings(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(("PYTHON", "LC_", "LANG"))}


@functools.cache
def _server() -> str:
    """The path of the socket of this process's server, which ends with us: then its stdin does.

    Empty where it cannot work, as its stderr tells: then each run is started, which takes longer.
    """
    import atexit
    import shutil

    folder = tempfile.mkdtemp(prefix="imgmake-")  # short: a socket's path may have 107 bytes
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = f"{folder}/sock"
    argv = [sys.executable, "-P", __file__, "serve", path]
    server = subprocess.Popen(argv, env=_with_root(os.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    atexit.register(server.wait)
    atexit.register(server.stdin.close)
    with server.stdout:
        return path if server.stdout.readline() == b"ready\n" else ""


# --- a request: a script or none, the words, the folder, the environment, and three descriptors -------------------
# --- the answer: the process's number, and at its end the exit code -----------------------------------------------


def _send(
    server: socket.socket, text: str, words: Sequence[str], cwd: str, env: Mapping[str, str], streams: Sequence[int]
) -> None:
    import marshal

    request = marshal.dumps((text, list(words), cwd, dict(env)))
    socket.send_fds(server, [len(request).to_bytes(4, "big")], streams)
    server.sendall(request)


def _ask(path: str, text: str, words: Sequence[str], cwd: str, env: Mapping[str, str], streams: Sequence[int]) -> int:
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        _send(server, text, words, cwd, env, streams)
        answer = server.makefile("rb").read().split()
    assert len(answer) == 2, "the forked imgmake did not tell its end"
    return int(answer[1])


def _asked(client: socket.socket) -> tuple[str, list[str], str, dict[str, str], list[int]]:
    import marshal

    size, streams, _, _ = socket.recv_fds(client, 4, 3)
    with client.makefile("rb") as stream:
        text, words, cwd, env = marshal.loads(stream.read(int.from_bytes(size, "big")))
    return text, words, cwd, env, streams


# --- the server ---------------------------------------------------------------------------------------------------


def _serve(path: str) -> None:
    """Answer until stdin ends; this returns in a process that is to be imgmake, and in no other."""
    import gc
    import select
    import signal

    _import_all()
    gc.freeze()  # else the collector of each fork would copy all the memory
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks that answer
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            client, _ = listener.accept()
            with client:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    return _answer(client)
    os._exit(0)


def _answer(client: socket.socket) -> None:
    text, words, cwd, env, streams = _asked(client)
    child = os.fork()
    if child == 0:
        _scripts.extend(filter(None, [text]))
        client.close()
        return _become(words, cwd, env, streams)
    client.sendall(f"{child}\n".encode())
    for stream in streams:
        os.close(stream)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    client.sendall(str(code).encode())
    os._exit(0)


def _import_all() -> None:
    import importlib
    import pkgutil

    import imgmake

    ours = [module.name for module in pkgutil.walk_packages(imgmake.__path__, "imgmake.")]
    for name in (*_HEAVY, *(name for name in ours if not name.endswith("__main__"))):
        importlib.import_module(name)
    assert os.listdir("/proc/self/task") == [str(os.getpid())], "a fork has only the thread that forks"  # noqa: PTH208


def _become(words: list[str], cwd: str, env: dict[str, str], streams: list[int]) -> None:
    import io
    import time

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv[1:] = words
    sys.path.insert(0, cwd)


def _run() -> None:
    """The script, or ``python -m imgmake`` to the end of what it asked to be done at exit: no module is taken down."""
    import runpy

    for text in _scripts:
        exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})
        return
    try:
        runpy.run_module("imgmake", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, int):
            _codes.append(end.code)
        raise


_scripts: list[str] = []
_codes: list[int] = []


def _last() -> None:
    for code in _codes:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        code = _ask(sys.argv[2], "", sys.argv[3:], os.getcwd(), dict(os.environ), [0, 1, 2])  # noqa: PTH109
        sys.exit(code if code >= 0 else 128 - code)
    import atexit

    atexit.register(_last)  # the first one registered is the last to run
    _serve(sys.argv[2])
    _run()
