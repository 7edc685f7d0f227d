"""One command's work on one repository: the Pipefile loaded, its graph resolved, its records open."""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from imgmake import inference, metadata
from imgmake.app.commit import at_commit
from imgmake.app.options import Options
from imgmake.app.settling import Settling
from imgmake.app.wiring import Engines, Looks, load, starter, wish, world
from imgmake.commands.base import Action, as_action
from imgmake.errors import CommandFailed, EngineUnavailable, GraphError, ImgmakeError, StateError, UsageError, raise_all
from imgmake.executor import Executor, Run, Settings, World
from imgmake.graph import Memory, Node
from imgmake.imagerule import join as join_path
from imgmake.model import Command, Edge, FileRule, ImageRule, Outcome, Pipeline, Rule, Verdict
from imgmake.ports import Output, Reporter, Shell
from imgmake.state import lock, open_state
from imgmake.variables import PLATFORM, Values, names, texts_in

FOLDER = ".imgmake"


# Where a rule mentions variables; its other fields are names, places and prerequisites.
_SAID = frozenset({"recipe", "tags", "stage", "build_args", "contexts", "labels", "options", "to"})


@dataclass
class Session:
    """What every verb works with."""

    pipeline: Pipeline
    resolved: inference.Resolved
    run: Run
    executor: Executor

    @property
    def problems(self) -> Mapping[str, ImgmakeError]:
        return self.resolved.problems

    def node(self, name: str) -> Node:
        return self.run.node(name)

    def nodes(self) -> tuple[tuple[str, Rule], ...]:
        """Every rule with its main node's name, in the order written."""
        return tuple((rule.target, rule) for rule in self.pipeline.rules)

    def default(self) -> str:
        """The goal when none is given: ``default(…)``, else the first rule."""
        if self.pipeline.default is not None:
            return self._find(self.pipeline.default) or self.pipeline.default
        if not self.pipeline.rules:
            raise GraphError(f"{self.pipeline.pipefiles[0]} declares no rule")
        return self.pipeline.rules[0].target

    def goals(self, words: Sequence[str]) -> list[str]:
        """The nodes that the words name, in their order. Raises UsageError with a suggestion."""
        found = []
        for word in words or [self.default()]:
            node = self._find(word)
            if node is None and self.run.world.sources.stat(word) is None:
                raise self._unknown(word)
            found += [node] if node is not None else []
            if node is None:
                self.run.world.reporter.note(f"nothing to be done for {word!r}: it is a file without a rule")
        return found

    def _find(self, word: str) -> str | None:
        clean = os.path.normpath(word) if word and not word.startswith("//") else word[2:]
        clean = clean.removeprefix(f"{self.pipeline.root}/")
        for name in (word, clean):
            if name in self.run.graph.nodes:
                return name
            for rule in self.pipeline.rules:
                if isinstance(rule, FileRule) and name in rule.targets:
                    return rule.target
        return None

    def _unknown(self, word: str) -> UsageError:
        names = [name for rule in self.pipeline.rules for name in getattr(rule, "targets", None) or [rule.target]]
        close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else "`imgmake --list` shows the targets"
        return UsageError(f"no rule to make target {word!r}", hint=hint)

    def closure(self, goals: Iterable[str]) -> tuple[str, ...]:
        return self.run.graph.closure(goals)

    def check(self, goals: Sequence[str]) -> None:
        """Problems of what is wanted, all at once; and say which inferred prerequisites had to be left out."""
        wanted = self.closure(goals)
        problems = [self.problems[name] for name in wanted if name in self.problems]
        raise_all([*problems, *self._required(wanted)])
        for edge in self.run.graph.dropped:
            if edge.target in wanted:
                self.run.world.reporter.note(_left_out(edge))

    def _required(self, wanted: Iterable[str]) -> Iterator[ImgmakeError]:
        """Variables that a wanted rule mentions, and that have neither a value nor a default."""
        variables = self.pipeline.variables
        lacking = {name for name, v in variables.items() if v.value is None and v.default is None}
        told: set[str] = set()
        for target in wanted if lacking else ():
            rule = self.node(target).rule
            texts = texts_in([getattr(rule, name) for name in sorted(_SAID & frozenset(type(rule).model_fields))])
            for name in sorted({name for text in texts for name in names(text, lacking)} - told):
                told.add(name)
                try:
                    self.run.values.get(name, target=target)
                except UsageError as error:
                    yield error

    def file_edges(self, name: str) -> tuple[Edge, ...]:
        """Files without a rule that a node reads, as edges."""
        inputs = self.run.graph.inputs.get(name)
        if inputs is None:
            return ()
        made = {edge.prerequisite for edge in self.run.graph.edges[name]}
        paths = [*inputs.files, *(f"{folder}/" for folder in inputs.folders), *inputs.patterns]
        why = self._inferred_files(self.node(name).rule)
        return tuple(Edge(name, path, why.get(path.rstrip("/"), "written")) for path in paths if path not in made)

    def _inferred_files(self, rule: Rule) -> Mapping[str, str]:
        """Paths that a command reads and that nobody wrote, each with why."""
        reads = [read for step in rule.recipe if isinstance(step, Action) for read in step.reads()]
        found = {join_path(rule.base, r.what): r.why for r in reads if r.kind == "file" and isinstance(r.what, str)}
        written = {join_path(rule.base, part) for part in rule.parts if isinstance(part, str)}
        return {path: why for path, why in found.items() if path not in written}

    def clean(self, names: Iterable[str]) -> list[str]:
        """Remove what the rules made; only files that rules with a recipe name, and images with a stamp of ours.

        A dry run removes nothing; what there is to remove is returned all the same.
        """
        removed = []
        for name in names:
            rule = self.node(name).rule
            if isinstance(rule, FileRule) and rule.recipe:
                removed += [path for path in rule.targets if self._remove_file(path)]
            elif isinstance(rule, ImageRule):
                with contextlib.suppress(EngineUnavailable):
                    removed += self.executor.remove_images(name)
        return removed

    def _remove_file(self, path: str) -> bool:
        if self.run.world.sources.stat(path) is None:
            return False
        if not self.run.settings.dry:
            self.run.world.sources.remove(path)
        return True


# --- opening --------------------------------------------------------------------------------------------------


def _left_out(edge: Edge) -> str:
    if edge.why == inference.CHECKS:
        return f"{edge.target}: {edge.prerequisite} needs it, so it is published without that check"
    return f"{edge.target}: {edge.prerequisite} is made from it, so it stays out of it ({edge.why})"


@contextlib.contextmanager
def open_session(
    options: Options, reporter: Reporter | None, *, read_only: bool, settling: Settling | None = None
) -> Iterator[Session]:
    """Load, resolve, open the records, and close all of it again. A read-only session writes nothing at all.

    settling: takes down what the run looks at, to answer for the next one.

    Raises PipefileError, GraphError, UsageError, StateError.
    """
    hears = reporter or Silent()
    with contextlib.ExitStack() as stack:
        options = stack.enter_context(at_commit(options, hears))
        pipeline = load(options)
        folder = pipeline.root / FOLDER
        if not read_only and not folder.exists():
            stack.push(_unless_run(folder))
        environ = options.environ
        if not read_only:
            environ = stack.enter_context(lock(folder, options.environ, lambda pid: hears.note(_waiting(pid))))
        if settling is not None:
            stack.callback(settling.write, folder)  # the records are closed then, and still locked
        state = stack.enter_context(contextlib.closing(open_state(folder, read_only=read_only, say=hears.warning)))
        if settling is not None:
            settling.opened(folder)
            stack.callback(settling.closing, folder)
        engines = Engines(options.environ, starter(options, hears.note), settling.wire if settling else None)
        stack.callback(engines.close)
        around = world(options, pipeline.root, state, hears, engines, environ, stack)
        if not read_only and (options.jobs or options.jobserver):
            from imgmake.app.sharing import sharing

            options, around = sharing(options, around, stack)
        yield join(options, pipeline, around)


def _unless_run(folder: Path) -> Callable[[type[BaseException] | None, BaseException | None, object], None]:
    """A mistake that was found before anything ran leaves nothing behind, not even the folder of the records."""

    def leave(kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:  # noqa: ARG001
        if isinstance(error, ImgmakeError) and not isinstance(error, StateError):
            shutil.rmtree(folder, ignore_errors=True)

    return leave


def _waiting(pid: int) -> str:
    return f"waiting for another imgmake (process {pid}) in this repository"


def join(options: Options, pipeline: Pipeline, around: World) -> Session:
    family = "classic" if around.environ.get("IMGMAKE_BUILDER") == "classic" else "buildkit"
    resolved = inference.resolve(
        pipeline,
        Looks(around.sources),
        native=PLATFORM,
        family=family,
        memory=Memory(around.state.order, around.state.set_order),
    )
    run = Run(
        pipeline=pipeline,
        graph=resolved.graph,
        world=around,
        settings=_settings(options, pipeline),
        values=Values(pipeline.variables, {}, lambda _: ""),
        native=PLATFORM,
    )
    run.values = Values(pipeline.variables, _providers(run, options.branch), lambda command: _capture(run, command))
    session = Session(pipeline, resolved, run, Executor(run))
    if pipeline.rules:
        run.usual = frozenset(session.closure([session.default()]))
    return session


def _settings(options: Options, pipeline: Pipeline) -> Settings:
    makes = {r.target: r.targets for r in pipeline.rules if isinstance(r, FileRule)}
    given = pipeline.variables.get("BUILD_ID")
    return Settings(
        jobs=options.jobs or len(os.sched_getaffinity(0)),
        keep_going=options.keep_going,
        dry=options.dry_run or options.question,
        wish=wish(options, makes),
        build_id=metadata.check_build_id(given.value) if given is not None and given.value is not None else None,
        forced_builder=options.environ.get("IMGMAKE_BUILDER"),
        allow_rollback=options.allow_rollback,
        allow_dirty=options.allow_dirty,
    )


def _providers(run: Run, branch: str) -> Mapping[str, Callable[[], str]]:
    """Metadata from git and the clock, each when first used."""
    git = run.world.git
    return {
        "BUILD_ID": run.decide_build_id,
        "VCS_REF": lambda: git.revision() or "unknown",
        "VCS_URL": git.url,
        "VCS_BRANCH": lambda: branch or git.branch(),
        "VCS_TAG": git.tag,
        "VCS_DESCRIBE": git.describe,
        **metadata.clock_values(run.moment),
        "SOURCE_DATE_EPOCH": lambda: str(_or_now(git.time(), run.moment)),
    }


def _or_now(time: int | None, now: Callable[[], float]) -> int:
    """The commit's time; before the first commit that of the build."""
    return int(now()) if time is None else time


class _Captured:
    """An Output that keeps what a command prints."""

    tty = False

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def note(self, text: str) -> None:
        pass

    def command(self, line: str) -> None:
        pass


class _Apart:
    """A shell whose commands' complaints go to a file, and are no part of what they answer."""

    def __init__(self, shell: Shell, errors: BinaryIO) -> None:
        self._run = functools.partial(shell.run, errors=errors)
        self.capture = shell.capture

    def run(self, argv: Sequence[str], **given: Any) -> int:
        return self._run(argv, **given)


def _capture(run: Run, command: Command) -> str:
    """What a variable's command prints; its complaints are told. Raises CommandFailed with all that it said."""
    output = _Captured()
    step = as_action(command)
    node = next(iter(run.graph.nodes.values()))
    view = run.view(node, content=str)
    with tempfile.TemporaryFile() as errors:
        job = run.job(view, output)
        try:
            step.run(replace(job, shell=_Apart(job.shell, errors)))
        except CommandFailed as error:
            printed = f"{_said(errors)}\n{output.data.decode('utf-8', 'replace')}".strip()
            raise CommandFailed(f"{error.message}\n  {printed}", hint=error.hint, place=error.place) from None
        if complaints := _said(errors):
            run.world.reporter.note(complaints)
    return output.data.decode("utf-8", "surrogateescape")


def _said(errors: BinaryIO) -> str:
    errors.seek(0)
    return errors.read().decode("utf-8", "replace").strip()


class Silent:
    """A reporter for verbs that answer by their result: nobody hears the events."""

    def output(self, target: str) -> Output:  # noqa: ARG002
        return _Captured()

    def planned(self, targets: Sequence[str]) -> None: ...

    def started(self, target: str, verdict: Verdict) -> None: ...

    def sent(self, target: str) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...

    def would_run(self, target: str, verdict: Verdict, lines: Sequence[str]) -> None: ...

    def note(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def summary(self, outcomes: Sequence[Outcome], *, interrupted: bool = False) -> None: ...
