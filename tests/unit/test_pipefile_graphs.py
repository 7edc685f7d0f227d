"""The graphs of the eight Pipefiles of `tests/pipefiles`, each in a small repository: what a reader expects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.runs import Repo
from tests.unit.test_pipefile_examples import FILES, NOTEBOOKS, PIPEFILES, SERVICES, VARIANTS

NATIVE, FOREIGN = "linux/amd64", "linux/arm64"
MULTI_STAGE = """\
FROM eclipse-temurin:17-jre AS runtime
COPY target/*.jar /app.jar
FROM runtime AS app-image
FROM app-image AS app-image-debug
FROM app-image AS default
"""
INGRESS = """\
ARG BUILD_OS=debian
FROM golang:1.25 AS builder
COPY go.mod /src/
FROM nginx:1.31 AS debian
FROM debian AS common
FROM common AS container
COPY --from=builder /src/nginx-ingress /
FROM common AS local
COPY nginx-ingress /
"""
NOTEBOOK = "ARG REGISTRY\nARG OWNER\nFROM $REGISTRY/$OWNER/{base}-notebook\n"
PARENTS = {
    "base": "foundation",
    "minimal": "base",
    "scipy": "minimal",
    "r": "minimal",
    "julia": "minimal",
    "tensorflow": "scipy",
    "datascience": "scipy",
}
REPOSITORIES: Mapping[str, Mapping[str, str]] = {
    "chapter": {
        "pom.xml": "",
        "src/App.java": "",
        "multi-stage-runtime.df": MULTI_STAGE,
        "structure-tests.yaml": "",
    },
    "stages": {
        "Dockerfile": "FROM debian:12\n",
        "config.df": "FROM scratch\nARG STAGE\nCOPY config/$STAGE /\n",
        "config/dev": "",
        "structure-tests.yaml": "",
    },
    "monorepo": {
        "base/Dockerfile": "FROM debian:12\n",
        **{f"services/{name}/Dockerfile": "ARG BASE\nFROM $BASE\n" for name in SERVICES},
        **{f"services/{name}/structure.yaml": "" for name in SERVICES},
    },
    "stack_of_images": {
        "images/foundation/Dockerfile": "FROM ubuntu:24.04\n",
        **{f"images/{name}/Dockerfile": NOTEBOOK.format(base=base) for name, base in PARENTS.items()},
        **{f"tests/{name}/test_it.py": "" for name in NOTEBOOKS},
        "tests/conftest.py": "",
    },
    "images_from_each_other": {
        "testing/centos/Dockerfile": "FROM centos:7\n",
        "build/tools/Dockerfile": "FROM testing/centos:latest\n",
        "bin/test.sh": "",
    },
    "forty_variants": {
        "build/Dockerfile": INGRESS,
        "go.mod": "",
        "go.sum": "",
        "cmd/main.go": "",
        "nginx-repo.crt": "",
        "nginx-repo.key": "",
    },
    "buildx_by_hand": {
        "Dockerfile": "FROM golang AS build\nCOPY . .\nRUN make\nFROM scratch\nCOPY --from=build /sso /\n",
        "go.mod": "",
        "main.go": "",
        ".dockerignore": "dist\n",
    },
    "tag_ladder": {
        "base/Dockerfile": "ARG BASE_IMAGE\nFROM $BASE_IMAGE\n",
        "st2api/Dockerfile": "ARG ST2_VERSION\nFROM stackstorm/st2:$ST2_VERSION\n",
        "st2web/Dockerfile": "FROM nginx\n",
    },
}


def graph(tmp_path: Path, name: str, **overrides: str) -> dict[str, set[str]]:
    """Every node with its prerequisites."""
    repo = Repo(tmp_path)
    for path, text in {**FILES.get(name, {}), **REPOSITORIES[name]}.items():
        repo.put(path, text)
    repo.put("Pipefile.py", (PIPEFILES / f"{name}.py").read_text())
    with repo.session(overrides=overrides) as (session, _):
        assert not session.problems
        found = session.run.graph
        return {node: set(found.prerequisites(node)) for node in found.nodes}


def test_every_pipefile_has_a_repository() -> None:
    assert {path.stem for path in PIPEFILES.glob("*.py")} == REPOSITORIES.keys()


def test_chapter(tmp_path: Path) -> None:
    found = graph(tmp_path, "chapter")
    jar = "target/ch10-0.1.0.jar"
    assert found["app-image"] == {"lint-dockerfile", jar}
    assert found["app-image-debug"] == {"app-image", jar}
    assert found["image-tests"] == found["tag"] == found["inspect-image-labels"] == {"app-image"}
    assert found["publish"] == {"app-image", "image-tests"}
    assert found["all"] == {"app-artifacts", "app-image", "image-tests"}


def test_stages(tmp_path: Path) -> None:
    found = graph(tmp_path, "stages")
    for stage in ("dev", "stage", "prod"):
        assert found[f"smoke/{stage}"] == {"app", f"config/{stage}"}
        assert found[f"publish/{stage}"] == {f"config/{stage}", f"smoke/{stage}"}
    assert found["publish/app"] == {"app", "app-tests", "smoke/dev", "smoke/stage", "smoke/prod"}
    assert found["all"] == {"app-tests", "smoke/dev", "smoke/stage", "smoke/prod"}


def test_monorepo(tmp_path: Path) -> None:
    found = graph(tmp_path, "monorepo", VERSION="1.0.0")
    for name in SERVICES:
        assert found[name] == {"base"}
        assert found[f"{name}@{FOREIGN}"] == {f"base@{FOREIGN}"}
        assert found[f"test/{name}"] == {name}
        assert found[f"publish/{name}"] == {name, f"{name}@{FOREIGN}", f"test/{name}", f"lint/{name}"}


def test_stack_of_images(tmp_path: Path) -> None:
    found = graph(tmp_path, "stack_of_images")
    for name in NOTEBOOKS:
        assert found[f"build/{name}"] == ({f"build/{PARENTS[name]}"} if name in PARENTS else set())
        assert found[f"test/{name}"] == {f"build/{name}"}
        assert found[f"push/{name}"] == {f"build/{name}", f"test/{name}"}


def test_images_from_each_other(tmp_path: Path) -> None:
    found = graph(tmp_path, "images_from_each_other")
    assert found["testing/hive"] == found["build/tools"] == {"testing/centos"}
    assert found["release/testing/hive"] == {"on-master", "testing/hive", "test/testing/hive"}
    assert found["images"] == {"testing/centos", "testing/hive", "build/tools"}


def test_forty_variants(tmp_path: Path) -> None:
    found = graph(tmp_path, "forty_variants")
    assert all(found[name] == {"nginx-ingress"} for name in VARIANTS), "TARGET=local copies the binary"
    assert found["all-images"] == set(VARIANTS)


def test_forty_variants_without_the_binary(tmp_path: Path) -> None:
    found = graph(tmp_path, "forty_variants", TARGET="container")
    assert all(found[name] == set() for name in VARIANTS)


def test_buildx_by_hand(tmp_path: Path) -> None:
    found = graph(tmp_path, "buildx_by_hand")
    assert found["build"] == {"dist/sso-auth", "dist/sso-proxy"}
    assert found["image"] == found[f"image@{FOREIGN}"] == set()
    assert found["releasepush"] == {"test", "image", f"image@{FOREIGN}"}


@pytest.mark.parametrize("version", ["3.9dev", "3.8.1"])
def test_tag_ladder(tmp_path: Path, version: str) -> None:
    found = graph(tmp_path, "tag_ladder", ST2_VERSION=version)
    assert found["st2api"] == {"st2"}
    assert found["st2web"] == set()
    assert found["push"] == {"push/st2", "push/st2api", "push/st2web"}
