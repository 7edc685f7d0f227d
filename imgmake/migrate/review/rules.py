"""What a Makefile says of its targets, and make takes otherwise: files, names that are no files, special targets."""

from __future__ import annotations

import re
from collections.abc import Iterator

from imgmake.migrate.model import Assign, Cond, Finding, Rule
from imgmake.migrate.review.seen import Command, Seen, Target, listed, number
from imgmake.migrate.review.shelltext import values

# Programs that read sources which they find by themselves.
_BUILDERS = re.compile(
    r"\b(?:mvnw?|gradlew?|sbt|go (?:build|install)|cargo build|(?:npm|yarn|pnpm) (?:run )?build|tsc|webpack|lein|ant)\b"
)
_FOLDER = re.compile(r"(?:\$\{?(?:PWD|CURDIR)\}?|\$\((?:pwd|PWD|CURDIR|shell pwd)\)|`pwd`|\.|\./)/?:")
_MAKES_FILES = re.compile(r"\.[A-Za-z]\w{0,5}$")
_NO_PHONY = re.compile(r"\.?PHON[EY]{1,3}S?|\.phony")


def unread(seen: Seen) -> Iterator[Finding]:
    """Files that are never made again, since nothing is named that they are made of."""
    for target in seen.targets.values():
        if target.phony or target.pattern or target.prerequisites or target.asks or not _is_file(target):
            continue
        if (what := _read(target, seen)) and not _cleaned(target, seen):
            yield Finding(
                target.line,
                f"{target.name} has no prerequisites, and its recipe reads {what}",
                "once it is there, make never makes it again, whatever changes",
                _read_now(target, seen),
            )


_CLEAN = re.compile(r"(?:\S*[-_/])?(?:dist|mr)?clean(?:up)?(?:[-_/]\S*)?")


def _cleaned(target: Target, seen: Seen) -> bool:
    """Whether who needs it cleans first."""
    users = [each for each in seen.targets.values() if target.name in each.prerequisites]
    return any(_CLEAN.fullmatch(name) for each in users for name in each.prerequisites)


def _is_file(target: Target) -> bool:
    return target.makes or bool(_MAKES_FILES.search(target.name)) or target.name == "node_modules"


def _read(target: Target, seen: Seen) -> str:
    """What a recipe certainly reads; empty when that is not certain."""
    files = [name for command in target.commands for name in _named(command, seen) if name != target.name]
    if files:
        return listed(files)
    for command in target.commands:
        if found := _BUILDERS.search(command.now):
            return f"what {found[0]} finds in the folder"
        for each in command.docker:
            if each.verb == "run" and any(_here(mount, seen) for mount in values(each, "volume")):
                return "the folder that it mounts"
    return "the build context" if target.builds else ""


def _named(command: Command, seen: Seen) -> Iterator[str]:
    """The files of the folder that a line names; neither what it writes, nor what it removes."""
    text = re.sub(r"\d?>>?\s*\S+", " ", command.now)
    if re.search(r"\b(?:git clone|curl|wget)\b", text):
        return
    for words in command.simple:
        if words[0] in ("rm", "mkdir", "echo", "printf", "touch", "chmod", "cd", "test", "["):
            continue
        for word in words[:-1] if words[0] in ("cp", "mv", "install", "ln") else words:
            name = word.removeprefix("<").removeprefix("./")
            if name and name in text and name[0] != "/" and name[0] not in "-." and (seen.folder / name).is_file():
                yield name


def _here(mount: str, seen: Seen) -> bool:
    """Whether a ``-v`` mounts the folder itself."""
    return bool(_FOLDER.match(mount)) or mount.partition(":")[0].rstrip("/.") == str(seen.folder)


def _read_now(target: Target, seen: Seen) -> str:
    found = [name for name in seen.written.reads(target.name) if name != target.name]
    if found:
        return f"the Pipefile names {listed(found)}, and their content counts"
    return seen.before([target.name], f'name what it reads, as in file("{target.name}", "src/", …)')


# --- names that are no files ----------------------------------------------------------------------------------


def not_phony(seen: Seen) -> Iterator[Finding]:
    """Actions that are not in .PHONY."""
    names = [each.name for each in seen.targets.values() if _is_action(each)]
    for target in [seen.targets[name] for name in names]:
        there = seen.folder / target.name
        if there.exists() and not target.prerequisites and target.commands:
            names.remove(target.name)
            what = "folder" if there.is_dir() else "file"
            yield Finding(
                target.line,
                f"{target.name} is not in .PHONY, and a {what} of that name is here",
                f"make takes the {what} for the target, and never runs the recipe",
                "phony, check and image are names, whatever files there are",
            )
    if names:
        yield Finding(
            seen.targets[names[0]].line,
            f"{listed(names, 6)} {number(names, 'makes', 'make')} no file, and {number(names, 'is', 'are')} not .PHONY",
            f"a file or folder of {number(names, 'that', 'such a')} name would stop it",
            "phony, check and image are names, whatever files there are",
        )


def _is_action(target: Target) -> bool:
    plain = re.fullmatch(r"[\w-]+", target.name) and not target.pattern
    plain = plain and not _NO_PHONY.fullmatch(target.name)
    return bool(plain and not target.phony and not target.makes and (target.commands or target.prerequisites))


def misspelt(seen: Seen) -> Iterator[Finding]:
    """`.PHONY` as a variable or in another spelling."""
    for each in _flat(seen.statements):
        if isinstance(each, Assign) and _NO_PHONY.fullmatch(each.name) and not _mentioned(each.name, seen):
            yield _no_phony(each.line, f"`{each.name} {each.op} …` sets a variable")
        elif isinstance(each, Rule) and _meant(each, seen):
            yield _no_phony(each.line, f"`{each.targets}:` is a target like any other")


def patterns(seen: Seen) -> Iterator[Finding]:
    """`.PHONY: build-%`."""
    lines = {
        word: each.line
        for each in _flat(seen.statements)
        if isinstance(each, Rule) and each.targets == ".PHONY"
        for word in each.prerequisites.split()
        if "%" in word and "$" not in word
    }
    if words := list(lines):
        yield Finding(
            lines[words[0]],
            f".PHONY knows no patterns: {listed(words)} {number(words, 'is one name', 'are names')}, and no family",
            "a file or folder that is called like one of its targets stops that target",
            "phony, check and image are names, whatever files there are",
        )


def _meant(rule: Rule, seen: Seen) -> bool:
    """Whether a rule is meant for .PHONY; nobody needs it then."""
    if not _NO_PHONY.fullmatch(rule.targets) or rule.targets == ".PHONY" or not rule.prerequisites:
        return False
    return not any(rule.targets in target.prerequisites for target in seen.targets.values())


def _no_phony(line: int, what: str) -> Finding:
    return Finding(
        line,
        f"{what}: .PHONY is meant",
        "none of the names is phony: a file or folder of such a name stops its target",
        "phony, check and image are names, whatever files there are",
    )


def _mentioned(name: str, seen: Seen) -> bool:
    """Whether the value of a variable goes anywhere: ``.PHONY: $(PHONY)``."""
    return any(
        re.search(rf"\$[({{]{re.escape(name)}[)}}]", f"{each.targets} {each.prerequisites}")
        for each in _flat(seen.statements)
        if isinstance(each, Rule)
    )


def _flat(statements: object) -> Iterator[object]:
    for each in statements if isinstance(statements, tuple | list) else ():
        yield each
        if isinstance(each, Cond):
            yield from _flat((*each.then, *each.otherwise))


def defaults(seen: Seen) -> Iterator[Finding]:
    """`.DEFAULT:` or `.DEFAULT_GOAL:` for `.DEFAULT_GOAL :=`."""
    for each in _flat(seen.statements):
        wanted = ""
        if isinstance(each, Rule) and each.targets in (".DEFAULT", ".DEFAULT_GOAL") and not each.recipe:
            wanted, line, shown = each.prerequisites.strip(), each.line, f"{each.targets}: {each.prerequisites.strip()}"
        elif isinstance(each, Assign) and each.name == ".DEFAULT" and not each.target:
            wanted, line, shown = each.value.strip(), each.line, f"{each.name} {each.op} {each.value.strip()}"
        if wanted:
            yield Finding(
                line,
                f"`{shown}` sets no default: `.DEFAULT_GOAL := {wanted}` does",
                f"`make` alone makes {seen.database.default}"
                + (", which happens to be the first" if seen.database.default == wanted else ""),
                _default_now(seen, wanted),
            )


def _default_now(seen: Seen, wanted: str) -> str:
    pipeline = seen.written.pipeline
    goal = (pipeline.default or (pipeline.rules[0].target if pipeline.rules else "")) if pipeline is not None else ""
    if goal == wanted:
        return f"`imgmake` alone makes {goal}"
    return f'as before: default("{wanted}") in the Pipefile would do it'
