"""Names that a list of the Makefile's is behind, written as loops over that list. Pure.

``"push-a", "push-b", "push-c"`` of ``IMAGES = "a b c"`` is ``[f"push-{name}" for name in IMAGES.split()]``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from imgmake.migrate import layout
from imgmake.migrate.python import Part, expression, quoted

FEWEST = 3  # words of a list for which a loop is shorter

Lists = Mapping[str, Sequence[str]]  # the words of each list, by its Python name


def loop(stems: Sequence[str], lists: Lists) -> str:
    """The source of what a loop over stems goes through: a list of the Makefile's, or the words themselves."""
    for name, words in lists.items():
        if list(words) == list(stems) and len(words) > 1:
            return f"{name}.split()"
    return f"({', '.join(map(quoted, stems))})"


def folded(source: str, lists: Lists) -> str:
    """A call with each run of names among its arguments that is a list's words, all alike, as a loop.

    >>> folded('phony("all", "b-x", "b-y", "b-z")', {"IMAGES": ("x", "y", "z")})
    'phony("all", [f"b-{name}" for name in IMAGES.split()])'
    """
    head, bracket, rest = source.partition("(")
    if not bracket or not rest.endswith(")") or "\n" in source:
        return source
    arguments = layout.split(rest[:-1])
    found, at = arguments[:1], 1
    while at < len(arguments):
        name, template, length = next(_runs(arguments, at, lists), ("", "", 1))
        words = f"{name}.split()"
        found.append(
            arguments[at] if not name else words if template == "name" else f"[{template} for name in {words}]"
        )
        at += length
    return f"{head}({', '.join(found)})" if found != arguments else source


def _runs(arguments: Sequence[str], at: int, lists: Lists) -> Iterator[tuple[str, str, int]]:
    for name, words in lists.items():
        given = [_text(each) for each in arguments[at : at + len(words)]]
        if len(given) == len(words) >= FEWEST and all(given) and (template := _template(given, words)):
            yield name, template, len(words)


def _template(given: Sequence[str], words: Sequence[str]) -> str:
    """What all names are with their word for ``name``; empty when they are not alike."""
    before, found, after = given[0].partition(words[0])
    alike = found and all(each == f"{before}{word}{after}" for each, word in zip(given, words, strict=True))
    return expression([Part(before), Part(name="name"), Part(after)]) if alike else ""


@lru_cache(maxsize=1 << 13)
def _text(source: str) -> str:
    if not source.startswith('"'):
        return ""
    try:
        value = ast.literal_eval(source)
    except (SyntaxError, ValueError):
        return ""
    return value if isinstance(value, str) else ""
