"""What a Pipefile's rules may rest on, told from its text: all else could differ the next time it is executed."""

from __future__ import annotations

from pathlib import Path

import pytest

import imgmake
from imgmake.purity import obstacle

ROOT = Path(__file__).parents[2]
PIPEFILES = [ROOT / "Pipefile.py", *ROOT.glob("docs/**/Pipefile.py"), *ROOT.glob("tests/pipefiles/*.py")]

PLAIN = """
from __future__ import annotations

import json as j
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from imgmake import *
from helpers import stages
import imgmake

VERSION = Path(__file__).with_name("version").read_text().strip()


@dataclass(frozen=True)
class Service:
    items: tuple[str, ...]
    name: str
    port: int = 8080

    def _shown(self) -> str:
        return f"{self.name}:{self.port}" + ",".join(self.items)


def services() -> Iterator[Service]:
    for name, found in sorted(j.loads(open("services.json").read()).items()):
        if name not in {"none", "test"} and re.fullmatch(r"\\w+", name):
            yield Service(name, **found)


if len({s.name for s in services()}) == 0:
    raise ValueError("no service")
for each in services():
    image(each.name, tags=f"acme/{each.name}:{VERSION}", labels={"n": str(len(set(stages)))})
for name in {"a": 1}.keys():
    phony(name, *sorted({"b": 1}.items(), reverse=True), *{"c": 1}.keys(), "d" in {"d": 1}.keys())
imgmake.phony("all", *sorted(set(s.name for s in services())))
"""

OPAQUE = {
    "import time": "time",
    "import random": "random",
    "from subprocess import run": "subprocess: run",
    "import os.path": "os.path",
    "import other": "other",
    "from . import other": "a relative import",
    "from re import *": "re: *",
    "import re\nre.enum.Flag": "re.enum",
    "import json\nvars(json)": "vars",
    "import json\nstored = [json]": "json as a value",
    "import sys\nsys.modules": "sys.modules",
    "from imgmake import engine": "imgmake: engine",
    "import imgmake.engine": "imgmake.engine",
    "import imgmake\nimgmake.engine": "imgmake.engine",
    "eval('1')": "eval",
    "__import__('os')": "__import__",
    "__builtins__": "__builtins__",
    "x = getattr": "getattr",
    "hash('a')": "hash",
    "id(1)": "id",
    "input()": "input",
    "print('told')": "print",
    "().__class__": "__class__",
    "f.__globals__": "__globals__",
    "(x for x in y).gi_frame": "gi_frame",
    "p.stat()[8]": "stat",
    "p.lstat()": "lstat",
    "match x:\n case Exception(__traceback__=y): pass": "__traceback__",
    "import string\nstring.Formatter": "string.Formatter",
    "import shlex\nshlex.shlex()": "shlex.shlex",
    "from helpers import p\nq = p\nq.os": "os",
    "p.owner()": "owner",
    "for x in {'a', 'b'}: pass": "the order of a set",
    "list({x for x in y})": "the order of a set",
    "','.join(set(y))": "the order of a set",
    "x = frozenset": "the order of a set",
    "if {'a'} in y: pass": "the order of a set",
    "sorted({'a', 'b'}, key=len)": "the order of a set",
    "for x in a.keys() & b: pass": "the order of a set",
    "x = a.items()": "the order of a set",
    "f(a.keys())": "the order of a set",
    "f(dict.keys)": "the order of a set",
    "class D(dict):\n def both(self): return self.keys() & self.keys()": "the order of a set",
    "def f(": "it cannot be parsed",
    "from helpers import *": "helpers: *",
    "from helpers import time": "helpers: time",
    "import helpers\nhelpers.pathlib.os.sep": "os by way of helpers",
    "from helpers import stages\nstages.re": "re by way of stages",
    "import random as helpers": "random",
}


def test_a_module_called_like_one_of_pythons_is_not_taken_for_ours() -> None:
    assert obstacle("import time", {"time"}, ()) == "line 1: time"


def test_what_people_write_is_taken() -> None:
    assert obstacle(PLAIN, {"helpers"}, imgmake.__all__) == ""


@pytest.mark.parametrize("path", PIPEFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_pipefile_of_ours_is_taken(path: Path) -> None:
    assert obstacle(path.read_text(), (), imgmake.__all__) == ""


@pytest.mark.parametrize(("text", "why"), OPAQUE.items(), ids=OPAQUE.keys())
def test_what_may_differ_the_next_time_is_not(text: str, why: str) -> None:
    found = obstacle(text, {"helpers"}, imgmake.__all__)
    assert found.partition(": ")[2] == why


@pytest.mark.filterwarnings("error")
def test_what_python_warns_of_is_told_by_python_alone() -> None:
    assert obstacle("'\\d'", (), ()) == ""
