"""Rules and targets of a Makefile, one small Makefile a construct: what they become, and that make runs the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imgmake.app.migrating import Migrated, migrate_makefile
from imgmake.app.options import Options
from tests.committed import committed

FILES = {
    "Dockerfile": "FROM scratch\n",
    "api/Dockerfile": "FROM scratch\n",
    "web/Dockerfile": "FROM scratch\n",
    "a.txt": "a\n",
    "b.txt": "b\n",
    "common.mk": "\n# Says who.\nWHO ?= you\nhello:\n\techo hello $(WHO)\n",
}

Migrate = Callable[[str], Migrated]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return committed(tmp_path_factory.mktemp("migrate") / "repo", FILES)


@pytest.fixture
def migrate(repository: Path) -> Migrate:
    def migrated(makefile: str) -> Migrated:
        (repository / "Makefile").write_text(makefile)
        return migrate_makefile(Options(directory=repository), write=False)

    return migrated


# A Makefile, and lines that its Pipefile holds. Every target has to be the same, or the same but better.
SAME = {
    "names that end in a slash": (
        ".PHONY: clean-%/\nD ?= build\nall: b.out clean-var/ | var/\nclean-%/:\n\trm -r $*\nvar/:\n\tmkdir -p $@\n"
        "$(D)/:\n\tmkdir $@\nb.out: var/ | $(D)/\n\techo > $@\n",
        [
            'phony("all", "b.out", "clean-var", after="var")',
            'file("var", sh("mkdir -p $out/"))',
            'file(D, sh("mkdir $out/"))',
            'file("b.out", "var", sh("echo > $out"), after=D)',
        ],
    ),
    "files that are written from the root": (
        "BIN := $(CURDIR)/bin\nN ?= tool\nT = $(shell pwd)/a.txt\n.PHONY: all $(BIN)/now\n"
        "all: $(BIN)/$(N) $(BIN)/now $(BIN)/x\n"
        "$(BIN)/$(N): $(T) $(CURDIR)/b.txt\n\tgo build -o $@ $< $^\n$(BIN)/now:\n\techo $@\n"
        "$(BIN)/%: $(BIN)/now\n\ttouch $@ $(@F)\n",
        [
            'BIN = f"{CURDIR}/bin"',
            'file(f"{BIN}/{N}", T, f"{CURDIR}/b.txt", sh(f"go build -o {BIN}/$N {CURDIR}/a.txt ',
            'phony(f"{BIN}/now", sh(f"echo {BIN}/now"))',
        ],
    ),
    "a pattern that takes what it makes": (
        ".PHONY: all common-x common-all\nall: common-all\n%: common-% ;\ncommon-all: x\ncommon-x:\n\techo x\n",
        ['phony("common-all", "x")', 'phony("x", "common-x")'],
    ),
    "a pattern whose recipe is empty": (
        ".PHONY: c-* all\nall: s-a s-b\ns-%: c-% p-% ;\nc-%:\n\techo c $*\np-%:\n\techo p $*\n",
        ["# c-* stands in .PHONY alone: make does nothing for it.", 'phony(f"s-{name}", f"c-{name}", f"p-{name}")'],
    ),
    "a target's own variable that a branch not taken reads": (
        "R = ./r $(ARGS)\nifdef SOME\nx:\n\techo $(R)\nendif\nlint: ARGS := -f\nlint:\n\t$(R) lint\n",
        ["""phony("lint", sh(f"./r {ARGS or '-f'} lint"))"""],
    ),
    "what a pattern needs in an order": (
        "first:\n\techo\nall: x-a\nx-%: | o/\n\techo $@\n%/:\n\tmkdir $@\n",  # of what is no goal make does not tell
        ['phony("x-a", sh("echo x-a"), after="o")', 'file("o", sh("mkdir $out/"))'],
    ),
    "files outside of the folder": (
        "all: ../conf.yaml $(HOME)/.imgmake-test/x\n../conf.yaml:\n\techo > $@\n"
        "$(HOME)/.imgmake-test/x:\n\techo x > $@\n",
        [
            'phony("conf.yaml", [] if Path("../conf.yaml").exists() else sh("echo > ../conf.yaml"))',
            'Path("~/.imgmake-test/x").expanduser().exists() else sh("echo x > ${HOME}/.imgmake-test/x")',
        ],
    ),
    "a name in .PHONY alone": (
        ".PHONY: build-x\nall: build-x\nbuild-%:\n\techo $*\n",
        ["# It stands in .PHONY alone: make does nothing for it.", 'phony("build-x")'],
    ),
    "a prerequisite under a condition": (
        "ifdef CI\npush: login\nendif\npush: build\n\techo push\nlogin build:\n\techo $@\n",
        ['phony("push", "build", ["login"] if CI else [], sh("echo push"))'],
    ),
    "two prerequisites under nested conditions": (
        "ifdef A\nifeq ($(B),1)\np: x\nelse\np: y\nendif\nendif\np:\n\techo\nx y:\n\techo $@\n",
        ['["x"] if A and B == "1" else []', '["y"] if A and not (B == "1") else []'],
    ),
    "a target that one branch makes": (
        ".PHONY: lint\nall: lint\nifdef LINT\nlint:\n\techo lint\nendif\n",
        ['if LINT:\n    phony("lint", sh("echo lint"))\nelse:\n    phony("lint")'],
    ),
    "prerequisites of each branch": (
        "ifeq ($(V),1)\nt: a.txt\n\techo $<\nelse\nt: b.txt\n\techo $<\nendif\n",
        ['phony("t", "a.txt", sh("echo a.txt"))', 'phony("t", "b.txt", sh("echo b.txt"))'],
    ),
    "a variable that a branch needs": (
        "ifdef X\nt:\n\techo $(Y)\nelse\nt:\n\techo no\nendif\n",
        ['Y = var("Y", "")\nif X:\n    phony("t", sh("echo $Y"))\nelse:'],
    ),
    "one target in several rules": (
        "all: one\nall: two\none two:\n\techo $@\nlate: one\nlate: two\n\techo $^\n",
        ['phony("all", "one", "two")', 'phony("late", "two", "one", sh("echo two one"))'],
    ),
    "double-colon rules": (
        "clean::\n\techo 1\nclean:: x\n\techo 2\nx:\n\techo x\n",
        ['phony("clean", "x", sh("echo 1"), sh("echo 2"))'],
    ),
    "rules of eval": (
        "define R\nx-$(1): a.txt\n\techo $(1) $$@\nendef\n$(foreach i,a b,$(eval $(call R,$(i))))\n",
        ["# $(foreach i,a b,$(eval $(call R,$(i))))", 'for name in ("a", "b"):', 'phony(f"x-{name}", "a.txt"'],
    ),
    "an included file": (
        "include common.mk\nall: hello\n",
        ['# From common.mk:\n# Says who.\nWHO = var("WHO", "you")\nphony("hello", sh("echo hello $WHO"))'],
    ),
    "a second expansion": (
        ".SECONDEXPANSION:\nall: x-a\nx-%: $$*.txt\n\techo $<\ny: $$(addsuffix .txt,a b)\n\techo $^\n",
        ['phony("x-a", "a.txt", sh("echo a.txt"))', 'phony("y", "a.txt", "b.txt", sh("echo a.txt b.txt"))'],
    ),
    "a pattern whose name is computed": (
        "ID := .id\nall: api/.id web/.id\n%/$(ID): %/Dockerfile\n\tcp $< $@\n",
        ['for name in ("api", "web"):', 'file(f"{name}/.id", f"{name}/Dockerfile", sh("cp $in $out"))'],
    ),
    "prerequisites beside a pattern's": (
        "all: x-a\nx-a: base\nx-%:\n\techo $* $<\nbase:\n\techo base\n",
        ['phony("x-a", "base", sh("echo a base"))'],
    ),
    "files by a pattern of the shell's": ("t: *.txt\n\techo $(words $^)\n", ['phony("t", "*.txt", sh("echo 2"))']),
    "a target called by a variable": (
        "OUT ?= dist\nall: $(OUT)/x.txt\n$(OUT)/x.txt: a.txt\n\tcp $< $@\n",
        ['file(f"{OUT}/x.txt", "a.txt", sh("cp $in $out"))', 'phony("all", f"{OUT}/x.txt")'],
    ),
    "a variable of one target": (
        "CMD = echo $(MSG)\na: MSG = hello\na:\n\t$(CMD)\nb: MSG := bye\nb:\n\t$(CMD)\n",
        ['phony("a", sh("echo hello"))', 'phony("b", sh("echo bye"))'],
    ),
    "a variable of one target that others are given": (
        "a: MSG = hello\na:\n\techo $(MSG)\nb:\n\techo $(MSG)\n",
        ["""sh(f"echo {MSG or 'hello'}")""", 'sh("echo $MSG")'],
    ),
    "a pattern's own prerequisites": (
        "all: p_a p_b\np_%: chk_%\n\techo $*\nchk_%:\n\techo $@\n",
        ['for name in ("a", "b"):', 'phony(f"p_{name}", f"chk_{name}", sh(f"echo {name}"))', 'phony(f"chk_{name}"'],
    ),
    "a pattern's order-only prerequisites": (
        "all: out/a out/b\nout/%: %.txt | out\n\tcp $< $@\nout:\n\tmkdir -p $@\n",
        ['file(f"out/{name}", f"{name}.txt", sh("cp $in $out"), after="out")'],
    ),
    "no stem": ("a:\n\techo <$*>\n", ['phony("a", sh("echo <>"))']),
    "targets that follow a variable": (
        "CPU ?= amd64\nall: $(addsuffix -$(CPU),a b)\n%-$(CPU): %.txt\n\tcp $< $@\n",
        ['phony("all", f"a-{CPU}", f"b-{CPU}")', 'file(f"{name}-{CPU}", f"{name}.txt", sh("cp $in $out"))'],
    ),
    "help from the Makefile": (
        "help: ## This\n\t@grep -E '## ' $(MAKEFILE_LIST) | awk '{print $$1}'\n",
        ['phony("help", sh("imgmake --list"), help="This")'],
    ),
    "calls of make that make expands": (
        "ARCHS := a b\nall:\n\t$(MAKE) $(addprefix x-,$(ARCHS))\nx-%:\n\techo $*\n",
        ['sh("imgmake x-a x-b")', "for name in ARCHS.split():", 'phony(f"x-{name}", sh(f"echo {name}"))'],
    ),
    "tabs of continued lines": (
        "a:\n\techo a \\\n\t\t\tb 'c \\\n\t\td'\n",
        ["    echo a \\\n            b 'c \\\n    \td'\n"],
    ),
    "make for itself": (
        "TAG ?= 1\nall:\n\t$(MAKE) --no-print-directory one TAG=2\n\tmake one TAG=$(TAG)\none:\n\techo $(TAG)\n",
        ['sh("imgmake one TAG=2"), sh("imgmake one TAG=$TAG")'],
    ),
    "make for itself with what is no default": (
        "TAG = 1\nall:\n\t$(MAKE) one TAG=2\none:\n\techo $(TAG)\n",
        ['sh("make one TAG=2")'],
    ),
    "a rule that a condition cuts in two": (
        "V ?= 1\nt: a\nifeq ($(V),1)\nt: b\nendif\n\techo $^\na b:\n\techo $@\n",
        ['if V == "1":\n    phony("t", "b", "a", sh("echo b a"))\nelse:\n    phony("t", "a", sh("echo a"))'],
    ),
    "a name with a colon": ("ci: x\\:y\nx\\:y:\n\techo $@\n", ['phony("x:y", sh("echo x:y"))']),
    "make for a target of a pattern": (
        "all:\n\t$(MAKE) build-api\nbuild-%:\n\techo $*\n",
        ['phony("build-api", sh("echo api"))'],
    ),
    "a pattern for folders with a Dockerfile": (
        "build-%:\n\tdocker build -t acme/$* $*\n",
        ['for name in ("api", "web"):', 'image(f"build-{name}", tags=f"acme/{name}", context=name)'],
    ),
    "a name in capitals with a point": (
        "b: .TEST\n\techo b\n.TEST:\n\techo test\n",
        ['phony(".TEST", sh("echo test"))'],
    ),
    ".DEFAULT without a recipe": (".DEFAULT: a\na:\n\techo a\n", ['phony("a", sh("echo a"))']),
    "special targets that say nothing here": (
        ".SUFFIXES:\n.DELETE_ON_ERROR:\n.SILENT:\n.PRECIOUS: x\na:\n\techo a\n",
        ['from imgmake import phony, sh\n\nphony("a", sh("echo a"))\n'],
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_commands(migrate: Migrate, name: str) -> None:
    makefile, expected = SAME[name]
    found = migrate(makefile)
    text = found.migration.pipefile.text
    assert [line for line in expected if line not in text] == [], text
    assert {each.verdict for each in found.compared} <= {"same", "better"}, found.compared
    assert found.migration.pipefile.left == ()


# What is no target's own: a Makefile, and what is said of it in the Pipefile and in the report.
TOLD = {
    "one job": (".NOTPARALLEL:\na:\n\techo\n", "run it as `imgmake -j1`"),
    "order by position": ("all: clean a\nclean:\n\trm -rf dist\na:\n\techo a\n", "so does `imgmake -j1`"),
    "any other target": (".DEFAULT:\n\techo $@\na:\n\techo\n", ".DEFAULT has no equal"),
    "an include that is not here": ("-include local.mk\na:\n\techo\n", "it is not here"),
}


def test_a_circle_is_cut_where_make_cuts_it(migrate: Migrate) -> None:
    found = migrate("a: b\n\techo a\nb: b c\n\techo b\nc:\n\techo c\n")
    assert 'phony("b", "c", sh("echo b"))' in found.migration.pipefile.text
    assert [(each.target, each.verdict, each.said) for each in found.compared] == [
        ("a", "same", False),
        ("b", "same", False),
        ("c", "same", False),
    ]
    told = [note.why for note in found.migration.pipefile.notes]
    assert "b needs itself: make drops that, the Pipefile does not say it" in told


def test_an_image_whose_dockerfile_nothing_makes_is_kept_as_text_and_what_needs_it_as_it_was(migrate: Migrate) -> None:
    text = "push-%: image-%\n\tdocker push $*\nimage-%: gone/%\n\tdocker build -t $* -f gone/$* .\n"
    found = migrate(f"all: push-a\n{text}gone/%:\n\ttrue\n")
    assert [each for each in found.compared if each.verdict == "different"] == []
    assert 'sh("docker build -t a -f gone/a .")' in found.migration.pipefile.text


@pytest.mark.parametrize("name", TOLD)
def test_what_holds_for_all_targets_is_told(migrate: Migrate, name: str) -> None:
    makefile, why = TOLD[name]
    found = migrate(makefile)
    assert any(why in note.why for note in found.migration.pipefile.notes)
    assert "# TODO Makefile:1:" in found.migration.pipefile.text


def test_what_a_target_hands_down_is_a_call_with_its_value(migrate: Migrate) -> None:
    found = migrate("V ?= 1\np: E = x\np: T = $(V)-$(E)\np: d e\n\techo $(T)\nd:\n\techo $(E)\ne:\n\techo $(T)\n")
    assert 'phony("p", sh("imgmake d e E=${E:-x} T=${T:-$V-${E:-x}}"), sh("echo ${T:-$V-${E:-x}}"))' in (
        found.migration.pipefile.text
    )
    assert {each.target: each.verdict for each in found.compared} == {"p": "same", "d": "same", "e": "same"}


def test_what_a_target_hands_down_over_a_default_is_not_translated_and_said(migrate: Migrate) -> None:
    found = migrate("E ?= 0\np: E = 1\np: d\nd:\n\techo $(E)\n")
    assert {each.target: each.verdict for each in found.compared} == {"p": "different", "d": "same"}
    assert found.migration.pipefile.left[0].why == "E is set for this target, and for what it needs"


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ("help.me:\n\techo hi\n", "phony"),  # as a file its recipe would end well, and fail for what it did not make
        ("compose.up:\n\tdocker compose up -d\n", "phony"),
        ("docs/serve.me:\n\t@printf '%s' $@\n", "phony"),
        ("app.jar:\n\tmvn package\n", "file"),
        ("notes.odd: a.txt\n\t./generate.sh $@\n", "file"),
        ("notes.odd: a.txt\n\techo x > notes.odd\n", "file"),
    ],
)
def test_a_name_with_a_dot_is_a_file_where_its_recipe_makes_one(migrate: Migrate, rule: str, kind: str) -> None:
    text = migrate(rule).migration.pipefile.text
    assert f'\n{kind}("{rule.partition(":")[0]}"' in text, text


def test_a_rule_for_what_make_is_called_for_is_none_of_a_question_s(migrate: Migrate) -> None:
    found = migrate("$(filter-out d,$(MAKECMDGOALS)): d\n\techo $@\nd:\n\techo d\n")
    assert [each.target for each in found.compared] == ["d"]
    assert "imgmake-ask" not in found.migration.pipefile.text


def test_where_the_environment_counts_and_makes_does_not_is_told(migrate: Migrate) -> None:
    found = migrate("T ?= 6m\nslow: T = 10m\nslow:\n\techo $(T)\nquick:\n\techo $(T)\n.PHONY: slow quick\n")
    why = "slow sets T: here the environment is stronger, too, in make the command line alone"
    assert why in [note.why for note in found.migration.pipefile.notes]
