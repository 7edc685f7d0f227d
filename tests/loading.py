"""A small repository written in one call, and its Pipefile loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from imgmake import pipefile
from imgmake.errors import ImgmakeError, Problems
from imgmake.model import Pipeline

WORDS = "from imgmake import *\n"


class Repository:
    """A folder with a Pipefile; `load` writes the text, behind an import of every word, and loads it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def write(self, files: Mapping[str, str]) -> Repository:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        return self

    def load(self, text: str = "", *, overrides: Mapping[str, str] | None = None, **environ: str) -> Pipeline:
        """The first line of `text` is line 2 of the Pipefile. Without text, what was written is loaded."""
        if text:
            (self.root / "Pipefile.py").write_text(WORDS + dedent(text).lstrip("\n"))
        return pipefile.load(self.root / "Pipefile.py", overrides=overrides or {}, environ=environ)

    def problems(self, text: str = "", *, overrides: Mapping[str, str] | None = None, **environ: str) -> list[str]:
        """What the load complains about, each as the user reads it."""
        with pytest.raises(ImgmakeError) as caught:
            self.load(text, overrides=overrides, **environ)
        error = caught.value
        return [str(one) for one in (error.errors if isinstance(error, Problems) else (error,))]

    def problem(self, text: str = "", *, overrides: Mapping[str, str] | None = None, **environ: str) -> str:
        """The one thing that the load complains about."""
        (only,) = self.problems(text, overrides=overrides, **environ)
        return only
