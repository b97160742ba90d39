"""The stream as server-sent events: the frames as `text/event-stream` over one GET.

A native EventSource gives up for good on an error status, so from its second request on it gets 200 whatever is wrong,
and is told in-band.
"""

from typing import Final

from starlette.types import Receive, Scope, Send

from monitor.errors import MonitorError, Shed
from monitor.fanout.controls import Crowded
from monitor.fanout.hub import Hub
from monitor.fanout.wires import SSE
from monitor.streams.conversation import Opening
from monitor.streams.messages import problem_members
from monitor.streams.response import headers, respond

_CONTENT_TYPE: Final = b"text/event-stream; charset=utf-8"


async def serve_sse(scope: Scope, receive: Receive, send: Send, *, hub: Hub, opening: Opening) -> None:
    """Answer with the stream of `opening` to its end. Raises Shed before anything is sent."""
    # The first line of the block that follows: some readers make an empty event of a block of its own.
    retry = b"retry: %d\n" % opening.retry_ms
    await respond(scope, receive, send, hub=hub, opening=opening, content_type=_CONTENT_TYPE, first=retry)


async def refuse_sse(send: Send, error: MonitorError, retry_ms: int) -> None:
    """Tell a client what is wrong, without a status that would end it for good."""
    await send({"type": "http.response.start", "status": 200, "headers": headers(_CONTENT_TYPE)})
    if isinstance(error, Shed):
        frame = SSE.control("stream.shed", Crowded(retryMs=retry_ms))
    else:
        frame = SSE.control("stream.error", {**problem_members(error), "retryMs": retry_ms})
    await send({"type": "http.response.body", "body": frame, "more_body": False})
