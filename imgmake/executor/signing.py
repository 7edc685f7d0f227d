"""Signatures by cosign, when a rule asks for them: of the image and of all that was pushed beside it, by digest.

They are made before any tag is written, so that a tag never names an unsigned image. The key, the identity and the
registry's credentials are cosign's own business: it has the user's environment, and reads COSIGN_KEY and the like.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from imgmake.errors import CommandFailed
from imgmake.executor.run import Run
from imgmake.model import PublishRule
from imgmake.ports import Output

COSIGN = "cosign"


def ready(run: Run, rule: PublishRule) -> None:
    """Raise CommandFailed when signatures are asked for and cannot be made: before anything is sent."""
    if not rule.sign:
        return
    world = run.world
    try:
        code, _, _ = world.shell.capture([COSIGN, "version"], cwd=world.sources.root, env=world.environ)
    except CommandFailed as error:
        code = error.code
    if code:
        raise CommandFailed(
            f"{rule.target!r} asks for signatures, and {COSIGN} cannot be run",
            code=code,
            place=rule.place,
            hint="install cosign (https://docs.sigstore.dev), or take sign=True away",
        )


def sign(run: Run, rule: PublishRule, names: Sequence[str], output: Output) -> None:
    """Sign each of these manifests, ``repository@digest``. Raises CommandFailed and Interrupted."""
    if not rule.sign or not names:
        return
    argv = [COSIGN, "sign", "--yes", *names]
    output.command(shlex.join(argv))
    world, cancel = run.world, run.signals.cancel
    code = world.shell.run(argv, cwd=world.sources.root, env=world.environ, output=output, cancel=cancel)
    run.signals.check()
    if code:
        raise CommandFailed(f"{COSIGN} failed with exit code {code}", code=code)
