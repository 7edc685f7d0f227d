"""Other tools than make, asked in a scratch copy of the folder: bake, compose, just, task. Starts nothing else.

just and task run commands of a file to know their variables; here that harms nobody.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from imgmake.errors import CommandFailed, ImgmakeError
from imgmake.migrate.scratch import LIMIT, Make


class ToolFailed(ImgmakeError):
    """A tool could not read its file."""


class Tool(Make):
    """A tool on one file in a scratch folder, without a network where the system allows."""

    def ask(self, words: Sequence[str], given: Mapping[str, str] = {}) -> tuple[int, str, str]:
        """Its exit code, stdout and stderr; `given` are variables of its environment."""
        argv = [*self._alone, "timeout", str(LIMIT), *words]
        try:
            return self._shell.capture(argv, cwd=self.folder, env={**self._environ, **given})
        except CommandFailed as error:
            return 127, "", error.message

    def has(self, *words: str) -> bool:
        """Whether the tool is there, and answers."""
        return shutil.which(words[0], path=self._environ.get("PATH")) is not None and self.ask(words)[0] == 0

    def json(self, words: Sequence[str], given: Mapping[str, str] = {}) -> Any:
        """Its answer as data. Raises ToolFailed with its own words."""
        code, out, err = self.ask(words, given)
        if code != 0:
            raise ToolFailed(f"{words[0]} cannot read {self.makefile}: {complaint(err)}")
        try:
            return json.loads(out)
        except ValueError:
            raise ToolFailed(f"{words[0]} answers no JSON for {self.makefile}") from None


def complaint(err: str) -> str:
    """The line of a tool's stderr that says what is wrong."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in err.strip().split("\n") if line.strip()]
    told = [line for line in lines if re.match(r"(?i)error\b|.*\berror:|task: ", line)]
    found = (told or lines or ["it ended without a word"])[0]
    return re.sub(r"(?i)^error:\s*", "", found)


class Bake(Tool):
    """``docker buildx bake --print``; files and an SSH agent that it would look for are there."""

    def printed(self, names: Sequence[str], given: Mapping[str, str] = {}) -> Mapping[str, Any]:
        """What bake makes of targets. Raises ToolFailed."""
        files = [word for file in (self.makefile, *self.overriding()) for word in ("--file", file)]
        words = ["docker", "buildx", "bake", *files, "--print", *names]
        for _ in range(10):
            try:
                found: Mapping[str, Any] = self.json(words, {**self._agent(), **given})
            except ToolFailed as error:
                missing = re.search(r"failed to stat ([^:]+): ", error.message)
                if missing is None or missing[1].startswith("/"):
                    raise
                (self.folder / missing[1]).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / missing[1]).touch()
            else:
                return found
        raise ToolFailed(f"docker buildx bake asks for ever more files for {self.makefile}")

    def overriding(self) -> list[str]:
        """The file beside docker-bake's own that bake merges in unasked."""
        stem, _, ending = self.makefile.rpartition(".")
        name = f"{stem}.override.{ending}"
        return [name] if stem == "docker-bake" and (self.folder / name).is_file() else []

    def _agent(self) -> dict[str, str]:
        """A socket that bake only looks for, when a target forwards SSH and no agent runs here."""
        if self._environ.get("SSH_AUTH_SOCK"):
            return {}
        path = self.folder.parent / "agent"
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
        return {"SSH_AUTH_SOCK": str(path)}
