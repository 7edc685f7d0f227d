"""What make makes one after the other since a rule lists it so: imgmake, which starts both at once, is told.

Only where the later is wrong without the earlier: it takes the earlier's image, or pushes what the earlier tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from imgmake.migrate.model import Database, Statement
from imgmake.migrate.review.order import Makers, between, makers, tests
from imgmake.migrate.review.seen import Seen, Target, look_at
from imgmake.migrate.review.written import Written
from imgmake.migrate.values import Values


def first(
    statements: Sequence[Statement], database: Database, values: Values, folder: Path
) -> Mapping[str, tuple[str, ...]]:
    """Of each target those that have to come first, beside what it needs; none that would close a cycle."""
    seen = look_at(statements, database, values, folder, Written())
    made, lists = makers(seen), _lists(seen)
    found: dict[str, list[str]] = {}
    for names in lists:
        for at, later in enumerate(names):
            for earlier in names[:at] if later in seen.targets else ():
                for name in _before(seen, earlier, later, made, lists):
                    if later not in seen.closure(name) and name not in found.get(later, ()):
                        found.setdefault(later, []).append(name)
    return {later: tuple(names) for later, names in found.items() if not _ring(later, found)}


def _lists(seen: Seen) -> list[list[str]]:
    """Each list of prerequisites, of which only those count that have something to do: sources may be thousands."""
    every = seen.database.targets
    busy = {name for name, made in every.items() if made.recipe or made.prerequisites or made.stem} | {*seen.targets}
    return [[name for name in target.prerequisites if name in busy] for target in seen.targets.values()]


def _before(seen: Seen, earlier: str, later: str, made: Makers, lists: Sequence[Sequence[str]]) -> Iterator[str]:
    image = between(seen, earlier, later, made)
    always = all(earlier in names[: names.index(later)] for names in lists if later in names)
    if image and (always or _only_builds(seen.targets[image])):
        yield image
    tested = earlier in seen.targets and tests(seen.targets[earlier])
    if tested and always and _pushes(seen, later) and earlier not in seen.closure(later):
        yield earlier


def _only_builds(target: Target) -> bool:
    """Whether a target is one image, which is not built when it is up to date."""
    others = [words for command in target.commands for words in command.simple if words[0] not in ("docker", "echo")]
    return len(target.builds) == 1 and not others and not re.search(r"--(?:no-cache|push)\b", target.text)


def _pushes(seen: Seen, name: str) -> bool:
    target = seen.targets.get(name)
    return target is not None and any(each.verb == "push" for each in target.docker)


def _ring(name: str, found: Mapping[str, Sequence[str]]) -> bool:
    """Whether two are to wait for each other."""
    todo, met = list(found.get(name, ())), set[str]()
    while todo:
        each = todo.pop()
        if each == name:
            return True
        if each not in met:
            met.add(each)
            todo += found.get(each, ())
    return False
