"""What a run would do where nothing is built yet: asked of a Pipefile in a world without images and registries."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from imgmake.app.options import Options
from imgmake.app.session import FOLDER, Session, Silent, join
from imgmake.app.wiring import Engines, load, world
from imgmake.errors import CommandFailed, EngineError, ImgmakeError
from imgmake.ports import Artifact, Builder, Cancel, ContainerSpec, Engine, EngineInfo, Image, Output, Referrer, Remote
from imgmake.state import open_state
from imgmake.variables import ARCH

Line = tuple[str, str, str]  # its target, that one's kind, the text


def lines(options: Options) -> list[Line]:
    """What a run would do where nothing is built yet. Raises ImgmakeError."""
    with Planner(options) as planner:
        return planner.lines(options.goals, options.overrides)


class Planner(contextlib.ExitStack):
    """Dry runs of one Pipefile, which is loaded once for each set of overridden variables."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        # What is compared is what each would do, whatever the state of the tree.
        self._options = replace(options, dry_run=True, allow_dirty=True)
        self.seconds = 0.0  # that the Pipefile takes to load
        self._needs: dict[tuple[int, str], frozenset[str]] = {}
        self._sessions: dict[tuple[tuple[str, str], ...], Session] = {}

    def lines(self, goals: Sequence[str], overrides: Mapping[str, str]) -> list[Line]:
        """Each target that the goals need, its kind, and a line of it. Raises ImgmakeError."""
        session = self.session(overrides)
        asked = session.goals(goals)
        session.check(asked)
        found: list[Line] = []
        for prospect in session.executor.prospects(asked, lines=True):
            if prospect.forecast.error is not None:
                raise prospect.forecast.error
            found += [(prospect.node.id, prospect.node.rule.kind.value, line) for line in prospect.lines]
        return found

    def needs(self, target: str, overrides: Mapping[str, str]) -> Collection[str]:
        """Everything that has to be done before a target is, with some variables overridden."""
        session = self.session(overrides)
        key = (id(session), target)
        if key not in self._needs:
            self._needs[key] = frozenset(session.run.graph.closure([target])) - {target}
        return self._needs[key]

    def session(self, overrides: Mapping[str, str]) -> Session:
        """The Pipefile as it is with some variables overridden. Raises ImgmakeError."""
        key = tuple(sorted(overrides.items()))
        if key not in self._sessions:
            self._sessions[key] = self._session(replace(self._options, overrides=overrides))
        return self._sessions[key]

    def _session(self, options: Options) -> Session:
        hears, start = Silent(), time.monotonic()
        with quietly():
            pipeline = load(options)
        self.seconds = time.monotonic() - start
        state = self.enter_context(
            contextlib.closing(open_state(pipeline.root / FOLDER, read_only=True, say=hears.warning))
        )
        engines = Engines(options.environ, None)
        around = world(options, pipeline.root, state, hears, engines, options.environ, self)
        return join(options, pipeline, replace(around, engine=NoImages, builder=_builder, registry=NoTags))


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without what the commands say that a Pipefile runs when it is loaded: it was said once, when make ran them."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _builder(forced: str | None) -> Builder:  # noqa: ARG001 (what the line is compared with is the same for each)
    from imgmake.builders import BuildkitBuilder

    return BuildkitBuilder("docker", {})


class NoImages:
    """`ports.Engine` that holds nothing and runs nothing."""

    def info(self) -> EngineInfo:
        return EngineInfo("0", "linux", ARCH, "overlay2")

    def image(self, reference: str) -> Image | None:  # noqa: ARG002
        return None

    def images(self, repositories: Iterable[str]) -> Sequence[Image]:  # noqa: ARG002
        return ()

    def labelled(self, key: str) -> Sequence[Image]:  # noqa: ARG002
        return ()

    def tag(self, image_id: str, reference: str) -> None:
        raise _asked(f"tag {image_id} {reference}")

    def untag(self, reference: str) -> None:
        raise _asked(f"untag {reference}")

    def remove(self, image_id: str) -> None:
        raise _asked(f"remove {image_id}")

    def pull(self, reference: str, *, platform: str | None, output: Output, cancel: Cancel) -> Image:  # noqa: ARG002
        raise _asked(f"pull {reference}")

    def relabel(self, image: Image, *, labels: Mapping[str, str], remove: Iterable[str] = ()) -> Image:  # noqa: ARG002
        raise _asked(f"relabel {image.id}")

    def redate(
        self,
        image: Image,
        *,
        bases: Sequence[Image],  # noqa: ARG002
        seconds: int,  # noqa: ARG002
        labels: Mapping[str, str],  # noqa: ARG002
        cancel: Cancel,  # noqa: ARG002
    ) -> Image:
        raise _asked(f"redate {image.id}")

    def export(self, image_id: str) -> AbstractContextManager[BinaryIO]:
        raise _asked(f"export {image_id}")

    def run(self, spec: ContainerSpec, *, output: Output, cancel: Cancel, stdout: Path | None = None) -> int:  # noqa: ARG002
        raise CommandFailed(f"a dry run runs no container ({spec.image})")

    def extract(self, image_id: str, path: str, to: Path) -> None:  # noqa: ARG002
        raise _asked(f"extract {path}")

    def sweep(self, owner: str) -> None:
        raise _asked(f"sweep {owner}")


def _asked(what: str) -> ImgmakeError:
    return EngineError(f"a dry run changes no engine: {what}")


class NoTags:
    """`ports.Registry` that holds nothing, and to which nothing is sent: each tag would be pushed."""

    def resolve(self, reference: str) -> Remote | None:  # noqa: ARG002
        return None

    def tags(self, repository: str) -> Sequence[str]:  # noqa: ARG002
        return ()

    def digest(self, reference: str, *, cancel: Cancel | None = None) -> str | None:  # noqa: ARG002
        return None

    def send(
        self,
        engine: Engine,  # noqa: ARG002
        images: Sequence[Image],  # noqa: ARG002
        repositories: Sequence[str],
        *,
        near: Sequence[str] = (),  # noqa: ARG002
        output: Output,  # noqa: ARG002
        cancel: Cancel | None = None,  # noqa: ARG002
    ) -> str:
        raise _asked(f"send {' '.join(repositories)}")

    def copy(
        self,
        source: Remote,  # noqa: ARG002
        repositories: Sequence[str],
        *,
        referrers: bool = False,  # noqa: ARG002
        output: Output,  # noqa: ARG002
        cancel: Cancel | None = None,  # noqa: ARG002
    ) -> None:
        raise _asked(f"copy {' '.join(repositories)}")

    def set_tag(self, reference: str, digest: str, *, before: str | None, cancel: Cancel | None = None) -> bool:  # noqa: ARG002
        raise _asked(f"set_tag {reference}")

    def remove_tag(self, reference: str, *, holds: str, cancel: Cancel | None = None) -> bool:  # noqa: ARG002
        raise _asked(f"remove_tag {reference}")

    def attach(self, repository: str, subject: str, artifact: Artifact, *, cancel: Cancel | None = None) -> str:  # noqa: ARG002
        raise _asked(f"attach {repository}@{subject}")

    def referrers(self, repository: str, subject: str, *, cancel: Cancel | None = None) -> Sequence[Referrer]:  # noqa: ARG002
        return ()

    def artifact(self, repository: str, referrer: Referrer, *, cancel: Cancel | None = None) -> Artifact:  # noqa: ARG002
        raise _asked(f"artifact {repository}")
