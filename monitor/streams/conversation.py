"""One connection's life: a writer that pulls chunks, a listener beside it, and one way out for both.

Shared by the transports. Whichever ends first ends the other; the attachment is always given back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from monitor.errors import MonitorError
from monitor.events.position import Position
from monitor.fanout.attachment import Attachment
from monitor.fanout.feed import Chunk
from monitor.fanout.hub import Hub
from monitor.streams.session import MAX_CHANNELS, MAX_MESSAGE_CHARACTERS, Select, Start


async def converse(
    attachment: Attachment,
    listen: Coroutine[Any, Any, None],
    write: Callable[[Chunk], Awaitable[None]],
) -> None:
    """Write what `attachment` has until it ends, while `listen` runs. A dead socket (OSError) ends it quietly."""
    try:
        async with asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(listen)
            try:
                while (chunk := await attachment.next()) is not None:
                    await write(chunk)
            except OSError:
                attachment.end("gone")
            listener.cancel()
    finally:
        attachment.leave()


def greet(hub: Hub, attachment: Attachment, sid: str, start: Position | None) -> None:
    """Say hello: always the first frame. It tells `start`, so a client that is cut off right after it loses nothing."""
    at = start if start is not None and hub.knows(start) else hub.position
    limits = {"channels": MAX_CHANNELS, "message_characters": MAX_MESSAGE_CHARACTERS}
    heartbeat_ms = round(hub.limits.heartbeat_s * 1000)
    attachment.say("stream.hello", {"sid": sid, "heartbeat_ms": heartbeat_ms, "limits": limits}, at=at)


async def resolve(hub: Hub, start: Start) -> Position | None:
    """The position that a start means now; None = where the connection stands. Raises Unavailable."""
    if isinstance(start, str):
        return hub.position if start == "now" else await hub.earliest()
    return start


def select(attachment: Attachment, decision: Select, start: Position | None) -> None:
    """Attach, and answer with the position from which everything selected is delivered."""
    position = attachment.change(decision.selection, start)
    attachment.say(decision.reply.name, decision.reply.members, at=position)


def problem_members(error: MonitorError) -> dict[str, Any]:
    """The members of `stream.error`: the error envelope's, flat."""
    return {"code": error.code, "message": error.message, **error.details}
