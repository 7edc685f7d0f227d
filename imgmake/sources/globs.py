"""Which names a pattern takes, as the shell says it; pure, so that names that do not exist yet can be asked too.

The rules (POSIX shell, "Patterns Used for Filename Expansion", plus ``**``):

- ``*``, ``?`` and ``[a-z]``, ``[!a-z]`` match within one segment and never a leading dot, so hidden names are taken
  only by a segment that itself starts with a dot (``.github/*.yml``). ``[*]`` is a literal star.
- ``**`` as a whole segment spans any number of folders, none included, hidden ones excluded; at the end of a pattern
  it means everything below (``src/**`` equals ``src/**/*``).
- ``.git`` and ``.imgmake`` are matched by nothing, at any depth: they are the tools' own.
- Empty and ``.`` segments say nothing: ``./src//*.c`` equals ``src/*.c``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from functools import lru_cache

NEVER = frozenset({".git", ".imgmake"})
_MAGIC = re.compile(r"[*?\[]")

States = frozenset[int]


def is_pattern(text: str) -> bool:
    """Whether `text` has a wildcard.

    >>> is_pattern("src/*.c"), is_pattern("src/a.c")
    (True, False)
    """
    return _MAGIC.search(text) is not None


def matches(pattern: str, path: str) -> bool:
    """Whether `pattern` takes `path`; both from the same folder, with ``/``.

    >>> matches("src/**/*.go", "src/main.go"), matches("src/*", "src/.hidden")
    (True, False)
    """
    compiled = compile_pattern(pattern)
    names = _segments(path)
    if path.startswith("/") != compiled.absolute:
        return False
    states = compiled.start
    for name in names:
        states = compiled.step(states, name)
        if not states:
            return False
    return compiled.accepts(states)


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Pattern:
    """The automaton of a pattern, made once."""
    return Pattern(pattern)


class Pattern:
    """A pattern as an automaton over path segments: a walk steps it folder by folder, `matches` name by name.

    A state is the number of segments taken so far; several are alive at once only after ``**``.
    """

    def __init__(self, pattern: str) -> None:
        self.absolute = pattern.startswith("/")
        self._segments = _canonical(pattern)
        self._tests = tuple(_test(segment) for segment in self._segments)
        self.start = self._closure({0})

    def step(self, states: States, name: str) -> States:
        """The states after entering `name`; empty when nothing below it can match."""
        if name in NEVER:
            return frozenset()
        after: set[int] = set()
        for state in states:
            if state == len(self._segments):
                continue
            if self._segments[state] == "**":
                after.update(() if name.startswith(".") else (state,))
            elif self._tests[state](name):
                after.add(state + 1)
        return self._closure(after)

    def accepts(self, states: States) -> bool:
        return len(self._segments) in states

    def literals(self, states: States) -> frozenset[str] | None:
        """The only names that can match next, or None when a folder must be listed to know."""
        names = [self._segments[state] for state in states if state < len(self._segments)]
        return None if any(map(is_pattern, names)) else frozenset(names)

    def _closure(self, states: set[int]) -> States:
        reached = set(states)
        for state in sorted(states):
            following = state
            while following < len(self._segments) and self._segments[following] == "**":
                following += 1
                reached.add(following)
        return frozenset(reached)


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment not in ("", ".")]


def _canonical(pattern: str) -> tuple[str, ...]:
    segments = _segments(pattern)
    kept = [s for s, before in zip(segments, [None, *segments], strict=False) if not (s == before == "**")]
    if kept and kept[-1] == "**":
        kept.append("*")
    return tuple(kept)


def _test(segment: str) -> Callable[[str], bool]:
    if not is_pattern(segment):
        return segment.__eq__
    expression = re.compile(translate(segment))
    dotted = segment.startswith(".")
    return lambda name: (dotted or not name.startswith(".")) and expression.match(name) is not None
