"""`--shim`: writes a Makefile whose targets call imgmake, so that what calls make goes on as before."""

from __future__ import annotations

import itertools
from pathlib import Path

from imgmake.app.options import Options
from imgmake.app.wiring import load
from imgmake.errors import UsageError
from imgmake.model import FileRule
from imgmake.pipefile import NAME
from imgmake.shim import MAKEFILES, is_shim, makefile


def shimming(options: Options) -> str:
    """Write the Makefile, or only tell it (`stdout`); what is told. Raises UsageError where another one stands."""
    pipeline = load(options)
    name = options.shim or MAKEFILES[-1]
    targets = (rule.targets if isinstance(rule, FileRule) else [rule.target] for rule in pipeline.rules)
    text = makefile(itertools.chain.from_iterable(targets), pipefile=str(options.file or NAME), own=name)
    if options.stdout:
        return text
    _refuse(options.directory, name)
    path = options.directory / name
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    call = "make" if name in MAKEFILES else f"make -f {name}"
    return f"{path} is written: `{call} TARGET` calls imgmake\n"


def _refuse(folder: Path, name: str) -> None:
    """Never over a Makefile that somebody wrote, nor beside one that make would read instead."""
    before = MAKEFILES[: MAKEFILES.index(name)] if name in MAKEFILES else ()
    for other in (*before, name):
        path = folder / other
        if path.exists() and not (path.is_file() and is_shim(path.read_text(errors="replace"))):
            what = "it is not overwritten" if other == name else f"make would read it, not {name}"
            raise UsageError(
                f"{path} is there already: {what}",
                hint=f"move it away, or name another file: --shim {name}.new; --stdout shows what would be written",
            )


__all__ = ["shimming"]
