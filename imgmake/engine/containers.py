"""Containers to their end: created, listened to, and removed with all that was made for them.

Joins the parts: `scope` (what is made goes again), `caller`, `imagefiles`, `services`, `streams`. Decides
nothing about recipes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docker.errors
import docker.types
from docker.utils.ports import build_port_bindings

from imgmake.commands import docker_options, owner
from imgmake.engine import caller, imagefiles, services, streams
from imgmake.engine.scope import Scope, sweep_once
from imgmake.engine.scope import sweep as _sweep
from imgmake.errors import CommandFailed, EngineError
from imgmake.ports import Cancel, ContainerSpec, Mount, Output


def run(client: Any, spec: ContainerSpec, *, output: Output, cancel: Cancel, stdout: Path | None = None) -> int:
    """Run a container, and its services beside it, to its end; return its exit code.

    Output comes as it is written; with `stdout` the container's standard output goes to that file, which is
    there only when it succeeded. Nothing that was made is left: no container, volume or network, whatever
    fails. On a stop the container gets SIGTERM, and SIGKILL two seconds later.

    Raises EngineError (no such image, a refused option), CommandFailed (the command cannot be started: 126 or
    127, a service that is not ready), Interrupted when stopped before the start.
    """
    sweep_once(client)
    with Scope(client, cancel) as scope:
        network = _Network(scope, spec, output)
        terminal = spec.tty and output.tty and streams.has_terminal()
        if spec.tty and not terminal:
            output.note("no terminal is connected here, so the container runs without one")
        with network.telling():
            container = _create(scope, spec, tty=terminal, **network.joined())
            if spec.network is not None and spec.services:
                client.networks.get(spec.network).connect(container)
            code = _to_end(scope, container, spec, output, stdout, terminal=terminal)
            network.failed = code != 0
        return code


def extract(client: Any, image_id: str, path: str, to: Path) -> None:
    """Copy a file or folder out of an image to `to`, as the caller's; EngineError when it is not there."""
    with Scope(client, Cancel()) as scope, _no_image(image_id):
        imagefiles.extract(scope, image_id, path, to)


def sweep(client: Any, wanted: str) -> None:
    """Remove what bears this owner's label, and what processes of this machine left that have ended."""
    _sweep(client, lambda found: found == wanted or not owner.alive(found))


# --- services -------------------------------------------------------------------------------------------------


class _Network:
    """The services of one run on their private network; none is made for a run without services."""

    def __init__(self, scope: Scope, spec: ContainerSpec, output: Output) -> None:
        self.failed = False
        self._scope, self._output = scope, output
        self._specs = dict(services.each(spec.services))
        self._network = scope.network() if self._specs else None
        self._plain = spec.network
        self._started: dict[str, Any] = {}

    def joined(self, alias: str | None = None) -> dict[str, Any]:
        """What `create` needs for a container to be on it."""
        if self._network is None:
            return {"network": self._plain} if self._plain else {}
        aliases = [alias] if alias else []
        endpoint = self._scope.client.api.create_endpoint_config(aliases=aliases)
        return {"network": self._network.name, "networking_config": {self._network.name: endpoint}}

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Start every service, each when those before it are ready; when anything fails, show their logs.

        That a service failed while the command ran is told in any case, that it ended when the command failed.
        """
        try:
            for name, spec in self._specs.items():
                self._start(name, spec)
            yield
        except CommandFailed:
            self.failed = True
            self._tell()
            raise
        self._tell()

    def _tell(self) -> None:
        if self._scope.cancel.stopped:
            return
        for name, container in self._started.items():
            said, code = services.ended(name, container)
            if said and (code or self.failed):
                self._output.note(said)
            if code or self.failed:
                services.show_logs(name, container, self._output)

    def _start(self, name: str, spec: ContainerSpec) -> None:
        checked = {}
        with _no_image(spec.image):
            found = services.health(self._scope.client.images.get(spec.image).attrs)
        if found is not None:
            checked["healthcheck"] = found
        container = _create(self._scope, spec, tty=False, **self.joined(name), **checked)
        _start(self._scope, container, spec)
        self._started[name] = container
        services.wait(self._scope, name, container)


# --- one container --------------------------------------------------------------------------------------------


def _create(scope: Scope, spec: ContainerSpec, *, tty: bool, **more: Any) -> Any:
    """A container as `spec` says, ready to start: mounts filled, the calling user at home."""
    user = caller.identity(scope.client) if spec.caller else None
    fresh = _new_volumes(scope.client, spec.mounts) if user else []
    env = dict(spec.env)
    if user and user.uid:
        env.setdefault("HOME", caller.HOME)
    options = docker_options.parse(spec.options).create
    _read_only_home(options, user, env)
    given = {
        "entrypoint": None if spec.entrypoint is None else list(spec.entrypoint),
        "environment": env,
        "user": str(user) if user else spec.user,
        "working_dir": spec.workdir,
        "ports": build_port_bindings(list(spec.ports)) if spec.ports else None,
        "tty": tty,
        "stdin_open": tty,
    }
    mounts = [_mount(scope, mount) for mount in spec.mounts]
    with _no_image(spec.image):
        container = scope.container(spec.image, list(spec.command) or None, mounts=mounts, **given, **options, **more)
    if user and user.uid and not options.get("read_only"):
        caller.settle(container, user, env["HOME"], fresh)
    return container


def _read_only_home(options: dict[str, Any], user: caller.Caller | None, env: Mapping[str, str]) -> None:
    """Nothing can be put into a read-only container, so there HOME is in memory, without a passwd entry."""
    if user and user.uid and options.get("read_only"):
        home = {env["HOME"]: f"uid={user.uid},gid={user.gid},mode=0755"}
        options["tmpfs"] = {**home, **options.get("tmpfs", {})}


def _mount(scope: Scope, mount: Mount) -> docker.types.Mount:
    if mount.image is not None:
        with _no_image(mount.image):
            volume = imagefiles.volume_of(scope, mount.image)
        return docker.types.Mount(mount.target, volume, type="volume", read_only=True, no_copy=True)
    if mount.volume is not None:
        return docker.types.Mount(mount.target, mount.volume, type="volume", read_only=mount.read_only)
    return docker.types.Mount(mount.target, str(mount.path), type="bind", read_only=mount.read_only)


def _new_volumes(client: Any, mounts: tuple[Mount, ...]) -> list[str]:
    """Where named volumes are mounted that the engine does not have yet: a new one would be root's."""
    found = []
    for mount in mounts:
        if mount.volume is not None and not mount.read_only:
            try:
                client.volumes.get(mount.volume)
            except docker.errors.NotFound:
                found.append(mount.target)
    return found


def _to_end(
    scope: Scope, container: Any, spec: ContainerSpec, output: Output, stdout: Path | None, *, terminal: bool
) -> int:
    def start() -> None:
        _start(scope, container, spec)

    if terminal:
        return streams.on_terminal(container, start)
    if stdout is None:
        return streams.to_end(container, start, output.write, output.write)
    return _to_file(container, start, output, stdout)


def _to_file(container: Any, start: Any, output: Output, stdout: Path) -> int:
    stdout.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{stdout.name}.", dir=stdout.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            code = streams.to_end(container, start, file.write, output.write)
        if code == 0:
            partial.chmod(0o644)
            partial.replace(stdout)
    finally:
        partial.unlink(missing_ok=True)
    return code


# Exit codes of `docker run`: 127 the command is not there, 126 it cannot be run.
_NOT_THERE = ("executable file not found", "no such file or directory")
_NOT_RUNNABLE = ("permission denied", "exec format error", "is a directory")


def _start(scope: Scope, container: Any, spec: ContainerSpec) -> None:
    try:
        scope.start(container)
    except docker.errors.APIError as error:
        said = str(error.explanation or error)
        if any(words in said for words in _NOT_THERE):
            raise CommandFailed(f"{spec.image} cannot start its command: {said}", code=127) from None
        if any(words in said for words in _NOT_RUNNABLE):
            raise CommandFailed(f"{spec.image} cannot start its command: {said}", code=126) from None
        raise


@contextlib.contextmanager
def _no_image(image: str) -> Iterator[None]:
    try:
        yield
    except docker.errors.ImageNotFound:
        raise EngineError(f"the engine has no image {image}", hint="build or pull it first") from None
