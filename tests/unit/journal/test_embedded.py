"""The embedded consumer is fair, wakes at once and sees what other processes append."""

import asyncio
import time
from pathlib import Path

from monitor.clock import SystemClock
from monitor.events.model import Entry
from monitor.journal import MemoryJournal, open_sqlite_journal
from tests.contracts.journal_contract import from_the_start, numbered, poll_until


async def test_busy_partition_does_not_starve_the_others() -> None:
    """With a small limit, every partition gets its turn."""
    journal = MemoryJournal(3, clock=SystemClock())
    await journal.append(numbered(300))
    consumer = await journal.consumer(from_the_start)
    first = [await consumer.poll(5, 0.0) for _ in range(3)]
    assert {record.partition for batch in first for record in batch} == {0, 1, 2}


async def test_append_wakes_a_poll_without_waiting_for_the_recheck() -> None:
    """In this process an event tells of new records: no period stands between append and poll."""
    journal = MemoryJournal(clock=SystemClock())
    consumer = await journal.consumer(from_the_start)
    delays_s = []
    for _ in range(20):
        waiting = asyncio.create_task(consumer.poll(10, 5.0))
        await asyncio.sleep(0)
        started_s = time.monotonic()
        await journal.append([Entry(b"k", b"v")])
        assert len(await waiting) == 1
        delays_s.append(time.monotonic() - started_s)
    assert sorted(delays_s)[10] < 0.1  # the recheck is 0.25 s


async def test_records_of_another_process_are_seen(tmp_path: Path) -> None:
    """What came in by another connection is found without an event."""
    here = await open_sqlite_journal(tmp_path / "journal.db", clock=SystemClock())
    there = await open_sqlite_journal(tmp_path / "journal.db", clock=SystemClock())
    consumer = await here.consumer(from_the_start)
    waiting = asyncio.create_task(poll_until(consumer, 1))
    await asyncio.sleep(0)
    await there.append([Entry(b"k", b"from there")])
    assert [record.value for record in await waiting] == [b"from there"]
    # Both go on where the file stands, not where each of them remembers.
    assert [place.offset for place in await here.append([Entry(b"k", b"from here")])] == [1]
    await there.close()
    await here.close()


async def test_closing_ends_a_waiting_poll() -> None:
    """Nobody waits for records of a consumer that is closed."""
    journal = MemoryJournal(clock=SystemClock())
    consumer = await journal.consumer(from_the_start)
    waiting = asyncio.create_task(consumer.poll(10, 60.0))
    await asyncio.sleep(0)
    await consumer.close()
    async with asyncio.timeout(60):
        assert await waiting == []
