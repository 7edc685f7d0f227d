"""`--migrate`: reads a Makefile with make's help, writes the Pipefile, and asks both what they would run.

imgmake is asked in a world without images, registries and records, as make is asked in a folder without built files.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from imgmake.app.options import Options
from imgmake.app.planning import lines
from imgmake.app.proving import compare, prove
from imgmake.app.reviewing import reviewed
from imgmake.app.session import FOLDER
from imgmake.errors import UsageError
from imgmake.migrate import sources
from imgmake.migrate.mending import Mend
from imgmake.migrate.migration import Migration, migrate
from imgmake.migrate.model import Compared, Doubt
from imgmake.migrate.report import report
from imgmake.migrate.scratch import Make, copy, repository
from imgmake.migrate.targetnames import COPY
from imgmake.pipefile.loader import NAME
from imgmake.shell import LocalShell
from imgmake.shim import MAKEFILES, is_shim

__all__ = ["MAKEFILES", "Migrated", "check_makefile", "lines", "migrate_makefile", "migrating"]


def migrating(options: Options) -> tuple[str, int]:
    """`--migrate` and `--check`: what is told, and the exit code: 1 when `--check` finds a difference."""
    makefile = options.migrate or ""
    if options.check:
        found = check_makefile(options, makefile)
        return _told(found), 1 if any(each.verdict == "different" for each in found.compared) else 0
    found = migrate_makefile(options, makefile, literal=options.literal, write=not options.stdout)
    return (found.migration.pipefile.text if options.stdout else _told(found)), 0


def _told(found: Migrated) -> str:
    pipefile = found.migration.pipefile
    told = report(
        found.makefile,
        found.written,
        found.migration.findings,
        pipefile.notes,
        pipefile.left,
        found.compared,
        isolated=found.isolated,
        asked=found.asked,
        mended=[(each.file, each.line, each.why) for each in found.mended],
    )
    return found.home(found.placed(told))


@dataclass(frozen=True)
class Migrated:
    """What a migration came to."""

    makefile: str
    migration: Migration
    compared: tuple[Compared, ...] = ()
    isolated: bool = True
    written: str = ""  # where the Pipefile was written
    mended: tuple[Mend, ...] = ()  # what make was spared to read, since it could not
    asked: tuple[str, str] | None = None  # another tool than make, and how
    placed: Callable[[str], str] = str  # names the lines of what was read as a Makefile
    home: Callable[[str], str] = str  # names the folder itself, where its copy is named


def migrate_makefile(options: Options, makefile: str = "", *, literal: bool = False, write: bool = True) -> Migrated:
    """Make a Pipefile of a Makefile. Raises UsageError where one stands already, MakeFailed.

    makefile: its path from the folder; empty: the one that make would take.
    write:    put the Pipefile beside it; else only tell.
    """
    path = _makefile(options.directory, makefile)
    folder, pipefile = path.parent.resolve(), path.parent / NAME
    if not path.is_file():
        raise UsageError(f"there is no {path}", hint="name the Makefile: imgmake --migrate build/Makefile")
    if write and pipefile.exists():
        raise UsageError(
            f"{pipefile} is there already: it is not overwritten", hint="--stdout shows what would be written"
        )
    with _scratch(folder, options) as scratch:
        make, text = sources.make(scratch, path.name, LocalShell(), options.environ)
        migration, compared = prove(
            options,
            scratch,
            make,
            lambda doubts: migrate(
                path.name,
                text,
                make,
                literal=literal,
                doubted=doubts.targets,
                waiting=doubts.waiting,
                early=doubts.early,
            ),
        )
        migration = reviewed(options, scratch, migration, make)
        home = _home(scratch, folder)
        text = home(make.placed(migration.pipefile.text))
        migration = replace(migration, pipefile=replace(migration.pipefile, text=text))
        if write:
            pipefile.write_text(text)
        return _migrated(path.name, migration, compared, make, home, str(pipefile) if write else "")


def check_makefile(options: Options, makefile: str = "") -> Migrated:
    """Compare the Pipefile that is there with the Makefile beside it, target by target."""
    path = _makefile(options.directory, makefile)
    if not (path.parent / NAME).exists():
        raise UsageError(f"there is no {path.parent / NAME} to compare", hint="imgmake --migrate writes one")
    with _scratch(path.parent.resolve(), options) as scratch:
        make, text = sources.make(scratch, path.name, LocalShell(), options.environ)
        failing = {name: Doubt(2, why) for name, why in make.failing.items()}
        migration = migrate(path.name, text, make, doubted=failing)
        text = (path.parent / NAME).read_text()
        migration = replace(migration, pipefile=replace(migration.pipefile, text=text))
        compared = compare(options, scratch, make, migration)
        home = _home(scratch, path.parent.resolve())
        return _migrated(path.name, reviewed(options, scratch, migration, make), compared, make, home)


def _migrated(
    file: str,
    migration: Migration,
    compared: tuple[Compared, ...],
    make: Make,
    home: Callable[[str], str],
    written: str = "",
) -> Migrated:
    return Migrated(
        file,
        migration,
        tuple(replace(each, target=home(each.target)) for each in compared),
        make.isolated,
        written,
        tuple(make.mended),
        make.tool if make.tool[0] else None,
        make.placed,
        home,
    )


def _home(scratch: Path, folder: Path) -> Callable[[str], str]:
    """A text that names the copy's folder, or one above it, with the folder that it is a copy of."""
    pairs = [(str(scratch), str(folder))]
    for copied, real in zip(scratch.parents, folder.parents, strict=False):
        if copied.name.startswith(COPY):
            break
        pairs.append((str(copied), str(real)))

    def home(text: str) -> str:
        for copied, real in pairs:
            text = text.replace(copied, real)
        return text

    return home


def _makefile(folder: Path, name: str) -> Path:
    path = folder / (name or _found(folder))
    if path.is_file() and is_shim(path.read_text(errors="replace")):
        hint = "name the one that it replaced: --migrate=Makefile.old"
        raise UsageError(f"{path} says nothing of its own: --shim wrote it", hint=hint)
    return path


def _found(folder: Path) -> str:
    name = next((name for name in MAKEFILES if (folder / name).is_file()), None)
    if name is None:
        raise UsageError(f"there is no Makefile in {folder}", hint="name it: imgmake --migrate build/Makefile")
    return name


@contextlib.contextmanager
def _scratch(folder: Path, options: Options) -> Iterator[Path]:
    """A copy of the repository that the folder is in, at that folder: what is included may stand above it."""
    with tempfile.TemporaryDirectory(prefix=COPY) as made:
        top = repository(folder, LocalShell(), options.environ)
        whole = Path(made) / top.name
        whole.mkdir()
        copy(top, whole, LocalShell(), options.environ, folder)
        scratch = whole / folder.relative_to(top)
        scratch.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch / FOLDER, ignore_errors=True)
        yield scratch
