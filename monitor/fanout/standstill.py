"""Tells subscribers when the service itself stands still: what they see is then old, and nobody else would say so.

Once per standstill `stream.stale`, to newcomers as well, and `stream.fresh` when it goes on.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from monitor.clock import Clock
from monitor.errors import Unavailable
from monitor.events.codec import format_time
from monitor.fanout.controls import Stale
from monitor.fanout.hub import Hub

STALE_S: Final = 5.0
"""Longer than any healthy batch takes."""

_LOOK_S: Final = 1.0


class Standstill:
    """Looks once a second whether there is something that is not released."""

    def __init__(self, hub: Hub, lag: Callable[[], Awaitable[Mapping[int, int]]], clock: Clock) -> None:
        """`lag` counts the records that are not folded, by partition; it raises Unavailable when nobody knows."""
        self._hub, self._lag, self._clock = hub, lag, clock
        self._position = hub.position
        self._since_s, self._since_us = clock.monotonic_s(), clock.now_us()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Compare with what there was before."""
        if self._hub.position != self._position or (records := await self._behind()) == 0:
            self._position = self._hub.position
            self._since_s, self._since_us = self._clock.monotonic_s(), self._clock.now_us()
            self._hub.freshen()
        elif self._clock.monotonic_s() - self._since_s >= STALE_S:
            self._hub.stale(Stale(since=format_time(self._since_us), lag=records))

    async def _behind(self) -> int | None:
        """How many records wait; None = the journal or the store does not answer."""
        try:
            return sum((await self._lag()).values())
        except Unavailable:
            return None
