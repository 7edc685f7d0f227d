"""What a process looks at and does, noted by the interpreter itself, whichever way it goes about it."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imgmake import settled
from imgmake.app.witness import Witness, watching
from imgmake.ignore import Ignore
from imgmake.settled import FILE, LINK
from imgmake.sources.context import LocalContext
from imgmake.sources.files import LocalSources, NoCache


def seen(act: Callable[[], object], own: str = "/nowhere") -> Witness:
    witness = Witness(Path(own))
    with watching(witness):
        act()
    return witness


def looks(witness: Witness, below: Path) -> set[tuple[str, str]]:
    start = f"{below}/"
    found = ((how.decode(), os.fsdecode(path)) for how, path in witness.looks)
    return {(how, path.removeprefix(start)) for how, path in found if path.startswith(start)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "f").write_text("x")
    (tmp_path / "d" / "deep").mkdir(parents=True)
    (tmp_path / "d" / "g").write_text("y")
    (tmp_path / "link").symlink_to("f")
    return tmp_path


LOOKS: dict[str, tuple[Callable[[Path], object], bytes]] = {
    "open": (lambda f: f.open("rb").close(), FILE),
    "os.open": (lambda f: os.close(os.open(f, os.O_RDONLY)), FILE),
    "read_text": (lambda f: f.read_text(), FILE),
    "exists": (lambda f: f.exists(), FILE),
    "is_file": (lambda f: f.is_file(), FILE),
    "is_dir": (lambda f: f.is_dir(), FILE),
    "stat": (lambda f: f.stat(), FILE),
    "os.path.isfile": (os.path.isfile, FILE),
    "os.path.getsize": (os.path.getsize, FILE),
    "os.access": (lambda f: os.access(f, os.X_OK), FILE),
    "is_symlink": (lambda f: f.is_symlink(), LINK),
    "lstat": (lambda f: f.lstat(), LINK),
    "os.path.lexists": (os.path.lexists, LINK),
    "realpath": (os.path.realpath, LINK),
    "resolve": (lambda f: f.resolve(), LINK),
}


@pytest.mark.parametrize(("look", "how"), LOOKS.values(), ids=LOOKS.keys())
def test_a_look_is_noted(look: Callable[[Path], object], how: bytes, folder: Path) -> None:
    witness = seen(lambda: look(folder / "f"))
    assert (how.decode(), "f") in looks(witness, folder)
    assert witness.spoilt == ""


@pytest.mark.parametrize("look", ["exists", "is_file", "is_symlink"])
def test_what_is_not_there_is_noted(look: str, folder: Path) -> None:
    witness = seen(getattr(folder / "none", look))
    assert {path for _, path in looks(witness, folder)} == {"none"}


@pytest.mark.parametrize("lists", [os.listdir, lambda d: list(os.scandir(d)), lambda d: list(d.glob("*"))])
def test_a_listing_is_noted_with_all_that_it_tells_of(lists: Callable[[Path], object], folder: Path) -> None:
    witness = seen(lambda: lists(folder / "d"))
    witness.testimony()
    assert {("d", "d"), ("l", "d/g"), ("l", "d/deep")} <= looks(witness, folder)


def test_what_a_build_reads_of_its_context_is_noted(folder: Path) -> None:
    sources = LocalSources(folder, NoCache())
    (folder / "ignored").mkdir()

    def read() -> None:
        context = LocalContext(folder, Ignore.parse("ignored", ".dockerignore"))
        context.fields(None, lambda path: sources.digest(str(path)))

    witness = seen(read)
    witness.testimony()
    found = looks(witness, folder.parent)
    assert {
        ("d", f"{folder.name}/"),
        *((how, f"{folder.name}/{p}") for how, p in [("d", "d"), ("f", "f"), ("l", "link")]),
    } <= found
    assert ("d", f"{folder.name}/ignored") not in found, "what is ignored is not walked, and may change"


def test_a_folder_that_is_only_passed_does_not_count_by_its_files(folder: Path) -> None:
    witness = seen((folder / "d").is_dir)
    (folder / "d" / "new").write_text("")
    witness.testimony()
    assert not witness.spoilt.startswith(f"{folder}/d changed")


def test_a_change_meanwhile_spoils(folder: Path) -> None:
    witness = seen((folder / "f").read_text)
    (folder / "f").write_text("other")
    witness.testimony()
    assert witness.spoilt == f"{folder}/f changed meanwhile"


def test_the_state_is_not_part_of_the_world_but_what_lies_beside_it_is(folder: Path) -> None:
    """A prerequisite in the state folder could change unseen."""
    (folder / "own").mkdir()
    witness = seen(lambda: (folder / "own" / "state.db").write_text(""), f"{folder}/own")
    assert (witness.spoilt, looks(witness, folder)) == ("", set())
    for name in ("own/x", "own-not"):
        beside = seen((folder / name).exists, f"{folder}/own")
        assert looks(beside, folder) == {("f", name)}


CACHES = ["__pycache__/m.cpython-311.pyc", "__pycache__/any", "m.pyc"]


@pytest.mark.parametrize("name", CACHES)
def test_bytecode_is_a_file_like_others_where_no_import_reads_it(name: str, folder: Path) -> None:
    """A context that took `__pycache__` along changed unseen."""
    path = folder / "d" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    assert ("f", f"d/{name}") in looks(seen(path.read_bytes), folder)
    witness = seen(lambda: list(os.scandir(path.parent)))
    witness.testimony()
    assert ("l", f"d/{name}") in looks(witness, folder)
    assert seen(lambda: path.write_bytes(b"")).spoilt


def test_what_is_installed_is_a_file_like_others_where_no_import_reads_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment in the repository, which an image copies, changed unseen."""
    library = folder / "lib" / "site-packages"
    library.mkdir(parents=True)
    (library / "installed_here.py").write_text("ONE = 1\n")
    monkeypatch.syspath_prepend(str(library))
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # as in a load: else the import changes the folder
    below = "lib/site-packages"
    imported = seen(lambda: importlib.import_module("installed_here"))
    imported.testimony()
    assert imported.spoilt == "" or "a moment ago" in imported.spoilt
    assert ("d", below) in looks(imported, folder)
    assert ("f", f"{below}/installed_here.py") not in looks(imported, folder)
    read = seen(lambda: ((library / "installed_here.py").read_text(), list(os.scandir(library))))
    read.testimony()
    assert {("f", f"{below}/installed_here.py"), ("l", f"{below}/installed_here.py")} <= looks(read, folder)


def test_what_changed_while_our_code_was_loaded_is_not_trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may run the code of before an upgrade, and see the files of after it."""
    monkeypatch.setattr(settled, "_asked", [time.time_ns()])
    threading.Event().wait(0.06)
    (folder / "f").write_text("newer")
    threading.Event().wait(0.06)
    witness = seen((folder / "f").read_text)
    witness.testimony()
    assert witness.spoilt.endswith("changed a moment ago")


def _tries(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).read_text()


DEEDS: dict[str, Callable[[Path], object]] = {
    "a process": lambda f: subprocess.run(["true"], check=True),
    "a shell": lambda f: os.system("true"),
    "a file written": lambda f: (f / "f").write_text("x"),
    "a file appended to": lambda f: (f / "f").open("a").close(),
    "a file removed": lambda f: (f / "f").unlink(),
    "a file renamed": lambda f: (f / "f").rename(f / "h"),
    "a folder made": lambda f: (f / "new").mkdir(),
    "a tree removed": lambda f: shutil.rmtree(f / "d"),
    "times set": lambda f: os.utime(f / "f"),
    "a name looked up": lambda f: socket.getaddrinfo("127.0.0.1", 1),
    "the kernel asked": lambda f: Path("/proc/uptime").read_text(),
    "the kernel asked by another mount": lambda f: _tries("/sys/fs/cgroup/none"),
    "standard input": lambda f: open(0, closefd=False).close(),
    "chance": lambda f: open("/dev/urandom", "rb").close(),  # noqa: PTH123
}


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
def test_whatever_is_done_spoils(deed: Callable[[Path], object], folder: Path) -> None:
    assert seen(lambda: deed(folder)).spoilt


def test_the_interpreter_is_left_as_it_was(folder: Path) -> None:
    before = [os.stat, os.lstat, os.readlink, os.access, set(os.supports_follow_symlinks), set(os.supports_dir_fd)]
    seen(lambda: None)
    assert [os.stat, os.lstat, os.readlink, os.access, os.supports_follow_symlinks, os.supports_dir_fd] == before


def test_two_do_not_watch_at_once() -> None:
    first, second = Witness(Path("/nowhere")), Witness(Path("/nowhere"))
    with watching(first), watching(second):
        pass
    assert (first.spoilt, second.spoilt) == ("", "another one is watching")
