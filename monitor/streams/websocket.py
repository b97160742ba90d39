"""The stream over WebSocket: one text message per frame, subscriptions that change in flight.

One task writes, one listens; replies wait in the attachment, and while they do no further message is read, so a client
that asks without reading only stops itself. With an outlet frames go to the socket ready-made, elsewhere as messages
of ASGI. Keepalive pings are the server's.
"""

import asyncio

from starlette.types import Receive, Scope, Send
from websockets.frames import Close as CloseBody
from websockets.frames import Frame, Opcode

from monitor.errors import MonitorError, Shed, Unavailable
from monitor.fanout.attachment import Attachment
from monitor.fanout.controls import Crowded
from monitor.fanout.hub import Hub
from monitor.fanout.wires import WEBSOCKET
from monitor.streams.conversation import Opening, begin, resolve, select
from monitor.streams.direct import LINGER_S, Outlet, outlet_of
from monitor.streams.messages import problem_members
from monitor.streams.session import FAREWELLS, Close, Decision, Reply, Select, Session


async def serve_websocket(
    scope: Scope, receive: Receive, send: Send, *, hub: Hub, opening: Opening, session: Session
) -> None:
    """Accept the connection and serve it to its end. Raises Shed before anything is sent."""
    outlet = outlet_of(scope)
    attachment = hub.attach(opening.wire, opening.label, outlet)
    try:
        await _accept(receive, send)
        begin(hub, attachment, opening)
        async with asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(_listen(receive, hub, attachment, session))
            if outlet is None:
                await _send_messages(send, attachment, hub.limits.stuck_s)
            else:
                await _write_frames(outlet, attachment)
            listener.cancel()
    finally:
        attachment.leave()
    await _close(send, outlet, attachment.ended)


async def refuse_websocket(receive: Receive, send: Send, error: MonitorError, retry_ms: int) -> None:
    """Accept, say why not, and close: from a failed handshake a browser would not learn the reason."""
    await _accept(receive, send)
    if isinstance(error, Shed):
        text = WEBSOCKET.control("stream.shed", Crowded(retryMs=retry_ms))
    else:
        text = WEBSOCKET.control("stream.error", problem_members(error))
    try:
        await send({"type": "websocket.send", "text": text.decode()})
    except OSError:
        return  # gone already
    reason = "unauthorized" if error.status in (401, 403) else "unavailable" if error.retryable else "protocol"
    await _close(send, None, reason)


async def _accept(receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})


# --- while it lasts --------------------------------------------------------------------------------------------------


async def _write_frames(outlet: Outlet, attachment: Attachment) -> None:
    outlet.bind(attachment)
    try:
        while (chunk := await attachment.next()) is not None:
            outlet.write(chunk.framed)
            del chunk  # or an idle connection would keep its last one
    finally:
        outlet.bind(None)


async def _send_messages(send: Send, attachment: Attachment, stuck_s: float) -> None:
    """The same without an outlet: a socket that takes nothing for long keeps `send` waiting."""
    try:
        while (chunk := await attachment.next()) is not None:
            for message in chunk.messages:
                async with asyncio.timeout(stuck_s):
                    await send({"type": "websocket.send", "text": message.decode()})
            del chunk  # or an idle connection would keep its last one
    except TimeoutError:
        attachment.end("slow")
    except OSError:
        attachment.end("gone")


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


# --- the end ---------------------------------------------------------------------------------------------------------


async def _close(send: Send, outlet: Outlet | None, reason: str | None) -> None:
    farewell = FAREWELLS.get(reason or "")
    if farewell is None:
        return  # the client went away by itself
    if outlet is not None and outlet.buffered_bytes:
        # The reader is behind, perhaps for good: it is given a last chance to read why.
        await outlet.expel(close_frame(farewell.code, reason or ""))
        return
    try:
        async with asyncio.timeout(LINGER_S):
            await send({"type": "websocket.close", "code": farewell.code, "reason": reason})
    except (OSError, RuntimeError):
        # It takes nothing, or the server closed the connection meanwhile, which it says in either way.
        return


def close_frame(code: int, reason: str) -> bytes:
    """A server's close frame (RFC 6455, 5.5.1)."""
    return Frame(Opcode.CLOSE, CloseBody(code, reason).serialize()).serialize(mask=False)
