"""Texts of a Makefile as parts: what is a name in the Pipefile, what is an expression, what is the shell's.

A value that a text needs while the Pipefile is loaded, and that was taken for a late one, is noted in `hastened`: the
migration starts again with it. Starts nothing but make, through `Make`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from imgmake.migrate import functions
from imgmake.migrate.calling import NO_SCOPE, SPECIAL, Calls, Given, Scope, has_dollar, plain
from imgmake.migrate.definitions import AUTOMATIC, Known
from imgmake.migrate.expand import Call, Dollar, Odd, Text, Uncovered, Use, calls, mentioned, pieces
from imgmake.migrate.model import Assign, Cond, Database
from imgmake.migrate.python import Part, Parts, TooLate, atom, expression, merged, names_in, today
from imgmake.migrate.questions import question, spelt
from imgmake.migrate.scratch import Make
from imgmake.migrate.targetnames import COPY

AMBIENT = frozenset({"HOME", "USER", "PATH", "LOGNAME", "TMPDIR"})  # a shell has them, whoever starts it
HERE = ("CURDIR", "PWD")
# What a text asks of the world, so that make's answer of today is not the answer of tomorrow.
ASKING = frozenset({"shell", "wildcard", "eval", "file", "origin", "flavor", "error", "info", "warning", "guile"})
_CODE = re.compile(r"[\"'\\$`]")  # what means something to a shell, in quotes, too
_DEEPEST = 40  # calls within calls


class Texts(Calls):
    """The part of `Values` that translates texts; what a variable is, is the rest's."""

    database: Database
    make: Make
    definitions: dict[str, list[tuple[Assign, tuple[Cond, ...]]]]
    inputs: dict[str, None]
    early: frozenset[str]
    hastened: set[str]
    asked: dict[str, str]
    settled: dict[str, str]
    questions: dict[str, None]
    _loading = 0
    _depth = 0

    def known(self, name: str) -> Known:
        raise NotImplementedError

    def constant(self, text: str, besides: str = "") -> bool:
        raise NotImplementedError

    def metadata_in(self, text: str) -> str:
        raise NotImplementedError

    @contextmanager
    def loading(self) -> Iterator[None]:
        """While this lasts, every value has to be known when the Pipefile is loaded."""
        self._loading += 1
        try:
            yield
        finally:
            self._loading -= 1

    def parts(self, text: str, scope: Scope = NO_SCOPE) -> list[Part]:
        """The parts of a text, as what they are in the Pipefile. Raises Uncovered."""
        if self._depth > _DEEPEST:
            raise Uncovered("it calls itself")
        self._depth += 1
        try:
            return merged([part for piece in pieces(text) for part in self._piece(piece, scope)])
        finally:
            self._depth -= 1

    @contextmanager
    def done_elsewhere(self) -> Iterator[None]:
        """While this lasts, what texts do, besides what they say, is seen to by who asks."""
        self._doing += 1
        try:
            yield
        finally:
            self._doing -= 1

    def at_load(self, text: str, scope: Scope = NO_SCOPE) -> list[Part]:
        """The same, of what a Pipefile looks into while it is loaded. Raises TooLate, Uncovered."""
        with self.loading():
            return self.parts(text, scope)

    def _piece(self, piece: object, scope: Scope) -> Sequence[Part]:
        if isinstance(piece, Text):
            return [Part(piece.text)]
        if isinstance(piece, Dollar):
            return [Part("$", dollar=True)]
        if isinstance(piece, Use):
            return self._use(piece.name, piece.raw, scope)
        if isinstance(piece, Call):
            return self._call(piece, scope)
        assert isinstance(piece, Odd)
        return self._odd(piece, scope)

    # --- references -----------------------------------------------------------------------------------------

    def _use(self, name: str, raw: str, scope: Scope) -> list[Part]:
        if name in scope:
            return list(scope[name]) if not self._loading else self._inside(name, scope[name])
        if name in AUTOMATIC or SPECIAL.fullmatch(name):
            return self._automatic(name, raw, scope)
        if re.fullmatch(r"\d+", name):
            return []
        if name not in self.definitions and (world := self._ambient(name)):
            return [world]
        if self._bound(name, scope):
            return self.parts(self.definitions[name][-1][0].value, scope)
        return self._value(self.known(name), scope)

    def _inside(self, name: str, given: Parts) -> list[Part]:
        """What a scope gives to a name, for who looks into it."""
        parts = [_looked_into(part) for part in given]
        if not any(part.dollar or part.late for part in parts):
            return parts
        if isinstance(given, Given):
            return self.parts(given.text, given.scope)
        raise Uncovered(f"$({name}) is what only a shell knows")

    def _ambient(self, name: str) -> Part | None:
        """What every shell has: where it is, and who it works for."""
        if name in HERE:
            return Part(name="CURDIR", value=str(self.make.folder)) if self._loading else HERE_PART
        return Part(f"${{{name}}}", dollar=True, leaves=("",)) if name in AMBIENT and not self._loading else None

    def _automatic(self, name: str, raw: str, scope: Scope) -> list[Part]:
        """``$(@D)`` of a known target; ``$@`` of none."""
        own = scope.get(name[0])
        if own is None or len(name) == 1:
            return self.folded(raw, scope)
        if any(part.dollar for part in own):
            if any(part.text not in ("$in", "$out") for part in own):
                raise Uncovered(f"{raw} of what only a shell knows")
            word = "dirname" if name[1] == "D" else "basename"
            named = today(list(map(_looked_into, own)))
            self.settled[f"$({word} {named})"] = _directory(named) if word == "dirname" else named.rpartition("/")[2]
            return [Part(f"$({word} ", dollar=True), *own, Part(")", dollar=True)]
        value = " ".join(_directory(word) if name[1] == "D" else word.rpartition("/")[2] for word in today(own).split())
        if {part.name for part in own} <= {"", "CURDIR"}:
            return self.placed(value)
        with self.loading():
            made = functions.translate("dir" if name[1] == "D" else "notdir", [own], value)
        source = f"{atom(made.name)}.rstrip('/')" if name[1] == "D" else made.name
        return [Part(name=source, value=value, words=made.words)]

    def _bound(self, name: str, scope: Scope) -> bool:
        """Whether a recursive variable means something else in a scope: a parameter or a target's own variable."""
        own = {each for each in scope if each not in AUTOMATIC and not each.isdigit()} - {name}
        if not own or name not in self.definitions:
            return False
        if any(each.op in (":=", "::=", "!=") for each, _ in self.definitions[name]):
            return False
        return bool(self.reached(f"$({name})") & own)

    def _value(self, known: Known, scope: Scope) -> list[Part]:
        if known.kind == "odd":
            raise Uncovered(f"$({known.name}): {known.why}")
        if known.kind == "macro":
            return self.parts(self.definitions[known.name][-1][0].value, scope)
        if not known.python:
            return [Part(known.value)]
        if self._loading and (
            known.late or (known.dollar and (self._of_folder(known) or self._asks_files(known.name)))
        ):
            self.hasten(known.name)
            raise TooLate(f"$({known.name}) is known late", [known.python])
        if not self._loading and known.name in self.early and self._asks_files(known.name):
            raise Uncovered(
                f"$({known.name}) asks for a file that a rule may make: here, and where make reads the file"
            )
        if known.name not in self.definitions:
            self.inputs[known.name] = None
        return [
            Part(
                name=known.python,
                shell="" if known.dollar else known.exported,
                late=known.late,
                value=known.value,
                dollar=known.dollar,
                leaves=known.leaves or (("",) if known.dollar and str(self.make.folder) in known.value else ()),
            )
        ]

    def _of_folder(self, known: Known) -> bool:
        """Whether a variable is a path in the folder, which a Pipefile knows when it is loaded as well as a shell."""
        every = [each for name in self.reached(f"$({known.name})") for each, _ in self.definitions.get(name, ())]
        plain = not any(has_dollar(each.value) or "shell" in calls(each.value) for each in every)
        return plain and known.value.startswith(f"{self.make.folder}/")

    def _asks_files(self, name: str) -> bool:
        later = (each for each, _ in self.definitions.get(name, ()) if each.op in ("=", "?="))
        return any(self.of_files(each.value) for each in later)

    def hasten(self, name: str) -> None:
        """Have a variable, and all that it is made of, known when the Pipefile is loaded: in the next attempt."""
        known = self.known(name)
        if name in self.hastened:
            return
        self.hastened.add(name)
        for need in known.needs:
            if self.known(need).late:
                self.hasten(need)

    # --- shells ---------------------------------------------------------------------------------------------

    def _shell(self, piece: Call, scope: Scope) -> list[Part]:
        """``$(shell …)``: the shell's own ``$(…)`` in a recipe; asked at once where a Pipefile looks into it."""
        if self._loading:
            return [self.asking(piece.arguments, piece.raw, scope)]
        parts = self.shell_parts(piece.arguments, scope)
        asked = question([part if part.name else _looked_into(part) for part in parts])
        answer = self.ask(piece.raw, scope)
        if _CODE.search(answer):
            return [self.asking(piece.arguments, piece.raw, scope)]  # a shell would not take it apart, as make has it
        self.settled[asked.today] = self.settled[asked.named] = answer
        self.questions[asked.frame] = None
        if all(part.shell for part in parts if part.name) and not any(part.leaves for part in parts):
            return [Part(question(parts).named, dollar=True, leaves=(answer,))]
        inner = [part if part.name or part.leaves else Part(part.text, dollar=True) for part in spelt(parts)]
        return [Part("$(", dollar=True), *inner, Part(")", dollar=True)]

    def asking(self, command: str, raw: str, scope: Scope = NO_SCOPE) -> Part:
        """A call of the Pipefile's own `shell`, which answers while it is loaded."""
        with self._late():
            parts = self.shell_parts(command, scope)
        names = names_in([part.name for part in parts if part.name])
        if late := [part for part in parts if part.late]:
            for part in late:
                self.hasten_python(names_in([part.name]))
            raise TooLate(f"{raw} is asked of what is known late", names)
        source = expression(plain(parts))
        return Part(name=f"shell({source})", value=self.ask(raw, scope))

    @contextmanager
    def _late(self) -> Iterator[None]:
        before, self._loading = self._loading, 0
        try:
            yield
        finally:
            self._loading = before

    def hasten_python(self, names: frozenset[str]) -> None:
        """As `hasten`, by names of the Pipefile."""
        for name in (*self.definitions, *self.inputs):
            if self.known(name).python in names:
                self.hasten(name)

    def shell_parts(self, command: str, scope: Scope = NO_SCOPE) -> list[Part]:
        if re.match(r"\s*(make|docker)\b", command) and "$(MAKE)" in command:
            raise Uncovered("a $(shell …) that runs make")
        return self.parts(command.strip(), scope)

    # --- make's own answer ----------------------------------------------------------------------------------

    def folded(self, raw: str, scope: Scope) -> list[Part]:
        """make's own answer, where it cannot differ from run to run. Raises Uncovered."""
        used = set(mentioned(raw))
        fixed = {n: today(parts) for n, parts in scope.items() if not any(p.name or p.dollar for p in parts)}
        if not self.constant(raw) or any(n in scope and n not in fixed for n in used):
            raise Uncovered(f"{raw} depends on what can be overridden, or on the world")
        if missing := sorted(n for n in used if (n in AUTOMATIC or n[:1] in AUTOMATIC) and n[:1] not in fixed):
            raise Uncovered(f"$({missing[0]}) is not known here")
        return self._placed(self.ask(raw, scope))

    def _placed(self, text: str) -> list[Part]:
        """A text with the folder that make ran in as what it is to a shell."""
        folder = str(self.make.folder)
        found: list[Part] = []
        for at, piece in enumerate(text.split(folder)):
            if at:
                found.append(Part(name="CURDIR", value=folder) if self._loading else HERE_PART)
            found.append(Part(piece))
        if COPY in today([part for part in found if not part.name]):
            raise Uncovered("it names a folder above this one")
        return merged(found)

    def placed(self, text: str) -> list[Part]:
        """A text with the folder that make ran in as a name of the Pipefile's."""
        with self.loading():
            return self._placed(text)

    def ask(self, raw: str, scope: Scope = NO_SCOPE) -> str:
        """make's answer for an expression, what is bound in its place bound for make, too."""
        names = self.reached(raw) if scope else frozenset[str]()
        bound = [(name, today(list(map(_looked_into, parts)))) for name, parts in scope.items() if name in names]
        text = raw
        for name, value in bound:
            text = self._with(name, value, text)
        if text not in self.asked:
            self.asked[text] = self.make.values([text])[0]
        return self.asked[text]

    def _with(self, name: str, value: str, text: str) -> str:
        """An expression in which a name has a value, and none that it had not before is left behind."""
        if re.fullmatch(r"[^\s#$]+", value):
            return f"$(foreach {name},{value},{text})"
        after = f"$(eval undefine {name})"
        if name in self.definitions:
            after = f"$(eval {name} = $(value imgmake-was))"
            text = f"$(eval imgmake-was := $(value {name})){text}"
        return f"$(eval {name} := {_escaped(value)}){text}{after}"

    def reached(self, text: str) -> frozenset[str]:
        """Every variable that a text mentions, or that one of these does."""
        found, todo = set[str](), list(mentioned(text))
        while todo:
            name = todo.pop()
            name = name[:1] if SPECIAL.fullmatch(name) else name
            if name not in found:
                found.add(name)
                todo += [more for each, _ in self.definitions.get(name, ()) for more in mentioned(each.value)]
        return frozenset(found)


HERE_PART = Part("$PWD", dollar=True, leaves=("",))


def _looked_into(part: Part) -> Part:
    """``$in`` and ``$out`` as the names that they stand for."""
    return Part(part.leaves[0]) if part.dollar and part.leaves and part.text in ("$in", "$out") else part


def _directory(word: str) -> str:
    return word.rpartition("/")[0] or ("/" if word.startswith("/") else ".")


def _escaped(text: str) -> str:
    return text.replace("$", "$$$$").replace("#", "\\#").replace("\n", " ")
