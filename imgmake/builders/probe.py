"""Which docker CLI can do what. Runs ``docker --version`` and ``docker buildx version``, once a process."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterator, Mapping

_SECONDS = 20.0


def with_buildx(env: Mapping[str, str]) -> str | None:
    """The first docker CLI on PATH that has buildx."""
    return next((cli for cli in _clis(env) if buildx_version(cli, env)), None)


def with_buildkit(env: Mapping[str, str]) -> str | None:
    """The first docker CLI on PATH that does BuildKit itself: 18.09 to 22; from 23 on buildx does it."""
    return next((cli for cli in _clis(env) if (18, 9) <= cli_version(cli) < (23,)), None)


def buildx_version(cli: str, env: Mapping[str, str]) -> tuple[int, ...]:
    """The version of a CLI's buildx; empty when it has none."""
    return _version((cli, "buildx", "version"), env.get("DOCKER_CONFIG") or "", env.get("HOME") or "")


def cli_version(cli: str) -> tuple[int, ...]:
    """The version of a docker CLI; empty when it does not say."""
    return _version((cli, "--version"))


def _clis(env: Mapping[str, str]) -> Iterator[str]:
    for folder in dict.fromkeys((env.get("PATH") or os.defpath).split(os.pathsep)):
        path = os.path.join(folder, "docker")  # noqa: PTH118 (an empty folder is the current one)
        if os.access(path, os.X_OK) and os.path.isfile(path):  # noqa: PTH113
            yield path


@functools.cache
def _version(argv: tuple[str, ...], config: str = "", home: str = "") -> tuple[int, ...]:
    env = {**os.environ, **({"DOCKER_CONFIG": config} if config else {}), **({"HOME": home} if home else {})}
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.search(r"\bv?(\d+)\.(\d+)", done.stdout) if done.returncode == 0 else None
    return (int(match[1]), int(match[2])) if match else ()
