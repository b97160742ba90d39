"""Operator events: what webhooks say of themselves, to endpoints that asked for it by name. Pure.

They are planned in the transaction that changes the state they tell of, and delivered like any other event. Troubles of
an endpoint that hears such events cause none: two of them would keep each other busy for ever.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from monitor.events.codec import format_time
from monitor.webhooks.delivery import Planned
from monitor.webhooks.endpoint import Endpoint


class Notice(NamedTuple):
    """Something to tell about an endpoint."""

    type: str
    about: Endpoint
    # More members of `data`.
    members: dict[str, Any]


_encode: Final = msgspec.json.Encoder().encode


def plan_notices(notices: Iterable[Notice], endpoints: Iterable[Endpoint], now_us: int) -> list[Planned]:
    """What is owed of `notices` to those of `endpoints` that want them, due at `now_us`."""
    hearers = [endpoint for endpoint in endpoints if endpoint.is_operator]
    return [
        _planned(notice, hearer, place, now_us)
        for place, notice in enumerate(notices)
        if not notice.about.is_operator
        for hearer in hearers
        if hearer.team == notice.about.team and hearer.wants(notice.type)
    ]


def _planned(notice: Notice, hearer: Endpoint, place: int, now_us: int) -> Planned:
    id_ = _hash("op", notice.about.id, notice.type, str(now_us), str(place))
    about = {"webhookId": notice.about.id, "name": notice.about.name}
    body = {
        "event": notice.type,
        "timestamp": format_time(now_us),
        "data": {**about, **notice.members},
        "id": id_,
        "type": notice.type,
    }
    planned_id = _hash("msg", hearer.id, id_)
    return Planned(planned_id, hearer.key, id_, notice.type, hearer.team, "", _encode(body), now_us)


def _hash(prefix: str, *names: str) -> str:
    return f"{prefix}_{blake2b(chr(0).join(names).encode(), digest_size=16).hexdigest()}"
