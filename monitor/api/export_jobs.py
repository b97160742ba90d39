"""`/v1/exports`: a whole list as a file that the service writes meanwhile, and that is fetched in as many goes as it
takes; `GET /v1/executions/export` is the same in one go.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, BinaryIO, Final, NotRequired

from pydantic import Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from typing_extensions import TypedDict

from monitor.access.principal import Principal
from monitor.clock import Clock
from monitor.errors import (
    CannotCancelExport,
    ExportGone,
    ExportNotFound,
    ExportNotReady,
    IdempotencyKeyReused,
    InvalidFilter,
    RangeNotSatisfiable,
    TooManyExports,
)
from monitor.events.codec import format_time
from monitor.executions.export_jobs import ExportJobs
from monitor.executions.idempotency import Idempotency
from monitor.projections.filter import parse_json, to_json
from monitor.store.export_port import ExportAsked, ExportFormat, ExportJob, ExportSort, ExportState
from monitor.web.auth import permit
from monitor.web.documents import MAX_BODY_BYTES, Document, read_document
from monitor.web.export_rows import COLUMNS, LINE_MEDIA_TYPES, MEDIA_TYPES, check, disposition
from monitor.web.filters import dated_filter_object
from monitor.web.idempotent import IDEMPOTENCY_KEY, once
from monitor.web.native_answers import ExecutionExport
from monitor.web.operations import Answer, Operation
from monitor.web.ranges import IF_RANGE, RANGE, Span, take_range
from monitor.web.replies import IF_NONE_MATCH, Timestamp, json_reply

_ONE: Final = "/v1/exports/{id}"
_NOT_KEPT: Final = {"cache-control": "no-store"}
_PIECE_BYTES: Final = 256 * 1024

_Column = Annotated[str, Field(json_schema_extra={"enum": list(COLUMNS)})]


class ExportRequest(Document):
    """The body of `POST /v1/exports`."""

    format: ExportFormat = "csv"
    columns: list[_Column] | None = Field(
        None, min_length=1, max_length=len(COLUMNS), description="Of a CSV: which, in this order."
    )
    filter: Annotated[dict[str, Any], WithJsonSchema(dated_filter_object())] = Field(
        {}, description='Which executions: as webhooks take it, {"status": "failed"}, and dateRange.'
    )
    sort: ExportSort = Field("-startedAt", description="The newest first, or the oldest.")
    include_data: bool = Field(False, alias="includeData", description="With payloads; not in a CSV.")

    def asked(self, now_us: int) -> ExportAsked:
        """As the desk takes it. Raises InvalidRequest and InvalidFilter."""
        return check(
            ExportAsked(
                format=self.format,
                columns=self.columns,
                filter=to_json(parse_json(self.filter, now_us)),
                sort=self.sort,
                with_data=self.include_data,
            )
        )


class ExportFault(TypedDict):
    """Why an export failed."""

    code: str
    """NO_SPACE, EXPORT_TOO_LARGE, NOT_WRITTEN or INTERNAL_ERROR."""
    message: str


class ExportDocument(TypedDict):
    """A file of executions, and how far it is."""

    id: str
    status: ExportState
    format: str
    columns: list[str] | None
    """Of a CSV; null = all."""
    filter: dict[str, Any]
    """Relative times made absolute."""
    sort: str
    includeData: bool
    rows: int
    """Executions that are in the file."""
    total: int | None
    """In the list when it began, in the file when it is completed; null until it has begun."""
    totalIsLowerBound: NotRequired[bool]
    percentage: float | None
    """Of the rows; null where nobody knows."""
    bytes: int
    eta: Timestamp | None
    """When it will be completed if it goes on as so far; null where nobody knows."""
    createdAt: Timestamp
    startedAt: Timestamp | None
    finishedAt: Timestamp | None
    expiresAt: Timestamp | None
    """When it is removed; null until it has ended."""
    error: ExportFault | None


class ExportList(TypedDict):
    """All exports of a team that are not removed yet, the newest first."""

    data: list[ExportDocument]


def operations(*, jobs: ExportJobs, idempotency: Idempotency, clock: Clock) -> list[Operation]:
    """The operations of this file."""
    face = _Face(jobs, idempotency, clock)
    of_file = ("etag", "accept-ranges", "content-disposition")
    return [
        Operation(
            "POST",
            "/v1/exports",
            face.start,
            "executions:read",
            headers=(IDEMPOTENCY_KEY,),
            body=ExportRequest,
            answers=(Answer(ExportDocument, 202, headers=("location", "idempotency-replayed"), leads_to=_ONE),),
            errors=(InvalidFilter, IdempotencyKeyReused, TooManyExports),
        ),
        Operation(
            "GET",
            "/v1/exports",
            face.listing,
            "executions:read",
            answers=(Answer(ExportList, leads_to=_ONE),),
            name="listExports",
        ),
        Operation(
            "GET", _ONE, face.single, "executions:read", answers=(Answer(ExportDocument),), errors=(ExportNotFound,)
        ),
        Operation(
            "POST",
            f"{_ONE}/cancel",
            face.cancel,
            "executions:read",
            answers=(Answer(ExportDocument),),
            errors=(ExportNotFound, CannotCancelExport),
        ),
        Operation(
            "DELETE", _ONE, face.remove, "executions:read", answers=(Answer(None, 204),), errors=(ExportNotFound,)
        ),
        Operation(
            "GET",
            f"{_ONE}/file",
            face.file,
            "executions:read",
            headers=(RANGE, IF_RANGE, IF_NONE_MATCH),
            answers=(
                Answer(media_types=LINE_MEDIA_TYPES, headers=of_file),
                Answer(ExecutionExport, headers=of_file),
                Answer(
                    None, 206, media_types=(*LINE_MEDIA_TYPES, "application/json"), headers=(*of_file, "content-range")
                ),
                Answer(None, 304, headers=("etag",)),
            ),
            errors=(ExportNotFound, ExportNotReady, ExportGone, RangeNotSatisfiable),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    jobs: ExportJobs
    idempotency: Idempotency
    clock: Clock

    async def start(self, request: Request, who: Principal) -> Response:
        """A job that writes every execution that fits into a file. Needs `executions:data` for payloads."""
        asked = (await read_document(request, ExportRequest)).asked(self.clock.now_us())
        if asked.with_data:
            permit(who, "executions:data")
        return await once(self.idempotency, request, who, MAX_BODY_BYTES, partial(self._begin, who, asked))

    async def listing(self, _request: Request, who: Principal) -> Response:
        """All exports of the team, the newest first."""
        answer: ExportList = {"data": [self._shown(job) for job in await self.jobs.listed(who)]}
        return json_reply(answer, headers=_NOT_KEPT)

    async def single(self, request: Request, who: Principal) -> Response:
        """An export, and how far it is."""
        return json_reply(self._shown(await self._job(request, who)), headers=_NOT_KEPT)

    async def cancel(self, request: Request, who: Principal) -> Response:
        """An export that is called off; what was written of it is removed."""
        cancelled = await self.jobs.cancel(who, request.path_params["id"])
        return json_reply(self._shown(cancelled), headers=_NOT_KEPT)

    async def remove(self, request: Request, who: Principal) -> Response:
        """No export any more, nor its file; one that runs is called off."""
        await self.jobs.remove(who, request.path_params["id"])
        return Response(status_code=204, headers=_NOT_KEPT)

    async def file(self, request: Request, who: Principal) -> Response:
        """The file of a completed export. A download that was cut off goes on with `Range: bytes=N-`, and `If-Range`
        with the ETag. Needs `executions:data` where it holds payloads.
        """
        job = await self._job(request, who)
        if job.asked.with_data:
            permit(who, "executions:data")
        etag = f'"{job.id}"'
        content = await self.jobs.opened(job)
        try:
            return _file_reply(request, job, etag, content)
        except BaseException:
            content.close()
            raise

    async def _job(self, request: Request, who: Principal) -> ExportJob:
        return await self.jobs.single(who, request.path_params["id"])

    async def _begin(self, who: Principal, asked: ExportAsked, seed: str | None) -> Response:
        job = await self.jobs.start(who, asked, seed)
        return json_reply(self._shown(job), 202, _NOT_KEPT | {"location": f"/v1/exports/{job.id}"})

    def _shown(self, job: ExportJob) -> ExportDocument:
        return _document(job, self.clock.now_us())


def _file_reply(request: Request, job: ExportJob, etag: str, content: BinaryIO) -> Response:
    """All of the file, or the range that is asked for; closes it when it is sent."""
    headers = {"etag": etag, "accept-ranges": "bytes", "cache-control": "private, no-cache"}
    if etag in (tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")):
        content.close()
        return Response(status_code=304, headers=headers)
    span = take_range(request.headers, job.bytes, etag)
    start, end = span or Span(0, job.bytes)
    headers["content-length"] = str(end - start)
    headers["content-disposition"] = disposition(job.asked.format, job.created_us)
    if span is not None:
        headers["content-range"] = f"bytes {start}-{end - 1}/{job.bytes}"
    # A HEAD is told what a GET would bring.
    pieces = _pieces(content, Span(start, start if request.method == "HEAD" else end))
    status = 200 if span is None else 206
    return StreamingResponse(pieces, status, headers, media_type=MEDIA_TYPES[job.asked.format])


async def _pieces(content: BinaryIO, span: Span) -> AsyncIterator[bytes]:
    with content:
        content.seek(span.start)
        left = span.end - span.start
        while left and (piece := await asyncio.to_thread(content.read, min(left, _PIECE_BYTES))):
            yield piece
            left -= len(piece)


def _document(job: ExportJob, now_us: int) -> ExportDocument:
    asked = job.asked
    shown: ExportDocument = {
        "id": job.id,
        "status": job.state,
        "format": asked.format,
        "columns": None if asked.columns is None else list(asked.columns),
        "filter": asked.filter,
        "sort": asked.sort,
        "includeData": asked.with_data,
        "rows": job.rows,
        "total": job.total,
        "percentage": _percentage(job),
        "bytes": job.bytes,
        "eta": _time(_eta_us(job, now_us)),
        "createdAt": format_time(job.created_us),
        "startedAt": _time(job.started_us),
        "finishedAt": _time(job.finished_us),
        "expiresAt": _time(job.expires_us),
        "error": None if job.code is None else {"code": job.code, "message": job.message or ""},
    }
    if job.total_is_lower_bound:
        shown["totalIsLowerBound"] = True
    return shown


def _percentage(job: ExportJob) -> float | None:
    """Below 100 until the file is complete: more may have come than were counted."""
    if job.state == "completed":
        return 100.0
    if job.total is None or job.total_is_lower_bound:
        return None
    return min(99.9, round(100 * job.rows / max(job.total, 1), 1))


def _eta_us(job: ExportJob, now_us: int) -> int | None:
    """As much time for each row that is left as for those before, and as much rest as work."""
    if not (job.is_open and job.rows and job.total) or job.total_is_lower_bound:
        return None
    return now_us + 2 * job.worked_us * max(0, job.total - job.rows) // job.rows


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else format_time(at_us)
