"""One small Makefile a construct: what it becomes, and that make and imgmake would run the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imgmake.app.migrating import Migrated, check_makefile, migrate_makefile
from imgmake.app.options import Options
from tests.committed import committed

FILES = {
    "Dockerfile": "FROM scratch\n",
    "api/Dockerfile": "FROM scratch\n",
    "web/Dockerfile": "FROM scratch\nARG VERSION\n",
    "structure-tests.yaml": "schemaVersion: 2.0.0\n",
    "a.txt": "a\n",
    "b.txt": "b\n",
    "x.c": "",
    "y.c": "",
}

Migrate = Callable[..., Migrated]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return committed(tmp_path_factory.mktemp("migrate") / "repo", FILES)


@pytest.fixture
def migrate(repository: Path) -> Migrate:
    def migrated(makefile: str, *, literal: bool = False) -> Migrated:
        (repository / "Makefile").write_text(makefile)
        return migrate_makefile(Options(directory=repository), literal=literal, write=False)

    return migrated


def verdicts(found: Migrated) -> dict[str, str]:
    return {each.target: each.verdict for each in found.compared}


def unsaid(found: Migrated) -> list[object]:
    return [each for each in found.compared if each.verdict == "different" and not each.said]


# A Makefile, and lines that its Pipefile holds. Every target has to be the same, or the same but better.
SAME = {
    "a wildcard among prerequisites": (
        "dist/app: a.txt $(wildcard *.c)\n\tcc -o dist/app x.c y.c\ndist/b: $(wildcard b*.txt)\n\tcp b.txt dist/b\n",
        ['file("dist/app", "a.txt", glob("*.c"), sh("', 'file("dist/b", glob("b*.txt"), sh("'],
    ),
    "a shell's text in single quotes": (
        "X ?= ab\nall:\n\techo $(shell echo '$(X)' | tr a-z A-Z)\n",
        ["""sh('echo $(echo "${X}" | tr a-z A-Z)')"""],
    ),
    "what is exported, and what docker looks at": (
        "export DOCKER_BUILDKIT = 1\nexport LEVEL := 2\nbuild:\n\tdocker build -t a .\nrun:\n\t./run $$LEVEL\n",
        ['image("build", tags="a")', 'sh("./run $LEVEL", **EXPORTED)'],
    ),
    "defaults": (
        "TAG ?= latest\nIMAGE := acme/app\nbuild:\n\tdocker build -t $(IMAGE):$(TAG) .\n",
        ['TAG = var("TAG", "latest")', 'IMAGE = "acme/app"', 'image("build", tags=f"{IMAGE}:{TAG}")'],
    ),
    "a variable of the shell's": (
        "NAME ?= x\na:\n\tfor i in 1 2; do echo $$i \"$(NAME)\" '$(NAME)'; done\n",
        ["""sh('for i in 1 2; do echo $i "$NAME" "$NAME"; done')"""],
    ),
    "each line is a shell of its own": ("a:\n\tcd api\n\tpwd\n", ['phony("a", sh("cd api"), sh("pwd"))']),
    "backslash": ("a:\n\t@if true; then \\\n\t  echo yes; \\\n\tfi\n", ['r"""', "if true; then \\"]),
    "prefixes": ("a:\n\t@-rm x\n\t-rm y; rm z\n", ['sh("rm x || true")', "( rm y; rm z ) || true"]),
    "a failure that does not stop": ("a:\n\tfalse; test $$? = 1\n", ['sh("set +e; false; test $? = 1")']),
    "a condition": (
        "DEBUG ?= 0\nifeq ($(DEBUG),1)\nFLAGS := -g\nelse\nFLAGS := -O2\nendif\na:\n\techo $(FLAGS)\n",
        ['if DEBUG == "1":\n    FLAGS = "-g"\nelse:\n    FLAGS = "-O2"'],
    ),
    "ifndef is a default": ("ifndef X\nX = 1\nendif\na:\n\techo $(X)\n", ['X = var("X", "1")']),
    "read and never set": (
        'a:\n\ttest -z "$(VERSION)"\n',
        ['VERSION = var("VERSION", "")', "sh('test -z \"$VERSION\"')"],
    ),
    "lines under a condition": (
        "V ?= 0\na:\n\techo 1\nifeq ($(V),1)\n\techo 2\nelse\n\techo 3\nendif\n",
        ['sh("echo 2") if V == "1" else sh("echo 3")'],
    ),
    "rules under a condition": (
        "ifdef CI\nt:\n\techo ci\nelse\nt:\n\techo local\nendif\n",
        ['if CI:\n    phony("t", sh("echo ci"))\nelse:\n    phony("t", sh("echo local"))'],
    ),
    "a command as value": (
        "V := $(shell echo 1.2)\na:\n\techo $(V)\n",
        ['V = var("V", sh("echo 1.2"))', 'sh("echo $V")'],
    ),
    "a command of several lines": ("V := $(shell ls *.txt)\na:\n\techo $(V)\n", ['sh("echo $V")']),
    "a command in a recipe": ("a:\n\techo $(shell cat a.txt)\n", ['sh("echo $(cat a.txt)")']),
    "metadata": (
        "SHA := $(shell git rev-parse HEAD)\nNOW := $(shell date -u +%Y-%m-%dT%H:%M:%SZ)\na:\n\techo $(SHA) $(NOW)\n",
        ["from imgmake import phony, sh\n", 'sh("echo $VCS_REF $BUILD_DATE")'],
    ),
    "a name of imgmake's own": (
        "VCS_REF := $(shell git rev-parse --short HEAD)\na:\n\techo $(VCS_REF)\n",
        ['VCS_REF_ = var("VCS_REF_", sh("git rev-parse --short HEAD"))'],
    ),
    "files": (
        "SRC := a.txt b.txt\nout/all.txt: $(SRC)\n\tmkdir -p out\n\tcat $^ > $@\n",
        ['file("out/all.txt", "a.txt", "b.txt", sh("mkdir -p out"), sh("cat $in > $out"))'],
    ),
    "a pattern": (
        "%.up: %.txt\n\tsort $< > $@\nall: a.up b.up\n",
        ['for name in ("a", "b"):', 'file(f"{name}.up", f"{name}.txt", sh("sort $in > $out"))'],
    ),
    "a static pattern": (
        "OBJ = x.o y.o\n$(OBJ): %.o: %.c\n\tcc -c $< -o $@\n",
        ['file(f"{name}.o", f"{name}.c", sh("cc -c $in -o $out"))'],
    ),
    "a family of images": (
        "all: build-api build-web\nbuild-%:\n\tdocker build -t acme/$*:1 $*\n",
        ['image(f"build-{name}", tags=f"acme/{name}:1", context=name)'],
    ),
    "functions of constants": (
        "D = a b\na:\n\techo $(words $(D)) $(patsubst %,x-%,$(D)) $(foreach d,$(D),<$(d)>)\n",
        ['sh("echo 2 x-a x-b <a> <b>")'],
    ),
    "a function of what may be overridden": (
        "I ?= a/b\nN = $(subst /,-,$(I))\na:\n\techo $(N)\n",
        ['N = I.replace("/", "-")'],
    ),
    "define and call": ("define hi\necho hi $(1)\necho bye $(1)\nendef\na:\n\t$(call hi,you)\n", ['sh("echo hi you")']),
    "append": (
        "F = -a\nF += -b\nifeq ($(V),1)\nF += -v\nendif\na:\n\techo $(F)\n",
        ['F = f"{F} -b"', 'if V == "1":\n    F = f"{F} -v"'],
    ),
    "export": ("export FOO = bar\na:\n\tenv\n", ['EXPORTED = {"FOO": FOO}', 'sh("env", **EXPORTED)']),
    "another shell": (
        "SHELL := /bin/bash\n.SHELLFLAGS := -eu -c\na:\n\techo\n",
        ['sh("set -eu; echo", shell="/bin/bash")'],
    ),
    "one shell": (".ONESHELL:\na:\n\tx=1\n\t@echo $$x\n", ["x=1\n    echo $x"]),
    "several targets": (
        "one two: a.txt\n\techo $@\n",
        ['for name in ("one", "two"):', 'phony(name, "a.txt", sh(f"echo {name}"))'],
    ),
    "order only": ("out/x: a.txt | out\n\tcp a.txt out/x\nout:\n\tmkdir -p out\n", ['after="out"']),
    "recursion": ("x:\n\t$(MAKE) -C api all\n", ['sh("make -C api all")']),
    "help": ("a: ## Say it\n\techo\n.DEFAULT_GOAL := a\n", ['help="Say it"']),
    "the default goal": ("a:\n\techo 1\nb:\n\techo 2\n.DEFAULT_GOAL := b\n", ['default("b")']),
    "tags of one image": (
        "a:\n\tdocker build -t x/y:1 .\n\tdocker tag x/y:1 x/y:latest\n",
        ['image("a", tags=["x/y:1", "x/y:latest"])'],
    ),
    "arguments of a build": (
        "VERSION ?= 1\na:\n\tdocker build --build-arg VERSION=$(VERSION) --build-arg C=red -f web/Dockerfile -t x .\n",
        ['build_args={"C": "red"}', 'dockerfile="web/Dockerfile"'],
    ),
    "a stamp": (
        ".built: Dockerfile\n\tdocker build -t x/y .\n\ttouch $@\n",
        ['image(".built", "Dockerfile", tags="x/y")'],
    ),
    "a build and a push": ("a:\n\tdocker build -t x/y .\n\tdocker push x/y\n", ['sh("docker build -t x/y .")']),
    "checks": (
        "l:\n\thadolint Dockerfile\nt:\n\tcontainer-structure-test test --image x/y --config structure-tests.yaml\n",
        ['check("l", lint("Dockerfile"))', 'check("t", structure_test("x/y", "structure-tests.yaml"))'],
    ),
    "containers": (
        "a:\n\tdocker run --rm -v $(PWD):/src -w /src -u $$(id -u):$$(id -g) node:18 npm ci\n"
        'b:\n\tdocker run --rm -v "$(CURDIR)":/src -w /src node:18 npm ci\n',
        [
            'run("node:18", "npm ci", mounts={".": "/src"})',
            """sh('docker run --rm -v "$PWD":/src -w /src node:18 npm ci')""",
        ],
    ),
    "the shell's braces": (
        "I := x/y\na:\n\tdocker inspect -f '{{.Id}}' $(I)\n",
        ["""sh("docker inspect -f '{{.Id}}' $I", I=I)"""],
    ),
    "a folder called like the target": ("api:\n\techo $(A)\n.PHONY: api\n", ['phony("api", sh("echo $A"))']),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_commands(migrate: Migrate, name: str) -> None:
    makefile, expected = SAME[name]
    found = migrate(makefile)
    assert [line for line in expected if line not in found.migration.pipefile.text] == [], found.migration.pipefile.text
    assert set(verdicts(found).values()) <= {"same", "better"}, found.compared


# What no Pipefile can say: it fails when it is run, and the report says why.
LEFT = {
    "a variable of one target, with a default": (
        "E = 0\np: E = 1\np: d\n\techo $(E)\nd:\n\techo $(E)\n",
        "p",
        "E is set for this target",
    ),
    "a name the shell has, too": ("V ?= 1\na:\n\techo $(V) $$V\n", "a", "the shell's own"),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_not_translated_fails_and_says_so(migrate: Migrate, name: str) -> None:
    makefile, target, why = LEFT[name]
    found = migrate(makefile)
    left = {each.target: each for each in found.migration.pipefile.left}
    assert why in left[target].why
    assert verdicts(found)[target] == "different"
    assert unsaid(found) == []
    assert f"Makefile:{left[target].line}: {target} is not translated" in found.migration.pipefile.text
    assert "exit 1" in found.migration.pipefile.text


def test_the_answer_of_today_is_marked(migrate: Migrate) -> None:
    found = migrate("ifeq ($(flavor MAKE),recursive)\nF := -l\nelse\nF := -o\nendif\na:\n\techo $(F)\n")
    assert "TODO Makefile:2: F := -l" in found.migration.pipefile.text
    assert [note.line for note in found.migration.pipefile.notes] == [2]
    assert verdicts(found) == {"a": "same"}


def test_literal_keeps_recipes_as_they_are(migrate: Migrate) -> None:
    found = migrate("a:\n\tdocker build -t x/y .\nl:\n\thadolint Dockerfile\n", literal=True)
    assert 'phony("a", sh("docker build -t x/y ."))' in found.migration.pipefile.text
    assert 'phony("l", sh("hadolint Dockerfile"))' in found.migration.pipefile.text
    assert verdicts(found) == {"a": "same", "l": "same"}


def test_comments_and_order_stay(migrate: Migrate) -> None:
    text = migrate("# Tools.\n\n# Says b.\nb:\n\techo b\n\n# Says a.\na:\n\techo a\n").migration.pipefile.text
    assert text == (
        'from imgmake import phony, sh\n\n# Tools.\n\n# Says b.\nphony("b", sh("echo b"))\n\n'
        '# Says a.\nphony("a", sh("echo a"))\n'
    )


def test_a_difference_is_told(migrate: Migrate, repository: Path) -> None:
    """A Pipefile that somebody changed is compared with the Makefile, and both texts are shown."""
    (repository / "Makefile").write_text("a:\n\techo one\nb:\n\techo two\n")
    (repository / "Pipefile.py").write_text(
        'from imgmake import phony, sh\nphony("a", sh("echo one"))\nphony("b", sh("echo 2"))\n'
    )
    try:
        found = {each.target: each for each in check_makefile(Options(directory=repository)).compared}
    finally:
        (repository / "Pipefile.py").unlink()
    assert found["a"].verdict == "same"
    assert (found["b"].verdict, found["b"].make, found["b"].imgmake) == ("different", ("echo two",), ("echo 2",))


def test_what_a_shell_is_not_given_is_told(repository: Path) -> None:
    """The text of a command is the same with and without what is exported to it."""
    (repository / "Makefile").write_text("export V = 1\na:\n\t./a.txt\nb:\n\t./a.txt\n")
    (repository / "Pipefile.py").write_text(
        'from imgmake import phony, sh\nphony("a", sh("./a.txt", V="1"))\nphony("b", sh("./a.txt"))\n'
    )
    try:
        found = {each.target: each for each in check_makefile(Options(directory=repository)).compared}
    finally:
        (repository / "Pipefile.py").unlink()
    assert found["a"].verdict == "same"
    assert (found["b"].verdict, found["b"].why) == ("different", ("V is exported in make, and not given to: ./a.txt",))
