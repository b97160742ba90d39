"""`/v1/webhooks/{id}/deliveries` and `/v1/webhook-deliveries`: what is owed to a webhook, and what became of it.

Also how a webhook stands (`stats`), and one real send on demand (`test`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.errors import InvalidRequest
from monitor.events.codec import format_time
from monitor.executions.deliveries import STATUSES, Deliveries, Shown, Standing, Wanted
from monitor.executions.pings import Pings
from monitor.store.base import AttemptRow
from monitor.web.cursors import cursor_token, open_cursor
from monitor.web.operations import Operation
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

_NOT_KEPT: Final = {"cache-control": "no-store"}


def operations(*, deliveries: Deliveries, pings: Pings, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    face = _Face(deliveries, pings, sealer)
    return [
        Operation("GET", "/v1/webhooks/{id}/deliveries", face.listing, "webhooks:read", query=_QUERY),
        Operation("GET", "/v1/webhooks/{id}/stats", face.standing, "webhooks:read"),
        Operation("POST", "/v1/webhooks/{id}/test", face.test, "webhooks:write"),
        Operation("GET", "/v1/webhook-deliveries/{id}", face.single, "webhooks:read"),
        Operation("POST", "/v1/webhook-deliveries/{id}/retry", face.retry, "webhooks:write"),
        Operation("POST", "/v1/webhook-deliveries/{id}/cancel", face.cancel, "webhooks:write"),
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
        pagination = {
            "limit": limit,
            "hasMore": page.has_more,
            "nextCursor": None if last is None else cursor_token(self.sealer, question, (None, last)),
        }
        return _reply({"data": [_row(shown) for shown in page.rows], "pagination": pagination})

    async def single(self, request: Request, who: Principal) -> Response:
        """A delivery with its body, and every attempt with what was answered."""
        return _reply(_delivery(await self.deliveries.single(who, request.path_params["id"])))

    async def retry(self, request: Request, who: Principal) -> Response:
        """A delivery that is due now."""
        return _reply(_delivery(await self.deliveries.retry(who, request.path_params["id"])), 202)

    async def cancel(self, request: Request, who: Principal) -> Response:
        """A delivery that is called off."""
        return _reply(_delivery(await self.deliveries.cancel(who, request.path_params["id"])))

    async def test(self, request: Request, who: Principal) -> Response:
        """What became of a test send: a delivery with its only attempt."""
        return _reply(_delivery(await self.pings.ping(who, request.path_params["id"])))

    async def standing(self, request: Request, who: Principal) -> Response:
        """How a webhook is doing."""
        return _reply(_standing(await self.deliveries.standing(who, request.path_params["id"])))


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


# --- writing ---------------------------------------------------------------------------------------------------------


def _row(shown: Shown) -> dict[str, Any]:
    row = shown.delivery
    return {
        "id": row.id,
        "webhookId": None if shown.endpoint is None else shown.endpoint.id,
        "event": row.event_type,
        "eventId": row.event_id,
        "executionId": row.execution_id or None,
        "status": shown.status,
        "reason": row.reason,
        "trigger": row.trigger,
        "step": row.step,
        "createdAt": format_time(row.planned_us),
        # Null where it waits for somebody, or for those before it.
        "nextAttemptAt": _time(row.due_us) if shown.status == "pending" else None,
        "attempts": [_attempt(attempt) for attempt in shown.attempts],
    }


def _delivery(shown: Shown) -> dict[str, Any]:
    attempts = [{**_attempt(attempt), **_details(attempt)} for attempt in shown.attempts]
    return {**_row(shown), "attempts": attempts, "body": msgspec.Raw(shown.delivery.body)}


def _attempt(attempt: AttemptRow) -> dict[str, Any]:
    finished_us = attempt.finished_us
    return {
        "number": attempt.n,
        "trigger": attempt.trigger,
        "startedAt": format_time(attempt.started_us),
        # Null while it runs.
        "finishedAt": _time(finished_us),
        "duration": None if finished_us is None else _seconds(finished_us - attempt.started_us),
        "statusCode": attempt.status,
        "error": attempt.error,
    }


def _details(attempt: AttemptRow) -> dict[str, Any]:
    """Where it went and what came back; nothing is known of one that runs or was interrupted."""
    detail = attempt.detail
    if detail is None:
        return {"url": None, "response": None, "phases": {}}
    response = {
        # Bytes that are no text are shown as replacement characters.
        "body": attempt.answer.decode(errors="replace"),
        "truncated": detail.is_truncated,
        "headers": detail.headers,
    }
    return {
        "url": detail.url,
        "response": None if attempt.status is None else response,
        "phases": {_PHASES.get(name, name): _seconds(took_us) for name, took_us in detail.phases_us.items()},
    }


_PHASES: Final[Mapping[str, str]] = {"first_byte": "firstByte"}
"""Spelt as members are."""


def _standing(standing: Standing) -> dict[str, Any]:
    endpoint, lane, now_us = standing.endpoint, standing.lane, standing.now_us
    return {
        "status": endpoint.status,
        "reason": endpoint.reason,
        "deliveries": standing.counts,
        "oldestSeconds": None if standing.oldest_us is None else _seconds(max(0, now_us - standing.oldest_us)),
        "breaker": lane.breaker.replace("_", "-"),
        "blockedUntil": _time(lane.blocked_until_us) if lane.blocked_until_us > now_us else None,
        "failingSince": _time(lane.failing_since_us),
        "consecutiveFailures": lane.failures,
        "lastSuccessAt": _time(lane.last_success_us),
        # Of the time without success after which it is disabled: the last warning given.
        "warnedPercent": lane.warned or None,
    }


def _reply(content: object, status: int = 200) -> Response:
    return json_reply(content, status, _NOT_KEPT)


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else format_time(at_us)


def _seconds(took_us: int) -> float:
    return took_us / 1_000_000
