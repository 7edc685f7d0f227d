"""What becomes of each tag of a publication: created, moved, left or refused, and why; pure.

The plan that is shown is the plan that is carried out: nothing but these changes is ever written.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class TagAction(StrEnum):
    """What is done to one tag in one registry."""

    CREATE = "create"
    MOVE = "move"
    LEAVE = "leave"  # it holds this image already, or a higher version's keeps it
    REFUSE = "refuse"  # writing it would break a promise; then nothing at all is written


class TagChange(NamedTuple):
    """One line of the plan.

    reference: ``registry/repository:tag``.
    before:    digest of the manifest that the tag holds; empty when there is none.
    after:     what it is to hold, while only the image is known its ID; empty: an image that is yet to be built.
    why:       ``1.3.0 is the highest 1.3``, ``holds another image, and a BUILD_ID never moves``.
    """

    reference: str
    action: TagAction
    before: str
    after: str
    why: str
