"""How long it takes to find a thousand file targets up to date: imgmake and make, side by side.

Usage: python benchmarks/scale.py [--targets N] [--runs N]

Layers of files, each made from three of the layer below. Both tools make them all once; then a run that has nothing
to do, and a run after one source was edited, are timed in turn, and the medians are told.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from second_run import IMGMAKE, measure, table

WIDTH = 50


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=1000, help="how many file targets")
    parser.add_argument("--runs", type=int, default=7, help="how often each command is timed")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        by_imgmake, by_make = Path(folder, "imgmake"), Path(folder, "make")
        _write(by_imgmake, by_make, options.targets)
        environ = dict(os.environ)
        commands = {
            "imgmake, nothing to do": ("env", "-C", str(by_imgmake), *IMGMAKE, "all"),
            "make, nothing to do": ("env", "-C", str(by_make), "make", "all"),
        }
        measure(commands, Path(folder), environ, 1)
        print(table(measure(commands, Path(folder), environ, options.runs)))
        edit = 'date +%N > s0; exec "$@"'
        after = {
            name.replace("nothing to do", "one edit"): ("env", "-C", command[2], "sh", "-c", edit, "-", *command[3:])
            for name, command in commands.items()
        }
        print("\n" + table(measure(after, Path(folder), environ, options.runs)).split("\n\n")[1])
    return 0


def _write(by_imgmake: Path, by_make: Path, count: int) -> None:
    names = [f"t{n}" for n in range(count)]
    for folder in (by_imgmake, by_make):
        folder.mkdir()
        for n in range(WIDTH):
            (folder / f"s{n}").write_text(f"{n}\n")
    rules = list(_rules(names))
    pipefile = [f"file({name!r}, {needs!r}, sh({_recipe(name, needs)!r}))" for name, needs in rules]
    head = ["from imgmake import default, file, phony, sh", *pipefile, f"phony('all', {names!r})", "default('all')"]
    (by_imgmake / "Pipefile.py").write_text("\n".join(head) + "\n")
    makefile = [f"{name}: {' '.join(needs)}\n\t@{_recipe(name, needs)}" for name, needs in rules]
    (by_make / "Makefile").write_text("\n".join([f".PHONY: all\nall: {' '.join(names)}", *makefile]) + "\n")


def _rules(names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    below = [f"s{n}" for n in range(WIDTH)]
    for start in range(0, len(names), WIDTH):
        layer = names[start : start + WIDTH]
        for n, name in enumerate(layer):
            yield name, [below[(n + step) % len(below)] for step in (0, 1, 7)]
        below = list(layer)


def _recipe(name: str, needs: Sequence[str]) -> str:
    return f"cat {' '.join(needs)} | cksum > {name}"


if __name__ == "__main__":
    sys.exit(main())
