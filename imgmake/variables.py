"""Values of variables and metadata, and how text that names them is expanded.

Pure: what a value costs to find out (git, the clock, a command) is asked of functions handed in, once,
when it is first needed.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from imgmake.errors import ImgmakeError, PipefileError, UsageError
from imgmake.model import Command, Variable, leaves

# Late values: BUILD_ID is settled once a run, FINGERPRINT once an image, the others come from git and the clock.
LATE: Final = (
    "BUILD_ID",
    "BUILD_DATE",
    "VCS_REF",
    "VCS_URL",
    "VCS_BRANCH",
    "VCS_TAG",
    "VCS_DESCRIBE",
    "FINGERPRINT",
    "BUILD_TIME_EPOCH",
    "BUILD_TIME_RFC_3339",
    "BUILD_TIME_UTC",
    "SOURCE_DATE_EPOCH",
)

# Go's names, as GOARCH and an image's configuration spell them.
_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i386": "386",
    "i686": "386",
    "loongarch64": "loong64",
}


def architecture(machine: str) -> str:
    """Go's name of an architecture as ``uname -m`` spells it: ``x86_64`` is ``amd64``."""
    return _MACHINES.get(machine, machine)


ARCH: str = architecture(os.uname().machine)
PLATFORM: str = f"linux/{ARCH}"
AT_LOAD: Mapping[str, str] = {"ARCH": ARCH, "PLATFORM": PLATFORM}

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# `$$` is one thing to a shell (its process ID) and to make (a dollar): what follows it is no name.
_USE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)")
# A shell also reads a value in ${NAME:-x}, ${NAME%x} and ${#NAME}.
_MENTION = re.compile(r"\$\$|\$\{[#!]?([A-Za-z_][A-Za-z0-9_]*)|\$([A-Za-z_][A-Za-z0-9_]*)")
_MASK = "***"
_SHORTEST_MASKED_LINE = 4


def token(name: str) -> str:
    """The text that stands for a late value in a rule: ``${BUILD_ID}``."""
    return f"${{{name}}}"


def names(text: str, known: Collection[str]) -> frozenset[str]:
    """The known names that a text mentions, as ``$NAME``, ``${NAME}`` or in a shell's ``${NAME:-default}``.

    >>> sorted(names("$A ${B} $OTHER $$A", {"A", "B"}))
    ['A', 'B']
    """
    found = (match[1] or match[2] for match in _MENTION.finditer(text))
    return frozenset(name for name in found if name and name in known)


def late(text: str) -> str:
    """The text with each mention of metadata in one spelling, so that whoever looks for it need know only one.

    >>> late("shop:$BUILD_ID-$OTHER")
    'shop:${BUILD_ID}-$OTHER'
    """
    return expand(text, LATE, lambda name: f"${{{name}}}")


def expand(text: str, known: Collection[str], lookup: Callable[[str], str]) -> str:
    """Put values in for ``$NAME`` and ``${NAME}`` of known names; every other ``$`` is left alone, ``$$`` too.

    What is put in is not looked at again, and `lookup` is asked for names that the text holds only.

    >>> expand("app:${TAG} costs $5 $HOME", {"TAG"}, lambda name: "1.0")
    'app:1.0 costs $5 $HOME'
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return lookup(name) if name and name in known else match[0]

    return _USE.sub(value, text) if "$" in text else text


def texts_in(thing: object) -> Iterator[str]:
    """Every string in a command or collection, where a late value could stand."""
    return (leaf for leaf in leaves(thing) if isinstance(leaf, str))


def cycle(variables: Mapping[str, Variable]) -> tuple[str, ...]:
    """The names of variables whose values mention each other in a ring, in order; empty when there is none.

    >>> from imgmake.errors import Place
    >>> here = Place("Pipefile.py", 1)
    >>> cycle({"A": Variable(name="A", place=here, value="$B"), "B": Variable(name="B", place=here, value="$A")})
    ('A', 'B', 'A')
    """
    uses = {name: sorted(_mentions(variable, variables)) for name, variable in variables.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> tuple[str, ...]:
        if name in path:
            return (*path[path.index(name) :], name)
        if name in done:
            return ()
        for used in uses[name]:
            if found := visit(used, (*path, name)):
                return found
        done.add(name)
        return ()

    return next((found for name in uses if (found := visit(name, ()))), ())


def _mentions(variable: Variable, known: Collection[str]) -> frozenset[str]:
    if variable.value is not None:
        return frozenset() if variable.secret else names(variable.value, known)
    return frozenset[str]().union(*(names(text, known) for text in texts_in(variable.default)))


class _Once:
    """A value found out once, whichever thread asks first; a failure is as final as a value."""

    def __init__(self, find: Callable[[], str]) -> None:
        self._find = find
        self._lock = threading.RLock()
        self._value: str | None = None
        self._error: ImgmakeError | None = None

    def get(self) -> str:
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._value is None:
                self._value = self._ask()
            return self._value

    def _ask(self) -> str:
        try:
            return self._find()
        except ImgmakeError as error:
            self._error = error
            raise

    @property
    def known(self) -> str | None:
        return self._value


class Values:
    """Every value that a rule's text can name; each is found out when first needed, once, by any thread.

    variables:    what the Pipefiles declared, and metadata that was given from outside.
    providers:    metadata by name; a variable of the same name wins (a BUILD_ID that was given).
    run_command:  runs the command that is a variable's default and returns its output.

    The value of a variable may itself name others (``var("TAG", BUILD_ID)``); a ring of them is refused
    when the Pipefile is loaded. A secret value is never looked into.
    """

    def __init__(
        self,
        variables: Mapping[str, Variable],
        providers: Mapping[str, Callable[[], str]],
        run_command: Callable[[Command], str],
    ) -> None:
        self._variables = variables
        self._run_command = run_command
        self._used: dict[str, None] = {}
        finders = {**{name: _constant(value) for name, value in AT_LOAD.items()}, **providers}
        finders |= {name: self._finder(variable) for name, variable in variables.items()}
        self._once = {name: _Once(find) for name, find in finders.items()}
        self._known = frozenset(self._once) | {"FINGERPRINT"}

    def declared(self) -> frozenset[str]:
        """Every name that has, or can get, a value: variables and metadata."""
        return self._known

    def get(self, name: str, *, target: str = "", extra: Mapping[str, str] | None = None) -> str:
        """The value of one declared name; `target` is named when it has none, `extra` wins over what is known.

        Raises UsageError for a required variable that was not given, KeyError for a name never declared.
        """
        if extra and name in extra:
            return extra[name]
        variable = self._variables.get(name)
        if variable is not None and variable.value is None and variable.default is None:
            raise _required(variable, target)
        if name == "FINGERPRINT" and name not in self._once:
            raise PipefileError(
                "FINGERPRINT is known only where an image is",
                hint="use it in the tags, labels or build arguments of an image",
            )
        self._used[name] = None
        value = self._once[name].get()
        if variable is None or variable.secret:
            return value
        return expand(value, self._known, lambda other: self.get(other, target=target, extra=extra))

    def expand(self, text: str, *, target: str = "", extra: Mapping[str, str] | None = None) -> str:
        """Put values in for every declared name in `text`; raises as `get`."""
        return expand(text, self._known, lambda name: self.get(name, target=target, extra=extra))

    def expand_known(self, text: str) -> str:
        """Put in only what was known when the Pipefile was loaded: nothing is asked, nothing is run."""

        def value(name: str) -> str:
            variable = self._variables.get(name)
            if variable is None:
                return AT_LOAD.get(name, token(name))
            if variable.secret or variable.value is None:
                return token(name)
            return self.expand_known(variable.value)

        return expand(text, self._known, value)

    def names(self, text: str) -> frozenset[str]:
        """The declared names that a text mentions."""
        return names(text, self._known)

    def is_secret(self, name: str) -> bool:
        variable = self._variables.get(name)
        return variable is not None and variable.secret

    @property
    def has_secrets(self) -> bool:
        return any(variable.secret for variable in self._variables.values())

    def mask(self, text: str) -> str:
        """The text with ``***`` in place of every secret value found out so far, and of each long line of one."""
        for secret in sorted(self._secret_texts(), key=len, reverse=True):
            text = text.replace(secret, _MASK)
        return text

    def origin(self, name: str) -> str:
        """Where a value comes from, as a sentence: ``BUILD_ID from the environment``."""
        variable = self._variables.get(name)
        if variable is None:
            return f"{name} computed"
        if variable.origin == "required":
            return f"{name} required, not given"
        return f"{name} from {_ORIGINS.get(variable.origin, variable.origin)}"

    def used(self) -> tuple[str, ...]:
        """The names whose values were needed so far, in the order of their first use."""
        return tuple(self._used)

    def _finder(self, variable: Variable) -> Callable[[], str]:
        if variable.value is not None:
            return _constant(variable.value)
        default = variable.default
        if isinstance(default, Command):
            return lambda: _chosen(variable, self._run_command(default).rstrip("\n"))
        return _constant(str(default))

    def _secret_texts(self) -> Iterator[str]:
        for variable in self._variables.values():
            value = self._once[variable.name].known if variable.secret else None
            value = variable.value if variable.secret and value is None else value
            if value:
                yield value
                yield from (line for line in value.splitlines() if len(line.strip()) >= _SHORTEST_MASKED_LINE)


_ORIGINS = {
    "command line": "the command line",
    "environment": "the environment",
    "default": "its default",
    "command": "its command",
}


def _constant(value: str) -> Callable[[], str]:
    return lambda: value


def _chosen(variable: Variable, value: str) -> str:
    if variable.choices and value not in variable.choices:
        said = "its command's output" if variable.secret else f"its command's output {value!r}"
        raise PipefileError(f"{variable.name}: {said} is none of {', '.join(variable.choices)}", place=variable.place)
    return value


def _required(variable: Variable, target: str) -> UsageError:
    needed = f" by target {target}" if target else ""
    said = f"{variable.help}\n" if variable.help else ""
    choices = f" ({', '.join(variable.choices)})" if variable.choices else ""
    ask = " ".join(part for part in ("imgmake", target, f"{variable.name}=…") if part)
    return UsageError(
        f"{variable.name} is required{needed}: {ask}{choices}",
        hint=f"{said}or set {variable.name} in the environment",
        place=variable.place,
    )
