"""A newer engine for the tests: Debian 13's dockerd, with buildx, on the containerd image store or a graph driver.

IMGMAKE_TEST_TRIXIE=containerd (or 1) or =overlay2 makes the engine tests use it. Its files are in the cache
folder, made once by mmdebstrap; nothing is installed, and every mount is gone with the process that made it.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.bases import mmdebstrap

SWITCH = "IMGMAKE_TEST_TRIXIE"
_PACKAGES = "docker.io,docker-cli,docker-buildx,iptables"
_ENTER = """
set -e
mount --bind {root} {root}; mount -t proc proc {root}/proc; mount --rbind /sys {root}/sys; mount --rbind /dev {root}/dev
mkdir -p {root}{home}; mount --bind {home} {root}{home}
exec chroot {root} {command}
"""
# Its programs run outside of it as well, with its own loader and libraries, and so see the same paths as we do.
_PROGRAM = (
    '#!/bin/sh\nexec {root}/lib64/ld-linux-x86-64.so.2 --library-path {root}/lib/x86_64-linux-gnu {root}{path} "$@"\n'
)


def root(cache: Path) -> Path:
    """The folder with Debian 13 and its Docker."""
    made = cache / "trixie"
    if not made.exists():
        partial = cache / f"trixie.{os.getpid()}"
        mmdebstrap("--variant=minbase", f"--include={_PACKAGES}", "trixie", str(partial))
        partial.rename(made)
    return made


def dockerd(made: Path, home: Path, arguments: Sequence[str]) -> list[str]:
    """The command that runs its dockerd in a mount namespace of its own; configures the store."""
    containerd = os.environ[SWITCH] != "overlay2"
    options = json.loads((home / "daemon.json").read_text())
    (home / "daemon.json").write_text(json.dumps({**options, "features": {"containerd-snapshotter": containerd}}))
    command = shlex.join(["dockerd", *arguments])
    script = _ENTER.format(root=made, home=home, command=command)
    return ["unshare", "--mount", "--propagation=private", "/bin/sh", "-c", script]


def programs(made: Path, folder: Path) -> None:
    """``docker`` and its buildx plugin, for PATH and for DOCKER_CONFIG."""
    plugin = "/usr/libexec/docker/cli-plugins/docker-buildx"
    loader = next(made.glob("usr/lib*/ld-linux-*.so.*"))
    libraries = next(made.glob("usr/lib/*-linux-gnu*"))
    for name, path in (("bin/docker", "/usr/bin/docker"), ("cli-plugins/docker-buildx", plugin)):
        program = folder / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(_PROGRAM.format(root=made, path=path, loader=loader, libraries=libraries))
        program.chmod(0o755)
