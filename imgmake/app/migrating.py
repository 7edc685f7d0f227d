"""`--migrate`: reads a Makefile with make's help, writes the Pipefile, and asks both what they would run.

imgmake is asked in a world without images, registries and records, as make is asked in a folder without built files.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from imgmake.app.options import Options
from imgmake.app.reviewing import reviewed
from imgmake.app.session import FOLDER, Silent, join
from imgmake.app.wiring import Engines, load, world
from imgmake.errors import CommandFailed, EngineError, ImgmakeError, RegistryError, UsageError
from imgmake.migrate.check import Checker
from imgmake.migrate.migration import Migration, migrate
from imgmake.migrate.model import Compared
from imgmake.migrate.report import report
from imgmake.migrate.scratch import Make, copy
from imgmake.pipefile.loader import NAME
from imgmake.ports import Builder, Cancel, ContainerSpec, EngineInfo, Image, Output, Registry
from imgmake.shell import LocalShell
from imgmake.state import open_state
from imgmake.variables import ARCH

MAKEFILES = ("GNUmakefile", "makefile", "Makefile")  # in make's own order


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
    return report(
        found.makefile,
        found.written,
        found.migration.findings,
        pipefile.notes,
        pipefile.left,
        found.compared,
        isolated=found.isolated,
    )


@dataclass(frozen=True)
class Migrated:
    """What a migration came to."""

    makefile: str
    migration: Migration
    compared: tuple[Compared, ...] = ()
    isolated: bool = True
    written: str = ""  # where the Pipefile was written


def migrate_makefile(options: Options, makefile: str = "", *, literal: bool = False, write: bool = True) -> Migrated:
    """Make a Pipefile of a Makefile. Raises UsageError where one stands already, MakeFailed.

    makefile: its path from the folder; empty: the one that make would take.
    write:    put the Pipefile beside it; else only tell.
    """
    path = options.directory / (makefile or _found(options.directory))
    folder, pipefile = path.parent.resolve(), path.parent / NAME
    if not path.is_file():
        raise UsageError(f"there is no {path}", hint="name the Makefile: imgmake --migrate build/Makefile")
    if write and pipefile.exists():
        raise UsageError(
            f"{pipefile} is there already: it is not overwritten", hint="--stdout shows what would be written"
        )
    with _scratch(folder, options) as scratch:
        shell = LocalShell()
        make = Make(scratch, path.name, shell, options.environ)
        migration = migrate(path.name, (scratch / path.name).read_text(errors="replace"), make, literal=literal)
        compared = _compare(options, scratch, make, migration)
        migration = reviewed(options, scratch, migration)
        if write:
            pipefile.write_text(migration.pipefile.text)
        return Migrated(path.name, migration, compared, make.isolated, str(pipefile) if write else "")


def check_makefile(options: Options, makefile: str = "") -> Migrated:
    """Compare the Pipefile that is there with the Makefile beside it, target by target."""
    path = options.directory / (makefile or _found(options.directory))
    if not (path.parent / NAME).exists():
        raise UsageError(f"there is no {path.parent / NAME} to compare", hint="imgmake --migrate writes one")
    with _scratch(path.parent.resolve(), options) as scratch:
        make = Make(scratch, path.name, LocalShell(), options.environ)
        migration = migrate(path.name, (scratch / path.name).read_text(errors="replace"), make, literal=False)
        text = (path.parent / NAME).read_text()
        migration = replace(migration, pipefile=replace(migration.pipefile, text=text))
        compared = _compare(options, scratch, make, migration)
        return Migrated(path.name, reviewed(options, scratch, migration), compared, make.isolated)


def _found(folder: Path) -> str:
    name = next((name for name in MAKEFILES if (folder / name).is_file()), None)
    if name is None:
        raise UsageError(f"there is no Makefile in {folder}", hint="name it: imgmake --migrate build/Makefile")
    return name


@contextlib.contextmanager
def _scratch(folder: Path, options: Options) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="imgmake-migrate-") as made:
        scratch = Path(made) / folder.name
        scratch.mkdir()
        copy(folder, scratch, LocalShell(), options.environ)
        shutil.rmtree(scratch / FOLDER, ignore_errors=True)
        yield scratch


def _compare(options: Options, scratch: Path, make: Make, migration: Migration) -> tuple[Compared, ...]:
    """Every target in both dry runs; the Pipefile stands in the scratch folder for that time."""
    (scratch / NAME).write_text(migration.pipefile.text)

    def planned(target: str, overrides: Mapping[str, str]) -> Sequence[tuple[str, str, str]]:
        return lines(replace(options, directory=scratch, file=None, overrides=overrides, goals=(target,), dry_run=True))

    return Checker(make, migration, planned, options.environ).every()


def lines(options: Options) -> list[tuple[str, str, str]]:
    """What a run would do where nothing is built yet: each target, its kind, and a line of it. Raises ImgmakeError."""
    found: list[tuple[str, str, str]] = []
    with contextlib.ExitStack() as stack:
        hears = Silent()
        pipeline = load(options)
        state = stack.enter_context(
            contextlib.closing(open_state(pipeline.root / FOLDER, read_only=True, say=hears.warning))
        )
        engines = Engines(options.environ, None)
        around = world(options, pipeline.root, state, hears, engines, options.environ, stack)
        around = replace(around, engine=NoImages, builder=_builder, registry=NoTags)
        session = join(options, pipeline, around)
        goals = session.goals(options.goals)
        session.check(goals)
        for prospect in session.executor.prospects(goals, lines=True):
            if prospect.forecast.error is not None:
                raise prospect.forecast.error
            found += [(prospect.node.id, prospect.node.rule.kind.value, line) for line in prospect.lines]
    return found


def _builder(forced: str | None) -> Builder:  # noqa: ARG001 (what the line is compared with is the same for each)
    from imgmake.builders import BuildkitBuilder

    return BuildkitBuilder("docker", {})


class NoImages:
    """`ports.Engine` that holds nothing and runs nothing."""

    def info(self) -> EngineInfo:
        return EngineInfo("0", "linux", ARCH, "overlay2")

    def image(self, reference: str) -> Image | None:  # noqa: ARG002
        return None

    def images(self, repositories: Iterable[str]) -> Sequence[Image]:  # noqa: ARG002
        return ()

    def labelled(self, key: str) -> Sequence[Image]:  # noqa: ARG002
        return ()

    def tag(self, image_id: str, reference: str) -> None:
        raise _asked(f"tag {image_id} {reference}")

    def untag(self, reference: str) -> None:
        raise _asked(f"untag {reference}")

    def remove(self, image_id: str) -> None:
        raise _asked(f"remove {image_id}")

    def pull(self, reference: str, *, platform: str | None, output: Output, cancel: Cancel) -> Image:  # noqa: ARG002
        raise _asked(f"pull {reference}")

    def relabel(self, image: Image, *, labels: Mapping[str, str], remove: Iterable[str] = ()) -> Image:  # noqa: ARG002
        raise _asked(f"relabel {image.id}")

    def redate(
        self,
        image: Image,
        *,
        bases: Sequence[Image],  # noqa: ARG002
        seconds: int,  # noqa: ARG002
        labels: Mapping[str, str],  # noqa: ARG002
        cancel: Cancel,  # noqa: ARG002
    ) -> Image:
        raise _asked(f"redate {image.id}")

    def export(self, image_id: str) -> AbstractContextManager[BinaryIO]:
        raise _asked(f"export {image_id}")

    def run(self, spec: ContainerSpec, *, output: Output, cancel: Cancel, stdout: Path | None = None) -> int:  # noqa: ARG002
        raise CommandFailed(f"a dry run runs no container ({spec.image})")

    def extract(self, image_id: str, path: str, to: Path) -> None:  # noqa: ARG002
        raise _asked(f"extract {path}")

    def sweep(self, owner: str) -> None:
        raise _asked(f"sweep {owner}")


def _asked(what: str) -> ImgmakeError:
    return EngineError(f"a dry run changes no engine: {what}")


def NoTags() -> Registry:  # noqa: N802 (stands where a class would)
    raise RegistryError("a comparison asks no registry")
