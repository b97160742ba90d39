"""Replay gives the releases again that the hub published then: same events, same state, same order."""

import asyncio
from typing import Any

import pytest

from monitor.errors import RetentionCut
from monitor.fanout.frames import encode_body
from monitor.fanout.replay import CONCURRENT_PAGES, PAGE_RECORDS, Replay
from monitor.projections.fold import Release
from tests.support.clocks import NOON_US, ManualClock, settle
from tests.support.released import World


def replay_of(world: World) -> Replay:
    """The replay of this world's journal and releases."""
    return world.hub()._replay


async def everything(world: World, team: str | None = None) -> list[Release]:
    """All pages from the beginning on."""
    releases: list[Release] = []
    position = world.beginning
    while not position.includes(world.end):
        page = await replay_of(world).page(position, world.end, PAGE_RECORDS, team)
        releases += page.releases
        position = page.position
    return releases


async def test_it_repeats_what_was_released() -> None:
    """Byte for byte, derived events before their cause; poison and repeats are not there."""
    world = World()
    await world.append("execution.started", workflow_name="x", data={"workflowName": "Nightly", "mode": "manual"})
    await world.append_poison()
    await world.append("execution.progress", data={"completed": 1, "total": 4, "message": "half"})
    await world.append("execution.completed", data={"duration": 1.5})
    await world.append("execution.failed", data={"error": {"type": "E", "message": "no"}})
    released = [release for record in world._released[0] for release in record]
    replayed = await everything(world)
    assert [release.event.type for release in replayed][-2:] == ["execution.conflict", "execution.failed"]
    assert replayed == released
    assert list(map(encode_body, replayed)) == list(map(encode_body, released))


async def test_it_keeps_teams_apart() -> None:
    """A page is of one team, where one is named."""
    world = World()
    for team in ("red", "blue", "red"):
        await world.append(team=team)
    assert [release.event.id for release in await everything(world, "red")] == ["e1", "e3"]
    assert [release.event.id for release in await everything(world)] == ["e1", "e2", "e3"]


async def test_the_partition_that_is_furthest_behind_comes_first() -> None:
    """So that none starves while another one grows."""
    world = World(partitions=3)
    for number in range(30):
        await world.append(execution_id=f"exec_{number}")
    offsets = list(world.end.offsets)
    page = await replay_of(world).page(world.beginning, world.end, PAGE_RECORDS)
    assert page.position.offsets[offsets.index(max(offsets))] == max(offsets)


async def test_records_that_are_gone_are_reported() -> None:
    """Not skipped."""
    world = World()
    for _ in range(3):
        await world.append()
    await world.journal.trim(0, 2)
    with pytest.raises(RetentionCut):
        await replay_of(world).page(world.beginning, world.end, PAGE_RECORDS)


async def test_retention_between_journal_and_store_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records were read, and what was released of them is forgotten: whoever asked is told, and gets no empty page."""
    world = World()
    for _ in range(4):
        await world.append()
    read = world.store.read

    async def late(work: Any) -> Any:
        await world.journal.trim(0, 3)
        await world.store.write(lambda writer: writer.forget_releases(0, 3, 1000))
        return await read(work)

    replay = replay_of(world)
    monkeypatch.setattr(world.store, "read", late)
    with pytest.raises(RetentionCut, match="0 to 2"):
        await replay.page(world.beginning, world.end, PAGE_RECORDS)


async def test_a_tail_begins_at_the_cut_where_retention_has_gone_beyond_it() -> None:
    """What the store has not come to is gone: that is nothing which was released, and no place to begin from."""
    world = World()
    for _ in range(4):
        await world.append()
    await world.journal.trim(0, 3)
    cut = world.beginning.advanced(0, 2)
    assert await replay_of(world).tail(cut, 1000, 1 << 20) == (cut, [])


async def test_a_tail_of_large_records_is_shorter() -> None:
    """A start must not hold all that ten thousand records of the largest size would take: the oldest ones go first."""
    world = World(partitions=3)
    for number in range(30):
        await world.append(execution_id=f"exec_{number}", data={"nodeId": "n1", "text": "x" * 1000})
    whole, everything = await replay_of(world).tail(world.end, 1000, 1 << 20)
    base, latest = await replay_of(world).tail(world.end, 1000, 10_000)
    assert (whole, len(everything)) == (world.beginning, 30)
    assert latest == everything[-len(latest) :]
    assert sum(base.offsets) + len(latest) == 30
    assert 10_000 - 1200 < sum(len(release.event.record.value or b"") for release in latest) <= 10_000


async def test_a_stampede_waits_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many clients come back, few pages are read at a time."""
    world = World()
    await world.append()
    replay = replay_of(world)
    reading, most, gate = 0, 0, asyncio.Event()
    read = world.journal.read

    async def watched(partition: int, start: int, end: int, max_records: int) -> object:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        await gate.wait()
        reading -= 1
        return await read(partition, start, end, max_records)

    monkeypatch.setattr(world.journal, "read", watched)
    pages = [asyncio.create_task(replay.page(world.beginning, world.end, 1)) for _ in range(50)]
    await settle()
    gate.set()
    await asyncio.gather(*pages)
    assert most == CONCURRENT_PAGES


async def timed(partitions: int = 1) -> tuple[World, list[int]]:
    """A journal that took two records every second, and when it took each."""
    clock = ManualClock(NOON_US)
    world, times_us = World(partitions, clock), []
    for number in range(20):
        await world.append(execution_id=f"exec_{number}")
        times_us.append(clock.now_us())
        if number % 2:
            await clock.advance(1.0)
    return world, times_us


@pytest.mark.parametrize(
    ("after_us", "offset"), [(-1, 0), (0, 0), (1, 2), (1_000_000, 2), (1_000_001, 4), (10**12, 20)]
)
async def test_a_time_is_the_place_of_the_first_record_from_then_on(after_us: int, offset: int) -> None:
    """Those of the very instant included."""
    world, _ = await timed()
    assert (await world.hub().at_time(NOON_US + after_us)).offsets == (offset,)


async def test_a_time_is_found_in_every_partition() -> None:
    """What comes after it was stored at it or later, what lies before it was not."""
    world, _ = await timed(partitions=3)
    time_us = NOON_US + 4_500_000
    found = await world.hub().at_time(time_us)
    for partition, end in enumerate(world.end.offsets):
        records = await world.journal.read(partition, 0, end, 100)
        assert [record.offset for record in records if record.stored_us < time_us] == list(
            range(found.offsets[partition])
        )


async def test_a_time_before_what_is_kept_has_a_record_behind_it_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that who begins there is told of the gap; also when records go while it is looked for."""
    world, _ = await timed()
    await world.journal.trim(0, 6)
    assert (await world.hub().at_time(0)).offsets == (5,)
    bounds = world.journal.bounds

    async def trimmed_afterwards() -> object:
        found = await bounds()
        await world.journal.trim(0, 15)
        return found

    monkeypatch.setattr(world.journal, "bounds", trimmed_afterwards)
    assert (await world.hub().at_time(NOON_US + 4_000_000)).offsets == (14,)


async def test_the_ends_of_the_journal_are_told() -> None:
    """What it still holds."""
    world, _ = await timed()
    await world.journal.trim(0, 6)
    hub = world.hub()
    assert ((await hub.earliest()).offsets, (await replay_of(world).latest()).offsets) == ((6,), (20,))
