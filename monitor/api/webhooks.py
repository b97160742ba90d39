"""`/v1/webhooks`: register, list, show and remove endpoints."""

from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.access.sealing import Sealer
from monitor.errors import InvalidRequest, InvalidWebhook, UnsupportedMediaType
from monitor.events.codec import format_time
from monitor.executions.webhooks import Registered, Webhooks, Wish
from monitor.projections.filter import to_json
from monitor.web.auth import Authenticate
from monitor.web.bodies import read_body
from monitor.web.cursors import cursor_token, open_cursor
from monitor.web.params import check_names, nearest, take_limit, take_one
from monitor.web.paths import IdRoute
from monitor.web.replies import json_reply
from monitor.webhooks.endpoint import Endpoint

MAX_BODY_BYTES: Final = 64 * 1024
"""A hundred filter values of the greatest length, and room to spare."""

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100

_NOT_KEPT: Final = {"cache-control": "no-store"}


class WebhookDocument(BaseModel):
    """The body of `POST /v1/webhooks`, as it is documented."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    url: str
    events: list[str] = []
    filters: dict[str, Any] = {}


def routes(*, webhooks: Webhooks, sealer: Sealer, authenticate: Authenticate) -> list[Route]:
    """The routes of this file."""
    face = _Face(webhooks, sealer, authenticate)
    return [
        Route("/v1/webhooks", face.register, methods=["POST"]),
        Route("/v1/webhooks", face.listing, methods=["GET"]),
        IdRoute("/v1/webhooks/{id}", face.single, methods=["GET"]),
        IdRoute("/v1/webhooks/{id}", face.remove, methods=["DELETE"]),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    webhooks: Webhooks
    sealer: Sealer
    authenticate: Authenticate

    async def register(self, request: Request) -> Response:
        """A new endpoint, with the secret that is shown this once."""
        who = self.authenticate(request.scope)
        check_names(request.query_params, ())
        document = await _read_document(request)
        registered = await self.webhooks.register(who, Wish(document.url, document.events, document.filters))
        location = {"location": f"/v1/webhooks/{registered.endpoint.id}"}
        return json_reply(_registered(registered), 201, _NOT_KEPT | location)

    async def listing(self, request: Request) -> Response:
        """A page of endpoints, in order of registration."""
        who = self.authenticate(request.scope)
        check_names(request.query_params, ("limit", "cursor"))
        limit = take_limit(request.query_params, default=DEFAULT_LIMIT, most=MAX_LIMIT)
        cursor = take_one(request.query_params, "cursor")
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

    async def single(self, request: Request) -> Response:
        """One endpoint."""
        who = self.authenticate(request.scope)
        check_names(request.query_params, ())
        return json_reply(_endpoint(await self.webhooks.endpoint(who, request.path_params["id"])), headers=_NOT_KEPT)

    async def remove(self, request: Request) -> Response:
        """No endpoint any more; what was owed to it is cancelled."""
        who = self.authenticate(request.scope)
        check_names(request.query_params, ())
        await self.webhooks.remove(who, request.path_params["id"])
        return Response(status_code=204)


# --- reading ---------------------------------------------------------------------------------------------------------


async def _read_document(request: Request) -> WebhookDocument:
    # Also keeps other sites' pages out: a browser sends them this type only after asking.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("send the webhook as application/json")
    try:
        return WebhookDocument.model_validate_json(await read_body(request, MAX_BODY_BYTES))
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> InvalidRequest | InvalidWebhook:
    """The first fault, in a sentence that names the member."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(map(str, fault["loc"]))
    if fault["type"] == "json_invalid":
        return InvalidRequest(f"the body is not JSON: {fault['msg'].removeprefix('Invalid JSON: ')}")
    if fault["type"] == "extra_forbidden":
        return InvalidWebhook(f"unknown member '{field}'{nearest(field, WebhookDocument.model_fields)}", field=field)
    if not field:
        return InvalidWebhook("the body is not a JSON object")
    return InvalidWebhook(f"'{field}': {fault['msg']}", field=field)


# --- writing ---------------------------------------------------------------------------------------------------------


def _registered(registered: Registered) -> dict[str, Any]:
    return {**_endpoint(registered.endpoint), "secret": registered.secret}


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": endpoint.events,
        "filters": to_json(endpoint.filter),
        "status": endpoint.status,
        "createdAt": format_time(endpoint.created_us),
    }
