"""The head of a Pipefile besides imgmake's own names: modules, and the function that asks a shell. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator

from imgmake.migrate.python import quoted

_MODULES = {
    "Path": "from pathlib import Path",
    "os": "import os",
    "re": "import re",
    "sys": "import sys",
    "subprocess": "import subprocess",
    "warnings": "import warnings",
}
_NEEDED = {"shell": "subprocess", "CURDIR": "Path"}
_SHELL = '''

def shell(command):
    """What a command prints, on one line: asked when this file is loaded, as make asked when it read the Makefile."""
    answer = subprocess.run({command}, stdout=subprocess.PIPE, text=True)
    return answer.stdout.rstrip("\\n").replace("\\n", " ")
'''


_FAIL = '''

def fail(message):
    """A command that says why nothing can be done, and fails: make's $(error …) in a recipe."""
    return sh('echo "$message" >&2; exit 1', message=message)
'''


def imports(names: Collection[str]) -> list[str]:
    """The imports that names of a Pipefile need, sorted as isort has them."""
    modules = {_NEEDED.get(name, name) for name in names}
    found = [_MODULES[name] for name in modules if name in _MODULES]
    return sorted(found, key=lambda line: (line.startswith("from"), line))


def definitions(names: Collection[str], shell: str) -> Iterator[str]:
    """The lines that define what a Pipefile uses and imgmake has no word for.

    shell: the one that the Makefile names.
    """
    if "CURDIR" in names:
        yield from ("", "CURDIR = str(Path(__file__).parent)")
    if "shell" in names:
        command = (
            "command, shell=True"
            if shell == "/bin/sh"
            else f'[{", ".join(map(quoted, shlex.split(shell)))}, "-c", command]'
        )
        yield from _SHELL.format(command=command).split("\n")
    if "fail" in names:
        yield from _FAIL.split("\n")
