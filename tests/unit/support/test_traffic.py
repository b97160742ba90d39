"""Made-up traffic interleaves, disorders, repeats and loses exactly as it is told, and the same for the same seed."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any

import pytest

from monitor.events.codec import decode, parse_time_us
from monitor.events.model import Entry, Event, Record
from tests.support.clocks import ManualClock, settle
from tests.support.made_up import VARIED
from tests.support.traffic import paced, traffic


def members(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """The events that the entries hold."""
    return [json.loads(entry.value) for entry in entries]


def distances(entries: Iterable[Entry]) -> list[int]:
    """How many places lie between two entries of one execution."""
    last: dict[bytes, int] = {}
    found = []
    for place, entry in enumerate(entries):
        if entry.key in last:
            found.append(place - last[entry.key])
        last[entry.key] = place
    return found


def test_every_entry_decodes_and_is_keyed_by_its_execution() -> None:
    """Entries are what a producer writes to the topic, with all the variety of the histories."""
    for entry in traffic(1, 200, mix=VARIED):
        event = decode(Record(0, 0, entry.key, entry.value, (), 0), lambda _record, _team: "default")
        assert isinstance(event, Event)
        assert event.execution_id.encode() == entry.key


def test_equal_seeds_give_equal_traffic() -> None:
    """The seed decides everything, disorder and losses too."""
    switches: dict[str, Any] = {"mix": VARIED, "window": 50, "duplicates": 0.1, "gaps": 0.1}
    assert list(traffic(1, 50, **switches)) == list(traffic(1, 50, **switches))
    assert list(traffic(1, 50, **switches)) != list(traffic(2, 50, **switches))


def test_traffic_is_in_order_of_time_at_the_rate_that_was_asked_for() -> None:
    """Without disorder timestamps never step back, and as many fall into a second as the rate says."""
    times_us = [parse_time_us(event["timestamp"]) for event in members(islice(traffic(1, rate_per_s=500), 10_000))]
    assert times_us == sorted(times_us)
    assert (times_us[-1] - times_us[0]) / 1e6 == pytest.approx(20, rel=0.15)


def test_active_executions_decide_how_wide_the_interleave_is() -> None:
    """About as many other entries lie between two entries of an execution as executions are active."""
    for active in (1, 10, 500):
        found = distances(islice(traffic(1, active=active), 20_000))
        assert sum(found) / len(found) == pytest.approx(active, rel=0.4)


def test_an_execution_is_told_whole_and_once() -> None:
    """With all switches off nothing is missing and nothing is there twice."""
    for numbers in numbers_by_execution(traffic(1, 300)).values():
        assert numbers == list(range(1, len(numbers) + 1))


def test_disorder_stays_near_and_loses_nothing() -> None:
    """A window moves entries, most of them by not much more than its size."""
    ordered, shuffled = list(traffic(1, 500)), list(traffic(1, 500, window=100))
    assert shuffled != ordered
    assert sorted(shuffled) == sorted(ordered)
    place = {entry.value: at for at, entry in enumerate(ordered)}
    moved = sorted(abs(at - place[entry.value]) for at, entry in enumerate(shuffled))
    assert moved[len(moved) * 9 // 10] <= 300


def test_duplicates_come_again_unchanged() -> None:
    """The share that was asked for comes twice, with the same bytes; the rest is untouched."""
    counts = Counter(entry.value for entry in traffic(1, 1000, duplicates=0.1))
    assert set(counts) == {entry.value for entry in traffic(1, 1000)}
    assert counts.total() / len(counts) == pytest.approx(1.1, abs=0.02)


def test_gaps_leave_holes_in_the_sequence() -> None:
    """The share that was asked for never comes, and the counts of the sources show it."""
    whole, left = list(traffic(1, 1000)), list(traffic(1, 1000, gaps=0.05))
    assert len(left) / len(whole) == pytest.approx(0.95, abs=0.01)
    holes = [numbers for numbers in numbers_by_execution(left).values() if len(numbers) < max(numbers)]
    assert len(holes) > 100


def numbers_by_execution(entries: Iterable[Entry]) -> dict[str, list[int]]:
    """The sequences of each execution, in order of arrival."""
    numbers: dict[str, list[int]] = {}
    for event in members(entries):
        numbers.setdefault(event["executionId"], []).append(event["sequence"])
    return numbers


def test_traffic_is_fast_enough_to_feed_a_benchmark() -> None:
    """At least 50,000 entries per second of processor time, with every switch on, also on a slow machine."""
    entries = traffic(1, active=5000, window=1000, duplicates=0.01, gaps=0.01)
    next(entries)

    def seconds_for_a_turn() -> float:
        before_s = time.process_time()
        assert sum(1 for _ in islice(entries, 20_000)) == 20_000
        return time.process_time() - before_s

    assert 20_000 / min(seconds_for_a_turn() for _ in range(3)) > 50_000


async def test_paced_traffic_keeps_its_rate() -> None:
    """Batches come ten times a second and together make the rate; what is left at the end comes too."""
    clock, batches = ManualClock(), []

    async def take() -> None:
        async for batch in paced(traffic(1, 40), 105, clock):
            batches.append(len(batch))  # noqa: PERF401

    taking = asyncio.create_task(take())
    await clock.advance(2)
    assert sum(batches) == pytest.approx(210, abs=1)
    assert set(batches) == {10, 11}
    await clock.advance(60)
    await settle()
    assert taking.done()
    assert sum(batches) == len(list(traffic(1, 40)))


async def test_paced_traffic_does_not_make_up_for_a_long_pause() -> None:
    """Whoever was busy for a minute gets one second's worth, not a flood."""
    clock = ManualClock()
    batches = paced(traffic(1), 100, clock)

    async def following() -> int:
        taking = asyncio.ensure_future(anext(batches))
        await clock.advance(0.1)
        return len(await taking)

    assert await following() == 10
    await clock.advance(60)
    assert await following() == 100
    await batches.aclose()
