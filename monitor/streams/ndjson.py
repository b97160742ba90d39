"""The stream as lines of JSON over one GET: for programs and pipes, without anything to parse around the frames."""

from starlette.types import Receive, Scope, Send

from monitor.fanout.hub import Hub
from monitor.streams.conversation import Opening
from monitor.streams.response import respond


async def serve_ndjson(scope: Scope, receive: Receive, send: Send, *, hub: Hub, opening: Opening) -> None:
    """Answer with the stream of `opening` to its end. Raises Shed before anything is sent."""
    await respond(scope, receive, send, hub=hub, opening=opening, content_type=b"application/x-ndjson")
