"""What `--list`, `--why` and `--plan` say, as text: models in, a string out. Asks nothing and prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from imgmake.model import Edge, Entry, Explanation, Field, Kind, Step, Verdict
from imgmake.reporters.style import Paint, because, one_line, plural

WIDEST = 40  # a longer name moves its own line only, not the column of all others

NO_PAINT = Paint(False)


def listing(entries: Sequence[Entry], paint: Paint = NO_PAINT) -> str:
    """One line a target: name, kind, status, help; the default is marked."""
    if not entries:
        return "no rules\n"
    width = _width(entry.target for entry in entries)
    return "".join(_entry(entry, width, paint) for entry in entries)


def _entry(entry: Entry, width: int, paint: Paint) -> str:
    status = f"{entry.status:10}"
    if entry.status == "stale":
        status = paint.yellow(status)
    elif entry.status == "up to date":
        status = paint.green(status)
    told = [one_line(line) for line in entry.help.strip().splitlines()[:1]] + ["(default)"] * entry.default
    name = paint.bold(f"{one_line(entry.target):{width}}")
    return f"{name}  {entry.kind.value:7}  {status}  {' '.join(told)}".rstrip() + "\n"


def why(explanations: Sequence[Explanation], paint: Paint = NO_PAINT) -> str:
    """A paragraph a target: the verdict with every reason, what it is now, its prerequisites with theirs."""
    return "\n".join(_explanation(each, paint) for each in explanations)


def _explanation(told: Explanation, paint: Paint) -> str:
    verdict = paint.yellow("stale") if told.verdict.stale else paint.green("up to date")
    note = f" ({one_line(told.verdict.note)})" if told.verdict.note else ""
    head = f"{paint.bold(one_line(told.target))} ({told.kind.value}, {told.place}) is {verdict}{note}"
    lines = [head + (":" if told.verdict.stale else "")]
    lines += [f"  {one_line(reason.text)}" for reason in told.verdict.reasons]
    if told.identity:
        lines.append(f"now: {one_line(told.identity)}")
    if told.prerequisites:
        lines += ["prerequisites:", *_prerequisites(told.prerequisites)]
    if told.inputs:
        lines.append(f"judged by: {_inputs(told.inputs)} (--json lists them)")
    return "\n".join(lines) + "\n"


def _prerequisites(prerequisites: Sequence[tuple[Edge, Verdict | None]]) -> list[str]:
    width = _width(edge.prerequisite for edge, _ in prerequisites)
    return [
        f"  {one_line(edge.prerequisite):{width}}  {_status(verdict):10}  {one_line(edge.why)}".rstrip()
        for edge, verdict in prerequisites
    ]


def _status(verdict: Verdict | None) -> str:
    if verdict is None:
        return "source"
    return "stale" if verdict.stale else "up to date"


def _inputs(inputs: Iterable[Field]) -> str:
    return ", ".join(plural(count, kind) for kind, count in Counter(field.kind for field in inputs).items())


def plan(steps: Sequence[Step], paint: Paint = NO_PAINT, tabled: Collection[str] = ()) -> str:
    """What would run, in order: each target with its reasons, and the equal command lines below it.

    tabled: publish rules of which a table says what becomes of each tag.
    """
    if not steps:
        return "nothing would run: everything is up to date\n"
    return "".join(_step(step, paint, step.target in tabled) for step in steps)


def _step(step: Step, paint: Paint, tabled: bool) -> str:
    maybe = "only if a prerequisite comes out different"
    reason = maybe if step.maybe else because(step.target, step.verdict.reasons)
    head = paint.bold(one_line(step.target)) + (paint.dim(f"  ({reason})") if reason else "")
    lines = [
        f"  {line}" for text in step.lines for line in text.splitlines() if not (tabled and _is_in_table(step, line))
    ]
    return "\n".join([head, *lines]) + "\n"


def _is_in_table(step: Step, line: str) -> bool:
    """Whether the table of tags says the same: two lines for each tag would bury it."""
    resumed = any(reason.code == "interrupted" for reason in step.verdict.reasons)
    return step.kind is Kind.PUBLISH and not resumed and line.startswith("docker ")


def _width(names: Iterable[str]) -> int:
    return max((len(name) for name in map(one_line, names) if len(name) <= WIDEST), default=0)
