"""Bake files (HCL and JSON) as builds: what ``docker buildx bake --print`` says, or, without it, what stands there.

buildx gives values, not where they come from: it is asked again with other values of the variables, and where one of
these shows in an answer, there the variable stood. https://docs.docker.com/build/bake/reference/
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from imgmake.errors import UsageError
from imgmake.migrate import interpolation
from imgmake.migrate.bakefile import Outline, hcl
from imgmake.migrate.builds import Build, declare
from imgmake.migrate.expand import Uncovered
from imgmake.migrate.foreign import Draft, Entry
from imgmake.migrate.probing import Shown, text_of
from imgmake.migrate.proof import Proof, Source
from imgmake.migrate.python import Part, Parts, merged, quoted, today
from imgmake.migrate.tools import Bake, ToolFailed
from imgmake.ports import Shell

Texts = Callable[[str, Sequence[str]], list[Parts]]  # the key of a list, and what stands in it

_LISTS = {"no-cache-filter": "no-cache-filter", "ulimits": "ulimit", "cache-from": "cache-from", "cache-to": "cache-to"}
_LISTS |= {"ssh": "ssh", "annotations": "annotation", "entitlements": "allow"}
_SIMPLE = {"network": "network", "shm-size": "shm-size"}
_KNOWN = frozenset(
    [
        "annotations",
        "args",
        "attest",
        "context",
        "contexts",
        "description",
        "dockerfile",
        "dockerfile-inline",
        "inherits",
    ]
) | {"labels", "name", "matrix", "no-cache", "output", "platforms", "pull", "secret", "tags", "target"}


def source(folder: Path, file: str, shell: Shell, environ: Mapping[str, str]) -> Source:
    """The Pipefile of a bake file, and what proves it. Raises ToolFailed, UsageError."""
    text = (folder / file).read_text(errors="replace")
    outline = Outline(text, _json(file, text))
    own = {name: value for name, value in environ.items() if name not in outline.variables}
    tool = Bake(folder, file, shell, own)
    buildx = tool.has("docker", "buildx", "version")
    draft, found = Draft(file), outline.targets
    builds = _printed(tool, outline, draft) if buildx else _plain(outline, draft, _data(file, text), {})
    for other in tool.overriding() if not buildx else ():
        draft.note(1, other, "bake merges it in: install docker buildx, and migrate again")
    members = _members(tool, outline, builds, buildx=buildx)
    twins = declare(draft, builds)
    _groups(draft, outline, {each.name for each in builds}, members)

    def again(given: Mapping[str, str]) -> list[Build]:
        if not buildx:
            return _plain(outline, Draft(file), _data(file, text), given)
        printed, _ = _targets(tool, list(found), given)
        return [_build(name, 1, said, _literal, outline) for name, said in printed.items()]

    pipefile = draft.pipefile()
    asked = "docker buildx bake --print says what each target comes to" if buildx else _UNASKED
    return Source("bake", file, pipefile, asked, Proof(folder, pipefile, again, members | twins).every)


def _literal(_key: str, texts: Sequence[str]) -> list[Parts]:
    return [[Part(each)] for each in texts]


_UNASKED = "docker buildx is not here: the file is read as it stands, and compared with that"


def _json(file: str, text: str) -> Any:
    if not file.endswith(".json"):
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{file} is no JSON: {error}") from None


def _data(file: str, text: str) -> Any:
    return _json(file, text) or hcl(file, text)


# --- asked of buildx ----------------------------------------------------------------------------------------------


def _printed(tool: Bake, outline: Outline, draft: Draft) -> list[Build]:
    """Every target as bake prints it, variables where they show."""
    found, failed = _targets(tool, list(outline.targets), {})
    probes = _probes(tool, outline, [name for name in outline.targets if name not in failed])
    probed, _ = _targets(tool, [n for n in outline.targets if n not in failed], dict(probes)) if probes else (found, {})
    for name in probes:
        at = outline.variables[name]
        draft.declare(name, outline.defaults[name] or "", comment=outline.comment(at))
    marks = {mark: draft.variables[name].part for name, mark in probes.items()}
    builds = []
    for name in _in_file_order(outline, found):
        shown = Shown(found[name], probed.get(name), marks)
        line = outline.targets.get(_written_as(name, outline), 1)
        build = _build(name, line, found[name], shown.texts, outline)
        if shown.fixed:
            build.today = f"bake works out {shown.fixed[0]} from variables: this is what holds today"
            draft.note(line, name, build.today)
        builds.append(build)
    for name, why in failed.items():
        at = outline.targets[name]
        builds.append(Build(name, at, troubles=[(f'target "{name}"', why)], comment=outline.comment(at)))
    _unheard(tool, outline, {each: found[each] for each in found if each in outline.targets}, draft)
    return _wanted(builds, outline, draft)


def _targets(tool: Bake, names: Sequence[str], given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Targets by name; where bake refuses them together, each alone, and why it refuses one."""
    try:
        return dict(tool.printed(names, given).get("target", {})), {}
    except ToolFailed as error:
        if len(names) == 1:
            return {}, {names[0]: error.message.partition(": ")[2]}
    found, failed = dict[str, Any](), dict[str, str]()
    for name in names:
        one, wrong = _targets(tool, [name], given)
        found |= one
        failed |= wrong
    return found, failed


def _probes(tool: Bake, outline: Outline, names: Sequence[str]) -> dict[str, str]:
    """A mark for each variable that takes any text, to find it again in what bake prints."""
    marks = {name: f"zq{at}qz" for at, (name, value) in enumerate(outline.defaults.items()) if value is not None}

    def taken(given: Mapping[str, str]) -> bool:
        try:
            tool.printed(names, given)
        except ToolFailed:
            return False
        return True

    if not marks or taken(marks):
        return marks
    return {name: mark for name, mark in marks.items() if taken({name: mark})}


def _in_file_order(outline: Outline, found: Mapping[str, Any]) -> list[str]:
    names = list(outline.targets)
    place = {name: at for at, name in enumerate(names)}
    return sorted(found, key=lambda name: (place.get(_written_as(name, outline), len(names)), list(found).index(name)))


def _written_as(name: str, outline: Outline) -> str:
    """The target of the file that a target of a matrix comes from, as far as its name tells."""
    if name in outline.targets:
        return name
    heads = [each for each in outline.targets if name.startswith(each)]
    return max(heads, key=len, default=name)


def _unheard(tool: Bake, outline: Outline, found: Mapping[str, Any], draft: Draft) -> None:
    """Variables that take no text, or whose default is worked out: whether they change anything is tried."""
    for name, line in outline.variables.items():
        if name in draft.variables:
            continue
        other = {"true": "false", "false": "true"}.get(
            outline.written[name], "1" if outline.written[name] == "0" else "0"
        )
        try:
            same = _targets(tool, list(found), {name: other})[0] == found
        except ToolFailed:
            same = False
        if not same:
            why = "it takes no text: what holds today stands in the Pipefile, and nothing overrides it"
            draft.note(line, f'variable "{name}"', why)


# --- read as it stands --------------------------------------------------------------------------------------------


def _plain(outline: Outline, draft: Draft, data: Mapping[str, Any], given: Mapping[str, str]) -> list[Build]:
    """Targets as they are written, where nothing has to be worked out; `given`: other values of variables."""
    for name, value in outline.defaults.items():
        if value is not None:
            draft.declare(name, given.get(name, value), comment=outline.comment(outline.variables[name]))
    targets = data.get("target", {})
    return _wanted([_as_written(name, targets, draft, outline) for name in targets], outline, draft)


def _as_written(name: str, targets: Mapping[str, Any], draft: Draft, outline: Outline) -> Build:
    line = outline.targets.get(name, 1)
    try:
        said = _inherited(name, targets)
        if "matrix" in said:
            raise Uncovered("its matrix is worked out by bake: install docker buildx, and migrate again")
        return _build(name, line, said, lambda _, texts: [interpolation.bake(each, draft) for each in texts], outline)
    except Uncovered as error:
        return Build(name, line, troubles=[(f'target "{name}"', str(error))], comment=outline.comment(line))


_MERGED = frozenset({"args", "labels", "contexts"})
_ADDED = frozenset({"secret", "ssh", "cache-from", "attest", "annotations", "entitlements"})


def _inherited(name: str, targets: Mapping[str, Any], seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """A target with what it inherits: maps are merged, some lists added to, all else replaced."""
    if name not in targets or name in seen:
        raise Uncovered(f"it inherits {name}, which is not defined here")
    found: dict[str, Any] = {}
    own = targets[name]
    for said in [*(_inherited(each, targets, (*seen, name)) for each in own.get("inherits", ())), own]:
        for key, value in said.items():
            if key in _MERGED and isinstance(value, Mapping):
                found[key] = {**found.get(key, {}), **value}
            elif key in _ADDED and isinstance(value, list):
                found[key] = [*found.get(key, ()), *value]
            elif key != "inherits":
                found[key] = value
    return found


# --- one target ---------------------------------------------------------------------------------------------------


def _build(name: str, line: int, said: Mapping[str, Any], texts: Texts, outline: Outline) -> Build:
    def one(key: str, usual: str = "") -> Parts:
        return texts("", [text_of(said.get(key) or usual)])[0]

    def several(key: str) -> list[Parts]:
        return texts(key, [text_of(each) for each in said.get(key) or () if each != ""])

    def pairs(key: str) -> dict[str, Parts]:
        given = {each: text_of(value) for each, value in (said.get(key) or {}).items() if value is not None}
        return dict(zip(given, texts("", list(given.values())), strict=True))

    comment = outline.comment(line) if _written_as(name, outline) == name else ""
    build = Build(
        name,
        line,
        context=one("context", "."),
        dockerfile=one("dockerfile", "Dockerfile"),
        stage=one("target") if said.get("target") else (),
        tags=several("tags"),
        args=pairs("args"),
        labels=pairs("labels"),
        platforms=several("platforms"),
        secrets=[[Part(_secret(text_of(each)))] for each in said.get("secret") or ()],
        contexts=pairs("contexts"),
        options=list(_options(said, several, one)),
        pull=bool(said.get("pull")),
        comment=comment,
        help="" if comment else said.get("description") or "",
    )
    _output(build, [text_of(each) for each in said.get("output") or ()])
    if said.get("dockerfile-inline"):
        build.troubles.append(("dockerfile-inline", "its Dockerfile stands in the bake file: make a file of it"))
    for key in sorted(set(said) - _KNOWN - set(_LISTS) - set(_SIMPLE)):
        build.troubles.append((f"{key} = {said[key]}", f"{key} has no equal"))
    return build


def _options(
    said: Mapping[str, Any], several: Callable[[str], list[Parts]], one: Callable[[str], Parts]
) -> Iterable[Parts]:
    """Flags that `image` has no keyword for; what is attested, `publish` says itself."""
    if said.get("no-cache"):
        yield [Part("--no-cache")]
    for key, flag in _SIMPLE.items():
        if said.get(key):
            yield merged([Part(f"--{flag}="), *one(key)])
    for key, flag in _LISTS.items():
        yield from (merged([Part(f"--{flag}="), *each]) for each in several(key))


def _secret(text: str) -> str:
    """``id=…`` with where it comes from, which buildx looks for itself: in the environment."""
    pairs = dict(each.partition("=")[::2] for each in text.split(","))
    pairs.pop("type", None)
    if not {"src", "source", "env"} & pairs.keys():
        pairs["env"] = pairs.get("id", "")
    return ",".join(f"{key}={value}" for key, value in pairs.items())


def _output(build: Build, outputs: Sequence[str]) -> None:
    for each in outputs:
        pairs = dict(part.partition("=")[::2] for part in each.split(","))
        kind = pairs.get("type", "local")
        if kind == "registry" or pairs.get("push") == "true":
            build.pushed = True
        elif kind not in ("docker", "image", "cacheonly"):
            build.troubles.append((f"output = {each}", "what it makes is no image in the engine"))


def _wanted(builds: Sequence[Build], outline: Outline, draft: Draft) -> list[Build]:
    """Without those that others only inherit from."""
    found = []
    for each in builds:
        bare = not each.tags and not each.stage and each.path == "." and today(each.dockerfile) == "Dockerfile"
        if each.name in outline.inherited and (each.name.startswith("_") or bare):
            draft.note(
                each.line, f'target "{each.name}"', "others inherit from it, and hold what it says: it is no rule"
            )
        else:
            found.append(each)
    return found


# --- groups -------------------------------------------------------------------------------------------------------


def _members(tool: Bake, outline: Outline, builds: Sequence[Build], *, buildx: bool) -> dict[str, list[str]]:
    """The targets of each group; a matrix is a group, too."""
    found = {}
    for name in outline.groups if buildx else ():
        try:
            printed = tool.printed([name] if name != "default" else [])
            found[name] = list(printed.get("group", {}).get(name, {}).get("targets", ()))
        except ToolFailed:
            found[name] = _written_members(tool, outline, name)
    for name in outline.groups if not buildx else ():
        found[name] = _written_members(tool, outline, name)
    made = {each.name for each in builds}
    for name in outline.targets:
        of_matrix = [each.name for each in builds if _written_as(each.name, outline) == name]
        if name not in made and of_matrix:
            found[name] = of_matrix
    return found


def _written_members(tool: Bake, outline: Outline, name: str) -> list[str]:
    text = "\n".join(outline.lines)
    if tool.makefile.endswith(".json"):
        return list(json.loads(text)["group"][name].get("targets", ()))
    match = re.search(rf'^group\s+"{re.escape(name)}"\s*\{{[^}}]*?targets\s*=\s*\[([^\]]*)\]', text, re.MULTILINE)
    return re.findall(r'"([^"]+)"', match[1]) if match else []


def _groups(draft: Draft, outline: Outline, made: set[str], members: Mapping[str, Sequence[str]]) -> None:
    known = made | members.keys()
    for name, targets in members.items():
        line = outline.groups.get(name) or outline.targets[name]
        missing = [each for each in targets if each not in known]
        if missing:
            draft.fails(name, line, f'group "{name}"', f"{missing[0]} is not defined here")
        else:
            comment = outline.comment(line) if name in outline.groups else ""
            draft.entries.append(Entry(name, line, "phony", [quoted(each) for each in targets], comment))
    draft.default = "default" if "default" in known else ""
