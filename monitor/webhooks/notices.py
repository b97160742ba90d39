"""Operator events: what webhooks say of themselves, to endpoints that asked for it by name. Pure.

They are planned in the transaction that changes the state they tell of, and delivered like any other event. Troubles of
an endpoint that hears such events cause none: two of them would keep each other busy for ever. MEMBERS says what each
of them carries.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from monitor.events.codec import format_time
from monitor.webhooks.delivery import Planned
from monitor.webhooks.endpoint import Endpoint, Ordering

MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    # So much of the time after which an endpoint is disabled has passed without a success; disabled from then on.
    "endpoint.failing": ("percent", "failures", "failingSince", "disabledFrom"),
    # Why: see `Endpoint.reason`.
    "endpoint.disabled": ("reason",),
    # After at least one warning: how many attempts had failed, and since when.
    "endpoint.recovered": ("failures", "failingSince"),
    # The schedule is used up, the delivery too old, or it halts its queue: see `Outcome`.
    "delivery.exhausted": ("deliveryId", "attempts", "reason", "statusCode", "error"),
    # Somebody had it sent again, and it arrived.
    "delivery.recovered": ("deliveryId", "attempts"),
    # So many were set aside, for more than the limit waited.
    "lane.backlog": ("held", "limit"),
}
"""Members of `data` beside `webhookId` and `name`, by type. Times are in RFC 3339, as everywhere."""


class Notice(NamedTuple):
    """Something to tell about an endpoint."""

    type: str
    about: Endpoint
    # MEMBERS of its type.
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
    said = {"event": notice.type, "timestamp": format_time(now_us), "data": data, "id": id_, "type": notice.type}
    planned_id = _hash("msg", hearer.id.encode(), id_.encode())
    order_key = _order_keys(notice)[hearer.ordering]
    return Planned(planned_id, hearer.key, id_, notice.type, hearer.team, "", _encode(said), now_us, order_key)


def _order_keys(notice: Notice) -> Mapping[Ordering, str | None]:
    """What it waits for: there is no execution, so that the webhook which it tells of stands for one."""
    return {"none": None, "execution": notice.about.id, "strict": ""}


def _hash(prefix: str, *names: bytes) -> str:
    return f"{prefix}_{blake2b(bytes(1).join(names), digest_size=16).hexdigest()}"
