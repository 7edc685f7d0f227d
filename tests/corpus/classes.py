"""How much of make's language a Makefile uses, in four classes. Knows the text alone."""

from __future__ import annotations

import re

_SPLICED = re.compile(r"\\\n")
_COMMENT = re.compile(r"(?<![\\$'\"\w])#.*$", re.MULTILINE)
_RECIPE = re.compile(r"^\t.*(?:\n|$)", re.MULTILINE)
_TEXT_FUNCTIONS = (
    "subst|patsubst|strip|findstring|filter|filter-out|sort|word|wordlist|words|firstword|lastword|dir|notdir|suffix"
    "|basename|addsuffix|addprefix|join|wildcard|realpath|abspath|if|or|and"
)

# What stands in the whole text, and what stands outside of recipes; the first class that matches, from the hardest.
_ANYWHERE = {
    4: re.compile(r"\$[({](?:eval|origin|value|file|let)\s|\bMAKECMDGOALS\b"),
    3: re.compile(r"\$[({](?:foreach|call)\s|\$[({]MAKE[)}]|\$[({][^\s(){}]*\$[({*@]"),
    2: re.compile(
        rf"^\s*(?:ifn?eq|ifn?def)\b|\$[({{](?:{_TEXT_FUNCTIONS})\s|\$[@<^*?+|]|\$[({{][@<^*?+][DF][)}}]", re.M
    ),
}
_OUTSIDE = {
    4: re.compile(r"^\.(?:SECONDEXPANSION|ONESHELL)\s*:|^[^\s#:=][^:=#]*::(?![:=])", re.M),
    3: re.compile(
        r"^(?:(?:export|override) +)*define\s|^(?:-include|sinclude|include)\s|^[^\s#:=][^:=#]*:[^:=#]*%[^:=#]*:(?!=)"
        r"|^[^\s#:=][^:=#]*:[^:=#]*\|",
        re.M,
    ),
    2: re.compile(r"^[^\s#:=]*%[^:=#]*:|^[^\s#:=]+ *:(?!:?:?=)[^:=#;]*(?:[:?+]?=)|\$[({][^\s(){}]+:[^=\s]*=", re.M),
}


def difficulty(text: str) -> int:
    """The class of a Makefile, from 1 (variables and rules alone) to 4 (`eval`, second expansion, …).

    >>> difficulty("all:\\n\\techo $(X)\\n"), difficulty("%.o: %.c\\n"), difficulty("-include x.mk\\n")
    (1, 2, 3)
    """
    whole = _COMMENT.sub("", _SPLICED.sub(" ", text))
    outside = _RECIPE.sub("", whole)
    for level in (4, 3, 2):
        if _ANYWHERE[level].search(whole) or _OUTSIDE[level].search(outside):
            return level
    return 1
