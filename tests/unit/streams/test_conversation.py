"""The beginning of a connection without a socket: what is said, in which order, and which frames tell a position."""

import json
from typing import Any, NamedTuple

import pytest

from monitor.access.positions import position_token
from monitor.events.position import Position
from monitor.fanout.channels import ACTIVE, Selection, Subscription
from monitor.fanout.hub import Hub
from monitor.fanout.outlet import Label
from monitor.fanout.wires import NDJSON
from monitor.streams.conversation import Opening, begin, resolve
from monitor.streams.session import Reply, Select, Since
from tests.support.clocks import NOON_US
from tests.support.released import SEALER, World

LABEL = Label("5d", "ndjson", "default", "127.0.0.1:1")
SELECTION = Selection("default", frozenset({Subscription(frozenset({"executions"}))}))
FOREIGN = Position("00" * 6, (5,))


class Case(NamedTuple):
    """How a connection begins; `*` marks a frame that tells a position."""

    frames: str
    start: str = ""
    snapshot: bool = False
    on_loss: bool = True
    is_readable: bool = True


CASES = [
    Case("hello* subscribed*"),
    Case("hello* subscribed*", start="earlier", snapshot=True),
    Case("hello subscribed snapshot-end*", snapshot=True),
    Case("hello reset subscribed snapshot-end*", is_readable=False),
    Case("hello reset subscribed snapshot-end*", is_readable=False, snapshot=True, on_loss=True),
    Case("hello* reset* subscribed*", is_readable=False, on_loss=False),
    Case("hello reset subscribed snapshot-end*", start="foreign"),
    Case("hello* reset* subscribed*", start="foreign", on_loss=False),
]


@pytest.fixture
async def world() -> World:
    """One partition with two records."""
    world = await World().bound()
    await world.append("execution.started")
    await world.append("execution.completed")
    return world


@pytest.fixture
def hub(world: World) -> Hub:
    """It has released both."""
    hub = world.hub()
    world.publish(hub)
    return hub


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_position_is_told_as_soon_as_it_is_true(case: Case, world: World, hub: Hub) -> None:
    """And not before: who is cut off inside a snapshot gets the snapshot again, and what was said before it."""
    starts = {"earlier": world.beginning, "foreign": FOREIGN}
    first = Select(
        SELECTION,
        None,
        Reply("stream.subscribed", {}),
        snapshot=ACTIVE if case.snapshot else None,
        on_loss=ACTIVE if case.on_loss else None,
    )
    opening = Opening(LABEL, NDJSON, first, starts.get(case.start), is_readable=case.is_readable)
    frames = await said(hub, opening, len(case.frames.split()))
    told = [each["type"].removeprefix("stream.") + "*" * ("position" in each) for each in frames]
    assert " ".join(told) == case.frames
    begun = token(world.beginning if case.start == "earlier" else hub.position)
    assert {each["position"] for each in frames if "position" in each} == {begun}


async def said(hub: Hub, opening: Opening, count: int) -> list[dict[str, Any]]:
    """The first frames."""
    attachment = hub.attach(opening.wire, opening.label)
    begin(hub, attachment, opening)
    lines: list[bytes] = []
    while len(lines) < count:
        chunk = await attachment.next()
        assert chunk is not None
        lines += b"".join(chunk.messages).splitlines()
    attachment.leave()
    return [json.loads(line) for line in lines[:count]]


def token(position: Position) -> str:
    """Of a position, as this deployment seals it."""
    return position_token(SEALER, position)


async def test_who_has_not_said_what_it_wants_is_told_where_the_service_stands(hub: Hub) -> None:
    """A WebSocket may subscribe later, from that position on."""
    [hello] = await said(hub, Opening(LABEL, NDJSON, None, None), 1)
    assert (hello["type"], hello["position"]) == ("stream.hello", token(hub.position))


async def test_words_and_times_become_positions(world: World, hub: Hub) -> None:
    """A time is that of the journal's own clock, and includes what happened at that moment."""
    assert await resolve(hub, None) is None
    assert await resolve(hub, FOREIGN) == FOREIGN
    assert await resolve(hub, "now") == hub.position
    assert await resolve(hub, "earliest") == world.beginning
    assert await resolve(hub, Since(NOON_US)) == world.beginning
    assert await resolve(hub, Since(NOON_US + 1)) == world.end
