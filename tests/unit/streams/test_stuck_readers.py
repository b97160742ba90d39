"""Readers that stop, on real sockets: they cost bounded memory, nobody else anything, and in the end are let go."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from monitor.streams import websocket
from monitor.streams.direct import DirectHttp, DirectWebSocket
from tests.support.clocks import ManualClock
from tests.support.raw_response import RawResponse, get
from tests.support.raw_websocket import CLOSE, handshake
from tests.support.released import World
from tests.support.server import DIRECT, PORTABLE, Address, Protocols, streaming, until

STREAM: Final = "/v1/executions/stream?channels=executions"
LIMITS: Final = Limits(ring_bytes=64 * 1024, chunk_bytes=16 * 1024, backlog_bytes=256 * 1024, stuck_s=0.1)
EVENT: Final = {"nodeId": "n1", "text": "x" * 8000}


class HastyHttp(DirectHttp):
    linger_s = 0.05


class HastyWebSocket(DirectWebSocket):
    linger_s = 0.05


HASTY: Final = Protocols(HastyHttp, HastyWebSocket)


@pytest.fixture
async def world() -> World:
    """One partition, and time that stands still until it is moved."""
    return await World(clock=ManualClock()).bound()


class Server:
    """A hub that is served, one reader that stops, and one that reads on."""

    def __init__(self, world: World, hub: Hub, address: Address, stuck: socket.socket, reading: RawResponse) -> None:
        self.world, self.hub, self.address, self.stuck, self.reading = world, hub, address, stuck, reading

    async def publish(self) -> None:
        """One more event, which the reader that reads gets at once."""
        id_ = await self.world.append(data=EVENT)
        self.world.publish(self.hub)
        await self.move(0.1)
        assert (await self.reading.line())["id"] == id_

    async def move(self, delay_s: float) -> None:
        """Let time go by for the hub."""
        assert isinstance(self.world.clock, ManualClock)
        await self.world.clock.advance(delay_s)

    async def fill(self) -> None:
        """Publish until the one that stopped takes nothing any more."""
        for _ in range(200):
            await self.publish()
            if self.is_full:
                return
        raise AssertionError("a reader that takes nothing is never full")

    @property
    def is_full(self) -> bool:
        return any(each.buffered_bytes > 64 * 1024 for each in self.hub.connections("default"))


@asynccontextmanager
async def serving(world: World, kind: str, protocols: Protocols) -> AsyncIterator[Server]:
    """Both readers, subscribed."""
    hub = world.hub(LIMITS)
    async with (
        streaming(hub, world, protocols=protocols) as address,
        get(address.port, STREAM, headers={"accept": "application/x-ndjson"}) as reading,
    ):
        assert [(await reading.line())["type"] for _ in range(2)] == ["stream.hello", "stream.subscribed"]
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(stuck, ("127.0.0.1", address.port))
            await loop.sock_sendall(stuck, REQUESTS[kind])
            await until(lambda: [each.state for each in hub.connections("default")] == ["live", "live"])
            yield Server(world, hub, address, stuck, reading)


REQUESTS: Final = {
    "sse": f"GET {STREAM} HTTP/1.1\r\nhost: x\r\n\r\n".encode(),
    "ndjson": f"GET {STREAM} HTTP/1.1\r\nhost: x\r\naccept: application/x-ndjson\r\n\r\n".encode(),
    "websocket": handshake(STREAM),
}


@pytest.mark.parametrize("kind", REQUESTS)
async def test_stuck_reader_is_let_go_and_its_socket_freed(kind: str, world: World) -> None:
    """Nobody else notices; until then it holds its socket's buffer and no more."""
    async with serving(world, kind, HASTY) as server:
        await server.fill()
        for _ in range(20):
            await server.publish()
        held_bytes = max(each.buffered_bytes for each in server.hub.connections("default"))
        assert held_bytes < 2 * 64 * 1024
        assert server.hub.statistics().ring_bytes <= LIMITS.ring_bytes
        await server.move(2)  # the sweeper looks every second
        statistics = server.hub.statistics()
        assert (statistics.subscribers, statistics.full, statistics.tally.stuck) == (1, 0, 1)
        await until(lambda: len(server.address.server.server_state.connections) == 1)
        await server.publish()


async def test_reader_that_wakes_up_learns_why(world: World) -> None:
    """The close code for slowness stands behind what was still on its way."""
    async with serving(world, "websocket", DIRECT) as server:
        await server.fill()
        await server.move(2)
        data = await read_all(server.stuck)
        assert data.endswith(bytes([0x80 | CLOSE, 6, 4008 >> 8, 4008 & 255]) + b"slow")


@pytest.mark.parametrize("kind", ["sse", "ndjson"])
async def test_response_of_a_stuck_reader_ends_in_order(kind: str, world: World) -> None:
    """Should it read again, it finds the end of the response, and comes back."""
    async with serving(world, kind, DIRECT) as server:
        await server.fill()
        await server.move(2)
        assert (await read_all(server.stuck)).endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("kind", REQUESTS)
async def test_stuck_reader_behind_asgi_is_let_go(
    kind: str, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there is no outlet, a `send` that takes too long tells that nobody reads; that is no error of ours."""
    monkeypatch.setattr(websocket, "LINGER_S", 0.05)
    async with serving(world, kind, PORTABLE) as server:
        async with asyncio.timeout(60):
            while server.hub.statistics().subscribers == 2:
                await server.publish()
        await until(lambda: len(server.address.server.server_state.tasks) == 1)
        await server.publish()
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("kind", REQUESTS)
async def test_drain_waits_for_no_stuck_reader(kind: str, world: World) -> None:
    """It leaves at once, and its socket goes a moment later; the other one may keep its connection for a request."""
    async with serving(world, kind, HASTY) as server:
        await server.fill()
        await server.hub.drain(5)
        assert server.hub.statistics().subscribers == 0
        await until(lambda: len(server.address.server.server_state.connections) <= 1)


async def read_all(client: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    data = b""
    async with asyncio.timeout(60):
        while part := await asyncio.get_running_loop().sock_recv(client, 1 << 20):
            data += part
    return data
