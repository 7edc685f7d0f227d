"""A small repository for tests that only read it: files, committed once."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

_AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@example.com")


def committed(folder: Path, files: Mapping[str, str]) -> Path:
    """The folder, made with these files and one commit of them."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for words in (["init", "-q"], ["add", "-A"], [*_AUTHOR, "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder
