"""docker's flags as keywords of `image` and `run`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from imgmake.migrate import docker
from imgmake.migrate.docker import HERE, Docker
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.python import Part, Parts, expression, merged, quoted

_FURTHER = ("platform", "privileged", "init", "cap-add", "shm-size", "add-host")


def run_keywords(command: Docker, mounts: Sequence[tuple[str, str]], *, as_caller: bool) -> Iterator[str]:
    """The keywords of `run`, in the order of its parameters. Raises Uncovered."""
    if mounts:
        yield f"mounts={{{', '.join(f'{source}: {target}' for source, target in mounts)}}}"
    yield from _workdir(command, next((target for source, target in mounts if source == '"."'), None))
    yield from _env(command)
    if command.all("user") and not as_caller:
        yield f"user={expression(command.all('user')[-1])}"
    for name in ("network", "entrypoint"):
        yield from (f"{name}={expression(value)}" for value in command.all(name))
    if ports := command.all("publish"):
        yield f"ports=[{', '.join(map(expression, ports))}]"
    if "tty" in command.names():
        yield "tty=True"
    options = [_option(name, value) for name, value in command.flags if name in _FURTHER]
    if options:
        yield f"options=[{', '.join(options)}]"


def _option(name: str, value: Parts) -> str:
    return expression(merged([Part(f"--{name}"), *([Part("="), *value] if value else [])]))


def _workdir(command: Docker, here: str | None) -> Iterator[str]:
    for workdir in command.all("workdir"):
        if _bare(expression(workdir)) != _bare(here):
            yield f"workdir={expression(workdir)}"
    if not command.all("workdir") and here:
        raise Uncovered("imgmake would start in the mounted folder, and docker in the image's own")


def _bare(path: str | None) -> str:
    """A folder's path as a literal, without a slash at its end."""
    return re.sub(r'(?<=.)/"$', '"', path or "")


def _env(command: Docker) -> Iterator[str]:
    given = command.all("env")
    if any(word[0].name or "=" not in word[0].text for word in given):
        raise Uncovered("an -e that names a variable of the environment")
    if given:
        yield f"env={{{', '.join(map(pair, given))}}}"


def mount(word: Parts) -> tuple[str, str] | None:
    """A ``-v`` as a source and a target; None when it is not certain what it means."""
    halves: list[list[Part]] = [[]]
    for part in word:
        if part.name:
            halves[-1].append(part)
            continue
        first, *others = part.text.split(":")
        halves[-1].append(Part(first))
        halves += [[Part(other)] for other in others]
    if len(halves) not in (2, 3) or (len(halves) == 3 and docker.text_of(halves[2]) != "ro"):
        return None
    source, target = merged(halves[0]), merged([*halves[1], *([Part(":ro")] if len(halves) == 3 else [])])
    if not source or not target or any(part.name for part in source):
        return None
    text = "".join(part.text for part in source)
    if text.startswith(HERE):
        inner = text[1:].strip("/")
        return quoted(inner or "."), _bare(expression(target))
    if text.startswith(("/", "~", "$", ".")):
        return (quoted(text), expression(target)) if text.startswith("/") else None
    return quoted(f"volume:{text}"), expression(target)


def pair(word: Parts) -> str:
    """``NAME=value`` as an entry of a dictionary."""
    name, _, value = word[0].text.partition("=")
    return f"{quoted(name)}: {expression(merged([Part(value), *word[1:]]))}"


def image_arguments(command: Docker) -> list[str]:
    """The keywords of `image` for a build. Raises Uncovered."""
    tags = [expression(tag) for tag in command.all("tag")]
    found = [f"tags={tags[0] if len(tags) == 1 else '[' + ', '.join(tags) + ']'}"]
    context = docker.text_of(command.rest[0]).rstrip("/") or "."
    if context not in (".", HERE):
        found.append(f"context={expression(command.rest[0])}")
    for flag, keyword in (("file", "dockerfile"), ("target", "stage")):
        for value in command.all(flag)[-1:]:
            found.append(f"{keyword}={expression(value)}")
    found += _build_args(command)
    if labels := command.all("label"):
        found.append(f"labels={{{', '.join(map(pair, labels))}}}")
    if platforms := command.all("platform"):
        found.append(f"platforms={expression(platforms[-1])}")
    if "pull" in command.names():
        found.append("pull=True")
    kept = {"network", "add-host", "shm-size", "ulimit", "memory", "cache-from", "build-context"}
    options = [expression(merged([Part(f"--{n}="), *value])) for n, value in command.flags if n in kept]
    found += [f"options=[{', '.join(options)}]"] if options else []
    return found


def _build_args(command: Docker) -> list[str]:
    """Arguments that imgmake passes by itself, since they are called like what they hold, need not be said."""
    kept = []
    for word in command.all("build-arg"):
        name, _, value = word[0].text.partition("=") if word and not word[0].name else ("", "", "")
        if not name:
            raise Uncovered("the name of a build argument is a variable")
        rest = merged([Part(value), *word[1:]])
        if len(rest) == 1 and _same_name(rest[0].shell, name):
            continue
        kept.append(pair(word))
    return [f"build_args={{{', '.join(kept)}}}"] if kept else []


def _same_name(given: str, argument: str) -> bool:
    """Whether imgmake passes a value to an argument of this name unasked."""
    return given == argument or {given, argument} == {"BUILD_DATE", "BUILD_TIME_RFC_3339"}
