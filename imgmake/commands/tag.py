"""`tag`: further names for an image, and a word when a name moves."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from imgmake.commands import words
from imgmake.commands.base import Action, Job, Read, View
from imgmake.errors import EngineError, InvalidReference, PipefileError
from imgmake.model import Field

# The grammar of github.com/distribution/reference, without a digest: a tag cannot be set on one.
_HOST = r"(?:(?!-)[A-Za-z0-9-]+(?<!-)(?:\.(?!-)[A-Za-z0-9-]+(?<!-))*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?", re.ASCII)


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
        engine, name = job.engine(), job.view.image(self.image)
        references = [_valid(job.view.expand(reference)) for reference in self.references]
        image = engine.image(name)
        if image is None:
            raise EngineError(f"tag: the engine has no image {name}")
        for reference in references:
            before = engine.image(reference)
            engine.tag(image.id, reference)
            if before is not None and before.id != image.id:
                job.output.note(f"{reference} moved: {_short(before.id)} -> {_short(image.id)}")


def _valid(reference: str) -> str:
    if not _REFERENCE.fullmatch(reference):
        small = reference.lower()
        hint = f"did you mean {small!r}?" if _REFERENCE.fullmatch(small) else "it reads [HOST/]NAME[:TAG]"
        raise InvalidReference(f"tag: {reference!r} is no name for an image", hint=hint)
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
