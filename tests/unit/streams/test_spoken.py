"""What a stream says is what the contract tells of it, also what is rarely said; and so is what it takes."""

import json
from typing import Any

import pytest

from monitor.access.positions import position_token
from monitor.app import spoken
from monitor.errors import LimitReached
from monitor.events.position import Position
from monitor.fanout.channels import ACTIVE
from monitor.fanout.controls import CONTROLS, Stale
from monitor.fanout.feed import Limits
from monitor.fanout.wires import NDJSON, WEBSOCKET
from monitor.streams.questions import QUESTIONS, Subscribe
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


ANYTHING: tuple[Any, ...] = (
    *(None, True, 7, 0.5, "", "a", "x" * 256, "x" * 300, "a\tb", "execution:", "workflow:w", "none", "recent:5"),
    *("recent:0", [], [7], ["nowhere"], ["executions"], ["node.*"], ["a b"], {}, {"odd": 1}, {"status": ["failed"]}),
)
NEEDED: dict[str, Any] = {"channels": ["executions"], "name": "a"}


@pytest.mark.parametrize("kind", QUESTIONS)
def test_a_session_takes_what_the_contract_tells(kind: str) -> None:
    """And nothing else, whichever member says whatever; what a text means as a position only the service knows."""
    needed = {name: said for name, said in NEEDED.items() if name in QUESTIONS[kind].__annotations__}
    tried = [(name, said) for name in (*Subscribe.__annotations__, "odd") for said in ANYTHING]
    differing = [
        (name, said)
        for name, said in tried
        if not (name == "position" and isinstance(said, str))
        and is_refused(message := {"type": kind, **needed, name: said}) != bool(CONTRACT.faults(CHANNEL, message))
    ]
    assert differing == []


def is_refused(message: dict[str, Any]) -> bool:
    """Whether a session with a subscription of that name, if it can have one, says that it cannot obey."""
    session = Session("default", lambda _: HERE)
    session.receive(json.dumps({"type": "subscribe", "channels": ["executions"], "name": message.get("name")}))
    decision = session.receive(json.dumps(message))
    return isinstance(decision, Reply) and decision.name == "stream.error"
