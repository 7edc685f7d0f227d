"""Names that targets have otherwise in a Pipefile: none is outside of its folder, no folder ends in a slash there."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from imgmake.migrate.model import Compared
from imgmake.migrate.python import Part, Parts, expression, quoted

COPY = "imgmake-migrate-"  # what the folders begin with that repositories are copied to


def inside(name: str, folder: str) -> str:
    """The path from a folder of what is written from the root; any other name as it is.

    >>> inside("/repo/bin/x", "/repo"), inside("bin/x", "/repo"), inside("/usr/bin/x", "/repo")
    ('bin/x', 'bin/x', '/usr/bin/x')
    """
    if folder and name.startswith(f"{folder}/"):
        return name.removeprefix(f"{folder}/")
    copied = re.match(rf".*/{COPY}[^/]+/", folder)  # all of the repository that is above the folder
    return posixpath.relpath(name, folder) if copied and name.startswith(copied[0]) else name


def called(name: str, home: str = "") -> str:
    """What a target of a Makefile's is called in a Pipefile.

    >>> called("var/"), called("../tool.yaml"), called("/home/me/.local/bin/x", "/home/me"), called("a/b")
    ('var', 'tool.yaml', '.local/bin/x', 'a/b')
    """
    below = name.removeprefix(f"{home}/") if home else name
    return "/".join(part for part in below.split("/") if part not in ("", ".", "..")) or name


def outside(name: str, folder: str) -> bool:
    """Whether a target is no file below a folder, so that no rule for a file can make it."""
    path = posixpath.normpath(posixpath.join(folder, name))
    return not path.startswith(f"{folder}/")


def spelling(name: str, parts: Parts, home: str, folder: str) -> str:
    """The expression for a target of some name, which is spelt so in the Makefile."""
    if (path := inside(name, folder)) != name:
        return expression(parts) if any(part.name for part in parts) else quoted(called(path, home))
    here = called(name, home)
    if here == name:
        return expression(parts)
    if name.startswith("/"):
        return quoted(here)  # wherever it is on a machine: no name of a Pipefile's is a path from the root
    if name == f"{here}/" and parts and not parts[-1].name and parts[-1].text.endswith("/"):
        return expression([*parts[:-1], replace(parts[-1], text=parts[-1].text[:-1])])
    return expression(parts) if any(part.name for part in parts) else quoted(here)


def out(target: str, own: Part) -> Sequence[Part]:
    """What a file's recipe calls its target, with the slash that a folder's name ends in."""
    return [replace(own, leaves=(target.rstrip("/"),)), Part("/")] if target.endswith("/") else [own]


def looked_for(name: str, parts: Parts, home: str) -> str:
    """The expression for whether a file outside of the folder is there."""
    if any(part.name for part in parts):
        return f"Path({expression(parts)}).exists()"
    if home and name.startswith(f"{home}/"):
        return f"Path({quoted('~' + name.removeprefix(home))}).expanduser().exists()"
    return f"Path({quoted(name)}).exists()"


def renamed(found: Compared, names: Mapping[str, str], folder: str) -> Compared:
    """With what a target is called here, where imgmake would not find it under its own name."""
    name = names.get(found.target, found.target)
    if found.verdict == "different" or name == found.target.rstrip("/"):
        return found
    why = "" if inside(found.target, folder) != found.target else ", since it stands outside of the folder"
    return replace(found, why=(*found.why, f"is called {name} here{why}"))
