"""An event loop whose time passes when nothing else can happen: days of retries take milliseconds, nobody waits.

It has neither sockets nor threads: what others run in a thread runs at once. So a schedule is decided by its seed alone
and can be run again.
"""

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

from tests.support.clocks import NOON_US


class TimelessLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop with a time of its own, in seconds since it was made."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.at_rest: Callable[[], None] = lambda: None
        """Called before time passes: everybody waits now."""
        super().__init__(_Leap(self))

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self.now_s

    # What asyncio declares for it names types that are private to its stubs.
    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """What `func` answers, at once."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever asked gets it
            done.set_exception(error)
        return done

    def rest(self, for_s: float | None) -> None:
        """Let time pass until the next timer. Raises AssertionError when there is none."""
        assert for_s is not None, "everybody waits, and not for time"
        self.at_rest()
        self.now_s += for_s


class _Leap(selectors.SelectSelector):
    """Waits for nothing: it moves the loop's time on instead."""

    def __init__(self, loop: TimelessLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout != 0:
            self._loop.rest(timeout)
        return []


class LoopClock:
    """The `Clock` port over the loop that runs; its wall clock may be set."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._noon_us = NOON_US

    def now_us(self) -> int:
        """Wall-clock time in microseconds."""
        return self._noon_us + round(self._loop.time() * 1_000_000)

    def monotonic_s(self) -> float:
        """Seconds since the loop was made."""
        return self._loop.time()

    async def sleep(self, delay_s: float) -> None:
        """Return when `delay_s` seconds have passed."""
        await asyncio.sleep(delay_s)

    def jump(self, by_s: float) -> None:
        """Set the wall clock, forwards or back."""
        self._noon_us += round(by_s * 1_000_000)
