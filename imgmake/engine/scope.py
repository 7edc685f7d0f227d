"""What one run makes in the engine, and that all of it goes again: containers, volumes, networks.

Everything bears the label of the process that made it (`commands.owner`), so that what a killed process
left can be told from what is in use. Knows nothing of what the containers do.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import docker.errors

from imgmake.commands import owner
from imgmake.errors import Interrupted
from imgmake.ports import Cancel

GRACE = 2  # seconds between SIGTERM and SIGKILL when a run is stopped

_swept: weakref.WeakSet[Any] = weakref.WeakSet()  # clients: what is left of earlier runs is looked for once
_sweeping = threading.Lock()


class Scope:
    """Makes things and, at its end, removes them, the newest first. On a stop its containers are stopped."""

    def __init__(self, client: Any, cancel: Cancel) -> None:
        self.client = client
        self.cancel = cancel
        self.labels = {owner.LABEL: owner.own()}
        self._running: list[Any] = []
        self._stoppers: list[threading.Thread] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Scope:
        self._stack.callback(self._join)
        self._stack.callback(self.cancel.on_stop(self._stop_soon))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def go_on(self) -> None:
        """Raise Interrupted when the run was stopped."""
        if self.cancel.stopped:
            raise Interrupted("the container was stopped")

    def container(self, image: str, command: Any = None, **create: Any) -> Any:
        """A new container, not started; anonymous volumes go with it."""
        self.go_on()
        labels = {**create.pop("labels", {}), **self.labels}
        container = self.client.containers.create(image, command, labels=labels, **create)
        self._stack.callback(_quietly, lambda: container.remove(v=True, force=True))
        return container

    def start(self, container: Any) -> None:
        """Start a container, unless the run was stopped; a stop from now on reaches it."""
        self.go_on()
        container.start()
        self._running.append(container)
        if self.cancel.stopped:  # meanwhile: the stop may have come too early to see it
            self._stop_soon()

    def volume(self) -> str:
        """The name of a new volume."""
        volume = self.client.volumes.create(labels=self.labels)
        self._stack.callback(_quietly, lambda: volume.remove(force=True))
        return str(volume.name)

    def network(self) -> Any:
        """A new private network."""
        name = f"imgmake-{secrets.token_hex(6)}"
        network = self.client.networks.create(name, labels=self.labels)
        self._stack.callback(_quietly, network.remove)
        return network

    def _stop_soon(self) -> None:
        # Not here: who stops the run must not wait for one container after another.
        self._stoppers.append(threading.Thread(target=self._stop_all, daemon=True))
        self._stoppers[-1].start()

    def _stop_all(self) -> None:
        for container in reversed(self._running):
            _quietly(functools.partial(container.stop, timeout=GRACE))

    def _join(self) -> None:
        for stopper in self._stoppers:
            stopper.join()


def _quietly(remove: Callable[[], object]) -> None:
    """Remove what may be gone already, or just going (409)."""
    with contextlib.suppress(docker.errors.APIError):
        remove()


# --- leftovers ------------------------------------------------------------------------------------------------


def sweep(client: Any, wanted: Callable[[str], bool]) -> None:
    """Remove all that bears an owner's label for which `wanted` says yes; an image only when it has no name."""
    everything = {"label": owner.LABEL}
    for container in client.containers.list(all=True, filters=everything, ignore_removed=True):
        if not _of_a_users_image(container):
            _remove_if(container, wanted, v=True, force=True)
    for volume in client.volumes.list(filters=everything):
        _remove_if(volume, wanted, force=True)
    for network in client.networks.list(filters=everything):
        _remove_if(network, wanted)
    _remove_images(client, wanted)


def _remove_images(client: Any, wanted: Callable[[str], bool]) -> None:
    """Children first: an image with a child is listed, and can be removed, when that is gone. A user's tag stays."""
    tried: set[str] = set()
    while True:
        # Not client.images.list: that looks at each image again, and fails when one has gone meanwhile.
        found = client.api.images(filters={"label": owner.LABEL})
        left = [i for i in found if i["Id"] not in tried and wanted(_label(i)) and _is_unnamed(_names(i))]
        if not left:
            return
        for image in left:
            tried.add(image["Id"])
            for name in _names(image) or [image["Id"]]:
                _quietly(functools.partial(client.images.remove, name, noprune=True))


def _label(image: dict[str, Any]) -> str:
    return str((image["Labels"] or {}).get(owner.LABEL, ""))


def _names(image: dict[str, Any]) -> list[str]:
    return [tag for tag in image["RepoTags"] or () if tag != "<none>:<none>"]


def _of_a_users_image(container: Any) -> bool:
    """Whether the label came with an image to which a user gave a name, by ``docker commit`` of one of ours."""
    try:
        image = container.image
    except docker.errors.APIError:
        return False
    return owner.LABEL in image.labels and not _is_unnamed(image.tags)


def _is_unnamed(tags: Iterable[str]) -> bool:
    return all(tag.startswith(f"{owner.MARKED}:") for tag in tags)


def sweep_once(client: Any) -> None:
    """Sweep what dead processes of this machine left, the first time that a client is used."""
    with _sweeping:
        if client in _swept:
            return
        _swept.add(client)
    sweep(client, lambda found: not owner.alive(found))


def _remove_if(thing: Any, wanted: Callable[[str], bool], **how: bool) -> None:
    labels = thing.labels if hasattr(thing, "labels") else thing.attrs.get("Labels")
    if wanted((labels or {}).get(owner.LABEL, "")):
        _quietly(lambda: thing.remove(**how))
