"""``--commit``: the same command line, in a clean checkout of one revision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from imgmake.app.options import Options
from imgmake.errors import UsageError
from imgmake.pipefile import NAME
from imgmake.ports import Reporter


@contextmanager
def at_commit(options: Options, hears: Reporter) -> Iterator[Options]:
    """The options as they are, or in a clean checkout that is gone afterwards. Raises UsageError, SourceError."""
    if options.commit is None:
        yield options
        return
    from imgmake.sources.checkout import ABOUT_THE_USERS, clean_checkout

    with clean_checkout(options.directory, options.commit, hears.warning) as checkout:
        written = options.directory / (options.file or NAME)
        pipefile = checkout.inside(written)
        if not pipefile.is_relative_to(checkout.top):
            hint = "the Pipefile is taken from the commit, too"
            raise UsageError(f"--commit {options.commit}: {written} is not in the repository", hint=hint)
        if not pipefile.is_file():
            raise UsageError(f"--commit {options.commit} has no {pipefile.relative_to(checkout.top)}")
        hears.note(f"clean checkout of {options.commit} ({checkout.commit[:7]})")
        yield replace(
            options,
            directory=checkout.folder,
            file=pipefile if options.file is not None else None,
            project=written.resolve().parent.name,
            branch=checkout.branch,
            commit=None,
            environ={name: value for name, value in options.environ.items() if name not in ABOUT_THE_USERS},
        )
