"""A webhook receiver on a loopback socket that answers as badly as a test wants and remembers what it was sent."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import chain, repeat
from typing import NamedTuple

from tests.support.service import eventually

LOOPBACK = ("127.0.0.0/8", "::1/128")
"""What `Targets` must allow for this receiver to be reached."""


class Request(NamedTuple):
    """What arrived. Header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    # Number of the connection that it came over, from 1.
    connection: int


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What happens after a request was read. It may close the writer."""


class Receiver:
    """Answers each request by the next behaviour it was told; the last one repeats."""

    def __init__(self, scheme: str) -> None:
        self.requests: list[Request] = []
        # Those whose connections were closed over them instead of an answer: their senders may send them once more.
        self.hung_up: list[Request] = []
        # Accepted ever, also those over which nothing came.
        self.connections = 0
        self.port = 0
        self._scheme = scheme
        self._behaviours: Iterator[Behaviour] = repeat(answering(200))
        self._writers: set[asyncio.StreamWriter] = set()
        self._unanswered: dict[asyncio.StreamWriter, Request] = {}

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self._scheme}://127.0.0.1:{self.port}/hook"

    def behave(self, *behaviours: Behaviour) -> None:
        """From the next request on."""
        self._behaviours = chain(behaviours, repeat(behaviours[-1]))

    async def received(self, count: int) -> list[Request]:
        """The requests, once there are at least `count`."""

        async def enough() -> bool:
            return len(self.requests) >= count

        await eventually(enough, what=lambda: f"{len(self.requests)} of {count} requests")
        return self.requests

    async def left(self) -> None:
        """Returns once every connection is closed, which is sooner than idle ones are."""

        async def alone() -> bool:
            return not self._writers

        await eventually(alone, within_s=4.5, what=lambda: f"{len(self._writers)} connections are open")

    def hang_up(self) -> None:
        """Close every connection, also idle ones."""
        self.hung_up += self._unanswered.values()
        for writer in self._writers:
            writer.close()

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read requests and misbehave until either side has enough."""
        self.connections += 1
        number = self.connections
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                self._unanswered[writer] = request = await _read_request(reader, number)
                self.requests.append(request)
                await next(self._behaviours)(reader, writer)
                del self._unanswered[writer]
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            self._unanswered.pop(writer, None)
            writer.close()


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver that accepts everything until it is told otherwise."""
    receiver = Receiver("https" if tls else "http")
    server = await asyncio.start_server(receiver.serve_connection, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        receiver.hang_up()
        await server.wait_closed()


# --- behaviours ------------------------------------------------------------------------------------------------------


def answering(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """A proper answer; `headers` with underscores for dashes."""
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return saying("\r\n".join([*lines, "", ""]).encode() + body)


def saying(answer: bytes) -> Behaviour:
    """These bytes, whatever they are."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return say


def saying_without_end(head: bytes, part: bytes) -> Behaviour:
    """`head`, then `part` again and again, as fast as it is taken, until the sender has enough."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()

    return say


async def hanging(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Nothing, until the sender gives up."""
    await reader.read()


async def cutting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The connection is reset without an answer."""
    writer.transport.abort()


def accepting_after(told: asyncio.Event) -> Behaviour:
    """A proper answer, once the test says so."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await told.wait()
        await answering(200)(reader, writer)

    return accept


def saying_then_hanging(answer: bytes) -> Behaviour:
    """The beginning of an answer, and nothing more."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await hanging(reader, writer)

    return say


def saying_then_resetting(answer: bytes) -> Behaviour:
    """The beginning of an answer, then RST."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        # To linger for no time is how a program asks the system for RST instead of FIN.
        told = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, told)
        writer.transport.abort()

    return say


def trickling(head: bytes, part: bytes, pace_s: float) -> Behaviour:
    """`head` at once, then `part` every `pace_s` seconds until the sender has enough."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pace_s)  # slowness itself, not a wait for something to have happened

    return say


class Pouring:
    """`head`, then `part` again and again, as fast as it is taken. It knows how much the other side's system took."""

    def __init__(self, head: bytes, part: bytes) -> None:
        self.taken_bytes = 0
        self._head, self._part = head, part

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The behaviour."""
        # With hardly a buffer on this side, what is written was taken over there.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        writer.transport.set_write_buffer_limits(0)
        writer.write(self._head)
        while True:
            writer.write(self._part)
            await writer.drain()
            self.taken_bytes += len(self._part)


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(first.split(" ")[1], headers, body, connection)
