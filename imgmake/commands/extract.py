"""`extract`: a file or folder out of an image, through a container that is never started."""

from __future__ import annotations

import json
import posixpath
import shlex
from pathlib import Path
from typing import Any

from imgmake.commands import words
from imgmake.commands.base import Action, Job, Read, View
from imgmake.errors import EngineError, PipefileError
from imgmake.model import Field


class Extract(Action):
    """What `docker create`, `docker cp` and `docker rm` do together."""

    image: Any  # str | ImageRule
    path: str
    to: str | None = None

    def reads(self) -> tuple[Read, ...]:
        return (Read("image", self.image, "extract"),)

    def fields(self, view: View) -> tuple[Field, ...]:
        own = Field("command", "", json.dumps(["extract", words.name_of(self.image), self.path, self.to]))
        texts = [text for text in (self.path, self.to) if text is not None]
        return (own, words.image_field(self.image, view), *words.used(texts, view))

    def show(self, view: View) -> str:
        source, to = shlex.quote(view.expand(self.path)), shlex.quote(posixpath.join(view.base, self._to(view)))
        created = f"$(docker create {shlex.quote(view.image(self.image))} -)"
        return f'id={created} && docker cp -L "$id":{source} {to}; docker rm -v "$id"'

    def run(self, job: Job) -> None:
        view, engine = job.view, job.engine()
        image = engine.image(view.image(self.image))
        if image is None:
            raise EngineError(f"extract: the engine has no image {view.image(self.image)}")
        engine.extract(image.id, view.expand(self.path), view.folder / self._to(view))

    def _to(self, view: View) -> str:
        if self.to is not None:
            to = view.expand(self.to)
            return to + posixpath.basename(view.expand(self.path).rstrip("/")) if to.endswith("/") else to
        if len(view.outputs) == 1:
            return view.outputs[0]
        return posixpath.basename(view.expand(self.path).rstrip("/"))


def extract(image: Any, path: str | Path, to: str | Path | None = None) -> Extract:
    """Copy the file or folder `path` out of an image (its rule or a reference).

    `to` is relative to the Pipefile's folder, and a folder to copy into when it ends in ``/``; else the target
    of the rule, or the last part of `path`. The copy belongs to the caller; links in it stay links, but a
    `path` that is a link is followed.

    Raises PipefileError on a wrong argument; running it raises EngineError when the image has no such path.

    >>> extract("app:1", "/app.jar", "dist/").to
    'dist/'
    """
    words.image(image, "extract")
    source = words.some_text(path, "extract: the path")
    if not source.startswith(("/", "$")):
        raise PipefileError(f"extract: {source!r} must be an absolute path in the image")
    return Extract(image=image, path=source, to=None if to is None else words.some_text(to, "extract: to"))
