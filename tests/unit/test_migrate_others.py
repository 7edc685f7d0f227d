"""Pipefiles that come of bake and compose files: what they say, and that each build is told the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from imgmake.app.options import Options
from imgmake.app.others import Found, chosen, migrate_other, migrating
from imgmake.errors import UsageError

BAKE = {
    "group": {"default": {"targets": ["app", "tools"]}},
    "variable": {"TAG": {"default": "latest"}},
    "target": {
        "_common": {"args": {"GO": "1.22", "COLOR": "red"}},
        "app": {
            "inherits": ["_common"],
            "context": "app",
            "dockerfile": "prod.df",
            "target": "run",
            "args": {"COLOR": "${TAG}"},
            "tags": ["example/app:${TAG}"],
            "contexts": {"base": "target:tools"},
            "platforms": ["linux/amd64", "linux/arm64"],
            "secret": ["id=token,env=TOKEN"],
            "output": ["type=registry"],
        },
        "tools": {"tags": ["example/tools:1"]},
        "old": {"tags": ["example/old:${upper(TAG)}"]},
    },
}
COMPOSE = """\
name: shop
services:
  # Serves.
  web:
    image: example/web:${TAG:-dev}
    build: {context: web, args: {VERSION: "${TAG:-dev}"}, additional_contexts: {db: "service:db"}}
  db: {build: db}
  cache: {image: redis}
  inline: {build: {dockerfile_inline: "FROM scratch"}}
"""
FILES = {
    "docker-bake.json": json.dumps(BAKE, indent=1),
    "docker-bake.hcl": 'variable "TAG" { default = "1" }\n# The one.\ntarget "one" {\n  tags = ["a:${TAG}"]\n}\n',
    "compose.yaml": COMPOSE,
    "app/prod.df": "FROM scratch AS run\nARG COLOR\nARG GO\n",
    "Dockerfile": "FROM scratch\n",
    "web/Dockerfile": "FROM scratch\nARG VERSION\n",
    "db/Dockerfile": "FROM scratch\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Without a docker on PATH, so that the files are read as they stand on any machine."""
    for name, text in FILES.items():
        (tmp_path / "repo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repo" / name).write_text(text)
    (tmp_path / "bin").mkdir()
    for name in ("git", "timeout", "unshare", "true"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    return tmp_path / "repo"


def options(folder: Path, **given: Any) -> Options:
    return Options(directory=folder, environ={"PATH": str(folder.parent / "bin"), "HOME": str(folder)}, **given)


def migrated(folder: Path, file: str) -> Found:
    return migrate_other(options(folder), file, write=False)


def verdicts(found: Found) -> dict[str, str]:
    return {each.target: each.verdict for each in found.compared}


def test_a_bake_file(folder: Path) -> None:
    found = migrated(folder, "docker-bake.json")
    text = found.pipefile.text
    assert 'TAG = var("TAG", "latest")' in text
    assert 'build_args={"GO": "1.22", "COLOR": TAG}' in text  # inherited, and its own
    assert 'contexts={"base": tools}' in text
    assert text.index("tools = image(") < text.index("app = image(")
    assert 'publish("publish/app", image=app, to="example/app", tags=TAG)' in text
    assert 'phony("default", "app", "tools")' in text
    assert verdicts(found) == {
        "app": "better",
        "publish/app": "better",
        "tools": "better",
        "old": "different",
        "default": "better",
    }


def test_what_bake_works_out_is_said_and_fails(folder: Path) -> None:
    found = migrated(folder, "docker-bake.json")
    assert [each.target for each in found.pipefile.left] == ["old"]
    assert "# TODO docker-bake.json:" in found.pipefile.text
    assert "old is not translated" in found.pipefile.text


def test_hcl(folder: Path) -> None:
    found = migrated(folder, "docker-bake.hcl")
    assert '# The one.\nimage("one", tags=f"a:{TAG}")' in found.pipefile.text
    assert verdicts(found) == {"one": "better"}


def test_a_compose_file(folder: Path) -> None:
    found = migrated(folder, "compose.yaml")
    text = found.pipefile.text
    assert '# Serves.\nimage("web", tags=f"example/web:{TAG}", context="web", build_args={"VERSION": TAG}' in text
    assert 'db = image("db", tags="shop-db", context="db")' in text
    assert 'phony("build", "web", "db", "inline")' in text
    assert verdicts(found) == {"web": "better", "db": "better", "inline": "different", "build": "different"}
    assert all(each.said for each in found.compared if each.verdict == "different")


def test_a_pipefile_that_differs_is_told(folder: Path) -> None:
    text = migrated(folder, "docker-bake.hcl").pipefile.text
    (folder / "Pipefile.py").write_text(text.replace("a:", "b:"))
    told, code = migrating(options(folder, migrate="docker-bake.hcl", check=True))
    assert code == 1
    assert "tag: a:1" in told


def test_a_makefile_comes_first(folder: Path) -> None:
    assert chosen(Options(directory=folder)) == ("docker-bake.json", ["docker-bake.hcl", "compose.yaml"])
    (folder / "Makefile").write_text("a:\n\ttrue\n")
    assert chosen(Options(directory=folder))[0] == "Makefile"


def test_a_compose_file_that_builds_nothing(folder: Path) -> None:
    (folder / "compose.yaml").write_text("services: {a: {image: b}}\n")
    with pytest.raises(UsageError, match="no service"):
        migrated(folder, "compose.yaml")


def test_services_that_build_the_same_are_one_image(folder: Path) -> None:
    """Two rules for one tag load in no Pipefile."""
    (folder / "compose.yaml").write_text(
        "x-app: &app {image: a:1, build: web}\n"
        "services:\n  one: *app\n  two: *app\n  three: {image: a:1, build: db}\n  four: {image: b:1, build: "
        "{context: db, additional_contexts: {x: 'service:two'}}}\n"
    )
    found = migrated(folder, "compose.yaml")
    assert 'phony("two", "one")' in found.pipefile.text
    assert 'contexts={"x": one}' in found.pipefile.text
    assert verdicts(found) | {"build": ""} == {
        "one": "better",
        "two": "better",
        "three": "different",
        "four": "better",
        "build": "",
    }
    assert [each.why for each in found.pipefile.left] == ["one has the tag a:1, and is built otherwise"]


def test_a_service_that_may_build_what_it_extends(folder: Path) -> None:
    """Without compose nobody says what that comes to: it was told to build nothing."""
    (folder / "compose.yaml").write_text("services: {a: {build: web}, b: {extends: a}, c: {image: x}}\n")
    found = migrated(folder, "compose.yaml")
    assert [each.target for each in found.pipefile.left] == ["b"]
    assert [each.text for each in found.pipefile.notes] == ["c"]


def test_what_compose_passes_over_is_told(folder: Path) -> None:
    (folder / "compose.yaml").write_text(
        "services: {a: {build: {context: web, entitlements: [network.host], x-bake: {output: [type=registry]}}}}\n"
    )
    found = migrated(folder, "compose.yaml")
    assert 'options="--allow=network.host"' in found.pipefile.text
    assert "x-bake for bake" in found.pipefile.notes[0].why
    assert verdicts(found)["a"] == "better"


def test_a_bake_file_that_is_merged_in_is_told(folder: Path) -> None:
    (folder / "docker-bake.override.hcl").write_text('target "one" {\n  tags = ["b"]\n}\n')
    notes = migrated(folder, "docker-bake.hcl").pipefile.notes
    assert [each.text for each in notes] == ["docker-bake.override.hcl"]


def test_what_runs_commands_comes_before_what_only_builds(folder: Path) -> None:
    for name in ("Taskfile.yml", "justfile"):
        (folder / name).write_text("")
        assert chosen(Options(directory=folder))[0] == name
    assert chosen(Options(directory=folder))[1] == [
        "Taskfile.yml",
        "docker-bake.json",
        "docker-bake.hcl",
        "compose.yaml",
    ]
