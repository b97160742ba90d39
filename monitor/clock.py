"""Time as a port: wall clock, monotonic clock and sleeping, so that tests decide what time it is."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the service needs of time."""

    def now_us(self) -> int:
        """Wall-clock time: microseconds since 1970-01-01 UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds of a clock that never steps back; only differences mean something."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds; cancelled, it has no effect."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


class SteeredClock:
    """Goes by another clock, such as that of a database that many processes share: a wrong wall clock of this machine,
    or one that is set, moves nothing. Between two looks at the other clock it counts on by the monotonic one.
    """

    def __init__(self, own: Clock) -> None:
        """It is the machine's own until it is steered."""
        self._own = own
        self._steered_us, self._steered_s = own.now_us(), own.monotonic_s()

    def now_us(self) -> int:
        return self._steered_us + round((self._own.monotonic_s() - self._steered_s) * 1_000_000)

    def monotonic_s(self) -> float:
        return self._own.monotonic_s()

    async def sleep(self, delay_s: float) -> None:
        await self._own.sleep(delay_s)

    @property
    def skew_s(self) -> float:
        """By how much the machine's wall clock is ahead."""
        return (self._own.now_us() - self.now_us()) / 1_000_000

    def steer(self, now_us: int, at_s: float) -> None:
        """The other clock showed `now_us` at `at_s` (monotonic)."""
        self._steered_us, self._steered_s = now_us, at_s


async def rest(woken: asyncio.Event, delay_s: float, clock: Clock) -> None:
    """Return once `woken` is set: by somebody, or by the clock after `delay_s` seconds."""

    async def ring() -> None:
        await clock.sleep(delay_s)
        woken.set()

    alarm = asyncio.create_task(ring(), name="alarm")
    try:
        await woken.wait()
    finally:
        alarm.cancel()
