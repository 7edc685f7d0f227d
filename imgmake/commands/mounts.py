"""What `run` mounts where, read from the text alone: a host path, a named volume, or the files of an image."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from imgmake.commands import words
from imgmake.commands.base import View
from imgmake.errors import CommandFailed, PipefileError
from imgmake.model import Field, Frozen, ImageRule
from imgmake.ports import Mount

_VOLUME = "volume:"


class Mounted(Frozen):
    """A mount as declared: late values unexpanded, a path relative to the Pipefile's folder."""

    kind: Literal["path", "volume", "image"]
    source: Any  # str | ImageRule
    target: str
    read_only: bool = False

    @property
    def here(self) -> bool:
        """Whether the Pipefile's own folder is what is mounted."""
        return self.kind == "path" and posixpath.normpath(self.source) == "."

    @property
    def reads(self) -> bool:
        """Whether all that it shows is input: a path below the Pipefile's folder that nothing writes through it."""
        path = posixpath.normpath(self.source) if self.kind == "path" else "."
        return self.read_only and path != "." and "$" not in path and not path.startswith(("/", "~", ".."))

    def field(self) -> Field:
        return Field("mount", self.target, f"{self.kind} {words.name_of(self.source)}{':ro' * self.read_only}")

    def resolve(self, view: View) -> Mount:
        """The mount as the engine takes it; CommandFailed when a host path is not there.

        An engine would make a missing folder, as root's.
        """
        target = view.expand(self.target)
        if self.kind == "image":
            return Mount(target, image=view.image(self.source), read_only=True)
        source = view.expand(self.source)
        if self.kind == "volume":
            return Mount(target, volume=source, read_only=self.read_only)
        path = view.folder.joinpath(Path(source).expanduser()).resolve()
        if not path.exists():
            raise CommandFailed(f"run mounts {source!r}, which is not there", hint="make the folder in a rule before")
        return Mount(target, path=path, read_only=self.read_only)

    def flags(self, view: View) -> str:
        """The mount as flags of ``docker run``; an image as a mount needs docker 28."""
        target = view.expand(self.target)
        if self.kind == "image":
            return f"--mount {shlex.quote(f'type=image,source={view.image(self.source)},target={target}')}"
        end = f":{target}{':ro' * self.read_only}"
        if self.kind == "volume":
            return f"-v {shlex.quote(view.expand(self.source) + end)}"
        return f"-v {_host_path(view, view.expand(self.source), end)}"


def _host_path(view: View, path: str, end: str) -> str:
    """A path for pasting: from the repository's root, since a line with this machine's paths helps nobody else."""
    if path.startswith("/"):
        return shlex.quote(path + end)
    if path.startswith("~"):
        return f'"$HOME"{shlex.quote(path[1:] + end)}'
    relative = posixpath.normpath(posixpath.join(view.base, path))
    return f'"$PWD"{shlex.quote(end if relative == "." else f"/{relative}{end}")}'


def parse(mounts: Mapping[Any, Any]) -> tuple[Mounted, ...]:
    """Read ``{source: target}``.

    A source is a host path (``"."``, ``"src"``, ``"/abs"``, ``"~/.m2"``: any text without a prefix), a named
    volume (``"volume:NAME"``), or an image rule. A target is an absolute path, and may end in ``:ro``.
    """
    if not isinstance(mounts, Mapping):
        raise PipefileError(f"run: mounts must map sources to targets, not {type(mounts).__name__}")
    found = tuple(
        _mounted(source, words.some_text(target, "run: a mount's target")) for source, target in mounts.items()
    )
    targets = [mount.target for mount in found]
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice is not None:
        raise PipefileError(f"run: two mounts at {twice!r}")
    return found


def parse_option(volume: str) -> Mounted:
    """Read ``-v SOURCE:TARGET[:ro]`` of docker: a source that starts with ``/``, ``.`` or ``~`` is a path."""
    source, colon, target = volume.partition(":")
    if not colon:
        raise PipefileError(f"run: options: -v {volume!r} is not SOURCE:TARGET")
    return _mounted(source if source.startswith(("/", ".", "~", "$")) else _VOLUME + source, target)


def _mounted(source: Any, target: str) -> Mounted:
    path, _, flag = target.rpartition(":")
    if flag in ("ro", "rw"):
        target = path
    if not target.startswith(("/", "$")):
        raise PipefileError(f"run: a mount's target must be an absolute path, not {target!r}")
    target = posixpath.normpath(target)
    if isinstance(source, ImageRule):
        return Mounted(kind="image", source=source, target=target, read_only=True)
    source = (
        words.image(source, "run: mounts")
        if not isinstance(source, str | Path)
        else words.some_text(str(source), "run: a mount")
    )
    if source.startswith(_VOLUME):
        name = words.some_text(source.removeprefix(_VOLUME), "run: the name of a volume")
        return Mounted(kind="volume", source=name, target=target, read_only=flag == "ro")
    return Mounted(kind="path", source=source, target=target, read_only=flag == "ro")
