"""The WebSocket stream on a real socket, with a client that this project did not write."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from starlette.types import Scope
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from monitor.access.positions import open_position, position_token
from monitor.access.principal import Principal
from monitor.clock import SystemClock
from monitor.errors import ClientError
from monitor.events.position import Position
from monitor.fanout.attachment import MAX_REPLIES
from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from monitor.streams.session import MAX_MESSAGE_CHARACTERS
from tests.support.released import SEALER, World
from tests.support.server import Address, streaming, until

SEED_MESSAGE = {"type": "subscribe", "channels": ["executions", "workflow:wf_123"]}


@pytest.fixture
async def world() -> World:
    """One partition, real time."""
    return await World(clock=SystemClock()).bound()


@pytest.fixture
def hub(world: World) -> Hub:
    """The only hub."""
    return world.hub()


@pytest.fixture
async def address(hub: Hub, world: World) -> AsyncIterator[Address]:
    """Its stream addresses, served."""
    async with streaming(hub, world) as address:
        yield address


@pytest.fixture
async def client(address: Address) -> AsyncIterator[ClientConnection]:
    """A client that has been greeted and has subscribed to nothing yet."""
    async with connect(f"{address.ws}/v1/executions/stream", proxy=None, open_timeout=60, compression=None) as client:
        assert (await frame(client))["type"] == "stream.hello"
        yield client


async def frame(client: ClientConnection) -> dict[str, Any]:
    """The next frame."""
    async with asyncio.timeout(60):
        document: dict[str, Any] = json.loads(await client.recv())
    return document


async def ask(client: ClientConnection, message: Mapping[str, Any] | str | bytes) -> dict[str, Any]:
    """Send a message and read the next frame."""
    await client.send(json.dumps(message) if isinstance(message, Mapping) else message)
    return await frame(client)


async def test_the_documented_snippet_works_unchanged(client: ClientConnection, world: World, hub: Hub) -> None:
    """The seed's message is answered, and what is committed afterwards arrives in the seed's shape and more."""
    reply = await ask(client, SEED_MESSAGE)
    assert reply["type"] == "stream.subscribed"
    assert reply["channels"] == ["executions", "workflow:wf_123"]
    assert open_position(SEALER, reply["position"]) == hub.position
    await world.append("execution.started", workflow_id="wf_123", data={"mode": "webhook"})
    world.publish(hub)
    event = await frame(client)
    position = event.pop("position")
    assert open_position(SEALER, position) == world.end
    assert event == {
        "type": "execution.started",
        "executionId": "exec_1",
        "workflowId": "wf_123",
        "timestamp": "2026-11-22T10:30:00.000Z",
        "id": "e1",
        "epoch": 0,
        "data": {"mode": "webhook"},
        "version": 1,
        "state": {
            "status": "running",
            "progress": {"completed": 0, "total": 0, "current": None, "message": None, "ratio": 0.0},
        },
    }


async def test_an_event_that_matches_several_channels_comes_once(
    client: ClientConnection, world: World, hub: Hub
) -> None:
    """Also across subscriptions of one connection."""
    await ask(client, SEED_MESSAGE)
    await ask(client, {"type": "subscribe", "channels": ["execution:exec_1"], "events": ["*"]})
    await world.append(workflow_id="wf_123")
    await world.append(workflow_id="wf_123")
    world.publish(hub)
    assert [(await frame(client))["id"], (await frame(client))["id"]] == ["e1", "e2"]


async def test_a_client_resumes_where_it_was(address: Address, world: World, hub: Hub) -> None:
    """Killed and back fifty times with its last position, it misses none and sees none twice."""
    seen: list[str] = []
    position = "now"
    for _ in range(50):
        async with connect(
            f"{address.ws}/v1/executions/stream", proxy=None, open_timeout=60, compression=None
        ) as client:
            await frame(client)
            reply = await ask(client, {"type": "subscribe", "channels": ["executions"], "position": position})
            position = reply["position"]
            await world.append()
            world.publish(hub)
            await world.append()
            world.publish(hub)
            for _ in range(2 if seen else 1):
                event = await frame(client)
                seen.append(event["id"])
                position = event["position"]
    assert seen == [f"e{number}" for number in range(1, 100)]


async def test_earliest_brings_everything_there_is(client: ClientConnection, world: World, hub: Hub) -> None:
    """Imported history included, which others do not get."""
    await world.append()
    await world.append(backfill=True)
    world.publish(hub)
    await ask(client, {"type": "subscribe", "channels": ["executions"], "position": "earliest"})
    assert [(await frame(client))["id"] for _ in range(2)] == ["e1", "e2"]


async def test_a_position_of_another_journal_is_reset_in_band(client: ClientConnection, hub: Hub) -> None:
    """The client is told, shown what is in flight, gets a position of this journal, and lives."""
    foreign = position_token(SEALER, Position("00" * 6, (5,)))
    message = {"type": "subscribe", "channels": ["executions"], "position": foreign}
    reset, reply, shown = await ask(client, message), await frame(client), await frame(client)
    assert (reset["type"], reset["reason"]) == ("stream.reset", "incarnation")
    assert reply["type"] == "stream.subscribed"
    assert shown["type"] == "stream.snapshot-end"
    assert ["position" in each for each in (reset, reply, shown)] == [False, False, True]
    assert open_position(SEALER, shown["position"]) == hub.position


async def test_what_comes_after_the_journal_is_reset_in_band(client: ClientConnection, hub: Hub) -> None:
    """A restored, older journal: records that the client saw are not there."""
    ahead = position_token(SEALER, hub.position.advanced(0, 7))
    await ask(client, {"type": "subscribe", "channels": ["executions"], "position": ahead})
    reset = await frame(client)
    assert (reset["type"], reset["reason"]) == ("stream.reset", "ahead")


async def test_a_client_ahead_of_this_hub_waits(client: ClientConnection, world: World, hub: Hub) -> None:
    """What it has seen elsewhere is not sent again; what follows is."""
    await world.append()
    ahead = position_token(SEALER, world.end)
    await ask(client, {"type": "subscribe", "channels": ["executions"], "position": ahead})
    world.publish(hub)
    await world.append()
    world.publish(hub)
    assert (await frame(client))["id"] == "e2"


async def test_unsubscribed_channels_are_silent(client: ClientConnection, world: World, hub: Hub) -> None:
    """The rest goes on."""
    await ask(client, {"type": "subscribe", "channels": ["execution:exec_1", "execution:exec_2"]})
    reply = await ask(client, {"type": "unsubscribe", "channels": ["execution:exec_1"], "id": 7})
    assert (reply["type"], reply["channels"], reply["id"]) == ("stream.unsubscribed", ["execution:exec_2"], 7)
    await world.append(execution_id="exec_1")
    await world.append(execution_id="exec_2")
    world.publish(hub)
    assert (await frame(client))["id"] == "e2"


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "[]",
        "null",
        '"subscribe"',
        b'{"type":"ping"}',
        "[" * 5000,
        '{"type":"subscribe"}',
        '{"type":"subscribe","channels":"executions"}',
        '{"type":"subscribe","channels":[]}',
        '{"type":"subscribe","channels":["everything"]}',
        '{"type":"subscribe","channels":["workflow:"]}',
        '{"type":"subscribe","channels":[null]}',
        '{"type":"subscribe","channels":["executions"],"events":[]}',
        '{"type":"subscribe","channels":["executions"],"events":["*.*"]}',
        '{"type":"subscribe","channels":["executions"],"filter":{"stauts":"failed"}}',
        '{"type":"subscribe","channels":["executions"],"filter":[]}',
        '{"type":"subscribe","channels":["executions"],"position":"yesterday"}',
        '{"type":"subscribe","channels":["executions"],"position":7}',
        '{"type":"subscribe","channels":["executions"],"logs":"yes"}',
        '{"type":"subscribe","channels":["executions"],"chanels":[]}',
        '{"type":"shout"}',
        '{"type":{}}',
        '{"type":"ping","id":{}}',
        json.dumps({"type": "subscribe", "channels": [f"execution:{number}" for number in range(1001)]}),
    ],
)
async def test_a_message_that_cannot_be_obeyed_is_answered(client: ClientConnection, message: str | bytes) -> None:
    """By an error frame with code and sentence; the connection lives."""
    error = await ask(client, message)
    assert error["type"] == "stream.error"
    assert error["code"] in ("INVALID_REQUEST", "INVALID_FILTER", "INVALID_POSITION", "LIMIT_REACHED")
    assert error["message"]
    assert await ask(client, {"type": "ping", "id": "still there"}) == {"type": "stream.pong", "id": "still there"}


async def test_a_message_that_is_too_large_ends_the_connection(client: ClientConnection) -> None:
    """With the code that the protocol has for it."""
    await client.send("x" * (MAX_MESSAGE_CHARACTERS + 1))
    with pytest.raises(ConnectionClosed):
        await frame(client)
    assert client.close_code == 1009


async def test_a_journal_that_does_not_answer_is_said_and_the_client_sent_away(
    client: ClientConnection, world: World
) -> None:
    """With the code that means: try again later."""
    await world.journal.close()
    error = await ask(client, {"type": "subscribe", "channels": ["executions"], "position": "earliest"})
    assert (error["type"], error["code"]) == ("stream.error", "JOURNAL_UNAVAILABLE")
    with pytest.raises(ConnectionClosed):
        await frame(client)
    assert client.close_code == 1013


async def test_draining_tells_everybody_where_they_stand(client: ClientConnection, hub: Hub) -> None:
    """And closes with the code that means: come back."""
    reply = await ask(client, SEED_MESSAGE)
    await hub.drain()
    drain = await frame(client)
    assert 1000 <= drain.pop("retryMs") <= 3000
    assert drain == {"type": "stream.drain", "position": reply["position"]}
    with pytest.raises(ConnectionClosed):
        await frame(client)
    assert client.close_code == 4000
    assert hub.statistics().subscribers == 0


async def test_clients_that_break_off_leave_nothing_behind(address: Address, hub: Hub) -> None:
    """Also when the connection is cut without a goodbye."""
    for _ in range(5):
        client = await connect(f"{address.ws}/v1/executions/stream", proxy=None, open_timeout=60, compression=None)
        await ask(client, SEED_MESSAGE)
        client.transport.abort()
    await until(lambda: hub.statistics().subscribers == 0)
    assert hub.statistics().groups == 0


async def test_two_teams_never_mix(world: World, hub: Hub) -> None:
    """Equal names of executions and workflows in another team are another team's."""

    async def by_header(scope: Scope) -> Principal:
        team = dict(scope["headers"])[b"x-team"].decode()
        return Principal(team, team, "viewer")

    async with streaming(hub, world, by_header) as address:
        url = f"{address.ws}/v1/executions/stream"
        clients = {
            team: await connect(url, proxy=None, open_timeout=60, compression=None, additional_headers={"x-team": team})
            for team in ("red", "blue")
        }
        for client in clients.values():
            await frame(client)
            await ask(client, {"type": "subscribe", "channels": ["executions", "execution:exec_1"], "events": ["*"]})
        for team in ("red", "blue", "blue", "red"):
            await world.append(team=team, data={"nodeId": team})
        world.publish(hub)
        seen = {team: [(await frame(client))["data"]["nodeId"] for _ in range(2)] for team, client in clients.items()}
        assert seen == {"red": ["red", "red"], "blue": ["blue", "blue"]}
        for client in clients.values():
            await client.close()


async def test_nobody_gets_in_without_being_somebody(world: World, hub: Hub) -> None:
    """The refusal is a frame and a code of its own: a failed handshake would not tell a browser anything."""

    class Unauthorized(ClientError):
        """Who are you?"""

        status = 401

    async def nobody(_: Scope) -> Principal:
        raise Unauthorized

    async with (
        streaming(hub, world, nobody) as address,
        connect(f"{address.ws}/v1/executions/stream", proxy=None, open_timeout=60) as client,
    ):
        assert (await frame(client))["message"] == "Who are you?"
        with pytest.raises(ConnectionClosed):
            await frame(client)
        assert client.close_code == 4001


async def test_the_address_of_one_execution_is_subscribed_at_once(address: Address, world: World, hub: Hub) -> None:
    """Its id may hold whatever ids hold."""
    url = f"{address.ws}/v1/executions/n8n%3Ap%2F1/stream"
    async with connect(url, proxy=None, open_timeout=60, compression=None) as client:
        await frame(client)
        assert (await frame(client))["channels"] == ["execution:n8n:p/1"]
        assert (await frame(client))["type"] == "stream.snapshot-end"
        await world.append()
        await world.append(execution_id="n8n:p/1")
        world.publish(hub)
        assert (await frame(client))["id"] == "e2"


async def test_a_stalled_reader_costs_bounded_memory_and_catches_up(world: World) -> None:
    """Others go on; it falls off its ring and out of the backlog, and misses nothing when it reads again."""
    hub = world.hub(Limits(ring_bytes=32 * 1024, chunk_bytes=8 * 1024, backlog_bytes=256 * 1024))
    async with streaming(hub, world) as address:
        url = f"{address.ws}/v1/executions/stream"
        with socket.socket() as small:
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            small.connect(("127.0.0.1", address.port))
            small.setblocking(False)
            stalled = await connect(url, sock=small, proxy=None, open_timeout=60, compression=None, max_queue=1)
            reading = await connect(url, proxy=None, open_timeout=60, compression=None)
            for client in (stalled, reading):
                await frame(client)
                await ask(client, {"type": "subscribe", "channels": ["executions"]})
            expected = []
            for _ in range(150):
                expected.append(await world.append(data={"nodeId": "n1", "text": "x" * 8000}))
                world.publish(hub)
                assert (await frame(reading))["id"] == expected[-1]
            statistics = hub.statistics()
            assert statistics.ring_bytes <= 32 * 1024
            assert statistics.backlog_bytes <= 256 * 1024
            seen: list[str] = []
            while len(seen) < len(expected):
                event = await frame(stalled)
                seen += [event["id"]] if event["type"] == "node.completed" else []
            assert seen == expected
            tally = hub.statistics().tally
            assert (tally.fallen, tally.gaps, tally.pages > 0) == (1, 0, True)
            await stalled.close()
            await reading.close()


async def test_a_client_that_asks_without_reading_stops_only_itself(world: World, hub: Hub) -> None:
    """Its questions wait in its own socket; others go on, and in the end it has every answer in order."""
    asked = [f"{number:0256}" for number in range(1500)]
    async with streaming(hub, world) as address:
        url = f"{address.ws}/v1/executions/stream"
        with socket.socket() as small:
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            small.connect(("127.0.0.1", address.port))
            small.setblocking(False)
            asking = await connect(url, sock=small, proxy=None, open_timeout=60, compression=None, max_queue=1)
            assert (await frame(asking))["type"] == "stream.hello"
            [attachment] = hub._attachments
            sending = asyncio.create_task(send_pings(asking, asked))
            await until(lambda: len(attachment._replies) >= MAX_REPLIES)
            async with connect(url, proxy=None, open_timeout=60, compression=None) as reading:
                await frame(reading)
                await ask(reading, SEED_MESSAGE)
                await world.append()
                world.publish(hub)
                assert (await frame(reading))["id"] == "e1"
            assert len(attachment._replies) <= MAX_REPLIES
            assert [(await frame(asking))["id"] for _ in asked] == asked
            await sending
            await asking.close()


async def send_pings(client: ClientConnection, ids: Sequence[str]) -> None:
    """Ask without looking at the answers."""
    for id_ in ids:
        await client.send(json.dumps({"type": "ping", "id": id_}))
