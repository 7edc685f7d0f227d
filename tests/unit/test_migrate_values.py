"""Variables and functions of make, one small Makefile a construct: what they become; both would run the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake.app.migrating import Migrated, migrate_makefile
from imgmake.app.options import Options
from imgmake.migrate import functions
from imgmake.migrate.blocks import joined
from imgmake.migrate.branching import Choice, leaves, sequence, whole
from imgmake.migrate.fixed import temporary
from imgmake.migrate.layout import call
from imgmake.migrate.model import Assign, Cond
from imgmake.migrate.python import Part, atom, expression, inside, names_in, negated
from tests.committed import committed

FILES = {"Dockerfile": "FROM scratch\n", "one/Dockerfile": "", "two/Dockerfile": "", "VERSION": "7.8\n"}

Migrate = Callable[..., Migrated]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return committed(tmp_path_factory.mktemp("values") / "repo", FILES)


@pytest.fixture
def migrate(repository: Path) -> Migrate:
    def migrated(makefile: str) -> Migrated:
        (repository / "Makefile").write_text(makefile)
        return migrate_makefile(Options(directory=repository), write=False)

    return migrated


# A Makefile, and lines that its Pipefile holds. Every target has to be the same, with variables overridden, too.
SAME = {
    "a prefix taken off": (
        "VERSION ?= v1.2.3\na:\n\techo $(VERSION:v%=%) $(patsubst %-rc,%,$(VERSION))\n",
        ['VERSION = var("VERSION", "v1.2.3")', "VERSION.removeprefix('v')", "VERSION.removesuffix('-rc')"],
    ),
    "a suffix changed": (
        "SOURCES ?= a.c b.c\na:\n\techo $(SOURCES:.c=.o)\n",
        ["f'{each[:-2]}.o' if each.endswith('.c') else each for each in SOURCES.split()"],
    ),
    "lines with a tab below a condition, where no rule is open": (
        ".PHONY: a\nO ?= l\nifeq ($(O),l)\n\tF := --force\nelse\n\tF :=\nendif\na:\n\techo x $(F)\n",
        ['if O == "l":\n    F = "--force"'],
    ),
    "a shell's own name for what it has from outside": (
        'E = env \\\n\tP="$${PATH}" \\\n\tH="$(HOME)" \\\n\na:\n\t$(E) ./x.sh\n\techo \'$${HOME}\'\n',
        ["env P=\"${PATH}\" H=\"${HOME}\"", "echo '${HOME}'"],
    ),
    "variables of a pattern's targets": (
        "b/%: R ?= root\nb/%: P ?=\nb/%: V := 1\nb/xx%: R ?= none\n.PHONY: b/x b/xxx\n"
        "b/x b/xxx: b/%:\n\techo $(R) $(P) $(V) $@\nb/x: V += 2\nall: b/x b/xxx\n",
        ["echo {R or 'root'} $P 1 2 b/x", "echo {R or 'root'} $P 1 b/xxx"],
    ),
    "a default that asks": ("C ?= $(if $(shell command -v sh),a,b)\na:\n\techo $(C)\n", ['C = var("C", "a" if shell(']),
    "a line that is there under a condition": (
        "N = $(shell true)\nA = $(shell echo x)\na: I = $(shell echo y)\na:\n\t$(if $(N),-docker stop $(N))\n"
        "\t$(if $(A),-docker stop $(A),echo none)\n\t$(if $(I),-docker rm $(I))\n",
        [
            'sh("docker stop $N || true") if N else []',
            'sh("docker stop $A || true") if A else sh("echo none")',
            'sh("docker rm $(echo y) || true") if shell("echo y") else []',
        ],
    ),
    "the pattern that fits best": (
        "first:\n\techo\nc.%.s: i.%.s\n\techo $< > $@\nc.%.win.s: i.%.win.s\n\techo win $< > $@\n"
        "i.%.s: %/Dockerfile\n\techo $* > $@\ni.%.win.s: %/Dockerfile\n\techo win $* > $@\nall: c.one.win.s c.two.s\n",
        [],
    ),
    "a variable that is made in several ways of a target's own": (
        'ifdef LOCAL\nRUN :=\nelse\nS := $(shell true)\nRUN = ./run $(ARGS) $(S) --\nendif\na b: ARGS := -f x\n'
        "a b:\n\t@$(RUN) make $@ \"\\$${S}/x\"\nc:\n\t$(RUN)\n",
        ['local="" if LOCAL else f"./run {ARGS or \'-f x\'} {S} --"'],
    ),
    "a name that is another in every run": (
        "T := $(shell mktemp -d)\na:\n\techo $(T)/x\nb: a\n\trm -r $(T)\n",
        ['T = var("T", sh("mktemp -d"))', 'sh("echo $T/x")'],
    ),
    "text replaced": ("TAG ?= a/b\na:\n\techo $(subst /,-,$(TAG))\n", ["echo {TAG.replace('/', '-')}"]),
    "pieces of a version": (
        "V ?= 1.2.3\nMAJOR = $(firstword $(subst ., ,$(V)))\n"
        "MINOR = $(word 2,$(subst ., ,$(V)))\na:\n\techo $(MAJOR) $(MINOR)\n",
        ['MAJOR = V.partition(".")[0]', 'MINOR = "".join(V.split(".")[1:2])'],
    ),
    "if": (
        "NO_CACHE ?=\na:\n\techo x $(if $(NO_CACHE),--no-cache) y\n",
        ["echo x {'--no-cache' if NO_CACHE else ''} y"],
    ),
    "or": ("A ?=\nB ?= b\na:\n\techo $(or $(A),$(B),c)\n", ["A or B or 'c'"]),
    "and": ("A ?= 1\nB ?= b\na:\n\techo $(and $(A),$(B))\n", ["B if A else ''"]),
    "filter asked for": (
        "ENV ?= dev\nifneq (,$(filter prod stage,$(ENV)))\nF = -p\nelse\nF = -d\nendif\na:\n\techo $(F)\n",
        ['if ENV in ("prod", "stage"):'],
    ),
    "filter-out": (
        "IMAGES ?= a b c\na:\n\techo $(filter-out b,$(IMAGES))\n",
        ["[each for each in IMAGES.split() if each != 'b']"],
    ),
    "findstring": (
        "V ?= 1-dirty\nifeq ($(findstring dirty,$(V)),dirty)\nF = no\nendif\na:\n\techo $(F)\n",
        ['if "dirty" in V:\n    F = "no"'],
    ),
    "addprefix": (
        "PLATFORMS ?= amd64 arm64\na:\n\techo $(addprefix linux/,$(PLATFORMS))\n",
        ["[f'linux/{each}' for each in PLATFORMS.split()]"],
    ),
    "foreach": (
        "ARGS ?= a b\na:\n\techo $(foreach arg,$(ARGS),--build-arg $(arg)=1)\n",
        ["[f'--build-arg {arg}=1' for arg in ARGS.split()]"],
    ),
    "foreach of what is certain": (
        "L := a b\nX ?= 1\na:\n\techo $(foreach l,$(L),$(l)=$(X))\n",
        ["sh(f\"echo {' '.join([f'{l}={X}' for l in L.split()])}\")"],
    ),
    "a loop of commands": (
        "L ?= a b\ndefine newline\n\n\nendef\na:\n\t$(foreach l,$(L),echo $(l)$(newline))\n",
        ['phony("a", [sh(f"echo {l}") for l in L.split()])'],
    ),
    "a function of a command": (
        "V := $(shell echo v1.0)\nS = $(V:v%=%)\na:\n\techo $(S) $(V)\n",
        ['V = var("V", shell("echo v1.0"))', 'S = V.removeprefix("v")', "def shell(command):"],
    ),
    "a command that decides": (
        "OS := $(shell uname -s)\nifeq ($(OS),Linux)\nF := -l\nelse\nF := -o\nendif\na:\n\techo $(F)\n",
        ['OS = var("OS", shell("uname -s"))', 'if OS == "Linux":\n    F = "-l"\nelse:\n    F = "-o"'],
    ),
    "metadata that decides": (
        "V := $(shell git rev-parse HEAD)\nifeq ($(V),0)\nF := -l\nelse\nF := -o\nendif\na:\n\techo $(F) $(V)\n",
        ['V = var("V", shell("git rev-parse HEAD"))', 'if V == "0":'],
    ),
    "a late value within a text": (
        "V := $(shell echo 1)\nI = acme/app:$(V)\na:\n\techo $(I)\n",
        ['V = var("V", sh("echo 1"))', 'I = f"acme/app:{V}"', 'sh(f"echo {I}")'],
    ),
    "lines in quotes": ('V := $(shell ls)\na:\n\techo "$(V)"\n', ['V = var("V", shell("ls"))']),
    "another shell": (
        "SHELL := /bin/bash\nV := $(shell echo $${BASH:+1})\na:\n\techo $(V)\n",
        ['V = var("V", sh("echo ${BASH:+1}", shell="/bin/bash"))'],
    ),
    "a command that fails": ("V := $(shell false)\na:\n\techo $(V).\n", ['sh("false 2>/dev/null || true")']),
    "wildcard": (
        "D := $(patsubst %/Dockerfile,%,$(wildcard */Dockerfile))\na:\n\techo $(D)\n",
        ["for path in glob(\"*/Dockerfile\")"],
    ),
    "a file that may be there": (
        "ifneq ($(wildcard .env),)\nF := yes\nelse\nF := no\nendif\na:\n\techo $(F)\n",
        ['if glob(".env"):\n    F = "yes"'],
    ),
    "a file that is read": ("V := $(file <VERSION)\na:\n\techo $(V)\n", ['Path("VERSION").read_text()']),
    "else if": (
        "V ?= 1\nifeq ($(V),1)\nF = a\nelse ifeq ($(V),2)\nF = b\nelse\nF = c\nendif\na:\n\techo $(F)\n",
        ['if V == "1":\n    F = "a"\nelif V == "2":\n    F = "b"\nelse:\n    F = "c"'],
    ),
    "a default after conditions": (
        "ifdef CI\nT = ci\nendif\nT ?= dev\na:\n\techo $(T)\n",
        ['if CI:\n    T = "ci"\nelse:\n    T = var("T", "dev")'],
    ),
    "a default where nothing is set": (
        "T ?= $(G)\nifeq ($(T),)\nT := none\nendif\na:\n\techo $(T)\n",
        ['T = var("T", G)', 'if not T:\n    T = "none"'],
    ),
    "set again under a condition": (
        "F = -a\nifdef DEBUG\nF = -g\nF += -v\nendif\na:\n\techo $(F)\n",
        ['F = "-a"', 'if DEBUG:\n    F = "-g"', 'f"{F} -v"'],
    ),
    "a nested condition": (
        "ifdef A\nifeq ($(B),1)\nF = ab\nelse\nF = a\nendif\nelse\nF = no\nendif\na:\n\techo $(F)\n",
        ['if A:\n    if B == "1":\n        F = "ab"\n    else:\n        F = "a"\nelse:\n    F = "no"'],
    ),
    "padding in a condition": ("ifeq (x$(A),x)\nF = no\nelse\nF = yes\nendif\na:\n\techo $(F)\n", ["if not A:"]),
    "a computed name": (
        "linux_FLAGS = -l\ndarwin_FLAGS = -d\nOS ?= linux\na:\n\techo $($(OS)_FLAGS)\n",
        ["{'linux': linux_FLAGS, 'darwin': darwin_FLAGS}.get(OS, '')"],
    ),
    "a computed name of a stem": (
        "a_TAG = 1\nb_TAG = 2\nall: tag-a tag-b\ntag-%:\n\techo $($*_TAG)\n",
        ["a_TAG", "b_TAG"],
    ),
    "a macro with parameters": (
        "eq = $(if $(or $(1),$(2)),$(and $(findstring $(1),$(2)),$(findstring $(2),$(1))),1)\nN ?= no\n"
        "a:\n\techo $(if $(call eq,$(N),yes),--no-cache,--cache)\n",
        ["N == 'yes'"],
    ),
    "a macro that nothing defines": ("a:\n\techo $(call nothing,x) y\n", ['sh("echo  y")']),
    "a call that lacks its shell": ("a:\n\techo $(docker images -q)x\n", ['sh("echo x")']),
    "eval as a local variable": (
        "a:\n\t$(eval X := $(subst a,b,$@))\n\techo $(X)\nb:\n\t$(eval X := 2)\n\techo $(X)\n",
        ['phony("a", sh("echo b"))', 'phony("b", sh("echo 2"))'],
    ),
    "eval of one recipe": (
        "V ?= 1\na:\n\t$(eval FLAG := $(if $(V),--v \"$(V)\"))\n\techo $(FLAG)\n",
        ["FLAG = f'--v \"{V}\"' if V else \"\""],
    ),
    "eval under a condition": (
        "V ?= 1\na:\nifeq ($(V),1)\n\t$(eval F := one)\nelse\n\t$(eval F := other)\nendif\n\techo $(F)\n",
        ["'one' if V == '1' else 'other'"],
    ),
    "a guard in a recipe": (
        "a:\n\t$(if $(TOKEN),,$(error TOKEN is not set))\n\techo $(TOKEN)\n",
        ['[] if TOKEN else fail("TOKEN is not set")', "def fail(message):"],
    ),
    "a guard by a macro": (
        "need = $(foreach v,$(1),$(if $($(v)),,$(error $(v) is not set)))\na:\n\t$(call need,A B)\n\techo $(A)$(B)\n",
        ['[] if A else fail("A is not set")', '[] if B else fail("B is not set")'],
    ),
    "a guard that a condition is": (
        "a:\nifndef TOKEN\n\t$(error TOKEN is not set)\nendif\n\techo $(TOKEN)\n",
        ['fail("TOKEN is not set") if not TOKEN else []'],
    ),
    "info": ("a:\n\t$(info building a)\n\techo x\n", ["""sh('echo "building a"')"""]),
    "a file that make asks for when it comes to a recipe": (
        "T = $(realpath ./bin/tool)\nH = $(realpath Makefile)\nV = $(file <v)\nW := $(file <v)\n"
        "a: bin/tool\n\t$(T) $(H) $(V) $(W)\nbin/tool:\n\tmkdir -p bin && touch $@\n",
        ['T = "$(test ! -e ./bin/tool || realpath ./bin/tool)"', 'H = "$PWD/Makefile"', 'V = "$(test ! -e v || cat v)"',
         'W = Path("v").read_text().rstrip() if Path("v").exists() else ""'],
    ),
    "a shell's own variable in a loop, under the name of one that is given": (
        "a:\n\tfor service in x y; do echo \"$$service\"; done\nb:\n\tlogs $(service)\n",
        ['service = var("service", "")'],
    ),
    "a shell's command that make joins": (
        'T ?= x\na:\n\techo "$$( \\\n\t\tcat a; \\\n\t\t$(E) cat b \\\n\t)"; \\\n\techo $(T)\n',
        ['echo "$( \\'],
    ),
    "nothing that is added": (
        "F := -a\nF += $(MORE)\nR = -a\nR += $(MORE)\na:\n\techo '$(F)' '$(R)'\n",
        ['F = f"{F} {MORE}" if MORE else F'],
    ),
    "the folder": (
        "ROOT := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))\nD = $(CURDIR)/out\n"
        "a:\n\tls $(ROOT) $(D) '$(CURDIR)'\n",
        ['ROOT = "$PWD/"', 'D = "$PWD/out"', """sh(f'ls {ROOT} {D} "$PWD"')"""],
    ),
    "the folder, after a cd": (
        "R := $(CURDIR)/x\na:\n\tcd one && ls $(CURDIR) && ls $(R)\nb:\n\tls $(CURDIR); cd one; pwd\n",
        ['R = f"{CURDIR}/x"', "cd one && ls {CURDIR} && ls {R}", "ls $PWD; cd one; pwd"],
    ),
    "added to nothing, under a name of make's alone": (
        "all-images += a\nall-images += b\na:\n\techo $(all-images)\n",
        ["a b"],
    ),
    "a command of docker in a variable": (
        "RUN = docker run -i -v $(PWD):/src $$OPTIONS alpine\na:\n\t$(RUN) ls\n",
        ['RUN = "docker run -i -v $PWD:/src $OPTIONS alpine"', 'sh(f"{RUN} ls")'],
    ),
    "parts of a target's name": (
        "out/x.txt:\n\tmkdir -p $(@D)\n\techo $(@F) $(notdir $@) > $@\n",
        ["mkdir -p $(dirname $out)"],
    ),
    "exported, of the folder": (
        "export CACHE := $(CURDIR)/cache\na:\n\techo $$CACHE\n",
        ['CACHE = f"{CURDIR}/cache"', "CURDIR = str(Path(__file__).parent)", "**EXPORTED"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_the_same_commands(migrate: Migrate, name: str) -> None:
    makefile, expected = SAME[name]
    found = migrate(makefile)
    text = found.migration.pipefile.text
    assert [line for line in expected if line not in text] == [], text
    assert [each for each in found.compared if each.verdict == "different"] == [], text


# What no Pipefile can say: the target fails when it is run, and says why.
LEFT = {
    "a file for a condition and for a recipe": (
        "T = $(realpath t)\na: t\nifeq ($(T),)\n\techo none\nendif\n\techo $(T)\nt: ; touch t\n",
        "asks for a file that a rule may make",
    ),
    "how make was called": ("a:\n\techo $(origin X)\n", "asks how make was called"),
    "goals": ("a:\n\techo $(MAKECMDGOALS)\n", "make's own"),
    "eval of a rule": ("a:\n\t$(eval b: ; echo x)\n\techo a\n", "changes what make knows"),
    "a macro that calls itself": (
        "u = $(if $1,$(firstword $1) $(call u,$(filter-out $(firstword $1),$1)))\nL ?= a b a\n"
        "a:\n\techo $(call u,$(L))\n",
        "$(u) calls itself",
    ),
    "an unknown name": ("N ?= x\na:\n\techo $($(N)_TAG)\n", "names a variable that can be overridden"),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_fails_and_says_so(migrate: Migrate, name: str) -> None:
    makefile, why = LEFT[name]
    found = migrate(makefile)
    assert [why in left.why for left in found.migration.pipefile.left] == [True], found.migration.pipefile
    assert "exit 1" in found.migration.pipefile.text


def test_what_can_be_overridden_is_by_both(migrate: Migrate) -> None:
    """The comparison gives each variable another value: what is computed of it follows."""
    found = migrate("T ?= v1\nU = $(T:v%=%)\nifeq ($(T),v1)\nF = one\nelse\nF = more\nendif\na:\n\techo $(U) $(F)\n")
    assert [(each.target, each.verdict) for each in found.compared] == [("a", "same")]
    assert found.migration.pipefile.overridable == {"T": "v1"}


# --- parts ----------------------------------------------------------------------------------------------------

_WORDS = st.lists(st.text("abv.-%", min_size=1, max_size=4), max_size=4).map(" ".join)
_PATTERN = st.text("av.%", min_size=1, max_size=3).filter(lambda text: text.count("%") <= 1)


def _evaluated(function: str, *given: str, text: str) -> str:
    """A function's answer as the Pipefile computes it; the last argument is a variable."""
    parts = [[Part(each)] for each in given]
    made = functions.translate(function, [*parts, [Part(name="TEXTS", value=text)]], "")
    found = eval(expression([made]), {"TEXTS": text, "re": __import__("re")})
    assert isinstance(found, str)
    return found


@given(_WORDS, _PATTERN)
def test_filter_keeps_what_make_would(text: str, pattern: str) -> None:
    before, percent, after = pattern.partition("%")
    kept = [
        each
        for each in text.split()
        if each == pattern
        or (percent and each.startswith(before) and each.endswith(after) and len(each) >= len(before) + len(after))
    ]
    if len(before) + len(after) <= 1:
        assert _evaluated("filter", pattern, text=text) == " ".join(kept)
        left = [each for each in text.split() if each not in kept]
        assert _evaluated("filter-out", pattern, text=text) == " ".join(left)


@given(_WORDS)
def test_functions_of_words(text: str) -> None:
    words = text.split()
    assert _evaluated("words", text=text) == str(len(words))
    assert _evaluated("firstword", text=text) == " ".join(words[:1])
    assert _evaluated("lastword", text=text) == " ".join(words[-1:])
    assert _evaluated("word", "2", text=text) == " ".join(words[1:2])
    assert _evaluated("wordlist", "2", "3", text=text) == " ".join(words[1:3])
    assert _evaluated("sort", text=text) == " ".join(sorted(set(words)))
    assert _evaluated("addprefix", "x/", text=text) == " ".join(f"x/{word}" for word in words)
    assert _evaluated("addsuffix", "/x", text=text) == " ".join(f"{word}/x" for word in words)


@pytest.mark.parametrize(
    ("function", "text", "expected"),
    [
        ("notdir", "src/a.c b.c x/", "a.c b.c "),
        ("dir", "src/a.c b.c /x", "src/ ./ /"),
        ("basename", "src.d/a.c b", "src.d/a b"),
    ],
)
def test_functions_of_names(function: str, text: str, expected: str) -> None:
    """https://www.gnu.org/software/make/manual/html_node/File-Name-Functions.html"""
    assert _evaluated(function, text=text) == expected


def test_a_condition_s_opposite() -> None:
    assert [negated(test) for test in ('A == "x y"', "A in B", "not A", "not (A or B)", "A and B", "A")] == [
        'A != "x y"',
        "A not in B",
        "A",
        "A or B",
        "not (A and B)",
        "not A",
    ]


def test_expressions_in_f_strings() -> None:
    """Python 3.11 takes neither a backslash nor the string's own quotes between an f-string's brackets."""
    assert inside('A.removeprefix("v")') == "A.removeprefix('v')"
    assert inside('{"a": B}.get(C, "")') == "({'a': B}.get(C, ''))"
    assert inside(r're.sub("\\.", "", A)') is None
    assert inside("f'{A}\"'") is None
    made = expression([Part("x-"), Part(name=r're.sub("\\.", "", A)'), Part("y")])
    assert made == r'"x-" + re.sub("\\.", "", A) + "y"'


@given(st.text(max_size=12), st.text(max_size=12))
def test_any_text_around_a_choice_is_kept(before: str, after: str) -> None:
    made = expression([Part(before), Part(name='"a" if A else ""'), Part(after)])
    assert eval(made, {"A": True}) == f"{before}a{after}"


def test_names_in_expressions_are_not_those_of_loops() -> None:
    assert names_in(['[f"{x}-{B}" for x in C.split()]', 'f"{D.strip()}"']) == {"B", "C", "D"}
    assert (atom("A or B"), atom("A.b(C)")) == ("(A or B)", "A.b(C)")


def test_definitions_in_their_order() -> None:
    cond = Cond(1, "ifdef", "A", "", (), ())
    first, other, default = (Assign(line, "X", op, "1") for line, op in ((1, "="), (2, "="), (3, "?=")))
    assert sequence([(first, ((cond, True),)), (default, ())], lambda _: False) == [Choice(cond, first, default)]
    assert sequence([(first, ()), (default, ())], lambda _: False) == [first]
    assert sequence([(first, ()), (other, ())], lambda _: False) == [other]
    steps = sequence([(first, ()), (other, ((cond, True),))], lambda _: False)
    assert (steps[0], list(leaves(steps[1])), whole(steps[1])) == (first, [other], False)


def test_a_choice_that_is_too_long_is_broken_at_its_words() -> None:
    long = "x" * 60
    assert call(f'VALUE = "{long}" if CONDITION else "{long}"') == [
        "VALUE = (",
        f'    "{long}"',
        "    if CONDITION",
        f'    else "{long}"',
        ")",
    ]
    assert call(f'phony("a", sh("{long}") if CONDITION else [sh("{long}")])')[2:5] == [
        f'    sh("{long}")',
        "    if CONDITION",
        f'    else [sh("{long}")],',
    ]


def test_names_of_a_list_are_a_loop_over_it(migrate: Migrate) -> None:
    text = migrate(
        "IMAGES := x y z\nall: $(IMAGES:%=build-%) other\nbuild-%:\n\techo $*\nother:\n\techo\n"
    ).migration.pipefile.text
    assert 'phony("all", [f"build-{name}" for name in IMAGES.split()], "other")' in text
    assert "for name in IMAGES.split():\n    phony(f" in text


def test_conditions_that_ask_the_same_are_one() -> None:
    first = ["if A:", "    B = 1", "else:", "    B = 2"]
    assert joined(first, ["if A:", "    C = 1"]) == ["if A:", "    B = 1", "    C = 1", "else:", "    B = 2"]
    assert joined(["if A:", "    A = 1"], ["if A:", "    C = 1"]) == ["if A:", "    A = 1", "if A:", "    C = 1"]
    assert joined([*first, "D = 1"], ["if A:", "    C = 1"])[-3:] == ["D = 1", "if A:", "    C = 1"]
    assert joined(first, ["if E:", "    C = 1"])[-2:] == ["if E:", "    C = 1"]


def test_a_guard_stops_the_pipefile_as_it_stops_make(migrate: Migrate) -> None:
    found = migrate(
        "V ?= 1-r\nifeq (,$(filter %-r,$(V)))\n$(error $(V) lacks -r)\nendif\n$(info I am $(V))\na:\n\techo $(V)\n"
    )
    text = found.migration.pipefile.text
    assert 'if not V.endswith("-r"):\n    raise SystemExit(f"{V} lacks -r")\n' in text
    assert 'print(f"I am {V}", file=sys.stderr)' in text
    assert [each.verdict for each in found.compared] == ["same"]


def test_a_variable_that_only_speaks_of_mktemp_hides_no_difference(migrate: Migrate) -> None:
    found = migrate("M := mktemp\nP := $(shell command -v mktemp)\na:\n\t$(M) $(P)\n")
    assert temporary(found.migration.values) == []
