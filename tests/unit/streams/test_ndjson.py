"""The stream as lines of JSON on a real socket, byte for byte."""

from collections.abc import AsyncIterator

import pytest

from monitor.access.positions import position_token
from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from tests.support.clocks import ManualClock
from tests.support.raw_response import RawResponse, get
from tests.support.released import SEALER, World
from tests.support.server import streaming, until

LINES = {"accept": "application/x-ndjson"}


@pytest.fixture
def clock() -> ManualClock:
    """Time that stands still until it is moved."""
    return ManualClock()


@pytest.fixture
async def world(clock: ManualClock) -> World:
    """One partition."""
    return await World(clock=clock).bound()


@pytest.fixture
def hub(world: World) -> Hub:
    """The only hub."""
    return world.hub(Limits(heartbeat_s=15.0))


@pytest.fixture
async def response(hub: Hub, world: World) -> AsyncIterator[RawResponse]:
    """The lines of one execution, behind the greeting."""
    async with (
        streaming(hub, world) as address,
        get(address.port, "/v1/executions/stream?channels=execution:exec_1", headers=LINES) as response,
    ):
        assert [(await response.line())["type"] for _ in range(2)] == ["stream.hello", "stream.subscribed"]
        await until(lambda: hub.statistics().groups)
        yield response


def token(world: World) -> str:
    """Where the stream stands."""
    return position_token(SEALER, world.end)


async def test_head_says_what_follows(response: RawResponse) -> None:
    """A type of its own; nobody keeps the stream, changes it or collects it."""
    del response.headers["date"], response.headers["server"]
    assert (response.status, response.headers) == (
        200,
        {
            "content-type": "application/x-ndjson",
            "cache-control": "no-store, no-transform",
            "x-accel-buffering": "no",
            "transfer-encoding": "chunked",
        },
    )


async def test_every_frame_is_one_line(response: RawResponse, world: World, hub: Hub, clock: ManualClock) -> None:
    """Line breaks of strangers stay inside their JSON."""
    await world.append(data={"nodeId": "n1", "text": "two\nlines\r\u2028"})
    world.publish(hub)
    await clock.advance(0.1)
    line = await response.until(b"\n")
    assert line.startswith(b'{"type":"node.completed","executionId":"exec_1"')
    assert line.endswith(b',"position":"%b"}\n' % token(world).encode())


async def test_silence_is_filled(response: RawResponse, world: World, hub: Hub, clock: ManualClock) -> None:
    """By a checkpoint when everything was filtered out, by a heartbeat when nothing happened at all."""
    await world.append(execution_id="another")
    world.publish(hub)
    await clock.advance(15)
    assert await response.line() == {"type": "stream.checkpoint", "position": token(world)}
    await clock.advance(15)
    assert await response.line() == {"type": "stream.heartbeat"}


async def test_drain_is_the_last_line(response: RawResponse, world: World, hub: Hub) -> None:
    """It says where the client stands, and when it shall come back."""
    await hub.drain()
    line = await response.line()
    assert 1000 <= line.pop("retryMs") <= 3000
    assert line == {"type": "stream.drain", "position": token(world)}
    assert await response.line() is None
