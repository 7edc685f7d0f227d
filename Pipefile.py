"""imgmake, built by imgmake: wheels, images, tests, tags. Nothing but Debian's and Python's packages is fetched."""

import sys
import tomllib
from pathlib import Path

from imgmake import BUILD_ID, check, default, file, image, lint, phony, sh, structure_test, tag, var

PROJECT = tomllib.loads(Path("pyproject.toml").read_text())["project"]
REPO = var("REPO", "imgmake", help="repository of the images")
BASE = var("BASE", "", help="base image, such as python:3.13-slim; unless given, one is made from Debian's packages")
PYTHON = var("PYTHON", "3.11" if not BASE else BASE.partition(":")[2].partition("-")[0], help="the base's Python")
PIP = var("PIP", f"{sys.executable} -m pip", help="the pip that makes and fetches wheels")
DOCKERFILE = ".ci/image/Dockerfile"
WHEEL = f"dist/imgmake-{PROJECT['version']}-py3-none-any.whl"

# The base: half a minute, once. mmdebstrap needs root, or a kernel that lets users have namespaces.
file(
    "build/base.tar",
    sh("""
    command -v mmdebstrap >/dev/null || { echo 'Install mmdebstrap, or give a base: BASE=python:3.13-slim'; exit 1; }
    SOURCE_DATE_EPOCH=0 mmdebstrap --variant=minbase --include=python3-venv,git,ca-certificates bookworm $out
"""),
)
base = image("base", tags=f"{REPO}-base", dockerfile=".ci/image/base.df")

# Artifacts: our wheel, and in one tar those of everything that it depends on.
file(
    WHEEL,
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "imgmake/**/*.py",
    "imgmake/py.typed",
    sh("$PIP wheel --quiet --no-deps --wheel-dir=dist ."),
)
file(
    "dist/wheels.tar",
    sh(
        """
    wheels=$(mktemp -d); trap 'rm -r "$wheels"' EXIT
    printf '%s\\n' "$DEPENDENCIES" > "$wheels/requirements.txt"
    $PIP download --quiet --only-binary=:all: --python-version=$PYTHON --platform=manylinux2014_$(uname -m) \\
        --platform=manylinux_2_28_$(uname -m) --dest="$wheels" --requirement="$wheels/requirements.txt"
    tar --create --file=$out --directory="$wheels" --sort=name --owner=0 --group=0 --mtime=@0 --mode=a=r,a+X .
""",
        DEPENDENCIES="\n".join(PROJECT["dependencies"]),
    ),
)
phony("app-artifacts", WHEEL, "dist/wheels.tar")

check("lint-dockerfile", lint(DOCKERFILE, ".ci/image/base.df"))
app = image(
    "app-image",
    "lint-dockerfile",
    tags=f"{REPO}:{BUILD_ID}",
    dockerfile=DOCKERFILE,
    stage="app-image",
    build_args={"BASE": BASE or base},
    options="--network=none",
)
image(
    "app-image-debug",
    app,
    tags=f"{REPO}:{BUILD_ID}-debug",
    dockerfile=DOCKERFILE,
    stage="app-image-debug",
    build_args={"BASE": BASE or base},
    options="--network=none",
)
check("image-tests", structure_test(app, ".ci/image/structure-tests.yaml"))

phony("tag", "image-tests", tag(app, f"{REPO}:{var('TAG')}"))

phony("metadata", sh("echo BUILD_ID is $BUILD_ID"))
phony("inspect-image-labels", sh("docker image inspect -f '{{json .Config.Labels}}' $IMAGE", IMAGE=app))
phony("clean", sh("rm -rf dist"))
phony("all", "app-artifacts", "app-image", "image-tests")
default("all")
