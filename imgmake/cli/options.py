"""The options, declared for typer: names, help, groups, completion. Nothing else imports it; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any

import typer
import typer.core
from typer.main import get_command

from imgmake.cli.words import Request, normalise, request, where
from imgmake.errors import UsageError

RUN, ASK, TELL = "What runs", "Questions (nothing is built)", "Where, and how it is told"


class Grouped(typer.core.TyperCommand):
    """Help in groups, as plain text: typer itself groups only through rich, which takes longer than most runs."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and param.param_type_name == "option":
                groups.setdefault(getattr(param, "rich_help_panel", None) or "Other", []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def complete(ctx: typer.Context, args: list[str], incomplete: str) -> list[tuple[str, str]]:  # noqa: ARG001 (typer's)
    """Targets and ``NAME=`` words for the shell's completion."""
    from imgmake import app

    options = app.Options(**where(ctx.params.get("directory") or [], ctx.params.get("file")))
    return [each for each in app.names(options) if each[0].startswith(incomplete)]


def _option(group: str, text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=group, help=text, show_default=False, **more)


Words = Annotated[list[str], typer.Argument(metavar="TARGET | NAME=value", autocompletion=complete)]
DryRun = Annotated[bool, _option(RUN, "Show what would run; run nothing.", "-n", "--dry-run")]
Jobs = Annotated[
    int | None, _option(RUN, "Jobs at once: as many as processors; -j alone: no limit.", "-j", "--jobs", metavar="[N]")
]
KeepGoing = Annotated[bool, _option(RUN, "After a failure, do what does not need it.", "-k", "--keep-going")]
AlwaysMake = Annotated[bool, _option(RUN, "Take everything as stale.", "-B", "--always-make")]
Question = Annotated[bool, _option(RUN, "Run nothing; exit code 1 if something is stale.", "-q", "--question")]
WhatIf = Annotated[list[str], _option(RUN, "Take FILE as changed.", "-W", "--what-if", metavar="FILE")]
OldFile = Annotated[
    list[str],
    _option(RUN, "Take TARGET as up to date.", "-o", "--old-file", metavar="TARGET", autocompletion=complete),
]
Clean = Annotated[bool, _option(RUN, "Remove what the targets made; without one, all.", "--clean")]
Gc = Annotated[bool, _option(RUN, "List old images that imgmake built here, and remove them if you say so.", "--gc")]
Keep = Annotated[int, _option(RUN, "With --gc: builds of each target to keep (5).", "--keep", metavar="N")]
Yes = Annotated[bool, _option(RUN, "With --gc: remove without asking.", "--yes")]
Commit = Annotated[
    str | None, _option(RUN, "From a clean checkout of REV: a commit, tag or branch.", "--commit", metavar="REV")
]
StartEngine = Annotated[bool, _option(RUN, "Start, or install, an engine if none answers.", "--start-engine")]

AllowRollback = Annotated[bool, _option(RUN, "Let a published tag move back to an older commit.", "--allow-rollback")]
AllowDirty = Annotated[bool, _option(RUN, "Publish although files differ from the commit.", "--allow-dirty")]

Migrate = Annotated[
    str | None, _option(ASK, "Write Pipefile.py from a Makefile, and compare.", "--migrate", metavar="[Makefile]")
]
Shim = Annotated[
    str | None, _option(ASK, "Write a Makefile whose targets call imgmake.", "--shim", metavar="[Makefile]")
]
Stdout = Annotated[bool, _option(ASK, "With --migrate, --shim: show it, write nothing.", "--stdout")]
Check = Annotated[bool, _option(ASK, "Compare Pipefile.py with the Makefile beside it.", "--check")]
Literal = Annotated[bool, _option(ASK, "With --migrate: each recipe as it is, in sh().", "--literal")]

List = Annotated[bool, _option(ASK, "The targets, and whether each is up to date.", "--list")]
Why = Annotated[bool, _option(ASK, "Why each TARGET is stale, or is not.", "--why")]
Plan = Annotated[bool, _option(ASK, "What would run, in order, and why.", "--plan")]
Verify = Annotated[bool, _option(ASK, "What its registry tells of each image REF given.", "--verify")]
Graph = Annotated[str | None, _option(ASK, "The rules as a drawing.", "--graph", metavar="[dot|mermaid|svg]")]

Directory = Annotated[list[str], _option(TELL, "Go to DIR first.", "-C", "--directory", metavar="DIR")]
File = Annotated[str | None, _option(TELL, "Read FILE, not Pipefile.py.", "-f", "--file", metavar="FILE")]
Silent = Annotated[bool, _option(TELL, "Only what the commands say.", "-s", "--silent")]
Trace = Annotated[bool, _option(TELL, "Every reason of every target.", "--trace")]
Json = Annotated[bool, _option(TELL, "For programs: JSON, not text.", "--json")]
Version = Annotated[bool, _option(TELL, "Show the version.", "--version")]

face = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@face.command(cls=Grouped, options_metavar="[OPTIONS]")
def _given(  # noqa: PLR0913 (typer reads the options from the parameters)
    *,
    words: Words = [],  # noqa: B006 (typer copies; it is never changed)
    dry_run: DryRun = False,
    jobs: Jobs = None,
    keep_going: KeepGoing = False,
    always_make: AlwaysMake = False,
    question: Question = False,
    what_if: WhatIf = [],  # noqa: B006
    old_file: OldFile = [],  # noqa: B006
    clean: Clean = False,
    gc: Gc = False,
    keep: Keep = 5,
    yes: Yes = False,
    commit: Commit = None,
    start_engine: StartEngine = False,
    allow_rollback: AllowRollback = False,
    allow_dirty: AllowDirty = False,
    list: List = False,
    why: Why = False,
    plan: Plan = False,
    verify: Verify = False,
    graph: Graph = None,
    migrate: Migrate = None,
    shim: Shim = None,
    stdout: Stdout = False,
    check: Check = False,
    literal: Literal = False,
    directory: Directory = [],  # noqa: B006
    file: File = None,
    silent: Silent = False,
    trace: Trace = False,
    json: Json = False,
    version: Version = False,
) -> dict[str, Any]:
    """Make for image pipelines: runs what is stale of the rules in Pipefile.py.

    With no TARGET: the Pipefile's default, else its first rule.
    """
    return dict(locals())


def parse(words: Sequence[str]) -> Request | int:
    """The request that the words make, or an exit code when they were answered already (`--help`).

    Raises:
        UsageError: an unknown option or a bad value, with what may have been meant.
    """
    command = get_command(face)
    try:
        result = command.main(normalise(words), prog_name="imgmake", standalone_mode=False)
    except typer.TyperException as error:
        raise _usage(error, sorted(name for param in command.params for name in param.opts)) from None
    return request(**result) if isinstance(result, dict) else int(result or 0)


def _usage(error: typer.TyperException, known: Sequence[str]) -> UsageError:
    name = getattr(error, "option_name", None)
    if name is None or name in known:
        return UsageError(error.format_message(), hint="imgmake --help shows the options")
    close = get_close_matches(name, known, n=1)
    return UsageError(f"no option {name}", hint=f"did you mean {close[0]}?" if close else "imgmake --help shows them")
