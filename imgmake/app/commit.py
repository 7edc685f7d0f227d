"""``--commit``: the same command line, in a clean checkout of one revision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from imgmake.app.options import Options
from imgmake.pipefile import NAME
from imgmake.ports import Reporter


@contextmanager
def at_commit(options: Options, hears: Reporter) -> Iterator[Options]:
    """The options as they are, or in a clean checkout that is gone afterwards. Raises UsageError, SourceError."""
    if options.commit is None:
        yield options
        return
    from imgmake.sources.checkout import clean_checkout

    with clean_checkout(options.directory, options.commit) as checkout:
        hears.note(f"clean checkout of {options.commit} ({checkout.commit[:7]})")
        written = options.directory / (options.file or NAME)
        yield replace(
            options,
            directory=checkout.folder,
            file=checkout.inside(written) if options.file is not None else None,
            project=written.resolve().parent.name,
            branch=checkout.branch,
            commit=None,
        )
