"""Resting ends when somebody wakes, or by the clock; a steered clock goes by another one."""

import asyncio
from collections.abc import Callable

from monitor.clock import SteeredClock, rest
from monitor.errors import StoreUnavailable
from monitor.steering import ROUND_S, Steering
from tests.support.clocks import ManualClock, settle


async def test_rest_ends_by_the_clock() -> None:
    """After the delay, not before it."""
    clock, woken = ManualClock(), asyncio.Event()
    resting = asyncio.create_task(rest(woken, 5.0, clock))
    await clock.advance(4.9)
    assert not resting.done()
    await clock.advance(0.2)
    assert resting.done()
    assert woken.is_set()


async def test_rest_ends_when_somebody_wakes() -> None:
    """At once, and the alarm is gone with it."""
    clock, woken = ManualClock(), asyncio.Event()
    before = asyncio.all_tasks()
    resting = asyncio.create_task(rest(woken, 5.0, clock))
    await settle()
    woken.set()
    await resting
    await settle()
    assert asyncio.all_tasks() == before
    woken.clear()
    await clock.advance(10.0)
    assert not woken.is_set()


async def test_rest_that_is_cancelled_rings_no_more() -> None:
    """Whoever gives up hears nothing later."""
    clock, woken = ManualClock(), asyncio.Event()
    resting = asyncio.create_task(rest(woken, 5.0, clock))
    await settle()
    resting.cancel()
    await asyncio.gather(resting, return_exceptions=True)
    await clock.advance(10.0)
    assert not woken.is_set()


class Machine(ManualClock):
    """A machine whose wall clock can be set."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


async def test_a_steered_clock_shows_the_other_ones_time() -> None:
    """Counted on from the moment at which it was read, however late that is heard of."""
    own = Machine()
    clock = SteeredClock(own)
    assert clock.now_us() == own.now_us()
    read_s = own.monotonic_s()
    await own.advance(0.2)
    clock.steer(5_000_000, read_s)
    assert clock.now_us() == 5_200_000
    await own.advance(3)
    assert clock.now_us() == 8_200_000


async def test_a_wall_clock_that_is_set_moves_no_steered_one() -> None:
    """Nor one that was wrong from the beginning; how wrong it is can be asked."""
    own = Machine()
    own.ahead_us = 600_000_000
    clock = SteeredClock(own)
    right_us = own.now_us() - 600_000_000
    clock.steer(right_us, own.monotonic_s())
    own.ahead_us = -600_000_000
    await own.advance(1)
    assert (clock.now_us(), clock.skew_s) == (right_us + 1_000_000, -600.0)


async def test_steering_keeps_with_the_stores_clock() -> None:
    """Each minute; a store that does not answer is asked again, and meanwhile time goes on."""
    own = Machine()
    clock = SteeredClock(own)
    answers: list[int | None] = [7_000_000, None, 99_000_000]

    async def store_time(monotonic_s: Callable[[], float]) -> tuple[int, float]:
        answer = answers.pop(0)
        if answer is None:
            raise StoreUnavailable
        return answer, monotonic_s()

    steering = Steering(clock, store_time)
    await steering.look()
    task = asyncio.create_task(steering.run())
    await own.advance(ROUND_S)
    assert clock.now_us() == 67_000_000
    await own.advance(ROUND_S + 1)
    assert answers == []
    assert clock.now_us() == 99_000_000
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
