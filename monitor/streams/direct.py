"""Writers beside ASGI: uvicorn's protocols, extended so that ready bytes go straight to the transport or the socket.

ASGI's `send` costs a coroutine, a copy and a header for every chunk of every subscriber; the transport's own `write`
some bookkeeping; the socket's `send` costs the system call. Each connection publishes its `Outlet` in the scope; on a
server that does not, the transports go through ASGI. uvicorn is pinned to one minor version, and a contract test names
everything relied on here.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, ClassVar, Final, Protocol, cast

from starlette.types import Scope
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

EXTENSION: Final = "monitor.outlet"
"""Where a scope holds its outlet."""

LINGER_S: Final = 5.0
"""How long a connection that is over may take what is left for it. A slow line needs some seconds for the last bytes;
without an end, a reader that is stuck would keep its socket: a transport that closes waits for its buffer.
"""

_FULL_BYTES: Final = 64 * 1024
"""A transport that holds more is given no more: the mark at which event loops pause a writer by themselves."""

MAX_HEAD_BYTES: Final = 64 * 1024
"""Of a request line and its headers: eight times what other servers take."""

_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of no time at all."""


class Reader(Protocol):
    """Who writes to a connection: an attachment."""

    def wake(self) -> None: ...
    def end(self, reason: str) -> None: ...


class Outlet:
    """A connection that takes ready bytes at once and says when it is full.

    `write` is the transport's own: it takes everything, and holds what the kernel does not take yet. `send`, which is
    called for every subscriber and chunk, is the socket's: it takes what the kernel takes, and tells how much that is.
    Who calls it asks for `is_clear` first, or bytes would overtake those that the transport holds.
    """

    __slots__ = (
        "_abortion",
        "_is_lost",
        "_linger_s",
        "_lost",
        "_reader",
        "_socket",
        "_transport",
        "is_clear",
        "send",
        "write",
    )

    def __init__(self, transport: asyncio.Transport, linger_s: float) -> None:
        # Nothing is held, to the byte as long as a reader is bound; and the connection does not end.
        self.is_clear = True
        self._transport, self._linger_s = transport, linger_s
        self._socket = _socket_of(transport)
        self.write: Callable[[bytes], None] = transport.write
        self.send: Callable[[bytes], int] = self._write_all if self._socket is None else self._socket.send
        self._reader: Reader | None = None
        self._abortion: asyncio.TimerHandle | None = None
        self._is_lost = False
        self._lost: asyncio.Future[None] | None = None

    @property
    def buffered_bytes(self) -> int:
        """Written, but not yet taken by the kernel."""
        return self._transport.get_write_buffer_size()

    @property
    def is_full(self) -> bool:
        """Whether it holds so much that no more should be written; for good once the connection ends."""
        return not self.is_clear and (self._is_over or self.buffered_bytes > _FULL_BYTES)

    def bind(self, reader: Reader | None) -> None:
        """Tell `reader`, and nobody else, when the connection holds bytes, is clear again or ends."""
        self._reader = reader
        if self._transport.is_closing():
            self._tell_end()
        elif self._socket is not None:
            # While somebody is bound the transport is to tell of the first byte that it holds, and of the last.
            self._transport.set_write_buffer_limits(None if reader is None else 0)
            self.is_clear = not self._is_over and not self.buffered_bytes

    async def expel(self, last: bytes) -> None:
        """End the connection, with `last` behind what is buffered, and return when its socket is free."""
        if not self._transport.is_closing():
            self.write(last)
            self._transport.close()
        self.finish()
        if not self._is_lost:
            self._lost = asyncio.get_running_loop().create_future()
            await self._lost

    # --- told by the protocol ----------------------------------------------------------------------------------------

    def turn(self, *, is_clear: bool) -> None:
        """The transport holds bytes, or none any more."""
        self.is_clear = is_clear and not self._is_over
        if self._reader is not None:
            self._reader.wake()

    def finish(self) -> None:
        """The connection ends: nothing more is to be written, and what nobody takes in time is dropped."""
        self.is_clear = False
        if not self._is_over:
            self._abortion = asyncio.get_running_loop().call_later(self._linger_s, self._abort)
        self._tell_end()

    def lose(self) -> None:
        """The connection is gone, and its descriptor may be another's from now on."""
        self.is_clear, self._is_lost = False, True
        self.write = _drop
        if self._socket is not None:
            self._socket.detach()
        if self._abortion is not None:
            self._abortion.cancel()
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)
        self._tell_end()

    @property
    def _is_over(self) -> bool:
        return self._is_lost or self._abortion is not None

    def _write_all(self, data: bytes) -> int:
        """`send` where the transport alone may write to the socket."""
        self.write(data)
        return len(data)

    def _tell_end(self) -> None:
        if self._reader is not None:
            self._reader.end("gone")

    def _abort(self) -> None:
        # A reset: after an ordinary close the kernel would go on offering the rest to a reader that takes nothing.
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()


class _Borrowed(socket.socket):
    """The socket of a transport, to write to. It is the transport's: however this one ends, it closes nothing."""

    __slots__ = ()

    def __del__(self) -> None:
        self.detach()


def _socket_of(transport: asyncio.Transport) -> _Borrowed | None:
    """What leads to the kernel past `transport`; None where bytes do not go as they are."""
    own = transport.get_extra_info("socket")
    if own is None or transport.get_extra_info("sslcontext") is not None:
        return None
    borrowed = _Borrowed(own.family, own.type, own.proto, own.fileno())
    borrowed.setblocking(False)
    return borrowed


def outlet_of(scope: Scope) -> Outlet | None:
    """The outlet of a connection; None where only ASGI leads to it."""
    outlet: Outlet | None = (scope.get("extensions") or {}).get(EXTENSION)
    return outlet


class DirectHttp(HttpToolsProtocol):
    """HTTP/1.1 whose responses go on past ASGI: once a head without a length is sent, the outlet takes chunks."""

    linger_s: ClassVar[float] = LINGER_S
    # Of a request's head that has not come to its end yet.
    _head_bytes = 0
    _is_in_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.outlet = Outlet(transport, self.linger_s)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The parser keeps whatever comes until a head is complete.
        self._head_bytes = self._head_bytes + len(data) if self._is_in_head else 0
        if self._head_bytes > MAX_HEAD_BYTES:
            _refuse_head(self.transport)
            self.outlet.finish()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        _publish(self.scope, self.outlet)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        if getattr(self.cycle, "response_complete", True):
            super().handle_websocket_upgrade()
        else:
            # Sent behind a request whose answer goes on: its writer would never be told of the connection's end.
            self.transport.close()
            self.outlet.finish()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.outlet.turn(is_clear=False)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.outlet.turn(is_clear=True)

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            self.outlet.finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self.outlet.lose()
        super().connection_lost(exc)


class DirectWebSocket(WebSocketsSansIOProtocol):
    """WebSocket whose text frames go past ASGI, unless an extension was agreed on that would change them."""

    linger_s: ClassVar[float] = LINGER_S

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.outlet = Outlet(self.transport, self.linger_s)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent and not self.conn.extensions:
            _publish(self.scope, self.outlet)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.transport.is_closing():
            # Its parser takes shorter lines than the one before it, and would say nothing.
            _refuse_head(self.transport)
        self._look_for_end()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._look_for_end()

    def shutdown(self) -> None:
        super().shutdown()
        self._look_for_end()

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.accept":
            # The handshake is over, and its headers are in the scope: 2 KB a connection.
            del self.request, self.response
        self._look_for_end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.outlet.turn(is_clear=False)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.outlet.turn(is_clear=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self.outlet.lose()
        super().connection_lost(exc)

    def _look_for_end(self) -> None:
        """After a close frame in either direction no other frame may follow."""
        if self.close_sent or self.transport.is_closing():
            self.outlet.finish()


def _refuse_head(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.write(_HEAD_TOO_LARGE)
        transport.close()


def _publish(scope: object, outlet: Outlet) -> None:
    cast(dict[str, Any], scope).setdefault("extensions", {})[EXTENSION] = outlet


def _drop(_data: bytes) -> None:
    """Where bytes for a connection go that is gone."""
