"""What a promotion requires of an image, held against the results that a registry has; sends and writes nothing."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgmake.executor.attesting import manifest_of
from imgmake.executor.run import Run, join
from imgmake.model import CheckRule, PublishRule
from imgmake.ports import Referrer, Remote
from imgmake.references import repository as repository_of

if TYPE_CHECKING:
    from imgmake.attest.results import Result


class Requirements:
    """Knows which results a registry holds about an image."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def missing(self, rule: PublishRule, subject: Remote) -> tuple[str, ...]:
        """What ``requires=`` of a rule asks of an image in a registry and is not there, a line each.

        A result counts when it is about this digest, or for an index about each of its manifests, has the content
        that its own digest says, and is no older than ``max_age`` of the check of its name here; a scan is good for
        a day unless said. Who wrote it is not known: that is what signatures are for. Raises RegistryError.
        """
        if not rule.requires:
            return ()
        held = _Held(self._run, subject)
        return tuple(line for one in rule.requires if (line := self._lacking(held, rule, one)))

    def _lacking(self, held: _Held, rule: PublishRule, one: str | CheckRule) -> str:
        name, check = self._check(rule, one)
        line = held.lack(name, check.max_age if check is not None else None)
        return f"{line}{self._meant(name)}" if line and check is None else line

    def _check(self, rule: PublishRule, one: str | CheckRule) -> tuple[str, CheckRule | None]:
        """The name in full of a check, under which its results are published, and its rule if it is one of ours."""
        if isinstance(one, CheckRule):
            return one.target, one
        full = one.removeprefix("//")
        for name in (full if full != one else join(rule.base, one), full):
            if isinstance(found := self._run.makers.get(name), CheckRule):
                return name, found
        return full, None

    def _meant(self, name: str) -> str:
        ours = [target for target, rule in self._run.makers.items() if isinstance(rule, CheckRule)]
        close = difflib.get_close_matches(name, ours, n=1, cutoff=0.6)
        return f" (did you mean {close[0]!r}?)" if close else ""


class _Held:
    """The results that a registry holds about one image, fetched as far as they are asked for."""

    def __init__(self, run: Run, subject: Remote) -> None:
        self._run = run
        self._now = run.world.clock.now()
        self._subject = subject.digest
        self._repository = repository_of(subject.reference)
        self._parts = [part for part in map(manifest_of, subject.images) if part != subject.digest]
        self._lists: dict[str, Sequence[Referrer]] = {}

    def lack(self, check: str, max_age: float | None) -> str:
        """What is missing of one check: said of the image itself, else of each manifest that it lists."""
        whole = self._about(self._subject, check)
        if whole or not self._parts or not all(self._parts):
            return self._lacking(check, whole, max_age)
        each = [self._lacking(check, self._about(part, check), max_age) for part in self._parts]
        return next((line for line in each if line), "")

    def _lacking(self, check: str, results: Sequence[Result], max_age: float | None) -> str:
        from imgmake.attest.required import lacking

        return lacking(check, results, max_age=max_age, now=self._now)

    def _about(self, digest: str, check: str) -> list[Result]:
        """Results of one check, the newest first, down to the newest good one: older ones change nothing."""
        from imgmake.attest.required import SKEW
        from imgmake.attest.results import Grade

        found = []
        for referrer in self._candidates(digest, check):
            result = self._read(digest, referrer)
            if result is not None and result.check == check:
                found.append(result)
                if result.grade is Grade.PASSED and result.time <= self._now + SKEW:
                    break
        return found

    def _candidates(self, digest: str, check: str) -> list[Referrer]:
        from imgmake import attest

        if digest not in self._lists:
            self._lists[digest] = self._run.world.registry().referrers(self._repository, digest)
        ours = [one for one in self._lists[digest] if one.artifact_type == attest.IN_TOTO]
        named = [one for one in ours if one.annotations.get(attest.CHECK, check) == check]
        return sorted(named, key=lambda one: one.annotations.get(attest.CREATED, "~"), reverse=True)

    def _read(self, digest: str, referrer: Referrer) -> Result | None:
        """A result that is about this very digest. An annotation is only a hint: what it says is not believed."""
        from imgmake.attest.results import read_result
        from imgmake.attest.statements import Unreadable, read

        artifact = self._run.world.registry().artifact(self._repository, referrer)
        try:
            statement = read(artifact.data)
            return read_result(statement) if statement.is_about(digest) else None
        except Unreadable:
            return None
