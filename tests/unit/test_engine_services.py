"""When a service is ready, and what is said of one that ended; the container is a script of its states."""

from __future__ import annotations

from typing import Any

import pytest

from imgmake.engine import services
from imgmake.engine.scope import Scope
from imgmake.errors import CommandFailed, Interrupted
from imgmake.ports import Cancel

RUNS = {"Running": True, "ExitCode": 0}


class Container:
    """Shows one state after the other, the last one for ever."""

    def __init__(self, *states: dict[str, Any]) -> None:
        self._states = list(states)
        self.attrs: dict[str, Any] = {}

    def reload(self) -> None:
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        self.attrs = {"State": state, "Config": {}, "NetworkSettings": {"Networks": {}}}


def ended(code: int, **more: Any) -> dict[str, Any]:
    return {"Running": False, "ExitCode": code, **more}


def wait(*states: dict[str, Any], cancel: Cancel | None = None) -> None:
    services.wait(Scope(None, cancel or Cancel()), "db", Container(*states))


def test_a_service_without_port_and_healthcheck_is_ready_when_it_does_not_fail_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(services, "SETTLING", 0.01)
    wait(RUNS)
    wait(RUNS, ended(0))
    with pytest.raises(CommandFailed, match="'db' ended with exit code 3"):
        wait(RUNS, ended(3))
    with pytest.raises(CommandFailed, match=r"137 \(out of memory\)"):
        wait(ended(137, OOMKilled=True))


def test_a_stop_ends_the_waiting() -> None:
    cancel = Cancel()
    cancel.stop()
    with pytest.raises(Interrupted):
        wait(RUNS, cancel=cancel)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (RUNS, ("", 0)),
        (ended(0), ("the service 'db' ended with exit code 0 before the command did", 0)),
        (ended(1), ("the service 'db' ended with exit code 1 before the command did", 1)),
    ],
)
def test_what_is_said_of_a_service_that_ended(state: dict[str, Any], said: tuple[str, int]) -> None:
    assert services.ended("db", Container(state)) == said
