"""What the command line asks, understood: one frozen value that goes all the way down."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


def _environ() -> Mapping[str, str]:
    return dict(os.environ)


@dataclass(frozen=True)
class Options:
    """One command line: goals in their order, ``NAME=value`` words, make's options and ours."""

    goals: tuple[str, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    directory: Path = Path()
    file: Path | None = None
    dry_run: bool = False
    question: bool = False
    always_make: bool = False
    keep_going: bool = False
    silent: bool = False
    trace: bool = False
    start_engine: bool = False
    jobs: int | None = None
    jobserver: str = ""  # make's, as MAKEFLAGS tells of it; empty: there is none, or -j was given here
    what_if: tuple[str, ...] = ()
    old_file: tuple[str, ...] = ()
    commit: str | None = None  # from a clean checkout of this revision
    project: str = ""  # what the repository is called where its folder's name does not tell: in a clean checkout
    branch: str = ""  # that a clean checkout stands for, where git would tell of none
    keep: int = 5  # --gc: builds of each target that stay
    yes: bool = False  # --gc: remove without asking
    allow_rollback: bool = False  # a moving tag may go back to an older commit
    allow_dirty: bool = False  # a publication may come from a dirty tree
    migrate: str | None = None  # the Makefile; empty: the one that make would take
    stdout: bool = False  # --migrate: show the Pipefile, write nothing
    check: bool = False  # compare the Pipefile that is there with the Makefile
    literal: bool = False  # --migrate: recipes as they stand, in sh(…)
    shim: str | None = None  # the Makefile to write, whose targets call imgmake
    environ: Mapping[str, str] = field(default_factory=_environ)
    told: Callable[[], bytes | None] | None = None  # all that was printed so far, where that can be repeated
