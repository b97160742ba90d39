"""`/v1/webhooks/{id}/deliveries`: what became of what is owed to a webhook."""

from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.events.codec import format_time
from monitor.executions.deliveries import Delivered, Deliveries
from monitor.store.base import AttemptRow
from monitor.web.auth import Authenticate
from monitor.web.params import check_names, take_limit
from monitor.web.paths import IdRoute
from monitor.web.replies import json_reply

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100

_NOT_KEPT: Final = {"cache-control": "no-store"}


def routes(*, deliveries: Deliveries, authenticate: Authenticate) -> list[Route]:
    """The routes of this file."""
    face = _Face(deliveries, authenticate)
    return [IdRoute("/v1/webhooks/{id}/deliveries", face.listing, methods=["GET"])]


@dataclass(frozen=True, slots=True)
class _Face:
    deliveries: Deliveries
    authenticate: Authenticate

    async def listing(self, request: Request) -> Response:
        """The latest deliveries of an endpoint with their attempts, newest first."""
        who = self.authenticate(request.scope)
        check_names(request.query_params, ("limit",))
        limit = take_limit(request.query_params, default=DEFAULT_LIMIT, most=MAX_LIMIT)
        rows = await self.deliveries.latest(who, request.path_params["id"], limit + 1)
        pagination = {"limit": limit, "hasMore": len(rows) > limit}
        return json_reply(
            {"data": [_delivered(row) for row in rows[:limit]], "pagination": pagination}, headers=_NOT_KEPT
        )


# --- writing ---------------------------------------------------------------------------------------------------------


def _delivered(row: Delivered) -> dict[str, Any]:
    delivery = row.delivery
    return {
        "id": delivery.id,
        "event": delivery.event_type,
        "eventId": delivery.event_id,
        "executionId": delivery.execution_id,
        "status": "sending" if delivery.state == "leased" else delivery.state,
        "createdAt": format_time(delivery.planned_us),
        "nextAttemptAt": _time(delivery.due_us) if delivery.state == "pending" else None,
        "attempts": [_attempt(attempt) for attempt in row.attempts],
    }


def _attempt(attempt: AttemptRow) -> dict[str, Any]:
    return {
        "number": attempt.n,
        "startedAt": format_time(attempt.started_us),
        # Null while it runs, and for good where the process ended over it.
        "finishedAt": _time(attempt.finished_us),
        "statusCode": attempt.status,
        "error": attempt.error,
        "response": attempt.answer.decode(errors="replace"),
    }


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else format_time(at_us)
