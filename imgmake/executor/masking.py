"""Output with secret values masked, or names put back, before any reporter hears them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from imgmake.errors import ImgmakeError, Problems
from imgmake.ports import Output


class Masked:
    """Passes output on line by line, so that a secret cut in two by a read is still seen whole."""

    def __init__(self, inner: Output, mask: Callable[[str], str]) -> None:
        self._inner = inner
        self._mask = mask
        self._rest = b""

    def write(self, data: bytes) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if lines:
            self._pass_on(b"\n".join(lines) + b"\n")
        # A progress line ends with a carriage return and must not wait for a newline.
        if self._rest.endswith(b"\r"):
            self.flush()

    def flush(self) -> None:
        """The recipe is over: what is left is a line too."""
        rest, self._rest = self._rest, b""
        if rest:
            self._pass_on(rest)

    def _pass_on(self, data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        self._inner.write(self._mask(text).encode("utf-8", "surrogateescape"))

    def note(self, text: str) -> None:
        self._inner.note(self._mask(text))

    def command(self, line: str) -> None:
        self._inner.command(self._mask(line))

    @property
    def tty(self) -> bool:
        return self._inner.tty


_E = TypeVar("_E", bound=Exception | None)


def masked_error(error: _E, mask: Callable[[str], str]) -> _E:
    """The error with secrets in its words masked: a recipe's own exception, or a tool's last words, may quote one."""
    if not isinstance(error, ImgmakeError):
        return error
    told = copy.copy(error)
    told.message, told.hint = mask(error.message), mask(error.hint)
    told.args = (told.message,)
    if isinstance(told, Problems):
        told.errors = tuple(masked_error(one, mask) for one in told.errors)
    return told


def masked(value: Any, mask: Callable[[str], str]) -> Any:
    """JSON with the secrets in its texts masked."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {key: masked(each, mask) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(each, mask) for each in value]
    return value
