"""What one publish rule comes to: the images, or the manifest that a registry has, and what becomes of each tag.

Judging makes it, the plan shows it, and the transaction carries out exactly this; no port is used here.
"""

from __future__ import annotations

from dataclasses import dataclass

from imgmake.graph import Node
from imgmake.ports import Image, Remote
from imgmake.tags import TagAction, TagChange


@dataclass(frozen=True)
class Publication:
    """A publish rule, judged.

    images:    of the engine, to be sent; empty when `source` is given.
    source:    a manifest that a registry holds already, under another tag or for promotion; pinned by its digest.
    changes:   every tag of the rule in every registry.
    referrers: whether what refers to `source` goes along (promotion).
    """

    node: Node
    images: tuple[Image, ...]
    source: Remote | None
    changes: tuple[TagChange, ...]
    referrers: bool = False

    @property
    def written(self) -> tuple[TagChange, ...]:
        """The changes that write a tag."""
        return tuple(change for change in self.changes if change.action in (TagAction.CREATE, TagAction.MOVE))

    @property
    def refused(self) -> tuple[TagChange, ...]:
        """The changes that would break a promise; with one of them nothing is written."""
        return tuple(change for change in self.changes if change.action is TagAction.REFUSE)
