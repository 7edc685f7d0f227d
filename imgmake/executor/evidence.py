"""What a check showed, kept when it passes, so that it can go with the image however much later that is published."""

from __future__ import annotations

from collections.abc import Sequence

from imgmake.executor.masking import masked
from imgmake.executor.run import Run
from imgmake.fingerprint import digest
from imgmake.graph import Node
from imgmake.model import Field
from imgmake.ports import Evidence, Finding


def keep(run: Run, node: Node, fields: Sequence[Field], findings: Sequence[Finding], began: float) -> None:
    """Record what the recipe's commands found; `fields` are those that its success is recorded with.

    Nothing to tell is nothing to keep: most rules examine no image.
    """
    if not findings:
        return
    run.world.state.add_evidence(
        Evidence(
            target=node.id,
            inputs=digest(fields),
            configuration=digest([field for field in fields if field.kind != "image"]),
            files=tuple((field.name, field.value) for field in fields if field.kind == "file"),
            images=tuple(sorted({field.value for field in fields if field.kind == "image" and field.value})),
            findings=tuple(_clean(run, finding) for finding in findings),
            began=began,
            time=run.world.clock.now(),
        )
    )


def _clean(run: Run, finding: Finding) -> Finding:
    mask = run.values.mask
    return finding._replace(
        tool=mask(finding.tool),
        version=mask(finding.version),
        summary=mask(finding.summary),
        details=masked(finding.details, mask),
    )
