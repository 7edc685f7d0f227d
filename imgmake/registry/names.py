"""Image references as docker reads them, and the hosts that they mean; pure.

Grammar: https://github.com/distribution/reference (regexp.go), names as `docker pull` takes them.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple

from imgmake.errors import InvalidReference

DOCKER_IO = "docker.io"
_HUB_ALIASES = {"index.docker.io", "registry-1.docker.io"}

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.|(?=:|$)))+(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?"
)
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST = 255  # characters of a repository's path


class Name(NamedTuple):
    """A reference taken apart; `tag` is ``latest`` when neither tag nor digest was given."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def place(self) -> str:
        """Registry and repository, as one writes them."""
        return f"{self.registry}/{self.repository}"

    @property
    def version(self) -> str:
        """What the registry is asked for: the digest where there is one, else the tag."""
        return self.digest or self.tag


def parse(reference: str) -> Name:
    """Take a reference apart.

    Raises InvalidReference for what no registry would take.

    >>> parse("debian")
    Name(registry='docker.io', repository='library/debian', tag='latest', digest='')
    >>> parse("localhost:5000/team/app:1.0").repository
    'team/app'
    """
    rest, _, digest = reference.partition("@")
    if "@" in reference and not _DIGEST.fullmatch(digest):
        raise _invalid(reference, f"{digest!r} is no sha256 digest")
    rest, tag = _split_tag(rest)
    if tag is not None and not _TAG.fullmatch(tag):
        raise _invalid(reference, f"{tag!r} is no tag")
    registry, repository = _split_registry(reference, rest)
    return Name(registry, repository, tag or ("" if digest else "latest"), digest)


def _split_tag(text: str) -> tuple[str, str | None]:
    head, colon, tail = text.rpartition(":")
    return (head, tail) if colon and "/" not in tail else (text, None)


def _split_registry(reference: str, text: str) -> tuple[str, str]:
    host, slash, path = text.partition("/")
    if not slash or not (set(".:[") & set(host) or host == "localhost" or host != host.lower()):
        host, path = DOCKER_IO, text
    if not _HOST.fullmatch(host):
        raise _invalid(reference, f"{host!r} is no registry")
    if host in _HUB_ALIASES:
        host = DOCKER_IO
    if host == DOCKER_IO and "/" not in path:
        path = f"library/{path}"
    if len(path) > _LONGEST or not all(_PATH.fullmatch(part) for part in path.split("/")):
        raise _invalid(reference, "a repository is lower-case letters, digits, '.', '_', '-', joined by '/'")
    return host, path


def _invalid(reference: str, why: str) -> InvalidReference:
    return InvalidReference(f"{reference!r} is no image reference: {why}", hint="write it as [HOST/]NAME[:TAG]")


def is_loopback(registry: str) -> bool:
    """Whether a registry is this machine: there docker allows HTTP without being told.

    >>> is_loopback("127.0.0.1:5000"), is_loopback("registry.example.com")
    (True, False)
    """
    host = registry.rsplit(":", 1)[0] if re.search(r":[0-9]+$", registry) else registry
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
