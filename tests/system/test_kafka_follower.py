"""Gateways on a real Kafka: their subscribers get, frame by frame, what those of the projector's own hub get."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from monitor.access.positions import open_position
from monitor.clock import SystemClock
from monitor.errors import IncarnationChanged
from monitor.events.position import Position
from monitor.fanout.channels import Selection
from monitor.fanout.hub import Hub
from monitor.fanout.replay import Replay
from monitor.fanout.snapshots import Snapshots
from monitor.fanout.wires import WEBSOCKET
from monitor.follower import Follower
from monitor.journal import Journal, open_kafka_journal
from monitor.pipeline import Pipeline
from monitor.store.base import Store
from monitor.telemetry.metrics import Metrics
from tests.support.decoding import usual
from tests.support.kafka import Broker, Kafka
from tests.support.kafka_topics import QUICK, delete_before, opened, recreate
from tests.support.made_up import VARIED
from tests.support.released import SEALER, cancelled, select, subscribed
from tests.support.replay import quiet_pipeline
from tests.support.service import eventually
from tests.support.traffic import traffic
from tests.system.test_kafka_pipeline import TEAM_OF, grows, loading, running, stored

Frame = Mapping[str, Any]


class Listener:
    """Reads everything that is selected, from the beginning of the hub on."""

    def __init__(self, hub: Hub, selection: Selection, start: Position | None = None) -> None:
        self.frames: list[Frame] = []
        self.attachment = subscribed(hub, selection, WEBSOCKET, start)
        self._reading = asyncio.create_task(self._read())

    async def leave(self) -> None:
        """Break off."""
        await cancelled(self._reading)
        self.attachment.leave()

    async def _read(self) -> None:
        while (chunk := await self.attachment.next()) is not None:
            self.frames += map(json.loads, chunk.messages)

    @property
    def events(self) -> list[Frame]:
        """What happened, without words about the stream."""
        return [frame for frame in self.frames if not frame["type"].startswith("stream.")]


@asynccontextmanager
async def at_work(
    journal: Journal, store: Store, feed: Callable[[Hub], Pipeline | Follower], start: Position | None = None
) -> AsyncIterator[Hub]:
    """A hub that hands out what it is fed while the block runs, from `start` on; None = where the store stands."""
    hub = Hub(
        start=start if start is not None else await store.read(lambda reader: reader.position()),
        replay=Replay(journal, store, usual(TEAM_OF)),
        snapshots=Snapshots(store, lambda summary: {"id": summary.id, "status": summary.status}, SystemClock()),
        sealer=SEALER,
        clock=SystemClock(),
        chance=random.Random(1),
    )
    await hub.refill()
    tasks = [asyncio.create_task(hub.run()), asyncio.create_task(feed(hub).run())]
    try:
        yield hub
    finally:
        for task in tasks:
            await cancelled(task)


def following(journal: Journal, store: Store) -> Callable[[Hub], Follower]:
    """A gateway's feed."""
    return lambda hub: Follower(
        journal=journal,
        store=store,
        hub=hub,
        decoding=usual(TEAM_OF),
        clock=SystemClock(),
        metrics=Metrics(),
    )


def folding(journal: Journal, store: Store) -> Callable[[Hub], Pipeline]:
    """The projector's, which folds."""

    def feed(hub: Hub) -> Pipeline:
        made = quiet_pipeline(journal, store, TEAM_OF)
        made._hub = hub
        return made

    return feed


def by_execution(frames: Sequence[Frame]) -> Mapping[str, list[Frame]]:
    """What was told of each execution, in order; where a hub stood then is its own affair."""
    told: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        told[frame["executionId"]].append({name: said for name, said in frame.items() if name != "position"})
    return told


async def level(hubs: Sequence[Hub], store: Store, journal: Journal) -> None:
    """Return when all of the topic is folded and every hub has told it."""

    async def are_level() -> bool:
        ends = tuple(held.end for _, held in sorted((await journal.bounds()).items()))
        folded = await store.read(lambda reader: reader.position())
        return {folded.offsets, *(hub.position.offsets for hub in hubs)} == {ends}

    await eventually(are_level, what=lambda: f"{[hub.position.offsets for hub in hubs]}")


async def same(*listeners: Listener) -> None:
    """Return when all of them have got as much; and it is the same."""

    async def have_as_much() -> bool:
        return len({len(listener.events) for listener in listeners}) == 1

    await eventually(have_as_much, what=lambda: str([len(listener.events) for listener in listeners]))
    first, *others = listeners
    for other in others:
        assert by_execution(other.events) == by_execution(first.events)
    ids = [frame["id"] for frame in first.events]
    assert len(ids) == len(set(ids)) > 0


async def test_followers_tell_what_the_pipeline_tells(kafka: Kafka, tmp_path: Path) -> None:
    """Under load and over three partitions, whoever came early, and whoever came late and read from the beginning."""
    topic = await kafka.create_topic(partitions=3)
    async with (
        opened(kafka, topic) as journal,
        opened(kafka, topic) as elsewhere,
        stored(tmp_path, journal) as store,
        at_work(journal, store, folding(journal, store)) as own,
        at_work(elsewhere, store, following(elsewhere, store)) as gateway,
    ):
        start = own.position
        listeners = [Listener(hub, select()) for hub in (own, gateway)]
        async with loading(journal) as acknowledged:
            await grows(acknowledged, by=1500)
        await level([own, gateway], store, journal)
        async with at_work(elsewhere, store, following(elsewhere, store)) as late:
            assert late.position == own.position
            listeners.append(Listener(late, select(), start))
            await journal.append(list(islice(traffic(8, mix=VARIED), 100)))
            await level([own, gateway, late], store, journal)
            await same(*listeners)
            # A token of one gateway is good at another: all that follows it there was told before it here.
            half = listeners[0].events[len(listeners[0].events) // 2]
            moved = Listener(gateway, select(), open_position(SEALER, half["position"]))
            listeners.append(moved)
            before = listeners[0].events[: len(listeners[0].events) // 2 + 1]
            rest = len(listeners[0].events) - len(before)
            await eventually(lambda: has(moved, rest), what=lambda: f"{len(moved.events)} of {rest}")
            assert {it["id"] for it in moved.events} | {it["id"] for it in before} == {
                it["id"] for it in listeners[0].events
            }
            for listener in listeners:
                await listener.leave()


async def test_one_partition_is_told_in_one_order(kafka: Kafka, tmp_path: Path) -> None:
    """Every frame equals the pipeline's, with the place that its token names, also of those that never change."""
    topic = await kafka.create_topic(partitions=1)
    async with (
        opened(kafka, topic) as journal,
        stored(tmp_path, journal) as store,
        at_work(journal, store, folding(journal, store)) as own,
        at_work(journal, store, following(journal, store)) as gateway,
    ):
        listeners = [Listener(hub, select()) for hub in (own, gateway)]
        async with loading(journal) as acknowledged:
            await grows(acknowledged, by=800)
        await level([own, gateway], store, journal)
        await same(*listeners)
        told = [[{**it, "position": open_position(SEALER, it["position"])} for it in each.events] for each in listeners]
        assert told[0] == told[1]
        for listener in listeners:
            await listener.leave()


async def test_a_broker_that_is_killed_costs_nothing(own_kafka: Broker, tmp_path: Path) -> None:
    """The bytes of what is committed are away for a while; then all of it is told, once."""
    url = f"kafka://{own_kafka.bootstrap}/test-follower"
    async with AsyncExitStack() as stack:
        journal = await open_kafka_journal(
            url, clock=SystemClock(), group="test", partitions=3, confirm_s=60.0, patience=QUICK
        )
        stack.push_async_callback(journal.close)
        store = await stack.enter_async_context(stored(tmp_path, journal))
        own = await stack.enter_async_context(at_work(journal, store, folding(journal, store)))
        gateway = await stack.enter_async_context(at_work(journal, store, following(journal, store)))
        listeners = [Listener(hub, select()) for hub in (own, gateway)]
        async with loading(journal) as acknowledged:
            for _ in range(2):
                await grows(acknowledged, by=300)
                own_kafka.kill()
                own_kafka.launch()
                await asyncio.to_thread(own_kafka.wait_ready)
            await grows(acknowledged, by=300)
        await level([own, gateway], store, journal)
        await same(*listeners)
        for listener in listeners:
            await listener.leave()


async def test_retention_that_was_faster_is_told(kafka: Kafka, tmp_path: Path) -> None:
    """Once for what the projector never read, and once for what it read and a gateway that was frozen did not."""
    topic = await kafka.create_topic(partitions=1)
    entries = list(islice(traffic(9, mix=VARIED), 60))
    async with opened(kafka, topic) as journal, stored(tmp_path, journal) as store:
        async with at_work(journal, store, following(journal, store)) as gateway:
            listener = Listener(gateway, select())
            await journal.append(entries[:10])
            await delete_before(kafka, topic, 4)
            async with running(quiet_pipeline(journal, store, TEAM_OF)):
                await level([gateway], store, journal)
            await gapped(listener)
            await listener.leave()
        await journal.append(entries[10:40])
        async with running(quiet_pipeline(journal, store, TEAM_OF)):
            await level([], store, journal)
        await delete_before(kafka, topic, 30)
        await store.write(lambda writer: writer.forget_releases(0, 30, 1000))
        async with at_work(journal, store, following(journal, store), start=gateway.position) as frozen:
            listener = Listener(frozen, select())
            await level([frozen], store, journal)
            await gapped(listener)
            await listener.leave()


async def gapped(listener: Listener) -> None:
    """Return when it was told of a gap, and that was one of retention, once."""
    await eventually(lambda: have(listener, "stream.gap", 1))
    assert [it["reason"] for it in listener.frames if it["type"] == "stream.gap"] == ["retention"]


async def has(listener: Listener, events: int) -> bool:
    """Whether it got so many events."""
    return len(listener.events) >= events


async def have(listener: Listener, name: str, count: int) -> bool:
    """Whether it got so many frames of this type."""
    return [frame["type"] for frame in listener.frames].count(name) >= count


async def test_a_topic_that_is_recreated_ends_it(kafka: Kafka, tmp_path: Path) -> None:
    """Its records are other ones: nothing of them is told."""
    topic = await kafka.create_topic(partitions=2)
    async with opened(kafka, topic) as journal, stored(tmp_path, journal) as store:
        await journal.append(list(islice(traffic(6), 50)))
        async with running(quiet_pipeline(journal, store, TEAM_OF)):
            await level([], store, journal)
        hub = Hub(
            start=await store.read(lambda reader: reader.position()),
            replay=Replay(journal, store, usual(TEAM_OF)),
            snapshots=Snapshots(store, lambda summary: {"id": summary.id}, SystemClock()),
            sealer=SEALER,
            clock=SystemClock(),
        )
        before, run = hub.position, asyncio.create_task(following(journal, store)(hub).run())
        await recreate(kafka, topic, partitions=2)
        with pytest.raises(IncarnationChanged, match="created again"):
            async with asyncio.timeout(60):
                await run
        assert hub.position == before
