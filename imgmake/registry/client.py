"""The port `Registry`: references in, answers out; what lies beneath is wired here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence

from imgmake.errors import InvalidReference
from imgmake.ports import Artifact, Cancel, Engine, Image, Output, Referrer, Remote, Shell
from imgmake.references import DEFAULT_TAG, Reference, is_made_of_digest, parse
from imgmake.registry.copying import Copy
from imgmake.registry.faults import Place
from imgmake.registry.images import Known
from imgmake.registry.images import images as read_images
from imgmake.registry.referrers import Alone, Lists, content, not_alone
from imgmake.registry.referrers import referrers as list_referrers
from imgmake.registry.repository import Repository
from imgmake.registry.sending import Memory, Send
from imgmake.registry.tagging import remove_tag, set_tag
from imgmake.registry.transport import Errand, Transport, silent


class RegistryClient:
    """Every registry that a reference can name, with credentials, certificates and proxies as docker has them.

    Args:
        environ: the user's environment: HOME, DOCKER_CONFIG, SSL_CERT_FILE, XDG_CONFIG_HOME, the proxies.
        shell: runs credential helpers; without it a configuration that names one is an error.
        remember: keeps across runs how layers were packed (diff ID to digest, size, compression), so that an
            unchanged layer is not packed again even for a repository without tags; may be lost at any time.
        alone: a lock by name for all runs of this machine: held while a list of what refers to an image is written.
        tell: hears of waiting and of tries that failed, where a call names no output of its own.
        pause: seconds before the second of four tries.
        settle: seconds after which such a list is read again, in case another machine wrote it meanwhile.

    Every method raises RegistryError (registry, repository, cause, what to do), InvalidReference, and
    Interrupted once `cancel` is stopped. Methods may be called from several threads.

    Example:
        >>> client = RegistryClient({})
        >>> client.close()
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        shell: Shell | None = None,
        *,
        remember: MutableMapping[str, str] | None = None,
        alone: Alone = not_alone,
        tell: Callable[[str], None] = silent,
        pause: float = 0.25,
        settle: float = 0.1,
    ) -> None:
        self._transport = Transport(environ, shell, pause=pause)
        self._lists = Lists(alone, settle=settle)
        self._known: Known = {}
        self._memory = Memory(remember)
        self._tell = tell

    def close(self) -> None:
        """Close what connections are open; a later call opens new ones."""
        self._transport.close()

    def resolve(self, reference: str, *, cancel: Cancel | None = None) -> Remote | None:
        """What a tag or digest names, each platform's configuration read and verified; None when it is not there."""
        name = parse(reference)
        repository = self.repository(name, cancel)
        manifest = repository.get_manifest(name.digest or name.tag or DEFAULT_TAG)
        if manifest is None:
            return None
        return Remote(reference, manifest.digest, manifest.media_type, read_images(repository, manifest, self._known))

    def tags(self, repository: str, *, cancel: Cancel | None = None) -> Sequence[str]:
        """The tags of a repository, in the registry's order; empty when it does not exist.

        Tags that are made of a digest, and hold what refers to an image, are left out: they name no image.
        """
        found = self.repository(parse(repository), cancel).tags()
        return tuple(tag for tag in found if not is_made_of_digest(tag))

    def digest(self, reference: str, *, cancel: Cancel | None = None) -> str | None:
        """The digest that a tag stands for now, in one request; None when there is no such tag."""
        name = parse(reference)
        return self.repository(name, cancel).manifest_digest(name.digest or name.tag or DEFAULT_TAG)

    # --- by digest --------------------------------------------------------------------------------------------

    def send(
        self,
        engine: Engine,
        images: Sequence[Image],
        repositories: Sequence[str],
        *,
        near: Sequence[str] = (),
        output: Output,
        cancel: Cancel | None = None,
    ) -> str:
        """Bring images of the engine to each repository by digest, several as one index; no tag is set.

        Only what a registry lacks is exported, packed and sent. `near` are tags (``registry/app:1.2``) that are
        likely to share layers. Returns the digest of what is to be tagged, the same everywhere.
        """
        destinations = self._repositories(repositories, cancel, output)
        beside = [(self.repository(name, cancel), name.tag) for name in map(parse, near) if name.tag]
        return Send(engine, images, destinations, beside, self._memory, output, cancel or Cancel()).run()

    def copy(
        self,
        source: Remote,
        repositories: Sequence[str],
        *,
        referrers: bool = False,
        output: Output,
        cancel: Cancel | None = None,
    ) -> None:
        """Bring a manifest or index with all that it names to each repository, byte for byte; no tag is set.

        With `referrers`, what refers to it, and to what an index lists, goes along.
        """
        origin = self.repository(parse(source.reference), cancel, output)
        for target in self._repositories(repositories, cancel, output):
            Copy(origin, target, self._lists, output, cancel or Cancel()).run(source.digest, referrers=referrers)

    # --- tags -------------------------------------------------------------------------------------------------

    def set_tag(self, reference: str, digest: str, *, before: str | None, cancel: Cancel | None = None) -> bool:
        """Point a tag that holds `before` at a manifest of its repository; False when it did so already.

        It is read before the write and after it; raises TagMoved when it is neither `before` nor `digest`.
        """
        name = _tagged(reference)
        return set_tag(self.repository(name, cancel), name.tag, digest, before)

    def remove_tag(self, reference: str, *, holds: str, cancel: Cancel | None = None) -> bool:
        """Remove a tag that holds this digest, never the manifest; False where the registry cannot do that."""
        name = _tagged(reference)
        return remove_tag(self.repository(name, cancel), name.tag, holds)

    # --- what refers to a manifest ----------------------------------------------------------------------------

    def attach(self, repository: str, subject: str, artifact: Artifact, *, cancel: Cancel | None = None) -> str:
        """Push what refers to the manifest `subject`; the same again is no second one. Returns its digest."""
        return self._lists.attach(self.repository(parse(repository), cancel), subject, artifact)

    def referrers(self, repository: str, subject: str, *, cancel: Cancel | None = None) -> Sequence[Referrer]:
        """What refers to a manifest, by the registry's own list or the fallback tag (distribution-spec 1.1)."""
        return list_referrers(self._lists, self.repository(parse(repository), cancel), subject)

    def artifact(self, repository: str, referrer: Referrer, *, cancel: Cancel | None = None) -> Artifact:
        """The content of one referrer, verified."""
        return content(self.repository(parse(repository), cancel), referrer)

    # --- places -----------------------------------------------------------------------------------------------

    def repository(self, name: Reference, cancel: Cancel | None = None, output: Output | None = None) -> Repository:
        """The single calls on one repository; `output` hears of waiting and of tries that failed."""
        errand = Errand(cancel or Cancel(), output.note if output else self._tell)
        return Repository(self._transport, Place(name.domain, name.path), errand)

    def _repositories(self, names: Sequence[str], cancel: Cancel | None, output: Output) -> list[Repository]:
        """Each once, however it is spelt."""
        wanted = dict.fromkeys((name.domain, name.path) for name in map(parse, names))
        return [self.repository(Reference(domain, path), cancel, output) for domain, path in wanted]


def _tagged(reference: str) -> Reference:
    name = parse(reference)
    if name.digest:
        raise InvalidReference(f"{reference!r} is a digest, and only a tag can be set")
    return name._replace(tag=name.tag or DEFAULT_TAG)
