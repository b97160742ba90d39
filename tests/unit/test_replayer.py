"""Replays are fed in portions behind everything live, survive every crash, and cost nothing when there are none."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from monitor.access.principal import Principal
from monitor.errors import StoreUnavailable
from monitor.executions.audit import Audit
from monitor.executions.deliveries import Wanted
from monitor.executions.replays import Progress, Replays
from monitor.replayer import PORTION, SLOWEST_S, Replayer
from monitor.store import Store, open_sqlite_store
from monitor.store.delivery_port import DeliveryQuery
from monitor.store.memory import MemoryStore
from monitor.webhooks.delivery import AttemptDetail, Claimed, Outcome, Planned
from tests.support.clocks import ManualClock, settle
from tests.support.service import eventually
from tests.support.webhooks import make_endpoint

WHO = Principal(team="default", name="tester", role="admin")
EVERYTHING = Wanted(statuses=("delivered", "failed", "held"))
MANY = 2 * PORTION + 100


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Each kind of store, with the endpoint wh_1 of key 1."""
    opened: Store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    await opened.write(lambda writer: writer.add_endpoint(make_endpoint(max_in_flight=32)))
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> ManualClock:
    """Time that passes when a test says so."""
    return ManualClock()


class Work:
    """The loop at work, and the desk that gives it work."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store, self.clock = store, clock
        self.woken = 0
        self.replayer = Replayer(store=store, clock=clock, on_due=self._note)
        self.replays = Replays(
            store=store,
            audit=Audit(store, clock),
            clock=clock,
            random_bytes=lambda count: b"\xab" * count,
            on_replay=self.replayer.wake,
            on_due=self._note,
        )

    def _note(self) -> None:
        self.woken += 1

    async def start(self, wanted: Wanted = EVERYTHING) -> str:
        """A new job; returns its id."""
        return (await self.replays.start(WHO, "wh_1", wanted)).replay.id

    async def progress(self, id_: str) -> Progress:
        """How far it is."""
        return await self.replays.single(WHO, id_)

    async def untried(self, count: int) -> None:
        """Return when so many of the job's deliveries wait for their first attempt; time passes meanwhile."""
        found = -1

        async def is_so() -> bool:
            nonlocal found
            await self.clock.advance(SLOWEST_S)
            found = await self.store.read(lambda reader: reader.untried(1))
            return found == count

        await eventually(is_so, what=lambda: f"{found} wait, not {count}")

    async def ended(self, id_: str) -> Progress:
        """The job, once it does not run any more; time passes meanwhile."""

        async def found() -> Progress | None:
            await self.clock.advance(SLOWEST_S)
            progress = await self.progress(id_)
            return None if progress.replay.state == "running" else progress

        ended: Progress = await eventually(found)
        return ended


@asynccontextmanager
async def at_work(store: Store, clock: ManualClock) -> AsyncIterator[Work]:
    """A running loop; ended as a crash ends it."""
    work = Work(store, clock)
    running = asyncio.create_task(work.replayer.run())
    try:
        yield work
    finally:
        assert not running.done(), running.exception()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def ended_deliveries(store: Store, clock: ManualClock, count: int, prefix: str = "dlv") -> None:
    """So many deliveries that have been accepted, owed before now."""
    owed = [planned(f"{prefix}_{n}", clock) for n in range(count)]
    await store.write(lambda writer: writer.owe(owed))
    while claimed := await claim(store, clock):
        await finish(store, clock, claimed)
    await clock.advance(1)


def planned(id_: str, clock: ManualClock) -> Planned:
    """A delivery that is due now."""
    return Planned(id_, 1, f"ev_{id_}", "execution.failed", "default", "exec_1", b"{}", clock.now_us())


async def claim(store: Store, clock: ManualClock) -> list[Claimed]:
    """What a deliverer would send now."""
    now_us = clock.now_us()
    return await store.write(
        lambda writer: writer.claim(now_us=now_us, lease="lease", until_us=now_us + 60_000_000, limit=64)
    )


async def finish(store: Store, clock: ManualClock, claimed: list[Claimed], **ended: Any) -> None:
    """These attempts are over: accepted, unless said otherwise."""
    now_us = clock.now_us()
    accepted: dict[str, Any] = {"status": 200, "error": None, "state": "delivered", "reason": None, "due_us": None}
    said = accepted | ended
    outcomes = [
        Outcome(
            key=it.key,
            endpoint_key=1,
            n=it.n,
            lease=it.lease,
            started_us=now_us,
            finished_us=now_us,
            answer=b"",
            detail=AttemptDetail(it.endpoint.url),
            step=it.step,
            **said,
        )
        for it in claimed
    ]
    await store.write(lambda writer: writer.finish(outcomes))


async def send(store: Store, clock: ManualClock, count: int) -> list[str]:
    """Deliver so many, or all there are; returns their ids in the order in which they left."""
    sent: list[str] = []
    while len(sent) < count and (claimed := await claim(store, clock)):
        await finish(store, clock, claimed)
        sent += [it.id for it in claimed]
    return sent


async def attempts_by_id(store: Store) -> dict[str, int]:
    """How often each delivery was attempted."""
    rows = await store.read(lambda reader: reader.deliveries(DeliveryQuery(1), 100_000))
    return {row.id: row.attempts for row in rows}


async def test_job_is_fed_in_portions_to_its_end(store: Store, clock: ManualClock) -> None:
    """Never more than a portion waits; each delivery is sent once more, oldest first, and the job ends then."""
    await ended_deliveries(store, clock, MANY)
    async with at_work(store, clock) as work:
        id_ = await work.start()
        await work.untried(PORTION)
        assert (await work.progress(id_)).share == 0
        first = await send(store, clock, 64)
        await work.untried(PORTION)
        progress = await work.progress(id_)
        assert (progress.replay.matched, progress.replay.queued, progress.sent) == (MANY, PORTION + 64, 64)
        assert progress.share == 64 / MANY
        sent = first
        while (await work.progress(id_)).replay.state == "running":
            sent += await send(store, clock, MANY)
            await clock.advance(SLOWEST_S)
        done = await work.ended(id_)
        assert (done.replay.state, done.share, done.replay.queued, done.untried) == ("done", 1.0, MANY, 0)
        assert done.replay.finished_us is not None
        assert work.woken > 2
    assert sent == [f"dlv_{n}" for n in range(MANY)]
    assert set((await attempts_by_id(store)).values()) == {2}


async def test_case_48_live_deliveries_go_first(store: Store, clock: ManualClock) -> None:
    """However much is replayed, what happens meanwhile does not wait for it."""
    await ended_deliveries(store, clock, MANY)
    async with at_work(store, clock) as work:
        await work.start()
        await work.untried(PORTION)
        live = [planned(f"live_{n}", clock) for n in range(96)]
        await store.write(lambda writer: writer.owe(live))
        sent = await send(store, clock, 128)
    assert (sent[:96], sent[96]) == ([it.id for it in live], "dlv_0")


async def test_case_48_job_goes_on_after_a_crash(store: Store, clock: ManualClock) -> None:
    """From where it stood, leaving out nothing and repeating nothing, without being asked."""
    await ended_deliveries(store, clock, MANY)
    async with at_work(store, clock) as work:
        id_ = await work.start()
        await work.untried(PORTION)
        await send(store, clock, 100)
    for _ in range(20):
        async with at_work(store, clock) as work:
            await settle()
            await send(store, clock, 96)
    async with at_work(store, clock) as work:
        assert (await work.ended(id_)).replay.queued == MANY
    assert set((await attempts_by_id(store)).values()) == {2}


async def test_case_48_cancelled_job_takes_back_what_waits(store: Store, clock: ManualClock) -> None:
    """What was sent counts as sent, what was not is as it was, and nothing more is queued."""
    await ended_deliveries(store, clock, MANY)
    async with at_work(store, clock) as work:
        id_ = await work.start()
        await work.untried(PORTION)
        sent = await send(store, clock, 64)
        cancelled = await work.replays.cancel(WHO, id_)
        assert (cancelled.replay.state, cancelled.replay.queued, cancelled.sent) == ("cancelled", 64, 64)
        await clock.advance(10 * SLOWEST_S)
        assert await claim(store, clock) == []
    attempts = await attempts_by_id(store)
    assert {id_ for id_, count in attempts.items() if count == 2} == set(sent)
    states = {row.state for row in await store.read(lambda reader: reader.deliveries(DeliveryQuery(1), 100_000))}
    assert states == {"delivered"}


async def test_failing_deliveries_do_not_hold_up_a_job(store: Store, clock: ManualClock) -> None:
    """Those that were tried follow their schedule; the job is over when each was tried once."""
    await ended_deliveries(store, clock, PORTION + 50)
    async with at_work(store, clock) as work:
        id_ = await work.start()
        again_us = clock.now_us() + 3600 * 1_000_000
        while (await work.progress(id_)).replay.state == "running":
            await clock.advance(0.5)
            claimed = await claim(store, clock)
            await finish(store, clock, claimed, status=500, error="status", state="pending", due_us=again_us)
        assert (await work.progress(id_)).replay.queued == PORTION + 50
    pending = await store.read(lambda reader: reader.delivery_count(DeliveryQuery(1, ("pending",))))
    assert pending == PORTION + 50


async def test_job_of_a_removed_endpoint_ends(store: Store, clock: ManualClock) -> None:
    """Nothing is left to do, and nobody to do it for."""
    await ended_deliveries(store, clock, MANY)
    async with at_work(store, clock) as work:
        id_ = await work.start()
        await work.untried(PORTION)
        await store.write(lambda writer: writer.remove_endpoint("default", "wh_1"))
        progress = await work.ended(id_)
    assert (progress.replay.state, progress.endpoint_id, progress.untried) == ("cancelled", None, 0)


async def test_what_was_called_off_meanwhile_stays_so(store: Store, clock: ManualClock) -> None:
    """Between counting and queueing people go on deciding; what is done already is not done again."""
    await ended_deliveries(store, clock, 3)
    work = Work(store, clock)
    id_ = await work.start()
    owed = planned("late", clock)
    await store.write(lambda writer: writer.owe([owed]))
    await store.write(lambda writer: writer.redeliver([2], "retry", due_us=clock.now_us()))
    await store.write(lambda writer: writer.cancel([2], "asked", clock.now_us()))
    async with at_work(store, clock) as work:
        await work.untried(2)
        assert sorted(await send(store, clock, 10)) == ["dlv_0", "dlv_2", "late"]
        assert (await work.ended(id_)).replay.queued == 2
    assert await attempts_by_id(store) == {"dlv_0": 2, "dlv_1": 1, "dlv_2": 2, "late": 1}


async def test_what_ends_after_it_was_asked_for_is_not_replayed(store: Store, clock: ManualClock) -> None:
    """A job is about the past: otherwise it would follow its own tail."""
    await ended_deliveries(store, clock, 2)
    id_ = await Work(store, clock).start()
    await ended_deliveries(store, clock, 2, prefix="later")
    async with at_work(store, clock) as work:
        await work.untried(2)
        await send(store, clock, 10)
        assert (await work.ended(id_)).replay.queued == 2
    assert await attempts_by_id(store) == {"dlv_0": 2, "dlv_1": 2, "later_0": 1, "later_1": 1}


class HastyStore(MemoryStore):
    """A store in which others are quicker: right behind the next answer to a look, they do what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[Any]] | None = None

    async def read(self, work: Any) -> Any:
        """The answer, which is outdated when it comes."""
        answer = await super().read(work)
        if self.meanwhile is not None and isinstance(work, partial):
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return answer


async def test_job_that_is_cancelled_under_way_queues_nothing(clock: ManualClock) -> None:
    """Between looking and queueing it may have ended: what was seen before counts no more."""
    store = HastyStore()
    await store.write(lambda writer: writer.add_endpoint(make_endpoint()))
    await ended_deliveries(store, clock, 3)
    async with at_work(store, clock) as work:
        store.meanwhile = lambda: work.replays.cancel(WHO, f"rp_{'ab' * 12}")
        id_ = await work.start()
        assert (await work.ended(id_)).replay.state == "cancelled"
        await clock.advance(SLOWEST_S)
        assert await claim(store, clock) == []
        assert (await work.progress(id_)).replay.state == "cancelled"


async def test_delivery_that_is_retried_under_way_is_left_alone(clock: ManualClock) -> None:
    """Somebody wants it sooner than the job does."""
    store = HastyStore()
    await store.write(lambda writer: writer.add_endpoint(make_endpoint()))
    await ended_deliveries(store, clock, 3)
    due_us = clock.now_us()
    async with at_work(store, clock) as work:
        store.meanwhile = lambda: store.write(lambda writer: writer.redeliver([2], "retry", due_us=due_us))
        await work.start()
        await work.untried(2)
        assert await send(store, clock, 10) == ["dlv_1", "dlv_0", "dlv_2"]


class CountedStore(MemoryStore):
    """A store that counts, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.failures = 0, 0

    async def read(self, work: Any) -> Any:
        """One more call, or a failure."""
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("disk full")
        return await super().read(work)


async def test_idle_it_costs_nothing(clock: ManualClock) -> None:
    """One look when it starts; from then on it is told."""
    store = CountedStore()
    await store.write(lambda writer: writer.add_endpoint(make_endpoint()))
    async with at_work(store, clock) as work:
        await clock.advance(3600)
        assert store.calls == 1
        await ended_deliveries(store, clock, 1)
        id_ = await work.start()
        await work.untried(1)
        await send(store, clock, 1)
        await work.ended(id_)
        calls = store.calls
        await clock.advance(3600)
        assert store.calls == calls


async def test_outage_delays_a_job_and_does_not_end_it(clock: ManualClock) -> None:
    """It says so and comes again."""
    store = CountedStore()
    await store.write(lambda writer: writer.add_endpoint(make_endpoint()))
    await ended_deliveries(store, clock, 3)
    await Work(store, clock).start()
    store.failures = 3
    async with at_work(store, clock) as work:
        await work.untried(3)
    assert store.failures == 0
