"""Nothing is lost when a deliverer dies, stops or cannot reach its store. Stores and sockets are real."""

import asyncio

from monitor.deliverer import LEASE_S
from monitor.store.base import Store
from monitor.webhooks.endpoint import MAX_IN_FLIGHT
from tests.support.clocks import ManualClock
from tests.support.delivering import (
    AdjustableClock,
    FailingStore,
    claim_as,
    delivering,
    idle,
    leap,
    notices_to,
    owe,
    passing_until,
    recorded,
    register,
    rows,
)
from tests.support.receiver import Behaviour, Receiver, accepting_after, answering, hanging, receiving
from tests.support.service import eventually

HOUR_S = 3600


def refusing_after(told: asyncio.Event) -> Behaviour:
    """500, once the test says so."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await told.wait()
        await answering(500)(reader, writer)

    return refuse


# --- crashes ---------------------------------------------------------------------------------------------------------


async def test_case_05_claim_of_a_dead_deliverer_is_taken_over(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 5: after the lease, not before; the same id, and the interrupted attempt stays on record."""
    endpoint = await register(store, receiver.url)
    (owed,) = await owe(store, clock, [endpoint], "ev_1")
    (claimed,) = await store.write(claim_as("elsewhere", clock))
    died_us = clock.now_us()
    async with delivering(store, clock):
        ((_, attempts),) = await recorded(store, endpoint, "delivered", passing=clock)
    (request,) = receiver.requests
    assert (claimed.id, request.headers["webhook-id"], request.body) == (owed.id, owed.id, owed.body)
    assert [(one.n, one.error, one.status) for one in attempts] == [(1, "interrupted", None), (2, None, 200)]
    assert attempts[1].started_us - died_us >= LEASE_S * 1_000_000


async def test_deliverer_that_returns_goes_on_at_once(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Under its old name it need not wait for its own leases."""
    endpoint = await register(store, receiver.url)
    await owe(store, clock, [endpoint], "ev_1")
    await store.write(claim_as("here", clock))
    async with delivering(store, clock, name="here"):
        ((_, attempts),) = await recorded(store, endpoint, "delivered")
    assert [one.n for one in attempts] == [1, 2]


async def test_case_06_late_end_changes_nothing(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Case 6: a send that outlives its lease is recorded, but the delivery is the new owner's."""
    endpoint = await register(store, receiver.url)
    await owe(store, clock, [endpoint], "ev_1")
    told = asyncio.Event()
    receiver.behave(refusing_after(told))
    async with delivering(store, clock):
        await receiver.received(1)
        after_the_lease = ManualClock(clock.now_us() + round(LEASE_S * 1_000_000) + 1)
        await store.write(claim_as("elsewhere", after_the_lease))
        told.set()

        async def first_has_ended() -> bool:
            return (await rows(store, endpoint))[0][1][0].error == "status"

        await eventually(first_has_ended)
        ((row, attempts),) = await rows(store, endpoint)
    assert row.state == "leased"
    assert [(one.n, one.error) for one in attempts] == [(1, "status"), (2, None)]


async def test_case_45_removed_endpoint_ends_without_effect(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 45: what is under way may end, what is owed is cancelled, the loop goes on."""
    endpoint, other = await register(store, receiver.url), await register(store, receiver.url, "wh_2")
    await owe(store, clock, [endpoint], "ev_1")
    told = asyncio.Event()
    receiver.behave(accepting_after(told), answering(200))
    async with delivering(store, clock) as deliverer:
        await receiver.received(1)
        await store.write(lambda writer: writer.remove_endpoint(endpoint.team, endpoint.id))
        await owe(store, clock, [other], "ev_2")
        deliverer.wake()
        await recorded(store, other, "delivered")
        told.set()
        await idle(clock, deliverer)
    assert [row.state for row, _ in await rows(store, endpoint)] == ["cancelled"]


async def test_case_11_stop_lets_a_send_end(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Case 11: what ends within the grace is recorded, and nothing new is begun."""
    endpoint = await register(store, receiver.url)
    told = asyncio.Event()
    receiver.behave(accepting_after(told))
    await owe(store, clock, [endpoint], "ev_1")
    async with delivering(store, clock) as deliverer:
        await receiver.received(1)
        stopping = asyncio.create_task(deliverer.stop(grace_s=10))
        await asyncio.sleep(0)
        await owe(store, clock, [endpoint], "ev_2")
        deliverer.wake()
        told.set()
        await stopping
        states = [row.state for row, _ in await rows(store, endpoint)]
    assert (states, len(receiver.requests)) == (["delivered", "pending"], 1)


async def test_case_11_stop_in_the_middle_of_hundreds_leaves_no_lease(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 11: of 200 in flight half end in time, the others are given back; the next deliverer takes them at once."""
    lanes = 200 // MAX_IN_FLIGHT
    told = asyncio.Event()
    async with receiving() as slow:
        receiver.behave(accepting_after(told))
        slow.behave(hanging)
        urls = [(receiver if at % 2 else slow).url for at in range(lanes)]
        endpoints = [await register(store, url, f"wh_{at}") for at, url in enumerate(urls)]
        await owe(store, clock, endpoints, *map(str, range(MAX_IN_FLIGHT + 1)))
        async with delivering(store, clock) as deliverer:
            in_time = lanes // 2 * MAX_IN_FLIGHT
            await receiver.received(in_time)
            await slow.received(200 - in_time)
            stopping = asyncio.create_task(deliverer.stop(grace_s=4.0))
            await asyncio.sleep(0)
            told.set()
            await stopping
            backlog = await store.read(lambda reader: reader.backlog(None))
            assert backlog.counts == {"pending": 200 - in_time + lanes, "leased": 0, "held": 0}
        slow.behave(answering(200))
        async with delivering(store, clock, name="next"):
            for endpoint in endpoints:
                await recorded(store, endpoint, *["delivered"] * (MAX_IN_FLIGHT + 1))
    interrupted = [row.attempts for row, _ in await rows(store, endpoints[0])]
    assert interrupted == [*[2] * MAX_IN_FLIGHT, 1]


async def test_case_11_stop_gives_back_what_does_not_end(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Case 11: after a stop nothing is leased, and the next deliverer takes it at once."""
    endpoint = await register(store, receiver.url)
    await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(hanging, answering(200))
    async with delivering(store, clock) as deliverer:
        await receiver.received(1)
        await deliverer.stop(grace_s=0.05)
        ((row, attempts),) = await rows(store, endpoint)
        assert (row.state, [one.error for one in attempts]) == ("pending", ["interrupted"])
    async with delivering(store, clock, name="next"):
        await recorded(store, endpoint, "delivered")


async def test_case_07_outage_of_the_store_loses_no_attempt(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 7: what ended meanwhile is recorded when the store is back, without a second send."""
    failing = FailingStore(store)
    endpoint = await register(store, receiver.url)
    await owe(store, clock, [endpoint], "ev_1")
    told = asyncio.Event()
    receiver.behave(accepting_after(told))
    async with delivering(failing, clock) as deliverer:
        await receiver.received(1)
        failing.fails = True
        told.set()

        async def is_unrecorded() -> bool:
            return deliverer.statistics()[:2] == (0, 1)

        await eventually(is_unrecorded)
        await passing_until(clock, lambda: failing.failures > 2)
        assert await is_unrecorded()
        failing.fails = False
        ((_, attempts),) = await recorded(store, endpoint, "delivered", passing=clock)
    assert ([one.status for one in attempts], len(receiver.requests)) == ([200], 1)


async def test_case_06_late_end_counts_for_nobody(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Case 6: where both attempts at a delivery end in one transaction, only the one that holds the lease counts."""
    failing = FailingStore(store)
    hearer = await register(store, receiver.url, "wh_hearer", events=("delivery.exhausted",))
    async with receiving() as slow:
        endpoint = await register(store, slow.url, retry_delays_s=())
        told = asyncio.Event()
        slow.behave(refusing_after(told))
        await owe(store, clock, [endpoint], "ev_1")
        async with delivering(failing, clock) as deliverer:
            await slow.received(1)
            leap(clock, LEASE_S + 1)
            deliverer.wake()
            await slow.received(2)
            failing.fails = True
            told.set()
            await passing_until(clock, lambda: deliverer.statistics()[:2] == (0, 2))
            failing.fails = False
            await recorded(store, hearer, "delivered", passing=clock)
            await idle(clock, deliverer)
            ((row, attempts),) = await rows(store, endpoint)
            lane = await store.read(lambda reader: reader.lane(endpoint.key))
            (notice,) = await notices_to(store, hearer)
    assert (row.state, row.step, [one.error for one in attempts]) == ("failed", 1, ["status", "status"])
    assert (lane.failures, notice["attempts"]) == (1, 2)


async def test_case_10_clock_that_is_put_forward_repeats_what_is_in_flight(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 10: an hour later all leases have ended. Each send is repeated once, under the right time; no storm."""
    count = MAX_IN_FLIGHT // 2
    endpoint = await register(store, receiver.url, max_in_flight=count)
    told = asyncio.Event()
    receiver.behave(accepting_after(told))
    await owe(store, clock, [endpoint], *map(str, range(2 * count)))
    async with delivering(store, clock) as deliverer:
        await receiver.received(count)
        leap(clock, HOUR_S)
        deliverer.wake()
        await receiver.received(2 * count)
        told.set()
        await recorded(store, endpoint, *["delivered"] * 2 * count)
        await idle(clock, deliverer)
        found = await rows(store, endpoint)
    assert [(row.attempts, row.step) for row, _ in found] == [*[(2, 0)] * count, *[(1, 0)] * count]
    stamps_s = [int(request.headers["webhook-timestamp"]) for request in receiver.requests]
    assert stamps_s == [*[clock.now_us() // 1_000_000 - HOUR_S] * count, *[clock.now_us() // 1_000_000] * 2 * count]


async def test_case_10_clock_that_is_put_back_freezes_nobody(store: Store, receiver: Receiver) -> None:
    """Case 10: an hour earlier, what happens leaves at once, and what is in flight is neither lost nor repeated."""
    clock = AdjustableClock()
    endpoint = await register(store, receiver.url)
    told = asyncio.Event()
    receiver.behave(accepting_after(told))
    await owe(store, clock, [endpoint], "ev_1")
    async with delivering(store, clock) as deliverer:
        await receiver.received(1)
        clock.adjust(-HOUR_S)
        told.set()
        await recorded(store, endpoint, "delivered")
        await idle(clock, deliverer)
        await owe(store, clock, [endpoint], "ev_2")
        deliverer.wake()
        found = await recorded(store, endpoint, "delivered", "delivered")
    assert [len(attempts) for _, attempts in found] == [1, 1]
    assert int(receiver.requests[1].headers["webhook-timestamp"]) == clock.now_us() // 1_000_000


async def test_case_10_what_ends_after_the_clock_was_put_back_is_waited_for(store: Store, receiver: Receiver) -> None:
    """Case 10: what a receiver asks for counts from the time that it was asked, by the clock as it is then."""
    clock = AdjustableClock()
    endpoint = await register(store, receiver.url)
    told = asyncio.Event()

    async def throttle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await told.wait()
        await answering(429, retry_after="120")(reader, writer)

    receiver.behave(throttle, answering(200))
    await owe(store, clock, [endpoint], "ev_1")
    async with delivering(store, clock) as deliverer:
        await receiver.received(1)
        clock.adjust(-HOUR_S)
        told.set()
        await idle(clock, deliverer)
        ((row, _),) = await rows(store, endpoint)
        assert row.due_us == clock.now_us() + 120_000_000
