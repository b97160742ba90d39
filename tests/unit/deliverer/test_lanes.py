"""Nobody's trouble is anybody else's: lanes, their breakers, their rates, and the room that all of them share."""

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from monitor.deliverer import CONCURRENCY, MOST_IN_FLIGHT, PATIENCE_S, RECHECK_S
from monitor.store.base import Store, Writer
from monitor.webhooks.endpoint import MAX_IN_FLIGHT, Rate
from monitor.webhooks.endpoint import MOST_IN_FLIGHT as MOST_OF_ONE
from monitor.webhooks.lane import enabled
from tests.support.clocks import ManualClock, settle
from tests.support.delivering import (
    delivering,
    idle,
    owe,
    pass_time,
    passing_until,
    recorded,
    register,
    rows,
    stored,
)
from tests.support.receiver import Behaviour, Receiver, answering, cutting, hanging, receiving

HOUR_S = 3600


class Busy:
    """A receiver's behaviour that accepts once it is told, and knows how many it worked on at a time."""

    def __init__(self, *, told: bool = True) -> None:
        self.told = asyncio.Event()
        if told:
            self.told.set()
        # How many had been accepted before, and how many were worked on, with each request.
        self.seen: list[tuple[int, int]] = []
        self._accepted = self._open = 0

    @property
    def most(self) -> int:
        """Worked on at a time."""
        return max(at_once for _, at_once in self.seen)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The behaviour."""
        self._open += 1
        self.seen.append((self._accepted, self._open))
        await self.told.wait()
        await settle()
        self._open -= 1
        self._accepted += 1
        await answering(200)(reader, writer)


def in_turns(*behaviours: Behaviour) -> Callable[[], Behaviour]:
    """One behaviour after the other, again and again."""
    turn = iter(range(1_000_000))
    return lambda: behaviours[next(turn) % len(behaviours)]


# --- one lane among others -------------------------------------------------------------------------------------------


async def test_case_12_slow_receiver_holds_up_no_other(store: Store, receiver: Receiver, clock: ManualClock) -> None:
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


async def test_hundreds_that_hang_delay_others_by_moments(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """A send that takes long makes room for another: the whole room is taken for little more than PATIENCE_S."""
    lanes = CONCURRENCY // MAX_IN_FLIGHT + 4
    async with receiving() as slow:
        slow.behave(hanging)
        hung = [await register(store, slow.url, f"wh_{at}", timeout_s=30.0) for at in range(lanes)]
        await owe(store, clock, hung, *map(str, range(MAX_IN_FLIGHT)))
        async with delivering(store, clock) as deliverer:
            await slow.received(CONCURRENCY)
            healthy = await register(store, receiver.url, "wh_healthy")
            await owe(store, clock, [healthy], "ev_1")
            deliverer.wake()
            await settle()
            assert (receiver.requests, deliverer.statistics().in_flight) == ([], CONCURRENCY)
            owed_us = clock.now_us()
            await passing_until(clock, lambda: bool(receiver.requests))
            ((_, (attempt,)),) = await recorded(store, healthy, "delivered")
            assert attempt.started_us - owed_us <= (PATIENCE_S + 2 * RECHECK_S) * 1_000_000
            # All others hang too by now: no bound was lifted, only moved.
            await slow.received(lanes * MAX_IN_FLIGHT)
            assert lanes * MAX_IN_FLIGHT == deliverer.statistics().in_flight < MOST_IN_FLIGHT


async def test_case_12_slow_receivers_never_take_all_room(
    store: Store, receiver: Receiver, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receivers that take half a minute and as many requests as they can get leave room for others from the start."""
    monkeypatch.setattr("monitor.deliverer.MOST_IN_FLIGHT", 64)
    async with receiving() as slow:
        slow.behave(hanging)
        greedy = [
            await register(store, slow.url, f"wh_{at}", timeout_s=30.0, max_in_flight=MOST_OF_ONE) for at in range(8)
        ]
        await owe(store, clock, greedy, *map(str, range(MOST_OF_ONE)))
        async with delivering(store, clock) as deliverer:
            await slow.received(64 // 2)
            for _ in range(5):
                await clock.advance(1)
                await settle()
            assert deliverer.statistics().in_flight == 64 // 2
            healthy = await register(store, receiver.url, "wh_healthy")
            await owe(store, clock, [healthy], *map(str, range(20)))
            deliverer.wake()
            # Before any of those that hang is given up: no time passes.
            await recorded(store, healthy, *["delivered"] * 20)


async def test_case_18_cap_holds_for_what_somebody_wants_again(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 18: a lane of one serves a manual retry when its turn comes."""
    endpoint = await register(store, receiver.url, max_in_flight=1)
    await owe(store, clock, [endpoint], "ev_1")
    async with delivering(store, clock) as deliverer:
        ((done, _),) = await recorded(store, endpoint, "delivered")
        busy = Busy(told=False)
        receiver.behave(busy)
        await owe(store, clock, [endpoint], "ev_2", "ev_3")
        deliverer.wake()
        await receiver.received(2)
        await store.write(lambda writer: writer.redeliver([done.key], "retry", due_us=clock.now_us()))
        deliverer.wake()
        await settle()
        assert [row.state for row, _ in await rows(store, endpoint)] == ["pending", "leased", "pending"]
        busy.told.set()
        (again, *_) = await recorded(store, endpoint, *["delivered"] * 3)
    assert (busy.most, [one.trigger for one in again[1]]) == (1, ["event", "retry"])


# --- breakers --------------------------------------------------------------------------------------------------------


async def test_case_14_hour_of_outage_costs_hardly_an_attempt(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 14: the breaker opens, under 2 % of the attempts are used up, the lane is drained slowly and in order."""
    executions, events = 10, 12
    endpoint = await register(store, receiver.url, ordering="execution")
    receiver.behave(cutting)
    async with delivering(store, clock) as deliverer:
        for n in range(events):
            for at in range(executions):
                await owe(store, clock, [endpoint], f"ev_{at}_{n}", execution_id=f"exec_{at}")
            deliverer.wake()
            await pass_time(clock, deliverer, HOUR_S / events, 20)
        waiting = await rows(store, endpoint)
        attempts = sum(len(tried) for _, tried in waiting)
        assert sum(row.step for row, _ in waiting) < 0.02 * 10 * len(waiting)
        assert attempts < 0.02 * 10 * len(waiting)
        dead, busy = len(receiver.requests), Busy()
        receiver.behave(busy)
        await pass_time(clock, deliverer, HOUR_S / 2, HOUR_S / 12)
        assert {row.state for row, _ in await rows(store, endpoint)} == {"delivered"}
    arrived = [request.headers["webhook-id"] for request in receiver.requests[dead:]]
    for execution_id in {row.execution_id for row, _ in waiting}:
        owed = [row.id for row, _ in waiting if row.execution_id == execution_id]
        assert [id_ for id_ in arrived if id_ in owed] == owed
    assert all(at_once <= min(2**accepted, MAX_IN_FLIGHT) for accepted, at_once in busy.seen)


async def test_case_16_receiver_that_flaps_is_never_disabled(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 16: a success within five days is enough, however many failures stand around it."""
    endpoint = await register(store, receiver.url, retry_delays_s=(HOUR_S,))
    turn = in_turns(answering(500), answering(200))

    async def flap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await turn()(reader, writer)

    receiver.behave(flap)
    async with delivering(store, clock) as deliverer:
        for n in range(30):
            await owe(store, clock, [endpoint], f"ev_{n}")
            deliverer.wake()
            await pass_time(clock, deliverer, 6 * HOUR_S, 2 * HOUR_S)
        found = await rows(store, endpoint)
    assert {(row.state, len(attempts)) for row, attempts in found} == {("delivered", 2)}
    assert (await stored(store, endpoint)).status == "active"


# --- rates -----------------------------------------------------------------------------------------------------------


# A thousand rows in each snapshot are no reason to wait for the store in memory.
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_case_17_rate_is_kept_and_waiting_costs_nothing(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 17: of 1,000 that wait, a burst leaves at once and then ten a second; none of them was tried twice."""
    rate, owed = Rate(10.0, 20), 1000
    endpoint = await register(store, receiver.url, rate=rate, max_in_flight=32)
    await owe(store, clock, [endpoint], *map(str, range(owed)))
    began_us = clock.now_us()
    counts: list[tuple[float, int]] = []
    async with delivering(store, clock) as deliverer:
        while len(receiver.requests) < owed:
            await idle(clock, deliverer)
            counts.append(((clock.now_us() - began_us) / 1_000_000, len(receiver.requests)))
            await clock.advance(0.5)
        await recorded(store, endpoint, *["delivered"] * owed)
        found = await rows(store, endpoint)
    assert all(count <= rate.burst + rate.per_s * after_s for after_s, count in counts)
    assert all(count >= 0.9 * rate.per_s * after_s for after_s, count in counts)
    assert counts[0] == (0, rate.burst)
    assert {(row.attempts, row.step) for row, _ in found} == {(1, 0)}


# --- orders and pauses -----------------------------------------------------------------------------------------------


async def test_case_51_order_of_an_execution_waits_for_its_first(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 51: the first event fails twice; later ones of its execution wait for it, other executions flow."""
    endpoint = await register(store, receiver.url, ordering="execution")
    receiver.behave(answering(500), answering(200))
    async with delivering(store, clock) as deliverer:
        first = await owe(store, clock, [endpoint], "ev_1", "ev_2", "ev_3")
        deliverer.wake()
        await recorded(store, endpoint, *["pending"] * 3)
        other = await owe(store, clock, [endpoint], "ev_4", "ev_5", execution_id="exec_2")
        deliverer.wake()
        await recorded(store, endpoint, *["pending"] * 3, *["delivered"] * 2)
        receiver.behave(answering(500), answering(200))
        await recorded(store, endpoint, *["delivered"] * 5, passing=clock)
    arrived = [request.headers["webhook-id"] for request in receiver.requests]
    head, later = first[0].id, [it.id for it in first[1:]]
    assert arrived == [head, *(it.id for it in other), head, head, *later]


@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_case_50_what_happens_meanwhile_is_kept(
    store: Store, receiver: Receiver, clock: ManualClock, status: str
) -> None:
    """Case 50: events of a paused or disabled endpoint wait, counted, and leave when it is resumed."""
    endpoint = await register(store, receiver.url, status=status)
    async with delivering(store, clock) as deliverer:
        await owe(store, clock, [endpoint], "ev_1", "ev_2")
        deliverer.wake()
        await pass_time(clock, deliverer, HOUR_S, 60)
        backlog = await store.read(lambda reader: reader.backlog(endpoint.key))
        assert (backlog.counts["pending"], receiver.requests) == (2, [])

        def resume(writer: Writer) -> None:
            writer.update_endpoint(replace(endpoint, status="active", reason=None))
            writer.put_lane(endpoint.key, enabled(writer.lane(endpoint.key)))

        await store.write(resume)
        deliverer.wake()
        found = await recorded(store, endpoint, "delivered", "delivered")
    assert [len(attempts) for _, attempts in found] == [1, 1]
