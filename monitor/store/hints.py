"""Hints that something was committed, so that whoever waits looks at once and not with its next round.

They are no promise: one may be lost, and one may come for nothing. Where other processes write too, `remind` gives all
of them once a second, so that nobody who listens needs to look by itself.
"""

from collections.abc import Callable, Collection
from typing import Final, Literal, get_args

from monitor.clock import Clock

Hint = Literal["batch", "deliveries", "desk"]
"""What a commit contained: a batch of events; deliveries that are due at once; what somebody asked for or decided."""

EVERY: Final[frozenset[Hint]] = frozenset(get_args(Hint))

REMIND_S: Final = 1.0
"""How late somebody who waits for a hint looks at the most, where it was lost."""


class Hints:
    """Who wants to hear of what. Everything is called on the event loop."""

    def __init__(self) -> None:
        self._listeners: dict[Hint, list[Callable[[], None]]] = {"batch": [], "deliveries": [], "desk": []}

    def listen(self, hint: Hint, listener: Callable[[], None]) -> None:
        """Call `listener` after commits of this kind, of whatever process; it must neither wait nor raise."""
        self._listeners[hint].append(listener)

    def give(self, hints: Collection[Hint]) -> None:
        """Tell everybody who listens."""
        for hint in hints:
            for listener in self._listeners[hint]:
                listener()


async def remind(hints: Hints, clock: Clock) -> None:
    """Give every hint once a second, until cancelled."""
    while True:
        await clock.sleep(REMIND_S)
        hints.give(EVERY)
