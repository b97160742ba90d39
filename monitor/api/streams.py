"""`GET /v1/streams`: who is connected and how far behind, the slowest on top. For those who run the service.

An administrator sees the connections of his own team; `statistics` are of the whole process, without names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, NotRequired

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.events.codec import format_time
from monitor.fanout.channels import Subscription
from monitor.fanout.hub import Connection, Hub, Statistics
from monitor.projections.filter import to_json
from monitor.web.operations import Answer, Operation
from monitor.web.params import Limit
from monitor.web.replies import Timestamp, json_reply

_SHOWN: Final = 20
"""Channels of a subscription, and subscriptions of a connection, that are listed; the rest is a number.

A connection may have a thousand channels, and a page a thousand connections.
"""

_LIMIT: Final = Limit(default=100, most=1000)


class StreamSubscription(TypedDict):
    """A part of what a connection asked for."""

    channels: list[str]
    """The first of them."""
    moreChannels: NotRequired[int]
    events: list[str] | None
    """Null are the lifecycle types."""
    filter: dict[str, Any]
    logs: bool


class StreamConnection(TypedDict):
    """One subscriber."""

    sid: str
    transport: str
    client: str
    since: Timestamp
    state: str
    """live, slow, snapshot, ahead, catching_up or idle."""
    channels: list[str]
    """The first of them."""
    moreChannels: NotRequired[int]
    subscriptions: list[StreamSubscription]
    """The first of them."""
    moreSubscriptions: NotRequired[int]
    position: str
    lagRecords: int
    sentBytes: int
    bufferedBytes: int


class StreamPagination(TypedDict):
    """How many are shown of how many."""

    limit: int
    hasMore: bool
    total: int


class Streams(TypedDict):
    """Who is connected, and how the process stands."""

    data: list[StreamConnection]
    pagination: StreamPagination
    statistics: dict[str, int | dict[str, int]]
    """Of the whole process, since it began."""


def operations(*, hub: Hub, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    face = _Face(hub, sealer)
    return [Operation("GET", "/v1/streams", face.listing, "admin", query=(_LIMIT,), answers=(Answer(Streams),))]


@dataclass(frozen=True, slots=True)
class _Face:
    hub: Hub
    sealer: Sealer

    async def listing(self, request: Request, who: Principal) -> Response:
        """The connections that are furthest behind, up to `limit`, and how many there are."""
        limit = _LIMIT.take(request.query_params)
        connections = sorted(self.hub.connections(who.team), key=_ease)
        document: Streams = {
            "data": [self._row(connection) for connection in connections[:limit]],
            "pagination": {"limit": limit, "hasMore": len(connections) > limit, "total": len(connections)},
            "statistics": _statistics(self.hub.statistics()),
        }
        return json_reply(document, headers={"cache-control": "no-store"})

    def _row(self, connection: Connection) -> StreamConnection:
        label, selection = connection.label, connection.selection
        channels = sorted(selection.channels)
        subscriptions = sorted(selection.subscriptions, key=_order)
        row: StreamConnection = {
            "sid": label.sid,
            "transport": label.transport,
            "client": label.client,
            "since": format_time(connection.since_us),
            "state": connection.state,
            "channels": [str(channel) for channel in channels[:_SHOWN]],
            "subscriptions": [_subscription(subscription) for subscription in subscriptions[:_SHOWN]],
            "position": position_token(self.sealer, connection.position),
            "lagRecords": connection.lag_records,
            "sentBytes": connection.sent_bytes,
            "bufferedBytes": connection.buffered_bytes,
        }
        if more := channels[_SHOWN:]:
            row["moreChannels"] = len(more)
        if more_subscriptions := subscriptions[_SHOWN:]:
            row["moreSubscriptions"] = len(more_subscriptions)
        return row


def _ease(connection: Connection) -> tuple[int, int, int, str]:
    """Smallest for the connection that is worst off; among equal ones, for the oldest."""
    return (-connection.lag_records, -connection.buffered_bytes, connection.since_us, connection.label.sid)


def _order(subscription: Subscription) -> list[str]:
    return sorted(subscription.channels)


def _subscription(subscription: Subscription) -> StreamSubscription:
    """As a client would ask for it; null `events` are the lifecycle types."""
    channels = sorted(subscription.channels)
    shown: StreamSubscription = {
        "channels": [str(channel) for channel in channels[:_SHOWN]],
        "events": None if subscription.events is None else sorted(subscription.events),
        "filter": to_json(subscription.filter),
        "logs": subscription.logs,
    }
    if more := channels[_SHOWN:]:
        shown["moreChannels"] = len(more)
    return shown


def _statistics(now: Statistics) -> dict[str, Any]:
    """How the hub stands, and what it has counted since the process began."""
    told = {field.name: getattr(now, field.name) for field in fields(now) if field.name != "tally"}
    told |= {field.name: getattr(now.tally, field.name) for field in fields(now.tally)}
    return {_camel(name): dict(value) if isinstance(value, Mapping) else value for name, value in told.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
