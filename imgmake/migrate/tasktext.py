"""Templates of a Taskfile in make's words: variables, conditions, loops, the usual functions. Pure.

https://taskfile.dev/docs/reference/templating
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from imgmake.migrate import template
from imgmake.migrate.template import Call, Expression, Field, If, Literal, Node, Range
from imgmake.migrate.translated import Branch, Choice, Odd, escaped, outside, plain, together

Value = str | Branch | list[Any] | dict[str, Any]  # of these
Scope = Mapping[str, Value]

SYSTEM = "$(shell uname -s)"
SYSTEMS = {"linux": "Linux", "darwin": "Darwin", "freebsd": "FreeBSD", "windows": "Windows_NT"}
MACHINE = "$(shell uname -m)"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "arm": "armv7l"}
_ASKED = {
    "OS": "$(shell uname -s | tr A-Z a-z)",
    "ARCH": "$(shell uname -m | sed 's/x86_64/amd64/;s/aarch64/arm64/')",
    "numCPU": "$(shell getconf _NPROCESSORS_ONLN)",
    "exeExt": "",
}
_FOLDERS = {"ROOT_DIR", "USER_WORKING_DIR"}
_UNKNOWN = {
    "CHECKSUM",
    "TIMESTAMP",
    "TASK_VERSION",
    "CLI_ARGS_LIST",
    "CLI_FORCE",
    "CLI_SILENT",
    "CLI_VERBOSE",
    "EXIT_CODE",
}
_MADE = {
    "trim": "$(strip {})",
    "upper": "$(shell echo {} | tr a-z A-Z)",
    "lower": "$(shell echo {} | tr A-Z a-z)",
    "base": "$(notdir {})",
    "osBase": "$(notdir {})",
    "dir": "$(patsubst %/,%,$(dir {}))",
    "osDir": "$(patsubst %/,%,$(dir {}))",
    "ext": "$(suffix {})",
    "quote": '"{}"',
    "squote": "'{}'",
    "env": "$({})",
}
_OF_SEVERAL = {
    ("replace", 3): "$(subst {},{1},{2})",
    ("trimPrefix", 2): "$(patsubst {}%,%,{1})",
    ("trimSuffix", 2): "$(patsubst %{},%,{1})",
    ("joinPath", 2): "{}/{1}",
    ("joinPath", 3): "{}/{1}/{2}",
}
_LITERAL: Mapping[str, Callable[[str], str]] = {
    "trim": str.strip,
    "upper": str.upper,
    "lower": str.lower,
    "title": str.title,
    "base": posixpath.basename,
    "dir": posixpath.dirname,
    "ext": lambda text: posixpath.splitext(text)[1],
    "clean": posixpath.normpath,
}
_SAME = frozenset({"toString", "fromSlash", "toSlash", "q", "shellQuote", "clean", "catLines"})
_DATES = {"2006": "%Y", "01": "%m", "02": "%d", "15": "%H", "04": "%M", "05": "%S"}


@dataclass
class Templates:
    """Translates templates of one Taskfile and what it includes.

    known:  the variables that it sets for all tasks; of lists and maps, what they hold.
    shared: of those that only the command line or the environment sets, the ones with one default everywhere.
    filled: references to variables that are never empty.
    uses:   all of these, and what each is without: in every place that it is found in.
    """

    known: dict[str, Value | None]
    shared: Collection[str] = ()
    filled: set[str] = field(default_factory=set)
    uses: dict[str, list[Choice]] = field(default_factory=dict)

    def text(self, written: str, scope: Scope) -> Choice:
        """A template as one text. Raises Odd."""
        return self._nodes(template.parse(written), scope)

    def _nodes(self, nodes: Sequence[Node], scope: Scope) -> Choice:
        return together(self._node(each, scope) for each in nodes)

    def _node(self, node: Node, scope: Scope) -> Choice:
        if isinstance(node, str):
            return escaped(node)
        if isinstance(node, If):
            return self._chosen(node.test, self._nodes(node.then, scope), self._nodes(node.otherwise, scope), scope)
        if isinstance(node, Range):
            return together(self._nodes(node.body, {**scope, ".": each}) for each in self.listed(node.over, scope))
        found = self.value(node, scope)
        if isinstance(found, list):
            return together(["[", self._joined(found, " "), "]"])
        if isinstance(found, dict):
            raise Odd("a map where text is wanted")
        return found

    # --- values ---------------------------------------------------------------------------------------------

    def value(self, node: Expression, scope: Scope) -> Value:
        """What an expression is. Raises Odd."""
        if isinstance(node, Literal):
            return escaped(node.text)
        if isinstance(node, Field):
            return self._field(node, scope)
        return self._call(node, scope)

    def listed(self, node: Expression, scope: Scope) -> list[Value]:
        """What a list holds. Raises Odd for what is known only later."""
        found = self.value(node, scope)
        if not isinstance(found, list):
            raise Odd("a loop over what is no list here")
        return found

    def _field(self, node: Field, scope: Scope) -> Value:
        name, *keys = node.names or (".",)
        found = self._named(name, scope)
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                raise Odd(f"{{{{.{'.'.join(node.names)}}}}}")
            found = found[key]
        return found

    def _named(self, name: str, scope: Scope) -> Value:
        if name in scope:
            return scope[name]
        if name in self.known:
            held = self.known[name]
            return f"$({name})" if held is None else held
        if name in _FOLDERS:
            return "$(CURDIR)"
        if name in _UNKNOWN or name in ("MATCH", "ITEM", "KEY", "."):
            raise Odd(f"{{{{.{name}}}}}")
        self._used(name, "")
        return f"$({name})"

    def _joined(self, found: Sequence[Value], by: str) -> Choice:
        return together(part for at, each in enumerate(found) for part in (*([by] if at else []), self._one(each)))

    def _one(self, found: Value) -> Choice:
        if isinstance(found, list | dict):
            raise Odd("a list where text is wanted")
        return found

    # --- conditions -----------------------------------------------------------------------------------------

    def _chosen(self, test: Expression, then: Choice, otherwise: Choice, scope: Scope) -> Choice:
        """One of two texts."""
        if isinstance(test, Call) and test.name in ("", "not", "empty"):
            sides = (otherwise, then) if test.name else (then, otherwise)
            return self._chosen(test.arguments[0], *sides, scope)
        if isinstance(test, Call) and test.name in ("and", "or"):
            first, *rest = test.arguments
            more = self._chosen(Call(test.name, tuple(rest)), then, otherwise, scope) if rest else then
            return self._chosen(first, *((then, more) if test.name == "or" and rest else (more, otherwise)), scope)
        if isinstance(test, Call) and test.name in ("eq", "ne"):
            if test.name == "ne" and len(test.arguments) == 2:
                return self._equal(*test.arguments, then, otherwise, scope, "ifneq")
            for each in reversed(test.arguments[1:]):
                otherwise = self._equal(test.arguments[0], each, then, otherwise, scope)
            return otherwise
        found = self.value(test, scope)
        if isinstance(found, list | dict):
            return then if found else otherwise
        return _either(found, then, otherwise, "", "ifneq")

    def _equal(
        self, one: Expression, other: Expression, then: Choice, otherwise: Choice, scope: Scope, asks: str = "ifeq"
    ) -> Choice:
        for left, right in ((one, other), (other, one)):
            if isinstance(left, Call) and left.name in ("OS", "ARCH") and isinstance(right, Literal):
                asked, names = (SYSTEM, SYSTEMS) if left.name == "OS" else (MACHINE, MACHINES)
                return Branch(asked, names.get(right.text, right.text), then, otherwise, asks)
        wanted = plain(self._one(self.value(other, scope)))
        return _either(self._one(self.value(one, scope)), then, otherwise, wanted, asks)

    # --- functions ------------------------------------------------------------------------------------------

    def _call(self, node: Call, scope: Scope) -> Value:
        name, given = node.name, node.arguments
        if name == "":
            return self.value(given[0], scope)
        if name in _ASKED and not given:
            return _ASKED[name]
        if name in ("default", "coalesce"):
            return self._default(given[::-1] if name == "default" else given, scope)
        if name == "ternary" and len(given) == 3:
            then, otherwise = (self._one(self.value(each, scope)) for each in given[:2])
            return self._chosen(given[2], then, otherwise, scope)
        if name == "date" and given[1:] == (Call("now", ()),):
            return self._date(given[0])
        return self._of_values(name, [self.value(each, scope) for each in given])

    def _of_values(self, name: str, values: list[Value]) -> Value:
        forms: Mapping[str, Callable[[], Value]] = {
            "list": lambda: values,
            "splitList": lambda: self._split(values),
            "split": lambda: self._split(values),
            "splitLines": lambda: self._split(["\n", *values]),
            "first": lambda: _item(values[0], "0"),
            "last": lambda: _item(values[0], "-1"),
            "index": lambda: _item(values[0], self._one(values[1])),
            "print": lambda: self._joined(values, ""),
            "cat": lambda: self._joined(values, " "),
            "printf": lambda: self._printf(values),
        }
        if name in forms:
            return forms[name]()
        if name == "join" and isinstance(values[-1], list):
            return self._joined(values[-1], plain(self._one(values[0])))
        return self._function(name, [self._one(each) for each in values])

    def _split(self, values: Sequence[Value]) -> list[Value]:
        by, text = (plain(self._one(each)) for each in values)
        if "$" in text:
            raise Odd("a text that is known later, as a list")
        return list(text.split(by))

    def _default(self, given: Sequence[Expression], scope: Scope) -> Choice:
        """The first that is not empty."""
        first, *rest = given
        if not rest:
            return self._one(self.value(first, scope))
        after = self._default(rest, scope)
        if isinstance(first, Field) and len(first.names) == 1 and self._free(first.names[0], scope):
            self._used(first.names[0], after)
            if first.names[0] in self.shared:
                return f"$({first.names[0]})"
            return f"$(or $({first.names[0]}),{plain(after)})"
        found = self._one(self.value(first, scope))
        if isinstance(found, str) and ("$" not in found or found in self.filled):
            return found or after
        return f"$(or {plain(found)},{plain(after)})"

    def _used(self, name: str, default: Choice) -> None:
        if default not in self.uses.setdefault(name, []):
            self.uses[name].append(default)

    def _free(self, name: str, scope: Scope) -> bool:
        """Whether nothing but the command line or the environment sets a variable."""
        return name not in scope and name not in self.known

    def _date(self, layout: Expression) -> str:
        if not isinstance(layout, Literal):
            raise Odd("a date in a form that is worked out")
        form = layout.text
        for theirs, ours in _DATES.items():
            form = form.replace(theirs, ours)
        if re.search(r"[A-Z](?<!%[YHMS])\w|\d", re.sub(r"%[YmdHMS]|T|Z", "", form)):
            raise Odd(f"a date as {layout.text}")
        return f"$(shell date '+{form}')"

    def _printf(self, values: Sequence[Value]) -> Choice:
        form, rest = plain(self._one(values[0])), [self._one(each) for each in values[1:]]
        pieces = re.split(r"%[sv]", form)
        if "%" in "".join(pieces) or len(pieces) != len(rest) + 1:
            raise Odd(f"printf {form}")
        return together(part for at, piece in enumerate(pieces) for part in (piece, *rest[at : at + 1]))

    def _function(self, name: str, given: Sequence[Choice]) -> Choice:
        if name in _SAME and len(given) == 1:
            return given[0]
        for at, each in enumerate(given):
            if isinstance(each, Branch):
                then, otherwise = (
                    self._function(name, [*given[:at], side, *given[at + 1 :]]) for side in (each.then, each.otherwise)
                )
                return replace(each, then=then, otherwise=otherwise)
        return _made(name, [plain(each) for each in given])


def _made(name: str, texts: Sequence[str]) -> str:
    """A function of texts. Raises Odd."""
    if len(texts) == 1 and "$" not in texts[0] and name in _LITERAL:
        return _LITERAL[name](texts[0])
    if name != "quote" and any("," in outside(each) for each in texts):
        raise Odd(f"{name} of a text with a comma")
    if (form := _MADE.get(name, "") if len(texts) == 1 else _OF_SEVERAL.get((name, len(texts)), "")) == "":
        raise Odd(f"the function {name}")
    for at, each in enumerate(texts):
        form = form.replace(f"{{{at or ''}}}", each)
    return form


def _item(found: Value, at: Choice) -> Value:
    """One of a list's. Raises Odd."""
    if not isinstance(found, list) or not re.fullmatch(r"-?\d+", plain(at)) or int(plain(at)) >= len(found):
        raise Odd("one of what is no such list here")
    one: Value = found[int(plain(at))]
    return one


def _either(found: Choice, then: Choice, otherwise: Choice, right: str, asks: str = "ifeq") -> Choice:
    """One text where another is `right`, else the other; or where it is not."""
    if isinstance(found, Branch):
        first, second = (_either(side, then, otherwise, right, asks) for side in (found.then, found.otherwise))
        return replace(found, then=first, otherwise=second)
    if "$" not in found and "$" not in right:
        return then if (found == right) is (asks == "ifeq") else otherwise
    if "," in outside(found + right):
        raise Odd("a comparison with a text that has a comma")
    return Branch(found, right, then, otherwise, asks)
