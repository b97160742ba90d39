"""The hub writes shared chunks to parked readers itself: in order, once each, whatever they do meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from monitor.access.positions import open_position
from monitor.events.position import Position
from monitor.fanout.channels import Selection
from monitor.fanout.feed import Limits
from monitor.fanout.flushing import SLICE
from monitor.fanout.hub import Hub
from tests.support.clocks import settle
from tests.support.released import SEALER, Piped, World, select

Attach = Callable[..., Piped]


@pytest.fixture
def world() -> World:
    """One partition, time by hand."""
    return World()


@pytest.fixture
async def attach() -> AsyncIterator[Attach]:
    """Makes clients with an outlet that are gone after the test."""
    clients: list[Piped] = []

    def make(hub: Hub, selection: Selection | None = None, *arguments: Any, **wishes: Any) -> Piped:
        clients.append(Piped(hub, selection or select(), *arguments, **wishes))
        return clients[-1]

    yield make
    for client in clients:
        await client.leave()


async def happen(world: World, hub: Hub, *names: str, **members: Any) -> None:
    """Let events happen, each in a flush of its own, and everybody read."""
    for name in names or ("node.completed",):
        await world.append(name, **members)
        world.publish(hub)
        await hub._flush()
        await settle()


def ids(client: Piped) -> list[str]:
    """The ids of the events that came since the last look."""
    return [frame["id"] for frame in client.outlet.frames()]


def reached(frame: dict[str, Any]) -> Position:
    """Where a frame says that its reader stands."""
    return open_position(SEALER, frame["position"])


async def test_parked_readers_are_written_to_without_a_task_that_wakes(world: World, attach: Attach) -> None:
    """Everybody gets the same chunk; counted like any other."""
    hub = world.hub()
    clients = [attach(hub) for _ in range(3)]
    await settle()
    await happen(world, hub, "execution.started", "node.completed")
    assert [ids(client) for client in clients] == [["e1", "e2"]] * 3
    assert [client.served for client in clients] == [0, 0, 0]
    assert hub.statistics().tally.delivered == 6
    for client in clients:
        assert (client.attachment.position, client.attachment.state, client.attachment.lag_records) == (
            world.end,
            "live",
            0,
        )
        assert client.attachment.sent_bytes > 0


async def test_a_full_outlet_goes_on_by_itself_once_it_has_room(world: World, attach: Attach) -> None:
    """Nothing is written to it while it is full; afterwards nothing is missing and nothing comes twice."""
    hub = world.hub()
    slow, quick = attach(hub), attach(hub)
    await settle()
    slow.outlet.shut()
    await happen(world, hub, *["node.completed"] * 20)
    held_bytes = slow.outlet.buffered_bytes
    assert (slow.outlet.is_full, slow.attachment.state, hub.statistics().full) == (True, "slow", 1)
    await happen(world, hub)
    assert slow.outlet.buffered_bytes == held_bytes
    assert len(ids(quick)) == 21
    slow.outlet.open()
    await settle()
    assert ids(slow) == [f"e{number}" for number in range(1, 22)]
    served = slow.served
    await happen(world, hub)
    assert (ids(slow), slow.attachment.state, hub.statistics().full) == (["e22"], "live", 0)
    # The last one came parked again.
    assert slow.served == served


async def test_what_a_socket_takes_of_a_chunk_is_not_sent_again(world: World, attach: Attach) -> None:
    """The rest waits in its outlet, later chunks wait behind it, and once it is clear the hub writes again."""
    hub = world.hub()
    slow, quick = attach(hub), attach(hub)
    await settle()
    slow.outlet.shut(gap_bytes=100)
    await happen(world, hub, "node.completed", "node.completed")
    assert slow.outlet.buffered_bytes > 0
    assert ids(quick) == ["e1", "e2"]
    slow.outlet.leak(10)
    await happen(world, hub)
    slow.outlet.open()
    await settle()
    assert ids(slow) == ["e1", "e2", "e3"]
    served = slow.served
    await happen(world, hub)
    assert (ids(slow), slow.served) == (["e4"], served)


async def test_some_held_bytes_make_nobody_slow(world: World, attach: Attach) -> None:
    """Below its mark an outlet takes whatever comes; only the hub does not write past it."""
    hub = world.hub()
    client = attach(hub)
    client.outlet.full_above_bytes = 100_000
    await settle()
    client.outlet.shut()
    await happen(world, hub, *["node.completed"] * 5)
    assert (client.attachment.state, client.attachment.lag_records, hub.statistics().full) == ("live", 0, 0)
    assert (client.served, client.attachment.position) == (4, world.end)
    client.outlet.open()
    assert ids(client) == [f"e{number}" for number in range(1, 6)]


async def test_readers_are_written_to_in_the_order_in_which_they_came(world: World, attach: Attach) -> None:
    """Their sockets lie in memory like that, and writing to them in another order costs a tenth more."""
    hub = world.hub()
    clients = [attach(hub) for _ in range(2 * SLICE)]
    flushing = await pushed_in_slices(world, hub, clients)
    assert without_it(world, clients) == clients[SLICE:]
    await flushing


async def test_a_reader_that_falls_off_the_ring_goes_on_from_the_backlog(world: World, attach: Attach) -> None:
    """Told that it is slow, and nothing lost."""
    hub = world.hub(Limits(ring_bytes=2000))
    slow = attach(hub)
    await settle()
    slow.outlet.shut()
    await happen(world, hub, *["node.completed"] * 40)
    slow.outlet.open()
    await settle()
    frames = slow.outlet.frames()
    assert [frame["id"] for frame in frames if "id" in frame] == [f"e{number}" for number in range(1, 41)]
    assert [frame["type"] for frame in frames if "id" not in frame] == ["stream.slow"]
    assert hub.statistics().tally.fallen == 1


async def test_a_burst_beyond_the_ring_reaches_parked_readers_whole(world: World, attach: Attach) -> None:
    """One commit can be larger than a ring: what has left it before the flush comes from the backlog."""
    hub = world.hub(Limits(ring_bytes=2000, chunk_bytes=500))
    client = attach(hub)
    await settle()
    for _ in range(60):
        await world.append()
    world.publish(hub)
    await hub._flush()
    await settle()
    assert [frame["id"] for frame in client.outlet.frames() if "id" in frame] == [f"e{n}" for n in range(1, 61)]
    await happen(world, hub)
    assert ids(client) == ["e61"]


async def test_several_chunks_of_one_flush_come_in_order(world: World, attach: Attach) -> None:
    """Each to everybody before the next."""
    hub = world.hub(Limits(chunk_bytes=600))
    clients = [attach(hub), attach(hub)]
    await settle()
    for _ in range(20):
        await world.append()
    world.publish(hub)
    await hub._flush()
    assert hub.statistics().tally.chunks > 5
    assert [ids(client) for client in clients] == [[f"e{number}" for number in range(1, 21)]] * 2
    assert [client.served for client in clients] == [0, 0]


async def test_replies_come_between_chunks(world: World, attach: Attach) -> None:
    """A reply wakes the reader, which then parks again where it was."""
    hub = world.hub()
    client = attach(hub)
    await settle()
    await happen(world, hub)
    client.attachment.say("stream.pong", {"id": 1})
    await settle()
    await happen(world, hub)
    assert [frame.get("id") for frame in client.outlet.frames()] == ["e1", 1, "e2"]
    assert client.served == 1


async def test_parked_readers_get_checkpoints_and_signs_of_life(world: World, attach: Attach) -> None:
    """Where everything was filtered out their position moves all the same."""
    hub = world.hub(Limits(checkpoint_records=5))
    client = attach(hub, select("execution:other"))
    await settle()
    await happen(world, hub, *["node.completed"] * 5)
    assert client.outlet.frames() == []
    hub._beat()
    await hub._flush()
    [checkpoint] = client.outlet.frames()
    assert (checkpoint["type"], reached(checkpoint)) == ("stream.checkpoint", world.end)
    assert client.served == 0


async def test_a_change_of_selection_goes_on_where_the_hub_has_written_to(world: World, attach: Attach) -> None:
    """What was pushed belongs to the old selection, everything behind it to the new one."""
    hub = world.hub()
    client = attach(hub, select("execution:exec_1"))
    await settle()
    await happen(world, hub)
    before = world.end
    await world.append(execution_id="exec_2")
    await world.append()
    world.publish(hub)
    assert client.attachment.change(select("execution:exec_2")) == before
    await hub._flush()
    await settle()
    first, second, checkpoint = client.outlet.frames()
    assert (first["id"], second["id"]) == ("e1", "e2")
    assert (checkpoint["type"], reached(checkpoint)) == ("stream.checkpoint", world.end)


async def pushed_in_slices(world: World, hub: Hub, clients: list[Piped]) -> asyncio.Task[None]:
    """An event on its way to more clients than one slice takes: the first slice has it, nobody else."""
    await settle()
    await world.append()
    world.publish(hub)
    flushing = asyncio.create_task(hub._flush())
    # One turn of the loop: a flush gives it one after each slice.
    await asyncio.sleep(0)
    assert len(clients) - len(without_it(world, clients)) == SLICE
    return flushing


def without_it(world: World, clients: list[Piped]) -> list[Piped]:
    """Those that wait for their slice."""
    return [client for client in clients if client.attachment.position != world.end]


async def test_many_readers_are_written_to_in_slices(world: World, attach: Attach) -> None:
    """The loop has a turn after each; nobody is left out."""
    hub = world.hub()
    clients = [attach(hub) for _ in range(2 * SLICE + 5)]
    flushing = await pushed_in_slices(world, hub, clients)
    assert len(without_it(world, clients)) == SLICE + 5
    await flushing
    assert all(ids(client) == ["e1"] for client in clients)


async def test_who_leaves_in_the_middle_of_a_flush_gets_nothing_more(world: World, attach: Attach) -> None:
    """The others do."""
    hub = world.hub()
    clients = [attach(hub) for _ in range(SLICE + 5)]
    flushing = await pushed_in_slices(world, hub, clients)
    gone, *others = without_it(world, clients)
    gone.attachment.leave()
    await flushing
    assert (ids(gone), hub.statistics().subscribers) == ([], SLICE + 4)
    assert all(ids(client) == ["e1"] for client in others)


async def test_who_reads_on_by_itself_in_the_middle_of_a_flush_gets_nothing_twice(world: World, attach: Attach) -> None:
    """A reply wakes it before its slice; parked again, it is not taken for one that waits."""
    hub = world.hub()
    clients = [attach(hub) for _ in range(3 * SLICE)]
    flushing = await pushed_in_slices(world, hub, clients)
    for client in clients:
        client.attachment.say("stream.pong", {"id": "pong"})
    await flushing
    await settle()
    assert all(sorted(ids(client)) == ["e1", "pong"] for client in clients)


async def test_who_selects_anew_in_the_middle_of_a_flush_gets_nothing_of_the_old_selection(
    world: World, attach: Attach
) -> None:
    """Though it may be parked in its new group, at the same number, before its slice comes."""
    hub = world.hub()
    clients = [attach(hub) for _ in range(4 * SLICE)]
    flushing = await pushed_in_slices(world, hub, clients)
    changed = without_it(world, clients)[::2]
    for client in changed:
        client.attachment.change(select("execution:other"))
    await flushing
    await settle()
    told = {frame["type"] for client in changed for frame in client.outlet.frames()}
    assert told == {"stream.checkpoint"}
    await happen(world, hub, execution_id="other")
    assert all(ids(client) == ["e2"] for client in changed)


async def test_what_is_published_during_a_flush_comes_behind_it(world: World, attach: Attach) -> None:
    """To those of a later slice, too."""
    hub = world.hub()
    clients = [attach(hub) for _ in range(SLICE + 5)]
    flushing = await pushed_in_slices(world, hub, clients)
    await world.append()
    world.publish(hub)
    await flushing
    await hub._flush()
    assert all(ids(client) == ["e1", "e2"] for client in clients)


async def test_newcomers_share_what_is_pushed_after_they_came(world: World, attach: Attach) -> None:
    """Also when the group has written chunks before, and while one is on its way."""
    hub = world.hub()
    clients = [attach(hub) for _ in range(SLICE + 5)]
    await settle()
    await happen(world, hub)
    flushing = await pushed_in_slices(world, hub, clients)
    newcomer = attach(hub)
    await flushing
    await settle()
    await happen(world, hub)
    assert all(ids(client) == ["e1", "e2", "e3"] for client in clients)
    assert ids(newcomer) == ["e3"]
