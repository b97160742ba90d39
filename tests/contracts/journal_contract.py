"""The promises of the journal port, as tests that every driver has to pass.

A driver's class gives the fixture `journal`, and `forget`, which makes the oldest records go away as its retention
would; one that survives its process also gives `reopen`.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import pytest

from monitor.errors import JournalUnavailable, RetentionCut
from monitor.events.model import Entry, Original, Record
from monitor.journal import Bounds, Consumer, Journal, Place
from monitor.journal.base import FindOffsets
from monitor.journal.partitioner import partition_for

Forget = Callable[[int, int], Awaitable[None]]
Reopen = Callable[[], Awaitable[Journal]]
Follow = Callable[[FindOffsets], Awaitable[Consumer]]

DEADLINE_S = 120.0


class Standing:
    """What a store answers when it is asked where to go on; a test moves it."""

    def __init__(self, offset: int) -> None:
        """It stands at `offset` in every partition."""
        self.offsets = defaultdict[int, int](lambda: offset)

    async def __call__(self, partitions: Collection[int]) -> Mapping[int, int]:
        return {partition: self.offsets[partition] for partition in partitions}


async def from_the_start(partitions: Collection[int]) -> Mapping[int, int]:
    """Where a store that has seen nothing goes on."""
    return dict.fromkeys(partitions, 0)


def numbered(count: int, *, key: bytes | None = None, first: int = 0) -> list[Entry]:
    """Entries with distinct values and either one key or many."""
    numbers = range(first, first + count)
    return [Entry(key or b"exec_%d" % (number % 17), b'{"n":%d}' % number) for number in numbers]


async def poll_until(consumer: Consumer, count: int) -> list[Record]:
    """The next records, at least `count` of them."""
    records: list[Record] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while len(records) < count:
        assert time.monotonic() < deadline_s, f"{len(records)} of {count} records came within {DEADLINE_S} s"
        records += await consumer.poll(1000, 1.0)
    return records


async def read_all(journal: Journal) -> list[Record]:
    """Everything that the journal holds, partition by partition, as a replay reads it."""
    records: list[Record] = []
    for partition, bounds in (await journal.bounds()).items():
        next_offset = bounds.start
        while found := await journal.read(partition, next_offset, bounds.end, 1000):
            records += found
            next_offset = found[-1].offset + 1
    return records


def places(records: Sequence[Record]) -> list[Place]:
    """Where these records stand."""
    return [Place(record.partition, record.offset) for record in records]


def values_by_partition(records: Sequence[Record]) -> dict[int, list[bytes | None]]:
    """The values of each partition in the order in which they came."""
    values: dict[int, list[bytes | None]] = {}
    for record in records:
        values.setdefault(record.partition, []).append(record.value)
    return values


class JournalContract:
    @pytest.fixture(params=["consumer", "tail"])
    def follow(self, request: pytest.FixtureRequest, journal: Journal) -> Follow:
        """Both ways to read on: what a consumer promises, a tail does too."""
        return journal.tail if request.param == "tail" else journal.consumer

    # Picking

    async def test_pick_returns_what_stands_at_these_offsets(self, journal: Journal) -> None:
        """Near and far apart, in order; what is beyond the end is missing."""
        await journal.append(numbered(1500, key=b"exec_1"))
        partition = partition_for(b"exec_1", journal.partitions)
        offsets = [0, 1, 5, 600, 601, 1499, 1500, 99_999]
        picked = await journal.pick(partition, offsets)
        assert places(picked) == [Place(partition, offset) for offset in offsets[:-2]]
        assert [record.value for record in picked] == [b'{"n":%d}' % offset for offset in offsets[:-2]]
        assert list(await journal.pick(partition, [])) == []
        assert list(await journal.pick(partition, [5000, 6000])) == []

    async def test_pick_leaves_out_what_is_gone(self, journal: Journal, forget: Forget) -> None:
        """Retention is nothing to fail over here: who asks knows the offsets and sees which are missing."""
        await journal.append(numbered(40, key=b"exec_1"))
        partition = partition_for(b"exec_1", journal.partitions)
        await forget(partition, 20)
        picked = await journal.pick(partition, [3, 19, 20, 39])
        assert places(picked) == [Place(partition, 20), Place(partition, 39)]

    async def test_pick_of_large_records_comes_in_portions(self, journal: Journal) -> None:
        """Every portion brings something, until all is there."""
        large = [Entry(b"exec_1", b"%d" % number + b"x" * (1 << 20)) for number in range(24)]
        for entry in large:
            await journal.append([entry])
        partition = partition_for(b"exec_1", journal.partitions)
        left = list(range(0, 24, 1))
        values: list[bytes | None] = []
        portions = 0
        while left:
            picked = await journal.pick(partition, left)
            values += [record.value for record in picked]
            left = [offset for offset in left if offset > picked[-1].offset]
            portions += 1
        assert values == [entry.value for entry in large]
        assert portions < 24

    # Blanking

    async def test_a_blank_takes_the_place_of_a_record(self, journal: Journal) -> None:
        """Of a log that is this service's own: what is read there is the blank; its neighbours are as they were."""
        await journal.append([*numbered(30, key=b"exec_1"), *numbered(30)])
        partition = partition_for(b"exec_1", journal.partitions)
        before = await journal.pick(partition, range(60))
        found = list(await journal.find(partition, 3, 9, {b"exec_1", b"exec_none"}))
        assert found == ([3, 4, 5, 6, 7, 8] if journal.exclusive else [])
        blanks = [before[at]._replace(value=b"{}", original=Original(at, b"8 bytes.")) for at in (3, 5)]
        await journal.blank(blanks)
        await journal.blank([])
        assert await journal.wipe() is True
        after = [*before]
        if journal.exclusive:
            after[3], after[5] = blanks
        assert list(await journal.pick(partition, range(60))) == after
        assert list(await journal.read(partition, 0, 60, 60)) == after

    async def test_a_record_that_is_gone_is_not_blanked(self, journal: Journal, forget: Forget) -> None:
        """Whoever looked for it was overtaken by retention."""
        await journal.append(numbered(10, key=b"exec_1"))
        partition = partition_for(b"exec_1", journal.partitions)
        [record] = await journal.pick(partition, [3])
        await forget(partition, 5)
        await journal.blank([record._replace(value=b"{}", original=Original(0, b"8 bytes."))])
        assert await journal.pick(partition, [3]) == []

    # Appending

    async def test_append_returns_where_each_entry_stands(self, journal: Journal) -> None:
        """What is read at the returned place is the entry, byte for byte."""
        entry = Entry(b"exec_1", b'{"type":"execution.started"}', (("monitor-team", b"a"), ("x", b"\x00\xff")))
        [place] = await journal.append([entry])
        [record] = await journal.read(place.partition, place.offset, place.offset + 1, 10)
        assert Record(*place, entry.key, entry.value, entry.headers, record.stored_us) == record

    async def test_append_of_nothing_is_nothing(self, journal: Journal) -> None:
        """An empty append succeeds and changes nothing."""
        before = await journal.bounds()
        assert await journal.append([]) == []
        assert await journal.bounds() == before

    async def test_append_keeps_the_order_of_a_batch(self, journal: Journal) -> None:
        """Entries of one key share a partition and keep their order, small and large batches mixed."""
        appended: list[Entry] = []
        for size in (1, 40, 3, 500, 1):
            batch = numbered(size, key=b"exec_7", first=len(appended))
            await journal.append(batch)
            appended += batch
        records = await read_all(journal)
        assert [record.value for record in records] == [entry.value for entry in appended]

    async def test_append_follows_the_partitioner(self, journal: Journal) -> None:
        """A key lands on the partition that Kafka's Java client would choose."""
        entries = numbered(200)
        appended = await journal.append(entries)
        assert [at.partition for at in appended] == [partition_for(entry.key, journal.partitions) for entry in entries]

    async def test_concurrent_appends_keep_the_order_of_their_calls(self, journal: Journal) -> None:
        """Calls that overlap come to stand in the order in which they were made, key by key."""
        entries = numbered(600, key=b"exec_1")
        calls = [asyncio.create_task(journal.append([entry])) for entry in entries]
        appended = [place for call in calls for place in await call]
        assert appended == sorted(appended)
        assert [record.value for record in await read_all(journal)] == [entry.value for entry in entries]

    async def test_cancelled_append_leaves_the_journal_usable(self, journal: Journal) -> None:
        """A cancelled append may or may not be there; later ones are, after it and whole."""
        cancelled = asyncio.create_task(journal.append(numbered(3, key=b"exec_1")))
        following = asyncio.create_task(journal.append(numbered(2, key=b"exec_1", first=100)))
        await asyncio.sleep(0)
        cancelled.cancel()
        last = await following
        assert last == in_a_row(last[0], 2)
        found = [record.value for record in await read_all(journal)]
        assert found[-2:] == [b'{"n":100}', b'{"n":101}']
        assert found[:-2] in ([], [entry.value for entry in numbered(3)])

    @pytest.mark.parametrize("value", [b"", b"\x00" * 9, b"\xff\xfe not UTF-8", b"x" * (1 << 20)])
    async def test_any_bytes_come_back_as_they_were(self, journal: Journal, follow: Follow, value: bytes) -> None:
        """Empty, NUL, invalid UTF-8 and a mebibyte: the journal does not look inside."""
        await journal.append([Entry(b"k\x00k", value)])
        consumer = await follow(from_the_start)
        [record] = await poll_until(consumer, 1)
        await consumer.close()
        assert (record.key, record.value, record.headers) == (b"k\x00k", value, ())

    async def test_a_mebibyte_that_does_not_compress_is_taken(self, journal: Journal) -> None:
        """The largest event fits even when compression cannot help."""
        import random

        value = random.Random(7).randbytes(1 << 20)
        [place] = await journal.append([Entry(b"exec_1", value)])
        [record] = await journal.read(place.partition, place.offset, place.offset + 1, 1)
        assert record.value == value

    async def test_ten_thousand_entries_fit_in_one_append(self, journal: Journal) -> None:
        """A large import batch is stored whole, each entry at the place that was returned."""
        entries = numbered(10_000)
        appended = await journal.append(entries)
        stored = {Place(r.partition, r.offset): r.value for r in await read_all(journal)}
        assert stored == {place: entry.value for place, entry in zip(appended, entries, strict=True)}

    async def test_stored_time_is_the_time_of_the_append(self, journal: Journal) -> None:
        """Records carry when the journal took them, to the millisecond."""
        before_us = time.time_ns() // 1_000_000 * 1000
        [place] = await journal.append(numbered(1))
        [record] = await journal.read(*place, place.offset + 1, 1)
        assert before_us <= record.stored_us <= time.time_ns() // 1000

    async def test_stored_time_of_another_journal_is_kept(self, journal: Journal) -> None:
        """To the millisecond, of entries that come alone and of those that come with many, beside new ones."""
        for moved in (numbered(1, key=b"k"), numbered(100, key=b"k")):
            before_us = time.time_ns() // 1_000_000 * 1000
            past = [entry._replace(stored_us=1_700_000_000_123_456 + at * 1000) for at, entry in enumerate(moved)]
            [first, *_] = await journal.append([*past, *numbered(1, key=b"k")])
            stored = await journal.read(*first, first.offset + len(past) + 1, 1000)
            assert [it.stored_us // 1000 for it in stored[:-1]] == [1_700_000_000_123 + at for at in range(len(past))]
            assert stored[-1].stored_us >= before_us

    # Reading

    async def test_bounds_tell_first_and_next_offset(self, journal: Journal) -> None:
        """Bounds start empty and follow the appends."""
        assert await journal.bounds() == dict.fromkeys(range(journal.partitions), Bounds(0, 0))
        entries = numbered(50)
        await journal.append(entries)
        homes = [partition_for(entry.key, journal.partitions) for entry in entries]
        assert await journal.bounds() == {at: Bounds(0, homes.count(at)) for at in range(journal.partitions)}

    async def test_read_keeps_to_its_range_and_can_be_repeated(self, journal: Journal) -> None:
        """A read gives `start <= offset < end`, at most so many, and the same again."""
        home = (await journal.append(numbered(20, key=b"exec_1")))[0].partition
        first = await journal.read(home, 5, 12, 1000)
        assert [record.offset for record in first] == list(range(5, 12))
        assert await journal.read(home, 5, 12, 1000) == first
        assert await journal.read(home, 5, 12, 3) == first[:3]

    async def test_read_beyond_the_end_is_empty(self, journal: Journal) -> None:
        """There is nothing after the last record, and asking for it is no error."""
        home = (await journal.append(numbered(3, key=b"exec_1")))[0].partition
        assert list(await journal.read(home, 3, 100, 10)) == []
        assert list(await journal.read(home, 50, 100, 10)) == []
        assert list(await journal.read(home, 2, 1, 10)) == []
        assert [record.offset for record in await journal.read(home, 1, 100, 10)] == [1, 2]

    async def test_reads_run_side_by_side(self, journal: Journal) -> None:
        """Replays of several clients do not disturb one another."""
        home = (await journal.append(numbered(300, key=b"exec_1")))[0].partition
        answers = await asyncio.gather(*(journal.read(home, start, 300, 20) for start in range(0, 300, 25)))
        assert [answer[0].offset for answer in answers] == list(range(0, 300, 25))

    # Consuming

    async def test_consumer_goes_on_from_the_offsets_found(self, journal: Journal, follow: Follow) -> None:
        """The first record handed out is the one that the store expects."""
        home = (await journal.append(numbered(10, key=b"exec_1")))[0].partition

        async def after_six(partitions: Collection[int]) -> dict[int, int]:
            return {partition: 6 if partition == home else 0 for partition in partitions}

        consumer = await follow(after_six)
        records = await poll_until(consumer, 4)
        await consumer.close()
        assert [record.offset for record in records] == [6, 7, 8, 9]

    async def test_consumer_reads_every_partition_in_order(self, journal: Journal, follow: Follow) -> None:
        """Each partition is contiguous from its start, and nothing comes twice."""
        appended = await journal.append(numbered(500))
        consumer = await follow(from_the_start)
        records = await poll_until(consumer, 500)
        assert await consumer.poll(10, 0.0) == []
        assert consumer.assigned == frozenset(range(journal.partitions))
        assert consumer.reached == {partition: held.end for partition, held in (await journal.bounds()).items()}
        await consumer.close()
        assert sorted(places(records)) == sorted(appended)
        for partition in range(journal.partitions):
            mine = [record.offset for record in records if record.partition == partition]
            assert mine == list(range(len(mine)))

    async def test_poll_hands_out_no_more_than_asked(self, journal: Journal, follow: Follow) -> None:
        """`max_records` holds over all partitions together."""
        await journal.append(numbered(100))
        consumer = await follow(from_the_start)
        batches: list[Sequence[Record]] = []
        while sum(map(len, batches)) < 100:
            batches.append(await consumer.poll(7, DEADLINE_S))
        await consumer.close()
        assert max(map(len, batches)) == 7

    async def test_new_record_wakes_a_waiting_poll(self, journal: Journal, follow: Follow) -> None:
        """A poll that waits returns as soon as something is appended."""
        consumer = await follow(from_the_start)
        assert await consumer.poll(10, 0.0) == []
        waiting = asyncio.create_task(poll_until(consumer, 1))
        await asyncio.sleep(0)
        started_s = time.monotonic()
        await journal.append(numbered(1))
        [record] = await waiting
        took_s = time.monotonic() - started_s
        await consumer.close()
        assert record.value == b'{"n":0}'
        assert took_s < DEADLINE_S

    async def test_reload_goes_back_and_forth(self, journal: Journal, follow: Follow) -> None:
        """After `reload` the next record is the one that the store names, as often as asked."""
        home = (await journal.append(numbered(10, key=b"exec_1")))[0].partition
        store = Standing(0)
        consumer = await follow(store)
        first = await poll_until(consumer, 10)
        for offset in (4, 0, 8):
            store.offsets[home] = offset
            await consumer.reload()
            assert await poll_until(consumer, 10 - offset) == first[offset:]
        await consumer.close()

    async def test_partition_that_is_left_out_stands_still(self, journal: Journal, follow: Follow) -> None:
        """Until a reload that names it; others go on, also with what comes later."""
        written = await journal.append([entry for n in range(40) for entry in numbered(1, key=b"exec_%d" % n)])
        home = written[0].partition
        store, left_out = Standing(0), {home}

        async def without(partitions: Collection[int]) -> Mapping[int, int]:
            return await store([partition for partition in partitions if partition not in left_out])

        consumer = await follow(without)
        others = [place for place in written if place.partition != home]
        assert {Place(record.partition, record.offset) for record in await poll_until(consumer, len(others))} == set(
            others
        )
        assert list(await consumer.poll(100, 0.5)) == []
        assert home not in consumer.reached
        left_out.clear()
        for place in others:
            store.offsets[place.partition] = max(store.offsets[place.partition], place.offset + 1)
        await consumer.reload()
        held = await poll_until(consumer, len(written) - len(others))
        assert set(places(held)) == set(written) - set(others)
        left_out.add(home)
        await consumer.reload()
        assert list(await consumer.poll(100, 0.5)) == []
        await consumer.close()

    async def test_cancelled_poll_loses_nothing(self, journal: Journal, follow: Follow) -> None:
        """Records that a cancelled poll would have returned come again."""
        consumer = await follow(from_the_start)
        await consumer.poll(1, 0.0)
        collected: list[Record] = []
        for number in range(30):
            polling = asyncio.create_task(consumer.poll(10, 5.0))
            await asyncio.sleep(0)
            await journal.append(numbered(1, key=b"exec_1", first=number))
            polling.cancel()
            for answer in await asyncio.gather(polling, return_exceptions=True):
                collected += answer if isinstance(answer, list) else []
        collected += await poll_until(consumer, 30 - len(collected))
        await consumer.close()
        assert [record.value for record in collected] == [entry.value for entry in numbered(30)]

    async def test_two_consumers_see_the_same(self, journal: Journal, follow: Follow) -> None:
        """A consumer made later starts where its own store stands; nobody uses up records."""
        await journal.append(numbered(20))
        answers = []
        for _ in range(2):
            consumer = await follow(from_the_start)
            answers.append(values_by_partition(await poll_until(consumer, 20)))
            await consumer.close()
        assert answers[0] == answers[1]

    async def test_tail_takes_nothing_from_a_consumer(self, journal: Journal) -> None:
        """Any number of followers read all there is, from where each of them stands, beside the one that folds."""
        appended = await journal.append(numbered(60))
        consumer = await journal.consumer(from_the_start)
        tails = [await journal.tail(from_the_start) for _ in range(2)]
        answers = [await poll_until(reading, 60) for reading in (*tails, consumer)]
        assert [reading.assigned for reading in (*tails, consumer)] == 3 * [frozenset(range(journal.partitions))]
        for reading in (*tails, consumer):
            await reading.close()
        assert [sorted(places(answer)) for answer in answers] == 3 * [sorted(appended)]

    # Retention

    async def test_retention_cut_is_reported_and_others_go_on(
        self, journal: Journal, follow: Follow, forget: Forget
    ) -> None:
        """Records that are gone before they were read are named, never skipped; the rest flows."""
        appended = await journal.append(numbered(60))
        home = appended[0].partition
        end = (await journal.bounds())[home].end
        await forget(home, 3)
        store = Standing(0)
        consumer = await follow(store)
        records: list[Record] = []
        reported = None
        deadline_s = time.monotonic() + DEADLINE_S
        while (reported is None or len(records) < 60 - end) and time.monotonic() < deadline_s:
            try:
                records += await consumer.poll(1000, 1.0)
            except RetentionCut as cut:
                reported = cut
        assert reported is not None
        assert (reported.partition, reported.expected, reported.first) == (home, 0, 3)
        assert sorted(places(records)) == sorted(place for place in appended if place.partition != home)
        store.offsets |= {partition: held.end for partition, held in (await journal.bounds()).items()}
        store.offsets[home] = reported.first
        await consumer.reload()
        later = await poll_until(consumer, end - 3)
        await consumer.close()
        assert places(later) == [Place(home, offset) for offset in range(3, end)]

    async def test_read_below_what_is_left_reports_the_cut(self, journal: Journal, forget: Forget) -> None:
        """A replay from a forgotten place is told so, and bounds say where to begin."""
        home = (await journal.append(numbered(10, key=b"exec_1")))[0].partition
        await forget(home, 4)
        assert (await journal.bounds())[home] == Bounds(4, 10)
        with pytest.raises(RetentionCut) as caught:
            await journal.read(home, 2, 10, 100)
        assert (caught.value.expected, caught.value.first) == (2, 4)
        assert [record.offset for record in await journal.read(home, 4, 10, 100)] == list(range(4, 10))

    async def test_everything_forgotten_does_not_reuse_offsets(self, journal: Journal, forget: Forget) -> None:
        """A place never gets other bytes, not even after all was forgotten."""
        home = (await journal.append(numbered(5, key=b"exec_1")))[0].partition
        await forget(home, 5)
        assert (await journal.bounds())[home] == Bounds(5, 5)
        assert await journal.append(numbered(1, key=b"exec_1")) == [Place(home, 5)]

    # Ending

    async def test_closed_consumer_hands_out_nothing(self, journal: Journal, follow: Follow) -> None:
        """`close` may be called twice, and ends the assignment."""
        await journal.append(numbered(3))
        consumer = await follow(from_the_start)
        await consumer.close()
        await consumer.close()
        assert consumer.assigned == frozenset()
        assert await consumer.poll(10, 0.0) == []

    async def test_closed_journal_says_that_it_is_unavailable(self, journal: Journal) -> None:
        """`close` may be called twice; whoever comes later is told, not left waiting."""
        await journal.append(numbered(1))
        await journal.close()
        await journal.close()
        with pytest.raises(JournalUnavailable):
            await journal.append(numbered(1))
        with pytest.raises(JournalUnavailable):
            await journal.bounds()
        with pytest.raises(JournalUnavailable):
            await journal.read(0, 0, 1, 1)

    async def test_incarnation_is_twelve_hexadecimal_digits(self, journal: Journal) -> None:
        """The name of a log's life fits into positions."""
        assert len(bytes.fromhex(journal.incarnation)) == 6


class DurableJournalContract(JournalContract):
    async def test_reopened_journal_is_the_same_life(self, journal: Journal, reopen: Reopen) -> None:
        """Records, bounds and incarnation outlive the process that wrote them."""
        await journal.append(numbered(100))
        records, bounds, incarnation = await read_all(journal), await journal.bounds(), journal.incarnation
        await journal.close()
        again = await reopen()
        assert (await read_all(again), await again.bounds(), again.incarnation) == (records, bounds, incarnation)


def in_a_row(first: Place, count: int) -> list[Place]:
    """`count` places of one partition in a row."""
    return [Place(first.partition, first.offset + number) for number in range(count)]
