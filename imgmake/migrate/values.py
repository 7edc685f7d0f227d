"""What becomes of each variable: what may be overridden, what is known late, metadata, constants. make gives values.

Starts nothing but make, through `Make`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from imgmake.migrate.conditions import Conditions
from imgmake.migrate.definitions import (
    AUTOMATIC,
    Known,
    Source,
    branches,
    exclusive,
    in_python,
    is_macro,
    tests_itself,
    used,
    wildcard,
)
from imgmake.migrate.expand import (
    Call,
    Dollar,
    Odd,
    Text,
    Uncovered,
    Use,
    arguments,
    calls,
    mentioned,
    pieces,
)
from imgmake.migrate.meanings import Meanings
from imgmake.migrate.model import Assign, Cond, Database, Statement
from imgmake.migrate.python import Part, Parts, expression, identifier, merged, quoted, shell_text, today
from imgmake.migrate.scratch import Make
from imgmake.variables import LATE, NAME

Scope = Mapping[str, Parts]

_NO_SCOPE: Scope = MappingProxyType({})
AMBIENT = frozenset({"HOME", "USER", "PATH", "LOGNAME", "TMPDIR"})  # a shell has them, whoever starts it
_ASKING = frozenset({"shell", "wildcard", "eval", "file", "origin", "error", "realpath", "abspath", "info", "warning"})
_UNKNOWN = frozenset({"MAKECMDGOALS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", ".VARIABLES", ".FEATURES", ".RECIPEPREFIX"})


class Values(Meanings, Conditions):
    """Every variable of one Makefile, resolved on demand."""

    def __init__(self, statements: Sequence[Statement], database: Database, make: Make) -> None:
        self.database = database
        self.make = make
        self.definitions: dict[str, list[tuple[Assign, tuple[Cond, ...]]]] = {}
        self._collect(statements, ())
        names = sorted(n for n in {*self.definitions, *used(statements)} if not re.search(r"[\s$(){}]", n))
        self.today = dict(zip(names, make.values([f"$({name})" for name in names]), strict=True))
        self.today = {name: value.replace(" .imgmake-ask.mk", "") for name, value in self.today.items()}
        self.asked: dict[str, str] = {}
        self.inputs: dict[str, None] = {}  # read, and set nowhere
        self.settled_today: dict[str, str] = {}  # variables with make's value of today, each with why
        self.settled: dict[str, str] = {}  # shell text of ours, and the make text that it stands for
        self.taken_apart: set[str] = set()  # constants whose words went into commands
        self.why_fixed: dict[str, str] = {}
        # Found while a variable was resolved, and written as found then: a ring of conditions is cut in one place.
        self.sources: dict[str, list[tuple[Assign, tuple[Cond, ...], Source]]] = {}
        self._known: dict[str, Known] = {}
        self._busy: list[str] = []

    def _collect(self, statements: Iterable[object], around: tuple[Cond, ...]) -> None:
        for each in statements:
            if isinstance(each, Assign) and not each.target and each.op not in ("export", "unexport"):
                self.definitions.setdefault(each.name, []).append((each, around))
            elif isinstance(each, Cond):
                self._collect((*each.then, *each.otherwise), (*around, each))

    # --- one variable ---------------------------------------------------------------------------------------

    def known(self, name: str) -> Known:
        """What a variable is; found out once."""
        if name in self._busy:
            return Known(name, identifier(name), "odd", why=f"{name} is defined by itself")
        if name not in self._known:
            self._busy.append(name)
            try:
                self._known[name] = self._find(name)
            except Uncovered as error:
                self._known[name] = Known(name, identifier(name), "odd", self.today.get(name, ""), why=str(error))
            finally:
                self._busy.pop()
        return self._known[name]

    def _find(self, name: str) -> Known:
        found = self.effective(name)
        if not found:
            return self._unset(name)
        if meant := self.metadata_of(found):
            return Known(name, meant, "metadata", self.today.get(name, ""), late=True, exported=meant)
        if any(each.op == "define" or is_macro(each.value) for each, _ in found):
            return Known(name, identifier(name), "macro", needs=tuple(mentioned(found[-1][0].value)))
        self.why_fixed[name] = self.fixed(name)
        if self.why_fixed[name]:
            return Known(name, self.python(name), "constant", self.today.get(name, ""))
        self._in_order(name, found)
        self.sources[name] = [(each, around, self.definition(each, around)) for each, around in found]
        return self._joined(name, [source for _, _, source in self.sources[name]])

    def fixed(self, name: str) -> str:
        """Why a variable is written with make's value: nothing can change it, or no Pipefile could; else empty."""
        found = self.effective(name)
        for _, around in found:
            for cond in around:
                try:
                    if not tests_itself(found[0][0], around):
                        self.condition(cond)
                except Uncovered as error:
                    self.settled_today[name] = str(error)
                    return str(error)
        return "the same in every run" if len(found) > 1 and self._folds(found) else ""

    def effective(self, name: str) -> list[tuple[Assign, tuple[Cond, ...]]]:
        """The definitions that count: those in a branch that is never taken do not."""
        found = []
        for each, around in self.definitions.get(name, []):
            left = []
            for cond, taken in branches(each, around):
                decided = self._decided(cond)
                if decided is None:
                    left.append(cond)
                elif decided is not taken:
                    break
            else:
                found.append((each, tuple(left)))
        return found

    def _in_order(self, name: str, found: Sequence[tuple[Assign, tuple[Cond, ...]]]) -> None:
        """Python runs definitions one after the other; what make would do otherwise is not covered."""
        first, around = found[0]
        if len(found) == 1 or (not around and not any(each.op in ("?=", "!=") for each, _ in found[1:])):
            return
        if not exclusive([each for _, each in found]):
            raise Uncovered(f"{name} is set in several places, which depend on each other (line {first.line})")

    def _joined(self, name: str, sources: Sequence[Source]) -> Known:
        needs = tuple(dict.fromkeys(need for source in sources for need in source.needs))
        late = any(source.late for source in sources) or any(self.known(need).late for need in needs)
        declared = all(source.declares for source in sources)
        kind = "late" if declared and late else "variable" if declared else "constant"
        exported = self.variable(name) if declared else ""
        return Known(name, self.python(name), kind, self.today.get(name, ""), needs, late, exported=exported)

    def _folds(self, found: Sequence[tuple[Assign, tuple[Cond, ...]]]) -> bool:
        """Several plain definitions in a row: what make has at the end is what every recipe sees."""
        return all(
            not around and each.op in ("=", ":=", "::=", "+=") and self.constant(each.value, besides=each.name)
            for each, around in found
        )

    def _unset(self, name: str) -> Known:
        if name in _UNKNOWN or name.startswith("."):
            raise Uncovered(f"$({name}) is make's own")
        known = self.database.variables.get(name)
        if name in ("MAKE", "RM", "SHELL", "MAKEFILE_LIST", "MAKEFILE"):
            return Known(name, "", "constant", {"MAKE": "make", "SHELL": "/bin/sh"}.get(name, self.today.get(name, "")))
        if not NAME.fullmatch(name):
            return Known(name, "", "constant", self.today.get(name, ""))  # make has nothing under such a name
        if known is not None and known.origin in ("makefile", "override"):
            raise Uncovered(f"it is set in {known.file or 'a file that is made'}, line {known.line}, which is not read")
        default = known.text if known is not None and known.origin == "default" else ""
        return Known(
            name, self.python(name), "variable", self.today.get(name, "") or default, exported=self.variable(name)
        )

    def python(self, name: str) -> str:
        return identifier(name)

    def variable(self, name: str) -> str:
        """The name for `var`: metadata's names are imgmake's own."""
        return f"{name}_" if name in LATE or name in ("in", "out") else name

    # --- definitions ----------------------------------------------------------------------------------------

    def definition(self, each: Assign, around: tuple[Cond, ...]) -> Source:
        """The Python source of one definition's right side. Raises Uncovered."""
        if each.op == "!=":
            return self._command(each, f"$(shell {each.value})")
        if each.op == "?=" or tests_itself(each, around):
            return self._declared(each)
        if each.op == "+=":
            parts = self.parts(each.value)
            own = Part(name=self.python(each.name), value="")
            return Source(expression([own, Part(" "), *parts]), self._needs(parts), late=any(p.late for p in parts))
        if "shell" in calls(each.value):
            return self._command(each, each.value)
        return self._computed(each)

    def _declared(self, each: Assign) -> Source:
        self._may_be_declared(each.name)
        name = quoted(self.variable(each.name))
        if "shell" in calls(each.value):
            return self._command(each, each.value)
        inner = self._computed(each)
        return Source(f"var({name}, {inner.text})", inner.needs, late=False, declares=True)

    def _may_be_declared(self, name: str) -> None:
        if not NAME.fullmatch(name):
            raise Uncovered(f"{name} is no name for a variable of imgmake's")

    def _command(self, each: Assign, text: str) -> Source:
        """A variable whose default is a command: run once, when it is first needed."""
        self._may_be_declared(each.name)
        whole = list(pieces(text.strip()))
        if len(whole) == 1 and isinstance(whole[0], Call):
            parts = self._shell_parts(whole[0].arguments)
        else:
            parts = [Part('echo "'), *self._for_echo(text), Part('"')]
        body, given, spliced = shell_text(parts)
        extra = "".join(f", {key}={value}" for key, value in given.items())
        source = f"var({quoted(self.variable(each.name))}, sh({'f' * spliced}{quoted(body)}{extra}))"
        return Source(source, self._needs(parts), late=True, declares=True)

    def _for_echo(self, text: str) -> list[Part]:
        found: list[Part] = []
        for piece in pieces(text):
            if isinstance(piece, Text) and re.search(r'["\\`]', piece.text):
                raise Uncovered("text with quotes beside a $(shell …)")
            found += self._piece(piece, {})
        return found

    def _computed(self, each: Assign) -> Source:
        text = each.value
        if pattern := wildcard(text):
            return Source(f'" ".join(map(str, glob({self._listed(pattern)})))', ())
        with_function = [piece for piece in pieces(text) if isinstance(piece, Call)]
        if with_function and not self.constant(text):
            return self._function(text, with_function)
        parts = self.parts(text)
        return Source(expression(parts), self._needs(parts), late=any(part.late for part in parts))

    def _listed(self, pattern: str) -> str:
        words = self.plain(pattern).split()
        return quoted(words[0]) if len(words) == 1 else "[" + ", ".join(map(quoted, words)) + "]"

    def _function(self, text: str, called: Sequence[Call]) -> Source:
        """The few functions of texts that Python has as well; only where they are the whole value."""
        if len(list(pieces(text.strip()))) != 1:
            raise Uncovered(f"{called[0].raw} depends on what can be overridden")
        given = [self.parts(each) for each in arguments(called[0].arguments)]
        if any(part.late for parts in given for part in parts):
            raise Uncovered(f"{called[0].raw} depends on what is known late")
        needs = self._needs([part for parts in given for part in parts])
        source = in_python(called[0].function, [expression(parts) for parts in given])
        if not source:
            raise Uncovered(f"{called[0].raw} depends on what can be overridden")
        return Source(source, needs)

    def _needs(self, parts: Parts) -> tuple[str, ...]:
        by_python = {self.python(name): name for name in (*self.definitions, *self.inputs)}
        return tuple(dict.fromkeys(by_python[part.name] for part in parts if part.name in by_python))

    # --- texts ----------------------------------------------------------------------------------------------

    def constant(self, text: str, besides: str = "") -> bool:
        """Whether make's answer for a text is the same in every run that overrides nothing of a Pipefile."""
        if _ASKING.intersection(calls(text)):
            return False
        for name in mentioned(text):
            if name in AUTOMATIC or name == besides or re.fullmatch(r"\d", name):
                continue
            known = self.known(name) if not re.search(r"[\s$(){}]", name) else None
            if known is None or known.kind == "macro":
                each = self.definitions.get(name)
                if not each or not all(self.constant(one.value, besides) for one, around in each if not around):
                    return False
            elif known.kind != "constant" or not all(self.constant(n) for n in (f"$({m})" for m in known.needs)):
                return False
        return True

    def plain(self, text: str, scope: Scope = _NO_SCOPE) -> str:
        """A text that is the same in every run. Raises Uncovered."""
        parts = self.parts(text, scope)
        if any(part.name and not part.value for part in parts):
            raise Uncovered(f"{text} is not known before something runs")
        return today(parts)

    def parts(self, text: str, scope: Scope = _NO_SCOPE) -> list[Part]:
        """The parts of a text, as what they are in the Pipefile. Raises Uncovered."""
        return merged([part for piece in pieces(text) for part in self._piece(piece, scope)])

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

    def _piece(self, piece: object, scope: Scope) -> list[Part]:
        if isinstance(piece, Text):
            return [Part(piece.text)]
        if isinstance(piece, Dollar):
            return [Part("$", dollar=True)]
        if isinstance(piece, Use):
            return self._use(piece, scope)
        if isinstance(piece, Call):
            return self._call(piece, scope)
        assert isinstance(piece, Odd)
        return self.folded(piece.raw, scope)

    def _use(self, piece: Use, scope: Scope) -> list[Part]:
        name = piece.name
        if name in scope:
            return list(scope[name])
        if name in AUTOMATIC or re.fullmatch(r"[@<^?*+|%][DF]", name):
            return self.folded(piece.raw, scope)
        if re.fullmatch(r"\d+", name):
            return []
        if name in ("CURDIR", "PWD") and name not in self.definitions:
            return [Part("$PWD", dollar=True)]
        if name in AMBIENT and name not in self.definitions:
            return [Part(f"${{{name}}}", dollar=True)]
        return self._value(self.known(name), scope)

    def _value(self, known: Known, scope: Scope) -> list[Part]:
        if known.kind == "odd":
            raise Uncovered(f"$({known.name}): {known.why}")
        if known.kind == "macro":
            return self.parts(self.definitions[known.name][-1][0].value, scope)
        if not known.python:
            return [Part(known.value)]
        if known.name not in self.definitions:
            self.inputs[known.name] = None
        return [Part(name=known.python, shell=known.exported, late=known.late, value=known.value)]

    def _call(self, piece: Call, scope: Scope) -> list[Part]:
        if piece.function == "strip":
            parts = self.parts(piece.arguments.strip(), scope)
            if all(" " not in part.value for part in parts if part.name):
                return parts
        if meant := self.metadata_in(piece.raw):
            return [Part(name=meant, shell=meant, late=True, value=self.ask(piece.raw, scope))]
        if piece.function == "shell":
            return self._substituted(piece, scope)
        if piece.function == "call":
            return self._called(piece, scope)
        return self.folded(piece.raw, scope)

    def _substituted(self, piece: Call, scope: Scope) -> list[Part]:
        """``$(shell …)`` in a recipe is the shell's own ``$(…)``."""
        parts = self._shell_parts(piece.arguments, scope)
        if any(part.name and not part.shell for part in parts):
            raise Uncovered(f"{piece.raw} in a recipe names what is no variable of imgmake's")
        body = "".join(part.text or f"${{{part.shell}}}" for part in parts)
        self.settled[f"$({body})"] = self.ask(piece.raw, scope)
        return [Part(f"$({body})", dollar=True)]

    def _shell_parts(self, command: str, scope: Scope = _NO_SCOPE) -> list[Part]:
        if re.match(r"\s*(make|docker)\b", command) and "$(MAKE)" in command:
            raise Uncovered("a $(shell …) that runs make")
        return self.parts(command.strip(), scope)

    def _called(self, piece: Call, scope: Scope) -> list[Part]:
        given = arguments(piece.arguments)
        name = given[0].strip()
        if name not in self.definitions:
            raise Uncovered(f"{piece.raw} calls what is not defined here")
        inner = {str(at): self.parts(each, scope) for at, each in enumerate(given[1:], start=1)}
        body = self.definitions[name][-1][0].value
        if "eval" in calls(body):
            raise Uncovered(f"{piece.raw} changes variables")
        return self.parts(body, {**scope, **inner, "0": [Part(name)]})

    def folded(self, raw: str, scope: Scope) -> list[Part]:
        """make's own answer, where it cannot differ from run to run. Raises Uncovered."""
        used = {n for n in mentioned(raw)}
        fixed = {n: today(parts) for n, parts in scope.items() if not any(p.name or p.dollar for p in parts)}
        if not self.constant(raw) or any(n in scope and n not in fixed for n in used):
            raise Uncovered(f"{raw} depends on what can be overridden, or on the world")
        if missing := sorted(n for n in used if (n in AUTOMATIC or n[:1] in AUTOMATIC) and n[:1] not in fixed):
            raise Uncovered(f"$({missing[0]}) is not known here")
        return [Part(self.ask(raw, scope))]

    def ask(self, raw: str, scope: Scope = _NO_SCOPE) -> str:
        """make's answer for an expression, the automatic variables bound as they are in its recipe."""
        for name, parts in scope.items():
            if any(n[:1] == name[:1] for n in mentioned(raw)):
                raw = f"$(foreach {name},{today(parts)},{raw})" if " " not in today(parts) else raw
        if raw not in self.asked:
            self.asked[raw] = self.make.values([raw])[0].replace(" .imgmake-ask.mk", "")
        return self.asked[raw]
