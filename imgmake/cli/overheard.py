"""A stream whose words are kept as well; knows nothing of what they mean."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

MOST = 65_536  # bytes that are kept: a run that says more had something to do


class Overheard(io.RawIOBase):
    """`stream`, with what is written to it in `said`; None when that is too much to keep. Closing it closes nothing."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.said: bytes | None = b""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def flush(self) -> None:
        self._stream.flush()

    def write(self, data: Buffer, /) -> int:
        kept = (self.said or b"") + bytes(data)
        self.said = kept if self.said is not None and len(kept) <= MOST else None
        return self._stream.write(data)
