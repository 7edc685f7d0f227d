"""Files, checks and phonies: judged by records, made by running their recipe."""

from __future__ import annotations

import copy
import posixpath
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from imgmake.commands.base import Action, Job, View
from imgmake.errors import CommandFailed, EngineUnavailable, ImgmakeError, SourceError, Unknown
from imgmake.executor import evidence, inputs
from imgmake.executor.run import Judgement, Run, targets_of
from imgmake.fingerprint import digest
from imgmake.freshness import duration, judge_check, judge_file, judge_phony
from imgmake.graph import Node
from imgmake.model import CheckRule, Field, FileRule, PhonyRule, Rule, Verdict
from imgmake.ports import Finding, Output, Record


class Recipes:
    """Judges and runs every rule whose recipe is a list of commands."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._shown: set[str] = set()  # folders that a dry run has told how to make

    # --- judging --------------------------------------------------------------------------------------------

    def judge(self, node: Node) -> Judgement:
        if isinstance(node.rule, PhonyRule):
            return Judgement(judge_phony(has_recipe=bool(node.rule.recipe)))
        if isinstance(node.rule, FileRule):
            return self._judge_file(node, node.rule)
        assert isinstance(node.rule, CheckRule)
        return self._judge_check(node, node.rule)

    def _judge_file(self, node: Node, rule: FileRule) -> Judgement:
        run, state = self._run, self._run.world.state
        record = state.record(node.id)
        if not rule.recipe:
            return self._judge_alias(rule)
        fields = inputs.fields(run, node, record)
        missing = [path for path in rule.targets if run.world.sources.stat(path) is None]
        verdict = judge_file(
            record=record,
            fields=fields,
            outputs=() if missing else self._outputs(rule),
            missing=missing,
            unfinished=state.unfinished(node.id),
            phonies=inputs.phonies(run, node),
            newer=() if record or missing else self._newer(rule, fields),
            wish=run.settings.wish,
        )
        return Judgement(verdict, fields)

    def _judge_alias(self, rule: FileRule) -> Judgement:
        """A file rule without a recipe only orders: the file must be there."""
        gone = next((path for path in rule.targets if self._run.world.sources.stat(path) is None), None)
        if gone is not None and not self._run.predicting:
            raise SourceError(f"{gone!r} is not there, and its rule has no recipe to make it", place=rule.place)
        return Judgement(Verdict())

    def _judge_check(self, node: Node, rule: CheckRule) -> Judgement:
        run, state = self._run, self._run.world.state
        record = state.record(node.id)
        fields = inputs.fields(run, node, record)
        verdict = judge_check(
            record=record,
            fields=fields,
            unfinished=state.unfinished(node.id),
            now=run.world.clock.now(),
            max_age=rule.max_age,
            wish=run.settings.wish,
            passed=state.passes(node.id).get(self._pass(rule, fields)),
        )
        run.passes[node.id] = fields
        ends = [verdict.until, *self._ends(node)]
        return Judgement(verdict._replace(until=min((end for end in ends if end is not None), default=None)), fields)

    def _ends(self, node: Node) -> list[float | None]:
        aging = [step for step in self._run.recipe(node.rule) if step.max_age() is not None]
        return [step.ends(self._view(node)) for step in aging]

    def _pass(self, rule: Rule, fields: Sequence[Field]) -> str:
        """What stands for a check's inputs among its passes; nothing where it left a report, which is of the newest."""
        if not isinstance(rule, CheckRule) or any(step.writes() for step in self._run.recipe(rule)):
            return ""
        return digest(fields)

    def _outputs(self, rule: FileRule) -> tuple[Field, ...]:
        return tuple(Field("file", path, self._run.world.sources.digest(path)) for path in rule.targets)

    def _newer(self, rule: FileRule, fields: Sequence[Field]) -> tuple[str, ...]:
        stats = [self._run.world.sources.stat(path) for path in rule.targets]
        oldest = min(stat.mtime_ns for stat in stats if stat is not None)
        found = [(field.name, self._run.world.sources.stat(field.name)) for field in fields if field.kind == "file"]
        old = self._run.settings.wish.old
        return tuple(name for name, stat in found if stat and stat.mtime_ns > oldest and name not in old)

    # --- doing ----------------------------------------------------------------------------------------------

    def lines(self, node: Node, _judgement: Judgement) -> tuple[str, ...]:
        view = self._view(node, showing=True)
        return (*self._folders(node.rule), *(step.show(view) for step in self._run.recipe(node.rule)))

    def _folders(self, rule: Rule) -> Sequence[str]:
        """What makes the folders that targets lack, once for each, so that the lines work when they are pasted."""
        made = rule.targets if isinstance(rule, FileRule) else ()
        parents = dict.fromkeys(posixpath.dirname(path) for path in made)
        lacking = [p for p in parents if p and p not in self._shown and self._run.world.sources.stat(p) is None]
        self._shown.update(lacking)
        return [f"mkdir -p {shlex.join(lacking)}"] if lacking else []

    def settle(self, node: Node, judgement: Judgement) -> None:
        """Up to date without a record (make's rule): from now on the content is known."""
        state = self._run.world.state
        rule = node.rule
        if isinstance(rule, FileRule) and rule.recipe and not state.read_only and state.record(node.id) is None:
            state.commit(node.id, Record(judgement.fields, self._outputs(rule), self._run.world.clock.now()))

    def perform(self, node: Node, judgement: Judgement, output: Output) -> None:
        run, state, rule = self._run, self._run.world.state, node.rule
        if isinstance(rule, PhonyRule):
            self._commands(node, output, [])
            return
        before = {path: run.world.sources.stat(path) for path in targets_of(rule)} if isinstance(rule, FileRule) else {}
        began, findings, record = run.world.clock.now(), list[Finding](), state.record(node.id)
        state.begin(node.id, self._pass(rule, judgement.fields))
        try:
            for path in before:
                run.world.sources.make_parent(path)
            fields = self._commands(node, output, findings) or judgement.fields
            outputs = self._made(rule) if isinstance(rule, FileRule) else ()
        except BaseException as error:
            if isinstance(rule, FileRule) and not rule.keep:
                self._delete_changed(before, output)
            if isinstance(error, Unknown):
                self._learnt_nothing(node, judgement.fields, record, error)
            raise
        run.passes[node.id] = fields
        evidence.keep(run, node, fields, findings, began)
        state.commit(node.id, Record(fields, outputs, run.world.clock.now()), self._pass(rule, fields))

    def _learnt_nothing(self, node: Node, fields: Sequence[Field], record: Record | None, error: Unknown) -> None:
        """What was known before still holds; the error tells how old it is."""
        state = self._run.world.state
        if record is not None:
            state.commit(node.id, record, self._pass(node.rule, record.fields))
        passes = state.evidence(node.id)
        same = [each for each in passes if each.inputs == digest(fields)]
        if last := next(iter(same or passes), None):
            age = duration(max(0.0, self._run.world.clock.now() - last.time))
            error.message += f"; last good result {age} ago{'' if same else ', on other inputs'}"
        else:
            error.message += "; no good result is known"

    def _commands(self, node: Node, output: Output, findings: list[Finding]) -> tuple[Field, ...]:
        """Run the recipe; returns the fields anew where a pulled image made the unknown known."""
        run = self._run
        fields: tuple[Field, ...] = ()
        if self._pull(node, output) and not isinstance(node.rule, PhonyRule):
            with run.signals.lock:
                fields = inputs.fields(run, node, None)
        job, shown = run.job(self._view(node), output), self._view(node, showing=True)
        for step in run.recipe(node.rule):
            run.signals.check()
            output.command(step.show(shown))
            try:
                findings += _run(step, job, default=isinstance(node.rule, CheckRule))
            except ImgmakeError as error:
                raise self._named(error, step, shown) from error.__cause__
        return fields

    def _named(self, error: ImgmakeError, step: Action, shown: View) -> ImgmakeError:
        """The error with images as they are written: commands are given IDs, which tell nobody anything."""
        for read in step.reads():
            image_id = self._run.image_id(read.what) if read.kind == "image" else None
            if image_id and image_id in error.message:
                error = copy.copy(error)
                error.message = error.message.replace(image_id, shown.image(read.what))
        return error

    def _pull(self, node: Node, output: Output) -> bool:
        """Images that the recipe names and the engine lacks."""
        run, pulled = self._run, False
        for step in run.recipe(node.rule):
            for read in step.reads():
                if read.kind == "image" and isinstance(read.what, str) and run.rule_of(read.what) is None:
                    pulled |= _pull_one(run, run.values.expand(read.what), output)
        return pulled

    def _view(self, node: Node, *, showing: bool = False) -> View:
        run = self._run
        named = inputs.written(run, node)
        return run.view(node, content=lambda what: inputs.content(run, node, what), inputs=named, showing=showing)

    def _made(self, rule: FileRule) -> tuple[Field, ...]:
        for path in rule.targets:
            if self._run.world.sources.stat(path) is None:
                raise CommandFailed(
                    f"the recipe of {rule.target!r} ended well, but did not make {path!r}",
                    place=rule.place,
                    hint="name the file that the recipe writes, or use phony(…) or check(…) when it writes none",
                )
        self._run.world.sources.forget()
        return self._outputs(rule)

    def _delete_changed(self, before: Mapping[str, object], output: Output) -> None:
        """make's .DELETE_ON_ERROR: what a failed recipe wrote must not pass for its result."""
        for path, stat in before.items():
            now = self._run.world.sources.stat(path)
            if now is not None and now != stat:
                try:
                    self._run.world.sources.remove(path)
                    output.note(f"deleted {path}, which the failed recipe left behind")
                except SourceError as error:
                    output.note(f"could not delete {path}: {error}")


def _run(step: Action, job: Job, *, default: bool) -> list[Finding]:
    """Run one command; what it found, or for a check at least who examined."""
    told: list[Finding] = []
    step.run(replace(job, found=told.append))
    return told or ([step.finding(job.view)] if default else [])


def _pull_one(run: Run, reference: str, output: Output) -> bool:
    if run.external(reference) is not None:
        return False
    try:
        run.learn(
            reference, run.world.engine().pull(reference, platform=None, output=output, cancel=run.signals.cancel)
        )
    except EngineUnavailable as error:
        raise EngineUnavailable(
            f"{error.message} (needed to run {reference})", hint=error.hint, place=error.place
        ) from None
    return True
