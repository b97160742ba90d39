"""What a client is shown before the live stream goes on: one snapshot after the other, each with the cut behind it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from monitor.access.positions import open_position
from monitor.events.position import Position
from monitor.fanout.attachment import Attachment
from monitor.fanout.channels import ACTIVE, Selection, SnapshotWish
from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from monitor.fanout.snapshots import HELD
from monitor.fanout.wires import WEBSOCKET
from monitor.journal.partitioner import partition_for
from monitor.store.base import Reader
from tests.support.clocks import settle
from tests.support.released import LABEL, SEALER, World, ids, select, subscribed, told

IN_ZERO: Final = partition_for(b"exec_0", 2)
# One frame a chunk.
TINY = Limits(chunk_bytes=1)
ONE, OTHER = select("workflow:wf_1"), select("workflow:wf_2")
BOTH = Selection("default", ONE.subscriptions | OTHER.subscriptions)


@pytest.fixture
async def world() -> World:
    """Two executions run in one workflow, one in the other."""
    world = World()
    for execution_id, workflow_id in (("a", "wf_1"), ("b", "wf_1"), ("c", "wf_2")):
        await start(world, execution_id, workflow_id)
    return world


async def start(world: World, execution_id: str, workflow_id: str) -> None:
    """Let an execution start."""
    await world.append("execution.started", execution_id, workflow_id=workflow_id, data={})


def up_to_date(world: World, limits: Limits | None = None) -> Hub:
    """A hub that has released everything."""
    hub = world.hub(limits)
    world.publish(hub)
    return hub


def summed_up(frames: list[dict[str, Any]]) -> list[str]:
    """Executions of rows and of events, the counts of snapshots that are complete, and the types of other frames."""
    return [
        frame["executionId"]
        if "executionId" in frame
        else str(frame["count"])
        if frame["type"] == "stream.snapshot-end"
        else frame["type"]
        for frame in frames
    ]


def reached(frame: dict[str, Any]) -> Position:
    """Where a frame says that its reader stands."""
    return open_position(SEALER, frame["position"])


async def next_frame(attachment: Attachment) -> str:
    """What the next chunk, which is one frame, brings."""
    chunk = await attachment.next()
    assert chunk is not None
    [message] = chunk.messages
    return message.decode()


async def test_rows_come_first_and_the_stream_goes_on_at_their_cut(world: World) -> None:
    """The hub may be behind the store: what it releases of that is not sent again."""
    hub = world.hub()
    attachment = hub.attach(WEBSOCKET, LABEL)
    assert attachment.change(select(), snapshot=ACTIVE) is None
    assert attachment.state == "snapshot"
    *rows, end = await told(hub, attachment)
    assert (sorted(summed_up(rows)), summed_up([end]), reached(end)) == (["a", "b", "c"], ["3"], world.end)
    assert attachment.state == "ahead"
    world.publish(hub)
    await start(world, "d", "wf_1")
    world.publish(hub)
    assert (await ids(hub, attachment), attachment.state) == (["e4"], "live")
    assert hub.statistics().tally.snapshots == 1


async def test_a_snapshot_of_nothing_still_tells_its_cut(world: World) -> None:
    """Once the last row is sent, and there is none."""
    hub = up_to_date(world)
    [end] = await told(hub, subscribed(hub, select("execution:nobody"), WEBSOCKET, snapshot=ACTIVE))
    assert (end["count"], reached(end)) == (0, world.end)


async def test_with_a_position_nothing_is_shown(world: World) -> None:
    """Who has one knows what was before."""
    hub = up_to_date(world)
    attachment = subscribed(hub, select(), WEBSOCKET, world.beginning, snapshot=ACTIVE)
    assert await ids(hub, attachment) == ["e1", "e2", "e3"]


async def test_a_long_snapshot_comes_in_chunks(world: World) -> None:
    """Only with its last one the client stands somewhere: sent away before, it begins anew."""
    hub = up_to_date(world, TINY)
    attachment = subscribed(hub, ONE, WEBSOCKET, snapshot=SnapshotWish("recent", 5))
    assert '"executionId":"b"' in await next_frame(attachment)
    attachment.drain(1000)
    assert await next_frame(attachment) == '{"type":"stream.drain","retryMs":1000}'
    assert await attachment.next() is None


async def test_an_added_subscription_is_shown_behind_the_one_that_is_under_way(world: World) -> None:
    """Each has its end, at the cut of the first, where the whole connection goes on."""
    hub = up_to_date(world, TINY)
    attachment = subscribed(hub, ONE, WEBSOCKET, snapshot=ACTIVE)
    await attachment.next()
    cut = world.end
    await start(world, "d", "wf_2")
    world.publish(hub)
    assert attachment.change(BOTH, snapshot=ACTIVE, shown=OTHER.subscriptions) is None
    frames = await told(hub, attachment)
    assert summed_up(frames) == ["a", "2", "d", "c", "2", "d"]
    assert [reached(frame) for frame in frames if frame["type"] == "stream.snapshot-end"] == [cut, cut]


async def test_an_added_subscription_leaves_the_connection_where_it_stands(world: World) -> None:
    """What happens meanwhile comes behind its rows, once."""
    hub = up_to_date(world)
    attachment = subscribed(hub, ONE, WEBSOCKET)
    assert await told(hub, attachment) == []
    await start(world, "d", "wf_1")
    position = attachment.change(BOTH, snapshot=ACTIVE, shown=OTHER.subscriptions)
    assert position == world.beginning.advanced(0, 3)
    world.publish(hub)
    frames = await told(hub, attachment)
    assert summed_up(frames) == ["c", "1", "d"]
    assert reached(frames[1]) == position


async def test_what_is_not_wanted_any_more_is_not_shown_to_the_end(world: World) -> None:
    """The stream goes on where the connection began."""
    hub = up_to_date(world, TINY)
    attachment = subscribed(hub, BOTH, WEBSOCKET, snapshot=ACTIVE)
    await attachment.next()
    assert attachment.change(OTHER) is None
    assert summed_up(await told(hub, attachment)) == ["c", "1"]
    began = world.end
    attachment = subscribed(hub, ONE, WEBSOCKET, snapshot=ACTIVE)
    await attachment.next()
    assert attachment.change(OTHER, began) == began
    await start(world, "d", "wf_2")
    world.publish(hub)
    assert summed_up(await told(hub, attachment)) == ["d"]


async def test_what_is_altered_before_it_was_shown_is_shown_as_it_is_then(world: World) -> None:
    """Its owner waits for the end of a snapshot."""
    hub = up_to_date(world, TINY)
    attachment = subscribed(hub, ONE, WEBSOCKET, snapshot=ACTIVE)
    await attachment.next()
    assert attachment.change(OTHER) is None
    assert summed_up(await told(hub, attachment)) == ["c", "1"]


@pytest.mark.parametrize("how", ["leave", "select nothing"])
async def test_who_goes_in_the_middle_gives_the_snapshot_back(world: World, how: str) -> None:
    """Or after some of them nobody would get one any more."""
    hub = up_to_date(world, TINY)
    for number in range(HELD + 1):
        asked = select("workflow:wf_1", f"workflow:other_{number}")
        attachment = subscribed(hub, asked, WEBSOCKET, snapshot=ACTIVE)
        await attachment.next()
        if how == "leave":
            attachment.leave()
        else:
            attachment.change(Selection("default"))
    assert summed_up(await told(hub, subscribed(hub, OTHER, WEBSOCKET, snapshot=ACTIVE))) == ["c", "1"]


async def test_a_subscription_that_is_added_is_shown_as_new_as_the_connection_is(world: World) -> None:
    """Never what was read for somebody else before: what happened in between would be nowhere."""
    hub = up_to_date(world, TINY)
    await subscribed(hub, ONE, WEBSOCKET, snapshot=ACTIVE).next()
    await start(world, "d", "wf_1")
    world.publish(hub)
    attachment = subscribed(hub, OTHER, WEBSOCKET)
    attachment.change(BOTH, snapshot=ACTIVE, shown=ONE.subscriptions)
    assert summed_up(await told(hub, attachment)) == ["d", "b", "a", "3"]


async def test_what_is_shown_after_a_gap_is_as_new_as_what_the_client_has(world: World) -> None:
    """Never what was read for somebody else before: the client would be set back."""
    hub = up_to_date(world, Limits(chunk_bytes=1, backlog_bytes=1))
    await subscribed(hub, ONE, WEBSOCKET, snapshot=ACTIVE).next()
    await start(world, "d", "wf_1")
    has = world.end
    for _ in range(3):
        await world.append(execution_id="a")
    world.publish(hub)
    await world.journal.trim(0, 6)
    gap, *rows, end = await told(hub, subscribed(hub, ONE, WEBSOCKET, has))
    assert (gap["type"], summed_up(rows), reached(end)) == ("stream.gap", ["d", "b", "a"], world.end)


async def test_after_a_gap_in_one_partition_nothing_of_the_others_is_taken_back() -> None:
    """The rows show them as new as the client knows them already."""
    world = World(partitions=2)
    here, there = "exec_0", next(f"exec_{n}" for n in range(9) if partition_for(f"exec_{n}".encode(), 2) != IN_ZERO)
    await start(world, here, "wf_1")
    await start(world, there, "wf_1")
    has = world.end
    for _ in range(3):
        await world.append(execution_id=here)
    hub = up_to_date(world, Limits(chunk_bytes=1, backlog_bytes=1))
    await world.journal.trim(IN_ZERO, 3)
    await subscribed(hub, ONE, WEBSOCKET, snapshot=ACTIVE).next()
    await world.append("execution.completed", there, data={})
    has = has.advanced(1 - IN_ZERO, 2)
    gap, *rows, end = await told(hub, subscribed(hub, ONE, WEBSOCKET, has))
    assert (gap["type"], summed_up(rows), reached(end)) == ("stream.gap", [here], world.end)


async def test_a_selection_that_changes_while_the_store_reads_is_not_shown_what_was_asked_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it shows instead is read anew, and the first reading is given back."""
    hub = up_to_date(world, TINY)
    read, gate = world.store.read, asyncio.Event()

    async def held_up(work: Callable[[Reader], Any]) -> Any:
        await gate.wait()
        return await read(work)

    monkeypatch.setattr(world.store, "read", held_up)
    for _ in range(HELD + 1):
        gate.clear()
        attachment = subscribed(hub, ONE, WEBSOCKET, snapshot=ACTIVE)
        reading = asyncio.create_task(attachment.next())
        await settle()
        attachment.change(OTHER)
        gate.set()
        chunk = await reading
        assert chunk is not None
        assert summed_up([json.loads(message) for message in chunk.messages]) == ["c", "1"]
        attachment.leave()


async def test_a_store_that_does_not_answer_sends_the_client_away(world: World) -> None:
    """It comes back and begins anew."""
    hub = up_to_date(world)
    attachment = subscribed(hub, select(), WEBSOCKET, snapshot=ACTIVE)
    await world.store.close()
    assert await told(hub, attachment) == []
    assert attachment.ended == "unavailable"
