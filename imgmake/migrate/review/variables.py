"""What variables hold otherwise than they read: times and dates, commands that run again, values that are empty."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from imgmake.migrate.expand import Call, Odd, Use, calls, mentioned, pieces
from imgmake.migrate.model import Assign, Cond, Finding
from imgmake.migrate.review.seen import Seen, expanded, listed, number, parted

_DATE = re.compile(r"(?:^|[\s(`;|&=\"])date\s[^|;)`]*")
_COMMANDS = re.compile(
    r"(?:awk|aws|cat|curl|cut|date|docker|echo|find|git|go|grep|head|hostname|id|jq|ls|mktemp|nproc|pwd|python3?|sed|tr"
    r"|uname|wc|whoami)$"
)
_BSD = re.compile(r"\s-[a-zA-Z]*(?:r\s*[\"']?\d+\b(?!\.)|[jv](?:\s|[+-]\d))")
_GNU = re.compile(r"\s(?:-[uR]*d\b|--(?:date|iso-8601|rfc-\d+|rfc-email)\b)|%\d?N")
_VARIES = re.compile(r"\bdate\b|\brandom\b|\$\$?RANDOM|\buuid|\bmktemp\b|/dev/u?random|\bopenssl rand\b", re.IGNORECASE)
_COSTLY = re.compile(r"^\s*(?:\w+=\S+\s+)*(docker|podman|curl|wget|aws|gcloud|kubectl|helm)\b")


def _texts(seen: Seen) -> Iterator[tuple[int, str, str]]:
    """Every value and every line of a recipe with its line, and what it belongs to."""
    yield from ((each.line, each.name, each.value) for each, _ in seen.assigns)
    yield from ((command.line, command.target, command.text) for command in seen.commands)


# --- dates ----------------------------------------------------------------------------------------------------


def dates(seen: Seen) -> Iterator[Finding]:
    """Options of date that only one kind of system has; a clock of twelve hours."""
    for line, name, text in _texts(seen):
        now = expanded(text, seen.values.today)
        found = [match[0].strip() for match in _DATE.finditer(now)]
        systems = {system for each in found if (system := _system(each))}
        if systems == {"BSD"} and len(found) == len([each for each in found if _system(each)]):
            yield Finding(
                line,
                f"{name}: `date {_option(found)}` is BSD's",
                "GNU's date takes a file there, and fails: the value is empty"
                if "-r" in _option(found)
                else "GNU's date does not know it, and fails: the value is empty",
                _date_now(seen, name),
            )
        elif systems == {"GNU"} and len(found) == len([each for each in found if _system(each)]):
            yield Finding(
                line,
                f"{name}: `date {_option(found)}` is GNU's",
                "on macOS and BSD it fails, and the value is empty",
                _date_now(seen, name),
            )
        if any(re.search(r"%[IlrE]?I|%l", each) and not re.search(r"%[pPr]", each) for each in found):
            yield Finding(
                line,
                f"{name}: %I is a clock of twelve hours, and nothing says which half of the day",
                "what is built in the morning and in the evening gets the same time",
                _date_now(seen, name),
            )


def _system(command: str) -> str:
    if re.search(r"\s-[a-zA-Z]*r\s*[\"']?@?\d+\b(?!\.)", command) or re.search(
        r"\s-[a-zA-Z]*[jv](?:\s|[+-]\d)", command
    ):
        return "BSD"
    if re.search(r"\s(?:-[uR]*d\b|--(?:date|iso-8601|rfc-\d+|rfc-email)\b)|%\d?N", command):
        return "GNU"
    return ""


def _option(found: Sequence[str]) -> str:
    command = next(each for each in found if _system(each))
    match = re.search(r"(-[a-zA-Z]*[rjvd])(?=[\s\d+@\"'-]|$)|(--[a-z]+[\w-]*)|(%\d?N)", command)
    given = match[0] if match is not None else ""
    return {"-r": "-r SECONDS", "-d": "-d TIME", "-ur": "-r SECONDS", "-ud": "-d TIME"}.get(given, given)


def _date_now(seen: Seen, name: str) -> str:
    known = seen.values.known(name) if name in seen.values.definitions else None
    if known is not None and known.kind == "metadata":
        return f"{known.python} is imgmake's own: UTC, 24 hours, the same on every system"
    if known is not None and not _there(name, seen):
        return (
            "the Pipefile does not have it: BUILD_DATE and BUILD_TIME_UTC are imgmake's own, the same on every system"
        )
    return "as before: BUILD_DATE and BUILD_TIME_UTC are imgmake's own, UTC, 24 hours, the same on every system"


def _there(name: str, seen: Seen) -> bool:
    return seen.written.declared(name) or "date " in seen.written.shells


# --- commands in values ---------------------------------------------------------------------------------------


def again(seen: Seen) -> Iterator[Finding]:
    """`$(shell …)` in a recursive variable: run at each use, and two values may differ."""
    varying, costly = list[Assign](), list[Assign]()
    for each, _ in seen.assigns:
        if each.op in ("=", "?=") and "shell" in calls(each.value) and not each.target and _uses(each.name, seen) > 1:
            (varying if _VARIES.search(each.value) else costly).append(each)
    yield from _again(seen, varying, "two uses may get two values, as with the time")
    yield from _again(seen, costly, "that takes time, and two uses get two values when something changes between")


def _again(seen: Seen, found: Sequence[Assign], consequence: str) -> Iterator[Finding]:
    lines = {each.name: each.line for each in found}
    for names, better in parted(list(lines), lambda name: _once(seen, name)):
        yield Finding(
            lines[names[0]],
            f"{listed(names)} {number(names, 'runs its command', 'run their commands')} at each use",
            consequence,
            "a value is found out once a run, when it is first needed"
            if better
            else "as before, in sh(…) or by make: var(…, sh(…)) would find a value out once a run",
        )


def _once(seen: Seen, name: str) -> bool:
    known = seen.values.known(name)
    return known.kind == "metadata" or seen.written.asked(known.exported or name)


def _uses(name: str, seen: Seen, inside: tuple[str, ...] = ()) -> int:
    """How often recipes come to a variable, by way of recursive variables, too."""
    found = sum(list(mentioned(command.text)).count(name) for command in seen.commands)
    for other, definitions in seen.values.definitions.items():
        if other in (name, *inside):
            continue
        named = sum(list(mentioned(each.value)).count(name) for each, _ in definitions)
        if named:
            recursive = any(each.op in ("=", "?=", "define") for each, _ in definitions)
            found += named * (_uses(other, seen, (*inside, name)) if recursive else 1)
    return found


def early(seen: Seen) -> Iterator[Finding]:
    """docker and the network asked whenever make reads the Makefile."""
    found = [each for each, _ in seen.assigns if each.op in (":=", "::=", "!=") and not each.target and _asks(each)]
    lines = {each.name: each for each in found}
    for names, better in parted(list(lines), lambda name: _once(seen, name)):
        tools = sorted({_asks(lines[name]) for name in names})
        yield Finding(
            lines[names[0]].line,
            f"{listed(names)} {number(names, 'asks', 'ask')} {listed(tools)} whenever make reads the Makefile",
            "`make clean` waits for it, too; where it cannot be asked, the value is empty",
            "it is asked once, and only when a target that uses the value runs"
            if better
            else "as before: var(…, sh(…)) is asked only when a target that uses the value runs",
        )


def _asks(each: Assign) -> str:
    if each.op == "!=":
        found = _COSTLY.search(each.value)
        return found[1] if found else ""
    for piece in pieces(each.value):
        if isinstance(piece, Call) and piece.function == "shell" and (found := _COSTLY.search(piece.arguments)):
            return found[1]
    return ""


# --- empty values ---------------------------------------------------------------------------------------------


def without_shell(seen: Seen) -> Iterator[Finding]:
    """`$(pwd)` and `$(date …)`: variables of make's that nothing sets."""
    for line, name, text in _texts(seen):
        for shown in _commands(text):
            word = shown.split()[0]
            if word not in seen.values.definitions and word not in seen.database.variables:
                yield Finding(
                    line,
                    f"{name}: $({shown}) is no command to make: $(shell {shown}) is, or $$({shown}) in a recipe",
                    "it is a variable that nothing sets, and expands to nothing",
                    "the Pipefile runs the command"
                    if f"$({shown}" in seen.written.shells
                    else f"as before, nothing stands there: in sh(…), $({shown}) is the shell's own",
                )


def _commands(text: str) -> Iterator[str]:
    """What stands like a command between make's brackets."""
    for piece in pieces(text):
        if isinstance(piece, Use) and piece.name == "pwd" and piece.raw.startswith("$("):
            yield "pwd"
        elif isinstance(piece, Odd) and piece.raw.startswith("$("):
            inner = piece.raw[2:-1].strip()
            if _COMMANDS.match(inner.partition(" ")[0]) and " " in inner:
                yield inner
        elif isinstance(piece, Call):
            yield from _commands(piece.arguments)


def emptied(seen: Seen) -> Iterator[Finding]:
    """Metadata that is found out only where another variable is not given."""
    told: set[int] = set()
    for each, around in seen.assigns:
        for cond in around:
            if cond.line in told or not _guards(cond, each.name) or each not in cond.then:
                continue
            told.add(cond.line)
            inside = {a.name for a in cond.then if isinstance(a, Assign)} - {each.name}
            inside -= {a.name for a in cond.otherwise if isinstance(a, Assign)}
            once = [name for name in sorted(inside) if len(seen.values.definitions.get(name, ())) == 1]
            lost = [name for name in once if _used_outside(name, cond, seen)]
            if lost:
                yield Finding(
                    cond.line,
                    f"{each.name}=… from outside leaves {listed(lost, 6)} empty",
                    "what is labelled or passed with them holds nothing"
                    if lost[1:]
                    else "what is labelled or passed with it holds nothing",
                    _emptied_now(seen, lost),
                )


def _guards(cond: Cond, name: str) -> bool:
    """``ifndef NAME``, or ``ifeq ($(NAME),)``."""
    if cond.test == "ifndef":
        return cond.left == name
    return cond.test == "ifeq" and not cond.right and name in set(mentioned(cond.left))


def _used_outside(name: str, cond: Cond, seen: Seen) -> bool:
    if any(name in set(mentioned(command.text)) for command in seen.commands):
        return True
    return any(
        name in set(mentioned(each.value)) for each, around in seen.assigns if cond not in around and each.name != name
    )


def _emptied_now(seen: Seen, names: Sequence[str]) -> str:
    known = {name: seen.values.known(name) for name in names}
    kept = [
        name
        for name, each in known.items()
        if each.kind != "metadata" and not seen.written.asked(each.exported or name)
    ]
    if not kept:
        return "each is found out by itself, when it is first needed" if names[1:] else "it is found out by itself"
    return f"as before for {listed(kept)}: var(…, sh(…)) is found out by itself"
