"""A repository in a temporary folder, with real files, a real shell and real records; all else is a fake."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgmake.app.options import Options
from imgmake.app.session import FOLDER, Session, join
from imgmake.app.wiring import load
from imgmake.errors import EngineUnavailable
from imgmake.executor import Prospect, World
from imgmake.model import Outcome, Reason, State
from imgmake.ports import BuildRequest, Engine
from imgmake.shell import LocalShell
from imgmake.sources.context import LocalContext
from imgmake.sources.files import LocalSources
from imgmake.state import FileJournal, open_state
from tests.fakes import FakeBuilder, FakeClock, FakeEngine, FakeGit, FakeRegistry, RecordingReporter

HEAD = "from imgmake import *\n"


def layers_by_content(request: BuildRequest) -> Sequence[str]:
    """What a builder would make: layers that depend on the stage and the files sent, not on names or times."""
    with request.context() as stream:
        data = stream.read()
    hasher = hashlib.sha256(f"{request.stage} {request.platform}".encode())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            content = tar.extractfile(member)
            hasher.update(f"{member.name} {member.mode} {member.linkname}".encode())
            hasher.update(content.read() if content else b"")
    return ("sha256:base", f"sha256:{hasher.hexdigest()}")


@dataclass
class Ran:
    """The end of one run."""

    outcomes: list[Outcome]
    reporter: RecordingReporter
    error: Exception | None = None

    @property
    def ran(self) -> list[str]:
        return sorted(outcome.target for outcome in self.outcomes if outcome.state is State.DONE)

    @property
    def failed(self) -> list[str]:
        return sorted(outcome.target for outcome in self.outcomes if outcome.state is State.FAILED)

    def outcome(self, target: str) -> Outcome:
        return next(outcome for outcome in self.outcomes if outcome.target == target)

    def reasons(self, target: str) -> list[str]:
        return [reason.text for reason in self.outcome(target).verdict.reasons]

    def error_of(self, target: str) -> str:
        return str(self.outcome(target).error)


@dataclass
class Repo:
    """A folder with a Pipefile, and the world around it."""

    path: Path
    engine: FakeEngine | None = field(default_factory=FakeEngine)
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    git: FakeGit = field(default_factory=lambda: FakeGit("ade3d65" + "0" * 33))
    clock: FakeClock = field(default_factory=FakeClock)
    environ: dict[str, str] = field(default_factory=lambda: {"PATH": os.environ["PATH"]})

    def __post_init__(self) -> None:
        self.user_folder = self.path.parent / f"{self.path.name}.user"
        self.builder = FakeBuilder(self.engine or FakeEngine())
        self.builder.result = layers_by_content

    def write(self, **files: str) -> Repo:
        """Files by name, ``__`` for a dot and ``___`` for a slash."""
        for name, text in files.items():
            self.put(name.replace("___", "/").replace("__", "."), text)
        return self

    def put(self, name: str, text: str) -> Repo:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return self

    def pipefile(self, text: str) -> Repo:
        return self.put("Pipefile.py", HEAD + text)

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    @contextlib.contextmanager
    def session(self, read_only: bool = False, **options: Any):  # type: ignore[no-untyped-def]
        asked = Options(directory=self.path, environ=self.environ, **options)
        reporter = RecordingReporter()
        pipeline = load(asked)
        with contextlib.closing(open_state(self.path / FOLDER, read_only=read_only, say=reporter.warning)) as state:
            world = World(
                engine=self._engine,
                builder=lambda forced: self.builder,
                registry=lambda: self.registry,
                context=lambda folder, ignore, exclude: LocalContext(folder, ignore, exclude=exclude),
                sources=LocalSources(pipeline.root, state),
                git=self.git,
                shell=LocalShell(),
                state=state,
                journal=FileJournal([self.user_folder]),
                reporter=reporter,
                clock=self.clock,
                environ=self.environ,
            )
            yield join(asked, pipeline, world), reporter

    def _engine(self) -> Engine:
        if self.engine is None:
            raise EngineUnavailable("no container engine answers")
        return self.engine

    def run(self, *goals: str, **options: Any) -> Ran:
        """One run, one job at a time; the clock ticks afterwards."""
        with self.session(jobs=options.pop("jobs", 1), **options) as (session, reporter):
            names = session.goals(goals)
            session.check(names)
            outcomes = session.executor.build(names)
        self.clock.tick()
        return Ran(outcomes, reporter)

    def forecast(self, *goals: str, **options: Any) -> dict[str, Prospect]:
        with self.session(read_only=True, dry_run=True, **options) as (session, _):
            return {p.node.id: p for p in session.executor.prospects(session.goals(goals), lines=True)}

    def reasons(self, target: str, **options: Any) -> list[Reason]:
        return list(self.forecast(target, **options)[target].forecast.judgement.verdict.reasons)


__all__ = ["Ran", "Repo", "Session", "layers_by_content"]
