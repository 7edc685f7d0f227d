"""The last answer "all is up to date", and whether all that it rested on is still the same. Knows nothing of ours.

It is asked before anything else is imported: pydantic alone takes longer than this whole answer. So it lives on
built-in modules, and on C modules where their Python face (`socket`, `hashlib`) would cost more than the question.

What counts is observed, not guessed: `imgmake.app.witness` notes what a whole run looked at. Here each of those
looks is taken again, and each question to the engine asked again; one difference, and there is no answer.

The record, in `.imgmake/settled/`, is named by a digest of what the process was given (`key`): nothing of the
environment, which may hold secrets, is written down.
"""

# ruff: noqa: PTH109, PTH123 - pathlib takes 5 ms to import

import os
import sys
import time

FOLDER = b".imgmake/settled"
LINK, FILE, LISTED = b"l", b"f", b"d"  # how a path was looked at: by itself, by what it leads to, and its names read
MOST_REQUESTS = 64  # of one answer; each is a connection
_MAGIC = b"imgmake settled 1\n"
_NOISE = frozenset({b"_", b"SHLVL", b"OLDPWD", b"PWD"})  # a shell changes these, and no verdict rests on them
_TYPE, _REGULAR, _LINK = 0o170000, 0o100000, 0o120000
_TIMED = (_REGULAR, _LINK)  # a device's or socket's times change by its use
_lstat, _stat = os.lstat, os.stat  # as they are: while a run is watched, others stand in for them
_PATIENCE = 5.0  # seconds for the engine; one that takes longer is asked the long way
_asked: list[int] = []  # when this process began, in nanoseconds since the epoch


def digest(data: bytes) -> bytes:
    """A hash that cannot be met by chance, as text."""
    from _blake2 import blake2b  # as `hashlib` has it, without the 4 ms of loading OpenSSL

    return blake2b(data, digest_size=20).hexdigest().encode()


def noise() -> frozenset[str]:
    """Variables of the environment that do not count."""
    return frozenset(map(os.fsdecode, _NOISE))


def key(words: list[str]) -> bytes:
    """What a process was given and where it runs; two runs with one key can differ only by the world outside."""
    environ = [b"%s=%s" % (k, _steady(k, v)) for k, v in sorted(os.environb.items()) if k not in _NOISE]
    machine = (os.uname().machine, len(os.sched_getaffinity(0)), *(os.isatty(stream) for stream in range(3)))
    user = (os.getuid(), os.getgid(), sorted(os.getgroups()))
    python = (sys.version, sys.executable, tuple(sys.flags), *user, *machine)
    groups = ([os.getcwdb()], map(os.fsencode, words), map(os.fsencode, sys.path), environ, [repr(python).encode()])
    parts = [[b"%d:%s" % (len(part), part) for part in group] for group in groups]
    return digest(b"\0\0".join(b"\0".join(group) for group in parts))


def _steady(name: bytes, value: bytes) -> bytes:
    """What of an environment variable can matter to a run that has nothing to do."""
    if name in (b"MAKEFLAGS", b"MFLAGS"):  # each make names its jobserver anew, and only what runs asks it
        return b" ".join(word for word in value.split(b" ") if not word.startswith(b"--jobserver-"))
    return value


def began() -> int:
    """When this process asked for an answer, before it loaded any code that judges; 0 when it did not."""
    return _asked[0] if _asked else 0


# --- looking --------------------------------------------------------------------------------------------------


def look(how: bytes, path: bytes) -> bytes:
    """What a path is now, as text that two looks can be compared by; when it is not there, why not.

    A folder whose names were not read (`LISTED`) counts by being that folder: its times change with each file in it.
    """
    try:
        found = _lstat(path) if how == LINK else _stat(path)
    except OSError as error:
        return b"%d" % (error.errno or -1)
    if found.st_mode & _TYPE in _TIMED or how == LISTED:
        return b"%o %d %d %d %d %d" % (
            found.st_mode,
            found.st_dev,
            found.st_ino,
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
        )
    return b"%o %d %d" % (found.st_mode, found.st_dev, found.st_ino)


def records(folder: bytes) -> bytes:
    """The state of the records in a state folder; empty when they cannot be told from others.

    SQLite counts the transactions of a file in its header (https://www.sqlite.org/fileformat.html, 1.3.7), so that
    no clock is needed to see the next one. The times tell of a file that was restored and then went another way.
    """
    path = folder + b"/state.db"
    try:
        if _stat(path + b"-journal").st_size:
            return b""
    except FileNotFoundError:
        pass
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head, found = os.read(file, 100), os.fstat(file)
    finally:
        os.close(file)
    if len(head) < 100:
        return b""
    same = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return b"%d %d %d %d %d %d" % (*same, int.from_bytes(head[24:28], "big"))


def reply(status: int, body: bytes) -> bytes:
    """An engine's answer, as text that two answers can be compared by."""
    return b"%d %s" % (status, digest(body))


# --- the record -----------------------------------------------------------------------------------------------


def dump(
    printed: bytes,
    expires: float,
    state: bytes,
    socket: bytes,
    replies: dict[bytes, bytes],
    looks: dict[tuple[bytes, bytes], bytes],
) -> bytes:
    """The record as bytes.

    printed: what the run told on standard output.
    expires: seconds since the epoch, after which something is too old; may be infinite.
    socket:  the path of the engine's Unix socket; empty when it was not asked.
    replies: for each path of the engine's API that was asked, its `reply`.
    looks:   for each way of looking and path, what `look` told.

    Raises ValueError when a NUL is in what was printed.
    """
    if b"\0" in printed:
        raise ValueError("a NUL was printed")
    parts = [printed, repr(expires).encode(), state, socket, b"%d" % len(replies)]
    for path, answer in replies.items():
        parts += [path, answer]
    for (how, path), seen in looks.items():
        parts += [how + path, seen]
    body = b"\0".join(parts)
    return b"%s%s\n%s" % (_MAGIC, digest(body), body)


def answer(words: list[str]) -> bytes | None:
    """What to print when all that `words` ask for is up to date for certain; None when that takes a real run."""
    _asked[:] = [time.time_ns()]
    try:
        with open(b"%s/%s" % (FOLDER, key(words)), "rb") as file:
            data = file.read()
        return verify(data)
    except (OSError, ValueError, LookupError, ImportError, AttributeError):
        return None


def verify(data: bytes) -> bytes | None:
    """What a record says, if all that it rests on is the same in the present folder. Raises OSError, ValueError."""
    head, body = data[: len(_MAGIC) + 41], data[len(_MAGIC) + 41 :]
    if head != b"%s%s\n" % (_MAGIC, digest(body)):
        return None
    printed, expires, state, address, count, *parts = body.split(b"\0")
    if not time.time() < float(expires) or not state:
        return None
    split = 2 * int(count)
    with _Lock() as free:
        same = free and records(b".imgmake") == state and _same(address, parts[:split], parts[split:])
    return printed if same else None


def _same(address: bytes, questions: list[bytes], looks: list[bytes]) -> bool:
    """Whether the engine answers as it did, and every path is as it was; the engine thinks while the files are seen."""
    lines = []
    try:
        for path in questions[::2]:
            lines.append(_ask(address, path))
        for i in range(0, len(looks), 2):
            if look(looks[i][:1], looks[i][1:]) != looks[i + 1]:
                return False
        return [_heard(line) for line in lines] == questions[1::2]
    finally:
        for line in lines:
            line.close()


class _Lock:
    """Whether no other run is at work; it waits for us then, as long as a look takes."""

    def __enter__(self) -> bool:
        import fcntl

        self._file = os.open(b".imgmake/lock", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


# --- the engine -----------------------------------------------------------------------------------------------


def _ask(address: bytes, path: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN202 (`typing` is not imported here)
    from _socket import AF_UNIX, SOCK_STREAM, socket  # what `socket` wraps, in 7 ms less

    line = socket(AF_UNIX, SOCK_STREAM)
    try:
        line.settimeout(_PATIENCE)
        line.connect(address)
        line.sendall(b"GET %s HTTP/1.0\r\nHost: docker\r\n\r\n" % path)
    except OSError:
        line.close()
        raise
    return line


def _heard(line) -> bytes:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """The answer on a line; with HTTP/1.0 (RFC 1945) it ends with the connection."""
    chunks = []
    while chunk := line.recv(65536):
        chunks.append(chunk)
    head, _, body = b"".join(chunks).partition(b"\r\n\r\n")
    return reply(int(head.split(None, 2)[1]), body)
