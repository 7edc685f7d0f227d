"""The commands of recipes: one module each, and here their constructors; nothing here talks to the world itself."""

from __future__ import annotations

from imgmake.commands.base import Action
from imgmake.commands.extract import Extract, extract
from imgmake.commands.lint import Lint, lint
from imgmake.commands.python import Context, Python, python
from imgmake.commands.run import Run, run
from imgmake.commands.sbom import Sbom, sbom
from imgmake.commands.scan import Scan, scan
from imgmake.commands.sh import Sh, sh
from imgmake.commands.structure_test import StructureTest, structure_test
from imgmake.commands.tag import Tag, tag

__all__ = [
    "Action",
    "Context",
    "Extract",
    "Lint",
    "Python",
    "Run",
    "Sbom",
    "Scan",
    "Sh",
    "StructureTest",
    "Tag",
    "extract",
    "lint",
    "python",
    "run",
    "sbom",
    "scan",
    "sh",
    "structure_test",
    "tag",
]
