"""Commands of a recipe that speak of their Makefile: ``make`` for its own targets, ``grep '##'`` for their help."""

from __future__ import annotations

import re

from imgmake.migrate import docker
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.layout import stem_of
from imgmake.migrate.python import Part, merged, today
from imgmake.migrate.values import Values

LIST = "imgmake --list"  # tells what a help target greps out of the Makefile
_GREPS = re.compile(r"^(?:@|\()*\s*(?:e?grep|awk|gawk|sed|perl|cat)\b")


def spoken(parts: list[Part], values: Values) -> list[Part]:
    """The command as one that needs no Makefile; as it is where that is not certain."""
    plain = today(parts)
    if _GREPS.match(plain) and "##" in plain and re.search(rf"(?<![\w.]){re.escape(values.make.makefile)}\b", plain):
        return [Part(LIST)]
    if plain.startswith("make ") and not parts[0].name and _own(parts, values):
        first = parts[0].text.replace(" --no-print-directory", "")
        return merged([Part(f"img{first}"), *parts[1:]])
    return parts


def _own(parts: list[Part], values: Values) -> bool:
    """Whether a call of make is for targets of this Makefile, with variables that its Pipefile can be given."""
    try:
        found = docker.words(parts, spread=False).words[1:]
    except Uncovered:
        return False
    every = [docker.text_of(word) for word in found]
    goals = [word for word in every if "=" not in word and word != "--no-print-directory"]
    given = [word.partition("=")[0] for word in every if "=" in word]
    named = all(_is_target(word, values) for word in goals)
    return bool(goals) and named and all(_can_be_given(name, values) for name in given)


def _is_target(name: str, values: Values) -> bool:
    made = values.database.targets.get(name)
    if made is not None and made.target_file:
        return True
    return any(stem_of(pattern, name) for rule in values.database.implicit for pattern in rule.name.split())


def _can_be_given(name: str, values: Values) -> bool:
    if name not in values.definitions and name not in values.inputs:
        return False
    known = values.known(name)
    return known.kind in ("variable", "late") and known.exported == name
