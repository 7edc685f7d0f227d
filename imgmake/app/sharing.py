"""Both ways between make and imgmake: what make says in MAKEFLAGS holds here, and make's jobserver is shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace

from imgmake.app.options import Options
from imgmake.errors import UsageError
from imgmake.executor import World
from imgmake.shell import LocalShell

FLAGS, LEVEL = "MAKEFLAGS", "MAKELEVEL"


def below_make(options: Options) -> Options:
    """The options with those that make hands down, as a make below make takes them; what is given here comes first.

    Raises UsageError for ``make -t``, which promises to run no recipe.
    """
    if not options.environ.get(FLAGS):
        return options
    from imgmake import makeflags

    flags = makeflags.read(options.environ[FLAGS])
    by_make = options.environ.get(LEVEL, "0") not in ("", "0")  # else somebody set it for the makes to come
    if not by_make and not flags.jobserver:
        return options
    letters = flags.letters if by_make else frozenset()
    if "t" in letters:
        raise UsageError("make -t touches targets; imgmake goes by content", hint="make -n shows what would run")
    return replace(
        options,
        dry_run=options.dry_run or "n" in letters,
        question=options.question or "q" in letters,
        keep_going=options.keep_going or "k" in letters,
        always_make=options.always_make or "B" in letters,
        silent=options.silent or "s" in letters,
        trace=options.trace or (by_make and "--trace" in flags.words),
        jobs=options.jobs or flags.jobs,
        jobserver="" if options.jobs else flags.jobserver,
    )


def sharing(options: Options, around: World, closing: ExitStack) -> tuple[Options, World]:
    """The same run, in make's jobserver where there is one; else, under ``-jN``, with one of its own for children."""
    from imgmake import makeflags

    told = around.environ.get(FLAGS, "")
    if options.jobserver:
        return _joined(options, around, closing)
    if options.jobs is None:
        return options, around
    if makeflags.read(told).jobserver:
        around.reporter.warning(f"-j{options.jobs} is given below make: its jobs are beside make's")
    if options.jobs == 1:
        return options, replace(around, environ=_flagged(around.environ, makeflags.alone))
    from imgmake import jobserver

    server = jobserver.offer(options.jobs, around.reporter.warning)
    closing.callback(server.close)
    environ = _flagged(around.environ, lambda text: makeflags.offering(text, server.address))
    return options, replace(around, slots=server, shell=LocalShell(inherit=server.descriptors), environ=environ)


def _joined(options: Options, around: World, closing: ExitStack) -> tuple[Options, World]:
    from imgmake import jobserver, makeflags

    server = jobserver.join(options.jobserver, around.reporter.warning)
    if server is None:
        around.reporter.warning("make keeps its jobs to itself, so one runs at a time here: mark the line with a +")
        return replace(options, jobs=1), replace(around, environ=_flagged(around.environ, makeflags.alone))
    closing.callback(server.close)
    options = replace(options, jobs=options.jobs or makeflags.UNLIMITED)
    return options, replace(around, slots=server, shell=LocalShell(inherit=server.descriptors))


def _flagged(environ: Mapping[str, str], change: Callable[[str], str]) -> Mapping[str, str]:
    flags = change(environ.get(FLAGS, ""))
    return {**environ, FLAGS: flags} if flags.strip() or FLAGS in environ else environ
