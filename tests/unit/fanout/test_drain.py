"""When the service goes away, every subscriber is told where it stands and when to come back."""

import asyncio
import json
from typing import Any

import pytest

from monitor.access.positions import open_position
from monitor.events.position import Position
from monitor.fanout.attachment import Attachment
from monitor.fanout.channels import ACTIVE
from monitor.fanout.flushing import SLICE
from monitor.fanout.hub import RETRY_MS
from monitor.fanout.wires import WEBSOCKET
from tests.support.clocks import NOON_US, ManualClock, settle
from tests.support.released import LABEL, SEALER, Piped, World, select, subscribed, told


@pytest.fixture
def clock() -> ManualClock:
    """Time by hand."""
    return ManualClock(NOON_US)


@pytest.fixture
def world(clock: ManualClock) -> World:
    """One partition."""
    return World(clock=clock)


async def read_to_the_end(attachment: Attachment) -> list[dict[str, Any]]:
    """What it is told until it is over; then it leaves."""
    frames: list[dict[str, Any]] = []
    while (chunk := await attachment.next()) is not None:
        frames += map(json.loads, chunk.messages)
    attachment.leave()
    return frames


def reached(frame: dict[str, Any]) -> Position:
    """Where a frame says that its reader stands."""
    return open_position(SEALER, frame["position"])


async def test_draining_ends_everybody_with_what_they_have(world: World) -> None:
    """What is written is theirs; the position says so, and chance spreads their coming back."""
    hub = world.hub()
    piped, readers = Piped(hub, select()), [subscribed(hub, select(), WEBSOCKET) for _ in range(20)]
    reading = [asyncio.create_task(read_to_the_end(reader)) for reader in readers]
    await settle()
    await world.append()
    world.publish(hub)
    await hub._flush()
    await settle()
    draining = asyncio.create_task(hub.drain())
    await settle()
    told_last = [(await frames)[-1] for frames in reading] + piped.outlet.frames()[1:]
    assert {frame["type"] for frame in told_last} == {"stream.drain"}
    assert {reached(frame) for frame in told_last} == {world.end}
    retries = {frame["retryMs"] for frame in told_last}
    assert len(retries) > 10
    assert all(RETRY_MS[0] <= retry <= RETRY_MS[1] for retry in retries)
    assert not draining.done()
    await piped.leave()
    await draining
    assert hub.statistics().departures == {"drain": 21}


async def test_newcomers_are_sent_away_at_once(world: World) -> None:
    """After their greeting."""
    hub = world.hub()
    await hub.drain()
    late = hub.attach(WEBSOCKET, LABEL)
    late.say("stream.hello", {})
    late.change(select(), world.beginning)
    hello, drain = await told(hub, late)
    assert (hello["type"], drain["type"], reached(drain)) == ("stream.hello", "stream.drain", world.beginning)
    assert await late.next() is None


async def test_who_stands_nowhere_is_told_no_position(world: World) -> None:
    """Who has selected nothing, or waits for a snapshot: a position of the hub's own would be a lie."""
    hub = world.hub()
    await world.append("execution.started", data={})
    idle, waiting = hub.attach(WEBSOCKET, LABEL), subscribed(hub, select(), WEBSOCKET, snapshot=ACTIVE)
    for attachment in (idle, waiting):
        attachment.drain(1234)
        assert await read_to_the_end(attachment) == [{"type": "stream.drain", "retryMs": 1234}]


async def test_a_full_socket_is_not_waited_for(world: World) -> None:
    """Its last word stands behind what is buffered."""
    hub = world.hub()
    stuck = Piped(hub, select())
    await settle()
    stuck.outlet.shut()
    stuck.outlet.write(b"\x81\x7e\x07\xd2" + b'"%b"' % (b"x" * 2000))
    await settle()
    stuck.attachment.drain(1000)
    await settle()
    assert not stuck.is_served
    stuck.outlet.open()
    assert stuck.outlet.frames()[-1]["type"] == "stream.drain"
    await stuck.leave()


async def test_who_does_not_go_is_left_to_the_server(world: World) -> None:
    """After the time of grace."""
    hub = world.hub()
    subscribed(hub, select(), WEBSOCKET)
    await hub.drain(0.001)
    assert hub.statistics().subscribers == 1


async def test_many_are_sent_away_over_a_second(world: World, clock: ManualClock) -> None:
    """So that they do not all come back at once."""
    hub = world.hub()
    readers = [subscribed(hub, select(), WEBSOCKET) for _ in range(4 * SLICE)]
    draining = asyncio.create_task(hub.drain())
    for quarter in range(1, 5):
        await settle()
        assert sum(reader.ended == "drain" for reader in readers) == quarter * SLICE
        await clock.advance(0.25)
    for reader in readers:
        reader.leave()
    await draining
