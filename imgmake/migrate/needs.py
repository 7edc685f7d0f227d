"""What a target needs, and which of several rules for it counts: as the Makefile words it where that is what make has.

Conditions that can be overridden become conditions of the Pipefile; make's database tells what each branch means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from imgmake.migrate import targetnames
from imgmake.migrate.docker import words
from imgmake.migrate.expand import Uncovered, Use, mentioned, pieces
from imgmake.migrate.layout import stem_of
from imgmake.migrate.model import Cond, Database, Made, Rule
from imgmake.migrate.python import Part, Parts, expression, quoted, today
from imgmake.migrate.stated import Around, Mention, Stated
from imgmake.migrate.values import Values

_PATTERN = re.compile(r"(?<!\S)(\$\(wildcard [^()$,\s]*\))(?!\S)")
_GLOBBED = re.compile(r"\[str\(path\) for path in (glob\(.*\))\]")
_CALL = re.compile(r"(?:\$[({]MAKE[)}]|\bmake) ([^;&|<>`\\]+)")
_NO_NAME = re.compile(r"[$()\"'{}]")
_MANY = 5000  # names that patterns can come to
LACKING = "is not here, and no rule makes it"
_TRIES = 8  # values that are tried to come to a branch
_OTHER = "imgmake-other"  # a value that no Makefile tests for


@dataclass
class Needs:
    """The part of `Rules` that knows prerequisites."""

    values: Values
    database: Database
    stated: Stated
    patterns: tuple[str, ...] = ()  # of the pattern rules that were read
    around: Around = ()  # the conditions that a declaration stands in
    _answers: dict[int, bool | str] = field(default_factory=dict)
    _spellings: dict[str, str] | None = None
    _patterns: dict[str, list[tuple[str, Parts]]] = field(default_factory=dict)
    _asked: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _databases: dict[Around, Database] = field(default_factory=dict)

    # --- conditions -----------------------------------------------------------------------------------------

    @contextmanager
    def within(self, cond: Cond, taken: bool) -> Iterator[None]:
        """While this lasts, one branch of a condition is what is declared; make's database is that branch's."""
        before = self.around, self.database
        self.around = (*self.around, (cond, taken))
        if self.around not in self._databases:
            given = self._given()
            found = self.values.make.database(given) if given else self.database
            self._databases[self.around] = found
        self.database = self._databases[self.around]
        try:
            yield
        finally:
            self.around, self.database = before

    def _given(self) -> dict[str, str]:
        """Values for which the conditions around hold as they are meant to; empty where that is not known."""
        given: dict[str, str] = {}
        for cond, taken in self.around:
            if self.holds(cond, given) is not taken:
                given |= _values_for(cond, taken) or self._leading_to(cond, taken, given)
        return given

    def _leading_to(self, cond: Cond, taken: bool, given: Mapping[str, str]) -> dict[str, str]:
        """A value of a variable with which make takes a branch, of those that come to mind."""
        names = dict.fromkeys(name for name in mentioned(f"{cond.left} {cond.right}") if name.isidentifier())
        words = [word for word in re.findall(r"[\w.-]+", f"{cond.left} {cond.right}") if word not in names]
        tries = [{name: value} for name in names for value in (_OTHER, "", *words)]
        return next((each for each in tries[:_TRIES] if self.holds(cond, {**given, **each}) is taken), {})

    def holds(self, cond: Cond, given: Mapping[str, str] = MappingProxyType({})) -> bool:
        """Whether make takes the first branch today, or with values on its command line."""
        defined = "def" in cond.test
        left, right = self.values.make.values([f"$({cond.left})" if defined else cond.left, cond.right], given)
        answer = bool(left) if defined else left == right
        return answer is not (cond.test in ("ifneq", "ifndef"))

    def answer(self, cond: Cond) -> bool | str:
        """A condition in Python, or whether it holds."""
        if id(cond) not in self._answers:
            try:
                self._answers[id(cond)] = self.values.condition(cond)
            except Uncovered:
                self._answers[id(cond)] = self.holds(cond)
        return self._answers[id(cond)]

    def _open(self, around: Around) -> Around | None:
        """The conditions that can be overridden and that are not those around; None where one of them fails."""
        found = []
        for cond, taken in around:
            answer = self.answer(cond)
            known = dict(self.around).get(cond, answer)
            if isinstance(known, bool):
                if known is not taken:
                    return None
            else:
                found.append((cond, taken))
        return tuple(found)

    # --- which rule -----------------------------------------------------------------------------------------

    def counting(self, target: str) -> Mention | None:
        """The rule whose recipe make takes here; without one the first that names the target."""
        here = [each for each in self.stated.of(target) if self._open(each.around) == ()]
        with_recipe = [each for each in here if each.rule.recipe]
        if with_recipe:
            return with_recipe[0] if with_recipe[0].rule.double else with_recipe[-1]
        return here[0] if here else None

    def overridden(self, target: str) -> bool:
        """Whether a condition decides which recipe a target has."""
        every = [each for each in self.stated.of(target) if each.rule.recipe]
        return any(self._open(each.around) for each in every)

    def asked(self) -> tuple[str, ...]:
        """Every name that something needs: in rules, in calls of make, and in pattern rules, of what they make."""
        key = id(self.database)
        if key not in self._asked:
            found: dict[str, None] = {}
            self._with_patterns(found, self._named())
            for pattern in self.patterns:
                if not any(stem_of(pattern, name) for name in found):
                    self._with_patterns(found, self._folders(pattern))
            self._asked[key] = tuple(found)
        return self._asked[key]

    def _with_patterns(self, found: dict[str, None], names: Iterable[str]) -> None:
        todo = [(name, frozenset[int]()) for name in names if name not in found]
        while todo and len(found) < _MANY:
            name, used = todo.pop(0)
            if name not in found:
                found[name] = None
                todo += self._by_patterns(name, used)

    def _folders(self, pattern: str) -> Iterator[str]:
        """Where nothing is named: a target for each folder that holds a Dockerfile, of a pattern of one word."""
        if re.fullmatch(r"[\w.-]*%[\w.-]*", pattern) and pattern != "%" and not pattern.startswith("."):
            for path in sorted(self.values.make.folder.glob("*/Dockerfile")):
                yield pattern.replace("%", path.parent.name)

    def _named(self) -> Iterator[str]:
        for made in self.database.targets.values():
            if made.target_file and (not made.name.startswith(".") or self.stated.of(made.name)):
                yield from (name for name in (*made.prerequisites, *made.order_only) if made.name != ".PHONY")
        yield from (name for name, made in self.database.targets.items() if made.target_file)
        yield from self._called()
        for rule, around in self.stated.rules():
            if around and self._open(around):  # of a branch that make does not take today
                yield from (
                    name for each in self.stated.of_rule(rule) for name in each.prerequisites if "%" not in name
                )

    def _called(self) -> Iterator[str]:
        """The targets of calls of make in recipes; a text that runs something when it is expanded is not asked for."""
        texts = [text for made in self.database.targets.values() if made.target_file for text in made.recipe]
        calls = [text for text in texts if _CALL.search(text)]
        plain = [
            text for text in calls if not re.search(r"\$[({](?:shell|eval|error|file)\b|\$[@*<^]|\$[({][@*<^]", text)
        ]
        said = self.values.make.values([text.replace("$$", "$$$$") for text in plain]) if plain else []
        for text in (*said, *(text for text in calls if text not in plain)):
            words = [word for match in _CALL.finditer(text) for word in match[1].split()]
            yield from (word for word in words if not _NO_NAME.search(word))  # prose speaks of make, too

    def _by_patterns(self, name: str, used: frozenset[int]) -> Iterator[tuple[str, frozenset[int]]]:
        """What pattern rules need to make a target, each with the rules that led there: none of them twice.

        https://www.gnu.org/software/make/manual/html_node/Chained-Rules.html
        """
        made = self.database.targets.get(name, Made(name, ()))
        if made.phony or any(each.rule.recipe for each in self.stated.of(name)):
            return
        for rule, around in self.stated.rules():
            if rule.recipe and not rule.pattern and id(rule) not in used and self._open(around) is not None:
                for stem in filter(None, (stem_of(pattern, name) for pattern in self.stated.targets(rule))):
                    needs = (*self.expanded(rule, name, stem), *self.expanded(rule, name, stem, order=True))
                    yield from ((each, used | {id(rule)}) for each in needs)

    def stem(self, name: str) -> str:
        """What a pattern's % stands for in a name that make has not looked for: the shortest, of what can be made."""
        found = []
        for rule, around in self.stated.rules():
            if rule.recipe and not rule.pattern and self._open(around) is not None:
                stems = [stem for pattern in self.stated.targets(rule) if (stem := stem_of(pattern, name))]
                found += [stem for stem in stems if all(map(self._there, self.expanded(rule, name, stem)))]
        return min(found, key=len, default="")

    def by_pattern(self, target: str) -> bool:
        """Whether a target that has prerequisites of its own has its recipe from a pattern rule that was read."""
        made = self.database.targets.get(target, Made(target, ()))
        if made.phony or any(each.rule.recipe for each in self.stated.of(target)):
            return False
        if made.recipe and not made.stem:
            return False
        stems = [stem for pattern in self.patterns if (stem := stem_of(pattern, target))]
        return made.stem in stems if made.stem else bool(stems) and not (self.values.make.folder / target).exists()

    def help(self, target: str, rule: Rule) -> str:
        """What stands behind ``##`` on the line of a rule."""
        comments = [rule.comment, *(each.rule.comment for each in self.stated.of(target))]
        return next((each.lstrip("#").strip() for each in comments if each.startswith("#")), "")

    # --- prerequisites --------------------------------------------------------------------------------------

    def prerequisites(self, rule: Rule, made: Made, target: str, stem: str) -> list[str]:
        """As written, where that is what make has; else make's own. Raises Uncovered."""
        given = list(dict.fromkeys(name for name in made.prerequisites if name != ".WAIT"))
        missing = self.missing(made)
        if missing:
            return [_asked_for(name) if name in missing else self.spelling(name) or self.named(name) for name in given]
        written = list(self._all_written(rule, target, stem))
        if all(each is not None for each in written):
            names = [name for each in written if each for name, _, now in each if now]
            if list(dict.fromkeys(names)) == given:
                return list(dict.fromkeys(source for each in written if each for _, source, _ in each))
        return [self.spelling(name) or self.named(name) for name in given]

    def called(self, name: str) -> str:
        """What a name of the Makefile's is in the Pipefile, where it is a target's."""
        made = self.database.targets.get(name, Made(name, (), target_file=False))
        by_pattern = bool(made.stem) or any(stem_of(pattern, name) for pattern in self.patterns)
        a_target = made.target_file or (by_pattern and not (self.values.make.folder / name).exists())
        path = targetnames.inside(name, str(self.values.make.folder))
        here = targetnames.called(path, self.values.make.home) if a_target else path
        spelt = here != path.rstrip("/") and name in self.spellings() and not path.startswith("/")
        return name if spelt else here

    def named(self, name: str, spelt: Parts = ()) -> str:
        """The expression for a name."""
        spelt = spelt or [Part(name)]
        if self.called(name) == name:
            return expression(spelt)
        return targetnames.spelling(name, spelt, self.values.make.home, str(self.values.make.folder))

    def missing(self, made: Made) -> list[str]:
        """The prerequisites that are no files today, and that no rule makes: make stops at the first of them."""
        return list(dict.fromkeys(n for n in made.prerequisites if n != ".WAIT" and not self._there(n)))

    def spelling(self, name: str) -> str:
        """The expression for a target whose name is made of variables; empty for any other."""
        if found := self.spellings().get(name, ""):
            return found
        made = self.database.targets.get(name, Made(name, ()))
        if made.phony or any(each.rule.recipe for each in self.stated.of(name)):
            return ""
        every = (self.of_pattern(rule, name) for rule, _ in self.stated.rules() if "$" in rule.targets and rule.recipe)
        parts = next((each for each in every if each), ())
        return expression(parts) if parts else ""

    def of_pattern(self, rule: Rule, name: str) -> Parts:
        """A pattern's target with the variables that the pattern is made of; none where nothing can change it."""
        text = rule.pattern or rule.targets
        if text not in self._patterns:
            self._patterns[text] = self.spelt(text) or []
        for pattern, parts in self._patterns[text]:
            stem = stem_of(pattern, name)
            if stem and any(part.shell for part in parts) and "%" in today(parts):
                return [part if part.name else replace(part, text=part.text.replace("%", stem)) for part in parts]
        return ()

    def spellings(self) -> dict[str, str]:
        """The targets whose names are made of variables, as they are declared: what needs them follows them."""
        if self._spellings is None:
            self._spellings = {}
            for rule, _ in self.stated.rules():
                for name, parts in self.spelt(rule.targets) or () if "$" in rule.targets else ():
                    if any(part.name for part in parts):
                        self._spellings[name] = targetnames.spelling(
                            name, parts, self.values.make.home, str(self.values.make.folder)
                        )
        return self._spellings

    def _all_written(self, rule: Rule, target: str, stem: str) -> Iterator[list[tuple[str, str, bool]] | None]:
        """Of each rule of a target, that with the recipe first: names, sources, and whether they hold now."""
        others = [each for each in self.stated.of(target) if each.rule is not rule]
        yield self._guarded(rule, target, stem, ())
        for each in others:
            open_ = self._open(each.around)
            if open_ is not None and not (each.rule.recipe and rule.recipe and not rule.double):
                yield self._guarded(each.rule, target, stem, open_)

    def _guarded(self, rule: Rule, target: str, stem: str, open_: Around) -> list[tuple[str, str, bool]] | None:
        found = self.written(rule.prerequisites, target, stem)
        if found is None:
            return None
        if not open_:
            return [(name, source, True) for name, source in found]
        now = all(self.holds(cond) is taken for cond, taken in open_)
        tests = [str(self.answer(cond)) if taken else f"not ({self.answer(cond)})" for cond, taken in open_]
        listed = f"[{', '.join(source for _, source in found)}] if {' and '.join(tests)} else []"
        return [(name, listed, now) for name, _ in found] if found else []

    def _there(self, name: str) -> bool:
        """Whether imgmake would find a prerequisite: a target, or a file of the folder."""
        made = self.database.targets.get(name)
        if made is not None and (made.target_file or made.stem):
            return True
        by_pattern = any(stem_of(pattern, name) for pattern in self.patterns)
        return by_pattern or (self.values.make.folder / name).exists() or any(char in name for char in "*?[")

    def written(self, text: str, target: str = "", stem: str = "") -> list[tuple[str, str]] | None:
        """Each prerequisite's name and its source; None when that has to be asked of make."""
        pairs = list[tuple[str, str]]()
        for at, piece in enumerate(_PATTERN.split(text)):
            if at % 2:
                pairs += self._globbed(piece)
                continue
            found = self.spelt(piece, target, stem)
            if found is None:
                return None
            for name, word in found:
                whole = name.replace("%", stem or "%")
                source = self.named(whole, [replace(part, text=part.text.replace("%", stem or "%")) for part in word])
                pairs += [(each, source) for each in self._matching(whole)]
        return pairs

    def _globbed(self, text: str) -> list[tuple[str, str]]:
        """The files of a ``$(wildcard …)`` of today, and the list that they are in."""
        found = self.values.parts(text)
        source = found[0].words if len(found) == 1 and found[0].words else ""
        source = _GLOBBED.sub(r"\1", source)  # a rule takes paths as they are
        return [(name, source or quoted(name)) for name in today(found).split()]

    def spelt(self, text: str, target: str = "", stem: str = "") -> list[tuple[str, Parts]] | None:
        """Each word of a text of names, and how it is spelt; None when that has to be asked of make."""
        whole = list(pieces(text.strip()))
        try:
            scope = {"@": [Part(target)], "*": [Part(stem)]}
            parts = self.values.parts(text, scope)
            if any(part.dollar for part in parts) and f"{self.values.make.folder}/" in self.values.ask(text, scope):
                parts = self.values.at_load(text, scope)
            if any(part.late or part.dollar for part in parts):
                return None
            if len(whole) == 1 and isinstance(whole[0], Use) and len(parts) == 1 and " " in parts[0].value:
                return None
            return [(today(word), word) for word in words(parts, spread=False).words]
        except Uncovered:
            return None

    def _matching(self, name: str) -> list[str]:
        """A pattern's files, as make lists them; any other name is itself."""
        if not any(char in name for char in "*?["):
            return [name]
        folder = self.values.make.folder
        return sorted(str(path.relative_to(folder)) for path in folder.glob(name.removeprefix("./"))) or [name]

    def expanded(self, rule: Rule, target: str, stem: str, *, order: bool = False) -> Sequence[str]:
        """The prerequisites that a pattern rule gives to one target, expanded twice where the Makefile asks for it."""
        first = next((m.order_only if order else m.prerequisites for m in self.stated.of_rule(rule)), ())
        text = " ".join(word.replace("%", stem, 1) for word in first)
        if "$" in text and ".SECONDEXPANSION" in self.database.targets:
            text = self.values.ask(text, {"@": [Part(target)], "*": [Part(stem)]})
        return text.split()

    def _below(self, target: str) -> set[str]:
        """All that a target needs."""
        found, todo = set[str](), [target]
        while todo:
            made = self.database.targets.get(todo.pop())
            new = {*made.prerequisites, *made.order_only} - found - {target} if made is not None else set[str]()
            found |= new
            todo += new
        return found

    def _is_name(self, name: str) -> bool:
        """Whether a prerequisite may be no file in the Pipefile."""
        made = self.database.targets.get(name, Made(name, ()))
        text = "\n".join(made.recipe)
        return made.phony or bool(made.prerequisites and not made.recipe) or "docker" in text


def _asked_for(name: str) -> str:
    """A file that is not there today as a prerequisite: where imgmake would load no rule, this one alone fails."""
    if name.startswith("/") or ".." in name.split("/") or not re.fullmatch(r"[\w./@%+,:=-]+", name):
        raise Uncovered(f"it needs {name}, which {LACKING}")
    return f"glob({quoted(name)}) or fail({quoted(f'{name} {LACKING}')})"


def _values_for(cond: Cond, taken: bool) -> dict[str, str]:
    """A value on make's command line for which a condition's first branch is taken, or is not."""
    wanted = taken is (cond.test in ("ifdef", "ifeq"))
    if cond.test in ("ifdef", "ifndef"):
        return {cond.left: "1" if wanted else ""} if "$" not in cond.left else {}
    for one, other in ((cond.left, cond.right), (cond.right, cond.left)):
        found = list(pieces(one.strip()))
        if len(found) == 1 and isinstance(found[0], Use) and "$" not in other:
            return {found[0].name: other if wanted else _OTHER if other != _OTHER else ""}
    return {}
