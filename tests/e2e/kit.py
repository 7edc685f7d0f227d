"""What end-to-end tests share: a repository on disk, imgmake run in it as a user would, and what it told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import forked

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "docs" / "tutorial" / "shop"

Event = dict[str, Any]


@dataclass(frozen=True)
class Ran:
    """One run of a command: its exit code and output and, with ``--json``, its events."""

    code: int
    out: str
    err: str
    events: Sequence[Event] = field(default=(), repr=False)

    @property
    def done(self) -> set[str]:
        """The targets whose recipe ran and succeeded."""
        return self.ended("done")

    def ended(self, state: str) -> set[str]:
        return {e["target"] for e in self.events if e["event"] == "finished" and e["state"] == state}

    def reasons(self, target: str) -> list[str]:
        ends = [e for e in self.events if e["event"] == "finished" and e["target"] == target]
        return [reason["text"] for reason in ends[-1]["reasons"]] if ends else []

    @property
    def errors(self) -> list[str]:
        return [e["message"] for e in self._errors()]

    def _errors(self) -> list[Event]:
        nested = [error for e in self.events if e["event"] == "finished" for error in e.get("errors", ())]
        return [e for e in self.events if e["event"] == "error"] + nested


@dataclass
class Repo:
    """A repository under git, with the environment that commands in it get."""

    path: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, *argv: str, code: int | None = 0) -> Ran:
        """Run a command; its exit code must be `code` unless that is None."""
        done = subprocess.run(argv, cwd=self.path, env={**os.environ, **self.env}, capture_output=True, check=False)
        return _expected(argv, code, done.returncode, done.stdout, done.stderr)

    def imgmake(self, *args: str, code: int | None = 0) -> Ran:
        """Run imgmake as a user would (but for its start-up: see `tests.forked`), and return what it printed."""
        ended = forked.run(args, cwd=self.path, env={**os.environ, **self.env})
        return _expected(["imgmake", *args], code, *ended)

    def told(self, *args: str, code: int | None = 0) -> Ran:
        """Run ``imgmake --json``, and return its events."""
        ran = self.imgmake("--json", *args, code=code)
        return Ran(ran.code, ran.out, ran.err, [json.loads(line) for line in ran.out.splitlines()])

    def write(self, path: str, text: str) -> None:
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def replace(self, path: str, old: str, new: str) -> None:
        text = (self.path / path).read_text()
        assert old in text, f"{path} does not hold {old!r}"
        (self.path / path).write_text(text.replace(old, new))

    def commit(self, message: str = "A change") -> str:
        """Commit everything; return the full commit."""
        self.run("git", "add", "--all")
        self.run("git", "-c", "gc.auto=0", "commit", "--quiet", "--allow-empty", "--message", message)
        return self.run("git", "rev-parse", "HEAD").out.strip()


def _expected(argv: Sequence[str], code: int | None, ended: int, out: bytes, err: bytes) -> Ran:
    ran = Ran(ended, out.decode(), err.decode())
    assert code is None or ended == code, f"{' '.join(argv)}: exit {ended}\n{ran.out}\n{ran.err}"
    return ran


def repository(path: Path, source: Path | None = None, env: Mapping[str, str] | None = None) -> Repo:
    """A repository at `path` with one commit: the files of `source` as git sees them (nothing ignored is copied)."""
    path.mkdir(parents=True, exist_ok=True)
    identity = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _IDENTITY.items()}
    repo = Repo(path, {**identity, **(env or {})})
    if source is not None:
        shutil.copytree(source, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("target", ".imgmake"))
    repo.run("git", "init", "--quiet", "--template=", "--initial-branch=main")  # no sample hooks
    repo.commit("The beginning")
    return repo


_IDENTITY = {"NAME": "A developer", "EMAIL": "developer@example.com"}
