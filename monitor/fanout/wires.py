"""Wires: how frames look on each kind of connection. Pure text work; whoever gets a frame, it is made once per wire.

A message is what the protocol carries in one piece; `framed` is the same ready for the socket, for writers that hand
bytes to it directly. Control frames (`stream.*`) are the service's own words: no producer can send one, since the codec
refuses their types.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import orjson


class Wire(Protocol):
    """How frames look on one kind of connection."""

    # The transport's name, for people.
    name: str
    # What keeps a silent connection alive; None where the protocol has pings of its own.
    heartbeat: bytes | None
    # Whether its readers may see what executions work on.
    shows_payloads: bool

    def event(self, name: str, body: bytes, token: str) -> bytes:
        """The frame of an event called `name`: `body` is its JSON object without the position and the closing brace."""
        ...

    def control(self, name: str, members: Mapping[str, Any], token: str | None = None) -> bytes:
        """The frame `name` with `members`; with `token` the client's position moves there."""
        ...

    def checkpoint(self, token: str) -> bytes:
        """Nothing happened, but the position is now `token`."""
        ...

    def joined(self, frames: Sequence[bytes]) -> tuple[bytes, ...]:
        """The messages that bring `frames`: as few as the protocol allows."""
        ...

    def framed(self, messages: Sequence[bytes]) -> bytes:
        """The bytes that carry `messages` on the socket."""
        ...


class _Kind:
    """What every wire has."""

    def __init__(self, *, shows_payloads: bool = True) -> None:
        self.shows_payloads = shows_payloads


class _WebSocket(_Kind):
    """One text message per frame."""

    name = "websocket"
    heartbeat: bytes | None = None

    def event(self, _name: str, body: bytes, token: str) -> bytes:
        return b'%b,"position":"%b"}' % (body, token.encode())

    def control(self, name: str, members: Mapping[str, Any], token: str | None = None) -> bytes:
        return _document(name, members, token)

    def checkpoint(self, token: str) -> bytes:
        return self.control("stream.checkpoint", {}, token)

    def joined(self, frames: Sequence[bytes]) -> tuple[bytes, ...]:
        return tuple(frames)

    def framed(self, messages: Sequence[bytes]) -> bytes:
        return b"".join([part for message in messages for part in (_text_header(len(message)), message)])


class _Http(_Kind):
    """What server-sent events and lines of JSON share: any number of frames in one piece of the body."""

    def joined(self, frames: Sequence[bytes]) -> tuple[bytes, ...]:
        return (b"".join(frames),)

    def framed(self, messages: Sequence[bytes]) -> bytes:
        """Chunks of HTTP/1.1 (RFC 9112, 7.1)."""
        return b"".join([b"%x\r\n%b\r\n" % (len(message), message) for message in messages])


class _ServerSentEvents(_Http):
    """Blocks of `text/event-stream` (WHATWG HTML 9.2). Events have the default name, so that `onmessage` gets them.

    JSON never holds a raw line break, so one `data:` line is enough. A checkpoint is a block without data: it moves the
    client's last event id and fires nothing.
    """

    name = "sse"
    heartbeat: bytes | None = b":\n\n"

    def event(self, _name: str, body: bytes, token: str) -> bytes:
        mark = token.encode()
        return b'id: %b\ndata: %b,"position":"%b"}\n\n' % (mark, body, mark)

    def control(self, name: str, members: Mapping[str, Any], token: str | None = None) -> bytes:
        block = b"event: %b\ndata: %b\n\n" % (name.encode(), _document(name, members, token))
        if "retryMs" in members:
            # An EventSource obeys this field, not the frame.
            block = b"retry: %d\n%b" % (members["retryMs"], block)
        return block if token is None else b"id: %b\n%b" % (token.encode(), block)

    def checkpoint(self, token: str) -> bytes:
        return b"id: %b\n\n" % token.encode()


class _NamedEvents(_ServerSentEvents):
    """The same, each event under its type: for clients that add a listener per type.

    But for two words that an EventSource says itself: a producer's `error` would look like a lost connection.
    """

    def event(self, name: str, body: bytes, token: str) -> bytes:
        block = super().event(name, body, token)
        # A type holds no line break: the codec takes printable ones only.
        return block if name in ("open", "error") else b"event: %b\n%b" % (name.encode(), block)


class _Lines(_Http):
    """One JSON object a line (NDJSON), also for readers that break lines wherever Unicode allows it."""

    name = "ndjson"
    heartbeat: bytes | None = b'{"type":"stream.heartbeat"}\n'

    def event(self, _name: str, body: bytes, token: str) -> bytes:
        return b'%b,"position":"%b"}\n' % (_unbroken(body), token.encode())

    def control(self, name: str, members: Mapping[str, Any], token: str | None = None) -> bytes:
        return _unbroken(_document(name, members, token)) + b"\n"

    def checkpoint(self, token: str) -> bytes:
        return self.control("stream.checkpoint", {}, token)


def _unbroken(document: bytes) -> bytes:
    """The same JSON without the line breaks of Unicode that need no escape in it: NEL, LS and PS."""
    for raw, escaped in ((b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029")):
        if raw in document:
            document = document.replace(raw, escaped)
    return document


WEBSOCKET: Final[Wire] = _WebSocket()
SSE: Final[Wire] = _ServerSentEvents()
SSE_NAMED: Final[Wire] = _NamedEvents()
NDJSON: Final[Wire] = _Lines()

_BARE: Final[Mapping[Wire, Wire]] = {
    WEBSOCKET: _WebSocket(shows_payloads=False),
    SSE: _ServerSentEvents(shows_payloads=False),
    SSE_NAMED: _NamedEvents(shows_payloads=False),
    NDJSON: _Lines(shows_payloads=False),
}


def without_payloads(wire: Wire) -> Wire:
    """The same wire for readers that may not see payloads."""
    return _BARE[wire]


def encode(document: Mapping[str, Any]) -> bytes:
    """orjson, and msgspec for the few things that only the decoder takes: integers of any length, deep nesting."""
    try:
        return orjson.dumps(document)
    except TypeError:
        return msgspec.json.encode(document)


def _document(name: str, members: Mapping[str, Any], token: str | None) -> bytes:
    position = {} if token is None else {"position": token}
    # A copy: what orjson returns keeps the 4 KB that it was written into.
    return b"%b" % encode({"type": name, **members, **position})


def _text_header(size_bytes: int) -> bytes:
    """The header of an unmasked, unfragmented text frame (RFC 6455, 5.2)."""
    if size_bytes < 126:
        return bytes((0x81, size_bytes))
    if size_bytes < 65536:
        return b"\x81\x7e" + size_bytes.to_bytes(2)
    return b"\x81\x7f" + size_bytes.to_bytes(8)
