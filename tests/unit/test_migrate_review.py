"""The review of a Makefile: what is a defect, what is only near one, and that what it says of the Pipefile is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgmake.app.migrating import check_makefile, migrate_makefile
from imgmake.app.options import Options
from imgmake.migrate import reader
from imgmake.migrate.model import Finding
from imgmake.migrate.review import Written, review, shelltext
from imgmake.migrate.scratch import Make
from imgmake.migrate.values import Values
from imgmake.shell import LocalShell

ENVIRON = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root"}
FILES = {
    "Dockerfile": "FROM scratch\n",
    "base/Dockerfile": "FROM scratch\n",
    "app/Dockerfile": "FROM acme/base:1\n",
    "a.txt": "a\n",
    "docs/index.md": "",
    "tests.yaml": "schemaVersion: 2.0.0\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("review") / "repo"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def found(folder: Path, makefile: str) -> list[Finding]:
    """The findings in a Makefile that has no Pipefile."""
    (folder / "Makefile").write_text(makefile)
    make = Make(folder, "Makefile", LocalShell(), ENVIRON)
    statements, database = reader.read(makefile), make.database()
    return list(review(statements, database, Values(statements, database, make), folder, Written()))


def told(folder: Path, makefile: str) -> dict[int, list[str]]:
    lines: dict[int, list[str]] = {}
    for each in found(folder, makefile):
        assert each.consequence
        assert each.instead
        lines.setdefault(each.line, []).append(each.what)
    return lines


# In each Makefile what is said of a line stands behind ``#!`` at its end; all other lines hold near misses.
RULES = """
.PHONY: all clean
.DEFAULT: all #! `.DEFAULT: all` sets no default: `.DEFAULT_GOAL := all` does
all: copied.txt fetched.txt out/app cleaned
copied.txt: #! copied.txt has no prerequisites, and its recipe reads a.txt
	sort a.txt > $@
right.txt: a.txt
	sort a.txt > $@
fetched.txt:
	curl -fsS https://example.com/a.txt > $@
order.txt: | out
	date > $@
forced.txt: FORCE
	sort a.txt > $@
FORCE:
out:
	mkdir -p $@
out/app: #! its recipe reads what go build finds
	go build -o $@ ./cmd
app.jar: #! its recipe reads the folder that it mounts
	docker run --rm -v "$(CURDIR)":/src -w /src builder pack
bin/tool: $(wildcard none/*.go)
	go build -o $@ ./cmd
cleaned: clean out/tool #! cleaned, deploy and ship make no file #! cleaned counts on clean coming before out/tool
out/tool:
	go build -o $@ ./cmd
clean:
	rm -rf out a.txt
docs: #! docs is not in .PHONY, and a folder of that name is here
	echo docs
deploy:
	echo deploy
ship: deploy
"""

PHONY = """
PHONY := a b #! `PHONY := …` sets a variable: .PHONY is meant
.PHONY: c d-% e-% #! .PHONY knows no patterns: d-% and e-% are names
a: ; echo > $@
c: ; echo
d-%: ; echo $*
.PHONEY: c #! `.PHONEY:` is a target like any other: .PHONY is meant
"""

USED_PHONY = """
PHONY += a
a: ; echo
.PHONY: $(PHONY)
.DEFAULT: ; echo no such target
.DEFAULT_GOAL := a
"""

ORDER = """
IMG := acme/app
.PHONY: all release build-base build test push pushed ship tag lint again promote digest both loop inside
all: build-base build test #! all counts on build-base coming before build, #! all counts on build coming before test,
release: test ship #! release counts on test coming before ship
build-base: #! build-base, build and loop are built on every call: an image is no file
	docker build -t acme/base:1 base
build: #! build takes the image of build-base, and does not need build-base
	docker build -t $(IMG):1 app
test: #! test and again take the image of build, and do not need build
	docker run --rm $(IMG):1 /bin/test
again:
	container-structure-test test --image $(IMG):1 --config tests.yaml
tag: build
	docker tag $(IMG):1 $(IMG):2
push: #! push pushes without needing build
	docker push $(IMG):1
pushed: build #! pushed and both push without needing any test
	docker push $(IMG):1
both: tag
	docker push $(IMG):2
ship: build again #! ship counts on build coming before again, which takes the image of build
	docker push $(IMG):1
inside:
	$(MAKE) build test
	docker push $(IMG):1
lint:
	docker run --rm -i hadolint/hadolint < Dockerfile
promote: #! promote promotes by tag: it pulls acme/app:stage, tags it and pushes it
	docker pull acme/app:stage
	docker tag acme/app:stage acme/app:prod
	docker push acme/app:prod
digest:
	docker pull acme/app@sha256:0123
	docker tag acme/app@sha256:0123 acme/app:prod
	docker push acme/app:prod
loop:
	for i in a b; do docker build -t $$i $$i || exit 1; done
"""

CLEAN = """
.PHONY: all clean build again
all: clean build again #! all counts on clean coming before build
clean: ; rm -rf out
build: ; touch out/x
again: clean
	touch out/y
"""

SERIAL = """
.NOTPARALLEL:
.PHONY: all build test
all: build test
build:
	docker image inspect acme/app:1 > /dev/null || docker build -t acme/app:1 .
test: #! test takes the image of build, and does not need build
	docker run --rm acme/app:1 /bin/test
"""

IMAGES = """
TAG ?= latest
.PHONY: a b c d e f release push
a: #! a, b, c, d and 2 more are built on every call: an image is no file
	docker build -t acme/a:latest . #! each run of a moves `latest`
b:
	docker build -t acme/b:$(TAG) .
c:
	docker build -t acme/c .
d:
	docker build -t acme/d . #! each run of d moves `latest`
push: a d test
	docker push acme/d
e:
	docker build -t acme/e:1 .
	if test "$$CI"; then docker tag acme/e:1 acme/e:latest; fi
release: test
	docker buildx build -t acme/f:latest --push .
.built: Dockerfile #! .built and .id are stamp files for images
	docker build -t acme/g:1 .
	touch $@
.id: Dockerfile
	docker build --iidfile $@ -t acme/h:1 .
image.tar: Dockerfile
	docker build -t acme/i:1 .
	docker save acme/i:1 > $@
test: ; ./run-tests #! test makes no file, and is not .PHONY
"""

RECIPES = """
BUILT := docker run --rm -it -v $(shell pwd):/src
TTY := $(shell [ -t 0 ] && echo -it)
.PHONY: test shell run console jar bash tty login quiet pipe
.PHONY: lint loud each strict piped piped2 wait counted timed out dir fetch given
test:
	docker run --rm -it acme/app:1 /bin/test #! test: docker run -it
jar:
	$(BUILT) acme/maven mvn verify #! jar: docker run -it
shell:
	docker run --rm -it acme/app:1 bash
run:
	docker run --rm -it -p 80:80 acme/app:1
bash:
	docker run --rm -it --entrypoint=/bin/sh acme/app:1 -l
console:
	docker exec -it app psql shop
tty:
	docker run --rm $(TTY) acme/app:1 /bin/test
login:
	docker login -u me -p $(PASSWORD) r.example.com #! a password on a command line #! PASSWORD and TARGET come from
quiet:
	@echo "$(PASSWORD)" | docker login -u me --password-stdin r.example.com
loud:
	echo "$(PASSWORD)" | docker login -u me --password-stdin r.example.com #! loud: make prints $(PASSWORD)
fetch:
	curl -u me:$(API_TOKEN) https://example.com #! fetch: $(API_TOKEN) on a command line
given:
	test -n "$(API_TOKEN)" && curl -K secrets https://example.com
	API_TOKEN="$(API_TOKEN)" ./deploy
pipe:
	cat password | docker login -u me --password-stdin && mkdir -p out
lint:
	set -e #! lint: `set -e` on a line of its own
	hadolint Dockerfile
	set -e; hadolint Dockerfile
dir:
	cd docs #! dir: `cd docs` on a line of its own
	cd docs && ls
	export A=1 #! dir: `export A=1` on a line of its own
	. venv/bin/activate #! dir: `. venv/bin/activate` on a line of its own
	export B=2; echo $$B
each: #! each, piped and piped2 are built on every call: an image is no file
	for i in a b; do docker build -t $$i $$i; done #! each: a failed docker build in this loop
strict: #! strict pushes without needing the build
	set -e; for i in a b; do docker push $$i; done
	for i in a b; do docker push $$i || exit 1; done
	for i in a b; do echo $$i; done
piped: test
	docker build -t acme/x:1 . | tee log #! lost in the pipe
piped2:
	tar c . | docker build -t acme/y:1 -
	docker build -t acme/z:1 . || true
wait:
	while true; do docker pull acme/x:1 && break; sleep 5; done #! `while true …` has no end
counted:
	n=0; until curl -f localhost; do n=$$((n+1)); [ $$n -lt 9 ] || exit 1; sleep 1; done
timed:
	timeout 60 sh -c 'until curl -f localhost; do sleep 1; done'
out:
	deploy $(TARGET) $(DEPLOY_FLAGS) "$(STAGE)" '$(ZONE)' $(HOME)
	$(SUDO) deploy
"""

ONESHELL = """
.ONESHELL:
.SHELLFLAGS := -ec -o pipefail
.PHONY: a
a: #! a is built on every call: an image is no file
	set -e
	cd docs
	for i in a b; do docker build -t $$i . | tee log; done
"""

VARIABLES = """
EPOCH := $(shell date +%s)
ONE := $(shell date -u -r $(EPOCH) +%H%M) #! ONE: `date -r SECONDS` is BSD's
TWO := $(shell date -u -d @$(EPOCH) +%H%M) #! TWO: `date -d TIME` is GNU's
BOTH := $(shell date -u -d @$(EPOCH) +%H%M 2>/dev/null || date -u -r $(EPOCH) +%H%M)
FILE_TIME := $(shell date -r a.txt +%H%M)
HALF := $(shell date +%I%M) #! HALF: %I is a clock of twelve hours
NOON := $(shell date +'%I%M %p')
LOG_DATE := $(shell git log -1 --date=short --format=%cd)
NOW = $(shell date +%s) #! NOW runs its command at each use
SHA = $(shell git rev-parse HEAD) #! SHA runs its command at each use
ONCE = $(shell date +%N0 | cut -c1) #! ONCE: `date %N` is GNU's
HERE := $(pwd) #! HERE: $(pwd) is no command to make
THERE := $(shell pwd)
pwd_ok := $(PWD)
IMAGES := $(shell docker images -q) #! IMAGES asks docker whenever make reads the Makefile
LATER = $(shell docker images -q)
.PHONY: a b
a:
	echo $(NOW) $(SHA) $(ONCE) $(LATER) $(HERE) $(THERE) $(IMAGES)
	echo $(NOW) $(SHA) $(ONE) $(TWO) $(BOTH) $(FILE_TIME) $(HALF) $(NOON)
	echo $(date +%s) #! a: $(date +%s) is no command to make
	echo $$(date +%s) $(shell date +%s) $${pwd}
b:
	touch -d yesterday x; update --date -d
"""

EMPTIED = """
ifeq ($(strip $(BUILD_ID)),) #! BUILD_ID=… from outside leaves REF empty
REF := $(shell git rev-parse HEAD)
TIME := $(shell date +%s)
BUILD_ID := $(TIME)-$(REF)
endif
ifndef TAG
OTHER := x
TAG := $(OTHER)
else
OTHER := y
endif
ifndef MODE
MODE := fast
endif
.PHONY: a
a: #! a is built on every call: an image is no file
	docker build --build-arg REF=$(REF) --build-arg ID=$(BUILD_ID) - < Dockerfile
	echo $(OTHER) $(TAG) $(MODE)
"""

MAKEFILES = {
    "rules": RULES,
    "phony": PHONY,
    "phony by a variable": USED_PHONY,
    "order": ORDER,
    "clean first": CLEAN,
    "one after the other": SERIAL,
    "images": IMAGES,
    "recipes": RECIPES,
    "one shell": ONESHELL,
    "variables": VARIABLES,
    "emptied": EMPTIED,
}


@pytest.mark.parametrize("name", MAKEFILES)
def test_every_defect_is_named_at_its_line_and_nothing_else(folder: Path, name: str) -> None:
    text = MAKEFILES[name]
    lines = {number: line.split(" #! ") for number, line in enumerate(text.split("\n"), 1)}
    said = {number: line[1:] for number, line in lines.items() if line[1:]}
    found = told(folder, "\n".join(line[0] for line in lines.values()))
    assert {number: len(each) for number, each in found.items()} == {n: len(each) for n, each in said.items()}, found
    assert all(part in what for n in said for part, what in zip(said[n], found[n], strict=True)), found


def test_what_is_told_on_several_lines_is_told_once(folder: Path) -> None:
    text = ".PHONY: l\nl:\n\tdocker login -p x r\n\tdocker login -p y r\n\tdocker login --password=z r\n"
    assert told(folder, text) == {3: ["l: a password on a command line (also in lines 4, 5)"]}


# --- what is said of the Pipefile -----------------------------------------------------------------------------

SHOP = """
.PHONY: build test push
build:
	docker build -t acme/shop:1 .
test:
	docker run --rm acme/shop:1 /bin/test
push:
	docker push acme/shop:1
"""

PUBLISHED = """
from imgmake import check, image, publish, run

app = image("build", tags="acme/shop:1")
check("test", run(app, "/bin/test"))
publish("push", image=app, to="acme/shop", tags="1")
"""

BY_HAND = """
from imgmake import phony, sh

phony("build", sh("docker build -t acme/shop:1 ."))
phony("test", sh("docker run --rm acme/shop:1 /bin/test"))
phony("push", sh("echo 'Makefile:7: push is not translated: no reason' >&2; exit 1"))
"""


def instead(findings: tuple[Finding, ...]) -> dict[str, str]:
    """What is done instead, by the first words of what was seen."""
    return {each.what.split(",")[0]: each.instead for each in findings}


@pytest.mark.parametrize(
    ("pipefile", "build", "test", "push"),
    [
        (PUBLISHED, "image(…) asks the engine, and", "test needs build", "publish(…) needs its image"),
        (BY_HAND, "as before: in sh(…)", "as before: sh(…, IMAGE=build)", "push is not translated"),
        ("import nothing_of_that_name\n", *["the Pipefile does not load yet"] * 3),
    ],
)
def test_what_is_said_of_a_pipefile_is_true_of_it(
    tmp_path: Path, pipefile: str, build: str, test: str, push: str
) -> None:
    for name, text in {"Makefile": SHOP, "Dockerfile": "FROM scratch\n", "Pipefile.py": pipefile}.items():
        (tmp_path / name).write_text(text)
    said = instead(check_makefile(Options(directory=tmp_path, environ=ENVIRON)).migration.findings)
    assert said["build is built on every call: an image is no file"].startswith(build)
    assert said["test takes the image of build"].startswith(test)
    assert said["push pushes without needing build"].startswith(push)


def test_the_order_of_a_list_is_told_where_the_later_is_wrong_without_the_earlier(tmp_path: Path) -> None:
    release = "release: build test tag-latest push deploy\nother: deploy\ndeploy:\n\techo\ntag-latest:\n\techo\n"
    (tmp_path / "Makefile").write_text(f".PHONY: release other deploy tag-latest\n{release}{SHOP}")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    found = migrate_makefile(Options(directory=tmp_path, environ=ENVIRON), write=False)
    text = found.migration.pipefile.text
    assert 'phony("push", "build", "test", sh("docker push acme/shop:1"))' in text
    assert 'phony("deploy", sh(' in text
    assert 'phony("test", run(build_, "/bin/test"))' in text or 'phony("test", run(build, "/bin/test"))' in text
    assert [each.why for each in found.migration.pipefile.notes if "by the order of a list" in each.why]
    assert {each.target: each.verdict for each in found.compared}["release"] == "better"
    said = instead(found.migration.findings)
    assert said["release counts on test coming before push"] == "push needs test, whatever the order"
    assert said["push pushes without needing build"] == "push needs build in the Pipefile"


def test_a_publication_is_compared_with_the_push_that_it_stands_for(tmp_path: Path) -> None:
    for name, text in {"Makefile": SHOP, "Dockerfile": "FROM scratch\n", "Pipefile.py": PUBLISHED}.items():
        (tmp_path / name).write_text(text)
    told = {each.target: each for each in check_makefile(Options(directory=tmp_path, environ=ENVIRON)).compared}
    assert {each.verdict for each in told.values()} == {"better"}
    assert "pushes what the registry does not hold yet" in told["push"].why
    assert "test comes first, since it is needed" in told["push"].why
    (tmp_path / "Pipefile.py").write_text(PUBLISHED.replace('tags="1"', 'tags="2"'))
    told = {each.target: each for each in check_makefile(Options(directory=tmp_path, environ=ENVIRON)).compared}
    assert told["push"].verdict == "different"


def test_the_one_that_was_just_written_is_meant(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(SHOP)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    said = instead(migrate_makefile(Options(directory=tmp_path, environ=ENVIRON)).migration.findings)
    assert said["test takes the image of build"] == "test needs build in the Pipefile"


# --- a shell's text -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("if true; then docker build . ; fi", [["true"], ["docker", "build", "."], ["fi"]]),
        ('docker run -v "$(pwd)":/x a sh -c "b; c"', [["docker", "run", "-v", "$(pwd):/x", "a", "sh", "-c", "b; c"]]),
        ("a 2>&1 | tee b", [["a", "2>&1"], ["tee", "b"]]),
        ("x `date +%s; id` 'y", [["x", "`date +%s; id`", "'y"]]),
    ],
)
def test_simple_commands(text: str, words: list[list[str]]) -> None:
    assert list(shelltext.commands(text)) == words


@pytest.mark.parametrize(
    ("words", "verb", "rest"),
    [
        ("docker container run -dit --rm acme/app:1 serve -p", "run", ["acme/app:1", "serve", "-p"]),
        ("podman push --all-tags acme/app", "push", ["acme/app"]),
        ("docker build -t a . > log", "build", ["."]),
    ],
)
def test_docker_commands(words: str, verb: str, rest: list[str]) -> None:
    command = shelltext.docker(words.split())
    assert command is not None
    assert (command.verb, shelltext.rest(command)) == (verb, rest)


def test_no_docker_command() -> None:
    assert shelltext.docker(["docker-compose", "up"]) is None
    assert shelltext.docker([]) is None
