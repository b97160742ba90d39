"""Deliverers of several processes share what is owed: each has its own store over one PostgreSQL, sockets are real."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.deliverer import LEASE_S, SHARED_PORTION, SHARED_REST_S, Deliverer
from monitor.store.postgres import PostgresStore, open_postgres_store
from tests.support.clocks import ManualClock
from tests.support.delivering import claim_as, delivering, owe, recorded, register
from tests.support.receiver import Receiver, receiving
from tests.support.service import eventually

LANES, ROUNDS = 100, 3


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[list[PostgresStore]]:
    """Of a projector and two deliverers."""
    opened = [await open_postgres_store(postgres_url) for _ in range(3)]
    yield opened
    for store in opened:
        await store.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """It accepts everything."""
    async with receiving() as listening:
        yield listening


def delivered_by(deliverer: Deliverer) -> int:
    """How many."""
    metric: Any = deliverer._metrics.deliveries.labels(outcome="delivered")
    return int(metric._value.get())


async def test_two_deliverers_share_lanes_about_evenly(stores: list[PostgresStore], receiver: Receiver) -> None:
    """What comes at one moment for a hundred lanes is nobody's alone."""
    planner, clock = stores[0], SystemClock()
    endpoints = [await register(planner, receiver.url, f"wh_{n}") for n in range(LANES)]
    options: Any = {"portion": SHARED_PORTION, "longest_rest_s": SHARED_REST_S}
    async with (
        delivering(stores[1], clock, name="a", **options) as a,
        delivering(stores[2], clock, name="b", **options) as b,
    ):
        for store, deliverer in ((stores[1], a), (stores[2], b)):
            store.hints.listen("deliveries", deliverer.wake)
        for number in range(ROUNDS):
            await owe(planner, clock, endpoints, f"ev_{number}")

            async def are_delivered(count: int = (number + 1) * LANES) -> bool:
                return delivered_by(a) + delivered_by(b) == count

            await eventually(are_delivered)
        shares = delivered_by(a), delivered_by(b)
    print(f"of {LANES * ROUNDS}: {shares}")
    assert min(shares) >= LANES * ROUNDS // 4
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == len(receiver.requests)


@pytest.mark.parametrize("is_told", [True, False])
async def test_deliverer_hears_of_others_commits(
    stores: list[PostgresStore], receiver: Receiver, is_told: bool
) -> None:
    """At once by a hint; where that is lost, with its next look, which is never far."""
    planner, clock = stores[0], SystemClock()
    endpoint = await register(planner, receiver.url)
    async with delivering(stores[1], clock, longest_rest_s=60.0 if is_told else SHARED_REST_S) as deliverer:
        if is_told:
            stores[1].hints.listen("deliveries", deliverer.wake)
        await owe(planner, clock, [endpoint], "ev_1")
        await recorded(planner, endpoint, "delivered")  # it listens now
        began_s = time.monotonic()
        await owe(planner, clock, [endpoint], "ev_2")

        async def is_heard() -> bool:
            return len(receiver.requests) == 2

        await eventually(is_heard, within_s=30.0)
        print(f"told: {is_told}, heard after {time.monotonic() - began_s:.3f} s")


async def test_leases_of_a_dead_process_end(stores: list[PostgresStore], receiver: Receiver) -> None:
    """Killed with a delivery in its hands, it is missed after the lease and not before; who takes over says so."""
    clock = ManualClock()
    endpoint = await register(stores[0], receiver.url)
    await owe(stores[0], clock, [endpoint], "ev_1")
    (claimed,) = await stores[1].write(claim_as("dead", clock), shared=True)
    died_us = clock.now_us()
    async with delivering(stores[2], clock, longest_rest_s=SHARED_REST_S):
        ((_, attempts),) = await recorded(stores[0], endpoint, "delivered", passing=clock)
    assert [request.headers["webhook-id"] for request in receiver.requests] == [claimed.id]
    assert [(one.n, one.error, one.status) for one in attempts] == [(1, "interrupted", None), (2, None, 200)]
    assert attempts[1].started_us - died_us >= LEASE_S * 1_000_000
