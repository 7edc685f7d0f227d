"""What a build of one stage can read, and what its result hangs on; pure: a text, arguments and names go in.

Each instruction is followed as BuildKit (`dockerfile2llb/convert.go`) or the classic builder
(`builder/dockerfile/dispatchers.go`) dispatches it. Where only the base image could tell, the answer is
the wider one: too much is a needless build, too little would be a lie.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from imgmake.dockerfile import mounts
from imgmake.dockerfile.lex import WordError
from imgmake.dockerfile.model import Analysis, ContextRead, ImageUse
from imgmake.dockerfile.parser import HEREDOC, Dockerfile, Instruction, Stage
from imgmake.dockerfile.patterns import clean, has_wildcards
from imgmake.dockerfile.scope import PROXIES, Names, Scope, Variable, Word, automatic, declare, global_scope
from imgmake.dockerfile.stages import Built, Plan, familiar, find, needed

_EXPANDED = ("WORKDIR", "USER", "EXPOSE", "VOLUME", "STOPSIGNAL")  # the others are taken as they are
_REMOTE = ("http://", "https://", "git://", "git@", "ssh://")
_FLAGS = {
    "RUN": ("mount", "network", "security", "device"),
    "COPY": ("link", "chmod", "parents", "exclude"),
    "ADD": ("link", "chmod", "exclude", "checksum", "keep-git-dir", "unpack"),
}


def analyse(  # noqa: PLR0913 - what a build is: a frozen object of these would only move the list
    dockerfile: Dockerfile,
    *,
    stage: str | None,
    family: str,
    args: Mapping[str, str],
    platform: str,
    contexts: Collection[str] = (),
    counting: Collection[str] = (),
    onbuild: Callable[[str], Sequence[str]] | None = None,
    environment: Callable[[str], Mapping[str, str]] | None = None,
    build_platform: str | None = None,
) -> Analysis:
    """Follow a build of `stage` (None: the last) by a builder of `family`, ``buildkit`` or ``classic``.

    `args` are the build arguments, `contexts` the names of named contexts. Arguments in `counting` are never
    label-only: a label is content too when its value was chosen, and is no mark of the build. `onbuild` and
    `environment` tell the ONBUILD triggers and the variables of a base image; without them a base has no
    triggers, and a source with a variable that it alone could set counts as the whole context.
    `build_platform` is the engine's own.
    Raises DockerfileError: no such stage, a word that no builder takes.

    >>> from imgmake.dockerfile import parse
    >>> file = parse("FROM scratch\\nCOPY src/ /", "Dockerfile")
    >>> [r.pattern for r in analyse(file, stage=None, family="buildkit", args={}, platform="linux/amd64").reads]
    ['src']
    """
    if not dockerfile.stages:
        return _unreadable(dockerfile, stage)
    target = find(dockerfile, stage)
    preset = {} if family == "classic" else automatic(platform, build_platform or platform, stage or target.name)
    words = [word for one in dockerfile.arguments for word in one.words]
    try:
        outer = global_scope(words, args, preset, dockerfile.escape)
    except WordError as error:
        raise dockerfile.error(str(error), dockerfile.arguments[0].line) from None
    plan = Plan(dockerfile, outer, contexts, onbuild)
    follow = _Follow(plan, target, args, family == "classic", environment, seen=set(counting))
    return follow.all(needed(plan, target, all_before=family == "classic"))


def _unreadable(file: Dockerfile, stage: str | None) -> Analysis:
    """A file in another language, behind ``# syntax=``: all of it counts, and all of the context."""
    start = Instruction("FROM", ("scratch",), line=1)
    return Analysis(
        target=Stage(0, stage or "", "scratch", "", start),
        stages=(),
        whole_context=f"# syntax={file.syntax} reads what it likes",
        instructions=(file.text,),
        needs=((f"# syntax={file.syntax}", 1),),
    )


@dataclass
class _Follow:
    """One walk over the needed stages; what it finds gathers in its fields."""

    plan: Plan
    target: Stage
    args: Mapping[str, str]
    classic: bool
    environment: Callable[[str], Mapping[str, str]] | None
    reads: list[ContextRead] = field(default_factory=list)
    named: dict[str, list[ContextRead]] = field(default_factory=dict)
    images: list[ImageUse] = field(default_factory=list)
    needs: list[tuple[str, int]] = field(default_factory=list)
    whole: str | None = None
    declared: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)  # build arguments that reach more than labels
    scopes: dict[int, Scope] = field(default_factory=dict)
    labels: dict[int, dict[str, Names]] = field(default_factory=dict)

    @property
    def file(self) -> Dockerfile:
        return self.plan.file

    def all(self, stages: Sequence[Built]) -> Analysis:
        for built in stages:
            self._stage(built)
        foreign = self.file.foreign
        if foreign:
            self.whole = f"# syntax={self.file.syntax} reads what it likes"
            self.needs.insert(0, (f"# syntax={self.file.syntax}", 1))
        label_only = frozenset() if foreign else frozenset(self.declared - self.seen)
        labels = self.labels[self.target.index]
        return Analysis(
            target=self.target,
            stages=tuple(built.stage for built in stages),
            reads=tuple(dict.fromkeys(self.reads)),
            whole_context=self.whole,
            images=tuple(dict.fromkeys(self.images)),
            base=_base(self.plan.get(self.target.index)),
            declared=frozenset(self.declared),
            label_only=label_only,
            instructions=(self.file.text,) if foreign else tuple(self._instructions(stages)),
            labels=frozenset(labels),
            volatile_labels=frozenset(key for key, hangs_on in labels.items() if hangs_on & label_only),
            named_reads={name: tuple(dict.fromkeys(reads)) for name, reads in self.named.items()},
            needs=tuple(dict.fromkeys(self.needs)),
            problems=tuple(built.problem for built in stages if built.problem),
        )

    def _instructions(self, stages: Sequence[Built]) -> Iterator[str]:
        for one in self.file.arguments:
            words = tuple(word for word in one.words if word.partition("=")[0] in self.declared)
            if words:
                yield Instruction("ARG", words).canonical
        for built in stages:
            yield built.stage.start.canonical
            yield from (one.canonical for one in built.instructions)

    # --- one stage --------------------------------------------------------------------------------------------

    def _stage(self, built: Built) -> None:
        stage = built.stage
        self._from(built)
        scope = self._start(built)
        labels = dict(self.labels.get(built.parent.stage.index, {})) if built.parent else {}
        self.scopes[stage.index], self.labels[stage.index] = scope, labels
        for i, one in enumerate(built.instructions):
            try:
                self._instruction(built, scope, labels, one, pinnable=i >= built.triggered)
            except WordError as error:
                raise self.file.error(str(error), one.line) from None

    def _from(self, built: Built) -> None:
        line = built.stage.line
        self.declared |= built.hangs_on
        self.seen |= built.hangs_on
        if built.image is not None:
            self.images.append(ImageUse(built.image, line, "FROM", platform=built.platform))
        context = built.parent.context if built.parent is not None and built.parent.replaced else built.context
        if context is not None and (not built.replaced or built.stage is self.target):
            self.named.setdefault(context, []).append(ContextRead(".", "FROM", line, ".", file=self.file.name))
        if self.classic and built.stage.platform and not _known_to_classic(built.stage.platform):
            self.needs.append((f"FROM --platform={built.stage.platform}", line))

    def _start(self, built: Built) -> Scope:
        scope = Scope(self.file.escape, closed=built.image is None and built.context is None)
        if built.parent is not None:
            scope = self.scopes[built.parent.stage.index].inherited(arguments=not self.classic)
        if built.image is not None and self.environment is not None:
            scope.closed = True
            for name, value in self.environment(built.image).items():
                scope.set(name, Word(value))
        if self.classic:
            scope.variables |= {name: Variable(self.args[name]) for name in PROXIES if name in self.args}
        return scope

    def _instruction(
        self, built: Built, scope: Scope, labels: dict[str, Names], one: Instruction, *, pinnable: bool
    ) -> None:
        self._features(one)
        if one.name == "ARG":
            for word in one.words:
                name = declare(scope, word, self.args, self.plan.outer, classic=self.classic)
                self.declared |= scope.variables[name].hangs_on
        elif one.name == "ENV":
            pairs = [(scope.word(name), scope.word(value)) for name, value in one.pairs]
            for name_word, value_word in pairs:
                self.seen |= name_word.hangs_on | value_word.hangs_on
                scope.set(name_word.text, value_word)
        elif one.name == "LABEL":
            for key, value in one.pairs:
                self._label(scope, labels, key, value)
        elif one.name == "RUN":
            self.seen |= scope.arguments()
            self._mounts(built, scope, one, pinnable=pinnable)
        elif one.name in ("COPY", "ADD"):
            self._copy(built, scope, one, pinnable=pinnable)
        elif one.name in _EXPANDED:
            self._use(scope, one.words)

    def _label(self, scope: Scope, labels: dict[str, Names], key: str, value: str) -> None:
        name = scope.word(key)
        self.seen |= name.hangs_on
        labels[name.text] = scope.word(value).hangs_on

    def _use(self, scope: Scope, words: Iterable[str], *, quotes: bool = True) -> None:
        for word in words:
            self.seen |= scope.word(word, quotes=quotes).hangs_on

    def _features(self, one: Instruction) -> None:
        for flag in _FLAGS.get(one.name, ()):
            for value in one.all_flags(flag):
                kind = f"=type={mounts.read(value).type}" if flag == "mount" else ""
                self.needs.append((f"{one.name} --{flag}{kind}", one.line))
        if one.heredocs:
            self.needs.append((f"{one.name} with a heredoc", one.line))

    # --- what it reads ----------------------------------------------------------------------------------------

    def _copy(self, built: Built, scope: Scope, one: Instruction, *, pinnable: bool) -> None:
        *given, destination = one.words
        self._use(scope, [destination, *(flag.partition("=")[2] for flag in one.flags)])
        self._use(scope, (doc.content for doc in one.heredocs if doc.expands), quotes=False)
        files = [word for word in given if one.json or not HEREDOC.fullmatch(word)]
        origin = one.flag("from") if one.name == "COPY" else None
        into = self._origin(built, one, origin, by_number=True, pinnable=pinnable) if origin else self.reads
        for written in files:
            word = scope.word(written)
            self.seen |= word.hangs_on
            if one.name == "ADD" and word.text.startswith(_REMOTE):
                continue
            read = self._source(one, written, word.text)
            if into is self.reads and not word.known:
                self._widen(one, f"{one.name} {written}, whose variables have no value here")
            if into is not None:
                into.append(read)

    def _source(self, one: Instruction, written: str, text: str) -> ContextRead:
        deep = one.flag("parents") in ("", "true")
        if deep:
            parent, pivot, rest = text.partition("/./")
            # Below a parent with wildcards everything counts: two kinds of pattern are not joined into one.
            deep = not (pivot and has_wildcards(parent))
            text = f"{parent}/{rest}" if deep and pivot else parent
        leaves = self.classic and clean(text).startswith("..")
        if self.classic and has_wildcards(text):
            pattern = text.removeprefix("/").removeprefix("./")  # not cleaned: "d*/" matches nothing there
        else:
            pattern = clean(f"/{text}").removeprefix("/") or "."
        return ContextRead(pattern, one.name, one.line, written, deep=deep, leaves=leaves, file=self.file.name)

    def _mounts(self, built: Built, scope: Scope, one: Instruction, *, pinnable: bool) -> None:
        for value in one.all_flags("mount"):
            mount = mounts.read(value)
            if not mount.reads_files or (mount.type == "cache" and not mount.origin):
                continue
            word = scope.word(mount.source)
            pattern = clean(f"/{word.text}").removeprefix("/") or "."
            read = ContextRead(pattern, "RUN --mount", one.line, mount.source, literal=True, file=self.file.name)
            if mount.origin:
                into = self._origin(built, one, mount.origin, by_number=False, pinnable=pinnable)
                if into is not None:
                    into.append(read)
                continue
            self.reads.append(read)
            if not word.known:
                self._widen(one, f"RUN --mount of {mount.source}, whose variables have no value here")
            elif pattern == ".":
                self._widen(one, "RUN --mount of the whole context")

    def _origin(
        self, built: Built, one: Instruction, name: str, *, by_number: bool, pinnable: bool
    ) -> list[ContextRead] | None:
        """Where the reads of a ``from=`` belong: a named context's list, or None for a stage or an image."""
        stage = self.plan.named(name, built.stage.index, by_number=by_number)
        context = self.plan.context(name) if stage is None else stage.context if stage.replaced else None
        if context is not None:
            return self.named.setdefault(context, [])
        if stage is None and familiar(name) != "scratch" and not (by_number and name.isdecimal()):
            kind = "COPY --from" if one.name == "COPY" else "RUN --mount"
            self.images.append(ImageUse(name, one.line, kind, pinnable))
        return None

    def _widen(self, one: Instruction, why: str) -> None:
        self.whole = self.whole or f"{self.file.name}:{one.line} {why}"


def _base(built: Built) -> str | None:
    while built.parent is not None:
        built = built.parent
    return built.image


def _known_to_classic(platform: str) -> bool:
    return not any(name in platform for name in ("BUILDPLATFORM", "TARGETPLATFORM", "BUILDARCH", "TARGETARCH"))


def declared(dockerfile: Dockerfile) -> Names:
    """Every name that some ARG of the file declares, in whichever stage.

    >>> from imgmake.dockerfile import parse
    >>> sorted(declared(parse("ARG A=1\\nFROM scratch\\nARG B C=2", "Dockerfile")))
    ['A', 'B', 'C']
    """
    ones = [*dockerfile.arguments, *(one for stage in dockerfile.stages for one in stage.instructions)]
    return frozenset(word.partition("=")[0] for one in ones if one.name == "ARG" for word in one.words)
