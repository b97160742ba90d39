"""`/v1/webhooks`: endpoints from registration to removal, and the secrets that sign for them."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.api.webhook_answers import (
    NewWebhook,
    RehearsedWebhook,
    RemovedWebhook,
    ResumedWebhook,
    RotatedSecrets,
    SigningSecrets,
    Webhook,
    WebhookPage,
    rehearsed_webhook,
    signing_secrets,
    webhook,
)
from monitor.api.webhook_documents import ChangeDocument, ResumeDocument, RotateDocument, WebhookDocument
from monitor.errors import InvalidFilter, TooManySecrets, WebhookNotFound
from monitor.executions.webhook_secrets import WebhookSecrets
from monitor.executions.webhooks import Webhooks
from monitor.web.auth import permit
from monitor.web.cursors import CountedPagination, cursor_token, open_cursor
from monitor.web.documents import read_document
from monitor.web.operations import Answer, Operation
from monitor.web.params import CURSOR, Flag, Limit
from monitor.web.replies import json_reply

_LIMIT: Final = Limit(default=20, most=100)
_DRY_RUN: Final = Flag("dryRun", "Store nothing; tell what would have been sent.")

_NOT_KEPT: Final = {"cache-control": "no-store"}


def operations(*, webhooks: Webhooks, secrets: WebhookSecrets, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    face = _Face(webhooks, secrets, sealer)
    one = "/v1/webhooks/{id}"
    shown, signing = (Answer(Webhook),), (Answer(SigningSecrets),)
    return [
        Operation(
            "POST",
            "/v1/webhooks",
            face.register,
            "webhooks:write",
            query=(_DRY_RUN,),
            body=WebhookDocument,
            answers=(Answer(NewWebhook, 201, headers=("location",)), Answer(RehearsedWebhook)),
            errors=(InvalidFilter,),
        ),
        Operation(
            "GET",
            "/v1/webhooks",
            face.listing,
            "webhooks:read",
            query=(_LIMIT, CURSOR),
            answers=(Answer(WebhookPage),),
        ),
        Operation("GET", one, face.single, "webhooks:read", answers=shown, errors=(WebhookNotFound,)),
        Operation(
            "PATCH",
            one,
            face.change,
            "webhooks:write",
            body=ChangeDocument,
            answers=shown,
            errors=(WebhookNotFound, InvalidFilter),
        ),
        Operation(
            "DELETE",
            one,
            face.remove,
            "webhooks:write",
            answers=(Answer(RemovedWebhook),),
            errors=(WebhookNotFound,),
        ),
        Operation("POST", f"{one}/pause", face.pause, "webhooks:write", answers=shown, errors=(WebhookNotFound,)),
        Operation(
            "POST",
            f"{one}/resume",
            face.resume,
            "webhooks:write",
            body=ResumeDocument,
            body_optional=True,
            answers=(Answer(ResumedWebhook),),
            errors=(WebhookNotFound,),
        ),
        Operation("GET", f"{one}/secret", face.signing, "webhooks:read", answers=signing, errors=(WebhookNotFound,)),
        Operation(
            "POST",
            f"{one}/secret/rotate",
            face.rotate,
            "webhooks:write",
            body=RotateDocument,
            body_optional=True,
            answers=(Answer(RotatedSecrets),),
            errors=(WebhookNotFound, TooManySecrets),
        ),
        Operation(
            "POST",
            f"{one}/secret/revoke",
            face.revoke,
            "webhooks:write",
            answers=signing,
            errors=(WebhookNotFound,),
        ),
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
        _check_payload(who, document.payload)
        if is_dry:
            rehearsed = await self.webhooks.rehearse(who, document.wish(), document.secret)
            return json_reply(rehearsed_webhook(rehearsed), headers=_NOT_KEPT)
        endpoint, secret = await self.webhooks.register(who, document.wish(), document.secret)
        location = {"location": f"/v1/webhooks/{endpoint.id}"}
        answer: NewWebhook = {**webhook(endpoint), "secret": secret}
        return json_reply(answer, 201, _NOT_KEPT | location)

    async def listing(self, request: Request, who: Principal) -> Response:
        """A page of endpoints, in order of registration."""
        limit = _LIMIT.take(request.query_params)
        cursor = CURSOR.take(request.query_params)
        question = ("webhooks", who.team)
        after_key = open_cursor(self.sealer, question, cursor)[1] if cursor is not None else 0
        page = await self.webhooks.listed(who, limit, after_key)
        pagination: CountedPagination = {
            "limit": limit,
            "hasMore": page.has_more,
            "nextCursor": cursor_token(self.sealer, question, (None, page.rows[-1].key)) if page.has_more else None,
            "total": page.total,
        }
        answer: WebhookPage = {"data": [webhook(row) for row in page.rows], "pagination": pagination}
        return json_reply(answer, headers=_NOT_KEPT)

    async def single(self, request: Request, who: Principal) -> Response:
        """One endpoint."""
        return json_reply(webhook(await self.webhooks.endpoint(who, request.path_params["id"])), headers=_NOT_KEPT)

    async def change(self, request: Request, who: Principal) -> Response:
        """An endpoint with some of its members replaced."""
        document = await read_document(request, ChangeDocument)
        if document.model_fields_set & {"url", "payload"}:
            _check_payload(who, document.payload)
        changed = await self.webhooks.change(who, request.path_params["id"], document.wish())
        return json_reply(webhook(changed), headers=_NOT_KEPT)

    async def remove(self, request: Request, who: Principal) -> Response:
        """No endpoint any more, and how much of what was owed to it is cancelled."""
        endpoint_id = request.path_params["id"]
        cancelled = await self.webhooks.remove(who, endpoint_id)
        answer: RemovedWebhook = {"id": endpoint_id, "cancelledDeliveries": cancelled}
        return json_reply(answer, headers=_NOT_KEPT)

    async def pause(self, request: Request, who: Principal) -> Response:
        """An endpoint that is sent nothing; what it is owed waits."""
        return json_reply(webhook(await self.webhooks.pause(who, request.path_params["id"])), headers=_NOT_KEPT)

    async def resume(self, request: Request, who: Principal) -> Response:
        """An endpoint that is sent what is new, and of what was held as much as is asked for."""
        document = await read_document(request, ResumeDocument, is_optional=True)
        resumed = await self.webhooks.resume(who, request.path_params["id"], document.held)
        answer: ResumedWebhook = {
            **webhook(resumed.endpoint),
            "pendingDeliveries": resumed.pending,
            "cancelledDeliveries": resumed.cancelled,
        }
        return json_reply(answer, headers=_NOT_KEPT)

    async def signing(self, request: Request, who: Principal) -> Response:
        """What signs now, without the secrets."""
        signing = await self.secrets.signing(who, request.path_params["id"])
        return _signing_reply({"data": signing_secrets(signing)})

    async def rotate(self, request: Request, who: Principal) -> Response:
        """A new secret, shown this once."""
        document = await read_document(request, RotateDocument, is_optional=True)
        rotated = await self.secrets.rotate(who, request.path_params["id"], document.overlap_s, document.secret)
        answer: RotatedSecrets = {"data": signing_secrets(rotated.signing), "secret": rotated.secret}
        return _signing_reply(answer)

    async def revoke(self, request: Request, who: Principal) -> Response:
        """The current secret alone signs from now on."""
        signing = await self.secrets.revoke(who, request.path_params["id"])
        return _signing_reply({"data": signing_secrets(signing)})


def _signing_reply(content: SigningSecrets) -> Response:
    return json_reply(content, headers=_NOT_KEPT)


def _check_payload(who: Principal, payload: str) -> None:
    """Full bodies carry payloads: whoever has them sent somewhere may see them."""
    if payload != "thin":
        permit(who, "executions:data")
