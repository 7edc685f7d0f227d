"""A registry in memory that misbehaves on demand, and an engine that exports images made by hand.

`FakeRegistry` speaks the distribution API, counts requests and follows a script of faults;
`Exporter` exports in the layouts of the engines that there are.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import re
import socket
import ssl
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

from imgmake.ports import Image
from tests.registries import Request, make_certificate

_INDEX = "application/vnd.oci.image.index.v1+json"


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Fault:
    """The next `times` requests that match get this: a status with headers, or a dropped connection (status 0).

    `body` is the body for a status; without one it takes the place of the real content (a lie). `cut` drops the
    connection elsewhere: before the request's body is read (``request``), or in the middle of the real answer
    (``answer``), after all was done. `delay` seconds pass before anything else.
    """

    method: str
    path: str  # searched for as a regular expression
    status: int = 0
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: str = ""
    delay: float = 0.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100  # a connection for which there is no place is tried again after a second only


class FakeRegistry:
    """The distribution API in memory, on 127.0.0.1.

    `token`: ask for a bearer token, and give one out; `basic`: the one ``Authorization`` that is taken;
    `mounts`: whether a blob can be taken over from another repository; `referrers`: whether it lists what refers
    to a manifest; `deletes`: what a DELETE by tag removes: a ``tag``, the ``manifest``, or nothing.
    """

    def __init__(
        self,
        *,
        token: bool = False,
        basic: str = "",
        mounts: bool = True,
        referrers: bool = False,
        deletes: str = "",
    ) -> None:
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.faults: list[Fault] = []
        self.script: Callable[[str, str], Fault | None] = lambda method, path: None  # asked first at each request
        self.requests: list[Request] = []
        self.authorizations: list[str] = []
        self.forms: list[dict[str, list[str]]] = []
        self.token = token
        self.basic = basic
        self.mounts = mounts
        self.referrers = referrers
        self.says_subject = referrers
        self.deletes = deletes
        self.page = 1000
        self.connections: set[int] = set()
        self.on_request: Callable[[], None] = lambda: None
        self.on_call: Callable[[str, str], object] = lambda method, path: None
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)
        self.host = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FakeRegistry:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def secure(self, home: Path) -> Path:
        """Speak TLS from now on; the authority's certificate."""
        authority = make_certificate(home)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(home / "server.crt", home / "server.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        return authority

    def sent(self, repository: str) -> list[str]:
        """The digests of the blobs that were uploaded to a repository."""
        prefix = f"/v2/{repository}/blobs/uploads/"
        return [
            one.path.partition("digest=")[2].replace("%3A", ":")
            for one in self.writes()
            if one.method == "PUT" and one.path.startswith(prefix)
        ]

    def writes(self) -> list[Request]:
        return [one for one in self.requests if one.method in {"PUT", "POST", "PATCH", "DELETE"}]

    def put(self, repository: str, version: str, content: dict[str, Any]) -> str:
        data = json.dumps(content).encode()
        for name in (version, sha256(data)):
            self.manifests[repository, name] = (content["mediaType"], data)
        return sha256(data)

    def put_blob(self, repository: str, data: bytes) -> str:
        self.blobs[repository, sha256(data)] = data
        return sha256(data)

    def tags(self, repository: str) -> list[str]:
        return sorted(version for name, version in self.manifests if name == repository and ":" not in version)


def _handler(registry: FakeRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.registry = registry
    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, else each answer waits for an acknowledgement
    registry: FakeRegistry

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # a handshake that was only a question
            super().handle()

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        fault = self._fault()
        self.cut = fault.cut if fault else ""
        self.sent = b"" if self.cut == "request" else self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.override: bytes | None = None
        self.scripted = False
        self.registry.connections.add(self.client_address[1])
        self.registry.on_request()
        self.registry.on_call(self.command, urlsplit(self.path).path)
        self.registry.authorizations.append(self.headers.get("Authorization", ""))
        time.sleep(fault.delay if fault else 0)
        if fault and self.cut != "answer" and not fault.delay and (fault.status or fault.body is None):
            self._fail(fault)
            return
        self.override = fault.body if fault else None
        self._dispatch()

    def _fault(self) -> Fault | None:
        if fault := self.registry.script(self.command, self.path):
            return fault
        for fault in self.registry.faults:
            if fault.times and fault.method == self.command and re.search(fault.path, self.path):
                fault.times -= 1
                return fault
        return None

    def _fail(self, fault: Fault) -> None:
        if fault.status:
            self.scripted = True
            self._reply(fault.status, fault.body or b"", fault.headers)
            return
        self.registry.requests.append(Request(self.command, self.path, 0))
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _dispatch(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/token":
            self._give_token(query)
            return
        if self.registry.token and not self._allowed():
            self._ask_for_token(url.path)
            return
        if self.registry.basic and self.headers.get("Authorization") != self.registry.basic:
            self._reply(401, _errors("UNAUTHORIZED"), {"WWW-Authenticate": 'Basic realm="fake"'})
            return
        for pattern, serve in (
            (r"/v2/(.+)/manifests/(.+)", self._manifests),
            (r"/v2/(.+)/blobs/uploads/(.*)", self._uploads),
            (r"/v2/(.+)/blobs/(.+)", self._blobs),
            (r"/v2/(.+)/tags/(list)", self._tags),
            (r"/v2/(.+)/referrers/(.+)", self._referrers),
        ):
            found = re.fullmatch(pattern, url.path)
            if found:
                serve(found[1], found[2], query)
                return
        self._reply(404, b"<html>no such page</html>")

    def _give_token(self, query: dict[str, list[str]]) -> None:
        form = parse_qs(self.sent.decode()) or query
        self.registry.forms.append(form)
        self._reply(200, json.dumps({"token": f"for {' '.join(form.get('scope', []))}"}).encode())

    def _allowed(self) -> bool:
        told = self.headers.get("Authorization", "")
        return told.startswith("Bearer for ") and (self.command in {"GET", "HEAD"} or "pull,push" in told)

    def _ask_for_token(self, path: str) -> None:
        name = path.removeprefix("/v2/").rsplit("/", 2)[0].removesuffix("/blobs")
        actions = "pull" if self.command in {"GET", "HEAD"} else "pull,push"
        realm = f'realm="http://{self.registry.host}/token",service="fake",scope="repository:{name}:{actions}"'
        self._reply(401, _errors("UNAUTHORIZED"), {"WWW-Authenticate": f"Bearer {realm}"})

    def _manifests(self, name: str, version: str, query: dict[str, list[str]]) -> None:
        if self.command == "PUT":
            kind = self.headers.get("Content-Type", "")
            for key in (version, sha256(self.sent)):
                self.registry.manifests[name, key] = (kind, self.sent)
            subject = (json.loads(self.sent).get("subject") or {}).get("digest", "")
            said = {"OCI-Subject": subject} if self.registry.says_subject and subject else {}
            self._reply(201, b"", {"Docker-Content-Digest": sha256(self.sent), **said})
            return
        if self.command == "DELETE":
            self._delete(name, version)
            return
        if (name, version) not in self.registry.manifests:
            self._reply(404, _errors("MANIFEST_UNKNOWN"))
            return
        kind, data = self.registry.manifests[name, version]
        self._reply(200, data, {"Content-Type": kind, "Docker-Content-Digest": sha256(data)})

    def _delete(self, name: str, version: str) -> None:
        if not self.registry.deletes:
            self._reply(405, _errors("UNSUPPORTED"))
            return
        _, data = self.registry.manifests.pop((name, version), ("", b""))
        if not data:
            self._reply(404, _errors("MANIFEST_UNKNOWN"))
            return
        if self.registry.deletes == "manifest":
            del self.registry.manifests[name, sha256(data)]
        self._reply(202, b"")

    def _referrers(self, name: str, subject: str, query: dict[str, list[str]]) -> None:
        if not self.registry.referrers:
            self._reply(404, b"404 page not found\n")
            return
        entries = []
        for (repository, version), (kind, data) in sorted(self.registry.manifests.items()):
            content = json.loads(data)
            if repository == name and ":" in version and (content.get("subject") or {}).get("digest") == subject:
                entry = {"mediaType": kind, "digest": version, "size": len(data)}
                entry["artifactType"] = content.get("artifactType") or content["config"]["mediaType"]
                entries.append({**entry, "annotations": content.get("annotations", {})})
        start = int(query.get("start", ["0"])[0])
        end = start + self.registry.page
        more = {"Link": f'</v2/{name}/referrers/{subject}?start={end}>; rel="next"'} if len(entries) > end else {}
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries[start:end]}
        self._reply(200, json.dumps(index).encode(), {"Content-Type": _INDEX, **more})

    def _uploads(self, name: str, session: str, query: dict[str, list[str]]) -> None:
        if self.command == "PUT":
            digest = query["digest"][0]
            ok = sha256(self.sent) == digest
            if ok:
                self.registry.blobs[name, digest] = self.sent
            self._reply(201 if ok else 400, b"" if ok else _errors("DIGEST_INVALID"))
            return
        source = (query.get("from", [""])[0], query.get("mount", [""])[0])
        if self.registry.mounts and source in self.registry.blobs:
            self.registry.blobs[name, source[1]] = self.registry.blobs[source]
            self._reply(201, b"")
            return
        self._reply(202, b"", {"Location": f"/v2/{name}/blobs/uploads/session?state=x"})

    def _blobs(self, name: str, digest: str, query: dict[str, list[str]]) -> None:
        data = self.registry.blobs.get((name, digest))
        if data is None:
            self._reply(404, _errors("BLOB_UNKNOWN"))
            return
        self._reply(200, data, {"Docker-Content-Digest": digest})

    def _tags(self, name: str, _: str, query: dict[str, list[str]]) -> None:
        tags = self.registry.tags(name)
        if not tags:
            self._reply(404, _errors("NAME_UNKNOWN"))
            return
        after = [tag for tag in tags if tag > query.get("last", [""])[0]]
        page = after[: self.registry.page]
        more = {"Link": f'</v2/{name}/tags/list?last={page[-1]}&n=2>; rel="next"'} if len(after) > len(page) else {}
        self._reply(200, json.dumps({"name": name, "tags": page}).encode(), more)

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.registry.requests.append(Request(self.command, self.path, status))
        body = body if self.override is None else self.override
        if self.cut == "answer":
            self._cut_short(status, body)
            return
        self.send_response(status)
        if not self.scripted:
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _cut_short(self, status: int, body: bytes) -> None:
        """A dropped connection in the middle of the body, or of the head where there is none."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if body:
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _errors(code: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()


# --- images made by hand --------------------------------------------------------------------------------------


class Exporter:
    """Exports images as engines do: ``archive`` (20.10), ``oci`` (25), ``containerd`` (packed, ID of an index)."""

    def __init__(self, layout: str = "archive") -> None:
        self.layout = layout
        self.exports = 0
        self._tars: dict[str, bytes] = {}

    def image(self, *files: str, architecture: str = "amd64", labels: dict[str, str] | None = None) -> Image:
        """An image with one layer for each text."""
        layers = [layer(text) for text in files]
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": labels or {}},
            "rootfs": {"type": "layers", "diff_ids": [sha256(one) for one in layers]},
        }
        data = json.dumps(config).encode()
        id_, members = getattr(self, f"_{self.layout}")(data, layers, architecture)
        self._tars[id_] = _tar(members)
        ids = tuple(sha256(one) for one in layers)
        return Image(id_, "linux", architecture, layers=ids, config={"Labels": labels or {}})

    @contextlib.contextmanager
    def export(self, image_id: str) -> Iterator[BinaryIO]:
        self.exports += 1
        yield io.BytesIO(self._tars[image_id])

    def truncate(self, image: Image, size: int) -> None:
        self._tars[image.id] = self._tars[image.id][:size]

    @staticmethod
    def _archive(config: bytes, layers: Sequence[bytes], _: str) -> tuple[str, dict[str, bytes]]:
        members = {f"{sha256(config)[7:]}.json": config}
        members |= {f"{index:064}/layer.tar": one for index, one in enumerate(layers)}
        return sha256(config), members

    @staticmethod
    def _oci(config: bytes, layers: Sequence[bytes], _: str) -> tuple[str, dict[str, bytes]]:
        return sha256(config), {f"blobs/sha256/{sha256(one)[7:]}": one for one in (*layers, config)}

    @staticmethod
    def _containerd(config: bytes, layers: Sequence[bytes], architecture: str) -> tuple[str, dict[str, bytes]]:
        packed = [gzip.compress(one, mtime=1) for one in layers]
        kind = "application/vnd.oci.image"
        manifest = _json(
            schemaVersion=2,
            mediaType=f"{kind}.manifest.v1+json",
            config=_descriptor(f"{kind}.config.v1+json", config),
            layers=[_descriptor(f"{kind}.layer.v1.tar+gzip", one) for one in packed],
        )
        entry = _descriptor(f"{kind}.manifest.v1+json", manifest)
        entry["platform"] = {"os": "linux", "architecture": architecture}
        absent = {**_descriptor(f"{kind}.manifest.v1+json", b"other"), "platform": {"os": "linux", "architecture": "x"}}
        index = _json(schemaVersion=2, mediaType=f"{kind}.index.v1+json", manifests=[absent, entry])
        blobs = sorted((*packed, config, manifest, index), key=sha256)
        return sha256(index), {f"blobs/sha256/{sha256(one)[7:]}": one for one in blobs}


def layer(text: str) -> bytes:
    """A tar with one file."""
    return _tar({"file": text.encode()})


def _json(**content: Any) -> bytes:
    return json.dumps(content).encode()


def _descriptor(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": sha256(data), "size": len(data)}


def _tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
