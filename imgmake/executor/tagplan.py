"""The tags of publish rules: which they are, what each registry holds, and what is to become of each."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping

from imgmake import tags
from imgmake.errors import GraphError, ImgmakeError, UsageError
from imgmake.executor.run import BUILD_ID, Run
from imgmake.model import PublishRule, Semver
from imgmake.ports import Remote
from imgmake.references import is_made_of_digest, is_tag, normalise, tag_hint
from imgmake.tags import Holder, Ours, TagChange, Wanted

_MARK = "zzimgmakebuildidzz"  # stands for a BUILD_ID that nobody needed yet; no real tag holds it

Asked = Mapping[str, Wanted]
"""What a rule asks for, by reference."""
Held = Mapping[str, Remote | None]
"""What the registries hold, by reference."""


class TagPlan:
    """Works out the tags of publish rules; reads registries, and writes nothing."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def asked(self, rule: PublishRule, *, early: bool = False) -> Asked:
        """Every tag in every registry, expanded; a semantic version fans out by what each registry holds.

        With `early`, those that need a BUILD_ID are left out as long as nobody decided it. Raises UsageError.
        """
        found: dict[str, Wanted] = {}
        for to, tag in itertools.product(rule.to, rule.tags):
            if early and self._undecided(to, tag):
                continue
            repository = self._run.values.expand(to)
            for one in self._wanted(repository, tag):
                reference = f"{repository}:{one.tag}"
                if reference not in found or one.covers:  # `latest` beside a version is the version's
                    found[reference] = one
        return found

    def undecided(self, rule: PublishRule) -> bool:
        """Whether some tag of the rule waits for a BUILD_ID."""
        return any(self._undecided(to, tag) for to, tag in itertools.product(rule.to, rule.tags))

    def _undecided(self, to: str, tag: str | Semver) -> bool:
        return not self._run.build_id_if_known() and (self.is_unique(to) or self.is_unique(tag))

    def is_unique(self, text: str | Semver) -> bool:
        """Whether a text holds a BUILD_ID, also as the value of a variable."""
        if isinstance(text, Semver):
            return self.is_unique(text.version) or self.is_unique(text.suffix)
        return "BUILD_ID" in self._run.values.names(text) or BUILD_ID in self._run.template(text)

    def _wanted(self, repository: str, tag: str | Semver) -> tuple[Wanted, ...]:
        expand = self._run.values.expand
        if isinstance(tag, Semver):
            held = self._run.world.registry().tags(repository)
            return tags.of_version(expand(tag.version), expand(tag.suffix), tag.latest, held, self._variants())
        text = expand(tag)
        if not is_tag(text):  # of values that come late: the name of a branch, an empty VCS_TAG
            told = f"{tag} is {text!r}, which is no tag" if text else f"{tag} is empty"
            raise UsageError(f"tags: {told}", hint=tag_hint(text) if text else "is there no such tag or branch here?")
        if is_made_of_digest(text):
            raise UsageError(
                f"tags: under {text[:19]}… registries list what refers to an image", hint="give another tag"
            )
        return (tags.plain(text, build_id=self.is_unique(tag)),)

    def _variants(self) -> tuple[str, ...]:
        """Every suffix of a version that the Pipefile knows without asking anything."""
        rules = (rule for rule in self._run.pipeline.rules if isinstance(rule, PublishRule))
        found = (self._run.values.expand_known(tag.suffix) for r in rules for tag in r.tags if isinstance(tag, Semver))
        return tuple(sorted({suffix for suffix in found if "$" not in suffix}))

    def held(self, asked: Asked) -> Held:
        """What each reference holds now."""
        registry = self._run.world.registry()
        return {reference: registry.resolve(reference) for reference in asked}

    def changes(
        self, asked: Asked, held: Held, ours: Ours, same: Callable[[Remote, Wanted], bool | None]
    ) -> tuple[TagChange, ...]:
        """What becomes of each tag; `same` says whether what a registry holds is the image to be published."""
        return tuple(self._change(ref, one, held[ref], ours, same) for ref, one in asked.items())

    def _change(
        self,
        reference: str,
        wanted: Wanted,
        remote: Remote | None,
        ours: Ours,
        same: Callable[[Remote, Wanted], bool | None],
    ) -> TagChange:
        holder = Holder(remote.digest, same(remote, wanted), tags.origin(remote.images)) if remote else None
        repository = reference.removesuffix(f":{wanted.tag}")
        allowed = self._run.settings.allow_rollback
        return tags.change(wanted, repository, holder, ours, self._run.world.git.is_ancestor, rollback=allowed)

    # --- two rules that claim one tag -----------------------------------------------------------------------

    def claims(self, rules: Iterable[PublishRule]) -> Iterator[GraphError]:
        """An error for each two of these rules that would set one tag, however it is spelt."""
        rules = list(rules)
        owners: dict[str, PublishRule] = {}
        told: set[tuple[str, str]] = set()
        for rule in rules if len(rules) > 1 else ():
            for reference in self._claimed(rule):
                first = owners.setdefault(reference, rule)
                if first is not rule and (first.target, rule.target) not in told:
                    told.add((first.target, rule.target))
                    yield GraphError(
                        f"publish rules {first.target!r} and {rule.target!r} claim one tag, "
                        f"{reference.replace(_MARK, '$BUILD_ID')}",
                        place=rule.place,
                        hint=f"the first is at {first.place}; give each tags of its own, or ask for one of them",
                    )

    def _claimed(self, rule: PublishRule) -> Iterator[str]:
        """Every reference that a rule may set, in full; what cannot be expanded is told where it is used."""
        known = {"BUILD_ID": self._run.build_id_if_known() or _MARK}
        for to, tag in itertools.product(rule.to, rule.tags):
            try:
                repository = self._run.values.expand(to, extra=known)
                for name in self.names(tag, known):
                    yield normalise(f"{repository}:{name}")
            except ImgmakeError:
                continue

    def names(self, tag: str | Semver, known: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Every tag that one may come to, whatever a registry holds; `known` wins over the values of the run."""
        expand = functools.partial(self._run.values.expand, extra=known)
        if isinstance(tag, Semver):
            found = tags.of_version(expand(tag.version), expand(tag.suffix), tag.latest, ())
            return tuple(one.tag for one in found)
        return (expand(tag),)
