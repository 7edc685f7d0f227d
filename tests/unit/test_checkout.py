"""A clean checkout: exactly one commit, beside the repository, gone afterwards, and nothing of the user's touched."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from imgmake.app.commit import at_commit
from imgmake.app.options import Options
from imgmake.app.wiring import load
from imgmake.errors import SourceError, UsageError
from imgmake.model import ImageRule
from imgmake.sources.checkout import clean_checkout
from imgmake.sources.git import LocalGit
from tests import forked
from tests.fakes import RecordingReporter
from tests.unit.test_git import _alone, git, repository

__all__ = ["_alone"]  # a fixture: no configuration of the machine's


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Two commits on main, a tag on the first, and a tree that is dirty in every way."""
    top = repository(tmp_path / "shop")
    git(top, "tag", "v1")
    (top / "a").write_text("second")
    (top / "sub").mkdir()
    (top / "sub" / "b").write_text("b")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "second")
    (top / "a").write_text("changed")
    (top / "staged").write_text("staged")
    git(top, "add", "staged")
    (top / "new").write_text("untracked")
    return top


def seen(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.relative_to(folder).parts]
    return {str(path.relative_to(folder)): path.read_text() for path in files if path.name != ".git"}


def left(top: Path) -> list[str]:
    return sorted(path.name for path in top.parent.iterdir() if path.name.startswith(".shop.imgmake-"))


@pytest.mark.parametrize(
    ("revision", "a", "branch"),
    [("main", "second", "main"), ("v1", "a", ""), ("HEAD~1", "a", ""), ("HEAD", "second", "")],
)
def test_it_holds_exactly_that_commit(repo: Path, revision: str, a: str, branch: str) -> None:
    with clean_checkout(repo, revision) as checkout:
        expected = {".gitignore": "*.ignored\n", "a": a} | ({"sub/b": "b"} if a == "second" else {})
        assert seen(checkout.folder) == expected
        assert checkout.branch == branch
        assert checkout.commit == git(repo, "rev-parse", f"{revision}^{{commit}}")
        assert checkout.folder.parent == repo.parent


def test_the_users_tree_index_and_branches_stay_as_they_are(repo: Path) -> None:
    before = (seen(repo), (repo / ".git/index").read_bytes(), git(repo, "for-each-ref"), git(repo, "status", "-s"))
    with clean_checkout(repo, "v1") as checkout:
        (checkout.folder / "a").write_text("built")
    after = (seen(repo), (repo / ".git/index").read_bytes(), git(repo, "for-each-ref"), git(repo, "status", "-s"))
    assert after == before
    assert left(repo) == []
    assert len(git(repo, "worktree", "list").splitlines()) == 1


def test_a_folder_of_the_repository_is_found_again(repo: Path) -> None:
    with clean_checkout(repo / "sub", "main") as checkout:
        assert seen(checkout.folder) == {"b": "b"}
        assert checkout.inside(repo / "sub" / "b") == checkout.folder / "b"
        assert checkout.inside(Path("/etc/hostname")) == Path("/etc/hostname")
    with pytest.raises(UsageError, match="v1 has no folder sub"), clean_checkout(repo / "sub", "v1"):
        pass
    assert left(repo) == []


def test_a_sparse_checkout_is_the_users_alone(repo: Path) -> None:
    """The clean one was sparse, too: an image lacked files of the commit that its provenance named."""
    git(repo, "stash", "-q")
    git(repo, "sparse-checkout", "set", "--no-cone", "/.gitignore")
    assert not (repo / "sub").exists()
    with clean_checkout(repo, "main") as checkout:
        assert seen(checkout.folder) == {".gitignore": "*.ignored\n", "a": "second", "sub/b": "b"}
        assert git(checkout.folder, "status", "--porcelain") == ""
    assert not (repo / "sub").exists()


def test_hooks_do_not_run(repo: Path) -> None:
    hook = repo / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch ran\n")
    hook.chmod(0o755)
    with clean_checkout(repo, "main") as checkout:
        assert not (checkout.folder / "ran").exists()


def test_submodules_are_as_the_commit_has_them_and_need_no_remote(repo: Path, tmp_path: Path) -> None:
    library = repository(tmp_path / "lib")
    inner = repository(tmp_path / "inner")
    git(library, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "inner")
    git(library, "commit", "-q", "-m", "inner")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "vendor/lib")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init", "--recursive")
    git(repo, "commit", "-q", "-m", "lib")
    (library / "a").write_text("newer")
    git(library, "commit", "-q", "-am", "newer")
    (repo / "vendor/lib/a").write_text("dirty")
    config = (repo / ".git/config").read_bytes()
    library.rename(tmp_path / "gone")  # the user's own copy is enough
    inner.rename(tmp_path / "gone too")
    with clean_checkout(repo, "main") as checkout:
        assert (checkout.folder / "vendor/lib/a").read_text() == "a"
        assert (checkout.folder / "vendor/lib/inner/a").read_text() == "a"
        assert git(checkout.folder, "status", "--porcelain") == ""
    assert (repo / ".git/config").read_bytes() == config
    assert (repo / "vendor/lib/a").read_text() == "dirty"
    assert left(repo) == []


def test_a_submodule_that_was_never_fetched_is_cloned(repo: Path, tmp_path: Path) -> None:
    library = repository(tmp_path / "lib")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    git(repo, "commit", "-q", "-m", "lib")
    fresh = tmp_path / "fresh" / "shop"
    git(tmp_path, "clone", "-q", str(repo), str(fresh))
    with clean_checkout(fresh, "main") as checkout:
        assert (checkout.folder / "lib/a").read_text() == "a"


def test_a_submodule_may_have_spaces_in_its_path(repo: Path, tmp_path: Path) -> None:
    """It was silently left out: git's line was split at the first space of the key."""
    library = repository(tmp_path / "lib")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "vendor libs/a b")
    git(repo, "commit", "-q", "-m", "lib")
    with clean_checkout(repo, "main") as checkout:
        assert (checkout.folder / "vendor libs/a b/a").read_text() == "a"


def test_a_relative_address_in_a_submodule_starts_from_that_submodule(repo: Path, tmp_path: Path) -> None:
    """In a clone that had not fetched them, it started from the repository's own remote."""
    inner, library = repository(tmp_path / "far/inner"), repository(tmp_path / "far/lib")
    (inner / "a").write_text("inner")
    git(inner, "commit", "-q", "-am", "inner")
    git(library, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../inner", "inner")
    git(library, "commit", "-q", "-m", "inner")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    git(repo, "commit", "-q", "-m", "lib")
    git(tmp_path, "clone", "-q", str(repo), str(tmp_path / "fresh/shop"))
    with clean_checkout(tmp_path / "fresh/shop", "main") as checkout:
        assert (checkout.folder / "lib/inner/a").read_text() == "inner"


def test_a_relative_address_without_a_remote_starts_from_the_repository(repo: Path, tmp_path: Path) -> None:
    repository(tmp_path / "lib")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../lib", "lib")
    git(repo, "commit", "-q", "-m", "lib")
    git(repo, "submodule", "--quiet", "deinit", "--force", "lib")
    with clean_checkout(repo, "main") as checkout:
        assert (checkout.folder / "lib/a").read_text() == "a"


def test_a_submodule_that_cannot_be_had_is_named(repo: Path, tmp_path: Path) -> None:
    """All that one read was `git fetch: not our ref`, with a hash that is nowhere."""
    library = repository(tmp_path / "lib")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    git(repo / "lib", "commit", "-q", "--allow-empty", "-m", "not pushed")
    git(repo, "add", "lib")
    git(repo, "commit", "-q", "-m", "lib")
    fresh = tmp_path / "fresh" / "shop"
    git(tmp_path, "clone", "-q", str(repo), str(fresh))
    commit = git(repo / "lib", "rev-parse", "HEAD")[:7]
    with (
        pytest.raises(SourceError, match=rf"submodule lib: git fetch(.|\n)*is its commit {commit} pushed"),
        clean_checkout(fresh, "main"),
    ):
        pass
    assert left(fresh) == []


def test_a_submodule_that_cannot_be_cloned_is_no_matter_of_its_commit(repo: Path, tmp_path: Path) -> None:
    library = repository(tmp_path / "lib")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    git(repo, "commit", "-q", "-m", "lib")
    git(tmp_path, "clone", "-q", str(repo), str(tmp_path / "fresh/shop"))
    library.rename(tmp_path / "gone")
    with (
        pytest.raises(SourceError, match=r"submodule lib: git clone(.|\n)*does not exist\n  git submodule update"),
        clean_checkout(tmp_path / "fresh/shop", "main"),
    ):
        pass


@pytest.mark.parametrize(
    "given",
    [{"GIT_INDEX_FILE": ".git/index"}, {"GIT_DIR": ".git", "GIT_WORK_TREE": ".", "GIT_PREFIX": ""}],
    ids=["as for a hook", "elsewhere"],
)
def test_what_the_environment_says_of_the_users_repository_holds_for_that_alone(
    repo: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    """In a pre-commit hook git wrote the checkout's files into the user's index, and the commit deleted the others."""
    before = (git(repo, "status", "-s"), git(repo, "diff", "--cached"))
    environ = {name: str(repo / value) if value else "" for name, value in given.items()}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    options = Options(directory=repo, file=Path("a"), commit="v1", environ=environ)
    with at_commit(options, RecordingReporter()) as moved:
        assert LocalGit(moved.directory).revision() == git(repo, "rev-parse", "v1")
        assert not LocalGit(moved.directory).dirty()
        assert moved.environ == {}
    assert {name: os.environ[name] for name in environ} == environ
    for name in environ:
        monkeypatch.delenv(name)
    assert (git(repo, "status", "-s"), git(repo, "diff", "--cached")) == before


def test_an_unknown_revision_says_what_may_be_meant(repo: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"mian: there is no such commit\n  did you mean main\?"),
        clean_checkout(repo, "mian"),
    ):
        pass
    with pytest.raises(UsageError, match="no such commit"), clean_checkout(repo, "--all"):
        pass
    assert left(repo) == []


def test_without_a_repository_it_says_so(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is in no git repository"), clean_checkout(tmp_path, "main"):
        pass
    git(tmp_path, "clone", "-q", "--bare", str(repo), str(tmp_path / "bare"))
    with pytest.raises(UsageError, match="is in a bare repository"), clean_checkout(tmp_path / "bare", "main"):
        pass


def test_files_that_git_would_not_remove_are_removed(repo: Path) -> None:
    with clean_checkout(repo, "main") as checkout:
        (checkout.folder / "new folder").mkdir()
        (checkout.folder / "new folder" / "made").write_text("by a recipe")
        (checkout.folder / "new folder").chmod(0o500)
    assert left(repo) == []


def test_what_cannot_be_removed_is_told_and_fails_nothing(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that had published everything ended with exit code 2, for a file that a container wrote as root."""
    told: list[str] = []
    with clean_checkout(repo, "main", told.append) as checkout:
        monkeypatch.setattr("imgmake.sources.checkout.shutil.rmtree", lambda *_, **__: None)  # as of another user
    hint = "a container wrote files as another user; remove it by hand"
    assert told == [f"the clean checkout {checkout.folder} could not be removed: {hint}"]


def test_a_failure_inside_leaves_nothing(repo: Path) -> None:
    with pytest.raises(SourceError), clean_checkout(repo, "main"):
        raise SourceError("failed")
    assert left(repo) == []


def test_a_command_line_moves_there_and_images_are_still_called_after_the_repository(repo: Path) -> None:
    (repo / "sub" / "Pipefile.py").write_text('from imgmake import image\nimage("app", dockerfile="app.df")\n')
    git(repo, "add", "sub")
    git(repo, "commit", "-q", "-m", "pipefile")
    heard = RecordingReporter()
    options = Options(directory=repo / "sub", file=Path("Pipefile.py"), commit="main")
    with at_commit(options, heard) as moved:
        assert moved.directory == (repo.parent / left(repo)[0]) / "sub"
        assert (moved.branch, moved.commit, moved.file) == ("main", None, moved.directory / "Pipefile.py")
        (rule,) = load(moved).rules
        assert isinstance(rule, ImageRule)
        assert rule.tags == ("sub-app",)
    assert f"clean checkout of main ({git(repo, 'rev-parse', '--short=7', 'main')})" in heard.notes


def test_a_folder_that_only_the_commit_has_is_no_mistake(repo: Path) -> None:
    """git was asked in the folder of the process instead, and that ended as a defect."""
    (repo / "sub/b").unlink()
    (repo / "sub").rmdir()
    with clean_checkout(repo / "sub", "main") as checkout:
        assert seen(checkout.folder) == {"b": "b"}
    with pytest.raises(UsageError, match="main has no folder nope/deep"), clean_checkout(repo / "nope/deep", "main"):
        pass


def test_a_pipefile_is_the_commits(repo: Path, tmp_path: Path) -> None:
    """One of another folder ran there, as if there were no --commit."""
    (tmp_path / "other.py").touch()
    for file, message in (("../other.py", "is not in the repository"), (None, "--commit v1 has no Pipefile.py")):
        options = Options(directory=repo, file=repo / file if file else None, commit="v1")
        with pytest.raises(UsageError, match=message), at_commit(options, RecordingReporter()):
            pass
    assert left(repo) == []


HOLDS = """
import sys, time
from pathlib import Path
from imgmake.sources.checkout import clean_checkout
with clean_checkout(Path(sys.argv[1]), "main") as checkout:
    print(checkout.folder, flush=True)
    time.sleep(60)
"""


def start(repo: Path) -> tuple[forked.Started, Path]:
    process = forked.start(HOLDS, repo)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_an_interrupt_removes_it(repo: Path) -> None:
    process, folder = start(repo)
    with process:
        assert (folder / "a").exists()
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert left(repo) == []


def test_what_was_killed_while_it_was_made_is_removed_by_the_next_one(repo: Path) -> None:
    """git's lock on a worktree that it is making kept it in `git worktree list` for ever."""
    other = repo.parent / "other"
    git(repo, "worktree", "add", "-q", "--detach", str(other))
    made = [repo.parent / name for name in (".shop.imgmake-1234567-half", ".other.imgmake-1234567-half")]
    for top in made:
        git(repo, "worktree", "add", "-q", "--detach", str(top))
        git(repo, "worktree", "lock", "--reason", "initializing", str(top))
    (repo.parent / ".shop.imgmake-1234567-begun").mkdir()
    with clean_checkout(repo, "main"):
        assert len(left(repo)) == 1
    assert git(repo, "worktree", "list").splitlines() == git(other, "worktree", "list").splitlines()
    assert len(git(repo, "worktree", "list").splitlines()) == 2
    assert not made[1].exists()


def test_what_a_killed_run_left_is_removed_by_the_next_one_and_what_is_in_use_is_not(repo: Path) -> None:
    killed, dead = start(repo)
    running, used = start(repo)
    with killed, running:
        killed.kill()
        killed.wait(30)
        assert dead.exists()
        with clean_checkout(repo, "main") as checkout:
            assert not dead.exists()
            assert (used / "a").exists()
            assert sorted(left(repo)) == sorted([used.name, checkout.folder.name])
        running.send_signal(signal.SIGINT)
        running.wait(30)
    deadline = time.monotonic() + 10
    while left(repo) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left(repo) == []
