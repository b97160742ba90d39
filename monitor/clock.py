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
