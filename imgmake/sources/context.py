"""What a build takes of its context: listed, counted and packed; knows no engine, and no Dockerfile but its reads."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from imgmake.dockerfile import ContextRead
from imgmake.dockerfile.patterns import BadPattern, glob, has_wildcards
from imgmake.errors import SourceError, raise_all
from imgmake.ignore import OURS, Ignore, copies
from imgmake.model import Field
from imgmake.ports import ContextFile
from imgmake.sources.tree import Node, Tree

if TYPE_CHECKING:
    import tarfile

_IN_MEMORY = 16 * 2**20  # bytes of a tar that are held; a larger one goes to a temporary file
_KIND = {"dir": "folder", "link": "link"}  # of a field; anything else is a "file"


class Missing(NamedTuple):
    """A read that took nothing; `fatal` when the builder fails on it."""

    read: ContextRead
    fatal: bool
    error: SourceError


@dataclass
class Selection:
    """What some reads take: every entry once, each with a read that takes it.

    `needed` are folders in which the builder looks for a pattern: it wants them to be there even when
    nothing in them matches.
    """

    taken: dict[str, tuple[Node, ContextRead | None]] = field(default_factory=dict)
    needed: list[Node] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)

    def add(self, node: Node, read: ContextRead | None) -> None:
        self.taken.setdefault(node.path, (node, read))


class LocalContext:
    """The build context in `folder`, behind the port `Context`. `exclude` are paths kept out in any case.

    Sockets are left out, as no builder makes anything of them.

    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = [(folder / name).write_text("") for name in ("app.jar", "notes.txt")]
    >>> read = ContextRead("*.jar", "COPY", 2)
    >>> [file.path for file in LocalContext(folder, Ignore.parse("", "")).files([read])]
    ['app.jar']
    """

    def __init__(self, folder: Path, ignore: Ignore, *, exclude: Collection[str] = ()) -> None:
        self._folder = folder
        self._ignore = ignore
        self._tree = Tree(folder, ignore, exclude)
        self._exclude = exclude
        self._selections: dict[tuple[ContextRead, ...] | None, Selection] = {}

    def files(self, reads: Sequence[ContextRead] | None) -> tuple[ContextFile, ...]:
        """What a builder needs for `reads` (None: the whole context), sorted, with the folders above it.

        Raises SourceError (or Problems) when a source that the builder insists on is not there, when something
        cannot be read, and for a device.
        """
        found = self.select(reads)
        raise_all(missing.error for missing in found.missing if missing.fatal)
        for node, read in found.taken.values():
            if node.kind == "device":
                raise _at(read, f"{node.path!r} is a device, which no build context can hold")
        nodes: dict[str, Node] = {}
        for node in [*(node for node, _ in found.taken.values()), *found.needed]:
            above: Node | None = node
            while above is not None and above.parent is not None and above.path not in nodes:
                nodes[above.path] = above
                above = above.parent
        return tuple(self._file(nodes[path]) for path in sorted(nodes, key=_in_order))

    def fields(self, reads: Sequence[ContextRead] | None, digest: Callable[[Path], str]) -> tuple[Field, ...]:
        """What counts of all that `reads` take: by path, type, mode, and content by `digest` or a link's text.

        Folders above a source do not count, and a link named as a source counts beside what it leads to.
        Raises SourceError.
        """
        taken = self.select(reads).taken
        return tuple(self._field(*taken[path], digest) for path in sorted(taken, key=_in_order))

    def missing(self, reads: Sequence[ContextRead]) -> tuple[Missing, ...]:
        """Every read that takes nothing, each with an error that says why."""
        return tuple(self.select(reads).missing)

    def hints(self, reads: Sequence[ContextRead] | None) -> tuple[str, ...]:
        """One line for a `.git` that is taken along."""
        for path, (_, read) in self.select(reads).taken.items():
            if ".git" in path.split("/"):
                who = f"{read.place} {read.instruction} {read.written}" if read else "the build"
                where = self._ignore.name or ".dockerignore"
                return (f"{who} takes .git along, so that every commit changes the image; add .git to {where}",)
        return ()

    def select(self, reads: Sequence[ContextRead] | None) -> Selection:
        """What `reads` take and which of them take nothing; walked once for the same reads. Raises SourceError."""
        key = None if reads is None else tuple(reads)
        if key not in self._selections:
            self._selections[key] = self._select(key)
        return self._selections[key]

    def _select(self, reads: Sequence[ContextRead] | None) -> Selection:
        found = Selection()
        if reads is None:
            for node in self._tree.below(self._tree.root):
                found.add(node, None)
            return found
        empty: list[tuple[ContextRead, bool]] = []
        for read in reads:
            try:
                source = self._source(self._tree, read)
                for node in [*source.links, *(node for top in source.tops for node in self._tree.below(top))]:
                    found.add(node, read)
            except BadPattern as error:
                found.missing.append(Missing(read, True, _bad(read, error)))
                continue
            except SourceError as error:
                raise _at(read, error.message) from error
            found.needed += [source.base] if source.base is not None else []
            empty += [] if source.tops else [(read, self._fatal(read, source))]
        found.missing += [Missing(read, fatal, self._why_missing(read)) for read, fatal in self._grouped(empty, reads)]
        return found

    # --- what is missing --------------------------------------------------------------------------------------

    def _source(self, tree: Tree, read: ContextRead) -> Source:
        return _Lookup(tree, read, self._ignore.family == "classic").find()

    def _fatal(self, read: ContextRead, source: Source) -> bool:
        """BuildKit lets a pattern match nothing, if only the folder before it is there."""
        plain = read.literal or not has_wildcards(read.pattern)
        return plain or self._ignore.family == "classic" or (source.base is None and not read.deep)

    def _grouped(
        self, empty: Iterable[tuple[ContextRead, bool]], reads: Sequence[ContextRead]
    ) -> Iterator[tuple[ContextRead, bool]]:
        """The classic builder fails on a pattern only when no source of its instruction took anything."""
        none = {read for read, _ in empty}
        for read, fatal in empty:
            others = [other for other in reads if other.line == read.line]
            spared = has_wildcards(read.pattern) and not all(other in none for other in others)
            yield read, fatal and not spared

    def _why_missing(self, read: ContextRead) -> SourceError:
        source = f"{read.instruction} {read.written or read.pattern}"
        if read.leaves:
            return _at(
                read, f"{source} leaves the build context", "name files below the context, or choose a wider one"
            )
        unfiltered = Tree(self._folder, Ignore.parse("", self._ignore.name))
        present = [top.path for top in self._source(unfiltered, read).tops]
        return _at(read, f"{source} matches nothing in the build context", self._hint(read, present))

    def _hint(self, read: ContextRead, present: Sequence[str]) -> str:
        if OURS in read.pattern.split("/"):
            return f"{OURS} is in no build context"
        for path in present:
            if path in self._exclude:
                return f"{path} is kept out, since it is made from this image"
            if (place := self._ignore.decided_by(path)) is not None:
                return f"{path} is ignored by {place}"
        folder, _, name = read.pattern.rpartition("/")
        parent, _ = self._tree.resolve(folder)
        names = list(self._tree.children(parent)) if parent is not None and parent.kind == "dir" else []
        close = difflib.get_close_matches(name, names, n=1)
        return f"did you mean {'/'.join(filter(None, (folder, close[0])))!r}?" if close else ""

    # --- entries ----------------------------------------------------------------------------------------------

    def _file(self, node: Node) -> ContextFile:
        real = Path(self._tree.full(node))
        return ContextFile(node.path, node.kind, node.mode, node.size, node.link, real, node.mtime_ns)

    def _field(self, node: Node, read: ContextRead | None, digest: Callable[[Path], str]) -> Field:
        content = node.link
        if node.kind == "file":
            try:
                content = digest(Path(self._tree.full(node)))
            except OSError as error:
                raise _at(read, f"{node.path!r} cannot be read: {error.strerror}") from error
            except SourceError as error:
                raise _at(read, error.message, error.hint) from error
        return Field(_KIND.get(node.kind, "file"), node.path, f"{node.mode:04o}:{node.kind}:{content}")

    @contextmanager
    def tar(self, files: Sequence[ContextFile]) -> Iterator[BinaryIO]:
        """The files as a tar, from its start: owned by root, with mode and time as they are.

        Raises SourceError when a file cannot be read, or shrinks meanwhile.
        """
        import tarfile

        with tempfile.SpooledTemporaryFile(_IN_MEMORY, prefix="imgmake-context-") as spool:
            with tarfile.open(
                fileobj=spool, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
            ) as archive:
                for file in files:
                    _pack(archive, file)
            spool.seek(0)
            yield spool  # type: ignore[misc]  # it is a BinaryIO in all but its declared base


@dataclass
class Source:
    """One source looked up: entries to be taken with all below them, links followed, the folder searched."""

    tops: list[Node] = field(default_factory=list)
    links: list[Node] = field(default_factory=list)
    base: Node | None = None


class _Lookup:
    """Looks a source up in a tree, as one kind of builder does it."""

    def __init__(self, tree: Tree, read: ContextRead, classic: bool) -> None:
        self._tree, self._read, self._classic = tree, read, classic

    def find(self) -> Source:
        """Raises BadPattern, as BuildKit does."""
        read = self._read
        if read.leaves:
            return Source()
        if read.deep and read.pattern != ".":
            return Source([node for node in self._tree.below(self._tree.root) if self._deep(node)])
        if read.literal or not has_wildcards(read.pattern):
            node, links = self._tree.resolve(read.pattern)
            return Source([node] if node is not None else [], links)
        return self._matches(read.pattern.split("/"))

    def _deep(self, node: Node) -> bool:
        parent = node.parent.path if node.parent else ""
        return copies(self._read.pattern, node.path, deep=True) and not (
            parent and copies(self._read.pattern, parent, deep=True)
        )

    def _matches(self, parts: list[str]) -> Source:
        """Wildcards: BuildKit follows links before the first one, the classic builder only at the end."""
        plain = 0
        if not self._classic:
            glob("/".join(parts))
            plain = next(i for i, part in enumerate(parts) if has_wildcards(part))
        base, links = self._tree.resolve("/".join(parts[:plain]))
        found = Source([], links, base)
        for node in self._walk(base, parts[plain:]) if base is not None else ():
            if node.kind == "link":
                top, more = self._tree.resolve(node.path)
                found.links += more
                found.tops += [top] if top is not None else []
            else:
                found.tops.append(node)
        return found

    def _walk(self, base: Node, parts: Sequence[str]) -> Iterator[Node]:
        if base.kind != "dir":
            return
        try:
            pattern = glob(parts[0])
        except BadPattern:  # the classic builder takes it for one that matches nothing
            return
        for name, child in self._tree.children(base).items():
            if pattern.fullmatch(name) and self._tree.exists(child):
                if len(parts) == 1:
                    yield child
                else:
                    yield from self._walk(child, parts[1:])


def _pack(archive: tarfile.TarFile, file: ContextFile) -> None:
    import tarfile

    info = tarfile.TarInfo(file.path)
    info.mode = file.mode
    seconds, rest = divmod(file.mtime_ns, 10**9)
    info.mtime = seconds
    if rest:
        info.pax_headers = {"mtime": f"{seconds}.{rest:09d}"}
    info.type = {"dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "fifo": tarfile.FIFOTYPE}.get(
        file.type, tarfile.REGTYPE
    )
    info.linkname = file.link
    if file.type != "file":
        archive.addfile(info)
        return
    try:
        with file.real.open("rb") as content:
            info.size = content.seek(0, 2)
            content.seek(0)
            archive.addfile(info, content)
    except OSError as error:
        raise SourceError(f"{file.path!r} cannot be read: {error.strerror or error}") from error


def _in_order(path: str) -> tuple[str, ...]:
    return tuple(path.split("/"))


def _at(read: ContextRead | None, message: str, hint: str = "") -> SourceError:
    return SourceError(message, place=read.place if read is not None else None, hint=hint)


def _bad(read: ContextRead, error: BadPattern) -> SourceError:
    return _at(read, f"{read.instruction} {read.written}: no pattern: {error}", "docker build refuses it too")
