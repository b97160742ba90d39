"""What a stream says is what the contract tells of it, also what is rarely said; and so is what it takes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.access.positions import position_token
from monitor.app import spoken
from monitor.errors import LimitReached
from monitor.events.position import Position
from monitor.fanout.channels import ACTIVE
from monitor.fanout.controls import CONTROLS, Stale
from monitor.fanout.feed import Limits
from monitor.fanout.wires import NDJSON, WEBSOCKET
from monitor.streams.questions import QUESTIONS
from monitor.streams.session import Reply, Session
from monitor.web.async_contract import asyncapi
from tests.support.clocks import ManualClock
from tests.support.released import SEALER, World, select, subscribed, told
from tests.support.spoken import EVERYDAY, Contract

CONTRACT = Contract(asyncapi(spoken()))
CHANNEL = "executionStream"
HERE = Position("00" * 6, (7,))


async def rare_frames() -> list[dict[str, Any]]:
    """What is said to who reads slowly, comes late or hears nothing, and while the service stands still."""
    clock = ManualClock()
    world = World(clock=clock)
    hub = world.hub(Limits(ring_bytes=4000, backlog_bytes=1))
    reader = subscribed(hub, select(), WEBSOCKET)
    frames = await told(hub, reader)
    for advance_s in (1.5, 0.0):
        for _ in range(4):
            await world.append()
            world.publish(hub)
            await hub._flush()
        await clock.advance(advance_s)
    hub.stale(Stale(since="2026-11-22T10:30:00.000Z", lag=None))
    hub.freshen()
    frames += await told(hub, reader)
    await world.journal.trim(0, 3)
    for wish in (None, ACTIVE):
        frames += await told(hub, subscribed(hub, select(), WEBSOCKET, world.beginning, on_loss=wish))
    frames += await told(hub, subscribed(hub, select("execution:other"), WEBSOCKET, world.beginning.advanced(0, 5)))
    assert NDJSON.heartbeat is not None
    return [*frames, json.loads(NDJSON.heartbeat)]


async def test_what_is_rarely_said_is_as_the_contract_tells() -> None:
    """Together with what a service says every day, it is everything that there is."""
    frames = await rare_frames()
    assert [fault for frame in frames for fault in CONTRACT.faults(CHANNEL, frame)] == []
    rare = {frame["type"] for frame in frames if frame["type"].startswith("stream.")}
    assert rare | EVERYDAY == set(CONTROLS)


def test_a_limit_that_was_reached_is_told_as_the_contract_says() -> None:
    """With the limit."""
    session = Session("default", lambda _: HERE)
    asked = {"type": "subscribe", "id": 7, "channels": [f"execution:{number}" for number in range(1001)]}
    reply = session.receive(json.dumps(asked))
    assert isinstance(reply, Reply)
    said = {"type": reply.name, **reply.members}
    assert (said["code"], said["id"], said["limit"]) == (LimitReached.code, 7, 1000)
    assert CONTRACT.faults(CHANNEL, said) == []


@pytest.mark.parametrize("change", [{"surplus": 1}, {"reason": "boredom"}, {"reason": None}, {"position": 7}])
def test_what_the_contract_does_not_tell_is_found(change: dict[str, Any]) -> None:
    """So that silence says something."""
    gap = {"type": "stream.gap", "reason": "retention", "position": position_token(SEALER, HERE)}
    assert CONTRACT.faults(CHANNEL, gap) == []
    assert CONTRACT.faults(CHANNEL, gap | change)


PATTERN_LISTS = st.none() | st.lists(st.sampled_from(["*", "node.*", "execution.failed"]), min_size=1, max_size=2)
FILTERS = st.sampled_from([None, {}, {"status": ["failed"]}, {"duration": {"gte": 5}}, {"mode": {"ne": "manual"}}])
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "id": st.none() | st.integers(0, 3) | st.sampled_from(["", "a"]),
    "channels": st.lists(st.sampled_from(["executions", "workflow:w", "execution:a b"]), min_size=1, max_size=2),
    "events": PATTERN_LISTS,
    "filter": FILTERS,
    "logs": st.none() | st.booleans(),
    "snapshot": st.sampled_from([None, "none", "active", "recent:5"]),
    "position": st.sampled_from([None, "now", "earliest", "token", "2026-11-22T10:30:00Z"]),
    "name": st.sampled_from([None, "a", "x" * 256]),
}
ODD = st.sampled_from(
    [None, True, 7, 0.5, "", "x" * 300, "a b", "execution:", "recent:0", [], [7], ["nowhere"], {"odd": 1}]
)


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    """What a client may say; often with one thing spoilt, or one too many."""
    kind = draw(st.sampled_from(list(QUESTIONS)))
    known = [name for name in QUESTIONS[kind].__annotations__ if draw(st.booleans())]
    message = {"type": kind, **{name: draw(GOOD[name]) for name in known}}
    if draw(st.booleans()):
        message[draw(st.sampled_from([*GOOD, "odd"]))] = draw(ODD)
    return message


@given(messages())
def test_a_session_takes_what_the_contract_tells(message: dict[str, Any]) -> None:
    """And nothing else; names of subscriptions that are not there are no matter of form."""
    session = Session("default", lambda _: HERE)
    if name := message.get("name"):
        session.receive(json.dumps({"type": "subscribe", "channels": ["executions"], "name": name}))
    decision = session.receive(json.dumps(message))
    refused = isinstance(decision, Reply) and decision.name == "stream.error"
    assert refused == bool(CONTRACT.faults(CHANNEL, message)), decision
