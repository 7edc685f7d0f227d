"""The docker SDK's client: how one is made, how its exceptions become ours, and pulling. Imported only when needed."""

from __future__ import annotations

import contextlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import docker
import docker.errors
import docker.tls
import docker.types
import docker.utils.config
import requests
import urllib3

from imgmake.engine.hosts import Host
from imgmake.engine.images import split
from imgmake.engine.wire import UnixWire, send, unavailable
from imgmake.errors import EngineError, EngineUnavailable, ImgmakeError, Interrupted, InvalidReference
from imgmake.ports import Cancel, Output

_BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
_LAYER_DONE = ("Pull complete", "Already exists")  # of a layer's many states, the ones that end it


def connect(host: Host) -> docker.DockerClient:
    """A client that waits as long as a build or a container takes. Raises EngineUnavailable."""
    if host.socket:  # fail clearly first: the SDK would leave a socket open, and wrap the cause three times
        send(UnixWire(host), "GET", "/_ping")
    if host.url.startswith("ssh://") and find_spec("paramiko") is None:
        raise EngineUnavailable(f"the engine at {host.url} is reached with paramiko", hint="pip install 'docker[ssh]'")
    with mapped(host), _readable():
        return docker.DockerClient(
            base_url=host.url,
            version="auto",
            timeout=None,
            tls=_tls(host),
            use_ssh_client=host.url.startswith("ssh://"),
        )


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """The SDK reads docker's configuration, and stumbles over what a slip makes of it. Nothing in it is shown."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, docker.errors.InvalidConfigFile):
        path = docker.utils.config.find_config_file()
        raise EngineError(f"{path} is no configuration of docker's", hint="mend it, or log in anew") from None


@contextlib.contextmanager
def mapped(host: Host) -> Iterator[None]:
    """Foreign exceptions of the body become EngineError, with the engine's own words, or EngineUnavailable."""
    try:
        yield
    except docker.errors.APIError as error:
        raise EngineError(f"the container engine refused: {error.explanation or error}") from error
    except (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise unavailable(host, error) from error


def pull(
    client: Any, reference: str, *, login: Mapping[str, str], platform: str | None, output: Output, cancel: Cancel
) -> None:
    """Pull one reference, as whom `login` says; `output` hears of each layer once."""
    params = {"platform": platform or "", **_source(reference)}
    # Not the SDK's own look: it fails for the helper of another registry, and shows what a helper says.
    headers = {"X-Registry-Auth": urlsafe_b64encode(json.dumps(login).encode()).decode()} if login else {}
    url = f"{client.api.base_url}/v{client.api.api_version}/images/create"
    try:
        reply = client.api.post(url, params=params, headers=headers, stream=True)
        if reply.status_code >= 400:
            raise _refused(reference, _message(reply.content))
        _follow(reference, reply, output, cancel)
    except _BROKEN as error:
        raise EngineUnavailable(f"the container engine went away while it pulled {reference}: {error}") from error


def _follow(reference: str, reply: Any, output: Output, cancel: Cancel) -> None:
    stream = docker.types.CancellableStream(reply.iter_lines(), reply)
    forget = cancel.on_stop(lambda: _abort(stream))
    try:
        for line in stream:
            _tell(reference, json.loads(line), output)
    finally:
        forget()
        reply.close()
    if cancel.stopped:
        raise Interrupted(f"stopped while pulling {reference}")


def _abort(stream: docker.types.CancellableStream) -> None:
    with contextlib.suppress(OSError, AttributeError, docker.errors.DockerException):  # it may have just ended
        stream.close()


def _tell(reference: str, event: Mapping[str, Any], output: Output) -> None:
    if event.get("error"):
        raise _refused(reference, str(event["error"]))
    layer, status = event.get("id"), event.get("status", "")
    if layer is None or status.startswith("Pulling from"):
        output.write(f"{status}\n".encode())
    elif status in _LAYER_DONE:
        output.write(f"{layer}: {status}\n".encode())


def _source(reference: str) -> dict[str, str]:
    if "@" in reference:
        name, _, digest = reference.partition("@")
        return {"fromImage": name, "tag": digest}
    name, tag = split(reference)
    return {"fromImage": name, "tag": tag}


def _refused(reference: str, words: str) -> ImgmakeError:
    if "invalid reference" in words:
        return InvalidReference(f"{reference!r} is no image reference: {words}")
    hint = "check the name; for a private repository run docker login first"
    if "connection refused" in words or "no such host" in words or "timeout" in words:
        hint = "is the registry reachable from the engine?"
    return EngineError(f"{reference} could not be pulled: {words}", hint=hint)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace").strip()


def _tls(host: Host) -> Any:
    if host.certs is None:
        return False
    found = {name: str(path) for name in ("ca", "cert", "key") if (path := Path(host.certs, f"{name}.pem")).exists()}
    pair = (found["cert"], found["key"]) if {"cert", "key"} <= found.keys() else None
    return docker.tls.TLSConfig(client_cert=pair, ca_cert=found.get("ca"), verify=host.verify)
