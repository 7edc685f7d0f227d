"""Finds `Pipefile.py`, executes it and those it includes, and hands back what they declared.

Knows the file system and Python's import machinery, nothing of engines or of the command line. A load
leaves nothing behind in the process: working directory, import path and modules are as before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from imgmake.declare.collector import ACTIVE, Collector
from imgmake.declare.review import review, unknown_variables
from imgmake.errors import ImgmakeError, Place, UsageError, raise_all
from imgmake.model import Pipeline, Variable
from imgmake.pipefile.loader import NAME, Loader
from imgmake.variables import LATE

__all__ = ["NAME", "find", "load"]


def find(directory: Path, file: str | Path | None = None) -> Path:
    """The Pipefile of a directory: `file` (``-f``) or ``Pipefile.py``; never one further up, as with make.

    Raises UsageError when there is none, and says where the nearest one is.
    """
    wanted = directory / (file or NAME)
    if wanted.is_file():
        return wanted
    if wanted.is_dir():
        inside = wanted / NAME
        hint = f"did you mean -f {os.path.relpath(inside, directory)}?" if inside.is_file() else ""
        raise UsageError(f"{file or NAME} is a folder", hint=hint)
    if not directory.is_dir():
        raise UsageError(f"there is no folder {directory}")
    hint = _elsewhere(directory) if file is None else ""
    raise UsageError(f"there is no {file or NAME} in {directory.absolute()}", hint=hint)


def _elsewhere(directory: Path) -> str:
    for parent in directory.absolute().parents:
        if (parent / NAME).is_file():
            return f"there is one above: imgmake -C {os.path.relpath(parent)}"
    names = sorted(path.name for path in directory.glob("*")) if directory.is_dir() else []
    other = next((name for name in names if name.lower() in ("pipefile", "pipefile.py")), None)
    if other:
        return f"rename {other} to {NAME}"
    if {"GNUmakefile", "Makefile", "makefile"} & set(names):
        return f"imgmake --migrate writes {NAME} from the Makefile"
    return f"write {NAME}, or name another folder with -C"


def load(path: Path, *, overrides: Mapping[str, str], environ: Mapping[str, str], project: str = "") -> Pipeline:
    """Execute the Pipefile at `path`, in its folder, and return what it declared.

    overrides: ``NAME=value`` of the command line.
    environ:   the environment that variables are looked up in.
    project:   what images without tags are called after, where that is not the folder's name.

    A metadata name (``BUILD_ID``) is among the pipeline's variables only when one of the two gave it.
    Raises PipefileError (with the Pipefile's own line), UsageError for an override that nothing declares,
    or Problems with all that was found.
    """
    root = Path(os.path.realpath(path.parent))
    collector = Collector(root, overrides=overrides, environ=environ, project=project)
    loader = Loader(root, collector)
    with _active(collector), loader.untouched_process():
        loader.execute(root / path.name)
    if loader.whole:
        collector.problems += [*review(collector), *unknown_variables(collector)]
    raise_all(sorted(collector.problems, key=lambda problem: _position(problem, loader.pipefiles)))
    return Pipeline(
        root=root,
        rules=tuple(collector.rules),
        variables={**collector.variables, **_given_metadata(collector, path.name)},
        default=collector.default[0] if collector.default else None,
        pipefiles=(*loader.pipefiles, *sorted(loader.modules)),
        modules=tuple(sorted(loader.modules)),
    )


def _position(problem: ImgmakeError, files: Sequence[str]) -> tuple[int, int]:
    place = problem.place
    if place is None:
        return len(files) + 1, 0
    return (files.index(place.file) if place.file in files else len(files)), place.line


def _given_metadata(collector: Collector, file: str) -> Mapping[str, Variable]:
    """Metadata that the user gave: such a value wins. One set to nothing is as good as not given."""
    found = {}
    for name in LATE:
        for source, origin in ((collector.overrides, "command line"), (collector.environ, "environment")):
            if name != "FINGERPRINT" and source.get(name):
                found[name] = Variable(name=name, place=Place(file, 0), value=source[name], origin=origin)
                break
    return found


@contextmanager
def _active(collector: Collector) -> Iterator[None]:
    token = ACTIVE.set(collector)
    try:
        yield
    finally:
        ACTIVE.reset(token)
