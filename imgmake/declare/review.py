"""What can only be judged when every rule and variable is known: the last look over one load, all mistakes at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from imgmake.commands.base import Action
from imgmake.declare.collector import Collector
from imgmake.declare.complaints import closest, did_you_mean
from imgmake.errors import GraphError, ImgmakeError, InvalidReference, PipefileError, UsageError
from imgmake.model import CheckRule, FileRule, ImageRule, PublishRule, Rule, Semver
from imgmake.references import is_tag, parse, tag_hint
from imgmake.variables import AT_LOAD, LATE, cycle, expand, names, token

_USED = re.compile(r"\$\{(\w+)\}", re.ASCII)


def review(collector: Collector) -> Iterator[ImgmakeError]:
    """Every mistake in what was declared, each with its place."""
    known = frozenset({*LATE, *AT_LOAD, *collector.variables})
    targets = {name for rule in collector.rules for name in names_of(rule)} | collector.broken
    for rule in collector.rules:
        yield from _late_names(rule, known, collector)
        yield from _spaces(rule, targets, collector)
        if isinstance(rule, CheckRule):
            yield from _green_for_ever(rule)
        elif isinstance(rule, ImageRule):
            yield from _secrets_shown(rule, collector)
            yield from _references(rule, rule.tags, "tags", known)
        elif isinstance(rule, PublishRule):
            yield from _secrets_published(rule, collector)
            yield from _publish(rule, known)
    yield from _ring(collector)
    yield from _default(collector, targets)


def names_of(rule: Rule) -> tuple[str, ...]:
    """Every target of a rule."""
    return rule.targets if isinstance(rule, FileRule) else (rule.target,)


def unknown_variables(collector: Collector) -> Iterator[ImgmakeError]:
    """A ``NAME=value`` of the command line that nothing declares."""
    settable = {*collector.variables, *collector.broken, *LATE} - {"FINGERPRINT"}
    for name in collector.overrides:
        if name in settable:
            continue
        if name == "FINGERPRINT":
            yield UsageError("FINGERPRINT is worked out for each image: it cannot be given")
        elif name in AT_LOAD:
            yield UsageError(
                f"{name} is this machine's: it cannot be given",
                hint=f'a Pipefile that says {name} = var("{name}", {name}) lets it be chosen',
            )
        else:
            hint = did_you_mean(name, settable) or f"declared are {', '.join(sorted(collector.variables)) or 'none'}"
            yield UsageError(f"no variable is called {name}", hint=hint)


# --- names and parts ------------------------------------------------------------------------------------------


def _late_names(rule: Rule, known: frozenset[str], collector: Collector) -> Iterator[ImgmakeError]:
    for target in names_of(rule):
        for name in sorted(names(target, known)):
            variable = collector.variables.get(name)
            hint = "a target's name has to be known when the Pipefile is loaded"
            if variable is not None and variable.origin == "required":
                hint += f': give var("{name}") a default, or the value with {name}=…'
            yield PipefileError(
                f"{rule.kind} {target!r}: {name} in its name is a late value", hint=hint, place=rule.place
            )


def _spaces(rule: Rule, targets: set[str], collector: Collector) -> Iterator[ImgmakeError]:
    """A command written as a plain string looks like a prerequisite: ``phony("x", "docker build .")``."""
    for part in (*rule.parts, *rule.after):
        if not isinstance(part, str) or not any(c.isspace() for c in part.strip()):
            continue
        name = part[2:] if part.startswith("//") else "/".join(p for p in (rule.base, part) if p)
        if name not in targets and not collector.loader.exists(name):
            close = closest(name, targets)
            hint = f"did you mean {close!r}?" if close else f"did you mean sh({part!r})?"
            yield PipefileError(
                f"{rule.kind} {rule.target!r} needs {part!r}, which is no target and no file",
                hint=hint,
                place=rule.place,
            )


def _green_for_ever(rule: CheckRule) -> Iterator[ImgmakeError]:
    if not rule.recipe:
        yield PipefileError(
            f"check {rule.target!r} has no recipe", hint="give it a command, or group with phony()", place=rule.place
        )
    hidden = not rule.parts and any(_hides_what_it_reads(step) for step in rule.recipe)
    if hidden and rule.max_age is None and not any(_names_what_it_reads(step) for step in rule.recipe):
        yield PipefileError(
            f"check {rule.target!r} names nothing that it reads: once passed, it would be green for ever",
            hint='name the files that it reads ("src/", "**/*.go"), or say how long a pass holds (max_age="1d")',
            place=rule.place,
        )


def _hides_what_it_reads(step: object) -> bool:
    return not isinstance(step, Action) or not step.names_inputs()


def _names_what_it_reads(step: object) -> bool:
    # An image by name is a tool that anyone may use; an image's rule, or a file, is what is tested.
    return isinstance(step, Action) and any(r.kind == "file" or isinstance(r.what, ImageRule) for r in step.reads())


# --- images and variables -------------------------------------------------------------------------------------


def _secrets_shown(rule: ImageRule, collector: Collector) -> Iterator[ImgmakeError]:
    secret = {name for name, variable in collector.variables.items() if variable.secret}
    shown: Mapping[str, object] = {
        **{f"build_args[{key!r}]": value for key, value in rule.build_args.items()},
        **{f"labels[{key!r}]": value for key, value in rule.labels.items()},
        **{f"contexts[{key!r}]": value for key, value in rule.contexts.items()},
        **dict.fromkeys(rule.tags, " ".join(rule.tags)),
        "options": _with_names(rule.options),
    }
    for where, value in shown.items():
        for name in sorted(names(value, secret)) if isinstance(value, str) else ():
            yield PipefileError(
                f"image {rule.target!r}: {where} holds the secret {name}, which everyone could read in the image",
                hint=f'pass it with secrets={{"{name.lower()}": {name}}} and RUN --mount=type=secret,id={name.lower()}',
                place=rule.place,
            )


def _secrets_published(rule: PublishRule, collector: Collector) -> Iterator[ImgmakeError]:
    secret = {name for name, variable in collector.variables.items() if variable.secret}
    tags = [tag.version + tag.suffix if isinstance(tag, Semver) else str(tag) for tag in rule.tags]
    images = [image for image in rule.images if isinstance(image, str)]
    for where, values in (("image", images), ("to", rule.to), ("tags", tags)):
        for name in sorted(names(" ".join(values), secret)):
            message = (
                f"publish {rule.target!r}: {where} holds the secret {name}, which everyone could read in the registry"
            )
            hint = f"credentials come from docker login; if {name} is none, leave secret=True out"
            yield PipefileError(message, hint=hint, place=rule.place)


def _with_names(options: Sequence[str]) -> str:
    """The options as a text, with what ``--build-arg NAME`` takes from the environment."""
    words = " ".join(options).replace("=", " ").split()
    taken = [name for option, name in pairwise(words) if option == "--build-arg"]
    return " ".join([*options, *(f"${{{name}}}" for name in taken)])


def _publish(rule: PublishRule, known: frozenset[str]) -> Iterator[ImgmakeError]:
    for to in rule.to:
        try:
            found = parse(expand(to, known, lambda _: "x"))
        except InvalidReference as error:
            yield _misspelt(rule, "to", to, known, error)
            continue
        if found.tag or found.digest:
            yield PipefileError(
                f"publish {rule.target!r}: to={to!r} holds a tag", hint="the tags go into tags=", place=rule.place
            )
    yield from _references(rule, tuple(i for i in rule.images if isinstance(i, str)), "image", known)
    for tag in rule.tags:
        if isinstance(tag, str) and not is_tag(expand(tag, known, lambda _: "x")):
            wrong = InvalidReference(f"{tag!r} is no tag", hint=tag_hint(tag))
            yield _misspelt(rule, "tags", tag, known, wrong)


def _references(rule: Rule, references: tuple[str, ...], what: str, known: frozenset[str]) -> Iterator[ImgmakeError]:
    for reference in references:
        try:
            found = parse(expand(reference, known, lambda _: "x"))
        except InvalidReference as error:
            yield _misspelt(rule, what, reference, known, error)
            continue
        if found.digest and isinstance(rule, ImageRule):
            yield PipefileError(
                f"image {rule.target!r}: the tag {reference!r} holds a digest, which only a registry can give",
                place=rule.place,
            )


def _misspelt(rule: Rule, what: str, text: str, known: frozenset[str], error: ImgmakeError) -> ImgmakeError:
    """The complaint about a reference; a late value that nobody declared is likelier than an odd character."""
    for name in _USED.findall(text):
        if name not in known:
            hint = did_you_mean(name, known) or f'declare it with var("{name}")'
            return PipefileError(f"{rule.kind} {rule.target!r}: {what} holds {token(name)}, which nothing declares",
                                 hint=hint, place=rule.place)  # fmt: skip
    return InvalidReference(f"{rule.kind} {rule.target!r}: {what}: {error.message}", hint=error.hint, place=rule.place)


def _ring(collector: Collector) -> Iterator[ImgmakeError]:
    if ring := cycle(collector.variables):
        yield PipefileError(
            f"variables name each other in a ring: {' -> '.join(ring)}", place=collector.variables[ring[0]].place
        )


def _default(collector: Collector, targets: set[str]) -> Iterator[ImgmakeError]:
    if collector.default is None or collector.default[0] in targets:
        return
    name, place = collector.default
    if not collector.loader.exists(name):
        yield GraphError(f"default({name!r}) is no target", hint=did_you_mean(name, targets), place=place)
