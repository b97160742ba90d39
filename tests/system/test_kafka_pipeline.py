"""The pipeline on a real Kafka with its store on disk: whatever happens on the way, the counts are exact at the end."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pytest

from monitor.access.teams import team_rule
from monitor.clock import SystemClock
from monitor.errors import IncarnationChanged
from monitor.events.codec import decode
from monitor.events.model import Entry, Event, Record
from monitor.events.position import Position
from monitor.events.types import DERIVED
from monitor.fanout.replay import Replay
from monitor.journal import Journal, open_kafka_journal
from monitor.pipeline import Pipeline
from monitor.projections.fold import Release
from monitor.store import open_sqlite_store
from monitor.store.base import Reader, Store, Writer
from monitor.telemetry.metrics import Metrics
from tests.support.decoding import usual
from tests.support.kafka import Broker, Kafka
from tests.support.kafka_topics import commit_offset, opened, recreate
from tests.support.made_up import VARIED
from tests.support.quarantine import quarantined
from tests.support.replay import contents, replayed
from tests.support.service import eventually
from tests.support.traffic import traffic
from tests.support.webhooks import BODIES

T = TypeVar("T")
Fact = tuple[str, str]
"""(execution id, event id)."""

TEAM_OF = team_rule(exclusive=False, trust_body=False)


async def test_broker_killed_under_load(own_kafka: Broker, tmp_path: Path) -> None:
    """Kafka is killed twice while producers and the pipeline work: each acknowledged event is applied exactly once."""
    url = f"kafka://{own_kafka.bootstrap}/test-restart"
    async with AsyncExitStack() as stack:
        journal = await open_kafka_journal(url, clock=SystemClock(), group="test", partitions=3, confirm_s=60.0)
        stack.push_async_callback(journal.close)
        store = await stack.enter_async_context(stored(tmp_path, journal))
        heard = Heard()
        async with running(folding(journal, store, heard)):
            async with loading(journal) as acknowledged:
                for _ in range(2):
                    await grows(acknowledged, by=500)
                    own_kafka.kill()
                    own_kafka.launch()
                    await asyncio.to_thread(own_kafka.wait_ready)
                await grows(acknowledged, by=500)
            await folded(journal, store)
        await check(own_kafka, "test-restart", store, acknowledged, heard)


async def test_seek_race(kafka: Kafka, tmp_path: Path) -> None:
    """The store is slow to say where to go on, the group's own offset is elsewhere, and partitions come and go."""
    topic = await kafka.create_topic(partitions=3)
    await commit_offset(kafka, topic, group=topic, offset=40)
    heard = Heard()
    async with (
        opened(kafka, topic) as journal,
        opened(kafka, topic) as other,
        stored(tmp_path, journal) as store,
        loading(journal) as acknowledged,
    ):
        await grows(acknowledged, by=200)
        slow = SlowToRead(store)
        async with running(folding(journal, slow, heard)):
            for _ in range(2):
                guest = Heard()
                async with running(folding(other, slow, guest)):
                    await grows(guest.releases, by=100)
                heard.releases += guest.releases
            await grows(heard.releases, by=100)
    await check_again(kafka, topic, tmp_path, acknowledged, heard)


@pytest.mark.timeout(900)  # whoever gives partitions up waits ten seconds for the batch that it is frozen over
async def test_two_pipelines_with_ownership_moving_back_and_forth(kafka: Kafka, tmp_path: Path) -> None:
    """Each in turn freezes over a batch, loses partitions to the other meanwhile, and writes nothing stale after it."""
    topic = await kafka.create_topic(partitions=4)
    heard, metrics = Heard(), Metrics()
    async with (
        opened(kafka, topic) as one,
        opened(kafka, topic) as two,
        stored(tmp_path, one) as store,
        loading(one) as acknowledged,
        AsyncExitStack() as first,
        AsyncExitStack() as second,
    ):
        gates = [Gate(store), Gate(store)]
        rivals = [folding(*at, heard, metrics=metrics) for at in zip((one, two), gates, strict=True)]
        members = [first, second]
        await first.enter_async_context(running(rivals[0]))
        for turn in range(2):
            zombie, successor = turn % 2, 1 - turn % 2
            await overtaken(store, await position(store), partitions=4)
            await gates[zombie].hold()
            await grows(acknowledged, by=200)
            await gates[zombie].let_one_pass()  # so that the next batch is a large one
            before = await position(store)
            await members[successor].enter_async_context(running(rivals[successor]))
            await overtaken(store, before, partitions=2)
            await gates[zombie].release()
            await members[zombie].aclose()
    await check_again(kafka, topic, tmp_path, acknowledged, heard)


async def test_poison_first_in_the_middle_and_last_in_a_batch(kafka: Kafka, tmp_path: Path) -> None:
    """Place, reason and bytes are kept of each, and the others are folded by the same commit."""
    topic = await kafka.create_topic()
    good = list(islice(traffic(5, mix=VARIED), 40))
    sent = [Entry(b"k", b"\xff{"), *good[:20], Entry(b"k", b"[]"), *good[20:], Entry(b"k", b"{}")]
    heard = Heard()
    async with opened(kafka, topic) as journal, stored(tmp_path, journal) as store:
        await journal.append(sent)
        async with running(folding(journal, store, heard)):
            await folded(journal, store)
        found = await store.read(quarantined)
        assert [(it.row.offset, it.row.reason, it.row.field, it.key, it.value) for it in found] == [
            (0, "malformed_json", None, b"k", b"\xff{"),
            (21, "invalid_field", None, b"k", b"[]"),
            (42, "missing_field", "type", b"k", b"{}"),
        ]
        assert heard.positions == [Position(journal.incarnation, (43,))]
        await check(kafka, topic, store, set(map(fact, good)), heard)


async def test_topic_recreated_under_a_running_pipeline(kafka: Kafka, tmp_path: Path) -> None:
    """It ends with the reason, instead of folding another topic's records into what it has."""
    topic = await kafka.create_topic(partitions=2)
    async with opened(kafka, topic) as journal, stored(tmp_path, journal) as store:
        await journal.append(list(islice(traffic(6), 50)))
        run = asyncio.create_task(folding(journal, store, Heard()).run())
        await folded(journal, store)
        before = await contents(store)
        await recreate(kafka, topic, partitions=2)
        with pytest.raises(IncarnationChanged, match="created again"):
            async with asyncio.timeout(60):
                await run
        assert await contents(store) == before


# --- parts -----------------------------------------------------------------------------------------------------------


class Heard:
    """Keeps what is released and where the store stood then."""

    def __init__(self) -> None:
        self.releases: list[Release] = []
        self.positions: list[Position] = []

    def publish(self, releases: Sequence[Release], position: Position) -> None:
        self.releases += releases
        self.positions.append(position)

    def announce_cut(self, partition: int, expected: int, first: int) -> None:
        raise AssertionError(f"records {expected} to {first - 1} of partition {partition} are said to be gone")


class SlowToRead:
    """A store that is busy: every read takes its time, so that clients would long have fetched from elsewhere."""

    def __init__(self, store: Store) -> None:
        self.write, self.close = store.write, store.close
        self.hints, self.wipe = store.hints, store.wipe
        self._store = store

    async def read(self, work: Callable[[Reader], T]) -> T:
        await asyncio.sleep(0.3)
        return await self._store.read(work)


class Gate:
    """A store whose user can be frozen over a batch: it has read the records, and writes them only much later."""

    def __init__(self, store: Store) -> None:
        self.read, self.close = store.read, store.close
        self.hints, self.wipe = store.hints, store.wipe
        self._store = store
        self._open, self._arrived, self._passed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._open.set()

    async def hold(self) -> None:
        """Return once somebody stands before the closed gate."""
        self._arrived.clear()
        self._open.clear()
        await self._arrived.wait()

    async def release(self) -> None:
        """Open it, and return once who stood there has written, or was refused."""
        self._passed.clear()
        self._open.set()
        await self._passed.wait()

    async def let_one_pass(self) -> None:
        """Let who stands there go on, and return once it comes back."""
        self._open.set()
        await self.hold()

    async def write(self, work: Callable[[Writer], T], *, durable: bool = False, shared: bool = False) -> T:
        if not self._open.is_set():
            self._arrived.set()
        await self._open.wait()
        try:
            return await self._store.write(work, durable=durable, shared=shared)
        finally:
            self._passed.set()


@asynccontextmanager
async def stored(folder: Path, journal: Journal) -> AsyncIterator[Store]:
    """The store in this folder, tied to the journal."""
    store = await open_sqlite_store(folder / "store.db")
    bounds = await journal.bounds()
    starts = [bounds[partition].start for partition in range(journal.partitions)]
    try:
        await store.write(lambda writer: writer.bind(journal.incarnation, starts))
        yield store
    finally:
        await store.close()


def folding(journal: Journal, store: Store, heard: Heard, *, metrics: Metrics | None = None) -> Pipeline:
    """The product's pipeline."""
    return Pipeline(
        journal=journal,
        store=store,
        hub=heard,
        decoding=usual(TEAM_OF),
        bodies=BODIES,
        on_deliveries=lambda: None,
        clock=SystemClock(),
        metrics=metrics or Metrics(),
    )


@asynccontextmanager
async def running(pipeline: Pipeline) -> AsyncIterator[None]:
    """Let it run while the block does; if it ended by itself, that is an error."""
    run = asyncio.create_task(pipeline.run())
    try:
        yield
    finally:
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run


@asynccontextmanager
async def loading(journal: Journal) -> AsyncIterator[set[Fact]]:
    """Append disordered traffic with repeats while the block runs; gives what was acknowledged so far."""
    acknowledged: set[Fact] = set()
    stop = asyncio.Event()

    async def load() -> None:
        entries = traffic(7, mix=VARIED, active=20, window=30, duplicates=0.05)
        while not stop.is_set():
            batch = list(islice(entries, 40))
            await journal.append(batch)
            acknowledged.update(map(fact, batch))
            await asyncio.sleep(0.02)  # the pace of the load

    task = asyncio.create_task(load())
    try:
        yield acknowledged
    finally:
        stop.set()
        await task


def fact(entry: Entry) -> Fact:
    """What makes the entry an event of its own."""
    event = decode(Record(0, 0, entry.key, entry.value, (), 0), TEAM_OF)
    assert isinstance(event, Event)
    return event.execution_id, event.id


# --- what is awaited and checked -------------------------------------------------------------------------------------


async def grows(things: Any, *, by: int) -> None:
    """Return when there are so many more of them."""
    reached = len(things) + by

    async def has_grown() -> bool:
        return len(things) >= reached

    await eventually(has_grown, what=lambda: f"{len(things)} of {reached}")


async def position(store: Store) -> Position:
    """How far it is folded."""
    return await store.read(lambda reader: reader.position())


async def overtaken(store: Store, before: Position, *, partitions: int) -> None:
    """Return when somebody else has moved so many partitions on."""

    async def have_moved() -> bool:
        now = await position(store)
        return sum(new > old for new, old in zip(now.offsets, before.offsets, strict=True)) >= partitions

    await eventually(have_moved)


async def folded(journal: Journal, store: Store) -> None:
    """Return when the store has everything that the journal holds."""

    async def is_folded() -> bool:
        ends = [held.end for _, held in sorted((await journal.bounds()).items())]
        return list((await position(store)).offsets) == ends

    await eventually(is_folded, what=lambda: "the store does not reach the end of the topic")


async def check_again(kafka: Kafka, topic: str, folder: Path, acknowledged: set[Fact], heard: Heard) -> None:
    """Fold what may be left, then check."""
    async with opened(kafka, topic) as journal, stored(folder, journal) as store:
        async with running(folding(journal, store, heard)):
            await folded(journal, store)
        await check(kafka, topic, store, acknowledged, heard)


async def check(kafka: Kafka, topic: str, store: Store, acknowledged: set[Fact], heard: Heard) -> None:
    """The store equals a clean replay of the topic; every acknowledged event was released once, and told at most once.

    What a pipeline committed in the moment in which it was stopped is released, but it tells nobody any more.
    """
    async with opened(kafka, topic, group="check") as journal:
        assert await contents(store) == await contents(await replayed(journal, TEAM_OF))
        assert facts(await released(journal, store)) == Counter(acknowledged)
    assert facts(heard.releases) <= Counter(acknowledged)
    assert len(heard.releases) > len(acknowledged) / 2


async def released(journal: Journal, store: Store) -> list[Release]:
    """Everything that was released, as a subscriber from the earliest position reads it."""
    replay, end = Replay(journal, store, usual(TEAM_OF)), await position(store)
    at = await replay.earliest()
    releases: list[Release] = []
    while at != end:
        page = await replay.page(at, end, 500)
        releases, at = releases + page.releases, page.position
    return releases


def facts(releases: Sequence[Release]) -> Counter[Fact]:
    """How often each event of a producer is among them."""
    return Counter((r.event.execution_id, r.event.id) for r in releases if r.event.type not in DERIVED)
