"""`tag`: further names for an image, and a word when a name moves."""

from __future__ import annotations

import json
import shlex
from typing import Any

from imgmake import references
from imgmake.commands import words
from imgmake.commands.base import Action, Job, Read, View
from imgmake.errors import EngineError, InvalidReference, PipefileError
from imgmake.model import Field


class Tag(Action):
    """What `docker tag` does, once for each reference."""

    image: Any  # str | ImageRule
    references: tuple[str, ...]

    def reads(self) -> tuple[Read, ...]:
        return (Read("image", self.image, "tag"),)

    def fields(self, view: View) -> tuple[Field, ...]:
        own = Field("command", "", json.dumps(["tag", words.name_of(self.image), self.references]))
        return (own, words.image_field(self.image, view), *words.used(self.references, view))

    def show(self, view: View) -> str:
        image = shlex.quote(view.image(self.image))
        return "\n".join(f"docker tag {image} {words.shown(r, view)}" for r in self.references)

    def run(self, job: Job) -> None:
        engine, given = job.engine(), job.view.image(self.image)
        names = [_valid(job.view.expand(reference)) for reference in self.references]
        image = engine.image(given)
        if image is None:
            raise EngineError(f"tag: the engine has no image {given}")
        for reference in names:
            before = engine.image(reference)
            engine.tag(image.id, reference)
            if before is not None and before.id != image.id:
                job.output.note(f"{reference} moved: {_short(before.id)} -> {_short(image.id)}")


def _valid(reference: str) -> str:
    if references.parse(reference).digest:
        raise InvalidReference(f"tag: {reference!r} holds a digest, which cannot be given to an image")
    return reference


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]


def tag(image: Any, *references: str) -> Tag:
    """Give an image (its rule or a reference) further names in the engine.

    Raises PipefileError without a reference, InvalidReference for one that no engine would take (at once when
    it holds no late value, else when it runs). A name that was another image's moves, and a note says so.

    >>> tag("app:1", "app:latest").references
    ('app:latest',)
    """
    words.image(image, "tag")
    if not references:
        raise PipefileError("tag: no reference", hint='write tag(app, "registry/app:1.0.0")')
    names = tuple(words.some_text(reference, "tag: a reference") for reference in references)
    for name in names:
        if "$" not in name:
            _valid(name)
    return Tag(image=image, references=names)
