"""Variables as one stage sees them, each with the build arguments that its value hangs on; knows no stage graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from imgmake.dockerfile.lex import expand

# Passed without being declared, seen by every RUN, and never part of what a build is judged by (moby's
# builtinAllowedBuildArgs).
PROXIES = frozenset(
    name
    for base in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
    for name in (base, base.upper())
)

Names = frozenset[str]
_NONE: Names = frozenset()


class Variable(NamedTuple):
    """A value (None: unset here, though the base image may set it); `hangs_on` names build arguments.

    `argument` is set by ARG, not `sure` when what is not known here went into it.
    """

    value: str | None
    hangs_on: Names = _NONE
    argument: bool = False
    sure: bool = True


class Word(NamedTuple):
    """An expanded word: its text, the build arguments it hangs on, and whether all its variables are known."""

    text: str
    hangs_on: Names = _NONE
    known: bool = True


@dataclass
class Scope:
    """The variables at one point of a stage; `closed` when nothing but them can be set (no base image).

    `environment` are those that the image keeps.
    """

    escape: str
    closed: bool
    variables: dict[str, Variable] = field(default_factory=dict)
    environment: dict[str, Variable] = field(default_factory=dict)

    def word(self, text: str, *, quotes: bool = True) -> Word:
        """Expand one word. Raises WordError."""
        values = {name: v.value for name, v in self.variables.items() if v.value is not None}
        found = expand(text, values, self.escape, quotes=quotes)
        names = found.used | found.unset
        variables = [self.variables[name] for name in names if name in self.variables]
        hangs_on = _NONE.union(*(v.hangs_on for v in variables))
        return Word(found.text, hangs_on, all(v.sure for v in variables) and (self.closed or not found.unset))

    def arguments(self) -> Names:
        """Every build argument that a RUN at this point has in its environment."""
        return _NONE.union(*(v.hangs_on for v in self.variables.values()))

    def set(self, name: str, word: Word) -> None:
        """ENV: from here on it hides an ARG of that name."""
        self.variables[name] = self.environment[name] = Variable(word.text, word.hangs_on, sure=word.known)

    def inherited(self, *, arguments: bool) -> Scope:
        """The scope in which ``FROM this-stage`` starts; the classic builder passes no `arguments` on.

        An ARG that hid an ENV no longer does.
        """
        kept = {**self.variables, **self.environment} if arguments else dict(self.environment)
        return Scope(self.escape, self.closed, kept, dict(self.environment))


def automatic(platform: str, build_platform: str, stage: str) -> Mapping[str, str]:
    """The arguments that BuildKit sets by itself (`dockerfile2llb/platform.go`).

    >>> automatic("linux/arm/v7", "linux/amd64", "")["TARGETVARIANT"]
    'v7'
    """
    found = {"TARGETSTAGE": stage or "default"}
    for prefix, value in (("BUILD", build_platform), ("TARGET", platform)):
        os, arch, variant = (*value.split("/"), "", "")[:3]
        found |= {
            f"{prefix}PLATFORM": value,
            f"{prefix}OS": os,
            f"{prefix}OSVERSION": "",
            f"{prefix}ARCH": arch,
            f"{prefix}VARIANT": variant,
        }
    return found


def declare(scope: Scope, word: str, given: Mapping[str, str], outer: Mapping[str, Variable], *, classic: bool) -> str:
    """``ARG word`` in a stage: give it its value, return its name. `outer` are the arguments before the first FROM.

    Raises WordError.
    """
    name, has_default, default = word.partition("=")
    top = outer.get(name, Variable(None))
    found = scope.word(default) if has_default else Word(top.value or "", known=top.sure)
    default_value = found.text if has_default else top.value
    value = given[name] if name in given else default_value  # noqa: SIM401 - mypy: get() takes no None here
    hangs_on = Names({name}) | top.hangs_on | found.hangs_on
    sure = name in given or found.known
    before = scope.variables.get(name)
    if before is None or (before.argument and value is not None):
        scope.variables[name] = Variable(value, hangs_on, argument=True, sure=sure)
    elif value is None or classic:  # an ENV of that name wins there; with BuildKit the last one does
        scope.variables[name] = before._replace(hangs_on=before.hangs_on | hangs_on)
    else:
        scope.variables[name] = Variable(value, before.hangs_on | hangs_on, sure=sure)
    return name


def global_scope(
    arguments: Iterable[str], given: Mapping[str, str], preset: Mapping[str, str], escape: str
) -> dict[str, Variable]:
    """The arguments before the first FROM; `arguments` are the words of those ARGs. Raises WordError."""
    scope = Scope(escape, closed=True)
    for name, automatic_value in preset.items():
        scope.variables[name] = Variable(given.get(name, automatic_value), Names({name}), argument=True)
    for word in arguments:
        name, has_default, default = word.partition("=")
        found = scope.word(default) if has_default else Word("", known=False)
        before = scope.variables.get(name, Variable(None))
        own = found.text if has_default else before.value
        value = given[name] if name in given else own  # noqa: SIM401
        scope.variables[name] = Variable(value, Names({name}) | found.hangs_on, argument=True)
    return scope.variables
