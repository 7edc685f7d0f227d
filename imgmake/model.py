"""Frozen models of what a Pipefile declares and of what was found out about it; no I/O, no run state."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict
from pydantic import Field as PydanticField

from imgmake.errors import Place

# pydantic looks through the metadata of every installed package for plugins when the first model is made: a tenth
# of a run that finds all up to date. It reads this switch then, and only then; recipes must not inherit it.
_BEFORE = os.environ.get("PYDANTIC_DISABLE_PLUGINS")
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "1"


class Frozen(BaseModel):
    """Base of every declared thing: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


if _BEFORE is None:
    del os.environ["PYDANTIC_DISABLE_PLUGINS"]
else:
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = _BEFORE


class Kind(StrEnum):
    """The five kinds of rule."""

    FILE = "file"
    PHONY = "phony"
    CHECK = "check"
    IMAGE = "image"
    PUBLISH = "publish"


class Command(Frozen):
    """One step of a recipe; `imgmake.commands` holds the real ones."""


def leaves(thing: Any) -> Iterator[Any]:
    """Whatever stands in a command, mapping or collection, at any depth: strings, rules, numbers."""
    if isinstance(thing, Command):
        thing = [getattr(thing, name) for name in type(thing).model_fields]
    elif isinstance(thing, Mapping):
        thing = [*thing.keys(), *thing.values()]
    if isinstance(thing, (list, tuple, set, frozenset)):
        for item in thing:
            yield from leaves(item)
    else:
        yield thing


class Rule(Frozen):
    """A target with its prerequisites and recipe, at the place where it was written.

    `target` is the full name from the root of the repository (an `include` prefixes it).
    `base` is the folder of the declaring Pipefile, from the root (``""`` at the root): strings
    in `parts` and `after` are still as written, and are read relative to `base`
    (``//name`` is a target of the root).
    Two rules are equal only when they are the same declaration, so a rule can key a mapping.
    """

    kind: ClassVar[Kind]

    target: str
    place: Place
    base: str = ""
    parts: tuple[Any, ...] = ()  # of str | Rule
    after: tuple[Any, ...] = ()  # of str | Rule
    recipe: tuple[Any, ...] = ()  # of Command | Callable
    help: str = ""

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<{self.kind} {self.target!r} at {self.place}>"


class FileRule(Rule):
    """One file, or several made by one recipe. `keep` leaves the outputs of a failed recipe in place."""

    kind = Kind.FILE
    targets: tuple[str, ...] = ()  # all of them, from the root; target == targets[0]
    keep: bool = False


class PhonyRule(Rule):
    """A name: with a recipe never up to date, without one a transparent group."""

    kind = Kind.PHONY


class CheckRule(Rule):
    """A name that remembers a pass; `max_age` in seconds."""

    kind = Kind.CHECK
    max_age: float | None = None


class ImageRule(Rule):
    """An image in the engine. Paths are relative to `base`; `dockerfile` None means ``<context>/Dockerfile``."""

    kind = Kind.IMAGE
    tags: tuple[str, ...] = ()  # late values unexpanded; never empty after declaration
    context: str = "."
    dockerfile: str | None = None
    stage: str | None = None
    build_args: Mapping[str, Any] = {}  # of str | ImageRule
    contexts: Mapping[str, Any] = {}  # of str | ImageRule
    platforms: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()  # "path" or "id=…,src=…" or "id=…,env=…"
    labels: Mapping[str, str] = {}
    pull: bool = False
    max_age: float | None = None  # seconds
    builder: str | None = None  # "buildx", "buildkit" or "classic"
    options: tuple[str, ...] = ()


class Semver(Frozen):
    """A semantic version that `publish` fans out: see `imgmake.versions`."""

    version: str
    suffix: str = ""
    latest: bool = True


class PublishRule(Rule):
    """Tags in registries that hold `images` (several: one index)."""

    kind = Kind.PUBLISH
    images: tuple[Any, ...] = ()  # of ImageRule | str
    to: tuple[str, ...] = ()
    tags: tuple[Any, ...] = ()  # of str | Semver
    checks: tuple[Any, ...] | None = None  # of str | CheckRule; None: every check that names the image
    requires: tuple[Any, ...] = ()  # of str | CheckRule
    evidence: bool = True  # whether results, SBOMs and provenance are pushed beside the images
    sign: bool = False  # by cosign


class Variable(Frozen):
    """A declared variable. `value` is None while it is not known: required and not given, or by command.

    A secret that was given has its value here, and only here: rules hold ``${NAME}``.
    A metadata name is among the variables only when it was given from outside, such as ``BUILD_ID=x``.
    """

    name: str
    place: Place
    value: str | None = PydanticField(default=None, repr=False)
    origin: str = "default"  # "command line", "environment", "default", "command", "required"
    default: Any = None  # str | Command | None
    choices: tuple[str, ...] = ()
    secret: bool = False
    help: str = ""


class Pipeline(Frozen):
    """Everything that one load of the Pipefiles declared, in the order written."""

    root: Path
    rules: tuple[Rule, ...]
    variables: Mapping[str, Variable] = {}
    default: str | None = None
    pipefiles: tuple[str, ...] = ()  # from the root, the main one first; then the repository's modules they import
    modules: tuple[str, ...] = ()  # these modules alone


class Field(NamedTuple):
    """One thing that counts for a target: what it is, its name, and its value (often a digest).

    The same list is hashed (fingerprint) and compared (reasons), so the two cannot disagree.
    """

    kind: str  # "file", "image", "variable", "command", "instruction", "argument", "platform", "tool", …
    name: str
    value: str


class Reason(NamedTuple):
    """Why a target is stale, in words that stand alone: ``src/App.java changed``."""

    text: str
    code: str = "changed"  # changed missing new forced aged moved failed interrupted phony prerequisite tag unknown


class Verdict(NamedTuple):
    """What was judged: up to date when there are no reasons; `note` says what was assumed.

    `until` is when it becomes too old, in seconds since the epoch, where time alone can make it stale.
    """

    reasons: tuple[Reason, ...] = ()
    note: str = ""
    until: float | None = None

    @property
    def stale(self) -> bool:
        return bool(self.reasons)


class State(StrEnum):
    """What became of one target in one run; `imgmake.plan` alone moves a target between them."""

    WAITING = "waiting"  # some prerequisite is not done
    READY = "ready"  # every prerequisite is done; not judged yet
    RUNNING = "running"  # being judged, or its recipe runs
    SENT = "sent"  # a publication whose images are in their registries, and whose tags wait for the others'
    FRESH = "up to date"  # judged up to date: no recipe ran
    DONE = "done"  # its recipe ran and succeeded
    FAILED = "failed"  # its recipe failed
    CANCELLED = "cancelled"  # a prerequisite, or what was to be published with it, failed; or the run was stopped


class Outcome(NamedTuple):
    """The end of one target: its state, why it ran, and how long it took in seconds."""

    target: str
    state: State
    verdict: Verdict
    seconds: float = 0.0
    error: Exception | None = None


class Edge(NamedTuple):
    """A prerequisite of a target, and where it comes from: ``written``, ``Dockerfile:4 COPY``, ``after``."""

    target: str
    prerequisite: str
    why: str
    order_only: bool = False


class Entry(NamedTuple):
    """One line of ``--list``: `status` is ``up to date``, ``stale``, ``unknown`` (no engine) or empty (phony)."""

    target: str
    kind: Kind
    help: str
    place: Place
    status: str = ""
    reasons: tuple[Reason, ...] = ()
    default: bool = False


class Explanation(NamedTuple):
    """The answer to ``--why``: the verdict on a target, what it was judged by, and its prerequisites with theirs."""

    target: str
    kind: Kind
    place: Place
    verdict: Verdict
    identity: str = ""  # image ID, BUILD_ID, time of the last success: what the target is now, in one line
    prerequisites: tuple[tuple[Edge, Verdict | None], ...] = ()  # None: a file without a rule
    inputs: tuple[Field, ...] = ()


class Removal(NamedTuple):
    """One line of ``--gc``: a tag of an image that is to go, or an image without any tag (`tag` is empty then)."""

    tag: str
    image: str  # its ID
    target: str
    time: float  # of the build, in seconds since the epoch


class Step(NamedTuple):
    """One line of ``--plan``: a target that would run, why, and what would run."""

    target: str
    kind: Kind
    verdict: Verdict
    lines: tuple[str, ...] = ()
    maybe: bool = False  # runs only if a prerequisite comes out different (early cut-off)
