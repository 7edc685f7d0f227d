"""An image as a file, for tools that examine one: exactly the image that was resolved, whatever its tags say now.

A tool that asked the engine itself would have to find it (contexts, TLS, a DOCKER_HOST that it does not know), and
might be given another image under the same tag; every such tool reads what ``docker save`` writes.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from imgmake.commands.base import Job, View
from imgmake.errors import CommandFailed, EngineError, Interrupted
from imgmake.model import ImageRule
from imgmake.ports import Image

NAME = "image.tar"
_CHUNK = 1 << 20  # bytes


class Exported(NamedTuple):
    """A folder of its own that holds the image as `NAME`; what a tool writes there goes with it."""

    folder: Path
    image: Image


@contextmanager
def exported(job: Job, image: Any, command: str) -> Iterator[Exported]:
    """Export an image (a rule or a reference) for as long as the body runs.

    Raises EngineError when the engine lacks it, CommandFailed when there is no room, Interrupted on a stop.
    """
    import tempfile

    engine = job.engine()
    found = engine.image(job.view.image(image))
    if found is None:
        raise EngineError(f"{command}: the engine has no image {job.view.image(image)}")
    with tempfile.TemporaryDirectory(prefix="imgmake-", ignore_cleanup_errors=True) as folder:
        try:
            with engine.export(found.id) as stream, Path(folder, NAME).open("wb") as file:
                while chunk := stream.read(_CHUNK):
                    if job.cancel.stopped:
                        raise Interrupted(f"{command} was stopped")
                    file.write(chunk)
        except OSError as error:
            raise CommandFailed(
                f"{command}: the image could not be written to {tempfile.gettempdir()}: {error.strerror or error}",
                hint="TMPDIR may name a folder with more room",
            ) from None
        yield Exported(Path(folder), found)


def show(image: Any, view: View) -> str:
    """The line that makes the same file."""
    return f"docker save -o {NAME} {shlex.quote(view.image(image))}"


def repository(image: Any, view: View) -> str:
    """An image's name without tag or digest: what a report calls it, the same from build to build.

    A tag may hold the BUILD_ID, which is decided only when somebody needs it; so it is cut off first.
    """
    text = image.tags[0] if isinstance(image, ImageRule) else str(image)
    if text.startswith("sha256:"):
        return text
    text = text.partition("@")[0]
    head, colon, _ = text.rpartition(":")
    return view.expand(head if colon and "/" not in text[len(head) :] else text)
