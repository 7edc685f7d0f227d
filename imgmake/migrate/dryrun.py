"""The commands of a dry run as they are compared: shell lines by their words, docker's by parsed arguments. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from imgmake.migrate import contained, docker
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.python import Part

_ASSIGNED = re.compile(r"[A-Za-z_]\w*=")
TIMES = re.compile(r"\b\d{8}-\d{6}\b|\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ?|\b1[6-9]\d{8}\b|\b2\d{9}\b")
_DIRTY = re.compile(r"@time-[0-9a-f]{7,40}(-dirty)?")  # imgmake says when the tree is not the commit's
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|\\.|('[^']*')", re.DOTALL)
_NAMED = re.compile(r"\\.|\$(?:\{(?P<braced>\w+)\}|(?P<name>[A-Za-z_]\w*))", re.DOTALL)
_SEEN = re.compile(rf"\"(?:[^\"\\]|\\.)*\"|'[^']*'|{_NAMED.pattern}", re.DOTALL)
_PIECE = re.compile(r"(?:[ \t]|\\\n)+|\\.|\$\(|[()'\"]|[^\\$()'\" \t]+|.", re.DOTALL)
_SHORT = 80  # characters
_DOLLAR, _TICK = "\ue000", "\ue001"
_UNLESS_SET = re.compile(r"\$\{(\w+):-([^{}]*)\}")
_OURS = frozenset({"label", "provenance", "progress", "iidfile", "load", "rm", "force-rm", "quiet"})


@dataclass(frozen=True)
class Command:
    """One command of a dry run, as it is compared."""

    text: str
    key: tuple[str, ...]
    loose: tuple[tuple[str, ...], ...] = ()  # without what stands for a prefix or a flag of make's
    target: str = ""
    kind: str = ""
    given: Mapping[str, str] = field(default_factory=dict)  # variables that its shell is given
    called: str = ""  # the target whose recipe calls imgmake for it


def commands(line: str, kind: str = "") -> tuple[list[str], dict[str, str]]:
    """A line of imgmake's dry run as the shell lines that it comes to, values put in for names; and these values.

    kind: of its rule; an image's says that it is BuildKit's.
    """
    try:
        words = shlex.split(line)
    except ValueError:
        return [line], {}
    given: dict[str, str] = {}
    while words and _ASSIGNED.match(words[0]):
        name, _, value = words.pop(0).partition("=")
        given[name] = value.replace("\n", " ")  # as make joins them
    if len(words) < 3 or words[1] != "-ec":
        plain = line.partition(" ")[2] if kind == "image" and "DOCKER_BUILDKIT" in given else line
        return re.split(r"(?<!\\)\n", plain), {}
    found = re.split(r"(?<!\\)\n", filled(words[2], given))
    return [each for each in found if each.strip() and not each.lstrip().startswith("#")], given


def filled(text: str, given: Mapping[str, str]) -> str:
    """A shell text with values for the names of variables.

    >>> filled("$V:${TAG:-$V-${BASE:-alpine}}$V$TAG", {"V": "1", "TAG": "", "BASE": ""})
    '1:1-alpine1'
    >>> filled("for V in $W; do echo $V; done", {"V": "", "W": "a b"})
    'for V in a b; do echo $V; done'
    """
    text = expanded(text, {name: value for name, value in given.items() if not re.search(rf"\bfor {name} in\b", text)})
    while (match := _UNLESS_SET.search(text)) and match[1] in given:
        text = f"{text[: match.start()]}{given[match[1]] or match[2]}{text[match.end() :]}"
    return text


def expanded(text: str, given: Mapping[str, str]) -> str:
    """A shell text with values for the names of variables where its shell looks at them.

    >>> expanded("echo $HOME '$HOME' \\"it's ${HOME}\\" \\\\$HOME", {"HOME": "/me"})
    'echo /me \\'$HOME\\' "it\\'s /me" \\\\$HOME'
    """

    def looked_at(match: re.Match[str]) -> str:
        if match[0].startswith('"'):
            return f'"{_NAMED.sub(looked_at, match[0][1:-1])}"'
        return given.get(match["name"] or match["braced"], match[0])

    return _SEEN.sub(looked_at, text)


def unwrapped(text: str) -> list[str]:
    """A text of ours without what stands for make's ``-`` prefix, its .SHELLFLAGS, or that its shell has no ``-e``."""
    found = [text]
    while match := re.match(r"set [^;\n]*; ", found[-1]):
        found.append(found[-1][match.end() :])
    for each in list(found):
        if each.endswith(" || true"):
            bare = each.removesuffix(" || true")
            found.append(bare[2:-2] if bare.startswith("( ") and bare.endswith(" )") else bare)
    return found[1:]


@lru_cache(maxsize=1 << 14)  # a command is met again with each target that needs its own
def key(text: str, folder: str) -> tuple[str, ...]:
    """What two equal commands have in common; `folder` is where they run."""
    text = _joined(text).replace("\\\n", " ")
    text = re.sub(r"\$\(pwd\)|`pwd`|\$\{PWD\}", "$PWD", text)
    text = _DIRTY.sub("@time-@commit", TIMES.sub("@time", text))
    text = _QUOTED.sub(_literal, text).replace(folder, "$PWD")  # make has put the folder in, quotes or not
    try:
        words = shlex.split(text)
    except ValueError:
        return (text,)
    if words[:1] == ["imgmake"]:
        words[0] = "make"  # for the Makefile's own targets
    words[:1] = ["echo" if word == "/bin/echo" else word for word in words[:1]]
    words = [word for word in words if word != "--no-print-directory"] if words[:1] == ["make"] else words
    return contained.key(text) or _docker_key(text, words) or tuple(words)


def _joined(text: str) -> str:
    """A text with the lines of each ``$(…)`` joined as make joins them, as far as that is no other command.

    >>> _joined('"$( a \\\\\\n b  "c \\\\\\n d" )" \\\\\\n e') == '"$( a b "c \\\\\\n d" )" \\\\\\n e'
    True

    https://www.gnu.org/software/make/manual/html_node/Splitting-Recipe-Lines.html
    """
    if "$(" not in text:
        return text
    found, depth, quotes = list[str](), 0, [""]
    for piece in _PIECE.findall(text):
        if piece == "$(" or (piece == "(" and depth):
            depth += 1
            quotes.append("")
        elif piece == ")" and depth and not quotes[-1]:
            depth -= 1
            quotes.pop()
        elif piece in ("'", '"') and quotes[-1] in ("", piece):
            quotes[-1] = "" if quotes[-1] else piece
        found.append(" " if depth and not quotes[-1] and piece[-1] in " \t\n" else piece)
    return "".join(found)


def images(command: Command) -> list[str]:
    """The names that a command gives to an image."""
    if command.key[:1] == ("docker build",):
        return [each.removeprefix("tag=") for each in command.key if each.startswith("tag=")]
    if command.key[:1] == ("docker tag",):
        return [command.key[-1]]
    return re.findall(r"\bdocker\s+(?:buildx\s+)?build\b[^;&|]*?\s(?:-t|--tag)[ =]([\w./:-]+)", command.text)


def _literal(match: re.Match[str]) -> str:
    """A dollar that a shell leaves alone is another than the one that it looks at."""
    return match[0] if match[1] is None else match[0].replace("$", _DOLLAR).replace("`", _TICK)


def _docker_key(text: str, words: Sequence[str]) -> tuple[str, ...] | None:
    """A docker command by its parsed arguments, in one order; None for any other."""
    if not words or words[0] != "docker":
        return None
    try:
        found = docker.docker(docker.words([Part(text)]))
    except Uncovered:
        return None
    if found is None:
        return None
    verb = "build" if found.verb == "buildx build" else found.verb
    flags = sorted(_flag(verb, name, docker.text_of(value)) for name, value in found.flags if not _ignored(verb, name))
    rest = [docker.text_of(word) for word in found.rest]
    if verb == "build" and rest:
        usual = f"file={rest[-1].rstrip('/')}/Dockerfile".replace("file=./", "file=")
        flags = [flag for flag in flags if flag != usual]
    return (f"docker {verb}", *dict.fromkeys(filter(None, flags)), "--", *(word.rstrip("/") or word for word in rest))


def _ignored(verb: str, name: str) -> bool:
    return verb == "build" and name in _OURS


def _flag(verb: str, name: str, value: str) -> str:
    if verb == "run" and name in ("interactive", "tty"):
        return "tty"
    if verb == "run" and name == "env" and value == "HOME=/tmp":
        return ""
    if verb == "build" and name == "file":
        return f"file={value.removeprefix('./')}"
    return f"{name}={value.rstrip('/')}" if verb == "run" and name in ("volume", "workdir") else f"{name}={value}"


def better(ours: Command) -> list[str]:
    """What a command of ours is better at."""
    if ours.kind == "image":
        return ["skips when up to date"]
    if ours.kind == "publish":
        return ["pushes what the registry does not hold yet"]
    return ["skips when it has passed on the same inputs"] if ours.kind == "check" else []


def lacking(command: Command, ours: Sequence[Command]) -> str:
    """Why a command of make's is not needed here; empty when it is."""
    if command.key[:1] in (("echo",), ("printf",)) and ">" not in command.text:
        if any(each.kind == "check" or (each.kind == "file" and each.key[:1] == ("docker run",)) for each in ours):
            return "imgmake itself says what it does"
        return "imgmake itself says what it built" if any(c.key[:1] == ("docker build",) for c in ours) else ""
    if re.fullmatch(r"set\s+-[eu]+\s*;?", command.text.strip()):
        return "`set -e` on a line of its own does nothing"
    if command.key[:1] == ("touch",):
        return "no stamp is needed" if any(c.key[:1] == ("docker build",) for c in ours) else ""
    if command.key[:1] == ("docker tag",) and any(_tags(command, each) for each in ours):
        return "the build sets all tags"
    return ""


def _tags(command: Command, build: Command) -> bool:
    return build.key[:1] == ("docker build",) and f"tag={command.key[-1]}" in build.key


def short(command: Command) -> str:
    """A command as it is told, on one line."""
    text = " ".join(command.text.replace("\\\n", " ").split())
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"
