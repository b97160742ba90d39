"""`GET /v1/streams`: who is connected and how far behind, the slowest on top. For those who run the service.

An administrator sees the connections of his own team; `statistics` are of the whole process, without names.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.events.codec import format_time
from monitor.fanout.channels import Subscription
from monitor.fanout.hub import Connection, Hub, Statistics
from monitor.projections.filter import to_json
from monitor.web.operations import Operation
from monitor.web.params import Limit
from monitor.web.replies import json_reply

_SHOWN: Final = 20
"""Channels of a subscription, and subscriptions of a connection, that are listed; the rest is a number.

A connection may have a thousand channels, and a page a thousand connections.
"""

_LIMIT: Final = Limit(default=100, most=1000)

T = TypeVar("T")


def operations(*, hub: Hub, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    return [Operation("GET", "/v1/streams", _Face(hub, sealer).listing, "admin", query=(_LIMIT,))]


@dataclass(frozen=True, slots=True)
class _Face:
    hub: Hub
    sealer: Sealer

    async def listing(self, request: Request, who: Principal) -> Response:
        """The connections that are furthest behind, up to `limit`, and how many there are."""
        limit = _LIMIT.take(request.query_params)
        connections = sorted(self.hub.connections(who.team), key=_ease)
        document = {
            "data": [self._row(connection) for connection in connections[:limit]],
            "pagination": {"limit": limit, "hasMore": len(connections) > limit, "total": len(connections)},
            "statistics": _statistics(self.hub.statistics()),
        }
        return json_reply(document, headers={"cache-control": "no-store"})

    def _row(self, connection: Connection) -> dict[str, Any]:
        label, selection = connection.label, connection.selection
        return {
            "sid": label.sid,
            "transport": label.transport,
            "client": label.client,
            "since": format_time(connection.since_us),
            "state": connection.state,
            **_first("channels", sorted(selection.channels), str),
            **_first("subscriptions", sorted(selection.subscriptions, key=_order), _subscription),
            "position": position_token(self.sealer, connection.position),
            "lagRecords": connection.lag_records,
            "sentBytes": connection.sent_bytes,
            "bufferedBytes": connection.buffered_bytes,
        }


def _ease(connection: Connection) -> tuple[int, int, int, str]:
    """Smallest for the connection that is worst off; among equal ones, for the oldest."""
    return (-connection.lag_records, -connection.buffered_bytes, connection.since_us, connection.label.sid)


def _order(subscription: Subscription) -> list[str]:
    return sorted(subscription.channels)


def _subscription(subscription: Subscription) -> dict[str, Any]:
    """As a client would ask for it; null `events` are the lifecycle types."""
    return {
        **_first("channels", sorted(subscription.channels), str),
        "events": None if subscription.events is None else sorted(subscription.events),
        "filter": to_json(subscription.filter),
        "logs": subscription.logs,
    }


def _first(name: str, items: Sequence[T], show: Callable[[T], Any]) -> dict[str, Any]:
    """A list under its name, and how many more there are if it is long."""
    more = len(items) - _SHOWN
    return {name: [show(item) for item in items[:_SHOWN]], **({f"more{name.capitalize()}": more} if more > 0 else {})}


def _statistics(now: Statistics) -> dict[str, Any]:
    """How the hub stands, and what it has counted since the process began."""
    told = {field.name: getattr(now, field.name) for field in fields(now) if field.name != "tally"}
    told |= {field.name: getattr(now.tally, field.name) for field in fields(now.tally)}
    return {_camel(name): dict(value) if isinstance(value, Mapping) else value for name, value in told.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
