"""What one image's build reads, worked out: the Dockerfile's analysis, its arguments, its context, its fields.

Everything is a function of the metadata values it is read with, since an image is judged at the values
that it was built with, and built with those of now.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imgmake import dockerfile
from imgmake.dockerfile import Analysis, ContextRead, Dockerfile
from imgmake.errors import GraphError
from imgmake.executor import inputs
from imgmake.executor.reproducible import Reproducible, counted
from imgmake.executor.run import Run
from imgmake.graph import Node
from imgmake.ignore import Ignore
from imgmake.imagerule import (
    candidate_arguments,
    context_folder,
    context_reference,
    dockerfile_path,
    ignore_files,
    join,
    secret_id,
)
from imgmake.metadata import NAMES
from imgmake.model import Field, ImageRule
from imgmake.ports import Context

_PARSED: dict[str, Dockerfile] = {}


@dataclass(frozen=True)
class Reading:
    """One image rule read with one set of metadata values."""

    analysis: Analysis
    arguments: Mapping[str, str]  # all that the build is passed
    context: Context
    fields: tuple[Field, ...]
    text: str  # the Dockerfile

    @property
    def reads(self) -> tuple[ContextRead, ...] | None:
        """What the build may read of its context; None: all of it."""
        return None if self.analysis.whole_context else self.analysis.reads


@dataclass
class Reader:
    """Reads image rules; remembers contexts within an epoch, as they do not depend on metadata."""

    run: Run
    _contexts: dict[tuple[str, str, int], Context] = field(default_factory=dict)

    @functools.cached_property
    def reproducible(self) -> Reproducible:
        """Which images are to be the same in every clone."""
        return Reproducible(self.run)

    def read(
        self,
        node: Node,
        metadata: Mapping[str, str] | None,
        family: str,
        triggers: Mapping[str, Sequence[str]] | None = None,
    ) -> Reading:
        """Read `node` as built with `metadata` (None: the values of now) by a builder of `family`.

        Raises DockerfileError, SourceError, GraphError.
        """
        rule = node.rule
        assert isinstance(rule, ImageRule)
        expand = self._expander(metadata)
        text = self._dockerfile(rule)
        arguments = self._arguments(rule, expand)
        analysis = dockerfile.analyse(
            _parse(text, dockerfile_path(rule)),
            stage=expand(rule.stage) if rule.stage else None,
            family=family,
            args=arguments,
            platform=self.platform(node),
            contexts=tuple(rule.contexts),
            build_platform=self.run.native,
            counting=self._counting(rule, arguments),
            onbuild=lambda reference: self._triggers(node, rule, reference, triggers or {}),
        )
        declared = {name: value for name, value in arguments.items() if name in analysis.declared}
        context = self._context(node, rule, family)
        fields = (*self._fields(node, rule, analysis, declared, expand, family), *self._files(rule, analysis, context))
        return Reading(analysis, declared, context, fields, text)

    def platform(self, node: Node) -> str:
        return node.platform or self.run.native

    def _expander(self, metadata: Mapping[str, str] | None) -> Callable[[str], str]:
        if metadata is None:
            return self.run.values.expand
        known = {name: metadata.get(name, "") for name in NAMES}
        return lambda text: self.run.values.expand(text, extra=known)

    def _dockerfile(self, rule: ImageRule) -> str:
        path = dockerfile_path(rule)
        if self.run.world.sources.stat(path) is None:
            raise GraphError(f"image {rule.target!r}: there is no Dockerfile {path!r}", place=rule.place)
        return self.run.world.sources.read_text(path)

    def _arguments(self, rule: ImageRule, expand: Callable[[str], str]) -> Mapping[str, str]:
        declared = dockerfile.declared(_parse(self._dockerfile(rule), dockerfile_path(rule)))
        known = (name for name in self.run.passable() if name in declared)
        # An image is passed by a name of its own, so that FROM finds its rule whatever the BUILD_ID is.
        return candidate_arguments(rule, known, expand, lambda image: self.run.template(image.tags[0]))

    def _counting(self, rule: ImageRule, arguments: Mapping[str, str]) -> frozenset[str]:
        """Arguments whose value was chosen, so that it counts in a label too; metadata only marks the build."""
        variables = self.run.pipeline.variables
        texts = {name: str(variables[name].value) for name in arguments if name in variables}
        texts |= {name: str(value) for name, value in rule.build_args.items() if not isinstance(value, ImageRule)}
        marks = {name for name in arguments if name in NAMES and name not in rule.build_args}
        marks |= {name for name, text in texts.items() if self.run.values.names(text) & set(NAMES)}
        return frozenset(arguments) - marks

    def _triggers(
        self, node: Node, rule: ImageRule, reference: str, known: Mapping[str, Sequence[str]]
    ) -> Sequence[str]:
        """ONBUILD triggers of a base; those of one that is not here are as they were when the image was built."""
        config = self._config(node, rule, reference)
        return known.get(reference, ()) if config is None else config.get("OnBuild") or ()

    def _config(self, node: Node, rule: ImageRule, reference: str) -> Mapping[str, Any] | None:
        """The configuration of a base that is here; nothing is known of one that is not."""
        made = self.run.rule_of(reference)
        if made is not None and made is not rule:
            found = self.run.images.get(self.run.image_node(made, node.platform))
            return found[0].config if found else None
        image = self.run.external(reference)
        return image.config if image else None

    def _context(self, node: Node, rule: ImageRule, family: str) -> Context:
        key = (node.id, family, self.run.epoch)
        if key not in self._contexts:
            folder = context_folder(rule)
            ignore = ignore_for(self.run, folder, dockerfile_path(rule), family)
            prefix = f"{folder}/" if folder else ""
            left_out = inputs.dropped(self.run, node)
            inside = frozenset(path.removeprefix(prefix) for path in left_out if path.startswith(prefix))
            self._contexts[key] = self.run.world.context(self.run.path(folder), ignore, inside)
        return self._contexts[key]

    def _files(self, rule: ImageRule, analysis: Analysis, context: Context) -> Sequence[Field]:
        reads = None if analysis.whole_context else analysis.reads
        found = context.fields(reads, lambda path: self.run.world.sources.digest(str(path)))
        return [counted(one) for one in found] if self.reproducible.wanted(rule) else found

    def _fields(
        self,
        node: Node,
        rule: ImageRule,
        analysis: Analysis,
        arguments: Mapping[str, str],
        expand: Callable[[str], str],
        family: str,
    ) -> Iterator[Field]:
        """All but the files: never tags, target names or label-only arguments."""
        yield Field("builder", "", family)
        yield Field("platform", "", self.platform(node))
        yield from _numbered(analysis.instructions)
        for name, value in sorted(arguments.items()):
            if name not in analysis.label_only and not isinstance(rule.build_args.get(name), ImageRule):
                yield Field("argument", name, value)
        yield from self._marks(rule, analysis)
        yield from self._image_fields(node, rule, analysis)
        for key, value in sorted(rule.labels.items()):
            yield Field("label", key, self._unmarked(value))
        for secret in sorted(rule.secrets):
            yield Field("secret", secret_id(secret), "")
        for i, option in enumerate(rule.options):
            yield Field("option", str(i), expand(option))

    def _marks(self, rule: ImageRule, analysis: Analysis) -> Iterator[Field]:
        """Arguments of labels that mix metadata with what was chosen: all of them counts but the metadata's values."""
        for name in sorted(analysis.label_only):
            given = rule.build_args.get(name, f"${{{name}}}")
            if not isinstance(given, ImageRule) and (text := self._unmarked(str(given))) != f"${{{name}}}":
                yield Field("argument", name, text)

    def _unmarked(self, text: str) -> str:
        """The text with every value put in, but metadata by its name: its values mark a build and change nothing."""
        return self.run.values.expand(text, extra={name: f"${{{name}}}" for name in NAMES})

    def _image_fields(self, node: Node, rule: ImageRule, analysis: Analysis) -> Iterator[Field]:
        """Content of every image that a rule makes and this build uses."""
        for name, given in rule.build_args.items():
            if isinstance(given, ImageRule):
                yield Field("image", name, inputs.content(self.run, node, given))
        for name, given in rule.contexts.items():
            made = given if isinstance(given, ImageRule) else self.run.rule_of(context_reference(given) or "")
            if made is not None:
                yield Field("image", name, inputs.content(self.run, node, made))
            else:
                yield self._context_field(rule, name, self.run.values.expand(str(given)))
        for use in analysis.images:
            made = self.run.rule_of(use.reference)
            if made is not None and made is not rule:
                yield Field("image", use.reference, inputs.content(self.run, node, made))

    def _context_field(self, rule: ImageRule, name: str, given: str) -> Field:
        """A named context: a folder counts by its content, a URL by its name, an image by that and among the bases."""
        path = join(rule.base, given)
        if "://" not in given and self.run.world.sources.stat(path) is not None:
            return Field("folder", f"{name} ({given})", self.run.world.sources.digest(path))
        return Field("context", name, given)


def _parse(text: str, name: str) -> Dockerfile:
    key = hashlib.sha256(f"{name}\0{text}".encode("utf-8", "surrogateescape")).hexdigest()
    if key not in _PARSED:
        _PARSED[key] = dockerfile.parse(text, name)
    return _PARSED[key]


def _numbered(instructions: Collection[str]) -> Iterator[Field]:
    """Instructions by text, each with the positions where it stands, so that a reason can quote it."""
    places: dict[str, list[str]] = {}
    for i, text in enumerate(instructions):
        places.setdefault(text, []).append(str(i))
    for text, found in places.items():
        yield Field("instruction", text, ",".join(found))


def ignore_for(run: Run, folder: str, where: str, family: str) -> Ignore:
    """The ignore file that counts: with BuildKit ``X.dockerignore`` beside the Dockerfile before ``.dockerignore``."""
    for path in ignore_files(folder, where, family):
        if run.world.sources.stat(path) is not None:
            return Ignore.parse(run.world.sources.read_text(path), path, family=family)
    return Ignore.parse("", "", family=family)
