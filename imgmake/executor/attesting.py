"""What goes with a published image: results of its checks, its SBOMs, and where it comes from.

One set of statements for what a tag names. Of an index that is the index: its digest is what consumers resolve and
what `cosign` signs, so what refers to it is found by everybody; each platform's manifest is a subject beside it, and
a result says which of them were examined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from imgmake import stamp
from imgmake.errors import RegistryError
from imgmake.executor import inputs
from imgmake.executor.publication import Publication
from imgmake.executor.run import Run, join
from imgmake.fingerprint import digest as digest_of
from imgmake.imagerule import context_folder, dockerfile_path, platforms
from imgmake.model import CheckRule, FileRule, ImageRule, PublishRule, Reason, Rule
from imgmake.ports import Artifact, Evidence, Image
from imgmake.references import repository as repository_of
from imgmake.stamp import Stamp

if TYPE_CHECKING:
    from imgmake.attest.provenance import Build
    from imgmake.attest.statements import Resource


@dataclass(frozen=True)
class Manifest:
    """One platform's image of a publication: its manifest's digest, and everything that it is known by."""

    digest: str
    platform: str
    image: Image

    @cached_property
    def seal(self) -> Stamp | None:
        """Its own stamp: a registry may hold another build of the same."""
        return stamp.read(self.image)

    @cached_property
    def names(self) -> frozenset[str]:
        """What results of checks call it."""
        return frozenset({self.image.id} | ({self.seal.content} if self.seal else set()))


class Attesting:
    """Makes the statements of a publication. No tag is read or written."""

    def __init__(self, run: Run) -> None:
        self._run = run

    # --- what is sent ---------------------------------------------------------------------------------------

    def artifacts(self, publication: Publication, digest: str) -> tuple[Artifact, ...]:
        """All that is to be pushed beside `digest`, which the registries have by now. Raises RegistryError."""
        from imgmake.attest.statements import subjects

        rule = _rule_of(publication)
        if not rule.evidence:
            return ()
        evidence = list(self._evidence(rule))
        if not evidence and not self._local(rule):
            return ()
        manifests = self._manifests(publication, digest)
        subject = subjects(_repositories(publication)[0], [digest, *(m.digest for m in manifests if m.digest)])
        found = [each for one in evidence for each in self._told(one, subject, manifests)]
        if builds := self._builds(rule, manifests):
            from imgmake.attest.provenance import write_provenance

            found.append(write_provenance(subject, builds))
        return tuple(found)

    def _told(
        self, evidence: Evidence, subject: Sequence[Resource], manifests: Sequence[Manifest]
    ) -> Iterator[Artifact]:
        from imgmake import attest
        from imgmake.attest.results import Examined, write_result
        from imgmake.metadata import rfc_3339

        for finding in evidence.findings:
            if finding.document:
                told = {attest.CHECK: evidence.target, attest.CREATED: rfc_3339(evidence.time)}
                yield Artifact(finding.media_type, finding.document, told)
        if isinstance(self._run.node(evidence.target).rule, CheckRule):
            seen = [m for m in manifests if m.names & set(evidence.images)]
            yield write_result(evidence, subject, [Examined(m.digest, m.platform) for m in seen if m.digest])

    def _manifests(self, publication: Publication, digest: str) -> list[Manifest]:
        images = publication.source.images if publication.source is not None else publication.images
        if len(images) == 1:
            return [Manifest(digest, _platform(images[0]), images[0])]
        if publication.source is None:
            name = f"{_repositories(publication)[0]}@{digest}"
            held = self._run.world.registry().resolve(name)
            if held is None:
                raise RegistryError(f"{name} was sent, and is not there")
            images = held.images
        return [Manifest(manifest_of(image), _platform(image), image) for image in images]

    # --- results of checks ----------------------------------------------------------------------------------

    def checks(self, rule: PublishRule) -> tuple[str, ...]:
        """The checks whose results go with the images: those that the rule needs, and those that its images do."""
        nodes = [rule.target, *(name for name, _ in self._image_nodes(rule))]
        edges = [edge for name in nodes for edge in self._run.graph.edges[name]]
        names = [name for edge in edges for name in inputs.behind(self._run, edge.prerequisite)]
        return tuple(name for name in dict.fromkeys(names) if isinstance(self._run.node(name).rule, CheckRule))

    def _evidence(self, rule: PublishRule) -> Iterator[Evidence]:
        """What the passes that count now showed, and the newest SBOM that a file rule made of these images."""
        contents = {name for one in self._local(rule) for name in one.names}
        for name in (*self.checks(rule), *self._documenting(rule)):
            fields = self._run.passes.get(name)
            if fields is None and self._granted(name):
                continue
            wanted = digest_of(fields) if fields is not None else None
            for each in self._run.world.state.evidence(name):
                # Ahead of time a check is not judged yet: if it is stale it will run, and all of this be asked anew.
                if each.inputs == wanted if wanted is not None else contents & set(each.images):
                    yield each
                    break

    def _granted(self, name: str) -> bool:
        """Whether a check that was not judged never will be: an old pass may have been followed by a failure."""
        over = not self._run.predicting or name in self._run.settings.wish.old
        return over and isinstance(self._run.node(name).rule, CheckRule)

    def _documenting(self, rule: PublishRule) -> Iterator[str]:
        """File rules that read an image of the rule: what they found of it is as good as a check's."""
        for other in self._run.pipeline.rules:
            if isinstance(other, FileRule) and any(self._reads(other, image) for image in rule.images):
                yield other.target

    def _reads(self, rule: Rule, image: object) -> bool:
        reads = [read for step in self._run.recipe(rule) for read in step.reads() if read.kind == "image"]
        return any(read.what is image for read in reads)

    def _local(self, rule: PublishRule) -> list[Manifest]:
        found = [self._run.images.get(name) for name, _ in self._image_nodes(rule)]
        return [Manifest("", _platform(one[0]), one[0]) for one in found if one is not None]

    # --- where the images come from -------------------------------------------------------------------------

    def _builds(self, rule: PublishRule, manifests: Sequence[Manifest]) -> list[Build]:
        """How each image was made; nothing when one of them bears no stamp, as then nobody knows."""
        found = []
        for name, made in self._image_nodes(rule):
            held, seal = self._run.images.get(name) or (None, None)
            mine = {held.id, seal.content} if held is not None and seal is not None else set()
            for manifest in manifests:
                if manifest.seal is not None and manifest.names & mine:
                    found.append(self._build(name, made, manifest, manifest.seal))
        return found if len(found) >= len(manifests) else []

    def _build(self, name: str, rule: ImageRule, manifest: Manifest, seal: Stamp) -> Build:
        from imgmake.attest.provenance import Build

        record = self._run.world.state.record(name)
        fields = record.fields if record is not None and digest_of(record.fields) == seal.fingerprint else ()
        mask = self._run.values.mask
        return Build(
            digest=manifest.digest,
            platform=manifest.platform,
            seal=seal,
            target=rule.target,
            pipefile=join(rule.base, rule.place.file.rpartition("/")[2]),
            dockerfile=dockerfile_path(rule),
            context=context_folder(rule),
            stage=self._run.values.expand(rule.stage) if rule.stage else "",
            arguments={each.name: mask(each.value) for each in fields if each.kind == "argument"},
            inputs=fields,
        )

    def _image_nodes(self, rule: PublishRule) -> Iterator[tuple[str, ImageRule]]:
        for image in rule.images:
            made = image if isinstance(image, ImageRule) else self._run.rule_of(str(image))
            if made is not None:
                yield from ((name, made) for name, _ in platforms(made, self._run.native))

    # --- what is new beside tags that stay -----------------------------------------------------------------

    def news(self, publication: Publication) -> tuple[Reason, ...]:
        """Results that the registry does not hold, though every tag stays: of a check that is new, or passed anew.

        One request, and only for a rule with results of its own. Only the first registry is asked, as all of them
        are sent the same.
        """
        rule = _rule_of(publication)
        found = list(self._evidence(rule)) if rule.evidence else []
        held = next((change for change in publication.changes if change.before), None)
        if not found or held is None:
            return ()
        known = self._run.world.registry().referrers(repository_of(held.reference), held.before)
        reasons = (self._new(one, [each.annotations for each in known]) for one in found)
        return tuple(Reason(text, "changed") for text in reasons if text)

    def _new(self, one: Evidence, known: Sequence[Mapping[str, str]]) -> str:
        """What is new about a result; nothing where another machine's says as much."""
        from imgmake import attest
        from imgmake.metadata import rfc_3339

        told = [each for each in known if each.get(attest.CHECK) == one.target]
        if not told:
            return f"result of {one.target} is not there"
        last = max(each.get(attest.CREATED, "") for each in told)
        newest = {each.get(attest.CONFIGURATION) for each in told if each.get(attest.CREATED, "") == last} - {None}
        other = bool(newest) and one.configuration not in newest
        newer = last < rfc_3339(one.time) and (other or self._grows_old(one.target))
        return f"newer result of {one.target}" if newer else ""

    def _grows_old(self, target: str) -> bool:
        rule = self._run.node(target).rule
        return isinstance(rule, CheckRule) and rule.max_age is not None

    def renew(self, publication: Publication) -> list[str]:
        """Push what is new beside images whose tags all stay: ``repository@digest`` of it. Raises RegistryError."""
        registry, cancel = self._run.world.registry(), self._run.signals.cancel
        held = dict.fromkeys((repository_of(c.reference), c.before) for c in publication.changes if c.before)
        new = []
        for repository, digest in held:
            known = {each.digest for each in registry.referrers(repository, digest, cancel=cancel)}
            sent = [registry.attach(repository, digest, a, cancel=cancel) for a in self.artifacts(publication, digest)]
            new += [f"{repository}@{each}" for each in sent if each not in known]
        return new


def _rule_of(publication: Publication) -> PublishRule:
    rule = publication.node.rule
    assert isinstance(rule, PublishRule)
    return rule


def _repositories(publication: Publication) -> list[str]:
    return list(dict.fromkeys(repository_of(change.reference) for change in publication.changes))


def _platform(image: Image) -> str:
    return "/".join(part for part in (image.os, image.architecture, image.variant) if part)


def manifest_of(image: Image) -> str:
    """The digest of the manifest that a registry's image came with."""
    return next((digest.rpartition("@")[2] for digest in image.digests), "")
