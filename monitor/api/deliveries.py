"""`/v1/webhooks/{id}/deliveries` and `/v1/webhook-deliveries`: what is owed to a webhook, and what became of it.

Also how a webhook stands (`stats`), and one real send on demand (`test`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.api.delivery_answers import (
    Delivery,
    DeliveryPage,
    WebhookStanding,
    delivery,
    delivery_row,
    webhook_standing,
)
from monitor.errors import (
    CannotCancelDelivery,
    CannotRetryDelivery,
    DeliveryNotFound,
    InvalidRequest,
    RateLimited,
    WebhookNotFound,
)
from monitor.executions.deliveries import STATUSES, Deliveries, Shown, Wanted
from monitor.executions.pings import Pings
from monitor.web.cursors import Pagination, cursor_token, open_cursor
from monitor.web.operations import Answer, Operation
from monitor.web.params import CURSOR, Limit, Text, Time, Words
from monitor.web.replies import json_reply

_LIMIT: Final = Limit(default=20, most=100)

MOST_EVENTS: Final = 100
"""Types and beginnings of types in one question, as in a replay's; databases take some more."""

_STATUS: Final = Words("status", STATUSES, "Of these statuses.")
_EVENT: Final = Text("event", "Of these types, or beginnings of types such as node.*; separated by commas.")
_EXECUTION: Final = Text("executionId", "Of this execution.")
_SINCE: Final = Time("since", "Planned at this time or later.")
_UNTIL: Final = Time("until", "Planned before this time.")
_FILTERS: Final = (_STATUS, _EVENT, _EXECUTION, _SINCE, _UNTIL)
_QUERY: Final = (*_FILTERS, _LIMIT, CURSOR)

_DELIVERY: Final = "/v1/webhook-deliveries/{id}"

_NOT_KEPT: Final = {"cache-control": "no-store"}


def operations(*, deliveries: Deliveries, pings: Pings, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    face = _Face(deliveries, pings, sealer)
    return [
        Operation(
            "GET",
            "/v1/webhooks/{id}/deliveries",
            face.listing,
            "webhooks:read",
            query=_QUERY,
            answers=(Answer(DeliveryPage, leads_to=_DELIVERY),),
            errors=(WebhookNotFound,),
        ),
        Operation(
            "GET",
            "/v1/webhooks/{id}/stats",
            face.standing,
            "webhooks:read",
            answers=(Answer(WebhookStanding),),
            errors=(WebhookNotFound,),
        ),
        Operation(
            "POST",
            "/v1/webhooks/{id}/test",
            face.test,
            "webhooks:write",
            answers=(Answer(Delivery, leads_to=_DELIVERY),),
            errors=(WebhookNotFound, RateLimited),
        ),
        Operation(
            "GET",
            _DELIVERY,
            face.single,
            "webhooks:read",
            answers=(Answer(Delivery),),
            errors=(DeliveryNotFound,),
        ),
        Operation(
            "POST",
            "/v1/webhook-deliveries/{id}/retry",
            face.retry,
            "webhooks:write",
            answers=(Answer(Delivery, 202),),
            errors=(DeliveryNotFound, CannotRetryDelivery),
        ),
        Operation(
            "POST",
            "/v1/webhook-deliveries/{id}/cancel",
            face.cancel,
            "webhooks:write",
            answers=(Answer(Delivery),),
            errors=(DeliveryNotFound, CannotCancelDelivery),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    deliveries: Deliveries
    pings: Pings
    sealer: Sealer

    async def listing(self, request: Request, who: Principal) -> Response:
        """A page of deliveries, newest first, each with its attempts in short."""
        query, endpoint_id = request.query_params, request.path_params["id"]
        limit = _LIMIT.take(query)
        wanted, cursor = _take_wanted(query), CURSOR.take(query)
        question = ("deliveries", who.team, endpoint_id, *(",".join(query.getlist(it.name)) for it in _FILTERS))
        before_key = None if cursor is None else open_cursor(self.sealer, question, cursor)[1]
        page = await self.deliveries.listed(who, endpoint_id, wanted, limit, before_key)
        last = page.rows[-1].delivery.key if page.has_more else None
        pagination: Pagination = {
            "limit": limit,
            "hasMore": page.has_more,
            "nextCursor": None if last is None else cursor_token(self.sealer, question, (None, last)),
        }
        return _reply({"data": [delivery_row(shown) for shown in page.rows], "pagination": pagination})

    async def single(self, request: Request, who: Principal) -> Response:
        """A delivery with its body, and every attempt with what was answered."""
        return _shown(who, await self.deliveries.single(who, request.path_params["id"]))

    async def retry(self, request: Request, who: Principal) -> Response:
        """A delivery that is due now."""
        return _shown(who, await self.deliveries.retry(who, request.path_params["id"]), 202)

    async def cancel(self, request: Request, who: Principal) -> Response:
        """A delivery that is called off."""
        return _shown(who, await self.deliveries.cancel(who, request.path_params["id"]))

    async def test(self, request: Request, who: Principal) -> Response:
        """What became of a test send: a delivery with its only attempt."""
        return _shown(who, await self.pings.ping(who, request.path_params["id"]))

    async def standing(self, request: Request, who: Principal) -> Response:
        """How a webhook is doing."""
        return _reply(webhook_standing(await self.deliveries.standing(who, request.path_params["id"])))


# --- reading ---------------------------------------------------------------------------------------------------------


def _take_wanted(query: QueryParams) -> Wanted:
    since_us, until_us = _SINCE.take(query), _UNTIL.take(query)
    if since_us is not None and until_us is not None and since_us > until_us:
        raise InvalidRequest("'since' is later than 'until'", field="since")
    return Wanted(
        statuses=_STATUS.take(query),
        event_types=_take_events(query),
        execution_id=_EXECUTION.take(query),
        since_us=since_us,
        until_us=until_us,
    )


def _take_events(query: QueryParams) -> Sequence[str]:
    """Types outside the catalogue are forwarded too: there is no list of words to check against."""
    names = [name for said in query.getlist(_EVENT.name) for name in said.split(",") if name]
    if len(names) > MOST_EVENTS:
        raise InvalidRequest(f"'event' holds {len(names)} types; at most {MOST_EVENTS} are taken", field="event")
    return names


def _reply(content: DeliveryPage | Delivery | WebhookStanding, status: int = 200) -> Response:
    return json_reply(content, status, _NOT_KEPT)


def _shown(who: Principal, found: Shown, status: int = 200) -> Response:
    return _reply(delivery(found, with_payloads=who.may("executions:data")), status)
