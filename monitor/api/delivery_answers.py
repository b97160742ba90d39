"""Deliveries as their addresses show them, with every attempt; and how a webhook stands."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from typing_extensions import TypedDict

from monitor.events.codec import format_time
from monitor.events.payloads import without_payloads
from monitor.executions.deliveries import Shown, Standing, Status
from monitor.store.delivery_port import AttemptRow
from monitor.web.cursors import Pagination
from monitor.web.replies import Timestamp
from monitor.webhooks.delivery import Trigger
from monitor.webhooks.endpoint import EndpointStatus


class Attempt(TypedDict):
    """One send of a delivery."""

    number: int
    trigger: Trigger
    startedAt: Timestamp
    finishedAt: Timestamp | None
    """Null while it runs."""
    duration: float | None
    statusCode: int | None
    """Null when no answer came: `error` tells why."""
    error: str | None


class Answered(TypedDict):
    """What a receiver answered."""

    body: str
    """Bytes that are no text are shown as replacement characters."""
    truncated: bool
    headers: Mapping[str, str]


class DetailedAttempt(Attempt):
    """One send of a delivery, where it went and what came back."""

    url: str | None
    response: Answered | None
    phases: dict[str, float]
    """Seconds by phase."""


class _Delivery(TypedDict):
    id: str
    webhookId: str | None
    """Null when the webhook is removed."""
    event: str
    eventId: str
    executionId: str | None
    status: Status
    reason: str | None
    trigger: Trigger
    step: int
    """Steps of the schedule that are used up."""
    createdAt: Timestamp
    nextAttemptAt: Timestamp | None
    """Null where it waits for somebody, or for those before it."""


class DeliveryRow(_Delivery):
    """A delivery with its attempts in short."""

    attempts: list[Attempt]


class Delivery(_Delivery):
    """A delivery with its body, and every attempt with what was answered."""

    attempts: list[DetailedAttempt]
    body: Any
    """JSON as it is sent."""


class DeliveryPage(TypedDict):
    """A page of deliveries."""

    data: list[DeliveryRow]
    pagination: Pagination


class WebhookStanding(TypedDict):
    """How a webhook is doing."""

    status: EndpointStatus
    reason: str | None
    deliveries: Mapping[str, int]
    """What is owed to it, by status."""
    oldestSeconds: float | None
    breaker: Literal["closed", "open", "half-open"]
    blockedUntil: Timestamp | None
    failingSince: Timestamp | None
    consecutiveFailures: int
    lastSuccessAt: Timestamp | None
    warnedPercent: int | None
    """Of the time without success after which it is disabled: the last warning given."""


def delivery_row(shown: Shown) -> DeliveryRow:
    """As a list shows it."""
    return {**_common(shown), "attempts": [_attempt(attempt) for attempt in shown.attempts]}


def delivery(shown: Shown, *, with_payloads: bool) -> Delivery:
    """As its own address shows it."""
    attempts = [_detailed(attempt) for attempt in shown.attempts]
    body = shown.delivery.body if with_payloads else _without_payloads(shown.delivery.body)
    return {**_common(shown), "attempts": attempts, "body": msgspec.Raw(body)}


def _without_payloads(body: bytes) -> bytes:
    document = msgspec.json.decode(body)
    if isinstance(data := document.get("data"), dict):
        document["data"] = without_payloads(data)
    return msgspec.json.encode(document)


def webhook_standing(standing: Standing) -> WebhookStanding:
    """How a webhook is doing."""
    endpoint, lane, now_us = standing.endpoint, standing.lane, standing.now_us
    return {
        "status": endpoint.status,
        "reason": endpoint.reason,
        "deliveries": standing.counts,
        "oldestSeconds": None if standing.oldest_us is None else _seconds(max(0, now_us - standing.oldest_us)),
        "breaker": _BREAKERS[lane.breaker],
        "blockedUntil": _time(lane.blocked_until_us) if lane.blocked_until_us > now_us else None,
        "failingSince": _time(lane.failing_since_us),
        "consecutiveFailures": lane.failures,
        "lastSuccessAt": _time(lane.last_success_us),
        "warnedPercent": lane.warned or None,
    }


def _common(shown: Shown) -> _Delivery:
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
        "nextAttemptAt": _time(row.due_us) if shown.status == "pending" else None,
    }


def _attempt(attempt: AttemptRow) -> Attempt:
    finished_us = attempt.finished_us
    return {
        "number": attempt.n,
        "trigger": attempt.trigger,
        "startedAt": format_time(attempt.started_us),
        "finishedAt": _time(finished_us),
        "duration": None if finished_us is None else _seconds(finished_us - attempt.started_us),
        "statusCode": attempt.status,
        "error": attempt.error,
    }


def _detailed(attempt: AttemptRow) -> DetailedAttempt:
    """Where it went and what came back; nothing is known of one that runs or was interrupted."""
    detail = attempt.detail
    if detail is None:
        return {**_attempt(attempt), "url": None, "response": None, "phases": {}}
    response: Answered = {
        "body": attempt.answer.decode(errors="replace"),
        "truncated": detail.is_truncated,
        "headers": detail.headers,
    }
    return {
        **_attempt(attempt),
        "url": detail.url,
        "response": None if attempt.status is None else response,
        "phases": {_PHASES.get(name, name): _seconds(took_us) for name, took_us in detail.phases_us.items()},
    }


_PHASES: Final[Mapping[str, str]] = {"first_byte": "firstByte"}
"""Spelt as members are."""

_BREAKERS: Final[Mapping[str, Literal["closed", "open", "half-open"]]] = {
    "closed": "closed",
    "open": "open",
    "half_open": "half-open",
}


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else format_time(at_us)


def _seconds(took_us: int) -> float:
    return took_us / 1_000_000
