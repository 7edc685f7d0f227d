"""The verb of --verify: asks registries about images, with nothing else of a session."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgmake.app.options import Options
from imgmake.errors import ImgmakeError, UsageError

if TYPE_CHECKING:
    from imgmake.attest.verification import Verified


def verify(options: Options, references: Sequence[str]) -> Verified:
    """What each image was made from and what it passed, from its registry alone; no Pipefile is read.

    One that cannot be found, or whose registry does not answer, keeps nothing of the others back.
    Raises UsageError without a reference.
    """
    from imgmake.app.wiring import SystemClock
    from imgmake.attest.verification import Verification, Verified
    from imgmake.executor.verifying import examine
    from imgmake.registry import RegistryClient
    from imgmake.shell import LocalShell

    if not references:
        raise UsageError("--verify needs an image", hint="imgmake --verify registry.example.com/shop:1.2")
    now, found, errors = SystemClock().now(), list[Verification](), list[ImgmakeError]()
    with contextlib.closing(RegistryClient(options.environ, LocalShell())) as registry:
        for reference in references:
            try:
                found.append(examine(registry, reference, now=now))
            except ImgmakeError as error:
                errors.append(error)
    return Verified(tuple(found), tuple(errors))
