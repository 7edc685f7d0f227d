"""Calls of make's functions, substitution references and computed names, as parts of a text.

What is the same in every run is asked of make; what is not becomes an expression of the Pipefile.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from imgmake.migrate import choices, functions
from imgmake.migrate.definitions import AUTOMATIC, Known
from imgmake.migrate.expand import Call, Dollar, Odd, Uncovered, arguments, called, calls, mentioned, pieces
from imgmake.migrate.model import Assign, Cond, Database
from imgmake.migrate.python import Part, Parts, expression, identifier, merged, quoted, today
from imgmake.migrate.scratch import Make

Scope = Mapping[str, Parts]


class Given(list[Part]):
    """What a scope gives to a name, and the text that it comes from, for who looks into it."""

    def __init__(self, parts: Parts, text: str, scope: Mapping[str, Parts]) -> None:
        super().__init__(parts)
        self.text, self.scope = text, dict(scope)


NO_SCOPE: Scope = MappingProxyType({})
SPECIAL = re.compile(r"[@<^?*+|%][DF]")
_WORLDLY = frozenset({"origin", "flavor", "file", "guile"})
_SHELLS_TOO = frozenset({"addprefix", "addsuffix", "strip"})  # right for text that a shell, or a run, has yet to expand
_ARGUMENTS = {"subst": 3, "patsubst": 3, "filter": 2, "filter-out": 2, "findstring": 2, "addprefix": 2, "addsuffix": 2,
              "join": 2, "word": 2, "wordlist": 3, "strip": 1, "sort": 1, "words": 1, "firstword": 1, "lastword": 1,
              "dir": 1, "abspath": 1, "realpath": 1, "notdir": 1, "basename": 1, "suffix": 1}  # fmt: skip


class Calls:
    """The part of `Texts` that translates calls; what a name stands for is the rest's."""

    database: Database
    definitions: dict[str, list[tuple[Assign, tuple[Cond, ...]]]]
    inputs: dict[str, None]
    make: Make
    _loading = 0
    _doing = 0  # whether what a text does, besides what it says, is seen to by somebody else

    def parts(self, text: str, scope: Scope = NO_SCOPE) -> list[Part]:
        raise NotImplementedError

    def at_load(self, text: str, scope: Scope = NO_SCOPE) -> list[Part]:
        raise NotImplementedError

    def ask(self, raw: str, scope: Scope = NO_SCOPE) -> str:
        raise NotImplementedError

    def folded(self, raw: str, scope: Scope) -> list[Part]:
        raise NotImplementedError

    def constant(self, text: str, besides: str = "") -> bool:
        raise NotImplementedError

    def reached(self, text: str) -> frozenset[str]:
        raise NotImplementedError

    def metadata_in(self, text: str) -> str:
        raise NotImplementedError

    def known(self, name: str) -> Known:
        raise NotImplementedError

    def _placed(self, text: str) -> list[Part]:
        raise NotImplementedError

    def _use(self, name: str, raw: str, scope: Scope) -> list[Part]:
        raise NotImplementedError

    def _bound(self, name: str, scope: Scope) -> bool:
        raise NotImplementedError

    def _shell(self, piece: Call, scope: Scope) -> list[Part]:
        raise NotImplementedError

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
        one = len(named) == 1
        found = [(n, match[1] if one else n) for n in self.definitions if (match := re.fullmatch(frame, n))]
        if not found or len(found) > 20:
            raise Uncovered(f"{raw} names a variable that can be overridden")
        values = [(key, expression(self.at_load(f"$({name})", scope))) for name, key in found]
        listed = ", ".join(f"{quoted(key)}: {source}" for key, source in values)
        key = named[0].name if one else expression(parts)
        return [Part(name=f'{{{listed}}}.get({key}, "")', value=self.ask(raw, scope))]

    # --- calls ----------------------------------------------------------------------------------------------

    def _call(self, piece: Call, scope: Scope) -> list[Part]:
        name, raw = piece.function, piece.raw
        if name == "strip":
            parts = self.parts(piece.arguments.strip(), scope)
            if all(" " not in part.value and not part.dollar for part in parts if part.name):
                return parts
        if not self._loading and (meant := self.metadata_in(raw)):
            return [Part(name=meant, shell=meant, late=True, value=self.ask(raw, scope))]
        special = self._special(piece)
        if special is None and self._same_always(raw, scope):
            return self.folded(raw, scope)
        special = special or {"if": self._if, "or": self._or, "and": self._and, "foreach": self._foreach}.get(name)
        return special(piece, scope) if special else self._function(name, piece.arguments, raw, scope)

    def _special(self, piece: Call) -> Callable[[Call, Scope], list[Part]] | None:
        """What translates a call that is not the same in every run even if its arguments are."""
        name = piece.function
        if _of_files(piece):
            return self._later
        if self._doing and name in ("error", "info", "warning", "eval"):
            return lambda _, __: []
        own = {"shell": self._shell, "call": self._called, "wildcard": self._wildcard, "value": self._text_of}
        return own.get(name)

    def _text_of(self, piece: Call, scope: Scope) -> list[Part]:
        """``$(value X)``: what is asked of it is mostly whether it is empty, and that it is when its value is."""
        parts = self.at_load(piece.arguments, scope)
        if any(part.name or part.dollar for part in parts):
            raise Uncovered(f"{piece.raw} names a variable that can be overridden")
        return self._use(today(parts).strip(), piece.raw, scope)

    def _same_always(self, raw: str, scope: Scope) -> bool:
        """Whether make's answer can be taken: nothing in the text differs from run to run, or is the shell's."""
        used = set(mentioned(raw))
        own = {n[:1] if SPECIAL.fullmatch(n) else n for n in used}
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
        every_part = [part for parts in found for part in parts]
        if any(part.dollar for part in every_part) and name not in _SHELLS_TOO:
            raise Uncovered(f"{raw} looks into what only a shell knows")
        of_target = not any(part.name for part in found[-1]) and AUTOMATIC.intersection(mentioned(every[-1]))
        fixed = not any(part.name or part.dollar for part in every_part)
        if of_target or (fixed and not (name == "realpath" and self._may_be_made(today(found[0]).strip()))):
            if name in _WORLDLY:
                raise Uncovered(f"$({name} …) asks how make was called")
            return self._placed(self.ask(raw, scope))
        return [self._like(functions.translate(name, [plain(p) for p in found], self.ask(raw, scope)), found)]

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
        arms = [on_one_line(self.parts(then, scope)), on_one_line(self.parts(otherwise, scope))]
        if merged(arms[0]) == merged(arms[1]):
            return arms[0]
        made = choices.choice(wanted, plain(arms[0]), plain(arms[1]), self.ask(piece.raw, scope))
        return [self._like(part, arms) for part in made]

    def _or(self, piece: Call, scope: Scope) -> list[Part]:
        given = [self.at_load(each.strip(), scope) for each in arguments(piece.arguments)]
        return choices.either(given, self.ask(piece.raw, scope))

    def _and(self, piece: Call, scope: Scope) -> list[Part]:
        given = [self.at_load(each.strip(), scope) for each in arguments(piece.arguments)]
        return choices.both(given, self.ask(piece.raw, scope))

    def _foreach(self, piece: Call, scope: Scope) -> list[Part]:
        """Each word's text: one after the other where the words are certain, else in a loop."""
        name, listed, body = _three(piece.arguments)
        words = self.at_load(listed, scope)
        if not any(part.name for part in words):
            found: list[Part] = []
            for word in today(words).split():
                found += [*([Part(" ")] if found else []), *self.parts(body, {**scope, name: [Part(word)]})]
            return merged(found)
        each = self.each(name)
        inner = on_one_line(self.parts(body, {**scope, name: [Part(name=each, value=_first(words))]}))
        source = functions.words_of(words)
        made = f"[{expression(plain(inner))} for {each} in {source}]"
        one_each = all(not (part.name and part.name != each) and " " not in part.text for part in inner)
        whole = Part(
            name=f'" ".join({made})', words=made if one_each else "", value=self.ask(piece.raw, scope), test=source
        )
        return [self._like(whole, [inner])]

    def loop(self, text: str, scope: Scope) -> tuple[str, str, str, Scope] | None:
        """Of a text that is a ``$(foreach …)`` over what can be overridden: the loop's name, words, body and scope."""
        whole = list(pieces(text.strip()))
        if len(whole) != 1 or not isinstance(whole[0], Call) or whole[0].function != "foreach":
            return None
        name, listed, body = _three(whole[0].arguments)
        words = self.at_load(listed, scope)
        if not any(part.name for part in words):
            return None
        each = self.each(name)
        inner = {**scope, name: [Part(name=each, value=_first(words))]}
        if not today(self.parts(body, inner)).rstrip(" \t").endswith("\n"):
            return None  # all turns are one line, for one shell
        return each, functions.words_of(words), body, inner

    def choice(self, text: str, scope: Scope) -> tuple[str, str, str] | None:
        """Of a text that is an ``$(if …)``: its condition, and both texts. Raises TooLate, Uncovered."""
        whole = list(pieces(text.strip()))
        if len(whole) != 1 or not isinstance(whole[0], Call) or whole[0].function != "if":
            return None
        test, then, *rest = (*arguments(whole[0].arguments), "")[:2] + tuple(arguments(whole[0].arguments)[2:])
        return functions.condition(self.at_load(test.strip(), scope)), then, ",".join(rest)

    def each(self, name: str) -> str:
        """The name of a loop: as in the Makefile, where nothing else is called so."""
        own = re.sub(r"\W", "_", name)
        return functions.EACH if identifier(own) != own or own in self.definitions or own in self.inputs else own

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

    def _read(self, piece: Call, scope: Scope) -> list[Part]:
        """``$(file <NAME)``: what a file holds, and nothing where there is none."""
        name = expression(self.at_load(piece.arguments[1:].strip(), scope))
        source = f'Path({name}).read_text().rstrip() if Path({name}).exists() else ""'
        return [Part(name=source, value=self.ask(piece.raw, scope))]

    def _later(self, piece: Call, scope: Scope) -> list[Part]:
        """What make asks of a file when it comes to a recipe, as a question of the recipe's shell, where a rule may
        have made the file by then; else as what the Pipefile asks while it is loaded."""
        reads = piece.function == "file"
        named = _named(piece)
        path = "" if self._loading else today(self.parts(named, scope))
        if re.fullmatch(r"[\w./@%+,:=-]+", path) and self._may_be_made(path):
            parts = self.parts(named, scope)
            text = f"test ! -e {named} || {'cat' if reads else 'realpath'} {named}"
            if not any(part.dollar for part in parts) and "\n" not in self.ask(piece.raw, scope):
                return self._shell(Call("shell", text, piece.raw), scope)
        return self._read(piece, scope) if reads else self._function(piece.function, piece.arguments, piece.raw, scope)

    def of_files(self, text: str) -> bool:
        """Whether a text asks for a file that a rule may have made by the time that make expands it."""
        named = (_named(call) for call in called(text) if _of_files(call))
        return any(self._may_be_made(path) for each in named for path in self.ask(each).split())

    def _may_be_made(self, path: str) -> bool:
        """Whether a file is a target's, or not there."""
        folder = self.make.folder
        relative = posixpath.normpath(path.removeprefix(f"{folder}/"))
        made = self.database.targets.get(relative)
        return not (folder / relative).exists() or (made is not None and bool(made.recipe))

    def _called(self, piece: Call, scope: Scope) -> list[Part]:
        given = arguments(piece.arguments)
        name = today(self.at_load(given[0], scope)).strip()
        if name not in self.definitions:
            if name in self.database.variables:
                raise Uncovered(f"{piece.raw} calls what is not defined here")
            return []
        body = self.definitions[name][-1][0].value
        if name in self.reached(body):
            raise Uncovered(f"$({name}) calls itself")
        if "eval" in calls(body) and not self._doing:
            raise Uncovered(f"{piece.raw} changes variables")
        if self.definitions[name][-1][0].op == ":=":
            return self._use(name, piece.raw, scope)
        inner = {str(at): self.parts(each, scope) for at, each in enumerate(given[1:], start=1)}
        outer = {key: value for key, value in scope.items() if not key.isdigit()}
        return self.parts(body, {**outer, **inner, "0": [Part(name)]})


def _of_files(piece: Call) -> bool:
    """Whether a call asks for files: its answer is of when it is expanded."""
    return piece.function == "realpath" or (piece.function == "file" and piece.arguments.lstrip().startswith("<"))


def _named(piece: Call) -> str:
    """The files that it asks for."""
    return piece.arguments.lstrip().removeprefix("<").strip()


def _three(given: str) -> tuple[str, str, str]:
    name, listed, *rest = (*arguments(given), "", "")[:3] if given.count(",") < 2 else arguments(given)
    return name.strip(), listed, ",".join(rest)


def _first(words: Parts) -> str:
    return next(iter(today(words).split()), "")


def on_one_line(parts: Parts) -> list[Part]:
    """A text that goes on behind backslashes, for an f-string, whose expressions hold none."""
    return [replace(part, text=re.sub(r"[ \t]*\\\n[ \t]*", " ", part.text)) for part in parts]


def has_dollar(text: str) -> bool:
    """Whether a text holds ``$$`` that a ``$(shell …)`` does not take."""
    return any(
        isinstance(piece, Dollar)
        or (isinstance(piece, Call) and piece.function != "shell" and has_dollar(piece.arguments))
        for piece in pieces(text)
    )


def plain(parts: Parts) -> list[Part]:
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
