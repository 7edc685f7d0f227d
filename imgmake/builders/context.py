"""The context of a build: a folder for BuildKit's CLI, a tar with a Dockerfile for the classic builder.

Nothing that is added here may land in an image, not even with ``COPY . /``.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from imgmake.errors import BuildError
from imgmake.ports import BuildRequest

_IGNORE = ".dockerignore"


class Folder(NamedTuple):
    """A context on disk, and the Dockerfile beside it."""

    context: Path
    dockerfile: Path
    scratch: Path  # for the builder's own files


@contextlib.contextmanager
def unpacked(request: BuildRequest) -> Iterator[Folder]:
    """The context in a new folder, the Dockerfile outside it.

    The folder's name is never used twice: BuildKit keeps what it received under that name and, the next
    time, takes a file of the same size and time for unchanged.
    """
    home = Path(tempfile.mkdtemp(prefix="imgmake-build-"))
    try:
        context = Path(tempfile.mkdtemp(prefix="context-", dir=home))
        _unpack(request, context)
        dockerfile = home / (Path(request.dockerfile_name).name or "Dockerfile")
        dockerfile.write_text(request.dockerfile, encoding="utf-8", errors="surrogateescape")
        # It has precedence over a .dockerignore that is copied: the context is what is left after ignoring.
        dockerfile.with_name(dockerfile.name + _IGNORE).write_text("# nothing more\n")
        yield Folder(context, dockerfile, home)
    finally:
        _remove(home)


@contextlib.contextmanager
def tarred(request: BuildRequest) -> Iterator[tuple[IO[bytes], str]]:
    """The context as a tar with the Dockerfile in it, and the Dockerfile's name there.

    The engine removes a Dockerfile and a .dockerignore that .dockerignore names (moby,
    builder/dockerfile/builder.go `removeDockerfile`). So a .dockerignore of our own names both; where the
    user's must be kept, because the build copies it, the Dockerfile goes to its own place, as with docker:
    it is either copied as well, or ignored and so removed, or read by nothing.
    """
    with contextlib.ExitStack() as stack:
        body = stack.enter_context(tempfile.TemporaryFile())
        with request.context() as stream:
            shutil.copyfileobj(stream, body)
        name = _add_dockerfile(body, request)
        body.seek(0)
        yield body, name


def _add_dockerfile(body: IO[bytes], request: BuildRequest) -> str:
    body.seek(0)
    text = request.dockerfile.encode("utf-8", "surrogateescape")
    own = posixpath.normpath(os.path.relpath(request.dockerfile_name, request.context_dir or "."))
    with tarfile.open(fileobj=body, mode="r:") as tar:
        members = {posixpath.normpath(member.name): member for member in tar}
        here = members.get(own)
        file = tar.extractfile(here) if here is not None and here.isfile() else None
        if file is not None and file.read() == text:
            return own
    if _IGNORE in members and here is None and not own.startswith(".."):
        _append(body, {own: text})
        return own
    name = f".dockerfile.{secrets.token_hex(10)}"
    _append(body, {name: text, _IGNORE: f"{_IGNORE}\n{name}\n".encode()})
    return name


def _append(body: IO[bytes], files: dict[str, bytes]) -> None:
    body.seek(0)
    with tarfile.open(fileobj=body, mode="a") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))


def _unpack(request: BuildRequest, folder: Path) -> None:
    try:
        with request.context() as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            # Our own tar: modes and links are wanted as they are.
            tar.extraction_filter = lambda member, _path: member
            tar.extractall(folder)  # noqa: S202
    except (OSError, tarfile.TarError) as error:
        raise BuildError(f"the build context could not be prepared: {error}") from error


def _remove(home: Path) -> None:
    """Also what folders without write permission hold."""
    for folder, _, _ in os.walk(home):
        with contextlib.suppress(OSError):
            Path(folder).chmod(0o700)
    shutil.rmtree(home, ignore_errors=True)
