"""A WebSocket without manners: frames byte for byte as a test wants them, over a bare socket (RFC 6455, section 5.2).

Clients of others never send what is forbidden, so the malformed has to be made by hand.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

ANSWERED_WITHIN_S: Final = 120.0

_MASK: Final = b"\x1b\x2c\x3d\x4e"


class Frame(NamedTuple):
    """What came back."""

    opcode: int
    payload: bytes


def made(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    announced: int | None = None,
) -> bytes:
    """A client's frame. `reserved`: the three reserved bits as a number; `announced`: another length than it has."""
    length = len(payload) if announced is None else announced
    head = bytes([fin << 7 | reserved << 4 | opcode])
    if length < 126:
        head += bytes([masked << 7 | length])
    elif length < 1 << 16:
        head += struct.pack("!BH", masked << 7 | 126, length)
    else:
        head += struct.pack("!BQ", masked << 7 | 127, length)
    if not masked:
        return head + payload
    return head + _MASK + bytes(byte ^ _MASK[at % 4] for at, byte in enumerate(payload))


def closing(code: int, reason: bytes = b"") -> bytes:
    """A close frame."""
    return made(CLOSE, struct.pack("!H", code) + reason)


def handshake(path: str, **changed: str | None) -> bytes:
    """The request that opens a WebSocket; `changed` headers are replaced, added or (None) left out."""
    headers: dict[str, str | None] = {
        "host": "127.0.0.1",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "\r\n"]).encode()


class RawWebSocket:
    """An open connection. What it reads is checked to be what a server may send: whole, unmasked, unreserved."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Send bytes; the service may have hung up on the first of them."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            pass

    def send_end(self) -> None:
        """Say that nothing more will be sent, and go on reading."""
        self._writer.write_eof()

    async def head(self) -> bytes:
        """The head of the answer to a request, or what there is of it before the end."""
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            try:
                return await self._reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as error:
                return error.partial

    async def frame(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            try:
                first, second = await self._reader.readexactly(2)
                length = second
                if second == 126:
                    [length] = struct.unpack("!H", await self._reader.readexactly(2))
                elif second == 127:
                    [length] = struct.unpack("!Q", await self._reader.readexactly(8))
                assert (first >> 4, second >> 7) == (0b1000, 0), "a server's frames are whole and unmasked"
                return Frame(first & 0xF, await self._reader.readexactly(length))
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def next(self, opcode: int) -> bytes | None:
        """The payload of the next frame of this kind; None when the connection ends before one comes."""
        while (frame := await self.frame()) is not None:
            if frame.opcode == opcode:
                return frame.payload
        return None

    async def close_code(self) -> int | None:
        """The code with which it is closed: 1005 for a close frame without one, None for an end without a word."""
        payload = await self.next(CLOSE)
        if payload is None:
            return None
        await self.send(made(CLOSE, payload))
        assert await self.frame() is None, "nothing comes after a close frame"
        return int.from_bytes(payload[:2]) if payload else 1005


@asynccontextmanager
async def opened(port: int, request: bytes = b"", *, receive_bytes: int | None = None) -> AsyncIterator[RawWebSocket]:
    """A connection that has sent `request`; it ends with a reset.

    `receive_bytes` bounds what the kernel takes from a server while nobody reads.
    """
    raw = socket.socket()
    if receive_bytes is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw)
    websocket = RawWebSocket(reader, writer)
    try:
        await websocket.send(request)
        yield websocket
    finally:
        writer.transport.abort()


@asynccontextmanager
async def upgraded(port: int, path: str, *, receive_bytes: int | None = None) -> AsyncIterator[RawWebSocket]:
    """A WebSocket that has been accepted."""
    async with opened(port, handshake(path), receive_bytes=receive_bytes) as websocket:
        assert (await websocket.head()).startswith(b"HTTP/1.1 101 ")
        yield websocket
