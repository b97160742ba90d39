"""The way from a client's position to the live feed: from memory, from the journal, by waiting, or with a loss."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from monitor.access.positions import open_position
from monitor.events.model import Record
from monitor.events.position import Position
from monitor.fanout.feed import Limits
from monitor.fanout.wires import WEBSOCKET
from monitor.journal.partitioner import partition_for
from tests.support.clocks import ManualClock, settle
from tests.support.released import SEALER, World, ids, select, subscribed, told


@pytest.fixture
def world() -> World:
    """One partition, time by hand."""
    return World()


async def test_a_new_selection_begins_where_the_connection_stands(world: World) -> None:
    """Nothing between the two is missed, nothing of the old one comes twice."""
    hub = world.hub()
    attachment = subscribed(hub, select("execution:exec_1"), WEBSOCKET)
    await world.append()
    world.publish(hub)
    assert await ids(hub, attachment) == ["e1"]
    await world.append()
    await world.append(execution_id="exec_2")
    world.publish(hub)
    position = attachment.change(select("execution:exec_1", "execution:exec_2"))
    assert position == world.beginning.advanced(0, 1)
    assert await ids(hub, attachment) == ["e2", "e3"]


async def test_a_resumed_client_that_everything_was_filtered_from_gets_a_checkpoint(world: World) -> None:
    """Its position moves on, so that it does not have to be scanned again."""
    hub = world.hub()
    await world.append()
    world.publish(hub)
    attachment = subscribed(hub, select("execution:other"), WEBSOCKET, world.beginning)
    [checkpoint] = await told(hub, attachment)
    assert checkpoint["type"] == "stream.checkpoint"
    assert open_position(SEALER, checkpoint["position"]) == world.end


async def test_what_replay_cannot_bring_is_a_gap(world: World) -> None:
    """Records that retention has taken: told with a position where no snapshot is wanted, then live."""
    hub = world.hub(Limits(backlog_bytes=1))
    for _ in range(5):
        await world.append()
    world.publish(hub)
    await world.journal.trim(0, 3)
    attachment = subscribed(hub, select(), WEBSOCKET, world.beginning, on_loss=None)
    await world.append()
    [gap] = await told(hub, attachment)
    assert (gap["type"], gap["reason"]) == ("stream.gap", "retention")
    assert open_position(SEALER, gap["position"]).offsets == (5,)
    world.publish(hub)
    assert await ids(hub, attachment) == ["e6"]


async def test_after_a_gap_comes_a_snapshot_whose_cut_is_the_position(world: World) -> None:
    """The gap itself has none: who is cut off before the end of the snapshot gets both again."""
    hub = world.hub(Limits(backlog_bytes=1))
    for _ in range(5):
        await world.append()
    world.publish(hub)
    await world.journal.trim(0, 3)
    attachment = subscribed(hub, select(), WEBSOCKET, world.beginning)
    await world.append()
    gap, row, end = await told(hub, attachment)
    assert (gap["type"], gap["reason"], "position" in gap) == ("stream.gap", "retention", False)
    assert [open_position(SEALER, gap["lost"][side]).offsets for side in ("from", "to")] == [(0,), (5,)]
    assert (row["type"], row["executionId"], row["version"], "position" in row) == (
        "stream.snapshot",
        "exec_1",
        6,
        False,
    )
    assert (end["type"], end["count"]) == ("stream.snapshot-end", 1)
    assert open_position(SEALER, end["position"]).offsets == (6,)
    world.publish(hub)
    await world.append()
    world.publish(hub)
    assert await ids(hub, attachment) == ["e7"]


@pytest.mark.parametrize("limits", [Limits(backlog_bytes=1, replay_records=3), Limits(backlog_bytes=1, replay_bytes=1)])
async def test_a_replay_that_would_cost_too_much_is_a_gap(world: World, limits: Limits) -> None:
    """By records before it begins, by bytes as soon as they are spent."""
    hub = world.hub(limits)
    for _ in range(205):
        await world.append()
    world.publish(hub)
    attachment = subscribed(hub, select(), WEBSOCKET, world.beginning)
    frames = await told(hub, attachment)
    gaps = [frame["reason"] for frame in frames if frame["type"] == "stream.gap"]
    assert gaps == ["budget"]
    assert hub.statistics().tally.gaps == 1


async def test_who_is_sent_away_in_the_middle_of_a_replay_is_told_how_far_it_got(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not how far it was when the page was asked for: it would get the page again."""
    hub = world.hub(Limits(backlog_bytes=1))
    for _ in range(5):
        await world.append()
    world.publish(hub)
    attachment = subscribed(hub, select(), WEBSOCKET, world.beginning)
    read = world.journal.read

    async def drained_meanwhile(*arguments: int) -> Any:
        attachment.drain(1000)
        return await read(*arguments)

    monkeypatch.setattr(world.journal, "read", drained_meanwhile)
    *events, drain = await told(hub, attachment)
    assert drain["type"] == "stream.drain"
    assert drain["position"] == events[-1]["position"]


async def test_a_reader_that_cannot_be_caught_up_for_the_moment_is_sent_away(world: World) -> None:
    """Nothing is lost: it comes back with the position that it has."""
    hub = world.hub(Limits(backlog_bytes=1))
    for _ in range(5):
        await world.append()
    world.publish(hub)
    await world.journal.close()
    attachment = subscribed(hub, select(), WEBSOCKET, world.beginning)
    assert await told(hub, attachment) == []
    assert attachment.ended == "unavailable"


async def test_who_comes_back_costs_no_query_as_long_as_the_backlog_reaches(world: World) -> None:
    """How it was served is counted."""
    hub = world.hub()
    for _ in range(5):
        await world.append()
    world.publish(hub)
    attachment = subscribed(hub, select(), WEBSOCKET, world.beginning.advanced(0, 2))
    assert await ids(hub, attachment) == ["e3", "e4", "e5"]
    tally = hub.statistics().tally
    assert (tally.resumed, tally.replayed, tally.pages, tally.gaps) == (1, 0, 0, 0)


async def test_what_the_backlog_has_lost_comes_from_the_journal_page_by_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks stay small, and hardly anything is read twice; nothing is left out between journal and memory."""
    read, records_read = world.journal.read, 0

    async def counted(*arguments: int) -> Sequence[Record]:
        nonlocal records_read
        records = await read(*arguments)
        records_read += len(records)
        return records

    hub = world.hub(Limits(backlog_bytes=20_000, chunk_bytes=1000))
    for _ in range(250):
        await world.append()
    world.publish(hub)
    monkeypatch.setattr(world.journal, "read", counted)
    attachment = subscribed(hub, select(), WEBSOCKET, world.beginning)
    sizes = []
    while attachment.position != world.end:
        chunk = await attachment.next()
        assert chunk is not None
        sizes.append(chunk.size_bytes)
    assert max(sizes) < 1500
    tally = hub.statistics().tally
    assert (tally.delivered, tally.replayed, tally.resumed) == (250, 1, 0)
    assert tally.pages >= 10
    assert records_read < 3 * 250


async def test_who_is_ahead_of_this_process_waits(world: World) -> None:
    """Another gateway has told it more: it goes on as soon as this one knows as much."""
    hub = world.hub()
    await world.append()
    await world.append()
    attachment = subscribed(hub, select(), WEBSOCKET, world.end)
    assert (await told(hub, attachment), attachment.state) == ([], "ahead")
    await world.append()
    world.publish(hub, 0, 1)
    assert (await told(hub, attachment), attachment.state) == ([], "ahead")
    world.publish(hub)
    assert (await ids(hub, attachment), attachment.state) == (["e3"], "live")


async def test_who_is_ahead_reads_whatever_comes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than is scanned in one go, and from the journal what does not stay in memory: it waits only at the end."""
    monkeypatch.setattr("monitor.fanout.approach._SCANNED_ENTRIES", 10)
    monkeypatch.setattr("monitor.fanout.approach.PAGE_RECORDS", 10)
    world = World(partitions=2)
    mine, others = by_partition(2)
    for limits in (None, Limits(backlog_bytes=20_000)):
        hub = world.hub(limits, start=world.end)
        await world.append(execution_id=mine)
        attachment = subscribed(hub, select(f"execution:{mine}"), WEBSOCKET, world.end)
        assert (await told(hub, attachment), attachment.state) == ([], "ahead")
        for _ in range(50):
            await world.append(execution_id=others)
        await world.append(execution_id=mine)
        world.publish(hub)
        event, checkpoint = await told(hub, attachment)
        assert (event["type"], checkpoint["type"]) == ("node.completed", "stream.checkpoint")
        assert (open_position(SEALER, checkpoint["position"]), attachment.state) == (world.end, "live")


def by_partition(partitions: int) -> list[str]:
    """An execution for each partition."""
    named = {partition_for(f"exec_{number}".encode(), partitions): f"exec_{number}" for number in range(20)}
    return [named[partition] for partition in range(partitions)]


async def test_who_is_ahead_of_the_journal_itself_is_reset(world: World) -> None:
    """It was told what is not there any more: it begins anew, with a snapshot unless it wants none."""
    await world.append("execution.started", data={})
    hub = world.hub(start=world.end)
    beyond = world.end.advanced(0, 9)
    plain = subscribed(hub, select(), WEBSOCKET, beyond, on_loss=None)
    [reset] = await told(hub, plain)
    assert (reset["type"], reset["reason"], "lost" in reset) == ("stream.reset", "ahead", False)
    assert open_position(SEALER, reset["position"]) == world.end
    shown = subscribed(hub, select(), WEBSOCKET, beyond)
    assert [frame["type"] for frame in await told(hub, shown)] == [
        "stream.reset",
        "stream.snapshot",
        "stream.snapshot-end",
    ]
    assert hub.statistics().tally.resets == 2


@pytest.mark.parametrize("offsets", [(0,), (0, 0)])
async def test_a_position_of_another_journal_is_reset(world: World, offsets: tuple[int, ...]) -> None:
    """Another incarnation, or another number of partitions."""
    await world.append("execution.started", data={})
    hub = world.hub(start=world.end)
    foreign = Position("00" * 6, offsets)
    assert not hub.knows(foreign)
    attachment = subscribed(hub, select(), WEBSOCKET, foreign)
    reset, *rows = await told(hub, attachment)
    assert (reset["type"], reset["reason"], "position" in reset) == ("stream.reset", "incarnation", False)
    assert [frame["type"] for frame in rows] == ["stream.snapshot", "stream.snapshot-end"]


async def test_a_replay_that_takes_too_long_is_a_gap() -> None:
    """The journal is slow, or the client is: a snapshot is the quicker way for both."""
    clock = ManualClock()
    world = World(clock=clock)
    hub = world.hub(Limits(backlog_bytes=1, chunk_bytes=1, replay_s=30))
    for _ in range(5):
        await world.append()
    world.publish(hub)
    attachment = subscribed(hub, select(), WEBSOCKET, world.beginning, on_loss=None)
    assert (await attachment.next()) is not None
    await clock.advance(30.1)
    [gap] = await told(hub, attachment)
    assert (gap["type"], gap["reason"]) == ("stream.gap", "budget")
    assert [open_position(SEALER, gap["lost"][side]).offsets for side in ("from", "to")] == [(1,), (5,)]


async def test_a_selection_that_changes_during_a_replay_begins_where_the_client_stands(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read for the old one is not sent."""
    hub = world.hub(Limits(backlog_bytes=1))
    for number in range(6):
        await world.append(execution_id=f"exec_{number % 2}")
    world.publish(hub)
    attachment = subscribed(hub, select("execution:exec_0"), WEBSOCKET, world.beginning)
    read, gate = world.journal.read, asyncio.Event()

    async def held_up(*arguments: int) -> Any:
        await gate.wait()
        return await read(*arguments)

    monkeypatch.setattr(world.journal, "read", held_up)
    reading = asyncio.create_task(attachment.next())
    await settle()
    assert attachment.change(select("execution:exec_1")) == world.beginning
    gate.set()
    chunk = await reading
    assert chunk is not None
    assert [json.loads(message)["id"] for message in chunk.messages] == ["e2", "e4"]
    assert await ids(hub, attachment) == ["e6"]
