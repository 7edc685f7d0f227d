"""``${NAME}`` in the texts of other tools as parts: what may be overridden, and its default. Pure.

https://docs.docker.com/reference/compose-file/interpolation/
"""

from __future__ import annotations

import re

from imgmake.migrate.expand import Uncovered
from imgmake.migrate.foreign import Draft
from imgmake.migrate.python import Part, merged

_USE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<bare>[A-Za-z_]\w*)|\{(?P<inner>[^{}]*)\})")
_INNER = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?[-?+])(?P<rest>.*))?", re.DOTALL)


def compose(text: str, draft: Draft) -> list[Part]:
    """A text of a compose file; its variables are declared. Raises Uncovered for what a Pipefile cannot say.

    ``${A:-b}`` and ``${A-b}`` have a default, ``${A:?why}`` is required, ``$$`` is a dollar.
    """
    found, at = list[Part](), 0
    for match in _USE.finditer(text):
        found.append(Part(text[at : match.start()]))
        at = match.end()
        if match["escaped"]:
            found.append(Part("$"))
        else:
            found.append(_variable(match["bare"] or match["inner"], draft))
    rest = text[at:]
    if "${" in rest or any("${" in part.text for part in found):
        raise Uncovered(f"{text}: one variable within another")
    return merged([*found, Part(rest)])


def _variable(inner: str, draft: Draft) -> Part:
    match = _INNER.fullmatch(inner)
    if match is None or (match["how"] or "").endswith("+"):
        raise Uncovered(f"${{{inner}}} is no variable with a default")
    default = match["rest"] if (match["how"] or "").endswith("-") else None if match["how"] else ""
    if default and "$" in default:
        raise Uncovered(f"${{{inner}}}: its default is another variable's")
    known = draft.variables.get(match["name"])
    if known is not None and known.default != default:
        raise Uncovered(f"{match['name']} has two defaults here, {known.default!r} and {default!r}")
    return draft.declare(match["name"], default).part


def bake(text: str, draft: Draft) -> list[Part]:
    """A text of a bake file: ``${NAME}`` of a variable that is declared. Raises Uncovered for any other expression."""
    found, at = list[Part](), 0
    for match in re.finditer(r"\$\$\{|%%\{|\$\{([^}]*)\}|%\{", text):
        found.append(Part(text[at : match.start()]))
        at = match.end()
        name = (match[1] or "").strip()
        if match[0] in ("$${", "%%{"):
            found.append(Part(match[0][1:]))
        elif name in draft.variables:
            found.append(draft.variables[name].part)
        else:
            raise Uncovered(f"{match[0]} is worked out by bake: install docker buildx, and migrate again")
    return merged([*found, Part(text[at:])])
