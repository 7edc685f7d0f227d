"""Building an image: bases resolved once and used by ID, content by a builder, then the stamp, then the tags."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from imgmake import dockerfile, stamp
from imgmake.commands import owner, tools
from imgmake.dockerfile import ImageUse
from imgmake.errors import BuildError, DockerfileError, EngineUnavailable, Place
from imgmake.executor.images import Images
from imgmake.executor.masking import Masked
from imgmake.executor.origins import Origins
from imgmake.executor.reading import Reader, Reading
from imgmake.executor.reproducible import sent
from imgmake.executor.run import Run
from imgmake.fingerprint import digest
from imgmake.freshness import short
from imgmake.graph import Node
from imgmake.imagerule import (
    context_folder,
    context_reference,
    dockerfile_path,
    join,
    label_keys,
    secret_id,
    secret_path,
    secret_variable,
)
from imgmake.metadata import NAMES
from imgmake.model import ImageRule
from imgmake.ports import Builder, BuildRequest, ContextFile, Image, Output
from imgmake.stamp import Stamp

_STAMPED = ("BUILD_ID", "BUILD_DATE", "VCS_REF", "VCS_URL")
_PIN = "imgmake-pin"
_PINS = itertools.count()


class Building:
    """Builds one image rule's node."""

    def __init__(self, run: Run, reader: Reader, images: Images) -> None:
        self._run = run
        self._reader = reader
        self._origins = Origins(reader)
        self._images = images

    def lines(self, node: Node) -> tuple[str, ...]:
        """The docker lines that a build comes to, for a dry run: nothing is pinned, nothing is pulled."""
        rule = node.rule
        assert isinstance(rule, ImageRule)
        builder = self._run.world.builder(rule.builder)
        reading = self._reader.read(node, None, builder.family)
        request = self._request(node, rule, reading, {}, self._images.tags(node, None, digest(reading.fields)))
        return (builder.line(request),)

    def perform(self, node: Node, output: Output) -> None:
        """Build, stamp, tag, record. Raises BuildError, Refused, EngineError."""
        run, rule = self._run, node.rule
        assert isinstance(rule, ImageRule)
        engine, builder, began = run.world.engine(), run.world.builder(rule.builder), run.world.clock.now()
        with run.signals.lock:
            reading = self._reader.read(node, None, builder.family)
            tags = self._images.tags(node, None, digest(reading.fields))
            self._guard(node, tags)
        self._possible(rule, reading, builder.family)
        for hint in reading.context.hints(reading.reads):
            output.note(hint)
        bases = self._bases(node, rule, reading, output)
        with run.signals.lock:  # a base that was pulled may have ONBUILD triggers, which read more
            reading = self._reader.read(node, None, builder.family)
        with self._pinned(bases) as pins:
            mark = {owner.LABEL: f"{owner.own()}.build{next(_PINS)}"}
            request = _marked(self._request(node, rule, reading, pins, tags), builder, mark)
            output.command(builder.line(self._request(node, rule, reading, {}, tags)))
            told = Masked(output, _named(pins))
            built = self._built(builder, request, told, rule)
            told.flush()
        run.signals.check()
        first = engine.image(built)
        if first is None:
            raise BuildError(f"{builder.name} says that it built {short(built)}, which the engine does not have")
        with self._passing(first, builder) as passed:
            image = self._redated(rule, first, bases, mark)
            passed.add(image.id)
            with run.signals.lock:
                self._guard(node, tags)  # once more: another imgmake may have set them meanwhile
                sealed, seal = self._stamp(node, rule, reading, image, bases, builder, began)
                for tag in tags:
                    engine.tag(sealed.id, tag)
                run.images[node.id] = (sealed, seal)
                self._images.remember(node, sealed, seal, reading.fields)
            passed.discard(sealed.id)
        output.note(f"built {short(sealed.id)}" + (f" as {', '.join(tags)}" if tags else ""))

    @contextlib.contextmanager
    def _passing(self, first: Image, builder: Builder) -> Iterator[set[str]]:
        """Images on the way from what was built to what bears the stamp; they go, whatever becomes of it."""
        found = {first.id}
        try:
            yield found
        finally:
            if builder.family == "classic":
                found.discard(first.id)  # its cache; BuildKit has one of its own
            for image in found:
                with contextlib.suppress(EngineUnavailable):
                    self._run.world.engine().remove(image)

    def _redated(self, rule: ImageRule, image: Image, bases: Mapping[str, Image], mark: Mapping[str, str]) -> Image:
        """The image with the commit's time in its own layers, where it is to be the same in every clone."""
        seconds = self._reader.reproducible.seconds(rule)
        if seconds is None:
            return image
        engine, cancel = self._run.world.engine(), self._run.signals.cancel
        return engine.redate(image, bases=tuple(bases.values()), seconds=seconds, labels=mark, cancel=cancel)

    def _built(self, builder: Builder, request: BuildRequest, output: Output, rule: ImageRule) -> str:
        """The ID that the builder gives; when it failed since the engine went away, that is the error."""
        try:
            return builder.build(request, output=output, cancel=self._run.signals.cancel)
        except BuildError:
            try:
                self._run.world.engine().image(f"{_PIN}:any")
            except EngineUnavailable as gone:
                raise EngineUnavailable(
                    f"the container engine went away while image {rule.target!r} was built", hint=gone.hint
                ) from None
            raise

    def _guard(self, node: Node, tags: tuple[str, ...]) -> None:
        holders = [(tag, self._run.world.engine().image(tag)) for tag in tags]
        self._images.guard(node, [(tag, holder.id) for tag, holder in holders if holder is not None])

    def _possible(self, rule: ImageRule, reading: Reading, family: str) -> None:
        """What the builder would refuse after minutes, said at once. Raises DockerfileError, SourceError."""
        name = dockerfile_path(rule)
        for problem in reading.analysis.problems:
            raise DockerfileError(problem, place=Place(name, 0))
        for feature, line in reading.analysis.needs if family == "classic" else ():
            raise BuildError(
                f"{feature} needs BuildKit, and image {rule.target!r} is built by the classic builder",
                place=Place(name, line),
                hint="install docker-buildx, or leave builder= and IMGMAKE_BUILDER alone",
            )
        reading.context.files(reading.reads)

    # --- bases ----------------------------------------------------------------------------------------------

    def _bases(self, node: Node, rule: ImageRule, reading: Reading, output: Output) -> Mapping[str, Image]:
        """Every image that the build starts from or copies from, by the reference that the Dockerfile gives."""
        found: dict[str, Image] = {}
        for use in (*reading.analysis.images, *self._named_images(rule)):
            if use.reference not in found:
                found[use.reference] = self._base(node, rule, use, output)
        return found

    def _named_images(self, rule: ImageRule) -> Iterator[ImageUse]:
        """External images among the named contexts: they move as bases do."""
        for name, given in rule.contexts.items():
            reference = context_reference(given)
            if reference is not None and self._run.rule_of(reference) is None:
                yield ImageUse(self._run.values.expand(reference), 0, f"contexts {name}")

    def _base(self, node: Node, rule: ImageRule, use: ImageUse, output: Output) -> Image:
        run, reference = self._run, use.reference
        platform = use.platform or node.platform
        made = run.rule_of(reference)
        if made is not None and made is not rule:
            return run.images[run.image_node(made, platform)][0]
        here = run.external(reference)
        if here is None or rule.pull or not _runs_on(here, platform or run.native):
            here = run.world.engine().pull(reference, platform=platform, output=output, cancel=run.signals.cancel)
            run.learn(reference, here)
        return here

    @contextlib.contextmanager
    def _pinned(self, bases: Mapping[str, Image]) -> Iterator[Mapping[str, str]]:
        """Names of our own for the bases, as no builder takes a local image by ID: nobody else moves these."""
        engine = self._run.world.engine()
        self._sweep_pins()
        pins = {ref: f"{_PIN}:{owner.own()}.{next(_PINS)}" for ref in bases}
        try:
            for reference, pin in pins.items():
                engine.tag(bases[reference].id, pin)
            yield pins
        finally:
            for pin in pins.values():
                with contextlib.suppress(EngineUnavailable):
                    engine.untag(pin)

    def _sweep_pins(self) -> None:
        """A run that was killed outright left its pins; those of a process that may still live are not ours."""
        engine = self._run.world.engine()
        tags = [tag for image in engine.images([_PIN]) for tag in image.tags if tag.partition(":")[0] == _PIN]
        for tag in tags:
            if not owner.alive(tag.partition(":")[2].rpartition(".")[0]):
                engine.untag(tag)

    # --- the request ----------------------------------------------------------------------------------------

    def _request(
        self, node: Node, rule: ImageRule, reading: Reading, pins: Mapping[str, str], tags: tuple[str, ...]
    ) -> BuildRequest:
        expand = self._run.values.expand
        return BuildRequest(
            context=lambda: reading.context.tar(self._files(rule, reading)),
            context_dir=context_folder(rule) or ".",
            dockerfile=dockerfile.pin(reading.text, reading.analysis, pins) if pins else reading.text,
            dockerfile_name=dockerfile_path(rule),
            stage=expand(rule.stage) if rule.stage else None,
            build_args=self._arguments(rule, reading),
            platform=node.platform,
            labels={key: expand(value) for key, value in rule.labels.items()},
            secrets=dict(self._secret(rule, secret) for secret in rule.secrets),
            contexts={name: self._named_context(node, rule, given, pins) for name, given in rule.contexts.items()},
            options=tuple(expand(option) for option in rule.options),
            no_cache=self._run.settings.wish.always,
            tags=tags,
        )

    def _files(self, rule: ImageRule, reading: Reading) -> Sequence[ContextFile]:
        found, reproducible = reading.context.files(reading.reads), self._reader.reproducible
        if not reproducible.wanted(rule):
            return found
        seconds = reproducible.seconds(rule)
        return [sent(file, seconds) for file in found]

    def _arguments(self, rule: ImageRule, reading: Reading) -> Mapping[str, str]:
        images = {name: given for name, given in rule.build_args.items() if isinstance(given, ImageRule)}
        found = {n: self._run.first_tag(images[n]) if n in images else v for n, v in reading.arguments.items()}
        if "FINGERPRINT" in reading.analysis.label_only:
            found["FINGERPRINT"] = digest(reading.fields)
        return found

    def _secret(self, rule: ImageRule, secret: str) -> tuple[str, str]:
        path = secret_path(secret)
        if path is None:
            return secret_id(secret), f"env={secret_variable(secret)}"
        return secret_id(secret), f"src={self._run.path(join(rule.base, path))}"

    def _named_context(self, node: Node, rule: ImageRule, given: object, pins: Mapping[str, str]) -> str:
        reference = context_reference(given)
        made = given if isinstance(given, ImageRule) else self._run.rule_of(reference or "")
        if made is not None:
            return f"docker-image://{self._run.first_tag(made, node.platform)}"  # buildx resolves names, not IDs
        text = self._run.values.expand(str(given))
        if reference is not None:
            external = self._run.values.expand(reference)
            return f"docker-image://{pins.get(external, external)}"
        return text if "://" in text else str(self._run.path(join(rule.base, text)))

    # --- the stamp ------------------------------------------------------------------------------------------

    def _stamp(
        self,
        node: Node,
        rule: ImageRule,
        reading: Reading,
        image: Image,
        bases: Mapping[str, Image],
        builder: Builder,
        began: float,
    ) -> tuple[Image, Stamp]:
        run = self._run
        metadata = self._metadata(reading)
        taken = label_keys(rule, reading.analysis.labels)
        base = reading.analysis.base
        labels, gone = stamp.labels(
            metadata=metadata,
            title=rule.target,
            base_name=self._base_name(base),
            base_digest=_digest_of(bases[base]) if base is not None and base in bases else "",
            taken=taken,
        )
        volatile = {key for key, value in rule.labels.items() if run.values.names(value) & set(NAMES)}
        managed = frozenset(labels) | gone | reading.analysis.volatile_labels | volatile
        remove = gone | {owner.LABEL}
        seal = Stamp(
            fingerprint=digest(reading.fields),
            origin=self._origins.of(node.id),
            content=stamp.content_id(image, managed | remove),
            bases=tuple((ref, base.id) for ref, base in bases.items() if run.rule_of(ref) in (None, rule)),
            metadata=metadata,
            managed=tuple(sorted(managed)),
            triggers={ref: tuple(base.config["OnBuild"]) for ref, base in bases.items() if base.config.get("OnBuild")},
            groups=stamp.groups(reading.fields),
            files=stamp.files(reading.fields),
            digests={ref: known for ref, base in bases.items() if (known := _known_digest(base))},
            dirty=run.dirty() if run.world.git.revision() else None,
            tools={
                "imgmake": tools.version("imgmake"),
                "engine": run.world.engine().info().version,
                "builder": builder.name,
            },
            target=rule.target,
            began=began,
            time=run.world.clock.now(),
        )
        sealed = run.world.engine().relabel(image, labels={**labels, stamp.LABEL: seal.to_label()}, remove=remove)
        return sealed, seal

    def _base_name(self, base: str | None) -> str:
        made = self._run.rule_of(base) if base else None
        return (base or "") if made is None else self._run.first_tag(made)

    def _metadata(self, reading: Reading) -> Mapping[str, str]:
        used = {name for name in NAMES if name in reading.arguments and name != "FINGERPRINT"}
        return {name: self._run.values.get(name) for name in sorted({*_STAMPED, *used})}


def _marked(request: BuildRequest, builder: Builder, mark: Mapping[str, str]) -> BuildRequest:
    """The request with a label that no other build has, until the stamp is set.

    BuildKit gives equal builds one image, and who is the first to set a stamp removes the image that it had before.
    The classic builder would make a step of it, which its history keeps.
    """
    return replace(request, labels={**request.labels, **mark}) if builder.family == "buildkit" else request


def _named(pins: Mapping[str, str]) -> Callable[[str], str]:
    """Builders talk of the pins; people know the names that the Dockerfile gives."""

    def name(text: str) -> str:
        for reference, pin in pins.items():
            text = text.replace(f"docker.io/library/{pin}", reference).replace(pin, reference)
        return text

    return name


def _runs_on(image: Image, platform: str) -> bool:
    return platform.split("/")[:2] == [image.os, image.architecture]


def _digest_of(image: Image) -> str:
    """The digest under which a registry knows the base; the engine's own ID where none does."""
    return _known_digest(image) or image.id


def _known_digest(image: Image) -> str:
    return next((digest.partition("@")[2] for digest in image.digests), "")
