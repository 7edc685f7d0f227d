"""The constructors of the five kinds of rule: arguments in, a rule among the collector's rules out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from os import PathLike
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from imgmake.commands.base import Action
from imgmake.commands.words import some_text
from imgmake.declare import parts as of
from imgmake.declare import texts
from imgmake.declare.collector import BROKEN, Collector, active, declares
from imgmake.declare.complaints import shown
from imgmake.declare.parts import Part
from imgmake.errors import PipefileError
from imgmake.model import CheckRule, Command, FileRule, ImageRule, PhonyRule, PublishRule, Rule, Semver
from imgmake.references import is_tag, tag_hint
from imgmake.variables import late

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_Self = TypeVar("_Self", bound=Rule)


class _Decorator:
    """A rule without a recipe, put above the function that is its recipe."""

    def __call__(self: _Self, function: Callable[..., object]) -> _Self:  # type: ignore[misc]  # mixed into rules only
        collector = active(self.kind)
        try:
            _decorate(self, function)
        except PipefileError as error:
            collector.complain(error, self.place)
        return self


def _decorate(rule: Rule, function: Callable[..., object]) -> None:
    recipe = of.sort([function], active(rule.kind)).recipe
    if not recipe:
        raise PipefileError(f"{rule.kind} {rule.target!r} was called with {shown(function)}, which is no recipe")
    if rule.recipe:
        raise PipefileError(
            f"{rule.kind} {rule.target!r} has a recipe already", hint="decorate a rule that holds prerequisites only"
        )
    # Handles taken before the decoration are this very object, and rules are told apart by identity:
    # a frozen copy would be another declaration. Nothing outside the load has seen the rule yet.
    rule.__dict__["recipe"] = recipe
    rule.__dict__["help"] = _docstring(recipe) or rule.help


class File(_Decorator, FileRule):
    """What `file` returns: a prerequisite of other rules, or a decorator."""


class Phony(_Decorator, PhonyRule):
    """What `phony` returns: a prerequisite of other rules, or a decorator."""


class Check(_Decorator, CheckRule):
    """What `check` returns: a prerequisite of other rules, or a decorator."""


@declares(lambda place: File(target=BROKEN, place=place, targets=(BROKEN,)))
def file(
    target: str | PathLike[str] | Iterable[str | PathLike[str]],
    /,
    *parts: Part,
    after: Part = (),
    keep: bool = False,
    help: str = "",
) -> File:
    """Declare a file, or several made by one recipe, that depends on its parts.

    target: path from the Pipefile's folder, or a list of paths that one run of the recipe makes.
    parts:  prerequisites (names, paths, folders, patterns, rules) and the recipe (commands, functions), in order.
    after:  prerequisites that come first, and make nothing stale (make's ``|``).
    keep:   leave the file there when its recipe fails; else it is deleted (make's ``.DELETE_ON_ERROR``).
    help:   one line for ``--list``; else the docstring of the recipe, or the comment above, serves.

    In `sh` text ``$out`` are the targets and ``$in`` the prerequisite files. Errors wait for the end of
    the load and come with the Pipefile's line.

    >>> file("dist/app", "go.mod", "**/*.go", sh("go build -o $out ./cmd/app"))  # doctest: +SKIP
    >>> @file("version.txt", "CHANGELOG.md")  # doctest: +SKIP
    ... def version(context):
    ...     context.outputs[0].write_text(context.inputs[0].read_text().split()[1])
    """
    collector = active("file")
    given = texts.listed(target)
    targets = tuple(of.path(one, collector) for one in given)
    if not targets:
        raise PipefileError("file() was given no target")
    if len(set(targets)) < len(targets):
        raise PipefileError(f"file {targets[0]!r}: one of its targets stands there twice")
    common = _common(collector, "file", parts, after, help)
    return collector.add(File(target=targets[0], targets=targets, keep=keep, **common))


@declares(lambda place: Phony(target=BROKEN, place=place))
def phony(target: str, /, *parts: Part, after: Part = (), help: str = "") -> Phony:
    """Declare a name for work: with a recipe it runs each time it is asked for, without one it groups others.

    target: the name; ``/`` makes families (``push/app``).
    parts:  prerequisites and recipe; a pattern also picks targets: ``phony("push", "push/*")``.
    after:  prerequisites that come first, and make nothing stale.
    help:   one line for ``--list``.

    https://www.gnu.org/software/make/manual/html_node/Phony-Targets.html

    >>> phony("clean", sh("rm -rf target"))  # doctest: +SKIP
    """
    collector = active("phony")
    name = of.name(target, "phony", collector)
    return collector.add(Phony(target=name, **_common(collector, "phony", parts, after, help)))


@declares(lambda place: Check(target=BROKEN, place=place))
def check(
    target: str,
    /,
    *parts: Part,
    max_age: str | float | timedelta | None = None,
    after: Part = (),
    help: str = "",
) -> Check:
    """Declare a test whose pass is remembered until something that it reads changes.

    target:  the name.
    parts:   prerequisites and recipe. What the recipe's commands name (a Dockerfile, an image, a configuration)
             is a prerequisite by itself; what `sh`, a function or a mounted folder reads has to be named.
    max_age: how long a pass holds: ``"1d"``, ``"12h"``, seconds or a timedelta; one day when it holds a `scan`.
    after:   prerequisites that come first, and make nothing stale.
    help:    one line for ``--list``.

    >>> check("image-tests", structure_test(app, "structure-tests.yaml"))  # doctest: +SKIP
    >>> check("unit-tests", "go.mod", "**/*.go", sh("go test ./..."))  # doctest: +SKIP
    """
    collector = active("check")
    name = of.name(target, "check", collector)
    common = _common(collector, "check", parts, after, help)
    age = _shortest_age(common["recipe"]) if max_age is None else texts.age(max_age)
    return collector.add(Check(target=name, max_age=age, **common))


@declares(lambda place: ImageRule(target=BROKEN, place=place, tags=("broken",)))
def image(  # noqa: PLR0913  # one keyword for each thing that a build can be told
    target: str,
    /,
    *parts: Part,
    tags: str | Iterable[str] = (),
    context: str | PathLike[str] = ".",
    dockerfile: str | PathLike[str] | None = None,
    stage: str | None = None,
    build_args: Mapping[str, str | int | PathLike[str] | ImageRule] = _NOTHING,
    contexts: Mapping[str, str | PathLike[str] | ImageRule] = _NOTHING,
    platforms: str | Iterable[str] = (),
    secrets: str | PathLike[str] | Iterable[str | PathLike[str]] | Mapping[str, str | PathLike[str]] = (),
    labels: Mapping[str, str | int] = _NOTHING,
    pull: bool = False,
    max_age: str | float | timedelta | None = None,
    builder: Literal["buildx", "buildkit", "classic"] | None = None,
    options: str | Iterable[str] = (),
    after: Part = (),
    help: str = "",
) -> ImageRule:
    """Declare an image built from a Dockerfile (https://docs.docker.com/reference/cli/docker/buildx/build/).

    parts:      prerequisites beside those that the Dockerfile shows (COPY, ADD, FROM, mounts).
    tags:       its names in the engine; without any ``<folder>-<target>``, as compose names it.
    context:    folder of the build context, from the Pipefile's folder.
    dockerfile: path from the Pipefile's folder; default ``<context>/Dockerfile``.
    stage:      the stage to build (``docker build --target``); default the last one.
    build_args: values of ARG; an image's rule stands for that image. Never a secret.
    contexts:   named contexts: a folder, a reference or an image's rule.
    platforms:  ``"linux/amd64,linux/arm64"`` or a list; default the engine's own.
    secrets:    for ``RUN --mount=type=secret``: paths (the file's name is the ID), ``id=…,src=…`` or ``id=…,env=…``
                strings, or a mapping of IDs to paths or secret variables. Only IDs count for freshness.
    labels:     labels that win over those imgmake stamps.
    pull:       ask the registry whether the base has moved.
    max_age:    build anew when older: ``"1d"``, ``"12h"``, seconds or a timedelta.
    builder:    force one, whatever is there.
    options:    further options of ``docker build``.
    after:      prerequisites that come first, and make nothing stale.
    help:       one line for ``--list``.

    >>> app = image("app-image", tags=f"acme/app:{BUILD_ID}", stage="app")  # doctest: +SKIP
    >>> image("debug-image", build_args={"BASE": app}, dockerfile="debug.df")  # doctest: +SKIP
    """
    return _image(locals())


@declares(lambda place: PublishRule(target=BROKEN, place=place))
def publish(  # noqa: PLR0913 (all that is said of a publication)
    target: str,
    /,
    *parts: Part,
    image: ImageRule | str | Iterable[ImageRule | str],
    to: str | Iterable[str],
    tags: str | Semver | Iterable[str | Semver],
    checks: Iterable[str | CheckRule] | None = None,
    requires: str | CheckRule | Iterable[str | CheckRule] = (),
    evidence: bool = True,
    sign: bool = False,
    after: Part = (),
    help: str = "",
) -> PublishRule:
    """Declare tags in registries that hold an image; every check that names the image has to pass first.

    target:   the name.
    parts:    further prerequisites.
    image:    an image's rule, a reference to promote, or several (one index).
    to:       repositories without a tag: ``"registry.example.com/shop"``, one or several.
    tags:     tags to set in each, one or several; `semver` fans out to ``1``, ``1.2``, ``1.2.3``.
    checks:   the checks that have to pass, in place of those that name the image.
    requires: checks that somebody must have passed an image with that is promoted by reference, as its registry
              tells: ``["image-tests", "scan"]``.
    evidence: push what the checks showed, SBOMs, and where the image comes from beside it.
    sign:     sign the image, and what is pushed beside it, with cosign.
    after:    prerequisites that come first, and make nothing stale.
    help:     one line for ``--list``.

    >>> publish("publish", image=app, to="ghcr.io/acme/app", tags=[BUILD_ID, "latest"])  # doctest: +SKIP
    """
    collector = active("publish")
    name = of.name(target, "publish", collector)
    rule = PublishRule(
        target=name,
        images=_images(image),
        to=_some(tuple(map(late, texts.several(to, "to"))), "to", "a repository"),
        tags=_some(tuple(_tag(tag) for tag in texts.listed(tags)), "tags", "a tag"),
        checks=None if checks is None else _checks(checks, collector),
        requires=_required(requires),
        evidence=evidence,
        sign=sign,
        **_without_recipe("publish", name, _common(collector, "publish", parts, after, help)),
    )
    return collector.add(rule)


def _image(given: Mapping[str, Any]) -> ImageRule:
    """The rule for the arguments of `image`, by their names."""
    collector = active("image")
    name, builder, dockerfile = of.name(given["target"], "image", collector), given["builder"], given["dockerfile"]
    if builder not in (None, "buildx", "buildkit", "classic"):
        raise PipefileError(f"image {name!r}: builder={shown(builder)}", hint="it is buildx, buildkit or classic")
    common = _common(collector, "image", given["parts"], given["after"], given["help"])
    rule = ImageRule(
        target=name,
        tags=tuple(map(late, texts.several(given["tags"], "tags")))
        or (texts.legal_repository(collector.project, name),),
        context=of.local(some_text(given["context"], "context"), collector),
        dockerfile=None if dockerfile is None else of.local(some_text(dockerfile, "dockerfile"), collector),
        stage=texts.optional(given["stage"], "stage"),
        build_args=texts.pairs(given["build_args"], "build_args", texts.scalar_or_image),
        contexts=texts.pairs(given["contexts"], "contexts", texts.scalar_or_image),
        platforms=texts.platforms(given["platforms"]),
        secrets=texts.secrets(given["secrets"]),
        labels=texts.pairs(given["labels"], "labels", texts.scalar),
        pull=given["pull"],
        max_age=texts.age(given["max_age"]),
        builder=builder,
        options=texts.several(given["options"], "options"),
        **_without_recipe("image", name, common),
    )
    return collector.add(rule)


# --- what the kinds share -------------------------------------------------------------------------------------


def _common(collector: Collector, kind: str, parts: Iterable[Part], after: Part, help: str) -> dict[str, Any]:
    found = of.sort(parts, collector)
    place = collector.here()
    return {
        "place": place,
        "base": collector.base,
        "parts": found.prerequisites,
        "recipe": found.recipe,
        "after": of.only_prerequisites(after, collector, "after"),
        "help": help or _docstring(found.recipe) or collector.comment_above(place, kind),
    }


def _shortest_age(recipe: Iterable[Command | Callable[..., object]]) -> float | None:
    ages = (step.max_age() for step in recipe if isinstance(step, Action))
    return min((age for age in ages if age is not None), default=None)


def _docstring(recipe: tuple[Command | Callable[..., object], ...]) -> str:
    """The first paragraph of a recipe that is one function, in one line."""
    if len(recipe) != 1 or isinstance(recipe[0], Command):
        return ""
    text = inspect.getdoc(recipe[0]) if inspect.isfunction(recipe[0]) else ""
    return " ".join((text or "").partition("\n\n")[0].split())


def _without_recipe(kind: str, name: str, common: dict[str, Any]) -> dict[str, Any]:
    if common.pop("recipe"):
        raise PipefileError(
            f"{kind} {name!r} takes no command: its recipe is the {kind} itself",
            hint=f"put the command in a file, check or phony, and name that as a part of the {kind}",
        )
    return common


def _images(given: Any) -> tuple[ImageRule | str, ...]:
    found: list[ImageRule | str] = []
    for one in texts.listed(given):
        if not isinstance(one, (str, ImageRule)) or one == "":
            what = f"a {one.kind}" if isinstance(one, Rule) else shown(one)
            raise PipefileError(f"image is {what}", hint="give an image's rule, or a reference such as 'acme/app:1'")
        if one in found:
            name = one.target if isinstance(one, ImageRule) else one
            raise PipefileError(f"image holds {name!r} twice", hint="an index has one image for each platform")
        found.append(one)
    return _some(tuple(found), "image", "an image")


def _tag(tag: object) -> str | Semver:
    if isinstance(tag, Semver):
        return tag.model_copy(update={"version": late(tag.version), "suffix": late(tag.suffix)})
    text = late(texts.scalar(tag, "tags"))
    if "$" not in text and not is_tag(text):
        hint = "the repository goes into to=" if "/" in text or ":" in text else tag_hint(text)
        raise PipefileError(f"tags: {text!r} is no tag", hint=hint)
    return text


def _checks(given: Any, collector: Collector) -> tuple[str | CheckRule, ...]:
    found = of.only_prerequisites(given, collector, "checks")
    for one in found:
        if isinstance(one, Rule) and not isinstance(one, CheckRule):
            raise PipefileError(f"checks: {one.target!r} is no check but of kind {one.kind}")
    return tuple(one for one in found if isinstance(one, (str, CheckRule)))


def _required(given: Any) -> tuple[str | CheckRule, ...]:
    """Names or rules of checks; a pattern that matches nothing would require nothing."""
    found: list[str | CheckRule] = []
    for one in texts.listed(given):
        found += [one] if isinstance(one, CheckRule) else texts.several([one], "requires")
        if isinstance(one, str) and any(sign in one for sign in "*?["):
            raise PipefileError(f"requires: {one!r} is a pattern", hint="name each check that has to have passed")
    return tuple(found)


_Items = TypeVar("_Items", bound=tuple[Any, ...])


def _some(found: _Items, what: str, wanted: str) -> _Items:
    if not found:
        raise PipefileError(f"{what} is empty", hint=f"give {wanted}")
    return found
