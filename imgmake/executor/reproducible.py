"""Reproducible images: what of a build context depends on the clone, and what is sent instead.

A clone decides over times, and by its umask over modes; the layers that copy its files would hold both. So files of an
image that is published are sent with the time of the commit, and with as much of their mode as git keeps. What a RUN
writes is the builder's: see docs/reproducible.md.
"""

from __future__ import annotations

from dataclasses import replace

from imgmake import metadata
from imgmake.executor.run import Run
from imgmake.model import Field, ImageRule, PublishRule, Rule
from imgmake.ports import ContextFile

NAME = "SOURCE_DATE_EPOCH"


class Reproducible:
    """Which images are to come out the same in every clone, and with which time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._published: frozenset[Rule] | None = None

    def wanted(self, rule: ImageRule) -> bool:
        """A published image, and what it is built from; every image when SOURCE_DATE_EPOCH is given."""
        return bool(self._given()) or rule in self.published

    def seconds(self, rule: ImageRule) -> int | None:
        """The time for everything in the image (seconds since the epoch); None: as it is on disk.

        The one given in the environment, else the commit's. Raises UsageError.
        """
        if not self.wanted(rule):
            return None
        given = metadata.source_date({NAME: self._given()})
        return int(given) if given is not None else self._run.world.git.time()

    def _given(self) -> str:
        return self._run.world.environ.get(NAME, "")

    @property
    def published(self) -> frozenset[Rule]:
        """The images that publish rules name, with every image of a rule that goes into them."""
        if self._published is None:
            rules = self._run.pipeline.rules
            named = [image for rule in rules if isinstance(rule, PublishRule) for image in rule.images]
            queue = [i if isinstance(i, ImageRule) else self._run.rule_of(i) for i in named]
            found: set[Rule] = set()
            while queue:
                rule = queue.pop()
                if rule is not None and rule not in found:
                    found.add(rule)
                    before = [self._run.node(name).rule for name in self._run.graph.prerequisites(rule.target)]
                    queue += [one for one in before if isinstance(one, ImageRule)]
            self._published = frozenset(found)
        return self._published


def kept_mode(mode: int, folder: bool) -> int:
    """A mode as it is in every clone (git keeps one bit of it); set-user-ID and the like were set on purpose.

    But a folder has set-group-ID from the one that it was made in.

    >>> oct(kept_mode(0o600, folder=False)), oct(kept_mode(0o4711, folder=False)), oct(kept_mode(0o2700, folder=True))
    ('0o644', '0o4755', '0o755')
    """
    special = mode & (0o5000 if folder else 0o7000)
    return special | (0o755 if folder or mode & 0o100 else 0o644)


def counted(field: Field) -> Field:
    """The field of a path with the mode that is sent."""
    mode, colon, rest = field.value.partition(":")
    if field.kind not in ("file", "folder") or not colon or not mode.isdecimal():
        return field
    return field._replace(value=f"{kept_mode(int(mode, 8), field.kind == 'folder'):04o}:{rest}")


def sent(file: ContextFile, seconds: int | None) -> ContextFile:
    """The entry of a context as it is sent; without a time only its mode is made the same."""
    mode = file.mode if file.type == "link" else kept_mode(file.mode, file.type == "dir")
    return replace(file, mode=mode, mtime_ns=file.mtime_ns if seconds is None else seconds * 10**9)
