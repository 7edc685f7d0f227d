"""Publishing as one transaction: by digest first, then the tags of all or of none; what a crash left is finished or
undone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imgmake.errors import Interrupted, RegistryError, StateError
from imgmake.executor.foreseen import foreseen
from imgmake.executor.publication import Publication
from imgmake.executor.tagging import Undone
from imgmake.model import State
from imgmake.ports import Cancel
from imgmake.state import FileJournal
from tests.fake_images import Event, full_name
from tests.unit.runs import Ran, Repo

APP = 'app = image("app", tags=f"shop:{BUILD_ID}")\n'
PIPEFILE = (
    APP + 'publish("push/a", image=app, to="a.test/shop", tags=["latest", BUILD_ID])\n'
    'publish("push/b", image=app, to="b.test/shop", tags="latest")\n'
    'phony("push", "push/*")\n'
)
FIRST, SECOND = {"BUILD_ID": "one"}, {"BUILD_ID": "two"}
A_LATEST, B_LATEST, A_TWO = "a.test/shop:latest", "b.test/shop:latest", "a.test/shop:two"


class Log(list[Event]):
    """What a registry was asked; `then` is called before each is done, and may raise."""

    then: Callable[[Event], object] = staticmethod(lambda event: None)

    def append(self, event: Event) -> None:
        super().append(event)
        self.then(event)

    def named(self, *names: str) -> list[str]:
        return [f"{event[0]} {_where(event)}" for event in self if event[0] in names]


def _where(event: Event) -> str:
    return " ".join(event[2]) if event[0] in ("send", "copy") else str(event[1])


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """A repository that published once, and whose source has changed since."""
    repo = Repo(tmp_path).pipefile(PIPEFILE)
    repo.put("Dockerfile", "FROM scratch\nCOPY app.txt /\n").put("app.txt", "1")
    assert repo.run("push", overrides=FIRST).ran == ["app", "push/a", "push/b"]
    repo.registry.log = Log()
    return repo.put("app.txt", "2")


def log(repo: Repo) -> Log:
    assert isinstance(repo.registry.log, Log)
    return repo.registry.log


def at(event: str, then: Callable[[], object]) -> Callable[[Event], None]:
    """Do something once, when ``set_tag a.test/shop:latest`` is asked for."""
    pending = [then]

    def look(asked: Event) -> None:
        if pending and f"{asked[0]} {_where(asked)}" == event:
            pending.pop()()

    return look


def fail(text: str) -> Callable[[], object]:
    def failing() -> object:
        raise RegistryError(text)

    return failing


def tags(repo: Repo) -> dict[str, str]:
    return {name: held.digest for name, held in repo.registry.remotes.items() if "@" not in name}


def unfinished(repo: Repo) -> list[Any]:
    return list(FileJournal([repo.user_folder]).unfinished())


def notes(ran: Ran) -> dict[str, str]:
    return {o.target: o.verdict.note for o in ran.outcomes if o.state is State.CANCELLED}


def said(ran: Ran) -> list[str]:
    return [e[1] for e in ran.reporter.events if e[0] in ("note", "warning") and not e[1].startswith("BUILD_ID ")]


# --- all or none ----------------------------------------------------------------------------------------------


def test_all_is_sent_by_digest_before_the_first_tag(repo: Repo) -> None:
    ran = repo.run("push", overrides=SECOND)
    assert ran.ran == ["app", "push/a", "push/b"]
    assert log(repo).named("send", "set_tag") == [
        "send a.test/shop",
        "send b.test/shop",
        f"set_tag {A_TWO}",
        f"set_tag {A_LATEST}",
        f"set_tag {B_LATEST}",
    ], "what never moves comes first"
    assert len({tags(repo)[name] for name in (A_TWO, A_LATEST, B_LATEST)}) == 1
    assert unfinished(repo) == []


def test_each_tag_is_one_line(repo: Repo) -> None:
    before = tags(repo)[A_LATEST]
    ran = repo.run("push", overrides=SECOND)
    new = tags(repo)[A_LATEST][:19]
    assert ran.reporter.outputs["push/a"].events == [
        ("note", f"tag {A_TWO} -> {new}"),
        ("note", f"tag {A_LATEST} -> {new} (was {before[:19]})"),
    ]
    told = [event[:2] for event in ran.reporter.events if "push/a" in event[1:2]]
    assert told == [("started", "push/a"), ("sent", "push/a")]


@pytest.mark.parametrize("options", [{}, {"keep_going": True}, {"jobs": 2}])
def test_when_one_is_not_sent_none_is_tagged(repo: Repo, options: dict[str, Any]) -> None:
    before = tags(repo)
    repo.registry.refuses.add("b.test/shop")
    ran = repo.run("push", overrides=SECOND, **options)
    assert ran.failed == ["push/b"]
    assert notes(ran)["push/a"] == "sent, not tagged: push/b failed"
    assert (tags(repo), unfinished(repo)) == (before, [])
    repo.registry.refuses.clear()
    assert repo.run("push", overrides=SECOND).ran == ["push/a", "push/b"]


def test_once_one_has_failed_no_other_is_sent(repo: Repo) -> None:
    repo.registry.refuses.add("a.test/shop")
    ran = repo.run("push", overrides=SECOND, keep_going=True)
    assert notes(ran)["push/b"] == "not sent: push/a failed"
    assert log(repo).named("send") == ["send a.test/shop"]


def test_a_check_that_fails_leaves_all_untagged(repo: Repo) -> None:
    repo.pipefile(
        PIPEFILE + 'c = image("c", tags="c:1")\n'
        'publish("push/c", image=c, to="c.test/c", tags="1")\n'
        'check("tests", sh("false", IMAGE=c), max_age="1d")\n'
    )
    before = tags(repo)
    ran = repo.run("push", overrides=SECOND, keep_going=True)
    assert (ran.failed, ran.ran) == (["tests"], ["app", "c"])
    assert {notes(ran)[name].partition(": ")[2] for name in ("push/a", "push/b")} == {"push/c was not run"}
    assert (notes(ran)["push/c"], tags(repo)) == ("", before)


def test_what_has_nothing_to_do_with_publishing_may_fail_with_k(repo: Repo) -> None:
    repo.pipefile(PIPEFILE + 'phony("other", sh("false"))\nphony("all", "push", "other")\n')
    ran = repo.run("all", overrides=SECOND, keep_going=True)
    assert (ran.failed, ran.ran) == (["other"], ["app", "push/a", "push/b"])


@pytest.mark.parametrize("jobs", [1, 4])
def test_what_needs_a_publication_runs_when_its_tags_are_set(repo: Repo, jobs: int) -> None:
    repo.pipefile(
        APP + 'publish("push/a", image=app, to="a.test/shop", tags="latest")\n'
        'phony("deploy", "push/a", sh("echo deployed >> log"))\n'
        'publish("push/b", "deploy", image=app, to="b.test/shop", tags="latest")\n'
    )
    assert repo.run("push/b", overrides=SECOND, jobs=jobs).ran == ["app", "deploy", "push/a", "push/b"]
    asked = log(repo).named("send", "set_tag")
    assert asked == ["send a.test/shop", f"set_tag {A_LATEST}", "send b.test/shop", f"set_tag {B_LATEST}"]
    repo.put("app.txt", "3").registry.refuses.add("b.test/shop")
    before = tags(repo)
    assert repo.run("push/b", overrides={"BUILD_ID": "three"}, jobs=jobs).failed == ["push/b"]
    assert tags(repo)[A_LATEST] != before[A_LATEST], "its own transaction was over by then"
    assert repo.read("log") == "deployed\ndeployed\n"


def test_a_clone_copies_and_tags_as_one(repo: Repo, tmp_path: Path) -> None:
    repo.pipefile(PIPEFILE.replace('"latest", B', "B")).run("push")
    (tag,) = [name for name in tags(repo) if name.startswith("a.test/shop:2019")]
    clone = Repo(tmp_path / "clone", registry=repo.registry, clock=repo.clock)
    for name in ("Dockerfile", "app.txt"):
        clone.put(name, repo.read(name))
    clone.pipefile(repo.read("Pipefile.py").replace('to="a.test/shop"', 'to=["c.test/shop", "a.test/shop"]'))
    repo.registry.log.clear()
    assert clone.run("push").ran == ["push/a"]
    assert clone.builder.requests == []
    assert log(repo).named("copy", "send", "set_tag") == ["copy c.test/shop", f"set_tag {tag.replace('a.', 'c.', 1)}"]


# --- somebody else --------------------------------------------------------------------------------------------


def move(repo: Repo, reference: str) -> Callable[[], object]:
    """Somebody else moves a tag to an image of theirs."""

    def moving() -> None:
        held = repo.registry.remotes[full_name(reference)]
        repo.registry.remotes[full_name(reference)] = replace(held, digest=f"sha256:{'f' * 64}")

    return moving


def test_a_tag_that_moved_since_the_plan_stops_all_of_it(repo: Repo) -> None:
    before = tags(repo)
    log(repo).then = at("send b.test/shop", move(repo, A_LATEST))
    ran = repo.run("push", overrides=SECOND)
    assert ran.failed == ["push/a"]
    assert "a.test/shop:latest was moved by another publish: it held sha256:" in ran.error_of("push/a")
    assert "run imgmake again" in ran.error_of("push/a")
    assert notes(ran)["push/b"] == "sent, not tagged: push/a failed"
    assert tags(repo) == {**before, A_LATEST: f"sha256:{'f' * 64}"}
    assert unfinished(repo) == []


def test_a_tag_that_moves_while_tags_are_set_undoes_what_was_set(repo: Repo) -> None:
    before = tags(repo)
    log(repo).then = at(f"set_tag {A_LATEST}", move(repo, B_LATEST))
    ran = repo.run("push", overrides=SECOND)
    assert ran.failed == ["push/b"]
    assert "; 1 tag set back, 1 tag removed" in ran.error_of("push/b")
    assert tags(repo) == {**before, B_LATEST: f"sha256:{'f' * 64}"}
    assert unfinished(repo) == []


def test_tags_that_cannot_be_removed_are_named_in_one_breath() -> None:
    assert str(Undone(stuck=("a.test/x:1",))) == "not removed, as its registry cannot: a.test/x:1"
    assert str(Undone(1, stuck=("a.test/x:1", "b.test/x:1"))) == (
        "1 tag set back, not removed, as their registries cannot: a.test/x:1, b.test/x:1"
    )


def test_a_tag_that_cannot_be_removed_is_named(repo: Repo) -> None:
    repo.registry.removes_tags = False
    log(repo).then = at(f"set_tag {A_LATEST}", move(repo, B_LATEST))
    ran = repo.run("push", overrides=SECOND)
    assert f"; 1 tag set back, not removed, as its registry cannot: {A_TWO}" in ran.error_of("push/b")
    assert A_TWO in tags(repo)
    assert unfinished(repo) == []


def test_a_tag_that_moves_right_after_all_are_set_takes_nothing_back(repo: Repo) -> None:
    log(repo).then = at(
        f"set_tag {B_LATEST}", lambda: setattr(log(repo), "then", at(f"digest {A_TWO}", move(repo, A_LATEST)))
    )
    ran = repo.run("push", overrides=SECOND)
    assert (ran.failed, ran.ran) == (["push/a"], ["app", "push/b"])
    assert "was moved by another publish: it was set, and now it holds" in ran.error_of("push/a")
    assert (A_TWO in tags(repo), unfinished(repo)) == (True, [])


def test_what_somebody_else_set_to_the_same_is_not_taken_back(repo: Repo) -> None:
    def same() -> None:
        held = next(
            h for name, h in repo.registry.remotes.items() if name.startswith("a.test/shop@") and h.digest != old
        )
        repo.registry.remotes[A_TWO] = replace(held, reference=A_TWO)

    old = tags(repo)[A_LATEST]
    hooks = [at("send b.test/shop", same), at(f"set_tag {A_LATEST}", move(repo, B_LATEST))]
    log(repo).then = lambda event: [hook(event) for hook in hooks]
    ran = repo.run("push", overrides=SECOND)
    assert ran.failed == ["push/b"]
    assert "; 1 tag set back" in ran.error_of("push/b")
    assert A_TWO in tags(repo)


# --- cut off --------------------------------------------------------------------------------------------------


def cut_off(repo: Repo, reference: str = A_LATEST) -> Ran:
    """A run that fails at one tag, and does not reach the registries any more."""

    def silent(event: Event) -> None:
        if event[0] in ("digest", "set_tag") and gone:
            raise RegistryError(f"{event[1]}: no answer")
        if event[:2] == ("set_tag", reference):
            gone.append(reference)
            raise RegistryError(f"{reference}: no answer")

    gone: list[str] = []
    log(repo).then = silent
    ran = repo.run("push", overrides=SECOND)
    log(repo).then = Log.then
    return ran


def test_a_failure_between_tags_says_how_far_it_came(repo: Repo) -> None:
    ran = cut_off(repo)
    assert ran.failed == ["push/a"]
    assert ran.error_of("push/a") == (
        "Pipefile.py:3: a.test/shop:latest: no answer; 1 of 3 tags are set\n"
        "  the next imgmake that publishes finishes or undoes this: run it again"
    )
    assert notes(ran)["push/b"] == "sent, 0 of 1 tagged: push/a failed"
    [left] = unfinished(repo)
    assert [tag.reference for tag in left.left] == [A_LATEST, B_LATEST]


def test_a_registry_that_refuses_the_first_tag_leaves_nothing_to_finish(repo: Repo) -> None:
    before = tags(repo)
    repo.registry.refuses.add(A_TWO)
    ran = repo.run("push", overrides=SECOND)
    assert ran.error_of("push/a") == "Pipefile.py:3: a.test/shop:two: denied; no tag was written"
    assert notes(ran)["push/b"] == "sent, not tagged: push/a failed"
    assert (tags(repo), unfinished(repo)) == (before, [])


def test_the_next_run_that_publishes_finishes_it_first(repo: Repo) -> None:
    cut_off(repo)
    wanted = tags(repo)[A_TWO]
    repo.put("app.txt", "3")
    log(repo).clear()
    ran = repo.run("push/b", overrides={"BUILD_ID": "three"})
    assert said(ran)[0] == (
        "finished the publication of push/a, push/b that was cut off at 2019-07-02 22:36:20 UTC: "
        "2 of its 3 tags were still to be set"
    )
    assert tags(repo)[A_LATEST] == wanted
    assert log(repo).named("set_tag")[:2] == [f"set_tag {A_LATEST}", f"set_tag {B_LATEST}"]
    assert unfinished(repo) == []


def test_what_somebody_moved_since_is_not_finished_but_undone(repo: Repo) -> None:
    before = tags(repo)
    cut_off(repo, B_LATEST)
    move(repo, B_LATEST)()
    ran = repo.run("push/a", overrides=FIRST, old_file=("app",))
    assert said(ran)[0].startswith(
        "undid the publication of push/a, push/b that was cut off at 2019-07-02 22:36:20 UTC: "
    )
    assert "1 tag set back, 1 tag removed (b.test/shop:latest was moved by another publish" in said(ran)[0]
    assert tags(repo) == {**before, B_LATEST: f"sha256:{'f' * 64}"}
    assert unfinished(repo) == []


def test_a_tag_that_was_set_and_then_set_back_by_somebody_is_no_reason_to_go_on(repo: Repo) -> None:
    before = tags(repo)
    cut_off(repo, B_LATEST)
    repo.registry.remotes[A_LATEST] = replace(repo.registry.remotes[A_LATEST], digest=before[A_LATEST])
    ran = repo.run("push/a", overrides=FIRST, old_file=("app",))
    assert "1 tag removed (a.test/shop:latest was moved by another publish: it was set, and now" in said(ran)[0]
    assert tags(repo) == before


def test_what_a_registry_refuses_for_good_is_undone(repo: Repo) -> None:
    before = tags(repo)
    cut_off(repo)
    repo.registry.refuses.add(B_LATEST)
    ran = repo.run("push/a", overrides=FIRST, old_file=("app",))
    assert said(ran)[0].endswith("1 tag set back, 1 tag removed (b.test/shop:latest: denied)")
    assert tags(repo) == before


def test_a_registry_that_does_not_answer_leaves_it_for_later(repo: Repo) -> None:
    cut_off(repo)
    log(repo).then = at(f"digest {B_LATEST}", fail("b.test/shop: no answer"))
    with pytest.raises(RegistryError, match="can be neither finished nor undone now") as caught:
        repo.run("push/b", overrides=SECOND)
    [path] = repo.user_folder.glob("*.json")
    assert caught.value.hint == f"run imgmake again when that registry answers; if it never will, remove {path}"
    assert len(unfinished(repo)) == 1
    assert repo.run("push", overrides=SECOND).ran == []
    assert len({tags(repo)[name] for name in (A_TWO, A_LATEST, B_LATEST)}) == 1


def test_another_clone_finishes_it_too(repo: Repo, tmp_path: Path) -> None:
    cut_off(repo)
    repo.run("app", overrides=SECOND)
    moved = repo.path.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    again = Repo(moved, engine=repo.engine, registry=repo.registry, clock=repo.clock)
    again.user_folder = repo.user_folder
    assert said(again.run("push/b", overrides=SECOND))[0].startswith("finished the publication of push/a, push/b")
    assert unfinished(again) == []


def test_publications_elsewhere_are_left_alone(repo: Repo) -> None:
    cut_off(repo)
    repo.pipefile(APP + 'publish("push/c", image=app, to="c.test/shop", tags="1")\n')
    assert said(repo.run("push/c", overrides=SECOND)) == []
    assert len(unfinished(repo)) == 1


def test_other_runs_say_that_it_waits(repo: Repo) -> None:
    cut_off(repo)
    ran = repo.run("app", overrides=SECOND)
    assert said(ran)[0] == (
        "the publication of push/a, push/b that was cut off at 2019-07-02 22:36:20 UTC waits: "
        "1 of 3 tags are set; `imgmake push/a` finishes or undoes it"
    )
    assert len(unfinished(repo)) == 1


def test_a_journal_that_cannot_be_read_stops_a_publication_and_says_what_it_was(repo: Repo) -> None:
    cut_off(repo)
    [path] = repo.user_folder.glob("*.json")
    path.write_bytes(path.read_bytes()[:-40])
    before = tags(repo)
    with pytest.raises(StateError) as caught:
        repo.run("push", overrides=SECOND)
    assert caught.value.message == (
        f"{path} tells of a publication that was cut off, and cannot be read: its checksum is wrong; of its tags, "
        f"among them {A_TWO}, {A_LATEST}, {B_LATEST}, some may be set and others not"
    )
    assert "imgmake --plan" in caught.value.hint
    assert (tags(repo), path.exists()) == (before, True)
    with repo.session(read_only=True, dry_run=True, overrides=SECOND) as (session, _):
        [found] = session.executor.unfinished(session.goals(["push"]))
    assert (found.target, found.lines) == (str(path), ())
    assert isinstance(found.error, StateError), "a run would stop at it, so a plan is refused"
    [line, *_] = said(repo.run("app", overrides=SECOND))
    assert line.startswith(f"{path} tells of a publication that was cut off")
    path.unlink()
    assert repo.run("push", overrides=SECOND).failed == []


def test_a_dry_run_tells_what_would_be_finished_and_writes_nothing(repo: Repo) -> None:
    cut_off(repo)
    digest, before = tags(repo)[A_TWO], tags(repo)
    with repo.session(read_only=True, dry_run=True, overrides=SECOND) as (session, _):
        [found] = session.executor.unfinished(session.goals(["push"]))
        assert session.executor.unfinished(session.goals(["app"])) == []
    assert (found.target, found.why.code) == ("push/a", "interrupted")
    assert found.why.text.endswith("is finished first: 1 of 3 tags are set")
    assert found.lines == (
        f"docker buildx imagetools create --prefer-index=false -t {A_LATEST} a.test/shop@{digest}",
        f"docker buildx imagetools create --prefer-index=false -t {B_LATEST} b.test/shop@{digest}",
    )
    assert (tags(repo), len(unfinished(repo))) == (before, 1)
    move(repo, B_LATEST)()
    cut_tag = repo.registry.remotes[A_TWO]
    with repo.session(read_only=True, dry_run=True, overrides=SECOND) as (session, _):
        [found] = session.executor.unfinished(session.goals(["push"]))
    assert "is undone first: b.test/shop:latest was moved" in found.why.text
    assert found.lines == (f"# remove {A_TWO}",)
    assert repo.registry.remotes[A_TWO] == cut_tag


def planned(repo: Repo) -> dict[str, str]:
    """What a dry run says of each tag."""
    with repo.session(read_only=True, dry_run=True, overrides=SECOND) as (session, _):
        goals = session.goals(["push"])
        session.check(goals)
        found = session.executor.prospects(goals, lines=True)
    changes = [
        change for one in found if isinstance(one.publication, Publication) for change in one.publication.changes
    ]
    return {change.reference: change.action.value for change in changes}


def test_the_plan_is_that_of_a_run_which_finishes_or_undoes_it_first(repo: Repo) -> None:
    """What was to be finished stood in it twice, and what depends on that was foretold by what was there before."""
    cut_off(repo)
    before = tags(repo)
    assert planned(repo) == dict.fromkeys((A_LATEST, A_TWO, B_LATEST), "leave")
    move(repo, B_LATEST)()
    assert planned(repo)[A_TWO] == "create"
    assert tags(repo) == {**before, B_LATEST: tags(repo)[B_LATEST]}


def test_what_a_registry_will_hold_is_looked_at_as_what_it_holds(repo: Repo) -> None:
    """A version that is still to be set is higher than others, and one that is to be removed is not."""
    digest = tags(repo)[A_LATEST]
    registry = foreseen(repo.registry, {A_LATEST: "", A_TWO: digest, "b.test/shop:9": digest})
    assert registry.tags("a.test/shop") == ("one", "two")
    assert (registry.resolve(A_LATEST), registry.digest(A_LATEST)) == (None, None)
    found = registry.resolve(A_TWO)
    assert found is not None
    assert (found.reference, found.digest, registry.digest(A_TWO)) == (A_TWO, digest, digest)
    assert registry.resolve("b.test/shop:latest") == repo.registry.resolve("b.test/shop:latest")
    assert A_TWO not in tags(repo)


# --- Ctrl-C ---------------------------------------------------------------------------------------------------


def wait_for(stop: Cancel) -> bool:
    """Whether the run was stopped: its main thread hears of a signal some time after it was sent."""
    return stop.wait(20)


def stopped(repo: Repo, when: str) -> Ran:
    """A run in which somebody presses Ctrl-C at this moment."""
    with repo.session(jobs=2, overrides=SECOND) as (session, reporter):

        def press() -> None:
            end = time.monotonic() + 20
            while when.startswith("send") and ("sent", "push/a") not in reporter.events:  # side by side
                assert time.monotonic() < end
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)
            assert wait_for(session.run.signals.cancel)

        log(repo).then = at(when, press)
        with pytest.raises(Interrupted):
            session.executor.build(session.goals(["push"]))
        return Ran(session.executor.outcomes, reporter)


@pytest.mark.parametrize("when", ["send b.test/shop", f"digest {A_TWO}"])
def test_a_stop_before_the_first_tag_moves_none(repo: Repo, when: str) -> None:
    before = tags(repo)
    ran = stopped(repo, when)
    assert notes(ran)["push/a"] == "sent, not tagged: interrupted"
    assert ran.outcome("push/b").state is State.CANCELLED
    assert (tags(repo), unfinished(repo)) == (before, [])


def test_a_stop_between_tags_lets_the_rest_be_set(repo: Repo) -> None:
    """Half of the tags would be the worst of all ends, and the rest takes moments."""
    ran = stopped(repo, f"set_tag {A_LATEST}")
    assert ran.ran == ["app", "push/a", "push/b"]
    assert said(ran) == ["setting the last tags; Ctrl-C once more stops at once"]
    assert len({tags(repo)[name] for name in (A_TWO, A_LATEST, B_LATEST)}) == 1
    assert unfinished(repo) == []


def test_a_second_stop_between_tags_leaves_the_rest_to_the_next_run(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = repo.registry.set_tag
    with repo.session(jobs=2, overrides=SECOND) as (session, reporter):

        def set_tag(reference: str, digest: str, *, before: str | None, cancel: Cancel) -> bool:
            for stop in (session.run.signals.cancel, cancel) if reference == A_LATEST else ():
                os.kill(os.getpid(), signal.SIGINT)
                assert wait_for(stop)
            if cancel.stopped:
                raise Interrupted("stopped")
            return real(reference, digest, before=before, cancel=cancel)

        monkeypatch.setattr(repo.registry, "set_tag", set_tag)
        with pytest.raises(Interrupted):
            session.executor.build(session.goals(["push"]))
        ran = Ran(session.executor.outcomes, reporter)
    assert notes(ran)["push/a"] == "sent, 1 of 2 tagged: interrupted"
    assert said(ran)[-1].startswith("1 of 3 tags are set; the next imgmake that publishes finishes or undoes this")
    monkeypatch.undo()
    repo.run("push", overrides=SECOND)
    assert len({tags(repo)[name] for name in (A_TWO, A_LATEST, B_LATEST)}) == 1
