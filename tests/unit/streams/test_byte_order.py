"""Every byte comes in order, whichever way it took: past the transport while that holds nothing, or through it."""

import json
import logging
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from monitor.fanout.attachment import Attachment
from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from tests.support.clocks import ManualClock
from tests.support.raw_response import get
from tests.support.raw_websocket import PING, PONG, TEXT, RawWebSocket, handshake, made, opened
from tests.support.released import World
from tests.support.server import Address, streaming, until

STREAM: Final = "/v1/executions/stream?channels=executions"
LIMITS: Final = Limits(ring_bytes=4 << 20, stuck_s=1000)

Event = tuple[str, str]
"""Its id and its text."""

Read = Callable[[], Awaitable[Event]]


class Feeding:
    """A hub, and what it has told of that a reader has not read yet."""

    def __init__(self, world: World, hub: Hub, chance: random.Random, together: int) -> None:
        self.world, self.hub, self._chance, self._together = world, hub, chance, together
        self.unread: list[Event] = []

    async def publish(self) -> None:
        """One event, or some together, of all sizes."""
        for _ in range(self._together):
            text = self._chance.choice("abc") * self._chance.choice((1, 30, 300, 3000))
            self.unread.append((await self.world.append(data={"nodeId": "n1", "text": text}), text))
        await self.flush()

    async def flush(self) -> None:
        """Release it."""
        assert isinstance(self.world.clock, ManualClock)
        self.world.publish(self.hub)
        await self.world.clock.advance(0.005)

    @property
    def held_bytes(self) -> int:
        """What the reader's transport holds."""
        return max(each.buffered_bytes for each in self.hub.connections("default"))

    @property
    def parked(self) -> int:
        """How many readers the hub writes to itself."""
        return sum(len(group.parked) for group in self.hub._feed.groups.values())


@pytest.fixture
async def world() -> World:
    """One partition, and time that stands still until it is moved."""
    return await World(clock=ManualClock()).bound()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the hub met a socket that took a part of a chunk, or nothing."""
    counted: Counter[str] = Counter()
    hold = Attachment.hold

    def count(attachment: Attachment, rest: bytes) -> None:
        counted["times"] += 1
        hold(attachment, rest)

    monkeypatch.setattr(Attachment, "hold", count)
    return counted


@pytest.mark.parametrize("together", [1, 16])
@pytest.mark.parametrize("kind", ["sse", "ndjson", "websocket"])
async def test_slow_reader_gets_everything_in_order(kind: str, together: int, world: World, held: Counter[str]) -> None:
    """It stops until its socket takes nothing any more, reads while more comes, and catches up; time and again."""
    chance = random.Random(together)
    feeding = Feeding(world, world.hub(LIMITS), chance, together)
    async with streaming(feeding.hub, world) as address, reader_of(kind, address) as read:
        await until(lambda: feeding.parked)
        for episode in range(1, 4):
            while not feeding.held_bytes:
                await feeding.publish()
            assert held["times"] >= episode
            assert feeding.parked == 0
            await feeding.publish()
            while feeding.unread:
                assert await read() == feeding.unread.pop(0)
                if chance.random() < 0.5 / together:
                    await feeding.publish()
            await until(lambda: feeding.parked)
    assert feeding.hub.statistics().tally.slow == 0


async def test_pongs_come_between_frames(world: World, held: Counter[str]) -> None:
    """The server answers pings itself, in the middle of whatever is written; no frame is torn apart."""
    feeding = Feeding(world, world.hub(LIMITS), random.Random(1), 1)
    async with (
        streaming(feeding.hub, world) as address,
        opened(address.port, handshake(STREAM), receive_bytes=4096) as websocket,
    ):
        await begun(websocket)
        await until(lambda: feeding.parked)
        sent, returned = 0, 0
        while held["times"] < 1 or sent < 50:
            sent += 1
            await websocket.send(made(PING, str(sent).encode()))
            await feeding.publish()
        while feeding.unread or returned < sent:
            frame = await websocket.frame()
            assert frame is not None
            if frame.opcode == PONG:
                returned += 1
                assert frame.payload == str(returned).encode()
            else:
                assert event_in(json.loads(frame.payload)) == feeding.unread.pop(0)


@pytest.mark.parametrize("kind", ["sse", "websocket"])
async def test_reader_that_is_reset_concerns_nobody_else(
    kind: str, world: World, held: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The hub may meet the dead socket before its transport does."""
    feeding = Feeding(world, world.hub(LIMITS), random.Random(1), 1)
    async with streaming(feeding.hub, world) as address, reader_of(kind, address) as read:
        requests = {"sse": f"GET {STREAM} HTTP/1.1\r\nhost: x\r\n\r\n".encode(), "websocket": handshake(STREAM)}
        with socket.create_connection(("127.0.0.1", address.port)) as doomed:
            doomed.sendall(requests[kind])
            await until(lambda: feeding.parked == 2)
            # Without a turn of the loop until the hub writes.
            id_ = await world.append(data={"nodeId": "n1", "text": "x"})
            world.publish(feeding.hub)
            doomed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await feeding.hub._flush()
        assert held["times"] == 1
        assert await read() == (id_, "x")
        await until(lambda: feeding.hub.statistics().subscribers == 1)
        await feeding.publish()
        assert await read() == feeding.unread[0]
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []


# --- parts -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def reader_of(kind: str, address: Address) -> AsyncIterator[Read]:
    """A reader whose kernel takes little; called, it reads one event."""
    if kind == "websocket":
        async with opened(address.port, handshake(STREAM), receive_bytes=4096) as websocket:
            await begun(websocket)
            yield lambda: next_event(lambda: websocket.next(TEXT))
        return
    accept = "application/x-ndjson" if kind == "ndjson" else "text/event-stream"
    async with get(address.port, STREAM, receive_bytes=4096, headers={"accept": accept}) as response:
        yield lambda: next_event(lambda: response.until(b"\n"))


async def begun(websocket: RawWebSocket) -> None:
    """Read what comes before events."""
    assert (await websocket.head()).startswith(b"HTTP/1.1 101 ")
    for name in ("stream.hello", "stream.subscribed"):
        assert name.encode() in (await websocket.next(TEXT) or b"")


async def next_event(read: Callable[[], Awaitable[bytes | None]]) -> Event:
    """The next one, from lines or messages that each are whole."""
    while (line := await read()) is not None:
        text = line.removeprefix(b"data: ").strip()
        if text.startswith(b"{") and "executionId" in (frame := json.loads(text)):
            return event_in(frame)
    raise AssertionError("the stream has ended")


def event_in(frame: Any) -> Event:
    """Of a whole frame."""
    return frame["id"], frame["data"]["text"]
