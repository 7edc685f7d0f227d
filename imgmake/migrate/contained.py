"""Tools that a Makefile runs in a container, as they are without one: hadolint, container-structure-test, builds. Pure.

hadolint reads its Dockerfile from stdin or a mount; container-structure-test has the engine's socket and its
configuration mounted. What the container sees is looked up through its mounts.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence

from imgmake.migrate import docker
from imgmake.migrate.docker import HERE, Docker, Words
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.python import Part, Parts, expression

HADOLINT, STRUCTURE_TEST = "hadolint", "container-structure-test"
_IMAGES = {
    HADOLINT: re.compile(r"(?:\S*/)?hadolint/hadolint(?:[:@]\S*)?"),
    STRUCTURE_TEST: re.compile(r"(?:\S*/)?container-structure-test(?:[:@]\S*)?"),
}
_FLAGS = frozenset({"rm", "interactive", "tty", "volume", "workdir", "quiet", "pull"})
_SOCKET = "/var/run/docker.sock"
_FROM_FILE = re.compile(r"^(?P<command>[^<|;&]*[^<|;&\s])\s*<\s*(?P<file>[^\s<>|;&\"']+)\s*$", re.DOTALL)
_FROM_CAT = re.compile(
    r"^\s*cat\s+(?P<file>[^\s<>|;&\"'-][^\s<>|;&\"']*)\s*\|\s*(?P<command>docker\s[^<|;&]*)$", re.DOTALL
)
_BUILDERS = frozenset({"mvn"})  # builds in the folder where it stands, whoever runs it, and asks nothing
_SOURCES: Mapping[str, Sequence[str]] = {
    "mvn": ("pom.xml", "src/"),
    "gradle": ("build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts", "src/"),
    "npm": ("package.json", "package-lock.json", "src/"),
    "yarn": ("package.json", "yarn.lock", "src/"),
    "cargo": ("Cargo.toml", "Cargo.lock", "src/"),
}


def tool(parts: Parts) -> Words | None:
    """The words of the tool that a command runs in a container; None for any other command. Raises Uncovered."""
    text = "".join(part.text if not part.name else "\ue004" for part in parts)
    if not re.search(r"hadolint|container-structure-test", text) or "docker" not in text:
        return None
    command, file = _stdin(list(parts))
    found = docker.docker(docker.words(command))
    if found is None or found.verb != "run" or not found.rest or not found.names() <= _FLAGS:
        return None
    image = docker.text_of(found.rest[0])
    name = next((name for name, pattern in _IMAGES.items() if pattern.fullmatch(image)), "")
    if name == HADOLINT:
        return _hadolint(found, file)
    return _structure_test(found) if name and file is None else None


def _stdin(parts: list[Part]) -> tuple[list[Part], str | None]:
    """A command without its ``< file`` or its ``cat file |``, and that file."""
    if len(parts) == 1 or not any(part.name for part in (parts[0], parts[-1])):
        first, last = parts[0].text, parts[-1].text
        if len(parts) == 1 and (match := _FROM_CAT.match(first)):
            return [Part(match["command"])], match["file"]
        if match := _FROM_FILE.match(last.replace("\\\n", " ")):
            return [*parts[:-1], Part(match["command"])], match["file"]
    return parts, None


def _hadolint(found: Docker, file: str | None) -> Words:
    """``hadolint --ignore … FILE``. Raises Uncovered for options that are not known here."""
    rest = [docker.text_of(word) for word in found.rest[1:]]
    rest = rest[1:] if rest[:1] in (["hadolint"], ["/bin/hadolint"]) else rest
    words, given = ["hadolint"], list(rest)
    while given:
        word = given.pop(0)
        if word.startswith("--ignore="):
            words += ["--ignore", word.partition("=")[2]]
        elif word == "--ignore" and given:
            words += ["--ignore", given.pop(0)]
        elif word in ("-", "/dev/stdin"):
            if file is None:
                raise Uncovered("hadolint reads its stdin")
        elif word.startswith("-"):
            raise Uncovered(f"hadolint {word}")
        else:
            words.append(_seen(found, word))
    return Words(tuple((Part(word),) for word in (*words, *([file] if file is not None else []))))


def _structure_test(found: Docker) -> Words | None:
    """``container-structure-test test --image X --config FILE``, the file where it is without the mount."""
    words: list[Parts] = [(Part(STRUCTURE_TEST),)]
    config = False
    for word in found.rest[1:]:
        text = docker.text_of(word)
        name, equals, path = text.partition("=")
        if config:
            words.append((Part(_seen(found, text)),))
        elif equals and name in ("--config", "-c"):
            words.append((Part(f"{name}={_seen(found, path)}"),))
        else:
            words.append(word)
        config = text in ("--config", "-c")
    return Words(tuple(words)) if docker.text_of(words[1] if words[1:] else ()) == "test" else None


def _seen(found: Docker, path: str) -> str:
    """Where a path of the container's is in the folder. Raises Uncovered when it is not there."""
    workdir = next((docker.text_of(word) for word in found.all("workdir")), "/")
    full = posixpath.normpath(posixpath.join(workdir, path))
    for word in found.all("volume"):
        source, _, target = "".join(part.text for part in word if not part.name).partition(":")
        target = posixpath.normpath(target.partition(":")[0])
        if source != _SOCKET and source.startswith(HERE) and (full == target or full.startswith(f"{target}/")):
            return posixpath.normpath(f"./{source[1:]}/{full[len(target) :]}")
    raise Uncovered(f"{path} is in no mount of the container's")


# --- builds ---------------------------------------------------------------------------------------------------


def builds(words: Iterable[str]) -> bool:
    """Whether a command in a container builds a project, and leaves files of whoever runs it."""
    return next(iter(words), "") in _BUILDERS


def sources(command: Sequence[str], files: Iterable[str]) -> tuple[str, ...]:
    """What a build reads, of the files and folders that are there.

    >>> sources(["mvn", "verify"], ["pom.xml", "src", "README.md"])
    ('pom.xml', 'src/')
    """
    there = frozenset(files)
    return tuple(name for name in _SOURCES.get(command[0] if command else "", ()) if name.rstrip("/") in there)


def without_terminal(command: Docker) -> Docker:
    """The same run without ``-it``: a build asks nothing."""
    return Docker(command.verb, tuple(each for each in command.flags if each[0] != "tty"), command.rest)


def lint_arguments(found: Words) -> list[str]:
    """The arguments of `lint` for a hadolint command; none when it is told more than files and rules to ignore."""
    ignored, files, rest = list[str](), list[str](), list(found.words[1:])
    while rest:
        word = rest.pop(0)
        if docker.text_of(word) == "--ignore" and rest:
            ignored.append(expression(rest.pop(0)))
        elif docker.text_of(word).startswith("-"):
            return []
        else:
            files.append(expression(word))
    if not files:
        return []
    return [
        *files,
        *([f"ignore={ignored[0] if len(ignored) == 1 else '[' + ', '.join(ignored) + ']'}"] if ignored else []),
    ]


# --- how they are compared ------------------------------------------------------------------------------------


def key(text: str) -> tuple[str, ...]:
    """A tool that is run in a container, by what it would be told without one; empty for any other command."""
    try:
        found = tool([Part(text)])
    except Uncovered:
        return ()
    return tuple(docker.text_of(word) for word in found.words) if found is not None else ()


def as_caller(theirs: Sequence[str], ours: Sequence[str]) -> list[str] | None:
    """Why two runs of a build are equal that differ in the user, and in a terminal; None when they differ in more."""
    more, less = set(ours) - set(theirs), set(theirs) - set(ours)
    at = theirs.index("--")
    if theirs[at:] != ours[ours.index("--") :] or not builds(theirs[at + 2 :]):
        return None
    if less - {"tty"} or not all(each.startswith("user=") for each in more):
        return None
    return [*(["what it leaves is yours, not root's"] if more else []), *(["needs no terminal"] if less else [])]
