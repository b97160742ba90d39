"""A burst of records without an event halts its partition, whoever reads it, until somebody lets it go on."""

from collections.abc import Sequence
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.events.model import Entry
from monitor.journal.memory import MemoryJournal
from monitor.journal.partitioner import partition_for
from monitor.pipeline import Pipeline
from monitor.projections.bursts import BurstLimits
from monitor.store.base import Writer
from monitor.store.memory import MemoryStore
from tests.support.made_up import VARIED
from tests.support.quarantine import quarantined
from tests.support.replay import contents, quiet_pipeline
from tests.support.traffic import traffic

LIMITS = BurstLimits(in_a_row=10, in_window=30)
GOOD = list(traffic(3, 20, mix=VARIED, active=10, window=20, duplicates=0.1))
BAD = Entry(b"k", b"no event")


def key_of(partition: int) -> bytes:
    """A key whose entries stand in this partition of two."""
    return next(key for key in (b"k%d" % number for number in range(99)) if partition_for(key, 2) == partition)


class World:
    """A journal and the store that is folded from it."""

    def __init__(self, journal: MemoryJournal, store: MemoryStore) -> None:
        self.journal, self.store = journal, store

    def pipeline(self, limits: BurstLimits = LIMITS, **options: Any) -> Pipeline:
        """One that begins anew, as after a kill."""
        return quiet_pipeline(self.journal, self.store, lambda _, said: said or "default", bursts=limits, **options)

    async def folded(self, **options: Any) -> Pipeline:
        """A pipeline that has read what it reads."""
        made = self.pipeline(**options)
        await made.catch_up()
        return made

    async def next(self) -> tuple[int, ...]:
        """Where the store stands."""
        return (await self.store.read(lambda reader: reader.position())).offsets

    async def resume(self, partition: int = 0) -> None:
        """Let it go on, up to the journal's end."""
        end = (await self.journal.bounds())[partition].end
        await self.store.write(lambda writer: writer.resume(partition, end, 1, "ada"))

    async def executions(self) -> Any:
        """Everything that the store holds of executions."""
        return (await contents(self.store))["executions"]

    async def all_executions(self) -> Any:
        """The same of a store that was folded from the journal's good records, however many others there are."""
        other = World(self.journal, MemoryStore())
        await other.bind()
        await other.folded(limits=BurstLimits(10_000, 10_000))
        return await other.executions()

    async def bind(self) -> None:
        """Tie the store to the journal."""
        starts = [0] * self.journal.partitions
        await self.store.write(lambda writer: writer.bind(self.journal.incarnation, starts))

    async def decisions(self) -> list[str | None]:
        """About everything in quarantine, in order."""
        return [it.row.decision for it in await self.store.read(quarantined)]


async def world(entries: Sequence[Entry], partitions: int = 1) -> World:
    """With these entries, and nothing folded yet."""
    there = World(MemoryJournal(partitions, clock=SystemClock()), MemoryStore())
    await there.journal.append(entries)
    await there.bind()
    return there


@pytest.mark.parametrize("max_batch", [1, 7, 5000])
async def test_burst_halts_and_what_came_before_is_applied(max_batch: int) -> None:
    """However the journal is cut into batches: at the one that is too many, with the others in quarantine."""
    there = await world([*GOOD, *[BAD] * 50, *GOOD[:5]])
    halted = await there.folded(max_batch=max_batch)
    assert await there.next() == (len(GOOD) + 10,)
    assert {at: (halt.offset, halt.first, halt.records, halt.reason) for at, halt in halted.halts.items()} == {
        0: (len(GOOD) + 10, len(GOOD), 11, "malformed_json")
    }
    assert await there.decisions() == [None] * 10
    assert await there.executions() == await there.all_executions()


async def test_halt_is_known_to_whoever_comes_next() -> None:
    """After a kill, and to a second reader with other limits: nothing is read, nothing is quarantined."""
    there = await world([BAD] * 50)
    await there.folded()
    for limits in (LIMITS, BurstLimits(1000, 1000)):
        again = await there.folded(limits=limits)
        assert (list(again.halts), await there.next(), len(await there.decisions())) == ([0], (10,), 10)


async def test_zombie_that_knows_of_no_halt_moves_nothing() -> None:
    """It read the partition before it halted, and would go on with limits of its own."""
    there = await world([BAD] * 50)
    zombie = there.pipeline(BurstLimits(1000, 1000), max_batch=20)
    consumer = await there.journal.consumer(zombie._find_offsets)
    await consumer.reload()
    await there.folded()
    for _ in range(5):
        assert await zombie.step(consumer) == 0
    assert (list(zombie.halts), await there.next(), len(await there.decisions())) == ([0], (10,), 10)


async def test_other_partitions_go_on() -> None:
    """In the batch with the burst, and after it."""
    good = [entry._replace(key=key_of(1)) for entry in GOOD]
    there = await world([*good[:40], *[Entry(key_of(0), b"no event")] * 50, *good[40:]], partitions=2)
    halted = await there.folded(max_batch=60)
    assert (list(halted.halts), await there.next()) == ([0], (10, len(good)))
    assert await there.executions() == await there.all_executions()


async def test_partition_that_goes_on_accepts_the_burst_and_counts_anew() -> None:
    """Records that came meanwhile are applied, those without an event accepted; the next burst halts it again."""
    there = await world([*GOOD[:30], *[BAD] * 50, *GOOD[30:], *[BAD] * 40])
    halted = await there.folded()
    await there.resume()
    halted.reload()
    await halted.catch_up()
    assert halted.halts == {}
    assert await there.decisions() == ["accepted"] * 90
    assert await there.executions() == await there.all_executions()
    end = (await there.journal.bounds())[0].end
    await there.journal.append([BAD] * 50)
    again = await there.folded()
    assert [halt.first for halt in again.halts.values()] == [end]
    assert (await there.decisions())[90:] == [None] * 10


async def test_reader_goes_on_by_itself() -> None:
    """One that stands still already reads on with its next step, and takes no record twice."""
    there = await world([*[BAD] * 20, *GOOD])
    reading = there.pipeline()
    consumer = await there.journal.consumer(reading._find_offsets)
    await reading.step(consumer)
    await reading.step(consumer)
    assert (list(reading.halts), await there.next()) == ([0], (10,))
    await there.resume()
    reading.reload()
    while await reading.step(consumer):
        pass
    assert (reading.halts, await there.next()) == ({}, (20 + len(GOOD),))
    assert await there.executions() == await there.all_executions()


async def test_single_records_now_and_then_never_halt() -> None:
    """Fewer than one in a hundred, for as long as it may be; and those that were decided about do not count."""
    mixed = [it for number, entry in enumerate(GOOD) for it in ([BAD, entry] if number % 20 == 0 else [entry])]
    there = await world(mixed)
    assert (await there.folded(limits=BurstLimits(1, 30))).halts == {}
    there = await world([BAD] * 10)
    await there.folded()
    await there.store.write(accept_ten)
    await there.journal.append([BAD] * 10)
    assert (await there.folded()).halts == {}


def accept_ten(writer: Writer) -> None:
    """Decide about the first ten."""
    for id_ in range(1, 11):
        writer.decide(id_, "accepted", 1, "ada")


async def test_many_among_good_ones_halt() -> None:
    """Never two in a row, and yet too many."""
    there = await world([it for entry in (GOOD * 3)[:40] for it in (BAD, entry)])
    halted = await there.folded()
    assert [(halt.offset, halt.records) for halt in halted.halts.values()] == [(60, 31)]


async def test_other_events_under_known_ids_are_no_burst() -> None:
    """Intake takes them: nobody who may send events of one team halts those of all."""
    value = b'{"type":"execution.heartbeat","executionId":"e","timestamp":"2026-11-22T10:00:%02dZ","id":"same"}'
    there = await world([Entry(b"e", value % second) for second in range(30)])
    halted = await there.folded()
    assert halted.halts == {}
    assert [it.row.reason for it in await there.store.read(quarantined)] == ["id_reused"] * 29
    # Nor do those of before count for the next ones.
    await there.journal.append([BAD] * 5)
    assert (await there.folded()).halts == {}
