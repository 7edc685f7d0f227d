"""What becomes of each variable: what may be overridden, what is known late, metadata, constants. make gives values.

Starts nothing but make, through `Make`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from imgmake.migrate.branching import Node, Path, conditions, leaves, sequence
from imgmake.migrate.calling import NO_SCOPE, Scope, has_dollar
from imgmake.migrate.conditions import Conditions
from imgmake.migrate.definitions import (
    AUTOMATIC,
    SETS,
    Known,
    Source,
    as_default,
    asks_if_unset,
    branches,
    hoisted,
    is_macro,
    of_place,
    program,
    shared,
    tested,
    tests_itself,
    used,
)
from imgmake.migrate.expand import Call, Text, Uncovered, calls, mentioned, pieces
from imgmake.migrate.meanings import Meanings
from imgmake.migrate.model import Assign, Cond, Database, Statement
from imgmake.migrate.python import (
    Part,
    Parts,
    TooLate,
    expression,
    identifier,
    merged,
    names_in,
    quoted,
    shell_text,
    today,
)
from imgmake.migrate.questions import minding_nothing
from imgmake.migrate.scratch import Make
from imgmake.migrate.texts import ASKING, HERE, Texts
from imgmake.variables import LATE, NAME

_UNKNOWN = frozenset({"MAKECMDGOALS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", ".VARIABLES", ".FEATURES", ".RECIPEPREFIX"})
_NOTHING = re.compile("empty|null|blank|noop|nothing|space", re.IGNORECASE)  # names of what is meant to be empty


class Values(Meanings, Texts, Conditions):
    """Every variable of one Makefile, resolved on demand.

    early: variables that have to be known when the Pipefile is loaded, though a command gives them.
    asked: make's answers so far.
    """

    def __init__(
        self,
        statements: Sequence[Statement],
        database: Database,
        make: Make,
        early: frozenset[str] = frozenset(),
        asked: dict[str, str] | None = None,
    ) -> None:
        self.database = database
        self.make = make
        self.early = early
        self.hastened: set[str] = set()
        self.definitions: dict[str, list[tuple[Assign, tuple[Cond, ...]]]] = {}
        self._collect(statements, ())
        self.hoisted = hoisted(statements, self.definitions)
        self.definitions |= {each.name: [(each, ())] for each in self.hoisted.values()}
        same = shared(statements, self.definitions, self.read_beside)
        self.definitions |= {name: [(each, ())] for name, each in same.items()}
        self.asked: dict[str, str] = {} if asked is None else asked
        names = sorted(n for n in {*self.definitions, *used(statements)} if not re.search(r"[\s$(){}]", n))
        self.today = self._values(names)
        self.shared: dict[str, Parts] = {}  # defaults that targets share, of which make knows nothing without a target
        for name, each in same.items():
            self.today[name] = self.ask(each.value, self.shared)
            self.shared[name] = [Part(self.today[name])]
        self.shell = program(self.asked.get("$(SHELL)") or self.ask("$(SHELL)"))
        self.inputs: dict[str, None] = {}  # read, and set nowhere
        self.settled_today: dict[str, str] = {}  # variables with make's value of today, each with why
        self.settled: dict[str, str] = {}  # shell text of ours, and the make text that it stands for
        self.questions: dict[str, None] = {}  # patterns of what a shell of ours asks as it runs, make as it expands
        self.exported: frozenset[str] = frozenset()  # names that every recipe's shell is given
        self.said: set[str] = set()  # patterns of messages that make gives while it expands a recipe
        self.heard: set[str] = set()  # of those that it gives while it reads the Makefile
        self.taken_apart: set[str] = set()  # constants whose words went into commands
        self.why_fixed: dict[str, str] = {}
        # Found while a variable was resolved, and written as found then: a ring of conditions is cut in one place.
        self.steps: dict[str, list[Node]] = {}
        self.sources: dict[str, dict[Assign, Source]] = {}
        self._known: dict[str, Known] = {}
        self._busy: list[str] = []

    def _collect(self, statements: Iterable[object], around: tuple[Cond, ...]) -> None:
        for each in statements:
            if isinstance(each, Assign) and not each.target and each.op not in ("export", "unexport"):
                self.definitions.setdefault(each.name, []).append((each, around))
            elif isinstance(each, Cond):
                self._collect((*each.then, *each.otherwise), (*around, each))

    def read_beside(self, name: str) -> bool:
        """Whether a target reads a variable that it does not set itself, and another one does."""
        every = self.database.targets.values()
        texts = (text for made in every if name not in made.specific for text in made.recipe)
        return any(name in self.reached(text) for text in texts if "$" in text)

    def _values(self, names: Sequence[str]) -> dict[str, str]:
        """make's value of each variable, and the answers kept for when a text asks for the same."""
        missing = [f"$({name})" for name in names if f"$({name})" not in self.asked]
        answers = self.make.values(missing) if missing else []
        self.asked.update(zip(missing, answers, strict=True))
        return {name: self.asked[f"$({name})"] for name in names}

    # --- one variable ---------------------------------------------------------------------------------------

    def known(self, name: str) -> Known:
        """What a variable is; found out once."""
        if name in self._busy:
            return Known(name, identifier(name), "odd", why=f"{name} is defined by itself")
        if name not in self._known:
            self._busy.append(name)
            before, self._loading = self._loading, 0
            try:
                self._known[name] = self._find(name)
            except Uncovered as error:
                if isinstance(error, TooLate):
                    self.hasten_python(error.names)
                self._known[name] = Known(name, identifier(name), "odd", self.today.get(name, ""), why=str(error))
            finally:
                self._loading = before
                self._busy.pop()
        return self._known[name]

    def _find(self, name: str) -> Known:
        every = self.definitions.get(name, [])
        found = self.effective(name)
        if not every:
            return self._unset(name)
        if not found:
            return Known(name, "", "constant", "") if not NAME.fullmatch(name) else self._unset(name)
        if name not in self.early and (meant := self.metadata_of([(each, ()) for each, _ in found])):
            return Known(name, meant, "metadata", self.today.get(name, ""), late=True, exported=meant, varies=True)
        if any(each.op == "define" or is_macro(each.value) for each, _ in found):
            return Known(name, identifier(name), "macro", needs=tuple(mentioned(found[-1][0].value)), varies=True)
        self.why_fixed[name] = self.fixed(name, found)
        if self.why_fixed[name]:
            return Known(name, self.python(name), "constant", self.today.get(name, ""))
        steps = sequence(self._untested(name, found), changes)
        self.steps[name] = steps
        self.sources[name] = {each: self.definition(each) for step in steps for each in leaves(step)}
        return self._joined(name, steps)

    def fixed(self, name: str, found: Sequence[tuple[Assign, Path]]) -> str:
        """Why a variable is written with make's value: nothing can change it, or no Pipefile could; else empty."""
        for cond in dict.fromkeys(cond for _, path in found for cond, _ in path):
            try:
                self.asked_of(name, cond)
            except Uncovered as error:
                if isinstance(error, TooLate):
                    self.hasten_python(error.names)
                self.settled_today[name] = str(error)
                return str(error)
        return "the same in every run" if len(found) > 1 and self._folds(found) else ""

    def asked_of(self, name: str, cond: Cond) -> str | bool:
        """A condition around a definition of a variable, which may ask for that variable's own value so far."""
        return self.condition(cond, {name: [Part(name=self.python(name), value=self.today.get(name, ""))]})

    def effective(self, name: str) -> list[tuple[Assign, Path]]:
        """The definitions that count, each with its conditions: those in a branch that is never taken do not."""
        found: list[tuple[Assign, Path]] = []
        every = self.definitions.get(name, [])
        for each, around in every:
            if len(every) == 1 and tests_itself(each, around):
                found.append((as_default(each), ()))
                continue
            left = []
            for cond, taken in branches(each, around):
                decided = self._decided(cond)
                if decided is None:
                    left.append((cond, taken))
                elif decided is not taken:
                    break
            else:
                found.append((each, tuple(left)))
        return found

    def _untested(self, name: str, found: Sequence[tuple[Assign, Path]]) -> list[tuple[Assign, Path]]:
        """Definitions that ask whether something is set, where only defaults are: that is what ``?=`` asks."""
        made: list[tuple[Assign, Path]] = []
        for each, path in found:
            asks = [at for at, (cond, taken) in enumerate(path) if taken and asks_if_unset(cond, name)]
            first = all(one.op == "?=" and around for one, around in made)
            if asks and first and each.op in SETS and not changes(each):
                made.append((as_default(each), tuple(step for at, step in enumerate(path) if at not in asks)))
            else:
                made.append((each, path))
        return made

    def _joined(self, name: str, steps: Sequence[Node]) -> Known:
        sources = list(self.sources[name].values())
        needs = tuple(dict.fromkeys(need for source in sources for need in source.needs if need != name))
        late = any(source.late for source in sources) or any(self.known(need).late for need in needs)
        declared = len(steps) == 1 and all(source.declares for source in sources)
        chosen = any(True for step in steps for _ in conditions(step))
        kind = "late" if declared and late else "variable" if declared else "constant"
        return Known(
            name,
            self.python(name),
            kind,
            self.today.get(name, ""),
            needs,
            late,
            exported=self.variable(name) if declared else "",
            varies=declared or chosen or any(s.varies for s in sources) or any(self.known(n).varies for n in needs),
            dollar=any(source.dollar for source in sources),
            leaves=tuple(leaf for source in sources for leaf in source.leaves),
        )

    def builds_on_itself(self, name: str) -> bool:
        """Whether the first of a variable's definitions, or their conditions, need a value that only a user gives."""
        first = self.steps[name][0]
        made_of = any(changes(each) for each in leaves(first))
        return made_of or any(name in mentioned(f"{tested(cond)}") for cond in conditions(first))

    def _folds(self, found: Sequence[tuple[Assign, Path]]) -> bool:
        """Several plain definitions in a row: what make has at the end is what every recipe sees."""
        return all(
            not path and each.op in ("=", ":=", "::=", "+=") and self.constant(each.value, besides=each.name)
            and not has_dollar(each.value)
            for each, path in found
        )  # fmt: skip

    def _unset(self, name: str) -> Known:
        if name in _UNKNOWN or name.startswith("."):
            raise Uncovered(f"$({name}) is make's own")
        known = self.database.variables.get(name)
        if name in ("MAKE", "RM", "SHELL", "MAKEFILE_LIST", "MAKEFILE"):
            return Known(name, "", "constant", {"MAKE": "make", "SHELL": "/bin/sh"}.get(name, self.today.get(name, "")))
        if not NAME.fullmatch(name):
            return Known(name, "", "constant", self.today.get(name, ""))  # make has nothing under such a name
        if known is not None and known.origin in ("makefile", "override") and name not in self.definitions:
            raise Uncovered(f"it is set in {known.file or 'a file that is made'}, line {known.line}, which is not read")
        default = known.text if known is not None and known.origin == "default" else ""
        value = self.today.get(name, "") or default
        return Known(name, self.python(name), "variable", value, exported=self.variable(name), varies=True)

    def python(self, name: str) -> str:
        return identifier(name)

    def variable(self, name: str) -> str:
        """The name for `var`: metadata's names are imgmake's own."""
        return f"{name}_" if name in LATE or name in ("in", "out") else name

    # --- definitions ----------------------------------------------------------------------------------------

    def definition(self, each: Assign) -> Source:
        """The Python source of one definition's right side. Raises Uncovered."""
        if each.op == "!=":
            return self._command(each, f"$(shell {each.value})")
        if each.op == "+=" or (each.name in mentioned(each.value) and each.op in (":=", "::=")):
            text = each.value if each.op != "+=" else f"$({each.name}) {each.value}"
            own = Part(name=self.python(each.name), value=self.today.get(each.name, ""))
            read = self.at_load if each.name in self.early else self.parts
            made = self._source(read(text, {each.name: [own]}))
            known = self.database.variables.get(each.name)
            more = read(each.value) if each.op == "+=" and known is not None and known.flavor != "=" else []
            if len(more) == 1 and more[0].name and not (more[0].value or more[0].late or more[0].dollar):
                made = replace(
                    made, text=f"{made.text} if {more[0].name} else {own.name}"
                )  # what is empty adds no blank
            return made
        if "shell" in calls(each.value):
            return self._command(each, each.value)
        if of_place(each) and len(self.definitions[each.name]) == 1:
            return self._source(self._placed(self.today.get(each.name, "")))  # of the files that were read by then
        now = each.name in self.early or (each.op in (":=", "::=") and self.of_files(each.value))
        inner = self._source(self.at_load(each.value) if now else self.parts(each.value))
        if not (each.op == "?=" or self._meant_to_be_given(each)) or not NAME.fullmatch(each.name):
            return inner
        return self._declared(each, inner)

    def _meant_to_be_given(self, each: Assign) -> bool:
        """``VERSION :=``: an empty variable that is read waits for the command line."""
        empty = not each.value and not each.override and each.op in ("=", ":=", "::=")
        return empty and len(self.definitions[each.name]) == 1 and not _NOTHING.search(each.name)

    def _declared(self, each: Assign, inner: Source) -> Source:
        self._may_be_declared(each.name)
        text = f"var({quoted(self.variable(each.name))}, {inner.text})"
        return Source(text, inner.needs, False, True, dollar=inner.dollar, leaves=inner.leaves)

    def _may_be_declared(self, name: str) -> None:
        if not NAME.fullmatch(name):
            raise Uncovered(f"{name} is no name for a variable of imgmake's")

    def _command(self, each: Assign, text: str) -> Source:
        """A variable whose default is a command: run once, when it is first needed, or when the Pipefile is loaded."""
        whole = list(pieces(text.strip()))
        plain = all(not isinstance(piece, Call) or piece.function == "shell" for piece in whole)
        if each.name in self.early or not plain or not NAME.fullmatch(each.name):
            inner = self._source(self.at_load(text))
            declared = NAME.fullmatch(each.name) and (plain or each.op == "?=")
            return self._declared(each, inner) if declared else inner
        if len(whole) == 1 and isinstance(whole[0], Call):
            parts = self.shell_parts(whole[0].arguments)
            if not self.today.get(each.name) and not self.make.tool[0]:
                parts = minding_nothing(parts, quiet="2>" not in whole[0].arguments)  # it fails today
            elif any(part.name and part.shell for part in parts):
                parts = minding_nothing(parts)  # with another value it may fail
        elif any(isinstance(piece, Text) and re.search(r'["\\`]', piece.text) for piece in whole):
            self.hasten(each.name) if each.name not in self._busy else self.hastened.add(each.name)
            raise TooLate("text with quotes beside a $(shell …)", ())
        else:
            parts = [Part('echo "'), *self.parts(text), Part('"')]
        body, given, spliced = shell_text(parts)
        extra = "".join(f", {key}={value}" for key, value in given.items())
        extra += f", shell={quoted(self.shell)}" if self.shell != "/bin/sh" else ""
        source = f"var({quoted(self.variable(each.name))}, sh({'f' * spliced}{quoted(body)}{extra}))"
        return Source(source, self._needs(parts), late=True, declares=True, varies=True)

    def _source(self, parts: Parts) -> Source:
        """What parts come to; their text is a shell's where one of them is."""
        late = [part for part in parts if part.late]
        text = expression([Part(text=p.text, name=p.name, value=p.value, words=p.words) for p in parts])
        return Source(
            text,
            self._needs(parts),
            bool(late),
            varies="shell(" in text or "glob(" in text or "Path(" in text,
            dollar=any(part.dollar for part in parts),
            leaves=tuple(leaf for part in late for leaf in (part.leaves or (part.value,))),
        )

    def _needs(self, parts: Parts) -> tuple[str, ...]:
        by_python = {self.python(name): name for name in (*self.definitions, *self.inputs)}
        found = sorted(names_in([part.name for part in parts if part.name]))
        return tuple(by_python[name] for name in found if name in by_python)

    # --- texts ----------------------------------------------------------------------------------------------

    def constant(self, text: str, besides: str = "") -> bool:
        """Whether make's answer for a text is the same in every run that overrides nothing of a Pipefile."""
        if ASKING.intersection(calls(text)) or self.of_files(text):
            return False
        for name in mentioned(text):
            if name in AUTOMATIC or name == besides or re.fullmatch(r"\d|[@<^?*+|%][DF]", name) or name in HERE:
                continue
            known = self.known(name) if not re.search(r"[\s$(){}]", name) else None
            if known is None or known.kind == "macro":
                each = self.definitions.get(name)
                if not each or name in self._busy or not self._constant_macro(name, each, besides):
                    return False
            elif known.kind != "constant" or known.varies or known.late or known.dollar:
                return False
        return True

    def _constant_macro(self, name: str, each: Sequence[tuple[Assign, tuple[Cond, ...]]], besides: str) -> bool:
        self._busy.append(name)
        try:
            return all(not around and self.constant(one.value, besides) for one, around in each)
        finally:
            self._busy.pop()

    def plain(self, text: str, scope: Scope = NO_SCOPE) -> str:
        """A text that is the same in every run. Raises Uncovered."""
        parts = self.parts(text, scope)
        if any(part.name and not part.value for part in parts):
            raise Uncovered(f"{text} is not known before something runs")
        return today(parts)

    def inlined(self, parts: Parts) -> list[Part]:
        """The parts with a constant of several words replaced by what it is written as, flags and all."""
        found: list[Part] = []
        for part in parts:
            name = next((n for n in self.definitions if part.name and self.python(n) == part.name), "")
            single = self.effective(name) if name and re.search(r"[\s'\"]", part.value) else []
            if len(single) == 1 and not single[0][1] and single[0][0].op in ("=", ":=", "::="):
                self.taken_apart.add(name)
                found += self.inlined(self.parts(single[0][0].value))
            else:
                found.append(part)
        return merged(found)


def changes(each: Assign) -> bool:
    """Whether a definition is made of the variable's value before it."""
    return each.op == "+=" or each.name in mentioned(each.value)
