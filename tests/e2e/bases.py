"""Base images from Debian packages, under the names that Docker Hub gives to such images; knows nothing of imgmake.

Where no registry can be reached, ``python tests/e2e/bases.py`` makes those that the tutorial needs, in the engine
that the docker CLI talks to. Each root file system is made once a user, by mmdebstrap, and kept in the cache folder.
Only the standard library is used: a newcomer runs this before anything is installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
MAVEN = "maven:3.8-openjdk-17"
JRE = "eclipse-temurin:17-jre"
BUSYBOX = "busybox:1.35"

Docker = Callable[..., str]

# Debian's repository lacks the plexus-utils 1.1 that Maven adds to plugins which name none; its 2.x does as well.
# Downloads come from that repository, by its path, as they would from Maven Central.
_OFFLINE_MAVEN = r"""
cd "$1/usr/share/maven-repo/org/codehaus/plexus/plexus-utils"
mkdir 1.1
ln -s ../../../../../../java/plexus-utils2.jar 1.1/plexus-utils-1.1.jar
sed 's,<version>2.x</version>,<version>1.1</version>,' 2.x/plexus-utils-2.x.pom > 1.1/plexus-utils-1.1.pom
repository() {
  printf '<%s><id>central</id><url>file:///usr/share/maven-repo</url>' "$1"
  printf '<releases><checksumPolicy>ignore</checksumPolicy></releases></%s>' "$1"
}
cat > "$1/etc/maven/settings.xml" <<XML
<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0">
  <profiles><profile><id>debian</id>
    <repositories>$(repository repository)</repositories>
    <pluginRepositories>$(repository pluginRepository)</pluginRepositories>
  </profile></profiles>
  <activeProfiles><activeProfile>debian</activeProfile></activeProfiles>
</settings>
XML
"""


@dataclass(frozen=True)
class Base:
    """A root file system: its packages, a shell script run on it (``$1``), and the image's configuration."""

    packages: tuple[str, ...]
    variant: str = "minbase"
    script: str = ""
    changes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        words = (SUITE, self.variant, self.script, *self.packages)
        return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]


BASES = {
    MAVEN: Base(
        packages=(
            "default-jdk-headless",
            "junit4",
            "libmaven-clean-plugin-java",
            "libmaven-compiler-plugin-java",
            "libmaven-jar-plugin-java",
            "libmaven-resources-plugin-java",
            "libsurefire-java",
            "maven",
        ),
        script=_OFFLINE_MAVEN,
        changes=('CMD ["mvn"]',),
    ),
    JRE: Base(packages=("openjdk-17-jre-headless",), changes=('CMD ["bash"]',)),
    BUSYBOX: Base(
        packages=("busybox-static",),
        variant="extract",
        script='mkdir -p "$1/tmp" && chroot "$1" /bin/busybox --install -s /bin',
        changes=('CMD ["sh"]',),
    ),
}


def provide(docker: Docker, names: Iterable[str] = BASES) -> None:
    """Put each named base image into the engine that `docker` runs its commands on, unless it is there.

    `docker` takes the words of a docker command line and returns its output.
    """
    for name in names:
        if not docker("image", "ls", "-q", name).strip():
            changes = [word for change in BASES[name].changes for word in ("--change", change)]
            docker("import", *changes, str(tar(BASES[name])), name)


def tar(base: Base) -> Path:
    """The root file system as a tar in the user's cache folder, made on first use (half a minute)."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "imgmake-tests")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"base-{SUITE}-{base.key}.tar"
    with (folder / f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _mmdebstrap(base, path)
    return path


def _mmdebstrap(base: Base, path: Path) -> None:
    partial = path.with_name("partial." + path.name)
    # Manual pages stay: without their folder, the JDK fails to register its alternatives.
    skipped = [f"--dpkgopt=path-exclude=/usr/share/{kind}/*" for kind in ("doc", "locale")]
    hook = "extract" if base.variant == "extract" else "customize"  # the only one that this variant runs
    hooks = [f"--{hook}-hook={base.script}"] if base.script else []
    packages = f"--include={','.join(base.packages)}"
    mmdebstrap(f"--variant={base.variant}", *skipped, *hooks, packages, SUITE, str(partial))
    partial.rename(path)


def mmdebstrap(*words: str) -> None:
    """Run it; again after a while when it fails, since a mirror may have a bad minute. `words` end in what it makes."""
    for pause in (5, 30, None):
        done = subprocess.run(["mmdebstrap", *words], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if pause is not None:
            time.sleep(pause)
            subprocess.run(["rm", "-rf", "--one-file-system", words[-1]], check=True)
    raise RuntimeError(f"mmdebstrap {' '.join(words)}:\n{done.stderr[-3000:]}")


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def main(names: Sequence[str]) -> int:
    for name in names or BASES:
        print(name, flush=True)
        provide(_docker, [name])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
