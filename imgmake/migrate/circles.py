"""Prerequisites that lead back to their own target: make drops them, and says so. Pure.

"Circular a <- b dependency dropped": https://www.gnu.org/software/make/manual/html_node/Error-Messages.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from imgmake.migrate.model import Database, Left, Made

Edge = tuple[str, str]  # a target, and the prerequisite of it that is dropped


def opened(database: Database) -> Database:
    """A database without these prerequisites, as make comes to them from the default goal and then from each target.

    >>> every = {name: Made(name, (need,)) for name, need in (("a", "b"), ("b", "a"), ("c", "c"))}
    >>> {name: made.prerequisites for name, made in opened(Database(every, {}, "b")).targets.items()}
    {'a': (), 'b': ('a',), 'c': ()}
    """
    dropped = circles(database)
    if not dropped:
        return database
    return replace(database, targets={name: _without(made, dropped) for name, made in database.targets.items()})


def told(database: Database) -> Iterator[Left]:
    """A note for each of them."""
    for target, name in sorted({*circles(database), *database.dropped}):
        made = database.targets.get(target, Made(target, ()))
        what = "itself" if name == target else f"{name}, which needs {target}"
        yield Left(
            made.line, "", f"{target} needs {what}: make drops that, the Pipefile does not say it", file=made.file
        )


def circles(database: Database) -> frozenset[Edge]:
    """The prerequisites that lead back."""
    found: set[Edge] = set()
    done: set[str] = set()
    goals = [database.default] if database.default in database.targets else []
    for goal in (*goals, *database.targets):
        path = {goal: iter(database.needs(goal))}
        while path:
            target = next(reversed(path))
            name = next(path[target], None)
            if name is None:
                done.add(target)
                del path[target]
            elif name in path:
                found.add((target, name))
            elif name not in done:
                path[name] = iter(database.needs(name))
    return frozenset(found)


def _without(made: Made, dropped: frozenset[Edge]) -> Made:
    normal = tuple(name for name in made.prerequisites if (made.name, name) not in dropped)
    order = tuple(name for name in made.order_only if (made.name, name) not in dropped)
    return replace(made, prerequisites=normal, order_only=order)
