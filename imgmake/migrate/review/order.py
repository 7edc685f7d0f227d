"""What has to come first, and a Makefile leaves to chance: the build before its tests, both before what goes out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from imgmake.migrate.docker import Docker
from imgmake.migrate.model import Finding
from imgmake.migrate.review.seen import Command, Seen, Target, listed, number, parted
from imgmake.migrate.review.shelltext import docker, pushed, reference, rest, values

_TOOLS = frozenset({"container-structure-test", "dgoss", "trivy", "grype", "syft", "dive", "dockle", "cosign"})
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)?(\S+)", re.MULTILINE | re.IGNORECASE)
_MORE = re.compile(r"\b(?:bake|buildah|kaniko|img build|load|import|commit|compose|docker-compose|pull|imagetools)\b")
_TEST = re.compile(r"(?<!la)(?<!at)(?<!fas)test|check|verify|smoke|scan|spec\b|e2e|bats|goss|trivy|grype|healthz?\b")

Makers = Mapping[str, Sequence[str]]


def makers(seen: Seen) -> Makers:
    """The targets that build or tag each image, by its reference; one that only a shell knows is none."""
    found: dict[str, list[str]] = {}
    for target in seen.targets.values():
        for each in target.docker:
            given = values(each, "tag") if each in target.builds else rest(each)[1:2] if each.verb == "tag" else []
            for tag in given:
                if not re.search(r"[$`]", re.sub(r"\$[({]?\*[)}]?", "", tag)):
                    found.setdefault(reference(tag), []).append(target.name)
    return found


def uses(target: Target, seen: Seen) -> list[tuple[str, str]]:
    """Each image that its commands take as it is, and how: runs, tags, tests, reads, builds on."""
    return [found for command in target.commands for found in _uses(command, seen)]


def _uses(command: Command, seen: Seen) -> Iterator[tuple[str, str]]:
    for words in command.simple:
        each = docker(words)
        if each is None:
            if words[0] in _TOOLS:
                yield from ((reference(word.partition("=")[2] or word), "tests") for word in words[1:])
        elif each.verb in ("run", "create") and rest(each):
            image, *others = rest(each)
            yield reference(image), "runs"
            yield from ((reference(word), "tests") for word in others if "/" in word or ":" in word)
        elif each.verb in ("tag", "save", "inspect") and rest(each):
            yield reference(rest(each)[0]), "tags" if each.verb == "tag" else "reads"
        elif each.verb in ("build", "buildx build"):
            yield from ((reference(base), "builds on") for base in _bases(each, seen))


def _bases(build: Docker, seen: Seen) -> Iterator[str]:
    context = (rest(build) or ["."])[0]
    path = seen.folder / (values(build, "file") or [f"{context}/Dockerfile"])[0]
    if "$" not in str(path) and path.is_file() and path.stat().st_size < 1 << 20:
        yield from (match for match in _FROM.findall(path.read_text(errors="replace")) if "$" not in match)


# --- by position ----------------------------------------------------------------------------------------------


def by_position(seen: Seen) -> Iterator[Finding]:
    """`all: build test`, where test takes what build makes and does not need it."""
    made = makers(seen)
    for target in () if seen.special(".NOTPARALLEL") else seen.targets.values():
        own = target.prerequisites
        yield from _after_clean(seen, target)
        for at, later in enumerate(own):
            for earlier in own[:at] if ".WAIT" not in own[:at] else ():
                image = between(seen, earlier, later, made)
                if image or _pushed_untested(seen, earlier, later):
                    taken = f", which takes the image of {image}" if image else ""
                    yield Finding(
                        target.line,
                        f"{target.name} counts on {earlier} coming before {later}{taken}",
                        "make -j starts both at once: what is tested, tagged or pushed is the image before"
                        if image
                        else "make -j starts both at once: what is pushed has not passed yet",
                        _order_now(seen, target.name, earlier, later, image or earlier),
                    )


def _pushed_untested(seen: Seen, earlier: str, later: str) -> bool:
    one, other = seen.targets.get(earlier), seen.targets.get(later)
    if one is None or other is None or earlier in seen.closure(later):
        return False
    return tests(one) and any(each.verb == "push" for each in other.docker)


def _after_clean(seen: Seen, target: Target) -> Iterator[Finding]:
    """`all: clean build`."""
    own = target.prerequisites
    found = next((name for name in own if _CLEAN.fullmatch(name) and name in seen.targets), "")
    if not found or ".WAIT" in own or not re.search(r"\brm\b", seen.targets[found].text):
        return
    after = [name for name in own[own.index(found) + 1 :] if name in seen.targets and not _CLEAN.fullmatch(name)]
    if after := [name for name in after if found not in seen.closure(name)]:
        yield Finding(
            target.line,
            f"{target.name} counts on {found} coming before {listed(after)}",
            "make -j starts them at once: what is made is removed meanwhile",
            seen.before([target.name], "")
            if seen.written.left(target.name)
            else f"imgmake starts them at once, too: `imgmake {found} {after[0]}` makes one after the other",
        )


_CLEAN = re.compile(r"(?:dist|mr)?clean(?:up)?|clean[-_]\w+")


def between(seen: Seen, earlier: str, later: str, made: Makers) -> str:
    """The target within `earlier` whose image `later` takes without needing it; empty when there is none."""
    after = seen.targets.get(later)
    if after is None:
        return ""
    needed, before = seen.closure(later), seen.closure(earlier)
    taken = [*(image for image, _ in uses(after, seen)), *pushed(after.docker)]
    for image in taken:
        makes = made.get(image, ())
        if not needed & set(makes) and (found := next((name for name in makes if name in before), "")):
            return found
    return ""


def _order_now(seen: Seen, target: str, earlier: str, later: str, image: str) -> str:
    if seen.written.needs(later, image) or seen.written.needs(later, earlier):
        return f"{later} needs {image if seen.written.needs(later, image) else earlier}, whatever the order"
    if seen.written.left(later) or seen.written.left(target):
        return seen.before([later if seen.written.left(later) else target], f"name {image} in the rule of {later}")
    return f"nothing says so yet, and imgmake starts both at once, too: name {image} in the rule of {later}"


# --- images that are taken as they are ------------------------------------------------------------------------


def taken(seen: Seen) -> Iterator[Finding]:
    """Targets that run, tag or test an image, and do not need the target that makes it."""
    made = makers(seen)
    by_image: dict[str, list[str]] = {}
    for target in seen.targets.values():
        if maker := _not_needed(seen, target, made):
            by_image.setdefault(maker, []).append(target.name)
    for maker, names in by_image.items():
        for those, better in parted(names, lambda name, maker=maker: seen.written.needs(name, maker)):  # type: ignore[misc]
            yield Finding(
                seen.targets[those[0]].line,
                f"{listed(those)} {number(those, 'takes', 'take')} the image of {maker}, "
                f"and {number(those, 'does', 'do')} not need {maker}",
                f"alone {number(those, 'it', 'each')} finds no image, or the one of an earlier build",
                _taken_now(seen, those, maker, better=better),
            )


def _not_needed(seen: Seen, target: Target, made: Makers) -> str:
    pulls = any(each.verb == "pull" for each in target.docker)
    for image, how in uses(target, seen):
        makes = made.get(image, ())
        if how == "reads" or not makes or pulls or seen.closure(target.name) & set(makes):
            continue
        if found := next((name for name in makes if seen.targets[name].builds), ""):
            return found
    return ""


def _taken_now(seen: Seen, names: Sequence[str], maker: str, *, better: bool) -> str:
    if better:
        return f"{listed(names)} {number(names, 'needs', 'need')} {maker} in the Pipefile"
    if any("sh" in seen.written.words(name) for name in names):
        return seen.before(names, f"sh(…, IMAGE={_python(maker)}) gives the text the image, and makes it needed")
    return seen.before(names, f"name {maker} among what {number(names, 'it needs', 'they need')}")


def _python(name: str) -> str:
    return re.sub(r"\W", "_", name)


# --- what goes out --------------------------------------------------------------------------------------------


def pushes(seen: Seen) -> Iterator[Finding]:
    """What goes out without having been built, or tested."""
    made = makers(seen)
    unbuilt, untested = dict[str, list[str]](), list[str]()
    for target in seen.targets.values():
        out = any(each.verb == "push" or "push" in each.names() for each in target.docker)
        if out and not _moves(target):
            needs = seen.needs(target.name)
            if not _is_built(target, needs, made):
                unbuilt.setdefault(_maker(target, made), []).append(target.name)
            elif not any(tests(each) for each in needs):
                untested.append(target.name)
    said = "what is on the machine under that name goes out, or there is nothing to push"
    for maker, names in unbuilt.items():
        yield from _told(seen, names, maker, said)
    yield from _told(seen, untested, "", "what no test has passed can go out")


def _told(seen: Seen, names: Sequence[str], maker: str, consequence: str) -> Iterator[Finding]:
    """maker: what is not needed; empty: any test."""

    def better(name: str) -> bool:
        return seen.written.publishes(name) or (seen.written.needs(name, maker) if maker else _tested(seen, name))

    for those, done in parted(names, better):
        alone = not all(map(seen.written.publishes, those))
        yield Finding(
            seen.targets[those[0]].line,
            f"{listed(those)} {number(those, 'pushes', 'push')} without needing {maker or 'any test'}",
            consequence,
            f"{listed(those)} {number(those, 'needs', 'need')} {maker or 'a test'} in the Pipefile"
            if done and alone
            else "publish(…) needs its image, and every check that names it"
            if done
            else seen.before(those, "publish(…) would need its image, and every check that names it"),
        )


def _tested(seen: Seen, name: str) -> bool:
    return any(tests(each) and seen.written.needs(name, each.name) for each in seen.targets.values())


def _maker(target: Target, made: Makers) -> str:
    return next((made[image][0] for image in pushed(target.docker) if image in made), "the build")


def _is_built(target: Target, needs: Sequence[Target], made: Makers) -> bool:
    """Whether a target needs a maker of what it pushes; where that is not certain, whether it needs any build."""
    names = {each.name for each in needs}
    known = [made[image] for image in pushed(target.docker) if image in made]
    if known and not any(_script(each) for each in needs):
        return all(names & set(each) for each in known)
    return any(each.builds or _MORE.search(each.text) or _script(each) for each in needs)


def _script(target: Target) -> bool:
    """Whether it runs what we cannot look into."""
    return any(
        re.match(r"\./|\$|.*\.(?:sh|py|rb|pl)$", words[0]) or words[0] in ("bash", "sh", "python", "python3", "make")
        for command in target.commands
        for words in command.simple
    )


def tests(target: Target) -> bool:
    """Whether a target is a test, for all that can be seen: then nothing is held against it."""
    runs = any(each.verb == "run" for each in target.docker)
    return runs or bool(_TEST.search(target.name) or _TEST.search(target.text))


def _moves(target: Target) -> bool:
    """Whether it passes on what is in a registry already."""
    return any(each.verb in ("pull", "buildx imagetools", "imagetools") for each in target.docker)


def promotions(seen: Seen) -> Iterator[Finding]:
    """Pull, tag, push: by a tag, which may have moved since it was tested."""
    for target in seen.targets.values():
        pulled = [reference(word) for each in target.docker if each.verb == "pull" for word in rest(each)[:1]]
        tagged = [reference(rest(each)[0]) for each in target.docker if each.verb == "tag" and len(rest(each)) > 1]
        source = next((image for image in tagged if image in pulled and "@" not in image), "")
        if source and not target.builds and any(each.verb == "push" for each in target.docker):
            yield Finding(
                target.line,
                f"{target.name} promotes by tag: it pulls {source}, tags it and pushes it",
                "a tag that has moved since the test takes something untested out",
                "publish(…) looks the tag up once, and copies by digest"
                if seen.written.publishes(target.name)
                else seen.before([target.name], f'publish(…, image="{source}", …) would copy by digest'),
            )
