"""docker's command lines as words with names among them: what is said of a build, a run, a tag, a push. Pure.

https://docs.docker.com/reference/cli/docker/
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from imgmake.migrate.expand import Uncovered
from imgmake.migrate.python import Part, Parts, merged

_HOLE = re.compile("\ue000(\\d+)\ue001")
_ALONE = frozenset(
    {
        "rm",
        "no-cache",
        "pull",
        "force-rm",
        "push",
        "load",
        "q",
        "quiet",
        "i",
        "interactive",
        "t",
        "tty",
        "it",
        "ti",
        "d",
        "detach",
        "init",
        "privileged",
        "P",
        "read-only",
        "compress",
        "squash",
    }
)
_SPELT = {
    "t": "tag",
    "f": "file",
    "v": "volume",
    "e": "env",
    "w": "workdir",
    "u": "user",
    "p": "publish",
    "net": "network",
    "i": "interactive",
    "d": "detach",
    "l": "label",
    "o": "output",
    "h": "hostname",
    "m": "memory",
}
_META = re.compile(r"[|&;<>()`\n]|\$|(?:^|\s)#")


@dataclass(frozen=True)
class Words:
    """A simple command: its words, each as parts; a shell would find nothing else in it."""

    words: tuple[Parts, ...]

    def text(self, at: int) -> str:
        """A word as text; empty when a name stands in it."""
        word = self.words[at] if at < len(self.words) else ()
        return "" if any(part.name for part in word) else "".join(part.text for part in word)


@dataclass(frozen=True)
class Docker:
    """``docker VERB flags arguments``: flags by their long names, in order."""

    verb: str
    flags: tuple[tuple[str, Parts], ...]
    rest: tuple[Parts, ...]

    def all(self, name: str) -> list[Parts]:
        return [value for flag, value in self.flags if flag == name]

    def names(self) -> set[str]:
        return {flag for flag, _ in self.flags}


def words(parts: Parts, *, spread: bool = True) -> Words:
    """The words of a simple command. Raises Uncovered where a shell would do more than split and unquote."""
    text, held = "", list[Part]()
    for part in merged(parts):
        if part.name:
            held.append(part)
            text += f"\ue000{len(held) - 1}\ue001"
        else:
            text += part.text
    plain = _harmless(text.replace("\\\n", " "))
    if _META.search(_without_quotes(plain)):
        raise Uncovered("it is more than one plain command")
    try:
        found = _split(plain)
    except ValueError as error:
        raise Uncovered(f"its quotes do not end: {error}") from None
    if (
        any(char in word for word in found for char in "*?~[")
        and spread
        and re.search(r"[*?\[~]", _without_quotes(plain))
    ):
        raise Uncovered("a shell would find files in it")
    split = [_parts(word, held) for word in found]
    if any(re.search(r"[\s'\"]", part.value) for part in held) or any(not text_of(word) for word in split if word):
        raise Uncovered("a value in it is several words, or none")
    return Words(tuple(map(tuple, split)))


@functools.lru_cache(maxsize=4096)  # the same commands are looked at again in each try, and shlex is slow
def _split(text: str) -> tuple[str, ...]:
    return tuple(shlex.split(text))


HERE, CALLER = "\ue002", "\ue003"
_FOLDER = re.compile(r"\$PWD\b|\$\{PWD\}|\$\(pwd\)|`pwd`")
_USER = re.compile(r"(?:\$\(id -u\)|`id -u`):(?:\$\(id -g\)|`id -g`)")


def _harmless(text: str) -> str:
    """The shell's own that commands know by other means: this folder, and the calling user."""
    return _USER.sub(CALLER, _FOLDER.sub(HERE, text))


def _without_quotes(text: str) -> str:
    """The text as a shell acts on it: what is single-quoted is nothing to it; in double quotes ``$`` still is."""
    text = re.sub(r"'[^']*'", "''", text)
    return re.sub(r'"((?:[^"\\]|\\.)*)"', lambda match: "$" if re.search(r"(?<!\\)[$`]", match[1]) else '""', text)


def _parts(word: str, held: Sequence[Part]) -> list[Part]:
    halves = _HOLE.split(word)
    return merged([held[int(half)] if at % 2 else Part(half) for at, half in enumerate(halves)])


def text_of(word: Parts) -> str:
    """A word's text with today's values in it."""
    return "".join(part.value if part.name else part.text for part in word).replace(HERE, ".")


def docker(found: Words) -> Docker | None:
    """The docker command, or None when it is none that is known here."""
    if found.text(0) not in ("docker", "podman"):
        return None
    at, verb = 1, found.text(1)
    if verb in ("image", "container", "buildx", "builder") and found.text(2):
        at, verb = 2, ("buildx " if verb == "buildx" else "") + found.text(2)
    if verb.startswith("-") or not verb:
        return None
    return _flags(verb, list(found.words[at + 1 :]))


def _flags(verb: str, rest: list[Parts]) -> Docker:
    flags: list[tuple[str, Parts]] = []
    other: list[Parts] = []
    while rest:
        word = rest.pop(0)
        head = word[0].text if word and not word[0].name else ""
        if not head.startswith("-") or head == "-":
            other.append(word)
            if verb in ("run", "exec"):  # what follows the image is the container's
                other += rest
                break
            continue
        flags.append(_flag(verb, head, word, rest))
    return Docker(verb, tuple(flags), tuple(other))


def _flag(verb: str, head: str, word: Parts, rest: list[Parts]) -> tuple[str, Parts]:
    name, equals, value = head.lstrip("-").partition("=")
    if not head.startswith("--") and len(name) > 1 and name[0] in "tfvewup" and name not in _ALONE:
        return _long(verb, name[0]), [Part(name[1:] + equals + value), *word[1:]]  # -tNAME
    if equals:
        return _long(verb, name), merged([Part(value), *word[1:]])
    if name in _ALONE and not (name == "t" and "build" in verb):
        return _long(verb, name), ()
    if len(word) > 1:
        raise Uncovered(f"the flag {head} holds a variable")
    if not rest:
        raise Uncovered(f"the flag {head} has no value")
    return _long(verb, name), rest.pop(0)


def _long(verb: str, name: str) -> str:
    if verb == "run" and name in ("it", "ti"):
        return "tty"
    if verb == "run" and name == "t":
        return "tty"
    return "quiet" if name == "q" else _SPELT.get(name, name)
