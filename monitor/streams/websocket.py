"""The stream over WebSocket: one text message per frame, subscriptions that change in flight.

One task writes, one listens; replies wait in the attachment, and while they do no further message is read, so a client
that asks without reading only stops itself. Keepalive pings are the server's.
"""

from starlette.types import Receive, Send

from monitor.errors import MonitorError, Unavailable
from monitor.events.position import Position
from monitor.fanout.attachment import Attachment
from monitor.fanout.feed import Chunk
from monitor.fanout.frames import WEBSOCKET
from monitor.fanout.hub import Hub
from monitor.streams.conversation import converse, greet, problem_members, resolve, select
from monitor.streams.session import CLOSE_CODES, Close, Decision, Reply, Select, Session


async def serve_websocket(
    receive: Receive, send: Send, *, hub: Hub, session: Session, first: Select | None, start: Position | None, sid: str
) -> None:
    """Accept the connection and serve it to its end; `first` is subscribed at once, from `start` on."""
    await _accept(receive, send)
    attachment = hub.attach(WEBSOCKET)
    greet(hub, attachment, sid, start)
    if first is not None:
        select(attachment, first, start)

    async def write(chunk: Chunk) -> None:
        for message in chunk.messages:
            await send({"type": "websocket.send", "text": message.decode()})

    await converse(attachment, _listen(receive, hub, attachment, session), write)
    await _close(send, attachment.ended)


async def refuse_websocket(receive: Receive, send: Send, error: MonitorError) -> None:
    """Accept, say why not, and close: from a failed handshake a browser would not learn the reason."""
    await _accept(receive, send)
    text = WEBSOCKET.control("stream.error", problem_members(error)).decode()
    try:
        await send({"type": "websocket.send", "text": text})
    except OSError:
        return  # gone already
    await _close(
        send, "unauthorized" if error.status in (401, 403) else "unavailable" if error.retryable else "protocol"
    )


async def _accept(receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})


async def _close(send: Send, reason: str | None) -> None:
    code = CLOSE_CODES.get(reason or "")
    if code is None:
        return  # the client went away by itself
    try:
        await send({"type": "websocket.close", "code": code, "reason": reason})
    except (OSError, RuntimeError):
        # The server closed the connection meanwhile; it says so by either.
        return


async def _listen(receive: Receive, hub: Hub, attachment: Attachment, session: Session) -> None:
    """Obey the client's messages until it goes."""
    while attachment.ended is None:
        await attachment.room()
        message = await receive()
        if message["type"] == "websocket.disconnect":
            attachment.end("gone")
            return
        text = message.get("text")
        await _obey(hub, attachment, session.receive(message["bytes"] if text is None else text))


async def _obey(hub: Hub, attachment: Attachment, decision: Decision) -> None:
    match decision:
        case Reply(name, members):
            attachment.say(name, members)
        case Close(reason):
            attachment.end(reason)
        case Select(start=said):
            try:
                start = await resolve(hub, said)
            except Unavailable as error:
                # The session has the new selection already: the client comes back and subscribes again.
                attachment.say("stream.error", problem_members(error))
                attachment.end("unavailable")
                return
            select(attachment, decision, start)
