"""`/v1/executions/bulk/...`: stop, run again or delete many executions at once, after a preview; how far that is."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, NotRequired, get_args

from pydantic import Field, WithJsonSchema, model_validator
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.principal import Principal
from monitor.errors import BulkJobNotFound, IdempotencyKeyReused, InvalidBulk, InvalidFilter, TooManyIdempotencyKeys
from monitor.events.codec import format_time
from monitor.events.model import MAX_ID_CHARACTERS
from monitor.executions.bulk import MOST_EXECUTIONS, Bulk, Preview, Progress, Wanted
from monitor.executions.idempotency import Idempotency
from monitor.store.order_port import BulkItem, BulkKind
from monitor.web.documents import MAX_BODY_BYTES, Document, read_document
from monitor.web.filters import filter_object
from monitor.web.idempotent import IDEMPOTENCY_KEY, once
from monitor.web.operations import Answer, Operation
from monitor.web.replies import Timestamp, json_reply

_KINDS: Final[tuple[BulkKind, ...]] = get_args(BulkKind)
_NOT_KEPT: Final = {"cache-control": "no-store"}


class BulkRequest(Document):
    """The body of `POST /v1/executions/bulk/{stop|retry|delete}`."""

    refusal = InvalidBulk

    filter: Annotated[dict[str, Any], WithJsonSchema(filter_object())] | None = Field(
        None, description='Which: as webhooks take it, {"status": "running"}.'
    )
    ids: list[Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS)]] | None = Field(
        None, min_length=1, max_length=MOST_EXECUTIONS, description="Which, by their ids."
    )
    limit: int = Field(MOST_EXECUTIONS, ge=1, le=MOST_EXECUTIONS, description="At most so many, the latest first.")
    dry_run: bool = Field(False, alias="dryRun", description="Count them, and get the token for the real run.")
    preview_token: str | None = Field(None, alias="previewToken", max_length=100_000)
    force: bool = Field(
        False, description="Stop: also orphans, as if they had been cancelled. Delete: also those that have not ended."
    )

    @model_validator(mode="after")
    def _check(self) -> "BulkRequest":
        if self.filter is not None and self.ids is not None:
            raise ValueError("'filter' and 'ids' exclude each other")
        return self


class BulkPreviewRow(TypedDict):
    """An execution that a run would take."""

    id: str
    workflowId: str
    status: str
    startedAt: Timestamp | None


class BulkPreview(TypedDict):
    """What a run would be about."""

    dryRun: bool
    matched: int
    matchedIsLowerBound: NotRequired[bool]
    affected: int
    """How many the run would take: those that match, up to the limit."""
    sample: list[BulkPreviewRow]
    previewToken: str
    expiresAt: Timestamp


class BulkOutcome(TypedDict):
    """What became of one execution."""

    executionId: str
    outcome: str | None
    """done, accepted (taken by its engine, not visible in time), refused, failed; null while it is not its turn."""
    code: NotRequired[str]
    message: NotRequired[str]
    newExecutionId: NotRequired[str]
    """Of the one that repeats it."""


class BulkJobDocument(TypedDict):
    """A change of many executions, and how far it is."""

    id: str
    kind: str
    status: str
    """running or done."""
    count: int
    counts: dict[str, int]
    """By outcome."""
    progress: float
    createdAt: Timestamp
    finishedAt: Timestamp | None
    items: list[BulkOutcome]


def operations(*, bulk: Bulk, idempotency: Idempotency) -> list[Operation]:
    """The operations of this file."""
    face = _Face(bulk, idempotency)
    handlers = {"stop": face.stop, "retry": face.retry, "delete": face.delete}
    starts = [
        Operation(
            "POST",
            f"/v1/executions/bulk/{kind}",
            handlers[kind],
            "executions:write",
            headers=(IDEMPOTENCY_KEY,),
            body=BulkRequest,
            answers=(
                Answer(BulkPreview),
                Answer(BulkJobDocument, 202, headers=("location", "idempotency-replayed")),
            ),
            errors=(InvalidFilter, IdempotencyKeyReused, TooManyIdempotencyKeys),
        )
        for kind in _KINDS
    ]
    single = Operation(
        "GET",
        "/v1/bulk-jobs/{id}",
        face.single,
        "executions:read",
        answers=(Answer(BulkJobDocument),),
        errors=(BulkJobNotFound,),
    )
    return [*starts, single]


@dataclass(frozen=True, slots=True)
class _Face:
    bulk: Bulk
    idempotency: Idempotency

    async def stop(self, request: Request, who: Principal) -> Response:
        """A job that cancels executions; as a dry run, which ones."""
        return await self._start(request, who, "stop")

    async def retry(self, request: Request, who: Principal) -> Response:
        """A job that runs executions once more; as a dry run, which ones."""
        return await self._start(request, who, "retry")

    async def delete(self, request: Request, who: Principal) -> Response:
        """A job that removes executions; as a dry run, which ones."""
        return await self._start(request, who, "delete")

    async def single(self, request: Request, who: Principal) -> Response:
        """A job, and what became of each execution."""
        return json_reply(_job(await self.bulk.single(who, request.path_params["id"])), headers=_NOT_KEPT)

    async def _start(self, request: Request, who: Principal, kind: BulkKind) -> Response:
        document = await read_document(request, BulkRequest)
        wanted = Wanted(document.filter, document.ids, document.limit)
        if document.dry_run:
            return json_reply(_preview(await self.bulk.preview(who, kind, wanted)), headers=_NOT_KEPT)
        work = partial(self._begin, who, kind, wanted, document)
        return await once(self.idempotency, request, who, MAX_BODY_BYTES, work)

    async def _begin(
        self, who: Principal, kind: BulkKind, wanted: Wanted, document: BulkRequest, seed: str | None
    ) -> Response:
        started = await self.bulk.start(who, kind, wanted, document.preview_token, force=document.force, seed=seed)
        location = {"location": f"/v1/bulk-jobs/{started.job.id}"}
        return json_reply(_job(started), 202, _NOT_KEPT | location)


def _preview(preview: Preview) -> BulkPreview:
    shown: BulkPreview = {
        "dryRun": True,
        "matched": preview.matched,
        "affected": preview.taken,
        "sample": [
            {
                "id": row.id,
                "workflowId": row.workflow_id,
                "status": row.status,
                "startedAt": None if row.started_us is None else format_time(row.started_us),
            }
            for row in preview.sample
        ],
        "previewToken": preview.token,
        "expiresAt": format_time(preview.expires_us),
    }
    if preview.is_lower_bound:
        shown["matchedIsLowerBound"] = True
    return shown


def _job(progress: Progress) -> BulkJobDocument:
    job, items = progress.job, progress.items
    counts = Counter(item.outcome for item in items if item.outcome is not None)
    return {
        "id": job.id,
        "kind": job.kind,
        "status": "running" if job.finished_us is None else "done",
        "count": job.count,
        "counts": {str(outcome): count for outcome, count in counts.items()},
        "progress": round(counts.total() / job.count, 4) if job.count else 1.0,
        "createdAt": format_time(job.created_us),
        "finishedAt": None if job.finished_us is None else format_time(job.finished_us),
        "items": [_item(item) for item in items],
    }


def _item(item: BulkItem) -> BulkOutcome:
    shown: BulkOutcome = {"executionId": item.execution_id, "outcome": item.outcome}
    if item.code is not None:
        shown["code"] = item.code
    if item.message is not None:
        shown["message"] = item.message
    if item.new_execution_id is not None:
        shown["newExecutionId"] = item.new_execution_id
    return shown
