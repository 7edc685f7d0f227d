"""The states of the targets of one run and the one function that changes them; no I/O, no threads.

```
WAITING ──all prerequisites over──> READY ──taken──> RUNNING ──> FRESH | DONE | FAILED
   │                                                    └──by digest──> SENT ──the tags of all──> DONE | FAILED
   └───────a prerequisite FAILED or was CANCELLED───────────────────> CANCELLED <──one of all was not sent──┘
```

A publication that is SENT is not done: what needs it waits until the tags are set, and those of all publications are
set at once, when nothing else is ready or running. It holds no job meanwhile. So what needs a publication, and what
must be published before it, come one after the other, with one job as with many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from imgmake.model import State

OVER = frozenset({State.FRESH, State.DONE, State.FAILED, State.CANCELLED})
_GOOD = frozenset({State.FRESH, State.DONE})
_MOVES: Mapping[State, frozenset[State]] = {
    State.WAITING: frozenset({State.READY, State.CANCELLED}),
    State.READY: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.FRESH, State.DONE, State.SENT, State.FAILED, State.CANCELLED}),
    State.SENT: frozenset({State.DONE, State.FAILED, State.CANCELLED}),
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
        self._left = {target: list(found) for target, found in self._needs.items()}
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

    def states(self) -> Iterable[tuple[str, State]]:
        """Every target with its state, in the plan's order."""
        return self._state.items()

    def sent(self) -> tuple[str, ...]:
        """Publications whose tags are still to be set, in the plan's order."""
        return tuple(target for target in self._order if self._state[target] is State.SENT)

    def move(self, target: str, state: State) -> tuple[str, ...]:
        """The one transition: `target` comes to `state`; returns what that cancelled, in order."""
        if state not in _MOVES.get(self._state[target], frozenset()):
            raise AssertionError(f"BUG: {target} cannot go from {self._state[target]} to {state}")
        self._state[target] = state
        if state in (State.FAILED, State.CANCELLED):
            return tuple(self._cancel_users(target))
        if state in _GOOD:
            for user in self._users[target]:
                self._settle(user)
        return ()

    def cancel_rest(self) -> tuple[str, ...]:
        """Cancel whatever has not started; running targets end by themselves, sent ones as their group does."""
        rest = [t for t in self._order if self._state[t] in (State.WAITING, State.READY)]
        for target in rest:
            self._state[target] = State.CANCELLED
        return tuple(rest)

    def _cancel_users(self, target: str) -> Iterator[str]:
        for user in self._users[target]:
            if self._state[user] is State.WAITING:
                self._state[user] = State.CANCELLED
                yield user
                yield from self._cancel_users(user)

    def _settle(self, target: str) -> None:
        """A waiting target is ready once every prerequisite is done."""
        if self._state[target] is not State.WAITING:
            return
        # What is done stays done, so each prerequisite is looked at once, however many there are.
        left = self._left[target]
        while left and self._state[left[-1]] in _GOOD:
            left.pop()
        if not left:
            self._state[target] = State.READY
