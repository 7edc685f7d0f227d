"""Makes the edges and joins them: the only place where the drive's ports meet their implementations."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from imgmake import pipefile
from imgmake.app.options import Options
from imgmake.engine import DockerEngine
from imgmake.engine.client import Login
from imgmake.engine.wire import Wire
from imgmake.errors import EngineUnavailable
from imgmake.executor import World
from imgmake.freshness import Wish
from imgmake.ignore import Ignore
from imgmake.imagerule import ignore_files
from imgmake.model import Pipeline
from imgmake.ports import Builder, Cancel, Context, Engine, Registry, Reporter, Sources
from imgmake.shell import LocalShell
from imgmake.sources import globs
from imgmake.sources.context import LocalContext
from imgmake.sources.files import LocalSources
from imgmake.state import FileJournal, SqliteState, user_folders

if TYPE_CHECKING:
    from imgmake.registry.credentials import Credentials


def load(options: Options) -> Pipeline:
    """Find and execute the Pipefile. Raises PipefileError, UsageError."""
    path = pipefile.find(options.directory, options.file)
    return pipefile.load(path, overrides=options.overrides, environ=options.environ, project=options.project)


class SystemClock:
    """The wall clock."""

    def now(self) -> float:
        return time.time()


class Looks:
    """`inference.Look` over the local files."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def kind(self, path: str) -> Literal["file", "folder", "other"] | None:
        full = self._sources.root / path
        if os.path.isdir(full):  # noqa: PTH112 - follows links, as a prerequisite does
            return "folder"
        if os.path.isfile(full):  # noqa: PTH113
            return "file"
        return "other" if os.path.lexists(full) else None

    def read_text(self, path: str) -> str:
        return self._sources.read_text(path)

    def glob(self, pattern: str) -> tuple[str, ...]:
        return tuple(self._sources.glob(pattern))

    def matches(self, pattern: str, path: str) -> bool:
        return globs.matches(pattern, path)

    def ignored(self, context: str, dockerfile: str, family: str) -> Callable[[str], bool]:
        for path in ignore_files(context, dockerfile, family):
            if self.kind(path) == "file":
                return Ignore.parse(self.read_text(path), path, family=family).excludes
        return Ignore.parse("", "", family=family).excludes


Overhear = Callable[[Wire, str | None], Wire]  # the way to an engine, and its socket


class OverheardEngine(DockerEngine):
    """An engine with somebody on the line."""

    def __init__(self, environ: Mapping[str, str], login: Login, overhear: Overhear) -> None:
        super().__init__(environ=environ, login=login)
        self._wire = overhear(self._wire, self._host.socket)


class Engines:
    """Connects once, on first use; a failure to connect is remembered too."""

    def __init__(
        self, environ: Mapping[str, str], start: Callable[[], None] | None, overhear: Overhear | None = None
    ) -> None:
        self._environ = environ
        self._start = start
        self._overhear = overhear
        self._engine: DockerEngine | None = None
        self._failed: EngineUnavailable | None = None
        self._credentials: Credentials | None = None

    def __call__(self) -> Engine:
        if self._failed is not None:
            raise self._failed
        if self._engine is None:
            self._engine = self._connect()
        return self._engine

    @property
    def connected(self) -> DockerEngine | None:
        return self._engine

    def _connect(self) -> DockerEngine:
        if self._start is not None:
            self._start()
        try:
            if self._overhear is not None:
                return OverheardEngine(self._environ, self._login, self._overhear)
            return DockerEngine(environ=self._environ, login=self._login)
        except EngineUnavailable as error:
            self._failed = error
            raise

    def _login(self, registry: str, cancel: Cancel) -> Mapping[str, str]:
        from imgmake.registry.credentials import Credentials

        self._credentials = self._credentials or Credentials(self._environ, LocalShell())
        return self._credentials.of(registry, cancel).for_engine(registry)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()


def _context(folder: Path, ignore: Ignore, exclude: frozenset[str]) -> Context:
    return LocalContext(folder, ignore, exclude=exclude)


def world(
    options: Options,
    root: Path,
    state: SqliteState,
    reporter: Reporter,
    engines: Engines,
    environ: Mapping[str, str],
    closing: ExitStack,
) -> World:
    """Every port, each made when first used."""
    from imgmake.sources.git import LocalGit

    shell = LocalShell()
    journal = FileJournal(user_folders(options.environ))

    @functools.cache
    def registry() -> Registry:
        from imgmake.registry import RegistryClient

        def alone(name: str, cancel: Cancel) -> AbstractContextManager[None]:
            return journal.lock([name], cancel=cancel, waiting=lambda *_: None)

        client = RegistryClient(options.environ, shell, remember=state.layers(), alone=alone, tell=reporter.note)
        closing.callback(client.close)
        return client

    @functools.cache
    def builder(forced: str | None) -> Builder:
        from imgmake import builders

        engines()
        host = engines.connected.host if engines.connected else ""
        return builders.choose(host, forced, options.environ)

    return World(
        engine=engines,
        builder=builder,
        registry=registry,
        context=_context,
        sources=LocalSources(root, state),
        git=LocalGit(root),
        shell=shell,
        state=state,
        journal=journal,
        reporter=reporter,
        clock=SystemClock(),
        environ=environ,
    )


def starter(options: Options, say: Callable[[str], None]) -> Callable[[], None] | None:
    """What starts an engine when none answers; nothing unless asked (--start-engine)."""
    if not options.start_engine:
        return None

    def start() -> None:
        from imgmake.engine.start import ensure

        ensure(options.environ.get("DOCKER_HOST"), say, LocalShell())

    return start


def wish(options: Options, old: Mapping[str, tuple[str, ...]]) -> Wish:
    """-B, -W and -o; `old` gives for each target the files that it makes."""
    touched = {path for name in options.old_file for path in (name, *old.get(name, ()))}
    return Wish(always=options.always_make, changed=frozenset(map(_clean, options.what_if)), old=frozenset(touched))


def _clean(path: str) -> str:
    return os.path.normpath(path)
