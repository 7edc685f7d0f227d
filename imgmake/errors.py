"""The tree of errors that a user may see; knows nothing else of imgmake.

```
ImgmakeError                 exit 2 unless said
├── UsageError               the command line: unknown target, misspelt variable
├── PipefileError            the Pipefile itself: bad value, exception, late value in a name
├── GraphError               unknown prerequisite, duplicate target, cycle
├── SourceError              files and git: unreadable, a socket, missing Dockerfile
├── DockerfileError          a Dockerfile that cannot be read, an unknown stage
├── InvalidReference         an image reference that no engine would take
├── EngineError              the engine answered with an error
│   └── EngineUnavailable    no engine answers
├── BuildError               a build failed
├── RegistryError            a registry refused, or did not answer
│   └── TagMoved             a tag holds neither what it held nor what it was to hold
├── CommandFailed            a recipe's command failed (with its exit code)
├── Unknown                  a check could not be carried out: it neither passed nor failed
├── Refused                  imgmake itself declines: a tag would move
├── StateError               the state folder cannot be used
├── Problems                 several errors, reported at once
└── Interrupted              exit 130
```
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

_E = TypeVar("_E", bound=Exception)


class Place(NamedTuple):
    """Where in a file something was written: ``Pipefile.py:12``."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class ImgmakeError(Exception):
    """What was wrong (`message`), where (`place`), and what to do about it (`hint`)."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", place: Place | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.place = place

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        return f"{where}{self.message}" + "".join(f"\n  {line}" for line in self.hint.splitlines())


class UsageError(ImgmakeError):
    """The command line asks for something that is not there."""


class PipefileError(ImgmakeError):
    """The Pipefile holds a mistake, or raised an exception."""


class GraphError(ImgmakeError):
    """The rules do not form a graph that can be ordered."""


class SourceError(ImgmakeError):
    """A file or folder that a rule reads cannot be used."""


class DockerfileError(ImgmakeError):
    """A Dockerfile cannot be parsed, or lacks the asked stage."""


class InvalidReference(ImgmakeError):
    """A string is no image reference."""


class EngineError(ImgmakeError):
    """The container engine refused a request."""


class EngineUnavailable(EngineError):
    """No container engine answers."""


class BuildError(ImgmakeError):
    """A builder could not build an image."""


class RegistryError(ImgmakeError):
    """A registry refused a request or did not answer."""


class TagMoved(RegistryError):
    """Somebody else moved a tag between the plan and the write."""


class CommandFailed(ImgmakeError):
    """A command of a recipe ended with `code`."""

    def __init__(self, message: str, *, code: int = 1, hint: str = "", place: Place | None = None) -> None:
        super().__init__(message, hint=hint, place=place)
        self.code = code


class Unknown(ImgmakeError):
    """A check could not be carried out, so nothing was learnt: it neither passed nor failed."""


class Refused(ImgmakeError):
    """imgmake declines to do what would break a promise, such as moving a BUILD_ID tag."""


class StateError(ImgmakeError):
    """The state folder cannot be read or written."""


class Problems(ImgmakeError):
    """Several errors, found in one pass and reported together."""

    def __init__(self, errors: Iterable[ImgmakeError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


class Interrupted(ImgmakeError):
    """The user stopped the run."""

    exit_code = 130


def raise_all(errors: Iterable[ImgmakeError]) -> None:
    """Raise nothing, the one error, or all of them as `Problems`."""
    found = list(errors)
    if len(found) == 1:
        raise found[0]
    if found:
        raise Problems(found)


def placed(error: _E, place: Place) -> _E:
    """The error, at the place of the rule that met it unless it names one; it may be told of other rules too."""
    if not isinstance(error, ImgmakeError) or error.place is not None or isinstance(error, Problems):
        return error
    told = copy.copy(error)
    told.place = place
    return told
