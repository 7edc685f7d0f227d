"""The port `Registry`: references in, answers out; what lies beneath is wired here."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

from imgmake.errors import InvalidReference
from imgmake.ports import Cancel, Engine, Image, Output, Remote, Shell
from imgmake.references import DEFAULT_TAG, Reference, parse
from imgmake.registry.copying import copy_manifest
from imgmake.registry.faults import Place
from imgmake.registry.images import images as read_images
from imgmake.registry.push import Memory, Push
from imgmake.registry.repository import Repository
from imgmake.registry.transport import Transport


class RegistryClient:
    """Every registry that a reference can name, with credentials, certificates and proxies as docker has them.

    Args:
        environ: the user's environment: HOME, DOCKER_CONFIG, SSL_CERT_FILE, XDG_CONFIG_HOME, the proxies.
        shell: runs credential helpers; without it a configuration that names one is an error.
        remember: keeps across runs how layers were packed (diff ID to digest, size, compression), so that an
            unchanged layer is not packed again even for a repository without tags; may be lost at any time.
        pause: seconds before the second of four tries.

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
        pause: float = 0.25,
    ) -> None:
        self._transport = Transport(environ, shell, pause=pause)
        self._memory = Memory(remember)

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
        return Remote(reference, manifest.digest, manifest.media_type, read_images(repository, manifest))

    def tags(self, repository: str, *, cancel: Cancel | None = None) -> Sequence[str]:
        """Every tag of a repository, in the registry's order; empty when it does not exist."""
        return self.repository(parse(repository), cancel).tags()

    def push(
        self,
        engine: Engine,
        images: Sequence[Image],
        references: Sequence[str],
        *,
        output: Output,
        cancel: Cancel | None = None,
    ) -> str:
        """Send images of the engine to every reference; several make one index. Returns the digest that tags name.

        Only what a registry lacks is exported, packed and sent; tags are set last, each read back.
        """
        destinations = self._grouped(references, cancel)
        return Push(engine, images, destinations, self._memory, output, cancel or Cancel()).run()

    def retag(self, source: Remote, references: Sequence[str], *, output: Output, cancel: Cancel | None = None) -> None:
        """Set tags on what a registry has; for another repository it is copied there first, byte for byte."""
        origin = self.repository(parse(source.reference), cancel)
        for target, tags in self._grouped(references, cancel).items():
            manifest = copy_manifest(origin, target, source.digest)
            for tag in tags:
                moved = target.put_manifest(tag, manifest)
                output.note(f"tag {target}:{tag} -> {manifest.digest}{'' if moved else ' (as it was)'}")

    def repository(self, name: Reference, cancel: Cancel | None = None) -> Repository:
        """The single calls on one repository, for what is not a whole push."""
        return Repository(self._transport, Place(name.domain, name.path), cancel or Cancel())

    def _grouped(self, references: Sequence[str], cancel: Cancel | None) -> dict[Repository, list[str]]:
        grouped: dict[Reference, list[str]] = {}
        for reference in references:
            name = parse(reference)
            if name.digest:
                raise InvalidReference(f"{reference!r} is a digest, and only a tag can be set")
            tags = grouped.setdefault(name._replace(tag=""), [])
            if (tag := name.tag or DEFAULT_TAG) not in tags:
                tags.append(tag)
        return {self.repository(name, cancel): tags for name, tags in grouped.items()}
