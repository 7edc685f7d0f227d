"""What every builder does with a request alike: flags, the printed line, and the place of a failure; no I/O."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from imgmake.errors import BuildError, Place
from imgmake.ports import BuildRequest


class Instruction(NamedTuple):
    """A logical line of a Dockerfile: continuations joined, comments left out."""

    line: int
    text: str


def flags(request: BuildRequest) -> list[str]:
    """The flags of ``docker build`` that say what is built; neither secrets, tags nor file names."""
    found = ["--target", request.stage] if request.stage else []
    found += ["--platform", request.platform] if request.platform else []
    found += ["--no-cache"] if request.no_cache else []
    for flag, pairs in (("--build-arg", request.build_args), ("--label", request.labels)):
        found += [part for key, value in pairs.items() for part in (flag, f"{key}={value}")]
    found += [part for name, value in request.contexts.items() for part in ("--build-context", f"{name}={value}")]
    return [*found, *request.options]


def line(request: BuildRequest, *start: str) -> str:
    """The equal command, ready to paste: `start`, then the flags, secrets by reference, the context."""
    secrets = [part for name, source in request.secrets.items() for part in ("--secret", f"id={name},{source}")]
    tags = [part for tag in request.tags for part in ("--tag", tag)]
    file = ["--file", request.dockerfile_name] if request.dockerfile_name else []
    return shlex.join([*start, *tags, *file, *flags(request), *secrets, request.context_dir or "."])


def instructions(text: str) -> Iterator[Instruction]:
    """The logical lines of a Dockerfile, as BuildKit's parser joins them; bodies of heredocs count as lines.

    >>> [i.text for i in instructions("FROM a\\n# note\\nRUN b \\\\\\n  c\\n")]
    ['FROM a', 'RUN b   c']
    """
    escape = "`" if re.match(r"(?:#.*\n)*#\s*escape\s*=\s*`", text, re.IGNORECASE) else "\\"
    begun, parts = 0, ""
    for number, raw in enumerate(text.splitlines(), 1):
        if not raw.strip() or raw.lstrip().startswith("#"):
            continue
        begun = begun if parts else number
        parts += raw.strip() if not parts else raw
        if parts.rstrip().endswith(escape):
            parts = parts.rstrip()[:-1]
            continue
        yield Instruction(begun, parts)
        parts = ""
    if parts:
        yield Instruction(begun, parts)


def failure(request: BuildRequest, message: str, step: str, number: int | None = None) -> BuildError:
    """A failed build: the builder's words, at the instruction whose text is `step` or line is `number`."""
    found = number or _locate(request.dockerfile, step)
    where = f" at {step!r}" if step and not found else ""
    place = Place(request.dockerfile_name or "Dockerfile", found) if found else None
    return BuildError(f"the build failed{where}: {_short(message)}", place=place)


def _locate(text: str, step: str) -> int | None:
    """The line of an instruction, if there is only one like it: builders print it with white space joined."""
    wanted = _squeeze(step)
    found = [one.line for one in instructions(text) if wanted and _squeeze(one.text) == wanted]
    return found[0] if len(found) == 1 else None


def _squeeze(text: str) -> str:
    return re.sub(r"[\s\\]+", " ", text).strip().casefold()


def _short(message: str) -> str:
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "the builder did not say why"


# --- what the classic builder cannot do -----------------------------------------------------------------------

_NEWER_FLAGS = {
    "RUN": ("--mount", "--network", "--security"),
    "COPY": ("--chmod", "--link", "--parents", "--exclude"),
    "ADD": ("--chmod", "--link", "--checksum", "--keep-git-dir", "--exclude"),
}
_HEREDOC = re.compile(r"^\d*<<-?[\"']?[A-Za-z_]\w*[\"']?$")
_CLASSIC_HINT = "only BuildKit can: leave out builder='classic' and IMGMAKE_BUILDER, and install buildx"


def refuse_for_classic(request: BuildRequest) -> None:
    """Raise BuildError, before anything starts, for what needs BuildKit."""
    asked = [("secrets", request.secrets), ("named contexts", request.contexts)]
    for what, given in asked:
        if given:
            raise BuildError(f"the classic builder has no {what} ({', '.join(given)})", hint=_CLASSIC_HINT)
    if "," in (request.platform or ""):
        raise BuildError(f"the classic builder builds one platform, not {request.platform}", hint=_CLASSIC_HINT)
    if any(option.split("=")[0] == "--ssh" for option in request.options):
        raise BuildError("the classic builder has no SSH agent (--ssh)", hint=_CLASSIC_HINT)
    for one in instructions(request.dockerfile):
        if what := _newer(one.text.split()):
            place = Place(request.dockerfile_name or "Dockerfile", one.line)
            raise BuildError(f"the classic builder knows no {what}", hint=_CLASSIC_HINT, place=place)


def _newer(words: Sequence[str]) -> str:
    """The first thing in an instruction that only BuildKit knows."""
    name = words[0].upper() if words else ""
    if name not in _NEWER_FLAGS:
        return ""
    known = (f"{name} {flag}" for flag in _NEWER_FLAGS[name] if flag in _flags(words[1:]))
    heredoc = (f"heredoc ({word})" for word in words[1:] if _HEREDOC.match(word))
    return next(itertools.chain(known, heredoc), "")


def _flags(words: Iterable[str]) -> set[str]:
    found = set()
    for word in words:
        if not word.startswith("--"):
            break
        found.add(word.split("=")[0])
    return found
