"""A shell's text taken apart as far as a review needs it: simple commands, their words, docker's verbs. Pure."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

from imgmake.migrate.docker import Docker, Words, text_of
from imgmake.migrate.docker import docker as parsed
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.python import Part

_ENGINES = frozenset({"docker", "podman", "nerdctl"})
_BEFORE = frozenset({"if", "then", "else", "elif", "do", "while", "until", "!", "{", "time", "sudo", "exec", "env"})
_NESTED = re.compile(r"\$\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|`[^`]*`")
_TOGETHER = re.compile(r"-[ditPq]{2,}")  # short flags of `docker run` without values
_BLANK = "\ue010"


def commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command, without assignments and words of the shell's syntax before them.

    >>> list(commands('cd x && A=1 sudo docker build -t "a b" . ; echo $(id -u)'))
    [['cd', 'x'], ['docker', 'build', '-t', 'a b', '.'], ['echo', '$(id -u)']]
    """
    for stretch in _split(text.replace("\\\n", " ")):
        if found := _stripped(_words(stretch)):
            yield found


@functools.lru_cache(maxsize=4096)
def _split(text: str) -> tuple[str, ...]:
    return tuple(_stretches(text))


def _stretches(text: str) -> Iterator[str]:
    """The text between ``;``, ``|``, ``&``, brackets and ends of lines that are in no quotes and no ``$(…)``."""
    text = _NESTED.sub(lambda match: re.sub(r"\s", _BLANK, match[0]), text)
    found, quote, at = "", "", 0
    while at < len(text):
        char = text[at]
        if char == "\\" and quote != "'":
            found += text[at : at + 2]
            at += 2
            continue
        if match := _NESTED.match(text, at) if not quote else None:
            found += match[0]
            at = match.end()
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in ";|\n()" or (char == "&" and not found.endswith((">", "<"))):
            yield found
            found, at = "", at + 1
            continue
        found += char
        at += 1
    yield found


@functools.lru_cache(maxsize=4096)
def _words(stretch: str) -> tuple[str, ...]:
    try:
        found = shlex.split(stretch)
    except ValueError:
        found = stretch.split()
    return tuple(word.replace(_BLANK, " ") for word in found)


def _stripped(words: Sequence[str]) -> list[str]:
    at = 0
    while at < len(words) and (words[at] in _BEFORE or re.match(r"[A-Za-z_]\w*=", words[at])):
        at += 1
    return list(words[at:])


def docker(words: list[str]) -> Docker | None:
    """The docker command that the words are; podman's and nerdctl's are the same. None for any other."""
    if not words or words[0].rpartition("/")[2] not in _ENGINES:
        return None
    given = [each for word in words[1:] for each in _apart(word)]
    try:
        return parsed(Words(tuple((Part(word),) for word in ["docker", *given])))
    except Uncovered:
        return None


def _apart(word: str) -> list[str]:
    return [f"-{char}" for char in word[1:]] if _TOGETHER.fullmatch(word) else [word]


def values(command: Docker, flag: str) -> list[str]:
    """Every value of a flag."""
    return [text_of(value) for value in command.all(flag)]


def rest(command: Docker) -> list[str]:
    """What is no flag, redirections aside; the value of a last flag that has none, as in ``push --all-tags x``."""
    found = [text_of(word) for word in command.rest]
    for at, word in enumerate(found):
        if re.match(r"\d*[<>]", word):
            found = found[:at]
            break
    if not found and command.flags:
        found = [text_of(command.flags[-1][1])]
    return [word for word in found if word]


def reference(text: str) -> str:
    """An image reference in one spelling, so that two that mean the same are equal.

    >>> reference("docker.io/acme/app"), reference("r:5000/a:1"), reference("a@sha256:0")
    ('acme/app:latest', 'r:5000/a:1', 'a@sha256:0')
    """
    text = text.strip("\"'").removeprefix("docker.io/").removeprefix("library/")
    last = text.rpartition("/")[2]
    return text if not text or ":" in last or "@" in last else f"{text}:latest"


def pushed(found: Iterable[Docker]) -> list[str]:
    """The images that docker commands push."""
    return [reference(word) for each in found if each.verb == "push" for word in rest(each)[:1]]
