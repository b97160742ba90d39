"""What is owed arrives: once where the receiver takes it, again where it does not. Stores and sockets are real."""

import pytest

from monitor.access.sealing import Sealer
from monitor.clock import SystemClock
from monitor.store.base import Store
from monitor.webhooks.endpoint import SECRET_PURPOSE
from tests.support.clocks import ManualClock
from tests.support.delivering import HASTY_S, delivering, is_signed, owe, recorded, register, rows
from tests.support.receiver import Receiver, answering, hanging
from tests.support.service import eventually
from tests.support.webhooks import KEY, make_endpoint

# --- arriving --------------------------------------------------------------------------------------------------------


async def test_owed_event_arrives_once_signed(store: Store, receiver: Receiver) -> None:
    """The body that was planned, under the delivery's id; the attempt is on record."""
    clock = SystemClock()
    endpoint = await register(store, receiver.url)
    (owed,) = await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(answering(202, b"thanks"))
    async with delivering(store, clock):
        ((row, attempts),) = await recorded(store, endpoint, "delivered")
    (request,) = receiver.requests
    assert (request.body, request.headers["webhook-id"], is_signed(request)) == (owed.body, owed.id, True)
    assert [(one.n, one.status, one.error, one.answer) for one in attempts] == [(1, 202, None, b"thanks")]
    assert row.due_us is None


async def test_hint_wakes_a_resting_deliverer(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Nothing is polled: time stands still, and the delivery leaves because the pipeline said so."""
    endpoint = await register(store, receiver.url)
    async with delivering(store, clock) as deliverer:
        await owe(store, clock, [endpoint], "ev_1")
        deliverer.wake()
        await recorded(store, endpoint, "delivered")


async def test_backlog_beyond_every_bound_is_worked_off(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Ended sends make room for the next ones, in the lane and over all."""
    endpoint = await register(store, receiver.url)
    await owe(store, clock, [endpoint], *map(str, range(50)))
    async with delivering(store, clock, concurrency=3):
        await recorded(store, endpoint, *["delivered"] * 50)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == len(receiver.requests) == 50


# --- again -----------------------------------------------------------------------------------------------------------


async def test_case_41_refused_delivery_comes_again_the_same(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 41: same id, same bytes, a timestamp and a signature of its own."""
    endpoint = await register(store, receiver.url)
    await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(answering(500, b"broken"), answering(404), answering(200))
    async with delivering(store, clock):
        ((_, attempts),) = await recorded(store, endpoint, "delivered", passing=clock)
    sent = [(request.headers["webhook-id"], request.body) for request in receiver.requests]
    times_s = [int(request.headers["webhook-timestamp"]) for request in receiver.requests]
    assert (len(sent), len(set(sent)), all(map(is_signed, receiver.requests))) == (3, 1, True)
    assert (times_s[1] - times_s[0] >= 5, times_s[2] - times_s[1] >= 300) == (True, True)
    assert [(one.n, one.status, one.error) for one in attempts] == [
        (1, 500, "status"),
        (2, 404, "status"),
        (3, 200, None),
    ]


@pytest.mark.parametrize("status", [302, 307])
async def test_case_23_redirect_is_a_failure(store: Store, receiver: Receiver, clock: ManualClock, status: int) -> None:
    """Case 23: it is recorded, not followed."""
    endpoint = await register(store, receiver.url)
    await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(answering(status, location=receiver.url))
    async with delivering(store, clock):
        await receiver.received(1)
        ((row, attempts),) = await recorded(store, endpoint, "pending")
    assert [(one.status, one.error) for one in attempts] == [(status, "redirect")]
    assert (len(receiver.requests), row.due_us) == (1, clock.now_us() + 5_000_000)


async def test_case_19_hanging_receiver_is_a_timeout(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Case 19: the attempt ends at the deadline and says so."""
    endpoint = await register(store, receiver.url, timeout_s=HASTY_S)
    await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(hanging)
    found: list[tuple[int | None, str | None]] = []

    async def is_over() -> bool:
        ((_, attempts),) = await rows(store, endpoint)
        found[:] = [(one.status, one.error) for one in attempts]
        return found == [(None, "timeout")]

    async with delivering(store, clock):
        await eventually(is_over, what=lambda: str(found))


async def test_unreadable_secret_stops_its_own_endpoint_only(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Trouble of ours is recorded like a receiver's, and the loop goes on."""
    foreign = make_endpoint("wh_0", url=receiver.url, sealed_secret=Sealer(b"x" * 32).seal(SECRET_PURPOSE, KEY))
    broken = await store.write(lambda writer: writer.add_endpoint(foreign))
    endpoint = await register(store, receiver.url)
    await owe(store, clock, [broken, endpoint], "ev_1")
    async with delivering(store, clock):
        await recorded(store, endpoint, "delivered")
        ((_, attempts),) = await recorded(store, broken, "pending")
    assert [(one.status, one.error) for one in attempts] == [(None, "internal")]
