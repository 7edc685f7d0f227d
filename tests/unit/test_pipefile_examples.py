"""The eight Pipefiles of `tests/pipefiles` load, each in a small repository, and hold what a reader expects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imgmake import ARCH, pipefile
from imgmake.commands import Lint, Run, Sh, StructureTest, Tag
from imgmake.model import CheckRule, ImageRule, Pipeline, PublishRule, Semver
from tests.loading import Repository

PIPEFILES = Path(__file__).parents[1] / "pipefiles"

SERVICES = ("api", "auth", "billing", "mail", "search", "web")
NOTEBOOKS = ("foundation", "base", "minimal", "scipy", "r", "julia", "tensorflow", "datascience")
OSES = ("debian", "ubi")
FLAVOURS = ("plus", "nap-plus", "nap-plus-agent", "nap-v5-plus", "nap-v5-plus-agent", "dos-plus", "nap-dos-plus")
ALPINE = ("plus", "plus-fips", "nap-plus-fips", "nap-plus-fips-agent", "nap-v5-plus-fips", "nap-v5-plus-fips-agent")
VARIANTS = (
    *(f"{os}-image" for os in ("alpine", *OSES)),
    *(f"alpine-image-{flavour}" for flavour in ALPINE),
    *(f"{os}-image-{flavour}" for os in OSES for flavour in (*FLAVOURS, "nap-dos-plus-agent")),
)

# What each Pipefile reads while it is loaded.
FILES: Mapping[str, Mapping[str, str]] = {
    "forty_variants": {".github/data/version.txt": "IC_VERSION=5.6.0\nHELM=2.4\n"},
    "images_from_each_other": {
        "version": "476-SNAPSHOT\n",
        "testing/centos/Dockerfile": "FROM x",
        "testing/hive/Dockerfile": "FROM testing/centos:unlabelled",
        "build/tools/Dockerfile": "FROM x",
    },
    "tag_ladder": {name: "" for name in ("base/Dockerfile", "st2api/Dockerfile", "st2web/Dockerfile", "other/x")},
}

# Targets by kind, in the order of the kind's rules.
EXPECTED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "buildx_by_hand": {
        "file": ("dist/sso-auth", "dist/sso-proxy"),
        "phony": ("build", "tools"),
        "check": ("test",),
        "image": ("image",),
        "publish": ("imagepush-commit", "imagepush-latest", "releasepush"),
    },
    "chapter": {
        "file": ("target/ch10-0.1.0.jar",),
        "phony": ("app-artifacts", "tag", "metadata", "inspect-image-labels", "clean", "all"),
        "check": ("lint-dockerfile", "image-tests"),
        "image": ("app-image", "app-image-debug"),
        "publish": ("publish",),
    },
    "forty_variants": {
        "file": ("nginx-ingress",),
        "phony": ("all-images", "push", "all"),
        "check": ("test", "lint"),
        "image": VARIANTS,
        "publish": tuple(f"push/{name}" for name in VARIANTS),
    },
    "images_from_each_other": {
        "phony": ("on-master", "images", "test", "snapshot"),
        "check": ("test/build/tools", "test/testing/centos", "test/testing/hive"),
        "image": ("build/tools", "testing/centos", "testing/hive"),
        "publish": ("release/build/tools", "release/testing/centos", "release/testing/hive"),
    },
    "monorepo": {
        "phony": ("all", "publish"),
        "check": tuple(f"{verb}/{name}" for name in SERVICES for verb in ("lint", "test")),
        "image": ("base", *SERVICES),
        "publish": tuple(f"publish/{name}" for name in SERVICES),
    },
    "stack_of_images": {
        "phony": ("build-all", "test-all", "push-all"),
        "check": tuple(f"test/{name}" for name in NOTEBOOKS),
        "image": tuple(f"build/{name}" for name in NOTEBOOKS),
        "publish": tuple(f"push/{name}" for name in NOTEBOOKS),
    },
    "stages": {
        "phony": ("all", "publish"),
        "check": ("app-tests", "smoke/dev", "smoke/stage", "smoke/prod"),
        "image": ("app", "config/dev", "config/stage", "config/prod"),
        "publish": ("publish/app", "publish/dev", "publish/stage", "publish/prod"),
    },
    "tag_ladder": {
        "phony": ("build", "push"),
        "image": ("st2", "st2api", "st2web"),
        "publish": ("push/st2", "push/st2api", "push/st2web"),
    },
}

DEFAULTS = {
    "buildx_by_hand": "build", "chapter": "all", "forty_variants": "all", "images_from_each_other": "images",
    "monorepo": "all", "stack_of_images": "test-all", "stages": "all", "tag_ladder": "build",
}  # fmt: skip


def load(tmp_path: Path, name: str, **overrides: str) -> Pipeline:
    repository = Repository(tmp_path / "shop").write(FILES.get(name, {}))
    (repository.root / "Pipefile.py").write_bytes((PIPEFILES / f"{name}.py").read_bytes())
    return pipefile.load(repository.root / "Pipefile.py", overrides=overrides, environ={})


def by_target(pipeline: Pipeline) -> dict[str, Any]:
    return {rule.target: rule for rule in pipeline.rules}


def test_every_pipefile_is_expected() -> None:
    assert {path.stem for path in PIPEFILES.glob("*.py")} == EXPECTED.keys() == DEFAULTS.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_targets_and_kinds(tmp_path: Path, name: str) -> None:
    found = load(tmp_path, name)
    kinds: dict[str, list[str]] = {}
    for rule in found.rules:
        kinds.setdefault(rule.kind.value, []).append(rule.target)
    assert {kind: tuple(targets) for kind, targets in kinds.items()} == EXPECTED[name]
    assert found.default == DEFAULTS[name]
    assert {rule.place.file for rule in found.rules} == {"Pipefile.py"}
    assert not [rule for rule in found.rules if rule.place.line == 0]


def test_chapter(tmp_path: Path) -> None:
    found = load(tmp_path, "chapter")
    rules = by_target(found)
    app = rules["app-image"]
    assert (app.tags, app.stage, app.dockerfile) == (
        ("dockerinaction/ch10:${BUILD_ID}",),
        "app-image",
        "multi-stage-runtime.df",
    )
    assert rules["app-image-debug"].parts == (app,)
    assert rules["target/ch10-0.1.0.jar"].parts == ("pom.xml", "src/")
    assert [
        type(rules[target].recipe[0]) for target in ("target/ch10-0.1.0.jar", "lint-dockerfile", "image-tests")
    ] == [
        Run,
        Lint,
        StructureTest,
    ]
    (tag,) = rules["tag"].recipe
    assert isinstance(tag, Tag)
    assert (tag.image, tag.references) == (app, ("dockerinaction/ch10:${TAG}",))
    assert rules["publish"].tags == ("${BUILD_ID}", Semver(version="${VERSION}"))
    assert {name: v.origin for name, v in found.variables.items()} == {
        "REPO": "default",
        "TAG": "required",
        "VERSION": "required",
    }


def test_a_variable_of_the_command_line_reaches_every_tag(tmp_path: Path) -> None:
    rules = by_target(load(tmp_path, "chapter", REPO="acme/app", TAG="1.0.0"))
    assert rules["app-image"].tags == ("acme/app:${BUILD_ID}",)
    assert rules["tag"].recipe[0].references == ("acme/app:1.0.0",)


def test_stages(tmp_path: Path) -> None:
    rules = by_target(load(tmp_path, "stages"))
    smoke = rules["smoke/dev"]
    assert isinstance(smoke, CheckRule)
    assert {read.what for read in smoke.recipe[0].reads()} >= {rules["app"], rules["config/dev"]}
    assert rules["config/dev"].build_args == {"STAGE": "dev"}
    assert rules["publish/dev"].images == (rules["config/dev"],)


def test_monorepo(tmp_path: Path) -> None:
    rules = by_target(load(tmp_path, "monorepo"))
    api = rules["api"]
    assert isinstance(api, ImageRule)
    assert (api.tags, api.context, api.build_args) == (("shop-api",), "services/api", {"BASE": rules["base"]})
    assert api.platforms == ("linux/amd64", "linux/arm64")
    publish = rules["publish/api"]
    assert isinstance(publish, PublishRule)
    assert publish.to == ("ghcr.io/acme/api", "registry.acme.io/prod/api")


def test_forty_variants(tmp_path: Path) -> None:
    rules = by_target(load(tmp_path, "forty_variants", TARGET="goreleaser"))
    plus = rules["debian-image-nap-plus"]
    assert (plus.stage, plus.secrets, plus.platforms) == (
        "goreleaser",
        ("nginx-repo.crt", "nginx-repo.key"),
        (f"linux/{ARCH}",),
    )
    assert plus.build_args["IC_VERSION"] == "5.6.0-SNAPSHOT"
    assert (plus.build_args["BUILD_OS"], plus.build_args["NAP_MODULES"]) == ("debian-plus-nap", "waf")
    assert rules["debian-image"].secrets == ()
    (build,) = rules["nginx-ingress"].recipe
    assert isinstance(build, Sh)
    assert dict(build.env)["GOARCH"] == ARCH


def test_images_from_each_other(tmp_path: Path) -> None:
    rules = by_target(load(tmp_path, "images_from_each_other"))
    hive = rules["testing/hive"]
    assert (hive.tags, hive.context) == (("testing/hive:latest", "testing/hive:unlabelled"), "testing/hive")
    assert hive.labels == {"io.trino.git.hash": "${VCS_REF}"}
    assert (rules["release/testing/hive"].tags, rules["snapshot"].parts) == (("${VCS_REF}",), ("release/*",))


@pytest.mark.parametrize(("version", "tag"), [("3.9dev", "3.9dev"), ("3.8.0", Semver(version="3.8.0"))])
def test_tag_ladder(tmp_path: Path, version: str, tag: str | Semver) -> None:
    rules = by_target(load(tmp_path, "tag_ladder", ST2_VERSION=version))
    assert (rules["st2"].context, rules["st2"].tags, rules["st2"].max_age) == (
        "base",
        (f"stackstorm/st2:{version}",),
        86400,
    )
    assert rules["push/st2api"].tags == (tag,)


def test_stack_of_images(tmp_path: Path) -> None:
    rules = by_target(load(tmp_path, "stack_of_images"))
    scipy = rules["build/scipy"]
    assert (scipy.tags, scipy.context) == (("quay.io/jupyter/scipy-notebook",), "images/scipy")
    assert rules["test/scipy"].parts == ("tests/*.py", "tests/scipy/")
    assert dict(rules["test/scipy"].recipe[0].env) == {"IMAGE": scipy}


def test_buildx_by_hand(tmp_path: Path) -> None:
    rules = by_target(load(tmp_path, "buildx_by_hand"))
    assert rules["dist/sso-auth"].parts == ("go.mod", "**/*.go")
    assert (rules["image"].platforms, rules["image"].tags) == (("linux/amd64", "linux/arm64"), ("shop-image",))
    assert (rules["imagepush-commit"].parts, rules["imagepush-commit"].tags) == (("test",), ("${VCS_REF}",))
