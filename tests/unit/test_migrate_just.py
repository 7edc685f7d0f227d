"""One small justfile a construct: what it becomes, and that just itself and imgmake would run the same."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imgmake.app.migrating import Migrated, check_makefile, migrate_makefile
from imgmake.app.options import Options
from imgmake.app.others import migrating
from imgmake.errors import UsageError
from imgmake.migrate.tools import ToolFailed
from tests.committed import committed

FILES = {
    "Dockerfile": "FROM scratch\nARG VERSION\n",
    "tests.yaml": "schemaVersion: 2.0.0\n",
    "src/a.c": "",
    "web/Dockerfile": "FROM scratch\n",
}
ENVIRON = {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "HOME": os.environ.get("HOME", "/"),
}

Migrate = Callable[..., Migrated]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return committed(tmp_path_factory.mktemp("just") / "repo", FILES)


@pytest.fixture
def migrate(repository: Path) -> Migrate:
    def migrated(text: str, *, literal: bool = False) -> Migrated:
        (repository / "justfile").write_text(text)
        return migrate_makefile(
            Options(directory=repository, environ=ENVIRON), "justfile", literal=literal, write=False
        )

    return migrated


def text_of(found: Migrated) -> str:
    return found.migration.pipefile.text


def notes(found: Migrated) -> str:
    pipefile = found.migration.pipefile
    return "\n".join(f"{each.text}: {each.why}" for each in (*pipefile.notes, *pipefile.left))


def verdicts(found: Migrated) -> dict[str, str]:
    return {each.target: each.verdict for each in found.compared}


# A justfile, and lines that its Pipefile holds. Every target has to be the same, or the same but better.
SAME = {
    "images": (
        'image := "acme/app"\n\n# Build it.\nbuild:\n    docker build -t {{image}}:1 .\n\n'
        "test: build\n    container-structure-test test --image {{image}}:1 --config tests.yaml\n",
        '# Build it.\nbuild = image("build", tags=f"{image_}:1")',
        'check("test", "build", structure_test(build, "tests.yaml"))',
    ),
    "environment": (
        'tag := env("TAG", "latest")\nuser := env_var_or_default("WHO", "x")\na:\n    echo {{tag}} {{user}}\n',
        'TAG = var("TAG", "latest")',
        'WHO = var("WHO", "x")',
        'sh("echo $TAG $WHO")',
    ),
    "required of the environment": (
        'token := env_var("TOKEN")\na:\n    echo {{token}}\n',
        'TOKEN = var("TOKEN")\n',
    ),
    "parameters": (
        "deploy env tag='latest' *flags:\n    echo {{env}} {{tag}} {{flags}}\n",
        'tag_ = var("tag", "latest")\nflags = var("flags", "")',
        'env = var("env")\n',
        'sh("echo $env $tag $flags")',
    ),
    "parameters of one name that differ": (
        "a tag='1':\n    echo {{tag}}\nb tag='2':\n    echo {{tag}}\nc tag='1':\n    echo {{tag}}\n",
        'tag_ = var("tag", "1")',
        'b_tag = var("b_tag", "2")',
    ),
    "a parameter that is a variable": (
        'tag := "1"\nbuild tag=tag:\n    docker build -t a:{{tag}} .\n',
        'tag_ = var("tag", "1")',
        'image("build", tags=f"a:{tag_}")',
    ),
    "arguments of dependencies": (
        "all: (build 'web') (build 'api')\nbuild what='web':\n    echo {{what}}\n",
        'phony("all", "build", "build-api")',
        'phony("build-api", sh("echo api"))',
    ),
    "what is run after": (
        "a: b && c d\n    echo a\nb:\n    echo b\nc: b\n    echo c\nd:\n    echo d\n",
        'phony("a", "b", sh("echo a"), sh("echo b"), sh("echo c"), sh("echo d"))',
    ),
    "sigils": ("@a:\n    -false\n    @echo quiet\n", 'sh("false || true"), sh("echo quiet")'),
    "conditions": (
        "debug := env('DEBUG', '')\nmode := if debug == '1' { 'debug' } else { 'release' }\n"
        "a:\n    docker build -t a:{{mode}} .\nb:\n    echo {{ if debug != '' { '--debug' } else { '' } }} x\n",
        'if DEBUG == "1":\n    mode = "debug"\nelse:\n    mode = "release"',
        'sh("echo --debug x") if DEBUG else sh("echo  x")',
    ),
    "the system": (
        "open := if os() == 'macos' { 'open' } else { 'xdg-open' }\na:\n    {{open}} x {{os_family()}}\n",
        'if shell("uname -s") == "Darwin":',
    ),
    "commands": (
        "sha := `git rev-parse HEAD`\nn := `ls src | wc -l`\n"
        "a:\n    docker build --label r={{sha}} -t a .\n    echo {{n}}\n",
        "VCS_REF",
        'n = var("n", sh("ls src | wc -l"))',
    ),
    "paths and joining": (
        "registry := 'ghcr.io' / 'acme'\nfull := registry / 'app' + ':' + '1'\na:\n    docker build -t {{full}} .\n",
        'registry = "ghcr.io/acme"',
        'full = f"{registry}/app:1"',
    ),
    "functions": (
        "v := env('V', 'v1.2')\na:\n    echo {{replace(v, '.', '-')}} {{trim_start_match(v, 'v')}} {{uppercase(v)}}\n"
        "    echo {{uppercase('x')}} {{file_stem('a/b.c')}} {{parent_directory('a/b.c')}} {{quote('q')}}\n",
        "V.replace('.', '-')",
        "V.removeprefix('v')",
        "echo X b a 'q'",
    ),
    "scripts": (
        "name := 'n'\na:\n    #!/usr/bin/env bash\n    set -euo pipefail\n    for x in 1 2; do\n"
        '      echo "{{name}} $x"\n    done\n',
        'shell="bash"',
        'set -euo pipefail\n    for x in 1 2; do\n      echo "{name} $x"\n    done',
    ),
    "a script that goes on": (
        "a:\n    #!/bin/sh\n    # Why.\n    false\n    echo on\n",
        "set +e; false\n    echo on",
    ),
    "scripts of other languages": (
        "a:\n    #!/usr/bin/env python3\n    print('it is', \"here\")\n",
        "python3 - <<'END'\n    print('it is', \"here\")\n    END",
    ),
    "the attribute script": ("[script('bash')]\na:\n    echo ${BASH_VERSION:0:1}\n", 'shell="bash"'),
    "continued lines": (
        "a:\n    docker build \\\n        --build-arg VERSION=1 \\\n        -t a .\nb:\n    echo 'x \\\n      y'\n",
        'image("a", tags="a", build_args={"VERSION": "1"})',
        "echo 'x y'",
    ),
    "a shell that stops": (
        'set shell := ["bash", "-euo", "pipefail", "-c"]\na:\n    true | cat\n    echo [[ ]]\n    echo plain\n',
        'sh("set -o pipefail; true | cat", shell="bash")',
        'sh("echo plain")',
    ),
    "variables that nobody may have set": ("a:\n    echo $TOKEN ${X:-y} $HOME\n", 'sh("set -u; echo $TOKEN'),
    "exported variables": (
        'export DOCKER_BUILDKIT := "1"\nexport LEVEL := "2"\na:\n    docker build -t a .\nb:\n    ./b $LEVEL\n',
        'image("a", tags="a")',
        'sh("./b $LEVEL", **EXPORTED)',
    ),
    "exported parameters": (
        "set export\nx := '1'\na tag:\n    echo $tag ${x}\nb $what='y':\n"
        "    #!/bin/sh\n    echo $what\nc:\n    ./c\n",
        'EXPORTED = {"x": x}',
        "echo $tag ${x}",
        'sh("./c", **EXPORTED)',
    ),
    "exported parameters that a program may read": (
        "deploy $TAG='dev' where='x': (sub 'q')\n    ./deploy.sh {{where}}\nsub $KIND='k':\n    python3 sub.py\n"
        "build $TAG='dev':\n    docker build -t app:$TAG .\nup $TAG='dev':\n    docker compose up\n",
        'sh("./deploy.sh $where", TAG=TAG)',
        'phony("sub", sh("python3 sub.py", KIND=KIND))',
        'sh("python3 sub.py", KIND="q")',
        'image("build", tags=f"app:{TAG}")',
        'sh("docker compose up", TAG=TAG)',
    ),
    "commands that others are made of": (
        "sha := `git rev-parse --short HEAD`\ntag := env('TAG', sha)\na:\n    echo {{tag}}\n",
        'TAG = var("TAG", sha)',
    ),
    "exported choices": (
        "export MODE := if env('CI', '') == '1' { 'ci' } else { 'local' }\na:\n    ./a\n",
        'EXPORTED = {"MODE": MODE}',
    ),
    "a shebang of its own": ("#!/usr/bin/env just --justfile\n\na:\n    echo a\n", 'import phony, sh\n\nphony("a"'),
    "failures that are ignored by another shell": (
        'set shell := ["bash", "-c"]\na:\n    -rm *.o\n',
        'sh("rm *.o || true", shell="bash")',
    ),
    "aliases": ("alias b := build\nbuild:\n    echo x\n", 'phony("b", "build")'),
    "attributes": (
        "[private]\n[group('x')]\n[doc('Says x.')]\na:\n    echo x\n_b:\n    echo y\n",
        '# Says x.\nphony("a", sh("echo x"))',
    ),
    "confirmation": (
        "[confirm('Delete all?')]\nwipe:\n    rm -rf dist\n",
        'confirm = var("confirm", "")',
        'fail("Delete all? Say so: imgmake wipe confirm=yes") if confirm != "yes" else []',
    ),
    "folders": (
        "set working-directory := 'web'\na:\n    ls\n[working-directory: 'x']\nb:\n    true || ls\n"
        "c:\n    docker build -t c .\n",
        'image("c", tags="c", context="web")',
        'sh("cd web && ls")',
        'sh("cd web/x && { true || ls; }")',
    ),
    "positional arguments": (
        "set positional-arguments\na x *rest:\n    echo \"$1\" $@\n",
        'echo "$x" $x $rest',
    ),
    "calls of just": (
        "default:\n    @just --list\nall:\n    just one two\none x:\n    echo {{x}}\n",
        'sh("imgmake --list")',
        'sh("imgmake one x=two")',
    ),
    "modules": ("mod? sub\na:\n    echo a\n", 'phony("a", sh("echo a"))'),
    "braces": ("a:\n    docker ps --format '{{{{.ID}}'\n", "docker ps --format '{{.ID}}'"),
    "a recipe and a variable of one name": ("app := 'x'\napp:\n    docker build -t {{app}} .\n", 'image("app"'),
    "several lines of hadolint": (
        "lint:\n    hadolint Dockerfile\n    docker run --rm -i hadolint/hadolint < web/Dockerfile\n",
        'check("lint", lint("Dockerfile"), lint("web/Dockerfile"))',
    ),
    "comments in recipes": ("a:\n    # Why.\n    echo x\n", 'phony("a", sh("echo x"))'),
    "names with dashes": ("image-name := 'a'\nbuild-it no-cache='0':\n    echo {{image-name}} {{no-cache}}\n",
                          'no_cache = var("no_cache", "0")'),
    "what is not on this system": ("[windows]\na:\n    echo w\n[unix]\nb:\n    echo u\n", 'phony("b", sh("echo u"))'),
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
    "a regular expression": ("x := env('X', '')\na:\n    echo {{ if x =~ 'a.*' { 'y' } else { 'n' } }}\n", "=~"),
    "another shell": ('set shell := ["nu", "-c"]\na:\n    ls | length\n', "just runs it with nu"),
    "an unknown function": ("a:\n    echo {{ sha256('x') }}\n", "the function sha256()"),
    "a value of several lines": ("x := '''\n  a\n  b\n'''\na:\n    echo {{x}}\n", "several lines"),
    "a script with values": ("x := 'y'\na:\n    #!/usr/bin/env python3\n    print('{{x}}')\n", "values in it"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_cannot_be_said_fails_and_is_told(name: str, migrate: Migrate) -> None:
    text, why = ODD[name]
    found = migrate(text)
    assert [(each.target, each.verdict, each.said) for each in found.compared] == [("a", "different", True)]
    assert why in notes(found)
    line = text.split("\n").index("a:") + 1
    assert f"# TODO justfile:{line}: a:" in text_of(found)
    assert f"justfile:{line}: a is not translated: " in text_of(found)


def test_what_a_person_should_know(migrate: Migrate) -> None:
    found = migrate(
        "set dotenv-load\nbuild tag:\n    echo {{tag}}\n[linux]\nl:\n    echo l\n[windows]\nw:\n    echo w\n"
        "[no-cd]\nn:\n    echo n\nall: build2 l\nbuild2:\n    echo\n"
    )
    told = notes(found)
    assert "`just build TAG` is now `imgmake build tag=TAG`" in told
    assert "imgmake reads no .env" in told
    assert "l:: [linux]" in told
    assert "w:: just leaves it out on this system" in told
    assert "n:: [no-cd]" in told
    assert "just runs what a recipe needs in the order of the list" in told


def test_comments_and_order_are_kept(migrate: Migrate) -> None:
    found = migrate(
        "# The first.\n\n# A name.\nname := 'n'\n\n# Two.\n# Lines.\na:\n    echo {{name}}\n\nb:\n    echo b\n"
    )
    text = text_of(found)
    assert [text.index(each) for each in ("# The first.", "# A name.\n", "# Two.\n# Lines.\nphony(", '"b"')] == sorted(
        text.index(each) for each in ("# The first.", "# A name.\n", "# Two.\n# Lines.\nphony(", '"b"')
    )


def test_imports_stand_where_they_are_imported(migrate: Migrate, repository: Path) -> None:
    (repository / "more.just").write_text("# From more.\nmore:\n    echo {{ sha256('x') }}\n")
    found = migrate("import 'more.just'\na: more\n    echo a\n")
    assert "# TODO more.just:2: more:" in text_of(found)


def test_what_a_recipe_exports_that_runs_after_another_is_not_lost_silently(migrate: Migrate) -> None:
    found = migrate("a: && b\n    echo a\nb $X='1':\n    ./b\n")
    assert verdicts(found) == {"a": "different", "b": "same"}
    assert "b is run after it, with parameters that it exports" in notes(found)


def test_recipes_of_modules_stay_with_just(migrate: Migrate, repository: Path) -> None:
    (repository / "sub.just").write_text("x:\n    echo x\n")
    found = migrate("mod sub\na:\n    echo a\n")
    assert 'phony("sub::x", sh("just sub::x"))' in text_of(found)
    assert set(verdicts(found).values()) == {"same"}


def test_an_argument_is_given_to_both(migrate: Migrate) -> None:
    """A value that the tools read otherwise shows in the comparison with the parameter overridden."""
    found = migrate("build tag='1':\n    docker build -t a:{{tag}} .\n    docker push a:{{tag}}\n")
    assert set(verdicts(found)) == {"build"}  # no row of its own: the same with another tag


def test_a_difference_is_told_in_justs_words(repository: Path) -> None:
    options = Options(directory=repository, environ=ENVIRON, migrate="justfile")
    (repository / "justfile").write_text("a:\n    echo a\n")
    migrate_makefile(options, "justfile")
    try:
        assert [each.verdict for each in check_makefile(options, "justfile").compared] == ["same"]
        (repository / "justfile").write_text("a:\n    echo b\n")
        told, code = migrating(Options(directory=repository, environ=ENVIRON, migrate="justfile", check=True))
        assert code == 1
        assert "just runs what imgmake does not: echo b" in told
        assert "      just:    echo b" in told
    finally:
        (repository / "Pipefile.py").unlink()


def test_literal(migrate: Migrate) -> None:
    found = migrate("a:\n    docker build -t a .\n", literal=True)
    assert 'phony("a", sh("docker build -t a ."))' in text_of(found)


def test_a_justfile_that_just_cannot_read(migrate: Migrate) -> None:
    with pytest.raises(ToolFailed, match="just cannot read justfile: "):
        migrate("a:\n    echo {{x}}\n")


def test_where_just_is_missing(repository: Path, tmp_path: Path) -> None:
    (repository / "justfile").write_text("a:\n    echo a\n")
    for name in ("git", "timeout", "unshare", "true"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    with pytest.raises(UsageError, match="read through just, which is not on PATH") as caught:
        migrate_makefile(Options(directory=repository, environ={"PATH": str(tmp_path)}), "justfile", write=False)
    assert "pip install rust-just" in str(caught.value)


def test_it_does_not_write_beside_one_that_is_there(repository: Path) -> None:
    (repository / "Pipefile.py").write_text("")
    try:
        with pytest.raises(UsageError, match="not overwritten"):
            migrate_makefile(Options(directory=repository, environ=ENVIRON), "justfile")
    finally:
        (repository / "Pipefile.py").unlink()
