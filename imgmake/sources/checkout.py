"""A clean checkout of one commit, beside the repository and gone afterwards; the user's tree and index are not touched.

A worktree of git's own (git-worktree(1)), so nothing is fetched and nothing is copied but the files of the commit.
It stands beside the repository and not in a temporary folder, so that relative paths out of it still hold. What a
killed run left behind is removed by the next one: each run holds a lock on its own.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from imgmake.errors import SourceError, UsageError
from imgmake.ports import undisturbed

_MARK = ".imgmake-"  # a worktree of ours is called .<repository>.imgmake-<commit>-<random>
_LOCK = "imgmake.lock"  # in the folder that git keeps for a worktree

# No hooks; and all files, also where the user's own tree shows only some (git-sparse-checkout(1)).
_SETTINGS = ("-c", "core.hooksPath=/dev/null", "-c", "core.sparseCheckout=false")

# What git sets for hooks, and people for repositories elsewhere (git(1)): in a clean checkout git would ask, and write,
# the user's own with it.
ABOUT_THE_USERS = frozenset(
    {"GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_PREFIX"}
)


@dataclass(frozen=True)
class Checkout:
    """Where a commit is checked out.

    folder:     stands for the folder that was asked about; below the work tree where that was.
    repository: folder of the user's own work tree.
    top:        folder of the clean one.
    commit:     in full.
    branch:     the branch that was asked for; empty when it was a tag or a commit.
    """

    folder: Path
    repository: Path
    top: Path
    commit: str
    branch: str = ""

    def inside(self, path: Path) -> Path:
        """A path of the user's work tree, in the clean one; any other as it is."""
        full = Path(os.path.realpath(path))
        return self.top / full.relative_to(self.repository) if full.is_relative_to(self.repository) else path


class _Commit(NamedTuple):
    name: str
    branch: str


@contextmanager
def clean_checkout(folder: Path, revision: str, warn: Callable[[str], object] | None = None) -> Iterator[Checkout]:
    """Check `revision` (a commit, tag or branch) out beside the repository that holds `folder`; remove it at the end.

    Submodules are checked out as the commit has them, from the user's own copies where these hold the commit.
    Hooks do not run: they belong to the user's tree. Meanwhile the process's environment names no repository.

    warn: hears when it cannot be removed; without it that is a SourceError.

    Raises:
        UsageError: no repository here, or no such revision, with what may have been meant.
        SourceError: git could not check it out, with its words.
    """
    git = _Repository(folder)
    with _unset(ABOUT_THE_USERS):
        commit = git.commit(revision)
        with _uninterrupted(git.common / "imgmake-worktrees.lock"):
            _sweep(git)
            top, lock = _add(git, commit.name)
        try:
            git.submodules(top, git.top)
            checkout = Checkout(top, git.top, top, commit.name, commit.branch)
            inside = checkout.inside(folder)
            if not inside.is_dir():
                raise UsageError(f"{revision} has no folder {inside.relative_to(top)}")
            yield Checkout(inside, git.top, top, commit.name, commit.branch)
        finally:
            with undisturbed():
                _removed(git, top, warn)
                os.close(lock)


def _removed(git: _Repository, top: Path, warn: Callable[[str], object] | None) -> None:
    try:
        git.remove(top)
    except SourceError as error:
        if warn is None:
            raise
        warn(f"{error.message}: {error.hint}")


@contextmanager
def _unset(names: Collection[str]) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


class _Repository:
    """The repository around a folder, and what a checkout asks of git."""

    def __init__(self, folder: Path) -> None:
        full = folder.absolute()
        self._folder = next(here for here in (full, *full.parents) if here.is_dir())  # the commit may have it
        self._where: tuple[str, ...] = ()
        try:
            self.top = Path(os.path.realpath(self.ask("rev-parse", "--show-toplevel")))
            self.common = Path(os.path.realpath(self._folder / self.ask("rev-parse", "--git-common-dir")))
            self._where = (f"--git-dir={self.ask('rev-parse', '--absolute-git-dir')}",)
        except SourceError as error:
            if "must be run in a work tree" in error.message:
                hint = "run it in a clone, or in a worktree of it"
                raise UsageError(f"--commit: {full} is in a bare repository, which has no files", hint=hint) from None
            raise UsageError(f"--commit: {full} is in no git repository", hint=error.message) from None
        self._folder = self.top

    def ask(self, *words: str, at: Path | None = None) -> str:
        """What git prints of the user's repository, or of the one `at` a folder. Raises SourceError with its words."""
        try:
            from git.cmd import Git
            from git.exc import CommandError
        except ImportError:  # GitPython's word for: no git on the PATH
            raise UsageError("--commit needs git, and it is not installed") from None
        git = Git(os.fspath(at or self._folder))
        git.update_environment(LC_ALL="C", GIT_TERMINAL_PROMPT="0")
        where = self._where if at is None else ()
        try:
            return str(git.execute(["git", *where, *_SETTINGS, *words]))
        except CommandError as error:
            told = str(error.stderr or error).strip().removeprefix("stderr: '").removesuffix("'").strip()
            raise SourceError(f"git {words[0]}: {told}") from None

    def commit(self, revision: str) -> _Commit:
        try:
            found = self.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        except SourceError:
            raise self._unknown(revision) from None
        branches = self.ask("for-each-ref", "--format=%(refname:strip=2)", "refs/heads").split()
        return _Commit(found.strip().splitlines()[-1], revision if revision in branches else "")

    def _unknown(self, revision: str) -> UsageError:
        names = self.ask("for-each-ref", "--format=%(refname:strip=2)", "refs/heads", "refs/tags", "refs/remotes")
        close = get_close_matches(revision, names.split(), n=1)
        hint = f"did you mean {close[0]}?" if close else "a commit, tag or branch of this repository; is it fetched?"
        return UsageError(f"--commit {revision}: there is no such commit", hint=hint)

    def submodules(self, top: Path, original: Path) -> None:
        """Clone each submodule into its place, at the commit that the tree names."""
        if not (top / ".gitmodules").is_file():
            return
        listed = self.ask("config", "-z", "--file", ".gitmodules", "--get-regexp", r"^submodule\..*\.path$", at=top)
        for one in filter(None, listed.split("\0")):
            key, _, path = one.partition("\n")  # either may hold spaces
            entry = self.ask("ls-tree", "HEAD", "--", path, at=top).split()
            if len(entry) > 2 and entry[1] == "commit":
                name, commit = key.removeprefix("submodule.").removesuffix(".path"), entry[2]
                try:
                    self._submodule(top, original, path, commit, name)
                except SourceError as error:
                    hint = error.hint or f"is its commit {commit[:7]} pushed?"
                    raise SourceError(f"submodule {path}: {error.message}", hint=hint) from None

    def _submodule(self, top: Path, original: Path, path: str, commit: str, name: str) -> None:
        own, target = original / path, top / path
        if (own / ".git").exists() and self._has(own, commit):
            self.ask("clone", "--quiet", "--shared", "--no-checkout", os.fspath(own), os.fspath(target), at=top)
            with suppress(SourceError):  # a copy without a remote of its own keeps the path it came from
                self.ask("remote", "set-url", "origin", self.ask("remote", "get-url", "origin", at=own), at=target)
        else:
            url = self._url(top, original, name)
            try:
                self.ask("clone", "--quiet", "--no-checkout", "--", url, os.fspath(target), at=top)
            except SourceError as error:
                raise SourceError(error.message, hint="git submodule update --init --recursive asks the same") from None
            if not self._has(target, commit):
                self.ask("fetch", "--quiet", "origin", commit, at=target)
        self.ask("checkout", "--quiet", "--detach", commit, at=target)
        # In a folder that the user never filled git would speak of the repository around it.
        self.submodules(target, own if (own / ".git").exists() else target)

    def _has(self, folder: Path, commit: str) -> bool:
        with suppress(SourceError):
            return bool(self.ask("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", at=folder))
        return False

    def _url(self, top: Path, original: Path, name: str) -> str:
        """As the user's clone knows it; else as the commit says, from the remote where that is relative."""
        with suppress(SourceError):
            return self.ask("config", "--get", f"submodule.{name}.url", at=original)
        url = self.ask("config", "--file", ".gitmodules", "--get", f"submodule.{name}.url", at=top)
        if not url.startswith(("./", "../")):
            return url
        return _joined(self._upstream(original), url)

    def _upstream(self, original: Path) -> str:
        """What a submodule's relative address starts from: the remote, or without one the repository itself."""
        with suppress(SourceError):
            return self.ask("remote", "get-url", "origin", at=original)
        return self.ask("rev-parse", "--show-toplevel", at=original)

    def remove(self, top: Path) -> None:
        """Also where git would not, as with a submodule in it, or folders that a recipe made read-only."""
        for folder, names, _ in os.walk(top):
            for path in (Path(folder, name) for name in names):
                with suppress(OSError):
                    if not path.is_symlink():
                        path.chmod(0o700)
        shutil.rmtree(top, ignore_errors=True)
        with suppress(SourceError):  # git locks one that it makes, and it was killed meanwhile
            self.ask("worktree", "unlock", os.fspath(top))
        self.ask("worktree", "prune")
        if top.exists():
            hint = "a container wrote files as another user; remove it by hand"
            raise SourceError(f"the clean checkout {top} could not be removed", hint=hint)

    def worktrees(self) -> list[Path]:
        listed = self.ask("worktree", "list", "--porcelain").splitlines()
        return [Path(line.removeprefix("worktree ")) for line in listed if line.startswith("worktree ")]


def _joined(remote: str, relative: str) -> str:
    """A submodule's relative address, from that of the repository (gitmodules(5)).

    >>> _joined("https://example.com/team/shop.git", "../lib.git")
    'https://example.com/team/lib.git'
    """
    scheme, mark, rest = remote.rpartition("://")
    return scheme + mark + os.path.normpath(f"{rest}/{relative}")


def _add(git: _Repository, commit: str) -> tuple[Path, int]:
    """A new worktree, and the open file whose lock says that it is in use."""
    try:
        top = Path(mkdtemp(prefix=f".{git.top.name}{_MARK}{commit[:7]}-", dir=git.top.parent))
    except OSError as error:
        hint = "the clean checkout stands beside the repository, so that relative paths out of it hold"
        raise SourceError(f"--commit: {git.top.parent} takes no new folder: {error.strerror}", hint=hint) from None
    try:
        top.chmod(0o755)  # containers of other users read it, as they read the user's own tree
        git.ask("worktree", "add", "--quiet", "--detach", os.fspath(top), commit)
        lock = os.open(_lock_of(git, top), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except BaseException:
        git.remove(top)
        raise
    return top, lock


def _lock_of(git: _Repository, top: Path) -> Path:
    return Path(git.ask("rev-parse", "--absolute-git-dir", at=top)) / _LOCK


def _sweep(git: _Repository) -> None:
    """Remove what killed runs left: worktrees of ours whose lock nobody holds, and folders that were to be one."""
    git.ask("worktree", "prune")
    for top in git.worktrees():
        if top.name.startswith(".") and _MARK in top.name:  # also those of runs in other worktrees of the user's
            with suppress(SourceError, OSError), _lock_of(git, top).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                git.remove(top)
    for folder in git.top.parent.glob(f".{glob.escape(git.top.name)}{_MARK}*"):
        with suppress(OSError):
            folder.rmdir()  # only an empty one lets itself be removed


@contextmanager
def _uninterrupted(path: Path) -> Iterator[None]:
    """One at a time, so that nobody sweeps what another is just making; and no Ctrl-C in the middle of it."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with undisturbed():
            yield
