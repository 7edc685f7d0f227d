"""What a process looks at and does, noted by the interpreter itself, whichever way it goes about it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

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


def test_the_state_folder_is_not_part_of_the_world(folder: Path) -> None:
    (folder / "own").mkdir()
    witness = seen(lambda: (folder / "own" / "x").write_text(""), f"{folder}/own")
    (folder / "own-not").mkdir()
    beside = seen((folder / "own-not").exists, f"{folder}/own")
    assert looks(witness, folder) == set()
    assert looks(beside, folder) == {("f", "own-not")}


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
