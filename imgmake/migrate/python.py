"""Text of a Makefile as Python source: string literals, f-strings, shell texts. Decides nothing about meaning."""

from __future__ import annotations

import ast
import json
import keyword
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from imgmake.migrate.expand import Uncovered
from imgmake.migrate.naming import new_name

_PLAIN = re.compile(r"[\w@%+=:,./ -]*")
TAKEN = frozenset(
    [
        "BUILD_DATE",
        "BUILD_ID",
        "BUILD_TIME_EPOCH",
        "BUILD_TIME_RFC_3339",
        "BUILD_TIME_UTC",
        "FINGERPRINT",
        "PLATFORM",
        "SOURCE_DATE_EPOCH",
        "ARCH",
        "VCS_BRANCH",
        "VCS_DESCRIBE",
        "VCS_REF",
        "VCS_TAG",
        "VCS_URL",
        "check",
        "default",
        "extract",
        "file",
        "glob",
        "image",
        "include",
        "lint",
        "phony",
        "publish",
        "run",
        "sbom",
        "scan",
        "semver",
        "sh",
        "structure_test",
        "tag",
        "var",
        "str",
        "map",
        "dict",
        "list",
        "sorted",
        "any",
        "len",
        "set",
        "shell",
        "fail",
        "os",
        "each",
        "print",
        "sys",
        "re",
        "Path",
    ]
)


class TooLate(Uncovered):
    """What a Pipefile could say if a value were known when it is loaded; `names` are the Python names in question."""

    def __init__(self, message: str, names: Iterable[str]) -> None:
        super().__init__(message)
        self.names = frozenset(names)


@dataclass(frozen=True)
class Part:
    """A stretch of text: literal, or the value of something with a name in the Pipefile.

    name:  the Python name, or any other expression that is a string; empty for literal text.
    shell: the name under which imgmake exports it to a shell; empty when it does not.
    late:  whether the value is known only when something runs.
    value: make's value today, by which it is judged whether a shell would read it as it reads text.
    dollar: literal text that is the shell's to expand.
    words: an expression that is the list of the value's words, where that is shorter than taking `name` apart.
    test:  an expression that tells whether the value is not empty, where that is shorter than `name`.
    leaves: of a text that holds late values: make's value of each today.
    """

    text: str = ""
    name: str = ""
    shell: str = ""
    late: bool = False
    value: str = ""
    dollar: bool = False
    words: str = ""
    test: str = ""
    leaves: tuple[str, ...] = ()


Parts = Sequence[Part]


@cache
def identifier(name: str) -> str:
    """A Python name for a variable of make's; one of our own words, or Python's, gets an underscore behind it."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not re.match(r"[A-Za-z_]", found):
        found = f"_{found}"
    return f"{found}_" if found in TAKEN or keyword.iskeyword(found) else found


def quoted(text: str) -> str:
    """A string literal as ruff would write it, one line.

    >>> print(quoted("it's"), quoted('say "x"'))
    "it's" 'say "x"'
    """
    escaped = json.dumps(text, ensure_ascii=False)
    if '"' in text and "'" not in text:
        return "'" + escaped[1:-1].replace('\\"', '"') + "'"
    return escaped


def text_literal(body: str) -> str:
    """A shell text as a string literal; of several lines, between three quotes, which `sh` takes the margin off."""
    if "\n" not in body:
        return quoted(body)
    if '"""' in body or body.endswith("\\"):
        return quoted(body)
    lines = "\n".join(f"    {line}" if line.strip() else line for line in body.split("\n"))
    raw = "r" if "\\" in body else ""
    return f'{raw}"""\n{lines}\n"""'


def expression(parts: Parts) -> str:
    """A Python expression for a text: a literal, a name, or an f-string. Raises Uncovered for the shell's own."""
    if any(part.dollar for part in parts):
        raise Uncovered("it holds text for a shell where no shell is")
    parts = merged(parts)
    if not parts:
        return '""'
    if len(parts) == 1 and parts[0].name:
        return parts[0].name
    if not any(part.name for part in parts):
        return quoted("".join(part.text for part in parts))
    if any(part.name and inside(part.name) is None for part in parts):
        return " + ".join(atom(part.name) if part.name else quoted(part.text) for part in parts)
    literal = "".join(part.text for part in parts if not part.name)
    if any("'" in (inside(part.name) or "") for part in parts if part.name) and "'" not in literal and '"' in literal:
        return " + ".join(atom(part.name) if part.name else quoted(part.text) for part in parts)
    return "f" + quoted("".join(_spliced(part) for part in parts))


def _spliced(part: Part) -> str:
    return f"{{{inside(part.name)}}}" if part.name else part.text.replace("{", "{{").replace("}", "}}")


@lru_cache(maxsize=4096)
def inside(source: str) -> str | None:
    """An expression as it may stand in an f-string between double quotes; None where Python 3.11 has no way."""
    pieces = re.split(r"""([rf]*"(?:[^"\\]|\\.)*"|[rf]*'(?:[^'\\]|\\.)*')""", source)
    for at in range(1, len(pieces), 2):
        literal = pieces[at].lstrip("rf")
        prefix = pieces[at].removesuffix(literal)
        if re.search(r"['\"\\]", literal[1:-1]):
            return None
        pieces[at] = f"{prefix}'{literal[1:-1]}'"
    found = "".join(pieces)
    found = f"({found})" if found.startswith("{") else found
    return None if "\\" in found or "#" in found or '"' in found else found


@lru_cache(maxsize=4096)
def atom(source: str) -> str:
    """An expression in brackets, where what follows it, or stands before it, could tear it apart."""
    try:
        node = ast.parse(source, mode="eval").body
    except SyntaxError:
        return f"({source})"
    plain = ast.Name | ast.Constant | ast.Call | ast.Attribute | ast.Subscript | ast.List | ast.ListComp | ast.JoinedStr
    return source if isinstance(node, plain) else f"({source})"


@lru_cache(maxsize=4096)
def negated(test: str) -> str:
    """The opposite of a condition.

    >>> negated('A == "x"'), negated("not A"), negated("A or B")
    ('A != "x"', 'A', 'not (A or B)')
    """
    node = ast.parse(test, mode="eval").body
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        rest = test.removeprefix("not").strip()
        return rest[1:-1] if rest.startswith("(") and isinstance(node.operand, ast.BoolOp) else rest
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = ast.get_source_segment(test, node.left), ast.get_source_segment(test, node.comparators[0])
        opposite = {ast.Eq: "!=", ast.NotEq: "==", ast.In: "not in", ast.NotIn: "in"}.get(type(node.ops[0]))
        if opposite and f"{left} " in test:
            return f"{left} {opposite} {right}"
    return f"not {atom(test)}"


def names_in(sources: Iterable[str]) -> frozenset[str]:
    """The Python names that sources mention, those in f-strings too."""
    return frozenset().union(*map(_names, sources))


@lru_cache(maxsize=4096)
def _names(source: str) -> frozenset[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        try:
            tree = ast.parse(f"_({source})")
        except SyntaxError:
            return _names_seen(source)
    loops = [node.target for node in ast.walk(tree) if isinstance(node, ast.comprehension)]
    bound = {node.id for node in loops if isinstance(node, ast.Name)}
    return frozenset({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - bound)


def _names_seen(source: str) -> frozenset[str]:
    """The same by looks, for what is no whole expression."""
    found: set[str] = set()
    for literal in re.findall(r'f(?:"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\')', source):
        found |= set(re.findall(r"(?<!\{)\{([A-Za-z_]\w*)\}", literal))
    bare = re.sub(r'f?(?:"""(?:.|\n)*?"""|"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\')', "", source)
    return frozenset(found | set(re.findall(r"[A-Za-z_]\w*", bare)))


def merged(parts: Parts) -> list[Part]:
    """Neighbouring literals joined, empty ones left out."""
    found: list[Part] = []
    for part in parts:
        if (
            found
            and not (part.name or found[-1].name or part.leaves or found[-1].leaves)
            and part.dollar == found[-1].dollar
        ):
            found[-1] = Part(found[-1].text + part.text, dollar=part.dollar)
        elif part.name or part.text:
            found.append(part)
    return found


def today(parts: Parts) -> str:
    """The text with make's values of today."""
    return "".join(part.value if part.name else part.text for part in parts)


def shell_text(parts: Parts) -> tuple[str, dict[str, str], bool]:
    """The text for `sh`, what is passed to it by name, and whether it is an f-string.

    A value goes in as ``$NAME`` where a shell reads that as make's splicing; else it is spliced, as make does.
    Raises Uncovered when a value that is known late would have to be.
    """
    parts = merged(parts)
    braces = any("{" in part.text or "}" in part.text for part in parts if not part.name)
    text, given, spliced, quote = "", dict[str, str](), False, ""
    for at, part in enumerate(parts):
        if _left_behind(part, text):
            text, spliced = text + "\0CURDIR\0", True  # where make was, and the shell no longer is
            continue
        if not part.name:
            kept = quote == "'" and bool(part.leaves)  # what make put in, between quotes that keep a shell from it
            text += f"'\"{part.text}\"'" if kept else part.text
            quote = quote if kept else open_quote(part.text, quote)
            continue
        follows = _follows(parts[at + 1]) if at + 1 < len(parts) else ""
        by_name = _by_name(part, quote, braces=braces)
        if by_name and not _IN_NAME.search(today(parts[:at])) and _same_to_a_shell(part, text, quote, follows):
            given |= {} if part.shell else {by_name: part.name}
            text += _use(by_name, follows, quote)
            continue
        if not part.late and inside(part.name) is None and _same_to_a_shell(part, text, quote, follows):
            by_name = new_name(part.name, {*given, *_GIVEN.findall(text)})
            given[by_name] = part.name
            text += _use(by_name, follows, quote)
            continue
        spliced = True
        text += f"\0{_splice(part, quote)}\0"
        quote = open_quote(part.value, quote)
    text = re.sub(r"''(\"\$(?:\w+|\{\w+\})\")''", r"\1", text)
    if not spliced:
        return text, given, False
    return _as_f_string(text), given, True


def _follows(part: Part) -> str:
    """The first character behind a name; a letter, where it may be any."""
    if not part.name or part.value.startswith("="):
        return (part.value or part.text)[:1]
    return "" if part.shell and _PLAIN.fullmatch(part.value) else "x"


def _left_behind(part: Part, before: str) -> bool:
    """Whether a part names the folder that make was in after a shell has left it. Raises TooLate for a variable."""
    if not (part.leaves and part.dollar and _MOVED.search(before)):
        return False
    if part.name:
        raise TooLate(f"{part.name} names this folder after a cd", names_in([part.name]))
    return part.text == "$PWD"


def _by_name(part: Part, quote: str, *, braces: bool) -> str:
    """The name under which a shell has a value; empty when it has none. Raises TooLate."""
    if part.late and quote and part.shell and re.search(r"\s", part.value):
        why = f"{part.name} may be several lines, which make joins and a shell in quotes does not"
        raise TooLate(why, [part.name])
    return part.shell or (part.name if braces and part.name.isidentifier() and not part.late else "")


def _splice(part: Part, quote: str) -> str:
    """A value as it stands in an f-string. Raises TooLate, Uncovered."""
    if part.late and not _may_be_spliced(part, quote):
        why = f"the value of {part.name} is known late, and a shell would not read ${part.name} as text"
        raise TooLate(why, names_in([part.name]))
    source = inside(part.name)
    if source is None:
        raise Uncovered(f"{part.name} cannot stand in an f-string")
    return source


_IN_NAME = re.compile(r"(?<!\\)\$\w*$")  # what comes next is more of the name of a variable of the shell's


_GIVEN = re.compile(r"\$\{?(\w+)")
_MOVED = re.compile(r"(?:^|[;&|(\s])(?:cd|pushd)\s")


def _as_f_string(text: str) -> str:
    halves = text.split("\0")
    return "".join(
        f"{{{half}}}" if at % 2 else half.replace("{", "{{").replace("}", "}}") for at, half in enumerate(halves)
    )


def _same_to_a_shell(part: Part, before: str, quote: str, follows: str) -> bool:
    if before.endswith("\\") or not _PLAIN.fullmatch(part.value):
        return False
    word = "'" if quote else re.split(r"[ \t\n;&|(]", before)[-1]
    if re.match(r"\w+=", word) and re.search(r"\s", part.value):
        return False  # a shell splits no value that it assigns
    named = re.fullmatch(r"\w*", word)
    return not ((follows == "=" or "=" in part.value) and named and _command_position(before))


def _may_be_spliced(part: Part, quote: str) -> bool:
    """Whether a text that holds ``${NAME}`` for what is known late can go into a shell's, where that is expanded."""
    return bool(part.leaves) and not part.shell and quote != "'" and all(map(_PLAIN.fullmatch, part.leaves))


def _command_position(before: str) -> bool:
    words = re.sub(r"\S+$", "", re.split(r"[;&|(\n]", before)[-1]).split()
    return all("=" in word for word in words)


def _use(name: str, follows: str, quote: str) -> str:
    used = f"${{{name}}}" if follows and re.match(r"\w", follows) and quote != "'" else f"${name}"
    return f"'\"{used}\"'" if quote == "'" else used


def untabbed(parts: Parts) -> list[Part]:
    """The parts of a shell's text with blanks for the tabs that a continued line begins with, outside of quotes."""
    found, quote = list[Part](), ""
    for part in parts:
        if part.name or "\\\n\t" not in part.text:
            quote = open_quote(part.value if part.name else part.text, quote)
            found.append(part)
            continue
        text, start = "", 0
        for match in re.finditer(r"\\\n(\t+)", part.text):
            stretch = part.text[start : match.start()]
            quote = open_quote(stretch, quote)
            text += stretch + (match[0] if quote else "\\\n" + "    " * len(match[1]))
            start = match.end()
        quote = open_quote(part.text[start:], quote)
        found.append(replace(part, text=text + part.text[start:]))
    return found


def open_quote(text: str, quote: str) -> str:
    """Which quotes are open after a stretch of shell text."""
    escaped = False
    for char in text:
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
    return quote
