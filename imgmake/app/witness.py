"""Notes all that this process looks at while a run judges, and what it does; knows no rule and no record.

It watches the interpreter and not our ports, so that no look can be forgotten, by a command of ours or by the user's
Pipefile: audit events (PEP 578) tell of every file that is opened, every folder that is listed, and every process,
connection and change; the few functions of `os` that look at one path raise none, and are stood in for meanwhile.

What it has no words for spoils the testimony. A spoilt witness costs nothing and says nothing.
"""

# ruff: noqa: PTH109, PTH112, PTH118, PTH120, PTH208 - the looks themselves, and by bytes: a run takes tens of thousands

from __future__ import annotations

import contextlib
import os
import stat as modes
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from imgmake.ports import Remembered
from imgmake.settled import FILE, LINK, LISTED, began, look
from imgmake.sources.files import settled as unmoved

MOST = 50_000  # looks; where there are more, checking them all takes as long as judging
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ACTS = ("subprocess.", "shutil.", "tempfile.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "pty.")
_CHANGES = {f"os.{name}" for name in ("chmod", "chown", "link", "mkdir", "remove", "rename", "rmdir", "symlink")}
_CHANGES |= {"os.truncate", "os.utime", "os.setxattr", "os.removexattr"}
_UNKNOWN = {"os.getxattr", "os.listxattr", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"}
_LOOKERS = ("stat", "lstat", "readlink", "access")
_KERNELS = ("/proc/", "/sys/")  # made up as it is read, below mounts of many kinds
_BY_IMPORTS = {"open", "os.listdir", "os.mkdir", "os.rename"}
_IMPORTS = ("<frozen importlib", "<frozen zipimport")  # files of the interpreter that find, read and cache modules
_OURS = os.fsencode(os.path.dirname(os.path.dirname(__file__))) + b"/"
_OWN = (b"state.db", b"lock", b"settled", b".gitignore")  # in the state folder; anything else there is not ours
_lstat, _stat = os.lstat, os.stat
_SETS = (os.supports_dir_fd, os.supports_effective_ids, os.supports_fd, os.supports_follow_symlinks)

Look = tuple[bytes, bytes]


class Witness:
    """What was looked at since it was made, each with what was there at the first look.

    own:         the state folder, which is not part of the world.
    spoilt:      why the testimony is worth nothing; empty as long as it is whole.
    connections: how many were made through sockets of this machine; who overhears them can count what was said.
    """

    def __init__(self, own: os.PathLike[str]) -> None:
        self.looks: dict[Look, bytes] = {}
        self.spoilt = ""
        self.connections = 0
        self._own = os.fsencode(own)
        self._made_up = {_stat(folder).st_dev for folder in (b"/proc", b"/sys", b"/dev") if os.path.isdir(folder)}
        self._began = began() or time.time_ns()
        self._code = (_OURS, *(os.fsencode(folder) + b"/" for folder in sys.path if _is_library(folder)))
        self._given = _descriptors()
        self._read_through: set[bytes] = set()  # folders that were listed for more than their names

    def spoil(self, why: str) -> None:
        self.spoilt = self.spoilt or why

    def saw(self, how: bytes, path: Any) -> None:
        """Note a look that is about to be taken."""
        if self.spoilt or isinstance(path, int):  # a descriptor: noted when it was opened
            return
        full = _full(path)
        if (how, full) in self.looks or (how != LISTED and self._is_own(full)):
            return
        if len(self.looks) >= MOST:
            self.spoil("more was looked at than can be checked fast")
        self.looks[how, full] = look(how, full)

    def testimony(self) -> dict[Look, bytes]:
        """Every look as it is now; spoilt when one has changed since, or could have without being seen to."""
        self._add_code()
        self._add_entries()
        for (how, path), seen in self.looks.items():
            if look(how, path) != seen:
                self.spoil(f"{os.fsdecode(path)} changed meanwhile")
            elif not self._trusted(how, path):
                self.spoil(f"{os.fsdecode(path)} changed a moment ago")
        return self.looks

    def _add_code(self) -> None:
        for folder in sys.path:
            self.saw(LISTED, folder)
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "imgmake" and (file := getattr(module, "__file__", None)):
                full = os.fsencode(file)
                self.looks[FILE, full] = look(FILE, full)

    def _add_entries(self) -> None:
        """A listing tells each entry's stat to whoever asks, without a further look."""
        for folder in self._read_through:
            for path in _entries(folder):
                self.saw(LINK, path)
                if self.looks.get((LINK, path), b"").startswith(b"12"):  # a link, as `look` spells its mode
                    self.saw(FILE, path)

    def _trusted(self, how: bytes, path: bytes) -> bool:
        """Not changed so shortly before we began that a change after it could bear the same times ("racy git")."""
        try:
            found = _lstat(path) if how == LINK else _stat(path)
        except OSError:
            return True
        timed = modes.S_ISREG(found.st_mode) or modes.S_ISLNK(found.st_mode) or how == LISTED
        times = found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns
        return not timed or unmoved(Remembered(*times, "", self._began))

    # --- audit events ---------------------------------------------------------------------------------------

    def heard(self, event: str, args: tuple[Any, ...], *, imports: bool = False) -> None:
        """Take in one audit event (https://docs.python.org/3/library/audit_events.html).

        imports: it comes of an `import`: what is installed counts by the folders that it is in, our own code by the
                 files of its modules, and Python's cache of either not at all.
        """
        if event == "open":
            if not (imports and _full(args[0]).startswith(self._code)):
                self._opened(*args)
        elif event in ("os.listdir", "os.scandir"):
            self._listed(args[0], imports=imports)
        elif event == "socket.connect":
            self.connections += 1
            if not isinstance(args[1], (str, bytes)):
                self.spoil("the network was asked")
        elif event in _CHANGES:
            if not self._is_own(_full(args[0])) and not (imports and _full(args[0]).startswith(self._code)):
                self.spoil(f"{event}: something was changed")
        elif event in _UNKNOWN or event.startswith(_ACTS):
            self.spoil(f"{event}: something was started or asked")

    def _opened(self, path: object, mode: str | None, flags: int) -> None:
        if isinstance(path, int):
            if path in self._given:
                self.spoil("what this process was handed open was read or written")
            return  # noted when it was opened
        writes = bool(flags & _WRITES) or bool(set(mode or "") & set("wax+"))
        if writes and not self._is_own(_full(path)):
            self.spoil(f"{path!r} was written")
        if self._changes_unseen(path):
            self.spoil(f"{path!r} was read, whose times tell nothing")
        self.saw(FILE, path)

    def _changes_unseen(self, path: Any) -> bool:
        """Devices, pipes, and what the kernel makes up as it is read."""
        if path == os.devnull:
            return False
        if os.fsdecode(path).startswith(_KERNELS):
            return True
        try:
            found = _stat(path)
        except OSError:
            return False
        plain = modes.S_ISREG(found.st_mode) or modes.S_ISDIR(found.st_mode)
        return not plain or found.st_dev in self._made_up

    def _listed(self, path: object, *, imports: bool) -> None:
        if isinstance(path, int):
            self.spoil("a folder was listed by its descriptor")
            return
        self.saw(LISTED, path)
        if not imports:
            self._read_through.add(_full(path))

    def _is_own(self, path: bytes) -> bool:
        return path == self._own or path.startswith(tuple(os.path.join(self._own, name) for name in _OWN))


def _full(path: Any) -> bytes:
    """From the root; descriptors are no paths, and never ours."""
    return b"" if isinstance(path, int) else os.path.join(os.getcwdb(), os.fsencode(path or "."))


def _descriptors() -> set[int]:
    """What this process has open: standard input, and what else its parent gave it."""
    try:
        listed = {int(name) for name in os.listdir("/dev/fd")}
    except (OSError, ValueError):
        return {0, 1, 2}
    return {number for number in listed if _is_open(number)}  # the listing had one too


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _is_library(folder: str) -> bool:
    installed = f"{folder}/".endswith(("/site-packages/", "/dist-packages/"))
    return installed or folder.startswith(os.path.dirname(os.__file__)) or folder.endswith(".zip")


def _entries(folder: bytes) -> list[bytes]:
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder)]
    except OSError:
        return []


# --- the interpreter ------------------------------------------------------------------------------------------

_present: list[Witness] = []  # the one witness of a process
_hooked: list[bool] = []


@contextlib.contextmanager
def watching(witness: Witness) -> Iterator[None]:
    """Let a witness note everything until the end of the block; one at a time, or it hears nothing."""
    if _present:
        witness.spoil("another one is watching")
        yield
        return
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_hear)  # for ever: Python lets nobody take one away
    _present.append(witness)
    originals = {name: getattr(os, name) for name in _LOOKERS}
    with contextlib.ExitStack() as stack:
        stack.callback(_present.clear)
        for name, original in originals.items():
            stack.callback(setattr, os, name, original)
            setattr(os, name, _standing_in(name, original, stack))
        yield


def _hear(event: str, args: tuple[Any, ...]) -> None:
    for witness in _present:
        if not witness.spoilt:
            try:
                witness.heard(event, args, imports=event in _BY_IMPORTS and _is_import())
            except Exception as error:  # noqa: BLE001 (an error here would become that of whoever is watched)
                witness.spoil(f"{event}: {error!r}")


def _is_import() -> bool:
    """Whether what is heard was done by an `import`: it is the caller of `_hear`."""
    return sys._getframe(2).f_code.co_filename.startswith(_IMPORTS)


def _standing_in(name: str, original: Callable[..., Any], stack: contextlib.ExitStack) -> Callable[..., Any]:
    """`original`, noted; it stands in the sets of what can do what too, by which `shutil` chooses its ways."""

    def looked(path: Any, *args: Any, **options: Any) -> Any:
        for witness in _present:
            if options.get("dir_fd") is not None:
                witness.spoil(f"os.{name} by a descriptor")
            elif not witness.spoilt:
                itself = name in ("lstat", "readlink") or options.get("follow_symlinks") is False
                with contextlib.suppress(OSError, TypeError, ValueError):  # the original says it better
                    witness.saw(LINK if itself else FILE, path)
        return original(path, *args, **options)

    for able in _SETS:
        if original in able:
            able.add(looked)
            stack.callback(able.discard, looked)
    return looked
