"""What lines of a recipe do otherwise than they read: terminals, passwords, shells that end, failures that are lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

from imgmake.migrate.docker import Docker
from imgmake.migrate.expand import mentioned
from imgmake.migrate.model import Finding
from imgmake.migrate.review.seen import Command, Seen, Target, listed, number, parted
from imgmake.migrate.review.shelltext import commands, docker, rest, values

_BY_HAND = re.compile(
    r"(?:^|[-_./])(?:shell|sh|bash|run|exec|console|debug|attach|dev|repl|psql|ssh|enter|interactive|start|serve|server|up"
    r"|demo|cli|watch|edit|login|python|jupyter|notebook|term|terminal|play|try|dive|top|logs|tail|follow)(?:$|[-_./\d])"
)
_BY_CI = re.compile(r"(?:^|[-_./])(?:tests?|lint|check|verify|validate|scan|ci|build|artifacts?|package)(?:$|[-_./\d])")
_SHELLS = re.compile(r"(?:\S*/)?(?:ba|z|a|da|fi|k)?sh$|i?python3?$|irb$|psql$|mysql$|redis-cli$|node$|ipython$|vim?$")
_LOGIN = re.compile(r"\blogin\b[^|;&\n]*?\s(?:-p[\s=]?(?=[\"'$\w])|--password[\s=])")  # and not --password-stdin
_SECRET = re.compile(r"PASS(?:WORD|WD)?$|TOKEN$|SECRET(?:_KEY)?$|API_?KEY$|_PW$", re.IGNORECASE)
_OF_SHELLS = frozenset({"echo", "printf", "test", "[", "[[", "export", ":", "case", "for", "set"})
_ENDLESS = re.compile(r"(?:^|[;&|({]|\b(?:do|then|else))\s*(while\s+(?:true|:|\[\s*1\s*\])\s*;|until\s)")
_COUNTED = re.compile(r"-(?:lt|le|gt|ge|eq|ne)\b|\bseq\b|\btimeout\b|\(\(|\bexpr\b|\bexit\s+[1-9]|\blet\b|\d\s*\)\s*&&")


def terminals(seen: Seen) -> Iterator[Finding]:
    """`docker run -it` where nobody sits at a terminal."""
    for command in seen.commands:
        target = seen.targets[command.target]
        text = seen.certain(command)
        for words in commands(text):
            each = docker(words)
            if each is None or "tty" not in each.names() or command.guarded or _by_hand(target, each):
                continue
            yield Finding(
                command.line,
                f"{target.name}: docker {each.verb} -it",
                "without a terminal, as in CI, docker refuses: 'the input device is not a TTY'",
                _terminal_now(target, seen),
            )


def _by_hand(target: Target, each: Docker) -> bool:
    """Whether someone sits there for certain, or may do."""
    words = rest(each)[1:]
    if (
        each.verb not in ("run", "exec")
        or _BY_HAND.search(target.name)
        or any("sh" in w for w in values(each, "entrypoint"))
    ):
        return True
    return not words or (len(words) == 1 and bool(_SHELLS.match(words[0])))


def _terminal_now(target: Target, seen: Seen) -> str:
    words = seen.written.words(target.name)
    if "structuretest" in words or "lint" in words:
        return "the program runs by itself, without a container, and so without a terminal"
    if "run" in words:
        return "run(…) takes a terminal only with tty=True, and only where there is one"
    return seen.before([target.name], "leave -t out, or use run(…, tty=True), which takes one where there is one")


def passwords(seen: Seen) -> Iterator[Finding]:
    """Passwords in the table of processes, and in the log."""
    for command in seen.commands:
        if _LOGIN.search(command.text.replace("\\\n", " ")) or _LOGIN.search(command.now):
            yield Finding(
                command.line,
                f"{command.target}: a password on a command line",
                "every process on the machine can read it there"
                + ("" if _quiet(command, seen) else ", and make prints it into the log"),
                seen.before([command.target], "`docker login --password-stdin` takes it from a pipe")
                if _LOGIN.search(seen.written.shell(command.target)) or seen.written.left(command.target)
                else "the Pipefile has no such line",
            )
        elif name := _given_away(command):
            yield Finding(
                command.line,
                f"{command.target}: $({name}) on a command line",
                "every process on the machine can read the password there"
                + ("" if _quiet(command, seen) else ", and make prints it into the log"),
                seen.before([command.target], "give it as a file, from the environment (-e NAME), or by --secret")
                if seen.written.left(command.target) or seen.written.hands_on(command.target, name)
                else "the Pipefile has no such line",
            )
        elif "login" in command.text and not _quiet(command, seen) and (name := _printed(command)):
            yield Finding(
                command.line,
                f"{command.target}: make prints $({name}) with the line",
                "the password stands in the log of every build",
                seen.before([command.target], f'var("{name}", secret=True) is masked in whatever is printed')
                if not _masked(seen, name)
                else f"{name} is a secret, and masked in whatever is printed",
            )


def _given_away(command: Command) -> str:
    """The variable, called like a password, whose value a program is given as an argument; a shell's `echo` is none."""
    text = re.sub(r"(?<!\$)\$[({](\w+)[)}]", r"\\$\1", command.text)
    for words in commands(text):
        found = re.findall(r"\$(\w+)", " ".join(words[1:])) if words[0].lstrip("@") not in _OF_SHELLS else []
        if name := next((name for name in found if _SECRET.search(name)), ""):
            return name
    return ""


def _quiet(command: Command, seen: Seen) -> bool:
    return "@" in command.prefix or seen.special(".SILENT")


def _printed(command: Command) -> str:
    found = re.findall(r"(?<!\$)\$[({](\w+)[)}]", command.text)
    return next((name for name in found if _SECRET.search(name)), "")


def _masked(seen: Seen, name: str) -> bool:
    """Whether it is masked, or no shell's text of ours holds it: what is exported is not printed."""
    pipeline = seen.written.pipeline
    return pipeline is not None and name in pipeline.variables and pipeline.variables[name].secret


# --- shells that end with their line --------------------------------------------------------------------------

_ALONE = {
    "set": (re.compile(r"set\s+[-+][a-z]+(?:\s+(?:-o\s+)?\w+)?\s*;?"), "it changes nothing for the next line"),
    "cd": (re.compile(r"cd\s+[^;&|]+"), "the next line is where the first was"),
    "export": (re.compile(r"export\s+\w+=[^;&|]*"), "the next line does not have the value"),
    ".": (re.compile(r"(?:\.|source)\s+\S+"), "the next line does not have what it sets"),
}


def shells(seen: Seen) -> Iterator[Finding]:
    """`set -e`, `cd`, `export` on lines of their own: each line is a shell of its own."""
    if seen.special(".ONESHELL"):
        return
    for target in seen.targets.values():
        for command in target.commands[:-1]:
            for pattern, consequence in _ALONE.values():
                text = command.text.replace("\\\n", " ").strip()
                if pattern.fullmatch(text) and not seen.targets[target.name].pattern:
                    yield Finding(
                        command.line,
                        f"{target.name}: `{text.rstrip(';').strip()}` on a line of its own",
                        f"each line is a shell of its own: {consequence}",
                        _shells_now(command, text, seen),
                    )


def _shells_now(command: Command, text: str, seen: Seen) -> str:
    if seen.written.left(command.target):
        return seen.before([command.target], "")
    if text.split(maxsplit=1)[0] not in seen.written.shell(command.target).split():
        return "the Pipefile has no such line"
    if text.startswith("set -e"):
        return "as before, without effect: a recipe stops at the first failure anyway"
    return "as before: the lines of one sh(…) are one shell"


# --- failures that are lost -----------------------------------------------------------------------------------


def lost(seen: Seen) -> Iterator[Finding]:
    """A failed build or push that the line goes on after."""
    flags = seen.database.variables.get(".SHELLFLAGS")
    strict = flags.text if flags is not None else "-c"
    for command in seen.commands:
        text = command.now.replace("\\\n", " ")
        if not re.search(r"-\w*e", strict) and (what := _in_a_loop(text)):
            yield Finding(
                command.line,
                f"{command.target}: a failed docker {what} in this loop is lost, but for the last round",
                "make goes on as if all had gone well",
                _lost_now(command, seen, "for "),
            )
        if "pipefail" not in strict and "pipefail" not in text and (piped := _PIPED.search(text)):
            yield Finding(
                command.line,
                f"{command.target}: a failed docker {piped[1]} is lost in the pipe",
                f"the line ends as `{piped[2]}` does, and make goes on as if all had gone well",
                _lost_now(command, seen, "|"),
            )


_PIPED = re.compile(r"\bdocker\s+(?:image\s+|buildx\s+)?(build|push)\b[^;&|]*?(?<!\|)\|(?!\|)\s*(\w+)")
_LOOP = re.compile(r"\bfor\s+\w+\s+in\b.*?;\s*do\b(.*?)\bdone\b", re.DOTALL)


def _in_a_loop(text: str) -> str:
    if re.search(r"\bset\s+-\w*e|\|\||\bexit\b|\btrap\b|\bif\b", text):
        return ""
    for body in _LOOP.findall(text):
        if found := re.search(r"\bdocker\s+(?:image\s+|buildx\s+)?(build|push)\b", body):
            return str(found[1])
    return ""


def _lost_now(command: Command, seen: Seen, mark: str) -> str:
    shell = seen.written.shell(command.target)
    if seen.written.left(command.target):
        return seen.before([command.target], "")
    if mark not in shell:
        return "the Pipefile has no such line: a failure stops what needs it"
    if mark == "|":
        return "as before: image(…) and publish(…) fail when docker does"
    if "set +e" in shell:
        return "as before, by `set +e`: without that, the first failure ends the recipe"
    return "sh(…) stops at the first failure"


def endless(seen: Seen) -> Iterator[Finding]:
    """Loops that wait for something that may never come."""
    for command in seen.commands:
        if (found := _ENDLESS.search(command.now)) and not _COUNTED.search(command.now):
            yield Finding(
                command.line,
                f"{command.target}: `{found[1].strip().rstrip(';')} …` has no end but success",
                "when that never comes, the build hangs until CI kills it",
                seen.before([command.target], "let it count, or start it with `timeout 300`")
                if _ENDLESS.search(seen.written.shell(command.target)) or seen.written.left(command.target)
                else "the Pipefile has no such loop",
            )


# --- values from outside --------------------------------------------------------------------------------------

_OURS = frozenset(
    {"PWD", "CURDIR", "HOME", "PATH", "USER", "SHELL", "MAKE", "MAKEFLAGS", "MAKECMDGOALS", "MAKEFILE_LIST"}
    | {"pwd", "date", "whoami", "hostname"}  # which are commands, and told of
)


def outside(seen: Seen) -> Iterator[Finding]:
    """Values that come from the environment or the command line, put into a shell's text without quotes."""
    places: dict[str, int] = {}
    for name in _given(seen):
        bare = re.compile(rf"(?<!\$)\$[({{]{re.escape(name)}[)}}]")
        for command in seen.commands:
            if bare.search(_arguments(command.text)) and not _OPTIONS.search(name):
                places.setdefault(name, command.line)
    for names, better in parted(list(places), lambda name: _by_name(name, seen)):
        yield Finding(
            min(places[name] for name in names),
            f"{listed(names)} {number(names, 'comes', 'come')} from outside, and "
            f"{number(names, 'stands', 'stand')} unquoted in commands",
            "make puts the value into the shell's text: a blank or a `;` in it is taken as code",
            "sh(…) leaves it to the shell as a variable, whose value is never parsed as commands"
            if better
            else seen.before([], "a var(…) that sh(…) names as $NAME is never parsed as commands"),
        )


def _by_name(name: str, seen: Seen) -> bool:
    """Whether the Pipefile gives a value to shells by its name alone."""
    return seen.written.declared(seen.values.known(name).exported or name)


def _given(seen: Seen) -> Iterator[str]:
    """What is read and set nowhere, and what is only declared: ``VERSION ?=``."""
    specific = frozenset[str]().union(*(made.specific for made in seen.database.targets.values()))
    for name in dict.fromkeys(name for command in seen.commands for name in mentioned(command.text)):
        known = seen.database.variables.get(name)
        nowhere = name not in seen.values.definitions and (known is None or known.origin == "environment")
        if (
            nowhere
            and name not in _OURS | specific
            and not _set_there(name, seen)
            and re.fullmatch(r"[A-Za-z_]\w*", name)
        ):
            yield name
    for name, found in seen.values.definitions.items():
        if len(found) == 1 and found[0][0].op == "?=" and not found[0][0].value.strip() and not found[0][1]:
            yield name


def _set_there(name: str, seen: Seen) -> bool:
    """Whether a call of make's, or a make below this one, gives it a value."""
    name = re.escape(name)
    given = re.compile(rf"\b(?:eval\b[^\n]*|foreach )\b{name}\b|\b{name}[ \t]*[:?+]?=")
    return any(given.search(text) for text in seen.texts)


_OPTIONS = re.compile(r"ARGS|FLAGS?$|OPT(?:ION)?S?$|EXTRA|PARAMS|CMD|COMMAND|SUDO", re.IGNORECASE)


def _arguments(text: str) -> str:
    """A text without what stands between quotes, and without what it starts with: that is meant as a command."""
    text = re.sub(r"(^|[;&|]\s*)\$[({]\w+[)}]", r"\1", text)
    return re.sub(r"'[^']*'|\"(?:[^\"\\]|\\.)*\"", "''", text.replace("\\\n", " "))
