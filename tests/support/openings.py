"""Opens one stream over each transport, and reads what it answers: its status, then frames up to its end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.event_stream import EventStream

Transport = Literal["sse", "ndjson", "websocket"]
TRANSPORTS: Final[tuple[Transport, ...]] = ("sse", "ndjson", "websocket")
ACCEPT: Final = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}

WITHIN_S: Final = 120.0

Frame = dict[str, Any]


class Stream:
    """A stream that was asked for."""

    def __init__(self, frames: AsyncIterator[Frame]) -> None:
        self._frames = frames
        # Of the HTTP answer; a WebSocket has none but its opening.
        self.status = 101
        self.headers = httpx.Headers()
        self.body: Any = None
        self.events = EventStream()
        self.socket: ClientConnection | None = None

    async def frame(self) -> Frame | None:
        """The next frame; None at the end."""
        async with asyncio.timeout(WITHIN_S):
            return await anext(self._frames, None)

    async def frames(self, count: int) -> list[Frame]:
        """The next `count` frames; fails when the stream ends before."""
        found = [await self.frame() for _ in range(count)]
        return [frame for frame in found if frame is not None and len(found) == count]

    async def until(self, name: str) -> list[Frame]:
        """Frames up to the next one of this type, with it; fails when the stream ends before."""
        found: list[Frame] = []
        while not found or found[-1]["type"] != name:
            frame = await self.frame()
            assert frame is not None, f"no {name} in {found}"
            found.append(frame)
        return found

    async def rest(self) -> list[Frame]:
        """Every frame that is left, up to the end of the stream."""
        found = []
        while (frame := await self.frame()) is not None:
            found.append(frame)
        return found


@asynccontextmanager
async def opened(base: str, path: str, transport: Transport, **headers: str) -> AsyncIterator[Stream]:
    """Ask for a stream of the service at `base` (http://...); header names have underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if transport == "websocket":
        async with connect(
            base.replace("http", "ws", 1) + path, proxy=None, open_timeout=60, additional_headers=named
        ) as socket:
            stream = Stream(_messages(socket))
            stream.socket = socket
            yield stream
        return
    asked = {"accept": ACCEPT[transport], **named}
    async with (
        # Nothing here is TLS, and loading the system's certificates takes longer than the rest.
        httpx.AsyncClient(trust_env=False, timeout=WITHIN_S, verify=False) as client,  # noqa: S501
        client.stream("GET", base + path, headers=asked) as response,
    ):
        parser = EventStream()
        stream = Stream(_lines(response) if transport == "ndjson" else _events(response, parser))
        stream.status, stream.headers, stream.events = response.status_code, response.headers, parser
        if response.headers.get("content-type") == "application/json":
            stream.body = json.loads(await response.aread())
        yield stream


async def _messages(socket: ClientConnection) -> AsyncIterator[Frame]:
    try:
        async for message in socket:
            yield json.loads(message)
    except ConnectionClosed:
        return


async def _lines(response: httpx.Response) -> AsyncIterator[Frame]:
    async for line in response.aiter_lines():
        yield json.loads(line)


async def _events(response: httpx.Response, parser: EventStream) -> AsyncIterator[Frame]:
    async for piece in response.aiter_bytes():
        for fired in parser.feed(piece):
            yield json.loads(fired.data)
