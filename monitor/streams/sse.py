"""The stream as server-sent events: the same frames, as `text/event-stream` over one GET.

The response is our own: what an event costs is the write, and a ready-made chunk needs no task group, timer or encoder
of its own. A native EventSource gives up for good on an error status, so from its second request on it gets 200
whatever is wrong, and is told in-band.
"""

from starlette.types import Receive, Send

from monitor.errors import MonitorError
from monitor.events.position import Position
from monitor.fanout.attachment import Attachment
from monitor.fanout.feed import Chunk
from monitor.fanout.frames import SSE
from monitor.fanout.hub import Hub
from monitor.streams.conversation import converse, greet, problem_members, select
from monitor.streams.session import Select

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store, no-transform"),
        # Or nginx would collect the stream before it sends it on.
        (b"x-accel-buffering", b"no"),
    ],
}


async def serve_sse(
    receive: Receive,
    send: Send,
    *,
    hub: Hub,
    first: Select,
    start: Position | None,
    is_readable: bool,
    retry_ms: int,
    sid: str,
) -> None:
    """Answer with the stream of `first` from `start` on. Not `is_readable`: the client's own position meant nothing."""
    await _open(send, retry_ms)
    attachment = hub.attach(SSE)
    greet(hub, attachment, sid, start)
    if not is_readable:
        attachment.reset("malformed")
    select(attachment, first, start)

    async def write(chunk: Chunk) -> None:
        for message in chunk.messages:
            await _write(send, message)

    await converse(attachment, _listen(receive, attachment), write)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def refuse_sse(send: Send, error: MonitorError, retry_ms: int) -> None:
    """Tell a client that reconnects what is wrong, without a status that would end it for good."""
    await _open(send, retry_ms)
    frame = SSE.control("stream.error", problem_members(error))
    await send({"type": "http.response.body", "body": frame, "more_body": False})


async def _open(send: Send, retry_ms: int) -> None:
    await send(_START)
    # The first line of the block that follows: some readers make an empty event of a block of its own.
    await _write(send, b"retry: %d\n" % retry_ms)


async def _write(send: Send, block: bytes) -> None:
    await send({"type": "http.response.body", "body": block, "more_body": True})


async def _listen(receive: Receive, attachment: Attachment) -> None:
    """Wait for the client to go: writing to a closed connection would not tell."""
    while (await receive())["type"] != "http.disconnect":
        pass
    attachment.end("gone")
