"""The defects of a Makefile that builds images: the line, what follows from it, what the Pipefile does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from imgmake.migrate.expand import calls, mentioned
from imgmake.migrate.model import Assign, Cond, Database, Finding, Line, Made, Rule, Statement
from imgmake.migrate.values import Values

_BUILD = re.compile(r"\bdocker\s+(?:image\s+|buildx\s+)?build\b")
_PUSH = re.compile(r"\bdocker\s+(?:image\s+)?push\s+(\S+)")
_TEST = re.compile(
    r"container-structure-test|\bdgoss\b|\bbats\b|\btrivy\b|\bgrype\b|\bpytest\b|docker\s+(?:container\s+)?run\b"
)
_SECRET = re.compile(r"\bdocker\s+login\b[^|;&\n]*\s(?:-p|--password)[\s=](?!-stdin)|--password=(?!stdin)")
_IMAGE = re.compile(r"(?<![\w/.-])([\w$(){}./-]+:[\w$(){}.-]+)")


@dataclass(frozen=True)
class Seen:
    """A Makefile as the review looks at it.

    commands: every recipe line with its target, in order.
    """

    statements: Sequence[Statement]
    database: Database
    values: Values
    here: frozenset[str]
    commands: tuple[tuple[str, Line], ...]
    assigns: tuple[tuple[Assign, tuple[Cond, ...]], ...]
    rules: Mapping[str, Rule]

    def text(self, target: str) -> str:
        return "\n".join(line.text for name, line in self.commands if name == target)

    def closure(self, target: str) -> set[str]:
        found: set[str] = set()
        rest = [target]
        while rest:
            name = rest.pop()
            if name not in found:
                found.add(name)
                rest += self.database.targets.get(name, Made(name, ())).prerequisites
        return found


def review(
    statements: Sequence[Statement], database: Database, values: Values, here: frozenset[str]
) -> tuple[Finding, ...]:
    """Every defect seen, by line."""
    rules: dict[str, Rule] = {}
    commands: list[tuple[str, Line]] = []
    for rule in _rules(statements):
        for name in values.make.values([rule.targets])[0].split() if "$" in rule.targets else rule.targets.split():
            if rule.recipe or name not in rules:
                rules[name] = rule
            commands += [(name, line) for line in _lines(rule.recipe)]
    assigns = [(each, around) for found in values.definitions.values() for each, around in found]
    seen = Seen(statements, database, values, here, tuple(commands), tuple(assigns), rules)
    found = [finding for look in _LOOKS for finding in look(seen)]
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: finding.line))


def _rules(statements: Sequence[object]) -> Iterator[Rule]:
    for each in statements:
        if isinstance(each, Rule) and not re.match(r"\.[A-Z_]{4,}", each.targets):
            yield each
        elif isinstance(each, Cond):
            yield from _rules((*each.then, *each.otherwise))


def _lines(recipe: Sequence[object]) -> Iterator[Line]:
    for each in recipe:
        if isinstance(each, Line):
            yield each
        elif isinstance(each, Cond):
            yield from _lines((*each.then, *each.otherwise))


# --- rules ----------------------------------------------------------------------------------------------------


def _file_without_prerequisites(seen: Seen) -> Iterator[Finding]:
    for name, made in seen.database.targets.items():
        file = name in seen.rules and made.recipe and not made.phony and re.search(r"[./]", name.lstrip("."))
        if file and not made.prerequisites and re.search(r"docker|mvn|go build|npm|\bcc\b|<", seen.text(name)):
            yield Finding(
                seen.rules[name].line,
                f"{name} has no prerequisites, and its recipe reads files",
                "once it is there, make never makes it again, whatever changes",
                f'the Pipefile cannot know them either: name them, as in file("{name}", "src/", …), and content counts',
            )


def _phony_images(seen: Seen) -> Iterator[Finding]:
    names = [
        name for name in seen.rules if _BUILD.search(seen.text(name)) and not re.search(r"\btouch\b", seen.text(name))
    ]
    if names:
        yield Finding(
            seen.rules[names[0]].line,
            f"an image is no file: {', '.join(names[:4])} {'is' if len(names) == 1 else 'are'} built on every call",
            "make cannot skip what is up to date, and everything after it runs again, too",
            "image(…) asks the engine, and is built when what its Dockerfile reads has changed",
        )


def _order_by_position(seen: Seen) -> Iterator[Finding]:
    images = {name: ref for name in seen.rules for ref in _tagged(seen.text(name))}
    for name, rule in seen.rules.items():
        own = seen.database.targets.get(name, Made(name, ())).prerequisites
        for later in own:
            for earlier in own[: own.index(later)]:
                for image in seen.closure(earlier) & images.keys():
                    used = images[image] in _expanded(seen.text(later)) and later not in images
                    if used and image not in seen.closure(later):
                        yield Finding(
                            rule.line,
                            f"{name} counts on {earlier} coming before {later}, which needs its image",
                            "make -j runs both at once: what is tested or pushed is the image before",
                            f"{later} needs the image because its command names it",
                        )


def _tagged(text: str) -> Iterator[str]:
    if _BUILD.search(text):
        for match in re.finditer(r"(?:-t|--tag)[ =](\S+)", text):
            yield match[1].strip("\"'")


def _expanded(text: str) -> str:
    return text.replace("${", "$(").replace("}", ")")


def _push(seen: Seen) -> Iterator[Finding]:
    for name, line in seen.commands:
        if not _PUSH.search(line.text):
            continue
        needs = [other for other in seen.closure(name) if other != name]
        own = seen.text(name)
        if not _BUILD.search(own) and not any(_BUILD.search(seen.text(other)) for other in needs):
            yield Finding(
                line.line,
                f"{name} pushes without needing the build",
                "an old image goes out under the new tag, or none is there to push",
                "publish(…) needs its image, and pushes what was built and tested",
            )
        elif not any(_TEST.search(seen.text(other)) for other in needs):
            yield Finding(
                line.line,
                f"{name} pushes without needing any test",
                "what no test has passed can be published",
                "publish(…) needs every check that names its image",
            )


def _test_without_image(seen: Seen) -> Iterator[Finding]:
    images = {ref: name for name in seen.rules for ref in _tagged(seen.text(name))}
    for name in seen.rules:
        text = seen.text(name)
        for ref, image in images.items():
            used = name != image and re.search(rf"{re.escape(ref)}(?![\w.-])", text)
            if used and image not in seen.closure(name) and not _BUILD.search(text) and not _PUSH.search(text):
                yield Finding(
                    seen.rules[name].line,
                    f"{name} uses the image of {image}, and does not need {image}",
                    "alone it finds no image, or the one of an earlier build",
                    _instead(name, image, text),
                )


def _instead(name: str, image: str, text: str) -> str:
    """Commands with a word of their own name their image; a shell's text has to be told."""
    if re.search(r"container-structure-test|docker (?:image )?tag|docker (?:container )?run", text):
        return f"{name} needs {image} where its command names the image"
    return f"sh(…, IMAGE={image.replace('-', '_')}) makes it need {image}: say so in the Pipefile"


def _missing_phony(seen: Seen) -> Iterator[Finding]:
    names = [name for name, rule in seen.rules.items() if _is_action(name, seen)]
    there = [name for name in names if name in seen.here]
    for name in there:
        yield Finding(
            seen.rules[name].line,
            f"{name} is not in .PHONY, and a file or folder of that name is here",
            "make takes that for the target, and does not run the recipe",
            "phony, check and image are names, whatever files there are",
        )
    if others := [name for name in names if name not in there]:
        yield Finding(
            seen.rules[others[0]].line,
            f"not in .PHONY, as what makes no file should be: {', '.join(others)}",
            "a file or folder of that name would stop it for good",
            "phony, check and image are names, whatever files there are",
        )


def _is_action(name: str, seen: Seen) -> bool:
    made = seen.database.targets.get(name, Made(name, ()))
    writes = re.search(r"\$@|\btouch\b|-o\s", seen.text(name))
    return bool(not made.phony and re.fullmatch(r"[\w-]+", name) and not writes and (made.recipe or made.prerequisites))


def _stamps(seen: Seen) -> Iterator[Finding]:
    for name in seen.rules:
        text = seen.text(name)
        if re.search(r"\btouch\b|--iidfile|>\s*\$@", text) and _BUILD.search(text):
            yield Finding(
                seen.rules[name].line,
                f"{name} is a stamp file for an image",
                "it outlives the image: after docker rmi, make says that all is up to date",
                "image(…) asks the engine itself, and needs no stamp",
            )


# --- commands -------------------------------------------------------------------------------------------------


def _terminal(seen: Seen) -> Iterator[Finding]:
    for _, line in seen.commands:
        if re.search(r"docker\s+(?:container\s+)?(?:run|exec)\b(?=[^|;&]*\s(?:-it|-ti|-t|--tty)\b)", line.text):
            yield Finding(
                line.line,
                "docker run -it",
                "without a terminal, as in CI, docker refuses: 'not a TTY'",
                "run(…, tty=True) uses a terminal where there is one",
            )


def _password(seen: Seen) -> Iterator[Finding]:
    for _, line in seen.commands:
        if _SECRET.search(line.text):
            yield Finding(
                line.line,
                "a password on a command line",
                "every process of the machine can read it, and logs keep it",
                'var("…", secret=True) is masked; docker login --password-stdin takes it from a pipe',
            )


def _set_e(seen: Seen) -> Iterator[Finding]:
    for _, line in seen.commands:
        if re.fullmatch(r"[@+-]*\s*set\s+-[eux]+\s*(-o pipefail)?\s*;?", line.text):
            yield Finding(
                line.line,
                f"`{line.text.lstrip('@+-').strip()}` on a line of its own",
                "each line is a shell of its own: it changes nothing for the next",
                "one sh(…) with several lines is one shell, and stops at the first failure anyway",
            )


def _cd(seen: Seen) -> Iterator[Finding]:
    for _, line in seen.commands:
        if re.fullmatch(r"[@+-]*\s*cd\s+[^;&|]+", line.text):
            yield Finding(
                line.line,
                "cd on a line of its own",
                "each line is a shell of its own: the next is where it was",
                'sh(…, cwd="folder")',
            )


def _without_shell(seen: Seen) -> Iterator[Finding]:
    texts = [(line.line, line.text) for _, line in seen.commands] + [
        (each.line, each.value) for each, _ in seen.assigns
    ]
    for line, text in texts:
        for match in re.finditer(r"(?<!\$)\$\((pwd|(?:date|docker|git|id|cat|uname|whoami|hostname)\b[^()]*)\)", text):
            if match[1] not in seen.values.definitions:
                yield Finding(
                    line,
                    f"$({match[1].strip()}) is a variable of make's, and nothing sets it",
                    "it expands to nothing, without a word",
                    "in sh(…) text it is the shell's own",
                )


def _from_outside(seen: Seen) -> Iterator[Finding]:
    for name in seen.values.inputs:
        for _, line in seen.commands:
            if re.search(rf"(?<![\"'\w$])\$[({{]{name}[)}}]", line.text) and not re.search(
                rf"[\"'][^\"']*\$[({{]{name}[)}}]", line.text
            ):
                yield Finding(
                    line.line,
                    f"$({name}) comes from outside, and stands unquoted in a command",
                    "its value is parsed as code: a `;` in it is a command",
                    f"${name} is a variable of the shell's, which is never parsed",
                )
                break


def _latest(seen: Seen) -> Iterator[Finding]:
    for _, line in seen.commands:
        if re.search(r"docker\b.*\b(?:build|tag)\b.*:latest\b", line.text, re.DOTALL):
            yield Finding(
                line.line,
                "every build moves `latest`",
                "who pulls it gets what was built last, tested or not",
                "publish(…, tags=[semver(VERSION)]) moves latest when a newer version is out",
            )


# --- variables ------------------------------------------------------------------------------------------------


def _dates(seen: Seen) -> Iterator[Finding]:
    for each, _ in seen.assigns:
        if re.search(r"\bdate\b[^)]*\s-r\s*\$", each.value) or re.search(r"\bdate\b[^)]*\s-j\b", each.value):
            yield Finding(
                each.line,
                f"{each.name}: `date -r SECONDS` is BSD's",
                "GNU date takes a file there, and fails: the value is empty",
                "BUILD_DATE and BUILD_TIME_UTC are the same on every system",
            )
        if re.search(r"\bdate\b[^)]*\s(?:-d|--date)[ =]?", each.value):
            yield Finding(
                each.line,
                f"{each.name}: `date -d` is GNU's",
                "on macOS and BSD it fails, and the value is empty",
                "BUILD_DATE and BUILD_TIME_UTC are the same on every system",
            )
        if re.search(r"\bdate\b.*%I", each.value):
            yield Finding(
                each.line,
                f"{each.name}: %I is a 12-hour clock",
                "builds of the morning and of the evening get the same time",
                "imgmake's times are UTC, 24 hours",
            )


def _rerun(seen: Seen) -> Iterator[Finding]:
    for each, _ in seen.assigns:
        if each.op in ("=", "?=") and "shell" in calls(each.value):
            yield Finding(
                each.line,
                f"{each.name} runs its command at each use",
                "two uses may differ, as two times do",
                "a value is found out once a run, when it is first needed",
            )


def _empties(seen: Seen) -> Iterator[Finding]:
    """Metadata that is computed only when another variable is not given."""
    for each, around in seen.assigns:
        for cond in around:
            tested = {name for name in (*mentioned(cond.left), cond.left if "def" in cond.test else "") if name}
            first = cond.then[:1]
            others = sorted({a.name for a in cond.then if isinstance(a, Assign)} - tested)
            if cond.test in ("ifeq", "ifndef") and not cond.right and each.name in tested and others and first:
                yield Finding(
                    cond.line,
                    f"{each.name}=… from outside leaves {', '.join(others)} empty",
                    "what is labelled or passed with them holds nothing",
                    "each is computed by itself, when it is first needed",
                )


_Look = Callable[[Seen], Iterator[Finding]]
_LOOKS: tuple[_Look, ...] = (
    _file_without_prerequisites,
    _phony_images,
    _order_by_position,
    _push,
    _test_without_image,
    _missing_phony,
    _stamps,
    _terminal,
    _password,
    _set_e,
    _cd,
    _without_shell,
    _from_outside,
    _latest,
    _dates,
    _rerun,
    _empties,
)
