"""Webhooks as their addresses show them. Secrets are shown once; what headers hold, never."""

from collections.abc import Sequence
from typing import Any, Literal

from typing_extensions import TypedDict

from monitor.events.codec import format_time
from monitor.executions.rehearsal import Rehearsed
from monitor.executions.webhook_secrets import Signing
from monitor.executions.wishes import MASKED
from monitor.projections.filter import to_json
from monitor.projections.fold import Release
from monitor.web.cursors import CountedPagination
from monitor.web.replies import Timestamp
from monitor.webhooks.endpoint import Endpoint, EndpointStatus, Ordering, Rate


class RateLimit(TypedDict):
    """How fast a webhook may be served: a bucket of `burst` tokens that fills at `perSecond`; a send takes one."""

    perSecond: float
    burst: int


class WebhookSettings(TypedDict):
    """A webhook, as it is served."""

    url: str
    events: Sequence[str]
    filters: dict[str, Any]
    name: str | None
    headers: dict[str, str]
    """Values are masked."""
    payload: Literal["full", "thin"]
    ordering: Ordering
    onExhausted: Literal["skip", "halt"]
    maxInFlight: int
    rateLimit: RateLimit | None
    retrySchedule: Sequence[int] | None
    """Seconds before each retry; null is the schedule of everybody."""
    timeoutSeconds: float
    giveUpOn: Sequence[int]
    obeyReceiver: bool
    status: EndpointStatus
    reason: str | None
    """Why it is disabled."""
    createdAt: Timestamp
    updatedAt: Timestamp


class Webhook(WebhookSettings):
    """A registered webhook."""

    id: str


class NewWebhook(Webhook):
    """A webhook with its secret, which is shown this once."""

    secret: str


class ResumedWebhook(Webhook):
    """A webhook that is served again, and what became of the deliveries that were held."""

    pendingDeliveries: int
    cancelledDeliveries: int


class RemovedWebhook(TypedDict):
    """A webhook that is no more."""

    id: str
    cancelledDeliveries: int


class WebhookPage(TypedDict):
    """A page of webhooks."""

    data: list[Webhook]
    pagination: CountedPagination


class ExampleEvent(TypedDict):
    """An event that would have been sent."""

    id: str
    type: str
    executionId: str
    timestamp: str


class RehearsedWebhook(TypedDict):
    """What a webhook would have been sent of the latest events. Nothing is stored."""

    dryRun: Literal[True]
    webhook: WebhookSettings
    lookedAt: int
    """Events of the team that were looked at."""
    matched: int
    examples: list[ExampleEvent]


class SigningSecret(TypedDict):
    """A secret that signs, without the secret."""

    fingerprint: str
    """The first characters of the secret's SHA-256."""
    createdAt: Timestamp
    expiresAt: Timestamp | None
    """Null for the current one."""


class SigningSecrets(TypedDict):
    """What signs now, newest first."""

    data: list[SigningSecret]


class RotatedSecrets(SigningSecrets):
    """A new secret, shown this once, and all that sign now."""

    secret: str


def webhook(endpoint: Endpoint) -> Webhook:
    """A registered webhook."""
    return {"id": endpoint.id, **webhook_settings(endpoint)}


def webhook_settings(endpoint: Endpoint) -> WebhookSettings:
    """A webhook that may not be registered."""
    return {
        "url": endpoint.url,
        "events": endpoint.events,
        "filters": to_json(endpoint.filter),
        "name": endpoint.name,
        "headers": dict.fromkeys(endpoint.header_names, MASKED),
        "payload": endpoint.payload,
        "ordering": endpoint.ordering,
        "onExhausted": endpoint.on_exhausted,
        "maxInFlight": endpoint.max_in_flight,
        "rateLimit": _rate(endpoint.rate),
        "retrySchedule": endpoint.retry_delays_s,
        "timeoutSeconds": endpoint.timeout_s,
        "giveUpOn": endpoint.give_up_on,
        "obeyReceiver": endpoint.obeys_receiver,
        "status": endpoint.status,
        "reason": endpoint.reason,
        "createdAt": format_time(endpoint.created_us),
        "updatedAt": format_time(endpoint.updated_us),
    }


def rehearsed_webhook(rehearsed: Rehearsed) -> RehearsedWebhook:
    """A dry run."""
    return {
        "dryRun": True,
        "webhook": webhook_settings(rehearsed.endpoint),
        "lookedAt": rehearsed.looked_at,
        "matched": rehearsed.matched,
        "examples": [_example(release) for release in rehearsed.examples],
    }


def signing_secrets(signing: Sequence[Signing]) -> list[SigningSecret]:
    """What signs now."""
    return [
        {
            "fingerprint": it.fingerprint,
            "createdAt": format_time(it.created_us),
            "expiresAt": None if it.expires_us is None else format_time(it.expires_us),
        }
        for it in signing
    ]


def _rate(rate: Rate | None) -> RateLimit | None:
    return None if rate is None else {"perSecond": rate.per_s, "burst": rate.burst}


def _example(release: Release) -> ExampleEvent:
    event = release.event
    return {"id": event.id, "type": event.type, "executionId": event.execution_id, "timestamp": event.timestamp}
