"""What an ignore file keeps out of a build context, and what a COPY source takes of it, as moby decides; no I/O.

Sources: moby/patternmatcher (`ignorefile`, `MatchesUsingParentResults`), tonistiigi/fsutil (`filter.go`: what
BuildKit's client sends), moby/go-archive (`TarWithOptions`: what the classic builder's client sends).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from imgmake.dockerfile.patterns import BadPattern, clean, glob, has_wildcards, moby, moby_before_23
from imgmake.errors import Place, SourceError

OURS = ".imgmake"  # in no context, whatever the ignore file says
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
_SPACE += "\u2028\u2029\u202f\u205f\u3000"  # Go's unicode.IsSpace, which str.strip() exceeds
_GLOB_CHARS = frozenset("*[]?^\\")

State = tuple[bool, ...]  # which patterns matched the parent folder


class Pattern(NamedTuple):
    """One line of an ignore file: what it says once cleaned, and how it is matched."""

    text: str
    exception: bool  # written with a "!"
    line: int
    regex: re.Pattern[str]


class Judged(NamedTuple):
    """What was found about one path: ignored, by which pattern, and what its children need to know."""

    ignored: bool
    state: State
    decided: int | None = None


class Ignore:
    """An ignore file, read. `family` and `legacy` say whose walk is followed: where they prune, they differ.

    A folder that is ignored is not walked, save where an exception could match below it: with BuildKit that
    is any exception with a wildcard, with the classic builder only one that starts with the folder's name.
    `legacy` is Docker before 23.0: a pattern is tried on one parent only, and BuildKit's client prunes as
    the classic one.

    >>> ignore = Ignore.parse("*\\n!src/**/*.py", ".dockerignore")
    >>> [ignore.excludes(path) for path in ("README", "src/a/b.py")]
    [True, False]
    """

    def __init__(self, name: str, patterns: tuple[Pattern, ...], *, family: str, legacy: bool) -> None:
        self.name = name
        self.patterns = patterns
        self.family = family
        self.legacy = legacy
        self._exceptions = [pattern.text for pattern in patterns if pattern.exception]
        self._any = None if self._exceptions or legacy else _one_of(patterns)
        self._prefixes = self._reachable()

    @classmethod
    def parse(cls, text: str, name: str, *, family: str = "buildkit", legacy: bool = False) -> Ignore:
        """Read the text of an ignore file; `name` is for messages. Raises SourceError at a bad pattern."""
        found = (_pattern(line, Place(name, i), legacy) for i, line in _lines(text))
        return cls(name, tuple(p for p in found if p is not None), family=family, legacy=legacy)

    @property
    def start(self) -> State:
        """The state of the context's root."""
        return ()

    @property
    def keeps_walked(self) -> bool:
        """Whether an ignored folder that is walked all the same is sent even when nothing in it is."""
        return self.legacy and self.family == "buildkit"

    @property
    def implies_parents(self) -> bool:
        """Whether ignored parents of an exception are not sent, so that the engine makes them, with mode 0755."""
        return self.family == "classic"

    def judge(self, path: str, state: State) -> Judged:
        """Judge `path`, whose parent folder had `state`; parents are taken to have been walked."""
        if path.rpartition("/")[2] == OURS:
            return Judged(True, state)
        if self._any is not None:
            return Judged(self._any.fullmatch(path) is not None, state)
        return self._before_23(path) if self.legacy else self._using_parents(path, state)

    def prunes(self, folder: str) -> bool:
        """Whether an ignored `folder` need not be walked: no exception could match below it."""
        if folder.rpartition("/")[2] == OURS:
            return True
        if self._prefixes is None:
            return False
        return not any(prefix.startswith(f"{folder}/") for prefix in self._prefixes)

    def excludes(self, path: str) -> bool:
        """Whether the file `path`, existing or not, is kept out of the context."""
        return self.judge_deep(path)[0].ignored

    def decided_by(self, path: str) -> Place | None:
        """The line that keeps `path` out; None when it is not kept out, or by imgmake itself."""
        judged, _ = self.judge_deep(path)
        if not judged.ignored:
            return None
        found = judged.decided if judged.decided is not None else self._first_match(path)
        return None if found is None else Place(self.name, self.patterns[found].line)

    def judge_deep(self, path: str) -> tuple[Judged, str]:
        """Judge `path` from the root down; also the folder at which that ended, `path` itself if none was pruned."""
        state, judged, current = self.start, Judged(False, ()), ""
        for current in _parents_and_self(path):
            judged = self.judge(current, state)
            state = judged.state
            if judged.ignored and current != path and self.prunes(current):
                return judged, current
        return judged, current

    def _first_match(self, path: str) -> int | None:
        for current in _parents_and_self(path):
            for i, pattern in enumerate(self.patterns):
                if pattern.regex.fullmatch(current):
                    return i
        return None

    def _using_parents(self, path: str, state: State) -> Judged:
        """`MatchesUsingParentResults`: a pattern holds for what lies below that which it matched."""
        ignored, decided, matched = False, None, []
        for i, pattern in enumerate(self.patterns):
            match = bool(state) and state[i]
            if not match and pattern.exception == ignored:
                match = pattern.regex.fullmatch(path) is not None
            matched.append(match)
            if match:
                ignored, decided = not pattern.exception, i
        return Judged(ignored, tuple(matched), decided if ignored else None)

    def _before_23(self, path: str) -> Judged:
        """`fileutils.PatternMatcher.Matches`: only the parent with as many parts as the pattern is tried."""
        ignored, decided, parents = False, None, path.split("/")[:-1]
        for i, pattern in enumerate(self.patterns):
            depth = pattern.text.count("/") + 1
            match = pattern.regex.fullmatch(path) is not None
            if not match and depth <= len(parents):
                match = pattern.regex.fullmatch("/".join(parents[:depth])) is not None
            if match:
                ignored, decided = not pattern.exception, i
        return Judged(ignored, (), decided if ignored else None)

    def _reachable(self) -> list[str] | None:
        """What exceptions start with, each with a slash at its end; None: they could match anywhere."""
        if self.family == "classic" or self.legacy:
            return [f"{text}/" for text in self._exceptions]
        stems = [text.removesuffix("/**").removesuffix("/*") for text in self._exceptions]
        return None if any(_GLOB_CHARS & set(stem) for stem in stems) else [f"{stem}/" for stem in stems]


def _one_of(patterns: tuple[Pattern, ...]) -> re.Pattern[str]:
    """Without exceptions any match ignores, so one expression does for all."""
    return re.compile("|".join(f"(?:{p.regex.pattern})" for p in patterns) or "(?!)", re.ASCII)


def _parents_and_self(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[: i + 1]) for i in range(len(parts)))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for i, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not line.startswith("#") and (stripped := line.strip(_SPACE)):
            yield i, stripped


def _pattern(line: str, place: Place, legacy: bool) -> Pattern | None:
    """`ignorefile.ReadAll` and then `patternmatcher.New`, which cleans once more."""
    exception = line.startswith("!")
    text = line[1:].strip(_SPACE) if exception else line
    if text:
        text = clean(text)
        text = text[1:] if len(text) > 1 and text.startswith("/") else text
    text = clean(f"!{text}" if exception else text)
    exception = text.startswith("!")
    text = text[1:] if exception else text
    if not text:
        raise SourceError(f"the pattern {line!r} excepts nothing", place=place, hint="name what stays: !README.md")
    try:
        source = moby_before_23(text) if legacy else moby(text)
    except BadPattern as error:
        raise SourceError(f"no pattern: {line!r}: {error}", place=place, hint="docker build refuses it too") from error
    return Pattern(text, exception, place.line, re.compile(source, re.ASCII))


# --- COPY and ADD ---------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _source(pattern: str, deep: bool) -> re.Pattern[str]:
    if deep:
        return re.compile(moby(pattern), re.ASCII)
    return glob(pattern) if has_wildcards(pattern) else re.compile(re.escape(pattern))


def copies(pattern: str, path: str, *, deep: bool = False) -> bool:
    """Whether the source `pattern` (cleaned, ``.`` for the whole context) takes the file `path`, existing or not.

    Wildcards are those of Go's `filepath.Match`; a folder that matches is taken with all below it.
    `deep` is ``COPY --parents``, where ``**`` spans folders. Raises BadPattern.

    >>> copies("target/*.jar", "target/app.jar"), copies("src", "src/main/App.java")
    (True, True)
    """
    if pattern == ".":
        return True
    regex = _source(pattern, deep)
    return any(regex.fullmatch(part) for part in _parents_and_self(path))
