"""The loop: what is ready is judged; what is up to date is settled at once, what is stale goes to a job.

The plan of one batch of goals, which the code below follows:

- take every ready target in order; judge it here, under the lock; settle it when it is up to date;
- otherwise hand it to a free job, which runs its recipe without the lock, in a slot that may be shared with make;
- when a job ends, move its target on: done, failed (and what needs it is cancelled), or stopped; a publication
  is then only sent;
- when nothing is ready and nothing runs, set the tags of all that was sent, at once, or of none;
- go on until nothing is left.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from imgmake.errors import ImgmakeError, Interrupted, placed
from imgmake.executor.building import Building
from imgmake.executor.judge import Judge
from imgmake.executor.masking import Masked, masked_error
from imgmake.executor.run import Judgement, Run
from imgmake.executor.transaction import End, Transaction
from imgmake.graph import Node
from imgmake.model import FileRule, ImageRule, Outcome, PhonyRule, PublishRule, State, Verdict
from imgmake.plan import Plan
from imgmake.ports import Output, undisturbed

_LISTENS = 0.2  # seconds: Ctrl-C that comes between Python's look for it and a wait is heard only when the wait ends


class Loop:
    """Runs batches of goals; goals of one batch may run side by side, batches follow each other."""

    def __init__(self, run: Run, judge: Judge, building: Building, transaction: Transaction) -> None:
        self._run = run
        self._judge = judge
        self._building = building
        self._transaction = transaction
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ends: dict[str, Outcome] = {}
        self._jobs: set[str] = set()  # what runs now
        self._slots = run.world.slots
        self._in_hand = False  # a slot is taken, and no job has it yet
        self._short = False  # something is ready that only lacks a slot
        self._detached: dict[str, Judgement] = {}  # publications of what a registry has: they need nothing here
        self._looked: set[str] = set()  # publications that were judged once before any was sent
        self._sent: dict[str, Outcome] = {}
        self._tagging: Future[Mapping[str, End]] | None = None
        self._failed = False
        self.outcomes: list[Outcome] = []

    # --- batches --------------------------------------------------------------------------------------------

    def build(self, goals: Sequence[str]) -> None:
        """Bring the goals up to date, in the order given. Raises Interrupted after all has been stopped."""
        for batch in self._run.batches(goals):
            self._detach(batch)
            order = self._run.graph.closure(batch, self._follow)
            todo = [name for name in order if name not in self._run.settled]
            plan = Plan(todo, {name: self._needs(name) for name in todo})
            self._give_up(plan, todo)
            self._drive(plan)
            if self._failed and not self._run.settings.keep_going:
                return

    def _follow(self, name: str) -> bool:
        run = self._run
        alone = name in self._detached or name in run.pinned or name in run.settled
        return not alone and name not in run.settings.wish.old

    def _needs(self, name: str) -> Sequence[str]:
        return () if name in self._detached else self._run.graph.prerequisites(name)

    def _give_up(self, plan: Plan, todo: Sequence[str]) -> None:
        """Cancel what needs a target that did not come to its end in a batch before this one."""
        over = self._run.settled
        for name in todo:
            lost = any(over.get(need) in (State.FAILED, State.CANCELLED) for need in self._needs(name))
            if lost and plan.state(name) is not State.CANCELLED:
                self._finish(plan, Outcome(name, State.CANCELLED, Verdict()))

    def _detach(self, batch: Sequence[str]) -> None:
        """Publish rules that the registry alone can answer need none of their prerequisites."""
        for name, forecast in self._judge.detached(self._run.graph.closure(batch)).items():
            if forecast.stale:
                self._detached[name] = forecast.judgement
            else:
                self._settle(self._run.node(name), forecast.judgement, None)

    # --- one batch ------------------------------------------------------------------------------------------

    def _drive(self, plan: Plan) -> None:
        most = max(1, self._run.settings.jobs)
        with ThreadPoolExecutor(most, thread_name_prefix="imgmake") as pool:
            try:
                while True:
                    self._start_ready(plan, pool, most)
                    if self._jobs:
                        self._await(plan)
                    elif not self._end_group(plan, pool):
                        break
            except KeyboardInterrupt:
                self._stop(plan, pool)
                raise Interrupted("interrupted") from None

    def _start_ready(self, plan: Plan, pool: ThreadPoolExecutor, most: int) -> None:
        """Settle all that is up to date, start what is stale while a job is free."""
        self._short = False
        try:
            progress = True
            while progress and not self._stopping(plan):
                progress = False
                self._refuse(plan)
                for name in plan.ready():
                    if self._needs_job(name) and not self._job_is_free(most):
                        continue
                    if self._stopping(plan):
                        return
                    plan.move(name, State.RUNNING)
                    judged = self._judge_now(plan, name)
                    progress = True
                    if judged is not None:
                        self._jobs.add(name)
                        pool.submit(self._job, self._run.node(name), judged)
                        self._in_hand = False
                        if len(self._jobs) == most:
                            return
        finally:
            if self._in_hand:
                self._in_hand = False
                self._slots.give()

    def _job_is_free(self, most: int) -> bool:
        """Whether one more job may run; its slot is in hand then."""
        if len(self._jobs) == most:
            return False
        self._in_hand = self._in_hand or self._slots.take()
        self._short = not self._in_hand
        return self._in_hand

    def _refuse(self, plan: Plan) -> None:
        """Judge every publication that is ready before one is sent: what is refused is told at once, and all of it."""
        for name in plan.ready():
            if isinstance(self._run.node(name).rule, PublishRule) and name not in self._looked:
                self._looked.add(name)
                try:
                    with self._run.signals.lock:
                        self._judgement(self._run.node(name))
                except ImgmakeError as error:
                    plan.move(name, State.RUNNING)
                    self._fail(plan, name, error)

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
                judgement = self._judgement(node)
                if not judgement.verdict.stale:
                    self._finish(plan, self._settle(node, judgement, plan))
                    return None
        except ImgmakeError as error:
            self._fail(plan, name, error)
            return None
        if isinstance(node.rule, PublishRule) and (why := self._hindrance(plan)):
            self._finish(plan, Outcome(name, State.CANCELLED, Verdict((), f"not sent: {why}")))
            return None
        return judgement

    def _judgement(self, node: Node) -> Judgement:
        if node.id in self._run.pinned:
            return self._pin(node)
        return self._detached.get(node.id) or self._judge.judge(node)

    def _fail(self, plan: Plan, name: str, error: ImgmakeError) -> None:
        place = self._run.node(name).rule.place
        self._finish(plan, Outcome(name, State.FAILED, Verdict(), 0.0, placed(error, place)))

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
        try:
            self._ends[node.id] = self._attempt(node, judgement)
        finally:
            self._slots.give()  # before its end is told: who hears of it finds the slot free
            self._ended.put(node.id)
            self._slots.wake()

    def _await(self, plan: Plan) -> None:
        """Wait until a job ends, and take note of that; or, where one is lacking, until a slot may be free."""
        if self._short:
            self._slots.wait()
            if self._ended.empty():
                return
        name = self._next_ended()
        self._jobs.discard(name)
        self._finish(plan, self._ends[name])

    def _next_ended(self) -> str:
        while True:
            with suppress(queue.Empty):
                return self._ended.get(timeout=_LISTENS)

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
        done = State.SENT if isinstance(node.rule, PublishRule) else State.DONE
        state = done if error is None else State.CANCELLED if stopped else State.FAILED
        told = placed(error, node.rule.place) if error else None
        return Outcome(node.id, state, judgement.verdict, time.monotonic() - began, told)

    def _perform(self, node: Node, judgement: Judgement, output: Output) -> None:
        if isinstance(node.rule, ImageRule):
            self._building.perform(node, output)
        elif isinstance(node.rule, PublishRule):
            self._transaction.send(judgement.detail, output)
        else:
            self._judge.recipes.perform(node, judgement, output)

    # --- ends -----------------------------------------------------------------------------------------------

    def _finish(self, plan: Plan, outcome: Outcome) -> None:
        with undisturbed():
            cancelled = plan.move(outcome.target, outcome.state)
            if outcome.state is State.SENT:
                self._sent[outcome.target] = outcome
                self._run.world.reporter.sent(outcome.target)
                return
            self._tell(outcome)
            self._cancelled(cancelled)

    def _cancelled(self, names: Iterable[str]) -> None:
        for name in names:
            self._tell(Outcome(name, State.CANCELLED, Verdict()))

    def _tell(self, outcome: Outcome) -> None:
        self._run.settled[outcome.target] = outcome.state
        outcome = outcome._replace(error=masked_error(outcome.error, self._run.values.mask))
        self.outcomes.append(outcome)
        self._failed = self._failed or outcome.state is State.FAILED
        self._run.world.reporter.finished(outcome)

    def _stop(self, plan: Plan, pool: ThreadPoolExecutor) -> None:
        """Ctrl-C: stop every command, wait for each to clean up after itself, and say what was cancelled.

        It may have come at any moment: while a target was judged, or between the start of a job and the note of it.
        """
        self._run.signals.cancel.stop()
        pool.shutdown()
        for name in [name for name, state in plan.states() if state is State.RUNNING]:
            self._finish(plan, self._ends.get(name) or Outcome(name, State.CANCELLED, Verdict()))
        self._end_sent(plan, self._tagging.result() if self._tagging else {})
        self._cancelled(plan.cancel_rest())

    # --- publications ---------------------------------------------------------------------------------------

    def _end_group(self, plan: Plan, pool: ThreadPoolExecutor) -> bool:
        """Set the tags of all that was sent, or of none; False when nothing was sent."""
        if not plan.sent():
            return False
        if self._hindrance(plan):
            self._end_sent(plan, {})
            return True
        with undisturbed():
            self._tagging = pool.submit(self._transaction.commit, plan.sent())
        ends = self._wait(self._tagging)
        self._end_sent(plan, ends)
        self._tagging = None
        if self._run.signals.cancel.stopped:
            raise KeyboardInterrupt
        return True

    def _wait(self, tagging: Future[Mapping[str, End]]) -> Mapping[str, End]:
        """Ctrl-C before the first tag: none is set. After it the rest is set as well, unless there is another one."""
        stops = 0
        while True:
            try:
                self._heed(stops)  # in here: the second may come while the first is heeded
                while not wait([tagging], _LISTENS).done:
                    continue
                return tagging.result()
            except KeyboardInterrupt:
                stops += 1

    def _heed(self, stops: int) -> None:
        if stops:
            self._run.signals.cancel.stop()
        if stops == 1 and self._transaction.setting:
            self._run.world.reporter.note("setting the last tags; Ctrl-C once more stops at once")
        if stops > 1:
            self._transaction.hurry()

    def _end_sent(self, plan: Plan, ends: Mapping[str, End]) -> None:
        """What was sent comes to its end: as its tags did or, when none was to be written, untagged."""
        untagged = End(State.CANCELLED, None, f"sent, not tagged: {self._hindrance(plan)}")
        with self._run.signals.lock:
            self._run.changed()
        for name in plan.sent():
            sent, end = self._sent[name], ends.get(name, untagged)
            error = placed(end.error, self._run.node(name).rule.place) if end.error else None
            verdict = sent.verdict._replace(note=end.note) if end.note else sent.verdict
            self._finish(plan, sent._replace(state=end.state, verdict=verdict, error=error))

    def _hindrance(self, plan: Plan) -> str:
        """Why no publication of this batch gets its tags; empty when nothing speaks against that."""
        if self._run.signals.cancel.stopped:
            return "interrupted"
        failed = [outcome.target for outcome in self.outcomes if outcome.state is State.FAILED]
        if failed and not self._run.settings.keep_going:
            return f"{failed[0]} failed"
        for name, state in plan.states():
            if isinstance(self._run.node(name).rule, PublishRule) and state in (State.FAILED, State.CANCELLED):
                return f"{name} failed" if state is State.FAILED else f"{name} was not run"
        return ""
