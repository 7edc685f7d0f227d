"""The proof: for every target, what ``make -n`` and ``imgmake -n`` would run, command by command.

Shell lines are compared by their words, docker's commands by their parsed arguments. A difference is never passed over:
it is "better" for a reason that is told, or it is "different", with both texts.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from imgmake.errors import ImgmakeError
from imgmake.migrate import contained
from imgmake.migrate.dryrun import Command, better, commands, expanded, filled, images, key, lacking, short, unwrapped
from imgmake.migrate.fixed import fixed, temporary
from imgmake.migrate.going import leaves
from imgmake.migrate.itself import LIST
from imgmake.migrate.migration import Migration
from imgmake.migrate.model import EVERYWHERE, Compared
from imgmake.migrate.outline import exports
from imgmake.migrate.overriding import Overriding
from imgmake.migrate.reader import ended
from imgmake.migrate.scratch import UNANSWERED, Make
from imgmake.migrate.stops import BOTH, refused, stopped
from imgmake.migrate.targetnames import renamed
from imgmake.migrate.texts import AMBIENT

# Of each line: its target, that one's kind, the text.
Planned = Callable[[Sequence[str], Mapping[str, str]], Sequence[tuple[str, str, str]]]

_IN_CONTAINER = re.compile(r"\bdocker\s+(?:container\s+)?run\b")
_ALONE = re.compile(r"docker (?:run|build|buildx build|tag|push)\b|imgmake\b|echo\b|mkdir -p")
_TOOLS = ((contained.HADOLINT,), (contained.STRUCTURE_TEST,))


@dataclass
class Checker(Overriding):
    """Compares a Makefile and a Pipefile in one scratch folder."""

    make: Make
    migration: Migration
    planned: Planned
    environ: Mapping[str, str]
    needs: Callable[[str, Mapping[str, str]], Collection[str]]  # all that a target of the Pipefile waits for
    base: Mapping[str, str] = field(default_factory=dict)  # values that both are given, since both ask for them
    waiting: dict[str, set[str]] = field(default_factory=dict)  # what should have waited for what, by order alone
    loads: float = 0.0  # seconds that the Pipefile takes to be read
    at_once: Sequence[str] = ()  # variables that there was no time to override one by one
    _worked_out: dict[tuple[str, str, str], list[Command]] = field(default_factory=dict)
    _given: Mapping[str, str] = field(default_factory=dict)  # to the Pipefile that is compared
    _depends: dict[str, frozenset[str]] = field(default_factory=dict)  # variables, by the target that depends on them

    def plain(self) -> tuple[Compared, ...]:
        """Each target of the Makefile."""
        targets = self.migration.pipefile.targets
        self.make.ahead(targets, fixed(self.migration.values, self.base)[0])
        return tuple(self.one(target, {}) for target in targets)

    def one(self, target: str, overrides: Mapping[str, str]) -> Compared:
        """One target in both dry runs."""
        theirs, given = fixed(self.migration.values, self.base)
        code, out, complaint = self.make.dry_run(target, {**theirs, **overrides})
        if why := self._untold(target) or (f"{complaint}: it is not compared" if code == UNANSWERED else ""):
            return Compared(target, "different", (why,), tuple(filter(None, out)), said=True)
        try:
            needless = [name for name in self.make.required if name not in self._mentioned(target)]
            given = {name: value for name, value in given.items() if name not in needless}
            self._given = {**given, **overrides}
            ours = self._entered(self._ours(self.planned((target,), self._given)), out, self._given)
        except ImgmakeError as error:
            if code or (complaint := refused(error, out)):
                return Compared(target, "same", (f"{BOTH}: {complaint}",))
            return Compared(target, "different", (f"imgmake: {error.message}",), tuple(filter(None, out)))
        if code:
            return stopped(target, complaint, out, ours, self._tool)
        found = renamed(
            self._compare(target, self._theirs(out), ours), self.migration.pipefile.called, str(self.make.folder)
        )
        return self._remade(found, {**theirs, **overrides}, ours) if found.verdict == "different" else found

    def _untold(self, target: str) -> str:
        """Why a target is not translated, or what it needs is not; empty when all of it is."""
        left = {each.target: each.why for each in self.migration.pipefile.left}
        said = sorted(left.keys() & self.closure(target))
        return left.get(target) or (f"needs {said[0]}, which is not translated" if said else "")

    def _remade(self, found: Compared, overrides: Mapping[str, str], ours: Sequence[Command]) -> Compared:
        """A target that differs compared with all that make would run, were nothing there yet."""
        if there := self._there(found.target, {each.target for each in ours}):
            code, out, _ = self.make.dry_run(found.target, overrides, phony=sorted(there))
            anew = self._compare(found.target, self._theirs(out), ours)
            if not code and anew.verdict != "different":
                return replace(anew, verdict="better", why=(*anew.why, *there.values()))
        return found

    def _there(self, target: str, made_here: Collection[str]) -> dict[str, str]:
        """What make takes for made, since a file or folder has its name, and imgmake makes; with what to say."""
        found = {}
        for name in self.closure(target) & {*made_here}:
            made, path = self.migration.database.targets.get(name), self.make.folder / name
            if made is not None and made.target_file and not made.phony and path.exists():
                what = "folder" if path.is_dir() else "file"
                found[name] = f"make takes the {what} {name} for it, and never runs it"
        return found

    @property
    def _tool(self) -> str:
        return self.make.tool[0] or "make"

    # --- commands -------------------------------------------------------------------------------------------

    def _theirs(self, out: Sequence[str]) -> list[Command]:
        text = "\n".join(out)
        lines = re.split(r"(?<!\\)\n", text)
        found = [ended(line.replace(": make", "make")) for line in lines]
        found = [line for line in found if line.strip() and not re.match(r"make(\[\d+\])?: ", line)]
        found = [line for line in found if not line.lstrip().startswith("#")]
        values = self.migration.values
        found = [line for line in found if not any(re.fullmatch(each, line) for each in values.heard)]
        # What $(info …) says in a recipe is an echo in a Pipefile.
        said = [line for line in found if any(re.fullmatch(each, line) for each in values.said)]
        return [Command(line, ("echo", line) if line in said else self._key(line)) for line in found]

    def _entered(self, ours: Sequence[Command], out: Sequence[str], given: Mapping[str, str]) -> list[Command]:
        """Ours with what calls of imgmake come to that are none of make's: a target's variables for what it needs."""
        found, theirs = list[Command](), {each.key for each in self._theirs(out)}
        for each in ours:
            if each.key[:1] != ("make",) or each.key in theirs or each.text == LIST:
                found.append(each)
                continue
            goals = [word for word in each.key[1:] if "=" not in word]
            words = dict(word.split("=", 1) for word in each.key[1:] if "=" in word)
            found += [replace(one, called=each.target) for one in self._ours(self.planned(goals, {**given, **words}))]
        return found

    def _ours(self, planned: Sequence[tuple[str, str, str]]) -> list[Command]:
        return [command for line in planned for command in self._commands(*line)]

    def _commands(self, target: str, kind: str, line: str) -> list[Command]:
        """The commands of a line of ours; worked out once, since it comes again with all that needs its target."""
        if (target, kind, line) not in self._worked_out:
            texts, given = commands(line, kind)
            settled = [self._settled(text) for text in texts]
            self._worked_out[target, kind, line] = [
                Command(text, self._key(each), tuple(map(self._key, unwrapped(each))), target, kind, given)
                for text, each in zip(texts, settled, strict=True)
            ]
        return self._worked_out[target, kind, line]

    def _settled(self, text: str) -> str:
        """make's answer for what it asks a shell while it expands, and we while it runs."""
        if "$(" not in text:
            return text
        for ours, answer in self._answers[0]:
            text = text.replace(ours, answer)
        for frame in self._answers[1]:
            text = re.sub(frame, self._answered, text)
        return text

    @functools.cached_property
    def _answers(self) -> tuple[list[tuple[str, str]], list[str]]:
        """What is settled and what has to be asked, the longest first."""
        values = self.migration.values
        return sorted(values.settled.items(), key=lambda each: -len(each[0])), sorted(values.questions, key=len)[::-1]

    def _answered(self, question: re.Match[str]) -> str:
        """What a shell answers, asked by make and where make asks, to a question with other values than today's."""
        return self.make.values([f"$(shell {question[0][2:-1].replace('$', '$$')})"])[0]

    def _key(self, text: str) -> tuple[str, ...]:
        """What is equal in two commands; what make has put in from the environment is as good as its name there."""
        given = {name: self.environ.get(name, "") for name in AMBIENT}
        for pattern in self._temporary:
            text = pattern.sub("@temporary", text)
        return key(expanded(text, given), str(self.make.folder))

    @functools.cached_property
    def _temporary(self) -> list[re.Pattern[str]]:
        return temporary(self.migration.values)

    # --- comparing ------------------------------------------------------------------------------------------

    def _compare(self, target: str, theirs: Sequence[Command], ours: Sequence[Command]) -> Compared:
        texts = tuple(c.text for c in theirs), tuple(c.text for c in ours)
        why: list[str] = []
        rest, met = list(enumerate(ours)), list[int]()
        for command in theirs:
            found = [(at, each, told) for at, each in rest if (told := self._equal(command, each, theirs)) is not None]
            if not found:
                reason = lacking(command, ours) or self._own_doing(command, ours) or self._again(command, theirs)
                if not reason:
                    return Compared(
                        target, "different", (f"{self._tool} runs what imgmake does not: {short(command)}",), *texts
                    )
                why.append(reason)
                continue
            last = met[-1] if met else -1
            at, each, told = next((one for one in found if one[0] > last), found[0])
            if withheld := self._withheld(each):
                return Compared(target, "different", (withheld,), *texts)
            why += [*better(each), *told]
            met.append(at)
            rest.remove((at, each))
        reasons = [self._extra(extra, target) for _, extra in rest]
        if None in reasons:
            extra = rest[reasons.index(None)][1]
            return Compared(target, "different", (f"imgmake runs what {self._tool} does not: {short(extra)}",), *texts)
        if not self._in_order(theirs, [ours[at] for at in sorted(met)]):
            return Compared(target, "different", ("the commands of a target come in another order",), *texts)
        if race := self._race(theirs, ours):
            return Compared(target, "different", (race,), *texts)
        if met != sorted(met):
            why.append("targets that do not need each other come in another order")
        told = [each for each in (*why, *reasons) if each]
        return Compared(target, "better" if told else "same", tuple(dict.fromkeys(told)))

    def _withheld(self, ours: Command) -> str:
        """What every shell is given in make, and this one is not, as it is told; docker may be run without a shell."""
        alone = ours.kind in ("check", "image", "publish") or _ALONE.match(ours.text)
        name = "" if alone else min(self.migration.values.exported - ours.given.keys(), default="")
        return name and f"{name} is exported in make, and not given to: {short(ours)}"

    def _in_order(self, theirs: Sequence[Command], ours: Sequence[Command]) -> bool:
        """Whether the commands of each target come one after the other in make, whatever comes between them."""
        by_target: dict[str, list[Command]] = {}
        for each in ours:
            by_target.setdefault(each.target, []).append(each)
        for own in by_target.values():
            left = iter(theirs)
            if not all(any(self._equal(one, each, theirs) is not None for one in left) for each in own):
                return False
        return True

    def _race(self, theirs: Sequence[Command], ours: Sequence[Command]) -> str:
        """What two targets would do at once here, and one after the other in make; empty when they would not."""
        ours = [each for each in ours if not each.called]  # the goals of a call are made one after the other
        makers: dict[str, set[str]] = {}
        races: list[str] = []
        for each in ours:
            for image in images(each):
                makers.setdefault(image, set()).add(each.target)
        races = []
        for image, made_by in makers.items():
            word = re.compile(rf"(?<![\w./:-]){re.escape(image)}(?![\w./:-])")
            users = {each.target for each in ours if word.search(self._settled(each.text))} - made_by
            for maker, user in itertools.product(sorted(made_by), sorted(users)):
                if user not in self.needs(maker, self._given) and maker not in self.needs(user, self._given):
                    earlier, later = self._by_turns(maker, user, theirs, ours)
                    self.waiting.setdefault(later, set()).add(earlier)
                    races.append(f"{user} takes {image}, and could run at the same time as {maker}, which makes it")
        return races[0] if races else ""

    def _by_turns(self, one: str, other: str, theirs: Sequence[Command], ours: Sequence[Command]) -> tuple[str, str]:
        """Two targets in the order in which make comes to them."""
        first = {}
        for name in (one, other):
            own = next(each for each in ours if each.target == name)
            places = (at for at, each in enumerate(theirs) if self._equal(each, own, theirs) is not None)
            first[name] = next(places, len(theirs))
        return (one, other) if first[one] <= first[other] else (other, one)

    def _own_doing(self, command: Command, ours: Sequence[Command]) -> str:
        """Why a command is not needed that reads the Makefile, or that make itself thought of."""
        if "##" in command.text and any(each.text == LIST for each in ours):
            return f"{LIST} tells the targets, without the Makefile"
        name, *removed = command.key or ("",)
        is_own = name == "rm" and removed and set(removed) <= set(self.migration.pipefile.targets)
        return "what only patterns name is kept, where make removes it again" if is_own else ""

    def _again(self, command: Command, theirs: Sequence[Command]) -> str:
        """Why a command is not needed that was run before, for another that needs the same."""
        return self.make.repeats if sum(each.key == command.key for each in theirs) > 1 else ""

    def _equal(self, theirs: Command, ours: Command, every: Sequence[Command]) -> list[str] | None:
        """Why two commands are equal, as far as that has to be told; None when they are not."""
        if theirs.key[:1] != ours.key[:1] and not (ours.loose or ours.given):
            return None  # most pairs
        if {theirs.key, self._exporting(theirs, ours)} & {ours.key, *ours.loose}:
            outside = theirs.key[:1] in _TOOLS and _IN_CONTAINER.search(theirs.text) and "docker " not in ours.text
            told = [f"{theirs.key[0]} runs without a container"] if outside else []
            return [*told, "stops where `cd` fails"] if "cd " in ours.text and leaves(theirs.text) else told
        if theirs.key[:1] == ("docker run",) == ours.key[:1]:
            return contained.as_caller(theirs.key, ours.key)
        if theirs.key[:1] != ("docker build",) or ours.key[:1] != theirs.key[:1]:
            return None
        tagged = {f"tag={each.key[-1]}" for each in every if each.key[:1] == ("docker tag",)}
        more = set(ours.key) - set(theirs.key) - tagged
        less = set(theirs.key) - set(ours.key)
        return self._arguments(theirs, {*more}, {*less})

    def _exporting(self, theirs: Command, ours: Command) -> tuple[str, ...]:
        """The key of a command of make's whose shell has by `export` what the one of ours is given."""
        given = {name: value for name, value in ours.given.items() if name in self._exported or "" in self._exported}
        return self._key(filled(theirs.text, given)) if given else theirs.key

    @functools.cached_property
    def _exported(self) -> frozenset[str]:
        """The names that the Makefile exports; an empty one when it exports all."""
        return frozenset(exports(self.migration.statements)) | EVERYWHERE

    def _arguments(self, theirs: Command, more: set[str], less: set[str]) -> list[str] | None:
        """Two builds that differ in build arguments alone: imgmake passes those that the Dockerfile declares."""
        declared = self._declared(theirs)
        names = {each.removeprefix("build-arg=").partition("=")[0] for each in more | less if "build-arg=" in each}
        if declared is None or not all(each.startswith("build-arg=") for each in more | less):
            return None
        lost = {each.removeprefix("build-arg=").partition("=")[0] for each in less}
        if lost & declared or not {each.removeprefix("build-arg=").partition("=")[0] for each in more} <= declared:
            return None
        return [f"build arguments are those that the Dockerfile declares ({', '.join(sorted(names))})"] if names else []

    def _declared(self, build: Command) -> set[str] | None:
        """The arguments that a build's Dockerfile declares; None when it is not there."""
        given = next((each.removeprefix("file=") for each in build.key if each.startswith("file=")), "")
        path = self.make.folder / (given or f"{build.key[-1]}/Dockerfile")
        if not path.is_file():
            return None
        return set(re.findall(r"^\s*ARG\s+(\w+)", path.read_text(errors="replace"), re.MULTILINE | re.IGNORECASE))

    def _extra(self, command: Command, target: str) -> str | None:
        """Why imgmake runs a command that make does not; None when there is no reason."""
        if command.text.startswith("mkdir -p") or command.text == LIST:
            return ""
        if command.kind == "publish":
            return "" if command.key[:1] == ("docker tag",) else "publishes more tags"
        if command.target and command.target != target and command.target not in self.closure(target):
            return f"{command.target} comes first, since it is needed"
        return None

    def closure(self, target: str) -> set[str]:
        """A target and everything that it needs."""
        found: set[str] = set()
        todo = [target]
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += self.migration.database.needs(name)
        return found
