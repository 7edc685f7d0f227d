"""Layers only import downward: every file's ast against the tables below. Type-only and local imports count."""

from __future__ import annotations

import ast
import functools
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

PACKAGE = Path(__file__).parents[2] / "imgmake"

WORDS = {"errors", "model"}
THOUGHT = {
    "attest",
    "commands",
    "declare",
    "dockerfile",
    "durations",
    "fingerprint",
    "freshness",
    "graph",
    "ignore",
    "imagerule",
    "inference",
    "makeflags",
    "metadata",
    "plan",
    "ports",
    "purity",
    "references",
    "shim",
    "stamp",
    "tags",
    "variables",
    "versions",
}
DRIVE = {"executor"}
EDGES = {"builders", "engine", "jobserver", "migrate", "pipefile", "registry", "reporters", "shell", "sources", "state"}
WIRING = {"app", "session", "wiring"}
FACE = {"cli", "__main__"}
FIRST = {"settled"}  # asked before anything else is imported: whatever it imported would be waited for on every run
FRONT = {"__init__"}  # the names a Pipefile imports

DOWN_FROM = {
    **dict.fromkeys(WORDS, WORDS),
    **dict.fromkeys(THOUGHT, WORDS | THOUGHT),
    **dict.fromkeys(DRIVE, WORDS | THOUGHT | DRIVE),
    **{edge: WORDS | THOUGHT | {edge} for edge in EDGES},  # never each other, never the drive
    **dict.fromkeys(WIRING, WORDS | THOUGHT | DRIVE | WIRING | FIRST | EDGES - {"reporters"}),  # app joins
    "cli": WORDS | {"ports", "app", "cli", "reporters"},
    "__main__": {"cli"} | FIRST,
    **{name: set() for name in FIRST},
    "__init__": WORDS | THOUGHT,
}

ONLY_HERE = {
    "docker": {"engine", "builders"},
    "dockerfile": {"dockerfile"},
    "git": {"sources"},
    "networkx": {"graph"},
    "oras": {"registry"},
    "requests": {"builders", "engine", "registry"},  # the docker SDK lets its errors through
    "rich": {"reporters"},
    "sqlite3": {"state"},
    "subprocess": {"shell", "builders"},
    "typer": {"cli"},
}

LONGEST_MODULE, LONGEST_FUNCTION = 400, 50


class Import(NamedTuple):
    """`module` is dotted from the top; `line` is where the import stands."""

    module: str
    line: int


FILES = sorted(PACKAGE.rglob("*.py"))


@functools.cache
def nodes(path: Path) -> Sequence[ast.AST]:
    """All of a module's syntax tree, the module first."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def name_of(path: Path) -> str:
    """``imgmake/cli/words.py`` is ``imgmake.cli.words``; a package is its ``__init__.py``."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def part_of(module: str) -> str:
    """The name under which a module stands in the tables."""
    return module.split(".")[1] if "." in module else "__init__"


PARTS = [(part_of(name), path) for name, path in MODULES.items()]


def imports(path: Path) -> Iterator[Import]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports from the top"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield Import(inner if inner in MODULES else str(node.module), node.lineno)


def ours(path: Path) -> Iterator[Import]:
    return (each for each in imports(path) if each.module.split(".")[0] == "imgmake")


def test_every_module_has_a_layer() -> None:
    assert {part_of(name) for name in MODULES} <= DOWN_FROM.keys(), "a new module needs a place in the tables above"


def test_imports_only_point_downward() -> None:
    wrong = [
        f"{path}:{line}: {here} imports {module}"
        for here, path in PARTS
        for module, line in ours(path)
        if part_of(module) not in DOWN_FROM.get(here, ())
    ]
    assert not wrong, "\n".join(wrong)


def test_libraries_stay_where_they_belong() -> None:
    wrong = [
        f"{path}:{line}: {here} imports {module}"
        for here, path in PARTS
        for module, line in imports(path)
        if here not in ONLY_HERE.get(module.split(".")[0], {here})
    ]
    assert not wrong, "\n".join(wrong)


def test_no_cycle_between_modules() -> None:
    uses = {name: {each.module for each in ours(path)} - {name} for name, path in MODULES.items()}
    graphlib.TopologicalSorter(uses).prepare()  # raises CycleError with the path


def test_the_check_sees_every_spelling(tmp_path: Path) -> None:
    path = tmp_path / "spelt.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from imgmake.app import Options\n"
        "def f():\n    import imgmake.cli\n    from imgmake import errors\n"
    )
    assert {each.module for each in ours(path)} == {"imgmake.app", "imgmake.cli", "imgmake.errors"}


def test_each_module_opens_with_a_header() -> None:
    trees = {path: cast(ast.Module, nodes(path)[0]) for path in FILES}
    headers = {path: (ast.get_docstring(tree) or "").partition("\n")[0] for path, tree in trees.items()}
    assert [str(path) for path, header in headers.items() if not header.endswith((".", ":"))] == []


def test_modules_stay_short() -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in FILES}
    assert {path: length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_functions_stay_short() -> None:
    long = [
        f"{path}:{node.lineno} {node.name}"
        for path in FILES
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    ]
    assert long == []


def test_nothing_is_left_for_later() -> None:
    written = PACKAGE / "migrate" / "model.py"  # the word that --migrate writes into Pipefiles stands there
    texts = {path: path.read_text() for path in FILES if path != written}
    assert [str(path) for path, text in texts.items() if re.search(r"\b(TODO|FIXME|XXX)\b", text)] == []


def test_nobody_prints_but_through_a_reporter() -> None:
    calls = (
        (path, node.func)
        for path in FILES
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    )
    assert [f"{path}:{name.lineno}" for path, name in calls if name.id == "print"] == []


HEAVY = ("docker", "git", "networkx", "rich", "typer", "requests", "oras", "sqlite3")


def test_the_front_door_is_light() -> None:
    code = f"import imgmake, sys; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout.split() == []
