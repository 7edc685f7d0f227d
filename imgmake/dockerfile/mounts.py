"""``RUN --mount=…``: what one mount says; knows no stage and no file."""

from __future__ import annotations

from typing import NamedTuple

_SOURCE = ("source", "src")


class Mount(NamedTuple):
    """A mount as written: `source` and `origin` (its ``from=``) are not expanded."""

    type: str
    source: str
    origin: str

    @property
    def reads_files(self) -> bool:
        return self.type in ("bind", "cache")


def read(value: str) -> Mount:
    """Read the value of a ``--mount``, fields of CSV (BuildKit's `commands_runmount.go`).

    >>> read("type=bind,src=go.mod,target=go.mod")
    Mount(type='bind', source='go.mod', origin='')
    """
    import csv

    fields = next(csv.reader([value]), [])
    pairs = [(key.strip().lower(), text) for key, _, text in (field.partition("=") for field in fields)]
    last = dict(pairs)
    source = next((text for key, text in reversed(pairs) if key in _SOURCE), "")
    return Mount(last.get("type", "bind").lower(), source, last.get("from", ""))
