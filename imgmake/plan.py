"""The states of the targets of one run and the one function that changes them; no I/O, no threads.

```
WAITING ──all prerequisites over──> READY ──taken──> RUNNING ──> FRESH | DONE | FAILED
   └───────a prerequisite FAILED or was CANCELLED───────────────────> CANCELLED
```
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from imgmake.model import State

OVER = frozenset({State.FRESH, State.DONE, State.FAILED, State.CANCELLED})
_GOOD = frozenset({State.FRESH, State.DONE})
_MOVES: Mapping[State, frozenset[State]] = {
    State.WAITING: frozenset({State.READY, State.CANCELLED}),
    State.READY: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.FRESH, State.DONE, State.FAILED, State.CANCELLED}),
}


class Plan:
    """What is wanted, in order, and how far each target has come.

    `order` lists the wanted targets, each after its prerequisites; `needs` gives the prerequisites of
    each. Prerequisites that are not wanted (settled before, or taken as they are) count as done.
    """

    def __init__(self, order: Sequence[str], needs: Mapping[str, Collection[str]]) -> None:
        wanted = set(order)
        self._order = tuple(order)
        self._needs = {target: [n for n in needs.get(target, ()) if n in wanted] for target in order}
        self._users: dict[str, list[str]] = {target: [] for target in order}
        for target, found in self._needs.items():
            for need in found:
                self._users[need].append(target)
        self._state = dict.fromkeys(order, State.WAITING)
        for target in order:
            self._settle(target)

    def state(self, target: str) -> State:
        return self._state[target]

    @property
    def over(self) -> bool:
        return all(state in OVER for state in self._state.values())

    @property
    def counts(self) -> Counter[State]:
        return Counter(self._state.values())

    def ready(self) -> tuple[str, ...]:
        """Targets whose prerequisites are all done, in the plan's order."""
        return tuple(target for target in self._order if self._state[target] is State.READY)

    def move(self, target: str, state: State) -> tuple[str, ...]:
        """The one transition: `target` comes to `state`; returns what that cancelled, in order."""
        if state not in _MOVES.get(self._state[target], frozenset()):
            raise AssertionError(f"BUG: {target} cannot go from {self._state[target]} to {state}")
        self._state[target] = state
        if state not in OVER:
            return ()
        cancelled = [user for user in self._users[target] if self._settle(user)]
        return tuple(cancelled) + tuple(later for user in cancelled for later in self._cascade(user))

    def cancel_rest(self) -> tuple[str, ...]:
        """Cancel whatever has not started; running targets end by themselves."""
        rest = [t for t in self._order if self._state[t] in (State.WAITING, State.READY)]
        for target in rest:
            self._state[target] = State.CANCELLED
        return tuple(rest)

    def _cascade(self, target: str) -> tuple[str, ...]:
        found = [user for user in self._users[target] if self._settle(user)]
        return tuple(found) + tuple(later for user in found for later in self._cascade(user))

    def _settle(self, target: str) -> bool:
        """Move a waiting target on where its prerequisites allow; True when that cancelled it."""
        if self._state[target] is not State.WAITING:
            return False
        states = [self._state[need] for need in self._needs[target]]
        if any(state in (State.FAILED, State.CANCELLED) for state in states):
            self._state[target] = State.CANCELLED
            return True
        if all(state in _GOOD for state in states):
            self._state[target] = State.READY
        return False
