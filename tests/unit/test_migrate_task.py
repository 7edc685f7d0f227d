"""One small Taskfile a construct: what it becomes, and that task itself and imgmake would run the same."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imgmake.app.migrating import Migrated, migrate_makefile
from imgmake.app.options import Options
from imgmake.errors import UsageError
from imgmake.migrate.task import _aside
from imgmake.migrate.template import parse
from imgmake.migrate.tools import ToolFailed
from imgmake.migrate.translated import Odd
from tests.committed import committed

FILES = {
    "Dockerfile": "FROM scratch\nARG VERSION\n",
    "web/Dockerfile": "FROM scratch\n",
    "tests.yaml": "schemaVersion: 2.0.0\n",
    "src/a.go": "",
    "src/in/b.go": "",
    "go.mod": "",
    "docker/Taskfile.yml": (
        "version: '3'\nvars: {NAME: inner}\ntasks:\n  build:\n    aliases: [b]\n    deps: [':lint', check]\n"
        "    cmds: ['docker build -t {{.NAME}} .']\n  check: pwd\n"
    ),
}
ENVIRON = {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "HOME": os.environ.get("HOME", "/"),
}

Migrate = Callable[..., Migrated]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return committed(tmp_path_factory.mktemp("task") / "repo", FILES)


@pytest.fixture
def migrate(repository: Path) -> Migrate:
    def migrated(text: str) -> Migrated:
        (repository / "Taskfile.yml").write_text(f"version: '3'\n{text}")
        return migrate_makefile(Options(directory=repository, environ=ENVIRON), "Taskfile.yml", write=False)

    return migrated


def text_of(found: Migrated) -> str:
    return found.migration.pipefile.text


def notes(found: Migrated) -> str:
    pipefile = found.migration.pipefile
    return "\n".join(f"{each.text}: {each.why}" for each in (*pipefile.notes, *pipefile.left))


# A Taskfile without its first line, and lines that its Pipefile holds. Every target has to be the same, or better.
SAME = {
    "images": (
        "vars: {IMAGE: acme/app}\ntasks:\n  # Why.\n  build:\n    desc: Build it\n    cmds:\n"
        "      - docker build -t {{.IMAGE}}:1 .\n  test:\n    deps: [build]\n    cmds:\n"
        "      - container-structure-test test --image {{.IMAGE}}:1 --config tests.yaml\n",
        '# Why.\n# Build it\nbuild = image("build", tags=f"{IMAGE}:1")',
        'check("test", "build", structure_test(build, "tests.yaml"))',
    ),
    "defaults": (
        "vars:\n  TAG: '{{.TAG | default \"latest\"}}'\n  REPO: '{{default \"acme\" .REPO}}'\n"
        "tasks:\n  a: 'echo {{.TAG}} {{.REPO}} {{.ELSE}}'\n",
        'TAG = var("TAG", "latest")\nREPO = var("REPO", "acme")',
        'ELSE = var("ELSE", "")',
    ),
    "commands": (
        "vars:\n  SHA: {sh: git rev-parse HEAD}\n  N: {sh: ls src | wc -l}\ntasks:\n"
        "  a: 'docker build --label r={{.SHA}} -t a .'\n  b: 'echo {{.N}}'\n",
        'labels={"r": VCS_REF}',
        'N = var("N", sh("ls src | wc -l"))',
    ),
    "variables of a task": (
        "vars: {A: '1'}\ntasks:\n  a:\n    vars: {A: '2', B: '{{.A}}3'}\n    cmds: ['echo {{.A}} {{.B}}']\n",
        'sh("echo 2 23")',
    ),
    "calls": (
        "tasks:\n  all:\n    deps: [{task: one, vars: {X: y}}]\n    cmds:\n      - task: two\n      - echo mine\n"
        "      - task: one\n  one: 'echo {{.X}}'\n  two: {deps: [three], cmds: [echo two]}\n  three: echo three\n",
        'phony("all", "one-y", "two", sh("echo mine"), sh("echo $X"))',
        'phony("one-y", sh("echo y"))',
    ),
    "a task that several need": (
        "tasks:\n  a: {deps: [b, c]}\n  b: {deps: [d], cmds: [echo b]}\n  c: {deps: [d], cmds: [echo c]}\n"
        "  d: echo d\n",
        'phony("b", "d", sh("echo b"))',
    ),
    "a call with what is the default": (
        "tasks:\n  all:\n    cmds: [{task: b, vars: {P: linux/amd64}}]\n"
        "  b: 'docker build --platform {{.P | default \"linux/amd64\"}} -t b .'\n",
        'phony("all", "b")',
        'image("b", tags="b", platforms=P)',
    ),
    "calls of task": (
        "tasks:\n  default: {silent: true, cmds: [task --list, {cmd: task a, silent: true}]}\n  a: echo a\n",
        'phony("default", sh("imgmake --list"), sh("imgmake a"))',
    ),
    "a question with a value": (
        "vars: {V: {sh: echo 1}}\ntasks:\n  a: {prompt: 'Release {{.V}} (now)?', cmds: [echo a]}\n",
        'fail(f"Release {V} now? Say so: imgmake a confirm=yes") if confirm != "yes" else []',
    ),
    "loops": (
        "vars: {LIST: [x, y]}\ntasks:\n  a:\n    cmds:\n      - {for: [1, 2], cmd: 'echo {{.ITEM}}'}\n"
        "      - {for: {var: LIST, as: L}, cmd: 'echo {{.L}}'}\n      - {for: {matrix: {P: [a], Q: [b, c]}}, "
        "cmd: 'echo {{.ITEM.P}}{{.ITEM.Q}}'}\n",
        '"a", sh("echo 1"), sh("echo 2"), sh("echo x"), sh("echo y"), sh("echo ab"), sh("echo ac")',
    ),
    "loops over tasks": (
        "tasks:\n  all:\n    deps: [{for: [web, api], task: 'build-{{.ITEM}}'}]\n"
        "  build-web: echo web\n  build-api: echo api\n",
        'phony("all", "build-web", "build-api")',
    ),
    "conditions": (
        "tasks:\n  a: 'docker build {{if .DEBUG}}--build-arg VERSION=1 {{end}}"
        "-t a{{if eq .X \"1\"}}b{{else}}c{{end}} .'\n"
        "  b: 'echo {{if and .DEBUG (ne .X \"2\")}}y{{else if .Y}}z{{end}}'\n",
        "if DEBUG\n",
        'X == "1"',
    ),
    "functions": (
        "vars: {V: '{{.V | default \"v1.2\"}}', L: [a, b]}\ntasks:\n"
        "  a: 'echo {{.V | replace \".\" \"-\"}} {{trimPrefix \"v\" .V}} {{.V | upper}} "
        "{{join \",\" .L}} {{index .L 1}}'\n"
        "  b: 'echo {{printf \"%s-%s\" .V \"x\"}} {{\"a/b.c\" | base}} {{range .L}}-{{.}}{{end}} {{OS}} {{.TASK}}'\n",
        "V.removeprefix('v')",
        "echo $V-x b.c -a-b",
    ),
    "environment": (
        "env: {LEVEL: '2'}\ntasks:\n  a: {env: {X: y}, cmds: ['./a $X $LEVEL']}\n  b: ./b\n",
        'LEVEL = var("LEVEL", "2")',
        'export X="${X-y}"; ./a $X $LEVEL',
        'sh("./b", **EXPORTED)',
    ),
    "folders": (
        "tasks:\n  a: {dir: src, cmds: [ls, 'ls; ls']}\n  b: {dir: web, cmds: [docker build -t b .]}\n",
        'sh("cd src && ls")',
        'image("b", tags="b", context="web")',
        "cd src\n    ls; ls",
    ),
    "checks": (
        "tasks:\n  a:\n    preconditions: [{sh: 'test -f no', msg: 'no no'}]\n    cmds: [echo a]\n",
        'test -f no || { echo "no no" >&2; exit 1; }',
    ),
    "status": (
        "tasks:\n  a:\n    status: [test -f Dockerfile, test -d x]\n    cmds: [echo a, echo b]\n"
        "  b:\n    status: [docker image inspect b]\n    cmds: [docker build -t b .]\n",
        "if ( test -f Dockerfile ) && ( test -d x ); then exit 0; fi\n    echo a\n    echo b",
        'image("b", tags="b")',
    ),
    "a file that is made": (
        "tasks:\n  build:\n    deps: [gen]\n    sources: ['src/**/*.go', go.mod, '*.yaml']\n    generates: [dist/app]\n"
        "    cmds: [go build -o dist/app ./src]\n  gen: echo gen\n",
        'file("dist/app", "src/", "go.mod", glob("*.yaml"), sh("go build -o dist/app ./src"), after="gen")',
        'phony("build", "dist/app")',
    ),
    "ignored failures": (
        "tasks:\n  a: {cmds: [{cmd: 'false', ignore_error: true}, echo b]}\n"
        "  b: {ignore_error: true, cmds: ['false']}\n",
        'phony("a", sh("false || true"), sh("echo b"))',
    ),
    "several lines": (
        "tasks:\n  a:\n    cmds:\n      - |\n        echo 1\n        echo $HOME\n",
        "echo 1\n    echo $HOME",
    ),
    "task's own shell": ("tasks:\n  a: '[[ -n x ]] && echo y'\n", 'shell="bash"'),
    "pipefail": (
        "set: [pipefail]\ntasks:\n  a: 'false | true'\n  b: 'false || true'\n",
        'sh("set -o pipefail; false | true", shell="bash")',
        'sh("false || true")',
    ),
    "what is put off": (
        "tasks:\n  a:\n    cmds:\n      - echo up\n      - defer: echo down\n      - echo use\n",
        "echo up\n    trap 'echo down' EXIT\n    echo use",
    ),
    "what has to be given": (
        "tasks:\n  a: {requires: {vars: [T, {name: E, enum: [x, y]}]}, cmds: ['echo {{.T}} {{.E}}']}\n",
        'T = var("T")',
        'E = var("E")',
    ),
    "a question": (
        "tasks:\n  a: {prompt: 'Really?', cmds: [echo a]}\n",
        'fail("Really? Say so: imgmake a confirm=yes") if confirm != "yes" else []',
    ),
    "platforms": (
        "tasks:\n  a: {cmds: [{cmd: echo l, platforms: [linux]}, {cmd: echo d, platforms: [darwin, windows/amd64]}]}\n",
        'sh("echo l") if shell("uname -s") == "Linux" else []',
    ),
    "aliases and what is internal": (
        "tasks:\n  default: {cmds: [{task: b}]}\n  build: {aliases: [b], internal: true, cmds: [echo b]}\n",
        'phony("default", "build")',
        'phony("b", "build")',
    ),
    "arguments": ("tasks:\n  a: 'echo {{.CLI_ARGS}}'\n", 'CLI_ARGS = var("CLI_ARGS", "")'),
    "includes": (
        "includes: {docker: ./docker}\ntasks:\n  default: {cmds: [{task: docker:build}]}\n"
        "  lint: hadolint Dockerfile\n",
        '# From docker/Taskfile.yml:',
        'image("docker:build", "lint", "docker:check", tags=NAME)',
        'phony("docker:b", "docker:build")',
    ),
    "references": (
        "vars: {M: {map: {k: v}}, L: [a, b], R: {ref: .L}}\ntasks:\n  a: 'echo {{.M.k}} {{index .R 0}}'\n",
        'sh("echo v a")',
    ),
    "folders by name": ("tasks:\n  a: {dir: '{{.ROOT_DIR}}/src', cmds: ['ls {{.TASKFILE_DIR}}']}\n", "cd src"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_a_construct(name: str, migrate: Migrate) -> None:
    text, *lines = SAME[name]
    found = migrate(text)
    for line in lines:
        assert line in text_of(found)
    assert [each for each in found.compared if each.verdict == "different"] == []


# What no Pipefile is written for: the target, and why. It stands there, fails with that, and is told.
ODD = {
    "a condition of task's": ("tasks:\n  a: {cmds: [{cmd: echo a, if: 'false'}]}\n", "a command with `if:`"),
    "an option that is not known": ("tasks:\n  a: {shopt: [globstar], cmds: [echo a]}\n", "`shopt:`"),
    "an unknown function": ("tasks:\n  a: 'echo {{ \"x\" | b64enc }}'\n", "the function b64enc"),
    "a loop over files": (
        "tasks:\n  a: {sources: [src/a.go], cmds: [{for: sources, cmd: 'echo {{.ITEM}}'}]}\n",
        "a loop",
    ),
    "a checksum": ("tasks:\n  a: {sources: [go.mod], cmds: ['echo {{.CHECKSUM}}']}\n", "CHECKSUM"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_cannot_be_said_fails_and_is_told(name: str, migrate: Migrate) -> None:
    text, why = ODD[name]
    found = migrate(text)
    assert [(each.target, each.verdict, each.said) for each in found.compared] == [("a", "different", True)]
    assert why in notes(found)
    assert "# TODO Taskfile.yml:3: a:" in text_of(found)


def test_what_a_person_should_know(migrate: Migrate) -> None:
    found = migrate(
        "dotenv: ['.env']\nincludes: {gone: {taskfile: ./gone, optional: true}}\n"
        "tasks:\n  a: {sources: [go.mod], cmds: [echo a]}\n  'x:*': echo x\n  all: {deps: [a, b]}\n"
        "  b: 'echo {{.X | default \"y\"}}'\n"
    )
    told = notes(found)
    assert "given empty, task takes the default of X" in told
    assert "imgmake reads no .env" in told
    assert "includes: gone: ./gone is not here" in told
    assert "a: task skips it while its sources are as they were" in told
    assert "x:*: a task for any name" in told
    assert "task runs the tasks that begin a task one by one" in told


def test_a_command_that_fails_ends_a_task_and_is_no_empty_value(migrate: Migrate) -> None:
    found = migrate("vars: {A: {sh: exit 3}}\ntasks:\n  a: 'echo {{.A}}'\n")
    assert 'A = var("A", sh("exit 3"))' in text_of(found)


def test_names_with_blanks_are_no_two_targets(migrate: Migrate) -> None:
    found = migrate("tasks:\n  a b: echo x\n  c: echo c\n")
    assert [each.target for each in found.compared] == ["c"]
    assert "a b: a name with a blank" in notes(found)


def test_a_taskfile_without_tasks(migrate: Migrate) -> None:
    with pytest.raises(UsageError, match="has no tasks"):
        migrate("tasks: {}\n")


def test_what_several_need_is_told(migrate: Migrate) -> None:
    found = migrate("tasks:\n  a: {deps: [b, c]}\n  b: {deps: [c], cmds: [echo b]}\n  c: echo c\n")
    assert {each.target: each.why for each in found.compared}["a"] == ("what several tasks need is run once",)


def test_a_taskfile_that_task_cannot_read(migrate: Migrate) -> None:
    with pytest.raises(ToolFailed, match=r"task cannot read Taskfile\.yml"):
        migrate("tasks:\n  a: {cmds: {}\n")


def test_where_task_is_missing(repository: Path, tmp_path: Path) -> None:
    (repository / "Taskfile.yml").write_text("version: '3'\n")
    for name in ("git", "timeout", "unshare", "true"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    with pytest.raises(UsageError, match="read through task, which is not on PATH") as caught:
        migrate_makefile(Options(directory=repository, environ={"PATH": str(tmp_path)}), "Taskfile.yml", write=False)
    assert "pip install go-task-bin" in str(caught.value)


@pytest.mark.parametrize(
    "written",
    ["a:\n    status:\n      - b\n      # c\n    cmds: [d]", "a: {status: [b], cmds: [d]}", "a: {cmds: [d]}"],
)
def test_what_keeps_a_dry_run_from_telling_all_is_put_aside(written: str) -> None:
    text = f"version: '3'\ntasks:\n  {written}\n"
    assert "b" not in _aside("Taskfile.yml", text).partition("tasks:")[2]
    assert "[d]" in _aside("Taskfile.yml", text)


@pytest.mark.parametrize("text", ["{{with .X}}y{{end}}", "{{$x := 1}}", "{{end}}", "{{ | }}", "{{.A .B}}"])
def test_templates_that_are_not_known(text: str) -> None:
    with pytest.raises(Odd):
        parse(text)
