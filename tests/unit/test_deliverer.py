"""What is owed arrives: once where the receiver takes it, again where it does not. Stores and sockets are real."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.access.sealing import Sealer
from monitor.clock import Clock, SystemClock
from monitor.deliverer import CONCURRENCY, LEASE_S, Deliverer
from monitor.errors import StoreUnavailable
from monitor.projections.fold import Changes
from monitor.store.base import AttemptRow, Commit, DeliveryQuery, DeliveryRow, Store, Writer
from monitor.store.memory import MemoryStore
from monitor.store.sqlite import open_sqlite_store
from monitor.telemetry.metrics import Metrics
from monitor.webhooks.delivery import Planned
from monitor.webhooks.endpoint import MAX_IN_FLIGHT, SECRET_PURPOSE, Endpoint
from monitor.webhooks.planner import Planner
from monitor.webhooks.posting import Poster
from monitor.webhooks.sender import open_sender
from monitor.webhooks.targets import Targets
from tests.support.clocks import ManualClock
from tests.support.receiver import LOOPBACK, Receiver, Request, accepting_after, answering, hanging, receiving
from tests.support.service import eventually
from tests.support.webhooks import BODIES, KEY, make_endpoint, make_release

SEALER = Sealer(bytes(32))
# Long enough for an answer on a busy machine, short enough to wait for the lack of one.
HASTY_S = 1.0


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Each kind of store."""
    opened: Store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    yield opened
    await opened.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything until it is told otherwise."""
    async with receiving() as listening:
        yield listening


@pytest.fixture
def clock() -> ManualClock:
    """Time that passes when a test says so."""
    return ManualClock()


async def register(store: Store, url: str, id_: str = "wh_1", **members: Any) -> Endpoint:
    """An endpoint that wants everything."""
    endpoint = make_endpoint(id_, url=url, sealed_secret=SEALER.seal(SECRET_PURPOSE, KEY), **members)
    return await store.write(lambda writer: writer.add_endpoint(endpoint))


async def owe(store: Store, clock: Clock, endpoints: Iterable[Endpoint], *event_ids: str) -> list[Planned]:
    """Events that happened, planned and committed as the pipeline does it."""
    releases = [make_release(event_id=event_id, data={"n": event_id}) for event_id in event_ids]
    planned = Planner(endpoints, BODIES).plan(releases, {}, clock.now_us())
    await store.write(lambda writer: writer.commit(Commit(Changes(), {}, planned)))
    return planned


@asynccontextmanager
async def delivering(
    store: Store, clock: Clock, *, name: str = "here", concurrency: int = CONCURRENCY
) -> AsyncIterator[Deliverer]:
    """A running deliverer; stopped at the end, giving sends no time."""
    async with open_sender(Targets(LOOPBACK)) as sender:
        deliverer = Deliverer(
            name=name,
            store=store,
            poster=Poster(sender, SEALER),
            clock=clock,
            chance=lambda: 0.5,
            metrics=Metrics(),
            concurrency=concurrency,
        )
        running = asyncio.create_task(deliverer.run())
        try:
            yield deliverer
        finally:
            await deliverer.stop(grace_s=0)
            await running


async def rows(store: Store, endpoint: Endpoint) -> list[tuple[DeliveryRow, list[AttemptRow]]]:
    """Deliveries of an endpoint, oldest first, each with its attempts."""
    return await store.read(
        lambda reader: [
            (row, list(reader.attempts(row.id)))
            for row in reversed(reader.deliveries(DeliveryQuery(endpoint.key), 1000))
        ]
    )


async def recorded(
    store: Store, endpoint: Endpoint, *states: str, passing: ManualClock | None = None
) -> list[tuple[DeliveryRow, list[AttemptRow]]]:
    """The rows, once the deliveries are in these states; time passes meanwhile where a clock is given."""
    found: list[Any] = []

    async def are_so() -> bool:
        if passing is not None:
            await passing.advance(5)
        found[:] = await rows(store, endpoint)
        return [row.state for row, _ in found] == list(states)

    await eventually(are_so, what=lambda: str(found))
    return found


async def passing_until(clock: ManualClock, is_so: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    """Let time pass, second by second, until it is so."""

    async def step() -> bool:
        await clock.advance(1)
        answer = is_so()
        return answer if isinstance(answer, bool) else await answer

    await eventually(step)


def is_signed(request: Request) -> bool:
    """What a receiver checks, written down from the specification."""
    content = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest()).decode()
    return request.headers["webhook-signature"].split(" ") == [f"v1,{expected}"]


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


async def test_refused_delivery_comes_again_the_same(store: Store, receiver: Receiver, clock: ManualClock) -> None:
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


async def test_retry_after_is_waited_for(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Case 25: 429 with Retry-After 120 comes again after 120 s and not before."""
    endpoint = await register(store, receiver.url)
    await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(answering(429, retry_after="120"), answering(200))
    async with delivering(store, clock):
        await recorded(store, endpoint, "delivered", passing=clock)
    first_s, second_s = (int(request.headers["webhook-timestamp"]) for request in receiver.requests)
    assert second_s - first_s >= 120


@pytest.mark.parametrize("status", [302, 307])
async def test_redirect_is_a_failure(store: Store, receiver: Receiver, clock: ManualClock, status: int) -> None:
    """Case 23: it is recorded, not followed."""
    endpoint = await register(store, receiver.url)
    await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(answering(status, location=receiver.url))
    async with delivering(store, clock):
        await receiver.received(1)
        ((row, attempts),) = await recorded(store, endpoint, "pending")
    assert [(one.status, one.error) for one in attempts] == [(status, "redirect")]
    assert (len(receiver.requests), row.due_us) == (1, clock.now_us() + 5_000_000)


async def test_gone_receiver_is_not_asked_again(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Case 24: 410 disables the endpoint, and holds what it is owed."""
    endpoint = await register(store, receiver.url)
    await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(answering(410))

    async def is_disabled() -> bool:
        stored = await store.read(lambda reader: reader.endpoint_of(endpoint.key))
        return stored is not None and (stored.status, stored.reason) == ("disabled", "gone")

    async with delivering(store, clock) as deliverer:
        await eventually(is_disabled)
        await owe(store, clock, [endpoint], "ev_2")
        deliverer.wake()
        await clock.advance(60)
        (_, attempts), _ = await recorded(store, endpoint, "pending", "pending")
    assert ([(one.status, one.error) for one in attempts], len(receiver.requests)) == ([(410, "gone")], 1)


async def test_hanging_receiver_is_a_timeout(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Case 19: the attempt ends at the deadline and says so."""
    endpoint = await register(store, receiver.url, timeout_s=HASTY_S)
    await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(hanging)
    async with delivering(store, clock):
        await receiver.received(1)
        ((_, attempts),) = await recorded(store, endpoint, "pending")
    assert [(one.status, one.error) for one in attempts] == [(None, "timeout")]


async def test_slow_receiver_holds_up_no_other(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Case 12: a lane takes its share of the room and no more, however much is owed to it."""
    async with receiving() as slow:
        slow.behave(hanging)
        hung, healthy = await register(store, slow.url, "wh_slow"), await register(store, receiver.url, "wh_1")
        await owe(store, clock, [hung], *map(str, range(100)))
        await owe(store, clock, [healthy], *map(str, range(20)))
        async with delivering(store, clock, concurrency=MAX_IN_FLIGHT + 2):
            await slow.received(MAX_IN_FLIGHT)
            await recorded(store, healthy, *["delivered"] * 20)
            assert len(slow.requests) == MAX_IN_FLIGHT


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


# --- crashes and stops -----------------------------------------------------------------------------------------------


def claim_as(name: str, clock: Clock) -> Callable[[Writer], Any]:
    """What a deliverer does right before it dies."""
    until_us = clock.now_us() + round(LEASE_S * 1_000_000)
    return lambda writer: writer.claim(now_us=clock.now_us(), lease=f"{name}.1", until_us=until_us, limit=10)


async def test_claim_of_a_dead_deliverer_is_taken_over(store: Store, receiver: Receiver, clock: ManualClock) -> None:
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


async def test_late_end_changes_nothing(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Case 6: a send that outlives its lease is recorded, but the delivery is the new owner's."""
    endpoint = await register(store, receiver.url, timeout_s=HASTY_S)
    await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(hanging)
    async with delivering(store, clock):
        await receiver.received(1)
        after_the_lease = ManualClock(clock.now_us() + round(LEASE_S * 1_000_000) + 1)
        await store.write(claim_as("elsewhere", after_the_lease))

        async def first_has_ended() -> bool:
            return (await rows(store, endpoint))[0][1][0].error == "timeout"

        await eventually(first_has_ended)
        ((row, attempts),) = await rows(store, endpoint)
    assert row.state == "leased"
    assert [(one.n, one.error) for one in attempts] == [(1, "timeout"), (2, None)]


async def test_removed_endpoint_ends_without_effect(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Case 45: what is under way may end, what is owed is cancelled, the loop goes on."""
    endpoint, other = (
        await register(store, receiver.url, timeout_s=HASTY_S),
        await register(store, receiver.url, "wh_2"),
    )
    await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(hanging, answering(200))
    async with delivering(store, clock) as deliverer:
        await receiver.received(1)
        await store.write(lambda writer: writer.remove_endpoint(endpoint.team, endpoint.id))
        await owe(store, clock, [other], "ev_2")
        deliverer.wake()
        await recorded(store, other, "delivered")
        await passing_until(clock, lambda: deliverer.statistics()[:2] == (0, 0))
    assert [row.state for row, _ in await rows(store, endpoint)] == ["cancelled"]


async def test_stop_lets_a_send_end(store: Store, receiver: Receiver, clock: ManualClock) -> None:
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


async def test_stop_gives_back_what_does_not_end(store: Store, receiver: Receiver, clock: ManualClock) -> None:
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


class FailingStore:
    """A store whose writes fail while it is told to."""

    def __init__(self, inner: Store) -> None:
        self.fails = False
        self.failures = 0
        self.read, self.close, self._write = inner.read, inner.close, inner.write

    async def write(self, work: Callable[[Writer], Any], *, durable: bool = False) -> Any:
        """The inner store's, or StoreUnavailable."""
        if self.fails:
            self.failures += 1
            raise StoreUnavailable
        return await self._write(work, durable=durable)


async def test_outage_of_the_store_loses_no_attempt(store: Store, receiver: Receiver, clock: ManualClock) -> None:
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
        await passing_until(clock, lambda: failing.failures > 2)
        assert deliverer.statistics()[:2] == (0, 1)
        failing.fails = False
        ((_, attempts),) = await recorded(store, endpoint, "delivered", passing=clock)
    assert ([one.status for one in attempts], len(receiver.requests)) == ([200], 1)
