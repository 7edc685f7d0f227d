"""What a Makefile's commands read of their environment: make hands them what its own command line sets, told or not."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from imgmake.migrate.expand import mentioned
from imgmake.migrate.model import Database, Left, Made
from imgmake.migrate.stated import lines

_SCRIPTS = frozenset([".bash", ".js", ".mjs", ".pl", ".py", ".rb", ".sh", ".ts", ".zsh"])
_COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_BAKE = ("docker-bake.json", "docker-bake.hcl")
_MOST = 1 << 20  # bytes of a script that are looked through


def handed(database: Database, folder: Path, variables: Collection[str], exported: Collection[str]) -> list[Left]:
    """A note for each line that runs a script which reads a variable that the line does not name.

    variables: those that may be given on the command line.
    exported:  those that every recipe is given anyway.
    """
    found = {}
    for made in database.targets.values():
        for text, path in _run(made, folder):
            names = [name for name in variables if name not in exported and name not in mentioned(text)]
            if read := sorted(_read(folder / path, names)):
                found[path, tuple(read)] = Left(made.line, "", _why(path, read), file=made.file)
    return list(found.values())


def _why(path: str, read: list[str]) -> str:
    given = ", ".join(f"{name}={name}" for name in read)
    return (
        f"{path} reads {' and '.join(read)}: make hands on what its command line sets, "
        f"imgmake only what a command names: sh(…, {given})"
    )


def _run(made: Made, folder: Path) -> Iterator[tuple[str, str]]:
    """Each line of a recipe with each script that it names, or whose tool reads a file of its own."""
    for line in lines(made) if made.target_file else ():
        for word in re.findall(r"[\w./-]+", line.text):
            path = folder / word
            if "." in word and _is_script(path, folder):
                yield line.text, word.removeprefix("./")
        own: tuple[str, ...] = _COMPOSE if re.search(r"\bdocker[ -]compose\b", line.text) else ()
        own = _BAKE if re.search(r"\bbuildx bake\b", line.text) else own
        yield from ((line.text, name) for name in own if (folder / name).is_file())


def _is_script(path: Path, folder: Path) -> bool:
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        return False
    return path.suffix in _SCRIPTS or _head(path, 2) == b"#!"


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _read(path: Path, names: Collection[str]) -> Iterator[str]:
    text = _head(path, _MOST).decode(errors="replace")
    for name in names:
        if name in text and re.search(
            rf"\$\{{?{name}\b|\b(?:environ|getenv|env|ENV|process\.env)\b\W{{0,3}}{name}\b|variable \"{name}\"", text
        ):
            yield name
