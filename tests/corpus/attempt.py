"""`attempt.py FOLDER MAKEFILE SCRATCH`: one Makefile, migrated in a repository made for that, and judged anew.

Prints JSON. What the check says is not taken for granted: every target of make's own data base has to be in its answer
and in the Pipefile, the Pipefile has to load, and a target that it calls equal has to use the same words (as many of
them as there is time for).
"""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from imgmake.app.migrating import Migrated, lines, migrate_makefile
from imgmake.app.options import Options
from imgmake.app.wiring import load
from imgmake.errors import ImgmakeError

_PATIENCE = 30.0  # seconds of second opinions: make is asked anew for each target
_CHEAP = ("-c", "core.looseCompression=0", "-c", "core.fsync=none", "-c", "gc.auto=0")  # of a large repository
_AUTHOR = ("-c", "user.name=measure", "-c", "user.email=measure@example.com", "-c", "commit.gpgsign=false")
_WORD = re.compile(r"[\w./:@%+=,-]*[A-Za-z0-9][\w./:@%+=,-]*")
_EXCUSES = {  # by what the check says: the commands of make's that are left out, or are another tool's now
    "itself says": r"[@ ]*(?:echo|printf)\b",
    "no stamp": r"[@ ]*touch\b",
    "sets all tags": r"[@ ]*docker (?:image )?tag\b",
    "does nothing": r"\s*set\b",
    "imgmake --list": r".*##",
    "what only patterns name": r"rm\b",
    "without a container": r".*\bdocker (?:container )?run\b",
}
_HERE = re.compile(r"\$\{?PWD\}?|\$\(pwd\)|`pwd`")
_HOME = re.compile(r"\$\{HOME\}|\$HOME\b")
_SHOWN = re.compile(r"(\bdocker\b[^;&|\n]*\bbuild\b[^;&|\n]*?)\s--progress[= ]\w+")  # only how a build is looked at
_TRIES = 3
_TEMPORARY = re.compile(r"/tmp/[\w-]+\.[A-Za-z0-9]{10}(?![A-Za-z0-9])")  # what mktemp names, otherwise in every run
_UNMADE = re.compile(r"\.[A-Z_]{4,}|\.\w+(?:\.\w+)?")


def attempt(source: Path, makefile: str, scratch: Path) -> dict[str, object]:
    """What came of the Makefile at a path of a folder, tried in `scratch`."""
    folder = scratch / source.name
    shutil.copytree(source, folder, symlinks=True, ignore=shutil.ignore_patterns(".git", "Pipefile.py", ".imgmake*"))
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*_AUTHOR, "commit", "-qm", "measure"]):
        subprocess.run(["git", *_CHEAP, *words], cwd=folder, check=True, capture_output=True)
    with (folder / ".git/info/exclude").open("a") as exclude:
        exclude.write("Pipefile.py\n")  # what is added makes no tree dirty
    path = folder / makefile
    options = Options(directory=path.parent, migrate=path.name)
    os.sync()  # to read what was written just now takes longer than what has been there
    start = _seconds()
    try:
        found = migrate_makefile(options, path.name)
    except ImgmakeError as error:
        return {"targets": [], "seconds": _seconds() - start, "crash": f"error: {error.message}"}
    seconds = _seconds() - start
    try:
        load(replace(options, migrate=None))
    except ImgmakeError as error:
        return {"targets": [], "seconds": seconds, "crash": f"the Pipefile does not load: {error.message}"}
    named = list(_targets(path))  # first: make remakes what is included, and prints it, when it reads this anew
    until = time.monotonic() + _PATIENCE
    targets = [_judged(found, each, path) if time.monotonic() < until else each for each in _told(found)]
    known = {str(each["name"]) for each in targets}
    targets += [
        {"name": name, "verdict": "silent", "why": "not in the Pipefile, nor said"}
        for name in named
        if name not in known and not any(each.startswith(f"{name}:") for each in known)
    ]
    return {"targets": targets, "seconds": seconds, "crash": ""}


def _seconds() -> float:
    """The time that processors have spent on this, on make and on what it starts: the same on a busy machine."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _told(found: Migrated) -> list[dict[str, object]]:
    """The check's answer for each target, the worst of those with and without variables overridden."""
    told: dict[str, dict[str, object]] = {}
    for each in found.compared:
        verdict = "said" if each.said else each.verdict
        name = each.target if each.target in told or " " not in each.target else each.target.partition(" ")[0]
        if name not in told or verdict in ("said", "different"):
            why = "; ".join(each.why) + (f" [{each.target}]" if name != each.target else "")
            told[name] = {
                "name": name,
                "verdict": verdict,
                "why": why,
                "make": list(each.make),
                "imgmake": list(each.imgmake),
            }
    return list(told.values())


def _targets(path: Path) -> Iterator[str]:
    """The targets of make's data base that the Makefile names, read without imgmake's parser."""
    words = ["timeout", "20", "make", "-pnq", "-f", path.name]
    done = subprocess.run(words, cwd=path.parent, capture_output=True, text=True, errors="replace", check=False)
    text = done.stdout.rpartition("\n# Files\n")[2]
    for block in text.split("\n\n"):
        rows = block.split("\n")
        head = next((row for row in rows if row and not row.startswith(("#", "\t"))), "")
        name = re.match(r"((?:[^:\\\s]|\\.)+)(?= ?::?(?:[^:=]|$))", head)
        if "# Not a target:" in rows or not name or "=" in name[1]:
            continue
        made = any(row.startswith("\t") for row in rows) or head.rstrip().partition(":")[2].strip(": ")
        if made and not _UNMADE.fullmatch(name[1]) and "%" not in name[1] and name[1] != path.name:
            yield name[1].replace("\\:", ":")


# --- a second opinion -----------------------------------------------------------------------------------------


def _judged(found: Migrated, told: dict[str, object], path: Path) -> dict[str, object]:
    if told["verdict"] not in ("same", "better") or "fails" in str(told["why"]):
        return told
    judged = told
    for _ in range(_TRIES):  # a second may have passed between the two; what is out of date stays so
        judged = _compared(found, told, path)
        if judged["verdict"] != "silent":
            break
    return judged


def _compared(found: Migrated, told: dict[str, object], path: Path) -> dict[str, object]:
    name = re.search(r"is called (\S+) here", str(told["why"]))
    options = Options(directory=path.parent, goals=(name[1] if name else str(told["name"]),), dry_run=True)
    try:
        ours = [text for _, _, text in lines(options)]
    except ImgmakeError as error:
        return {**told, "verdict": "silent", "why": f"called {told['verdict']}, but imgmake: {error.message}"}
    theirs = _dry_run(path, str(told["name"]))
    scratch = str(found.migration.values.make.folder)
    settled = {text: answer.replace(scratch, "PWD") for text, answer in found.migration.values.settled.items()}
    try:
        every = [*ours, *_called(ours, options)]
    except ImgmakeError as error:
        return {**told, "verdict": "different", "why": f"a call of imgmake fails: {error.message}"}
    # A shell has some by name that make has put in, and others by name as make has.
    filled = [text for line in every for text in (_filled(line, settled), " ".join(_split(line)[-1:]))]
    lost = _words(theirs, path.parent) - _words(filled, path.parent) - _excused(str(told["why"]), theirs, path.parent)
    if lost:
        why = f"called {told['verdict']}, but imgmake does not say {' '.join(sorted(lost))}"
        return {**told, "verdict": "silent", "why": why, "make": theirs, "imgmake": ours}
    return told


def _called(ours: Sequence[str], options: Options) -> Iterator[str]:
    """What calls of imgmake come to: a shell says what they are called with."""
    for line in ours:
        if re.match(r"imgmake (?!--)", _filled(line, {})):
            text = f"imgmake() {{ printf '%s\\n' \"$@\"; }}; {_filled(line, {})}"
            words = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, check=False).stdout.split()
            goals = tuple(word for word in words if "=" not in word)
            overrides = dict(word.split("=", 1) for word in words if "=" in word)
            yield from (each for _, _, each in lines(replace(options, goals=goals, overrides=overrides)))


def _dry_run(path: Path, target: str) -> list[str]:
    words = ["timeout", "20", "make", "--no-print-directory", "-n", "-f", path.name, "MAKE=: make", "--", target]
    done = subprocess.run(
        words,
        cwd=path.parent,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "LC_ALL": "C", "PWD": str(path.parent)},
    )
    return [line for line in done.stdout.split("\n") if not re.match(r"make(\[\d+\])?: ", line)]


def _words(commands: Sequence[str], folder: Path | None = None) -> set[str]:
    """The words of commands that matter: no quotes, no flags (which may be spelt in two ways), no numbers."""
    text = "\n".join(line for line in commands if not line.lstrip().startswith("#")).replace("\\\n", " ")
    text = _TEMPORARY.sub("/tmp/", text)
    text = _HERE.sub("PWD", text.replace(str(folder), "PWD") if folder is not None else text)
    text = _SHOWN.sub(r"\1", _HOME.sub(os.environ.get("HOME", ""), text))
    found = set()
    for word in _WORD.findall(re.sub(r"[\"'`\\]", "", text)):
        for part in re.split(r"[=,:]", word):
            if not part.startswith("-") and len(part) > 1 and not part.isdigit():
                found.add(part.removeprefix("./").rstrip("/."))
    return found


def _filled(line: str, settled: Mapping[str, str]) -> str:
    """What a shell of imgmake's is told, with the values that it is given, and make's answers for what it asks."""
    given, words = {}, _split(line)
    while words and (match := re.fullmatch(r"(\w+)=(.*)", words[0], re.DOTALL)):
        given[match[1]] = match[2]
        del words[0]
    text = words[2] if words[1:2] == ["-ec"] else line
    for name, value in given.items():
        text = re.sub(rf"\$\{{{name}:-([^}}]*)\}}", lambda match, value=value: value or match[1], text)  # type: ignore[misc]
        text = re.sub(rf"(?<!\\)(?:\$\{{{name}\}}|\${name}\b)", lambda _, value=value: value, text)  # type: ignore[misc]
    for ours, answer in sorted(settled.items(), key=lambda each: -len(each[0])):
        text = text.replace(ours, answer)
    return text


def _excused(why: str, theirs: Sequence[str], folder: Path) -> set[str]:
    """The words of commands that the check says are left out, or are the tool's own now."""
    found = {"docker", "buildx", "image", "container", "load", "make", "true", "PWD", ""}
    commands = "\n".join(theirs).replace("\\\n", " ").split("\n")
    for told, left_out in _EXCUSES.items():
        if told in why:
            found |= _words([line for line in commands if re.match(left_out, line)], folder)
    if match := re.search(r"declares \(([^)]*)\)", why):
        names = match[1].split(", ")
        given = [word for line in theirs for word in _split(line) if word.partition("=")[0] in names]
        found |= _words(given)
    return found


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


if __name__ == "__main__":
    print(json.dumps(attempt(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))))
