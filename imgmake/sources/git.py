"""What git says of the repository around a folder, question by question; the only user of GitPython.

The commit and the branch are read from git's own small files (gitrepository-layout(5)), as importing GitPython
takes 110 ms and each process a few more; everything else asks git. Nothing here writes, not even git's index.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from git.cmd import Git

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")  # SHA-1 or SHA-256
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<user>[^/?#]*)@)?(?P<rest>[^?#]*)")
_STATUS = ("status", "--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=untracked")
_SUBMODULES = ("status", "--porcelain=v2", "-z", "--untracked-files=no", "--ignore-submodules=none", "--", ".")
_MARKED = re.compile(r"[hsS] 100[0-7]{3} (\w+) 0\t(.*)", re.DOTALL)  # files only
_UNTRACKED_INSIDE = re.compile(r"1 .. S..U ")  # of a submodule (git-status(1), version 2 of the format)
_KEEP_USER = {"ssh", "git+ssh", "ssh+git"}  # there the name is an address, and no secret


class LocalGit:
    """The port `Git` for the repository that holds `root`; nothing is remembered, so each answer is of now.

    >>> from tempfile import mkdtemp
    >>> LocalGit(Path(mkdtemp())).revision()
    ''
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._git: Git | None = None
        self._warning = ""

    def revision(self) -> str:
        """The full commit that is checked out."""
        folder = _git_folder(self._root)
        if folder is None:
            return ""
        # What the files do not tell may be told by git: a reftable, or a GIT_DIR in the environment.
        found = "" if "GIT_DIR" in os.environ else _commit(folder, "HEAD")
        return found or self._ask("rev-parse", "--verify", "--quiet", "HEAD", silent=True).strip()

    def short(self) -> str:
        """The commit as git abbreviates it: as many digits as this repository needs."""
        revision = self.revision()
        return revision and (self._ask("rev-parse", "--short", "HEAD").strip() or revision[:7])

    def time(self) -> int | None:
        """When the commit was made (the committer's date), in seconds since the epoch; None without one."""
        found = self._ask("show", "--no-patch", "--format=%ct", "HEAD").strip() if self.revision() else ""
        return int(found) if found.isdecimal() else None

    def url(self) -> str:
        """Where `origin`, or else the first remote, is; without credentials or query."""
        remotes = self._ask("remote").split() if self.revision() else []
        if not remotes:
            return ""
        name = "origin" if "origin" in remotes else remotes[0]
        return clean_url(self._ask("config", "--get", f"remote.{name}.url", silent=True).strip())

    def branch(self) -> str:
        """The branch that is checked out; empty on a detached HEAD."""
        if not self.revision():
            return ""
        folder = _git_folder(self._root)
        reference = _read(folder / "HEAD") if folder is not None and "GIT_DIR" not in os.environ else ""
        if not reference or reference.endswith("/.invalid"):  # the second: refs are kept in a reftable
            reference = "ref: " + self._ask("symbolic-ref", "--quiet", "HEAD", silent=True).strip()
        return reference.removeprefix("ref: refs/heads/") if reference.startswith("ref: refs/heads/") else ""

    def tag(self) -> str:
        """The tag on this very commit; of several the one that ``git describe`` prefers."""
        return self._ask("describe", "--tags", "--exact-match", "HEAD", silent=True).strip() if self.revision() else ""

    def describe(self) -> str:
        """``git describe --tags --always --dirty``."""
        # Not by its option: with it, describe writes the index whatever GIT_OPTIONAL_LOCKS says.
        found = self._ask("describe", "--tags", "--always").strip() if self.revision() else ""
        return f"{found}-dirty" if found and self.dirty() else found

    def dirty(self) -> bool:
        """Whether a tracked file of the repository differs from the commit, in the index or in the work tree."""
        return bool(self.revision() and (self._ask(*_STATUS) or self._overlooked()))

    def differing(self) -> Sequence[str]:
        """The tracked files that `dirty` speaks of; of a renamed one, its new name."""
        fields = iter(self._ask(*_STATUS).split("\0") if self.revision() else ())
        found = []
        for field in fields:  # "XY path", and after a renamed or copied one a field with where it was (git-status(1))
            found += [field[3:]] if field else []
            if "R" in field[:2] or "C" in field[:2]:
                next(fields, None)
        return tuple(sorted({*found, *(self._overlooked() if self.revision() else ())}))

    def _overlooked(self) -> Sequence[str]:
        """Tracked files that git was told to take as they are (git-update-index(1): assume-unchanged, skip-worktree).

        Those that are not there are no change: in a sparse checkout all others are such files.
        """
        listed = self._ask("ls-files", "-v", "-s", "-z", "--full-name", "--", ":/")
        marked = [found.groups() for field in listed.split("\0") if (found := _MARKED.match(field))]
        if not marked:
            return ()
        top = self._ask("rev-parse", "--show-toplevel").removesuffix("\n")
        there = [(blob, path) for blob, path in marked if Path(top, path).is_file()]
        parts = [[path for _, path in there[start : start + 500]] for start in range(0, len(there), 500)]
        now = [blob for paths in parts for blob in self._ask("-C", top, "hash-object", "--", *paths).split()]
        return [path for (blob, path), found in zip(there, now, strict=False) if blob != found]

    def untracked(self, folders: Collection[str] = ("",)) -> Sequence[str]:
        """Files in these folders (from the root, also outside of it) that are neither tracked nor ignored.

        Those of submodules, too; a repository in the repository that is none ends in ``/``.
        """
        if not folders or not self.revision():
            return ()
        root = os.path.abspath(self._root)  # noqa: PTH100 (lexically, as the folders are)
        wanted = [os.path.normpath(os.path.join(root, folder)) for folder in folders]  # noqa: PTH118
        places = [root, *(place for place in wanted if not _is_in(place, root))]
        found = {path for place in places for path in self._others(place) if any(_is_in(path, one) for one in wanted)}
        paths = (os.path.relpath(path, root) + "/" * path.endswith("/") for path in found)
        return tuple(sorted(path for path in paths if not path.startswith(".imgmake/")))

    def _others(self, folder: str) -> Iterator[str]:
        """Untracked, unignored files below a folder and in submodules there, in full; none where there is no git."""
        beside = folder != os.path.abspath(self._root)  # noqa: PTH100 (there may be no repository)
        listed = self._ask("-C", folder, "ls-files", "--others", "--exclude-standard", "-z", silent=beside)
        yield from (f"{folder}/{path}" for path in listed.split("\0") if path)
        top = _top(Path(folder))
        if (top / ".gitmodules").exists():
            told = self._ask("-C", folder, *_SUBMODULES, silent=True).split("\0")
            for path in (field.split(" ", 8)[8] for field in told if _UNTRACKED_INSIDE.match(field)):
                yield from self._others(f"{top}/{path}")

    def is_ancestor(self, older: str, newer: str) -> bool | None:
        """``git merge-base --is-ancestor``; None for a commit that is not here, and a "no" of a shallow clone.

        What lies beyond the depth of a shallow clone may well be an ancestor.
        """
        if not (_COMMIT.fullmatch(older) and _COMMIT.fullmatch(newer) and self.revision()):
            return None
        # How many commits `newer` lacks of `older`, one being as good as many; nothing is printed when one is not here.
        lacks = self._ask("rev-list", "--count", "--max-count=1", older, f"^{newer}", "--", silent=True).strip()
        if lacks != "1":
            return True if lacks == "0" else None
        return None if self._ask("rev-parse", "--is-shallow-repository").strip() == "true" else False

    def warning(self) -> str:
        """Why git could not answer a question asked so far, and what to do about it; empty when it could."""
        return self._warning

    def _ask(self, *words: str, silent: bool = False) -> str:
        """What git prints; nothing when it fails, which is a warning unless failing is an answer (`silent`)."""
        try:
            from git.exc import CommandError, GitCommandNotFound
        except ImportError:  # GitPython's word for: no git on the PATH
            self._warn("it is not installed")
            return ""
        try:
            out = self._commands().execute(["git", *words], stdout_as_string=False)
        except GitCommandNotFound:
            self._warn("it is not installed")
        except CommandError as error:
            self._judge(str(error.stderr or error), silent)
        else:
            return os.fsdecode(out) if isinstance(out, bytes) else ""
        return ""

    def _commands(self) -> Git:
        if self._git is None:
            from git.cmd import Git

            self._git = Git(os.fspath(self._root))
            # The first: `git status` would write the index it has refreshed, and a dry run writes nothing.
            self._git.update_environment(GIT_OPTIONAL_LOCKS="0", LC_ALL="C")
        return self._git

    def _judge(self, stderr: str, silent: bool) -> None:
        if "dubious ownership" in stderr or "unsafe repository" in stderr:
            command = f"git config --global --add safe.directory {_top(self._root)}"
            self._warn(f"the repository belongs to another user; to trust it: {command}")
        elif not silent:
            lines = [line.strip(" '") for line in stderr.splitlines() if "fatal:" in line or "error:" in line]
            self._warn((lines or stderr.splitlines() or ["it failed"])[0].partition("fatal: ")[2] or stderr.strip())

    def _warn(self, why: str) -> None:
        self._warning = self._warning or f"git could not be asked about {self._root}: {why}"


def clean_url(url: str) -> str:
    """A remote's address without password, query or fragment; a name is kept with ssh alone, where it is needed.

    >>> clean_url("https://user:token@example.com/a.git?x=1"), clean_url("git@example.com:a.git")
    ('https://example.com/a.git', 'git@example.com:a.git')
    """
    parts = _URL.match(url)
    if parts is None:
        return url
    scheme, rest = parts["scheme"], parts["rest"]
    name = (parts["user"] or "").partition(":")[0] if scheme.lower() in _KEEP_USER else ""
    return f"{scheme}://{name}{'@' if name else ''}{rest}"


def _is_in(path: str, folder: str) -> bool:
    return folder in ("/", path) or path.startswith(f"{folder}/")


def _git_folder(root: Path) -> Path | None:
    """Where git keeps what belongs to the work tree around `root`: git's own discovery, read-only."""
    for folder in _upwards(root):
        place = folder / ".git"
        if (place / "HEAD").exists():
            return place
        text = _read(place)
        if text.startswith("gitdir: "):  # a worktree or a submodule
            return folder / text.removeprefix("gitdir: ")
    return None


def _top(root: Path) -> Path:
    return next((folder for folder in _upwards(root) if (folder / ".git").exists()), root)


def _upwards(root: Path) -> Iterator[Path]:
    """The folder and those above it, in the same file system."""
    here = root.absolute()
    try:
        device = here.stat().st_dev
        for folder in (here, *here.parents):
            if folder.stat().st_dev != device:
                return
            yield folder
    except OSError:
        return


def _commit(folder: Path, reference: str, depth: int = 5) -> str:
    """What a reference leads to by the files: loose first, of this worktree and then of all, else packed."""
    common = folder / (_read(folder / "commondir") or ".")
    text = _read(folder / reference) or _read(common / reference)
    if text.startswith("ref: ") and depth:
        return _commit(folder, text.removeprefix("ref: ").strip(), depth - 1)
    if not text:
        lines = (line.partition(" ") for line in _read(common / "packed-refs").splitlines())
        text = next((commit for commit, _, name in lines if name == reference), "")
    return text if _COMMIT.fullmatch(text) else ""


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape").strip()
    except OSError:
        return ""
