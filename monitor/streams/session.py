"""The protocol of one WebSocket subscriber, without I/O: a message in, one decision out.

Messages are JSON objects with a `type`: `subscribe`, `unsubscribe`, `ping`; an `id` is echoed in the answer. A message
that cannot be obeyed is answered by `stream.error` and changes nothing; only one that is too large ends the connection.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple, TypeVar

import orjson

from monitor.errors import ClientError, InvalidPosition, InvalidRequest
from monitor.events.position import Position
from monitor.fanout.channels import EVERYTHING, Selection, Subscription, channel, event_pattern
from monitor.projections.filter import parse_json

MAX_CHANNELS: Final = 100
"""Of one connection, over all of its subscriptions."""

MAX_PATTERNS: Final = 100
"""Event types and patterns of one subscription."""

MAX_MESSAGE_CHARACTERS: Final = 64 * 1024

CLOSE_CODES: Final = {
    # The reasons for which a connection ends, and the codes (RFC 6455, 7.4) that tell the client what to do:
    # 4000, 1012 and 1013 = come back with the last position; others = not without a change.
    "drain": 4000,
    "unauthorized": 4001,
    "protocol": 4400,
    "too_large": 1009,
    "unavailable": 1013,
}

Start = Position | Literal["now", "earliest"] | None
"""Where a subscription begins; None = where the connection stands."""

OpenToken = Callable[[str], Position]
"""The position in a token. Raises InvalidPosition."""

Item = TypeVar("Item")


class Reply(NamedTuple):
    """Answer with this control frame."""

    name: str
    members: Mapping[str, Any]


class Select(NamedTuple):
    """Attach anew, then answer with `reply` and the position from which everything selected is delivered."""

    selection: Selection
    start: Start
    reply: Reply


class Close(NamedTuple):
    """End the connection for this reason (a key of CLOSE_CODES)."""

    reason: str


Decision = Reply | Select | Close

_MEMBERS: Final = {
    "subscribe": frozenset({"channels", "events", "filter", "position", "logs"}),
    "unsubscribe": frozenset({"channels"}),
    "ping": frozenset(),
}


class Session:
    """What one client has subscribed to. `receive` is called with every message, in order."""

    def __init__(self, team: str, open_token: OpenToken) -> None:
        self.selection = Selection(team)
        self._open_token = open_token

    def receive(self, message: str | bytes) -> Decision:
        """What to do about a message; the selection is changed already when it says Select."""
        if len(message) > MAX_MESSAGE_CHARACTERS:
            return Close("too_large")
        echo: dict[str, Any] = {}
        try:
            document = _document(message)
            echo = _echo(document)
            return self._obey(document, echo)
        except ClientError as error:
            return Reply("stream.error", {"code": error.code, "message": error.message, **error.details, **echo})

    def subscribe(self, subscription: Subscription, start: Start, echo: Mapping[str, Any] | None = None) -> Select:
        """Add a subscription. Raises InvalidRequest beyond the limit."""
        subscriptions = self.selection.subscriptions | {subscription}
        if sum(len(each.channels) for each in subscriptions) > MAX_CHANNELS:
            raise InvalidRequest(f"a connection takes at most {MAX_CHANNELS} channels", field="channels")
        # Who asked for everything there is gets imported history as well, as long as the connection lives.
        backfill = self.selection.backfill or start == "earliest"
        self.selection = replace(self.selection, subscriptions=subscriptions, backfill=backfill)
        channels = sorted(subscription.channels)
        return Select(self.selection, start, Reply("stream.subscribed", {"channels": channels, **(echo or {})}))

    def _obey(self, document: Mapping[str, Any], echo: Mapping[str, Any]) -> Decision:
        kind = document.get("type")
        known = _MEMBERS.get(kind) if isinstance(kind, str) else None
        if known is None:
            raise InvalidRequest(f"unknown type; known are {', '.join(_MEMBERS)}", field="type")
        unknown = document.keys() - known - {"type", "id"}
        if unknown:
            raise InvalidRequest(f"'{kind}' does not take '{min(unknown)[:80]}'", field=min(unknown)[:80])
        if kind == "ping":
            return Reply("stream.pong", echo)
        if kind == "unsubscribe":
            return self._unsubscribe(document, echo)
        return self.subscribe(_subscription(document), self._start(document), echo)

    def _unsubscribe(self, document: Mapping[str, Any], echo: Mapping[str, Any]) -> Select:
        """Take channels out of every subscription; all of them where none is named."""
        gone = frozenset(_items(document, "channels", channel)) if "channels" in document else self.selection.channels
        left = [replace(each, channels=each.channels - gone) for each in self.selection.subscriptions]
        self.selection = replace(self.selection, subscriptions=frozenset(each for each in left if each.channels))
        reply = Reply("stream.unsubscribed", {"channels": sorted(self.selection.channels), **echo})
        return Select(self.selection, None, reply)

    def _start(self, document: Mapping[str, Any]) -> Start:
        said = document.get("position")
        if said is not None and not isinstance(said, str):
            raise InvalidPosition(field="position")
        return read_start(said, self._open_token)


def read_start(said: str | None, open_token: OpenToken) -> Start:
    """The start that somebody names: a token, `now`, `earliest`, or nothing. Raises InvalidPosition."""
    if said is None:
        return None
    if said == "now":
        return "now"
    if said == "earliest":
        return "earliest"
    try:
        return open_token(said)
    except InvalidPosition as error:
        raise InvalidPosition(error.message, field="position") from None


def _document(message: str | bytes) -> Mapping[str, Any]:
    if isinstance(message, bytes):
        raise InvalidRequest("messages are text, not binary")
    try:
        document = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the message is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidRequest("the message is not a JSON object")
    return document


def _echo(document: Mapping[str, Any]) -> dict[str, Any]:
    said = document.get("id")
    if said is None:
        return {}
    if isinstance(said, bool) or not isinstance(said, str | int) or len(str(said)) > 256:
        raise InvalidRequest("'id' is a number or at most 256 characters", field="id")
    return {"id": said}


def _subscription(document: Mapping[str, Any]) -> Subscription:
    channels = _items(document, "channels", channel)
    if not 0 < len(channels) <= MAX_CHANNELS:
        raise InvalidRequest(f"'channels' names 1 to {MAX_CHANNELS} channels", field="channels")
    events = _items(document, "events", event_pattern) if document.get("events") is not None else None
    if events is not None and not 0 < len(events) <= MAX_PATTERNS:
        raise InvalidRequest(f"'events' names 1 to {MAX_PATTERNS} types", field="events")
    said, logs = document.get("filter"), document.get("logs", False)
    if said is not None and not isinstance(said, dict):
        raise InvalidRequest('\'filter\' is an object such as {"status": ["failed"]}', field="filter")
    if not isinstance(logs, bool):
        raise InvalidRequest("'logs' is true or false", field="logs")
    return Subscription(
        frozenset(channels),
        None if events is None else frozenset(events),
        parse_json(said) if said else EVERYTHING,
        logs,
    )


def _items(document: Mapping[str, Any], name: str, read: Callable[[object], Item]) -> Sequence[Item]:
    said = document.get(name)
    if not isinstance(said, list):
        raise InvalidRequest(f"'{name}' is a list", field=name)
    return [read(item) for item in said]
