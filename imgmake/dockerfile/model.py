"""What an analysis finds: reads of the context, images, arguments, labels; data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from imgmake.dockerfile.parser import Stage
from imgmake.errors import Place


class ContextRead(NamedTuple):
    """One source in the build context, and who reads it.

    `pattern` is cleaned and expanded, without a leading slash; ``.`` is the whole context. `literal` when
    wildcards in it are plain characters (a mount), `deep` when it is read as ``COPY --parents`` does.
    `written` is the source as the Dockerfile `file` has it, `leaves` that the builder refuses it (``../x``).
    """

    pattern: str
    instruction: str
    line: int
    written: str = ""
    literal: bool = False
    deep: bool = False
    leaves: bool = False
    file: str = ""

    @property
    def place(self) -> Place:
        return Place(self.file, self.line)


class ImageUse(NamedTuple):
    """An image that the build starts from, copies from or mounts.

    `pinnable` when its name stands in the Dockerfile, `platform` that of ``FROM --platform``, expanded.
    """

    reference: str
    line: int
    instruction: str
    pinnable: bool = True
    platform: str = ""


@dataclass(frozen=True)
class Analysis:
    """Everything that one build of one stage hangs on, as far as the Dockerfile tells.

    stages:          the stages that are built, in order; the target is one of them.
    reads:           sources in the build context.
    whole_context:   why the reads are not enough and the whole context counts; None when they are.
    images:          images that are no stage, not ``scratch`` and no named context.
    base:            the image that the target's chain of FROM ends at; None for ``scratch`` or a named context.
    declared:        build arguments that a needed stage, or the FROM of one, asks for.
    label_only:      those of them that reach nothing but values of labels.
    instructions:    the canonical text of everything that is built, for the fingerprint.
    labels:          label keys that the target ends up with, from its own stages.
    volatile_labels: those of them whose value hangs on a label-only argument.
    named_reads:     reads of named contexts, by name.
    needs:           features that only BuildKit has, with their lines.
    problems:        what would make the build fail with these arguments, such as a FROM of nothing.
    """

    target: Stage
    stages: tuple[Stage, ...]
    reads: tuple[ContextRead, ...] = ()
    whole_context: str | None = None
    images: tuple[ImageUse, ...] = ()
    base: str | None = None
    declared: frozenset[str] = frozenset()
    label_only: frozenset[str] = frozenset()
    instructions: tuple[str, ...] = ()
    labels: frozenset[str] = frozenset()
    volatile_labels: frozenset[str] = frozenset()
    named_reads: Mapping[str, tuple[ContextRead, ...]] = field(default_factory=dict)
    needs: tuple[tuple[str, int], ...] = ()
    problems: tuple[str, ...] = ()
