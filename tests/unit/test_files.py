"""Files on a real disk: digests that follow content, patterns that agree with their pure twin, and bad files."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgmake.errors import SourceError
from imgmake.ports import Entry, Remembered
from imgmake.sources import globs
from imgmake.sources.files import LocalSources, NoCache, settled
from tests.fakes import MemoryCache

ODD = ["with space", "quote'\"", "new\nline", "100%", "$HOME", "\udcff\udcfe", "ünï", "-dash", "*star", "[b]"]


def local(root: Path) -> LocalSources:
    return LocalSources(root, NoCache())


def write(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(os.fsencode(path))


# --- stat -----------------------------------------------------------------------------------------------------


def test_stat_tells_the_type_and_does_not_follow_links(tmp_path: Path) -> None:
    write(tmp_path, "dir/file")
    (tmp_path / "link").symlink_to("dir")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    found = {name: local(tmp_path).stat(name) for name in ("dir", "dir/file", "link", "loop", "pipe")}
    assert {name: (e.type, e.link) for name, e in found.items() if e} == {
        "dir": ("dir", ""),
        "dir/file": ("file", ""),
        "link": ("link", "dir"),
        "loop": ("link", "loop"),
        "pipe": ("fifo", ""),
    }


@pytest.mark.parametrize("path", ["none", "none/below", "file/below", "x" * 300])
def test_stat_of_nothing_is_none(tmp_path: Path, path: str) -> None:
    write(tmp_path, "file")
    assert local(tmp_path).stat(path) is None


def test_stat_takes_absolute_paths_and_odd_names(tmp_path: Path) -> None:
    write(tmp_path, *ODD)
    files = local(tmp_path)
    for name in ODD:
        absolute = files.stat(str(tmp_path / name))
        assert files.stat(name) == (absolute and Entry(name, *[getattr(absolute, f) for f in _FIELDS]))


_FIELDS = ("type", "mode", "size", "mtime_ns", "link")


# --- digest ---------------------------------------------------------------------------------------------------


def test_digest_is_of_content_alone(tmp_path: Path) -> None:
    write(tmp_path, "a")
    files = local(tmp_path)
    first = files.digest("a")
    os.utime(tmp_path / "a", (1, 1))
    (tmp_path / "a").chmod(0o755)
    files.forget()
    assert files.digest("a") == first
    (tmp_path / "a").write_text("other")
    assert files.digest("a") == first, "one look a run"
    files.forget()
    assert files.digest("a") != first


def test_digest_of_a_link_is_that_of_what_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path, "dir/a")
    (tmp_path / "file-link").symlink_to("dir/a")
    (tmp_path / "dir-link").symlink_to("dir")
    files = local(tmp_path)
    assert (files.digest("file-link"), files.digest("dir-link")) == (files.digest("dir/a"), files.digest("dir/"))


def _rename(root: Path) -> None:
    (root / "d/a").rename(root / "d/b")


def _relink(root: Path) -> None:
    (root / "d/link").unlink()
    (root / "d/link").symlink_to("elsewhere")


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "d/a").write_text("other"),
    "executable bit": lambda root: (root / "d/a").chmod(0o755),
    "name": _rename,
    "link text": _relink,
    "new hidden file": lambda root: write(root, "d/.env"),
    "new empty folder": lambda root: (root / "d/empty").mkdir(),
    "deep file": lambda root: write(root, "d/x/y/z"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_digest_of_a_folder_changes_with(tmp_path: Path, change: str) -> None:
    write(tmp_path, "d/a", "d/x/y/other")
    (tmp_path / "d/link").symlink_to("nowhere")
    files = local(tmp_path)
    before = files.digest("d")
    files.forget()
    assert files.digest("d") == before
    CHANGES[change](tmp_path)
    files.forget()
    assert files.digest("d") != before


def test_digest_of_a_folder_ignores_times_owners_git_and_our_state(tmp_path: Path) -> None:
    write(tmp_path, "d/a")
    files = local(tmp_path)
    before = files.digest("d")
    write(tmp_path, "d/.git/index", "d/.imgmake/state.db", "d/sub/.git")
    (tmp_path / "d/a").chmod(0o600)
    os.utime(tmp_path / "d/a", (1, 1))
    (tmp_path / "d/sub/.git").unlink()
    (tmp_path / "d/sub").rmdir()
    files.forget()
    assert files.digest("d") == before


def test_digest_of_a_folder_survives_odd_names_and_loops(tmp_path: Path) -> None:
    write(tmp_path, *[f"d/{name}" for name in ODD])
    (tmp_path / "d/loop").symlink_to(".")
    (tmp_path / "d/dangling").symlink_to("none")
    assert len(local(tmp_path).digest("d")) == 64


@pytest.fixture
def bad(tmp_path: Path) -> Iterator[Path]:
    os.mkfifo(tmp_path / "a-fifo")
    (tmp_path / "fifo-link").symlink_to("a-fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("none")
    (tmp_path / "device").symlink_to("/dev/null")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder/deep-fifo")
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(tmp_path)  # a socket's name may have 107 bytes only
    server.bind("a-socket")
    os.chdir(here)
    with server:
        yield tmp_path


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("a-fifo", "a-fifo is a FIFO"),
        ("fifo-link", "fifo-link is a FIFO"),
        ("a-socket", "a-socket is a socket"),
        ("device", "device is a device"),
        ("folder", "folder/deep-fifo is a FIFO"),
        ("loop", "loop is a link that leads back to itself"),
        ("dangling", "dangling does not exist, or is a link to something"),
        ("none", "none does not exist"),
        ("none\n", r"'none\\n' does not exist"),
        ("\udcff", r"'\\udcff' does not exist"),
        ("a\0b", "holds a NUL"),
    ],
)
def test_what_is_no_file_is_said_and_never_opened(bad: Path, path: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        local(bad).digest(path)


@pytest.mark.parametrize("path", ["a-fifo", "loop", "none", "folder"])
def test_text_of_what_is_no_file_is_an_error(bad: Path, path: str) -> None:
    with pytest.raises(SourceError, match=path):
        local(bad).read_text(path)


@contextmanager
def nobody() -> Iterator[Path]:
    """A folder of one's own and no rights of root's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(user)


def test_what_may_not_be_read_is_an_error_that_names_it() -> None:
    with nobody() as root:
        write(root, "d/secret", "closed/a")
        (root / "d/secret").chmod(0)
        (root / "closed").chmod(0)
        files = local(root)
        for path, named in (("d/secret", "d/secret"), ("d", "d/secret"), ("closed", "closed"), (".", "closed|secret")):
            with pytest.raises(SourceError, match=f"({named}) cannot be read: Permission denied"):
                files.digest(path)
        with pytest.raises(SourceError, match="closed cannot be read"):
            files.glob("**/*")
        with pytest.raises(SourceError, match="cannot be removed"):
            files.remove("closed")
        (root / "closed").chmod(0o700)


# --- the fast path --------------------------------------------------------------------------------------------


def remembered(root: Path, path: str, value: str, *, later: float) -> Remembered:
    found = (root / path).stat()
    moment = found.st_ctime_ns + int(later * 1e9)
    return Remembered(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns, value, moment)


def test_a_settled_file_is_not_read_again(tmp_path: Path) -> None:
    write(tmp_path, "a")
    cache = MemoryCache()
    cache.entries["a"] = remembered(tmp_path, "a", "known", later=3)
    assert LocalSources(tmp_path, cache).digest("a") == "known"
    assert LocalSources(tmp_path, cache).digest(str(tmp_path / "a")) != "known"


def test_a_file_read_within_the_clocks_grain_of_its_change_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, "a")
    cache = MemoryCache()
    cache.entries["a"] = remembered(tmp_path, "a", "raced", later=0.001)
    assert LocalSources(tmp_path, cache).digest("a") == local(tmp_path).digest("a")


@pytest.mark.parametrize("position", range(4))
def test_any_difference_in_the_stat_reads_again(tmp_path: Path, position: int) -> None:
    write(tmp_path, "a")
    entry = remembered(tmp_path, "a", "known", later=3)
    field = Remembered._fields[position]
    cache = MemoryCache()
    cache.entries["a"] = entry._replace(**{field: getattr(entry, field) - 1})
    assert LocalSources(tmp_path, cache).digest("a") != "known"


def test_what_was_read_is_remembered_with_the_time_before_reading(tmp_path: Path) -> None:
    write(tmp_path, "d/a")
    cache = MemoryCache()
    LocalSources(tmp_path, cache, now_ns=lambda: 42).digest("d")
    assert (list(cache.entries), cache.entries["d/a"].read_ns) == (["d/a"], 42)
    assert cache.entries["d/a"].digest == local(tmp_path).digest("d/a")


def test_a_clock_of_whole_seconds_has_a_wider_grain() -> None:
    fine = Remembered(1, 5_000_000_001, 1, 5_000_000_001, "", 6_000_000_000)
    coarse = fine._replace(mtime_ns=5_000_000_000, ctime_ns=5_000_000_000)
    assert (settled(fine), settled(coarse), settled(coarse._replace(read_ns=8_000_000_000))) == (True, False, True)


def test_a_time_to_come_settles_nothing_but_a_set_one_does() -> None:
    seen = Remembered(1, 1, 1, 1_000_000_001, "", 9_000_000_000)
    assert settled(seen._replace(mtime_ns=99_000_000_000))
    assert not settled(seen._replace(ctime_ns=99_000_000_001))


def test_forget_in_another_thread_leaves_nothing_old_behind(tmp_path: Path) -> None:
    """A digest that was being made while the files changed must not outlive `forget`."""
    write(tmp_path, "a")
    reading, forgotten = threading.Event(), threading.Event()

    class Slow(MemoryCache):
        def remember(self, path: str, seen: Remembered) -> None:
            reading.set()
            forgotten.wait(60)

    files = LocalSources(tmp_path, Slow())
    thread = threading.Thread(target=files.digest, args=("a",))
    thread.start()
    assert reading.wait(60)
    (tmp_path / "a").write_text("new")
    files.forget()
    forgotten.set()
    thread.join()
    assert files.digest("a") == local(tmp_path).digest("a")


# --- patterns -------------------------------------------------------------------------------------------------


def test_glob_as_the_shell_does(tmp_path: Path) -> None:
    write(tmp_path, "a.go", "b.txt", "src/b.go", "src/x/c.go", ".hid/d.go", "src/.e.go", ".git/f.go", ".imgmake/g.go")
    files = local(tmp_path)
    results = {
        pattern: files.glob(pattern) for pattern in ("*.go", "**/*.go", "src/**", ".*/*.go", "src/.*", "./src//*")
    }
    assert results == {
        "*.go": ("a.go",),
        "**/*.go": ("a.go", "src/b.go", "src/x/c.go"),
        "src/**": ("src/b.go", "src/x/c.go"),
        ".*/*.go": (".hid/d.go",),
        "src/.*": ("src/.e.go",),
        "./src//*": ("src/b.go",),
    }


def test_glob_enters_a_linked_folder_only_when_it_is_named(tmp_path: Path) -> None:
    write(tmp_path, "real/a.c")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/up").symlink_to("..")
    files = local(tmp_path)
    assert files.glob("**/*.c") == ("real/a.c",)
    assert files.glob("link/*.c") == ("link/a.c",)
    assert files.glob("*") == ("link",)


def test_glob_of_absolute_patterns_and_of_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a.c", "below/x")
    files = local(tmp_path / "below")
    assert files.glob(f"{tmp_path}/*.c") == (f"{tmp_path}/a.c",)
    assert files.glob("../*.c") == ("../a.c",)
    assert (files.glob("*.none"), files.glob("no/such/*")) == ((), ())


NAMES = st.sampled_from(["a", "b", ".h", "a.c", "[x]", "a b", "\udcff", ".git", ".imgmake", "*", "\n"])
SEGMENTS = st.sampled_from(["a", "b", "*", "?", "**", "*.c", ".*", "[ab]", "[!a]", "[[]x]", ".h", ".git", "."])


@settings(max_examples=2 * settings().max_examples)
@given(
    st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=12),
    st.lists(SEGMENTS, min_size=1, max_size=4),
)
def test_glob_is_the_filter_of_the_walk_by_matches(paths: set[str], segments: list[str]) -> None:
    pattern = "/".join(segments)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path in sorted(paths):
            if not any(parent in paths for parent in map(str, Path(path).parents)):
                write(root, path)
        everything = [os.path.relpath(os.path.join(d, f), root) for d, _, names in os.walk(root) for f in names]  # noqa: PTH118
        assert local(root).glob(pattern) == tuple(sorted(p for p in everything if globs.matches(pattern, p)))


@pytest.mark.parametrize(
    ("pattern", "path", "taken"),
    [
        ("src/**", "src", False),
        ("**", "a/b", True),
        ("**/**/a", "a", True),
        ("a/**/b", "a/b", True),
        ("**/a/**/b", "x/a/a/y/b", True),
        ("*", ".hidden", False),
        ("**/x", ".hidden/x", False),
        ("[.]x", ".x", False),
        ("?x", ".x", False),
        ("[*]", "*", True),
        ("[*]", "x", False),
        ("[x", "[x", True),
        ("a*", "a\nb", True),
        ("*.C", "a.c", False),
        ("/a/*", "/a/b", True),
        ("/a/*", "a/b", False),
        ("**/.git/*", ".git/config", False),
        ("a**", "ab", True),
        ("a**", "a/b", False),
    ],
)
def test_matches(pattern: str, path: str, taken: bool) -> None:
    assert globs.matches(pattern, path) is taken


# --- the rest -------------------------------------------------------------------------------------------------


def test_tree_lists_files_and_links_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "d/b", "d/.a", "d/x/c", "d/.git/x", "e")
    (tmp_path / "d/x/up").symlink_to("..")
    files = local(tmp_path)
    assert files.tree("./d/") == ("d/.a", "d/b", "d/x/c", "d/x/up")
    assert files.tree(".") == ("d/.a", "d/b", "d/x/c", "d/x/up", "e")
    for path in ("none", "e"):
        with pytest.raises(SourceError, match=path):
            files.tree(path)


def test_text_keeps_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\r\n")
    assert local(tmp_path).read_text("a") == "\udcff\r\n"


def test_remove_takes_files_folders_and_links_but_not_what_links_lead_to(tmp_path: Path) -> None:
    write(tmp_path, "a", "d/x/y", "kept/z")
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "dangling").symlink_to("none")
    files = local(tmp_path)
    for path in ("a", "d", "link", "dangling", "none", "none/below"):
        files.remove(path)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["kept", "z"]


@pytest.mark.parametrize("path", ["", ".", "..", "a/..", "/", "../.."])
def test_the_repository_itself_is_never_removed(tmp_path: Path, path: str) -> None:
    write(tmp_path, "repo/a/x")
    files = local(tmp_path / "repo")
    with pytest.raises(SourceError, match="holds the whole repository"):
        files.remove(path)
    with pytest.raises(SourceError, match="holds the whole repository"):
        files.remove(str(tmp_path / "repo"))
    assert (tmp_path / "repo/a/x").exists()


def test_make_parent_makes_folders_and_says_what_is_in_the_way(tmp_path: Path) -> None:
    write(tmp_path, "file")
    files = local(tmp_path)
    files.make_parent("a/b/c")
    files.make_parent("top")
    assert ((tmp_path / "a/b").is_dir(), (tmp_path / "a/b/c").exists()) == (True, False)
    with pytest.raises(SourceError, match="file/x cannot be made"):
        files.make_parent("file/x")
