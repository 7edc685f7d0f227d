"""Who made a container: the label that says which process did, and whether that process still lives.

A run that is killed outright leaves what it made to the next one, which may remove only what is surely
nobody's: of this machine (and PID namespace), and of a process that has ended.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

LABEL = "io.imgmake.run"
MARKED = "imgmake-marked"  # the repository of images that bear the label for a while


@functools.cache
def _here() -> tuple[str, str]:
    """This machine with its PID namespace, and its present boot."""
    parts = [_read("/etc/machine-id"), os.uname().nodename, _link("/proc/self/ns/pid")]
    boot = _read("/proc/sys/kernel/random/boot_id")
    return _short("\n".join(parts)), _short(boot)


def own() -> str:
    """The value of `LABEL` for what this process makes: ``machine.boot.pid.start``."""
    machine, boot = _here()
    return f"{machine}.{boot}.{os.getpid()}.{_started(os.getpid())}"


def alive(owner: str) -> bool:
    """Whether the process that this label names may still live; True when that cannot be told from here.

    >>> alive(own())
    True
    """
    parts = owner.split(".")
    if len(parts) < 4 or not parts[2].isdecimal() or parts[0] != _here()[0]:
        return True
    return parts[1] == _here()[1] and _started(int(parts[2])) == parts[3]


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot (proc(5), field 22); empty when there is none.

    A PID is used again; a PID with its start is not.
    """
    after_name = _read(f"/proc/{pid}/stat").rpartition(") ")[2].split()
    return after_name[19] if len(after_name) > 19 else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
