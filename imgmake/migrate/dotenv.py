"""``.env`` files, which compose, just and task read and imgmake does not: what a Pipefile does in their place. Pure."""

from __future__ import annotations

import re
from pathlib import Path

# As a person would write it: read at each run, and harmless where there is none.
HELPER = [
    "",
    "def dotenv(path):",
    '    """The NAME=value lines of a file that may be missing."""',
    "    lines = pathlib.Path(path).read_text().splitlines() if pathlib.Path(path).exists() else []",
    '    pairs = (line.removeprefix("export ").partition("=") for line in lines if "=" in line and line[0] != "#")',
    """    return {name.strip(): value.strip().strip("'\\"") for name, _, value in pairs}""",
    "",
    "",
]
_SAMPLES = (".env.example", ".env.sample", ".env.dist", ".env.template")


def expected(folder: Path, name: str = ".env") -> bool:
    """Whether a repository has such a file, or ignores one that each developer has."""
    if any((folder / each).is_file() for each in (name, *_SAMPLES)):
        return True
    ignored = folder / ".gitignore"
    lines = ignored.read_text(errors="replace").splitlines() if ignored.is_file() else []
    return any(line.strip().lstrip("/") in (name, ".env*", "*.env") for line in lines)


def read(folder: Path, name: str = ".env") -> dict[str, str]:
    """What it holds, as the Pipefile's function reads it."""
    path = folder / name
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    pairs = (line.removeprefix("export ").partition("=") for line in lines if "=" in line and line[0] != "#")
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}


def intricate(folder: Path, name: str = ".env") -> str:
    """A line that the tool would read otherwise: variables, escapes, comments behind values; empty if there is none."""
    path = folder / name
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    return next((line for line in lines if re.search(r"^[^#].*(\$|\\| #)", line)), "")
