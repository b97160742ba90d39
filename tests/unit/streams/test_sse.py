"""The stream as server-sent events on a real socket: raw bytes, and a reader that this project did not write."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect

from monitor.access.positions import open_position, position_token
from monitor.clock import SystemClock
from monitor.events.position import Position
from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from tests.support.raw_response import blocks, get
from tests.support.released import SEALER, World
from tests.support.server import Address, streaming, until

STREAM = "/v1/executions/stream"


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


async def test_the_bytes_are_those_of_the_protocol(address: Address, world: World, hub: Hub) -> None:
    """Headers, reconnection time, hello with an id, then one block per event with id and one line of data."""
    async with get(address.port, STREAM) as response:
        assert response.status == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        told = blocks(response)
        hello, subscribed = await anext(told), await anext(told)
        assert 1000 <= int(hello["retry"]) <= 3000
        assert (hello["event"], hello["data"]["heartbeat_ms"]) == ("stream.hello", 15000)
        assert (subscribed["event"], subscribed["data"]["channels"]) == ("stream.subscribed", ["executions"])
        await world.append(data={"nodeId": "n1", "text": "two\nlines"})
        world.publish(hub)
        raw = await response.block()
        token = position_token(SEALER, world.end).encode()
        assert raw.startswith(b'id: %b\ndata: {"type":"node.completed"' % token)
        assert raw.endswith(b'"position":"%b"}\n\n' % token)
        assert raw.count(b"\n") == 3


async def test_both_transports_show_the_same_frames(address: Address, world: World, hub: Hub) -> None:
    """Greeting, answer and events, apart from the name of the connection."""
    async with (
        connect(f"{address.ws}{STREAM}", proxy=None, compression=None) as client,
        get(address.port, f"{STREAM}?channels=executions,workflow:wf_123") as response,
    ):
        await client.send('{"type":"subscribe","channels":["executions","workflow:wf_123"]}')
        await until(lambda: hub.statistics().groups == 2)
        await world.append(workflow_id="wf_123")
        await world.append()
        world.publish(hub)
        over_websocket = [json.loads(await client.recv()) for _ in range(4)]
        told = [block["data"] async for block in _take(blocks(response), 4)]
        for hello in (over_websocket[0], told[0]):
            del hello["sid"]
        assert told == over_websocket


async def _take(source: AsyncIterator[dict[str, Any]], count: int) -> AsyncIterator[dict[str, Any]]:
    for _ in range(count):
        yield await anext(source)


async def test_an_independent_reader_understands_it(address: Address, world: World, hub: Hub) -> None:
    """Names, data and last event id arrive as a library that knows only the standard sees them."""
    async with (
        httpx.AsyncClient(trust_env=False, timeout=5) as client,
        aconnect_sse(client, "GET", address.http + STREAM) as source,
    ):
        events = source.aiter_sse()
        assert [(await anext(events)).event for _ in range(2)] == ["stream.hello", "stream.subscribed"]
        await world.append()
        world.publish(hub)
        event = await anext(events)
        assert (event.event, event.json()["id"]) == ("message", "e1")
        assert open_position(SEALER, event.id) == world.end


async def test_a_client_resumes_by_its_last_event_id(address: Address, world: World, hub: Hub) -> None:
    """The header wins over the address, which an EventSource repeats unchanged."""
    await world.append()
    await world.append()
    world.publish(hub)
    after_first = position_token(SEALER, world.beginning.advanced(0, 1))
    async with get(address.port, f"{STREAM}?position=earliest", headers={"last-event-id": after_first}) as response:
        ids = [block["data"].get("id") async for block in _take(blocks(response), 3)]
        assert ids == [None, None, "e2"]


async def test_subscriptions_are_query_parameters(address: Address, world: World, hub: Hub) -> None:
    """Channels, event patterns, filters and logs."""
    query = "channels=workflow:wf_1,execution:x&events=execution.*&filter[status]=failed"
    async with get(address.port, f"{STREAM}?{query}") as response:
        await world.append("execution.started")
        await world.append("node.failed")
        await world.append("execution.failed", workflow_id="wf_2", execution_id="exec_2")
        await world.append("execution.failed")
        world.publish(hub)
        told = [block["data"] async for block in _take(blocks(response), 3)]
        assert told[1]["channels"] == ["execution:x", "workflow:wf_1"]
        assert told[2]["id"] == "e4"


async def test_the_address_of_one_execution_is_its_channel(address: Address, world: World, hub: Hub) -> None:
    """Its id may hold whatever ids hold."""
    async with get(address.port, "/v1/executions/n8n%3Ap%2F1/stream?logs=1") as response:
        await world.append()
        await world.append("log.appended", "n8n:p/1", data={"lines": [{"message": "hello"}]})
        world.publish(hub)
        told = [block["data"] async for block in _take(blocks(response), 4)]
        assert told[1]["channels"] == ["execution:n8n:p/1"]
        assert told[2]["type"] == "stream.snapshot-end"
        assert told[3]["id"] == "e2"


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("channels=everything", "INVALID_REQUEST", "channels"),
        ("channels=", "INVALID_REQUEST", "channels"),
        ("channels=" + ",".join(f"execution:{n}" for n in range(1001)), "INVALID_REQUEST", "channels"),
        ("events=*.failed", "INVALID_REQUEST", "events"),
        ("logs=perhaps", "INVALID_REQUEST", "logs"),
        ("chanels=executions", "INVALID_REQUEST", "chanels"),
        ("position=yesterday", "INVALID_POSITION", "position"),
        ("position=now&position=now", "INVALID_REQUEST", "position"),
        ("filter[stauts]=failed", "INVALID_FILTER", "filter[stauts]"),
    ],
)
async def test_a_bad_address_is_refused_at_first(address: Address, query: str, code: str, field: str) -> None:
    """With the error envelope that every other address has."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{address.http}{STREAM}?{query}")
    assert answer.status_code in (400, 422)
    error = answer.json()["error"]
    assert (error["code"], error["field"]) == (code, field)
    assert set(error) == {"code", "message", "field", "timestamp"}


async def test_only_get_and_head_are_taken(address: Address) -> None:
    """Other methods get the same envelope; HEAD gets what GET would, without the stream."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(address.http + STREAM)
        head = await client.head(address.http + STREAM)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json()["error"]["code"] == "METHOD_NOT_ALLOWED"
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


@pytest.mark.parametrize(
    ("last_id", "reason"),
    [
        ("yesterday", "malformed"),
        (position_token(SEALER, Position("00" * 6, (5,))), "incarnation"),
    ],
)
async def test_a_reconnect_never_fails(address: Address, last_id: str, reason: str, world: World, hub: Hub) -> None:
    """A native EventSource would give up for good: it is told in-band, shown what is in flight, and goes on from now.

    Until the snapshot's end no frame has a position, so that who is cut off meanwhile gets all of this again.
    """
    async with get(address.port, STREAM, headers={"last-event-id": last_id}) as response:
        assert response.status == 200
        told = [block async for block in _take(blocks(response), 4)]
        types = ["stream.hello", "stream.reset", "stream.subscribed", "stream.snapshot-end"]
        assert [block["event"] for block in told] == types
        assert ["id" in block for block in told] == [False, False, False, True]
        assert told[1]["data"]["reason"] == reason
        await world.append()
        world.publish(hub)
        assert b'"id":"e1"' in await response.block()


async def test_who_wants_no_snapshot_has_a_position_at_once(address: Address, hub: Hub) -> None:
    """The reset itself tells it then."""
    async with get(address.port, f"{STREAM}?snapshot=none", headers={"last-event-id": "yesterday"}) as response:
        told = [block async for block in _take(blocks(response), 3)]
        assert [block["id"] for block in told] == [position_token(SEALER, hub.position)] * 3


async def test_a_reconnect_to_a_bad_address_is_told_in_band(address: Address) -> None:
    """Once, with a long time to wait before the next."""
    async with get(address.port, f"{STREAM}?channels=everything", headers={"last-event-id": "yesterday"}) as response:
        assert response.status == 200
        told = [block async for block in blocks(response)]
        assert int(told[0]["retry"]) >= 30_000
        assert (told[0]["event"], told[0]["data"]["code"]) == ("stream.error", "INVALID_REQUEST")


async def test_silent_connections_are_kept_alive_and_their_position_moves(world: World) -> None:
    """A comment when nothing happened at all; an id without data when everything was filtered out."""
    hub = world.hub(Limits(heartbeat_s=1.0))
    async with streaming(hub, world) as address, get(address.port, f"{STREAM}?channels=execution:other") as response:
        for _ in range(2):
            await response.block()
        assert await response.block() == b":\n\n"
        await world.append()
        world.publish(hub)
        assert await response.block() == b"id: %b\n\n" % position_token(SEALER, world.end).encode()


async def test_draining_tells_where_the_client_stands_and_ends(address: Address, hub: Hub) -> None:
    """The response ends properly, so that the server can go."""
    async with get(address.port, STREAM) as response:
        for _ in range(2):
            await response.block()
        await hub.drain()
        drain, end = await response.block(), await response.block()
        token = position_token(SEALER, hub.position)
        retry = drain.decode().splitlines()[1]
        assert drain.decode() == (
            f"id: {token}\n{retry}\nevent: stream.drain\n"
            f'data: {{"type":"stream.drain","retryMs":{retry.removeprefix("retry: ")},"position":"{token}"}}\n\n'
        )
        assert end == b""
    assert hub.statistics().subscribers == 0


async def test_clients_that_go_away_leave_nothing_behind(address: Address, hub: Hub) -> None:
    """The hub learns of it although it has nothing to write to them."""
    for _ in range(5):
        async with get(address.port, STREAM):
            assert hub.statistics().subscribers == 1
        await until(lambda: hub.statistics().subscribers == 0)
    assert hub.statistics().groups == 0


async def test_a_stalled_reader_holds_nobody_up_and_drain_waits_no_longer_than_told(world: World) -> None:
    """It reads nothing while megabytes pass; another reader gets all of it, and the hub's memory stays bounded."""
    hub = world.hub(Limits(ring_bytes=32 * 1024, backlog_bytes=256 * 1024))
    async with streaming(hub, world) as address:
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        small.connect(("127.0.0.1", address.port))
        _, writer = await asyncio.open_connection(sock=small, limit=1024)
        writer.write(b"GET /v1/executions/stream HTTP/1.1\r\nhost: test\r\n\r\n")
        await until(lambda: hub.statistics().groups == 1)
        async with get(address.port, STREAM) as response:
            for _ in range(2):
                await response.block()
            for number in range(300):
                await world.append(data={"nodeId": "n1", "text": "x" * 8000})
                world.publish(hub)
                assert b'"id":"e%d"' % (number + 1) in await response.block()
            statistics = hub.statistics()
            assert statistics.ring_bytes <= 32 * 1024
            assert statistics.backlog_bytes <= 256 * 1024
            assert sorted(attachment.position == hub.position for attachment in hub._attachments) == [False, True]
        began_s = world.clock.monotonic_s()
        await hub.drain(0.1)
        assert world.clock.monotonic_s() - began_s < 1
        writer.transport.abort()
        await until(lambda: hub.statistics().subscribers == 0)
