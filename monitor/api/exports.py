"""`GET /v1/executions/export`: a whole list as CSV, JSON or lines of JSON, streamed.

What an answer lacks when it breaks off shows by its missing end: HTTP tells an incomplete body from a complete one.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.errors import InvalidRequest, PositionNotReached
from monitor.events.codec import format_time
from monitor.executions.exports import Export, Exports
from monitor.executions.reads import Asked, Found
from monitor.projections.filter import parse_query
from monitor.store.base import Sort
from monitor.web import native
from monitor.web.auth import permit
from monitor.web.csv_cells import csv_line
from monitor.web.native_answers import ExecutionExport
from monitor.web.operations import Answer, Operation
from monitor.web.params import FILTERS, MIN_POSITION, Text, Word, Words, nearest
from monitor.web.replies import POSITION_HEADER

MEDIA_TYPES: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json", "ndjson": "application/x-ndjson"}

_SORTS: Final[Mapping[str, Sort]] = {"startedAt": "startedAt", "-startedAt": "-startedAt"}
_FORMAT: Final = Word("format", tuple(MEDIA_TYPES), "Form of the answer; csv where nothing is said.")
_SORT: Final = Word("sort", tuple(_SORTS), "Order; the newest first where nothing is said.")
_COLUMNS: Final = Text("columns", "Of a CSV: which, in this order, separated by commas; all where nothing is said.")
_INCLUDE: Final = Words("include", ("data",), "data adds payloads; not to a CSV.")
_QUERY: Final = (_FORMAT, _COLUMNS, _SORT, _INCLUDE, MIN_POSITION, FILTERS)

Document = Mapping[str, Any]


def _of(member: str, name: str) -> Callable[[Document], Any]:
    return lambda row: (row.get(member) or {}).get(name)


COLUMNS: Final[Mapping[str, Callable[[Document], Any]]] = {
    **{
        name: lambda row, name=name: row.get(name)  # type: ignore[misc]
        for name in ("id", "workflowId", "workflowName", "status", "mode", "startedAt", "stoppedAt", "duration")
    },
    "triggerType": _of("trigger", "type"),
    "errorType": _of("error", "type"),
    "errorMessage": _of("error", "message"),
    "errorNodeId": _of("error", "nodeId"),
    "nodeCount": _of("metadata", "nodeCount"),
    "retryCount": _of("metadata", "retryCount"),
    "retryOf": lambda row: row.get("retryOf"),
    "parentExecutionId": _of("parent", "executionId"),
    "tags": lambda row: ",".join(row.get("tags") or ()),
    "reason": lambda row: row.get("reason"),
    "createdAt": lambda row: row.get("createdAt"),
    "updatedAt": lambda row: row.get("updatedAt"),
    "version": lambda row: row.get("version"),
}
"""Of a CSV: name, and what stands in it."""


def operations(*, exports: Exports, sealer: Sealer, clock: Clock) -> list[Operation]:
    """The operations of this file."""
    face = _Face(exports, sealer, clock)
    headers = ("monitor-total", "content-disposition")
    lines = tuple(said.partition(";")[0] for name, said in MEDIA_TYPES.items() if name != "json")
    return [
        Operation(
            "GET",
            "/v1/executions/export",
            face.export,
            "executions:read",
            query=_QUERY,
            answers=(Answer(media_types=lines, headers=headers), Answer(ExecutionExport, headers=headers)),
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
        query = request.query_params
        format_, columns, with_data = _FORMAT.take(query) or "csv", _take_columns(query), bool(_INCLUDE.take(query))
        if with_data:
            permit(who, "executions:data")
        if format_ == "csv" and with_data:
            raise InvalidRequest("a CSV has no place for payloads; ask for format=ndjson or json", field="include")
        if format_ != "csv" and _COLUMNS.take(query) is not None:
            raise InvalidRequest("columns are of a CSV; ask for format=csv", field="columns")
        now_us = self.clock.now_us()
        asked = Asked(
            filter=parse_query(FILTERS.take(query), now_us),
            sort=_SORTS[_SORT.take(query) or "-startedAt"],
            limit=1,
            after=None,
            with_data=with_data,
        )
        export = await self.exports.begin(who, asked, MIN_POSITION.take(query, self.sealer))
        headers = {
            POSITION_HEADER: position_token(self.sealer, export.position),
            "monitor-total": f"{export.total}+" if export.total_is_lower_bound else str(export.total),
            "content-disposition": f'attachment; filename="executions-{_stamp(now_us)}.{format_}"',
            "cache-control": "no-store",
        }
        content = _csv(export, columns) if format_ == "csv" else _LINES_OF[format_](export)
        return StreamingResponse(content, headers=headers, media_type=MEDIA_TYPES[format_])


def _take_columns(query: QueryParams) -> Sequence[str]:
    said = _COLUMNS.take(query)
    columns = list(COLUMNS) if said is None else said.split(",")
    for column in columns:
        if column not in COLUMNS:
            raise InvalidRequest(f"'columns' does not know '{column[:40]}'{nearest(column, COLUMNS)}", field="columns")
    if len(set(columns)) < len(columns):
        raise InvalidRequest("'columns' names one twice", field="columns")
    return columns


def _stamp(now_us: int) -> str:
    """A time that every file system takes as part of a name."""
    return format_time(now_us)[:19].replace(":", "-")


async def _csv(export: Export, columns: Sequence[str]) -> AsyncIterator[bytes]:
    yield csv_line(columns)
    readers = [COLUMNS[column] for column in columns]
    async for rows in export.pages:
        yield b"".join(csv_line(read(row) for read in readers) for row in _documents(rows))


async def _ndjson(export: Export) -> AsyncIterator[bytes]:
    async for rows in export.pages:
        yield b"".join(msgspec.json.encode(row) + b"\n" for row in _documents(rows))


async def _json(export: Export) -> AsyncIterator[bytes]:
    """One object; its members are those of a list, without a next page."""
    joint = b'{"data":['
    async for rows in export.pages:
        for row in _documents(rows):
            yield joint + msgspec.json.encode(row)
            joint = b",\n"
    yield (b"" if joint == b",\n" else joint) + b"]}"


_LINES_OF: Final = {"ndjson": _ndjson, "json": _json}


def _documents(rows: Sequence[Found]) -> Sequence[Document]:
    return [native.execution(row) for row in rows]
