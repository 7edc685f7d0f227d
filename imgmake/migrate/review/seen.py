"""A Makefile as the review looks at it: its targets, what each needs, and their commands. Judges nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from imgmake.migrate.docker import Docker
from imgmake.migrate.expand import Call, Dollar, Text, Use, pieces
from imgmake.migrate.model import Assign, Cond, Database, Line, Made, Other, Rule, Statement
from imgmake.migrate.review import shelltext
from imgmake.migrate.review.written import Written
from imgmake.migrate.values import Values

_DEEP = 4  # how far variables are followed into each other
_PREFIX = re.compile(r"^(?:[@+-]|[ \t])*")
_WRITE = r"(?:-o[ =]?\s*|--output[ =]|--iidfile[ =]|>\s*|\btee\s(?:-a\s)?|\b(?:touch|cp|mv|ln|install|mkdir)\b.*\s)"


@dataclass(frozen=True)
class Command:
    """One logical line of a recipe.

    text: without make's prefixes, as it stands there; `now`: with today's values, ``$$`` being the shell's ``$``.
    """

    target: str
    line: int
    prefix: str
    text: str
    now: str
    guarded: bool = False  # by an ``ifeq`` of make's

    @cached_property
    def simple(self) -> tuple[list[str], ...]:
        """The words of each simple command in it."""
        return tuple(shelltext.commands(self.now))

    @cached_property
    def docker(self) -> tuple[Docker, ...]:
        """Each docker command in it."""
        return tuple(found for words in self.simple if (found := shelltext.docker(words)))


@dataclass(frozen=True)
class Target:
    """A target that has a rule; `pattern` when it holds a ``%``."""

    name: str
    line: int
    prerequisites: tuple[str, ...]
    phony: bool
    pattern: bool
    commands: tuple[Command, ...] = ()
    asks: bool = False  # for prerequisites, even where they come to nothing here

    @property
    def text(self) -> str:
        return "\n".join(command.now for command in self.commands)

    @cached_property
    def docker(self) -> tuple[Docker, ...]:
        return tuple(each for command in self.commands for each in command.docker)

    @cached_property
    def builds(self) -> tuple[Docker, ...]:
        """Its ``docker build`` commands."""
        return tuple(each for each in self.docker if each.verb in ("build", "buildx build"))

    @cached_property
    def makes(self) -> bool:
        """Whether its recipe writes a file of its name, as far as the text tells."""
        name = rf"(?:\$\(?@[DF]?\)?|{re.escape(self.name)}(?![\w./-]))"
        given = re.compile(_WRITE + name)
        return any(given.search(text) for each in self.commands for text in (each.text, each.now))


@dataclass(frozen=True)
class Seen:
    """Everything that the looks ask."""

    statements: Sequence[Statement]
    database: Database
    values: Values
    folder: Path
    written: Written
    targets: Mapping[str, Target] = field(default_factory=dict)
    _closures: dict[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def commands(self) -> tuple[Command, ...]:
        """Every recipe line once, in order, whatever number of targets its rule has."""
        found = {command.line: command for target in self.targets.values() for command in reversed(target.commands)}
        return tuple(found[line] for line in sorted(found))

    @cached_property
    def assigns(self) -> tuple[tuple[Assign, tuple[Cond, ...]], ...]:
        """The definitions of variables in the Makefile itself, each with the conditions around it."""
        every = [found for each in self.values.definitions.values() for found in each]
        return tuple(sorted((each for each in every if not each[0].file), key=lambda each: each[0].line))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Every text of make's in which a variable can get a value: recipes, values, lines by themselves."""
        others = [each.text for each in self.statements if isinstance(each, Other)]
        values = [each.value for found in self.values.definitions.values() for each, _ in found]
        return (*(command.text for command in self.commands), *values, *others)

    def closure(self, name: str) -> frozenset[str]:
        """A target, and all that it needs or makes by ``$(MAKE)``; found out once."""
        if name not in self._closures:
            self._closures[name] = frozenset(self._closure(name))
        return self._closures[name]

    def _closure(self, name: str) -> set[str]:
        found: set[str] = set()
        todo = [name]
        while todo:
            each = todo.pop()
            if each in found:
                continue
            found.add(each)
            target = self.targets.get(each) or self._by_pattern(each)
            if target is not None:
                found.add(target.name)
                todo += [*target.prerequisites, *_made_by_make(target)]
            todo += self.database.targets.get(each, Made(each, ())).prerequisites
        return found

    def needs(self, name: str) -> list[Target]:
        """The targets of the closure."""
        found = self.closure(name)
        return [target for each, target in self.targets.items() if each in found]

    def _by_pattern(self, name: str) -> Target | None:
        patterns = [each for each in self.targets.values() if each.pattern]
        return next((each for each in patterns if _matches(each.name, name)), None)

    def special(self, name: str) -> bool:
        """Whether a special target such as ``.ONESHELL`` stands in the Makefile."""
        return name in self.database.targets or any(
            isinstance(each, Rule) and name in each.targets.split() for each in self.statements
        )

    def before(self, names: Sequence[str], text: str) -> str:
        """What is said where the Pipefile does no better: the defect is still there, or its target is not."""
        if self.written.pipeline is None:
            return f"the Pipefile does not load yet: {text}" if text else "the Pipefile does not load yet"
        if names and all(self.written.left(name) for name in names):
            return f"{listed(names)} {number(names, 'is', 'are')} not translated"
        return f"as before: {text}"

    def certain(self, command: Command) -> str:
        """A line with those values alone that nothing can change."""
        return expanded(_named_in(command.text, self.fixed), {"@": command.target})

    @cached_property
    def fixed(self) -> Mapping[str, str]:
        """What nothing can change: variables that are set once and under no condition; calls in them as they stand."""
        found = {
            name: each[0][0].value
            for name, each in self.values.definitions.items()
            if len(each) == 1 and not each[0][1] and each[0][0].op in ("=", ":=", "::=")
        }
        for _ in range(_DEEP):
            found = {name: _named_in(value, found) for name, value in found.items()}
        return found


def _named_in(text: str, known: Mapping[str, str]) -> str:
    """A text of make's with the values of some variables in it, and nothing else of it changed."""
    return "".join(
        known.get(piece.name, piece.raw) if isinstance(piece, Use) else _raw(piece) for piece in pieces(text)
    )


def _raw(piece: object) -> str:
    if isinstance(piece, Text):
        return piece.text
    return "$$" if isinstance(piece, Dollar) else str(getattr(piece, "raw", ""))


def look_at(
    statements: Sequence[Statement], database: Database, values: Values, folder: Path, written: Written
) -> Seen:
    """The Makefile's own rules, those of included files aside."""
    found: dict[str, Target] = {}
    rules = list(_rules(statements))
    asked = list(dict.fromkeys(rule.targets for rule, _ in rules if "$" in rule.targets))
    spelt = dict(zip(asked, values.make.values(asked) if asked else [], strict=True))
    for rule, guarded in rules:
        for name in spelt.get(rule.targets, rule.targets).split():
            target = _target(name, rule, database, values, guarded)
            before = found.get(name)
            if before is None or (target.commands and not before.commands):
                found[name] = target
    return Seen(statements, database, values, folder, written, found)


def _rules(statements: Sequence[object], guarded: bool = False) -> Iterator[tuple[Rule, bool]]:
    for each in statements:
        if isinstance(each, Rule) and not re.match(r"\.[A-Z_]{4,}", each.targets):
            yield each, guarded
        elif isinstance(each, Cond):
            yield from _rules((*each.then, *each.otherwise), guarded=True)


def _target(name: str, rule: Rule, database: Database, values: Values, guarded: bool) -> Target:
    made = database.targets.get(name, Made(name, ()))
    pattern = "%" in name
    needs = tuple(word for word in rule.prerequisites.split() if "$" not in word) if pattern else made.prerequisites
    found = (_command(name, line, values, under or guarded) for line, under in _lines(rule.recipe))
    commands = tuple(each for each in found if each.text and not each.text.startswith("#"))
    return Target(name, rule.line, needs, made.phony, pattern, commands, bool(rule.prerequisites.strip()))


def _lines(recipe: Sequence[object], guarded: bool = False) -> Iterator[tuple[Line, bool]]:
    for each in recipe:
        if isinstance(each, Line):
            yield each, guarded
        elif isinstance(each, Cond):
            yield from _lines((*each.then, *each.otherwise), guarded=True)


def _command(target: str, line: Line, values: Values, guarded: bool) -> Command:
    prefix = (_PREFIX.match(line.text) or [""])[0]
    text = line.text[len(prefix) :]
    known = values.today if "%" in target else {**values.today, "@": target}
    now = expanded(text, known).replace("\\\n", " ")
    return Command(target, line.line, prefix, text, now, guarded)


def expanded(text: str, known: Mapping[str, str]) -> str:
    """A text with the values that are known, ``$$`` as the shell's ``$``; calls and the rest as they stand."""
    return "".join(_expanded(piece, known) for piece in pieces(text))


def _expanded(piece: object, known: Mapping[str, str]) -> str:
    if isinstance(piece, Text):
        return piece.text
    if isinstance(piece, Dollar):
        return "$"
    if isinstance(piece, Use):
        return known.get(piece.name, piece.raw)
    if isinstance(piece, Call) and piece.function == "strip":
        return expanded(piece.arguments, known).strip()
    if isinstance(piece, Call):
        return f"{piece.raw[:2]}{piece.function} {expanded(piece.arguments, known)}{piece.raw[-1]}"
    return str(getattr(piece, "raw", ""))


def _made_by_make(target: Target) -> Iterator[str]:
    """What a recipe asks make for, in this folder."""
    for command in target.commands:
        for words in command.simple:
            if words[0] in ("make", "$(MAKE)", "${MAKE}", "gmake") and not {"-C", "-f"} & set(words):
                yield from (word for word in words[1:] if not word.startswith("-") and "=" not in word)


def _matches(pattern: str, name: str) -> bool:
    head, _, tail = pattern.partition("%")
    return name.startswith(head) and name.endswith(tail) and len(name) > len(head) + len(tail) - 1


def parted(names: Sequence[str], better: Callable[[str], bool]) -> Iterator[tuple[list[str], bool]]:
    """The names with which the Pipefile does better, and those with which it does not; neither when it is empty."""
    done = [name for name in names if better(name)]
    for those, whether in ((done, True), ([name for name in names if name not in done], False)):
        if those:
            yield those, whether


def number(names: Sequence[str], one: str, several: str) -> str:
    """The word that goes with so many names."""
    return several if len(names) > 1 else one


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names in a sentence, and how many more there are.

    >>> listed(["a", "b"]), listed(list("abcdef"))
    ('a and b', 'a, b, c, d and 2 more')
    """
    names = list(dict.fromkeys(names))
    if len(names) > most + 1:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join([*([", ".join(names[:-1])] if names[:-1] else []), *names[-1:]])
