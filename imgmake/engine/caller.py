"""A container as the calling user: a passwd entry and a HOME of its own, put in before it starts.

Tools take a user's name and home from /etc/passwd (Java's ``user.home`` does, whatever HOME says), and
write there: Maven its repository, npm its cache. So the entry and the folder are made in the container's own
layer, where they go with it; nothing of them is in the tree, and no file is shared with the host.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Iterable
from typing import Any, NamedTuple

import docker.errors

HOME = "/home/imgmake"
_NAME = "imgmake"


class Caller(NamedTuple):
    """User and group, by number."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


def identity(client: Any) -> Caller:
    """Who calls; root inside when the engine is rootless, since that is the caller outside."""
    security = client.info().get("SecurityOptions") or ()
    if any(option.startswith("name=rootless") for option in security):
        return Caller(0, 0)
    return Caller(os.getuid(), os.getgid())


def settle(container: Any, caller: Caller, home: str, owned: Iterable[str]) -> None:
    """Give the caller an entry in passwd and group, a home, and the folders `owned` (new volumes)."""
    passwd = entry(
        _read(container, "/etc/passwd"), caller.uid, f"{_NAME}:x:{caller.uid}:{caller.gid}::{home}:/bin/sh", home
    )
    group = entry(_read(container, "/etc/group"), caller.gid, f"{_NAME}:x:{caller.gid}:")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        _add(tar, "etc/passwd", passwd.encode("utf-8", "surrogateescape"))
        _add(tar, "etc/group", group.encode("utf-8", "surrogateescape"))
        for folder in (home, *owned):
            _add_folder(tar, folder, caller)
    container.put_archive("/", buffer.getvalue())


def entry(text: str, number: int, line: str, home: str | None = None) -> str:
    """A passwd or group file in which `number` is known: with `line` added, or the line that has it moved to `home`.

    >>> entry("root:x:0:0:root:/root:/bin/sh\\n", 7, "me:x:7:7::/h:/bin/sh", "/h").splitlines()[-1]
    'me:x:7:7::/h:/bin/sh'
    >>> entry("node:x:7:7::/home/node:/bin/sh\\n", 7, "me:x:7:7::/h:/bin/sh", "/h")
    'node:x:7:7::/h:/bin/sh\\n'
    """
    lines = text.splitlines()
    for index, known in enumerate(lines):
        parts = known.split(":")
        if len(parts) > 2 and parts[2] == str(number):
            if home is not None and len(parts) > 5:
                lines[index] = ":".join([*parts[:5], home, *parts[6:]])
            break
    else:
        lines.append(_unused_name(lines, line))
    return "\n".join(lines) + "\n"


def _unused_name(lines: list[str], line: str) -> str:
    name, _, rest = line.partition(":")
    return f"{name}-caller:{rest}" if any(known.startswith(f"{name}:") for known in lines) else line


def _read(container: Any, path: str) -> str:
    """A small file of a container; empty when there is none (an image FROM scratch)."""
    with contextlib.suppress(docker.errors.NotFound):
        chunks, _ = container.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            for member in tar:
                if (file := tar.extractfile(member)) is not None:
                    return file.read().decode("utf-8", "surrogateescape")
    return ""


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    tar.addfile(member, io.BytesIO(data))


def _add_folder(tar: tarfile.TarFile, path: str, caller: Caller) -> None:
    member = tarfile.TarInfo(path.strip("/"))
    member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, 0o755, caller.uid, caller.gid
    tar.addfile(member)
