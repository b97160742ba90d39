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
from starlette.routing import Route

from monitor.access.sealing import Sealer
from monitor.errors import InvalidRequest
from monitor.events.codec import format_time, parse_time_us
from monitor.executions.deliveries import STATUSES, Deliveries, Shown, Standing, Wanted
from monitor.executions.pings import Pings
from monitor.store.base import AttemptRow
from monitor.web.auth import Authenticate
from monitor.web.cursors import cursor_token, open_cursor
from monitor.web.params import check_names, take_limit, take_one, take_words
from monitor.web.paths import IdRoute
from monitor.web.replies import json_reply

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100

MOST_EVENTS: Final = 100
"""Types and beginnings of types in one question, as in a replay's; databases take some more."""

_FILTERS: Final = ("status", "event", "executionId", "since", "until")

_NOT_KEPT: Final = {"cache-control": "no-store"}


def routes(*, deliveries: Deliveries, pings: Pings, sealer: Sealer, authenticate: Authenticate) -> list[Route]:
    """The routes of this file."""
    face = _Face(deliveries, pings, sealer, authenticate)
    return [
        IdRoute("/v1/webhooks/{id}/deliveries", face.listing, methods=["GET"]),
        IdRoute("/v1/webhooks/{id}/stats", face.standing, methods=["GET"]),
        IdRoute("/v1/webhooks/{id}/test", face.test, methods=["POST"]),
        IdRoute("/v1/webhook-deliveries/{id}", face.single, methods=["GET"]),
        IdRoute("/v1/webhook-deliveries/{id}/retry", face.retry, methods=["POST"]),
        IdRoute("/v1/webhook-deliveries/{id}/cancel", face.cancel, methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    deliveries: Deliveries
    pings: Pings
    sealer: Sealer
    authenticate: Authenticate

    async def listing(self, request: Request) -> Response:
        """A page of deliveries, newest first, each with its attempts in short."""
        who, query, endpoint_id = self.authenticate(request.scope), request.query_params, request.path_params["id"]
        check_names(query, (*_FILTERS, "limit", "cursor"))
        limit = take_limit(query, default=DEFAULT_LIMIT, most=MAX_LIMIT)
        wanted, cursor = _take_wanted(query), take_one(query, "cursor")
        question = ("deliveries", who.team, endpoint_id, *(",".join(query.getlist(name)) for name in _FILTERS))
        before_key = None if cursor is None else open_cursor(self.sealer, question, cursor)[1]
        page = await self.deliveries.listed(who, endpoint_id, wanted, limit, before_key)
        last = page.rows[-1].delivery.key if page.has_more else None
        pagination = {
            "limit": limit,
            "hasMore": page.has_more,
            "nextCursor": None if last is None else cursor_token(self.sealer, question, (None, last)),
        }
        return _reply({"data": [_row(shown) for shown in page.rows], "pagination": pagination})

    async def single(self, request: Request) -> Response:
        """A delivery with its body, and every attempt with what was answered."""
        who = self.authenticate(request.scope)
        check_names(request.query_params, ())
        return _reply(_delivery(await self.deliveries.single(who, request.path_params["id"])))

    async def retry(self, request: Request) -> Response:
        """A delivery that is due now."""
        who = self.authenticate(request.scope)
        check_names(request.query_params, ())
        return _reply(_delivery(await self.deliveries.retry(who, request.path_params["id"])), 202)

    async def cancel(self, request: Request) -> Response:
        """A delivery that is called off."""
        who = self.authenticate(request.scope)
        check_names(request.query_params, ())
        return _reply(_delivery(await self.deliveries.cancel(who, request.path_params["id"])))

    async def test(self, request: Request) -> Response:
        """What became of a test send: a delivery with its only attempt."""
        who = self.authenticate(request.scope)
        check_names(request.query_params, ())
        return _reply(_delivery(await self.pings.ping(who, request.path_params["id"])))

    async def standing(self, request: Request) -> Response:
        """How a webhook is doing."""
        who = self.authenticate(request.scope)
        check_names(request.query_params, ())
        return _reply(_standing(await self.deliveries.standing(who, request.path_params["id"])))


# --- reading ---------------------------------------------------------------------------------------------------------


def _take_wanted(query: QueryParams) -> Wanted:
    since_us, until_us = _take_time_us(query, "since"), _take_time_us(query, "until")
    if since_us is not None and until_us is not None and since_us > until_us:
        raise InvalidRequest("'since' is later than 'until'", field="since")
    return Wanted(
        statuses=take_words(query, "status", STATUSES),
        event_types=_take_events(query),
        execution_id=take_one(query, "executionId"),
        since_us=since_us,
        until_us=until_us,
    )


def _take_events(query: QueryParams) -> Sequence[str]:
    """Types outside the catalogue are forwarded too: there is no list of words to check against."""
    names = [name for said in query.getlist("event") for name in said.split(",") if name]
    if len(names) > MOST_EVENTS:
        raise InvalidRequest(f"'event' holds {len(names)} types; at most {MOST_EVENTS} are taken", field="event")
    return names


def _take_time_us(query: QueryParams, name: str) -> int | None:
    said = take_one(query, name)
    try:
        return None if said is None else parse_time_us(said)
    except ValueError as error:
        raise InvalidRequest(f"'{name}' {error}", field=name) from None


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
