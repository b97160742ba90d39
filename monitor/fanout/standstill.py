"""Tells subscribers when the service itself stands still: what they see is then old, and nobody else would say so.

Once per standstill `stream.stale`, to newcomers as well, and `stream.fresh` when it goes on.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from monitor.clock import Clock
from monitor.errors import Unavailable
from monitor.events.codec import format_time
from monitor.fanout.hub import Hub

STALE_S: Final = 5.0
"""Longer than any healthy batch takes."""

_LOOK_S: Final = 1.0


class _Standing(NamedTuple):
    """Since when a partition stands at an offset."""

    offset: int
    since_s: float
    since_us: int


class Standstill:
    """Looks once a second whether there is something that is not released, in any partition: one may be halted while
    others go on.
    """

    def __init__(self, hub: Hub, lag: Callable[[], Awaitable[Mapping[int, int]]], clock: Clock) -> None:
        """`lag` counts the records that are not folded, by partition; it raises Unavailable when nobody knows."""
        self._hub, self._lag, self._clock = hub, lag, clock
        self._standing: dict[int, _Standing] = {}
        self._note({})

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Compare with what there was before."""
        behind = await self._behind()
        self._note(behind)
        waiting_s = self._clock.monotonic_s() - STALE_S
        stale = [self._standing[at] for at in self._standing if behind is None or behind.get(at)]
        oldest = min((it for it in stale if it.since_s <= waiting_s), key=lambda it: it.since_s, default=None)
        if oldest is not None:
            lag = None if behind is None else sum(behind.values())
            self._hub.stale({"since": format_time(oldest.since_us), "lag": lag})
        else:
            self._hub.freshen()

    def _note(self, behind: Mapping[int, int] | None) -> None:
        """Begin anew with partitions that moved, and with those that nothing waits for."""
        now = (self._clock.monotonic_s(), self._clock.now_us())
        for partition, offset in enumerate(self._hub.position.offsets):
            was = self._standing.get(partition)
            is_idle = behind is not None and not behind.get(partition)
            if was is None or was.offset != offset or is_idle:
                self._standing[partition] = _Standing(offset, *now)

    async def _behind(self) -> Mapping[int, int] | None:
        """How many records wait; None = the journal or the store does not answer."""
        try:
            return await self._lag()
        except Unavailable:
            return None
