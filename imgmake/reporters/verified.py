"""What `--verify` says, as text and as JSON: a verification in, a string out. Judges nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from imgmake.attest.provenance import Origin
from imgmake.attest.results import Grade, Result
from imgmake.attest.verification import Verification, Verified
from imgmake.freshness import age, short
from imgmake.reporters.style import Paint, one_line

__all__ = ["Verification", "Verified", "document", "text"]

NO_PAINT = Paint(False)
_WIDTH = 10


def text(told: Sequence[Verification], paint: Paint = NO_PAINT) -> str:
    """A paragraph an image: where it comes from, what it passed, what is missing or wrong."""
    return "\n".join("\n".join(_paragraph(each, paint)) + "\n" for each in told)


def _paragraph(told: Verification, paint: Paint) -> Iterator[str]:
    platforms = one_line(", ".join(told.platforms))
    yield paint.bold(one_line(told.reference)) + f" is {told.digest}" + (f" ({platforms})" if platforms else "")
    for name, lines in _sections(told, paint):
        for i, line in enumerate(lines):
            yield f"  {name if i == 0 else '':{_WIDTH}}  {one_line(line) if name not in _PAINTED else line}"


_PAINTED = frozenset({"missing", "wrong"})


def _sections(told: Verification, paint: Paint) -> Iterator[tuple[str, Sequence[str]]]:
    if told.origin is not None:
        yield from _origin(told.origin, told.now)
    if told.seals and len(told.seals) == len(told.platforms):
        yield "stamp", ["it matches the content"]
    for grade in Grade:
        yield grade.lower(), [_result(each, told) for each in told.results if each.grade is grade]
    yield "SBOM", [f"{each.kind} ({short(each.digest)})" for each in told.sboms]
    yield "signature", ["present, not verified: `cosign verify` does that"] if told.signatures else ["none"]
    yield "missing", [paint.yellow(one_line(line)) for line in told.lacks]
    yield "wrong", [paint.red(one_line(line)) for line in told.problems]


def _origin(origin: Origin, now: float) -> Iterator[tuple[str, Sequence[str]]]:
    tree = {True: "a tree that was dirty", False: "a clean tree", None: "a tree of which nothing is known"}
    commit = f"commit {origin.revision}" if origin.revision else "no commit"
    yield "source", [commit + (f" of {origin.source}" if origin.source else ""), tree[origin.dirty]]
    yield "rule", [_target(origin.pipefile, *each) for each in origin.targets]
    yield "base", [f"{name} ({digest})" for name, digest in origin.bases]
    tools = [f"{name} {version}" for name, version in sorted(origin.versions.items()) if name != "builder"]
    when = f", {age(now - origin.finished)} ago ({_time(origin.finished)})" if origin.finished else ""
    name = f"{origin.build_id} " if origin.build_id else ""
    yield "built", [f"{name}by {', '.join([origin.builder, *tools])}{when}"]


def _target(pipefile: str, target: str, dockerfile: str, stage: str) -> str:
    return f"{target} of {pipefile}, from {dockerfile}" + (f", stage {stage}" if stage else "")


def _result(result: Result, told: Verification) -> str:
    width = max(len(each.check) for each in told.results)
    tools = ", ".join(" ".join(part for part in (name, _version(v)) if part) for name, v, _ in result.tools)
    when = f"{age(told.now - result.time)} ago"
    only = f"  on {', '.join(result.platforms)} only" if 0 < len(result.platforms) < len(told.platforms) else ""
    return f"{result.check:{width}}  {tools}  {when}{only}"


def _version(version: str) -> str:
    return short(version) if version.startswith("sha256:") else version


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def document(told: Sequence[Verification]) -> str:
    """One JSON document: a list, an object an image."""
    return json.dumps([_object(each) for each in told], indent=2) + "\n"


def _object(told: Verification) -> dict[str, Any]:
    verdict = {0: "consistent", 1: "incomplete", 2: "contradictory"}[told.exit_code]
    return {
        "reference": told.reference,
        "digest": told.digest,
        "verdict": verdict,
        "platforms": list(told.platforms),
        "origin": told.origin._asdict() if told.origin else None,
        "stamps": [seal.model_dump(include={"fingerprint", "content", "metadata", "time"}) for seal in told.seals],
        "results": [{**each._asdict(), "age": told.now - each.time} for each in told.results],
        "sboms": [each._asdict() for each in told.sboms],
        "signatures": [each._asdict() for each in told.signatures],
        "lacks": list(told.lacks),
        "problems": list(told.problems),
    }
