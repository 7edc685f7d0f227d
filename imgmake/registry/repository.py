"""One repository of one registry: the calls of the distribution API, each checked; knows no engine, no plan.

API: OCI distribution-spec (spec.md). What is read is hashed and compared with the digest that was
asked for; what was written is asked for again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urljoin

from imgmake.errors import RegistryError, TagMoved
from imgmake.freshness import short
from imgmake.ports import Cancel
from imgmake.registry.faults import Place, is_absence
from imgmake.registry.manifests import (
    ACCEPTED,
    OCI_INDEX,
    Blob,
    Manifest,
    decode,
    listed_in,
    matches,
    media_type_of,
    sha256,
    subject_of,
)
from imgmake.registry.transport import Call, Errand, Reply, Transport, stop_if

_CHUNK = 1 << 20
_PAGE = 1000  # tags asked for at once
_NEXT = re.compile(r"""<([^>]*)>[^<]*;\s*rel=["']?next\b""")
_DIGEST_HEADER = "Docker-Content-Digest"
_SUBJECT_HEADER = "OCI-Subject"  # distribution-spec 1.1, "Pushing Manifests with Subject"
_TAKEN = Reply(201, {}, b"", "")
_AS_IT_WAS = Reply(304, {}, b"", "")
# Registries that know digests only answer a DELETE by tag with any of these; Debian's says 400, DIGEST_INVALID.
_UPLOAD_LOST = frozenset({404, 416})  # the registry was restarted, or another of several answers
_CANNOT = frozenset({400, 405, 501})
_NO_LIST = frozenset({400, 404, 405, 406, 501})  # of registries from before distribution-spec 1.1


class Repository:
    """The calls that reading and publishing are made of; each raises RegistryError."""

    def __init__(self, transport: Transport, place: Place, errand: Errand) -> None:
        self.place = place
        self._transport = transport
        self._errand = errand

    def __str__(self) -> str:
        return str(self.place)

    @property
    def cancel(self) -> Cancel:
        """What stops the calls."""
        return self._errand.cancel

    def until(self, cancel: Cancel) -> Repository:
        """The same repository for calls that another stop ends."""
        return Repository(self._transport, self.place, self._errand._replace(cancel=cancel))

    # --- manifests --------------------------------------------------------------------------------------------

    def get_manifest(self, version: str) -> Manifest | None:
        """The manifest or index under a tag or digest; None when the registry says that there is none."""
        accept = {"Accept": ", ".join(ACCEPTED)}
        call = Call("GET", self._path("manifests", version), f"reading the manifest of {short(version)}", accept)
        reply = self._send(call)
        if reply.status == 404 and is_absence(reply.headers, reply.body):
            return None
        self._expect(call, reply, 200)
        manifest = Manifest(
            sha256(reply.body), media_type_of(reply.body, reply.headers.get("Content-Type", "")), reply.body
        )
        self._check(call, manifest, reply, version)
        return manifest

    def _check(self, call: Call, manifest: Manifest, reply: Reply, version: str) -> None:
        if manifest.media_type not in ACCEPTED:
            kind = self._transport.shown(manifest.media_type) or "something without a type"
            page = not manifest.media_type.startswith("application/")  # what a web site answers to anything
            hint = f"is {self.place.registry} a registry, and the name right?" if page else "push it anew"
            raise RegistryError(f"{self}: {call.doing}: it is {kind}, which is no image", hint=hint)
        promised = version if ":" in version else reply.headers.get(_DIGEST_HEADER, manifest.digest)
        if not matches(promised, manifest.data):
            raise self._liar(f"the manifest of {version}", promised, manifest.digest)

    def manifest_digest(self, version: str) -> str | None:
        """The digest that a tag stands for, without its content; None when there is none."""
        call = Call(
            "HEAD", self._path("manifests", version), f"looking for {short(version)}", {"Accept": ", ".join(ACCEPTED)}
        )
        reply = self._send(call)
        if reply.status == 404 and is_absence(reply.headers, b""):
            return None
        if reply.status != 404:
            self._expect(call, reply, 200)
        told = reply.headers.get(_DIGEST_HEADER, "")
        if told and ":" in version and told != version:
            raise self._liar(f"the manifest of {version}", version, told)
        if told and reply.status == 200:
            return told
        manifest = self.get_manifest(version)  # it does not say, or whether it is a registry at all
        return manifest.digest if manifest else None

    def put_manifest(self, version: str, manifest: Manifest) -> bool:
        """Set a tag, or the manifest's own digest, and read it back; False when it was already so."""
        if self.manifest_digest(version) == manifest.digest:
            return False
        call = self._put_call(version, manifest)
        self._expect(call, self._send(call), 201, 200, 202)
        self._verify(version, manifest)
        return True

    def put_referrer(self, manifest: Manifest) -> bool:
        """Write the manifest of an artifact by digest; whether the registry lists by itself what it refers to."""
        call = self._put_call(manifest.digest, manifest)
        reply = self._send(call)
        if reply.status in {400, 415}:
            error = self._transport.refused(self.place, call.doing, reply)
            raise RegistryError(error.message, hint="does this registry take artifacts (OCI 1.1)? Older ones do not")
        self._expect(call, reply, 201, 200, 202)
        self._verify(manifest.digest, manifest)
        return reply.headers.get(_SUBJECT_HEADER, "") == subject_of(manifest)

    def _put_call(self, version: str, manifest: Manifest) -> Call:
        return Call(
            "PUT",
            self._path("manifests", version),
            f"writing the manifest of {short(version)}",
            {"Content-Type": manifest.media_type},
            lambda: manifest.data,
        )

    def _verify(self, version: str, manifest: Manifest) -> None:
        held = self.get_manifest(version)
        if held is None or held.digest != manifest.digest:
            found = held.digest if held else "nothing"
            raise self._liar(f"the manifest of {version} just written", manifest.digest, found)

    def move_tag(self, tag: str, manifest: Manifest, before: str | None) -> bool:
        """Set a tag that holds `before`, and read it back; False when it held the manifest already.

        Every try looks first, for one whose answer was lost may have done it, and another may have come between.
        Raises TagMoved.
        """
        call = self._put_call(tag, manifest)
        written = False

        def once() -> Reply:
            nonlocal written
            if not self._must_move(tag, manifest.digest, before):
                return _AS_IT_WAS
            written = True
            return self._transport.call(self.place, call, self._errand)

        reply = self._transport.attempts(self.place, call.doing, self._errand, once)
        if reply is not _AS_IT_WAS:
            self._expect(call, reply, 201, 200, 202)
            self._verify_tag(tag, manifest, before)
        return written

    def _must_move(self, tag: str, after: str, before: str | None) -> bool:
        held = self.manifest_digest(tag)
        if held not in (before, after):
            raise self.moved(tag, held, before)
        return held != after

    def _verify_tag(self, tag: str, manifest: Manifest, before: str | None) -> None:
        held = self.get_manifest(tag)
        if held is not None and held.digest not in (before, manifest.digest):
            raise self.moved(tag, held.digest, manifest.digest)
        if held is None or held.digest != manifest.digest:
            found = held.digest if held else "nothing"
            raise self._liar(f"the tag {tag} just written", manifest.digest, found)

    def moved(self, tag: str, held: str | None, expected: str | None) -> TagMoved:
        """The error for a tag that somebody else wrote meanwhile."""
        before = f"it held {short(expected)}" if expected else "it was not there"
        now = f"it holds {self._transport.shown(short(held))}" if held else "it is gone"
        return TagMoved(
            f"{self}:{tag} was moved by another publish: {before}, and now {now}",
            hint="run imgmake again: it plans anew, from what the registries hold now",
        )

    def delete_tag(self, tag: str) -> bool:
        """Ask for a tag, and nothing else, to be removed; False when the registry cannot."""
        call = Call("DELETE", self._path("manifests", tag), f"removing the tag {tag}")
        reply = self._send(call)
        if reply.status in _CANNOT or (reply.status == 404 and not is_absence(reply.headers, reply.body)):
            return False
        self._expect(call, reply, 202, 200, 204, 404)
        return True

    # --- what refers to a manifest ----------------------------------------------------------------------------

    def list_referrers(self, subject: str) -> tuple[Mapping[str, Any], ...] | None:
        """The descriptors of what refers to a manifest; None when the registry has no such list of its own."""
        found: list[Mapping[str, Any]] = []
        for page in self._pages(self._path("referrers", subject), f"listing what refers to {subject[:19]}", _NO_LIST):
            if page.status != 200 or not _is_index(page):
                return None
            found += listed_in(page.body)
        return tuple({str(one.get("digest")): one for one in found}.values())

    # --- blobs ------------------------------------------------------------------------------------------------

    def blob_size(self, digest: str) -> int | None:
        """The size in bytes of a blob that the repository has, -1 when it does not say; None when it has none."""
        call = Call("HEAD", self._path("blobs", digest), f"looking for {digest[:19]}")
        reply = self._send(call)
        if reply.status == 404:
            return None
        self._expect(call, reply, 200)
        told = reply.headers.get(_DIGEST_HEADER, digest)
        if told != digest:
            raise self._liar(f"the blob {digest}", digest, told)
        length = reply.headers.get("Content-Length", "")
        return int(length) if length.isdigit() else -1

    def has_blob(self, blob: Blob) -> bool:
        """Whether the repository has these bytes; another size under the digest is an upload that broke."""
        return self.blob_size(blob.digest) in (blob.size, -1)

    def get_blob(self, digest: str) -> bytes:
        """A small blob, such as a configuration."""
        call = Call("GET", self._path("blobs", digest), f"reading the blob {digest[:19]}")
        reply = self._send(call)
        self._expect(call, reply, 200)
        if not matches(digest, reply.body):
            raise self._liar(f"the blob {digest}", digest, sha256(reply.body))
        return reply.body

    def fetch_blob(self, blob: Blob, into: BinaryIO) -> None:
        """A blob of any size, into a file opened for reading and writing."""
        doing = f"reading the blob {blob.digest[:19]}"
        call = Call("GET", self._path("blobs", blob.digest), doing, sink=into, limit=blob.size)
        self._expect(call, self._send(call), 200)
        if not matches(blob.digest, into):
            raise self._liar(f"the blob {blob.digest}", blob.digest, "something else")

    def put_blob(self, blob: Blob, opened: Callable[[], BinaryIO]) -> None:
        """Send a blob whole and ask for it again; `opened` opens its bytes, anew for each try."""
        call = Call("POST", self._path("blobs", "uploads/"), f"sending the blob {blob.digest[:19]}")
        tried = False

        def once() -> Reply:
            nonlocal tried
            if tried and self.has_blob(blob):  # only the answer was lost
                return _TAKEN
            tried = True
            return self._upload(call, blob, opened)

        reply = self._transport.attempts(self.place, call.doing, self._errand, once)
        self._expect(call, reply, 201)
        if not self.has_blob(blob):
            raise self._liar(f"the blob {blob.digest} just sent", f"{blob.size} bytes", "something else")

    def _upload(self, call: Call, blob: Blob, opened: Callable[[], BinaryIO]) -> Reply:
        """One try: a session of its own, for what a broken one has taken cannot be known."""
        started = self._transport.call(self.place, call, self._errand)
        if started.status != 202:
            return started
        where = started.headers.get("Location", "")
        joined = f"{where}{'&' if '?' in where else '?'}{urlencode({'digest': blob.digest})}"
        with opened() as content:
            put = Call(
                "PUT",
                urljoin(started.url, joined),
                call.doing,
                {"Content-Type": "application/octet-stream"},
                lambda: _Body(content, blob.size, self._errand.cancel),
            )
            reply = self._transport.call(self.place, put, self._errand)
        return replace(reply, passing=reply.status in _UPLOAD_LOST)

    def mount(self, blob: Blob, source: str) -> bool:
        """Take a blob over from another repository of this registry; False when it does not let us."""
        query = urlencode({"mount": blob.digest, "from": source})
        call = Call("POST", f"{self._path('blobs', 'uploads/')}?{query}", f"taking {blob.digest[:19]} from {source}")
        try:
            # A registry that knows no mounting opens an upload; one that may not show us the source refuses.
            return self._send(call).status == 201 and self.has_blob(blob)
        except RegistryError:
            return False

    # --- tags -------------------------------------------------------------------------------------------------

    def tags(self) -> tuple[str, ...]:
        """Every tag, in the registry's order; none for a repository that it does not know."""
        path = f"{self._path('tags', 'list')}?{urlencode({'n': _PAGE})}"
        pages = [page for page in self._pages(path, "listing tags", {404}) if self._is_there(page, "listing tags")]
        return tuple(tag for page in pages for tag in _tags_in(page.body))

    def _is_there(self, page: Reply, doing: str) -> bool:
        if page.status == 404 and not is_absence(page.headers, page.body):
            raise self._transport.refused(self.place, doing, page)
        return page.status != 404

    def _pages(self, path: str, doing: str, also: Collection[int]) -> Iterator[Reply]:
        """Every page of a list; the last may be an answer with a status of `also`."""
        seen: set[str] = set()
        while path and path not in seen:
            seen.add(path)
            call = Call("GET", path, doing)
            reply = self._send(call)
            self._expect(call, reply, 200, *also)
            yield reply
            path = _next(reply) if reply.status == 200 else ""

    # --- all of them ------------------------------------------------------------------------------------------

    def _path(self, kind: str, last: str) -> str:
        return f"/v2/{self.place.repository}/{kind}/{quote(last, safe=':/')}"

    def _send(self, call: Call) -> Reply:
        return self._transport.send(self.place, call, self._errand)

    def _expect(self, call: Call, reply: Reply, *statuses: int) -> None:
        if reply.status not in statuses:
            raise self._transport.refused(self.place, call.doing, reply)

    def _liar(self, what: str, expected: str, found: str) -> RegistryError:
        return RegistryError(
            f"{self}: {what} is not what its digest says: expected {expected}, found {self._transport.shown(found)}",
            hint="its storage, or something between here and there, changes content",
        )


class _Body:
    """A file as a request's body: its length is known, and a stop ends it in the middle."""

    def __init__(self, content: BinaryIO, size: int, cancel: Cancel) -> None:
        content.seek(0)
        self._content = content
        self._size = size
        self._cancel = cancel

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(_CHUNK):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        stop_if(self._cancel)
        return self._content.read(_CHUNK if size < 0 else size)

    def tell(self) -> int:
        return self._content.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._content.seek(offset, whence)


def opener(path: Path) -> Callable[[], BinaryIO]:
    """What `put_blob` wants, for a file."""
    return lambda: path.open("rb")


def _tags_in(body: bytes) -> list[str]:
    found = decode(body).get("tags")
    return [str(tag) for tag in found] if isinstance(found, list) else []


def _is_index(reply: Reply) -> bool:
    kind = reply.headers.get("Content-Type", "").partition(";")[0].strip()
    return kind == OCI_INDEX or decode(reply.body).get("mediaType") == OCI_INDEX


def _next(reply: Reply) -> str:
    """The address of the next page, from ``Link: <…>; rel="next"`` (RFC 8288)."""
    found = _NEXT.search(reply.headers.get("Link", ""))
    return urljoin(reply.url, found[1]) if found else ""
