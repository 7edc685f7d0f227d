"""`--migrate` of files that are no Makefile: bake and compose files; and which of them is taken.

Each is read in a copy of the folder; what its tool would do and what imgmake would do are compared there.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imgmake.app.migrating import MAKEFILES, lines
from imgmake.app.migrating import migrating as migrating_makefile
from imgmake.app.options import Options
from imgmake.app.session import FOLDER
from imgmake.errors import UsageError
from imgmake.migrate import sources
from imgmake.migrate.model import Compared, Pipefile
from imgmake.migrate.proof import Source
from imgmake.migrate.report import report
from imgmake.migrate.scratch import copy
from imgmake.pipefile.loader import NAME
from imgmake.shell import LocalShell


def migrating(options: Options) -> tuple[str, int]:
    """`--migrate` and `--check`: what is told, and the exit code: 1 when `--check` finds a difference."""
    file, others = chosen(options)
    if not sources.known(file) or sources.translated(file):
        text, code = migrating_makefile(replace(options, migrate=file))
        return (text if options.stdout or not others else text + _beside(file, others)), code
    found = migrate_other(options, file, write=not (options.stdout or options.check))
    if options.stdout and not options.check:
        return found.pipefile.text, 0
    different = any(each.verdict == "different" for each in found.compared)
    return found.told() + (_beside(file, others) if others else ""), int(options.check and different)


def chosen(options: Options) -> tuple[str, list[str]]:
    """The file that is migrated, and the others in its folder that could be. A Makefile comes first.

    >>> chosen(Options(migrate="ci/docker-bake.hcl"))
    ('ci/docker-bake.hcl', [])
    """
    if options.migrate:
        return options.migrate, []
    there = [name for name in (*MAKEFILES, *sources.NAMES) if (options.directory / name).is_file()]
    distinct = [name for name in there if name not in MAKEFILES[1:] or not set(MAKEFILES[:1]) & set(there)]
    return (distinct[0] if distinct else ""), [name for name in distinct[1:] if sources.known(name)]


def _beside(file: str, others: Sequence[str]) -> str:
    return f"\n{file} was taken; also here: {', '.join(others)} (imgmake --migrate {others[0]})\n"


@dataclass(frozen=True)
class Found:
    """What the migration of such a file came to."""

    source: Source
    compared: tuple[Compared, ...] = ()
    written: str = ""

    @property
    def pipefile(self) -> Pipefile:
        return self.source.pipefile

    def told(self) -> str:
        pipefile, file = self.source.pipefile, self.source.file
        asked = self.source.tool, self.source.asked
        told = report(file, self.written, (), pipefile.notes, pipefile.left, self.compared, isolated=True, asked=asked)
        return told if self.compared else f"{told}\nnothing was compared: {self.source.unproven}\n"


def migrate_other(options: Options, file: str, *, write: bool = True) -> Found:
    """Make a Pipefile of such a file. Raises UsageError where one stands already, ToolFailed.

    write: put the Pipefile beside it; else only tell, and with `--check` compare the one that is there.
    """
    path, check = options.directory / file, options.check
    pipefile = path.parent / NAME
    if not path.is_file():
        raise UsageError(f"there is no {path}", hint=f"imgmake --migrate takes a Makefile, or {sources.KINDS}")
    if check and not pipefile.exists():
        raise UsageError(f"there is no {pipefile} to compare", hint=f"imgmake --migrate {file} writes one")
    if write and pipefile.exists():
        raise UsageError(
            f"{pipefile} is there already: it is not overwritten", hint="--stdout shows what would be written"
        )
    with _scratch(path.parent.resolve(), options) as scratch:
        source = sources.read(scratch, path.name, LocalShell(), options.environ)
        if check:
            source = replace(source, pipefile=replace(source.pipefile, text=pipefile.read_text()))
        compared = _compare(options, scratch, source)
    if write:
        pipefile.write_text(source.pipefile.text)
    return Found(source, compared, str(pipefile) if write else "")


@contextlib.contextmanager
def _scratch(folder: Path, options: Options) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="imgmake-migrate-") as made:
        scratch = Path(made) / folder.name
        scratch.mkdir()
        copy(folder, scratch, LocalShell(), options.environ)
        shutil.rmtree(scratch / FOLDER, ignore_errors=True)
        yield scratch


def _compare(options: Options, scratch: Path, source: Source) -> tuple[Compared, ...]:
    """Every target in both; the Pipefile stands in the scratch folder for that time."""
    (scratch / NAME).write_text(source.pipefile.text)
    own = {name: value for name, value in options.environ.items() if name not in source.pipefile.overridable}
    plain = replace(options, directory=scratch, file=None, environ=own, dry_run=True, migrate=None, check=False)

    def planned(target: str, overrides: Mapping[str, str]) -> Sequence[tuple[str, str, str]]:
        return lines(replace(plain, overrides=overrides, goals=(target,)))

    return source.compare(planned)
