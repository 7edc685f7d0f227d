"""Python source laid out as ruff would: calls broken at their arguments, imports sorted, families as loops. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

WIDTH = 120
_STRING = re.compile(r'([rf]*)("""(?:.|\n)*?"""|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\')')


def call(source: str, indent: int = 0) -> list[str]:
    """A statement's lines; one that is too long is broken at the arguments of its call."""
    return [*_call(source, indent)]


@lru_cache(maxsize=1 << 13)  # a Pipefile is written several times, most of it as before
def _call(source: str, indent: int) -> Sequence[str]:
    pad = " " * indent
    first = source.split("\n", maxsplit=1)[0]
    if "\n" not in source and len(pad + source) <= WIDTH:
        return [pad + source]
    if "\n" in source and not _STRING.search(source):
        return [pad + first]
    if arms := _arms(source):
        return _choice(arms, indent)
    head, inner, tail = _opened(source)
    if not head:
        return [pad + source]
    joined = f"{pad}    {', '.join(inner)}"
    if "\n" not in source and len(joined) <= WIDTH:
        return [pad + head, joined, pad + tail]
    body = [line for each in inner for line in _comma(_argument(each, indent + 4))]
    if len(inner) == 1 and _loops(inner[0]):
        body[-1] = body[-1].removesuffix(",")
    return [pad + head, *body, pad + tail]


def _argument(source: str, indent: int) -> list[str]:
    """As `call`; what is chosen from needs no brackets between those of a call."""
    arms = _arms(source)
    if not arms or ("\n" not in source and len(source) + indent <= WIDTH):
        return call(source, indent)
    pad = " " * indent
    head, then, test, other = arms
    last = _argument(other, indent)
    return [*call(head + then, indent), f"{pad}if {test}", f"{pad}else {last[0].strip()}", *last[1:]]


def _choice(arms: tuple[str, str, str, str], indent: int) -> list[str]:
    pad = " " * indent
    head, *rest = arms
    return [f"{pad}{head}(", *_argument(f"{rest[0]} if {rest[1]} else {rest[2]}", indent + 4), f"{pad})"]


def _loops(source: str) -> bool:
    """Whether it is what a comprehension holds between its brackets."""
    depth = 0
    for at, char in _bare(source):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and source.startswith(" for ", at):
            return True
    return False


def _arms(source: str) -> tuple[str, str, str, str] | None:
    """What is assigned to, and the parts of ``then if test else other``, where a source is that outside of brackets."""
    depth, marks = 0, dict[str, int]()
    bare = dict(_bare(source))
    for at, char in bare.items():
        depth += (char in "([{") - (char in ")]}")
        for word in (" if ", " else ", " = "):
            if depth == 0 and source.startswith(word, at) and word not in marks:
                marks[word] = at
    if " if " not in marks or marks.get(" else ", -1) < marks[" if "] or _loops(source):
        return None
    start = marks.get(" = ", -3) + 3
    start = 0 if start > marks[" if "] else start
    then, test = source[start : marks[" if "]], source[marks[" if "] + 4 : marks[" else "]]
    return source[:start], then, test, source[marks[" else "] + 6 :]


def _comma(lines: list[str]) -> list[str]:
    return [*lines[:-1], f"{lines[-1]},"]


def _opened(source: str) -> tuple[str, list[str], str]:
    """The text up to the first bracket that is closed at the end, what stands in it by commas, and the end."""
    bare = list(_bare(source))
    at = next((at for at, char in bare if char in "([{"), -1)
    if at < 0 or source[-1] not in ")]}":
        return "", [], ""
    depth, closed = 0, -1
    for here, char in bare:
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and char in ")]}":
            closed = here
            break
    if closed != len(source) - 1:
        return "", [], ""
    return source[: at + 1], split(source[at + 1 : -1]), source[-1]


def _bare(source: str) -> Iterable[tuple[int, str]]:
    """Every character that is in no string literal, with its place."""
    inside = [range(match.start(), match.end()) for match in _STRING.finditer(source)]
    spans = iter(inside)
    span = next(spans, range(len(source), len(source)))
    for at, char in enumerate(source):
        while at >= span.stop and span.start < len(source):
            span = next(spans, range(len(source), len(source)))
        if at not in span:
            yield at, char


def split(source: str) -> list[str]:
    """Arguments at the commas that are in no bracket and no string.

    >>> split("'a, b', f(c, d), e")
    ["'a, b'", 'f(c, d)', 'e']
    """
    found, depth, start = [], 0, 0
    for at, char in _bare(source):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            found.append(source[start:at].strip())
            start = at + 1
    return [each for each in [*found, source[start:].strip()] if each]


def imports(names: Iterable[str]) -> list[str]:
    """``from imgmake import …``, constants first, as isort has it."""
    ordered = sorted(set(names), key=lambda name: (not name.isupper(), name))
    line = f"from imgmake import {', '.join(ordered)}"
    if len(line) <= WIDTH:
        return [line] if ordered else []
    return ["from imgmake import (", *(f"    {name}," for name in ordered), ")"]


def family(sources: Sequence[str], stems: Sequence[str], name: str) -> str | None:
    """One source that is each of `sources` with its stem for `name`; None when they differ in more than that."""
    if len(sources) < 2 or any(re.search(r"[\"'\\{}]", stem) or not stem for stem in stems):
        return None
    template = _holes(sources[0], stems[0], _fixed(sources))
    if "\0" not in template or any("\0" in each for each in _spliced(template)):
        return None
    if any(template.replace("\0", stem) != source for source, stem in zip(sources, stems, strict=True)):
        return None
    return _STRING.sub(lambda match: _filled(match[1], match[2], name), template)


def _spliced(source: str) -> Iterable[str]:
    """The expressions in f-strings, where a name in brackets would be text."""
    for prefix, literal in _STRING.findall(source):
        depth, found = 0, ""
        for char in literal.replace("{{", "").replace("}}", "") if "f" in prefix else "":
            depth += (char == "{") - (char == "}")
            found += char if depth else ""
        yield found


def _fixed(sources: Sequence[str]) -> frozenset[str]:
    """The string literals that are the same in all sources, whatever word stands in them."""
    every = [[match[2] for match in _STRING.finditer(source)] for source in sources]
    return frozenset(each[0] for each in zip(*every, strict=False) if len(set(each)) == 1)


def _holes(source: str, stem: str, fixed: frozenset[str]) -> str:
    word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(stem)}(?![A-Za-z0-9])")
    return _STRING.sub(lambda match: match[1] + (match[2] if match[2] in fixed else word.sub("\0", match[2])), source)


def _filled(prefix: str, literal: str, name: str) -> str:
    if "\0" not in literal:
        return prefix + literal
    if literal.strip("\"'") == "\0" and not prefix:
        return name
    if "f" not in prefix:
        literal = literal.replace("{", "{{").replace("}", "}}")
        prefix += "f"
    return prefix + literal.replace("\0", f"{{{name}}}")


def stem_of(pattern: str, name: str) -> str | None:
    before, percent, after = pattern.partition("%")
    if not percent or not name.startswith(before) or not name.endswith(after) or len(name) <= len(before) + len(after):
        return None
    return name[len(before) : len(name) - len(after) or None]
