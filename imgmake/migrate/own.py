"""Variables that a target sets for itself: their values go into its commands.

https://www.gnu.org/software/make/manual/html_node/Target_002dspecific.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from imgmake.migrate.branching import Choice, Node, leaves, sequence
from imgmake.migrate.calling import Given, Scope
from imgmake.migrate.expand import Uncovered, mentioned
from imgmake.migrate.model import Cond, Line, Made, Rule
from imgmake.migrate.needs import Needs
from imgmake.migrate.python import Part, Parts, expression, today
from imgmake.migrate.stated import lines
from imgmake.migrate.values import changes


@dataclass
class Own(Needs):
    """The part of `Rules` that knows these."""

    given_here: set[str] = field(default_factory=set)  # by the last target, where the environment counts as well

    def _patterned(self, made: Made) -> Made:
        """A target with the variables that patterns set for it, of which make's database does not tell."""
        every = self.stated.given(made.name)
        found = [each for each, around in every if all(self.holds(cond) is taken for cond, taken in around)]
        given = tuple((each.name, each.op.replace("::", ":"), each.value) for each in found)
        return replace(made, given=(*given, *made.given), specific=made.specific.union(each.name for each in found))

    def _mentioned_below(self, target: str) -> set[str]:
        """Every variable that the recipes of all that a target needs mention and do not set themselves."""
        found, names = set[str](), {target}
        todo = list(self._directly(target, set()))
        while todo:
            name, set_ = todo.pop()
            if name not in names:
                names.add(name)
                made = self._patterned(self.database.targets.get(name, Made(name, ())))
                own = set_ | {each for each, _, _ in made.given}
                found |= self._mentions(Rule(0, name, "", recipe=tuple(lines(made)))) - own
                todo += self._directly(name, own)
        return found

    def _directly(self, target: str, set_: set[str]) -> Iterable[tuple[str, set[str]]]:
        made = self.database.targets.get(target, Made(target, ()))
        return [(name, set_) for name in (*made.prerequisites, *made.order_only)]

    def _set_here(self, made: Made, scope: Mapping[str, Parts]) -> Mapping[str, Parts]:
        """The scope with the variables that a target sets, and with those that are made of them."""
        inner = dict(scope)
        self.given_here = set()
        for name, kept, value in made.given:
            op, text = self._written(made.name, name, kept, value, inner)
            if op == "?=" and (name in self.values.definitions or name in inner):
                continue
            whole = f"$({name}) {text}" if op == "+=" else text
            inner[name] = Given(self._unless_given(name, op, self.values.parts(whole, inner)), whole, inner)
        if made.given:
            mentions = self._mentions(Rule(0, made.name, "", recipe=tuple(lines(made))))
            for name in sorted(mentions - set(inner)):
                self._again(name, inner, set())
        return inner

    def _unless_given(self, name: str, op: str, parts: list[Part]) -> list[Part]:
        """A value of one target's; what stands on the command line is stronger, where it can be given there."""
        known = self.values.known(name)
        if not name.isidentifier() or known.kind != "variable" or known.late:
            return parts
        if name not in self.values.definitions and op != "?=" and not self._elsewhere(name):
            return parts
        try:
            usual, own = self._usual(name), expression(parts)
        except Uncovered:
            return parts
        asked = self.values.parts(f"$({name})")
        self.given_here |= {name} if op != "?=" else set()
        if own == '""':
            return asked
        given = expression(asked)
        source = f"{given} or {own}" if usual == '""' else f"{own} if {given} == {usual} else {given}"
        return [Part(name=source, value=today(parts))]

    def _elsewhere(self, name: str) -> bool:
        """Whether a target reads a variable that neither it nor a pattern sets for it."""
        every = ((target, text) for target, text in self._commands() if "$" in text)
        return any(name in self.values.reached(text) for target, text in every if not self._sets(target, name))

    def _commands(self) -> Iterator[tuple[str, str]]:
        """The lines of all recipes, each with its target: those of branches that make does not take today, too."""
        for made in self.database.targets.values():
            yield from ((made.name, text) for text in made.recipe)
        for rule, around in self.stated.rules():
            every = [line.text for line in rule.recipe if isinstance(line, Line)] if around else []
            yield from ((target, text) for target in self.stated.targets(rule) for text in every)

    def _sets(self, target: str, name: str) -> bool:
        return name in self._patterned(self.database.targets.get(target, Made(target, ()))).specific

    def _usual(self, name: str) -> str:
        """The default of a variable. Raises Uncovered where there is not one."""
        found = self.values.effective(name)
        if not found:
            return '""'
        if len(found) > 1 or found[0][1]:
            raise Uncovered(f"{name} has several defaults")
        return expression(self.values.parts(found[0][0].value))

    def _written(self, target: str, name: str, op: str, text: str, scope: Scope) -> tuple[str, str]:
        """The operator and text as the Makefile has them: make keeps no ``?=``, and what it expanded as it read it."""
        each = self.stated.own(target, name)
        if each is None or each.op not in (":=", "::=", "?="):
            return op, text
        if each.op == "?=" or "$" not in each.value:
            return each.op, text
        now = self.values.ask(each.value, {**self.values.shared, **scope})
        return op, each.value if now.split() == text.replace("$$", "$").split() else text

    def _again(self, name: str, inner: dict[str, Parts], busy: set[str]) -> bool:
        """Whether a variable is made of what the scope sets: its value there goes into the scope, too."""
        found = self.values.effective(name)
        if name in inner or name in busy:
            return name in inner
        needed = {used for each, _ in found if each.op in ("=", "?=") for used in mentioned(each.value)}
        if not any([self._again(used, inner, busy | {name}) for used in sorted(needed)]):
            return False
        steps = sequence(found, changes)
        if len(steps) > 1 or any(changes(each) for each in leaves(steps[0])):
            raise Uncovered(f"{name} is made of what is set for this target, in several ways")
        inner[name] = self._made_of(name, steps[0], inner)
        self.values.taken_apart |= {name, *needed}
        return True

    def _made_of(self, name: str, node: Node, inner: Mapping[str, Parts]) -> Parts:
        """What a variable is where some others have another value. Raises Uncovered."""
        if not isinstance(node, Choice):
            late = node is not None and node.op in ("=", "?=")
            return self.values.parts(node.value, inner if late else {}) if node is not None else []
        test = self.values.condition(node.cond)
        if isinstance(test, bool):
            return self._made_of(name, node.then if test else node.otherwise, inner)
        sides = ({name: self._made_of(name, side, inner)} for side in (node.then, node.otherwise))
        return self.values.chosen(test, *sides)[name]

    def _mentions(self, rule: Rule) -> set[str]:
        def texts(recipe: Iterable[object]) -> Iterable[str]:
            for each in recipe:
                if isinstance(each, Line):
                    yield each.text
                elif isinstance(each, Cond):
                    yield f"{each.left}$({each.left}){each.right}"
                    yield from texts((*each.then, *each.otherwise))

        found = {name for text in texts(rule.recipe) for name in mentioned(text)}
        while more := {n for name in found for each, _ in self.values.definitions.get(name, ())
                       for n in mentioned(each.value)} - found:  # fmt: skip
            found |= more
        return found
