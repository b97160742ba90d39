"""Executions as the rows of a file: CSV, JSON, or lines of JSON. Pure; the same for streamed and for kept files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from monitor.errors import InvalidRequest
from monitor.events.codec import format_time
from monitor.executions.contents import Found
from monitor.executions.exports import RowForm
from monitor.store.export_port import ExportAsked, ExportFormat
from monitor.web import native
from monitor.web.csv_cells import csv_line
from monitor.web.params import nearest

MEDIA_TYPES: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json", "ndjson": "application/x-ndjson"}

LINE_MEDIA_TYPES: Final = ("text/csv", "application/x-ndjson")

_Row = Mapping[str, Any]


def _of(member: str, name: str) -> Callable[[_Row], Any]:
    return lambda row: (row.get(member) or {}).get(name)


COLUMNS: Final[Mapping[str, Callable[[_Row], Any]]] = {
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


def check(asked: ExportAsked) -> ExportAsked:
    """What can be asked for together. Raises InvalidRequest."""
    if asked.format == "csv" and asked.with_data:
        raise InvalidRequest("a CSV has no place for payloads; ask for format=ndjson or json", field="include")
    if asked.columns is None:
        return asked
    if asked.format != "csv":
        raise InvalidRequest("columns are of a CSV; ask for format=csv", field="columns")
    for column in asked.columns:
        if column not in COLUMNS:
            raise InvalidRequest(f"'columns' does not know '{column[:40]}'{nearest(column, COLUMNS)}", field="columns")
    if len(set(asked.columns)) < len(asked.columns):
        raise InvalidRequest("'columns' names one twice", field="columns")
    return asked


def form_of(asked: ExportAsked) -> RowForm:
    """What writes the rows that were asked for."""
    match asked.format:
        case "csv":
            return _Csv(asked.columns or tuple(COLUMNS))
        case "json":
            return _Json()
        case "ndjson":
            return _Lines()


def disposition(form: ExportFormat, at_us: int) -> str:
    """Under which name browsers keep what was exported at a time: one that every file system takes."""
    return f'attachment; filename="executions-{format_time(at_us)[:19].replace(":", "-")}.{form}"'


@dataclass(frozen=True, slots=True)
class _Csv:
    columns: Sequence[str]

    def head(self) -> bytes:
        return csv_line(self.columns)

    def rows(self, found: Sequence[Found], *, is_first: bool) -> bytes:  # noqa: ARG002 - lines follow each other
        readers = [COLUMNS[column] for column in self.columns]
        return b"".join(csv_line(read(row) for read in readers) for row in map(native.execution, found))

    def end(self) -> bytes:
        return b""


@dataclass(frozen=True, slots=True)
class _Lines:
    def head(self) -> bytes:
        return b""

    def rows(self, found: Sequence[Found], *, is_first: bool) -> bytes:  # noqa: ARG002 - lines follow each other
        return b"".join(msgspec.json.encode(native.execution(row)) + b"\n" for row in found)

    def end(self) -> bytes:
        return b""


@dataclass(frozen=True, slots=True)
class _Json:
    """One object; its members are those of a list, without a next page."""

    def head(self) -> bytes:
        return b'{"data":['

    def rows(self, found: Sequence[Found], *, is_first: bool) -> bytes:
        rows = b",\n".join(msgspec.json.encode(native.execution(row)) for row in found)
        return rows if is_first or not rows else b",\n" + rows

    def end(self) -> bytes:
        return b"]}"
