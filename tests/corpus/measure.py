"""Migrates any Makefiles, each in a repository of its own, and counts what came of their targets.

    python tests/corpus/measure.py [-j JOBS] [--limit SECONDS] [--reasons FILE] FOLDER_OR_MAKEFILE...

A folder is searched for Makefiles; one that holds an INDEX.tsv (number, class, folder, path in it) is read by that.
The exit code is 1 when something crashes or a target is silently different. Nothing given is written to.

The seconds are the processor's. Copies stand in memory where there is room, unless TMPDIR says where: what a disk takes
to make some thousand files differs by more than a second from run to run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.corpus.classes import difficulty  # noqa: E402 (this file is started by its path)

NAMES = re.compile(r"(?:GNU|[\w-]*\.)?[Mm]akefile(?:\.[\w-]+)?|[\w.-]+\.mk")
MEMORY, ROOM = "/dev/shm", 4 << 30
TIED = {"same": 0, "better": 1, "said": 2, "different": 3, "silent": 4}  # the worst counts for a target
COLUMNS = ("same", "better", "said", "different", "silent")


@dataclass(frozen=True)
class Subject:
    """A Makefile to try: its name in the table, its class, the repository's folder, its path in that."""

    name: str
    difficulty: int
    folder: Path
    makefile: str


@dataclass
class Target:
    """What came of a target. `verdict`: same, better, said (fails with a TODO), different (told alone), silent."""

    name: str
    verdict: str
    why: str = ""
    make: list[str] = field(default_factory=list)
    imgmake: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """What came of a Makefile; `crash` when there is nothing to count."""

    targets: list[Target] = field(default_factory=list)
    seconds: float = 0.0
    crash: str = ""

    def count(self) -> Counter[str]:
        """How many targets have each verdict."""
        return Counter(each.verdict for each in self.targets)


def subjects(paths: Iterable[Path]) -> Iterator[Subject]:
    """The Makefiles at and below some paths."""
    for path in paths:
        index = path / "INDEX.tsv"
        if index.is_file():
            for line in index.read_text().splitlines():
                name, level, folder, makefile = line.split("\t")
                yield Subject(name, int(level), index.parent / folder, makefile)
        else:
            yield from map(_subject, [path] if path.is_file() else sorted(_makefiles(path)))


def _makefiles(folder: Path) -> Iterator[Path]:
    return (each for each in folder.rglob("*") if NAMES.fullmatch(each.name) and each.is_file())


def _subject(makefile: Path) -> Subject:
    makefile = makefile.resolve()
    folder = next((each for each in makefile.parents if (each / ".git").exists()), makefile.parent)
    level = difficulty(makefile.read_text(errors="replace"))
    return Subject(f"{folder.name}/{makefile.relative_to(folder)}", level, folder, str(makefile.relative_to(folder)))


def outcome(subject: Subject, limit: float) -> Outcome:
    """Try a Makefile in a process of its own: what breaks or hangs there breaks nothing here."""
    argv = [sys.executable, str(Path(__file__).with_name("attempt.py")), str(subject.folder), subject.makefile]
    with tempfile.TemporaryDirectory(prefix="imgmake-measure-", dir=_memory(), ignore_cleanup_errors=True) as folder:
        (Path(folder) / "tmp").mkdir()
        try:
            said, complaints = _run([*argv, folder], limit, {**os.environ, "TMPDIR": f"{folder}/tmp"})
        except subprocess.TimeoutExpired:
            return Outcome(crash=f"not done within {limit:.0f} s", seconds=limit)
    try:
        found = json.loads(said.rpartition("\n{")[2].join(("{", "")) if "\n{" in said else said)
    except ValueError:
        return Outcome(crash=(complaints.strip() or "no answer").splitlines()[-1])
    return Outcome([Target(**each) for each in found["targets"]], found["seconds"], found["crash"])


def _memory() -> str | None:
    """A folder in memory with room for copies of repositories."""
    there = "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK)
    return MEMORY if there and shutil.disk_usage(MEMORY).free > ROOM else None


def _run(argv: Sequence[str], limit: float, environ: Mapping[str, str]) -> tuple[str, str]:
    """What a process prints; where it takes too long it ends with all that it started. Raises TimeoutExpired."""
    piped = subprocess.PIPE
    with subprocess.Popen(argv, stdout=piped, stderr=piped, text=True, env=environ, start_new_session=True) as process:
        try:
            return process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def table(tried: Sequence[tuple[Subject, Outcome]]) -> str:
    """A line for each Makefile, then the sums of each class."""
    width = max((len(each.name) for each, _ in tried), default=0)
    head = f"{'Makefile':<{width}}  class  targets  " + "  ".join(COLUMNS) + "  seconds"
    lines = [head, *(_line(subject, found, width) for subject, found in tried), ""]
    for level in sorted({subject.difficulty for subject, _ in tried}):
        lines.append(_sum(f"class {level}", [found for each, found in tried if each.difficulty == level]))
    return "\n".join([*lines, _sum("all", [found for _, found in tried])])


def _line(subject: Subject, found: Outcome, width: int) -> str:
    if found.crash:
        return f"{subject.name:<{width}}  {subject.difficulty:>5}  crash: {found.crash}"
    count = found.count()
    numbers = "  ".join(f"{count[column]:>{len(column)}}" for column in COLUMNS)
    return (
        f"{subject.name:<{width}}  {subject.difficulty:>5}  {len(found.targets):>7}  {numbers}  {found.seconds:>7.1f}"
    )


def _sum(title: str, found: Sequence[Outcome]) -> str:
    count: Counter[str] = Counter()
    for each in found:
        count += each.count()
    total = sum(count.values())
    share = 100 * (count["same"] + count["better"]) / total if total else 0.0
    told = ", ".join(f"{count[column]} {column}" for column in COLUMNS)
    crashes = sum(bool(each.crash) for each in found)
    slowest = max((each.seconds for each in found), default=0.0)
    return (
        f"{title}: {len(found)} Makefiles, {total} targets: {told}; {share:.1f} % same or better; "
        f"{crashes} crashes; slowest {slowest:.1f} s"
    )


def main(words: Sequence[str]) -> int:
    """Try each Makefile, print the table."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("paths", nargs="+", type=Path)
    asked.add_argument("-j", "--jobs", type=int, default=2)
    asked.add_argument(
        "--limit", type=float, default=180.0, help="seconds for one Makefile, with all that is done to try it"
    )
    asked.add_argument("--reasons", type=Path, help="a file for what came of each target, as JSON")
    given = asked.parse_args(words)
    every = list(subjects(given.paths))
    with ThreadPoolExecutor(given.jobs) as pool:
        tried = list(zip(every, pool.map(lambda each: outcome(each, given.limit), every), strict=True))
    print(table(tried))
    if given.reasons:
        found = [{"name": s.name, "class": s.difficulty, "makefile": s.makefile, **asdict(o)} for s, o in tried]
        given.reasons.write_text(json.dumps(found, indent=1))
    return 1 if any(found.crash or found.count()["silent"] for _, found in tried) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
