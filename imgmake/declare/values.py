"""Declared values: variables, the constants that stand for metadata, semantic versions."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Final

from imgmake.declare import texts
from imgmake.declare.collector import Collector, active, declares
from imgmake.declare.complaints import did_you_mean, shown
from imgmake.errors import PipefileError, UsageError
from imgmake.model import Command, Semver, Variable
from imgmake.variables import LATE, NAME, token

BUILD_ID: Final = "${BUILD_ID}"
BUILD_DATE: Final = "${BUILD_DATE}"
VCS_REF: Final = "${VCS_REF}"
VCS_URL: Final = "${VCS_URL}"
VCS_BRANCH: Final = "${VCS_BRANCH}"
VCS_TAG: Final = "${VCS_TAG}"
VCS_DESCRIBE: Final = "${VCS_DESCRIBE}"
FINGERPRINT: Final = "${FINGERPRINT}"
BUILD_TIME_EPOCH: Final = "${BUILD_TIME_EPOCH}"
BUILD_TIME_RFC_3339: Final = "${BUILD_TIME_RFC_3339}"
BUILD_TIME_UTC: Final = "${BUILD_TIME_UTC}"
SOURCE_DATE_EPOCH: Final = "${SOURCE_DATE_EPOCH}"


@declares(lambda _: "")
def var(
    name: str,
    default: str | int | PathLike[str] | Command | None = None,
    choices: Iterable[str] = (),
    secret: bool = False,
    help: str = "",
) -> str:
    """Declare a variable and give its value: ``NAME=value`` of the command line, else the environment's, else default.

    name:    letters, digits and ``_``, as a shell's variable.
    default: a string; or a command (``sh("git describe")``), run once when the value is first needed; or nothing:
             the variable is then required when a rule that uses it runs.
    choices: the only values allowed.
    secret:  mask the value wherever it would be shown, and refuse it as a build argument.
    help:    what to say of it when it is missing, and in ``--list``.

    A value known now is returned as it is. One that is not (required and not given, a command's, a secret)
    is returned as ``"${NAME}"``, which every string of a rule may hold. A variable that the environment
    sets to nothing is set (make's ``?=``). It may be declared again in the same words.

    https://www.gnu.org/software/make/manual/html_node/Setting.html

    >>> REPO = var("REPO", "dockerinaction/ch10")  # doctest: +SKIP
    >>> TAG = var("TAG", help="version to tag, such as 1.0.0")  # doctest: +SKIP
    >>> REVISION = var("REVISION", sh("git rev-list --count HEAD"))  # doctest: +SKIP
    """
    collector = active("var")
    _check_name(name)
    place = collector.here()
    fixed = default if default is None or isinstance(default, Command) else texts.scalar(default, f"{name}: default")
    value, origin = _given(collector, name, fixed)
    variable = Variable(
        name=name,
        place=place,
        value=value,
        origin=origin,
        default=fixed,
        choices=texts.several(choices, f"{name}: choices"),
        secret=secret,
        help=help or collector.comment_above(place, "var"),
    )
    _check_choice(variable)
    return _returned(_remember(collector, variable))


def semver(version: str, *, suffix: str = "", latest: bool = True) -> Semver:
    """A semantic version among the tags of `publish`: 1.2.3 also sets 1.2 and 1, where nothing newer holds them.

    version: ``1.2.3``, a leading ``v`` allowed, or a late value such as a required variable.
    suffix:  put behind each tag: ``-debug`` gives ``1.2.3-debug``, ``1.2-debug``, …
    latest:  also set ``latest`` when no newer version is in the repository.

    https://semver.org

    >>> semver("1.2.3").version
    '1.2.3'
    """
    return Semver(version=version, suffix=suffix, latest=latest)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PipefileError(f"var: {shown(name)} is no name", hint="letters, digits and '_', not a digit first")
    if name in LATE:
        raise PipefileError(f"var: {name} is imgmake's own", hint=f"use it with: from imgmake import {name}")
    if name in ("in", "out"):
        raise PipefileError(f"var: ${name} is a shell's name for the files of its rule", hint="choose another name")


def _given(collector: Collector, name: str, default: str | Command | None) -> tuple[str | None, str]:
    for source, origin in ((collector.overrides, "command line"), (collector.environ, "environment")):
        if name in source:
            return source[name], origin
    if isinstance(default, Command):
        return None, "command"
    return default, "required" if default is None else "default"


def _check_choice(variable: Variable) -> None:
    value, choices = variable.value, variable.choices
    if value is None or not choices or value in choices or (variable.origin == "default" and "$" in value):
        return
    said = "its value" if variable.secret else repr(value)
    hint = did_you_mean("" if variable.secret else value, choices) or f"choose one of {', '.join(choices)}"
    if variable.origin == "default":
        raise PipefileError(f"{variable.name}: the default {said} is none of its choices: {', '.join(choices)}")
    raise UsageError(f"{variable.name} from the {variable.origin}: {said} is none of {', '.join(choices)}", hint=hint)


def _remember(collector: Collector, variable: Variable) -> Variable:
    first = collector.variables.setdefault(variable.name, variable)
    if _meaning(first) != _meaning(variable):
        raise PipefileError(
            f"var {variable.name} is declared twice, and differently",
            hint=f"the first is at {first.place}; declare it once and use the value",
        )
    return first


def _meaning(variable: Variable) -> tuple[object, ...]:
    return variable.default, variable.choices, variable.secret


def _returned(variable: Variable) -> str:
    return token(variable.name) if variable.secret or variable.value is None else variable.value
