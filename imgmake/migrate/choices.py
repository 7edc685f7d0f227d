"""make's choices between texts, ``$(if …)``, ``$(or …)`` and ``$(and …)``, as Python expressions. Pure.

https://www.gnu.org/software/make/manual/html_node/Conditional-Functions.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from imgmake.migrate.functions import condition, one_name, stripped
from imgmake.migrate.python import Part, Parts, atom, expression, merged, negated


def choice(test: Parts, then: Parts, otherwise: Parts, value: str) -> list[Part]:
    """``$(if …)``: one of two texts."""
    wanted = condition(test)
    if wanted in ("True", "False"):
        return list(then if wanted == "True" else otherwise)
    positive = expression(merged(then))
    if wanted.startswith("not ") and one_name(otherwise) and expression(stripped(otherwise)) == wanted[4:]:
        return either([stripped(otherwise), then], value)
    if one_name(test) and positive == expression(stripped(test)):
        return either([stripped(test), otherwise], value) if merged(otherwise) else [stripped(test)[0]]
    source = f"{_arm(positive)} if {wanted} else {expression(merged(otherwise))}"
    if wanted.startswith("not ") and " or " not in wanted and " and " not in wanted:
        source = f"{_arm(expression(merged(otherwise)))} if {wanted[4:]} else {positive}"
    yes, no = condition(then), condition(otherwise)
    told = wanted if (yes, no) == ("True", "False") else negated(wanted) if (yes, no) == ("False", "True") else ""
    return [Part(name=source, value=value, test=told)]


def _arm(source: str) -> str:
    return f"({source})" if re.search(r" if .* else ", source) and not source.startswith(('"', "'", "f")) else source


def either(given: Sequence[Parts], value: str) -> list[Part]:
    """``$(or …)``: the first that is not empty."""
    left: list[Parts] = []
    for each in given:
        wanted = condition(each)
        if wanted != "False":
            left.append(stripped(each))
        if wanted == "True":
            break
    if len(left) == 1:
        return list(left[0])
    tests = [condition(each) for each in left]
    told = "True" if "True" in tests else " or ".join(tests)
    return [Part(name=" or ".join(_operand(expression(each)) for each in left), value=value, test=told)] if left else []


def both(given: Sequence[Parts], value: str) -> list[Part]:
    """``$(and …)``: the last, where none is empty."""
    tests = [condition(each) for each in given]
    if "False" in tests:
        return []
    wanted = [atom(test) if " or " in test else test for test in tests[:-1] if test != "True"]
    last = stripped(given[-1])
    if not wanted:
        return list(last)
    if len(given) == 2 and (same := _EQUAL.fullmatch(" and ".join(tests))):
        return [Part(name=expression(last), value=value, test=f"{same[1]} == {same[2]}")]
    told = " and ".join([*wanted, *([tests[-1]] if tests[-1] != "True" else [])])
    return [Part(name=f'{expression(last)} if {" and ".join(wanted)} else ""', value=value, test=told)]


_EQUAL = re.compile(r"(\S+) in (\S+) and \2 in \1")


def _operand(source: str) -> str:
    return atom(source) if re.search(r" (if|or|and) ", source) else source
