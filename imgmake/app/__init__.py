"""One function a verb: loads the Pipefile, makes the edges, hands them to the drive. Prints and exits nowhere."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from imgmake.app.options import Options
from imgmake.app.session import Session, open_session
from imgmake.app.settling import watched
from imgmake.app.sharing import below_make
from imgmake.app.verifying import verify
from imgmake.app.wiring import load
from imgmake.errors import ImgmakeError, Interrupted, UsageError, raise_all
from imgmake.executor import Prospect
from imgmake.executor.publication import Publication
from imgmake.executor.publishing import refusals
from imgmake.freshness import age
from imgmake.model import Edge, Entry, Explanation, FileRule, Kind, PhonyRule, Removal, Rule, State, Step, Verdict
from imgmake.ports import Reporter
from imgmake.tags import PlannedTags

# --- doing ----------------------------------------------------------------------------------------------------


def build(options: Options, reporter: Reporter) -> int:
    """Bring the goals up to date; make's exit codes: 0 done, 1 from -q when something is stale, 2 failed."""
    read_only = options.dry_run or options.question
    with (
        watched(options, reporter) as (settling, hears),
        open_session(options, hears, read_only=read_only, settling=settling) as session,
    ):
        goals = session.goals(options.goals)
        session.check(goals)
        if read_only:
            return _pretend(options, session, goals, reporter)
        try:
            outcomes = session.executor.build(goals)
        except Interrupted:
            reporter.summary(session.executor.outcomes, interrupted=True)
            return Interrupted.exit_code
        reporter.summary(outcomes)
        if settling is not None:
            settling.ended(session.run, session.executor, session.closure(goals), outcomes)
        return 2 if any(outcome.state in (State.FAILED, State.CANCELLED) for outcome in outcomes) else 0


def _pretend(options: Options, session: Session, goals: Sequence[str], reporter: Reporter) -> int:
    prospects = session.executor.prospects(goals, lines=options.dry_run)
    _raise_errors(prospects)
    raise_all(refusals(p.publication for p in prospects if isinstance(p.publication, Publication)))
    session.executor.tell_unfinished(goals)
    unfinished = session.executor.unfinished(goals)
    if options.question:
        return 1 if unfinished or any(prospect.forecast.stale for prospect in prospects) else 0
    raise_all(first.error for first in unfinished if first.error is not None)
    for first in unfinished:
        reporter.would_run(first.target, Verdict((first.why,)), first.lines)
    for prospect in prospects:
        if prospect.lines or (prospect.forecast.stale and prospect.node.rule.recipe):
            reporter.would_run(prospect.node.id, prospect.forecast.judgement.verdict, prospect.lines)
    if not unfinished and not any(prospect.forecast.stale or prospect.lines for prospect in prospects):
        reporter.summary([])
    return 0


def _raise_errors(prospects: Sequence[Prospect]) -> None:
    """Each error once: what hangs on a target that cannot be judged has the same one, or one that says the same."""
    found = [p.forecast.error for p in prospects if p.forecast.error is not None]
    raise_all({str(error): error for error in found}.values())


def clean(options: Options, goals: Sequence[str], reporter: Reporter) -> int:
    """Remove what rules made: files of file rules, and this repository's own images with their tags; with -n, tell."""
    read_only = options.dry_run or options.question
    with open_session(options, reporter, read_only=read_only) as session:
        names = session.goals(goals) if goals else [node for node, _ in session.nodes()]
        removed = session.clean(names)
        for line in removed:
            reporter.note(f"{'would remove' if read_only else 'removed'} {line}")
        if not removed:
            reporter.note("nothing to remove")
    return 1 if options.question and removed else 0


def collect(options: Options, agreed: Callable[[], bool], reporter: Reporter) -> int:
    """List old builds of this repository in the engine; once `agreed`, remove them. Raises EngineUnavailable."""
    with open_session(options, reporter, read_only=True) as session:
        collecting = session.executor.collecting()
        old = collecting.old(options.keep)
        for removal in old:
            reporter.note(_old_build(removal, session.run.world.clock.now()))
        if not old:
            reporter.note(f"nothing to remove: no target has more than {options.keep} builds in the engine")
        if not old or options.dry_run or not agreed():
            return 0
        kept = 0
        for removal, why in collecting.remove(old):
            if why:
                kept += 1
                reporter.warning(f"{removal.tag or removal.image[:19]} stays: {why}")
        reporter.note(f"removed {len(old) - kept} of {len(old)}")
    return 0


def _old_build(removal: Removal, now: float) -> str:
    name = removal.tag or f"{removal.image[:19]} (no tag)"
    return f"{name}  {removal.target}, {age(now - removal.time)} old"


def migrate(options: Options) -> tuple[str, int]:
    """Make a Pipefile of a Makefile, or compare the two; what is told, and the exit code. Raises UsageError."""
    from imgmake.app.others import migrating

    return migrating(options)


def shim(options: Options) -> str:
    """Write a Makefile whose targets call imgmake; what is told. Raises UsageError, never writes over another one."""
    from imgmake.app.shimming import shimming

    return shimming(options)


# --- telling --------------------------------------------------------------------------------------------------


def listing(options: Options) -> tuple[Entry, ...]:
    """Every target with its help, and whether it is up to date."""
    with open_session(options, None, read_only=True) as session:
        found = {p.node.id: p.forecast for p in session.executor.prospects([name for name, _ in session.nodes()])}
        default = session.default()
        return tuple(
            Entry(
                target=name,
                kind=rule.kind,
                help=rule.help,
                place=rule.place,
                status=_status(rule, found[name].judgement.verdict, found[name].error),
                reasons=found[name].judgement.verdict.reasons,
                default=name == default,
            )
            for name, rule in session.nodes()
        )


def _status(rule: Rule, verdict: Verdict, error: ImgmakeError | None) -> str:
    if isinstance(rule, PhonyRule):
        return ""
    if error is not None:
        return "unknown"
    return "stale" if verdict.stale else "up to date"


def why(options: Options, targets: Sequence[str]) -> tuple[Explanation, ...]:
    """Why each target is stale or up to date, and where each of its prerequisites comes from. Never builds."""
    with open_session(options, None, read_only=True) as session:
        names = session.goals(targets or options.goals)
        prospects = {p.node.id: p for p in session.executor.prospects(names)}
        return tuple(_explain(session, name, prospects) for name in names)


def _explain(session: Session, name: str, prospects: Mapping[str, object]) -> Explanation:
    executor = session.executor
    node = session.node(name)
    prerequisites: list[tuple[Edge, Verdict | None]] = [
        (edge, executor.forecast(edge.prerequisite) if edge.prerequisite in prospects else None)
        for edge in executor.edges(node)
    ]
    prerequisites += [(edge, None) for edge in session.file_edges(name)]
    if name in session.problems:
        raise session.problems[name]
    return Explanation(
        target=name,
        kind=node.rule.kind,
        place=node.rule.place,
        verdict=executor.forecast(name),
        identity=executor.identity(node),
        prerequisites=tuple(prerequisites),
        inputs=executor.inputs(name),
    )


class Planned(NamedTuple):
    """What a run would do: the targets that run, and what becomes of each tag, by publish rule.

    `refused`: what forbids it, an error each; then nothing at all would be published.
    """

    steps: tuple[Step, ...]
    tags: tuple[PlannedTags, ...] = ()
    refused: tuple[ImgmakeError, ...] = ()


def plan(options: Options) -> Planned:
    """The targets that would run for the goals, in order, each with why and what, and the tags that would be set.

    Raises RegistryError when a registry does not tell what its tags hold.
    """
    with open_session(options, None, read_only=True) as session:
        goals = session.goals(options.goals)
        session.check(goals)
        prospects = session.executor.prospects(goals, lines=True)
        _raise_errors(prospects)
        raise_all(dict.fromkeys(p.publication for p in prospects if isinstance(p.publication, ImgmakeError)))
        found = {p.node.id: p.publication for p in prospects if isinstance(p.publication, Publication)}
        publications = [found[name] for name, _ in session.nodes() if name in found]
        unfinished = session.executor.unfinished(goals)
        first = [
            Step(each.target, Kind.PUBLISH, Verdict((each.why,)), each.lines) for each in unfinished if not each.error
        ]
        stops = [each.error for each in unfinished if each.error is not None]
        return Planned(
            (
                *first,
                *(
                    Step(p.node.id, p.node.rule.kind, p.forecast.judgement.verdict, p.lines, p.forecast.maybe)
                    for p in prospects
                    if p.lines or (p.forecast.stale and not isinstance(p.node.rule, PhonyRule))
                ),
            ),
            tuple(PlannedTags(each.node.id, each.changes, each.source is not None) for each in publications),
            (*stops, *refusals(publications)),
        )


def edges(options: Options) -> tuple[tuple[tuple[str, Kind], ...], tuple[Edge, ...]]:
    """The graph of the goals, or of everything: nodes with their kinds, and edges with their reasons."""
    with open_session(options, None, read_only=True) as session:
        names = session.closure(session.goals(options.goals) if options.goals else [n for n, _ in session.nodes()])
        nodes = tuple((name, session.node(name).rule.kind) for name in names)
        return nodes, tuple(edge for name in names for edge in session.executor.edges(session.node(name)))


def names(options: Options) -> tuple[tuple[str, str], ...]:
    """Targets with their help, and variables as ``NAME=``, for completion; nothing when the Pipefile has a mistake."""
    with contextlib.suppress(ImgmakeError, OSError):
        pipeline = load(options)
        targets = [(t, r.help) for r in pipeline.rules for t in (r.targets if isinstance(r, FileRule) else [r.target])]
        return (*targets, *((f"{name}=", variable.help) for name, variable in pipeline.variables.items()))
    return ()


def svg(dot: str) -> str:
    """A drawing of a graph in DOT, by graphviz. Raises CommandFailed without it."""
    from imgmake.shell import LocalShell

    with tempfile.NamedTemporaryFile("w", suffix=".dot", encoding="utf-8") as text:
        text.write(dot)
        text.flush()
        code, out, err = LocalShell().capture(["dot", "-Tsvg", text.name], cwd=Path(), env=dict(os.environ))
    if code:
        raise UsageError(f"graphviz could not draw the graph: {err.strip()}", hint="or use --graph dot")
    return out


__all__ = [
    "Options",
    "Planned",
    "below_make",
    "build",
    "clean",
    "collect",
    "edges",
    "listing",
    "migrate",
    "names",
    "plan",
    "shim",
    "svg",
    "verify",
    "why",
]
