"""The review of a Makefile asks the Pipefile beside it, too: loaded and resolved here, since only `app` joins them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imgmake import inference
from imgmake.app.options import Options
from imgmake.app.planning import quietly
from imgmake.app.wiring import Looks, load
from imgmake.errors import ImgmakeError
from imgmake.migrate.migration import Migration
from imgmake.migrate.review import Written, review
from imgmake.migrate.scratch import Make
from imgmake.sources.files import LocalSources, NoCache


def reviewed(options: Options, scratch: Path, migration: Migration, make: Make) -> Migration:
    """The migration with its findings; the Pipefile stands in the scratch folder."""
    found = review(
        migration.own, migration.database, migration.values, scratch, written(options, scratch), make.tool[0]
    )
    return replace(migration, findings=found)


def written(options: Options, folder: Path) -> Written:
    """The Pipefile of a folder with its graph; empty when it cannot be loaded, which the comparison tells."""
    try:
        with quietly():
            pipeline = load(replace(options, directory=folder, file=None, overrides={}, goals=()))
        resolved = inference.resolve(pipeline, Looks(LocalSources(pipeline.root, NoCache())))
    except ImgmakeError:
        return Written()
    return Written(pipeline, resolved.graph)
