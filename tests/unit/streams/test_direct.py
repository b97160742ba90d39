"""What the direct writers rely on in uvicorn, and what they make of it: bytes past ASGI, and sockets that are freed.

When one of these fails after a change of uvicorn, `monitor/streams/direct.py` has to be read again before the range in
pyproject.toml moves.
"""

import asyncio
import gc
import inspect
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from monitor.streams.direct import MAX_HEAD_BYTES, DirectHttp, DirectWebSocket, Outlet, outlet_of
from tests.support.certificates import Authority
from tests.support.server import PORTABLE, Address, Protocols, listening, until

HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}

RELIED_ON: dict[tuple[type, str], str] = {
    (HttpToolsProtocol, "connection_made"): "(self, transport)",
    (HttpToolsProtocol, "connection_lost"): "(self, exc)",
    (HttpToolsProtocol, "data_received"): "(self, data)",
    (HttpToolsProtocol, "on_message_begin"): "(self)",
    (HttpToolsProtocol, "on_headers_complete"): "(self)",
    (HttpToolsProtocol, "handle_websocket_upgrade"): "(self)",
    (HttpToolsProtocol, "pause_writing"): "(self)",
    (HttpToolsProtocol, "resume_writing"): "(self)",
    (HttpToolsProtocol, "shutdown"): "(self)",
    (WebSocketsSansIOProtocol, "connection_made"): "(self, transport)",
    (WebSocketsSansIOProtocol, "connection_lost"): "(self, exc)",
    (WebSocketsSansIOProtocol, "handle_connect"): "(self, event)",
    (WebSocketsSansIOProtocol, "data_received"): "(self, data)",
    (WebSocketsSansIOProtocol, "keepalive_timeout"): "(self)",
    (WebSocketsSansIOProtocol, "send"): "(self, message)",
    (WebSocketsSansIOProtocol, "pause_writing"): "(self)",
    (WebSocketsSansIOProtocol, "resume_writing"): "(self)",
    (WebSocketsSansIOProtocol, "shutdown"): "(self)",
}
"""What is overridden, and the arguments that uvicorn calls it with."""


class Witness:
    """An attachment that only remembers what its outlet told it."""

    def __init__(self) -> None:
        self.woken: list[bool] = []
        self.ended: list[str] = []
        self.outlet: Outlet | None = None

    def wake(self) -> None:
        assert self.outlet is not None
        self.woken.append(self.outlet.is_clear)

    def end(self, reason: str) -> None:
        self.ended.append(reason)


class Connected:
    """An application that hands its connections to the test, and keeps them until the test lets them go."""

    def __init__(self) -> None:
        self.witness = Witness()
        self.scope: Scope = {}
        self.returned = 0
        self.release = asyncio.Event()
        self.arrived = asyncio.Event()
        self.last: bytes | None = None

    @property
    def outlet(self) -> Outlet:
        outlet = outlet_of(self.scope)
        assert outlet is not None
        return outlet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
        else:
            await send(HEAD)
        self.witness.outlet = self.outlet
        self.outlet.bind(self.witness)
        self.arrived.set()
        await self.release.wait()
        if self.last is not None:
            await self.outlet.expel(self.last)
        self.returned += 1


@pytest.fixture
async def app() -> Connected:
    """One application for every connection of a test."""
    return Connected()


@pytest.fixture
async def address(app: Connected) -> AsyncIterator[Address]:
    """Where it is served, by protocols that wait for nobody."""
    async with listening(app, HASTY) as address:
        try:
            yield address
        finally:
            app.release.set()


class HastyHttp(DirectHttp):
    linger_s = 0.05


class HastyWebSocket(DirectWebSocket):
    linger_s = 0.05


HASTY = Protocols(HastyHttp, HastyWebSocket)


# --- what uvicorn has to be ------------------------------------------------------------------------------------------


def test_uvicorn_is_the_version_that_was_read() -> None:
    """The direct writers were written against its source."""
    assert version("uvicorn").startswith("0.54."), "uvicorn is another minor version: read its two protocols again"


@pytest.mark.parametrize(("protocol", "name"), RELIED_ON, ids=lambda each: getattr(each, "__name__", each))
def test_what_is_overridden_is_still_called_like_that(protocol: type, name: str) -> None:
    """An override of something that is gone would silently never run."""
    method = inspect.getattr_static(protocol, name, None)
    assert method is not None, f"uvicorn's {protocol.__name__} has no {name} any more"
    assert owner_of(protocol, name) is protocol, f"uvicorn's {protocol.__name__} leaves {name} to a base class now"
    names = f"({', '.join(inspect.signature(method).parameters)})"
    assert names == RELIED_ON[protocol, name], f"uvicorn calls {protocol.__name__}.{name} with other arguments"


def owner_of(protocol: type, name: str) -> type:
    """The class that defines it."""
    return next(each for each in protocol.__mro__ if name in vars(each))


@pytest.mark.parametrize("protocol", [DirectHttp, DirectWebSocket])
def test_everything_overridden_is_on_the_list(protocol: type) -> None:
    """The list above is what a new uvicorn is compared with."""
    theirs = protocol.__bases__[0]
    overridden = {name for name in vars(protocol) if hasattr(theirs, name) and callable(getattr(theirs, name))}
    known = {name for owner, name in RELIED_ON if owner is theirs}
    assert overridden - set(vars(object)) == known


@pytest.mark.parametrize("http_version", ["1.1", "1.0"])
async def test_response_without_length_is_chunked(http_version: str) -> None:
    """So that a chunk may be written as soon as the head is sent; also to clients of HTTP/1.0, as uvicorn does."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send(HEAD)
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with listening(answer, PORTABLE) as address:
        head, body = await asked(address, http_version)
    assert b"transfer-encoding: chunked" in head, "uvicorn does not chunk a response without a length any more"
    assert body == b"3\r\nabc\r\n0\r\n\r\n", "uvicorn frames the chunks of a response in another way"


@pytest.mark.parametrize("http_version", ["1.1", "1.0"])
async def test_direct_chunks_stand_in_order_between_those_of_asgi(http_version: str) -> None:
    """uvicorn writes at once what it is sent, so that both ways lead into one stream."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        outlet = outlet_of(scope)
        assert outlet is not None, "uvicorn starts the application before its scope is complete"
        await send(HEAD)
        outlet.write(b"1\r\na\r\n")
        await send({"type": "http.response.body", "body": b"b", "more_body": True})
        outlet.write(b"1\r\nc\r\n")
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with listening(answer) as address:
        _, body = await asked(address, http_version)
    assert body == b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", "uvicorn holds back what an application sends"


async def test_direct_frames_stand_in_order_between_those_of_asgi() -> None:
    """The same for WebSocket, up to a close that its client understands."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        outlet = outlet_of(scope)
        assert outlet is not None, "uvicorn starts the application before its scope is complete"
        await receive()
        await send({"type": "websocket.accept"})
        outlet.write(b"\x81\x01a")
        await send({"type": "websocket.send", "text": "b"})
        outlet.write(b"\x81\x01c\x81\x01d")
        await send({"type": "websocket.close", "code": 4000, "reason": "drain"})

    async with listening(answer) as address, opened(address) as client:
        assert [await client.recv() for _ in "abcd"] == ["a", "b", "c", "d"]
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 4000


async def test_handshake_leaves_its_headers_to_nobody(app: Connected, address: Address) -> None:
    """Kilobytes a connection, which nobody asks for once it is accepted."""
    async with stalled("ws", app, address):
        [connection] = address.server.server_state.connections
        kept = vars(connection).keys() & {"request", "response"}
        assert kept == set(), "uvicorn needs the handshake's request or response after it"
        held = [name for name, value in vars(connection).items() if isinstance(value, Request | Response)]
        assert held == [], "uvicorn keeps the handshake's request or response under another name now"


async def test_agreed_compression_leaves_only_asgi() -> None:
    """Ready frames are not compressed, and a client that was promised an extension expects it."""
    seen: list[Outlet | None] = []

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(outlet_of(scope))
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    async with listening(answer, ws_per_message_deflate=True) as address:
        for compression in ("deflate", None):
            async with connect(f"{address.ws}/", proxy=None, open_timeout=60, compression=compression) as client:
                await client.wait_closed()
    assert [outlet is None for outlet in seen] == [True, False]


async def test_refused_handshake_publishes_nothing(app: Connected, address: Address) -> None:
    """There is no scope then; the client learns what is wrong."""
    lines = ["GET / HTTP/1.1", "host: x", "connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"]
    head, _ = await exchanged(address, "\r\n".join([*lines, "", ""]).encode())
    assert head.startswith(b"HTTP/1.1 400")
    assert app.scope == {}


# --- full and empty --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "ws"])
async def test_reader_that_stops_makes_the_outlet_full_until_it_reads(
    kind: str, app: Connected, address: Address
) -> None:
    """Whoever writes is told of the first byte that is held and of the last; uvicorn's own `send` waits meanwhile."""
    async with stalled(kind, app, address) as client:
        assert app.outlet.is_clear
        fill(app.outlet)
        assert app.outlet.buffered_bytes > 64 * 1024
        sending = asyncio.ensure_future(app.send(MESSAGES[kind]))
        await turns()
        assert not sending.done(), "uvicorn's send does not wait for a full transport any more"
        was_merely_held = False
        while not app.outlet.is_clear:
            await asyncio.get_running_loop().sock_recv(client, 4096)
            await turns()
            was_merely_held |= not app.outlet.is_full and not app.outlet.is_clear
        await sending
        assert (app.witness.woken, was_merely_held) == ([False, True], True)


@pytest.mark.parametrize("kind", ["http", "ws"])
async def test_socket_that_takes_a_part_is_full_from_its_first_byte_on(
    kind: str, app: Connected, address: Address
) -> None:
    """What it has not taken goes to the transport, and nothing is sent past that."""
    async with stalled(kind, app, address) as client:
        data = os.urandom(1 << 20)
        sent_bytes = crammed(app.outlet, data)
        assert (0 < sent_bytes < len(data), app.outlet.is_clear) == (True, True)
        app.outlet.write(data[sent_bytes:])
        assert (app.outlet.is_clear, app.witness.woken) == (False, [False])
        received = b""
        while len(received) < len(data):
            received += await asyncio.get_running_loop().sock_recv(client, 1 << 20)
        await until(lambda: app.outlet.is_clear)
        assert app.outlet.send(b"behind") == 6
        while not received.endswith(b"behind"):
            received += await asyncio.get_running_loop().sock_recv(client, 1 << 20)
        assert received == data + b"behind"


@pytest.mark.parametrize("kind", ["http", "ws"])
async def test_outlet_is_not_clear_for_who_comes_later(kind: str, app: Connected, address: Address) -> None:
    """Between two readers the transport holds some without telling, and uvicorn's `send` does not wait for that."""
    async with stalled(kind, app, address) as client:
        app.outlet.bind(None)
        while not app.outlet.buffered_bytes:
            app.outlet.write(b"x" * 1000)
        await asyncio.wait_for(app.send(MESSAGES[kind]), 1)
        assert app.witness.woken == []
        app.outlet.bind(app.witness)
        assert not app.outlet.is_clear
        while not app.outlet.is_clear:
            await asyncio.get_running_loop().sock_recv(client, 1 << 20)
            await turns()


async def test_outlet_is_not_clear_behind_an_answer_that_nobody_has_read() -> None:
    """A connection may become a WebSocket while its transport is full."""
    websocket = Connected()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await websocket(scope, receive, send)
            return
        await send(HEAD)
        await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": False})

    async with listening(answer, HASTY) as address:
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port, limit=1024)
        writer.write(REQUESTS["http"])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(REQUESTS["ws"])
        await websocket.arrived.wait()
        assert (websocket.outlet.is_clear, websocket.outlet.is_full) == (False, True)
        async with asyncio.timeout(60):
            while not websocket.outlet.is_clear:
                await reader.read(1 << 20)
        websocket.release.set()
        writer.close()


async def test_who_upgrades_behind_an_answer_that_goes_on_is_cut_off(app: Connected, address: Address) -> None:
    """Nobody would tell the writer of that answer when the connection ends."""
    before = descriptors()
    async with stalled("http", app, address) as client:
        await asyncio.get_running_loop().sock_sendall(client, REQUESTS["ws"])
        assert await drained(client) == b""
    assert set(app.witness.ended) == {"gone"}
    app.outlet.write(b"nobody gets this")
    app.release.set()
    await until(lambda: descriptors() <= before)


# --- descriptors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "ws"])
async def test_descriptor_of_a_lost_connection_is_never_written_to(kind: str, app: Connected, address: Address) -> None:
    """It may be somebody else's by then."""
    async with stalled(kind, app, address):
        stale = app.outlet.send
        assert app.outlet._socket is not None
        number = app.outlet._socket.fileno()
    await until(lambda: app.witness.ended)
    app.release.set()
    await turns()
    with ExitStack() as stack:
        for _ in range(10):
            ours, theirs = (stack.enter_context(each) for each in socket.socketpair())
            theirs.setblocking(False)
            ours.setblocking(False)
            if number in (ours.fileno(), theirs.fileno()):
                break
        else:
            raise AssertionError("its descriptor is not free")
        with pytest.raises(OSError, match="Bad file descriptor"):
            stale(b"for somebody else")
        for each in (ours, theirs):
            with pytest.raises(BlockingIOError):
                each.recv(1)


async def test_outlet_that_is_forgotten_closes_nothing() -> None:
    """The socket is its transport's."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with theirs:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        outlet = Outlet(transport, 0.05)
        assert outlet.send(b"one") == 3
        del outlet
        gc.collect()
        transport.write(b"two")
        assert theirs.recv(6) == b"onetwo"
        transport.abort()
        await turns()


async def test_nothing_goes_past_tls(app: Connected, tmp_path: Path) -> None:
    """Behind the transport's back the bytes would not be encrypted."""
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=authority.file)
    async with listening(app, HASTY, ssl_context_factory=lambda *_: authority.vouch()) as address:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", address.port, ssl=trusting, limit=1024, server_hostname="127.0.0.1"
        )
        writer.write(REQUESTS["http"])
        await reader.readuntil(b"\r\n\r\n")
        assert (app.outlet.is_clear, app.outlet.send(b"secret")) == (True, 6)
        assert await reader.readexactly(6) == b"secret"
        while app.outlet.is_clear:
            assert app.outlet.send(b"x" * 1000) == 1000
        assert app.outlet.is_full
        async with asyncio.timeout(60):
            while not app.outlet.is_clear:
                assert set(await reader.read(1 << 16)) == {ord("x")}
        assert app.witness.woken == [False, True]
        app.release.set()
        writer.close()


async def test_outlets_of_one_connection_are_one(app: Connected, address: Address) -> None:
    """A connection that is kept alive goes on with the same."""
    app.release.set()
    outlets = []

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        outlets.append(outlet_of(scope))
        await send(HEAD)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with listening(answer) as other:
        request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", other.port)
        for _ in range(2):
            writer.write(request)
            await reader.readuntil(b"0\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert outlets[0] is outlets[1]


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "ws"])
async def test_lost_connection_is_noticed_by_nobody_listening(
    kind: str, app: Connected, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    """The application need not call `receive`; nothing is written any more, and nothing is wrong when it returns."""
    async with stalled(kind, app, address):
        assert not app.witness.ended
    await until(lambda: app.witness.ended)
    assert (app.witness.ended, app.outlet.is_full) == (["gone"], True)
    app.outlet.write(b"nobody gets this")
    app.release.set()
    await until(lambda: app.returned)
    assert errors(caplog) == []


@pytest.mark.parametrize("kind", ["http", "ws"])
async def test_reader_that_is_gone_already_is_said_at_once(kind: str, app: Connected, address: Address) -> None:
    """Between the request and the attachment it may have left."""
    async with stalled(kind, app, address):
        pass
    await until(lambda: app.witness.ended)
    late = Witness()
    app.outlet.bind(late)
    assert late.ended == ["gone"]


@pytest.mark.parametrize("kind", ["http", "ws"])
async def test_stuck_reader_is_expelled_and_its_descriptor_freed(
    kind: str, app: Connected, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    """However much is buffered; the application returns without a complaint in the log."""
    before = descriptors()
    async with stalled(kind, app, address) as client:
        fill(app.outlet)
        app.last = b"\x88\x02\x0f\xa8"
        app.release.set()
        await until(lambda: app.returned)
        # Of the connection only the client's own end is left.
        await until(lambda: descriptors() <= before + 1)
        with pytest.raises(ConnectionResetError):
            await drained(client)
    assert errors(caplog) == []


async def test_expelled_reader_that_reads_again_gets_the_last_word(app: Connected) -> None:
    """The close code stands behind everything that was buffered."""
    async with listening(app) as address, stalled("ws", app, address) as client:
        fill(app.outlet)
        app.last = b"\x88\x02\x0f\xa8"
        app.release.set()
        await turns()
        assert (await drained(client)).endswith(b"x\x88\x02\x0f\xa8")
        await until(lambda: app.returned)


@pytest.mark.parametrize("is_stuck", [False, True])
@pytest.mark.parametrize("goodbye", ["client", "application", "malformed", "silence", "shutdown"])
async def test_nothing_follows_a_close_frame(goodbye: str, is_stuck: bool, app: Connected) -> None:
    """Whoever closes, the outlet takes nothing any more and its reader is told; the socket is freed in any case."""
    pings = {"ws_ping_interval": 0.02, "ws_ping_timeout": 0.02} if goodbye == "silence" else {}
    async with listening(app, HASTY, **pings) as address:
        before = descriptors()
        async with stalled("ws", app, address) as client:
            if goodbye == "application":
                # Afterwards, as it would wait for a full one.
                await app.send({"type": "websocket.close", "code": 1000})
            if is_stuck:
                fill(app.outlet)
            if goodbye == "shutdown":
                [connection] = address.server.server_state.connections
                connection.shutdown()
            elif goodbye in ("client", "malformed"):
                frame = b"\x88\x80\x00\x00\x00\x00" if goodbye == "client" else b"\xff\xff"
                await asyncio.get_running_loop().sock_sendall(client, frame)
            await until(lambda: app.witness.ended)
            assert set(app.witness.ended) == {"gone"}
            app.outlet.turn(is_clear=True)
            assert app.outlet.is_full
            app.release.set()
            await until(lambda: descriptors() <= before + 1)
            assert app.outlet._abortion is None or app.outlet._abortion.cancelled()


async def test_shutdown_frees_the_socket_of_a_finished_answer_that_nobody_reads() -> None:
    """Its application is done; the server alone would wait for the reader."""
    finished = asyncio.Event()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send(HEAD)
        await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": False})
        finished.set()

    async with listening(answer, HASTY) as address:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", address.port))
            await asyncio.get_running_loop().sock_sendall(client, REQUESTS["http"])
            await finished.wait()
            [connection] = address.server.server_state.connections
            connection.shutdown()
            await until(lambda: not address.server.server_state.connections)


# --- parts -----------------------------------------------------------------------------------------------------------


async def asked(address: Address, http_version: str) -> tuple[bytes, bytes]:
    """Head and body of the answer to a GET."""
    return await exchanged(address, f"GET / HTTP/{http_version}\r\nhost: x\r\nconnection: close\r\n\r\n".encode())


async def exchanged(address: Address, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of what the server answers until it closes."""
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    return head, body


def opened(address: Address) -> connect:
    """A WebSocket client without compression."""
    return connect(f"{address.ws}/", proxy=None, open_timeout=60, compression=None)


@asynccontextmanager
async def stalled(kind: str, app: Connected, address: Address) -> AsyncIterator[socket.socket]:
    """The socket of a client that has read the head of its answer, and reads nothing more by itself."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", address.port))
        await loop.sock_sendall(client, REQUESTS[kind])
        await app.arrived.wait()
        assert (await loop.sock_recv(client, 4096)).endswith(b"\r\n\r\n")
        yield client


REQUESTS = {
    "http": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "ws": b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
}
MESSAGES: dict[str, dict[str, Any]] = {
    "http": {"type": "http.response.body", "body": b"x", "more_body": True},
    "ws": {"type": "websocket.send", "text": "x"},
}


def fill(outlet: Outlet) -> None:
    """Write messages until the connection is full."""
    for _ in range(1000):
        if outlet.is_full:
            return
        outlet.write(b"\x81\x7e\x03\xe8" + b"x" * 1000)
    raise AssertionError("a reader that does not read never makes its transport full")


def crammed(outlet: Outlet, data: bytes) -> int:
    """Send until the socket takes nothing any more, and return how many bytes it has taken."""
    sent_bytes = 0
    while True:
        try:
            sent_bytes += outlet.send(data[sent_bytes:])
        except BlockingIOError:
            return sent_bytes


async def drained(client: socket.socket) -> bytes:
    """Everything up to an end in order. Raises ConnectionResetError after another one."""
    data = b""
    async with asyncio.timeout(60):
        while part := await asyncio.get_running_loop().sock_recv(client, 1 << 20):
            data += part
    return data


async def turns() -> None:
    """Give everybody who can go on the chance to."""
    for _ in range(20):
        await asyncio.sleep(0)


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - nothing but their number is wanted


def errors(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    """What the server complained about."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# --- heads that have no end ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "upgrade",
    [b"", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"],
    ids=["http", "websocket"],
)
async def test_a_head_that_does_not_end_is_refused(app: Connected, upgrade: bytes) -> None:
    """Before it takes memory; and the connection is closed."""
    async with listening(app, HASTY) as address:
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        head = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"X-Long: "
        # One byte more than is taken: what the server leaves unread would reset the connection and its answer.
        writer.write(head + b"x" * (MAX_HEAD_BYTES + 1 - len(head)))
        assert await reader.readline() == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
        writer.close()
        assert not app.arrived.is_set()


async def test_a_handshake_with_a_line_that_is_too_long_is_answered(app: Connected) -> None:
    """Its parser takes shorter lines than that of HTTP."""
    async with listening(app, HASTY) as address:
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"X-Long: " + b"x" * 20_000 + b"\r\n\r\n"
        )
        assert (await reader.read()).startswith(b"HTTP/1.1 431 ")
        writer.close()


async def test_a_long_body_is_no_long_head(app: Connected) -> None:
    """Only the head is counted."""
    async with listening(app, HASTY) as address:
        _, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        await until(app.arrived.is_set)
        writer.write(b"x" * 100_000)
        assert not app.outlet.is_full
        app.release.set()
        writer.close()
