"""What is measured by looking: how far behind folding is, in records and in seconds, and how the pipeline is."""

import asyncio

import pytest

from monitor.events.model import Entry
from monitor.journal.base import Bounds
from monitor.journal.memory import MemoryJournal
from monitor.journal.waiting import waiting_since_us
from tests.support.clocks import NOON_US, ManualClock
from tests.support.house import House, open_house
from tests.support.server import until


@pytest.fixture
def clock() -> ManualClock:
    """Noon until it is moved."""
    return ManualClock()


def started(execution_id: str) -> Entry:
    """An execution begins."""
    value = f'{{"type":"execution.started","executionId":"{execution_id}","timestamp":"2026-11-22T10:30:00Z"}}'
    return Entry(execution_id.encode(), value.encode())


def measured(house: House, name: str) -> list[float]:
    """The values of a metric, in the order of its labels."""
    lines = house.metrics.text().decode().splitlines()
    return [float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))]


async def test_lag_is_told_in_records_and_in_the_age_of_the_first_of_them(clock: ManualClock) -> None:
    """By partition; one that is folded is not behind at all, however old its last record is."""
    house = await open_house(partitions=2, clock=clock)
    await house.observe()
    assert (measured(house, "monitor_lag_records"), measured(house, "monitor_lag_seconds")) == ([0, 0], [0, 0])
    [first] = await house.journal.append([started("exec_0")])
    await clock.advance(30)
    later = await house.journal.append([started(f"exec_{number}") for number in range(10)])
    assert {place.partition for place in later} == {0, 1}
    await clock.advance(12)
    await house.observe()
    assert measured(house, "monitor_lag_records") == [held.end for held in (await house.journal.bounds()).values()]
    assert measured(house, "monitor_lag_seconds") == [42.0 if at == first.partition else 12.0 for at in (0, 1)]
    await house.settle()
    await clock.advance(60)
    await house.observe()
    assert (measured(house, "monitor_lag_records"), measured(house, "monitor_lag_seconds")) == ([0, 0], [0, 0])


async def test_record_of_a_clock_that_is_ahead_has_not_waited(clock: ManualClock) -> None:
    """On Kafka whoever writes says when it was: no lag is below nothing."""
    house = await open_house(clock=clock)
    await house.journal.append([started("exec_0")])
    clock._now_us -= 60_000_000
    await house.observe()
    assert measured(house, "monitor_lag_seconds") == [0.0]


async def test_commits_are_told_by_age_and_size(clock: ManualClock) -> None:
    """From the start on, and no more by who asks than by who commits."""
    house = await open_house(clock=clock)
    await clock.advance(7)
    await house.observe()
    assert measured(house, "monitor_commit_age_seconds") == [7.0]
    await house.tell(*({"type": "execution.started", "executionId": f"e{n}", "timestamp": STAMP} for n in range(3)))
    await clock.advance(2)
    for _ in range(2):
        await house.observe()
    assert measured(house, "monitor_commit_age_seconds") == [2.0]
    assert (measured(house, "monitor_batch_records_sum"), measured(house, "monitor_batch_records_count")) == ([3], [1])


async def test_partitions_are_counted_while_they_are_folded() -> None:
    """None before the pipeline runs."""
    house = await open_house(partitions=3)
    await house.observe()
    assert measured(house, "monitor_partitions_assigned") == [0]
    task = asyncio.create_task(house.pipeline.run())
    try:
        await until(lambda: house.pipeline.statistics().assigned == 3)
        await house.observe()
        assert measured(house, "monitor_partitions_assigned") == [3]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("trimmed", "unread", "waited"), [(0, (1, 3), 1), (2, (1, 3), 2), (3, (1, 3), None), (0, (3, 3), None)]
)
async def test_oldest_record_is_the_first_that_is_left(
    trimmed: int, unread: tuple[int, int], waited: int | None, clock: ManualClock
) -> None:
    """Removed meanwhile, the next one stands for it."""
    journal = MemoryJournal(clock=clock)
    for number in range(3):
        await journal.append([started(f"e{number}")])
        await clock.advance(1)
    await journal.trim(0, trimmed)
    since_us = await waiting_since_us(journal, 0, Bounds(*unread))
    assert since_us == (None if waited is None else NOON_US + waited * 1_000_000)


STAMP = "2026-11-22T10:30:00Z"
