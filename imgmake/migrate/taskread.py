"""What stands in a Taskfile and in what it includes: variables, tasks by their full names, lines. Starts nothing.

https://taskfile.dev/docs/reference/schema
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgmake.migrate import yamlfile
from imgmake.migrate.foreign import comments_above

_NAMES = ("Taskfile.yml", "taskfile.yml", "Taskfile.yaml", "taskfile.yaml", "Taskfile.dist.yml", "Taskfile.dist.yaml")


@dataclass(frozen=True)
class Task:
    """One task: its full name, what it says, and where.

    space: the namespace that names in it are looked up in first.
    lines: of its commands.
    """

    name: str
    spec: Mapping[str, Any]
    file: str
    line: int
    comment: str = ""
    space: str = ""
    folder: str = ""
    lines: Mapping[int, int] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    def place_of(self, at: int) -> str:
        """Where one of its commands stands."""
        return f"{self.file}:{self.lines.get(at, self.line)}"


@dataclass
class Taskfile:
    """One Taskfile and all that it includes; what is included later counts."""

    files: list[str] = field(default_factory=list)
    top: list[tuple[int, str]] = field(default_factory=list)  # the comment that the file begins with
    variables: dict[str, tuple[Any, str, str]] = field(default_factory=dict)  # value, place, comment
    environment: dict[str, tuple[Any, str]] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)  # text, why, place


def read(folder: Path, file: str) -> Taskfile:
    """A Taskfile. Raises UsageError for what is no YAML."""
    found = Taskfile()
    text = (folder / file).read_text(errors="replace")
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.startswith("#"):
            break
        if "yaml-language-server" not in line:
            found.top.append((number, line))
    _read(folder, file, "", "", found, flat=False)
    return found


def _read(folder: Path, file: str, space: str, here: str, found: Taskfile, *, flat: bool) -> None:
    text = (folder / file).read_text(errors="replace")
    data, lines = yamlfile.load(file, text)
    found.files.append(file)
    if not isinstance(data, Mapping):
        return
    for name, given in _items(data.get("vars")):
        line = lines.get(("vars", name), 1)
        found.variables[name] = given, f"{file}:{line}", comments_above(text.split("\n"), line)
    for name, given in _items(data.get("env")):
        found.environment[name] = given, f"{file}:{lines.get(('env', name), 1)}"
    if not space:
        found.settings |= {key: data[key] for key in ("set", "shopt", "dotenv") if key in data and not flat}
    for name, spec in _items(data.get("tasks")):
        line = lines.get(("tasks", name), 1)
        places = {at: lines.get(("tasks", name, "cmds", str(at)), line) for at in range(200)}
        full = _full(space, name)
        found.tasks[full] = Task(
            full, _spec(spec), file, line, comments_above(text.split("\n"), line), space, here, places
        )
    for name, given in _items(data.get("includes")):
        _include(folder, file, name, given, (space, here), found, lines.get(("includes", name), 1))


def _include(
    folder: Path, file: str, name: str, given: Any, where: tuple[str, str], found: Taskfile, line: int
) -> None:
    spec = given if isinstance(given, Mapping) else {"taskfile": given}
    path = str(spec.get("taskfile", ""))
    base = posixpath.dirname(file)
    full = posixpath.normpath(posixpath.join(base, path))
    if (folder / full).is_dir():
        full = next((f"{full}/{each}" for each in _NAMES if (folder / full / each).is_file()), full)
    if "://" in path or "{{" in path or not (folder / full).is_file() or full in found.files:
        found.left_out.append((f"includes: {name}", f"{path} is not here: its tasks are not in this Pipefile",
                               f"{file}:{line}"))  # fmt: skip
        return
    space, here = where
    flat = str(spec.get("flatten", "")).lower() == "true"
    inner = space if flat else _full(space, name)
    own = posixpath.normpath(posixpath.join(here, base, spec["dir"])) if "dir" in spec else here
    for each, value in _items(spec.get("vars")):
        found.variables.setdefault(each, (value, f"{file}:{line}", ""))
    _read(folder, full, inner, own, found, flat=flat)


def _spec(given: Any) -> Mapping[str, Any]:
    """A task however short it is written."""
    if isinstance(given, str):
        return {"cmds": [given]}
    if isinstance(given, list):
        return {"cmds": given}
    if isinstance(given, Mapping) and "cmd" in given:
        return {**given, "cmds": [given["cmd"]]}
    return given if isinstance(given, Mapping) else {}


def _items(given: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(given, Mapping):
        yield from ((str(name), value) for name, value in given.items())


def _full(space: str, name: str) -> str:
    return f"{space}:{name}" if space else name
