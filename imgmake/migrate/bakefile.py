"""The text of a bake file: what it names and where, and HCL as data. Knows nothing of what bake makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from imgmake.errors import UsageError
from imgmake.migrate.foreign import comments_above

_BLOCK = re.compile(r'^(target|group|variable)\s+"([^"]+)"\s*\{', re.MULTILINE)


class Outline:
    """What a bake file names, in its order, and where."""

    def __init__(self, text: str, written: Mapping[str, Any] | None) -> None:
        self.lines = text.split("\n")
        self.targets: dict[str, int] = {}
        self.groups: dict[str, int] = {}
        self.variables: dict[str, int] = {}
        self.defaults: dict[str, str | None] = {}  # None: no literal text
        self.written: dict[str, str] = {}  # each default as it stands there
        self.inherited: set[str] = set()
        into = {"target": self.targets, "group": self.groups, "variable": self.variables}
        if written is not None:
            self._of_json(written, into)
            return
        for match in _BLOCK.finditer(text):
            into[match[1]][match[2]] = text.count("\n", 0, match.start()) + 1
            if match[1] == "variable":
                self.written[match[2]] = _default(text[match.end() :])
                self.defaults[match[2]] = _plain(self.written[match[2]])
        for names in re.findall(r"^\s*inherits\s*=\s*\[([^\]]*)\]", text, re.MULTILINE):
            self.inherited |= set(re.findall(r'"([^"]+)"', names))

    def _of_json(self, written: Mapping[str, Any], into: Mapping[str, dict[str, int]]) -> None:
        for kind, names in into.items():
            for name in written.get(kind, {}):
                at = next((n for n, line in enumerate(self.lines, 1) if f'"{name}"' in line), 1)
                names[name] = at
        for name, said in written.get("variable", {}).items():
            value = said.get("default", "") if isinstance(said, Mapping) else None
            self.defaults[name] = value if isinstance(value, str) and "${" not in value else None
            self.written[name] = json.dumps(value)
        for said in written.get("target", {}).values():
            self.inherited |= set(said.get("inherits", ()))

    def comment(self, line: int) -> str:
        above = comments_above(self.lines, line)
        return above or comments_above(self.lines, line, "//")


def _default(block: str) -> str:
    """The source of a variable's default, from the text behind its bracket; empty when it has none."""
    end = block.find("}")
    while block[:end].count("{") > block[:end].count("}") and end >= 0:
        end = block.find("}", end + 1)
    match = re.search(r"^\s*default\s*=\s*(.*?)\s*(?:(?:#|//).*)?$", block[:end], re.MULTILINE)
    return match[1] if match else ""


def _plain(source: str) -> str | None:
    """A default that is plain text, or nothing; None for anything that bake works out."""
    text = re.fullmatch(r'"([^"\\$%]*)"', source)
    return text[1] if text else "" if source in ("", "null") else None


def hcl(file: str, text: str) -> dict[str, Any]:
    """HCL as bake's JSON form; expressions are ``${…}``. Raises UsageError when the library is missing or fails."""
    try:
        import hcl2
    except ImportError:
        raise UsageError(
            f"{file} is HCL, and docker buildx is not here to read it",
            hint="install docker buildx, or `pip install 'imgmake[migrate]'` for what needs no working out",
        ) from None
    try:
        found = hcl2.loads(text if text.endswith("\n") else f"{text}\n")
    except Exception as error:  # noqa: BLE001 (the library's parser lets its own through, of many kinds)
        raise UsageError(f"{file} is no HCL: {str(error).splitlines()[0]}") from None
    kinds = ("target", "group", "variable")
    return {
        kind: {_bare(name): _values(said) for block in found.get(kind, ()) for name, said in block.items()}
        for kind in kinds
    }


def _bare(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _values(said: Any) -> Any:
    if isinstance(said, Mapping):
        return {_bare(str(name)): _values(value) for name, value in said.items() if name != "__is_block__"}
    if isinstance(said, list):
        return [_values(each) for each in said]
    if isinstance(said, str) and said.startswith('"'):
        return _bare(said).replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
    if isinstance(said, str) and not said.startswith("${"):
        return f"${{{said}}}"  # a bare name, or a heredoc: worked out
    return said
