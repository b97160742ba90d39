"""Subscribers of a real service with clients that this project did not write: WebSocket, EventSource and curl."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import httpx
from httpx_sse import aconnect_sse
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.service import Service

Frame = dict[str, Any]

STREAM = "/v1/executions/stream"
CHANNELS = ("executions", "workflow:wf_123")
"""As in the documented example."""

READ_WITHIN_S = 120.0


class Subscriber(Protocol):
    """A way to read the stream."""

    async def connect(self, position: str | None) -> "Connection":
        """Subscribe from `position` on; None = now."""
        ...


class Connection(Protocol):
    """A stream that is being read."""

    async def frame(self) -> Frame | None:
        """The next frame; None at the end of the stream. What has no `type` is a checkpoint of its `position`."""
        ...

    async def abort(self) -> None:
        """Cut the connection without a word."""
        ...


class WebSocketSubscriber:
    """Says the documented message."""

    def __init__(self, service: Service) -> None:
        self._url = f"ws://127.0.0.1:{service.port}{STREAM}"

    async def connect(self, position: str | None) -> "WebSocketConnection":
        client = await connect(self._url, proxy=None, open_timeout=60, compression=None, max_queue=None)
        start = {} if position is None else {"position": position}
        await client.send(json.dumps({"type": "subscribe", "channels": CHANNELS, **start}))
        return WebSocketConnection(client)


class WebSocketConnection:
    """Aborted by closing its socket: the service sees a reset."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client

    async def frame(self) -> Frame | None:
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                document: Frame = json.loads(await self.client.recv())
        except ConnectionClosed:
            return None
        return document

    async def abort(self) -> None:
        self.client.transport.abort()
        await self.client.wait_closed()


class EventSourceSubscriber:
    """Comes back with `Last-Event-ID`, as a browser does."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def connect(self, position: str | None) -> "EventSourceConnection":
        return EventSourceConnection(self._frames(position))

    async def _frames(self, position: str | None) -> AsyncIterator[Frame]:
        headers = {} if position is None else {"last-event-id": position}
        async with (
            self._service.client() as client,
            aconnect_sse(
                client, "GET", STREAM, params={"channels": ",".join(CHANNELS)}, headers=headers, timeout=READ_WITHIN_S
            ) as stream,
        ):
            async for sent in stream.aiter_sse():
                yield json.loads(sent.data) if sent.data else {"position": sent.id}


class EventSourceConnection:
    """Aborted by leaving the response unread."""

    def __init__(self, frames: AsyncIterator[Frame]) -> None:
        self._frames = frames

    async def frame(self) -> Frame | None:
        try:
            return await anext(self._frames, None)
        except httpx.RemoteProtocolError:  # the service was killed
            return None

    async def abort(self) -> None:
        await self._frames.aclose()  # type: ignore[attr-defined]


@asynccontextmanager
async def curl(service: Service) -> AsyncIterator["CurlConnection"]:
    """`curl -N` on the stream's URL."""
    url = f"{service.url}{STREAM}?channels={','.join(CHANNELS)}"
    process = await asyncio.create_subprocess_exec("curl", "-sN", url, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield CurlConnection(process.stdout)
    finally:
        if process.returncode is None:
            process.kill()
        # With what is left of its output: a pipe that nobody has read to its end stays open beyond the test.
        await process.communicate()


class CurlConnection:
    """Reads what curl prints, by the letter."""

    def __init__(self, printed: asyncio.StreamReader) -> None:
        self._printed = printed

    async def frame(self) -> Frame | None:
        """The next frame; None when curl has ended."""
        async with asyncio.timeout(READ_WITHIN_S):
            while line := await self._printed.readline():
                if line.startswith(b"data: "):
                    document: Frame = json.loads(line.removeprefix(b"data: "))
                    return document
        return None


async def subscribed(connection: Connection | CurlConnection) -> Frame:
    """The frame that says from where on everything is delivered."""
    while (frame := await connection.frame()) is not None:
        if frame.get("type") == "stream.subscribed":
            return frame
    raise AssertionError("the stream ended before it began")


async def read_until(connection: Connection | CurlConnection, execution_id: str) -> Sequence[Frame]:
    """The events up to the first of this execution."""
    events: list[Frame] = []
    while (frame := await connection.frame()) is not None:
        if "executionId" in frame:
            events.append(frame)
            if frame["executionId"] == execution_id:
                return events
    raise AssertionError(f"the stream ended after {len(events)} events, without {execution_id}")
