"""A wall clock that is set back while deliveries wait keeps none of them waiting longer."""

import asyncio

import pytest

from monitor.deliverer import CLOCK_STEP_S, LONGEST_REST_S, Deliverer
from monitor.store.memory import MemoryStore
from monitor.telemetry.metrics import Metrics
from monitor.webhooks.delivery import Answer, Claimed
from monitor.webhooks.posting import Poster
from tests.contracts.ledger_contract import planned
from tests.support.clocks import ManualClock
from tests.support.webhooks import make_endpoint

HOUR_US = 3_600_000_000


class SettableClock(ManualClock):
    """Its wall clock can be set; time goes on as it did."""

    set_us = 0

    def now_us(self) -> int:
        """What the wall clock shows."""
        return super().now_us() + self.set_us


class RefusingPoster(Poster):
    """Every receiver answers 500; it notes when it was asked, by the monotonic clock."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.asked_s: list[float] = []

    async def post(self, claimed: Claimed, now_us: int) -> Answer:
        """500."""
        self.asked_s.append(self._clock.monotonic_s())
        return Answer(500)


@pytest.mark.parametrize("step_us", [-HOUR_US, HOUR_US, 0, round(-0.9 * CLOCK_STEP_S * 1_000_000)])
async def test_case_10_retries_come_in_time_whatever_the_wall_clock_does(step_us: int) -> None:
    """Five seconds after the first attempt, or when the deliverer next looks at the clock; none doubled."""
    clock, store = SettableClock(), MemoryStore()
    poster = RefusingPoster(clock)
    endpoint = await store.write(lambda writer: writer.add_endpoint(make_endpoint(retry_delays_s=(5,))))
    owed = planned("dlv_1", endpoint.key, due_us=clock.now_us())
    await store.write(lambda writer: writer.owe([owed]))
    deliverer = Deliverer(name="here", store=store, poster=poster, clock=clock, chance=lambda: 0.5, metrics=Metrics())
    running = asyncio.create_task(deliverer.run())
    await clock.run_until(lambda: bool(poster.asked_s))
    await clock.advance(1)
    clock.set_us = step_us
    await clock.advance(2 * LONGEST_REST_S)
    first_s, second_s = poster.asked_s
    assert 0 <= second_s - first_s <= LONGEST_REST_S + 6
    await clock.advance(2 * LONGEST_REST_S)
    assert len(poster.asked_s) == 2
    await deliverer.stop(grace_s=0)
    await running
