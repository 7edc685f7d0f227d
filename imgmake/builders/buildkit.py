"""BuildKit through the docker CLI: ``docker buildx build``, and ``DOCKER_BUILDKIT=1 docker build`` without buildx."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from imgmake.builders import context, probe, process
from imgmake.builders import request as requests
from imgmake.builders.context import Folder
from imgmake.errors import BuildError, EngineUnavailable, Interrupted
from imgmake.ports import BuildRequest, Cancel, Output

_STEP = re.compile(r"^ > \[[^\]]*\] ?(.*?):?$", re.MULTILINE)
_PLACE = re.compile(r"^[^\s:]+:(\d+)\n-{5,}$", re.MULTILINE)
_NO_ENGINE = ("cannot connect to the docker daemon", "error during connect", "permission denied while trying")


class _Cli:
    """A build by a docker CLI; the two differ in their words only."""

    family = "buildkit"
    name = ""
    _build: tuple[str, ...] = ()

    def __init__(self, cli: str, environ: Mapping[str, str]) -> None:
        self._cli = cli
        self._environ = {**environ, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}

    def build(self, request: BuildRequest, *, output: Output, cancel: Cancel) -> str:
        """Build, and return the ID of the untagged image. Raises BuildError, EngineUnavailable or Interrupted."""
        self._refuse(request)
        with context.unpacked(request) as folder:
            argv = [self._cli, *self._build, "--progress=plain", f"--iidfile={folder.scratch}/iid"]
            argv += [*self._extra(folder), *requests.flags(request), *_secrets(request, self._environ, folder)]
            argv += ["--file", str(folder.dockerfile), str(folder.context)]
            code, said = process.run(argv, env=self._environ, output=output, cancel=cancel)
            if cancel.stopped:
                raise Interrupted("the build was stopped")
            if code:
                raise _failure(request, said)
            return self._image(folder)

    def _refuse(self, request: BuildRequest) -> None:
        """Raise BuildError for what this CLI cannot do."""

    def _extra(self, folder: Folder) -> list[str]:  # noqa: ARG002 (buildx writes into it)
        return []

    def _image(self, folder: Folder) -> str:
        return (folder.scratch / "iid").read_text().strip()


class BuildkitBuilder(_Cli):
    """A docker CLI from 18.09 to 22, which speaks to the engine's BuildKit itself."""

    name = "buildkit"
    _build = ("build",)

    def line(self, request: BuildRequest) -> str:
        """The command that a user would type."""
        return f"DOCKER_BUILDKIT=1 {requests.line(request, 'docker', 'build')}"

    def _refuse(self, request: BuildRequest) -> None:
        if request.contexts:
            names = ", ".join(request.contexts)
            hint = "install docker-buildx"
            raise BuildError(f"a docker CLI without buildx has no named contexts ({names})", hint=hint)
        if "," in (request.platform or ""):
            raise BuildError(f"one image is for one platform, not {request.platform}")


class BuildxBuilder(_Cli):
    """``docker buildx build``, loaded into the engine.

    Without ``--provenance=false`` every build on the containerd image store would get a new ID.
    """

    name = "buildx"
    _build = ("buildx", "build", "--load")

    def line(self, request: BuildRequest) -> str:
        """The command that a user would type."""
        return requests.line(request, "docker", "buildx", "build", "--load", "--provenance=false")

    def _refuse(self, request: BuildRequest) -> None:
        if "," in (request.platform or ""):
            raise BuildError(f"one image is for one platform, not {request.platform}")

    def _extra(self, folder: Folder) -> list[str]:
        new = probe.buildx_version(self._cli, self._environ) >= (0, 10)
        return [f"--metadata-file={folder.scratch}/metadata", *(["--provenance=false"] if new else [])]

    def _image(self, folder: Folder) -> str:
        """The ID that the engine knows: buildx writes the configuration's digest or the manifest's, by version."""
        written = super()._image(folder)
        candidates = list(dict.fromkeys([written, *_digests(folder.scratch / "metadata")]))
        for candidate in candidates:
            if image := self._inspect(candidate):
                return image
        raise BuildError(
            f"the engine does not have the image that buildx built ({written})",
            hint="docker buildx use default selects the engine's own builder",
        )

    def _inspect(self, image: str) -> str:
        argv = [self._cli, "image", "inspect", "--format", "{{.Id}}", image]
        done = subprocess.run(argv, env=self._environ, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""


def _digests(metadata: Path) -> Iterator[str]:
    found = json.loads(metadata.read_text()) if metadata.exists() else {}
    for key in ("containerimage.digest", "containerimage.config.digest"):
        if isinstance(found.get(key), str):
            yield found[key]


def _secrets(request: BuildRequest, environ: Mapping[str, str], folder: Folder) -> list[str]:
    """``--secret`` flags. A value from the environment goes by a file of ours: not every CLI takes ``env=``."""
    found: list[str] = []
    for number, (name, source) in enumerate(request.secrets.items()):
        kind, _, where = source.partition("=")
        if kind == "env":
            path = _secret_file(folder.scratch / f"secret-{number}", name, environ.get(where), where)
        elif Path(where).is_file():
            path = Path(where)
        else:
            raise BuildError(f"the secret {name!r} is to be read from {where}, which is no file")
        found += ["--secret", f"id={name},src={path}"]
    return found


def _secret_file(path: Path, name: str, value: str | None, variable: str) -> Path:
    if value is None:
        raise BuildError(f"the secret {name!r} is to be read from ${variable}, which is not set")
    path.touch(mode=0o600)
    path.write_text(value, encoding="utf-8", errors="surrogateescape")
    return path


def _failure(request: BuildRequest, said: str) -> Exception:
    message = said.strip().splitlines()[-1] if said.strip() else ""
    if any(words in said.casefold() for words in _NO_ENGINE):
        return EngineUnavailable(f"the container engine does not answer the builder: {message}")
    places = _PLACE.findall(said)
    steps = _STEP.findall(said)
    step = steps[-1] if steps and not steps[-1].startswith("load ") else ""
    return requests.failure(request, message, step, int(places[-1]) if places else None)
