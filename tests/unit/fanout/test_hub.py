"""The hub publishes without waiting, wakes readers in its own time, and says what it lost."""

import asyncio

import pytest

from monitor.access.positions import open_position
from monitor.errors import InvalidPosition
from monitor.events.position import Position
from monitor.fanout.feed import Limits
from monitor.fanout.wires import SSE, WEBSOCKET
from tests.support.clocks import NOON_US, ManualClock, settle
from tests.support.released import LABEL, SEALER, Piped, World, ids, select, subscribed, told


@pytest.fixture
def world() -> World:
    """One partition, time by hand."""
    return World()


async def test_equal_selections_share_a_group_and_its_bytes(world: World) -> None:
    """One chunk, whoever reads it; another kind of connection is another group."""
    hub = world.hub()
    attachments = [subscribed(hub, select(), wire) for wire in (SSE, SSE, WEBSOCKET)]
    reading = [asyncio.create_task(attachment.next()) for attachment in attachments]
    await settle()
    await world.append()
    world.publish(hub)
    await hub._flush()
    one, same, other = await asyncio.gather(*reading)
    assert one is same
    assert one is not other
    assert hub.statistics().groups == 2


async def test_an_event_reaches_only_who_wants_it(world: World) -> None:
    """By channel, type, filter and team."""
    hub = world.hub()
    attachments = {
        "all": subscribed(hub, select(), WEBSOCKET),
        "workflow": subscribed(hub, select("workflow:wf_2"), WEBSOCKET),
        "execution": subscribed(hub, select("execution:exec_1"), WEBSOCKET),
        "progress": subscribed(hub, select(events=frozenset({"execution.progress"})), WEBSOCKET),
        "blue": subscribed(hub, select(team="blue"), WEBSOCKET),
    }
    for attachment in attachments.values():
        await told(hub, attachment)
    await world.append()
    await world.append(execution_id="exec_2", workflow_id="wf_2")
    await world.append("execution.progress", data={"completed": 1})
    await world.append(team="blue")
    world.publish(hub)
    seen = {name: await ids(hub, attachment) for name, attachment in attachments.items()}
    assert seen == {
        "all": ["e1", "e2"],
        "workflow": ["e2"],
        "execution": ["e1"],
        "progress": ["e3"],
        "blue": ["e4"],
    }


async def test_a_commit_that_is_published_again_changes_nothing(world: World) -> None:
    """After a fence a pipeline may repeat what it released."""
    hub = world.hub()
    attachment = subscribed(hub, select(), WEBSOCKET)
    await world.append()
    world.publish(hub)
    hub.publish(world._released[0][0], world.beginning)
    assert (hub.position, await ids(hub, attachment)) == (world.end, ["e1"])


async def test_groups_far_behind_get_a_checkpoint_before_the_heartbeat(world: World) -> None:
    """Or a busy hour would take a filtered client out of the reach of replay."""
    hub = world.hub(Limits(checkpoint_records=10))
    attachment = subscribed(hub, select("execution:other"), WEBSOCKET)
    assert await told(hub, attachment) == []
    for _ in range(9):
        await world.append()
    world.publish(hub)
    hub._beat()
    assert await told(hub, attachment) == []
    await world.append()
    world.publish(hub)
    hub._beat()
    assert [frame["type"] for frame in await told(hub, attachment)] == ["stream.checkpoint"]


async def test_a_cut_of_the_journal_is_told_to_everybody_once(world: World) -> None:
    """Live, and to whoever comes back to the place of the cut."""
    hub = world.hub()
    live = subscribed(hub, select("execution:other"), WEBSOCKET)
    assert await told(hub, live) == []
    hub.announce_cut(0, 0, 5)
    returned = subscribed(hub, select(), WEBSOCKET, world.beginning)
    for attachment in (live, returned):
        [gap] = await told(hub, attachment)
        assert (gap["type"], gap["reason"]) == ("stream.gap", "retention")
        assert open_position(SEALER, gap["position"]).offsets == (5,)


async def test_after_a_start_the_backlog_holds_the_journals_tail(world: World) -> None:
    """Clients that come back cost no query, in partitions' order and across them by time."""
    world = World(partitions=3)
    for number in range(60):
        await world.append(execution_id=f"exec_{number % 7}")
    hub = world.hub(start=world.end)
    await hub.refill()
    attachment = subscribed(hub, select(), WEBSOCKET, world.beginning)
    seen = await ids(hub, attachment)
    assert sorted(seen) == sorted(f"e{number}" for number in range(1, 61))
    assert hub.statistics().tally.pages == 0


async def test_a_refill_takes_no_more_than_the_tail(world: World) -> None:
    """What lies before comes by replay, which begins where the backlog does."""
    for _ in range(30):
        await world.append()
    hub = world.hub(Limits(replay_records=30, backlog_bytes=20_000), start=world.end)
    await hub.refill()
    assert hub.statistics().backlog_bytes <= 20_000
    attachment = subscribed(hub, select(), WEBSOCKET, world.beginning)
    assert await ids(hub, attachment) == [f"e{number}" for number in range(1, 31)]
    assert hub.statistics().tally.pages > 0


async def test_a_position_can_be_waited_for(world: World) -> None:
    """True at once where it is reached, true as soon as it is, false after the time."""
    hub = world.hub()
    await world.append()
    assert await hub.reached(world.beginning, 0)
    waiting = asyncio.create_task(hub.reached(world.end, 5))
    await settle()
    assert not waiting.done()
    world.publish(hub)
    assert await waiting is True
    assert await hub.reached(world.end.advanced(0, 9), 0.001) is False
    with pytest.raises(InvalidPosition):
        await hub.reached(Position("00" * 6, (0,)), 1)
    assert hub._awaited == []


async def test_the_first_event_goes_at_once_and_a_slow_flush_pauses_as_long(world: World) -> None:
    """So that a busy hub leaves the loop to others half of the time."""
    clock = ManualClock()
    world = World(clock=clock)
    hub = world.hub()
    attachment = subscribed(hub, select(), WEBSOCKET)
    reading = asyncio.create_task(attachment.next())
    running = asyncio.create_task(hub.run())
    await settle()
    await world.append()
    world.publish(hub)
    await settle()
    assert reading.done()
    reading = asyncio.create_task(attachment.next())
    await settle()
    await world.append()
    world.publish(hub)
    await settle()
    assert not reading.done()
    await clock.advance(0.002)
    await settle()
    assert reading.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_chunks_end_with_whole_records(world: World) -> None:
    """A derived event and its cause are never torn apart, however small the chunks."""
    hub = world.hub(Limits(chunk_bytes=1))
    attachment = subscribed(hub, select(), WEBSOCKET)
    assert await told(hub, attachment) == []
    await world.append("execution.completed")
    await world.append("execution.failed")
    world.publish(hub)
    await hub._flush()
    first, second = await attachment.next(), await attachment.next()
    assert first is not None
    assert second is not None
    assert [len(first.messages), len(second.messages)] == [1, 2]


async def test_silent_connections_get_a_sign_of_life(world: World) -> None:
    """Every fifteen seconds, those that have selected nothing as well; who got something in between needs none."""
    hub = world.hub()
    quiet, idle = subscribed(hub, select(), SSE), hub.attach(SSE, LABEL)
    reading = [asyncio.create_task(attachment.next()) for attachment in (quiet, idle)]
    await settle()

    async def beats(count: int) -> None:
        for _ in range(count):
            hub._beat()
        await hub._flush()
        await settle()

    await beats(14)
    assert not any(waiting.done() for waiting in reading)
    await beats(1)
    assert [chunk.messages for waiting in reading if (chunk := await waiting)] == [(b":\n\n",)] * 2
    reading[0] = asyncio.create_task(quiet.next())
    await settle()
    await world.append()
    world.publish(hub)
    await hub._flush()
    assert await reading[0]
    reading[0] = asyncio.create_task(quiet.next())
    await settle()
    await beats(15)
    assert not reading[0].done()
    await beats(15)
    assert reading[0].done()


async def test_time_alone_hands_out_signs_of_life(world: World) -> None:
    """Nothing has to happen for somebody who is parked to be told where it stands."""
    clock = ManualClock(NOON_US)
    world = World(clock=clock)
    hub = world.hub()
    piped = Piped(hub, select("execution:other"))
    running = asyncio.create_task(hub.run())
    await settle()
    await world.append()
    world.publish(hub)
    await clock.advance(14.0)
    assert piped.outlet.frames() == []
    await clock.advance(1.1)
    [checkpoint] = piped.outlet.frames()
    assert open_position(SEALER, checkpoint["position"]) == world.end
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await piped.leave()


async def test_a_standstill_is_told_to_everybody_once(world: World) -> None:
    """Newcomers included, and so is its end."""
    hub = world.hub()
    reader = subscribed(hub, select(), WEBSOCKET)
    for lag in (1, 2):
        hub.stale({"since": "then", "lag": lag})
    late = subscribed(hub, select(), WEBSOCKET)
    for attachment in (reader, late):
        assert await told(hub, attachment) == [{"type": "stream.stale", "since": "then", "lag": 1}]
    hub.freshen()
    hub.freshen()
    for attachment in (reader, late):
        assert await told(hub, attachment) == [{"type": "stream.fresh"}]
