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
    made = makers(seen)
    found: dict[str, list[str]] = {}
    for target in seen.targets.values():
        for earlier, later in _pairs(target):
            for name in _before(seen, earlier, later, made):
                if later not in seen.closure(name) and name not in found.get(later, ()):
                    found.setdefault(later, []).append(name)
    return {later: tuple(names) for later, names in found.items() if not _ring(later, found)}


def _pairs(target: Target) -> Iterator[tuple[str, str]]:
    own = [name for name in target.prerequisites if name != ".WAIT"]
    yield from ((earlier, later) for at, later in enumerate(own) for earlier in own[:at])


def _before(seen: Seen, earlier: str, later: str, made: Makers) -> Iterator[str]:
    image = between(seen, earlier, later, made)
    lists = [each for each in seen.targets.values() if later in each.prerequisites]
    always = all((earlier, later) in _pairs(each) for each in lists)
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
