"""How a connection begins, whatever its transport: the greeting, and the selection with its answer."""

from dataclasses import dataclass

from monitor.events.position import Position
from monitor.fanout.attachment import Attachment
from monitor.fanout.controls import Hello, Limits
from monitor.fanout.hub import Hub
from monitor.fanout.outlet import Label
from monitor.fanout.wires import Wire
from monitor.streams.session import MAX_CHANNELS, MAX_MESSAGE_CHARACTERS, MAX_SUBSCRIPTIONS, Select, Since, Start


@dataclass(frozen=True, slots=True)
class Opening:
    """What was asked for when a connection was opened."""

    label: Label
    wire: Wire
    # None: a WebSocket that has not said yet what it wants.
    first: Select | None
    # Where `first` begins, or where the client's Last-Event-ID says that it stands.
    start: Position | None
    # False: the client's own position meant nothing.
    is_readable: bool = True
    # The execution whose end ends the stream.
    ends: str | None = None
    # After what time a client that loses the connection comes back.
    retry_ms: int = 2000


def begin(hub: Hub, attachment: Attachment, opening: Opening) -> None:
    """Say hello, which is always the first frame, and select what was asked for."""
    limits = Limits(subscriptions=MAX_SUBSCRIPTIONS, channels=MAX_CHANNELS, message_characters=MAX_MESSAGE_CHARACTERS)
    members = Hello(sid=opening.label.sid, heartbeat_ms=round(hub.limits.heartbeat_s * 1000), limits=limits)
    attachment.say("stream.hello", members, at=_position_before(hub, opening))
    if opening.first is not None:
        select(attachment, opening.first, opening.start, is_readable=opening.is_readable)
    if opening.ends is not None:
        attachment.follow_end(opening.ends)


def _position_before(hub: Hub, opening: Opening) -> Position | None:
    """Where a client may come back to that is cut off right after the greeting; None = it begins anew."""
    if opening.first is None:
        return hub.position
    is_lost = not opening.is_readable or (opening.start is not None and not hub.knows(opening.start))
    if opening.first.on_loss if is_lost else opening.first.snapshot and opening.start is None:
        return None
    return hub.position if is_lost or opening.start is None else opening.start


def select(attachment: Attachment, decision: Select, start: Position | None, *, is_readable: bool = True) -> None:
    """Attach, and answer with the position from which everything selected is delivered.

    A snapshot that is due tells it later. Not `is_readable`: the client is first told that its position meant nothing.
    """
    position = attachment.change(
        decision.selection, start, snapshot=decision.snapshot, shown=decision.shown, on_loss=decision.on_loss
    )
    if not is_readable:
        attachment.reset("malformed")
        position = None if decision.on_loss else position
    attachment.say(decision.reply.name, decision.reply.members, at=position)


async def resolve(hub: Hub, start: Start) -> Position | None:
    """The position that a start means now; None = where the connection stands. Raises Unavailable."""
    match start:
        case "now":
            return hub.position
        case "earliest":
            return await hub.earliest()
        case Since(time_us):
            return await hub.at_time(time_us)
        case _:
            return start
