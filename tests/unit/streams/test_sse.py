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
from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from monitor.streams.direct import DirectHttp
from tests.support.clocks import ManualClock
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
        connect(f"{address.ws}{STREAM}", proxy=None, open_timeout=60, compression=None) as client,
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
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
        aconnect_sse(client, "GET", address.http + STREAM) as source,
    ):
        events = source.aiter_sse()
        assert [(await anext(events)).event for _ in range(2)] == ["stream.hello", "stream.subscribed"]
        await world.append()
        world.publish(hub)
        event = await anext(events)
        assert (event.event, event.json()["id"]) == ("message", "e1")
        assert open_position(SEALER, event.id) == world.end


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


async def test_silent_connections_are_kept_alive_and_their_position_moves() -> None:
    """A comment when nothing happened at all; an id without data when everything was filtered out."""
    clock = ManualClock()
    world = await World(clock=clock).bound()
    hub = world.hub(Limits(heartbeat_s=15.0))
    async with streaming(hub, world) as address, get(address.port, f"{STREAM}?channels=execution:other") as response:
        for _ in range(2):
            await response.block()
        await until(lambda: hub.statistics().groups)
        await clock.advance(15)
        assert await response.block() == b":\n\n"
        await world.append()
        world.publish(hub)
        await clock.advance(15)
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
        # The connection may be used again, and holds nobody that has left.
        [connection] = address.server.server_state.connections
        assert isinstance(connection, DirectHttp)
        assert connection.outlet._reader is None
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
