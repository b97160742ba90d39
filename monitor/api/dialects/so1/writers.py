"""Writers: executions become documents."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from monitor.api.dialects.so1.documents import (
    So1Execution,
    So1ExecutionError,
    So1Line,
    So1Node,
)
from monitor.api.dialects.so1.words import END_NAMED, NODE_STATUS, STATUS
from monitor.events.codec import format_time
from monitor.executions.contents import Found, NodeRun
from monitor.executions.lookups import Label
from monitor.projections.loglines import LogLine
from monitor.projections.status import IN_FLIGHT, is_final
from monitor.projections.view import Summary
from monitor.web.replies import json_reply


def execution(found: Found, labels: Mapping[str, Label], now_us: int, *, with_data: bool = False) -> So1Execution:
    """An execution; `labels` name its nodes."""
    row, data = found.summary, found.data
    shown = brief(row)
    if row.status in IN_FLIGHT:
        done, total = row.progress.completed, row.progress.total
        shown["progress"] = {"nodesCompleted": done, "nodesTotal": total, "currentNode": row.progress.current}
        if (end_us := estimated_end_us(row, now_us)) is not None:
            shown["estimatedCompletionAt"] = format_time(end_us)
    if row.error is not None:
        shown["error"] = _error(row.error, labels)
    if row.status == "success" and data is not None:
        shown["result"] = {"success": True, "outputs": raw(data.output)}
    if with_data and data is not None:
        shown["nodeData"] = [_node(run, labels) for run in data.nodes]
    return shown


def brief(row: Summary) -> So1Execution:
    """The same as a list shows it."""
    status: Any = STATUS[row.status]
    shown: So1Execution = {
        "executionId": row.id,
        "workflowId": row.workflow_id,
        "status": status,
        "startedAt": None if row.started_us is None else format_time(row.started_us),
    }
    if row.workflow_name is not None:
        shown["workflowName"] = row.workflow_name
    if row.retry_of is not None:
        shown["originalExecutionId"] = row.retry_of
    if row.stopped_us is not None and is_final(row.status):
        shown[END_NAMED[status]] = format_time(row.stopped_us)
    if row.duration_us is not None:
        shown["duration"] = _seconds(row.duration_us)
    return shown


def estimated_end_us(row: Summary, now_us: int) -> int | None:
    """When it ends if what is left goes on as what is done did; None before anything is done."""
    ratio = row.progress.ratio(row.status)
    if row.started_us is None or row.status != "running" or not ratio:
        return None
    return row.started_us + round(max(0, now_us - row.started_us) / ratio)


def _error(said: Mapping[str, Any], labels: Mapping[str, Label]) -> So1ExecutionError:
    shown: So1ExecutionError = {"message": str(said.get("message") or ""), "details": said.get("details") or {}}
    if node_id := said.get("nodeId"):
        label = labels.get(str(node_id), Label(str(node_id), ""))
        shown["node"], shown["nodeType"] = label
    return shown


def _node(run: NodeRun, labels: Mapping[str, Label]) -> So1Node:
    label, node = labels.get(run.key[0], Label(run.key[0], "")), run.node
    shown: So1Node = {
        "nodeName": label.name,
        "nodeType": label.type,
        "status": NODE_STATUS[node.status],
        "duration": None if node.duration_us is None else _seconds(node.duration_us),
        "output": raw(run.output),
    }
    if run.input is not None:
        shown["input"] = raw(run.input)
    if node.error is not None:
        shown["error"] = _error({**node.error, "nodeId": run.key[0]}, labels)
    return shown


def _seconds(duration_us: int) -> float:
    return duration_us / 1_000_000


def log_line(line: LogLine, labels: Mapping[str, Label]) -> So1Line:
    """A line of a log."""
    shown: So1Line = {"timestamp": format_time(line.time_us), "level": line.level, "message": line.message}
    if line.node_id is not None:
        shown["node"] = labels.get(line.node_id, Label(line.node_id, "")).name
    return shown


def raw(payload: bytes | None) -> Any:
    """A payload as it is stored."""
    return None if payload is None else msgspec.Raw(payload)


def reply(data: object, status: int = 200) -> Response:
    """An answer that nobody keeps."""
    return json_reply({"success": True, "data": data}, status, {"cache-control": "no-store"})
