"""File targets against GNU make: after random edits and deletions, imgmake runs what make runs, no more, no less.

Two folders hold the same graph, one with a Makefile and one with a Pipefile. Every recipe writes its name into a log,
and content that no run wrote before, so that early cut-off (which make has not) plays no part. What imgmake means to
do otherwise than make is asserted below, each on its own.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from imgmake.cli import Streams, main

GRAPHS = int(os.environ.get("IMGMAKE_TEST_GRAPHS", "25"))
STEPS = 6

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="GNU make is what is compared with")


@dataclass
class Target:
    """Files made by one recipe, with the names that they need, and those that only come first."""

    files: tuple[str, ...]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass
class Graph:
    """File targets in a random order of writing, their sources, and aliases: recipe-free names for several."""

    sources: list[str]
    targets: list[Target]
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def goals(self) -> list[str]:
        return [file for target in self.targets for file in target.files] + list(self.aliases)

    def group(self, file: str) -> tuple[str, ...]:
        """All that the recipe of `file` makes: before 4.4, make looks only at the one of a group that is asked for."""
        return next(target.files for target in self.targets if file in target.files)

    def makefile(self) -> str:
        lines = [f".PHONY: {' '.join(self.aliases)}"]
        lines += [f"{name}: {' '.join(needs)}" for name, needs in self.aliases.items()]
        for target in self.targets:
            colon = "&:" if len(target.files) > 1 else ":"  # grouped: one recipe makes them all
            head = f"{' '.join(target.files)} {colon} {' '.join(target.needs)}"
            lines += [f"{head} | {' '.join(target.after)}" if target.after else head]
            lines += ["\t" + recipe(target).replace("$", "$$")]
        return "\n".join(lines) + "\n"

    def pipefile(self) -> str:
        lines = ["from imgmake import file, phony, sh"]
        lines += [f"phony({name!r}, *{needs!r})" for name, needs in self.aliases.items()]
        for target in self.targets:
            parts = f"*{target.needs!r}, sh({recipe(target)!r}), after={list(target.after)!r}"
            lines.append(f"file({list(target.files)!r}, {parts})")
        return "\n".join(lines) + "\n"


def recipe(target: Target) -> str:
    """In words that the shell has itself: starting a `cat` for each file took a fourth of these tests' time."""
    writes = [f"read -r new < /proc/sys/kernel/random/uuid; echo $new > {file}" for file in target.files]
    return "; ".join([f"echo {target.files[0]} >> log", *writes])


def random_graph(dice: random.Random) -> Graph:
    sources = [f"s{n}.txt" for n in range(dice.randint(1, 4))]
    graph = Graph(sources, [])
    known = list(sources)
    for n in range(dice.randint(2, 9)):
        files = tuple(f"{folder}t{n}{part}" for folder in [dice.choice(["", "out/"])] for part in _parts(dice))
        needs = tuple(dice.sample(known, min(len(known), dice.randint(0, 3))))
        after = tuple(name for name in dice.sample(known, 1) if dice.random() < 0.2 and name not in needs)
        graph.targets.append(Target(files, needs, after))
        known += files
    made = known[len(sources) :]
    graph.aliases["all"] = tuple(made)
    graph.aliases["some"] = tuple(dice.sample(made, dice.randint(1, len(made))))
    graph.aliases["more"] = ("some", dice.choice(made))
    dice.shuffle(graph.targets)
    return graph


def _parts(dice: random.Random) -> Sequence[str]:
    return ["a", "b"] if dice.random() < 0.2 else [""]


@dataclass
class World:
    """One folder with the graph in it."""

    path: Path
    graph: Graph

    def write(self, name: str, content: str) -> None:
        """Change a file, as an editor would a moment later: newer than all there is."""
        newest = max((p.lstat().st_mtime_ns for p in self.path.rglob("*")), default=time.time_ns())
        (self.path / name).write_text(content)
        os.utime(self.path / name, ns=(newest + 1, newest + 1))
        self._tick(newest + 1)

    def _tick(self, moment: int) -> None:
        """The kernel stamps files by a clock of some milliseconds: let it pass `moment`, so that recipes come after."""
        probe = self.path / ".tick"
        for _ in count():
            probe.write_bytes(b"")
            os.utime(probe)
            if probe.stat().st_mtime_ns > moment:
                break
        probe.unlink()

    def took(self) -> list[str]:
        """The recipes that ran since this was last asked."""
        log = self.path / "log"
        names = sorted(log.read_text().split()) if log.exists() else []
        log.unlink(missing_ok=True)
        return names


def make(world: World, *goals: str) -> list[str]:
    argv = ["make", "--silent", "--no-builtin-rules", *goals]
    done = subprocess.run(argv, cwd=world.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return world.took()


def imgmake(world: World, *words: str) -> list[str]:
    out, err = io.BytesIO(), io.BytesIO()
    code = main(["--json", "-j2", "-C", str(world.path), *words], streams=Streams(out, err, answers=False))
    told = out.getvalue().decode() + err.getvalue().decode()
    assert code == 0, told
    took = world.took()
    assert sorted(_done(out.getvalue())) == took, told  # what it says it ran is what ran
    return took


def _done(events: bytes) -> list[str]:
    ends = [event for event in map(json.loads, events.splitlines()) if event["event"] == "finished"]
    return [event["target"] for event in ends if event["state"] == "done"]


def worlds(tmp_path: Path, graph: Graph) -> tuple[World, World]:
    both = World(tmp_path / "make", graph), World(tmp_path / "imgmake", graph)
    for world in both:
        (world.path / "out").mkdir(parents=True)
        for name in graph.sources:
            world.write(name, f"{name} at first")
    (both[0].path / "Makefile").write_text(graph.makefile())
    (both[1].path / "Pipefile.py").write_text(graph.pipefile())
    return both


@pytest.mark.parametrize("seed", range(GRAPHS))
def test_imgmake_runs_what_make_runs(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    graph = random_graph(dice)
    by_make, by_imgmake = worlds(tmp_path, graph)
    steps = []
    for step in range(STEPS):
        for what, name in random_changes(dice, graph):
            steps.append(f"{what} {name}")
            for world in (by_make, by_imgmake):
                change(world, what, name, f"{name} in step {step}")
        goals = dice.sample(graph.goals, dice.randint(1, 2)) if dice.random() < 0.6 else ["all"]
        steps.append(f"make {' '.join(goals)}")
        history = f"{graph.makefile()}\n" + "\n".join(steps)
        assert imgmake(by_imgmake, *goals) == make(by_make, *goals), history
    assert imgmake(by_imgmake, *goals) == make(by_make, *goals) == [], history


def random_changes(dice: random.Random, graph: Graph) -> list[tuple[str, str]]:
    made = [file for target in graph.targets for file in target.files]
    picks = [("edit", dice.choice(graph.sources)), ("delete", dice.choice(made)), ("forget", ""), ("nothing", "")]
    return dice.choices(picks, weights=[6, 4, 1, 1], k=dice.randint(1, 2))


def change(world: World, what: str, name: str, content: str) -> None:
    if what == "edit":
        world.write(name, content)
    elif what == "delete":
        for file in world.graph.group(name):
            (world.path / file).unlink(missing_ok=True)
    elif what == "forget":  # with no record, make's own rule counts; make has none to lose
        shutil.rmtree(world.path / ".imgmake", ignore_errors=True)


# --- what imgmake does otherwise, and means to ----------------------------------------------------------------

CHAIN = Graph(["s.txt"], [Target(("middle",), ("s.txt",)), Target(("end",), ("middle",))])


@pytest.fixture
def chain(tmp_path: Path) -> World:
    """`end` from `middle` from `s.txt`, all made."""
    world = worlds(tmp_path, CHAIN)[1]
    assert imgmake(world, "end") == ["end", "middle"]
    return world


def test_a_prerequisite_that_comes_out_the_same_makes_nothing_stale(chain: World) -> None:
    pipefile = chain.path / "Pipefile.py"
    pipefile.write_text(pipefile.read_text().replace("echo $new > middle", "echo same > middle"))
    assert imgmake(chain, "end") == ["end", "middle"]
    chain.write("s.txt", "edited")
    assert imgmake(chain, "end") == ["middle"]
    assert imgmake(chain, "end") == []


def test_one_missing_of_several_made_by_one_recipe_has_all_made(tmp_path: Path) -> None:
    """As make does since 4.4."""
    world = worlds(tmp_path, Graph(["s.txt"], [Target(("one", "two"), ("s.txt",))]))[1]
    assert imgmake(world, "one") == ["one"]
    (world.path / "two").unlink()
    assert imgmake(world, "one") == ["one"]


def test_another_recipe_makes_its_target_stale(chain: World) -> None:
    pipefile = chain.path / "Pipefile.py"
    pipefile.write_text(pipefile.read_text().replace("> end", "> end; true"))
    assert imgmake(chain, "end") == ["end"]


def test_a_touched_file_makes_nothing_stale(chain: World) -> None:
    chain.write("s.txt", (chain.path / "s.txt").read_text())
    assert imgmake(chain, "end") == []


def test_an_older_file_put_in_place_makes_its_targets_stale(chain: World) -> None:
    (chain.path / "s.txt").write_text("from a backup")
    os.utime(chain.path / "s.txt", (0, 0))
    assert imgmake(chain, "end") == ["end", "middle"]


def test_a_target_edited_by_hand_is_made_again(chain: World) -> None:
    chain.write("middle", "by hand")
    assert imgmake(chain, "end") == ["end", "middle"]
