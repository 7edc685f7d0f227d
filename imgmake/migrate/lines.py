"""The lines of a recipe as commands, one by one: macros, loops, conditions, and what make does as it expands them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from imgmake.migrate.calling import Scope
from imgmake.migrate.docker import Docker
from imgmake.migrate.effects import Effects
from imgmake.migrate.expand import Call, Use, arguments, pieces
from imgmake.migrate.model import Cond, Database, Line
from imgmake.migrate.python import Part, Parts, merged, names_in
from imgmake.migrate.values import Values

_SET = re.compile(r"set\s+-[eu]+\s*;?\s*")
PREFIX = re.compile(r"^(?:[@+-]|[ \t])*")


class Mixed(Exception):
    """A recipe that builds an image and does more: it stays a list of shell commands."""


@dataclass(frozen=True)
class Step:
    """One command of a recipe: its Python source, what it is, and what a person should know of it."""

    source: str
    what: str  # sh, run, lint, test, tag, build, push, echo, choice
    line: int
    imports: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()  # Python names that it uses
    build: Docker | None = None
    notes: tuple[str, ...] = ()


@dataclass
class Lines:
    """The part of `Recipes` that finds the commands; what one is, is the rest's."""

    values: Values
    whole: bool = False  # .ONESHELL
    has_inputs: bool = False  # whether the target whose commands these are has prerequisites
    exports: frozenset[str] = frozenset()  # names in EXPORTED, which goes to every shell

    def _line(self, line: Line, scope: Scope) -> Step:
        raise NotImplementedError

    def _command(self, parts: list[Part], line: Line, prefix: str) -> Step:
        raise NotImplementedError

    def _script(self, line: Line, scope: Scope) -> Step:
        raise NotImplementedError

    def steps(self, recipe: Sequence[Line | Cond], scope: Scope) -> list[Step]:
        """The commands of a recipe. Raises Uncovered with the place in its text."""
        self.has_inputs = bool(scope.get("^"))
        with self.values.done_elsewhere():
            first, rest = self._both(recipe, dict(scope))
        return [*first, *rest]

    def _both(self, recipe: Sequence[Line | Cond], scope: dict[str, Parts]) -> tuple[list[Step], list[Step]]:
        """What make does before it runs the first line, and the lines; `scope` gains what ``$(eval …)`` sets."""
        first, found = list[Step](), list[Step]()
        if self.whole and recipe and all(isinstance(each, Line) for each in recipe):
            text = "\n".join(each.text for each in recipe if isinstance(each, Line))
            recipe = [Line(recipe[0].line, text)]
        for each in recipe:
            if isinstance(each, Cond):
                found += self._choice(each, scope)
                continue
            if each.script:
                found.append(self._script(each, scope))
                continue
            first += self._done(each, scope)
            found += [self._line(each, scope)] if self.whole else self._lines(each, scope)
        return first, found

    def _done(self, line: Line, scope: dict[str, Parts]) -> Iterator[Step]:
        """What make does while it expands a line."""
        effects = Effects(self.values)
        for each in effects.of(line.text, scope):
            if each.what == "eval":
                scope.update(effects.bound(each, scope))
                continue
            source = effects.command(each)
            imports = {"sh"} if each.what != "error" or self.exports else set[str]()
            yield Step(source, "choice" if each.tests else "sh", line.line, frozenset(imports), names_in([source]))

    def _lines(self, line: Line, scope: Scope) -> Iterator[Step]:
        """A line that is only a macro of several lines is as many lines."""
        for text in self._macro(line.text):
            stripped = PREFIX.sub("", text)
            if _SET.fullmatch(stripped):
                continue  # of a shell that ends with its line
            if stripped and not stripped.startswith("#") and self._says(stripped, scope):
                yield from self._commands(Line(line.line, text), scope)

    def _commands(self, line: Line, scope: Scope) -> Iterator[Step]:
        """A line that is a loop is a loop of commands; where what it expands to has several lines, so has it."""
        prefix = (PREFIX.match(line.text) or [""])[0]
        if loop := self.values.loop(line.text[len(prefix) :], scope):
            name, words, body, inner = loop
            steps = list(self._commands(Line(line.line, prefix + body.strip()), inner))
            needs = frozenset[str]().union(*(step.needs for step in steps)) - {name} | names_in([words])
            imports = frozenset[str]().union(*(step.imports for step in steps))
            yield Step(f"[{listed(steps)} for {name} in {words}]", "choice", line.line, imports, needs)
            return
        if choice := self.values.choice(line.text[len(prefix) :], scope):
            test, *texts = choice
            then, other = (list(self._commands(Line(line.line, prefix + text.strip()), scope)) for text in texts)
            if test in ("True", "False"):
                yield from then if test == "True" else other
            elif then or other:
                yield _chosen(test, then, other, line.line)
            return
        for parts in _lines_of(self.values.parts(line.text[len(prefix) :], scope)):
            head = (PREFIX.match(parts[0].text) or [""])[0] if parts and not parts[0].name else ""
            bare = [Part(parts[0].text[len(head) :], dollar=parts[0].dollar), *parts[1:]] if head else parts
            if any(part.name or part.text.strip() for part in bare):
                yield self._command(merged(bare), line, prefix + head)

    def _says(self, text: str, scope: Scope) -> bool:
        """Whether anything of a line is left for a shell."""
        if not text.startswith("$"):
            return True
        return any(part.name or part.text.strip() for part in self.values.parts(text, scope))

    def _macro(self, text: str) -> list[str]:
        prefix = (PREFIX.match(text) or [""])[0]
        whole = list(pieces(text[len(prefix) :].strip()))
        if len(whole) != 1 or not isinstance(whole[0], Use | Call):
            return [text]
        called = isinstance(whole[0], Call) and whole[0].function == "call"
        given = arguments(whole[0].arguments) if isinstance(whole[0], Call) else [whole[0].name]
        found = self.values.definitions.get(given[0].strip(), [])
        if not found or found[-1][0].op != "define" or not (called or isinstance(whole[0], Use)):
            return [text]
        body = found[-1][0].value
        for at in range(9, 0, -1):
            value = given[at] if at < len(given) else ""
            body = body.replace(f"$({at})", value).replace(f"${{{at}}}", value).replace(f"${at}", value)
        return [prefix + each for each in re.split(r"(?<!\\)\n", body)]

    def _choice(self, cond: Cond, scope: dict[str, Parts]) -> list[Step]:
        """Lines that a condition guards."""
        test = self.values.condition(cond)
        sides = dict(scope), dict(scope)
        then = list(itertools.chain(*self._both(_recipe(cond.then), sides[0]))) if test is not False else []
        other = list(itertools.chain(*self._both(_recipe(cond.otherwise), sides[1]))) if test is not True else []
        if isinstance(test, bool):
            scope.update(sides[0] if test else sides[1])
            return then if test else other
        scope.update(self.values.chosen(test, *sides))
        return [_chosen(test, then, other, cond.line)] if then or other else []


def _chosen(test: str, then: Sequence[Step], other: Sequence[Step], line: int) -> Step:
    """The commands of one side or of the other."""
    both = [*then, *other]
    names = frozenset(re.findall(r"[A-Za-z_]\w*", re.sub(r"\"[^\"]*\"", "", test)))
    return Step(
        f"{listed(then)} if {test} else {listed(other)}",
        "choice",
        line,
        frozenset[str]().union(*(step.imports for step in both)),
        names.union(*(step.needs for step in both)),
        notes=tuple(note for step in both for note in step.notes),
    )


def ignoring(recipe: Sequence[Line | Cond], database: Database, target: str) -> Sequence[Line | Cond]:
    """A recipe with a ``-`` before each of its lines, where .IGNORE names its target, or none."""
    made = database.targets.get(".IGNORE")
    if made is None or not made.target_file or (made.prerequisites and target not in made.prerequisites):
        return recipe
    return _ignored(recipe)


def _ignored(recipe: Sequence[Line | Cond]) -> tuple[Line | Cond, ...]:
    return tuple(
        replace(each, text=f"-{each.text}")
        if isinstance(each, Line)
        else replace(each, then=_ignored(_recipe(each.then)), otherwise=_ignored(_recipe(each.otherwise)))
        for each in recipe
    )


def _lines_of(parts: Parts) -> list[list[Part]]:
    """A text cut where a line ends that no backslash continues."""
    found: list[list[Part]] = [[]]
    for part in parts:
        first, *rest = re.split(r"(?<!\\)\n", part.text) if not part.name else [part.text]
        found[-1].append(part if not rest else Part(first, dollar=part.dollar))
        found += [[Part(each, dollar=part.dollar)] for each in rest]
    return found


def unless(test: str, steps: Sequence[Step]) -> Step:
    """Commands that are there where something does not hold."""
    return _chosen(test, [], steps, steps[0].line)


def _recipe(items: Sequence[object]) -> list[Line | Cond]:
    return [each for each in items if isinstance(each, Line | Cond)]


def listed(steps: Sequence[Step]) -> str:
    if len(steps) == 1 and steps[0].what not in ("build", "choice"):
        return steps[0].source
    if any(step.what == "build" for step in steps):
        raise Mixed
    return f"[{', '.join(step.source for step in steps)}]"


def builder(steps: Sequence[Step]) -> list[str]:
    """The command that builds in the folder itself, by its first word."""
    for step in steps:
        found = re.match(r'run\((?:f?"[^"]*"|\w+), "(\w+)[ "].*mounts=\{"\.": |sh\("(\w+) ', step.source)
        if found:
            return [found[1] or found[2]]
    return []
