"""What a run is given: the ports to the world, and what the command line asks. Knows no edge."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imgmake.errors import Interrupted
from imgmake.freshness import Wish
from imgmake.ignore import Ignore
from imgmake.ports import (
    Builder,
    Cancel,
    Clock,
    Context,
    Engine,
    Git,
    Journal,
    Registry,
    Reporter,
    Shell,
    Slots,
    Sources,
    StateStore,
    Unshared,
)


@dataclass(frozen=True)
class World:
    """The ports, each connected on its first use; `engine` raises EngineUnavailable."""

    engine: Callable[[], Engine]
    builder: Callable[[str | None], Builder]
    registry: Callable[[], Registry]
    context: Callable[[Path, Ignore, frozenset[str]], Context]
    sources: Sources
    git: Git
    shell: Shell
    state: StateStore
    journal: Journal
    reporter: Reporter
    clock: Clock
    environ: Mapping[str, str]
    slots: Slots = field(default_factory=Unshared)


@dataclass(frozen=True)
class Settings:
    """How to run: `jobs` at once, `dry` runs nothing and writes nothing, `build_id` is one that was given."""

    jobs: int = 1
    keep_going: bool = False
    dry: bool = False
    wish: Wish = field(default_factory=Wish)
    build_id: str | None = None
    forced_builder: str | None = None
    allow_rollback: bool = False  # a moving tag may go back to an older commit
    allow_dirty: bool = False  # a publication may come from a dirty tree


@dataclass
class Signals:
    """What threads share: the stop, and one lock around all judging."""

    cancel: Cancel = field(default_factory=Cancel)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def check(self) -> None:
        """Raise Interrupted when the run was stopped."""
        if self.cancel.stopped:
            raise Interrupted("interrupted")
