"""A response that goes on, read from a bare socket as `curl -N` would: its head, and its body without the framing."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any

READ_WITHIN_S = 120.0


class RawResponse:
    """What a GET is answered with."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self._received = b""

    async def read_head(self) -> None:
        """Read up to the body."""
        head = (await _soon(self._reader.readuntil(b"\r\n\r\n"))).decode()
        first, *lines = head.strip().splitlines()
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    async def until(self, end: bytes) -> bytes:
        """The body up to the next `end`, with it; what is left where the body ends before."""
        while end not in self._received:
            size = int(await _soon(self._reader.readuntil(b"\r\n")), 16)
            self._received += (await _soon(self._reader.readexactly(size + 2)))[:-2]
            if not size:
                rest, self._received = self._received, b""
                return rest
        found, end, self._received = self._received.partition(end)
        return found + end

    async def block(self) -> bytes:
        """The next block of an event stream; empty at its end."""
        return await self.until(b"\n\n")

    async def line(self) -> Any:
        """The next line as JSON; None at the end."""
        line = await self.until(b"\n")
        return json.loads(line) if line else None

    def abort(self) -> None:
        """Cut the connection."""
        self._writer.transport.abort()


@asynccontextmanager
async def get(
    port: int, target: str, *, receive_bytes: int | None = None, headers: Mapping[str, str] | None = None
) -> AsyncIterator[RawResponse]:
    """A GET; `receive_bytes` bounds what the kernel takes from a server while nobody reads."""
    raw = socket.socket()
    if receive_bytes is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=2**20 if receive_bytes is None else receive_bytes)
    lines = [f"GET {target} HTTP/1.1", "host: test", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    response = RawResponse(reader, writer)
    try:
        await response.read_head()
        yield response
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass  # cut already


async def blocks(response: RawResponse) -> AsyncIterator[dict[str, Any]]:
    """Blocks of an event stream as `{retry, id, event, data}`; data is parsed."""
    while block := await response.block():
        fields = dict(line.split(": ", 1) for line in block.decode().splitlines() if line and not line.startswith(":"))
        yield {**fields, "data": json.loads(fields["data"])} if "data" in fields else fields


async def _soon(reading: Awaitable[bytes]) -> bytes:
    async with asyncio.timeout(READ_WITHIN_S):
        return await reading
