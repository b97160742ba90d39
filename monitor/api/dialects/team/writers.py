"""Writers: executions become documents."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid5

import msgspec

from monitor.api.dialects.team.documents import (
    TeamDetail,
    TeamExecution,
    TeamNodeExecution,
)
from monitor.api.dialects.team.words import CSV_COLUMNS, NODE_EXECUTIONS, NODE_STATUS, STATUS
from monitor.events.codec import format_time
from monitor.executions.contents import Found, NodeRun
from monitor.executions.exports import Export
from monitor.projections.execution import Node, NodeKey
from monitor.projections.nodes import run_duration_us
from monitor.projections.view import Summary
from monitor.web.csv_cells import csv_line


def execution(row: Summary) -> TeamExecution:
    """An execution, as lists show it."""
    since_us = _since_us(row)
    return {
        "id": row.id,
        "workflowId": row.workflow_id,
        "workflowName": row.workflow_name,
        "status": STATUS[row.status],  # type: ignore[typeddict-item]
        "startedAt": format_time(since_us),
        "finishedAt": _time(row.stopped_us),
        "durationMs": None if row.stopped_us is None else _ms(max(0, row.stopped_us - since_us)),
        "triggerType": _trigger(row),
        "nodeCount": row.progress.total,
        "errorMessage": _message(row.error),
    }


def detail(found: Found) -> TeamDetail:
    """An execution with its nodes; data is null where it was not read."""
    row, data = found.summary, found.data
    return {
        "id": row.id,
        "workflowId": row.workflow_id,
        "workflowName": row.workflow_name,
        "workflowVersion": row.workflow_version,
        "status": STATUS[row.status],  # type: ignore[typeddict-item]
        "trigger": _trigger(row),
        "inputData": _raw(data.input) if data else None,
        "outputData": _raw(data.output) if data else None,
        "errorMessage": _message(row.error),
        "createdAt": format_time(_since_us(row)),
        "startedAt": _time(row.started_us),
        "completedAt": _time(row.stopped_us),
        "durationMs": _ms(row.duration_us),
        "nodeExecutions": [_node_execution(row.id, run) for run in data.nodes] if data else [],
        "moreNodes": data.more_nodes if data else 0,
    }


def _node_execution(execution_id: str, run: NodeRun) -> TeamNodeExecution:
    shown = _node(run.key, run.node)
    name = "\n".join((execution_id, *map(str, run.key)))
    return {
        "id": str(uuid5(NODE_EXECUTIONS, name)),
        "nodeId": shown["nodeId"],
        "nodeName": shown["nodeName"],
        "nodeType": shown["nodeType"],
        "status": shown["status"],
        "startedAt": shown["startedAt"],
        "completedAt": shown["completedAt"],
        "durationMs": shown["durationMs"],
        "inputData": _raw(run.input),
        "outputData": _raw(run.output),
        "errorMessage": shown["error"],
        "retryCount": run.key[2] - 1,
    }


def exported(found: Found) -> dict[str, Any]:
    """An execution with its nodes, as an export has it."""
    shown = execution(found.summary)
    return {
        "executionId": shown["id"],
        "workflowId": shown["workflowId"],
        "workflowName": shown["workflowName"],
        "status": shown["status"],
        "trigger": shown["triggerType"],
        "startedAt": shown["startedAt"],
        "completedAt": shown["finishedAt"],
        "durationMs": shown["durationMs"],
        "nodeExecutions": [_node(key, node) for key, node in found.nodes or ()],
    }


def csv_rows(found: Found) -> list[Sequence[Any]]:
    """The lines of an execution: one for each node, and one where none has run."""
    shown = exported(found)
    *own, nodes = shown.values()
    return [[*own, *node.values()] for node in nodes] or [[*own, *[None] * 8]]


def _node(key: NodeKey, node: Node) -> dict[str, Any]:
    _, _, name, kind = node.label or (0, 0, "", "")
    return {
        "nodeId": key[0],
        "nodeType": kind,
        "nodeName": name or key[0],
        "status": NODE_STATUS[node.status],
        "startedAt": _time(node.started_us),
        "completedAt": _time(node.stopped_us),
        "durationMs": _ms(run_duration_us(node)),
        "error": _message(node.error),
    }


def _since_us(row: Summary) -> int:
    return row.at_us if row.queued_us is None else min(row.queued_us, row.at_us)


def _trigger(row: Summary) -> str | None:
    return (row.trigger_type or row.mode or "").upper() or None


def _message(error: Mapping[str, Any] | None) -> str | None:
    return None if error is None else str(error.get("message") or error.get("type") or "")


def _raw(payload: bytes | None) -> Any:
    return None if payload is None else msgspec.Raw(payload)


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else format_time(at_us)


def _ms(duration_us: int | None) -> int | None:
    return None if duration_us is None else round(duration_us / 1000)


async def csv_of(export: Export) -> AsyncIterator[bytes]:
    """An export with a line for each node execution."""
    yield csv_line(CSV_COLUMNS)
    async for rows in export.pages:
        yield await asyncio.to_thread(_lines, rows)


async def json_of(export: Export) -> AsyncIterator[bytes]:
    """An export with the node executions inside their executions."""
    joint = b"["
    async for rows in export.pages:
        if rows:
            yield joint + await asyncio.to_thread(_objects, rows)
            joint = b",\n"
    yield b"[]" if joint == b"[" else b"]"


# Pages of ten thousand node executions: a tenth of a second, in which the event loop would do nothing else.


def _lines(rows: Iterable[Found]) -> bytes:
    return b"".join(csv_line(cells) for row in rows for cells in csv_rows(row))


def _objects(rows: Iterable[Found]) -> bytes:
    return b",\n".join(msgspec.json.encode(exported(row)) for row in rows)
