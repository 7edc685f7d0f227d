"""In-memory twins of the clock, the files, the cache of digests and git; they touch no disk."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imgmake.errors import SourceError
from imgmake.fingerprint import digest
from imgmake.model import Field
from imgmake.ports import Entry, Remembered
from imgmake.sources import globs

Event = tuple[Any, ...]


class FakeClock:
    """A clock that moves only when told."""

    def __init__(self, now: float = 1_562_106_979.0) -> None:  # 2019-07-02 22:36:19 UTC
        self.time = now

    def now(self) -> float:
        return self.time

    def tick(self, seconds: float = 1.0) -> float:
        self.time += seconds
        return self.time


@dataclass
class Node:
    """One file, folder, link or pipe of a `MemorySources`."""

    type: str
    data: bytes = b""
    mode: int = 0o644
    mtime_ns: int = 0
    link: str = ""


class MemorySources:
    """Files in a dict, with modes, links and the time of a fake clock.

    >>> files = MemorySources({"src/a.c": "int a;"})
    >>> files.glob("**/*.c"), files.log
    (('src/a.c',), [('glob', '**/*.c')])
    """

    def __init__(self, files: Mapping[str, str | bytes] | None = None, *, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.nodes: dict[str, Node] = {}
        self.log: list[Event] = []
        for path, content in (files or {}).items():
            self.write(path, content)

    # What a test or a fake recipe does; never logged.

    def write(self, path: str, content: str | bytes = b"", mode: int | None = None) -> None:
        """Write as a user would: folders are made, the mode of a file that is there is kept."""
        key = self._key(path)
        before = self.nodes.get(key)
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        kept = before.mode if before else 0o644
        self._put(key, Node("file", data, kept if mode is None else mode))

    def symlink(self, path: str, to: str) -> None:
        self._put(self._key(path), Node("link", link=to, mode=0o777))

    def fifo(self, path: str) -> None:
        self._put(self._key(path), Node("fifo"))

    def mkdir(self, path: str) -> None:
        self._folders(self._key(path) + "/x")

    def touch(self, path: str) -> None:
        self.nodes[self._key(path)].mtime_ns = self._now()

    def chmod(self, path: str, mode: int) -> None:
        self.nodes[self._key(path)].mode = mode

    def delete(self, path: str) -> None:
        key = self._key(path)
        for name in [n for n in self.nodes if n == key or n.startswith(key + "/")]:
            del self.nodes[name]

    def content(self, path: str) -> bytes:
        return self.nodes[self._key(path)].data

    def tick(self, seconds: float = 1.0) -> None:
        self.clock.tick(seconds)

    # The port.

    @property
    def root(self) -> Path:
        return Path("/repository")

    def stat(self, path: str) -> Entry | None:
        self.log.append(("stat", path))
        key = self._key(path)
        if key == "":
            return Entry(path, "dir", 0o755)
        node = self.nodes.get(key)
        if node is None:
            return None
        return Entry(path, node.type, node.mode, len(node.data), node.mtime_ns, node.link)

    def digest(self, path: str) -> str:
        self.log.append(("digest", path))
        key = self._resolve(self._key(path), path)
        node = self.nodes.get(key)
        if key == "" or (node and node.type == "dir"):
            return digest(self._tree_fields(key))
        if node is None:
            raise SourceError(f"{path} does not exist")
        return self._content(path, node)

    def glob(self, pattern: str) -> Sequence[str]:
        self.log.append(("glob", pattern))
        found = [p for p, node in self.nodes.items() if node.type != "dir" and globs.matches(pattern, p)]
        return tuple(sorted(found))

    def tree(self, folder: str) -> Sequence[str]:
        self.log.append(("tree", folder))
        return tuple(p for p in self._below(self._key(folder)) if self.nodes[p].type != "dir")

    def read_text(self, path: str) -> str:
        self.log.append(("read_text", path))
        node = self.nodes.get(self._resolve(self._key(path), path))
        if node is None or node.type != "file":
            raise SourceError(f"{path} cannot be read")
        return node.data.decode("utf-8", "surrogateescape")

    def remove(self, path: str) -> None:
        self.log.append(("remove", path))
        self.delete(path)

    def make_parent(self, path: str) -> None:
        self.log.append(("make_parent", path))
        self._folders(self._key(path))

    def forget(self) -> None:
        self.log.append(("forget",))

    def _key(self, path: str) -> str:
        inside = path.removeprefix(f"{self.root}/") if path != str(self.root) else ""
        normal = posixpath.normpath(inside) if inside else ""
        return "" if normal == "." else normal

    def _now(self) -> int:
        return int(self.clock.time * 1e9)

    def _put(self, key: str, node: Node) -> None:
        self._folders(key)
        self.nodes[key] = replace(node, mtime_ns=self._now())

    def _folders(self, key: str) -> None:
        for end in (i for i, c in enumerate(key) if c == "/"):
            self.nodes.setdefault(key[:end], Node("dir", mode=0o755, mtime_ns=self._now()))

    def _resolve(self, key: str, asked: str) -> str:
        for _ in range(40):  # Linux's own limit
            node = self.nodes.get(key)
            if node is None or node.type != "link":
                return key
            key = self._key(posixpath.join(posixpath.dirname(key), node.link))
        raise SourceError(f"{asked} is a link that leads back to itself")

    def _below(self, key: str) -> Iterator[str]:
        prefix = f"{key}/" if key else ""
        for path in sorted(self.nodes):
            if path.startswith(prefix) and not globs.NEVER.intersection(path[len(prefix) :].split("/")):
                yield path

    def _tree_fields(self, key: str) -> Iterator[Field]:
        for path in self._below(key):
            node = self.nodes[path]
            yield Field(node.type, path, node.link or self._tree_content(path, node))

    def _tree_content(self, path: str, node: Node) -> str:
        executable = "x" if node.mode & 0o100 else "-"
        return "" if node.type == "dir" else executable + self._content(path, node)

    @staticmethod
    def _content(path: str, node: Node) -> str:
        if node.type != "file":
            raise SourceError(f"{path} is no regular file ({node.type})")
        return digest([Field("content", "", node.data.decode("utf-8", "surrogateescape"))])


class MemoryCache:
    """A `DigestCache` that lasts as long as the test."""

    def __init__(self) -> None:
        self.entries: dict[str, Remembered] = {}
        self.log: list[Event] = []

    def recall(self, path: str) -> Remembered | None:
        self.log.append(("recall", path))
        return self.entries.get(path)

    def remember(self, path: str, seen: Remembered) -> None:
        self.log.append(("remember", path))
        self.entries[path] = seen


class FakeGit:
    """Git that answers what it was told to, and logs each question."""

    def __init__(
        self,
        revision: str = "",
        *,
        url: str = "",
        branch: str = "",
        tag: str = "",
        dirty: bool = False,
        untracked: Sequence[str] = (),
        warning: str = "",
        history: Sequence[str] = (),
    ) -> None:
        self.commit = revision
        self.history = tuple(history)  # commits of this clone, each after the one before
        self.answers: dict[str, str] = {"url": url, "branch": branch, "tag": tag, "warning": warning}
        self.changed = dirty
        self.others = tuple(sorted(untracked))
        self.log: list[str] = []

    def revision(self) -> str:
        return self._say("revision", self.commit)

    def short(self) -> str:
        return self._say("short", self.commit[:7])

    def time(self) -> int | None:
        return 1_562_000_000 if self.commit else None

    def url(self) -> str:
        return self._say("url", self.answers["url"])

    def branch(self) -> str:
        return self._say("branch", self.answers["branch"])

    def tag(self) -> str:
        return self._say("tag", self.answers["tag"])

    def describe(self) -> str:
        suffix = "-dirty" if self.changed and self.commit else ""
        return self._say("describe", (self.answers["tag"] or self.commit[:7]) + suffix)

    def dirty(self) -> bool:
        self.log.append("dirty")
        return self.changed

    def differing(self) -> Sequence[str]:
        self.log.append("differing")
        return ("app.txt",) if self.changed else ()

    def untracked(self, folders: Collection[str] = ("",)) -> Sequence[str]:
        self.log.append("untracked")
        return tuple(path for path in self.others if any(not one or path.startswith(f"{one}/") for one in folders))

    def is_ancestor(self, older: str, newer: str) -> bool | None:
        self.log.append("is_ancestor")
        if not {older, newer} <= set(self.history):
            return None
        return self.history.index(older) <= self.history.index(newer)

    def warning(self) -> str:
        return self.answers["warning"]

    def _say(self, question: str, answer: str) -> str:
        self.log.append(question)
        return answer
