"""Slow readers: told once that they are, served from elsewhere when they fall behind, closed when they take nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from monitor.fanout.wires import WEBSOCKET
from tests.support.clocks import ManualClock, settle
from tests.support.released import Piped, World, select, subscribed, told

# Of a ring half of it is far behind.
SMALL = Limits(ring_bytes=4000)


@pytest.fixture
def world() -> World:
    """One partition, time by hand."""
    return World(clock=ManualClock())


@pytest.fixture
def clock(world: World) -> ManualClock:
    """The world's."""
    assert isinstance(world.clock, ManualClock)
    return world.clock


async def happen(world: World, hub: Hub, events: int) -> None:
    """Let events happen, each in a flush of its own."""
    for _ in range(events):
        await world.append()
        world.publish(hub)
        await hub._flush()


def split(frames: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """The ids of events, and the other frames."""
    return [frame["id"] for frame in frames if "id" in frame], [frame for frame in frames if "id" not in frame]


async def test_who_is_half_a_ring_behind_is_told_how_far(world: World, clock: ManualClock) -> None:
    """Once an episode: a reader that was up to date in between is told again."""
    hub = world.hub(SMALL)
    reader = subscribed(hub, select(), WEBSOCKET)
    assert await told(hub, reader) == []
    for episode in (1, 2):
        await happen(world, hub, 4)
        await clock.advance(1.5)
        await happen(world, hub, 3)
        events, others = split(await told(hub, reader))
        assert len(events) == 7
        assert others == [{"type": "stream.slow", "lagEvents": 7, "lagMs": 1500}]
        assert hub.statistics().tally.slow == episode
        assert reader.state == "live"


async def test_a_burst_is_no_slow_reader(world: World, clock: ManualClock) -> None:
    """However much it is, for a second."""
    hub = world.hub(SMALL)
    reader = subscribed(hub, select(), WEBSOCKET)
    assert await told(hub, reader) == []
    await happen(world, hub, 7)
    await clock.advance(0.9)
    assert len(await told(hub, reader)) == 7
    assert hub.statistics().tally.slow == 0


async def test_a_reader_that_stays_behind_is_told_once(world: World, clock: ManualClock) -> None:
    """Though it reads on all the time."""
    hub = world.hub(Limits(ring_bytes=4000, chunk_bytes=1))
    reader = subscribed(hub, select(), WEBSOCKET)
    assert await told(hub, reader) == []
    await happen(world, hub, 7)
    await clock.advance(1.0)
    for _ in range(5):
        await reader.next()
        await happen(world, hub, 1)
        assert reader.state == "slow"
    assert hub.statistics().tally.slow == 1


async def test_who_falls_off_its_ring_is_told_how_far_behind_it_is(world: World, clock: ManualClock) -> None:
    """And gets everything from the backlog."""
    hub = world.hub(SMALL)
    reader = subscribed(hub, select(), WEBSOCKET)
    assert await told(hub, reader) == []
    await happen(world, hub, 30)
    await clock.advance(0.25)
    events, [slow] = split(await told(hub, reader))
    assert events == [f"e{number}" for number in range(1, 31)]
    assert slow == {"type": "stream.slow", "lagEvents": 30, "lagMs": 250}
    tally = hub.statistics().tally
    assert (tally.fallen, tally.slow, tally.gaps) == (1, 1, 0)


@pytest.fixture
async def stuck(world: World) -> AsyncIterator[Piped]:
    """A reader whose socket is full."""
    hub = world.hub()
    reader = Piped(hub, select())
    await settle()
    reader.outlet.shut()
    while not reader.outlet.is_full:
        await happen(world, hub, 1)
    await settle()
    yield reader
    await reader.leave()


async def beats(hub: Hub, clock: ManualClock, seconds: int) -> None:
    """Let the hub's heart beat for so long."""
    for _ in range(seconds):
        await clock.advance(1.0)
        hub._beat()
        await settle()


async def test_a_socket_that_takes_nothing_for_ten_seconds_is_closed(clock: ManualClock, stuck: Piped) -> None:
    """No sooner, and once."""
    hub = stuck.hub
    await beats(hub, clock, 9)
    assert (stuck.attachment.ended, stuck.is_served) == (None, True)
    await beats(hub, clock, 1)
    assert (stuck.attachment.ended, stuck.is_served) == ("slow", False)
    await beats(hub, clock, 20)
    statistics = hub.statistics()
    assert (statistics.tally.stuck, statistics.full, statistics.departures) == (1, 0, {})
    await stuck.leave()
    assert hub.statistics().departures == {"slow": 1}


async def test_a_slow_socket_that_takes_something_is_left_alone(clock: ManualClock, stuck: Piped) -> None:
    """However little it is."""
    hub = stuck.hub
    stuck.outlet.full_above_bytes = 0
    for _ in range(5):
        await beats(hub, clock, 9)
        stuck.outlet.leak(1)
    await beats(hub, clock, 9)
    assert stuck.attachment.ended is None


async def test_a_full_socket_is_not_less_stuck_for_what_is_said_to_it(clock: ManualClock, stuck: Piped) -> None:
    """Replies, news and other selections wake it, and it goes on waiting."""
    hub = stuck.hub
    for second in range(9):
        stuck.attachment.say("stream.pong", {"id": second})
        stuck.attachment.change(select(f"execution:{second}"))
        await beats(hub, clock, 1)
    assert stuck.attachment.ended is None
    await beats(hub, clock, 1)
    assert stuck.attachment.ended == "slow"


async def test_a_socket_that_was_empty_in_between_has_its_ten_seconds_again(
    clock: ManualClock, world: World, stuck: Piped
) -> None:
    """Though it may be as full as it was then."""
    hub = stuck.hub
    held_bytes = stuck.outlet.buffered_bytes
    await beats(hub, clock, 9)
    stuck.outlet.open()
    await settle()
    stuck.outlet.shut()
    stuck.outlet.write(b"x" * held_bytes)
    await settle()
    await beats(hub, clock, 9)
    assert stuck.attachment.ended is None


async def test_a_stalled_reader_costs_the_others_nothing(world: World, stuck: Piped) -> None:
    """It is not written to any more, and nobody waits for it."""
    hub = stuck.hub
    other = Piped(hub, select())
    await settle()
    held_bytes = stuck.outlet.buffered_bytes
    await asyncio.wait_for(happen(world, hub, 20), 5)
    assert len(other.outlet.frames()) == 20
    assert stuck.outlet.buffered_bytes == held_bytes
    await other.leave()
