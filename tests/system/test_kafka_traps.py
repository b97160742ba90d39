"""What goes wrong between a consumer and Kafka, each trap on a real broker, named after it."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions

from monitor.clock import SystemClock
from monitor.errors import IncarnationChanged, JournalError, JournalUnavailable, RetentionCut, StartupError
from monitor.events.model import Entry, Record
from monitor.journal import Consumer, Place, ensure_topic
from monitor.journal.kafka.brokers import Brokers
from monitor.journal.kafka.consumer import KafkaConsumer, Patience
from monitor.journal.partitioner import partition_for
from tests.contracts.journal_contract import (
    DEADLINE_S,
    Standing,
    from_the_start,
    numbered,
    places,
    poll_until,
    read_all,
)
from tests.support.kafka import Kafka
from tests.support.kafka_topics import commit_offset, delete_before, opened, raw_producer, recreate


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "the condition did not come true in time"
        await asyncio.sleep(0.01)


async def poll_for(consumer: Consumer, error: type[Exception]) -> Exception:
    """The error that polling ends with."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        try:
            await consumer.poll(100, 0.5)
        except error as caught:
            return caught
    raise AssertionError(f"no {error.__name__} within {DEADLINE_S} s")


async def test_seek_race(kafka: Kafka) -> None:
    """The group's own offset is never read from, however long the store takes to answer where to go on."""
    topic = await kafka.create_topic()
    async with opened(kafka, topic) as journal:
        await journal.append(numbered(200, key=b"exec_1"))
        await commit_offset(kafka, topic, group=topic, offset=10)

        async def slowly(partitions: Collection[int]) -> Mapping[int, int]:
            await asyncio.sleep(0.3)  # the store is busy: the client would have fetched from 10 by now
            return dict.fromkeys(partitions, 150)

        consumer = await journal.consumer(slowly)
        records = await poll_until(consumer, 50)
    assert [record.offset for record in records] == list(range(150, 200))


async def test_client_that_delivers_from_elsewhere_is_sent_back(kafka: Kafka) -> None:
    """Records above or below the expected one are not handed out, and the right ones follow."""
    topic = await kafka.create_topic()
    async with opened(kafka, topic) as journal:
        await journal.append(numbered(100, key=b"exec_1"))
        store = Standing(50)
        consumer = await journal.consumer(store)
        assert isinstance(consumer, KafkaConsumer)
        await poll_until(consumer, 50)
        store.offsets[0] = 20
        for elsewhere in (80, 5):
            await consumer.reload()
            consumer._membership.client.seek(TopicPartition(topic, 0), elsewhere)
            records = await poll_until(consumer, 80)
            assert [record.offset for record in records] == list(range(20, 100))


async def test_records_fetched_before_a_rebalance_are_dropped(kafka: Kafka) -> None:
    """What the client hands over in the moment in which the group takes the partition away is not ours any more."""
    topic = await kafka.create_topic()
    async with opened(kafka, topic) as journal:
        await journal.append(numbered(2, key=b"k"))
        consumer = await journal.consumer(from_the_start)
        await poll_until(consumer, 2)
        following = SimpleNamespace(offset=2, key=b"k", value=b"late", headers=(), timestamp=0)
        consumer._membership.change(frozenset(), is_settled=False)
        assert consumer._accept({TopicPartition(topic, 0): [following]}) == []


async def test_poison_pill(kafka: Kafka) -> None:
    """Bytes that are no event, a tombstone and a record without key come through like all others."""
    topic = await kafka.create_topic()
    poison: list[tuple[bytes | None, bytes | None]] = [
        *((b"k", b"\xff\xfe{"), (b"k", None), (None, b"{}")),
        *((b"\x00", b"\x00"), (b"k", b""), (b"k", b'{"type":"execution.started"}')),
    ]
    async with opened(kafka, topic) as journal, raw_producer(kafka) as producer:
        for key, value in poison:
            await producer.send_and_wait(topic, value, key)
        await producer.send_and_wait(topic, b"{}", b"k", headers=[("null", None), ("", b"\xff")])
        consumer = await journal.consumer(from_the_start)
        *records, last = await poll_until(consumer, len(poison) + 1)
    assert [(record.key, record.value) for record in records] == poison
    assert last.headers == (("null", b""), ("", b"\xff"))


async def test_auto_commit_is_off(kafka: Kafka) -> None:
    """Records that were handed out once, to a caller that never came back, are not committed for the group."""
    topic = await kafka.create_topic()
    async with opened(kafka, topic) as journal:
        await journal.append(numbered(10, key=b"exec_1"))
        consumer = await journal.consumer(from_the_start)
        assert isinstance(consumer, KafkaConsumer)
        await poll_until(consumer, 10)
        consumer._commit_group_offsets()
        if consumer._commit:
            await consumer._commit
        assert await committed_offset(kafka, topic, group=topic) in {None, 0}


async def test_group_offsets_follow_for_lag_dashboards(kafka: Kafka) -> None:
    """Once the caller came back for more, the group shows how far it got."""
    topic = await kafka.create_topic()
    async with opened(kafka, topic) as journal:
        await journal.append(numbered(10, key=b"exec_1"))
        consumer = await journal.consumer(from_the_start)
        await poll_until(consumer, 10)
        deadline_s = time.monotonic() + DEADLINE_S
        while await committed_offset(kafka, topic, group=topic) != 10:
            assert time.monotonic() < deadline_s
            await consumer.poll(10, 0.1)


async def test_retention_cut_during_the_run(kafka: Kafka) -> None:
    """A cut that overtakes a running consumer is reported once, and the partition waits for `reload`."""
    topic = await kafka.create_topic()
    async with opened(kafka, topic) as journal:
        await journal.append(numbered(100, key=b"exec_1"))
        store = Standing(90)
        consumer = await journal.consumer(store)
        await poll_until(consumer, 10)
        await delete_before(kafka, topic, 40)
        store.offsets[0] = 7
        await consumer.reload()
        cut = await poll_for(consumer, RetentionCut)
        assert isinstance(cut, RetentionCut)
        assert (cut.partition, cut.expected, cut.first) == (0, 7, 40)
        assert await consumer.poll(100, 0.5) == []
        store.offsets[0] = 40
        await consumer.reload()
        assert (await poll_until(consumer, 60))[0].offset == 40


async def test_topic_recreated(kafka: Kafka) -> None:
    """A topic of the same name with other records is reported, not read on."""
    topic = await kafka.create_topic()
    async with opened(kafka, topic) as journal:
        await journal.append(numbered(20, key=b"exec_1"))
        consumer = await journal.consumer(from_the_start)
        await poll_until(consumer, 20)
        await recreate(kafka, topic, partitions=1)
        async with opened(kafka, topic, group="other") as fresh:
            assert fresh.incarnation != journal.incarnation
            await fresh.append(numbered(50, key=b"exec_1"))
        assert "created again" in str(await poll_for(consumer, IncarnationChanged))


async def test_topic_deleted(kafka: Kafka) -> None:
    """A topic that vanished for longer than a moment is said to be unavailable, with its name."""
    topic = await kafka.create_topic()
    patience = Patience(lost_s=3.0, look_s=0.1, life_s=0.5)
    async with opened(kafka, topic, patience=patience) as journal:
        await journal.append(numbered(3, key=b"k"))
        consumer = await journal.consumer(from_the_start)
        await poll_until(consumer, 3)
        async with kafka.admin() as admin:
            await admin.delete_topics([topic])
        assert topic in str(await poll_for(consumer, JournalUnavailable))


async def test_topic_that_got_more_partitions(kafka: Kafka) -> None:
    """More partitions move keys, so the journal is not the same any more."""
    topic = await kafka.create_topic(partitions=2)
    async with opened(kafka, topic) as journal:
        consumer = await journal.consumer(from_the_start)
        await consumer.poll(1, 0.1)
        async with kafka.admin() as admin:
            await admin.create_partitions({topic: NewPartitions(total_count=3)})
        assert "3 partitions now, not 2" in str(await poll_for(consumer, IncarnationChanged))


async def test_topic_that_ends_before_the_expected_record(kafka: Kafka) -> None:
    """A truncated topic is named as such."""
    topic = await kafka.create_topic()
    async with opened(kafka, topic) as journal:
        await journal.append(numbered(5, key=b"exec_1"))
        consumer = await journal.consumer(Standing(1000))
        assert "ends at 5, but records up to 999 were read" in str(await poll_for(consumer, JournalError))


async def test_transaction_markers_are_no_gap(kafka: Kafka) -> None:
    """Commit and abort markers take offsets; the records between them arrive, aborted ones never."""
    topic = await kafka.create_topic()
    async with opened(kafka, topic) as journal, raw_producer(kafka, transactional_id=uuid.uuid4().hex) as producer:
        for number in range(6):
            await producer.begin_transaction()
            await (await producer.send(topic, b"%d" % number, b"k"))
            await (producer.abort_transaction() if number % 3 == 1 else producer.commit_transaction())
        store = Standing(0)
        consumer = await journal.consumer(store)
        records = await poll_until(consumer, 4)
        again = await journal.read(0, 0, 100, 100)
        store.offsets[0] = 1  # a marker stands there
        await consumer.reload()
        from_the_marker = await poll_until(consumer, 3)
        # Nothing but markers is left: that is no lag, so nobody is rebuilt.
        client = consumer._membership.client
        assert await stays_empty(consumer, seconds=1.5)
        assert client is consumer._membership.client
    assert [record.value for record in records] == [b"0", b"2", b"3", b"5"]
    assert [record.offset for record in records] == [0, 4, 6, 10]
    assert from_the_marker == records[1:]
    assert list(again) == records


async def test_compaction_is_no_gap(kafka: Kafka) -> None:
    """Offsets that compaction took out are passed over, at the start of a reading too."""
    config = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.01",
        "max.compaction.lag.ms": "100",
    }
    topic = await kafka.create_topic(config=config)
    async with opened(kafka, topic) as journal:
        left: Sequence[Record] = []
        deadline_s = time.monotonic() + DEADLINE_S
        while not left or left[0].offset == 0:
            assert time.monotonic() < deadline_s
            await journal.append(numbered(5, key=b"exec_1"))
            left = await read_all(journal)
        consumer = await journal.consumer(from_the_start)
        first, *_ = await poll_until(consumer, 1)
    assert first.offset >= left[0].offset > 0


async def test_rebalance_of_two_consumers(kafka: Kafka) -> None:
    """Six partitions go 6, 3 + 3, 6 while records flow: none is lost, and none comes twice when offsets are stored."""
    topic = await kafka.create_topic(partitions=6)
    stored = dict.fromkeys(range(6), 0)
    seen: list[Place] = []

    async def find_offsets(partitions: Collection[int]) -> Mapping[int, int]:
        return {partition: stored[partition] for partition in partitions}

    async def work(consumer: Consumer) -> None:
        while True:
            for record in await consumer.poll(100, 0.2):
                # As the store does it: the offset row decides whether this batch still counts.
                if record.offset == stored[record.partition]:
                    stored[record.partition] = record.offset + 1
                    seen.append(Place(record.partition, record.offset))
                else:
                    repeated.append(Place(record.partition, record.offset))

    repeated: list[Place] = []
    async with opened(kafka, topic) as first, opened(kafka, topic) as second:
        one = await first.consumer(find_offsets)
        async with working(work(one)):
            appended = await first.append(numbered(200))
            await until(lambda: len(one.assigned) == 6)
            assert one.turnover == (1, 0)
            two = await second.consumer(find_offsets)
            async with working(work(two)):
                appended += await first.append(numbered(200, first=200))
                await until(lambda: len(one.assigned) == len(two.assigned) == 3)
                appended += await first.append(numbered(200, first=400))
                await until(lambda: len(seen) == 600)
            await two.close()
            await until(lambda: len(one.assigned) == 6)
            # It heard of the other one's coming and going, and has one client since it began.
            assert (one.turnover.rebalances >= 3, one.turnover.rebuilds) == (True, 0)
            appended += await first.append(numbered(200, first=600))
            await until(lambda: len(seen) == 800)
    assert sorted(seen) == sorted(appended)
    assert repeated == []


async def test_tail_joins_no_group(kafka: Kafka) -> None:
    """Whoever follows leaves no offsets in Kafka, takes no partition and is in nobody's way."""
    topic = await kafka.create_topic(partitions=2)
    groups = {"tail": uuid.uuid4().hex, "consumer": uuid.uuid4().hex}
    async with (
        opened(kafka, topic, group=groups["tail"]) as following,
        opened(kafka, topic, group=groups["consumer"]) as folding,
        kafka.admin() as admin,
    ):
        tail, consumer = await following.tail(from_the_start), await folding.consumer(from_the_start)
        await folding.append(numbered(50))
        async with asyncio.TaskGroup() as both:
            read = [both.create_task(poll_until(reading, 50)) for reading in (tail, consumer)]
        assert sorted(places(read[0].result())) == sorted(places(read[1].result()))
        deadline_s = time.monotonic() + DEADLINE_S
        while not await admin.list_consumer_group_offsets(groups["consumer"]):
            assert time.monotonic() < deadline_s, "the consumer does not tell its group how far it is"
            assert list(await tail.poll(10, 0.2)) == list(await consumer.poll(10, 0.2)) == []
        known = {group for group, *_ in await admin.list_consumer_groups()}
        assert known & set(groups.values()) == {groups["consumer"]}


async def test_keyed_concurrent_appends_keep_their_order(kafka: Kafka) -> None:
    """Single sends and batches from many callers interleave, and each key's values stay in the order of the calls."""
    topic = await kafka.create_topic(partitions=3)
    async with opened(kafka, topic) as journal:
        calls = []
        for call in range(150):
            size = 90 if call % 7 == 0 else 1 + call % 3
            calls.append([Entry(b"exec_%d" % (n % 5), b"%05d.%02d" % (call, n)) for n in range(size)])
        answers = await asyncio.gather(*map(journal.append, calls))
        records = await read_all(journal)
    stored = {Place(record.partition, record.offset): record.value for record in records}
    for entries, where in zip(calls, answers, strict=True):
        assert [stored[place] for place in where] == [entry.value for entry in entries]
    for key in {record.key for record in records}:
        values = [record.value for record in records if record.key == key]
        assert values == sorted(values, key=bytes)  # type: ignore[arg-type]


async def test_other_producers_with_murmur2_meet_ours(kafka: Kafka) -> None:
    """Kafka's own partitioner, as librdkafka has it, agrees with ours on real partitions."""
    from confluent_kafka import Producer

    topic = await kafka.create_topic(partitions=7)
    keys = [b"exec_%d" % number for number in range(200)] + [b"\xff\x00" * number for number in range(1, 20)]
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"})
    for key in keys:
        producer.produce(topic, b"{}", key)
    assert await asyncio.to_thread(producer.flush, DEADLINE_S) == 0
    async with opened(kafka, topic) as journal:
        records = await read_all(journal)
    assert {record.key: record.partition for record in records} == {key: partition_for(key, 7) for key in keys}


async def test_stalled_consumer_is_rebuilt(kafka: Kafka) -> None:
    """A client whose fetching has silently ended is replaced, and nothing is lost."""
    topic = await kafka.create_topic()
    async with opened(kafka, topic) as journal:
        await journal.append(numbered(10, key=b"exec_1"))
        consumer = await journal.consumer(from_the_start)
        first = await poll_until(consumer, 10)
        stalled = consumer._membership.client
        stalled._fetcher._fetch_task.cancel()
        await journal.append(numbered(10, key=b"exec_1", first=10))

        async def from_ten(partitions: Collection[int]) -> Mapping[int, int]:
            return dict.fromkeys(partitions, 10)

        consumer._find_offsets = from_ten
        later = await poll_until(consumer, 10)
        assert consumer._membership.client is not stalled
        assert consumer.turnover.rebuilds == 1
    assert [record.offset for record in first + later] == list(range(20))


async def test_failing_store_is_heard_by_the_caller(kafka: Kafka) -> None:
    """An error while offsets are found reaches who polls, instead of a log of the client; afterwards it goes on."""
    topic = await kafka.create_topic()
    failures = [OSError("the store is away"), OSError("still away")]

    async def find_offsets(partitions: Collection[int]) -> Mapping[int, int]:
        if failures:
            raise failures.pop()
        return dict.fromkeys(partitions, 0)

    async with opened(kafka, topic) as journal:
        await journal.append(numbered(3, key=b"exec_1"))
        consumer = await journal.consumer(find_offsets)
        assert str(await poll_for(consumer, OSError)) == "still away"
        assert str(await poll_for(consumer, OSError)) == "the store is away"
        assert len(await poll_until(consumer, 3)) == 3


async def test_error_of_the_client_leads_to_a_new_one(kafka: Kafka) -> None:
    """A plain KafkaError at the rim rebuilds the consumer; the caller sees a pause and no error."""
    from aiokafka.errors import KafkaError

    topic = await kafka.create_topic()
    async with opened(kafka, topic) as journal:
        await journal.append(numbered(3, key=b"exec_1"))
        consumer = await journal.consumer(from_the_start)
        await poll_until(consumer, 3)
        broken = consumer._membership.client
        broken._coordinator._pending_exception = KafkaError("Unexpected error during coordination")
        await consumer.poll(10, 0.1)
        records = await poll_until(consumer, 3)
        assert consumer._membership.client is not broken
    assert [record.offset for record in records] == [0, 1, 2]


async def test_close_during_join(kafka: Kafka) -> None:
    """A consumer that is closed at any moment of its joining leaves at once and leaves nothing running."""
    topic = await kafka.create_topic(partitions=3)
    async with opened(kafka, topic) as journal:
        for turns in (0, 1, 3, 10, 30, 100):
            consumer = await journal.consumer(from_the_start)
            for _ in range(turns):
                await asyncio.sleep(0)
            async with asyncio.timeout(DEADLINE_S):
                await consumer.close()
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not {name for name in names if name.startswith("kafka consumer")}


async def test_existing_topic_is_taken_as_it_is(kafka: Kafka) -> None:
    """The partition count of an existing topic wins over the one asked for."""
    topic = await kafka.create_topic(partitions=5)
    found = await ensure_topic(Brokers(kafka.bootstrap), topic, 12, clock=SystemClock())
    assert (found.partitions, found.replication) == (5, 1)


async def test_missing_topic_is_refused_when_it_may_not_be_created(kafka: Kafka) -> None:
    """The error names the topic and the cure."""
    with pytest.raises(StartupError, match="has no topic nowhere"):
        await ensure_topic(Brokers(kafka.bootstrap), "nowhere", create=False, clock=SystemClock())


async def test_topic_that_kafka_refuses_is_explained(kafka: Kafka) -> None:
    """More replicas than brokers is an error at start, in one line."""
    with pytest.raises(StartupError, match="replication 3"):
        await ensure_topic(Brokers(kafka.bootstrap), f"test-{uuid.uuid4().hex}", replication=3, clock=SystemClock())


async def test_record_larger_than_the_topic_takes(kafka: Kafka) -> None:
    """It is an error with the cure, not a reason to try again."""
    topic = await kafka.create_topic(config={"max.message.bytes": "2000"})
    async with opened(kafka, topic) as journal:
        import random

        with pytest.raises(JournalError, match=r"raise max\.message\.bytes"):
            await journal.append([Entry(b"k", random.Random(1).randbytes(5000))])
        assert await journal.append(numbered(1, key=b"k")) == [Place(0, 0)]


# What another program does


async def committed_offset(kafka: Kafka, topic: str, *, group: str) -> int | None:
    """The group's offset as a lag dashboard sees it."""
    place = TopicPartition(topic, 0)
    async with kafka.admin() as admin:
        offsets = await admin.list_consumer_group_offsets(group, partitions=[place])
    return None if offsets[place].offset < 0 else int(offsets[place].offset)


async def stays_empty(consumer: Consumer, *, seconds: float) -> bool:
    """Whether polling gives nothing for so long."""
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        if await consumer.poll(10, 0.2):
            return False
    return True


@asynccontextmanager
async def working(work: Any) -> AsyncIterator[None]:
    """Run `work` beside the block; an error in it is an error of the test."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
