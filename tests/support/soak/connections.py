"""How clients of the soak are connected: by lean connections of its own, and by two libraries that others wrote.

A lean connection is a protocol on a transport: nothing waits for it, and while it is paused nobody takes the service's
bytes from the kernel, which holds few of them.
"""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, cast

import httpx
from httpx_sse import aconnect_sse
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.support.raw_websocket import TEXT, handshake, made
from tests.support.soak.client import Client, Kind
from tests.support.soak.wanted import STREAM
from tests.support.soak.wires import EventReader, Frame, LineReader, Reader, Refused, WebSocketReader

_RECEIVE_BYTES: Final = 16 * 1024
"""What the kernel takes for a client that does not read; the system doubles it."""


class Dialer:
    """Connects clients to the service on one port, each kind in its way."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def websocket(self, client: Client) -> None:
        """A conversation that is told what to send."""
        await self._lean(Conversation(client, WebSocketReader(), handshake(STREAM)))

    async def events(self, client: Client) -> None:
        """Server-sent events; the position travels as it does with an EventSource."""
        request = self._get(client, "text/event-stream", by_header=True)
        await self._lean(Lean("events", client, EventReader(), request))

    async def lines(self, client: Client) -> None:
        """Lines of JSON."""
        request = self._get(client, "application/x-ndjson", by_header=False)
        await self._lean(Lean("lines", client, LineReader(), request))

    async def library_websocket(self, client: Client) -> None:
        """A conversation by `websockets`."""
        url = f"ws://127.0.0.1:{self._port}{STREAM}"
        try:
            socket_ = await connect(url, proxy=None, compression=None, max_size=None, open_timeout=60)
        except WebSocketException as error:
            raise ConnectionError(error) from None
        LibraryConversation(client, socket_)

    async def library_events(self, client: Client) -> None:
        """Server-sent events by `httpx-sse`."""
        Library(client, _sent_events(f"http://127.0.0.1:{self._port}{_target(client, by_header=True)}", client))

    def _get(self, client: Client, accept: str, *, by_header: bool) -> bytes:
        resumed = f"last-event-id: {client.position}\r\n" if by_header and client.position else ""
        target = _target(client, by_header=by_header)
        return f"GET {target} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: {accept}\r\n{resumed}\r\n".encode()

    async def _lean(self, lean: "Lean") -> None:
        loop, raw = asyncio.get_running_loop(), socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        raw.setblocking(False)
        try:
            await loop.sock_connect(raw, ("127.0.0.1", self._port))
        except BaseException:
            raw.close()
            raise
        await loop.create_connection(lambda: lean, sock=raw)


def _target(client: Client, *, by_header: bool) -> str:
    return f"{STREAM}?{client.wanted.query(client.snapshot, None if by_header else client.position)}"


class Lean(asyncio.Protocol):
    """A GET that goes on."""

    def __init__(self, kind: Kind, client: Client, reader: Reader, request: bytes) -> None:
        self.kind = kind
        self._client, self._reader, self._request = client, reader, request
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)
        self._client.open(self)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except Refused as error:
            self._client.diary.counts[f"refused with {error.status}"] += 1
            self.abort()
        except Exception as error:  # noqa: BLE001 - the loop would only log it, and the soak go on
            self._client.diary.complaints.append(repr(error))
            self.abort()

    def _take(self, frame: Frame) -> None:
        self._client.take(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._reader.close_code is not None:
            self._client.diary.counts[f"closed with {self._reader.close_code}"] += 1
        self._client.lose(self)

    def send(self, message: dict[str, Any]) -> None:
        raise NotImplementedError

    def pause(self) -> None:
        assert self._transport is not None
        self._transport.pause_reading()

    def resume(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()

    def abort(self) -> None:
        assert self._transport is not None
        self._transport.abort()


class Conversation(Lean):
    """A WebSocket."""

    def __init__(self, client: Client, reader: Reader, request: bytes) -> None:
        super().__init__("conversation", client, reader, request)
        self._is_greeted = False

    def _take(self, frame: Frame) -> None:
        if not self._is_greeted:
            self._is_greeted = True
            self._client.greet()
        super()._take(frame)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        assert self._transport is not None
        for answer in self._reader.answers:
            self._transport.write(answer)
        self._reader.answers.clear()

    def send(self, message: dict[str, Any]) -> None:
        assert self._transport is not None
        self._transport.write(made(TEXT, json.dumps(message).encode()))


# --- by libraries ----------------------------------------------------------------------------------------------------


class Library:
    """Reads what a library makes of a response, one frame after the other."""

    kind: Kind = "events"

    def __init__(self, client: Client, frames: AsyncGenerator[Frame, None]) -> None:
        self._client, self._frames = client, frames
        self._reads = asyncio.Event()
        self._reads.set()
        self._reading = asyncio.create_task(self._read())
        # Not the task's own last step: one that is cancelled before its first takes none.
        self._reading.add_done_callback(lambda _: client.lose(self))
        client.open(self)

    async def _read(self) -> None:
        try:
            async with aclosing(self._frames):
                async for frame in self._frames:
                    await self._reads.wait()
                    self._client.take(frame)
        except (OSError, httpx.TransportError, ConnectionClosed) as error:
            self._client.diary.counts[f"ended by {type(error).__name__}"] += 1
        except Exception as error:  # noqa: BLE001 - as above
            self._client.diary.complaints.append(repr(error))

    def send(self, message: dict[str, Any]) -> None:
        raise NotImplementedError

    def pause(self) -> None:
        self._reads.clear()

    def resume(self) -> None:
        self._reads.set()

    def abort(self) -> None:
        self._reading.cancel()


class LibraryConversation(Library):
    """The same, with a way back."""

    kind: Kind = "conversation"

    def __init__(self, client: Client, socket_: ClientConnection) -> None:
        super().__init__(client, _messages(socket_))
        self._socket = socket_
        self._sending: set[asyncio.Task[None]] = set()
        client.greet()

    def send(self, message: dict[str, Any]) -> None:
        sending = asyncio.create_task(self._send(message))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            await self._socket.send(json.dumps(message))
        except ConnectionClosed:
            pass  # whoever reads will notice

    def abort(self) -> None:
        self._socket.transport.abort()
        self._reads.set()


async def _messages(socket_: ClientConnection) -> AsyncGenerator[Frame, None]:
    async for message in socket_:
        yield json.loads(message)


async def _sent_events(url: str, client: Client) -> AsyncGenerator[Frame, None]:
    headers = {"last-event-id": client.position} if client.position else {}
    async with (
        # Reading the system's certificates takes longer than the request, and nothing here is TLS.
        httpx.AsyncClient(trust_env=False, verify=False, timeout=None) as http,  # noqa: S501, S113
        aconnect_sse(http, "GET", url, headers=headers) as stream,
    ):
        async for sent in stream.aiter_sse():
            if sent.data:
                yield json.loads(sent.data)
            elif sent.id:
                yield {"type": "stream.checkpoint", "position": sent.id}
