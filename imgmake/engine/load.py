"""``docker load`` of files made here: configurations, manifests, layers. Knows not what they mean."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from imgmake.engine.wire import Wire, expect, send
from imgmake.errors import EngineError


def load(wire: Wire, files: Mapping[str, bytes | Path]) -> None:
    """Hand the engine a tar of these files, by name: their bytes, or where they are. Raises EngineError."""
    with tempfile.SpooledTemporaryFile(max_size=1 << 20, prefix="imgmake-") as body:
        with tarfile.open(fileobj=body, mode="w") as tar:
            for name, content in files.items():
                _add(tar, name, content)
        body.seek(0)
        reply = expect(send(wire, "POST", "/images/load", body, quiet="1"), "load an image")  # type: ignore[arg-type]
    for line in reply.body.splitlines():
        if error := _error(line):
            raise EngineError(f"the engine could not load an image: {error}")


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    member = tarfile.TarInfo(name)
    if isinstance(content, Path):
        member.size = content.stat().st_size
        with content.open("rb") as file:
            tar.addfile(member, file)
    else:
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def _error(line: bytes) -> str:
    try:
        found = json.loads(line)
    except ValueError:
        return ""
    return str(found.get("error") or "") if isinstance(found, dict) else ""
