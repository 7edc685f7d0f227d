"""Which files can be migrated beside Makefiles, by their names; each read by its module, with how it is proven.

justfiles and Taskfiles are read as Makefiles that mean the same; bake and compose files say what is built, and no more.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from pathlib import Path, PurePath

from imgmake.migrate.proof import Source
from imgmake.migrate.scratch import Make
from imgmake.ports import Shell

KINDS = "a justfile, Taskfile.yml, docker-bake.hcl or compose.yaml"
# In the order in which one is looked for, what runs commands first; within a tool in the tool's own.
NAMES = (
    *("justfile", "Justfile", ".justfile"),
    *("Taskfile.yml", "taskfile.yml", "Taskfile.yaml", "taskfile.yaml", "Taskfile.dist.yml", "Taskfile.dist.yaml"),
    *("docker-bake.json", "docker-bake.hcl"),
    *("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"),
)
_PATTERNS = {
    "just": ("justfile", ".justfile", "*.just"),
    "task": ("*taskfile*.yml", "*taskfile*.yaml"),
    "bake": ("*bake*.hcl", "*bake*.json"),
    "compose": ("*compose*.yml", "*compose*.yaml"),
}


def tool_of(file: str) -> str:
    """The tool that a file is for, by its name; empty for a Makefile.

    >>> tool_of("ci/docker-bake.hcl"), tool_of("docker-compose.ci.yml"), tool_of("build/Makefile")
    ('bake', 'compose', '')
    """
    name = PurePath(file).name.lower()
    return next((tool for tool, ways in _PATTERNS.items() if any(fnmatch.fnmatch(name, way) for way in ways)), "")


def known(file: str) -> bool:
    """Whether a file is one of these, by its name."""
    return bool(tool_of(file))


def translated(file: str) -> bool:
    """Whether a file is read as a Makefile that means the same."""
    return tool_of(file) in ("just", "task")


def make(folder: Path, file: str, shell: Shell, environ: Mapping[str, str]) -> tuple[Make, str]:
    """What answers for a Makefile, or for a file that is read as one, and the Makefile's text."""
    tool = tool_of(file)
    if tool == "just":
        from imgmake.migrate import just

        found = just.read(folder, file, shell, environ)
        return found, found.text
    if tool == "task":
        from imgmake.migrate import task

        read = task.read(folder, file, shell, environ)
        return read, read.text
    return Make(folder, file, shell, environ), (folder / file).read_text(errors="replace")


def read(folder: Path, file: str, shell: Shell, environ: Mapping[str, str]) -> Source:
    """The Pipefile of a file in a scratch folder. Raises ToolFailed, UsageError."""
    tool = tool_of(file)
    if tool == "bake":
        from imgmake.migrate import bake

        return bake.source(folder, file, shell, environ)
    from imgmake.migrate import compose

    return compose.source(folder, file, shell, environ)
