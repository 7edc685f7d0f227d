"""The proof for builds: what bake or compose would tell ``docker build``, and what imgmake would. Pure.

Arguments are compared flag by flag; a difference is "better" for a reason that is told, or "different".
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imgmake.errors import ImgmakeError
from imgmake.migrate.builds import Build, dockerfile
from imgmake.migrate.model import Compared, Pipefile
from imgmake.migrate.python import today

# Of each line that imgmake would run: its target, that one's kind, the text.
Planned = Callable[[str, Mapping[str, str]], Sequence[tuple[str, str, str]]]

OVERRIDDEN = "imgmake-check"


@dataclass(frozen=True)
class Source:
    """One file of another tool, read.

    asked:    how its tool was asked, for the report.
    unproven: why nothing can be compared; empty when it can.
    compare:  compares every target, given what imgmake would run.
    """

    tool: str
    file: str
    pipefile: Pipefile
    asked: str
    compare: Callable[[Planned], tuple[Compared, ...]]
    unproven: str = ""


@dataclass(frozen=True)
class Proof:
    """Compares the builds of one file, in one scratch folder.

    again:    the builds once more, with other values of variables.
    groups:   names that stand for several targets.
    required: variables without a default: both sides are given a value.
    """

    folder: Path
    pipefile: Pipefile
    again: Callable[[Mapping[str, str]], Sequence[Build]]
    groups: Mapping[str, Sequence[str]]
    required: Sequence[str] = ()

    def every(self, planned: Planned) -> tuple[Compared, ...]:
        """Each target, then those that a variable changes with another value of it."""
        asked = dict.fromkeys(self.required, OVERRIDDEN)  # also what only a target needs that is not translated
        base = {name: value for name, value in asked.items() if name in self.pipefile.overridable}
        plain = self._expected(asked)
        found = [self._one(target, plain, planned, base) for target in self.pipefile.targets]
        for name in self.pipefile.overridable:
            given = {**base, name: f"{OVERRIDDEN}-2"}
            changed = self._expected({**asked, **given})
            known = [each for each in changed if each in self.pipefile.targets or each not in plain]
            for target in (each for each in known if changed[each] != plain.get(each)):
                compared = self._one(target, changed, planned, given)
                if compared.verdict == "different" and not compared.said:
                    said = any(note.text == target for note in self.pipefile.notes)
                    found.append(replace(compared, target=f"{target} {name}={given[name]}", said=said))
        return tuple(found)

    def _expected(self, given: Mapping[str, str]) -> dict[str, dict[str, set[str]]]:
        made = {each.name: each for each in self.again(given)}
        return {name: command(each, made, self.folder.name) for name, each in made.items()}

    def _one(
        self,
        target: str,
        expected: Mapping[str, Mapping[str, set[str]]],
        planned: Planned,
        given: Mapping[str, str],
    ) -> Compared:
        left = {each.target: each for each in self.pipefile.left}
        if target in left:
            return Compared(target, "different", (left[target].why,), (left[target].text,), said=True)
        said = sorted(set(left) & set(self.groups.get(target, ())))
        if said:
            return Compared(target, "different", (f"needs {said[0]}, which is not translated",), (said[0],), said=True)
        if target not in expected and target not in self.groups:
            return Compared(target, "better", ("a rule of its own: pushes only what registries lack",))
        try:
            run = planned(target, given)
        except ImgmakeError as error:
            theirs = (_shown(expected[target]),) if target in expected else ()
            return Compared(target, "different", (f"imgmake: {error.message}",), theirs)
        if target in self.groups:
            return self._group(target, {name for name, _, _ in run})
        return self._build(target, expected[target], [text for name, _, text in run if name == target])

    def _group(self, target: str, run: set[str]) -> Compared:
        lacking = sorted(each for each in self.groups[target] if each not in run and each not in self.groups)
        if lacking:
            return Compared(target, "different", (f"imgmake does not build {lacking[0]}",))
        return Compared(target, "better", ("skips what is up to date",))

    def _build(self, target: str, theirs: Mapping[str, set[str]], lines: Sequence[str]) -> Compared:
        ours = [words for words in map(shlex.split, lines) if "docker" in words and "build" in words]
        if not ours:
            return Compared(target, "different", ("imgmake builds nothing",))
        better, wrong = compare(theirs, told(ours[0], str(self.folder)), self._declared(theirs))
        texts = ((_shown(theirs),), (shlex.join(ours[0]),)) if wrong else ((), ())
        return Compared(target, "different" if wrong else "better", tuple(wrong or better), *texts)

    def _declared(self, theirs: Mapping[str, set[str]]) -> set[str]:
        """The arguments that a build's Dockerfile declares; none of them when it is not there."""
        path = self.folder / next(iter(theirs["file"]))
        text = path.read_text(errors="replace") if path.is_file() else ""
        return set(re.findall(r"^\s*ARG\s+(\w+)", text, re.MULTILINE | re.IGNORECASE))


def command(build: Build, made: Mapping[str, Build], project: str) -> dict[str, set[str]]:
    """What ``docker build`` would be told by the file that it comes from: arguments by flag, with values of today."""
    needs = build.needs()
    contexts = {
        f"{name}={_context(name, today(value), needs, made, project)}" for name, value in build.contexts.items()
    }
    return {
        "tag": {_full(today(tag)) for tag in build.tags},
        "file": {dockerfile(build)},
        "target": {today(build.stage)} - {""},
        "platform": {today(each) for each in build.platforms},
        "build-arg": {f"{name}={today(value)}" for name, value in build.args.items()},
        "label": {f"{name}={today(value)}" for name, value in build.labels.items()},
        "secret": {_secret(today(each)) for each in build.secrets},
        "build-context": contexts,
        "option": {_bytes(today(each)) for each in build.options},
        "context": {build.path},
    }


def _shown(found: Mapping[str, set[str]]) -> str:
    """Arguments as one line of ``docker build``."""
    flags = [f"--{flag} {each}" for flag, values in found.items() if flag in _KNOWN for each in sorted(values)]
    return " ".join(["docker build", *flags, *sorted(found["option"]), *found["context"]])


def _context(name: str, value: str, needs: Mapping[str, str], made: Mapping[str, Build], project: str) -> str:
    if name not in needs or needs[name] not in made:
        return value if "://" in value else posixpath.normpath(value)
    tags = [today(tag) for tag in made[needs[name]].tags]
    return f"docker-image://{tags[0] if tags else f'{project}-{needs[name]}'}"


def _bytes(option: str) -> str:
    """A size in bytes, which compose works out."""
    match = re.fullmatch(r"(--shm-size=)(\d+)([kmg])b?", option)
    return f"{match[1]}{int(match[2]) << {'k': 10, 'm': 20, 'g': 30}[match[3]]}" if match else option


def _full(tag: str) -> str:
    """With ``:latest``, which a reference without a tag means."""
    return tag if ":" in tag.rsplit("/", maxsplit=1)[-1] else f"{tag}:latest"


def _secret(text: str) -> str:
    """A secret's ID and where it comes from, however that is spelt."""
    pairs = dict(each.partition("=")[::2] for each in text.split(","))
    source = pairs.get("src", pairs.get("source", ""))
    return f"{pairs.get('id', '')}<{'env:' + pairs['env'] if 'env' in pairs else posixpath.normpath(source)}"


_FLAG = re.compile(r"--([a-z-]+)(?:=(.*))?", re.DOTALL)
_KNOWN = frozenset({"tag", "file", "target", "platform", "build-arg", "label", "build-context", "secret"})


def told(words: Sequence[str], folder: str) -> dict[str, set[str]]:
    """The same of a ``docker build`` line of imgmake's, split into words; `folder` is where paths start."""
    found: dict[str, set[str]] = {}
    rest = [word.replace(f"{folder}/", "") for word in words]
    rest = rest[rest.index("build") + 1 :]
    while len(rest) > 1:
        word = rest.pop(0)
        match = _FLAG.fullmatch(word)
        name = match[1] if match else ""
        if name in _KNOWN and match is not None and match[2] is None:
            value = rest.pop(0)
            plain = {"tag": _full, "secret": _secret}.get(name, str)
            found.setdefault(name, set()).add(plain(value))
        elif name not in ("load", "progress", "provenance", "iidfile"):
            found.setdefault("option", set()).add(_bytes(word))
    found["context"] = {posixpath.normpath(rest[0])}
    return found


def compare(
    theirs: Mapping[str, set[str]], ours: Mapping[str, set[str]], declared: set[str]
) -> tuple[list[str], list[str]]:
    """What is better and why, and what is different; `declared` are the ARGs of the Dockerfile."""
    better, wrong = ["skips when up to date"], list[str]()
    for flag in sorted({*theirs, *ours} - {"build-arg", "label", "platform", "tag"}):
        wrong += [f"{flag}: {each}" for each in sorted(theirs.get(flag, set()) ^ ours.get(flag, set()))]
    wrong += [f"label: {each}" for each in sorted(theirs["label"] - ours.get("label", set()))]
    if theirs["tag"]:
        wrong += [f"tag: {each}" for each in sorted(theirs["tag"] ^ ours.get("tag", set()))]
    else:
        better.append(f"is called {', '.join(sorted(ours.get('tag', set())))}")
    if theirs["platform"] and not ours.get("platform", set()) <= {p for t in theirs["platform"] for p in t.split(",")}:
        wrong.append(f"platform: {', '.join(sorted(theirs['platform']))}")
    apart = {each.partition("=")[0] for each in theirs["build-arg"] ^ ours.get("build-arg", set())}
    lost = {each.partition("=")[0] for each in theirs["build-arg"] - ours.get("build-arg", set())}
    more = apart - lost
    if lost & declared or not more <= declared:
        wrong += [f"build-arg: {name}" for name in sorted((lost & declared) | (more - declared))]
    elif apart:
        better.append(f"build arguments are those that the Dockerfile declares ({', '.join(sorted(apart))})")
    return better, wrong
