"""just, asked for its own dry run.

https://just.systems/man/en/
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from imgmake.errors import UsageError
from imgmake.migrate import justread
from imgmake.migrate.justfile import Special, Writer
from imgmake.migrate.scripts import END, SHELLS, named
from imgmake.migrate.tools import Tool, complaint
from imgmake.migrate.translated import Odd, Translated, within
from imgmake.ports import Shell

GET = "pip install rust-just"


class Just(Translated):
    """A justfile, with the Makefile that it comes to."""

    writer: Writer
    _evaluated: dict[str, str] | None = None

    def takes(self, target: str, name: str) -> bool:
        """just gives a parameter to its own recipe alone, and a variable to all."""
        if "::" in target:
            return False
        if name in self._globals() or name in self.writer.texts.defaults:
            return True
        recipe = self._recipe(target)
        return not recipe.scope and any(each.name == name for each in self.writer.parameters.of(recipe.recipe))

    def dry_run(
        self,
        target: str,
        overrides: Mapping[str, str] = {},
        *,
        phony: Sequence[str] = (),  # noqa: ARG002 (just makes no files)
    ) -> tuple[int, list[str], str]:
        known = (target, *(f"{name}={value}" for name, value in sorted(overrides.items())))
        if known not in self._runs:
            self._runs[known] = self._asked(target, overrides)
        return self._runs[known]

    def _asked(self, target: str, overrides: Mapping[str, str]) -> tuple[int, list[str], str]:
        if "::" in target:  # a module's, which stays with just
            return 0, [f"just {target}"], ""
        recipe, overrides = self._recipe(target), {**self.assumed, **overrides}
        words = [recipe.recipe, *self._arguments(recipe, overrides)]
        code, said = self._just(words, overrides)
        if code:
            return code, [], complaint(said)
        for each in self._run_by(recipe):
            said = self._as_run(each, said, overrides)
        lines = [line for line in said.split("\n") if not line.startswith("#!")]
        return 0, [self.writer.spoken(line) for line in lines], ""

    def _just(self, words: Sequence[str], overrides: Mapping[str, str]) -> tuple[int, str]:
        theirs = self._globals()
        known = {**self._backticks(), **{theirs[name]: value for name, value in overrides.items() if name in theirs}}
        given = [f"{name}={value}" for name, value in known.items()]
        environ = {name: value for name, value in overrides.items() if name in self.writer.texts.defaults}
        asked = ["just", "--justfile", self.makefile, "--yes", "--color", "never", "--dry-run", *given, *words]
        code, _, err = self.ask(asked, environ)
        return code, err

    def _backticks(self) -> Mapping[str, str]:
        """The values of variables that are commands, which a dry run shows as they are written."""
        if self._evaluated is None:
            self._evaluated = {}
            for name in self.writer.asking():
                code, out, _ = self.ask(["just", "--justfile", self.makefile, "--evaluate", name])
                if not code:
                    self._evaluated[name] = out.rstrip("\n")
        return self._evaluated

    def _globals(self) -> dict[str, str]:
        """The justfile's variables by what make calls them."""
        names = self.writer.names
        return {ours: name for name, ours in names.items() if ours not in self.writer.texts.defaults}

    def _recipe(self, target: str) -> Special:
        alias = self.writer.dump["aliases"].get(target)
        name = alias["target"] if alias else target
        return self.writer.specials.get(name) or Special(name, {})

    def _arguments(self, recipe: Special, overrides: Mapping[str, str]) -> list[str]:
        """What the recipe is given on the command line: no more words than are needed."""
        own = self.writer.parameters.of(recipe.recipe)
        texts = [recipe.scope.get(each.written, f"$({each.name})") for each in own]
        asked = [
            at for at, each in enumerate(own)
            if each.required or each.written in recipe.scope or each.name in overrides
        ]  # fmt: skip
        needed = max(asked, default=-1) + 1
        values = self.values(texts[:needed], dict(overrides)) if needed else []
        return [word for each, value in zip(own, values, strict=False)
                for word in (value.split() if each.many else [value])]  # fmt: skip

    def _run_by(self, recipe: Special) -> list[Special]:
        """All that a recipe runs, each with its arguments."""
        found, todo = list[Special](), [recipe]
        while todo:
            each = todo.pop()
            if each in found:
                continue
            found.append(each)
            for dependency in self.writer.recipes[each.recipe]["dependencies"]:
                with contextlib.suppress(Odd):
                    todo.append(self.writer.asked(dependency, each))
        return found

    def _as_run(self, recipe: Special, said: str, overrides: Mapping[str, str]) -> str:
        """Where a dry run shows lines of a recipe otherwise than they are run: in which folder, by which program."""
        name = recipe.recipe
        shown_so = not (self.writer.folder(name) or self.writer.recipes[name]["shebang"])
        if shown_so and not (self.writer.positional(name) or self._given(recipe)):
            return said
        code, block = self._just(["--no-deps", name, *self._arguments(recipe, overrides)], overrides)
        block = block.strip("\n")
        if code or not block or block not in said:
            return said
        return said.replace(block, self._shown(recipe, block, overrides))

    def _shown(self, recipe: Special, block: str, overrides: Mapping[str, str]) -> str:
        folder = self.writer.folder(recipe.recipe)
        each = self.writer.recipes[recipe.recipe]
        if given := self._given(recipe):
            values = self.values(list(given.values()), dict(overrides))
            block = named(block, dict(zip(given, values, strict=True)))
        if self.writer.positional(recipe.recipe):
            block = self._filled(recipe, block, overrides)
        if not each["shebang"]:
            return "\n".join(within(folder, line) if folder else line for line in block.split("\n"))
        first, _, rest = block.partition("\n")
        words = [word for word in first.removeprefix("#!").split() if word not in ("/usr/bin/env", "-S")]
        if first.startswith("#!") and words and words[0].rpartition("/")[2] not in SHELLS:
            block = "\n".join([f"{' '.join(words)} - <<'{END}'", rest, END])
        return f"cd {folder}\n{block}" if folder else block

    def _given(self, recipe: Special) -> dict[str, str]:
        """The parameters that a recipe's shell has by name."""
        scope = {**self.writer.parameters.scope(recipe.recipe), **recipe.scope}
        return self.writer.given(recipe.recipe, scope)

    def _filled(self, recipe: Special, block: str, overrides: Mapping[str, str]) -> str:
        """Lines with what ``$1`` and so on stand for."""
        scope = {**self.writer.parameters.scope(recipe.recipe), **recipe.scope}
        texts = self.writer.parameters.written(recipe.recipe, scope)
        values = self.values(texts, dict(overrides)) if texts else []
        block = re.sub(r"\"?\$[@*]\"?", lambda _: " ".join(values), block)
        return re.sub(r"\$\{?([1-9])\}?", lambda found: (*values, *[""] * 9)[int(found[1]) - 1], block)


def read(folder: Path, file: str, shell: Shell, environ: Mapping[str, str]) -> Just:
    """A justfile in a scratch folder. Raises ToolFailed, UsageError where just is not there."""
    tool = Tool(folder, file, shell, environ)
    if not tool.has("just", "--version"):
        raise UsageError(f"{file} is read through just, which is not on PATH", hint=f"install it: {GET}")
    dump = tool.json(["just", "--justfile", file, "--dump", "--dump-format", "json"])
    writer = Writer(dump, tuple(justread.items(folder, file)))
    found = Just(folder, file, writer.write(), shell, environ)
    found.writer = writer
    network = "without a network" if found.isolated else "with the network, which this system does not let us take away"
    found.tool = (
        "just",
        f"just ran in a copy of the folder, {network}: it runs each backtick when it reads the justfile",
    )
    return found
