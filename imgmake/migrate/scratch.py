"""A copy of a repository in which make may do what it likes. Copies what git lists; starts nothing but git and make.

make runs ``$(shell …)`` when it reads a Makefile, and remakes included files even under ``-n``: here that harms nobody.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from imgmake.errors import CommandFailed, ImgmakeError, UsageError
from imgmake.migrate import database, reader
from imgmake.migrate.asking import ASK, MARK, WITHOUT, Conversation, Slow
from imgmake.migrate.mending import Mend, file_of, mend
from imgmake.migrate.model import Database, Left, Statement
from imgmake.migrate.together import Run, alike, remade, sets, together, unmade
from imgmake.ports import Shell

LIMIT = 20  # seconds that one call of make may take
_AGAIN = 5  # seconds that a dry run may take, once one of them has not ended
BUDGET = 150.0  # seconds of make's that dry runs of single targets may take together; what is left is told
UNANSWERED = 124  # timeout's exit code, for a target at which make does not end
_FILES = 4000  # of a repository that are copied when only a folder of it is asked for
_MOST = 64 << 20  # bytes of one file that is copied: what is larger is left empty
_LONG = 1.0  # seconds that the dry runs of all targets may take before they are asked for at once
ASKED = "imgmake-ask"
_NOTHING = (f".PHONY: {ASKED}", f"{ASKED}: ;@:")  # a goal for a make that is to read, and to make nothing
_MENDS = 12
_DEATHS = 20  # questions of one list that make may stop at
_HELD = 300  # seconds that a make which waits for questions may live, should nobody stop it
# What `texts` has make know for one question, and forget again: that is as it was when nothing had the name before.
_BOUND = re.compile(r"\$\(eval (\w+|[@%<?^+|*]) := ")
_FORGOTTEN = re.compile(r"\$\(eval undefine (\w+|[@%<?^+|*])\)")
_DROPPED = re.compile(r"^make: Circular (\S+) <- (\S+) dependency dropped\.$", re.MULTILINE)
_HARMLESS = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "GNUMAKEFLAGS")


class MakeFailed(ImgmakeError):
    """GNU make could not read the Makefile, or answer."""


def repository(folder: Path, shell: Shell, environ: Mapping[str, str]) -> Path:
    """The top of the repository that a folder is in; the folder itself outside of one."""
    try:
        code, said, _ = shell.capture(["git", "rev-parse", "--show-toplevel"], cwd=folder, env=environ)
    except CommandFailed:
        return folder
    top = Path(said.rstrip("\n"))
    return top if code == 0 and folder.is_relative_to(top) else folder


def copy(folder: Path, to: Path, shell: Shell, environ: Mapping[str, str], needed: Path | None = None) -> None:
    """Copy what git lists of a folder (all of it, outside of a repository), and git's own records without objects.

    needed: the part that is copied alone where the whole is large.
    """
    paths = _listed(folder, shell, environ)
    if len(paths) > _FILES and needed is not None:
        paths = [path for path in paths if (folder / path).is_relative_to(needed)]
    for path in paths:
        _copy(folder / path, to / path)
    if (folder / ".git").is_dir():
        _share_git(folder / ".git", to / ".git")


def _listed(folder: Path, shell: Shell, environ: Mapping[str, str]) -> list[str]:
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    code, said, _ = shell.capture(words, cwd=folder, env=environ)
    return [path for path in said.split("\0") if path] if code == 0 else list(_walk(folder))


def _walk(folder: Path) -> Iterable[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".git", ".imgmake", "node_modules", ".venv")]
        yield from (str((Path(root) / name).relative_to(folder)) for name in files)


def _copy(source: Path, to: Path) -> None:
    try:
        found = source.lstat()
    except OSError:
        return  # git lists it, and somebody removed it
    if not to.parent.is_dir():
        to.parent.mkdir(parents=True)
    if stat.S_ISLNK(found.st_mode):
        to.symlink_to(os.readlink(source))  # noqa: PTH115 (a Path has no slash at its end, and git would see a change)
    elif stat.S_ISDIR(found.st_mode):
        to.mkdir(exist_ok=True)
    elif stat.S_ISREG(found.st_mode):
        if found.st_size <= _MOST:
            shutil.copyfile(source, to)
        else:
            to.touch()
        to.chmod(stat.S_IMODE(found.st_mode))
        os.utime(to, ns=(found.st_atime_ns, found.st_mtime_ns))


def _share_git(source: Path, to: Path) -> None:
    """Everything but the objects, which are read where they are: what a recipe of git's writes stays in the copy."""
    shutil.copytree(source, to, ignore=shutil.ignore_patterns("objects", "hooks", "lfs", "modules"), symlinks=True)
    (to / "info").mkdir(exist_ok=True)
    with (to / "info" / "exclude").open("a") as exclude:
        exclude.write("\nPipefile.py\n.imgmake*\n")  # what is put into the copy makes no tree dirty
    alternates = to / "objects" / "info" / "alternates"
    alternates.parent.mkdir(parents=True)
    alternates.write_text(f"{(source / 'objects').resolve()}\n")


class Make:
    """GNU make on one Makefile in a scratch folder, without a network where the system allows."""

    def __init__(self, folder: Path, makefile: str, shell: Shell, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.makefile = makefile
        self.assumed: Mapping[str, str] = {}  # what a dry run cannot do without; both are given it
        self.tool: tuple[str, str] = ("", "")  # another tool whose file this is, and how it was asked
        self.notes: Sequence[Left] = ()  # what a person should know of it, besides what it means
        self.failing: Mapping[str, str] = {}  # targets that cannot be said in make's words, and why
        self.files: frozenset[str] = frozenset()  # targets that are known to be files
        self.repeats = ""  # what is told of a command that another tool runs for each that needs it
        self.required: frozenset[str] = frozenset()  # variables without which nothing that uses them runs
        self._shell = shell
        self.home = environ.get("HOME", "")
        self._environ = {name: value for name, value in environ.items() if name not in _HARMLESS} | {
            "LC_ALL": "C",
            "PWD": str(folder),
        }
        self._alone = self._unshared()
        argv = [
            *self._alone,
            "timeout",
            str(_HELD),
            "make",
            "--no-print-directory",
            "-n",
            "-f",
            self.reads,
            "-f",
            ASK,
            ASKED,
        ]
        start = functools.partial(shell.run, argv, cwd=folder, env=self._environ)
        self._conversation: Conversation | None = Conversation(folder, start, LIMIT)
        self._conversed = False
        self._answers: dict[str, str] = {}
        self.mended: list[Mend] = []  # what had to be taken out of this copy for make to read it
        self._as_alone = False  # whether dry runs of several targets at once were found to be what each is alone
        self._limit = LIMIT
        self.seconds = 0.0  # that make takes to read the Makefile
        self._runs: dict[tuple[str, ...], Run] = {}
        self._spent = 0.0  # seconds, on dry runs of single targets
        self._databases: dict[tuple[str, ...], Database] = {}

    @property
    def reads(self) -> str:
        """The file that make reads; `makefile` is what is told of it."""
        return self.makefile

    def statements(self, text: str) -> tuple[Statement, ...]:
        """What stands in the Makefile."""
        return reader.read(text)

    def placed(self, text: str) -> str:
        """A text that names lines of the Makefile, as it is told."""
        return text

    def takes(self, target: str, name: str) -> bool:  # noqa: ARG002 (each of make's does)
        """Whether a variable can be given another value for a target."""
        return True

    def given(self, target: str) -> Mapping[str, str]:  # noqa: ARG002 (what make gives stands in its Makefile)
        """What the shells of a target alone are given besides: names, and texts in make's words."""
        return {}

    @property
    def isolated(self) -> bool:
        """Whether make runs without a network."""
        return bool(self._alone)

    def database(self, overrides: Mapping[str, str] = {}) -> Database:
        """What make says the Makefile means. Raises MakeFailed with its own words."""
        given = tuple(f"{name}={value}" for name, value in overrides.items())
        if given not in self._databases:
            self._databases[given] = self._database(given)
        return self._databases[given]

    def _database(self, given: Sequence[str]) -> Database:
        start = time.monotonic()
        code, out, err = self._read(given)
        self.seconds = time.monotonic() - start
        if "***" in err and self._mend():
            return self._database(given)
        found = database.parse(out)
        if not found.targets or code not in (0, 1, 2):
            raise MakeFailed(
                f"make cannot read {self.makefile}: {_last(err) or f'it ended with {code}'}",
                hint="run `make -n` in a clean checkout: what it needs there, --migrate needs, too",
            )
        targets = {name: each for name, each in found.targets.items() if name != ASKED}
        return replace(found, targets=targets, dropped=tuple(_DROPPED.findall(err)))

    def _read(self, given: Sequence[str]) -> tuple[int, str, str]:
        """The data base, with what make looks up for the default goal; without that where make does not end at it."""
        words = ["-pnq", "-f", self.reads, *given]
        try:
            return self._run(words)
        except MakeFailed:
            with self._after(_NOTHING) as also:
                return self._run([*words, *also, ASKED])

    def _mend(self) -> bool:
        """Take out of this copy what keeps make from reading it; whether there was anything. Raises MakeFailed."""
        code, complaint = self._unread()
        if not code:
            return False  # it is read: a target stops
        file = file_of(complaint, self.makefile)
        path = self.folder / file
        found = mend(path.read_text(errors="surrogateescape"), complaint, file) if path.is_file() else None
        if found is None or len(self.mended) >= _MENDS:
            raise MakeFailed(
                f"make cannot read {self.makefile}: {_last(complaint)}",
                hint="run `make -n` in a clean checkout: what it needs there, --migrate needs, too",
            )
        path.write_text(found.text, errors="surrogateescape")
        self.mended.append(found)
        return True

    def _unread(self) -> tuple[int, str]:
        """make's complaint when it reads the Makefile and makes nothing."""
        with self._after(_NOTHING) as also:
            code, _, complaint = self._run(["-n", "-f", self.reads, *also, ASKED])
        return code, complaint

    def dry_run(self, target: str, overrides: Mapping[str, str] = {}, *, phony: Sequence[str] = ()) -> Run:
        """What ``make -n TARGET`` prints, and its complaint. Recursive makes are shown and not entered.

        phony: targets that are taken for no files.
        """
        words = [*(f"{name}={value}" for name, value in overrides.items()), "--", target]
        known = (*phony, *words)
        if known not in self._runs and self._spent > BUDGET:
            return UNANSWERED, [], f"make takes {self.seconds:.1f} s to read this Makefile, and there was no time left"
        if known not in self._runs:
            start = time.monotonic()
            with self._after([f".PHONY: {' '.join(phony)}"] if phony else []) as also:
                self._runs[known] = self._dry(["-n", "-f", self.reads, *also, "MAKE=: make", *words])
            self.seconds = min(self.seconds, time.monotonic() - start)  # the first time, it makes what it includes
            self._spent += time.monotonic() - start
        return self._runs[known]

    def _dry(self, words: Sequence[str]) -> Run:
        """A line with ``$(MAKE)`` runs even now: what else stands in it may wait for a network, or for somebody."""
        try:
            code, out, err = self._run(words)
        except MakeFailed as error:
            self._limit = _AGAIN
            return UNANSWERED, [], error.message
        return code, out.split("\n"), _last(err) if code else ""

    @contextlib.contextmanager
    def _after(self, lines: Sequence[str]) -> Iterator[list[str]]:
        """What has make read some lines after the Makefile."""
        more = self.folder / ASK
        if lines:
            more.write_text("\n".join([*lines, ""]))
        try:
            yield ["-f", more.name] if lines else []
        finally:
            if lines:
                more.unlink()

    def ahead(self, targets: Sequence[str], overrides: Mapping[str, str]) -> None:
        """Ask for many dry runs at once: several at a time; from one that tells them apart where each takes long."""
        given = [f"{name}={value}" for name, value in overrides.items()]
        targets = [each for each in targets if (*given, "--", each) not in self._runs]
        if self.seconds * len(targets) > _LONG:
            self._at_once(targets, given)
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            list(pool.map(lambda target: self.dry_run(target, overrides), targets))

    def _at_once(self, targets: Sequence[str], given: Sequence[str]) -> None:
        """Dry runs of all targets by one make, where that comes to what make says of the longest alone."""
        found = self._composed([each for each in targets if not sets(each, self.database())], given)
        longest = sorted(found, key=lambda each: -len(found[each][1]))
        made = [each for each in longest if not found[each][0]]
        failed = [each for each in longest if found[each][0]]
        for each in () if self._as_alone else (*made[:1], *failed[:1]):
            alone = self.dry_run(each, dict(one.split("=", 1) for one in given))
            if not alike(alone, found[each]):
                return
        self._as_alone = self._as_alone or bool(found)
        self._runs |= {(*given, "--", each): one for each, one in found.items()}

    def _composed(self, targets: Sequence[str], given: Sequence[str]) -> dict[str, Run]:
        """The dry runs that one make of all these targets tells."""
        if self.seconds * len(targets) <= _LONG:
            return {}
        words = ["-pnk", "--debug=b", "-f", self.reads, "MAKE=: make", *given, "--", *targets]
        try:
            _, out, err = self._run(words)
        except MakeFailed:
            return {}
        said, _, known = out.rpartition("\n# Make data base, printed on ")
        stopped = unmade(err)
        if not said or stopped is None:
            return {}
        data, lines = database.parse(known), remade(said)
        alone = [each for each in targets if not sets(each, data)]
        if len(alone) < len(targets):
            return self._composed(alone, given)  # what patterns set for these was set for others, too
        named = {name for name, made in self.database().targets.items() if not made.intermediate}
        there = self.folder.joinpath
        every = {each: together(each, data, lines, stopped, named, there) for each in targets}
        return {each: one for each, one in every.items() if one is not None}

    def values(self, expressions: Sequence[str], overrides: Mapping[str, str] = {}) -> list[str]:
        """What make makes of expressions, after it has read the whole Makefile; empty where it cannot be asked."""
        if overrides or self._conversation is None:
            return self._once(expressions, overrides)
        new = [each for each in dict.fromkeys(expressions) if each not in self._answers]
        for _ in range(_DEATHS):
            if not new:
                break
            found = self._answered(new)
            self._answers.update(zip(new, found, strict=False))
            if len(found) < len(new):  # make could not go on from there
                self._answers[new[len(found)]] = ""
            new = new[len(found) + 1 :]
        return [self._answers.get(each, "") for each in expressions]

    def _answered(self, expressions: Sequence[str]) -> list[str]:
        """Answers from the make that is there; from one for this question where it would leave something behind."""
        lasting = [each for each in expressions if self._leaves_nothing(each) and not each.endswith("\\")]
        if len(lasting) < len(expressions) or self._conversation is None:
            return self._once(expressions, {})
        try:
            found = self._conversation.ask(expressions)
        except Slow:
            return []
        if not found and not self._conversed:
            self._conversation = None  # a make before 4.2
            return self._once(expressions, {})
        self._conversed = True
        return found

    def _leaves_nothing(self, expression: str) -> bool:
        """Whether a make that has expanded it is as before."""
        known = self._databases[()].variables if () in self._databases else self._environ
        bound, forgotten = ({match[1] for match in each.finditer(expression)} for each in (_BOUND, _FORGOTTEN))
        rest = _FORGOTTEN.sub("", _BOUND.sub("", expression))
        return "eval" not in rest and bound == forgotten and not any(name in known for name in bound)

    def _once(self, expressions: Sequence[str], overrides: Mapping[str, str]) -> list[str]:
        lines = [WITHOUT, *(f"$(info {MARK}{each}{MARK})" for each in expressions)]
        given = [f"{name}={value}" for name, value in overrides.items()]
        with self._after([*lines, *_NOTHING]) as also:
            _, out, _ = self._run(["-n", "-f", self.reads, *also, *given, ASKED])
        found = re.findall(f"{MARK}(.*?){MARK}", out, re.DOTALL)[-len(expressions) :]
        return found if len(found) == len(expressions) else [""] * len(expressions)

    def _run(self, words: Sequence[str]) -> tuple[int, str, str]:
        argv = [*self._alone, "timeout", str(self._limit), "make", "--no-print-directory", *words]
        try:
            code, out, err = self._shell.capture(argv, cwd=self.folder, env=self._environ)
        except CommandFailed as error:
            raise UsageError(f"--migrate asks GNU make: {error.message}", hint="install GNU make") from None
        if code == 127:
            raise UsageError("--migrate asks GNU make, which is not on PATH", hint="install GNU make")
        if code == UNANSWERED:
            raise MakeFailed(
                f"make did not answer within {self._limit} s", hint="does a $(shell …) wait for a network?"
            )
        return code, out, err

    def _unshared(self) -> list[str]:
        """What cuts the network off, the user staying who they are; nothing where the system does not allow it."""
        for words in (["unshare", "-n"], ["unshare", "--user", "--map-current-user", "-n"]):
            try:
                code, _, _ = self._shell.capture([*words, "true"], cwd=self.folder, env=self._environ)
            except CommandFailed:
                return []
            if code == 0:
                return words
        return []


def _last(err: str) -> str:
    lines = [line for line in err.strip().split("\n") if "***" in line] or err.strip().split("\n")
    return lines[-1].strip()
