"""Who hears what happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from imgmake.model import Outcome, Verdict
from imgmake.ports.running import Output


class Reporter(Protocol):
    """Hears what happens, as events; the only one that prints."""

    def output(self, target: str) -> Output: ...

    def planned(self, targets: Sequence[str]) -> None: ...

    def started(self, target: str, verdict: Verdict) -> None: ...

    def sent(self, target: str) -> None:
        """A publication is in its registries; its tags wait for the others', and until then it says nothing."""

    def finished(self, outcome: Outcome) -> None: ...

    def would_run(self, target: str, verdict: Verdict, lines: Sequence[str]) -> None:
        """Dry run: the target is stale, and these lines would run."""

    def note(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def summary(self, outcomes: Sequence[Outcome], *, interrupted: bool = False) -> None: ...
