"""A clock that stands still until a test moves it: time as an argument, no sleeping."""

import asyncio
import heapq
import itertools
from collections.abc import Callable

# 2026-11-22T10:30:00Z
NOON_US = 1_795_343_400_000_000

# Far more turns of the loop than any chain of coroutines under test takes between two sleeps.
_SETTLED_AFTER_TURNS = 50


class ManualClock:
    """The `Clock` port, moved by hand; sleepers wake in order of time."""

    def __init__(self, now_us: int = NOON_US) -> None:
        self._start_us = self._now_us = now_us
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now_us(self) -> int:
        """Wall-clock time in microseconds."""
        return self._now_us

    def monotonic_s(self) -> float:
        """Seconds since the clock was made."""
        return (self._now_us - self._start_us) / 1_000_000

    async def sleep(self, delay_s: float) -> None:
        """Return when the clock was moved `delay_s` seconds on."""
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_us + round(delay_s * 1_000_000), next(self._order), woken))
        await woken

    async def advance(self, delay_s: float) -> None:
        """Move on by `delay_s`; whoever sleeps less is woken at its own time and may go on to its next sleep."""
        end_us = self._now_us + round(delay_s * 1_000_000)
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end_us:
            await self._wake_next()
        self._now_us = end_us

    async def run_until(self, is_so: Callable[[], bool]) -> None:
        """Move on from sleeper to sleeper until `is_so`. Raises AssertionError when nobody sleeps any more."""
        await settle()
        while not is_so():
            assert self._sleepers, "nobody waits for the clock, and the condition does not hold"
            await self._wake_next()

    async def _wake_next(self) -> None:
        self._now_us, _, woken = heapq.heappop(self._sleepers)
        if not woken.done():  # a cancelled sleeper is gone
            woken.set_result(None)
            await settle()


async def settle() -> None:
    """Let every coroutine that can go on do so, until all of them wait."""
    for _ in range(_SETTLED_AFTER_TURNS):
        await asyncio.sleep(0)
