"""What a text asks of a shell while make expands it, as a shell's own ``$(…)`` in a Pipefile. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from imgmake.migrate.python import Part, Parts, open_quote, today

_FIRST = 0xE100  # of characters that nobody writes, each in the place of a value


@dataclass(frozen=True)
class Question:
    """A command between ``$(`` and ``)``.

    named: as it stands in a shell's text; values that a shell has are names there, out of any single quotes.
    today: the same with make's values of today.
    frame: a pattern for it with any values.
    """

    named: str
    today: str
    frame: str


def question(parts: Parts) -> Question:
    """The command that parts come to.

    >>> print(question([Part("cat '"), Part(name="A", shell="A", value="x"), Part(".txt'")]).named)
    $(cat ''"${A}"'.txt')
    """
    every = spelt(parts)
    marks = {chr(_FIRST + at): part for at, part in enumerate(every) if part.name}
    text = "".join(chr(_FIRST + at) if part.name else part.text for at, part in enumerate(every))
    text = re.sub(rf"''(\"[{''.join(marks)}]\")''", r"\1", text) if marks else text
    named = {mark: f"${{{part.shell}}}" if part.shell else part.value for mark, part in marks.items()}
    values = {mark: part.value for mark, part in marks.items()}
    frame = re.escape(text).translate({ord(mark): ".*?" for mark in marks})
    return Question(f"$({_filled(text, named)})", f"$({_filled(text, values)})", rf"\$\({frame}\)")


def _filled(text: str, marks: Mapping[str, str]) -> str:
    return text.translate({ord(mark): value for mark, value in marks.items()})


def spelt(parts: Parts) -> list[Part]:
    """The parts with quotes that let a shell see the names between single ones."""
    found, quote = list[Part](), ""
    for part in parts:
        hidden = bool(part.shell) and quote == "'"
        found += [Part("'\""), part, Part("\"'")] if hidden else [part]
        quote = quote if part.shell else open_quote(part.value if part.name else part.text, quote)
    return found


def minding_nothing(parts: Parts, *, quiet: bool = False) -> list[Part]:
    """A command whose failure is passed over, as make does; with its complaints, if `quiet`."""
    silent = " 2>/dev/null" if quiet else ""
    if re.search(r"[;&\n]", today(parts)):
        return [Part("( "), *parts, Part(f" ){silent} || true")]
    return [*parts, Part(f"{silent} || true")]
