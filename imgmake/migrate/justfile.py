"""A justfile as a Makefile: variables, parameters, recipes in their order, what is run after them at their end.

`just --dump` says what the file means; https://just.systems/man/en/ what that is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imgmake.migrate import scripts
from imgmake.migrate.justparams import Parameters
from imgmake.migrate.justread import Item
from imgmake.migrate.justtext import Expressions, backticks, reads_environment
from imgmake.migrate.texts import AMBIENT
from imgmake.migrate.translated import Choice, Command, Makefile, Odd, escaped, plain, value

_RESERVED = frozenset({"SHELL", "MAKE", "MAKEFLAGS", "CURDIR", "MAKEFILE_LIST"})
_SYSTEMS = frozenset({"linux", "macos", "unix", "windows", "openbsd", "freebsd", "netbsd", "dragonfly", "android"})
_SIGILS = re.compile(r"[@-]*")


@dataclass(frozen=True)
class Special:
    """A recipe with arguments of its own, as a dependency asks for it."""

    recipe: str
    scope: Mapping[str, str]


@dataclass
class Writer:
    """Writes the Makefile of one justfile.

    specials: by target; odd: recipes whose lines just's dry run shows otherwise than they are run.
    """

    dump: Mapping[str, Any]
    items: Sequence[Item]
    makefile: Makefile = field(default_factory=Makefile)
    specials: dict[str, Special] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.recipes: Mapping[str, Any] = self.dump["recipes"]
        self.assigned: Mapping[str, Any] = self.dump["assignments"]
        self.settings: Mapping[str, Any] = self.dump["settings"]
        self.names = {name: _name(name, each["value"]) for name, each in self.assigned.items()}
        own = frozenset(
            self.names[name] for name, each in self.assigned.items() if not reads_environment(each["value"])
        )
        self.texts = Expressions(self.names, own, _file(self.items))
        self.parameters = Parameters(self.recipes, self.assigned, self.names)
        self.shell = scripts.Shell.of(self.settings["shell"])

    def write(self) -> Makefile:
        """The whole."""
        self._shell()
        for name in self.recipes:
            self._resolve(name, {})
        for each in self.items:
            self._item(each)
        rest = [name for name in self.recipes if name not in self._done]
        for name in rest:
            self._recipe(Item("recipe", name, _file(self.items), 1))
        self._modules()
        self.makefile.told("just", "runs what a recipe needs in the order of the list")
        if first := self.dump.get("first"):
            self.makefile.add(f".DEFAULT_GOAL := {first}", f"{_file(self.items)}:1")
        return self.makefile

    def _shell(self) -> None:
        place = f"{_file(self.items)}:1"
        if self.shell.name != "sh" and not all(map(scripts.any_shell, backticks(list(self.assigned.values())))):
            self.makefile.add(f"SHELL := {self.shell.name}", place)
        if self.shell.stops:
            self.makefile.add(".SHELLFLAGS := -ec", place)

    def asking(self) -> list[str]:
        """The variables that are worked out by commands in backticks."""
        return [name for name, each in self.assigned.items() if any(backticks(each["value"]))]

    def _item(self, item: Item) -> None:
        if item.kind in ("comment", "blank"):
            self.makefile.add("" if item.name.startswith("#!") else item.name, item.place)
        elif item.kind == "variable" and item.name in self.assigned:
            self._assign(item)
        elif item.kind == "alias" and item.name in self.dump["aliases"]:
            self.makefile.rule(item.name, [self.dump["aliases"][item.name]["target"]], (), item.place)
        elif item.kind == "setting":
            self._setting(item)
        elif item.kind == "recipe":
            self._recipe(item)

    def _setting(self, item: Item) -> None:
        if item.name.startswith("dotenv") and self.settings["dotenv_load"] and "dotenv" not in self._done:
            self._done.add("dotenv")
            why = "imgmake reads no .env: what it sets has to be in the environment, or on the command line"
            self.makefile.note(item.text, why, item.place)

    # --- variables ------------------------------------------------------------------------------------------

    def _assign(self, item: Item) -> None:
        each = self.assigned[item.name]
        own = self.names[item.name]
        try:
            text = value(each["value"]) if isinstance(each["value"], str) else self.texts.of(each["value"])
        except Odd as error:
            self.makefile.note(item.text, f"{error}: what uses it fails", item.place)
            self.parameters.broken[own] = str(error)
            return
        self._environment(item.place)
        if text != f"$({own})":  # else it is the environment's, by its own name
            self.makefile.assign(own, "?=" if item.name in self.parameters.defaults else "=", text, item.place)
        if each["export"] or self.settings["export"]:
            self.makefile.add(f"export {own}", item.place)

    def _environment(self, place: str) -> None:
        """What was found to be read from the environment, before what reads it."""
        for name, default in self.texts.defaults.items():
            if name in self._done or name in AMBIENT:
                continue
            self._done.add(name)
            if default is None:
                self._required(name)
            else:
                self.makefile.assign(name, "?=", default, place)

    def _required(self, name: str) -> None:
        self.makefile.required.add(name)
        self.makefile.assumed[name] = "imgmake-check"

    def _declare(self, recipe: str, place: str) -> None:
        """The parameters of a recipe, once each."""
        for each in self.parameters.of(recipe):
            if each.name in self._done or each.is_global:
                continue
            self._done.add(each.name)
            scope = self.parameters.scope(recipe)
            default = self.texts.of(each.default, scope) if each.default is not None else ""
            self._environment(place)
            if each.required:
                self._required(each.name)
            else:
                self.makefile.assign(each.name, "?=", default, place)

    # --- recipes --------------------------------------------------------------------------------------------

    def _recipe(self, item: Item) -> None:
        each = self.recipes.get(item.name)
        if each is None or item.name in self._done:
            if "[" not in item.name and item.name not in self._done:
                self.makefile.note(item.text, "just leaves it out on this system, and so does the Pipefile", item.place)
            return
        self._done.add(item.name)
        above = self._comments(each["doc"])
        before = len(self.makefile.lines)
        failed = ""
        try:
            self._declare(item.name, item.place)
        except Odd as error:
            failed = str(error)
        if len(self.makefile.lines) > before:
            self.makefile.add("", item.place)
        if not failed:
            self._tell(each, item)
        for text, place in above:
            self.makefile.add(text, place)
        self._rule(item.name, Special(item.name, {}), item, failed)
        for target, special in self.specials.items():
            if special.recipe == item.name:
                self._rule(target, special, item, failed)

    def _comments(self, doc: str | None) -> list[tuple[str, str]]:
        """The comment right above, taken off; what `[doc]` says instead of it."""
        lines, places = self.makefile.lines, self.makefile.places
        found: list[tuple[str, str]] = []
        while lines and lines[-1].startswith("#"):
            found.insert(0, (lines.pop(), places.pop()))
        if doc and not any(text.lstrip("# ").strip() == doc.strip() for text, _ in found):
            found.append((f"# {doc}", found[-1][1] if found else f"{_file(self.items)}:1"))
        return found

    def _tell(self, each: Mapping[str, Any], item: Item) -> None:
        """What a person should know of a recipe."""
        given = [f"{one.name}={one.written.upper()}" for one in self.parameters.of(each["name"])]
        if given:
            words = " ".join(one.written.upper() for one in self.parameters.of(each["name"]))
            self.makefile.note(
                "", f"`just {item.name} {words}` is now `imgmake {item.name} {' '.join(given)}`", item.place
            )
        for attribute in each["attributes"]:
            name = attribute if isinstance(attribute, str) else next(iter(attribute))
            if name in _SYSTEMS - {"unix"}:
                why = f"[{name}]: the recipe is for one kind of system; the Pipefile has it on all"
                self.makefile.note(item.text, why, item.place)
            elif name == "no-cd":
                why = "[no-cd]: just runs it where it is called from, imgmake beside its Pipefile"
                self.makefile.note(item.text, why, item.place)

    def _rule(self, target: str, special: Special, item: Item, failed: str) -> None:
        try:
            if failed:
                raise Odd(failed)
            needs = [self._target(each, special) for each in self.priors(special.recipe)]
            commands = self._commands(special, item)
            ran = set[str]()  # just runs again, after a recipe, what was run before it
            for each in self.subsequents(special.recipe):
                commands += self._after(self.asked(each, special), ran)
        except Odd as error:
            self.makefile.fails(target, item.text, str(error), item.place)
            return
        self._environment(item.place)
        if given := self._handed_on(special, commands):
            self.makefile.given[target] = given
        self.makefile.rule(target, list(dict.fromkeys(needs)), commands, item.place)

    def _handed_on(self, special: Special, commands: Sequence[Command]) -> Mapping[str, str]:
        """The parameters that programs may read from their environment."""
        given = self.given(special.recipe, {**self.parameters.scope(special.recipe), **special.scope})
        return given if given and any(scripts.starts_others(each.text, given) for each in commands) else {}

    def _commands(self, special: Special, item: Item | None = None) -> list[Command]:
        """A recipe's own."""
        each = self.recipes[special.recipe]
        item = item or next((one for one in self.items if one.kind == "recipe" and one.name == special.recipe), None)
        item = item or Item("recipe", special.recipe, _file(self.items), 1)
        scope = {**self.parameters.scope(special.recipe), **special.scope}
        lines = [
            (self.texts.line(line, scope), f"{item.file}:{item.body[at]}" if at < len(item.body) else item.place)
            for at, line in enumerate(each["body"])
        ]
        for text, place in lines:
            self._environment(place)
            self._sound(text)
        words = self.parameters.written(special.recipe, scope)
        given = self.given(special.recipe, scope)
        body = scripts.Body(each, lines, self.shell, self.settings, words, self._exported(), given)
        asks = []
        if (said := _attribute(each, "confirm")) is not None:
            said = said or f"{special.recipe} wants to be confirmed."
            asks = [self.makefile.confirmed(special.recipe, escaped(said), item.place)]
        return [*asks, *body.commands(self._spoken)]

    def _exported(self) -> frozenset[str]:
        """The variables that every shell is given."""
        every = self.settings["export"]
        return frozenset(self.names[name] for name, each in self.assigned.items() if each["export"] or every)

    def given(self, recipe: str, scope: Mapping[str, str]) -> dict[str, str]:
        """The parameters that a recipe's shell is given, and what they are."""
        every = self.settings["export"]
        return {one.written: scope[one.written] for one in self.parameters.of(recipe) if one.export or every}

    def folder(self, recipe: str) -> str:
        """The folder that a recipe's lines run in, besides the justfile's own."""
        return scripts.Body(self.recipes[recipe], (), self.shell, self.settings, ()).folder

    def positional(self, recipe: str) -> bool:
        """Whether its shell has its arguments as ``$1`` and so on."""
        return (
            bool(self.settings["positional_arguments"])
            or _attribute(self.recipes[recipe], "positional-arguments") == ""
        )

    def _sound(self, text: Choice) -> None:
        """Nothing in it that cannot be said. Raises Odd."""
        if isinstance(text, str):
            for name in re.findall(r"\$\(([\w-]+)\)", text):
                if name in self.parameters.broken:
                    raise Odd(f"{name}: {self.parameters.broken[name]}")
        else:
            for each in (text.left, text.right, text.then, text.otherwise):
                self._sound(each)

    # --- dependencies ---------------------------------------------------------------------------------------

    def priors(self, recipe: str) -> Sequence[Mapping[str, Any]]:
        each = self.recipes[recipe]
        found: Sequence[Mapping[str, Any]] = each["dependencies"][: each["priors"]]
        return found

    def subsequents(self, recipe: str) -> Sequence[Mapping[str, Any]]:
        each = self.recipes[recipe]
        found: Sequence[Mapping[str, Any]] = each["dependencies"][each["priors"] :]
        return found

    def asked(self, dependency: Mapping[str, Any], special: Special) -> Special:
        """The recipe that a dependency asks for, with its arguments."""
        name = dependency["recipe"]
        if name not in self.recipes:
            raise Odd(f"it needs {name}, which is of a module")
        if dependency.get("star"):
            raise Odd(f"it needs {name} once for each of several values")
        scope = {**self.parameters.scope(special.recipe), **special.scope}
        own = self.parameters.of(name)
        given = [self.texts.of(each, scope) for each in dependency["arguments"]]
        if len(given) > len(own):
            given = [*given[: len(own) - 1], " ".join(map(plain, given[len(own) - 1 :]))]
        texts = {one.written: plain(each) for one, each in zip(own, given, strict=False)}
        return Special(name, {w: text for w, text in texts.items() if not self._usual(name, w, text)})

    def _usual(self, recipe: str, written: str, text: str) -> bool:
        """Whether an argument is what the parameter is without it."""
        one = next(each for each in self.parameters.of(recipe) if each.written == written)
        same = one.default is not None and not one.required
        return text == f"$({one.name})" or (same and text == self.texts.of(one.default, self.parameters.scope(recipe)))

    def _target(self, dependency: Mapping[str, Any], special: Special) -> str:
        asked = self.asked(dependency, special)
        if not asked.scope:
            return asked.recipe
        found = next((target for target, each in self.specials.items() if each == asked), None)
        if found is None:
            words = "-".join(re.sub(r"\W+", "-", re.sub(r"\$\((\w+)\)", r"\1", text)) for text in asked.scope.values())
            found = re.sub(r"-{2,}", "-", f"{asked.recipe}-{words}").strip("-")
            while found in self.recipes or found in self.specials:
                found += "-2"
            self.specials[found] = asked
        return found

    def _resolve(self, recipe: str, scope: Mapping[str, str]) -> None:
        """Find out which recipes are asked for with arguments of their own."""
        todo = [Special(recipe, scope)]
        while todo and len(self.specials) < 200:
            special, known = todo.pop(), set(self.specials)
            for each in self.priors(special.recipe):
                try:
                    target = self._target(each, special)
                except Odd:
                    continue
                if target in self.specials and target not in known:
                    todo.append(self.specials[target])

    def _after(self, special: Special, ran: set[str]) -> Iterator[Command]:
        """What a recipe runs, with all that it needs and has not been run."""
        target = f"{special.recipe} {sorted(special.scope.items())}" if special.scope else special.recipe
        if target in ran:
            return
        ran.add(target)
        for each in self.priors(special.recipe):
            yield from self._after(self.asked(each, special), ran)
        commands = self._commands(special)
        if self._handed_on(special, commands):
            raise Odd(f"{special.recipe} is run after it, with parameters that it exports")
        yield from commands
        for each in self.subsequents(special.recipe):
            yield from self._after(self.asked(each, special), ran)

    # --- what stays with just -------------------------------------------------------------------------------

    def _spoken(self, text: Choice) -> Choice:
        """A command that calls just for a recipe of this file, as one of imgmake's."""
        return self.spoken(text) if isinstance(text, str) else text

    def spoken(self, text: str) -> str:
        """The same, of plain text."""
        words = text.split()
        if words[:1] != ["just"] or re.search(r"[;&|<>'\"]", text):
            return text
        if set(words[1:]) & {"--list", "-l", "--summary"}:
            return "imgmake --list"
        if words[1:2] and words[1] in self.recipes:
            own = self.parameters.of(words[1])
            if len(words) - 2 <= len(own) and not any(each.many for each in own):
                return " ".join(["imgmake", words[1], *(f"{o.name}={w}" for o, w in zip(own, words[2:], strict=False))])
        return text

    def _modules(self) -> None:
        for name, module in self.dump["modules"].items():
            item = next((each for each in self.items if each.kind == "module" and each.name == name), None)
            place = item.place if item else f"{_file(self.items)}:1"
            self.makefile.add("", place)
            for recipe in module["recipes"]:
                self.makefile.rule(f"{name}::{recipe}", (), [Command(f"just {name}::{recipe}", place)], place)
            self.makefile.note(f"mod {name}", "its recipes stay with just, which the Pipefile calls", place)


def _attribute(recipe: Mapping[str, Any], name: str) -> Any:
    """What an attribute of a recipe says; empty when it only stands there; None when it does not."""
    for each in recipe["attributes"]:
        if each == name:
            return ""
        if isinstance(each, dict) and name in each:
            return each[name] or ""
    return None


def _name(name: str, expression: Any) -> str:
    """What make calls a variable: one that is the environment's alone has that one's name."""
    if reads_environment(expression):
        return str(expression[2])
    return f"just_{name}" if name in _RESERVED else name.replace("-", "_")


def _file(items: Sequence[Item]) -> str:
    return items[0].file if items else "justfile"
