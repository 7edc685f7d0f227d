"""States of targets in one run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake.model import State
from imgmake.plan import OVER, Plan

#      app      report
#     /   \     /
#   jar   lint-+
CHAIN = {"jar": [], "lint": [], "app": ["jar", "lint"], "report": ["lint"]}


def finish(plan: Plan, target: str, state: State) -> tuple[str, ...]:
    plan.move(target, State.RUNNING)
    return plan.move(target, state)


def test_a_target_is_ready_when_all_its_prerequisites_are_done() -> None:
    plan = Plan(list(CHAIN), CHAIN)
    assert plan.ready() == ("jar", "lint")
    finish(plan, "jar", State.FRESH)
    assert plan.ready() == ("lint",)
    finish(plan, "lint", State.DONE)
    assert plan.ready() == ("app", "report")


def test_a_failure_cancels_all_that_needs_it_and_nothing_else() -> None:
    plan = Plan(["jar", "app", "tests", "report"], {"app": ["jar"], "tests": ["app"]})
    assert finish(plan, "jar", State.FAILED) == ("app", "tests")
    assert plan.ready() == ("report",)


def test_prerequisites_that_are_not_wanted_count_as_done() -> None:
    assert Plan(["app"], CHAIN).ready() == ("app",)


def test_a_target_moves_only_along_the_drawn_arrows() -> None:
    plan = Plan(["app"], {})
    with pytest.raises(AssertionError, match="app cannot go from ready to done"):
        plan.move("app", State.DONE)


def test_a_stop_cancels_what_has_not_started() -> None:
    plan = Plan(list(CHAIN), CHAIN)
    plan.move("jar", State.RUNNING)
    assert plan.cancel_rest() == ("lint", "app", "report")
    assert plan.state("jar") is State.RUNNING


@given(st.data())
def test_every_target_comes_to_an_end(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 8))
    needs = {
        str(i): [str(j) for j in range(i) if data.draw(st.booleans(), label=f"{i} needs {j}")] for i in range(size)
    }
    plan = Plan(list(needs), needs)
    while plan.ready() or plan.sent():
        for target in () if plan.ready() else plan.sent():
            plan.move(target, data.draw(st.sampled_from([State.DONE, State.FAILED, State.CANCELLED])))
        if ready := plan.ready():
            ends = [State.FRESH, State.DONE, State.SENT, State.FAILED]
            finish(plan, data.draw(st.sampled_from(ready)), data.draw(st.sampled_from(ends)))
    assert plan.over
    for target, found in needs.items():
        bad = {State.FAILED, State.CANCELLED}
        stopped = any(plan.state(need) in bad for need in found)
        assert not stopped or plan.state(target) is State.CANCELLED
    assert set(plan.counts) <= OVER


def test_what_needs_a_publication_waits_for_its_tags() -> None:
    plan = Plan(["push/a", "push/b", "deploy"], {"deploy": ["push/a"]})
    for target in ("push/a", "push/b"):
        finish(plan, target, State.SENT)
    assert (plan.sent(), plan.ready(), plan.over) == (("push/a", "push/b"), (), False)
    plan.move("push/a", State.DONE)
    assert (plan.sent(), plan.ready()) == (("push/b",), ("deploy",))
    assert plan.move("push/b", State.CANCELLED) == ()


def test_a_publication_that_is_not_tagged_cancels_what_needs_it() -> None:
    plan = Plan(["push/a", "deploy", "push/b"], {"deploy": ["push/a"], "push/b": ["deploy"]})
    finish(plan, "push/a", State.SENT)
    assert plan.cancel_rest() == ("deploy", "push/b")
    again = Plan(["push/a", "deploy", "push/b"], {"deploy": ["push/a"], "push/b": ["deploy"]})
    finish(again, "push/a", State.SENT)
    assert again.move("push/a", State.FAILED) == ("deploy", "push/b")


def test_only_what_ran_is_sent() -> None:
    plan = Plan(["push"], {})
    with pytest.raises(AssertionError, match="push cannot go from ready to sent"):
        plan.move("push", State.SENT)
