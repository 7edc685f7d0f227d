"""`run`: a container to its end, with what it mounts and the services that it needs beside it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imgmake.commands import docker_options, words
from imgmake.commands import mounts as mounting
from imgmake.commands.base import Action, Job, Read, View
from imgmake.commands.mounts import Mounted
from imgmake.errors import EngineError, PipefileError
from imgmake.model import Field, ImageRule
from imgmake.ports import ContainerSpec, Engine, Finding

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?", re.ASCII)
_SHARED_NETWORKS = ("host", "none", "container:")


class Run(Action):
    """A container: what `docker run` is told, late values unexpanded. Also a service of another.

    As the calling user its HOME is ``/home/imgmake``, which goes with the container; a cache that shall stay is a
    volume: ``mounts={"volume:m2": "/home/imgmake/.m2"}``.
    """

    image: Any  # str | ImageRule
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    mounts: tuple[Mounted, ...] = ()
    workdir: str | None = None
    env: words.Pairs = ()
    user: str | None = None
    network: str | None = None
    ports: tuple[str, ...] = ()
    services: tuple[tuple[str, Run], ...] = ()
    tty: bool = False
    stdout: str | None = None
    options: tuple[str, ...] = ()

    def reads(self) -> tuple[Read, ...]:
        mounted = [m.source for m in self.mounts if m.kind == "image"]
        given = [value for _, value in self.env if isinstance(value, ImageRule)]
        own = [Read("image", self.image, "run")]
        own += [Read("image", source, "run mounts") for source in mounted]
        own += [Read("file", m.source, "run mounts") for m in self._all_mounts() if m.reads]
        own += [Read("image", value, "run env") for value in given]
        beside = (
            Read(r.kind, r.what, f"run services {name}") for name, service in self.services for r in service.reads()
        )
        return (*own, *beside)

    def names_inputs(self) -> bool:
        """What is in images or mounted read-only is said; a volume, or a path that is also written, holds anything."""
        own = all(mount.kind == "image" or mount.reads for mount in self._all_mounts())
        return own and all(service.names_inputs() for _, service in self.services)

    def writes(self) -> tuple[str, ...]:
        return () if self.stdout is None else (self.stdout,)

    def fields(self, view: View) -> tuple[Field, ...]:
        beside = (
            Field(f.kind, f"{name}: {f.name}".strip(": ") if f.kind in ("command", "mount", "env") else f.name, f.value)
            for name, service in self.services
            for f in service.fields(view)
        )
        own = (
            Field("command", "", self._signature()),
            *(mount.field() for mount in self.mounts),
            *(Field("env", name, words.name_of(value)) for name, value in self.env),
        )
        image = () if isinstance(self.image, ImageRule) else (words.image_field(self.image, view),)
        return (*own, *image, *words.used(self._values(), view), *beside)

    def show(self, view: View) -> str:
        return "\n".join(_lines(self, view))

    def run(self, job: Job) -> None:
        engine = job.engine()
        for image, platform in self._images(job.view):
            _present(engine, image, platform, job)
        stdout = job.view.folder / job.view.expand(self.stdout) if self.stdout else None
        code = engine.run(self.spec(job), output=job.output, cancel=job.cancel, stdout=stdout)
        words.finish(job, code, f"run({words.name_of(self.image)!r}, …)")

    def finding(self, view: View) -> Finding:
        """The tool is the image that was run, and its version the image's ID."""
        name = self.image.target if isinstance(self.image, ImageRule) else view.expand(self.image)
        return Finding(name, view.image(self.image), "it ran, and ended well")

    def spec(self, job: Job) -> ContainerSpec:
        """The container as the engine takes it: every late value expanded, every path absolute."""
        view, options = job.view, docker_options.parse([job.view.expand(o) for o in self.options])
        mounted = tuple(mount.resolve(view) for mount in self._all_mounts(view))
        inherited = {n: job.environ[n] for n in options.env if "=" not in n and n in job.environ}
        given = dict(e.split("=", 1) for e in options.env if "=" in e)
        return ContainerSpec(
            image=view.image(self.image),
            command=tuple(view.expand(word) for word in self.command),
            entrypoint=None if self.entrypoint is None else tuple(view.expand(word) for word in self.entrypoint),
            mounts=mounted,
            workdir=self._workdir(view),
            env={**inherited, **given, **{name: words.spelt(value, view) for name, value in self.env}},
            user=None if self.user is None else view.expand(self.user),
            caller=self._as_caller(),
            network=None if self.network is None else view.expand(self.network),
            ports=tuple(view.expand(port) for port in self.ports),
            tty=self.tty,
            options=tuple(view.expand(option) for option in self.options),
            services={name: service.spec(job) for name, service in self.services},
        )

    def _as_caller(self) -> bool:
        """Outputs on the host must be the caller's, not root's."""
        return self.user is None and any(m.kind == "path" and not m.read_only for m in self._all_mounts())

    def _all_mounts(self, view: View | None = None) -> tuple[Mounted, ...]:
        expand = view.expand if view else str
        volumes = docker_options.parse([expand(option) for option in self.options]).volumes
        return (*self.mounts, *(mounting.parse_option(volume) for volume in volumes))

    def _workdir(self, view: View) -> str | None:
        here = next((mount.target for mount in self.mounts if mount.here), None)
        chosen = self.workdir if self.workdir is not None else here
        return None if chosen is None else view.expand(chosen)

    def _images(self, view: View) -> Iterator[tuple[str, str | None]]:
        if not isinstance(self.image, ImageRule):
            yield view.image(self.image), docker_options.parse([view.expand(o) for o in self.options]).platform
        for _, service in self.services:
            yield from service._images(view)

    def _signature(self) -> str:
        """What is written, but for what has a field of its own; an image by its rule, since its content is a field."""
        parts = {
            "image": words.name_of(self.image),
            "command": self.command,
            "entrypoint": self.entrypoint,
            "workdir": self.workdir,
            "user": self.user,
            "network": self.network,
            "ports": self.ports,
            "services": [name for name, _ in self.services],
            "stdout": self.stdout,
            "options": self.options,
        }
        return json.dumps({name: part for name, part in parts.items() if part})

    def _values(self) -> list[Any]:
        """Every value in which a late value or an image may stand."""
        texts = [self.workdir, self.user, self.network, self.stdout]
        mounted = [part for mount in self.mounts for part in (mount.source, mount.target)]
        lists = [*self.command, *(self.entrypoint or ()), *self.ports, *self.options, *(value for _, value in self.env)]
        return [self.image, *mounted, *lists, *(text for text in texts if text is not None)]


def _present(engine: Engine, image: str, platform: str | None, job: Job) -> None:
    """Pull what the engine lacks, as docker run does."""
    if engine.image(image) is not None:
        return
    if image.startswith("sha256:"):
        raise EngineError(f"the engine has no image {image}", hint="was it removed while imgmake ran?")
    engine.pull(image, platform=platform, output=job.output, cancel=job.cancel)


# --- the equal docker line ------------------------------------------------------------------------------------


def _lines(run: Run, view: View) -> list[str]:
    """``docker run …``; with services, the network and each service on lines before, and what removes them after."""
    out = f" > {words.shown(run.stdout, view)}" if run.stdout else ""
    if not run.services:
        return [f"docker run --rm {_flags(run, view)}{out}"]
    names = [name for name, _ in _services(run)]
    joined = [
        f"docker run -d --network imgmake --network-alias {name} --name {name} {_flags(service, view)}"
        for name, service in _services(run)
    ]
    main = f"docker run --rm --network imgmake {_flags(run, view)}{out}"
    return [
        "docker network create imgmake",
        *joined,
        main,
        f"docker rm -fv {' '.join(names)}",
        "docker network rm imgmake",
    ]


def _services(run: Run) -> Iterator[tuple[str, Run]]:
    for name, service in run.services:
        yield from _services(service)
        yield name, service


def _flags(run: Run, view: View) -> str:
    parts = ["-it"] if run.tty else []
    # HOME as imgmake gives it; the passwd entry that goes with it has no flag.
    parts += ['--user "$(id -u):$(id -g)" -e HOME=/tmp'] if run._as_caller() else []
    parts += [f"--user {words.shown(run.user, view)}"] if run.user is not None else []
    parts += [f"-e {name}={words.shown(value, view)}" for name, value in run.env]
    parts += [mount.flags(view) for mount in run.mounts]
    workdir = run._workdir(view)
    parts += [f"-w {shlex.quote(workdir)}"] if workdir is not None else []
    parts += [f"--network {words.shown(run.network, view)}"] if run.network is not None else []
    parts += [f"-p {words.shown(port, view)}" for port in run.ports]
    parts += [words.shown(option, view) for option in run.options]
    entrypoint = run.entrypoint or ()
    parts += [f"--entrypoint {words.shown(entrypoint[0], view)}"] if entrypoint else []
    parts += [words.shown(run.image, view) if isinstance(run.image, ImageRule) else shlex.quote(view.image(run.image))]
    return " ".join([*parts, *(words.shown(word, view) for word in (*entrypoint[1:], *run.command))])


# --- the constructor ------------------------------------------------------------------------------------------


def run(  # noqa: PLR0913 (the words of `docker run`)
    image: Any,
    command: str | Sequence[str] = (),
    *,
    entrypoint: str | Sequence[str] | None = None,
    mounts: Mapping[Any, str] = {},
    workdir: str | None = None,
    env: Mapping[str, Any] = {},
    user: str | int | None = None,
    network: str | None = None,
    ports: Sequence[str | int] = (),
    services: Mapping[str, Any] = {},
    tty: bool = False,
    stdout: str | Path | None = None,
    options: str | Sequence[str] = (),
) -> Run:
    """Run a container of `image` (an image's rule or a reference) to its end; what was made for it is removed.

    As the calling user when a host path is mounted writable and no `user` is given, so that outputs are not
    root's. A string is split into words, without a shell. mounts: a path relative to the Pipefile's folder,
    ``"volume:NAME"`` or an image's rule (its files) to a target, which may end in ``:ro``. workdir: else where
    ``"."`` is mounted. services: a host name to a `run`, an image's rule or a reference: started first on a
    private network and waited for (their healthcheck, else an exposed port). stdout: a file for the standard
    output. tty: the user's terminal, if there is one. options: further flags of ``docker run``.

    Raises PipefileError on a wrong argument; running it raises CommandFailed with the container's exit code.

    >>> run("maven:3", "mvn -B verify", mounts={".": "/project"}).command
    ('mvn', '-B', 'verify')
    """
    words.image(image, "run")
    flags = words.split(options, "run: options")
    for volume in docker_options.parse(flags).volumes:
        mounting.parse_option(volume)
    return Run(
        image=image,
        command=words.split(command, "run: command"),
        entrypoint=None if entrypoint is None else words.split(entrypoint, "run: entrypoint") or ("",),
        mounts=mounting.parse(mounts),
        workdir=None if workdir is None else words.text(workdir, "run: workdir"),
        env=words.pairs(env, "run: env"),
        user=None if user is None else words.some_text(str(user), "run: user"),
        network=None if network is None else words.some_text(network, "run: network"),
        ports=tuple(_port(port) for port in ((ports,) if isinstance(ports, str | int) else ports)),
        services=_services_of(services, network),
        tty=tty,
        stdout=None if stdout is None else words.some_text(str(stdout), "run: stdout"),
        options=flags,
    )


_PORT = re.compile(r"(?:(?:[\d.]+|\[[\da-fA-F:]+\]):)?(?:\d*(?:-\d+)?:)?\d+(?:-\d+)?(?:/(?:tcp|udp|sctp))?", re.ASCII)


def _port(port: str | int) -> str:
    text = str(port)
    if "$" not in text and not _PORT.fullmatch(text):
        raise PipefileError(f"run: {text!r} is no port", hint="write HOST:CONTAINER, as in ports=['8080:80']")
    return text


def _services_of(services: Mapping[str, Any], network: str | None) -> tuple[tuple[str, Run], ...]:
    if not isinstance(services, Mapping):
        raise PipefileError("run: services must map host names to run(…)")
    if services and network is not None and network.startswith(_SHARED_NETWORKS):
        raise PipefileError(f"run: a container on the network {network!r} cannot reach services by name")
    found = tuple((_host(name), _service(service)) for name, service in services.items())
    names = [name for pair in found for name in (pair[0], *(n for n, _ in _services(pair[1])))]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PipefileError(f"run: two services are called {twice!r}")
    return found


def _host(name: Any) -> str:
    if not isinstance(name, str) or not _HOST.fullmatch(name):
        raise PipefileError(f"run: the service {name!r} is no host name")
    return name


def _service(service: Any) -> Run:
    found = service if isinstance(service, Run) else run(service)
    if found.stdout is not None or found.tty:
        raise PipefileError("run: a service has neither stdout= nor tty=")
    return found
