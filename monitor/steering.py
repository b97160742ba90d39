"""Keeps the clock of a process with the store's: of many machines that share one, none needs a clock that is right."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from monitor.clock import SteeredClock
from monitor.errors import StoreUnavailable

ROUND_S: Final = 60.0
"""Between two looks: quartz drifts by some milliseconds meanwhile."""

_AGAIN_S: Final = 1.0

WORTH_TELLING_S: Final = 2.0
"""A wall clock that is off by more than this is told of, once an hour: other programs go by it."""

_TOLD_EVERY_S: Final = 3600.0


class StoreTime(Protocol):
    """Asks the store what time it is."""

    def __call__(self, monotonic_s: Callable[[], float]) -> Awaitable[tuple[int, float]]:
        """The store's time in microseconds, and what `monotonic_s` said at that moment. Raises StoreUnavailable."""
        ...


class Steering:
    """Looks at the store's clock once a minute."""

    def __init__(self, clock: SteeredClock, store_time: StoreTime) -> None:
        self._clock, self._store_time = clock, store_time
        self._told_s: float | None = None
        self._log = structlog.get_logger("clock")

    async def run(self) -> None:
        """Keep with it until cancelled."""
        while True:
            try:
                await self._clock.sleep(ROUND_S)
                await self.look()
            except StoreUnavailable as error:
                self._log.warning("the store's clock cannot be looked at", reason=error.message)
                await self._clock.sleep(_AGAIN_S)

    async def look(self) -> None:
        """Go by what the store's clock shows now. Raises StoreUnavailable."""
        self._clock.steer(*await self._store_time(self._clock.monotonic_s))
        if abs(self._clock.skew_s) > WORTH_TELLING_S and self._is_time_to_tell():
            self._log.warning(
                "this machine's clock is not that of the store, which is gone by; set it", ahead_s=self._clock.skew_s
            )

    def _is_time_to_tell(self) -> bool:
        now_s = self._clock.monotonic_s()
        if self._told_s is not None and now_s - self._told_s < _TOLD_EVERY_S:
            return False
        self._told_s = now_s
        return True
