"""The build context on a disk: what is listed, what counts, what is packed, and what is told when it is not there."""

from __future__ import annotations

import os
import socket
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from imgmake.dockerfile import ContextRead, analyse, parse
from imgmake.errors import Problems, SourceError
from imgmake.ignore import Ignore
from imgmake.model import Field
from imgmake.sources.context import LocalContext


def make(root: Path, *paths: str, **links: str) -> None:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            file.mkdir(exist_ok=True)
        else:
            file.write_bytes(os.fsencode(path))
    for name, text in links.items():
        (root / name.replace("__", "/")).symlink_to(text)


def reads(*lines: str, family: str = "buildkit") -> tuple[ContextRead, ...]:
    text = "\n".join(("FROM scratch", *lines))
    return analyse(parse(text, "Dockerfile"), stage=None, family=family, args={}, platform="linux/amd64").reads


def context(root: Path, ignore: str = "", family: str = "buildkit", exclude: tuple[str, ...] = ()) -> LocalContext:
    return LocalContext(root, Ignore.parse(ignore, ".dockerignore", family=family), exclude=exclude)


def listed(root: Path, *lines: str, ignore: str = "", family: str = "buildkit") -> list[str]:
    found = context(root, ignore, family)
    return [file.path for file in found.files(reads(*lines, family=family) if lines else None)]


def counted(root: Path, *lines: str, ignore: str = "") -> list[str]:
    found = context(root, ignore).fields(reads(*lines) if lines else None, lambda path: path.read_text())
    return [f"{field.kind} {field.name} {field.value}" for field in found]


BOTH = pytest.mark.parametrize("family", ["buildkit", "classic"])


# --- what is listed -------------------------------------------------------------------------------------------


def test_the_whole_context_sorted_parents_first(tmp_path: Path) -> None:
    make(tmp_path, "b/x", "b.txt", "a", "empty/", l="b")
    assert listed(tmp_path) == ["a", "b", "b/x", "b.txt", "empty", "l"]


@BOTH
def test_only_what_sources_take_and_the_folders_above(tmp_path: Path, family: str) -> None:
    make(tmp_path, "a/b/c.txt", "a/b/d.txt", "a/e", "lib/one.jar", "lib/two.jar", "lib/x/three.jar", "z")
    assert listed(tmp_path, "COPY a/b/c.txt /", family=family) == ["a", "a/b", "a/b/c.txt"]
    assert listed(tmp_path, "COPY lib/*.jar /x/", family=family) == ["lib", "lib/one.jar", "lib/two.jar"]
    assert listed(tmp_path, "COPY */x /x/", family=family) == ["lib", "lib/x", "lib/x/three.jar"]


@BOTH
def test_links_named_as_sources_are_followed(tmp_path: Path, family: str) -> None:
    make(tmp_path, "real/f", "real/sub/g", "other", to="real", file="to/f", absolute="/real/sub", inside="real")
    make(tmp_path, real__back="../other")
    found = listed(tmp_path, "COPY file /", family=family)
    assert found == ["file", "real", "real/f", "to"]
    assert listed(tmp_path, "COPY absolute /", family=family) == ["absolute", "real", "real/sub", "real/sub/g"]
    # Inside a folder that is copied a link is only a text.
    assert "other" not in listed(tmp_path, "COPY to /", family=family)


def test_only_buildkit_follows_links_before_a_wildcard(tmp_path: Path) -> None:
    make(tmp_path, "real/f", to="real")
    assert listed(tmp_path, "COPY to/* /x/") == ["real", "real/f", "to"]
    with pytest.raises(SourceError, match="matches nothing"):
        listed(tmp_path, "COPY to/* /x/", family="classic")


def test_links_that_go_in_a_circle_or_out_lead_to_nothing(tmp_path: Path) -> None:
    root = tmp_path / "context"
    make(tmp_path, "secret")
    make(root, "x", a="b", b="a", out="../secret", up="../../x")
    assert listed(root) == ["a", "b", "out", "up", "x"]
    with pytest.raises(Problems) as caught:
        listed(root, "COPY a out /")
    assert len(caught.value.errors) == 2
    # Going up ends at the context, as in a container's root.
    assert listed(root, "COPY up /") == ["up", "x"]


def test_copy_with_parents(tmp_path: Path) -> None:
    make(tmp_path, "a/package.json", "a/src/x", "b/c/package.json", "package.json", "d/e/f")
    assert listed(tmp_path, "COPY --parents **/package.json /") == [
        *("a", "a/package.json", "b", "b/c", "b/c/package.json", "package.json")
    ]
    assert listed(tmp_path, "COPY --parents d/./e/* /") == ["d", "d/e", "d/e/f"]


def test_a_mount_takes_names_with_wildcards_literally(tmp_path: Path) -> None:
    make(tmp_path, "a*", "ab")
    assert listed(tmp_path, "RUN --mount=source=a*,target=/x y") == ["a*"]


def test_an_ignored_folder_is_never_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "src/a", "node_modules/x/y", "other/z")
    walked: list[str] = []
    scandir = os.scandir

    def watched(path: str) -> object:
        walked.append(Path(path).name)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", watched)
    assert listed(tmp_path, ignore="node_modules") == ["other", "other/z", "src", "src/a"]
    assert sorted(walked[1:]) == ["other", "src"]
    walked.clear()
    listed(tmp_path, "COPY src /")
    assert walked[1:] == ["src"]


def test_folders_that_only_lead_to_an_exception(tmp_path: Path) -> None:
    make(tmp_path, "a/b/keep", "a/b/x", "a/c/x")
    (tmp_path / "a").chmod(0o700)
    assert listed(tmp_path, ignore="a\n!a/b/keep\n!a/c/none") == ["a", "a/b", "a/b/keep"]
    modes = {
        family: context(tmp_path, "a\n!a/b/keep", family).files(None)[0].mode for family in ("buildkit", "classic")
    }
    assert modes == {"buildkit": 0o700, "classic": 0o755}


def test_excluded_paths_are_in_no_context(tmp_path: Path) -> None:
    make(tmp_path, "report/x", "a")
    assert [file.path for file in context(tmp_path, exclude=("report",)).files(None)] == ["a"]


def test_sockets_are_left_out_and_fifos_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
    assert listed(tmp_path) == ["fifo"]
    assert [line.split(":")[1] for line in counted(tmp_path)] == ["fifo"]


# --- what counts ----------------------------------------------------------------------------------------------


def test_files_count_by_path_type_mode_and_content(tmp_path: Path) -> None:
    make(tmp_path, "d/f", "x", l="d/f")
    (tmp_path / "d").chmod(0o755)
    (tmp_path / "d/f").chmod(0o640)
    (tmp_path / "x").chmod(0o4755)
    assert counted(tmp_path) == [
        "folder d 0755:dir:",
        "file d/f 0640:file:d/f",
        "link l 0777:link:d/f",
        "file x 4755:file:x",
    ]


def test_folders_above_a_source_do_not_count(tmp_path: Path) -> None:
    make(tmp_path, "d/e/f")
    assert [line.split(" 0")[0] for line in counted(tmp_path, "COPY d/e/f /")] == ["file d/e/f"]
    assert [line.split(" 0")[0] for line in counted(tmp_path, "COPY d/e /")] == ["folder d/e", "file d/e/f"]


def test_a_named_link_counts_with_what_it_leads_to(tmp_path: Path) -> None:
    make(tmp_path, "one", "two", source="one")
    before = counted(tmp_path, "COPY source /")
    (tmp_path / "one").write_text("changed")
    changed = counted(tmp_path, "COPY source /")
    (tmp_path / "source").unlink()
    make(tmp_path, source="two")
    assert len({tuple(before), tuple(changed), tuple(counted(tmp_path, "COPY source /"))}) == 3


def test_only_what_is_taken_is_hashed(tmp_path: Path) -> None:
    make(tmp_path, "a", "b", "c")
    hashed: list[str] = []

    def digest(path: Path) -> str:
        hashed.append(path.name)
        return ""

    found = context(tmp_path, "b").fields(reads("COPY [ab] /x/"), digest)
    assert (hashed, found) == (["a"], (Field("file", "a", found[0].value),))


# --- what is missing ------------------------------------------------------------------------------------------


def told(root: Path, *lines: str, ignore: str = "", family: str = "buildkit", exclude: tuple[str, ...] = ()) -> str:
    with pytest.raises(SourceError) as caught:
        context(root, ignore, family, exclude).files(reads(*lines, family=family))
    return str(caught.value)


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    make(tmp_path, "src/main.py")
    assert told(tmp_path, "RUN x", "COPY src/mian.py /") == (
        "Dockerfile:3: COPY src/mian.py matches nothing in the build context\n  did you mean 'src/main.py'?"
    )
    assert counted(tmp_path, "COPY src/mian.py /") == []


def test_a_source_that_is_ignored(tmp_path: Path) -> None:
    make(tmp_path, "target/app.jar", ".imgmake/state", "report")
    assert "target/app.jar is ignored by .dockerignore:2" in told(tmp_path, "COPY target/app.jar /", ignore="a\ntarget")
    assert "target/app.jar is ignored by .dockerignore:1" in told(
        tmp_path, "COPY target/*.jar /", ignore="**/*.jar", family="classic"
    )
    assert ".imgmake is in no build context" in told(tmp_path, "COPY .imgmake/state /")
    assert "made from this image" in told(tmp_path, "COPY report /", exclude=("report",))


def test_a_pattern_that_matches_nothing_fails_as_the_builder_does(tmp_path: Path) -> None:
    make(tmp_path, "a")
    missing = context(tmp_path).missing(reads("COPY *.jar /x/"))
    assert [(found.read.pattern, found.fatal) for found in missing] == [("*.jar", False)]
    assert listed(tmp_path, "COPY *.jar /x/") == []
    assert "*.jar matches nothing" in told(tmp_path, "COPY *.jar /x/", family="classic")
    assert listed(tmp_path, "COPY *.jar a /x/", family="classic") == ["a"]
    assert "no pattern" in told(tmp_path, "COPY [a /x/")
    assert "matches nothing" in told(tmp_path, "COPY [a /x/", family="classic")


def test_buildkit_wants_the_folder_in_which_it_looks(tmp_path: Path) -> None:
    make(tmp_path, "lib/x.txt")
    assert listed(tmp_path, "COPY lib/*.jar /x/") == ["lib"]
    assert "matches nothing" in told(tmp_path, "COPY libs/*.jar /x/")


def test_a_source_that_leaves_the_context(tmp_path: Path) -> None:
    make(tmp_path, "x")
    assert "COPY ../x leaves the build context" in told(tmp_path, "COPY ../x /", family="classic")
    assert listed(tmp_path, "COPY ../x /") == ["x"]  # BuildKit takes the context for the root of all


def test_what_cannot_be_read_is_named_with_who_reads_it(tmp_path: Path) -> None:
    make(tmp_path, "d/f")

    def refuse(_: Path) -> str:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(SourceError, match=r"Dockerfile:2: 'd/f' cannot be read: Permission denied"):
        context(tmp_path).fields(reads("COPY d /"), refuse)


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "d/f")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("/d"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match="Dockerfile:2: the folder 'd' cannot be read: Permission denied"):
        listed(tmp_path, "COPY d /")


@pytest.mark.parametrize(("name", "message"), [("none", "No such file"), ("file", "is no folder")])
def test_a_context_that_is_none(tmp_path: Path, name: str, message: str) -> None:
    make(tmp_path, "file")
    with pytest.raises(SourceError, match=message):
        context(tmp_path / name)


def test_a_copied_git_folder_gets_a_hint(tmp_path: Path) -> None:
    make(tmp_path, ".git/HEAD", "a")
    (hint,) = context(tmp_path).hints(reads("RUN x", "COPY . /"))
    assert hint.startswith("Dockerfile:3 COPY . takes .git along")
    assert "add .git to .dockerignore" in hint
    assert context(tmp_path, ".git").hints(reads("COPY . /")) == ()
    assert context(tmp_path).hints(reads("COPY a /")) == ()


# --- what is packed -------------------------------------------------------------------------------------------


def test_a_tar_holds_the_files_as_they_are(tmp_path: Path) -> None:
    odd = ["two\nlines", "a b", "\"q'$x", os.fsdecode(b"caf\xe9"), "n" * 150]
    make(tmp_path, "d/f", *odd, l="d/f")
    (tmp_path / "d/f").chmod(0o4750)
    os.utime(tmp_path / "d/f", ns=(0, 1_700_000_000_123_456_789))
    (tmp_path / "d").chmod(0o1777)
    with context(tmp_path).tar(context(tmp_path).files(None)) as stream, opened(stream) as archive:
        found = {member.name: member for member in archive}
        assert set(found) == {"d", "d/f", "l", *odd}
        assert {(member.uid, member.gid, member.uname) for member in found.values()} == {(0, 0, "")}
        assert (found["d"].type, found["d"].mode) == (tarfile.DIRTYPE, 0o1777)
        assert (found["d/f"].mode, found["d/f"].pax_headers["mtime"]) == (0o4750, "1700000000.123456789")
        assert (found["l"].type, found["l"].linkname) == (tarfile.SYMTYPE, "d/f")
        content = archive.extractfile("d/f")
        assert content is not None
        assert content.read() == b"d/f"


def opened(stream: object) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, errors="surrogateescape")  # type: ignore[call-overload,no-any-return]


def test_a_large_context_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgmake.sources.context._IN_MEMORY", 1000)
    make(tmp_path, "a")
    with context(tmp_path).tar(context(tmp_path).files(None)) as stream:
        assert stat.S_ISREG(os.fstat(stream.fileno()).st_mode)


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.chmod(0)])
def test_a_file_that_cannot_be_packed(
    tmp_path: Path, change: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a")
    found = context(tmp_path)
    files = found.files(None)
    change(tmp_path / "a")
    if (tmp_path / "a").exists() and os.geteuid() == 0:  # whom no mode keeps out
        monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(SourceError, match="'a' cannot be read"), found.tar(files):
        pass
