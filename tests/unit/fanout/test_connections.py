"""Connections come, are seen in what they do, and leave nothing behind."""

import asyncio

import pytest

from monitor.errors import Shed
from monitor.fanout.channels import ACTIVE
from monitor.fanout.feed import Limits
from monitor.fanout.hub import Connection
from monitor.fanout.wires import SSE, WEBSOCKET
from tests.support.clocks import NOON_US, settle
from tests.support.released import LABEL, Piped, World, select, subscribed, told


@pytest.fixture
def world() -> World:
    """One partition, time by hand."""
    return World()


async def test_replies_that_nobody_reads_hold_the_asker_up(world: World) -> None:
    """Not the hub: the client's own messages wait."""
    attachment = world.hub().attach(WEBSOCKET, LABEL)
    for number in range(32):
        await asyncio.wait_for(attachment.room(), 1)
        attachment.say("stream.pong", {"id": number})
    blocked = asyncio.create_task(attachment.room())
    await settle()
    assert not blocked.done()
    chunk = await attachment.next()
    assert chunk is not None
    assert len(chunk.messages) == 32
    await asyncio.wait_for(blocked, 1)


async def test_only_so_many_are_let_in(world: World) -> None:
    """The others are told to try again, here or elsewhere; who leaves makes room."""
    hub = world.hub(Limits(connections=2))
    first, _ = hub.attach(WEBSOCKET, LABEL), hub.attach(SSE, LABEL)
    with pytest.raises(Shed) as shed:
        hub.attach(WEBSOCKET, LABEL)
    assert (shed.value.status, shed.value.retryable, shed.value.retry_after_s) == (503, True, 30)
    first.leave()
    hub.attach(WEBSOCKET, LABEL)
    assert (hub.statistics().subscribers, hub.statistics().tally.shed) == (2, 1)


async def test_connections_are_those_of_the_team(world: World) -> None:
    """Who, since when, doing what, where, how far behind."""
    hub = world.hub()
    reader = subscribed(hub, select(), WEBSOCKET)
    subscribed(hub, select(team="blue"), WEBSOCKET)
    piped = Piped(hub, select("execution:other"))
    await settle()
    await world.append()
    await world.append()
    world.publish(hub)
    await hub._flush()
    chunk = await reader.next()
    assert chunk is not None
    await world.append()
    world.publish(hub)
    piped.outlet.shut()
    piped.outlet.write(b"x")
    found = {connection.selection.channels: connection for connection in hub.connections("default")}
    assert found == {
        frozenset({"executions"}): Connection(
            label=LABEL,
            since_us=NOON_US,
            state="live",
            selection=select(),
            position=world.beginning.advanced(0, 2),
            lag_records=1,
            sent_bytes=chunk.size_bytes,
            buffered_bytes=0,
        ),
        frozenset({"execution:other"}): Connection(
            label=LABEL,
            since_us=NOON_US,
            state="live",
            selection=select("execution:other"),
            position=world.beginning,
            lag_records=0,
            sent_bytes=0,
            buffered_bytes=1,
        ),
    }
    assert hub.connections("green") == []
    await piped.leave()


async def test_a_connection_says_what_it_does(world: World) -> None:
    """Nothing, catching up, being shown something, waiting for this process, reading live."""
    hub = world.hub()
    await world.append()
    attachment = hub.attach(WEBSOCKET, LABEL)
    states = [attachment.state]
    attachment.change(select(), snapshot=ACTIVE)
    states.append(attachment.state)
    await told(hub, attachment)
    states.append(attachment.state)
    world.publish(hub)
    await told(hub, attachment)
    states.append(attachment.state)
    attachment.change(select(), world.beginning)
    states.append(attachment.state)
    assert states == ["idle", "snapshot", "ahead", "live", "catching_up"]


async def test_statistics_say_what_is_held_and_what_was_done(world: World) -> None:
    """And who is there, by transport, and why others went."""
    hub = world.hub()
    readers = [subscribed(hub, selection, SSE) for selection in (select(), select(), select("execution:other"))]
    empty = hub.statistics()
    assert (empty.subscribers, empty.backlog_commits, empty.backlog_bytes, empty.ring_bytes) == (3, 0, 0, 0)
    for reader in readers:
        assert await told(hub, reader) == []
    for _ in range(3):
        await world.append()
    world.publish(hub)
    await hub._flush()
    delivered = [await reader.next() for reader in readers[:2]]
    assert delivered[0] is delivered[1]
    assert delivered[0] is not None
    statistics = hub.statistics()
    assert (statistics.groups, statistics.backlog_commits, statistics.full) == (2, 1, 0)
    assert statistics.backlog_bytes > 0
    assert statistics.ring_bytes == delivered[0].size_bytes
    assert statistics.transports == {"test": 3}
    tally = statistics.tally
    assert (tally.published, tally.chunks, tally.delivered) == (3, 1, 6)
    # What everybody has read is not kept.
    reading = [asyncio.create_task(reader.next()) for reader in readers[:2]]
    await settle()
    await world.append()
    world.publish(hub)
    await hub._flush()
    assert 0 < hub.statistics().ring_bytes < delivered[0].size_bytes
    await asyncio.gather(*reading)
    readers[0].leave()
    readers[1].end("protocol")
    readers[1].leave()
    assert hub.statistics().departures == {"left": 1, "protocol": 1}
    assert hub.statistics().groups == 1


async def test_nobody_leaves_anything_behind(world: World) -> None:
    """Neither groups nor routes nor waiting, however many came and went."""
    hub = world.hub()
    piped = Piped(hub, select())
    await settle()
    await world.append()
    world.publish(hub)
    await hub._flush()
    assert hub._feed.unpushed == set()
    await piped.leave()
    for number in range(50):
        attachment = subscribed(hub, select(f"execution:{number}", "workflow:wf_1"), WEBSOCKET)
        attachment.follow_end(f"{number}")
        await told(hub, attachment)
        attachment.change(select(f"workflow:{number}"))
        await told(hub, attachment)
        attachment.leave()
        attachment.leave()
    feed = hub._feed
    assert (feed.groups, feed._routes, feed.dirty, feed.unpushed, feed.waiting, feed.full) == (
        {},
        {},
        set(),
        set(),
        set(),
        set(),
    )
    assert (hub.statistics().subscribers, bool(feed.endings)) == (0, False)
