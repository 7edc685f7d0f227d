"""The answer from the last run: one change of anything that it rested on, and it is not given any more."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shutil
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import imgmake
from imgmake import app, settled
from imgmake.app import Options
from imgmake.app.settling import watched
from imgmake.engine import hosts
from imgmake.reporters import Plain, Settings
from tests import forked

PIPEFILE = """
from helpers import FLAGS
from imgmake import VCS_REF, check, default, file, include, phony, run, sh, var

NAME = var("NAME", "x")
file("out/a.txt", "src/", "*.c", sh("cat src/* *.c > $out; echo $NAME $FLAGS >> $out", FLAGS=FLAGS))
file("out/ref.txt", sh("echo $VCS_REF > $out"))
file("tool.txt", "docs/in", run("tool:1", "true"))
check("t", "out/a.txt", sh("true"), max_age="1d")
include("parts/*/Pipefile.py")
phony("all", "out/a.txt", "out/ref.txt", "tool.txt", "t")
default("all")
"""
SETTLES = 0.06  # seconds after which a change cannot bear the times of one before


# --- an engine of a few images --------------------------------------------------------------------------------


class FakeEngine(socketserver.ThreadingUnixStreamServer):
    """Answers inspections over a Unix socket, as an engine does."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.images = {"tool:1": "sha256:" + "1" * 64}
        super().__init__(str(path), _Inspection)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Inspection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        path = self.rfile.readline().split()[1].decode()
        while self.rfile.readline().strip():
            pass
        assert isinstance(self.server, FakeEngine)
        found = self.server.images.get(path.removeprefix("/images/").removesuffix("/json"))
        body = json.dumps({"Id": found} if found else {"message": "no such image"}).encode()
        with contextlib.suppress(ConnectionError):  # who saw that a file has changed does not wait for this
            self.wfile.write(b"HTTP/1.0 %d X\r\nDate: now\r\n\r\n%s" % (200 if found else 404, body))


# --- a repository ---------------------------------------------------------------------------------------------


@dataclass
class Repo:
    """A repository in which this process runs imgmake, as the command does, without an interpreter of its own."""

    path: Path
    environ: dict[str, str] = field(default_factory=dict)

    def run(self, **options: object) -> tuple[int, bytes]:
        out, err = io.BytesIO(), io.BytesIO()
        told = None if options else lambda: None if err.getvalue() else out.getvalue()
        asked = Options(environ=self.environ, told=told, **options)  # type: ignore[arg-type]
        code = app.build(asked, Plain(out, err, Settings()))
        return code, out.getvalue()

    def record(self) -> bytes | None:
        found = [path for path in (self.path / ".imgmake" / "settled").glob("*") if not path.name.startswith(".")]
        return max(found, key=lambda path: path.stat().st_mtime_ns).read_bytes() if found else None

    def settle(self) -> bytes:
        """Run until the answer is written down; the record."""
        if (found := self.record()) is not None and holds(found):
            return found
        shutil.rmtree(self.path / ".imgmake" / "settled", ignore_errors=True)
        for _ in range(5):
            _pause()
            assert self.run()[0] == 0
            if (record := self.record()) is not None:
                return record
        raise AssertionError("nothing was settled")

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def git(self, *words: str) -> None:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
        subprocess.run(["git", *identity, *words], cwd=self.path, check=True, capture_output=True)


def _pause() -> None:
    threading.Event().wait(SETTLES)


def holds(record: bytes) -> bool:
    try:
        return settled.verify(record) is not None
    except OSError:
        return False


def everything(path: Path, host: str) -> Repo:
    environ = {"PATH": os.environ["PATH"], "HOME": str(path / "home"), "DOCKER_HOST": host}
    repo = Repo(path, environ)
    repo.write("Pipefile.py", PIPEFILE)
    repo.write("helpers.py", 'FLAGS = "-O2"\n')
    repo.write("parts/one/Pipefile.py", "")
    for name in ("a.c", "src/x", "src/y", "docs/in", "docs/z", "tool.txt"):
        repo.write(name, f"{name}\n")
    (path / "src" / "link").symlink_to("x")
    repo.write(".gitignore", "out/\n")
    repo.git("init", "--quiet", "--initial-branch=main")
    repo.git("add", "--all")
    repo.git("commit", "--quiet", "--message=Start")
    return repo


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeEngine]:
    engine = FakeEngine(tmp_path_factory.mktemp("engine") / "sock")
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, engine: FakeEngine) -> Repo:
    return everything(tmp_path_factory.mktemp("settled"), f"unix://{engine.server_address}")


@pytest.fixture
def repo(shared: Repo, monkeypatch: pytest.MonkeyPatch) -> Repo:
    monkeypatch.chdir(shared.path)
    return shared


def test_what_it_tells_is_what_the_run_told(repo: Repo) -> None:
    record = repo.settle()
    assert settled.verify(record) == repo.run()[1] == b"imgmake: everything is up to date (5 targets)\n"


# --- one change of the world ----------------------------------------------------------------------------------


def _same_size(repo: Repo) -> None:
    before = (repo.path / "a.c").stat()
    repo.write("a.c", "b.c\n")
    os.utime(repo.path / "a.c", ns=(before.st_atime_ns, before.st_mtime_ns))


def _retarget(repo: Repo) -> None:
    (repo.path / "src" / "link").unlink()
    (repo.path / "src" / "link").symlink_to("y")


CHANGES: dict[str, Callable[[Repo], object]] = {
    "a file's content": lambda repo: repo.write("a.c", "int a;\n"),
    "as many bytes and the old time": _same_size,
    "a touch": lambda repo: os.utime(repo.path / "a.c"),
    "a new file for a pattern": lambda repo: repo.write("b.c", ""),
    "a new file in a folder": lambda repo: repo.write("src/new", ""),
    "a file that is gone": lambda repo: (repo.path / "src" / "new").unlink(),
    "a link to something else": _retarget,
    "a mode": lambda repo: (repo.path / "src" / "x").chmod(0o755),
    "a target that is gone": lambda repo: (repo.path / "out" / "a.txt").unlink(),
    "a target edited by hand": lambda repo: repo.write("out/a.txt", ""),
    "the Pipefile": lambda repo: repo.write("Pipefile.py", PIPEFILE + "# more\n"),
    "a module of the repository": lambda repo: repo.write("helpers.py", 'FLAGS = "-O3"\n'),
    "an included Pipefile": lambda repo: repo.write("parts/one/Pipefile.py", "# more\n"),
    "another Pipefile to include": lambda repo: repo.write("parts/two/Pipefile.py", ""),
    "a commit": lambda repo: repo.git("commit", "--quiet", "--allow-empty", "--message=More"),
    "a branch": lambda repo: repo.git("checkout", "--quiet", "-b", "other"),
    "the records": lambda repo: repo.run(always_make=True, goals=("t",)),
    "no records": lambda repo: shutil.rmtree(repo.path / ".imgmake"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_of(change: Callable[[Repo], object], repo: Repo) -> None:
    record = repo.settle()
    assert holds(record)
    change(repo)
    assert not holds(record)


def test_what_nobody_looked_at_may_change(repo: Repo) -> None:
    record = repo.settle()
    repo.write("docs/z", "other\n")
    repo.write("docs/new", "")
    assert holds(record)


@pytest.mark.parametrize("now", ["sha256:" + "2" * 64, None], ids=["moved", "gone"])
def test_an_image_that_was(now: str | None, repo: Repo, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    record = repo.settle()
    monkeypatch.setattr(engine, "images", {"tool:1": now} if now else {})
    assert not holds(record)
    monkeypatch.undo()
    os.chdir(repo.path)
    try:
        assert holds(record)
    finally:
        os.chdir("/")


def test_an_engine_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(tmp_path / "sock")
    repo = everything(tmp_path / "repo", f"unix://{tmp_path}/sock")
    monkeypatch.chdir(repo.path)
    record = repo.settle()
    engine.stop()
    assert not holds(record)


def test_another_engine_by_dockers_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default engine is none here, so this run asks none; but where it looked for one is known."""
    monkeypatch.chdir(tmp_path)
    repo = Repo(tmp_path, {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")})
    repo.write("home/.docker/config.json", "{}")
    _pause()
    options = Options(environ=repo.environ, told=lambda: b"")
    with watched(options, Plain(io.BytesIO(), io.BytesIO())) as (found, _):
        hosts.resolve(None, repo.environ)
    assert found is not None
    looks = dict(found.witness.looks)
    repo.write("home/.docker/config.json", '{"currentContext": "prod"}')
    changed = {path for (how, path), seen in looks.items() if settled.look(how, path) != seen}
    assert changed == {os.fsencode(tmp_path / "home/.docker/config.json")}


def test_a_pass_that_is_too_old(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    record = repo.settle()
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 86_000)
    assert holds(record)
    monkeypatch.setattr("time.time", lambda: now + 86_401)
    assert not holds(record)


def test_a_run_that_is_at_work(repo: Repo) -> None:
    record = repo.settle()
    with (repo.path / ".imgmake" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not holds(record)


def test_a_crash_in_the_middle_of_a_transaction(repo: Repo) -> None:
    record = repo.settle()
    journal = repo.path / ".imgmake" / "state.db-journal"
    journal.write_bytes(b"hot")
    try:
        assert not holds(record)
    finally:
        journal.unlink()


def test_records_that_were_restored_and_then_went_another_way(repo: Repo) -> None:
    """SQLite may have counted as many transactions in another file, or on the other way."""
    record, path = repo.settle(), repo.path / ".imgmake" / "state.db"
    _pause()
    path.write_bytes(path.read_bytes())
    assert not holds(record)


def test_every_flipped_byte_is_noticed(repo: Repo) -> None:
    record = repo.settle()
    for at in (*range(80), *range(80, len(record), 997)):
        assert not holds(record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :])
        assert not holds(record[:at])


def test_our_own_code_and_what_is_installed_count(repo: Repo) -> None:
    looks = repo.settle().split(b"\0")
    package = os.fsencode(Path(imgmake.__file__).parent)
    assert settled.FILE + package + b"/freshness.py" in looks
    assert settled.FILE + package + b"/app/settling.py" in looks
    assert settled.LISTED + os.fsencode(Path(pytest.__file__).parents[1]) in looks


# --- what a process is given ----------------------------------------------------------------------------------


def test_a_key_is_of_all_that_a_process_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = {settled.key([]), settled.key(["all"]), settled.key(["all", "A=1"]), settled.key(["all A=1"])}
    monkeypatch.setenv("IMGMAKE_TEST", "1")
    keys.add(settled.key(["all"]))
    monkeypatch.setenv("IMGMAKE_TEST", "2")
    keys.add(settled.key(["all"]))
    monkeypatch.setattr(sys, "path", [*sys.path, "/more"])
    keys.add(settled.key(["all"]))
    monkeypatch.chdir("/")
    keys.add(settled.key(["all"]))
    monkeypatch.setattr(sys, "version", "4.0")
    keys.add(settled.key(["all"]))
    assert len(keys) == 9


def test_what_a_shell_changes_by_itself_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settled.key(["all"])
    for name in settled.noise():
        monkeypatch.setenv(name, "other")
    assert settled.key(["all"]) == before


# --- what is never settled ------------------------------------------------------------------------------------

ALWAYS_RUN = 'from imgmake import check, file, phony, sh, var\nfile("o", sh("echo > $out"))\n'
NEVER = {
    "a phony with a recipe": ALWAYS_RUN + 'phony("all", "o", sh("true"))',
    "a command that gives a value": ALWAYS_RUN
    + 'A = var("A", sh("echo 1"))\nfile("p", sh("echo $A > $out"))\nphony("all", "p")',
    "a clock": "import time\n" + ALWAYS_RUN + 'phony("all", "o")',
    "a device": "from pathlib import Path\n"
    + ALWAYS_RUN
    + 'with open("/dev/zero", "rb") as zero:\n    zero.read(1)\nphony("all", "o")',
    "what the kernel makes up": "from pathlib import Path\n"
    + ALWAYS_RUN
    + 'S = Path("/proc/uptime").read_text()\nphony("all", "o")',
    "a variable of the shell": ALWAYS_RUN + 'var("PWD", "")\nphony("all", "o")',
    "git's own answer": ALWAYS_RUN + 'file("p", sh("echo $VCS_DESCRIBE > $out"))\nphony("all", "p")',
    "an order": ALWAYS_RUN + 'phony("all", *{"o"})',
}


@pytest.mark.parametrize("text", NEVER.values(), ids=NEVER.keys())
def test_never_settled(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    repo = Repo(tmp_path, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    repo.write("Pipefile.py", text + '\nfrom imgmake import default\ndefault("all")\n')
    repo.git("init", "--quiet")
    repo.git("commit", "--quiet", "--allow-empty", "--message=Start")
    for _ in range(3):
        assert repo.run()[0] == 0
        _pause()
    assert repo.record() is None


@pytest.mark.parametrize(
    "options", [{"trace": True}, {"what_if": ("x",)}, {"old_file": ("x",)}, {"goals": ("nofile",)}]
)
def test_an_option_that_asks_for_more_is_not_settled(options: dict[str, object], repo: Repo) -> None:
    shutil.rmtree(repo.path / ".imgmake" / "settled", ignore_errors=True)
    repo.write("nofile", "")
    asked = Options(environ=repo.environ, told=lambda: b"", **options)  # type: ignore[arg-type]
    _pause()
    app.build(asked, Plain(io.BytesIO(), io.BytesIO(), Settings()))
    assert (repo.record() is None) == ("goals" not in options)


def test_a_file_of_a_moment_ago_is_not_trusted(repo: Repo) -> None:
    repo.settle()
    shutil.rmtree(repo.path / ".imgmake" / "settled")
    os.utime(repo.path / "a.c")
    repo.run()
    assert repo.record() is None, "another write could bear the same times"


def test_only_the_newest_records_are_kept(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.settle()
    monkeypatch.setattr(sys.modules["imgmake.app.settling"], "_KEPT", 2)
    for number in range(4):
        monkeypatch.setattr(sys, "argv", ["imgmake", f"A{number}"])
        repo.run()
    assert len(list((repo.path / ".imgmake" / "settled").iterdir())) == 2


# --- whole processes ------------------------------------------------------------------------------------------

LOADED = "import sys; from imgmake.__main__ import main; code = main(); print(*sorted(sys.modules)); sys.exit(code)"
HEAVY = {"pydantic", "typer", "networkx", "docker", "sqlite3", "json", "re", "socket", "hashlib", "pathlib", "typing"}


def test_the_answer_imports_nothing(tmp_path: Path, engine: FakeEngine) -> None:
    repo = everything(tmp_path, f"unix://{engine.server_address}")
    env = {**repo.environ, "PYTHONPATH": str(Path(imgmake.__file__).parents[1])}
    loaded: set[str] = set()
    for _ in range(5):
        _pause()
        argv = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {LOADED}"]
        done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        *told, modules = done.stdout.splitlines()
        loaded = set(modules.split())
        if "imgmake.cli" not in loaded:
            break
    assert told == ["imgmake: everything is up to date (5 targets)"]
    assert {name for name in loaded if name.startswith("imgmake")} == {"imgmake", "imgmake.__main__", "imgmake.settled"}
    assert not loaded & HEAVY


def test_the_command_answers_as_the_run_before_and_without_writing(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.write("Pipefile.py", 'from imgmake import file, sh\nfile("out", "in", sh("cp in out"))\n')
    repo.write("in", "1")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    lock = tmp_path / ".imgmake" / "lock"
    for _ in range(5):
        _pause()
        before = lock.stat().st_mtime_ns if lock.exists() else None
        code, out, err = forked.run(["out"], cwd=tmp_path, env=env)
        if lock.stat().st_mtime_ns == before:  # a run that judges signs it
            break
    assert (lock.stat().st_mtime_ns, code, out, err) == (before, 0, b"imgmake: 'out' is up to date.\n", b"")
    repo.write("in", "2")
    assert forked.run(["out"], cwd=tmp_path, env=env)[0] == 0
    assert (tmp_path / "out").read_text() == "2"


# --- any edits ------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a.c", "b.c", "src/x", "src/deep/y", "out/a.txt", "helpers.py", "docs/z"])


class Edits(RuleBasedStateMachine):
    """Random edits of a small repository: whenever the answer is given, a run that judges says so too."""

    def __init__(self) -> None:
        super().__init__()
        self._home = os.getcwd()  # noqa: PTH109
        self._folder = Path(self._home)

    @initialize()
    def begin(self) -> None:
        import tempfile

        self._folder = Path(tempfile.mkdtemp())
        os.chdir(self._folder)
        self.repo = Repo(self._folder, {"PATH": os.environ["PATH"], "HOME": str(self._folder)})
        text = 'file("out/a.txt", "src/", "*.c", sh("cat src/x *.c > $out; echo $FLAGS >> $out", FLAGS=FLAGS))\n'
        self.repo.write("Pipefile.py", "from helpers import FLAGS\nfrom imgmake import file, sh\n" + text)
        for name in ("a.c", "src/x", "helpers.py"):
            self.repo.write(name, "FLAGS = 1\n")
        self.answer: bytes | None = None

    @rule(name=NAMES, text=st.sampled_from(["FLAGS = 1\n", "FLAGS = 2\n", "# a longer text\nFLAGS = 1\n"]))
    def write(self, name: str, text: str) -> None:
        self.repo.write(name, text)

    @rule(name=NAMES)
    def touch(self, name: str) -> None:
        if (self._folder / name).exists():
            os.utime(self._folder / name)

    @rule(name=st.sampled_from(["b.c", "src/deep/y", "out/a.txt", "docs/z"]))
    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    @rule(name=NAMES, mode=st.sampled_from([0o644, 0o755]))
    def chmod(self, name: str, mode: int) -> None:
        if (self._folder / name).exists():
            (self._folder / name).chmod(mode)

    @rule(pause=st.booleans())
    def run(self, pause: bool) -> None:
        if pause:
            _pause()
        assert self.repo.run()[0] == 0
        self.answer = self.repo.record()

    @precondition(lambda self: getattr(self, "answer", None) is not None)
    @invariant()
    def the_answer_is_right(self) -> None:
        assert self.answer is not None
        if holds(self.answer):
            assert self.repo.run(question=True)[0] == 0

    def teardown(self) -> None:
        os.chdir(self._home)
        if self._folder != Path(self._home):
            shutil.rmtree(self._folder)


TestEdits = Edits.TestCase
TestEdits.settings = settings(max_examples=10, stateful_step_count=12, deadline=None)
