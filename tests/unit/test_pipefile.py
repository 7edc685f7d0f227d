"""Loading: found as make finds its Makefile, executed in its folder, and nothing left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import imgmake
from imgmake import pipefile
from imgmake.errors import UsageError
from tests.loading import Repository

TOP = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "shop")


# --- the front door -------------------------------------------------------------------------------------------


def test_the_front_door_offers_the_words_of_a_pipefile_and_no_more() -> None:
    kinds = {"file", "phony", "check", "image", "publish"}
    commands = {"sh", "run", "lint", "structure_test", "scan", "sbom", "extract", "tag"}
    helpers = {"semver", "var", "default", "include", "glob", "ARCH", "PLATFORM"}
    assert set(imgmake.__all__) == kinds | commands | helpers | set(imgmake.variables.LATE)
    assert sorted(imgmake.__all__) == imgmake.__all__
    for name in imgmake.__all__:
        assert isinstance(getattr(imgmake, name), str) or getattr(imgmake, name).__doc__, f"{name} is undocumented"


def test_no_module_has_the_name_of_a_word() -> None:
    """Importing `imgmake.semver` would put that module where a Pipefile's `semver` stands."""
    modules = {path.stem for path in (TOP / "imgmake").iterdir()}
    assert modules.isdisjoint(imgmake.__all__)


def test_the_version_is_that_of_the_package() -> None:
    assert imgmake.__version__ == tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["version"]


# --- finding --------------------------------------------------------------------------------------------------


def test_the_pipefile_is_the_folders_own(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.write({"Pipefile.py": "", "other.py": "", "sub/x": ""})
    assert pipefile.find(repository.root) == repository.root / "Pipefile.py"
    assert pipefile.find(repository.root, "other.py") == repository.root / "other.py"
    monkeypatch.chdir(repository.root / "sub")
    with pytest.raises(UsageError, match=r"there is no Pipefile.py in .*sub\n  there is one above: imgmake -C \.\.$"):
        pipefile.find(Path())
    monkeypatch.chdir(repository.root)  # what is to be typed is typed here
    with pytest.raises(UsageError, match=r"there is one above: imgmake -C \.$"):
        pipefile.find(Path("sub"))
    with pytest.raises(UsageError, match=r"there is no folder nope$"):
        pipefile.find(Path("nope"))


@pytest.mark.parametrize(
    ("files", "file", "said"),
    [
        ({}, None, r"there is no Pipefile.py in .*\n  write Pipefile.py, or name another folder with -C"),
        ({"pipefile.py": ""}, None, r"there is no Pipefile.py in .*\n  rename pipefile.py to Pipefile.py"),
        (
            {"Makefile": ""},
            None,
            r"there is no Pipefile.py in .*\n  imgmake --migrate writes Pipefile.py from the Makefile",
        ),
        ({}, "x.py", "there is no x.py in [^\n]*$"),
        ({"sub/Pipefile.py": ""}, "sub", "sub is a folder\n  did you mean -f sub/Pipefile.py?"),
    ],
)
def test_a_missing_pipefile_is_told(repository: Repository, files: dict[str, str], file: str | None, said: str) -> None:
    repository.write(files)
    with pytest.raises(UsageError, match=said):
        pipefile.find(repository.root, file)


def test_an_unreadable_pipefile_is_told(repository: Repository) -> None:
    assert repository.problem() == "Pipefile.py: it cannot be read: No such file or directory"


# --- executing ------------------------------------------------------------------------------------------------


def test_a_pipefile_runs_in_its_folder(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.write(
        {
            "version": "1.2\n",
            "Pipefile.py": """
            from pathlib import Path
            from imgmake import phony
            phony(Path("version").read_text().strip())
            """,
        }
    )
    monkeypatch.chdir(repository.root.parent)
    found = pipefile.load(Path("shop/Pipefile.py"), overrides={}, environ={})
    assert ([rule.target for rule in found.rules], found.root) == (["1.2"], repository.root.resolve())
    assert Path.cwd() == repository.root.parent


def test_loading_twice_gives_the_same_and_leaves_nothing(repository: Repository) -> None:
    repository.write({"helpers.py": "import lib.names\nname = lib.names.NAME", "lib/names.py": "NAME = 'one'"})
    text = "import helpers, fractions\nphony(helpers.name, sh('x'), help='h')\nvar('V', '1')\ndefault(helpers.name)"
    before, path, writes = set(sys.modules), list(sys.path), sys.dont_write_bytecode
    first, second = repository.load(text), repository.load(text)
    assert [rule.model_dump() for rule in first.rules] == [rule.model_dump() for rule in second.rules]
    assert (first.variables, first.default, first.pipefiles) == (second.variables, second.default, second.pipefiles)
    assert first.pipefiles == ("Pipefile.py", "helpers.py", "lib/names.py")
    assert set(sys.modules) - before <= {"fractions"}
    assert (sys.path, sys.dont_write_bytecode) == (path, writes)
    assert sorted(p.name for p in repository.root.rglob("*")) == ["Pipefile.py", "helpers.py", "lib", "names.py"]


def test_an_edited_helper_is_read_anew(repository: Repository) -> None:
    text = "import helpers\nphony(helpers.name)"
    for name in ("one", "two", "six"):
        repository.write({"helpers.py": f"name = {name!r}"})
        assert [rule.target for rule in repository.load(text).rules] == [name]


def test_a_failed_load_leaves_nothing_either(repository: Repository) -> None:
    here, path = Path.cwd(), list(sys.path)
    repository.write({"helpers.py": "x = 1"})
    repository.problem("import helpers, os\nos.chdir('/')\n1 / 0")
    assert (Path.cwd(), sys.path, "helpers" in sys.modules, "Pipefile" in sys.modules) == (here, path, False, False)
    assert repository.load("phony('x')").rules


def test_rules_of_a_helper_module_stand_where_the_helper_declares_them(repository: Repository) -> None:
    repository.write({"families.py": "from imgmake import phony\ndef family(name):\n    return phony(name)\n"})
    (rule,) = repository.load("from families import family\nfamily('x')").rules
    assert str(rule.place) == "families.py:3"


def test_dataclasses_of_a_pipefile_find_their_module(repository: Repository) -> None:
    text = """
    from dataclasses import dataclass
    from typing import ClassVar
    @dataclass
    class Service:
        name: "str"
        all: "ClassVar[list]" = []
    phony(Service("x").name)
    """
    assert [rule.target for rule in repository.load(text).rules] == ["x"]


def test_a_pipefile_that_declares_nothing_is_an_empty_pipeline(repository: Repository) -> None:
    found = repository.load("x = 1")
    assert (found.rules, found.variables, found.default) == ((), {}, None)


def test_glob_finds_as_a_shell_does(repository: Repository) -> None:
    names = ["b/Dockerfile", "a/Dockerfile", ".hidden/Dockerfile", "a/.env", ".git/Dockerfile", ".imgmake/Dockerfile"]
    repository.write(dict.fromkeys([*names, "a/deep/er/x.go", "y.go"], ""))
    (repository.root / "loop").symlink_to(".")
    text = """
    from pathlib import Path
    found = {p: [str(f) for f in glob(*p.split())] for p in SHOWN}
    assert all(isinstance(f, Path) and not f.is_absolute() for p in SHOWN for f in glob(p))
    phony("x", help=repr(found))
    """
    shown = ["*/Dockerfile", "**/*.go", "b/Dockerfile a/*", "a/.*", ".*/Dockerfile", "none/*", "a/**", "./b/*", "[ab]"]
    (rule,) = repository.load(f"SHOWN = {shown}\n" + text.replace("\n    ", "\n")).rules
    assert rule.help == repr(
        {
            "*/Dockerfile": ["a/Dockerfile", "b/Dockerfile"],
            "**/*.go": ["a/deep/er/x.go", "y.go"],
            "b/Dockerfile a/*": ["a/Dockerfile", "a/deep", "b/Dockerfile"],
            "a/.*": ["a/.env"],
            ".*/Dockerfile": [".hidden/Dockerfile"],
            "none/*": [],
            "a/**": ["a/Dockerfile", "a/deep", "a/deep/er", "a/deep/er/x.go"],
            "./b/*": ["b/Dockerfile"],
            "[ab]": ["a", "b"],
        }
    )


# --- other Pipefiles ------------------------------------------------------------------------------------------


def test_included_pipefiles_are_read_from_their_own_folders(repository: Repository) -> None:
    for name in ("api", "web"):
        repository.write(
            {
                f"services/{name}/Pipefile.py": """
                from pathlib import Path
                from imgmake import default, file, glob, image, phony, sh
                import helpers
                version = Path("version").read_text()
                out = file("dist/app", "src/", "//shared", "../lib/x.c", sh("make"))
                app = image("app", out, tags=f"{helpers.name}:{version}", context=Path(__file__).parent)
                phony("all", app, *glob("*.txt"))
                default("all")
                """,
                f"services/{name}/helpers.py": f"name = {name!r}",
                f"services/{name}/version": "7",
                f"services/{name}/note.txt": "",
            }
        )
    repository.write({"helpers.py": "name = 'root'"})
    text = """
    import helpers
    taken = include("services/*/Pipefile.py")
    phony(helpers.name, taken["services/api/app"], "services/web/all")
    assert include("services/*", "services/api/Pipefile.py") == {}
    import os; assert os.getcwd() == os.path.dirname(__file__)
    """
    found = repository.load(text)
    assert [rule.target for rule in found.rules] == [
        *(f"services/{name}/{target}" for name in ("api", "web") for target in ("dist/app", "app", "all")),
        "root",
    ]
    out, app, everything, *_, root = found.rules
    assert (out.base, out.parts) == ("services/api", ("src/", "//shared", "../lib/x.c"))
    assert (str(out.place), everything.parts) == ("services/api/Pipefile.py:6", (app, "note.txt"))
    assert (getattr(app, "tags", ()), getattr(app, "context", "")) == (("api:7",), ".")
    assert (root.parts, found.default) == ((app, "services/web/all"), None)
    assert found.pipefiles == (
        "Pipefile.py",
        "services/api/Pipefile.py",
        "services/web/Pipefile.py",
        "helpers.py",
        "services/api/helpers.py",
        "services/web/helpers.py",
    )


def test_includes_may_nest_and_name_a_file_of_a_parent(repository: Repository) -> None:
    repository.write(
        {
            "a/Pipefile.py": "from imgmake import *\ninclude('b')\nphony('x')\nfile('../up', sh('x'))",
            "a/b/Pipefile.py": "from imgmake import *\ninclude('../Pipefile.py')\nphony('y')\nimage('z')",
            "images.py": "from imgmake import *\nphony('beside')",
        }
    )
    found = repository.load("include('a', 'images.py')")
    assert [(rule.target, rule.base) for rule in found.rules] == [
        ("a/b/y", "a/b"),
        ("a/b/z", "a/b"),
        ("a/x", "a"),
        ("up", "a"),
        ("beside", ""),
    ]
    assert getattr(found.rules[1], "tags", ()) == ("shop-a/b/z",)


def test_a_broken_include_does_not_hide_the_others_mistakes(repository: Repository) -> None:
    repository.write(
        {
            "a/Pipefile.py": "from imgmake import *\n\n1 / 0",
            "b/Pipefile.py": "from imgmake import *\nphony('')",
        }
    )
    assert repository.problems("include('*/Pipefile.py')\ndefault('b/x')\nphony(3)") == [
        "Pipefile.py:4: the name of a phony must be a string, not 3",
        "a/Pipefile.py:3: ZeroDivisionError: division by zero",
        "b/Pipefile.py:2: phony '': the name is empty",
    ]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("services/ap/Pipefile.py", "matches no Pipefile\n  did you mean 'services/api/Pipefile.py'?"),
        ("services", "there is no services/Pipefile.py"),
        ("../x.py", "is outside the repository"),
    ],
)
def test_an_include_that_finds_nothing_is_told(repository: Repository, pattern: str, said: str) -> None:
    repository.write({"services/api/Pipefile.py": "", "../x.py": ""})
    assert said in repository.problem(f"include({pattern!r})")


# --- what a Pipefile raises -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("iamge('x')", "Pipefile.py:2: NameError: name 'iamge' is not defined\n  did you mean image?"),
        ("x = lne", "Pipefile.py:2: NameError: name 'lne' is not defined\n  did you mean len?"),
        ("import imgmake\nimgmake.build", "Pipefile.py:3: AttributeError: module 'imgmake' has no attribute 'build'"),
        ("''.uper()", "Pipefile.py:2: AttributeError: 'str' object has no attribute 'uper'\n  did you mean 'upper'?"),
        ("1 / 0", "Pipefile.py:2: ZeroDivisionError: division by zero"),
        ("raise KeyError", "Pipefile.py:2: KeyError"),
        ("{}['x']", "Pipefile.py:2: KeyError: 'x'"),
        ("open('version')", "Pipefile.py:2: FileNotFoundError: [Errno 2] No such file or directory: 'version'"),
        ("lint('a', confg='b')", "Pipefile.py:2: lint() has no argument 'confg'\n  did you mean 'config'?"),
        ("sh(3)", "Pipefile.py:2: sh: the text must be a string, not"),
        ("sh('')", "Pipefile.py:2: sh: the text is empty"),
        ("run('a b')", "Pipefile.py:2: run: "),
        ("import yamll", "Pipefile.py:2: ModuleNotFoundError: No module named 'yamll'\n  install it beside imgmake"),
        ("import sys\nsys.exit('why')", "Pipefile.py:3: the Pipefile ended the program: why"),
        ("import imgmake.builds", "Pipefile.py:2: ModuleNotFoundError: No module named 'imgmake.builds'"),
        (
            "@image('x')\ndef f(): pass",
            "Pipefile.py:2: TypeError: 'ImageRule' object is not callable\n  image takes no",
        ),
        ("image('x').tags = 'a'", "Pipefile.py:2: image: tags cannot be changed: give it when the rule is declared"),
        (
            "class E(Exception):\n    def __str__(self): 1 / 0\nraise E",
            "Pipefile.py:4: E: (its own text cannot be made)",
        ),
        ("phony('x'", "Pipefile.py:2: SyntaxError: '(' was never closed\n  phony('x'\n       ^"),
        ("if True:\n    x = = 1", "Pipefile.py:3: SyntaxError: invalid syntax\n  x = = 1\n      ^"),
        ("if True:\nx", "Pipefile.py:3: IndentationError: expected an indented block"),
        ("eval('1 +')", "Pipefile.py:2: SyntaxError: invalid syntax"),
        ("x = '\\0'.encode().decode(); exec('x =' + x)", "Pipefile.py:2: "),
        ("raise ExceptionGroup('several', [ValueError(1)])", "Pipefile.py:2: ExceptionGroup: several"),
    ],
)
def test_an_exception_shows_the_users_line(repository: Repository, text: str, said: str) -> None:
    assert repository.problem(text).startswith(said)


def test_a_word_that_was_not_imported_is_named(repository: Repository) -> None:
    repository.write({"Pipefile.py": "image('x')"})
    assert repository.problem() == (
        "Pipefile.py:1: NameError: name 'image' is not defined\n  import it: from imgmake import image"
    )
    repository.write({"Pipefile.py": "from imgmake import imag"})
    assert repository.problem() == "Pipefile.py:1: imgmake has no 'imag'\n  did you mean 'image'?"
    assert set(pipefile.blame.VOCABULARY) == set(imgmake.__all__)


def test_only_the_users_frames_are_shown(repository: Repository) -> None:
    repository.write(
        {"families.py": "import json\ndef deep(x):\n    return json.loads(x)\n\ndef family(x):\n    deep(x)\n"}
    )
    assert repository.problem("import families\nfamilies.family('[')") == (
        "families.py:3: JSONDecodeError: Expecting value: line 1 column 2 (char 1)\n"
        "  called from families.py:6\n  called from Pipefile.py:3"
    )


def test_a_helper_with_a_syntax_error_is_shown_itself(repository: Repository) -> None:
    repository.write({"families.py": "x = (\n"})
    assert repository.problem("import families").startswith("families.py:1: SyntaxError: '(' was never closed")


def test_endless_recursion_is_one_error(repository: Repository) -> None:
    found = repository.problem("def f(): f()\nf()")
    assert re.match(r"Pipefile.py:2: RecursionError: .*\n  called from Pipefile.py:3$", found) or "called from" in found
    assert len(found.splitlines()) < 10


def test_a_pipefile_that_is_no_text_is_told(repository: Repository) -> None:
    (repository.root / "Pipefile.py").write_bytes(b"x = '\xff'\n")
    assert repository.problem().startswith("Pipefile.py")
    assert "SyntaxError" in repository.problem()


def test_what_was_declared_before_an_exception_is_judged_too(repository: Repository) -> None:
    found = repository.problems("phony('')\nphony('x', 3)\n1 / 0\nphony('')")
    assert [line.partition(": ")[0] for line in found] == ["Pipefile.py:2", "Pipefile.py:3", "Pipefile.py:4"]


def test_ctrl_c_stops_the_load(repository: Repository) -> None:
    with pytest.raises(KeyboardInterrupt):
        repository.load("raise KeyboardInterrupt")
    assert Path.cwd() != repository.root


def test_imgmakes_own_files_are_never_the_users(tmp_path: Path) -> None:
    """A repository that holds imgmake itself: a mistake is shown in its Pipefile, not in the package."""
    repository = Repository(tmp_path / "own")
    (repository.root / "imgmake").symlink_to(TOP / "imgmake")
    repository.write({"Pipefile.py": "from imgmake import sh\nsh(3)"})
    code = (
        "import sys; from pathlib import Path; from imgmake import pipefile\n"
        "try: pipefile.load(Path('Pipefile.py'), overrides={}, environ={})\n"
        "except Exception as e: print(e)"
    )
    environ = {**os.environ, "PYTHONPATH": str(repository.root)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository.root, env=environ
    )
    assert done.stdout.startswith("Pipefile.py:2: sh: the text must be a string"), done.stderr
