"""`/v1/webhooks`: endpoints from registration to removal, and the secrets that sign for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.api.webhook_documents import (
    ChangeDocument,
    ResumeDocument,
    RotateDocument,
    WebhookDocument,
)
from monitor.events.codec import format_time
from monitor.executions.rehearsal import Rehearsed
from monitor.executions.webhook_secrets import Signing, WebhookSecrets
from monitor.executions.webhooks import Webhooks
from monitor.executions.wishes import MASKED
from monitor.projections.filter import to_json
from monitor.projections.fold import Release
from monitor.web.cursors import cursor_token, open_cursor
from monitor.web.documents import read_document
from monitor.web.operations import Operation
from monitor.web.params import CURSOR, Flag, Limit
from monitor.web.replies import json_reply
from monitor.webhooks.endpoint import Endpoint, Rate

_LIMIT: Final = Limit(default=20, most=100)
_DRY_RUN: Final = Flag("dryRun", "Store nothing; tell what would have been sent.")

_NOT_KEPT: Final = {"cache-control": "no-store"}


def operations(*, webhooks: Webhooks, secrets: WebhookSecrets, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    face = _Face(webhooks, secrets, sealer)
    one = "/v1/webhooks/{id}"
    return [
        Operation("POST", "/v1/webhooks", face.register, "webhooks:write", query=(_DRY_RUN,)),
        Operation("GET", "/v1/webhooks", face.listing, "webhooks:read", query=(_LIMIT, CURSOR)),
        Operation("GET", one, face.single, "webhooks:read"),
        Operation("PATCH", one, face.change, "webhooks:write"),
        Operation("DELETE", one, face.remove, "webhooks:write"),
        Operation("POST", f"{one}/pause", face.pause, "webhooks:write"),
        Operation("POST", f"{one}/resume", face.resume, "webhooks:write"),
        Operation("GET", f"{one}/secret", face.signing, "webhooks:read"),
        Operation("POST", f"{one}/secret/rotate", face.rotate, "webhooks:write"),
        Operation("POST", f"{one}/secret/revoke", face.revoke, "webhooks:write"),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    webhooks: Webhooks
    secrets: WebhookSecrets
    sealer: Sealer

    async def register(self, request: Request, who: Principal) -> Response:
        """A new endpoint, with the secret that is shown this once; as a dry run, what it would have been sent."""
        is_dry = _DRY_RUN.take(request.query_params)
        document = await read_document(request, WebhookDocument)
        if is_dry:
            rehearsed = await self.webhooks.rehearse(who, document.wish(), document.secret)
            return json_reply(_rehearsed(rehearsed), headers=_NOT_KEPT)
        endpoint, secret = await self.webhooks.register(who, document.wish(), document.secret)
        location = {"location": f"/v1/webhooks/{endpoint.id}"}
        return json_reply({**_endpoint(endpoint), "secret": secret}, 201, _NOT_KEPT | location)

    async def listing(self, request: Request, who: Principal) -> Response:
        """A page of endpoints, in order of registration."""
        limit = _LIMIT.take(request.query_params)
        cursor = CURSOR.take(request.query_params)
        question = ("webhooks", who.team)
        after_key = open_cursor(self.sealer, question, cursor)[1] if cursor is not None else 0
        page = await self.webhooks.listed(who, limit, after_key)
        pagination = {
            "limit": limit,
            "hasMore": page.has_more,
            "nextCursor": cursor_token(self.sealer, question, (None, page.rows[-1].key)) if page.has_more else None,
            "total": page.total,
        }
        return json_reply({"data": [_endpoint(row) for row in page.rows], "pagination": pagination}, headers=_NOT_KEPT)

    async def single(self, request: Request, who: Principal) -> Response:
        """One endpoint."""
        return json_reply(_endpoint(await self.webhooks.endpoint(who, request.path_params["id"])), headers=_NOT_KEPT)

    async def change(self, request: Request, who: Principal) -> Response:
        """An endpoint with some of its members replaced."""
        document = await read_document(request, ChangeDocument)
        changed = await self.webhooks.change(who, request.path_params["id"], document.wish())
        return json_reply(_endpoint(changed), headers=_NOT_KEPT)

    async def remove(self, request: Request, who: Principal) -> Response:
        """No endpoint any more, and how much of what was owed to it is cancelled."""
        endpoint_id = request.path_params["id"]
        cancelled = await self.webhooks.remove(who, endpoint_id)
        return json_reply({"id": endpoint_id, "cancelledDeliveries": cancelled}, headers=_NOT_KEPT)

    async def pause(self, request: Request, who: Principal) -> Response:
        """An endpoint that is sent nothing; what it is owed waits."""
        return json_reply(_endpoint(await self.webhooks.pause(who, request.path_params["id"])), headers=_NOT_KEPT)

    async def resume(self, request: Request, who: Principal) -> Response:
        """An endpoint that is sent what is new, and of what was held as much as is asked for."""
        document = await read_document(request, ResumeDocument, is_optional=True)
        resumed = await self.webhooks.resume(who, request.path_params["id"], document.held)
        counts = {"pendingDeliveries": resumed.pending, "cancelledDeliveries": resumed.cancelled}
        return json_reply({**_endpoint(resumed.endpoint), **counts}, headers=_NOT_KEPT)

    async def signing(self, request: Request, who: Principal) -> Response:
        """What signs now, without the secrets."""
        return _signing_reply(await self.secrets.signing(who, request.path_params["id"]))

    async def rotate(self, request: Request, who: Principal) -> Response:
        """A new secret, shown this once."""
        document = await read_document(request, RotateDocument, is_optional=True)
        rotated = await self.secrets.rotate(who, request.path_params["id"], document.overlap_s, document.secret)
        return _signing_reply(rotated.signing, secret=rotated.secret)

    async def revoke(self, request: Request, who: Principal) -> Response:
        """The current secret alone signs from now on."""
        return _signing_reply(await self.secrets.revoke(who, request.path_params["id"]))


# --- writing ---------------------------------------------------------------------------------------------------------


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
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


def _rate(rate: Rate | None) -> dict[str, float] | None:
    return None if rate is None else {"perSecond": rate.per_s, "burst": rate.burst}


def _rehearsed(rehearsed: Rehearsed) -> dict[str, Any]:
    endpoint = _endpoint(rehearsed.endpoint)
    del endpoint["id"]
    return {
        "dryRun": True,
        "webhook": endpoint,
        "lookedAt": rehearsed.looked_at,
        "matched": rehearsed.matched,
        "examples": [_example(release) for release in rehearsed.examples],
    }


def _example(release: Release) -> dict[str, Any]:
    event = release.event
    return {"id": event.id, "type": event.type, "executionId": event.execution_id, "timestamp": event.timestamp}


def _signing_reply(signing: Sequence[Signing], **shown_once: str) -> Response:
    rows = [
        {
            "fingerprint": it.fingerprint,
            "createdAt": format_time(it.created_us),
            "expiresAt": None if it.expires_us is None else format_time(it.expires_us),
        }
        for it in signing
    ]
    return json_reply({**shown_once, "data": rows}, headers=_NOT_KEPT)
