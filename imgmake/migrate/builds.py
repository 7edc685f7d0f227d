"""An image's build as bake and compose define it, as an `image` rule, and as the arguments of ``docker build``. Pure.

Values are parts: literal text, and the variables in it. https://docs.docker.com/build/bake/reference/
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from imgmake.migrate.foreign import Draft, Entry, dictionary, listed
from imgmake.migrate.python import Part, Parts, expression, identifier, merged, quoted, today

_REMOTE = re.compile(r"\w+://|git@|github\.com/")


@dataclass
class Build:
    """One image: what is said of it, in the words of ``docker build``.

    dockerfile: from the context, as bake and compose have it; empty for the usual one.
    options:    flags that `image` has no keyword for.
    passed:     arguments without a value: the environment's, where it has one.
    today:      why what stands in the Pipefile holds for today only; empty when it does not.
    troubles:   why it cannot be translated, each with what stands there.
    """

    name: str
    line: int
    context: Parts = (Part("."),)
    dockerfile: Parts = ()
    stage: Parts = ()
    tags: list[Parts] = field(default_factory=list)
    args: dict[str, Parts] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)
    labels: dict[str, Parts] = field(default_factory=dict)
    platforms: list[Parts] = field(default_factory=list)
    secrets: list[Parts] = field(default_factory=list)
    contexts: dict[str, Parts] = field(default_factory=dict)
    options: list[Parts] = field(default_factory=list)
    pull: bool = False
    pushed: bool = False  # by the build itself
    comment: str = ""
    help: str = ""
    today: str = ""
    troubles: list[tuple[str, str]] = field(default_factory=list)

    @property
    def path(self) -> str:
        """The context's folder as text, as it is today."""
        return posixpath.normpath(today(self.context) or ".")

    def needs(self) -> dict[str, str]:
        """Named contexts that are other builds of this file: by name, whose."""
        texts = {name: today(value) for name, value in self.contexts.items()}
        return {
            name: text.partition(":")[2] for name, text in texts.items() if re.match(r"(?:target|service):(?!//)", text)
        }


def declare(draft: Draft, builds: Sequence[Build]) -> dict[str, list[str]]:
    """The rules of builds, in their order; what cannot be one fails when it is run.

    Two that build the same under one tag are one rule: returns the name of each other one, with whose it is.
    """
    made = {each.name: each for each in builds}
    twins = _twins(builds)
    handles = _handles(made)
    handles |= {name: handles[first] for name, first in twins.items()}
    for each in builds:
        problem = next(iter([*each.troubles, *_troubles(each, made)]), None)
        if problem is not None:
            draft.fails(each.name, each.line, problem[0], problem[1], comment=each.comment)
        elif each.name in twins:
            draft.entries.append(Entry(each.name, each.line, "phony", [quoted(twins[each.name])], each.comment))
        else:
            _declare(draft, each, handles, tuple(twins.get(name, name) for name in each.needs().values()))
    return {name: [first] for name, first in twins.items()}


def _declare(draft: Draft, each: Build, handles: Mapping[str, str], order: tuple[str, ...]) -> None:
    arguments = list(_arguments(each, handles))
    if each.passed and "os" not in draft.imports:
        draft.imports.append("os")
    draft.entries.append(
        Entry(each.name, each.line, "image", arguments, each.comment, handles[each.name], order, each.name, each.today)
    )
    if each.pushed:
        _published(draft, each, handles[each.name])


def _twins(builds: Sequence[Build]) -> dict[str, str]:
    """Builds that are another's over again; one that only takes another's tag gets that for a trouble."""
    found: dict[str, str] = {}
    claimed: dict[str, Build] = {}
    for each in builds:
        first = next((claimed[tag] for tag in map(today, each.tags) if tag in claimed), None)
        if first is None:
            claimed |= dict.fromkeys(map(today, each.tags), each)
        elif replace(each, name="", line=0, comment="", help="") == replace(
            first, name="", line=0, comment="", help=""
        ):
            found[each.name] = first.name
        else:
            tag = next(tag for tag in map(today, each.tags) if tag in claimed)
            each.troubles.append((f"tag {tag}", f"{first.name} has the tag {tag}, and is built otherwise"))
    return found


def _handles(made: Mapping[str, Build]) -> dict[str, str]:
    return {name: identifier(name.lower()) for name in made}


def _troubles(build: Build, made: Mapping[str, Build]) -> Iterator[tuple[str, str]]:
    context = today(build.context)
    if _REMOTE.match(context):
        yield f"context = {context}", "its context is no folder: check it out, or let a Dockerfile ADD it"
    if any(part.name for part in merged(build.context)) or any(part.name for part in merged(build.dockerfile)):
        yield f"context = {context}", "its context or Dockerfile depends on a variable"
    for name in build.needs().values():
        if name not in made:
            yield f"target:{name}", f"{name} is not defined here"
        elif made[name].troubles:
            yield f"target:{name}", f"it needs {name}, which is not translated"


def dockerfile(build: Build) -> str:
    """The Dockerfile's path from the Pipefile, as it is today."""
    given = today(build.dockerfile) or "Dockerfile"
    return given if given.startswith("/") else posixpath.normpath(posixpath.join(build.path, given))


def _arguments(build: Build, handles: Mapping[str, str]) -> Iterator[str]:
    """The keywords of `image`, in the order of its parameters."""
    given = {
        "tags": _several(build.tags),
        **_places(build),
        "stage": expression(build.stage) if build.stage else "",
        "build_args": _build_args(build) if build.args or build.passed else "",
        "contexts": _contexts(build, handles),
        "platforms": _several(build.platforms),
        "secrets": _several(build.secrets),
        "labels": dictionary({name: expression(value) for name, value in build.labels.items()}) if build.labels else "",
        "pull": "True" if build.pull else "",
        "options": _several(build.options),
        "help": quoted(build.help) if build.help else "",
    }
    return (f"{name}={source}" for name, source in given.items() if source)


def _several(values: Sequence[Parts]) -> str:
    return listed([expression(each) for each in values]) if values else ""


def _places(build: Build) -> dict[str, str]:
    usual = posixpath.normpath(posixpath.join(build.path, "Dockerfile"))
    return {
        "context": quoted(build.path) if build.path != "." else "",
        "dockerfile": quoted(dockerfile(build)) if dockerfile(build) != usual else "",
    }


def _contexts(build: Build, handles: Mapping[str, str]) -> str:
    needs = build.needs()
    given = {n: handles[needs[n]] if n in needs else expression(value) for n, value in build.contexts.items()}
    return dictionary(given) if given else ""


def _build_args(build: Build) -> str:
    """Values as given; of those without one, what the environment has."""
    given = {name: expression(value) for name, value in build.args.items()}
    if not build.passed:
        return dictionary(given)
    names = f"({', '.join(map(quoted, build.passed))},)" if len(build.passed) == 1 else str(tuple(build.passed))
    passed = f"{{name: os.environ[name] for name in {names.replace(chr(39), chr(34))} if name in os.environ}}"
    return passed if not given else f"{dictionary(given)} | {passed}"


# --- what a build also pushed -------------------------------------------------------------------------------------


def _published(draft: Draft, build: Build, handle: str) -> None:
    """A build that pushes what it makes: building and publishing are two rules."""
    by_repository: dict[str, tuple[Parts, list[str]]] = {}
    for each in build.tags:
        repository, tag = _halves(each)
        by_repository.setdefault(expression(repository), (repository, []))[1].append(expression(tag))
    if not by_repository:
        return
    tags = {tuple(found) for _, found in by_repository.values()}
    together = len(tags) == 1
    groups = [list(by_repository)] if together else [[each] for each in by_repository]
    for at, repositories in enumerate(groups, start=1):
        name = f"publish/{build.name}" if len(groups) == 1 else f"publish/{build.name}/{at}"
        arguments = [
            f"image={handle}",
            f"to={listed(repositories)}",
            f"tags={listed(by_repository[repositories[0]][1])}",
        ]
        draft.entries.append(Entry(name, build.line, "publish", arguments, order=(build.name,)))
    name = f"publish/{build.name}{'/…' if len(groups) > 1 else ''}"
    why = f"the build pushed what it made; here that is {name}, and {build.name} only builds"
    draft.note(build.line, build.name, why)


def _halves(tag: Parts) -> tuple[Parts, Parts]:
    """A reference's repository and tag."""
    parts = merged(tag)
    for at in range(len(parts) - 1, -1, -1):
        text = "" if parts[at].name else parts[at].text
        before, colon, after = text.rpartition(":")
        if colon and "/" not in after:
            return merged([*parts[:at], Part(before)]), merged([Part(after), *parts[at + 1 :]])
        if "/" in text:
            break
    return parts, [Part("latest")]
