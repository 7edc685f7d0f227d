"""YAML as the tools of Go read it: data, and the line of each key. Needs PyYAML, which `imgmake[migrate]` has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from imgmake.errors import UsageError

Lines = Mapping[tuple[str, ...], int]


def load(file: str, text: str) -> tuple[Any, Lines]:
    """The data of a YAML file, and the line of each key and each item by its path. Raises UsageError.

    Scalars are text, but for nothing at all (None): what is a number or a truth is for the tool to say.

    >>> load("a.yml", "a: {b: yes}\\nc:\\n")
    ({'a': {'b': 'yes'}, 'c': None}, {('a',): 1, ('a', 'b'): 1, ('c',): 2})
    """
    try:
        import yaml
    except ImportError:
        raise UsageError(f"{file} is YAML, which needs PyYAML", hint="pip install 'imgmake[migrate]'") from None

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        yaml_implicit_resolvers = {  # noqa: RUF012 (as the library has it)
            first: [(tag, pattern) for tag, pattern in ways if tag.endswith((":null", ":merge"))]
            for first, ways in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        data = yaml.load(text, Loader)  # noqa: S506 (a safe loader's child)
        node = yaml.compose(text, Loader)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{file} is no YAML: {said}") from None
    lines: dict[tuple[str, ...], int] = {}
    if node is not None:
        _mark(node, (), lines)
    return data, lines


def _mark(node: Any, path: tuple[str, ...], into: dict[tuple[str, ...], int]) -> None:
    if node.id == "sequence":
        for at, each in enumerate(node.value):
            into[(*path, str(at))] = each.start_mark.line + 1
            _mark(each, (*path, str(at)), into)
    if node.id != "mapping":
        return
    for key, value in node.value:
        if key.id == "scalar" and key.value != "<<":
            into[(*path, key.value)] = key.start_mark.line + 1
            _mark(value, (*path, key.value), into)


def spans(file: str, text: str, keys: Collection[str], deep: str) -> list[tuple[int, int, str]]:
    """Where values of some keys of a Taskfile stand: from, to, the key. Raises UsageError.

    keys: those of its tasks.
    deep: one that may stand at the top, and in commands, too.
    """
    load(file, text)
    import yaml

    root = yaml.compose(text, yaml.SafeLoader)
    top = dict(_pairs(root))
    entries = [entry for _, entry in _pairs(top.get("tasks"))]
    commands = [each for entry in entries for key, value in _pairs(entry) if key == "cmds" for each in _all(value)]
    wanted = [(entry, {*keys, deep}) for entry in entries] + [(each, {deep}) for each in (root, *commands)]
    return [
        (value.start_mark.index, value.end_mark.index, key)
        for node, which in wanted
        for key, value in _pairs(node)
        if key in which
    ]


def _all(node: Any) -> Iterator[Any]:
    yield from node.value if node.id == "sequence" else ()


def _pairs(node: Any) -> Iterator[tuple[str, Any]]:
    if node is not None and node.id == "mapping":
        yield from ((key.value, value) for key, value in node.value if key.id == "scalar")
