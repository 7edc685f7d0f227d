"""One rule of a Makefile as declarations of a Pipefile: which kind, which prerequisites, which recipe."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from imgmake.migrate import contained, handing, targetnames
from imgmake.migrate.arguments import image_arguments
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.leaves import makes_file
from imgmake.migrate.lines import Mixed, Step, builder, ignoring, unless
from imgmake.migrate.model import Doubt, Left, Line, Made, Rule
from imgmake.migrate.order import Order
from imgmake.migrate.own import Own
from imgmake.migrate.python import Part, Parts, TooLate, expression, identifier, names_in, quoted
from imgmake.migrate.recipes import OWN, Recipes
from imgmake.migrate.stated import lines


@dataclass
class Declared:
    """What one target becomes."""

    target: str
    line: int
    source: str  # the call, without a name it is assigned to
    kind: str
    imports: frozenset[str]
    needs: frozenset[str] = frozenset()
    name: str = ""  # a Python name, when others use the rule
    tags: tuple[str, ...] = ()  # of an image: the expressions
    todo: str = ""
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Rules(Own):
    """Translates the rules of one Makefile."""

    recipes: Recipes
    files: frozenset[str] = frozenset()  # that the folder holds
    doubted: Mapping[str, Doubt] = field(default_factory=dict)  # by target
    first: Mapping[str, Collection[str]] = field(default_factory=dict)  # what comes first by the order of a list
    found: Mapping[str, Collection[str]] = field(default_factory=dict)  # of that, what the comparison has found
    left: list[Left] = field(default_factory=list)
    notes: list[Left] = field(default_factory=list)
    _order: Order | None = None

    @property
    def order(self) -> Order:
        """What is known of the order of lists, found out once."""
        if self._order is None:
            self._order = Order(self.database)
        return self._order

    def declare(self, target: str, rule: Rule, stem: str = "", spelt: Parts = ()) -> Declared:
        """The declaration of one target. What cannot be translated becomes one that fails with that message."""
        made = self._made(target, rule, stem)
        doubt = self.doubted.get(target)
        if doubt is not None and doubt.level > 1:
            found = self.fails(target, rule, doubt.why, Made(target, ()))
            return found if doubt.level == 2 else replace(found, source="")
        with self.recipes.as_text(target in self.doubted):
            return self._tried(target, rule, made, stem, spelt)

    def _tried(self, target: str, rule: Rule, made: Made, stem: str, spelt: Parts) -> Declared:
        given = list(spelt) or [Part(target)]
        try:
            try:
                return self._declare(target, rule, made, stem, given)
            except Mixed:
                with self.recipes.builds_as_text():
                    return self._declare(target, rule, made, stem, given)
        except Uncovered as error:
            if isinstance(error, TooLate):
                self.values.hasten_python(error.names)
            return self.fails(target, rule, str(error), made)

    def _made(self, target: str, rule: Rule, stem: str) -> Made:
        """What make has of a target; of one that only a pattern makes, what the pattern says."""
        made = self.database.targets.get(target) or Made(target, ())
        if stem and not made.stem:
            own = self.expanded(rule, target, stem)
            order = [n for n in self.expanded(rule, target, stem, order=True) if n not in made.order_only]
            every = (*own, *(n for n in made.prerequisites if n not in own))
            made = replace(made, prerequisites=every, order_only=(*order, *made.order_only), stem=stem)
        if not made.recipe and rule.recipe:
            made = replace(made, recipe=tuple(each.text for each in rule.recipe if isinstance(each, Line)))
        return self._patterned(made)

    def _whole(self, target: str, rule: Rule, made: Made) -> Rule:
        """The rule with the recipe that make has: of all double-colon rules, or one that comes from elsewhere."""
        if rule.double and made.double > 1:
            if made.prerequisites and self._is_file(target, made):
                raise Uncovered("double-colon rules of a file, each with prerequisites of its own")
            every = [each.rule for each in self.stated.of(target)]
            return replace(rule, recipe=tuple(line for each in every for line in each.recipe))
        if not rule.recipe and made.recipe and made.file and not made.stem:
            return replace(rule, recipe=tuple(lines(made)), line=made.line)
        return rule

    def _declare(self, target: str, rule: Rule, made: Made, stem: str, spelt: Parts) -> Declared:
        recipe = self._whole(target, rule, made).recipe
        scope = self._set_here(made, self._scope(target, made, stem, spelt))
        if self.given_here:
            names = " and ".join(sorted(self.given_here))
            why = f"{target} sets {names}: here the environment is stronger, too, in make the command line alone"
            self.notes.append(Left(rule.line, "", why, file=rule.file))
        own = self._exported_here(target, made, scope)
        if used := sorted(made.specific & self._mentioned_below(target)):
            known = self.values.definitions
            handed = handing.down(used, made.given, known, to_file=self._is_file(target, made))
            recipe = (Line(rule.line, handing.call((*made.order_only, *made.prerequisites), handed)), *recipe)
            scope = {**scope, **{name: self.values.parts(text) for name, text in handed.items()}}
            made = replace(made, prerequisites=(), order_only=())
            rule = replace(rule, prerequisites="", order_only="")
        prerequisites = self.prerequisites(rule, made, target, stem)
        with self.recipes.giving(own):
            steps = self.recipes.steps(ignoring(recipe, self.database, target), scope)
        after = self._names(made.order_only)
        kind = self.kind(target, made, steps)
        if missing := self.missing(made):
            kind = self._while_missing(kind, target, rule, missing)
        if kind == "image":
            return self._image(target, rule, prerequisites, after, steps)
        if kind == "phony" and (target in self.found or any(step.what == "sh" for step in steps)):
            prerequisites += self._first(target, rule, prerequisites)
        if kind == "phony" and not made.phony and not prerequisites and self._outside(target):
            steps = [unless(targetnames.looked_for(target, spelt, self.values.make.home), steps)] if steps else steps
        return self._plain(kind, target, rule, prerequisites, after, steps, spelt)

    def _outside(self, target: str) -> bool:
        return targetnames.outside(target, self._folder)

    @property
    def _folder(self) -> str:
        return str(self.values.make.folder)

    def _while_missing(self, kind: str, target: str, rule: Rule, missing: Sequence[str]) -> str:
        """The kind of a target with a command that fails for what is not there, and a note that says so."""
        if kind == "image":
            raise Mixed
        told = " and ".join(missing)
        why = f"{told} {'is' if len(missing) == 1 else 'are'} not here: {target} fails for that, as in make"
        self.notes.append(Left(rule.line, "", why, file=rule.file))
        return "file" if kind == "file" else "phony"

    def _exported_here(self, target: str, made: Made, scope: Mapping[str, Parts]) -> dict[str, str]:
        """What a target gives to its own commands' environment. Raises Uncovered where it gives it to others', too."""
        given = {name for name, _, _ in made.given}
        names = {each.name for each in self.stated.exports(target)} | (given & self.recipes.exports)
        below = any(self.database.targets.get(name, Made(name, ())).recipe for name in self._below(target))
        more = {name: expression(self.values.parts(text)) for name, text in self.values.make.given(target).items()}
        return {name: expression(scope[name]) for name in handing.exported(names, scope, below=below)} | more

    def _first(self, target: str, rule: Rule, prerequisites: Sequence[str]) -> list[str]:
        """What make comes to first by the order of a list alone."""
        known = self.found if target in self.doubted else self.first
        names = [name for name in known.get(target, ()) if self.named(name) not in prerequisites]
        if names:
            tool = self.values.make.tool[0] or "make"
            why = f"{tool} comes to {' and '.join(names)} first, by the order of a list: the Pipefile says so"
            self.notes.append(Left(rule.line, "", why, file=rule.file))
        return self._names(names)

    def _names(self, names: Sequence[str]) -> list[str]:
        return [self.spelling(name) or self.named(name) for name in names]

    def _scope(self, target: str, made: Made, stem: str, spelt: Parts) -> Mapping[str, Parts]:
        """The automatic variables: in a file's recipe imgmake's own names for them."""
        every = made.prerequisites
        is_file = self._is_file(target, made)
        own = Part("$out", dollar=True, value=OWN, leaves=(target,))
        named = list(spelt) if any(part.name for part in spelt) else self.values.placed(target)
        relative = is_file and targetnames.inside(target, self._folder) == target
        found: dict[str, Parts] = {"@": targetnames.out(target, own) if relative else named}
        home = self.values.make.home if not any(part.name for part in spelt) else ""
        if self._outside(target) and home and target.startswith(f"{home}/"):
            found["@"] = self.values.parts(f"$(HOME){target.removeprefix(home)}")
        if every:
            whole = any(targetnames.inside(name, self._folder) != name for name in every)
            files = is_file and not whole and not any(self._is_name(name) for name in (*every, *made.order_only))
            names = " ".join(dict.fromkeys(every))
            inputs = [Part("$in", dollar=True, value=OWN, leaves=(names,))] if files else self.values.placed(names)
            found["^"] = found["+"] = inputs
            found["<"] = inputs if len(every) == 1 else self.values.placed(every[0])
        else:
            found["<"] = found["^"] = found["+"] = []
        found["*"] = [Part(stem)] if stem else []
        return found

    def _is_file(self, target: str, made: Made) -> bool:
        if made.phony or self._outside(target):
            return False
        known = target in self.values.make.files or targetnames.inside(target, self._folder) != target
        return makes_file(target, made.recipe, known=known)

    # --- kinds ----------------------------------------------------------------------------------------------

    def kind(self, target: str, made: Made, steps: Sequence[Step]) -> str:
        what = [step.what for step in steps if not _is_stamp(step)]
        if "build" in what and len(what) < len(steps):
            self._one_build(what)
            return "image"
        if self._is_file(target, made):
            if "build" in what:
                raise Mixed
            return "file"
        if "build" in what:
            self._one_build(what)
            return "image"
        if {"lint", "test"}.intersection(what) and all(each in ("lint", "test", "echo") for each in what):
            return "check"
        return "phony"

    def _one_build(self, what: Sequence[str]) -> None:
        if what.count("build") > 1 or any(each not in ("build", "echo", "tag") for each in what):
            raise Mixed

    def _plain(
        self,
        kind: str,
        target: str,
        rule: Rule,
        prerequisites: list[str],
        after: list[str],
        steps: Sequence[Step],
        spelt: Parts,
    ) -> Declared:
        notes = [note for step in steps for note in step.notes]
        if any(step.what == "echo" for step in steps) and _says_itself(kind, steps):
            steps = [step for step in steps if step.what != "echo"]
            notes.append("imgmake itself says what it does, so the echo is left out")
        if kind == "file" and not prerequisites and (read := contained.sources(builder(steps), self.files)):
            prerequisites = self._names(read)
            notes.append(f"{' and '.join(read)} {'is' if len(read) == 1 else 'are'} what it is made from")
        # A shell's text of a file names what it reads and makes.
        arguments = [self.named(target, spelt), *prerequisites, *(step.source for step in steps)]
        arguments += [f"after={after[0] if len(after) == 1 else '[' + ', '.join(after) + ']'}"] if after else []
        imports = frozenset({kind}).union(*(step.imports for step in steps))
        needs = frozenset(part.name for part in spelt if part.name).union(*(step.needs for step in steps))
        needs |= {name for name in prerequisites if name.isidentifier()}
        return Declared(
            target,
            rule.line,
            f"{kind}({', '.join(arguments)})",
            kind,
            imports,
            needs | names_in(arguments),
            notes=tuple(notes),
        )

    def _image(
        self, target: str, rule: Rule, prerequisites: list[str], after: list[str], steps: Sequence[Step]
    ) -> Declared:
        build = next(step for step in steps if step.what == "build")
        assert build.build is not None
        tags = [expression(tag) for tag in build.build.all("tag")]
        extra = [tag for step in steps if step.what == "tag" for tag in self._own_tag(step, tags)]
        keywords = image_arguments(build.build)
        if extra:
            keywords[0] = f"tags=[{', '.join([*tags, *extra])}]"
        order = [f"after=[{', '.join(after)}]"] if after else []
        arguments = [self.named(target), *prerequisites, *keywords, *order]
        said = [step for step in steps if step.what == "echo"]
        stamps = [step for step in steps if _is_stamp(step)]
        notes = ["imgmake itself says what it built, so the echo is left out"] if said else []
        notes += ["the stamp file is not needed: the engine is asked"] if stamps else []
        needs = build.needs.union(*(step.needs for step in steps)) - frozenset().union(*(s.needs for s in said))
        return Declared(
            target,
            rule.line,
            f"image({', '.join(arguments)})",
            "image",
            frozenset({"image"}),
            (needs | build.needs | names_in(arguments)),
            identifier(target),
            (*tags, *extra),
            notes=tuple(notes),
        )

    def _own_tag(self, step: Step, tags: Sequence[str]) -> list[str]:
        """A ``docker tag`` of what was just built is one more of its tags."""
        match = re.fullmatch(r"tag\((.*), ((?:f?\"[^\"]*\"|\w+))\)", step.source)
        if match is None or not (match[1] in tags or self.recipes.images.get(tags[0]) == match[1]):
            raise Mixed
        return [match[2]]

    # --- what is not covered --------------------------------------------------------------------------------

    def fails(self, target: str, rule: Rule, why: str, made: Made) -> Declared:
        line = next((each.line for each in rule.recipe), rule.line)
        text = next((each.text for each in rule.recipe if isinstance(each, Line)), rule.targets + ":")
        self.left.append(Left(line, text, why, target))
        message = f"{self.values.make.makefile}:{line}: {target} is not translated: {why}"
        quiet = (
            " ".join(message.split())
            .replace("'", "")
            .replace("$", "")
            .replace("`", "")
            .replace("\\", "")
            .replace('"', "")
        )
        failing = f"sh({quoted(f'echo {chr(39)}{quiet}{chr(39)} >&2; exit 1')})"
        arguments = [self.named(target), *self._names([n for n in made.prerequisites if self._there(n)]), failing]
        source = f"phony({', '.join(arguments)})"
        return Declared(target, rule.line, source, "phony", frozenset({"phony", "sh"}), todo=why)


def _says_itself(kind: str, steps: Sequence[Step]) -> bool:
    """Whether the other commands are told of by imgmake as they run."""
    others = {step.what for step in steps} - {"echo"}
    return kind == "check" or (kind == "file" and others == {"run"})


def _is_stamp(step: Step) -> bool:
    return bool(re.fullmatch(r"sh\([rf]*[\"']touch \\?\"?\$out\\?\"?[\"']\)", step.source))
