"""Expressions of a justfile, as `just --dump` has them, in make's words. Pure.

https://just.systems/man/en/expressions-and-substitutions.html
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from imgmake.migrate.translated import Branch, Choice, Odd, escaped, outside, plain, together

_SYSTEMS = {"linux": "Linux", "macos": "Darwin", "freebsd": "FreeBSD", "openbsd": "OpenBSD", "netbsd": "NetBSD"}
_SYSTEM = "$(shell uname -s)"
_ASKED = {
    "os": "$(shell uname -s | tr A-Z a-z | sed s/darwin/macos/)",
    "arch": "$(shell uname -m | sed s/arm64/aarch64/)",
    "num_cpus": "$(shell getconf _NPROCESSORS_ONLN)",
    "os_family": "unix",
    "justfile_directory": "$(CURDIR)",
    "source_directory": "$(CURDIR)",
    "invocation_directory": "$(CURDIR)",
    "invocation_directory_native": "$(CURDIR)",
    "home_directory": "$(HOME)",
    "just_executable": "just",
}
_MADE = {  # of one argument
    "trim": "$(strip {})",
    "file_name": "$(notdir {})",
    "parent_directory": "$(patsubst %/,%,$(dir {}))",
    "parent_dir": "$(patsubst %/,%,$(dir {}))",
    "without_extension": "$(basename {})",
    "file_stem": "$(basename $(notdir {}))",
    "extension": "$(patsubst .%,%,$(suffix {}))",
    "absolute_path": "$(abspath {})",
    "canonicalize": "$(realpath {})",
    "path_exists": "$(if $(wildcard {}),true,false)",
    "quote": "'{}'",
    "uppercase": "$(shell echo '{}' | tr a-z A-Z)",
    "lowercase": "$(shell echo '{}' | tr A-Z a-z)",
    "shell": "$(shell {})",
    "require": "$(shell command -v {})",
    "which": "$(shell command -v {} || true)",
    "error": "$(error {})",
    "datetime": "$(shell date '+{}')",
    "datetime_utc": "$(shell date -u '+{}')",
}
_WITHIN = frozenset({"shell", "error", "quote", "datetime", "datetime_utc"})  # whose argument may have commas
_LITERAL: Mapping[str, Callable[[str], str]] = {
    "uppercase": str.upper,
    "lowercase": str.lower,
    "trim": str.strip,
    "trim_start": str.lstrip,
    "trim_end": str.rstrip,
    "capitalize": str.capitalize,
    "file_name": posixpath.basename,
    "parent_directory": posixpath.dirname,
    "parent_dir": posixpath.dirname,
    "without_extension": lambda text: posixpath.splitext(text)[0],
    "file_stem": lambda text: posixpath.splitext(posixpath.basename(text))[0],
    "extension": lambda text: posixpath.splitext(text)[1].removeprefix("."),
}
_COLORS = {"BLACK": 30, "RED": 31, "GREEN": 32, "YELLOW": 33, "BLUE": 34, "MAGENTA": 35, "CYAN": 36, "WHITE": 37}
_STYLES = {"NORMAL": "0", "BOLD": "1", "ITALIC": "3", "UNDERLINE": "4"} | {k: str(v) for k, v in _COLORS.items()}


_ENVIRONMENT = ("env", "env_var", "env_var_or_default")


def reads_environment(expression: Any) -> bool:
    """``env("NAME", …)`` and nothing else."""
    called = isinstance(expression, list) and expression[:1] == ["call"] and expression[1] in _ENVIRONMENT
    return called and isinstance(expression[2], str)


@dataclass
class Expressions:
    """Translates expressions of one justfile.

    names:    variables, each by what make calls it.
    own:      names of make's that are not the environment's.
    defaults: variables of the environment that are read, and what they are without it; None: they have to be given.
    """

    names: Mapping[str, str]
    own: frozenset[str] = frozenset()
    file: str = "justfile"
    defaults: dict[str, Choice | None] = field(default_factory=dict)

    def of(self, node: Any, scope: Mapping[str, str] = {}) -> Choice:
        """An expression as text, in which the value of a name of `scope` is what that says. Raises Odd."""
        if isinstance(node, str):
            return escaped(node)
        kind, *rest = node
        if kind in ("concatenate", "join"):
            between = ["/"] if kind == "join" else []
            sides = [self.of(each, scope) if each is not None else "" for each in rest]
            return together([sides[0], *between, *sides[1:]])
        if kind in ("if", "assert"):
            then, otherwise = rest[1:] if kind == "if" else ("", ["call", "error", rest[1]])
            return self._if(rest[0], then, otherwise, scope)
        return self._atom(kind, rest, scope)

    def _atom(self, kind: str, rest: Sequence[Any], scope: Mapping[str, str]) -> Choice:
        if kind == "variable":
            return self._variable(rest[0], scope)
        if kind == "evaluate":
            return f"$(shell {plain(self._lines(rest[0]))})"
        if kind == "call":
            return self._call(rest[0], rest[1:], scope)
        raise Odd(f"`{kind}` in an expression")

    def line(self, fragments: Sequence[Any], scope: Mapping[str, str]) -> Choice:
        """A line of a recipe."""
        return together(
            escaped(each.replace("{{{{", "{{")) if isinstance(each, str) else self.of(each[0], scope)
            for each in fragments
        )

    def _variable(self, name: str, scope: Mapping[str, str]) -> Choice:
        if name in scope:
            return scope[name]
        if name in self.names:
            return f"$({self.names[name]})"
        if name in _STYLES:
            return f"\x1b[{_STYLES[name]}m"
        raise Odd(f"the constant {name}")

    def _lines(self, command: str) -> str:
        if "\n" in command.strip():
            raise Odd("a command of several lines in backticks")
        return escaped(command.strip())

    def _if(self, test: Sequence[Any], then: Any, otherwise: Any, scope: Mapping[str, str]) -> Choice:
        operator, left, right = test
        if operator not in ("==", "!="):
            raise Odd(f"a condition with {operator}")
        sides = self.of(then, scope), self.of(otherwise, scope)
        asks = "ifeq" if operator == "==" else "ifneq"
        if left == ["call", "os"] and isinstance(right, str):
            return Branch(_SYSTEM, _SYSTEMS.get(right, right), *sides, asks)
        return Branch(_operand(self.of(left, scope)), _operand(self.of(right, scope)), *sides, asks)

    # --- functions ------------------------------------------------------------------------------------------

    def _call(self, name: str, given: Sequence[Any], scope: Mapping[str, str]) -> Choice:
        if name in _ENVIRONMENT:
            return self._environment(given, scope)
        if name in _ASKED and not given:
            return _ASKED[name]
        if name == "justfile" and not given:
            return f"$(CURDIR)/{self.file}"
        if len(given) == 1 and isinstance(given[0], str) and name in _LITERAL:
            return escaped(_LITERAL[name](given[0]))
        if name == "join":
            return together(part for at, each in enumerate(given) for part in ("/" * bool(at), self.of(each, scope)))
        texts = [self.of(each, scope) for each in given]
        return _applied(lambda *each: _function(name, each), texts)

    def _environment(self, given: Sequence[Any], scope: Mapping[str, str]) -> Choice:
        name = given[0]
        if not isinstance(name, str):
            raise Odd("a variable of the environment whose name is worked out")
        default = self.of(given[1], scope) if given[1:] else None
        if name in self.own:
            raise Odd(f"{name} of the environment, while a variable of that name is another")
        if self.defaults.setdefault(name, default) != default:
            if not isinstance(default, str):
                raise Odd(f"{name} of the environment has two defaults")
            return f"$(or $({name}),{default})"
        return f"$({name})"


def _applied(made: Callable[..., str], texts: Sequence[Choice]) -> Choice:
    """A function of texts that may depend on conditions."""
    for at, each in enumerate(texts):
        if isinstance(each, Branch):
            sides = ([*texts[:at], side, *texts[at + 1 :]] for side in (each.then, each.otherwise))
            then, otherwise = (_applied(made, side) for side in sides)
            return replace(each, then=then, otherwise=otherwise)
    return made(*texts)


def _function(name: str, given: Sequence[str]) -> str:
    if name not in _WITHIN and any("," in outside(each) for each in given):
        raise Odd(f"{name}() of a text with a comma")
    if len(given) == 1 and name in _MADE:
        return _MADE[name].replace("{}", given[0])
    if name == "replace" and len(given) == 3:
        return f"$(subst {given[1]},{given[2]},{given[0]})"
    if name in ("trim_start_match", "trim_start_matches") and len(given) == 2:
        return f"$(patsubst {given[1]}%,%,{given[0]})"
    if name in ("trim_end_match", "trim_end_matches") and len(given) == 2:
        return f"$(patsubst %{given[1]},%,{given[0]})"
    if name == "append" and len(given) == 2:
        return f"$(addsuffix {given[0]},{given[1]})"
    if name == "prepend" and len(given) == 2:
        return f"$(addprefix {given[0]},{given[1]})"
    raise Odd(f"the function {name}()")


def _operand(text: Choice) -> str:
    found = plain(text)
    if "," in outside(found):
        raise Odd("a comparison with a text that has a comma")
    return found


def backticks(found: Any) -> Iterator[str]:
    """All commands in backticks of an expression."""
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list):
        if len(found) == 2 and found[0] == "evaluate":
            yield escaped(found[1])
        for each in found:
            yield from backticks(each)
