"""What `--json` says of a list, an explanation, a plan or a graph: one JSON document. Shapes only, no judgement."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from imgmake.errors import Place
from imgmake.model import Edge, Entry, Explanation, Kind, Reason, Step, Verdict
from imgmake.reporters.errors import as_json
from imgmake.tags import PlannedTags


def listing(entries: Sequence[Entry]) -> str:
    return _document([_entry(entry) for entry in entries])


def why(explanations: Sequence[Explanation]) -> str:
    return _document([_explanation(each) for each in explanations])


def plan(
    steps: Sequence[Step],
    tags: Sequence[PlannedTags] = (),
    refused: Sequence[BaseException] = (),
) -> str:
    return _document(
        {
            "steps": [
                {
                    "target": step.target,
                    "kind": step.kind.value,
                    "maybe": step.maybe,
                    "reasons": _reasons(step.verdict.reasons),
                    "lines": list(step.lines),
                }
                for step in steps
            ],
            "tags": [
                {"target": one.target, **change._asdict(), "in_registry": one.in_registry}
                for one in tags
                for change in one.changes
            ],
            "errors": [told for error in refused for told in as_json(error)],
        }
    )


def graph(nodes: Sequence[tuple[str, Kind]], edges: Sequence[Edge]) -> str:
    return _document(
        {
            "nodes": [{"target": target, "kind": kind.value} for target, kind in nodes],
            "edges": [edge._asdict() for edge in edges],
        }
    )


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "target": entry.target,
        "kind": entry.kind.value,
        "status": entry.status,
        "default": entry.default,
        "help": entry.help,
        "place": _place(entry.place),
        "reasons": _reasons(entry.reasons),
    }


def _explanation(told: Explanation) -> dict[str, Any]:
    return {
        "target": told.target,
        "kind": told.kind.value,
        "place": _place(told.place),
        "identity": told.identity,
        **_verdict(told.verdict),
        "prerequisites": [
            {
                "target": edge.prerequisite,
                "why": edge.why,
                "order_only": edge.order_only,
                **(_verdict(verdict) if verdict is not None else {}),
            }
            for edge, verdict in told.prerequisites
        ],
        "inputs": [field._asdict() for field in told.inputs],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {"stale": verdict.stale, "note": verdict.note, "reasons": _reasons(verdict.reasons)}


def _reasons(reasons: Iterable[Reason]) -> list[dict[str, str]]:
    return [reason._asdict() for reason in reasons]


def _place(place: Place) -> dict[str, Any]:
    return place._asdict()


def _document(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
