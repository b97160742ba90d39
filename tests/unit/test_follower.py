"""The follower: bytes and releases in, what the pipeline would have told out, and honest about what it waits for."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from monitor.clock import SystemClock
from monitor.errors import IncarnationChanged, JournalUnavailable, StoreUnavailable
from monitor.events.blanking import blank_of
from monitor.events.codec import decode
from monitor.events.model import Entry, Event, Place, Record
from monitor.events.position import Position
from monitor.fanout.standstill import STALE_S, Standstill
from monitor.fanout.window import Window
from monitor.fanout.wires import WEBSOCKET
from monitor.follower import Follower
from monitor.journal import MemoryJournal
from monitor.journal.base import Bounds, FindOffsets
from monitor.journal.embedded import EmbeddedConsumer
from monitor.projections.fold import Release
from monitor.store.base import Reader, Store
from monitor.telemetry.metrics import Metrics
from tests.support.clocks import ManualClock
from tests.support.decoding import usual
from tests.support.released import World, select, subscribed, told
from tests.support.server import until

T = TypeVar("T")


class Heard:
    """A hub's ears: what it is told, and where it then stands."""

    def __init__(self, start: Position) -> None:
        self.position = start
        self.releases: list[Release] = []
        self.cuts: list[tuple[int, int, int]] = []

    def publish(self, releases: Sequence[Release], position: Position) -> None:
        self.releases += releases
        self.position = position

    def announce_cut(self, partition: int, expected: int, first: int) -> None:
        self.cuts.append((partition, expected, first))
        self.position = self.position.advanced(partition, first)

    @property
    def ids(self) -> list[str]:
        return [release.event.id for release in self.releases]


class WatchedStore:
    """A store that counts how often it is read, and may not answer."""

    def __init__(self, store: Store) -> None:
        self.write, self.wipe, self.close, self.hints = store.write, store.wipe, store.close, store.hints
        self.reads, self.is_down = 0, False
        self._store = store

    async def read(self, work: Callable[[Reader], T]) -> T:
        self.reads += 1
        if self.is_down:
            raise StoreUnavailable("The database is away.")
        return await self._store.read(work)


class Shore:
    """A journal of which only some bytes have arrived; what was committed is another matter."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.growth, self.partitions = journal.growth, journal.partitions
        # By partition, up to where; all where nothing is said.
        self.arrived: dict[int, int] = {}
        self.is_down = False
        # The most records that were asked for at once.
        self.most_asked = 0
        self._journal = journal

    async def tail(self, find_offsets: FindOffsets) -> EmbeddedConsumer:
        consumer = EmbeddedConsumer(self, find_offsets, SystemClock())
        await consumer.reload()
        return consumer

    async def read(self, partition: int, start: int, end: int, max_records: int) -> Sequence[Record]:
        self._check()
        self.most_asked = max(self.most_asked, max_records)
        return await self._journal.read(partition, start, min(end, self.arrived.get(partition, end)), max_records)

    async def bounds(self) -> dict[int, Bounds]:
        self._check()
        return await self._journal.bounds()

    def arrive(self, partition: int) -> None:
        del self.arrived[partition]
        self.growth.announce()

    def _check(self) -> None:
        if self.is_down:
            raise JournalUnavailable("The brokers are away.")


class House:
    """A world, and a follower of it that tells nobody but the test."""

    def __init__(self, partitions: int = 1, *, hub: Any = None, **options: Any) -> None:
        self.world = World(partitions)
        self.journal, self.store = Shore(self.world.journal), WatchedStore(self.world.store)
        self.heard = Heard(self.world.beginning)
        self.metrics = Metrics()
        arguments: Any = {"journal": self.journal, "clock": SystemClock(), **options}
        self.follower = Follower(
            store=self.store,
            hub=hub(self.world) if hub else self.heard,
            decoding=usual(self.world._team_of),
            metrics=self.metrics,
            **arguments,
        )

    @asynccontextmanager
    async def following(self) -> AsyncIterator["asyncio.Task[None]"]:
        """At work while the block runs."""
        await self.world.bound()
        task = asyncio.create_task(self.follower.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def consumer(self) -> EmbeddedConsumer:
        """For steps by hand."""
        await self.world.bound()
        return await self.journal.tail(self.follower._find_offsets)

    def metric(self, name: str) -> float:
        """Its value, summed over its labels."""
        self.follower.observe()
        lines = [line for line in self.metrics.text().decode().splitlines() if line.startswith(name)]
        return sum(float(line.split()[-1]) for line in lines)


async def test_a_hint_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed is told at once, derived events ahead of their cause."""
    monkeypatch.setattr("monitor.follower.LOOK_S", 3600)
    house = House()
    async with house.following():
        await until(lambda: house.follower.trouble is None)
        await house.world.append("execution.completed")
        await house.world.append("execution.failed")
        await until(lambda: house.heard.position == house.world.end)
    released = [release for record in house.world._released[0] for release in record]
    assert [it.event.type for it in released] == ["execution.completed", "execution.conflict", "execution.failed"]
    assert house.heard.releases == released


async def test_no_hint_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be lost: then it takes until the next look."""
    monkeypatch.setattr("monitor.follower.LOOK_S", 0.05)
    house = House()
    monkeypatch.setattr(house.store.hints, "give", lambda _: None)
    async with house.following():
        await house.world.append()
        await until(lambda: house.heard.ids == ["e1"])


async def test_it_looks_seldom_while_nothing_happens() -> None:
    """One small question at each look: nothing is asked of releases, nothing of the journal's bounds."""
    house = House(clock=(clock := ManualClock()))
    async with house.following():
        await clock.run_until(lambda: house.store.reads == 1)
        before_s = clock.monotonic_s()
        await clock.run_until(lambda: house.store.reads == 21)
        assert 20 * 0.5 <= clock.monotonic_s() - before_s <= 20 * 0.6


async def test_bytes_that_come_late_are_waited_for() -> None:
    """The store is ahead of what this process has of one partition; the others go on."""
    house = House(partitions=3)
    await house.world.bound()
    for number in range(30):
        await house.world.append(execution_id=f"exec_{number}")
    late = max(range(3), key=lambda at: house.world.end.offsets[at])
    house.journal.arrived = {late: 2}
    ends = list(house.world.end.offsets)
    ends[late] = 2
    async with house.following():
        await until(lambda: house.heard.position.offsets == tuple(ends))
        behind = house.world.end.offsets[late] - 2
        assert (await house.follower.lag())[late] == behind
        assert house.metric("monitor_follower_lag_records{") == behind
        assert house.metric("monitor_follower_lag_seconds") > 0
        house.journal.arrive(late)
        await until(lambda: house.heard.position == house.world.end)
    assert sorted(house.heard.ids) == sorted(f"e{number}" for number in range(1, 31))
    assert set((await house.follower.lag()).values()) == {0}
    assert house.metric("monitor_follower_lag_records{") == house.metric("monitor_follower_lag_seconds") == 0


async def test_what_is_not_committed_is_not_told() -> None:
    """Its bytes are here long before; how many of them are read ahead is bounded."""
    house = House(window=Window(max_records=10))
    consumer = await house.consumer()
    for number in range(50):
        await house.world.journal.append([Entry(b"exec_1", _event(number))])
    for _ in range(20):
        await house.follower.step(consumer)
    assert (house.heard.ids, house.heard.position) == ([], house.world.beginning)
    assert (house.follower._window.room, house.journal.most_asked) == (0, 10)
    assert await house.follower.lag() == {0: 50}


async def test_large_records_are_read_ahead_in_smaller_numbers() -> None:
    """Once it knows how large they are."""
    house = House(window=Window(max_records=100, max_bytes=100_000))
    consumer = await house.consumer()
    for number in range(200):
        await house.world.journal.append([Entry(b"exec_1", _event(number, said="x" * 9000))])
        await house.follower.step(consumer)
    held = house.follower._window._records[0]
    assert (house.follower._window.room, 10 <= len(held) <= 12) == (0, True)


async def test_outages_are_told_and_outlived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the store and of the journal: a concern while they last, and nothing is lost."""
    monkeypatch.setattr("monitor.follower.RETRY_S", (0.01,))
    house = House()
    async with house.following():
        await until(lambda: house.follower.trouble is None)
        for part, word in ((house.store, "store_unavailable"), (house.journal, "journal_unavailable")):
            part.is_down = True
            await until(lambda word=word: (it := house.follower.trouble) is not None and it.code == word)  # type: ignore[misc]
            await house.world.append()
            part.is_down = False
            await until(lambda: house.follower.trouble is None and house.heard.position == house.world.end)
    assert house.heard.ids == ["e1", "e2"]


async def test_it_is_ready_when_it_has_told_what_was_committed_at_its_start() -> None:
    """Not before it knows what that is."""
    house = House()
    await house.world.bound()
    await house.world.append()
    house.journal.arrived = {0: 0}
    assert house.follower.trouble is not None
    assert house.follower.trouble.code == "starting"
    async with house.following():
        await until(lambda: house.follower.trouble is not None and house.follower.trouble.code == "catching_up")
        house.journal.arrive(0)
        await until(lambda: house.follower.trouble is None)


async def test_a_store_of_another_journal_ends_it() -> None:
    """As a new incarnation of the journal does: nothing that it says belongs to what was told."""
    house = House()
    async with house.following() as task:
        await until(lambda: house.follower.trouble is None)
        other = World()
        await other.bound()
        house.store._store = other.store
        with pytest.raises(IncarnationChanged, match="another journal"):
            async with asyncio.timeout(60):
                await task


async def test_a_store_that_was_set_back_is_waited_for() -> None:
    """A standby took over that lacks the latest commits: they are folded again, and told once."""
    house = House()
    consumer = await house.consumer()
    await house.world.append()
    before = house.world.store._tables.copy()
    await house.world.append()
    await house.follower.step(consumer)
    house.world.store._tables = before
    await house.follower.step(consumer)
    assert house.heard.position.offsets == (2,)
    [second] = await house.world.journal.read(0, 1, 2, 1)
    event = decode(second, house.world._team_of)
    await house.world.store.write(lambda writer: house.world._project(writer, Place(0, 1), event))
    await house.world.append()
    await house.follower.step(consumer)
    assert house.heard.ids == ["e1", "e2", "e3"]


async def test_what_was_erased_is_told_as_it_is_now() -> None:
    """Bytes that were blanked since tell the bare fact; bytes that are gone tell nothing, and hold up nobody."""
    house = House()
    consumer = await house.consumer()
    await house.world.append(data={"nodeId": "n1", "output": {"name": "Ada"}})
    await house.world.append()
    await house.world.append()
    [first, second, _] = await house.world.journal.read(0, 0, 3, 3)
    event = decode(first, house.world._team_of)
    assert isinstance(event, Event)
    await house.world.journal.blank([blank_of(event), second._replace(value=None)])
    await house.follower.step(consumer)
    assert house.heard.ids == ["e1", "e3"]
    assert house.heard.releases[0].event.data == {"nodeId": "n1"}
    assert house.heard.position == house.world.end


async def test_subscribers_are_told_of_a_cut_and_go_on() -> None:
    """In-band: retention was faster than this process."""
    hubs = []

    def hub(world: World) -> Any:
        hubs.append(world.hub())
        return hubs[0]

    house = House(hub=hub)
    consumer = await house.consumer()
    reader = subscribed(hubs[0], select(), WEBSOCKET)
    await house.world.append()
    await house.follower.step(consumer)
    for _ in range(3):
        await house.world.append()
    await house.world.journal.trim(0, 3)
    await house.follower.step(consumer)
    await house.follower.step(consumer)
    frames = [(it["type"], it.get("reason") or it["id"]) for it in await told(hubs[0], reader)]
    assert frames == [("node.completed", "e1"), ("stream.gap", "retention"), ("node.completed", "e4")]
    reader.leave()


async def test_streams_are_told_while_bytes_do_not_come() -> None:
    """The standstill of a follower is that of its streams."""
    house = House(clock=(clock := ManualClock()))
    house.world.clock = clock
    hub = house.world.hub()
    house.follower._hub = hub
    consumer = await house.consumer()
    standstill = Standstill(hub, house.follower.lag, clock)
    house.journal.arrived = {0: 0}
    await house.world.append()
    for _ in range(2):
        await house.follower.step(consumer)
        await standstill.look()
        await clock.advance(STALE_S)
    await standstill.look()
    assert hub._feed.stale is not None
    assert hub._feed.stale["lag"] == 1
    house.journal.arrive(0)
    await house.follower.step(consumer)
    await standstill.look()
    assert hub._feed.stale is None


async def test_a_read_that_waits_for_a_position_waits_for_the_follower() -> None:
    """A gateway's hub has reached what its own follower told, and no commit of others alone."""
    house = House()
    hub = house.world.hub()
    house.follower._hub = hub
    consumer = await house.consumer()
    await house.world.append()
    waiting = asyncio.create_task(hub.reached(house.world.end, 60))
    assert not await hub.reached(house.world.end, 0)
    await house.follower.step(consumer)
    assert await waiting


def _event(number: int, **data: Any) -> bytes:
    return json.dumps(
        {
            "type": "node.completed",
            "executionId": "exec_1",
            "workflowId": "wf_1",
            "timestamp": "2026-11-22T10:30:00.000Z",
            "id": f"e{number}",
            "data": {"nodeId": "n1", **data},
        }
    ).encode()
