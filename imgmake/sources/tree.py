"""The entries of a build context: walked only where they are asked for, with ignored folders left alone.

Paths are text with bytes that are no UTF-8 as surrogates. Links are followed within the context only, where
they are named as a source; what lies inside a copied folder is taken as it is.
"""

# ruff: noqa: PTH115, PTH118 - paths stay strings: a Path costs 20 times more, and contexts are big

from __future__ import annotations

import os
import stat as modes
from collections.abc import Collection, Iterator
from pathlib import Path

from imgmake.errors import SourceError
from imgmake.ignore import Ignore, State

_KINDS = {modes.S_IFREG: "file", modes.S_IFDIR: "dir", modes.S_IFLNK: "link", modes.S_IFIFO: "fifo"}
_KINDS |= {modes.S_IFCHR: "device", modes.S_IFBLK: "device"}  # no sockets: docker leaves them out
_MOST_LINKS = 255  # as fsutil and Linux itself give up


class Node:
    """One entry; `ignored` only for a folder that is walked for the exceptions below it."""

    __slots__ = ("children", "ignored", "kind", "link", "mode", "mtime_ns", "parent", "path", "size", "state")

    def __init__(self, path: str, kind: str, found: os.stat_result, state: State, parent: Node | None) -> None:
        self.path, self.kind, self.state, self.parent = path, kind, state, parent
        self.mode, self.size, self.mtime_ns = modes.S_IMODE(found.st_mode), found.st_size, found.st_mtime_ns
        self.link = ""
        self.ignored = False
        self.children: dict[str, Node] | None = None


class Tree:
    """The entries below `folder` that `ignore` leaves; `exclude` names more paths that are kept out.

    A folder that holds nothing else is kept out with them.

    Raises SourceError when the folder, or one below it, cannot be read.
    """

    def __init__(self, folder: Path, ignore: Ignore, exclude: Collection[str] = ()) -> None:
        self.folder = os.fspath(folder)
        self._ignore = ignore
        self._exclude = frozenset(exclude)
        self._leading = {path[:i] for path in self._exclude for i, char in enumerate(path) if char == "/"}
        try:
            found = folder.stat()
        except OSError as error:
            raise SourceError(f"the build context {folder} cannot be used: {error.strerror}") from error
        if not modes.S_ISDIR(found.st_mode):
            raise SourceError(f"the build context {folder} is no folder")
        self.root = Node("", "dir", found, ignore.start, None)

    def full(self, node: Node) -> str:
        return os.path.join(self.folder, node.path)

    def children(self, node: Node) -> dict[str, Node]:
        """The entries of a folder by name, sorted; folders that only lead to exceptions are among them."""
        if node.children is None:
            found: dict[str, Node] = {}
            try:
                with os.scandir(self.full(node)) as entries:
                    for entry in sorted(entries, key=lambda entry: entry.name):
                        if (child := self._entry(node, entry)) is not None:
                            found[entry.name] = child
            except OSError as error:
                where = node.path or self.folder
                raise SourceError(f"the folder {where!r} cannot be read: {error.strerror}") from error
            node.children = found
        return node.children

    def _entry(self, parent: Node, entry: os.DirEntry[str]) -> Node | None:
        path = f"{parent.path}/{entry.name}" if parent.path else entry.name
        if path in self._exclude:
            return None
        judged = self._ignore.judge(path, parent.state)
        if judged.ignored and (not entry.is_dir(follow_symlinks=False) or self._ignore.prunes(path)):
            return None
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None  # gone since the folder was listed
        kind = _KINDS.get(modes.S_IFMT(found.st_mode))
        if kind is None:
            return None
        node = Node(path, kind, found, judged.state, parent)
        node.ignored = judged.ignored
        if kind == "link":
            node.link = os.readlink(self.full(node))
        if judged.ignored and self._ignore.implies_parents:
            node.mode = 0o755  # what the engine gives to a folder that it was not sent
        if kind == "dir" and path in self._leading and not self.children(node):
            return None  # it may only have been made for what is kept out
        return node

    def exists(self, node: Node) -> bool:
        """Whether a builder sees it: an ignored folder only for the sake of something below it."""
        if not node.ignored or self._ignore.keeps_walked:
            return True
        return any(self.exists(child) for child in self.children(node).values())

    def below(self, node: Node) -> Iterator[Node]:
        """The entry and all below it that a builder sees, parents first."""
        if node.parent is not None and self.exists(node):
            yield node
        if node.kind == "dir":
            for child in self.children(node).values():
                yield from self.below(child)

    def resolve(self, path: str, start: Node | None = None) -> tuple[Node | None, list[Node]]:
        """What `path` leads to, links followed within the context, and the links on the way."""
        node, links = start or self.root, list[Node]()
        pending = path.split("/")[::-1]
        while pending:
            name = pending.pop()
            if name in ("", ".", ".."):
                node = node.parent or node if name == ".." else node
                continue
            child = self.children(node).get(name) if node.kind == "dir" else None
            if child is None or len(links) > _MOST_LINKS or not self.exists(child):
                return None, links
            if child.kind == "link":
                links.append(child)
                pending += child.link.split("/")[::-1]
                node = self.root if child.link.startswith("/") else node
            else:
                node = child
        return node, links
