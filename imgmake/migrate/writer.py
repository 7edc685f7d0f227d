"""The Pipefile of a Makefile: its statements in their order, variables before what uses them, comments kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from imgmake.migrate import helpers, layout
from imgmake.migrate.effects import Effects
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.model import Assign, Comment, Cond, Include, Left, Other, Pipefile, Rule
from imgmake.migrate.outline import code, without
from imgmake.migrate.python import names_in
from imgmake.migrate.unread import UnreadWriter
from imgmake.variables import LATE

_WORDS = frozenset(
    [
        "check",
        "default",
        "file",
        "glob",
        "image",
        "lint",
        "phony",
        "publish",
        "run",
        "sh",
        "structure_test",
        "tag",
        "var",
    ]
)


@dataclass
class Writer(UnreadWriter):
    """Writes one Pipefile."""

    def write(self) -> Pipefile:
        """The text, and what has to be said of it."""
        self._exported()
        self._block(self.statements, 0)
        self._unread()
        default = self.database.default
        if default and self.declared and default != self.declared[0].target and default in self.done:
            self.imports.add("default")
            self.lines += ["", f"default({self.rules.named(default)})"]
        text = self._text()
        overridable = {
            n: k.value
            for n in [*self.values.definitions, *self.values.inputs]
            if (k := self.values.known(n)).exported
            and k.kind in ("variable", "late")
            and k.exported == n
            and re.search(rf"^ *{k.python} = ", text, re.MULTILINE)
        }
        self._changed_after_all(text)
        return Pipefile(
            text,
            tuple(self.rules.left),
            tuple(self.rules.notes),
            tuple(dict.fromkeys(each.target for each in self.declared)),
            overridable,
            {name: here for each in self.declared if (here := self.rules.called(name := each.target)) != name},
        )

    def _changed_after_all(self, text: str) -> None:
        """Of variables that are declared and then changed: make leaves those of its command line as they are."""
        for name, found in self.values.definitions.items():
            python = self.values.known(name).python if name in self.values.steps else ""
            set_ = re.findall(rf"^( *{python} = )(var\()?", text, re.MULTILINE) if python else []
            if len(set_) > 1 and any(var for _, var in set_) and not all(var for _, var in set_):
                last = found[-1][0]
                why = f"`make {name}=…` replaces all that is set; the Pipefile does this to the given value, too"
                self.rules.notes.append(Left(last.line, f"{name} {last.op} {last.value}", why, file=last.file))

    def _text(self) -> str:
        named = {each.name for each in self.declared if each.name and each.name in self.used}
        lines = self._used_only(list(self._named(named)))
        body = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
        names = {name for name in names_in([code(body)]) if name in _WORDS} & (self.imports | {"var", "glob", "sh"})
        used = names_in([code(body)])
        names |= used & frozenset(LATE)
        names |= {"sh"} if "fail" in used else set()
        head = helpers.imports(used)
        own = list(helpers.definitions(used, self.recipes.shell))
        return "\n".join([*head, "", *layout.imports(names), *own, "", body, ""]).lstrip("\n")

    def _used_only(self, lines: list[str]) -> list[str]:
        """Without the constants whose words went into the rules themselves."""
        gone, before = sorted(self.values.taken_apart - self.used), 0
        while before != len(lines):  # one that is left out may have been the last to use another
            before = len(lines)
            for name in gone:
                lines = without(lines, self.values.python(name))
        return lines

    def _named(self, named: set[str]) -> Iterator[str]:
        for line in self.lines:
            match = re.match(r"\s*\x01(\w+) = ", line)
            if match is None:
                yield line
            elif match[1] in named:
                yield line.replace("\x01", "")
            else:
                yield line.replace(f"\x01{match[1]} = ", "")

    def _block(self, statements: Iterable[object], indent: int) -> None:
        for each in statements:
            if isinstance(each, Comment):
                self._comment(each, indent)
            elif isinstance(each, Assign):
                self._assign(each, indent)
            elif isinstance(each, Cond):
                self._cond(each, indent)
            elif isinstance(each, Rule):
                self._rule(each, indent)
            elif isinstance(each, Include | Other):
                self._other(each, indent)

    def _comment(self, each: Comment, indent: int) -> None:
        text = each.text.lstrip("#").strip()
        self.body.append(" " * indent + f"# {text}" if text else "#" if each.text else "")

    # --- what is neither ------------------------------------------------------------------------------------

    def _other(self, each: Include | Other, indent: int) -> None:
        if isinstance(each, Include):
            why = "it is not here: what it would set or add is not in this Pipefile"
            text = f"{'-include' if each.optional else 'include'} {each.files}"
            self._later(each.line, text, why, indent, file=each.file)
        elif self._effects(each, indent):
            return
        elif "eval" in each.text or re.match(r"\$[({](call|foreach)\b", each.text):
            self._evaluated(each, indent)
        else:
            self._later(each.line, each.text, "make's own language: no Pipefile has it", indent, file=each.file)

    def _effects(self, each: Other, indent: int) -> bool:
        """Whether a line of its own stops make or says something; the Pipefile then does so when it is loaded."""
        effects = Effects(self.values)
        if any(each.line == mend.line for mend in self.values.make.mended):
            why = "make stops here today: a variable without a default is asked for by the rules that use it"
            self._later(each.line, each.text, why, indent, file=each.file)
            return True
        try:
            with self.values.done_elsewhere(), self.values.loading():
                found = effects.of(each.text, {})
                if not found or any(one.what == "eval" for one in found):
                    return False
                lines = [line for one in found for line in effects.statement(one)]
        except Uncovered as error:
            self._later(each.line, each.text, str(error), indent, file=each.file)
            return True
        self._needed(names_in(["\n".join(lines)]))
        self.body.extend(" " * indent + line for line in lines)
        return True
