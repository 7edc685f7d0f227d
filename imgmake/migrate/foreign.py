"""A Pipefile in the making that comes of no Makefile: variables and rules with their sources, laid out as a file. Pure.

Knows no tool: readers of bake files, compose files, justfiles and Taskfiles fill it in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from imgmake.migrate import layout
from imgmake.migrate.model import MARK, Left, Pipefile
from imgmake.migrate.outline import code
from imgmake.migrate.python import Part, identifier, names_in, quoted
from imgmake.variables import LATE, NAME

_WORDS = frozenset(
    ["check", "default", "file", "glob", "image", "lint", "phony", "publish", "run", "sh", "structure_test", "tag"]
) | {"var"}


@dataclass
class Variable:
    """One name of the Pipefile: how it is given its value, and what it is today.

    exported: the name under which a shell gets it; empty when it is a plain constant.
    """

    name: str
    source: str
    value: str = ""
    exported: str = ""
    late: bool = False
    comment: str = ""
    required: bool = False
    default: str | None = None  # as it is written

    @property
    def part(self) -> Part:
        return Part(name=identifier(self.name), shell=self.exported, late=self.late, value=self.value)


@dataclass
class Entry:
    """One rule: the sources of its arguments after the target, and what stands above it.

    handle: the Python name of an image's rule, for those that use it.
    order:  targets whose rules have to stand above.
    """

    target: str
    line: int
    kind: str
    arguments: list[str]
    comment: str = ""
    handle: str = ""
    order: tuple[str, ...] = ()
    shown: str = ""  # what could not be translated
    why: str = ""

    @property
    def source(self) -> str:
        return f"{self.kind}({', '.join([quoted(self.target), *self.arguments])})"


@dataclass
class Draft:
    """All of one Pipefile: what is declared, in the order of the file that it comes from."""

    file: str
    variables: dict[str, Variable] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    default: str = ""
    head: list[str] = field(default_factory=list)  # Python that stands above all
    imports: list[str] = field(default_factory=list)  # of Python's own modules
    dotenv: Mapping[str, str] | None = None  # what .env holds, where the tool reads it
    left: list[Left] = field(default_factory=list)
    notes: list[Left] = field(default_factory=list)

    def declare(self, name: str, default: str | None = None, *, comment: str = "") -> Variable:
        """What may be overridden: ``var(…)``, exported under its own name. Without a default it is required."""
        own, written = variable(name), default
        given = None if default is None else quoted(default)
        if self.dotenv is not None:
            found = f"DOTENV.get({quoted(name)})"
            given = found if given is None else f"{found} or {given}"
            default = self.dotenv.get(name) or default
        source = f"var({quoted(own)}{'' if given is None else f', {given}'})"
        made = Variable(name, source, default or "", own, comment=comment, required=default is None, default=written)
        return self.variables.setdefault(name, made)

    def note(self, line: int, text: str, why: str) -> None:
        """Something that a person should know."""
        self.notes.append(Left(line, text, why))

    def fails(self, target: str, line: int, shown: str, why: str, *, comment: str = "") -> None:
        """A target that cannot be translated: it stands at its place, and fails with the reason when it is run."""
        why = why.split("\n", maxsplit=1)[0]
        self.left.append(Left(line, shown, why, target))
        message = f"{self.file}:{line}: {target} is not translated: {why}"
        quiet = re.sub(r"""['"$`\\]""", "", message)
        failing = f"sh({quoted(f'echo {chr(39)}{quiet}{chr(39)} >&2; exit 1')})"
        self.entries.append(Entry(target, line, "phony", [failing], comment, shown=shown, why=why))

    def pipefile(self) -> Pipefile:
        """The text, and what has to be said of it."""
        entries = list(_ordered(self.entries))
        if self.default and entries and self.default == entries[0].target:
            self.default = ""
        used = names_in([each.source for each in entries])
        variables = list(self._variables(used))
        used |= names_in([each.source for each in variables])
        body = list(_assignments(variables))
        for each in entries:
            body += self._lines(each, used)
        body += ["", f"default({quoted(self.default)})"] if self.default else []
        text = "\n".join(body).strip("\n")
        overridable = {each.exported: each.value for each in variables if each.exported and not each.late}
        targets = tuple(dict.fromkeys(each.target for each in self.entries))
        head = "\n".join(["", *self.head, ""]) if self.head else ""
        whole = f"{self._imports(text)}{head}\n{text}\n"
        return Pipefile(whole, tuple(self.left), tuple(self.notes), targets, overridable)

    def _variables(self, used: frozenset[str]) -> Iterator[Variable]:
        """Those that something uses, and what these use, in order."""
        wanted, by_name = set[str](), {identifier(each.name): each for each in self.variables.values()}
        todo = [name for name in by_name if name in used or any(name in names_in([line]) for line in self.head)]
        while todo:
            name = todo.pop()
            if name not in wanted:
                wanted.add(name)
                todo += [need for need in names_in([by_name[name].source]) if need in by_name]
        placed = set[str]()
        waiting = [name for name in by_name if name in wanted]
        while waiting:
            ready = next(n for n in waiting if not (names_in([by_name[n].source]) & set(waiting) - {n}))
            waiting.remove(ready)
            placed.add(ready)
            yield by_name[ready]

    def _lines(self, each: Entry, used: frozenset[str]) -> list[str]:
        found = [""] + [f"# {line}".rstrip() for line in each.comment.split("\n") if each.comment]
        if each.why:
            shown = " ".join(each.shown.split()) or each.target
            found.append(f"# {MARK} {self.file}:{each.line}: {shown}"[:118])
            found.append(f"#   {each.why}"[: layout.WIDTH])
        name = f"{each.handle} = " if each.handle in used else ""
        return [*found, *layout.call(f"{name}{each.source}")]

    def _imports(self, text: str) -> str:
        named = names_in([code(text)])
        own = [f"import {name}" for name in sorted(self.imports)]
        lines = layout.imports((named & _WORDS) | (named & frozenset(LATE)))
        return "\n".join([*own, *([""] if own else []), *lines, ""])


def variable(name: str) -> str:
    """The name for `var`: metadata's names are imgmake's own, and a variable's name is one of a shell's."""
    name = re.sub(r"\W", "_", name)
    return f"{name}_" if name in LATE or name in ("in", "out") or not NAME.fullmatch(name) else name


def dictionary(pairs: Mapping[str, str]) -> str:
    """A dictionary's source; the values are sources already."""
    return "{" + ", ".join(f"{quoted(key)}: {value}" for key, value in pairs.items()) + "}"


def listed(sources: Sequence[str]) -> str:
    """One source as it is, several as a list."""
    return sources[0] if len(sources) == 1 else f"[{', '.join(sources)}]"


def comments_above(lines: Sequence[str], at: int, mark: str = "#") -> str:
    """The comment that ends right above line `at` (from 1), without its marks."""
    found: list[str] = []
    for text in reversed(lines[: at - 1]):
        if not text.strip().startswith(mark):
            break
        found.insert(0, text.strip().lstrip(mark).strip())
    return "\n".join(found).strip("\n")


def _assignments(variables: Iterable[Variable]) -> Iterator[str]:
    for each in variables:
        yield from (f"# {line}".rstrip() for line in each.comment.split("\n") if each.comment)
        yield from layout.call(f"{identifier(each.name)} = {each.source}")


def _ordered(entries: Sequence[Entry]) -> Iterator[Entry]:
    """In order, but for images that another one names: those come first."""
    by_target = {each.target: each for each in entries}
    placed: set[str] = set()

    def place(each: Entry) -> Iterator[Entry]:
        if each.target in placed:
            return
        placed.add(each.target)
        for name in each.order:
            if name in by_target:
                yield from place(by_target[name])
        yield each

    for each in entries:
        yield from place(each)
