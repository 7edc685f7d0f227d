"""The verb of --verify: asks registries about images, with nothing else of a session."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgmake.app.options import Options
from imgmake.errors import UsageError

if TYPE_CHECKING:
    from imgmake.attest.verification import Verification


def verify(options: Options, references: Sequence[str]) -> tuple[Verification, ...]:
    """What each image was made from and what it passed, from its registry alone; no Pipefile is read.

    Raises UsageError without a reference, InvalidReference, RegistryError.
    """
    from imgmake.app.wiring import SystemClock
    from imgmake.executor.verifying import examine
    from imgmake.registry import RegistryClient
    from imgmake.shell import LocalShell

    if not references:
        raise UsageError("--verify needs an image", hint="imgmake --verify registry.example.com/shop:1.2")
    now = SystemClock().now()
    with contextlib.closing(RegistryClient(options.environ, LocalShell())) as registry:
        return tuple(examine(registry, reference, now=now) for reference in references)
