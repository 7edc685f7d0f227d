"""Compose files as builds: every service with ``build:``, by ``docker compose config`` where it is there.

Running services stays with compose. https://docs.docker.com/reference/compose-file/build/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imgmake.errors import UsageError
from imgmake.migrate import dotenv, interpolation, yamlfile
from imgmake.migrate.builds import Build, declare
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.foreign import Draft, Entry, comments_above
from imgmake.migrate.proof import OVERRIDDEN, Proof, Source
from imgmake.migrate.python import Part, Parts, merged, quoted
from imgmake.migrate.tools import Tool, ToolFailed
from imgmake.ports import Shell

_OVERRIDES = {"yml": ("override.yml", "override.yaml"), "yaml": ("override.yaml", "override.yml")}
_KNOWN = frozenset(
    [
        "additional_contexts",
        "args",
        "cache_from",
        "cache_to",
        "context",
        "dockerfile",
        "dockerfile_inline",
        "entitlements",
        "extra_hosts",
    ]
) | {"labels", "network", "no_cache", "platforms", "pull", "secrets", "shm_size", "ssh", "tags", "target", "ulimits"}
_UNSAID = frozenset({"provenance", "sbom"})  # `publish` writes both
_UNASKED = "docker compose is not here: the file is read as it stands, and compared with that"


def source(folder: Path, file: str, shell: Shell, environ: Mapping[str, str]) -> Source:
    """The Pipefile of a compose file, and what proves it. Raises UsageError."""
    text = (folder / file).read_text(errors="replace")
    written, lines = yamlfile.load(file, text)
    if not isinstance(written, Mapping) or not isinstance(written.get("services"), Mapping):
        raise UsageError(f"{file} has no services")
    tool = Tool(folder, file, shell, environ)
    config, asked, words = _config(tool, written)
    there = dotenv.expected(folder)
    found = dotenv.read(folder)
    draft = Draft(file, dotenv=found if there else None)
    reading = _Reading(draft, config, lines, text.split("\n"), written)
    builds = reading.builds()
    if not builds:
        raise UsageError(f"no service of {file} has build: there is nothing to make", hint="a Pipefile builds images")
    _remarks(draft, reading, folder)
    twins = declare(draft, builds)
    group = _group(draft, builds, config) | twins
    required = [each.exported for each in draft.variables.values() if each.required]

    def again(given: Mapping[str, str]) -> list[Build]:
        values = Draft(file, dotenv={**found, **given})
        settled = _settled(tool, words, given) if words else config
        return [_called(each, reading.project) for each in _Reading(values, settled, lines, [], written).builds()]

    pipefile = draft.pipefile()
    return Source("compose", file, pipefile, asked, Proof(folder, pipefile, again, group, required).every)


def _config(tool: Tool, written: Mapping[str, Any]) -> tuple[Mapping[str, Any], str, list[str]]:
    """The file with what it extends, includes and is overridden by, where compose itself says that, and how to ask."""
    files = ["-f", tool.makefile]
    for other in _override(tool):
        files += ["-f", other]
    words = ["docker", "compose", *files, "--profile", "*", "config", "--format", "json", "--no-path-resolution"]
    if not tool.has("docker", "compose", "version"):
        return written, _UNASKED, []
    try:
        config = tool.json([*words, "--no-interpolate"])
    except ToolFailed as error:
        return written, f"{error.message}: the file is read as it stands, and compared with that", []
    return config, "docker compose config says what is built", words


def _settled(tool: Tool, words: Sequence[str], given: Mapping[str, str]) -> Mapping[str, Any]:
    """The file with values put in; what it asks for (`${NAME:?…}`) and nobody gives has a value, too."""
    try:
        found: Mapping[str, Any] = tool.json(words, given)
    except ToolFailed as error:
        missing = re.search(r"required variable (\w+) is missing", error.message)
        if missing is None or missing[1] in given:
            raise
        return _settled(tool, words, {**given, missing[1]: OVERRIDDEN})
    return found


def _override(tool: Tool) -> list[str]:
    """The file beside it that compose merges in unasked."""
    stem, _, ending = tool.makefile.rpartition(".")
    if stem not in ("compose", "docker-compose"):
        return []
    names = [f"{stem}.{each}" for each in _OVERRIDES.get(ending, ())]
    return [name for name in names if (tool.folder / name).is_file()][:1]


def _called(build: Build, project: str) -> Build:
    """As compose calls an image that nothing else names."""
    build.tags = build.tags or [[Part(f"{project}-{build.name}")]] if project else build.tags
    return build


class _Reading:
    """The builds of one configuration; the variables that it mentions are declared in the draft."""

    def __init__(
        self,
        draft: Draft,
        config: Mapping[str, Any],
        lines: yamlfile.Lines,
        text: Sequence[str],
        written: Mapping[str, Any],
    ) -> None:
        self._draft = draft
        self.config = config
        self.lines = lines
        self._text = text
        self._written = written
        self.project = str(config.get("name") or "")

    def builds(self) -> list[Build]:
        """A build for each service that has one, in the order of the file."""
        services = self.config["services"]
        ordered = sorted(services, key=lambda name: self.lines.get(("services", name), 1 << 30))
        return [self._build(name, services[name]) for name in ordered if _builds(services[name])]

    def line(self, name: str) -> int:
        return self.lines.get(("services", name), 1)

    def _build(self, name: str, service: Mapping[str, Any]) -> Build:
        line = self.line(name)
        comment = comments_above(self._text, line) if self._text else ""
        try:
            return self._read(name, line, service, comment)
        except Uncovered as error:
            return Build(name, line, comment=comment, troubles=[(f"services.{name}.build", str(error))])

    def _parts(self, value: Any) -> Parts:
        return interpolation.compose(_text(value), self._draft)

    def _read(self, name: str, line: int, service: Mapping[str, Any], comment: str) -> Build:
        if "extends" in service:
            raise Uncovered("it extends another service: docker compose is not here to say what that comes to")
        said = service["build"] if isinstance(service["build"], Mapping) else {"context": service["build"]}
        if said.get("dockerfile_inline"):
            raise Uncovered("its Dockerfile stands in the compose file: make a file of it")
        if unknown := sorted(key for key in set(said) - _KNOWN - _UNSAID if not _extends(key)):
            raise Uncovered(f"{unknown[0]} has no equal")
        args = _pairs(said.get("args"))
        platforms = said.get("platforms") or ([service["platform"]] if service.get("platform") else [])
        return Build(
            name,
            line,
            context=self._parts(said.get("context") or "."),
            dockerfile=self._parts(said.get("dockerfile") or "Dockerfile"),
            stage=self._parts(said["target"]) if said.get("target") else (),
            tags=self._tags(name, service, said),
            args={key: self._parts(value) for key, value in args.items() if value is not None},
            passed=self._passed(name, args),
            labels={key: self._parts(value or "") for key, value in _pairs(said.get("labels")).items()},
            platforms=[self._parts(each) for each in platforms],
            secrets=[self._secret(each) for each in said.get("secrets") or ()],
            contexts={key: self._parts(value) for key, value in _pairs(said.get("additional_contexts")).items()},
            options=list(self._options(said)),
            pull=_text(said.get("pull")) == "true",
            comment=comment,
        )

    def _passed(self, name: str, args: Mapping[str, Any]) -> list[str]:
        """Arguments without a value, which compose drops from what it tells."""
        said = (self._written["services"].get(name) or {}).get("build")
        given = _pairs(said.get("args")) if isinstance(said, Mapping) else {}
        return [key for key, value in given.items() if value is None and args.get(key) is None]

    def _tags(self, name: str, service: Mapping[str, Any], said: Mapping[str, Any]) -> list[Parts]:
        """The service's image, else its name in the project, where the file itself names that."""
        more = [self._parts(each) for each in said.get("tags") or ()]
        if service.get("image"):
            return [self._parts(service["image"]), *more]
        if "name" in [path[0] for path in self.lines if len(path) == 1] or more:
            return [[*self._parts(self.project), Part(f"-{name}")], *more]
        return more

    def _secret(self, each: Any) -> Parts:
        given = each if isinstance(each, Mapping) else {"source": each}
        name = given["source"]
        known = (self.config.get("secrets") or {}).get(name) or {}
        ident = given.get("target") or name
        if known.get("environment"):
            return [Part(f"id={ident},env={known['environment']}")]
        if not known.get("file"):
            raise Uncovered(f"the secret {name} is no file and no variable")
        path = self._parts(known["file"])
        return merged([Part(f"id={ident},src="), *path])

    def _options(self, said: Mapping[str, Any]) -> Iterator[Parts]:
        if _text(said.get("no_cache")) == "true":
            yield [Part("--no-cache")]
        for key in ("network", "shm_size"):
            if said.get(key):
                yield self._option(key.replace("_", "-"), said[key])
        for key in ("cache_from", "cache_to"):
            yield from (self._option(key.replace("_", "-"), each) for each in said.get(key) or ())
        yield from (self._option("allow", each) for each in said.get("entitlements") or ())
        for name, value in _pairs(said.get("ssh")).items():
            yield self._option("ssh", f"{name}={value}" if value else name)
        for host in _hosts(said.get("extra_hosts")):
            yield self._option("add-host", host)
        for name, value in _pairs(said.get("ulimits")).items():
            limit = f"{value['soft']}:{value['hard']}" if isinstance(value, Mapping) else value
            yield self._option("ulimit", f"{name}={limit}")

    def _option(self, flag: str, value: Any) -> Parts:
        return merged([Part(f"--{flag}="), *self._parts(value)])


def _builds(service: Any) -> bool:
    """Whether a service has a build, or may have one of a service that it extends, where nobody has put that in."""
    return bool((service or {}).get("build") or (service or {}).get("extends"))


def _extends(key: str) -> bool:
    """Whether compose itself passes a key over."""
    return key.startswith("x-")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _pairs(given: Any) -> dict[str, Any]:
    """A mapping, or a list of ``name=value`` and names alone."""
    if isinstance(given, Mapping):
        return dict(given)
    halves = [str(each).partition("=") for each in given or ()]
    return {name: value if equals else None for name, equals, value in halves}


def _hosts(given: Any) -> Iterable[str]:
    if isinstance(given, Mapping):
        return [f"{name}:{value}" for name, value in given.items()]
    return [re.sub(r"^([^=:]+)=", r"\1:", str(each)) for each in given or ()]


def _remarks(draft: Draft, reading: _Reading, folder: Path) -> None:
    """What a person should know of it."""
    services = reading.config["services"]
    bare = [name for name, said in services.items() if not _builds(said)]
    extended = [name for name, said in services.items() for key in _pairs((said or {}).get("build")) if _extends(key)]
    if extended:
        why = "x-… in a build is for other tools than compose (x-bake for bake): it is not in the Pipefile"
        draft.note(reading.line(extended[0]), ", ".join(dict.fromkeys(extended)), why)
    if bare:
        draft.note(reading.line(bare[0]), ", ".join(bare), "built by nobody here; running services stays with compose")
    if draft.dotenv is None or not any("DOTENV" in each.source for each in draft.variables.values()):
        return
    draft.imports.append("pathlib")
    draft.head = [*dotenv.HELPER, 'DOTENV = dotenv(".env")']
    if odd := dotenv.intricate(folder):
        draft.note(1, ".env", f"the Pipefile reads plain NAME=value lines only, and not {odd.partition('=')[0]}")


def _group(draft: Draft, builds: Sequence[Build], config: Mapping[str, Any]) -> dict[str, list[str]]:
    """What ``docker compose build`` builds: all but what a profile asks for."""
    names = {each.name for each in builds}
    group = next(name for name in ("build", "images", "all-images") if name not in names)
    targets = [each.name for each in builds if not config["services"][each.name].get("profiles")]
    if targets:
        comment = "What `docker compose build` builds."
        draft.entries.append(Entry(group, 1, "phony", [quoted(each) for each in targets], comment))
        draft.default = group
    return {group: targets} if targets else {}
