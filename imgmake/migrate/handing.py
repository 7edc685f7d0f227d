"""Variables that a target sets for all that it needs: imgmake is called anew for that, with their values. Pure.

https://www.gnu.org/software/make/manual/html_node/Target_002dspecific.html
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from imgmake.migrate.expand import Uncovered


def down(
    used: Sequence[str], given: Iterable[tuple[str, str, str]], known: Collection[str], *, to_file: bool
) -> dict[str, str]:
    """The values of some variables as texts of a recipe: what the command line gives is stronger, as in make.

    given:   what the target sets: names, operators, texts.
    known:   variables that the Makefile sets for all; one with a default does not tell whether it was given.
    to_file: whether the target is a file, which is made from what it needs.

    Raises Uncovered.
    """
    texts = {name: text for name, op, text in given if op in ("=", ":=", "::=", "?=")}
    for name in used:
        if name not in texts or name in known or to_file:
            raise Uncovered(f"{name} is set for this target, and for what it needs")
    return {name: _unless_set(name, texts) for name in used}


def exported(names: Collection[str], known: Collection[str], *, below: bool) -> list[str]:
    """The variables that a target exports to its own commands; `below`: whether to others', too. Raises Uncovered."""
    if names and below:
        raise Uncovered(f"{min(names)} is exported for this target, and for what it needs")
    if missing := set(names) - set(known):
        raise Uncovered(f"{min(missing)} is exported for the targets of a pattern")
    return sorted(names)


def call(goals: Iterable[str], handed: Mapping[str, str]) -> str:
    """The recipe line that makes some targets, one after the other, with these values."""
    names = dict.fromkeys(name for name in goals if name != ".WAIT")
    return f"@imgmake {' '.join([*names, *(f'{name}={text}' for name, text in handed.items())])}"


def _unless_set(name: str, texts: Mapping[str, str]) -> str:
    """What a variable is set to, for a shell that may have another value of it. Raises Uncovered.

    >>> _unless_set("TAG", {"BASE": "alpine", "TAG": "$(VERSION)-$(BASE)"})
    '$${TAG:-$(VERSION)-$${BASE:-alpine}}'
    """
    others = {each: text for each, text in texts.items() if each != name}

    def inner(use: re.Match[str]) -> str:
        return _unless_set(use[1], others) if use[1] in others else use[0]

    text = re.sub(r"\$[({](\w+)[)}]", inner, texts[name])
    if not re.fullmatch(r"[\w./:@+,=(){}$ -]*", text):
        raise Uncovered(f"{name} is set for this target, and for what it needs")
    word = f"$${{{name}:-{text}}}"
    return f'"{word}"' if " " in texts[name].strip() else word
