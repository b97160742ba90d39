"""Brokers die, freeze and come back: what was acknowledged is there once, and consumers go on by themselves."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from monitor.clock import SystemClock
from monitor.errors import JournalUnavailable
from monitor.events.model import Entry
from monitor.journal import Consumer, Journal, Place, open_kafka_journal
from monitor.journal.kafka.consumer import Patience
from tests.contracts.journal_contract import DEADLINE_S, from_the_start, numbered, places, poll_until, read_all
from tests.support.kafka import Broker
from tests.support.service import LATE_S


@pytest.fixture
async def close_later() -> AsyncIterator[AsyncExitStack]:
    """What is closed after the test, however it ends."""
    async with AsyncExitStack() as stack:
        yield stack


async def test_killed_broker_loses_nothing_and_doubles_nothing(own_kafka: Broker, close_later: AsyncExitStack) -> None:
    """Under load, SIGKILL and restart: each acknowledged place holds its entry, none twice, each key in order."""
    url = f"kafka://{own_kafka.bootstrap}/test-kill"
    journal = await open_kafka_journal(url, clock=SystemClock(), group="test", partitions=3, confirm_s=60.0)
    close_later.push_async_callback(journal.close)
    consumer = await journal.consumer(from_the_start)
    acknowledged: dict[Place, bytes] = {}
    stop = asyncio.Event()

    async def load(worker: int) -> None:
        number = 0
        while not stop.is_set():
            entries = [Entry(b"exec_%d" % worker, b"%d.%08d" % (worker, number + n)) for n in range(1 + number % 30)]
            number += len(entries)
            for place, entry in zip(await journal.append(entries), entries, strict=True):
                acknowledged[place] = entry.value

    async def more_acknowledged() -> None:
        reached = len(acknowledged) + 500
        async with asyncio.timeout(DEADLINE_S):
            while len(acknowledged) < reached:  # noqa: ASYNC110 - what is awaited is load, not one event
                await asyncio.sleep(0.01)

    workers = [asyncio.create_task(load(worker)) for worker in range(4)]
    for _ in range(2):
        await more_acknowledged()
        own_kafka.kill()
        own_kafka.launch()
        await asyncio.to_thread(own_kafka.wait_ready)
    await more_acknowledged()
    stop.set()
    await asyncio.gather(*workers)
    stored = await read_all(journal)
    assert {Place(record.partition, record.offset): record.value for record in stored} == acknowledged
    assert max(Counter(record.value for record in stored).values()) == 1
    for worker in range(4):
        mine = [record.value for record in stored if record.key == b"exec_%d" % worker]
        assert mine == sorted(mine, key=lambda value: value or b"")
    # The consumer that was there before the first kill has not missed or repeated anything.
    assert sorted(places(await poll_until(consumer, len(stored)))) == sorted(acknowledged)


async def test_frozen_broker_is_unavailable_in_time_and_comes_back(
    own_kafka: Broker, close_later: AsyncExitStack
) -> None:
    """An append that nobody confirms ends as unavailable; poll says so when it lasts; after the thaw all goes on."""
    url = f"kafka://{own_kafka.bootstrap}/test-freeze"
    patience = Patience(lost_s=1.0, look_s=0.2)
    journal = await open_kafka_journal(
        url, clock=SystemClock(), group="test", partitions=1, confirm_s=1.0, patience=patience
    )
    close_later.push_async_callback(journal.close)
    # So little patience may end before a broker that has just started is quick.
    await append_at_last(journal, numbered(3, key=b"k"))
    before = await read_all(journal)
    consumer = await journal.consumer(from_the_start)
    assert await poll_through(consumer, before[-1].value) == [record.value for record in before]
    own_kafka.pause()
    started_s = time.monotonic()
    with pytest.raises(JournalUnavailable, match="may or may not be there"):
        await journal.append([Entry(b"k", b"in doubt")])
    assert time.monotonic() - started_s < 1.0 + LATE_S
    await poll_until_unavailable(consumer)
    own_kafka.resume()
    await append_at_last(journal, [Entry(b"k", b"afterwards")])
    values = [record.value for record in await read_all(journal)]
    assert values.count(b"in doubt") <= 1
    assert values[-1] == b"afterwards"
    assert await poll_through(consumer, b"afterwards") == values[len(before) :]


async def test_absent_broker_is_said_at_once() -> None:
    """Opening names the address that does not answer."""
    with pytest.raises(JournalUnavailable, match=r"127\.0\.0\.1:9 does not answer"):
        await open_kafka_journal("kafka://127.0.0.1:9/events", clock=SystemClock(), group="test")


async def poll_through(consumer: Consumer, last: bytes | None) -> list[bytes | None]:
    """The next values up to `last`, however often Kafka is away meanwhile."""
    deadline_s = time.monotonic() + DEADLINE_S
    seen: list[bytes | None] = []
    while last not in seen:
        assert time.monotonic() < deadline_s
        try:
            seen += [record.value for record in await consumer.poll(100, 0.5)]
        except JournalUnavailable:
            continue  # until it has noticed
    return seen


async def poll_until_unavailable(consumer: Consumer) -> None:
    """Return when polling says that Kafka is away."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        try:
            await consumer.poll(10, 0.5)
        except JournalUnavailable:
            return
    raise AssertionError("poll never said that Kafka is away")


async def append_at_last(journal: Journal, entries: list[Entry]) -> None:
    """Append as a caller does who tries again."""
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            await journal.append(entries)
            return
        except JournalUnavailable:
            assert time.monotonic() < deadline_s
