"""A response that goes on: ready bytes over one GET, the same for server-sent events and for lines of JSON.

With an outlet the bytes go to the socket, and nobody listens meanwhile: the outlet knows when the client is gone.
Elsewhere sse-starlette's response carries them, whatever they are; it listens, and gives up a client that takes
nothing. It costs four tasks and 16 KB a connection, and changes uvicorn's server class, so it loads when it is needed.
"""

from collections.abc import AsyncIterator
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.fanout.attachment import Attachment
from monitor.fanout.hub import Hub
from monitor.streams.conversation import Opening, begin
from monitor.streams.direct import Outlet, outlet_of

Headers = list[tuple[bytes, bytes]]

_LAST_CHUNK: Final = b"0\r\n\r\n"
"""Ends a chunked body (RFC 9112, 7.1)."""


def headers(content_type: bytes) -> Headers:
    """Of a stream: nobody keeps it, changes it or collects it before passing it on."""
    return [
        (b"content-type", content_type),
        (b"cache-control", b"no-store, no-transform"),
        # Or nginx would.
        (b"x-accel-buffering", b"no"),
    ]


async def respond(
    scope: Scope, receive: Receive, send: Send, *, hub: Hub, opening: Opening, content_type: bytes, first: bytes = b""
) -> None:
    """Answer with the stream of `opening`, behind the bytes `first`. Raises Shed before anything is sent."""
    if scope["method"] == "HEAD":
        # What a GET would get, without waiting for anything to happen.
        await send({"type": "http.response.start", "status": 200, "headers": headers(content_type)})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return
    outlet = outlet_of(scope)
    attachment = hub.attach(opening.wire, opening.label, outlet)
    try:
        begin(hub, attachment, opening)
        if outlet is None:
            response = _portable(_messages(attachment, first), headers(content_type), hub.limits.stuck_s)
            await response(scope, receive, send)
        else:
            await _to_socket(send, attachment, outlet, headers(content_type), first)
    except TimeoutError:
        attachment.end("slow")  # the response's own: a send took too long
    finally:
        attachment.leave()
    if outlet is not None:
        await _end(send, outlet)


async def _to_socket(send: Send, attachment: Attachment, outlet: Outlet, head: Headers, first: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": head})
    if first:
        await send({"type": "http.response.body", "body": first, "more_body": True})
    outlet.bind(attachment)
    try:
        while (chunk := await attachment.next()) is not None:
            outlet.write(chunk.framed)
            del chunk  # or an idle connection would keep its last one
    finally:
        outlet.bind(None)


async def _end(send: Send, outlet: Outlet) -> None:
    if outlet.buffered_bytes:
        # The reader is behind, perhaps for good: the connection ends with the response, and in bounded time.
        await outlet.expel(_LAST_CHUNK)
    else:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _portable(messages: AsyncIterator[bytes], head: Headers, stuck_s: float) -> ASGIApp:
    from sse_starlette import EventSourceResponse  # noqa: PLC0415 - see above

    # Heartbeats are the hub's: none of its pings.
    response = EventSourceResponse(messages, ping=0, send_timeout=stuck_s)
    response.raw_headers = head
    return response


async def _messages(attachment: Attachment, first: bytes) -> AsyncIterator[bytes]:
    if first:
        yield first
    while (chunk := await attachment.next()) is not None:
        for message in chunk.messages:
            yield message
        del chunk  # or an idle connection would keep its last one
