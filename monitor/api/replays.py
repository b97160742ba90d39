"""`/v1/webhooks/{id}/replay` and `/v1/webhook-replays`: have a range of deliveries sent once more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.errors import (
    CannotCancelReplay,
    ClientError,
    InvalidReplay,
    ReplayNotFound,
    ReplayRunning,
    WebhookNotFound,
)
from monitor.events.codec import format_time, parse_time_us
from monitor.executions.deliveries import Wanted
from monitor.executions.replays import MISSED, REPLAYABLE, Progress, Replays
from monitor.store.delivery_port import ReplayState
from monitor.web.cursors import Pagination, cursor_token, open_cursor
from monitor.web.documents import Document, read_document
from monitor.web.operations import Answer, Operation
from monitor.web.params import CURSOR, Limit, nearest
from monitor.web.replies import Timestamp, json_reply

_LIMIT: Final = Limit(default=20, most=100)

_REPLAY: Final = "/v1/webhook-replays/{id}"

_NOT_KEPT: Final = {"cache-control": "no-store"}


def _check_time(said: str) -> str:
    parse_time_us(said)
    return said


def _check_status(said: str) -> str:
    if said not in REPLAYABLE:
        raise ValueError(f"does not know '{said[:40]}'{nearest(said, REPLAYABLE)}")
    return said


Time = Annotated[str, AfterValidator(_check_time), Field(json_schema_extra={"format": "date-time"})]
Status = Annotated[str, AfterValidator(_check_status), Field(json_schema_extra={"enum": list(REPLAYABLE)})]
EventType = Annotated[str, Field(min_length=1, max_length=256)]


class ReplayDocument(Document):
    """The body of `POST /v1/webhooks/{id}/replay`."""

    refusal: ClassVar[type[ClientError]] = InvalidReplay

    since: Time | None = None
    until: Time | None = None
    status: list[Status] = Field(list(MISSED), min_length=1)
    events: list[EventType] = Field([], max_length=100)
    execution_id: str | None = Field(None, min_length=1, max_length=256, alias="executionId")
    dry_run: bool = Field(False, alias="dryRun")

    def wanted(self) -> Wanted:
        """As the desk takes it. Raises InvalidReplay."""
        since_us = None if self.since is None else parse_time_us(self.since)
        until_us = None if self.until is None else parse_time_us(self.until)
        if since_us is not None and until_us is not None and since_us > until_us:
            raise InvalidReplay("'since' is later than 'until'", field="since")
        return Wanted(self.status, self.events, self.execution_id, since_us, until_us)


class ReplayQuery(TypedDict):
    """Which deliveries are sent once more."""

    since: Timestamp | None
    until: Timestamp | None
    status: Sequence[str]
    events: Sequence[str]
    executionId: str | None


class Replay(TypedDict):
    """A job that sends deliveries once more, and how far it is."""

    id: str
    webhookId: str | None
    """Null when the webhook is removed."""
    status: ReplayState
    query: ReplayQuery
    matched: int
    """How many there were when it was asked for."""
    queued: int
    sent: int
    progress: float
    """From 0 to 1."""
    createdAt: Timestamp
    finishedAt: Timestamp | None


class ReplayPage(TypedDict):
    """A page of replays."""

    data: list[Replay]
    pagination: Pagination


class CountedReplay(TypedDict):
    """A dry run: how many deliveries would be sent."""

    dryRun: Literal[True]
    matched: int


def operations(*, replays: Replays, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    face = _Face(replays, sealer)
    return [
        Operation(
            "POST",
            "/v1/webhooks/{id}/replay",
            face.start,
            "webhooks:write",
            body=ReplayDocument,
            answers=(Answer(Replay, 202, headers=("location",), leads_to=_REPLAY), Answer(CountedReplay)),
            errors=(WebhookNotFound, ReplayRunning),
        ),
        Operation(
            "GET",
            "/v1/webhooks/{id}/replays",
            face.listing,
            "webhooks:read",
            query=(_LIMIT, CURSOR),
            answers=(Answer(ReplayPage, leads_to=_REPLAY),),
            errors=(WebhookNotFound,),
        ),
        Operation(
            "GET",
            _REPLAY,
            face.single,
            "webhooks:read",
            answers=(Answer(Replay),),
            errors=(ReplayNotFound,),
        ),
        Operation(
            "POST",
            "/v1/webhook-replays/{id}/cancel",
            face.cancel,
            "webhooks:write",
            answers=(Answer(Replay),),
            errors=(ReplayNotFound, CannotCancelReplay),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    replays: Replays
    sealer: Sealer

    async def start(self, request: Request, who: Principal) -> Response:
        """A job that sends once more what fits; as a dry run, how much that is."""
        endpoint_id = request.path_params["id"]
        document = await read_document(request, ReplayDocument)
        wanted = document.wanted()
        if document.dry_run:
            matched = await self.replays.matched(who, endpoint_id, wanted)
            counted: CountedReplay = {"dryRun": True, "matched": matched}
            return json_reply(counted, headers=_NOT_KEPT)
        started = await self.replays.start(who, endpoint_id, wanted)
        location = {"location": f"/v1/webhook-replays/{started.replay.id}"}
        return json_reply(_replay(started), 202, _NOT_KEPT | location)

    async def listing(self, request: Request, who: Principal) -> Response:
        """A page of a webhook's replays, newest first."""
        query, endpoint_id = request.query_params, request.path_params["id"]
        limit = _LIMIT.take(query)
        cursor, question = CURSOR.take(query), ("replays", who.team, endpoint_id)
        before_key = None if cursor is None else open_cursor(self.sealer, question, cursor)[1]
        page = await self.replays.listed(who, endpoint_id, limit, before_key)
        last = page.rows[-1].replay.key if page.has_more else None
        pagination: Pagination = {
            "limit": limit,
            "hasMore": page.has_more,
            "nextCursor": None if last is None else cursor_token(self.sealer, question, (None, last)),
        }
        answer: ReplayPage = {"data": [_replay(row) for row in page.rows], "pagination": pagination}
        return json_reply(answer, headers=_NOT_KEPT)

    async def single(self, request: Request, who: Principal) -> Response:
        """One replay, and how far it is."""
        return json_reply(_replay(await self.replays.single(who, request.path_params["id"])), headers=_NOT_KEPT)

    async def cancel(self, request: Request, who: Principal) -> Response:
        """A replay that is called off, with what of it was not sent."""
        return json_reply(_replay(await self.replays.cancel(who, request.path_params["id"])), headers=_NOT_KEPT)


def _replay(progress: Progress) -> Replay:
    replay, query = progress.replay, progress.replay.query
    return {
        "id": replay.id,
        "webhookId": progress.endpoint_id,
        "status": replay.state,
        "query": {
            "since": _time(query.since_us),
            "until": _time(query.until_us),
            "status": query.states or (),
            "events": query.event_types or (),
            "executionId": query.execution_id,
        },
        "matched": replay.matched,
        "queued": replay.queued,
        "sent": progress.sent,
        "progress": round(progress.share, 4),
        "createdAt": format_time(replay.created_us),
        "finishedAt": _time(replay.finished_us),
    }


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else format_time(at_us)
