"""Builders: BuildKit through buildx, BuildKit through a docker CLI without buildx, the classic builder. They never tag.

`choose` picks one; none of them is connected before it builds. Knows nothing of rules, stamps or freshness.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from imgmake.builders import probe
from imgmake.builders.buildkit import BuildkitBuilder, BuildxBuilder
from imgmake.builders.classic import ClassicBuilder
from imgmake.errors import BuildError
from imgmake.ports import Builder

__all__ = ["BuildkitBuilder", "BuildxBuilder", "ClassicBuilder", "choose"]


def choose(engine_host: str, forced: str | None, environ: Mapping[str, str]) -> Builder:
    """The builder for an engine: buildx where it is installed, else BuildKit, else classic.

    engine_host: URL of the engine; empty when `environ` alone names it (DOCKER_CONTEXT).
    forced:      ``builder=`` of a rule; else IMGMAKE_BUILDER of the environment. Raises BuildError when
                 there is no such builder, or it is not installed.

    >>> choose("unix:///var/run/docker.sock", "classic", {}).family
    'classic'
    """
    env = environment(engine_host, environ)
    wanted = forced or environ.get("IMGMAKE_BUILDER")
    if wanted:
        return _forced(wanted, "builder=" if forced else "IMGMAKE_BUILDER=", env)
    return _buildx(env) or _buildkit(env) or ClassicBuilder(env)


def environment(engine_host: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    """A docker context may hold certificates, so it is kept where it is what names the engine."""
    by_context = environ.get("DOCKER_CONTEXT") and not environ.get("DOCKER_HOST")
    return environ if by_context or not engine_host else {**environ, "DOCKER_HOST": engine_host}


def _buildx(env: Mapping[str, str]) -> Builder | None:
    cli = probe.with_buildx(env)
    return BuildxBuilder(cli, env) if cli else None


def _buildkit(env: Mapping[str, str]) -> Builder | None:
    cli = probe.with_buildkit(env)
    return BuildkitBuilder(cli, env) if cli else None


_KINDS: Mapping[str, Callable[[Mapping[str, str]], Builder | None]] = {
    "buildx": _buildx,
    "buildkit": _buildkit,
    "classic": ClassicBuilder,
}
_MISSING = {
    "buildx": "no docker CLI on PATH has buildx; install docker-buildx (or docker-buildx-plugin)",
    "buildkit": "no docker CLI on PATH does BuildKit without buildx: those from 23 on need buildx for it",
}


def _forced(wanted: str, source: str, env: Mapping[str, str]) -> Builder:
    if wanted not in _KINDS:
        near = difflib.get_close_matches(wanted, _KINDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_KINDS)}"
        raise BuildError(f"{source}{wanted!r} is no builder", hint=hint)
    builder = _KINDS[wanted](env)
    if builder is None:
        raise BuildError(f"the builder {source}{wanted!r} is not installed", hint=_MISSING[wanted])
    return builder
