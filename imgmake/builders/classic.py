"""The engine's classic builder, through the docker SDK's low-level API. Its images are its cache: they must stay."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from typing import IO, Any

from imgmake.builders import context, options
from imgmake.builders import request as requests
from imgmake.errors import BuildError, EngineUnavailable, Interrupted
from imgmake.ports import BuildRequest, Cancel, Output

_CHUNK = 1 << 16


class ClassicBuilder:
    """``DOCKER_BUILDKIT=0 docker build``, without a docker CLI."""

    name = "classic"
    family = "classic"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def line(self, request: BuildRequest) -> str:
        """The command that a user would type."""
        return f"DOCKER_BUILDKIT=0 {requests.line(request, 'docker', 'build')}"

    def build(self, request: BuildRequest, *, output: Output, cancel: Cancel) -> str:
        """Build, and return the ID of the untagged image. Raises BuildError, EngineUnavailable or Interrupted."""
        requests.refuse_for_classic(request)
        extra = options.parameters(request.options)
        try:
            with context.tarred(request) as (tar, dockerfile), _connected(self._environ, cancel) as connection:
                reply = connection.post(_parameters(request, dockerfile, extra), _chunks(tar, cancel))
                if cancel.stopped:  # while the engine had not answered, there was nothing to abort
                    connection.abort()
                return _follow(request, reply, output)
        except (BuildError, EngineUnavailable):
            if cancel.stopped:
                raise Interrupted("the build was stopped") from None
            raise


class _Connection:
    """One request, which another thread may abort; the engine then stops the build's container.

    The SDK's own `build` hands out no response to abort, and leaves out parameters such as limits.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._reply: Any = None

    def post(self, parameters: Mapping[str, str], body: Iterator[bytes]) -> Any:
        url = f"{self._client.base_url}/v{self._client.api_version}/build"
        headers = {"Content-Type": "application/x-tar"}  # no credentials: all that it is built from is there
        self._reply = self._client.post(url, params=parameters, data=body, headers=headers, stream=True)
        return self._reply

    def abort(self) -> None:
        from docker.errors import DockerException
        from docker.types import CancellableStream

        if self._reply is not None:
            with contextlib.suppress(OSError, AttributeError, DockerException):
                CancellableStream(iter(()), self._reply).close()

    def close(self) -> None:
        if self._reply is not None:
            self._reply.close()


@contextlib.contextmanager
def _connected(environ: Mapping[str, str], cancel: Cancel) -> Iterator[_Connection]:
    """A connection of this build's own, which a stop aborts, and the SDK's exceptions as ours."""
    import requests as http
    import urllib3
    from docker.errors import DockerException

    address = _address(environ)
    _knock(address)
    try:
        with contextlib.closing(_client(address)) as client:
            connection = _Connection(client)
            forget = cancel.on_stop(connection.abort)
            try:
                yield connection
            finally:
                forget()
                connection.close()
    except (DockerException, http.RequestException, urllib3.exceptions.HTTPError) as error:
        raise EngineUnavailable(f"the container engine does not answer the classic builder: {error}") from error


def _client(address: Mapping[str, Any]) -> Any:
    import docker
    from docker.errors import InvalidConfigFile
    from docker.utils.config import find_config_file

    try:
        return docker.APIClient(version="auto", timeout=None, **address)
    except (ValueError, TypeError, LookupError, AttributeError, InvalidConfigFile):  # all that a slip in it leads to
        hint = "mend it, or log in anew"
        raise BuildError(f"{find_config_file()} is no configuration of docker's", hint=hint) from None


def _knock(address: Mapping[str, Any]) -> None:
    """Fail clearly where no socket answers: the SDK would leave one open, and wrap the cause three times."""
    path = str(address.get("base_url") or "unix:///var/run/docker.sock")
    if not path.startswith("unix://"):
        return
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path.removeprefix("unix://"))
    except OSError as error:
        raise EngineUnavailable(f"no container engine answers the classic builder at {path}: {error}") from error


def _address(environ: Mapping[str, str]) -> dict[str, Any]:
    from docker.context import ContextAPI
    from docker.utils import kwargs_from_env

    name = environ.get("DOCKER_CONTEXT")
    if environ.get("DOCKER_HOST") or not name or name == "default":
        found: dict[str, Any] = kwargs_from_env(environment=dict(environ))
    else:
        known = ContextAPI.get_context(name)
        if known is None:
            raise EngineUnavailable(f"the docker context {name!r} does not exist")
        found = {"base_url": known.Host, **({"tls": known.TLSConfig} if known.TLSConfig else {})}
    return {**found, "use_ssh_client": str(found.get("base_url", "")).startswith("ssh://")}


def _parameters(request: BuildRequest, dockerfile: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The query of ``POST /build`` (Docker's engine API, ImageBuild)."""
    found = {"dockerfile": dockerfile, "rm": "1", "forcerm": "1", "version": "1"}
    found |= {"nocache": "1"} if request.no_cache else {}
    found |= {"target": request.stage} if request.stage else {}
    found |= {"platform": request.platform} if request.platform else {}
    found |= {"buildargs": json.dumps(dict(request.build_args)), "labels": json.dumps(dict(request.labels))}
    return found | dict(extra)


def _chunks(tar: IO[bytes], cancel: Cancel) -> Iterator[bytes]:
    while chunk := tar.read(_CHUNK):
        if cancel.stopped:  # an end here would be taken for a whole, smaller context
            raise Interrupted("the build was stopped")
        yield chunk


def _follow(request: BuildRequest, reply: Any, output: Output) -> str:
    """The image's ID, at the end of the engine's events."""
    if reply.status_code >= 400:
        raise BuildError(f"the engine refused the build: {_message(reply.content)}")
    image, step = "", ""
    for event in _events(reply):
        image = (event.get("aux") or {}).get("ID") or image
        step = _step(event.get("stream", "")) or step
        if event.get("error"):
            raise requests.failure(request, str(event["error"]), step)
        if text := _told(event):
            output.write(text.encode())
    if not image:
        raise EngineUnavailable("the container engine broke off the build")
    return image


def _events(reply: Any) -> Iterator[dict[str, Any]]:
    for line in reply.iter_lines():
        try:
            if line.strip():
                yield json.loads(line)
        except ValueError as error:
            raise EngineUnavailable("the container engine broke off the build") from error


def _step(text: str) -> str:
    """``RUN x`` of ``Step 2/3 : RUN x``."""
    return text.partition(" : ")[2].strip() if text.startswith("Step ") else ""


def _told(event: Mapping[str, Any]) -> str:
    """What to show of an event: the build's text; of a pull's many states, each layer's last."""
    status = event.get("status", "")
    if status in ("Pull complete", "Already exists"):
        return f"{event.get('id')}: {status}\n"
    return str(event.get("stream", "")) or (f"{status}\n" if status and not event.get("id") else "")


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace").strip()
