"""Texts of a Makefile as parts: what is a name in the Pipefile, what is an expression, what is the shell's.

A value that a text needs while the Pipefile is loaded, and that was taken for a late one, is noted in `hastened`: the
migration starts again with it. Starts nothing but make, through `Make`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from imgmake.migrate import functions
from imgmake.migrate.definitions import AUTOMATIC, Known
from imgmake.migrate.expand import Call, Dollar, Odd, Text, Uncovered, Use, arguments, calls, mentioned, pieces
from imgmake.migrate.model import Assign, Cond, Database
from imgmake.migrate.python import Part, Parts, TooLate, expression, identifier, merged, names_in, quoted, today
from imgmake.migrate.scratch import Make

Scope = Mapping[str, Parts]

NO_SCOPE: Scope = MappingProxyType({})
AMBIENT = frozenset({"HOME", "USER", "PATH", "LOGNAME", "TMPDIR"})  # a shell has them, whoever starts it
HERE = ("CURDIR", "PWD")
# What a text asks of the world, so that make's answer of today is not the answer of tomorrow.
ASKING = frozenset({"shell", "wildcard", "eval", "file", "origin", "flavor", "error", "info", "warning", "guile"})
_SHELLS_TOO = frozenset({"addprefix", "addsuffix", "strip"})  # right for text that a shell, or a run, has yet to expand
_DEEPEST = 40  # calls within calls
_SPECIAL = re.compile(r"[@<^?*+|%][DF]")


class Texts:
    """The part of `Values` that translates texts; what a variable is, is the rest's."""

    database: Database
    make: Make
    definitions: dict[str, list[tuple[Assign, tuple[Cond, ...]]]]
    inputs: dict[str, None]
    early: frozenset[str]
    hastened: set[str]
    asked: dict[str, str]
    settled: dict[str, str]
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
            return list(scope[name]) if not self._loading else [_looked_into(part) for part in scope[name]]
        if name in AUTOMATIC or _SPECIAL.fullmatch(name):
            return self._automatic(name, raw, scope)
        if re.fullmatch(r"\d+", name):
            return []
        if name in HERE and name not in self.definitions:
            return [Part(name="CURDIR", value=str(self.make.folder))] if self._loading else [HERE_PART]
        if name in AMBIENT and name not in self.definitions and not self._loading:
            return [Part(f"${{{name}}}", dollar=True, leaves=("",))]
        if self._bound(name, scope):
            return self.parts(self.definitions[name][-1][0].value, scope)
        return self._value(self.known(name), scope)

    def _automatic(self, name: str, raw: str, scope: Scope) -> list[Part]:
        """``$(@D)`` of a known target; ``$@`` of none."""
        own = scope.get(name[0])
        if own is None or len(name) == 1:
            return self.folded(raw, scope)
        if any(part.dollar for part in own):
            if any(part.text not in ("$in", "$out") for part in own):
                raise Uncovered(f"{raw} of what only a shell knows")
            return [Part(f"$({'dirname' if name[1] == 'D' else 'basename'} {today_of(own)})", dollar=True)]
        value = " ".join(_directory(word) if name[1] == "D" else word.rpartition("/")[2] for word in today(own).split())
        if not any(part.name for part in own):
            return [Part(value)]
        with self.loading():
            made = functions.translate("dir" if name[1] == "D" else "notdir", [own], value)
        return [Part(name=f"{made.name}.rstrip('/')" if name[1] == "D" else made.name, value=value, words=made.words)]

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
        if self._loading and known.late:
            self.hasten(known.name)
            raise TooLate(f"$({known.name}) is known late", [known.python])
        if known.name not in self.definitions:
            self.inputs[known.name] = None
        return [
            Part(
                name=known.python,
                shell="" if known.dollar else known.exported,
                late=known.late,
                value=known.value,
                dollar=known.dollar,
                leaves=known.leaves,
            )
        ]

    def hasten(self, name: str) -> None:
        """Have a variable, and all that it is made of, known when the Pipefile is loaded: in the next attempt."""
        known = self.known(name)
        if name in self.hastened:
            return
        self.hastened.add(name)
        for need in known.needs:
            if self.known(need).late:
                self.hasten(need)

    # --- substitution references and computed names ---------------------------------------------------------

    def _odd(self, piece: Odd, scope: Scope) -> list[Part]:
        inner = piece.raw[2:-1]
        if match := _substitution(inner):
            name, old, new = match
            if self._same_always(piece.raw, scope):
                return self.folded(piece.raw, scope)
            old, new = (old, new) if "%" in old else (f"%{old}", f"%{new}")
            return self._function("patsubst", f"{old},{new},$({name})", piece.raw, scope)
        if "$" in inner and not re.search(r"[\s:=]", re.sub(r"\$[({][^(){}]*[)}]", "", inner)):
            return self._computed_name(inner, piece.raw, scope)
        if "$" not in inner and inner not in self.database.variables:
            return []  # make has nothing under such a name
        return self.folded(piece.raw, scope)

    def _computed_name(self, inner: str, raw: str, scope: Scope) -> list[Part]:
        """``$($(X)_FLAGS)``: the variable, or a choice of those that it may be."""
        parts = self.at_load(inner, scope)
        named = [part for part in parts if part.name]
        if not named:
            return self._use(today(parts), raw, scope)
        frame = "".join("(.+)" if part.name else re.escape(part.text) for part in parts)
        found = [(name, match[1]) for name in self.definitions if (match := re.fullmatch(frame, name))]
        if len(named) != 1 or not found or len(found) > 20:
            raise Uncovered(f"{raw} names a variable that can be overridden")
        with self.loading():
            values = [(key, expression(self._use(name, raw, scope))) for name, key in found]
        listed = ", ".join(f"{quoted(key)}: {source}" for key, source in values)
        return [Part(name=f'{{{listed}}}.get({named[0].name}, "")', value=self.ask(raw, scope))]

    # --- calls ----------------------------------------------------------------------------------------------

    def _call(self, piece: Call, scope: Scope) -> list[Part]:
        name, raw = piece.function, piece.raw
        if name == "strip":
            parts = self.parts(piece.arguments.strip(), scope)
            if all(" " not in part.value and not part.dollar for part in parts if part.name):
                return parts
        if not self._loading and (meant := self.metadata_in(raw)):
            return [Part(name=meant, shell=meant, late=True, value=self.ask(raw, scope))]
        if name == "shell":
            return self._shell(piece, scope)
        if name == "call":
            return self._called(piece, scope)
        if name == "wildcard":
            return self._wildcard(piece, scope)
        if self._same_always(raw, scope):
            return self.folded(raw, scope)
        if name in ("if", "or", "and", "foreach"):
            return getattr(self, f"_{name}")(piece, scope)  # type: ignore[no-any-return]
        if name == "value" and "$" not in piece.arguments and piece.arguments.strip() in self.definitions:
            return self._use(piece.arguments.strip(), raw, scope)
        return self._function(name, piece.arguments, raw, scope)

    def _same_always(self, raw: str, scope: Scope) -> bool:
        """Whether make's answer can be taken: nothing in the text differs from run to run, or is the shell's."""
        used = set(mentioned(raw))
        own = {n[:1] if _SPECIAL.fullmatch(n) else n for n in used}
        if any(part.name or part.dollar for n in own if n in scope for part in scope[n]):
            return False
        if any((n in AUTOMATIC or re.fullmatch(r"\d+", n)) and n not in scope for n in own if n in AUTOMATIC):
            return False
        return self.constant(raw) and not has_dollar(raw) and not any(self._bound(n, scope) for n in used)

    def _function(self, name: str, given: str, raw: str, scope: Scope) -> list[Part]:
        every = arguments(given)
        if most := _ARGUMENTS.get(name):
            every = [*every[: most - 1], ",".join(every[most - 1 :])] if len(every) > most else every
        if name in _SHELLS_TOO:
            found = [self.parts(each, scope) for each in every]
            if any(part.late or part.dollar for parts in found for part in parts) and name == "strip":
                return found[0]
        else:
            found = [self.at_load(each, scope) for each in every]
        for parts in found:
            if any(part.dollar for part in parts) and name not in _SHELLS_TOO:
                raise Uncovered(f"{raw} looks into what only a shell knows")
        return [self._like(functions.translate(name, [_plain(p) for p in found], self.ask(raw, scope)), found)]

    def _like(self, made: Part, given: Sequence[Parts]) -> Part:
        """A part that is late, or the shell's, as what it was made of is."""
        every = [part for parts in given for part in parts]
        leaves = tuple(leaf for part in every for leaf in (part.leaves or ((part.value,) if part.late else ())))
        return Part(
            name=made.name,
            value=made.value,
            words=made.words,
            test=made.test,
            late=any(part.late for part in every),
            dollar=any(part.dollar for part in every),
            leaves=leaves,
        )

    def _if(self, piece: Call, scope: Scope) -> list[Part]:
        test, then, otherwise = (*arguments(piece.arguments), "", "")[:3]
        rest = arguments(piece.arguments)[2:]
        otherwise = ",".join(rest) if rest else ""
        wanted = self.at_load(test.strip(), scope)
        certain = functions.condition(wanted)
        if certain in ("True", "False"):
            return self.parts(then.strip() if certain == "True" else otherwise, scope)
        arms = [self.parts(then, scope), self.parts(otherwise, scope)]
        made = functions.choice(wanted, _plain(arms[0]), _plain(arms[1]), self.ask(piece.raw, scope))
        return [self._like(part, arms) for part in made]

    def _or(self, piece: Call, scope: Scope) -> list[Part]:
        given = [self.at_load(each.strip(), scope) for each in arguments(piece.arguments)]
        return functions.either(given, self.ask(piece.raw, scope))

    def _and(self, piece: Call, scope: Scope) -> list[Part]:
        given = [self.at_load(each.strip(), scope) for each in arguments(piece.arguments)]
        return functions.both(given, self.ask(piece.raw, scope))

    def _foreach(self, piece: Call, scope: Scope) -> list[Part]:
        """Each word's text: one after the other where the words are certain, else in a loop."""
        name, listed, *rest = arguments(piece.arguments)
        name, body = today(self.parts(name, scope)).strip(), ",".join(rest)
        words = self.at_load(listed, scope)
        if not any(part.name for part in words):
            found: list[Part] = []
            for word in today(words).split():
                found += [*([Part(" ")] if found else []), *self.parts(body, {**scope, name: [Part(word)]})]
            return merged(found)
        first = next(iter(today(words).split()), "")
        each = re.sub(r"\W", "_", name)
        if identifier(each) != each or each in self.definitions or each in self.inputs:
            each = functions.EACH
        inner = self.parts(body, {**scope, name: [Part(name=each, value=first)]})
        source = functions.words_of(words)
        made = f"[{expression(_plain(inner))} for {each} in {source}]"
        one_each = all(not (part.name and part.name != each) and " " not in part.text for part in inner)
        whole = Part(
            name=f'" ".join({made})', words=made if one_each else "", value=self.ask(piece.raw, scope), test=source
        )
        return [self._like(whole, [inner])]

    def _wildcard(self, piece: Call, scope: Scope) -> list[Part]:
        parts = self.at_load(piece.arguments.strip(), scope)
        text = today(parts)
        if text.startswith(("/", "~", "..")) or "/../" in text:
            if len(text.split()) != 1 or any(char in text for char in "*?[~"):
                raise Uncovered(f"{piece.raw} looks outside of the folder")
            name = expression(parts)
            return [Part(name=f'{name} if Path({name}).exists() else ""', value=self.ask(piece.raw, scope),
                         test=f"Path({name}).exists()")]  # fmt: skip
        if any(part.name for part in parts):
            source = f"glob({expression(parts)})" if len(text.split()) == 1 else f"glob(*{functions.words_of(parts)})"
        else:
            source = f"glob({', '.join(map(quoted, text.split()))})"
        listed = f"[str(path) for path in {source}]"
        return [Part(name=f'" ".join(map(str, {source}))', words=listed, test=source, value=self.ask(piece.raw, scope))]

    def _called(self, piece: Call, scope: Scope) -> list[Part]:
        given = arguments(piece.arguments)
        name = today(self.at_load(given[0], scope)).strip()
        if name not in self.definitions:
            if name in self.database.variables:
                raise Uncovered(f"{piece.raw} calls what is not defined here")
            return []
        body = self.definitions[name][-1][0].value
        if "eval" in calls(body):
            raise Uncovered(f"{piece.raw} changes variables")
        if self.definitions[name][-1][0].op == ":=":
            return self._use(name, piece.raw, scope)
        inner = {str(at): self.parts(each, scope) for at, each in enumerate(given[1:], start=1)}
        outer = {key: value for key, value in scope.items() if not key.isdigit()}
        return self.parts(body, {**outer, **inner, "0": [Part(name)]})

    # --- shells ---------------------------------------------------------------------------------------------

    def _shell(self, piece: Call, scope: Scope) -> list[Part]:
        """``$(shell …)``: the shell's own ``$(…)`` in a recipe; asked at once where a Pipefile looks into it."""
        if self._loading:
            return [self.asking(piece.arguments, piece.raw, scope)]
        parts = self.shell_parts(piece.arguments, scope)
        text = "".join(part.value if part.name else part.text for part in parts)
        by_name = "".join(
            f"${{{part.shell}}}" if part.shell else part.value if part.name else part.text for part in parts
        )
        self.settled[f"$({text})"] = self.settled[f"$({by_name})"] = self.ask(piece.raw, scope)
        if all(part.shell or not part.name for part in parts):
            return [Part(f"$({by_name})", dollar=True)]
        return [
            Part("$(", dollar=True),
            *(Part(p.text, dollar=True) if not p.name else p for p in parts),
            Part(")", dollar=True),
        ]

    def asking(self, command: str, raw: str, scope: Scope = NO_SCOPE) -> Part:
        """A call of the Pipefile's own `shell`, which answers while it is loaded."""
        with self._late():
            parts = self.shell_parts(command, scope)
        names = names_in([part.name for part in parts if part.name])
        if late := [part for part in parts if part.late]:
            for part in late:
                self.hasten_python(names_in([part.name]))
            raise TooLate(f"{raw} is asked of what is known late", names)
        source = expression(_plain(parts))
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
        if "imgmake-migrate-" in today([part for part in found if not part.name]):
            raise Uncovered("it names a folder above this one")
        return merged(found)

    def ask(self, raw: str, scope: Scope = NO_SCOPE) -> str:
        """make's answer for an expression, what is bound in its place bound for make, too."""
        names = self.reached(raw) if scope else frozenset[str]()
        bound = [(name, today(parts)) for name, parts in scope.items() if name in names]
        text = raw
        for name, value in bound:
            text = self._with(name, value, text)
        if text not in self.asked:
            self.asked[text] = self.make.values([text])[0].replace(" .imgmake-ask.mk", "")
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
            name = name[:1] if _SPECIAL.fullmatch(name) else name
            if name not in found:
                found.add(name)
                todo += [more for each, _ in self.definitions.get(name, ()) for more in mentioned(each.value)]
        return frozenset(found)


HERE_PART = Part("$PWD", dollar=True, leaves=("",))
_ARGUMENTS = {"subst": 3, "patsubst": 3, "filter": 2, "filter-out": 2, "findstring": 2, "addprefix": 2, "addsuffix": 2,
              "join": 2, "word": 2, "wordlist": 3, "strip": 1, "sort": 1, "words": 1, "firstword": 1, "lastword": 1,
              "dir": 1, "notdir": 1, "basename": 1, "suffix": 1}  # fmt: skip


def _looked_into(part: Part) -> Part:
    """``$in`` and ``$out`` as the names that they stand for."""
    return Part(part.leaves[0]) if part.dollar and part.leaves and part.text in ("$in", "$out") else part


def _directory(word: str) -> str:
    return word.rpartition("/")[0] or ("/" if word.startswith("/") else ".")


def today_of(parts: Parts) -> str:
    return "".join(part.text for part in parts)


def has_dollar(text: str) -> bool:
    """Whether a text holds ``$$`` that a ``$(shell …)`` does not take."""
    return any(
        isinstance(piece, Dollar)
        or (isinstance(piece, Call) and piece.function != "shell" and has_dollar(piece.arguments))
        for piece in pieces(text)
    )


def _plain(parts: Parts) -> list[Part]:
    """Parts without the mark that a shell expands them, for an expression whose text goes to a shell."""
    return merged(
        [Part(name=p.name, text=p.text, value=p.value, words=p.words, test=p.test, shell=p.shell) for p in parts]
    )


def _substitution(inner: str) -> tuple[str, str, str] | None:
    """The name, and what is replaced by what, of ``NAME:a=b``."""
    depth, colon = 0, -1
    for at, char in enumerate(inner):
        depth += (char in "({") - (char in ")}")
        if char == ":" and depth == 0:
            colon = at
            break
    if colon < 0:
        return None
    rest, depth = inner[colon + 1 :], 0
    for at, char in enumerate(rest):
        depth += (char in "({") - (char in ")}")
        if char == "=" and depth == 0:
            return inner[:colon], rest[:at], rest[at + 1 :]
    return None


def _escaped(text: str) -> str:
    return text.replace("$", "$$$$").replace("#", "\\#").replace("\n", " ")
