"""Operator events: what webhooks say of themselves, to endpoints that asked for it by name. Pure.

They are planned in the transaction that changes the state they tell of, and delivered like any other event. Troubles of
an endpoint that hears such events cause none: two of them would keep each other busy for ever. NOTICES says what each
of them carries.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple

import msgspec
from typing_extensions import TypedDict

from monitor.events.codec import format_time
from monitor.webhooks.delivery import Planned
from monitor.webhooks.endpoint import Endpoint, Ordering


class About(TypedDict):
    """A webhook."""

    webhookId: str
    name: str | None


class Failing(About):
    """Much of the time after which a webhook is disabled has passed without a success."""

    percent: int
    """How much of it."""
    failures: int
    failingSince: str
    """RFC 3339, as every time."""
    disabledFrom: str


class Disabled(About):
    """A webhook is disabled."""

    reason: str
    """As `GET /v1/webhooks/{id}` tells it."""


class Recovered(About):
    """A webhook works again, after at least one warning."""

    failures: int
    failingSince: str


class Exhausted(About):
    """A delivery is given up, or halts its queue."""

    deliveryId: str
    attempts: int
    reason: Literal["exhausted", "expired", "halted"]
    statusCode: int | None
    """Of the last answer; null where none came."""
    error: str | None
    """Why none came."""


class Arrived(About):
    """A delivery that somebody had sent again has arrived."""

    deliveryId: str
    attempts: int


class Backlog(About):
    """More waited than the limit allows: some were set aside."""

    held: int
    """How many."""
    limit: int


NOTICES: Final[Mapping[str, type]] = {
    "endpoint.failing": Failing,
    "endpoint.disabled": Disabled,
    "endpoint.recovered": Recovered,
    "delivery.exhausted": Exhausted,
    "delivery.recovered": Arrived,
    "lane.backlog": Backlog,
}
"""The `data` of each, by type."""


class Said(TypedDict):
    """What webhooks say of themselves: the event, without an execution."""

    event: str
    """What `type` says, in the older spelling."""
    timestamp: str
    """RFC 3339."""
    data: Mapping[str, Any]
    id: str
    type: str


class PingBody(Said):
    """A test send, which somebody asked for."""

    schemaVersion: int
    """That of the bodies of events."""


class Notice(NamedTuple):
    """Something to tell about an endpoint."""

    type: str
    about: Endpoint
    # The members of its type in NOTICES, beside those of every webhook.
    members: Mapping[str, Any]


_encode: Final = msgspec.json.Encoder().encode


def plan_notices(notices: Iterable[Notice], endpoints: Iterable[Endpoint], now_us: int) -> list[Planned]:
    """What is owed of `notices` to those of `endpoints` that want them, due at `now_us`."""
    hearers = [endpoint for endpoint in endpoints if endpoint.is_operator]
    return [
        _planned(notice, hearer, now_us)
        for notice in notices
        if not notice.about.is_operator
        for hearer in hearers
        if hearer.team == notice.about.team and hearer.wants(notice.type)
    ]


def _planned(notice: Notice, hearer: Endpoint, now_us: int) -> Planned:
    data = {"webhookId": notice.about.id, "name": notice.about.name, **notice.members}
    # Whoever says the same at the same moment says it once.
    id_ = _hash("op", notice.type.encode(), b"%d" % now_us, _encode(data))
    said: Said = {"event": notice.type, "timestamp": format_time(now_us), "data": data, "id": id_, "type": notice.type}
    planned_id = _hash("msg", hearer.id.encode(), id_.encode())
    order_key = _order_keys(notice)[hearer.ordering]
    return Planned(planned_id, hearer.key, id_, notice.type, hearer.team, "", _encode(said), now_us, order_key)


def _order_keys(notice: Notice) -> Mapping[Ordering, str | None]:
    """What it waits for: there is no execution, so that the webhook which it tells of stands for one."""
    return {"none": None, "execution": notice.about.id, "strict": ""}


def _hash(prefix: str, *names: bytes) -> str:
    return f"{prefix}_{blake2b(bytes(1).join(names), digest_size=16).hexdigest()}"
