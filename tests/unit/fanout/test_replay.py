"""Replay gives the releases again that the hub published then: same events, same state, same order."""

import asyncio

import pytest

from monitor.errors import RetentionCut
from monitor.fanout.frames import encode_body
from monitor.fanout.replay import CONCURRENT_PAGES, PAGE_RECORDS, Replay
from monitor.projections.fold import Release
from tests.support.clocks import settle
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
