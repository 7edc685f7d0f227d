"""The loop: what is ready is judged; what is up to date is settled at once, what is stale goes to a job.

The plan of one batch of goals, which the code below follows:

- take every ready target in order; judge it here, under the lock; settle it when it is up to date;
- otherwise hand it to a free job, which runs its recipe without the lock;
- when a job ends, move its target on: done, failed (and what needs it is cancelled), or stopped;
- go on until nothing is ready and nothing runs.
"""

from __future__ import annotations

import copy
import queue
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from imgmake.errors import ImgmakeError, Interrupted, Place, Problems
from imgmake.executor.building import Building
from imgmake.executor.judge import Judge
from imgmake.executor.masking import Masked
from imgmake.executor.run import Judgement, Run
from imgmake.graph import Node
from imgmake.model import FileRule, ImageRule, Outcome, PhonyRule, PublishRule, State, Verdict
from imgmake.plan import Plan
from imgmake.ports import Output

_Ended = tuple[str, Outcome]


def placed(error: ImgmakeError, place: Place) -> ImgmakeError:
    """The error, at the place of the rule that met it unless it names one; it may be told of other rules too."""
    if error.place is not None or isinstance(error, Problems):
        return error
    told = copy.copy(error)
    told.place = place
    return told


class Loop:
    """Runs batches of goals; goals of one batch may run side by side, batches follow each other."""

    def __init__(self, run: Run, judge: Judge, building: Building) -> None:
        self._run = run
        self._judge = judge
        self._building = building
        self._ended: queue.SimpleQueue[_Ended] = queue.SimpleQueue()
        self.outcomes: list[Outcome] = []

    # --- batches --------------------------------------------------------------------------------------------

    def build(self, goals: Sequence[str]) -> None:
        """Bring the goals up to date, in the order given. Raises Interrupted after all has been stopped."""
        for batch in self._batches(goals):
            self._detach(batch)
            order = self._run.graph.closure(batch, self._follow)
            todo = [name for name in order if name not in self._run.settled]
            plan = Plan(todo, {name: self._run.graph.prerequisites(name) for name in todo})
            self._drive(plan)
            if self._failed and not self._run.settings.keep_going:
                return

    @property
    def _failed(self) -> bool:
        return any(outcome.state is State.FAILED for outcome in self.outcomes)

    def _batches(self, goals: Sequence[str]) -> Iterable[list[str]]:
        """A phony goal with a recipe may change anything (`clean`): what comes after it is judged after it."""
        batch: list[str] = []
        for goal in dict.fromkeys(goals):
            rule = self._run.node(goal).rule
            if isinstance(rule, PhonyRule) and rule.recipe and len(goals) > 1:
                yield from ([batch] if batch else [])
                yield [goal]
                batch = []
            else:
                batch.append(goal)
        yield from ([batch] if batch else [])

    def _follow(self, name: str) -> bool:
        run = self._run
        return name not in run.pinned and name not in run.settled and name not in run.settings.wish.old

    def _detach(self, batch: Sequence[str]) -> None:
        """Publish rules that the registry alone can answer need none of their prerequisites."""
        for name, forecast in self._judge.detached(self._run.graph.closure(batch)).items():
            if forecast.stale:
                self._run_one(self._run.node(name), forecast.judgement)
            else:
                self._settle(self._run.node(name), forecast.judgement, None)

    # --- one batch ------------------------------------------------------------------------------------------

    def _drive(self, plan: Plan) -> None:
        jobs = max(1, self._run.settings.jobs)
        running = 0
        with ThreadPoolExecutor(jobs, thread_name_prefix="imgmake") as pool:
            try:
                while True:
                    running += self._start_ready(plan, pool, jobs - running)
                    if not running:
                        break
                    self._finish(plan, *self._ended.get())
                    running -= 1
            except KeyboardInterrupt:
                self._stop(plan, running)
                raise Interrupted("interrupted") from None

    def _start_ready(self, plan: Plan, pool: ThreadPoolExecutor, free: int) -> int:
        """Settle all that is up to date, start what is stale while a job is free; returns how many were started."""
        started = 0
        progress = True
        while progress and not self._stopping(plan):
            progress = False
            for name in plan.ready():
                if started == free and self._needs_job(name):
                    continue
                plan.move(name, State.RUNNING)
                judged = self._judge_now(plan, name)
                progress = True
                if judged is not None:
                    pool.submit(self._job, self._run.node(name), judged)
                    started += 1
                    if started == free:
                        return started
        return started

    def _needs_job(self, name: str) -> bool:
        rule = self._run.node(name).rule
        return not (isinstance(rule, PhonyRule) and not rule.recipe)

    def _stopping(self, plan: Plan) -> bool:
        if self._failed and not self._run.settings.keep_going:
            self._cancelled(plan.cancel_rest())
            return True
        return False

    def _judge_now(self, plan: Plan, name: str) -> Judgement | None:
        """Judge one target; None when it is over already, up to date or failed."""
        node = self._run.node(name)
        try:
            with self._run.signals.lock:
                judgement = self._pin(node) if name in self._run.pinned else self._judge.judge(node)
                if judgement.verdict.stale:
                    return judgement
                self._finish(plan, name, self._settle(node, judgement, plan))
        except ImgmakeError as error:
            self._finish(plan, name, Outcome(name, State.FAILED, Verdict(), 0.0, placed(error, node.rule.place)))
        return None

    def _pin(self, node: Node) -> Judgement:
        """An image under a given BUILD_ID is taken as it is; when the source has moved on, that is said."""
        forecast = self._judge.forecast(node)
        fresh = forecast.judgement.detail.fresh if forecast.judgement.detail else None
        taken = self._run.images[node.id][1]
        if fresh is None or taken is None or fresh[1].fingerprint != taken.fingerprint:
            self._run.world.reporter.note(f"{node.id}: the image under this BUILD_ID is taken; its source has moved on")
        return Judgement(Verdict((), "taken under the given BUILD_ID"))

    def _settle(self, node: Node, judgement: Judgement, plan: Plan | None) -> Outcome:
        note = judgement.verdict.note
        if isinstance(node.rule, ImageRule) and judgement.detail is not None:
            tagged = self._judge.images.settle(node, judgement)
            note = f"tagged {', '.join(tagged)}" if tagged else note
        elif isinstance(node.rule, FileRule):
            self._judge.recipes.settle(node, judgement)
        outcome = Outcome(node.id, State.FRESH, Verdict((), note))
        if plan is None:
            self._tell(outcome)
        return outcome

    # --- jobs -----------------------------------------------------------------------------------------------

    def _job(self, node: Node, judgement: Judgement) -> None:
        self._ended.put((node.id, self._attempt(node, judgement)))

    def _run_one(self, node: Node, judgement: Judgement) -> None:
        self._tell(self._attempt(node, judgement))

    def _attempt(self, node: Node, judgement: Judgement) -> Outcome:
        began = time.monotonic()
        error: Exception | None = None
        output = self._run.output(node.id)
        try:
            self._run.signals.check()
            self._run.world.reporter.started(node.id, judgement.verdict)
            self._perform(node, judgement, output)
        except Exception as caught:  # noqa: BLE001 - whatever a job raises ends its target and is shown with it
            error = caught
        finally:
            if isinstance(output, Masked):
                output.flush()
        with self._run.signals.lock:
            self._run.changed()
        stopped = self._run.signals.cancel.stopped
        state = State.DONE if error is None else State.CANCELLED if stopped else State.FAILED
        told = placed(error, node.rule.place) if isinstance(error, ImgmakeError) else error
        return Outcome(node.id, state, judgement.verdict, time.monotonic() - began, told)

    def _perform(self, node: Node, judgement: Judgement, output: Output) -> None:
        if isinstance(node.rule, ImageRule):
            self._building.perform(node, output)
        elif isinstance(node.rule, PublishRule):
            self._judge.publishing.perform(node, judgement, output)
        else:
            self._judge.recipes.perform(node, judgement, output)

    # --- ends -----------------------------------------------------------------------------------------------

    def _finish(self, plan: Plan, name: str, outcome: Outcome) -> None:
        cancelled = plan.move(name, outcome.state)
        self._tell(outcome)
        self._cancelled(cancelled)

    def _cancelled(self, names: Iterable[str]) -> None:
        for name in names:
            self._tell(Outcome(name, State.CANCELLED, Verdict()))

    def _tell(self, outcome: Outcome) -> None:
        self._run.settled[outcome.target] = outcome.state
        self.outcomes.append(outcome)
        self._run.world.reporter.finished(outcome)

    def _stop(self, plan: Plan, running: int) -> None:
        """Ctrl-C: stop every command, wait for each to clean up after itself, and say what was cancelled."""
        self._run.signals.cancel.stop()
        for _ in range(running):
            self._finish(plan, *self._ended.get())
        self._cancelled(plan.cancel_rest())
