"""Resting ends when somebody wakes, or by the clock; either way nothing is left behind."""

import asyncio

from monitor.clock import rest
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
