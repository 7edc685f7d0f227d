"""What git says, in every shape a checkout has; without git and in others' repositories there is no crash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imgmake.ports import Git
from imgmake.sources.git import LocalGit, clean_url

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of the machine's, and no repository around the test's."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for key in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{key}_NAME", "a")
        monkeypatch.setenv(f"GIT_{key}_EMAIL", "a@example.com")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def repository(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "a").write_text("a")
    (folder / ".gitignore").write_text("*.ignored\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return repository(tmp_path / "repo")


def facts(folder: Path) -> tuple[object, ...]:
    asked: Git = LocalGit(folder)
    told = (asked.revision(), asked.short(), asked.url(), asked.branch(), asked.tag(), asked.describe())
    return (*told, asked.dirty(), tuple(asked.untracked()))


def test_the_time_of_the_commit(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "1700000000 +0200")
    git(repo, "commit", "-q", "--allow-empty", "-m", "dated")
    assert LocalGit(repo).time() == 1_700_000_000
    assert LocalGit(tmp_path).time() is None


NOTHING = ("", "", "", "", "", "", False, ())


def test_a_clean_checkout(repo: Path) -> None:
    commit = git(repo, "rev-parse", "HEAD")
    assert facts(repo) == (commit, commit[:7], "", "main", "", commit[:7], False, ())
    git(repo, "remote", "add", "other", "https://example.com/other")
    git(repo, "remote", "add", "origin", "https://me:secret@example.com/a.git?token=x")
    git(repo, "tag", "v1.0")
    assert facts(repo)[2:6] == ("https://example.com/a.git", "main", "v1.0", "v1.0")


def test_a_first_remote_stands_in_for_origin(repo: Path) -> None:
    git(repo, "remote", "add", "upstream", "git@example.com:a.git")
    assert LocalGit(repo).url() == "git@example.com:a.git"


@pytest.mark.parametrize("change", ["work tree", "index", "deleted", "mode"])
def test_tracked_files_that_differ_are_dirty(repo: Path, change: str) -> None:
    if change == "deleted":
        (repo / "a").unlink()
    elif change == "mode":
        (repo / "a").chmod(0o755)
    else:
        (repo / "a").write_text("b")
    if change == "index":
        git(repo, "add", "a")
    asked = LocalGit(repo)
    assert (asked.dirty(), asked.describe().endswith("-dirty"), asked.untracked()) == (True, True, ())


@pytest.mark.parametrize("mark", ["assume-unchanged", "skip-worktree"])
def test_files_that_git_is_told_to_overlook_are_dirty_when_they_differ(repo: Path, mark: str) -> None:
    """A local configuration, hidden so, was published as the commit's."""
    (repo / "sub").mkdir()
    for name in ("sub/same", "sub/gone", "sub/with 'new\nline'"):
        (repo / name).write_text(name)
    git(repo, "config", "core.autocrlf", "input")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "more")
    git(repo, "update-index", f"--{mark}", "a", "sub/same", "sub/gone", "sub/with 'new\nline'")
    (repo / "sub/gone").unlink()
    (repo / "sub/same").write_bytes(b"sub/same")
    asked = LocalGit(repo / "sub")
    assert (asked.dirty(), asked.differing()) == (False, ())
    (repo / "a").write_text("mine")
    (repo / "sub/with 'new\nline'").write_text("mine")
    assert (asked.dirty(), asked.differing()) == (True, ("a", "sub/with 'new\nline'"))


def test_a_touched_file_is_not_dirty(repo: Path) -> None:
    os.utime(repo / "a", (1, 1))
    assert not LocalGit(repo).dirty()


def test_untracked_files_are_listed_by_name_from_the_root(repo: Path) -> None:
    (repo / "sub" / ".imgmake").mkdir(parents=True)
    (repo / ".imgmake").mkdir()
    for name in ("x.ignored", "new\nline", "sub/é \udcff", ".imgmake/lock"):
        (repo / name).touch()
    assert LocalGit(repo).untracked() == ("new\nline", "sub/é \udcff")
    assert LocalGit(repo / "sub").untracked() == ("é \udcff",)
    assert not LocalGit(repo).dirty()


def test_untracked_files_are_found_wherever_a_folder_is(repo: Path, tmp_path: Path) -> None:
    """In a context above the Pipefile, or in a submodule, they were published as if they were the commit's."""
    library, inner = repository(tmp_path / "lib"), repository(tmp_path / "inner")
    allow = ("-c", "protocol.file.allow=always", "submodule", "--quiet")
    git(library, *allow, "add", str(inner), "in side")
    git(library, "commit", "-q", "-m", "inner")
    git(repo, *allow, "add", str(library), "src/lib")
    git(repo, *allow, "update", "--init", "--recursive")
    git(repo, "commit", "-q", "-m", "lib")
    (repo / "deploy").mkdir()
    assert LocalGit(repo).untracked() == ()
    for path in ("deploy/new", "src/new", "src/lib/new", "src/lib/x.ignored", "src/lib/in side/new", "srcs"):
        (repo / path).touch()
    libraries = ("src/lib/in side/new", "src/lib/new")
    assert LocalGit(repo).untracked() == ("deploy/new", *libraries, "src/new", "srcs")
    assert LocalGit(repo).untracked(["src"]) == (*libraries, "src/new")
    assert LocalGit(repo).untracked(["src/lib/in side"]) == ("src/lib/in side/new",)
    assert LocalGit(repo / "deploy").untracked() == ("new",)
    assert LocalGit(repo / "deploy").untracked(["../src/lib"]) == tuple(f"../{path}" for path in libraries)
    assert LocalGit(repo / "deploy").untracked([".."]) == (
        "../src/lib/in side/new",
        "../src/lib/new",
        "../src/new",
        "../srcs",
        "new",
    )
    assert LocalGit(repo / "deploy").untracked([str(tmp_path), "../../nowhere"]) == ("new",)
    assert not LocalGit(repo).dirty()


def test_nothing_is_written(repo: Path) -> None:
    """``git status`` and ``git describe --dirty`` would refresh the index."""
    os.utime(repo / "a", (1, 1))
    index = repo / ".git/index"
    before = (index.read_bytes(), index.stat().st_mtime_ns)
    facts(repo)
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_a_detached_head_has_no_branch(repo: Path) -> None:
    commit = git(repo, "rev-parse", "HEAD")
    git(repo, "checkout", "-q", "--detach")
    assert (LocalGit(repo).revision(), LocalGit(repo).branch()) == (commit, "")


def test_packed_references_and_branches_with_slashes(repo: Path) -> None:
    git(repo, "checkout", "-q", "-b", "feature/x")
    git(repo, "pack-refs", "--all")
    assert not (repo / ".git/refs/heads/feature").exists()
    assert (LocalGit(repo).revision(), LocalGit(repo).branch()) == (git(repo, "rev-parse", "HEAD"), "feature/x")


def test_a_worktree_has_its_own_commit(repo: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    git(repo, "worktree", "add", "-q", "-b", "side", str(tree))
    (tree / "a").write_text("side")
    git(tree, "commit", "-q", "-am", "second")
    assert facts(tree)[0] == git(tree, "rev-parse", "HEAD") != facts(repo)[0]
    assert (LocalGit(tree).branch(), LocalGit(tree).dirty()) == ("side", False)
    git(tree, "pack-refs", "--all")
    assert LocalGit(tree).revision() == git(tree, "rev-parse", "HEAD")


def test_a_submodule_is_a_repository_of_its_own(repo: Path, tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner")
    git(inner, "commit", "-q", "--allow-empty", "-m", "inner")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
    assert LocalGit(repo / "sub").revision() == git(inner, "rev-parse", "HEAD")
    git(repo, "commit", "-q", "-m", "submodule")
    (repo / "sub/new").touch()
    assert not LocalGit(repo).dirty()
    (repo / "sub/a").write_text("changed")
    assert LocalGit(repo).dirty()


def test_a_shallow_clone(repo: Path, tmp_path: Path) -> None:
    git(repo, "commit", "-q", "--allow-empty", "-m", "second")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", str(clone))
    commit = git(repo, "rev-parse", "HEAD")
    assert facts(clone) == (commit, commit[:7], f"file://{repo}", "main", "", commit[:7], False, ())


def test_which_commit_comes_after_which(repo: Path, tmp_path: Path) -> None:
    first = git(repo, "rev-parse", "HEAD")
    git(repo, "commit", "-q", "--allow-empty", "-m", "second")
    second = git(repo, "rev-parse", "HEAD")
    git(repo, "checkout", "-q", "-b", "side", first)
    git(repo, "commit", "-q", "--allow-empty", "-m", "side")
    side = git(repo, "rev-parse", "HEAD")
    asked = LocalGit(repo)
    assert (asked.is_ancestor(first, second), asked.is_ancestor(second, first)) == (True, False)
    assert (asked.is_ancestor(second, side), asked.is_ancestor(side, second)) == (False, False)
    assert asked.is_ancestor(first, first) is True
    for older, newer in ((first, "0" * 40), ("0" * 40, first), ("HEAD", first), ("unknown", ""), (first, "--all")):
        assert asked.is_ancestor(older, newer) is None
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=1", "--no-single-branch", f"file://{repo}", str(clone))
    shallow = LocalGit(clone)
    assert (shallow.is_ancestor(first, second), shallow.is_ancestor(second, side)) == (None, None)
    assert LocalGit(tmp_path).is_ancestor(first, second) is None
    assert asked.warning() == shallow.warning() == ""


def test_the_files_that_differ_by_name(repo: Path) -> None:
    for name in ("b", "c", "é \n"):
        (repo / name).write_text(name * 100)
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "more")
    assert LocalGit(repo).differing() == ()
    git(repo, "mv", "b", "z")
    (repo / "c").unlink()
    (repo / "é \n").write_text("changed")
    (repo / "untracked").touch()
    assert LocalGit(repo).differing() == ("c", "z", "é \n")


def test_without_a_repository_or_a_commit_there_is_nothing_to_say(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    (tmp_path / "empty" / "a").touch()
    git(tmp_path / "empty", "add", "a")
    for folder in ("plain", "empty", "none"):
        assert facts(tmp_path / folder) == NOTHING


def test_anothers_repository_gives_a_warning_with_the_way_out(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    asked = LocalGit(repo)
    assert (asked.revision(), asked.branch(), asked.warning()) == (git_head(repo), "main", "")
    assert (asked.dirty(), asked.untracked(), asked.short(), asked.tag()) == (False, (), git_head(repo)[:7], "")
    assert asked.warning().endswith(f"git config --global --add safe.directory {repo}")


def git_head(repo: Path) -> str:
    return (repo / ".git/refs/heads/main").read_text().strip()


def test_a_broken_repository_gives_a_warning(repo: Path) -> None:
    shutil.rmtree(repo / ".git/objects")
    asked = LocalGit(repo)
    assert (asked.dirty(), asked.describe()) == (False, "")
    assert "not a git repository" in asked.warning()


def test_without_git_the_commit_is_still_known(repo: Path) -> None:
    text = "import sys; from pathlib import Path; from imgmake.sources.git import LocalGit\n"
    text += (
        "g = LocalGit(Path(sys.argv[1])); print(g.revision(), g.short(), g.branch(), g.dirty(), g.warning(), sep='|')"
    )
    environ = {**os.environ, "PATH": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", text, repo], env=environ, cwd=ROOT, capture_output=True, check=True, text=True
    )
    commit = git(repo, "rev-parse", "HEAD")
    assert done.stdout == f"{commit}|{commit[:7]}|main|False|git could not be asked about {repo}: it is not installed\n"
    assert done.stderr == ""


def test_commit_and_branch_cost_no_process_and_no_import(repo: Path) -> None:
    text = "import sys; from pathlib import Path; from imgmake.sources.git import LocalGit\n"
    text += "g = LocalGit(Path(sys.argv[1])); assert g.revision() and g.branch()\n"
    text += "print({'git', 'subprocess'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", text, repo], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("https://example.com/a.git", "https://example.com/a.git"),
        ("https://user@example.com:8443/a.git", "https://example.com:8443/a.git"),
        ("https://user:p@ss:w@example.com/a@b.git#x", "https://example.com/a@b.git"),
        ("https://example.com/a.git?private_token=x", "https://example.com/a.git"),
        ("ssh://git@example.com:22/a.git", "ssh://git@example.com:22/a.git"),
        ("ssh://git:secret@example.com/a.git", "ssh://git@example.com/a.git"),
        ("git@example.com:team/a.git", "git@example.com:team/a.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        ("", ""),
    ],
)
def test_urls_lose_credentials_and_queries(url: str, cleaned: str) -> None:
    assert clean_url(url) == cleaned
