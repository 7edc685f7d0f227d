"""What a Makefile does not know of its images: which are up to date, and what stamps and tags promise."""

from __future__ import annotations

import re
from collections.abc import Iterator

from imgmake.migrate.docker import Docker
from imgmake.migrate.model import Finding
from imgmake.migrate.review.seen import Command, Seen, Target, listed, number, parted
from imgmake.migrate.review.shelltext import commands, docker, pushed, reference, rest, values

_ASKS_FIRST = re.compile(r"images\s+-[a-z]*q|image\s+inspect|manifest\s+inspect|\|\|[^;]*\bbuild\b")


def unskipped(seen: Seen) -> Iterator[Finding]:
    """Images are no files: make builds them each time."""
    names = [each.name for each in seen.targets.values() if each.builds and _is_name(each) and not _careful(each)]
    for those, better in parted(names, lambda name: seen.written.is_only("image", name)):
        yield Finding(
            seen.targets[those[0]].line,
            f"{listed(those)} {number(those, 'is', 'are')} built on every call: an image is no file",
            f"make cannot tell {number(those, 'that it is', 'which are')} up to date, and what follows runs again, too",
            "image(…) asks the engine, and builds when what the Dockerfile reads has changed"
            if better
            else seen.before(those, "in sh(…): image(…) would ask the engine first"),
        )


def _is_name(target: Target) -> bool:
    """Whether make can find no file of its name, as far as that is certain."""
    return target.phony or bool(re.fullmatch(r"[\w%-]+", target.name) and not target.makes)


def _careful(target: Target) -> bool:
    """Whether each of its builds is behind a question of its own."""
    building = [each for each in target.commands if any("build" in found.verb for found in each.docker)]
    return all(_ASKS_FIRST.search(each.now) for each in building)


def stamps(seen: Seen) -> Iterator[Finding]:
    """A file that stands for an image."""
    names = [each.name for each in seen.targets.values() if each.builds and _stamp(each)]
    for those, better in parted(names, lambda name: seen.written.is_only("image", name)):
        yield Finding(
            seen.targets[those[0]].line,
            f"{listed(those)} {number(those, 'is a stamp file for an image', 'are stamp files for images')}",
            "it outlives the image: after `docker rmi`, or with another engine, make says that all is up to date",
            "image(…) asks the engine itself, and needs no stamp"
            if better
            else seen.before(those, "image(…) would ask the engine itself, and need no stamp"),
        )


def _stamp(target: Target) -> bool:
    """Whether its recipe writes the target itself, and no content of the image into it."""
    if target.phony or not target.makes:
        return False
    name = rf"(?:\$@|{re.escape(target.name)}(?![\w./-]))"
    mark = rf"\btouch\b.*{name}|--iidfile[ =]{name}|\b(?:echo|date|printf)\b[^|;&]*>\s*{name}|\btee\s+(?:-a\s+)?{name}"
    mark += rf"|docker\s+(?:image\s+)?(?:inspect|images|ls)\b[^|;&]*>\s*{name}"
    return any(re.search(mark, each.now) for each in target.commands)


_MEANT = re.compile(r"latest|release|nightly|publish|promote|deploy")


def latest(seen: Seen) -> Iterator[Finding]:
    """Builds that move `latest`, each of them."""
    out = {image for target in seen.targets.values() for image in pushed(target.docker)}
    for target in seen.targets.values():
        for command in target.commands if target.builds and not _MEANT.search(target.name) else ():
            if command.guarded or re.search(r"\bif\b|\[", command.now):
                continue
            found = _fixed(seen, command)
            if moved := next(filter(None, (_latest(each, out) for each in found)), ""):
                goes_out = reference(moved) in out or any("push" in each.names() for each in found)
                yield Finding(
                    command.line,
                    f"each run of {target.name} moves `latest`",
                    "who pulls it gets what was built last, tested or not"
                    if goes_out
                    else "it says what was built last on this machine, and nothing of which version that is",
                    _latest_now(target, seen),
                )
                break


def _fixed(seen: Seen, command: Command) -> list[Docker]:
    """The docker commands of a line, with those values alone that nothing overrides."""
    text = seen.certain(command)
    return [found for words in commands(text) if (found := docker(words))]


def _latest(each: Docker, out: set[str]) -> str:
    given = values(each, "tag") if "build" in each.verb else rest(each)[1:2] if each.verb == "tag" else []
    for tag in given:
        goes_out = "push" in each.names() or reference(tag) in out
        if (tag.endswith(":latest") and (goes_out or each.verb != "buildx build")) or (_untagged(tag) and goes_out):
            return tag
    return ""


def _untagged(tag: str) -> bool:
    return not re.search(r"[$@`]|:[^/]*$", tag)


def _latest_now(target: Target, seen: Seen) -> str:
    shell = seen.written.shell(target.name)
    if seen.written.left(target.name):
        return seen.before([target.name], "")
    if any(tag.endswith(":latest") or _untagged(tag) for tag in seen.written.tags(target.name)) or "docker" in shell:
        return "as before, the image has that tag; publish(…, tags=[semver(…)]) moves latest for a newer version only"
    return "the Pipefile's image has no such tag"
