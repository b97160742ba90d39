"""The two ways to a client, past ASGI and through it: the same bytes on every transport, and the same ends."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import pytest

from monitor.fanout.feed import Chunk, Limits
from monitor.fanout.hub import Hub
from tests.support.clocks import ManualClock
from tests.support.raw_response import RawResponse, get
from tests.support.raw_websocket import BINARY, CLOSE, TEXT, Frame, RawWebSocket, made, upgraded
from tests.support.released import World
from tests.support.server import DIRECT, PORTABLE, Address, Protocols, streaming, until

STREAM: Final = "/v1/executions/stream"
HEARTBEAT_S: Final = 15.0

Bytes = list[bytes] | list[Frame]
"""What a client got: lines of a response, frames of a WebSocket."""

Reading = Callable[[], Coroutine[None, None, Bytes]]


class Told:
    """One world that two hubs tell of, and what happens in it while their clients read."""

    def __init__(self, world: World, clock: ManualClock, hubs: Sequence[Hub]) -> None:
        self.world, self.clock, self.hubs = world, clock, hubs

    async def flush(self) -> None:
        """Release what was appended, and let the hubs work."""
        for hub in self.hubs:
            self.world.publish(hub)
        await self.clock.advance(0.1)

    async def beat(self) -> None:
        """Let so much time go by that silent connections hear something."""
        await self.clock.advance(HEARTBEAT_S)

    async def play(self, scenario: "Scenario") -> None:
        """Run `scenario`, and send away who is still there."""
        await scenario(self)
        draining = asyncio.gather(*(hub.drain(1) for hub in self.hubs))
        while not draining.done():
            await self.clock.advance(1)


Scenario = Callable[[Told], Awaitable[None]]


async def everything(told: Told) -> None:
    """Frames of every kind and size, one after the other, up to a drain."""
    world = told.world
    for characters in (3, 300, 70_000):  # a frame header of every length
        await world.append(data={"nodeId": "n1", "text": "x" * characters})
        await told.flush()
    for _ in range(5):
        await world.append("node.started")
    await told.flush()
    await world.append("log.appended", data={"lines": [{"message": "é\n\u2028"}]})
    await told.flush()
    await world.append(execution_id="somebody else's")
    await told.flush()
    await told.beat()
    await told.beat()
    for hub in told.hubs:
        hub.stale({"since": "2026-11-22T10:30:00.000Z", "lag": 7})
    await told.flush()


async def an_end(told: Told) -> None:
    """The execution that is followed ends."""
    await told.world.append("execution.completed", data={"duration": 1.5})
    await told.world.append("log.appended", data={"lines": [{"message": "bye"}], "final": True})
    await told.flush()
    await told.beat()


TARGETS: dict[Scenario, str] = {
    everything: f"{STREAM}?channels=execution:exec_1&position=earliest&logs=1",
    an_end: "/v1/executions/exec_1/stream?snapshot=active&logs=1",
}

ALWAYS = ("stream.hello", "stream.subscribed", "log.appended")
SHOWN: dict[Scenario, Sequence[str]] = {
    everything: ("execution.started", "node.completed", "stream.stale", "stream.drain"),
    an_end: ("stream.snapshot", "stream.snapshot-end", "execution.completed", "stream.end"),
}


@pytest.mark.parametrize("scenario", TARGETS)
@pytest.mark.parametrize("kind", ["sse", "named", "ndjson", "websocket"])
async def test_both_ways_bring_the_same_bytes(kind: str, scenario: Scenario) -> None:
    """Head, greeting, catch-up, events, checkpoints, heartbeats, control frames, farewell: byte for byte."""
    clock = ManualClock()
    world = await World(clock=clock).bound()
    told = Told(world, clock, [world.hub(Limits(heartbeat_s=HEARTBEAT_S)) for _ in range(2)])
    await world.append("execution.started")
    await world.append()
    await told.flush()
    async with AsyncExitStack() as stack:
        clients = []
        for hub, protocols in zip(told.hubs, (DIRECT, PORTABLE), strict=True):
            address = await stack.enter_async_context(streaming(hub, world, protocols=protocols))
            clients.append(await stack.enter_async_context(client_of(kind, address, hub, TARGETS[scenario])))
        reading = [asyncio.create_task(client()) for client in clients]
        await told.play(scenario)
        direct, portable = await asyncio.gather(*reading)
    assert direct == portable
    text = b"".join(part.payload if isinstance(part, Frame) else part for part in direct).decode(errors="replace")
    assert [name for name in (*ALWAYS, *SHOWN[scenario]) if f'"type":"{name}"' not in text] == []


@asynccontextmanager
async def client_of(kind: str, address: Address, hub: Hub, target: str) -> AsyncIterator[Reading]:
    """A client that has caught up; called, it reads everything that it gets."""
    if kind == "websocket":
        async with upgraded(address.port, target) as websocket:
            await until(lambda: hub.statistics().groups)
            # Answers are frames as well, and come before what happens afterwards.
            await websocket.send(made(TEXT, b'{"type":"ping","id":1}') + made(BINARY, b"what is this?"))
            begun: list[Frame] = []
            while not begun or b"stream.error" not in begun[-1].payload:
                frame = await websocket.frame()
                assert frame is not None
                begun.append(frame)
            yield lambda: frames_of(websocket, begun)
        return
    target += "&named=1" if kind == "named" else ""
    accept = "application/x-ndjson" if kind == "ndjson" else "text/event-stream"
    async with get(address.port, target, headers={"accept": accept, "connection": "close"}) as response:
        await until(lambda: hub.statistics().groups)
        yield lambda: body_of(response)


async def body_of(response: RawResponse) -> list[bytes]:
    """Head and body."""
    del response.headers["date"]
    body = await response.until(b"\0")
    return [json.dumps(response.headers).encode(), *body.splitlines(keepends=True)]


async def frames_of(websocket: RawWebSocket, begun: list[Frame]) -> list[Frame]:
    """Up to the close frame, and an end in order after it."""
    while (frame := await websocket.frame()) is not None:
        begun.append(frame)
        if frame.opcode == CLOSE:
            await websocket.send(made(CLOSE, frame.payload))
    return begun


@pytest.mark.parametrize("protocols", [DIRECT, PORTABLE], ids=["direct", "portable"])
@pytest.mark.parametrize("kind", ["sse", "ndjson", "websocket"])
async def test_idle_connection_keeps_nothing_that_it_was_sent(kind: str, protocols: Protocols) -> None:
    """Thousands of them would keep a chunk each."""
    world = await World(clock=ManualClock()).bound()
    hub = world.hub()
    await world.append()
    world.publish(hub)
    async with (
        streaming(hub, world, protocols=protocols) as address,
        client_of(kind, address, hub, TARGETS[everything]),
    ):
        await until(lambda: not [each for each in gc.get_objects() if type(each) is Chunk])
