"""What spans folders: other Pipefiles taken in, files found by pattern, and the default target."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType

from imgmake.commands.words import some_text
from imgmake.declare.collector import active, declares
from imgmake.declare.complaints import shown
from imgmake.declare.parts import local
from imgmake.errors import PipefileError
from imgmake.model import Rule

_NO_RULES: Mapping[str, Rule] = MappingProxyType({})


@declares(lambda _: None)
def default(target: str | Rule, /) -> None:
    """Say which target a run without a target is for; else it is the first rule.

    The default of an included Pipefile counts only when that Pipefile is run on its own.

    https://www.gnu.org/software/make/manual/html_node/Special-Variables.html (.DEFAULT_GOAL)

    >>> default("all")  # doctest: +SKIP
    """
    collector = active("default")
    if not isinstance(target, (str, Rule)):
        raise PipefileError(f"default() takes one target, not {shown(target)}", hint="group several in a phony")
    name = target.target if isinstance(target, Rule) else some_text(target, "default").removeprefix("//")
    if collector.base:
        return
    if collector.default is not None and collector.default[0] != name:
        first, place = collector.default
        raise PipefileError(f"default is {first!r} already", hint=f"said at {place}")
    collector.default = (name, collector.here())


@declares(lambda _: _NO_RULES)
def include(*patterns: str | PathLike[str]) -> Mapping[str, Rule]:
    """Take in other Pipefiles; each one's targets are prefixed with its folder, and its paths are from there.

    patterns: paths or patterns from this Pipefile's folder; a folder stands for the Pipefile.py in it. A Pipefile
              that was taken in before is not executed again.

    Returns the rules taken in, by their full names. In an included Pipefile ``//name`` is a target of the root.

    >>> services = include("services/*/Pipefile.py")  # doctest: +SKIP
    >>> phony("images", services["services/api/app-image"])  # doctest: +SKIP
    """
    collector = active("include")
    given = [local(some_text(pattern, "include"), collector) for pattern in patterns]
    if not given:
        raise PipefileError("include() was given no Pipefile", hint='write include("services/*/Pipefile.py")')
    return collector.loader.include(given)


@declares(lambda _: list[Path]())
def glob(*patterns: str) -> list[Path]:
    """Files and folders that exist now and match a pattern, sorted, as paths from the Pipefile's folder.

    patterns: as a shell's, ``**`` spans folders; hidden names only by a pattern with a dot; never .git or .imgmake.

    Nothing that matches is an empty list, as in make's ``wildcard``. Use it to declare rules in a loop; as a
    prerequisite a pattern needs no glob, and is then judged when the rule is, so that files made by rules count.

    >>> for dockerfile in glob("images/*/Dockerfile"):  # doctest: +SKIP
    ...     image(dockerfile.parent.name, context=dockerfile.parent)
    """
    collector = active("glob")
    return collector.loader.glob([local(some_text(pattern, "glob"), collector) for pattern in patterns])
