"""`GET /v1/executions/export`: a whole list as CSV, JSON or lines of JSON, streamed.

What an answer lacks when it breaks off shows by its missing end: HTTP tells an incomplete body from a complete one.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.errors import PositionNotReached
from monitor.executions.exports import Export, Exports, RowForm
from monitor.executions.reads import Asked
from monitor.projections.filter import parse_query
from monitor.store.export_port import ExportAsked, ExportFormat, ExportSort
from monitor.web.auth import permit
from monitor.web.export_rows import LINE_MEDIA_TYPES, MEDIA_TYPES, check, disposition, form_of
from monitor.web.native_answers import ExecutionExport
from monitor.web.operations import Answer, Operation
from monitor.web.params import FILTERS, MIN_POSITION, Text, Word, Words
from monitor.web.replies import POSITION_HEADER

_SORTS: Final[Mapping[str, ExportSort]] = {"startedAt": "startedAt", "-startedAt": "-startedAt"}
_FORMATS: Final[Mapping[str, ExportFormat]] = {"csv": "csv", "json": "json", "ndjson": "ndjson"}
_FORMAT: Final = Word("format", tuple(_FORMATS), "Form of the answer; csv where nothing is said.")
_SORT: Final = Word("sort", tuple(_SORTS), "Order; the newest first where nothing is said.")
_COLUMNS: Final = Text("columns", "Of a CSV: which, in this order, separated by commas; all where nothing is said.")
_INCLUDE: Final = Words("include", ("data",), "data adds payloads; not to a CSV.")
_QUERY: Final = (_FORMAT, _COLUMNS, _SORT, _INCLUDE, MIN_POSITION, FILTERS)


def operations(*, exports: Exports, sealer: Sealer, clock: Clock) -> list[Operation]:
    """The operations of this file."""
    face = _Face(exports, sealer, clock)
    headers = ("monitor-total", "content-disposition")
    return [
        Operation(
            "GET",
            "/v1/executions/export",
            face.export,
            "executions:read",
            query=_QUERY,
            answers=(Answer(media_types=LINE_MEDIA_TYPES, headers=headers), Answer(ExecutionExport, headers=headers)),
            errors=(PositionNotReached,),
        )
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    exports: Exports
    sealer: Sealer
    clock: Clock

    async def export(self, request: Request, who: Principal) -> Response:
        """Every execution that fits, as a file; `Monitor-Total` tells how many there were when it began."""
        query, now_us = request.query_params, self.clock.now_us()
        form = _take_form(query)
        if form.with_data:
            permit(who, "executions:data")
        asked = Asked(
            filter=parse_query(FILTERS.take(query), now_us),
            sort=form.sort,
            limit=1,
            after=None,
            with_data=form.with_data,
        )
        export = await self.exports.begin(who, asked, MIN_POSITION.take(query, self.sealer))
        headers = {
            POSITION_HEADER: position_token(self.sealer, export.position),
            "monitor-total": f"{export.total}+" if export.total_is_lower_bound else str(export.total),
            "content-disposition": disposition(form.format, now_us),
            "cache-control": "no-store",
        }
        return StreamingResponse(_content(export, form_of(form)), headers=headers, media_type=MEDIA_TYPES[form.format])


def _take_form(query: QueryParams) -> ExportAsked:
    """What the parameters say about the file; its filter is taken by itself."""
    columns = _COLUMNS.take(query)
    asked = ExportAsked(
        format=_FORMATS[_FORMAT.take(query) or "csv"],
        columns=None if columns is None else columns.split(","),
        filter={},
        sort=_SORTS[_SORT.take(query) or "-startedAt"],
        with_data=bool(_INCLUDE.take(query)),
    )
    return check(asked)


async def _content(export: Export, form: RowForm) -> AsyncIterator[bytes]:
    yield form.head()
    is_first = True
    async for rows in export.pages:
        yield form.rows(rows, is_first=is_first)
        is_first = is_first and not rows
    yield form.end()
